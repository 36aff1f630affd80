import assert from 'node:assert/strict';
import { join } from 'node:path';
import { describe, test } from 'node:test';
import { idFactory, systemClock } from '../src/clock.ts';
import { type AttemptReport, Dispatcher, type StoreCall } from '../src/delivery/dispatcher.ts';
import { createRequester } from '../src/delivery/request.ts';
import { bodySignature, standardSignature } from '../src/delivery/sign.ts';
import { StoreClock } from '../src/delivery/store-clock.ts';
import { invalid, unavailable } from '../src/errors.ts';
import { openSqliteStore } from '../src/store/sqlite/index.ts';
import type { Lease, Store } from '../src/store/store.ts';
import { Bench, SECRET, settled } from './support/dispatching.ts';
import { ManualClock } from './support/manual-clock.ts';
import { inTurn, respond, startReceiver } from './support/receivers.ts';
import { newEndpoint, newEvent } from './support/store-fixtures.ts';
import { tempDir } from './support/tempdir.ts';

const LEASE_MS = 90_000;

function started(...options: ConstructorParameters<typeof Bench>): Bench {
  const bench = new Bench(...options);
  bench.dispatcher.start();
  return bench;
}

describe('an attempt', () => {
  test('sends the body under both signatures and logs custom headers without their values', async () => {
    const bench = started();
    const previousSecret = 'whsec_C2FVsBQIhrscChlQIMV+b5sSYspob7oD';
    const lease = bench.lease('wh_1', {
      attempts: 2,
      manual: true,
      endpoint: {
        headers: '{"X-Token":"confidential","Content-Type":"text/plain"}',
        previousSecret,
        previousSecretExpiresAt: bench.clock.now() + 1,
        timeoutMs: 7_000,
      },
    });
    bench.accept(lease);
    const { spec } = bench.requests[0]!;
    const seconds = Math.floor(bench.clock.now() / 1000);
    const { eventId, body } = lease.event;
    const expected = {
      'x-token': 'confidential',
      'content-type': 'application/json',
      'user-agent': 'Posthorn-Webhook/test',
      'x-webhook-event': 'generated_video_success',
      'x-webhook-signature': bodySignature(SECRET, Buffer.from(body)),
      'webhook-id': eventId,
      'webhook-timestamp': String(seconds),
      'webhook-signature': [SECRET, previousSecret]
        .map((secret) => standardSignature(secret, eventId, seconds, Buffer.from(body)))
        .join(' '),
    };
    assert.deepEqual(spec.headers, expected);
    assert.equal(spec.body.toString(), body);
    assert.equal(spec.timeoutMs, 7_000);
    await bench.answerNext(200);
    const { attempt, next } = bench.batches[0]![0]!;
    assert.deepEqual(next, { status: 'delivered' });
    assert.deepEqual(attempt, {
      number: 3,
      startedAt: bench.clock.now(),
      durationMs: 12,
      outcome: 'success',
      httpStatus: 200,
      error: null,
      url: lease.endpoint.url,
      requestHeaders: { ...expected, 'x-token': '***' },
      responseHeaders: {},
      responseBody: '',
      responseTruncated: false,
      manual: true,
    });
  });

  test('signs with the new secret alone once the overlap is over', () => {
    const bench = started();
    bench.accept(
      bench.lease('wh_1', {
        endpoint: { previousSecret: SECRET, previousSecretExpiresAt: bench.clock.now() },
      }),
    );
    assert.doesNotMatch(bench.requests[0]!.spec.headers['webhook-signature']!, / /);
  });

  test('whose secret does not open is a failed one, told without the cause', async () => {
    const bench = started(
      {},
      {
        open: {
          secret: () => {
            throw new Error('sealed with key 0123abcd');
          },
          headers: () => ({}),
        },
      },
    );
    bench.accept(bench.lease('wh_1'));
    await settled();
    const [report] = bench.reports;
    assert.equal(report?.attempt.outcome, 'protocol_error');
    assert.match(report?.attempt.error ?? '', /secret or custom headers could not be read/);
    assert.doesNotMatch(report?.attempt.error ?? '', /0123abcd/);
    assert.equal(report?.next, 'pending');
    assert.equal(bench.errors.length, 1);
  });

  test('is reported with what the store made of it', async () => {
    const bench = started();
    const lease = bench.lease('wh_1');
    bench.settle = (batch) =>
      Promise.resolve({
        results: batch.map(() => ({ outcome: 'settled', status: 'cancelled' })),
        leases: [],
        nextDueAt: null,
      });
    bench.accept(lease);
    await bench.answerNext(500);
    const { attempt: _attempt, waitedMs: _waitedMs, ...report } = bench.reports[0]!;
    assert.deepEqual(report, {
      username: 'alice',
      eventId: lease.event.eventId,
      event: lease.event.event,
      deliveryId: lease.deliveryId,
      endpointId: 'wh_1',
      next: 'cancelled',
      nextAttemptAt: null,
      traceId: null,
    });
  });
});

