import assert from 'node:assert/strict';
import { describe } from 'node:test';
import type { Attempt, StatsPoint } from '../../src/model.ts';
import type { StatsQuery, StatsResult } from '../../src/store/store.ts';
import {
  DAY_MS,
  deadAt,
  deliveredAt,
  HOUR_MS,
  MINUTE_MS,
  retryingAt,
  SCRIPT,
  SECOND_MS,
  VIDEO,
} from '../support/store-fixtures.ts';
import type { Bench, StoreTest } from './bench.ts';

/** The counts of a point, without its latencies. */
function counts({ at, key, delivered, failedAttempts, dead }: StatsPoint) {
  return { at, key, delivered, failedAttempts, dead };
}

function byKey(points: readonly StatsPoint[]) {
  return points.map(counts).toSorted((a, b) => a.at - b.at || ((a.key ?? '') < (b.key ?? '') ? -1 : 1));
}

/** One event with one delivery, which takes the attempts in turn and ends with the last: delivered, or dead. */
async function deliver(
  bench: Bench,
  username: string,
  attempts: Partial<Attempt>[],
  event = VIDEO,
): Promise<void> {
  await bench.publish(username, { event });
  for (const [n, attempt] of attempts.entries()) {
    const lease = await bench.claimOne();
    const now = bench.now();
    if ((attempt.outcome ?? 'success') === 'success') await bench.settleOne(deliveredAt(lease, now, attempt));
    else if (n < attempts.length - 1) await bench.settleOne(retryingAt(lease, now, now, attempt));
    else await bench.settleOne(deadAt(lease, now, 'the end', attempt));
  }
}

/** Statistics of the hour in which the clock stands, unless the query says otherwise. */
function stats(bench: Bench, query: Partial<StatsQuery> & { username: string | null }): Promise<StatsResult> {
  const since = bench.now() - (bench.now() % HOUR_MS);
  return bench.store.stats({ since, until: since + HOUR_MS, intervalMs: HOUR_MS, by: null, ...query });
}

function assertWithin5Percent(actual: number | null | undefined, expected: number, what: string): void {
  assert.ok(
    typeof actual === 'number' && Math.abs(actual - expected) <= expected * 0.05,
    `${what} is ${actual}, expected ${expected} within 5 %`,
  );
}

