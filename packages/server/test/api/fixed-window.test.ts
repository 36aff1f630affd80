import assert from 'node:assert/strict';
import { describe, it } from 'node:test';

import { addressGroup } from '../../src/api/auth.ts';
import { FixedWindow } from '../../src/api/fixed-window.ts';
import { ManualClock } from '../support/manual-clock.ts';

function window(clock: ManualClock, maxKeys = 100): FixedWindow {
  return new FixedWindow({ limit: 2, windowMs: 60_000, maxKeys, clock });
}

describe('a fixed window', () => {
  it('allows its limit a key and says what remains', () => {
    const limiter = window(new ManualClock());
    assert.deepEqual(limiter.hit('a'), { allowed: true, limit: 2, remaining: 1, resetSeconds: 60 });
    assert.deepEqual(limiter.hit('a'), { allowed: true, limit: 2, remaining: 0, resetSeconds: 60 });
    assert.deepEqual(limiter.hit('a'), { allowed: false, limit: 2, remaining: 0, resetSeconds: 60 });
    assert.equal(limiter.hit('b').allowed, true);
  });

  it('begins with the first hit and is not lengthened by refused ones', () => {
    const clock = new ManualClock();
    const limiter = window(clock);
    limiter.hit('a');
    clock.advance(30_500);
    limiter.hit('a');
    assert.deepEqual(limiter.hit('a'), { allowed: false, limit: 2, remaining: 0, resetSeconds: 30 });
    clock.advance(29_500);
    assert.deepEqual(limiter.hit('a'), { allowed: true, limit: 2, remaining: 1, resetSeconds: 60 });
  });

  it('is not moved by a wall clock that jumps', () => {
    const clock = new ManualClock();
    const limiter = window(clock);
    limiter.hit('a');
    limiter.hit('a');
    clock.jump(3_600_000);
    assert.equal(limiter.hit('a').allowed, false);
    clock.jump(-7_200_000);
    assert.equal(limiter.hit('a').resetSeconds, 60);
  });

  it('forgets the oldest keys rather than grow without end', () => {
    const limiter = window(new ManualClock(), 3);
    limiter.hit('a');
    limiter.hit('a');
    for (const key of ['b', 'c', 'd']) limiter.hit(key);
    assert.equal(limiter.hit('a').allowed, true, 'a was forgotten');
    assert.equal(limiter.hit('d').remaining, 0, 'd was not');
  });
});

describe('the address that failures are counted for', () => {
  for (const [address, group] of [
    ['203.0.113.7', '203.0.113.7'],
    ['::ffff:203.0.113.7', '203.0.113.7'],
    ['2001:db8:1:2:3:4:5:6', '2001:db8:1:2::/64'],
    ['2001:db8:1:2::9', '2001:db8:1:2::/64'],
    ['::1', '0:0:0:0::/64'],
    ['unknown', 'unknown'],
  ] as const) {
    it(`of ${address} is ${group}`, () => assert.equal(addressGroup(address), group));
  }
});