describe('what telemetry is told', () => {
  test('how long a delivery waited for its first attempt, and of no later or asked-for one', async () => {
    const bench = new Bench();
    bench.dispatcher.start();
    const makeId = idFactory();
    const leases = [{}, { attempts: 1 }, { manual: true }].map((changes, i) =>
      bench.lease(`wh_${i}`, { deliveryId: makeId('dlv', bench.clock.now() - 1_500), ...changes }),
    );
    bench.accept(...leases);
    for (const _ of leases) await bench.answerNext(200);
    const waited = new Map(bench.reports.map(({ deliveryId, waitedMs }) => [deliveryId, waitedMs]));
    assert.deepEqual(
      leases.map(({ deliveryId }) => waited.get(deliveryId)),
      [1_500, null, null],
    );
  });

  test('every call that moves leases, and whether the store did it', async () => {
    const calls: StoreCall[] = [];
    const bench = new Bench({}, { onStoreCall: (call) => calls.push(call) });
    bench.claim = () => Promise.reject(new Error('away'));
    bench.dispatcher.start();
    await bench.advance(0);
    assert.deepEqual(calls.shift(), { operation: 'claim', items: 0, leases: 0, durationMs: 0, done: false });
    const settle = bench.settle;
    bench.settle = () => Promise.reject(new Error('away'));
    bench.accept(bench.lease('wh_1'));
    await bench.answerNext(200);
    assert.deepEqual(calls.shift(), { operation: 'settle', items: 1, leases: 0, durationMs: 0, done: false });
    bench.claim = () => Promise.resolve({ leases: [], nextDueAt: null });
    bench.settle = async (batch) => ({ ...(await settle(batch)), leases: [bench.lease('wh_2')] });
    await bench.advance(150);
    const settled = calls.find(({ operation }) => operation === 'settle');
    assert.partialDeepStrictEqual(settled, { operation: 'settle', items: 1, leases: 1, done: true });
    bench.dispatcher.endpointChanged('wh_3');
    bench.accept(bench.lease('wh_3'));
    await bench.advance(0);
    assert.ok(calls.some(({ operation, items }) => operation === 'release' && items === 1));
  });

  test('leases that are given back because too little of them is left', async () => {
    let expired = 0;
    const bench = new Bench({}, { onLeasesExpired: (count) => (expired += count) });
    bench.dispatcher.start();
    bench.dispatcher.accept(
      { leases: [bench.lease('wh_1')], nextDueAt: null },
      bench.clock.monotonic() - 85_000,
    );
    await bench.advance(0);
    assert.equal(expired, 1);
    assert.equal(bench.requests.length, 0);
  });
});