export function statsTests(test: StoreTest): void {
  describe('statistics', () => {
    test('without attempts there is no series, and the total is zero', async (bench) => {
      const username = await bench.account();
      await bench.advanceInto(HOUR_MS, 5 * MINUTE_MS);
      const { series, totals } = await stats(bench, { username });
      assert.deepEqual(series, []);
      const at = bench.now() - (bench.now() % HOUR_MS);
      assert.deepEqual(totals, [
        { at, key: null, delivered: 0, failedAttempts: 0, dead: 0, p50Ms: null, p95Ms: null },
      ]);
    });

    test('deliveries, failed attempts and dead ones are counted', async (bench) => {
      const { username } = await bench.subscriber();
      await bench.advanceInto(HOUR_MS, 5 * MINUTE_MS);
      await deliver(bench, username, [{}]);
      await deliver(bench, username, [
        { outcome: 'timeout', httpStatus: null },
        { outcome: 'http_error' },
        {},
      ]);
      await deliver(bench, username, [{ outcome: 'reset', httpStatus: null }, { outcome: 'http_error' }]);
      const at = bench.now() - (bench.now() % HOUR_MS);
      const expected = { at, key: null, delivered: 2, failedAttempts: 4, dead: 1 };
      const { series, totals } = await stats(bench, { username });
      assert.deepEqual(series.map(counts), [expected]);
      assert.deepEqual(totals.map(counts), [expected]);
    });

    test('deliveries that were never attempted or cancelled don’t count', async (bench) => {
      const { username, endpoint } = await bench.subscriber();
      await bench.advanceInto(HOUR_MS, 5 * MINUTE_MS);
      await bench.publishMany(username, 3);
      await bench.claimOne({ limit: 1 });
      await bench.store.updateEndpoint(username, endpoint.endpointId, { status: 'disabled' });
      assert.deepEqual((await stats(bench, { username })).series, []);
    });

    test('a stale settlement doesn’t count', async (bench) => {
      const { username } = await bench.subscriber();
      await bench.advanceInto(HOUR_MS, 5 * MINUTE_MS);
      await bench.publish(username);
      const lease = await bench.claimOne();
      const settlement = deliveredAt(lease, bench.now());
      await bench.settle(settlement, settlement);
      await bench.settle({ ...settlement, token: 'wrong' });
      assert.equal((await stats(bench, { username })).totals[0]?.delivered, 1);
    });

    test('points are told apart by endpoint, by event type and by outcome', async (bench) => {
      const username = await bench.account();
      const video = await bench.endpoint(username, { events: [VIDEO] });
      const script = await bench.endpoint(username, { events: [SCRIPT] });
      await bench.advanceInto(HOUR_MS, 5 * MINUTE_MS);
      await deliver(bench, username, [{}], VIDEO);
      await deliver(bench, username, [{ outcome: 'timeout', httpStatus: null }, {}], VIDEO);
      await deliver(
        bench,
        username,
        [{ outcome: 'timeout', httpStatus: null }, { outcome: 'http_error' }],
        SCRIPT,
      );
      const at = bench.now() - (bench.now() % HOUR_MS);
      const ofVideo = { at, delivered: 2, failedAttempts: 1, dead: 0 };
      const ofScript = { at, delivered: 0, failedAttempts: 2, dead: 1 };

      const byEndpoint = [
        { ...ofVideo, key: video.endpointId },
        { ...ofScript, key: script.endpointId },
      ];
      const byEvent = [
        { ...ofScript, key: SCRIPT },
        { ...ofVideo, key: VIDEO },
      ];
      for (const [by, expected] of [
        ['endpoint', byEndpoint],
        ['event', byEvent],
      ] as const) {
        const { series, totals } = await stats(bench, { username, by });
        assert.deepEqual(
          byKey(series),
          expected.toSorted((a, b) => (a.key < b.key ? -1 : 1)),
          by,
        );
        assert.deepEqual(byKey(totals), byKey(series), by);
      }

      const { series, totals } = await stats(bench, { username, by: 'status' });
      assert.deepEqual(byKey(series), [
        { at, key: 'http_error', delivered: 0, failedAttempts: 1, dead: 1 },
        { at, key: 'success', delivered: 2, failedAttempts: 0, dead: 0 },
        { at, key: 'timeout', delivered: 0, failedAttempts: 2, dead: 0 },
      ]);
      assert.deepEqual(byKey(totals), byKey(series));
    });

    test('an account sees its own, an operator all', async (bench) => {
      const one = await bench.subscriber();
      const two = await bench.subscriber();
      await bench.advanceInto(HOUR_MS, 5 * MINUTE_MS);
      await deliver(bench, one.username, [{}]);
      await deliver(bench, two.username, [{}]);
      await deliver(bench, two.username, [{}]);
      const delivered = async (username: string | null) =>
        (await stats(bench, { username })).totals[0]?.delivered;
      assert.equal(await delivered(one.username), 1);
      assert.equal(await delivered(two.username), 2);
      assert.equal(await delivered(null), 3);
      assert.equal(await delivered('nobody'), 0);
      const { totals } = await stats(bench, { username: null, by: 'event' });
      assert.deepEqual(
        totals.map(({ key, delivered }) => ({ key, delivered })),
        [{ key: VIDEO, delivered: 3 }],
      );
    });

    test('the series has a point for each interval with attempts, oldest first', async (bench) => {
      const { username } = await bench.subscriber();
      await bench.advanceInto(HOUR_MS, 10 * SECOND_MS);
      const start = bench.now() - (bench.now() % HOUR_MS);
      const minutes = [0, 1, 5, 6];
      for (const minute of minutes) {
        await bench.advance(start + minute * MINUTE_MS + 10 * SECOND_MS - bench.now());
        for (let n = 0; n <= minute; n++) await deliver(bench, username, [{}]);
      }
      const byMinute = await stats(bench, { username, intervalMs: MINUTE_MS });
      assert.deepEqual(
        byMinute.series.map(({ at, delivered }) => ({ at, delivered })),
        minutes.map((minute) => ({ at: start + minute * MINUTE_MS, delivered: minute + 1 })),
      );
      assert.deepEqual(
        byMinute.totals.map(({ at, delivered }) => ({ at, delivered })),
        [{ at: start, delivered: 16 }],
      );
      const by5Minutes = await stats(bench, { username, intervalMs: 5 * MINUTE_MS });
      assert.deepEqual(
        by5Minutes.series.map(({ at, delivered }) => ({ at, delivered })),
        [
          { at: start, delivered: 3 },
          { at: start + 5 * MINUTE_MS, delivered: 13 },
        ],
      );
    });

    test('the range takes intervals from `since` on and those before `until`', async (bench) => {
      const { username } = await bench.subscriber();
      await bench.advanceInto(HOUR_MS, 10 * SECOND_MS);
      const start = bench.now() - (bench.now() % HOUR_MS);
      for (let minute = 0; minute < 4; minute++) {
        await deliver(bench, username, [{}]);
        await bench.advance(MINUTE_MS);
      }
      const { series, totals } = await stats(bench, {
        username,
        since: start + MINUTE_MS,
        until: start + 3 * MINUTE_MS,
        intervalMs: MINUTE_MS,
      });
      assert.deepEqual(
        series.map((point) => point.at),
        [start + MINUTE_MS, start + 2 * MINUTE_MS],
      );
      assert.equal(totals[0]?.delivered, 2);
      assert.equal(totals[0]?.at, start + MINUTE_MS);
    });

    test('latency percentiles are within 5 % of the truth', async (bench) => {
      const { username } = await bench.subscriber();
      await bench.advanceInto(HOUR_MS, 5 * MINUTE_MS);
      await bench.publishMany(username, 1_000);
      const leases = await bench.claim();
      // Scattered, so that no order of arrival helps.
      const durations = leases.map((_, n) => ((n * 377) % 1_000) * 5 + 5);
      await bench.settle(
        ...leases.map((lease, n) => deliveredAt(lease, bench.now(), { durationMs: durations[n] as number })),
      );
      const { series, totals } = await stats(bench, { username });
      for (const point of [series[0], totals[0]]) {
        assertWithin5Percent(point?.p50Ms, 2_500, 'p50');
        assertWithin5Percent(point?.p95Ms, 4_750, 'p95');
      }
    });

    test('percentiles of intervals add up to those of the whole range, failures included', async (bench) => {
      const { username } = await bench.subscriber();
      await bench.advanceInto(HOUR_MS, 10 * SECOND_MS);
      for (const durationMs of [10, 1_000]) {
        await bench.publishMany(username, 50);
        const leases = await bench.claim();
        await bench.settle(
          ...leases.map((lease) =>
            durationMs === 10
              ? deliveredAt(lease, bench.now(), { durationMs })
              : deadAt(lease, bench.now(), 'the end', { durationMs }),
          ),
        );
        await bench.advance(MINUTE_MS);
      }
      const { series, totals } = await stats(bench, { username, intervalMs: MINUTE_MS });
      assertWithin5Percent(series[0]?.p95Ms, 10, 'p95 of the first minute');
      assertWithin5Percent(series[1]?.p50Ms, 1_000, 'p50 of the second minute');
      assertWithin5Percent(totals[0]?.p95Ms, 1_000, 'p95 of both');
    });

    for (const durationMs of [1, 7, 100, 4_999, 30_000]) {
      test(`a single attempt of ${durationMs} ms is every percentile, within 5 %`, async (bench) => {
        const { username } = await bench.subscriber();
        await bench.advanceInto(HOUR_MS, 5 * MINUTE_MS);
        await deliver(bench, username, [{ durationMs }]);
        const { totals } = await stats(bench, { username });
        assertWithin5Percent(totals[0]?.p50Ms, durationMs, 'p50');
        assertWithin5Percent(totals[0]?.p95Ms, durationMs, 'p95');
      });
    }

    test('what a dead idle connection cost is neither a failure nor a latency of the receiver', async (bench) => {
      const { username } = await bench.subscriber();
      await bench.advanceInto(HOUR_MS, 5 * MINUTE_MS);
      await deliver(bench, username, [
        { outcome: 'stale_connection', durationMs: 20_000 },
        { outcome: 'success', durationMs: 10 },
      ]);
      const { series, totals } = await stats(bench, { username, by: 'status' });
      assert.deepEqual(
        series.map(({ key }) => key),
        ['success'],
      );
      assert.deepEqual(
        totals.map(({ failedAttempts }) => failedAttempts),
        [0],
      );
      assertWithin5Percent((await stats(bench, { username })).totals[0]?.p95Ms, 10, 'p95');
    });

    test('an attempt of 0 ms is no error', async (bench) => {
      const { username } = await bench.subscriber();
      await bench.advanceInto(HOUR_MS, 5 * MINUTE_MS);
      await deliver(bench, username, [{ durationMs: 0 }]);
      const p50Ms = (await stats(bench, { username })).totals[0]?.p50Ms;
      assert.ok(typeof p50Ms === 'number' && p50Ms >= 0 && p50Ms <= 1, `p50 is ${p50Ms}`);
    });

    test('statistics older than a day are kept by the hour, in full', async (bench) => {
      const { username } = await bench.subscriber();
      await bench.advanceInto(HOUR_MS, 10 * SECOND_MS);
      const since = bench.now() - (bench.now() % HOUR_MS);
      for (let n = 0; n < 3; n++) {
        await deliver(bench, username, [{ durationMs: 100 }]);
        await bench.advance(20 * MINUTE_MS);
      }
      await deliver(bench, username, [{ durationMs: 100, outcome: 'http_error' }]);
      await bench.advance(2 * DAY_MS);
      await bench.purgeAll(since - DAY_MS);
      const { series, totals } = await stats(bench, { username, since, until: since + 2 * HOUR_MS });
      assert.deepEqual(series.map(counts), [
        { at: since, key: null, delivered: 3, failedAttempts: 0, dead: 0 },
        { at: since + HOUR_MS, key: null, delivered: 0, failedAttempts: 1, dead: 1 },
      ]);
      assert.deepEqual(counts(totals[0] as StatsPoint), {
        at: since,
        key: null,
        delivered: 3,
        failedAttempts: 1,
        dead: 1,
      });
      assertWithin5Percent(totals[0]?.p50Ms, 100, 'p50');
    });

    test('what was added up says the same as what it was added up from, of an account, of all, and of those that are left', async (bench) => {
      const { username } = await bench.subscriber();
      const other = await bench.subscriber();
      await bench.advanceInto(HOUR_MS, 10 * SECOND_MS);
      const since = bench.now() - (bench.now() % HOUR_MS);
      for (const [n, who] of [username, other.username, username].entries()) {
        await deliver(bench, who, [
          { durationMs: 100 * (n + 1), outcome: n === 2 ? 'http_error' : 'success' },
        ]);
        await bench.advance(40 * MINUTE_MS);
      }
      await bench.advance(2 * DAY_MS);
      await bench.purgeAll(since - DAY_MS);
      // Of the day before yesterday, and of now.
      await deliver(bench, username, [{ durationMs: 100 }]);
      const until = bench.now() + HOUR_MS;
      for (const who of [username, other.username, null]) {
        const whole = await stats(bench, { username: who, since, until });
        // By type nothing was added up.
        const byType = await stats(bench, { username: who, since, until, by: 'event' });
        assert.deepEqual(
          whole.series.map((point) => ({ ...point, key: VIDEO })),
          byType.series,
        );
        const byOutcome = await stats(bench, { username: who, since, until, by: 'status' });
        const deliveredOf = (result: StatsResult) =>
          result.totals.reduce((sum, { delivered }) => sum + delivered, 0);
        assert.equal(deliveredOf(byOutcome), deliveredOf(whole));
      }
      assert.equal((await stats(bench, { username: null, since, until })).totals[0]?.delivered, 3);
      await bench.store.deleteAccount(other.username);
      await bench.purgeAll(since - DAY_MS);
      const left = await stats(bench, { username: null, since, until });
      assert.equal(left.totals[0]?.delivered, 2, 'the deleted account’s are out');
      await bench.purgeAll(until);
      assert.deepEqual(
        (await stats(bench, { username: null, since, until: since + 2 * HOUR_MS })).series,
        [],
      );
    });

    test('a clock that went back hides nothing behind what was added up by its wrong time', async (bench) => {
      const { username } = await bench.subscriber();
      await bench.advanceInto(HOUR_MS, 10 * SECOND_MS);
      const since = bench.now() - (bench.now() % HOUR_MS);
      await deliver(bench, username, [{ durationMs: 100 }]);
      await bench.advance(3 * DAY_MS);
      await bench.purgeAll(since - DAY_MS);
      await bench.advance(-3 * DAY_MS);
      await deliver(bench, username, [{ durationMs: 100 }]);
      await bench.purgeAll(since - DAY_MS);
      for (const who of [username, null]) {
        const { totals } = await stats(bench, { username: who, since, until: since + HOUR_MS });
        assert.equal(totals[0]?.delivered, 2);
      }
    });
  });
}
