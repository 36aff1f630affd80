import assert from 'node:assert/strict';
import { describe, it } from 'node:test';
import { DEFAULT_START_MS, ManualClock } from './manual-clock.ts';

describe('ManualClock', () => {
  it('stands still until it is advanced', () => {
    const clock = new ManualClock();
    assert.equal(clock.now(), DEFAULT_START_MS);
    clock.advance(1_500);
    assert.equal(clock.now(), DEFAULT_START_MS + 1_500);
    assert.equal(clock.monotonic(), 1_500);
  });

  it('fires timers in the order of their times, then of their making, each at its own time', () => {
    const clock = new ManualClock({ startMs: 0 });
    const fired: string[] = [];
    for (const [name, delayMs] of [
      ['c', 30],
      ['a', 10],
      ['b', 10],
      ['later', 31],
    ] as const) {
      clock.timer(delayMs, () => fired.push(`${name} at ${clock.now()}`));
    }
    clock.advance(30);
    assert.deepEqual(fired, ['a at 10', 'b at 10', 'c at 30']);
    assert.equal(clock.timerCount, 1);
    assert.equal(clock.nextTimerMs, 1);
  });

  it('fires timers that a firing timer sets, as far as they fall due', () => {
    const clock = new ManualClock({ startMs: 0 });
    const fired: number[] = [];
    const tick = () => {
      fired.push(clock.now());
      clock.timer(10, tick);
    };
    clock.timer(10, tick);
    clock.advance(35);
    assert.deepEqual(fired, [10, 20, 30]);
    assert.equal(clock.now(), 35);
  });

  it('never fires a cancelled timer', () => {
    const clock = new ManualClock();
    const cancel = clock.timer(10, () => assert.fail('fired'));
    cancel();
    cancel();
    clock.advance(100);
    assert.equal(clock.nextTimerMs, null);
  });

  it('jumps the wall clock without touching timers or the monotonic time', () => {
    const clock = new ManualClock({ startMs: 0 });
    let fired = 0;
    clock.timer(10, () => {
      fired += 1;
    });
    clock.jump(3_600_000);
    assert.equal(fired, 0);
    assert.equal(clock.monotonic(), 0);
    clock.jump(-7_200_000);
    clock.advance(10);
    assert.equal(fired, 1);
    assert.equal(clock.now(), -3_600_000 + 10);
  });

  it('tells when enough timers wait', async () => {
    const clock = new ManualClock();
    const waiting = clock.whenTimers(2);
    clock.timer(1, () => {});
    clock.timer(1, () => {});
    await waiting;
    await clock.whenTimers(1);
  });

  it('refuses to run backwards, and to be advanced from within a timer', () => {
    const clock = new ManualClock();
    assert.throws(() => clock.advance(-1), RangeError);
    assert.throws(() => clock.advance(Number.NaN), RangeError);
    clock.timer(0, () => clock.advance(1));
    assert.throws(() => clock.advance(0), /within a timer/);
    clock.advance(1);
  });
});