describe('lanes', () => {
  test('bound what one endpoint runs and take turns for the rest', async () => {
    const bench = started({ laneLimit: 2, inFlightLimit: 3 });
    bench.accept(...Array.from({ length: 4 }, () => bench.lease('wh_slow')), bench.lease('wh_other'));
    assert.deepEqual(bench.running, ['wh_slow', 'wh_other', 'wh_slow']);
    bench.accept(bench.lease('wh_third'));
    assert.deepEqual(bench.dispatcher.depth, { inFlight: 3, ready: 3, settling: 0 });
    await bench.answerNext();
    assert.deepEqual(bench.running, ['wh_other', 'wh_slow', 'wh_third']);
    await bench.answerNext();
    assert.deepEqual(bench.running, ['wh_slow', 'wh_third', 'wh_slow']);
  });

  test('keep the rate that an endpoint asked for', async () => {
    const bench = started({ laneLimit: 10, inFlightLimit: 10 });
    const endpoint = { rateLimitPerSecond: 2 };
    bench.accept(...Array.from({ length: 4 }, () => bench.lease('wh_1', { endpoint })));
    assert.equal(bench.requests.length, 1);
    await bench.advance(499);
    assert.equal(bench.requests.length, 1);
    await bench.advance(1);
    assert.equal(bench.requests.length, 2);
    await bench.advance(1_000);
    assert.equal(bench.requests.length, 4);
  });

  test('give a lease back that is too short for an attempt', async () => {
    const bench = started({ laneLimit: 1 });
    const lease = bench.lease('wh_1');
    bench.accept(bench.lease('wh_1'), lease);
    // 10 s are needed: the attempt's 5, and 5 to write it.
    await bench.advance(LEASE_MS - 9_999);
    await bench.answerNext();
    assert.equal(bench.requests.length, 0);
    const { username, deliveryId, token } = lease;
    assert.deepEqual(bench.released, [{ username, deliveryId, token }]);
  });

  test('count a lease from when the store was asked for it, not from when it answered', async () => {
    const bench = started();
    const askedAtMs = bench.clock.monotonic();
    await bench.advance(LEASE_MS - 9_999);
    bench.dispatcher.accept({ leases: [bench.lease('wh_1')], nextDueAt: null }, askedAtMs);
    assert.equal(bench.requests.length, 0);
    assert.equal(bench.released.length, 1);
  });
});

describe('the offer', () => {
  test('shrinks with what is held and ends when the dispatcher is full', async () => {
    const bench = started({ laneLimit: 2, inFlightLimit: 2 });
    const limits = [];
    for (let offer = bench.dispatcher.offer(); offer !== null; offer = bench.dispatcher.offer()) {
      limits.push([offer.limit, offer.laneLimit]);
      bench.accept(bench.lease('wh_1'));
    }
    // Of a lane twelve times what runs while less is held than may run in all, then twice that.
    assert.deepEqual(limits, [
      [2, 24],
      [2, 24],
      [2, 4],
      [2, 4],
      [2, 4],
      [1, 4],
    ]);
    await bench.answerNext();
    assert.equal(bench.dispatcher.offer()?.limit, 1);
  });

  test('is narrow while large bodies are held, so that they stay within bounds', async () => {
    const bench = started({ laneLimit: 2, inFlightLimit: 2 });
    const lease = bench.lease('wh_1');
    bench.accept({ ...lease, event: { ...lease.event, body: 'x'.repeat(16 * 1024 * 1024 + 1) } });
    assert.deepEqual(bench.dispatcher.offer(), { limit: 3, laneLimit: 4, leaseMs: 90_000 });
    await bench.answerNext();
    assert.deepEqual(bench.dispatcher.offer(), { limit: 2, laneLimit: 24, leaseMs: 90_000 });
  });

  test("holds nothing of a lane in reserve where others share the store: each's reserve would run beside the other's", () => {
    const bench = started({ laneLimit: 2, inFlightLimit: 2, sharedStore: true });
    assert.deepEqual(bench.dispatcher.offer(), { limit: 4, laneLimit: 2, leaseMs: 90_000 });
  });

  test('holds a reserve of a shared store for as long as nobody else leases from it', () => {
    const bench = started({ laneLimit: 2, inFlightLimit: 2, sharedStore: true });
    bench.isSoleDeliverer = true;
    assert.deepEqual(bench.dispatcher.offer(), { limit: 2, laneLimit: 24, leaseMs: 90_000 });
    bench.isSoleDeliverer = false;
    assert.deepEqual(bench.dispatcher.offer(), { limit: 4, laneLimit: 2, leaseMs: 90_000 });
  });

  test('stands neither before the start nor after the stop', async () => {
    const bench = new Bench();
    assert.equal(bench.dispatcher.offer(), null);
    bench.dispatcher.start();
    assert.notEqual(bench.dispatcher.offer(), null);
    await bench.dispatcher.stop(0);
    assert.equal(bench.dispatcher.offer(), null);
  });
});

