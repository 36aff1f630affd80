import assert from 'node:assert/strict';
import { describe } from 'node:test';
import type { Lease } from '../../src/store/store.ts';
import {
  deadAt,
  deliveredAt,
  HOUR_MS,
  MINUTE_MS,
  retryingAt,
  SCRIPT,
  SECOND_MS,
  WIDE_OFFER,
} from '../support/store-fixtures.ts';
import { assertAbout, assertDistinct, assertSameMembers, EMPTY_QUEUE, type StoreTest } from './bench.ts';

export function settlingTests(test: StoreTest): void {
  describe('settling', () => {
    test('a delivered attempt finishes its delivery', async (bench) => {
      const { username } = await bench.subscriber();
      const { eventId } = await bench.publish(username);
      const lease = await bench.claimOne();
      await bench.advance(MINUTE_MS);
      const startedAt = bench.now() - 40;
      assert.deepEqual(await bench.settle(deliveredAt(lease, startedAt)), [
        { outcome: 'settled', status: 'delivered' },
      ]);
      const delivery = await bench.delivery(username, lease.deliveryId);
      assert.equal(delivery.status, 'delivered');
      assert.equal(delivery.statusReason, null);
      assert.equal(delivery.attempts, 1);
      assert.equal(delivery.nextAttemptAt, null);
      assertAbout(delivery.completedAt, bench.now(), 'completedAt');
      assert.deepEqual((await bench.event(username, eventId)).deliveries, {
        pending: 0,
        delivered: 1,
        dead: 0,
        cancelled: 0,
      });
      assert.deepEqual(await bench.store.queueDepth(), EMPTY_QUEUE);
      await bench.advance(HOUR_MS);
      assert.deepEqual(await bench.claim(), []);
    });

    test('a failed attempt waits for its retry', async (bench) => {
      const { username } = await bench.subscriber();
      await bench.publish(username);
      const lease = await bench.claimOne();
      const dueAt = bench.now() + HOUR_MS;
      assert.equal(await bench.settleOne(retryingAt(lease, bench.now(), dueAt)), 'pending');
      const delivery = await bench.delivery(username, lease.deliveryId);
      assert.equal(delivery.status, 'pending');
      assert.equal(delivery.attempts, 1);
      assert.equal(delivery.nextAttemptAt, dueAt);
      assert.equal(delivery.completedAt, null);
    });

    test('a delivery that ran out of attempts is dead, with the reason', async (bench) => {
      const { username } = await bench.subscriber();
      await bench.publish(username);
      const lease = await bench.claimOne();
      assert.equal(
        await bench.settleOne(deadAt(lease, bench.now(), 'every attempt of 10 failed; the last: HTTP 500')),
        'dead',
      );
      const delivery = await bench.delivery(username, lease.deliveryId);
      assert.equal(delivery.status, 'dead');
      assert.equal(delivery.statusReason, 'every attempt of 10 failed; the last: HTTP 500');
      assert.equal(delivery.nextAttemptAt, null);
      assertAbout(delivery.completedAt, bench.now(), 'completedAt');
      await bench.advance(24 * HOUR_MS);
      assert.deepEqual(await bench.claim(), []);
    });

    test('a retry that is due at once can be leased at once', async (bench) => {
      const { username } = await bench.subscriber();
      await bench.publish(username);
      const lease = await bench.claimOne();
      await bench.settleOne(retryingAt(lease, bench.now(), bench.now()));
      assert.equal((await bench.claimOne()).failures, 1);
    });

    const STALE = { outcome: 'stale_connection', httpStatus: null, error: 'closed as it was sent' } as const;

    test('an attempt that a dead idle connection cost is recorded and is no failure of the schedule', async (bench) => {
      const { username } = await bench.subscriber();
      await bench.publish(username);
      const first = await bench.claimOne();
      assert.equal(await bench.settleOne(retryingAt(first, bench.now(), bench.now(), STALE)), 'pending');
      const second = await bench.claimOne();
      assert.deepEqual([second.attempts, second.failures], [1, 0]);
      await bench.settleOne(retryingAt(second, bench.now(), bench.now()));
      assert.deepEqual((await bench.claimOne()).failures, 1);
      const { attemptLog } = await bench.delivery(username, first.deliveryId);
      assert.deepEqual(
        attemptLog.map(({ number, outcome }) => [number, outcome]),
        [
          [1, 'stale_connection'],
          [2, 'http_error'],
        ],
      );
    });

    test('what a person asked for is still asked for after a dead idle connection, also of a type taken out', async (bench) => {
      const { username, endpoint } = await bench.subscriber();
      await bench.publish(username);
      const { deliveryId } = await bench.claimOne().then(async (lease) => {
        await bench.settleOne(deadAt(lease, bench.now()));
        return lease;
      });
      await bench.store.updateEndpoint(username, endpoint.endpointId, { events: [SCRIPT] });
      await bench.store.retryDelivery(username, deliveryId);
      const asked = await bench.claimOne();
      assert.equal(await bench.settleOne(retryingAt(asked, bench.now(), bench.now(), STALE)), 'pending');
      const again = await bench.claimOne();
      assert.deepEqual([again.deliveryId, again.manual], [deliveryId, true]);
      // A failure of the receiver's ends what was asked for.
      assert.equal(await bench.settleOne(retryingAt(again, bench.now(), bench.now())), 'cancelled');
    });

    test('attempts stay readable, in order and whole', async (bench) => {
      const { username, endpoint } = await bench.subscriber();
      await bench.publish(username);
      const first = await bench.claimOne();
      const settled = [
        retryingAt(first, bench.now(), bench.now() + MINUTE_MS, {
          durationMs: 5_000,
          outcome: 'timeout',
          httpStatus: null,
          error: 'no answer within 5 s',
          responseHeaders: null,
          responseBody: null,
        }),
      ];
      await bench.settle(...settled);
      await bench.store.updateEndpoint(username, endpoint.endpointId, { url: 'https://moved.example/' });
      await bench.advance(MINUTE_MS);
      const second = await bench.claimOne();
      settled.push(
        deliveredAt(second, bench.now(), {
          durationMs: 0,
          httpStatus: 204,
          requestHeaders: { 'content-type': 'application/json', 'x-custom': '***' },
          responseHeaders: { 'x-odd': 'ä "quoted"', 'set-cookie': 'a=b' },
          responseBody: `<script>"'\ufffd😀${'x'.repeat(64 * 1024)}`,
          responseTruncated: true,
          manual: true,
        }),
      );
      await bench.settle(settled[1] as (typeof settled)[number]);
      const delivery = await bench.delivery(username, first.deliveryId);
      assert.deepEqual(
        delivery.attemptLog,
        settled.map((settlement) => settlement.attempt),
      );
      assert.equal(delivery.url, 'https://moved.example/');
      assert.equal(delivery.attempts, 2);
    });

    test('only the present token settles, and a refusal writes nothing', async (bench) => {
      const { username } = await bench.subscriber();
      const stranger = await bench.account();
      const ids = await bench.publishMany(username, 2);
      const lease = await bench.claimOne({ limit: 1 });
      const waiting = ids.find((id) => id !== lease.deliveryId) as string;
      const settlement = deliveredAt(lease, bench.now());
      const before = await bench.delivery(username, lease.deliveryId);
      assert.deepEqual(
        await bench.settle(
          { ...settlement, token: `${lease.token}x` },
          { ...settlement, token: '' },
          { ...settlement, username: stranger },
          { ...settlement, deliveryId: 'dlv_unknown' },
          { ...settlement, deliveryId: waiting },
        ),
        Array.from({ length: 5 }, () => ({ outcome: 'stale' })),
      );
      assert.deepEqual(await bench.delivery(username, lease.deliveryId), before);
      assert.equal(await bench.settleOne(settlement), 'delivered');
    });

    test('a settlement counts once, in one batch or two', async (bench) => {
      const { username } = await bench.subscriber();
      await bench.publish(username);
      const lease = await bench.claimOne();
      const delivered = deliveredAt(lease, bench.now());
      assert.deepEqual(await bench.settle(delivered, deadAt(lease, bench.now()), delivered), [
        { outcome: 'settled', status: 'delivered' },
        { outcome: 'stale' },
        { outcome: 'stale' },
      ]);
      assert.deepEqual(await bench.settle(delivered), [{ outcome: 'stale' }]);
      const delivery = await bench.delivery(username, lease.deliveryId);
      assert.equal(delivery.status, 'delivered');
      assert.equal(delivery.attemptLog.length, 1);
    });

    test('a late worker can’t overwrite its successor, in flight or finished', async (bench) => {
      const { username } = await bench.subscriber();
      await bench.publish(username);
      const late = await bench.claimOne({ leaseMs: MINUTE_MS });
      await bench.advance(2 * MINUTE_MS);
      const successor = await bench.claimOne();
      assert.equal(successor.deliveryId, late.deliveryId);

      assert.deepEqual(await bench.settle(deadAt(late, bench.now(), 'late')), [{ outcome: 'stale' }]);
      assert.equal((await bench.delivery(username, late.deliveryId)).status, 'pending');
      assert.equal(await bench.settleOne(deliveredAt(successor, bench.now())), 'delivered');
      assert.deepEqual(await bench.settle(deadAt(late, bench.now(), 'later')), [{ outcome: 'stale' }]);

      const delivery = await bench.delivery(username, late.deliveryId);
      assert.equal(delivery.status, 'delivered');
      assert.equal(delivery.attemptLog.length, 1);
      assert.equal(delivery.attemptLog[0]?.outcome, 'success');
    });

    test('a late worker whose delivery nobody took over still settles, so that nothing is sent twice', async (bench) => {
      const { username } = await bench.subscriber();
      await bench.publish(username);
      const lease = await bench.claimOne({ leaseMs: MINUTE_MS });
      await bench.advance(2 * MINUTE_MS);
      assert.equal(await bench.settleOne(deliveredAt(lease, bench.now())), 'delivered');
      assert.deepEqual(await bench.claim(), []);
    });

    test('each settlement of a batch stands alone, and the results keep the order', async (bench) => {
      const { username } = await bench.subscriber();
      await bench.publishMany(username, 4);
      const [a, b, c, d] = await bench.claim();
      assert.ok(a && b && c && d);
      const dueAt = bench.now() + MINUTE_MS;
      assert.deepEqual(
        await bench.settle(
          retryingAt(a, bench.now(), dueAt),
          { ...deliveredAt(b, bench.now()), token: 'wrong' },
          deadAt(c, bench.now()),
          deliveredAt(d, bench.now()),
        ),
        [
          { outcome: 'settled', status: 'pending' },
          { outcome: 'stale' },
          { outcome: 'settled', status: 'dead' },
          { outcome: 'settled', status: 'delivered' },
        ],
      );
      assert.equal(await bench.settleOne(deliveredAt(b, bench.now())), 'delivered');
    });

    test('settling claims by its offer, into the room that it made', async (bench) => {
      const { username } = await bench.subscriber();
      await bench.publishMany(username, 3);
      const offer = { limit: 5, laneLimit: 1, leaseMs: 30 * SECOND_MS };
      let leases = await bench.claim(offer);
      const seen: string[] = [];
      while (leases.length > 0) {
        assert.equal(leases.length, 1, 'the lane’s limit');
        const lease = leases[0] as Lease;
        seen.push(lease.deliveryId);
        ({ leases } = await bench.store.settle([deliveredAt(lease, bench.now())], offer));
      }
      assert.equal(seen.length, 3);
      assertDistinct(seen, 'leased');
    });

    test('an empty settlement with an offer is a claim', async (bench) => {
      const { username } = await bench.subscriber();
      await bench.publish(username);
      const { results, leases } = await bench.store.settle([], WIDE_OFFER);
      assert.deepEqual(results, []);
      assert.equal(leases.length, 1);
      assert.deepEqual(await bench.settle(), []);
    });

    test('an endpoint that answers 410 is disabled with a reason, and what waits is cancelled', async (bench) => {
      const { username, endpoint } = await bench.subscriber();
      const { endpointId } = endpoint;
      await bench.publishMany(username, 4);
      const [gone, inFlight] = await bench.claim({ limit: 2 });
      assert.ok(gone && inFlight);
      const reason = 'the receiver answered 410 Gone';
      const status = await bench.settleOne({
        ...deadAt(gone, bench.now(), reason, { httpStatus: 410 }),
        disableEndpoint: reason,
      });
      assert.equal(status, 'dead');

      const disabled = await bench.store.getEndpoint(username, endpointId);
      assert.equal(disabled?.status, 'disabled');
      assert.equal(disabled?.disabledReason, reason);
      const byStatus = Map.groupBy(await bench.deliveries(username), (delivery) => delivery.status);
      assert.equal(byStatus.get('dead')?.length, 1);
      assert.equal(byStatus.get('cancelled')?.length, 2);
      assert.equal(byStatus.get('pending')?.[0]?.deliveryId, inFlight.deliveryId);
      for (const delivery of byStatus.get('cancelled') ?? []) assert.match(delivery.statusReason ?? '', /./);
      assert.deepEqual(await bench.claim(), [], 'nothing of the endpoint is leased any more');
      assert.equal(await bench.settleOne(deliveredAt(inFlight, bench.now())), 'delivered');

      const { eventId } = await bench.publish(username);
      assert.equal((await bench.event(username, eventId)).targets[0]?.status, 'skipped');

      const enabled = await bench.store.updateEndpoint(username, endpointId, { status: 'enabled' });
      assert.equal(enabled?.disabledReason, null);
      assert.equal((await bench.publish(username)).deliveryIds.length, 1);
    });

    test('a retry of an endpoint that the same settlement disables is cancelled', async (bench) => {
      const { username } = await bench.subscriber();
      await bench.publish(username);
      const lease = await bench.claimOne();
      const status = await bench.settleOne({
        ...retryingAt(lease, bench.now(), bench.now() + MINUTE_MS),
        disableEndpoint: 'gone',
      });
      assert.equal(status, 'cancelled');
    });

    test('a late 410 that nobody took over ends its own delivery once', async (bench) => {
      const { username, endpoint } = await bench.subscriber();
      await bench.publishMany(username, 2);
      const late = await bench.claimOne({ limit: 1, leaseMs: MINUTE_MS });
      await bench.advance(2 * MINUTE_MS);
      const status = await bench.settleOne({
        ...deadAt(late, bench.now(), 'gone', { httpStatus: 410 }),
        disableEndpoint: 'gone',
      });
      assert.equal(status, 'dead');
      assert.equal((await bench.store.getEndpoint(username, endpoint.endpointId))?.status, 'disabled');
      const deliveries = await bench.deliveries(username);
      assertSameMembers(
        deliveries.map((delivery) => delivery.status),
        ['dead', 'cancelled'],
        'both are listed once',
      );
      assert.equal((await bench.delivery(username, late.deliveryId)).status, 'dead');
    });

    test('a stale settlement disables nothing', async (bench) => {
      const { username, endpoint } = await bench.subscriber();
      await bench.publish(username);
      const late = await bench.claimOne({ leaseMs: MINUTE_MS });
      await bench.advance(2 * MINUTE_MS);
      await bench.claimOne();
      await bench.settle({ ...deadAt(late, bench.now()), disableEndpoint: 'gone' });
      assert.equal((await bench.store.getEndpoint(username, endpoint.endpointId))?.status, 'enabled');
    });

    test('a 410 of an endpoint that was deleted meanwhile settles all the same', async (bench) => {
      const { username, endpoint } = await bench.subscriber();
      await bench.publish(username);
      const lease = await bench.claimOne();
      await bench.store.deleteEndpoint(username, endpoint.endpointId);
      const settlement = { ...deadAt(lease, bench.now()), disableEndpoint: 'gone' };
      assert.equal(await bench.settleOne(settlement), 'dead');
      assert.equal(await bench.store.getEndpoint(username, endpoint.endpointId), null);
    });

    test('an attempt in flight for an account that was deleted meanwhile brings nothing back', async (bench) => {
      const { username } = await bench.subscriber();
      await bench.publishMany(username, 2);
      const [first, second] = await bench.claim();
      assert.ok(first && second);
      await bench.store.deleteAccount(username);
      await bench.settle(retryingAt(first, bench.now(), bench.now()));
      await bench.purgeAll(bench.now());
      assert.deepEqual(await bench.settle(deliveredAt(second, bench.now())), [{ outcome: 'stale' }]);
      await bench.store.release([second]);
      await bench.advance(HOUR_MS);
      assert.deepEqual(await bench.claim(), []);
    });

    test('hundreds of settlements in one batch', async (bench) => {
      const { username } = await bench.subscriber();
      await bench.publishMany(username, 500);
      const leases = await bench.claim();
      assert.equal(leases.length, 500);
      const results = await bench.settle(...leases.map((lease) => deliveredAt(lease, bench.now())));
      assert.ok(results.every((result) => result.outcome === 'settled' && result.status === 'delivered'));
      assert.deepEqual(await bench.store.queueDepth(), EMPTY_QUEUE);
    });

    test('parallel settlements of one lease count once', async (bench) => {
      const { username } = await bench.subscriber();
      await bench.publish(username);
      const lease = await bench.claimOne();
      const answers = await Promise.all(
        Array.from({ length: 10 }, () => bench.settle(deliveredAt(lease, bench.now()))),
      );
      assert.equal(answers.flat().filter((result) => result.outcome === 'settled').length, 1);
      assert.equal((await bench.delivery(username, lease.deliveryId)).attemptLog.length, 1);
    });
  });

  describe('releasing', () => {
    test('a lease given back is due at once, as if it had never been leased', async (bench) => {
      const { username } = await bench.subscriber();
      await bench.publish(username);
      await bench.settleOne(retryingAt(await bench.claimOne(), bench.now(), bench.now() + MINUTE_MS));
      await bench.advance(MINUTE_MS);
      const lease = await bench.claimOne();
      await bench.store.release([lease]);
      const again = await bench.claimOne();
      assert.equal(again.deliveryId, lease.deliveryId);
      assert.notEqual(again.token, lease.token);
      assert.equal(again.attempts, 1);
      assert.equal(again.failures, 1);
      assert.equal((await bench.delivery(username, lease.deliveryId)).attempts, 1);
    });

    test('a lease given back can’t be settled any more', async (bench) => {
      const { username } = await bench.subscriber();
      await bench.publish(username);
      const lease = await bench.claimOne();
      await bench.store.release([lease]);
      assert.deepEqual(await bench.settle(deliveredAt(lease, bench.now())), [{ outcome: 'stale' }]);
      await bench.claimOne();
    });

    test('a stale release is ignored and leaves the successor alone', async (bench) => {
      const { username } = await bench.subscriber();
      const stranger = await bench.account();
      await bench.publish(username);
      const late = await bench.claimOne({ leaseMs: MINUTE_MS });
      await bench.advance(2 * MINUTE_MS);
      const successor = await bench.claimOne();
      await bench.store.release([
        late,
        { ...successor, token: 'wrong' },
        { ...successor, username: stranger },
        { username, deliveryId: 'dlv_unknown', token: successor.token },
      ]);
      assert.deepEqual(await bench.claim(), []);
      await bench.settleOne(deliveredAt(successor, bench.now()));
      await bench.store.release([successor]);
      assert.equal((await bench.delivery(username, successor.deliveryId)).status, 'delivered');
      await bench.store.release([]);
    });

    test('a delivery that a person asked for stays manual when it is given back', async (bench) => {
      const { username } = await bench.subscriber();
      const { deliveryIds } = await bench.publish(username);
      await bench.settleOne(deadAt(await bench.claimOne(), bench.now()));
      await bench.store.retryDelivery(username, deliveryIds[0] as string);
      const lease = await bench.claimOne();
      assert.equal(lease.manual, true);
      await bench.store.release([lease]);
      assert.equal((await bench.claimOne()).manual, true);
    });
  });
}
