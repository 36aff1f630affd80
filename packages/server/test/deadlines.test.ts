import assert from 'node:assert/strict';
import { describe, test } from 'node:test';
import { Deadlines } from '../src/delivery/deadlines.ts';
import { ManualClock } from './support/manual-clock.ts';

/** Writes down when it was called. */
class Attempt {
  readonly #clock: ManualClock;
  readonly endedAtMs: number[] = [];
  constructor(clock: ManualClock) {
    this.#clock = clock;
  }
  onDeadline(): void {
    this.endedAtMs.push(this.#clock.monotonic());
  }
}

describe('deadlines', () => {
  test('come each at its own time, with one timer for each time limit', () => {
    const clock = new ManualClock();
    const deadlines = new Deadlines(clock);
    const attempts = [5_000, 1_000, 5_000, 5_000, 1_000].map((timeoutMs) => {
      const attempt = new Attempt(clock);
      deadlines.add(attempt, timeoutMs);
      clock.advance(100);
      return attempt;
    });
    assert.equal(clock.timerCount, 2);
    clock.advance(10_000);
    assert.deepEqual(
      attempts.map(({ endedAtMs }) => endedAtMs),
      [[5_000], [1_100], [5_200], [5_300], [1_400]],
    );
    assert.equal(clock.timerCount, 0);
  });

  test("don't come for what was removed, and leave no timer behind", () => {
    const clock = new ManualClock();
    const deadlines = new Deadlines(clock);
    const [first, second, third] = [new Attempt(clock), new Attempt(clock), new Attempt(clock)];
    for (const attempt of [first, second, third]) {
      deadlines.add(attempt, 1_000);
      clock.advance(100);
    }
    deadlines.delete(first, 1_000);
    deadlines.delete(first, 1_000);
    clock.advance(799);
    assert.deepEqual(second.endedAtMs, []);
    clock.advance(1);
    assert.deepEqual(second.endedAtMs, [1_100]);
    deadlines.delete(third, 1_000);
    assert.equal(clock.timerCount, 0);
    clock.advance(10_000);
    assert.deepEqual([...first.endedAtMs, ...third.endedAtMs], []);
  });

  test('may be added and removed by what one ends', () => {
    const clock = new ManualClock();
    const deadlines = new Deadlines(clock);
    const next = new Attempt(clock);
    const sibling = new Attempt(clock);
    const first = {
      onDeadline: () => {
        deadlines.delete(sibling, 1_000);
        deadlines.add(next, 1_000);
      },
    };
    deadlines.add(first, 1_000);
    clock.advance(500);
    deadlines.add(sibling, 1_000);
    clock.advance(5_000);
    assert.deepEqual(sibling.endedAtMs, []);
    assert.deepEqual(next.endedAtMs, [2_000]);
    assert.equal(clock.timerCount, 0);
  });
});