describe('settling', () => {
  test('writes a lone attempt at once and what ends meanwhile in one batch', async () => {
    const bench = started({ laneLimit: 10, inFlightLimit: 10 });
    const settle = bench.settle;
    const commit = Promise.withResolvers<void>();
    bench.settle = (batch) => commit.promise.then(() => settle(batch));
    bench.accept(bench.lease('wh_1'), bench.lease('wh_1'), bench.lease('wh_2'));
    await bench.answerNext();
    await bench.answerNext();
    await bench.answerNext();
    assert.deepEqual(
      bench.batches.map((batch) => batch.length),
      [1],
    );
    assert.equal(bench.dispatcher.depth.settling, 3);
    commit.resolve();
    await settled();
    assert.deepEqual(
      bench.batches.map((batch) => batch.length),
      [1, 2],
    );
    assert.equal(bench.reports.length, 3);
    assert.deepEqual(bench.dispatcher.depth, { inFlight: 0, ready: 0, settling: 0 });
  });

  test('makes a second call beside one that is being written, for 50 attempts or more, and no third', async () => {
    const bench = started({ laneLimit: 200, inFlightLimit: 200 });
    const settle = bench.settle;
    const commit = Promise.withResolvers<void>();
    bench.settle = (batch) => commit.promise.then(() => settle(batch));
    bench.accept(...Array.from({ length: 160 }, () => bench.lease('wh_1')));
    const sizesAfter = async (count: number) => {
      for (let i = 0; i < count; i++) await bench.answerNext();
      return bench.batches.map((batch) => batch.length);
    };
    assert.deepEqual(await sizesAfter(50), [1]);
    assert.deepEqual(await sizesAfter(1), [1, 50]);
    assert.deepEqual(await sizesAfter(109), [1, 50]);
    commit.resolve();
    await settled();
    assert.deepEqual(await sizesAfter(0), [1, 50, 109]);
    assert.equal(bench.reports.length, 160);
  });

  test('writes what two calls failed to write once each when the store is back', async () => {
    const bench = started({ laneLimit: 200, inFlightLimit: 200 });
    const settle = bench.settle;
    const away = Promise.withResolvers<never>();
    bench.settle = () => away.promise;
    bench.accept(...Array.from({ length: 60 }, () => bench.lease('wh_1')));
    for (let i = 0; i < 60; i++) await bench.answerNext();
    assert.equal(bench.batches.length, 2);
    away.reject(unavailable('the disk is full'));
    await settled();
    await bench.advance(100);
    assert.equal(bench.batches.length, 3);
    await bench.advance(199);
    // Two that failed together are one failure, with one time to wait for.
    assert.equal(bench.batches.length, 3);
    assert.equal(bench.reports.length, 0);
    bench.settle = settle;
    await bench.advance(1);
    assert.equal(new Set(bench.reports.map(({ deliveryId }) => deliveryId)).size, 60);
    assert.equal(bench.reports.length, 60);
  });

  test('claims with the settlement: what is due needs no call of its own', async () => {
    const bench = started({ laneLimit: 10, inFlightLimit: 10 });
    const settle = bench.settle;
    bench.settle = async (batch) => ({ ...(await settle(batch)), nextDueAt: bench.clock.now() - 1 });
    bench.accept(bench.lease('wh_1'));
    await settled();
    const before = bench.claims.length;
    bench.dispatcher.wake();
    await bench.answerNext();
    await bench.advance(10);
    assert.equal(bench.claims.length, before);
  });

  test('attempts what a settlement leased', async () => {
    const bench = started();
    const settle = bench.settle;
    const leases = [bench.lease('wh_next')];
    bench.settle = async (batch) => ({ ...(await settle(batch)), leases: leases.splice(0) });
    bench.accept(bench.lease('wh_1'));
    await bench.answerNext();
    assert.deepEqual(bench.running, ['wh_next']);
  });

  test('keeps settlements and slots while the store is away, and writes them when it is back', async () => {
    const bench = started({ laneLimit: 2, inFlightLimit: 1 });
    const settle = bench.settle;
    bench.settle = () => Promise.reject(unavailable('the disk is full'));
    bench.accept(bench.lease('wh_1'), bench.lease('wh_2'), bench.lease('wh_3'));
    for (let i = 0; i < 3; i++) await bench.answerNext();
    assert.equal(bench.dispatcher.offer(), null);
    assert.deepEqual(bench.reports, []);
    await bench.advance(100);
    bench.settle = settle;
    await bench.advance(200);
    assert.equal(bench.reports.length, 3);
    assert.equal(bench.dispatcher.offer()?.limit, 1);
  });

  test('drops the one settlement that the store refuses, and writes the others', async () => {
    const bench = started();
    const poison = bench.lease('wh_1');
    const settle = bench.settle;
    const commit = Promise.withResolvers<void>();
    bench.settle = async (batch) => {
      await commit.promise;
      if (batch.some((one) => one.deliveryId === poison.deliveryId)) throw invalid('attempt', 'no');
      return settle(batch);
    };
    bench.accept(bench.lease('wh_2'), poison, bench.lease('wh_3'));
    for (let i = 0; i < 3; i++) await bench.answerNext();
    commit.resolve();
    await settled();
    assert.deepEqual(bench.reports.map((report) => report.endpointId).sort(), ['wh_2', 'wh_3']);
    assert.equal(bench.dispatcher.depth.settling, 0);
    assert.match(bench.errors.join(), new RegExp(poison.deliveryId));
  });

  test('gives back what is ready for an endpoint that answered 410', async () => {
    const bench = started({ laneLimit: 1, inFlightLimit: 1 });
    const waiting = bench.lease('wh_1');
    bench.accept(bench.lease('wh_1'), bench.lease('wh_other'), waiting);
    await bench.answerNext(410);
    assert.equal(bench.batches[0]![0]!.disableEndpoint, 'endpoint answered 410 Gone');
    assert.deepEqual(
      bench.released.map(({ deliveryId }) => deliveryId),
      [waiting.deliveryId],
    );
  });
});

