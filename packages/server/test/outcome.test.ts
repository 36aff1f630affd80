import assert from 'node:assert/strict';
import { describe, test } from 'node:test';
import fc from 'fast-check';
import { decide, MAX_RETRY_AFTER_MS, type OutcomeInput, retryAfterMs } from '../src/delivery/outcome.ts';
import { ATTEMPT_OUTCOMES } from '../src/model.ts';

const NOW = 1_750_000_000_000;

function input(
  result: Partial<OutcomeInput['result']>,
  changes: Partial<Omit<OutcomeInput, 'result'>> = {},
): OutcomeInput {
  return {
    result: {
      outcome: 'http_error',
      httpStatus: 500,
      error: 'it answered HTTP 500',
      retryAfter: null,
      ...result,
    },
    failures: 0,
    now: NOW,
    scheduleMs: [5_000, 300_000],
    jitter: 0.1,
    random: 0.5,
    ...changes,
  };
}

describe('what follows an attempt', () => {
  const GONE = 'endpoint answered 410 Gone';
  const table: [string, OutcomeInput, ReturnType<typeof decide>][] = [
    [
      'a success delivers',
      input({ outcome: 'success', httpStatus: 204, error: null }),
      { next: { status: 'delivered' } },
    ],
    [
      'the first failure waits for the first delay',
      input({}),
      { next: { status: 'pending', dueAt: NOW + 5_000 } },
    ],
    [
      'the second for the second',
      input({}, { failures: 1 }),
      { next: { status: 'pending', dueAt: NOW + 300_000 } },
    ],
    [
      'the least jitter is 10 % early',
      input({}, { random: 0 }),
      { next: { status: 'pending', dueAt: NOW + 4_500 } },
    ],
    [
      'a failure after the last retry is the end',
      input({}, { failures: 2 }),
      { next: { status: 'dead', reason: 'all 2 retries failed; last: it answered HTTP 500' } },
    ],
    [
      'without a schedule the first failure is the end',
      input({}, { scheduleMs: [] }),
      {
        next: {
          status: 'dead',
          reason: 'the attempt failed and no retries are configured; last: it answered HTTP 500',
        },
      },
    ],
    [
      'a body that stalls after a 200 is no success',
      input({ outcome: 'timeout', httpStatus: 200 }),
      { next: { status: 'pending', dueAt: NOW + 5_000 } },
    ],
    [
      '410 ends the delivery and disables the endpoint',
      input({ httpStatus: 410 }),
      { next: { status: 'dead', reason: GONE }, disableEndpoint: GONE },
    ],
    [
      '429 may ask for more time',
      input({ httpStatus: 429, retryAfter: '60' }),
      { next: { status: 'pending', dueAt: NOW + 60_000 } },
    ],
    [
      '503 may too',
      input({ httpStatus: 503, retryAfter: '60' }),
      { next: { status: 'pending', dueAt: NOW + 60_000 } },
    ],
    [
      'but not for less than the schedule',
      input({ httpStatus: 503, retryAfter: '1' }),
      { next: { status: 'pending', dueAt: NOW + 5_000 } },
    ],
    ['a 500 may not', input({ retryAfter: '60' }), { next: { status: 'pending', dueAt: NOW + 5_000 } }],
    [
      'retry-after does not lengthen the schedule',
      input({ httpStatus: 429, retryAfter: '60' }, { failures: 2 }),
      { next: { status: 'dead', reason: 'all 2 retries failed; last: it answered HTTP 500' } },
    ],
    [
      'a dead idle connection costs no retry: the next attempt is due at once',
      input({ outcome: 'stale_connection', httpStatus: null }, { failures: 1 }),
      { next: { status: 'pending', dueAt: NOW } },
    ],
    [
      'a dead idle connection is no end, without retries or after the last one',
      input({ outcome: 'stale_connection', httpStatus: null }, { failures: 2 }),
      { next: { status: 'pending', dueAt: NOW } },
    ],
    [
      'a failure of the egress proxy is retried by the schedule',
      input({ outcome: 'proxy_error', httpStatus: null }),
      { next: { status: 'pending', dueAt: NOW + 5_000 } },
    ],
  ];
  for (const [name, given, expected] of table) {
    test(name, () => assert.deepEqual(decide(given), expected));
  }

  test('a retry never comes before its schedule less jitter, nor after a day or the schedule plus jitter', () => {
    fc.assert(
      fc.property(
        fc.constantFrom(
          ...ATTEMPT_OUTCOMES.filter((each) => each !== 'success' && each !== 'stale_connection'),
        ),
        fc.constantFrom(null, 200, 301, 404, 429, 500, 503),
        fc.option(fc.oneof(fc.string(), fc.integer().map(String))),
        fc.array(fc.nat(48 * 3_600_000), { minLength: 1, maxLength: 9 }),
        fc.nat(12),
        fc.double({ min: 0, max: 1, maxExcluded: true, noNaN: true }),
        (outcome, httpStatus, retryAfter, scheduleMs, failures, random) => {
          const { next } = decide(
            input({ outcome, httpStatus, retryAfter }, { scheduleMs, failures, random }),
          );
          const delayMs = scheduleMs[failures];
          if (delayMs === undefined) return assert.equal(next.status, 'dead');
          assert.ok(next.status === 'pending');
          assert.ok(Number.isInteger(next.dueAt));
          assert.ok(next.dueAt >= NOW + Math.floor(delayMs * 0.9));
          assert.ok(next.dueAt <= NOW + Math.max(MAX_RETRY_AFTER_MS, Math.ceil(delayMs * 1.1)));
        },
      ),
    );
  });
});