describe('claiming', () => {
  test('happens at the start, at the next due time and when woken', async () => {
    const bench = new Bench({ pollMs: 60_000 });
    bench.claimable.push(
      { leases: [], nextDueAt: bench.clock.now() + 5_000 },
      { leases: [bench.lease('wh_1')], nextDueAt: null },
    );
    bench.dispatcher.start();
    await settled();
    assert.equal(bench.claims.length, 1);
    await bench.advance(4_999);
    assert.equal(bench.claims.length, 1);
    await bench.advance(1);
    assert.equal(bench.claims.length, 2);
    assert.deepEqual(bench.running, ['wh_1']);
    bench.dispatcher.wake();
    bench.dispatcher.wake();
    await bench.advance(1);
    assert.equal(bench.claims.length, 3);
  });

  test('polls for work that nobody announced, however often others publish', async () => {
    const bench = started({ pollMs: 1_000 });
    await settled();
    for (let i = 0; i < 10; i++) {
      bench.dispatcher.accept(
        { leases: [], nextDueAt: bench.clock.now() + 3_600_000 },
        bench.clock.monotonic(),
      );
      await bench.advance(100);
    }
    assert.equal(bench.claims.length, 2);
  });

  test('does not spin when all lanes with due work are full', async () => {
    const bench = new Bench({ pollMs: 1_000 });
    bench.claim = () => Promise.resolve({ leases: [], nextDueAt: bench.clock.now() - 1 });
    bench.dispatcher.start();
    for (let i = 0; i < 99; i++) await bench.advance(10);
    assert.equal(bench.claims.length, 1);
  });

  test('backs off while the store is away', async () => {
    const bench = new Bench({ pollMs: 1_000 });
    bench.claim = () => Promise.reject(unavailable('away'));
    bench.dispatcher.start();
    await settled();
    for (let i = 0; i < 70; i++) await bench.advance(10);
    // At 0, 100 and 300 ms; the next one at 700.
    assert.ok(bench.claims.length >= 3 && bench.claims.length <= 4, String(bench.claims.length));
    bench.claim = () => Promise.resolve({ leases: [bench.lease('wh_1')], nextDueAt: null });
    await bench.advance(5_000);
    assert.equal(bench.running[0], 'wh_1');
  });

  test('adopts the new token of a delivery that it runs already, instead of attempting it twice', async () => {
    const bench = started();
    const lease = bench.lease('wh_1');
    bench.accept(lease);
    bench.clock.jump(3_600_000);
    bench.accept({ ...lease, token: 'fresh', leasedUntil: bench.clock.now() + 90_000 });
    assert.equal(bench.requests.length, 1);
    await bench.answerNext();
    assert.equal(bench.batches[0]![0]!.token, 'fresh');
  });

  test('settles anew when the token changed under a settlement that was being written', async () => {
    const bench = started();
    const lease = bench.lease('wh_1');
    const settle = bench.settle;
    bench.settle = async () => {
      bench.settle = settle;
      bench.accept({ ...lease, token: 'fresh' });
      return { results: [{ outcome: 'stale' }], leases: [], nextDueAt: null };
    };
    bench.accept(lease);
    await bench.answerNext();
    assert.deepEqual(
      bench.batches.map(([one]) => one?.token),
      [lease.token, 'fresh'],
    );
    assert.deepEqual(
      bench.reports.map(({ next }) => next),
      ['delivered'],
    );
  });
});

describe('a store whose clock is another', () => {
  const HOUR_MS = 3_600_000;
  for (const [name, aheadMs] of [
    ['an hour behind this machine’s', -HOUR_MS],
    ['an hour ahead', HOUR_MS],
  ] as const) {
    /** A lease as such a store gives it now. */
    function leaseBy(bench: Bench): Lease {
      return bench.lease('wh_1', { leasedUntil: bench.clock.now() + aheadMs + LEASE_MS });
    }

    test(`${name}: leases are attempted as long as they last, and not longer`, async () => {
      const bench = started({ laneLimit: 1, sharedStore: true });
      bench.accept(leaseBy(bench), leaseBy(bench), leaseBy(bench));
      await bench.advance(LEASE_MS - 10_000);
      await bench.answerNext();
      assert.equal(bench.requests.length, 1, 'there is just time for the second');
      await bench.advance(1);
      await bench.answerNext();
      assert.equal(bench.requests.length, 0);
      assert.equal(bench.released.length, 1);
    });

    test(`${name}: a retry is due after its delay by the store's clock, and reported by this one's`, async () => {
      const bench = started({ sharedStore: true, retryScheduleMs: [5_000] });
      bench.accept(leaseBy(bench));
      await bench.advance(1_000);
      await bench.answerNext(500);
      const dueAt = bench.clock.now() + 5_000;
      assert.deepEqual(bench.batches[0]![0]!.next, { status: 'pending', dueAt: dueAt + aheadMs });
      assert.equal(bench.reports[0]!.nextAttemptAt, dueAt);
    });

    test(`${name}: what is due next is claimed then, neither at once nor by a poll`, async () => {
      const bench = new Bench({ sharedStore: true, pollMs: 60_000 });
      bench.claimable.push({
        leases: [leaseBy(bench)],
        nextDueAt: bench.clock.now() + aheadMs + 5_000,
      });
      bench.dispatcher.start();
      await settled();
      await bench.advance(4_999);
      assert.equal(bench.claims.length, 1);
      await bench.advance(1);
      assert.equal(bench.claims.length, 2);
    });
  }

  test('is not presumed from a slow answer, once a quick one has told it', () => {
    const clock = new ManualClock();
    const storeClock = new StoreClock(clock);
    const aheadMs = -HOUR_MS;
    storeClock.learn(clock.now() + aheadMs, clock.monotonic());
    assert.equal(storeClock.now(), clock.now() + aheadMs);
    // It looked at its clock at the beginning or the end of a call of 8 s: nobody knows.
    for (const lookedAfterMs of [0, 8_000]) {
      const askedAtMs = clock.monotonic();
      const shownMs = clock.now() + aheadMs + lookedAfterMs;
      clock.advance(8_000);
      storeClock.learn(shownMs, askedAtMs);
      assert.equal(storeClock.now(), clock.now() + aheadMs);
    }
  });

  test('is still known when this machine’s is set, and learnt anew when its own is', () => {
    const clock = new ManualClock();
    const storeClock = new StoreClock(clock);
    const shownMs = clock.now();
    storeClock.learn(shownMs, clock.monotonic());
    clock.jump(HOUR_MS);
    assert.equal(storeClock.now(), shownMs);
    storeClock.learn(shownMs - HOUR_MS, clock.monotonic());
    assert.equal(storeClock.now(), shownMs - HOUR_MS);
  });
});

describe('a changed endpoint', () => {
  test('gets nothing that was leased before, also from a claim under way', async () => {
    const bench = new Bench({ laneLimit: 1 });
    const claim = Promise.withResolvers<void>();
    const late = bench.lease('wh_1');
    bench.claim = () => claim.promise.then(() => ({ leases: [late], nextDueAt: null }));
    bench.dispatcher.start();
    const ready = bench.lease('wh_1');
    bench.accept(bench.lease('wh_1'), ready);
    bench.dispatcher.endpointChanged('wh_1');
    assert.equal(bench.dispatcher.depth.ready, 0);
    claim.resolve();
    await settled();
    assert.deepEqual(
      bench.released.map(({ deliveryId }) => deliveryId),
      [ready.deliveryId, late.deliveryId],
    );
    bench.claim = () => Promise.resolve({ leases: [], nextDueAt: null });
    await bench.answerNext();
    assert.equal(bench.requests.length, 0);
  });

  test('is attempted again from what is claimed after the change', async () => {
    const bench = started();
    await settled();
    bench.dispatcher.endpointChanged('wh_1');
    bench.claimable.push({ leases: [bench.lease('wh_1')], nextDueAt: null });
    bench.dispatcher.wake();
    await bench.advance(1);
    assert.deepEqual(bench.running, ['wh_1']);
  });
});