test('whatever a receiver answers, its schedule ends after as many retries as it has, each later than the one before', () => {
  const failed = fc.record({
    outcome: fc.constantFrom(
      ...ATTEMPT_OUTCOMES.filter((outcome) => outcome !== 'success' && outcome !== 'stale_connection'),
    ),
    httpStatus: fc.constantFrom(null, 200, 301, 404, 429, 500, 503),
    retryAfter: fc.option(fc.oneof(fc.string(), fc.integer().map(String))),
    random: fc.double({ min: 0, max: 1, maxExcluded: true, noNaN: true }),
    takesMs: fc.integer({ min: 1, max: 30_000 }),
  });
  const schedule = fc.array(fc.integer({ min: 1, max: 48 * 3_600_000 }), { maxLength: 9 });
  fc.assert(
    fc.property(schedule, fc.array(failed, { minLength: 11, maxLength: 11 }), (scheduleMs, attempts) => {
      let now = NOW;
      let failures = 0;
      for (const { random, takesMs, ...result } of attempts) {
        now += takesMs;
        const { next } = decide(input(result, { scheduleMs, failures, random, now }));
        if (next.status === 'dead') break;
        assert.ok(next.status === 'pending');
        assert.ok(next.dueAt >= now, 'never in the past');
        const longest = Math.max(MAX_RETRY_AFTER_MS, Math.ceil((scheduleMs[failures] ?? 0) * 1.1));
        assert.ok(next.dueAt <= now + longest);
        now = next.dueAt;
        failures += 1;
      }
      assert.equal(failures, scheduleMs.length);
    }),
  );
});

describe('retry-after', () => {
  const inAMinute = new Date(NOW + 60_000).toUTCString();
  const aMinuteAgo = new Date(NOW - 60_000).toUTCString();
  const table: [string | null, number][] = [
    [null, 0],
    ['', 0],
    ['0', 0],
    ['120', 120_000],
    [' 120 ', 120_000],
    ['-5', 0],
    ['1.5', 0],
    ['soon', 0],
    ['1e3', 0],
    ['120, 60', 0],
    ['2099', 2_099_000],
    ['315360000', MAX_RETRY_AFTER_MS],
    ['9'.repeat(400), MAX_RETRY_AFTER_MS],
    [inAMinute, 60_000],
    [aMinuteAgo, 0],
    ['Fri, 01 Jan 2100 00:00:00 GMT', MAX_RETRY_AFTER_MS],
    ['Fri, 99 Xxx 2100 00:00:00 GMT', 0],
  ];
  for (const [header, expected] of table) {
    const shown = (header ?? 'no header').slice(0, 40);
    test(`${JSON.stringify(shown)} asks for ${expected} ms`, () => {
      assert.equal(retryAfterMs(header, NOW), expected);
    });
  }
});