describe('stopping', () => {
  test('gives ready leases back, lets attempts end within the grace and writes them', async () => {
    const bench = started({ laneLimit: 1 });
    const ready = bench.lease('wh_1');
    bench.accept(bench.lease('wh_1'), ready);
    const stopped = bench.dispatcher.stop(8_000);
    await settled();
    assert.deepEqual(
      bench.released.map(({ deliveryId }) => deliveryId),
      [ready.deliveryId],
    );
    await bench.answerNext();
    await stopped;
    assert.equal(bench.reports.length, 1);
    assert.equal(bench.clock.timerCount, 0);
  });

  test('aborts what the grace does not suffice for and gives it back unattempted', async () => {
    const bench = started();
    const lease = bench.lease('wh_1');
    bench.accept(lease);
    const stopped = bench.dispatcher.stop(8_000);
    await bench.advance(8_000);
    await stopped;
    assert.deepEqual(
      bench.released.map(({ deliveryId }) => deliveryId),
      [lease.deliveryId],
    );
    assert.deepEqual(bench.batches, []);
  });

  test('gives back what a publish leased too late', async () => {
    const bench = started();
    await bench.dispatcher.stop(0);
    bench.accept(bench.lease('wh_1'));
    assert.equal(bench.requests.length, 0);
    assert.equal(bench.released.length, 1);
  });

  test('ends in time while the store is away', async () => {
    const bench = started();
    bench.settle = () => Promise.reject(unavailable('away'));
    bench.accept(bench.lease('wh_1'));
    await bench.answerNext();
    const stopped = bench.dispatcher.stop(1_000);
    for (let i = 0; i < 30; i++) await bench.advance(100);
    await stopped;
    assert.match(bench.errors.at(-1) ?? '', /stopped with 1 attempts/);
  });
});

test('delivers, retries and records with a real store and a real receiver', {
  timeout: 20_000,
}, async (t) => {
  const dir = await tempDir();
  const store: Store = await openSqliteStore({ path: join(dir.path, 'posthorn.db') });
  const requester = createRequester({ policy: 'development' });
  const receiver = await startReceiver(inTurn(respond(500), respond(200)));
  const reports: AttemptReport[] = [];
  const delivered = Promise.withResolvers<void>();
  const dispatcher = new Dispatcher({
    store,
    requester,
    open: { secret: () => SECRET, headers: () => ({}) },
    clock: systemClock,
    userAgent: 'Posthorn-Webhook/test',
    settings: { retryScheduleMs: [20], timeoutMs: 5_000, laneLimit: 10, inFlightLimit: 100 },
    onAttempt: (report) => {
      reports.push(report);
      if (report.next === 'delivered') delivered.resolve();
    },
    onError: (message, error) => delivered.reject(new Error(message, { cause: error })),
  });
  t.after(async () => {
    await dispatcher.stop(1_000);
    await requester.close();
    await receiver.close();
    await store.close();
    await dir.remove();
  });
  await store.createAccount({ username: 'alice', metadata: null });
  await store.addEndpoint(newEndpoint('alice', { url: receiver.url }), 20);
  await store.recover();
  dispatcher.start();
  const event = newEvent('alice');
  const askedAtMs = systemClock.monotonic();
  dispatcher.accept(await store.publish([event], dispatcher.offer()), askedAtMs);
  await delivered.promise;
  assert.deepEqual(
    receiver.requests.map(({ body }) => body.toString()),
    [event.body, event.body],
  );
  assert.deepEqual(
    reports.map(({ next }) => next),
    ['pending', 'delivered'],
  );
  const detail = await store.getDelivery('alice', reports[0]!.deliveryId);
  assert.equal(detail?.status, 'delivered');
  assert.deepEqual(new Set(detail?.attemptLog.map(({ httpStatus }) => httpStatus)), new Set([200, 500]));
});
