import assert from 'node:assert/strict';
import { describe } from 'node:test';
import type { Claimed, Lease, LeaseOffer } from '../../src/store/store.ts';
import {
  deliveredAt,
  HOUR_MS,
  MINUTE_MS,
  newEvent,
  retryingAt,
  SECOND_MS,
  WIDE_OFFER,
} from '../support/store-fixtures.ts';
import {
  assertAbout,
  assertDistinct,
  assertSameMembers,
  type Bench,
  EMPTY_QUEUE,
  idsOf,
  type StoreTest,
} from './bench.ts';

/** A new account with `count` endpoints and one due delivery for each; answers the endpoint ids. */
async function singleLanes(bench: Bench, count: number): Promise<string[]> {
  const username = await bench.account();
  const ids: string[] = [];
  for (let n = 0; n < count; n++) ids.push((await bench.endpoint(username)).endpointId);
  await bench.publish(username);
  return ids;
}

/**
 * Claims whenever the answer before says so, until `at`. It may call early, but neither late nor in circles, and what
 * is due at `at` isn't leased before.
 */
async function claimedAt(bench: Bench, at: number, before: Claimed, offer: LeaseOffer): Promise<Claimed> {
  let { nextDueAt } = before;
  for (let claims = 0; claims < 3; claims++) {
    assert.ok(nextDueAt !== null && nextDueAt <= at, `called back at ${nextDueAt}, too late for ${at}`);
    assert.ok(nextDueAt > bench.now(), 'nobody is called back at once for nothing');
    await bench.advance(nextDueAt - bench.now());
    const claimed = await bench.store.claim(offer);
    if (bench.now() === at) return claimed;
    assert.deepEqual(claimed.leases, []);
    ({ nextDueAt } = claimed);
  }
  throw new Error(`three claims before ${at} found nothing`);
}

export function claimingTests(test: StoreTest): void {
  describe('claiming', () => {
    test('what is due is leased once', async (bench) => {
      const { username } = await bench.subscriber();
      const ids = await bench.publishMany(username, 3);
      const leases = await bench.claim();
      assertSameMembers(idsOf(leases), ids, 'leased');
      for (const lease of leases) {
        assertAbout(lease.leasedUntil, bench.now() + WIDE_OFFER.leaseMs, 'leasedUntil');
        assert.equal(lease.username, username);
        assert.equal(lease.manual, false);
      }
      assertDistinct(
        leases.map((lease) => lease.token),
        'tokens',
      );
      assert.deepEqual(await bench.claim(), []);
    });

    test('a leased delivery is still pending, with the time of its attempt', async (bench) => {
      const { username } = await bench.subscriber();
      await bench.publish(username);
      await bench.advance(MINUTE_MS);
      const lease = await bench.claimOne();
      const delivery = await bench.delivery(username, lease.deliveryId);
      assert.equal(delivery.status, 'pending');
      assert.equal(delivery.attempts, 0);
      assertAbout(delivery.nextAttemptAt, bench.now(), 'nextAttemptAt');
      assert.equal(delivery.completedAt, null);
    });

    test('a retry is leased when it is due and not before', async (bench) => {
      const { username } = await bench.subscriber();
      await bench.publish(username);
      const dueAt = bench.now() + 5 * MINUTE_MS;
      await bench.settleOne(retryingAt(await bench.claimOne(), bench.now(), dueAt));

      assert.deepEqual(await bench.claim(), []);
      await bench.advance(4 * MINUTE_MS);
      assert.deepEqual(await bench.claim(), []);
      await bench.advance(MINUTE_MS);
      const lease = await bench.claimOne();
      assert.equal(lease.attempts, 1);
      assert.equal(lease.failures, 1);
      assert.equal(lease.manual, false);
    });

    test('attempts and failures count up from retry to retry', async (bench) => {
      const { username } = await bench.subscriber();
      await bench.publish(username);
      for (let attempts = 0; attempts < 5; attempts++) {
        const lease = await bench.claimOne();
        assert.equal(lease.attempts, attempts);
        assert.equal(lease.failures, attempts);
        await bench.settleOne(retryingAt(lease, bench.now(), bench.now() + MINUTE_MS));
        await bench.advance(MINUTE_MS);
      }
    });

    test('an expired lease is given again, by a fresh token and without counting an attempt', async (bench) => {
      const { username } = await bench.subscriber();
      await bench.publish(username);
      const tokens: string[] = [];
      for (let claims = 0; claims < 4; claims++) {
        const lease = await bench.claimOne({ leaseMs: 30 * SECOND_MS });
        assert.equal(lease.attempts, 0);
        assert.equal(lease.failures, 0);
        tokens.push(lease.token);
        await bench.advance(MINUTE_MS);
      }
      assertDistinct(tokens, 'tokens');
    });

    test('a lease holds until its time', async (bench) => {
      const { username } = await bench.subscriber();
      await bench.publish(username);
      await bench.claimOne({ leaseMs: 5 * MINUTE_MS });
      await bench.advance(4 * MINUTE_MS);
      assert.deepEqual(await bench.claim(), []);
      await bench.advance(MINUTE_MS);
      await bench.claimOne();
    });

    test('whoever claims at the next due time finds the earliest retry or lease to end', async (bench) => {
      const { username } = await bench.subscriber();
      const offer = { ...WIDE_OFFER, leaseMs: 10 * MINUTE_MS };
      await bench.publishMany(username, 2);
      const [first, second] = await bench.claim(offer);
      assert.ok(first && second);
      const dueAt = bench.now() + MINUTE_MS;
      const settled = await bench.store.settle([retryingAt(first, bench.now(), dueAt)], offer);

      const retried = await claimedAt(bench, dueAt, settled, offer);
      assert.deepEqual(idsOf(retried.leases), [first.deliveryId]);

      const ended = await claimedAt(bench, second.leasedUntil, retried, offer);
      assert.deepEqual(idsOf(ended.leases), [second.deliveryId]);

      const retriedLease = retried.leases[0] as Lease;
      const endedAgain = await claimedAt(bench, retriedLease.leasedUntil, ended, offer);
      assert.deepEqual(idsOf(endedAgain.leases), [first.deliveryId]);
    });

    test('when nothing waits, the next due time comes to none without claiming in circles', async (bench) => {
      const { username } = await bench.subscriber();
      assert.equal((await bench.store.claim(WIDE_OFFER)).nextDueAt, null);
      await bench.publish(username);
      await bench.settleOne(deliveredAt(await bench.claimOne(), bench.now()));
      let { nextDueAt } = await bench.store.claim(WIDE_OFFER);
      // The end of the lease that was settled may still be told, once.
      for (let claims = 0; claims < 2 && nextDueAt !== null; claims++) {
        assert.ok(nextDueAt > bench.now(), 'nobody is called back at once for nothing');
        await bench.advance(nextDueAt - bench.now());
        ({ nextDueAt } = await bench.store.claim(WIDE_OFFER));
      }
      assert.equal(nextDueAt, null);
    });

    test('a claim takes no more than its limit', async (bench) => {
      const { username } = await bench.subscriber();
      await bench.publishMany(username, 10);
      assert.equal((await bench.claim({ limit: 4 })).length, 4);
      assert.equal((await bench.claim({ limit: 0 })).length, 0);
      assert.equal((await bench.claim({ limit: 4 })).length, 4);
      assert.equal((await bench.claim({ limit: 4 })).length, 2);
    });

    test('a rate-limited lane is leased for ten seconds of its rate at most, a slow one still one at a time', async (bench) => {
      for (const [rateLimitPerSecond, leased] of [
        [0.01, 1],
        [0.15, 1],
        [0.25, 2],
        [3, 30],
        [1_000, 40],
      ] as const) {
        const { username, endpoint } = await bench.subscriber({ rateLimitPerSecond });
        assert.equal(endpoint.rateLimitPerSecond, rateLimitPerSecond);
        await bench.publishMany(username, 50);
        const leases = await bench.claim({ laneLimit: 40 });
        assert.equal(leases.length, leased, `of a rate of ${rateLimitPerSecond}`);
        assert.equal(leases[0]?.endpoint.rateLimitPerSecond, rateLimitPerSecond);
        await bench.store.deleteEndpoint(username, endpoint.endpointId);
      }
    });

    test('a lane’s limit holds across claims and frees up as attempts end', async (bench) => {
      const { username } = await bench.subscriber();
      await bench.publishMany(username, 10);
      const [lease, ...others] = await bench.claim({ laneLimit: 3 });
      assert.equal(others.length, 2);
      assert.deepEqual(await bench.claim({ laneLimit: 3 }), []);
      await bench.settleOne(deliveredAt(lease as Lease, bench.now()));
      assert.equal((await bench.claim({ laneLimit: 3 })).length, 1);
      await bench.store.release([others[0] as Lease]);
      assert.equal((await bench.claim({ laneLimit: 3 })).length, 1);
      assert.deepEqual(await bench.claim({ laneLimit: 3 }), []);
    });

    test('expired leases don’t fill a lane', async (bench) => {
      const { username } = await bench.subscriber();
      await bench.publishMany(username, 6);
      const first = await bench.claim({ laneLimit: 3, leaseMs: MINUTE_MS });
      assert.equal(first.length, 3);
      await bench.advance(2 * MINUTE_MS);
      assert.equal((await bench.claim({ laneLimit: 3, leaseMs: MINUTE_MS })).length, 3);
    });

    test('a full lane doesn’t hold up another', async (bench) => {
      const full = await bench.subscriber();
      await bench.publishMany(full.username, 20);
      assert.equal((await bench.claim({ laneLimit: 2 })).length, 2);
      const free = await bench.subscriber();
      const ids = await bench.publishMany(free.username, 2);
      const leases = await bench.claim({ limit: 2, laneLimit: 2 });
      assertSameMembers(idsOf(leases), ids, 'leased');
    });

    test('parallel claims never lease the same delivery twice, nor pass a lane’s limit', async (bench) => {
      const username = await bench.account();
      for (let n = 0; n < 10; n++) await bench.endpoint(username);
      await bench.publishMany(username, 10);
      const answers = await Promise.all(
        Array.from({ length: 10 }, () => bench.claim({ limit: 8, laneLimit: 5 })),
      );
      const leases = answers.flat();
      // A claim may pass over what another is taking at the moment: the next one finds it.
      leases.push(...(await bench.claim({ laneLimit: 5 })));
      assertDistinct(idsOf(leases), 'leased deliveries');
      assertDistinct(
        leases.map((lease) => lease.token),
        'tokens',
      );
      const inLane = Map.groupBy(leases, (lease) => lease.endpoint.endpointId);
      for (const [endpointId, held] of inLane) {
        assert.ok(held.length <= 5, `${endpointId} has ${held.length} in flight`);
      }
      assert.equal(leases.length, 50, 'ten lanes of five');
    });
  });

  describe('fairness', () => {
    test('a lane with 20,000 due deliveries doesn’t delay 200 lanes with one each', async (bench) => {
      const { username, endpoint } = await bench.subscriber();
      for (let batch = 0; batch < 20; batch++) await bench.publishMany(username, 1_000, { body: '{}' });
      await bench.advance(MINUTE_MS);
      const waiting = new Set(await singleLanes(bench, 200));
      const served: string[] = [];
      for (let claims = 0; claims < 5; claims++) {
        const leases = await bench.claim({ limit: 50, laneLimit: 10 });
        served.push(...leases.map((lease) => lease.endpoint.endpointId));
      }
      for (const endpointId of served) waiting.delete(endpointId);
      assert.equal(waiting.size, 0, 'lanes that were not served');
      const busy = served.filter((endpointId) => endpointId === endpoint.endpointId);
      assert.equal(busy.length, 10, 'the busy lane got what its limit allows');
      assert.equal(served.length, 210);
    });

    test('a single due delivery isn’t kept waiting by a busy lane, one lease at a time', async (bench) => {
      const { username } = await bench.subscriber();
      await bench.publishMany(username, 100);
      await bench.advance(MINUTE_MS);
      const [single] = await singleLanes(bench, 1);
      for (let claims = 0; claims < 10; claims++) {
        const lease = await bench.claimOne({ limit: 1 });
        if (lease.endpoint.endpointId === single) return;
        await bench.settleOne(deliveredAt(lease, bench.now()));
        await bench.advance(1); // within one millisecond any order is fair
      }
      assert.fail('ten leases went to the busy lane');
    });

    test('busy lanes take turns, one lease at a time', async (bench) => {
      const username = await bench.account();
      const served = new Map<string, number>();
      for (let n = 0; n < 5; n++) served.set((await bench.endpoint(username)).endpointId, 0);
      await bench.publishMany(username, 20);
      for (let claims = 0; claims < 25; claims++) {
        const lease = await bench.claimOne({ limit: 1, laneLimit: 5 });
        const { endpointId } = lease.endpoint;
        served.set(endpointId, (served.get(endpointId) ?? 0) + 1);
        await bench.settleOne(deliveredAt(lease, bench.now()));
        await bench.advance(1); // within one millisecond any order is fair
      }
      const counts = [...served.values()];
      assert.ok(Math.min(...counts) >= 2, `each lane was served at least twice in 25 leases: ${counts}`);
    });

    test('lanes of one account and of many are served alike', async (bench) => {
      const many = await singleLanes(bench, 20);
      const one: string[] = [];
      for (let n = 0; n < 20; n++) one.push(...(await singleLanes(bench, 1)));
      const leases = await bench.claim({ limit: 40, laneLimit: 1 });
      assertSameMembers(
        leases.map((lease) => lease.endpoint.endpointId),
        [...many, ...one],
        'served',
      );
    });

    test('a retry that fell due long ago is not starved by new events of its lane', async (bench) => {
      const { username } = await bench.subscriber();
      await bench.publish(username);
      const retried = await bench.claimOne();
      await bench.settleOne(retryingAt(retried, bench.now(), bench.now() + MINUTE_MS));
      await bench.advance(2 * MINUTE_MS);
      for (let round = 0; round < 10; round++) {
        await bench.publish(username);
        const lease = await bench.claimOne({ limit: 1 });
        if (lease.deliveryId === retried.deliveryId) return;
        await bench.settleOne(deliveredAt(lease, bench.now()));
      }
      assert.fail('ten newer deliveries passed the retry');
    });
  });

  describe('suspended accounts', () => {
    test('nothing of a suspended account is leased until it is active again', async (bench) => {
      const { username, endpoint } = await bench.subscriber();
      const other = await bench.subscriber();
      const due = await bench.publishMany(username, 3);
      await bench.publish(other.username);
      await bench.store.updateAccount(username, { status: 'suspended' });
      assert.equal((await bench.claimOne()).username, other.username);
      assert.equal((await bench.delivery(username, due[0] as string)).status, 'pending');
      assert.equal((await bench.store.getEndpoint(username, endpoint.endpointId))?.status, 'enabled');
      await bench.store.updateAccount(username, { status: 'active' });
      assertSameMembers(idsOf(await bench.claim()), due, 'leased');
    });

    test('an attempt in flight ends as it ends, and its retry waits', async (bench) => {
      const { username } = await bench.subscriber();
      await bench.publishMany(username, 3);
      const [first, second, third] = await bench.claim();
      assert.ok(first && second && third);
      await bench.store.updateAccount(username, { status: 'suspended' });
      assert.equal(await bench.settleOne(deliveredAt(first, bench.now())), 'delivered');
      const { results, leases } = await bench.store.settle(
        [retryingAt(second, bench.now(), bench.now())],
        WIDE_OFFER,
      );
      assert.deepEqual(results, [{ outcome: 'settled', status: 'pending' }]);
      assert.deepEqual(leases, []);
      await bench.store.release([third]);
      await bench.advance(HOUR_MS);
      assert.deepEqual(await bench.claim(), []);
      await bench.store.updateAccount(username, { status: 'active' });
      assert.equal((await bench.claim()).length, 2);
    });

    test('an endpoint added or enabled meanwhile waits too', async (bench) => {
      const { username, endpoint } = await bench.subscriber({ status: 'disabled' });
      await bench.store.updateAccount(username, { status: 'suspended' });
      await bench.store.updateEndpoint(username, endpoint.endpointId, { status: 'enabled' });
      await bench.endpoint(username);
      const { leases } = await bench.store.publish([newEvent(username)], WIDE_OFFER);
      assert.deepEqual(leases, []);
      assert.deepEqual(await bench.claim(), []);
      await bench.store.updateAccount(username, { status: 'active' });
      assert.equal((await bench.claim()).length, 2);
    });
  });

  describe('the queue’s depth', () => {
    test('tells waiting, due and leased deliveries apart, and the oldest due one’s age', async (bench) => {
      const { username } = await bench.subscriber();
      assert.deepEqual(await bench.store.queueDepth(), EMPTY_QUEUE);
      await bench.publishMany(username, 6);
      const [first, second, finished] = await bench.claim({ limit: 3, leaseMs: 10 * MINUTE_MS });
      assert.ok(first && second && finished);
      await bench.settle(
        retryingAt(first, bench.now(), bench.now() + HOUR_MS),
        deliveredAt(finished, bench.now()),
      );
      await bench.advance(MINUTE_MS);
      const depth = await bench.store.queueDepth();
      assert.deepEqual({ ...depth, oldestDueMs: 0 }, { scheduled: 1, due: 3, leased: 1, oldestDueMs: 0 });
      assertAbout(depth.oldestDueMs, MINUTE_MS, 'oldestDueMs');
    });

    test('an expired lease and a retry whose time has come are due', async (bench) => {
      const { username } = await bench.subscriber();
      await bench.publishMany(username, 2);
      const [first] = await bench.claim({ leaseMs: 10 * MINUTE_MS });
      await bench.settle(retryingAt(first as Lease, bench.now(), bench.now() + 5 * MINUTE_MS));
      await bench.advance(15 * MINUTE_MS);
      const depth = await bench.store.queueDepth();
      assert.deepEqual({ ...depth, oldestDueMs: 0 }, { scheduled: 0, due: 2, leased: 0, oldestDueMs: 0 });
      assert.ok(
        depth.oldestDueMs >= 10 * MINUTE_MS,
        `the retry waits for 10 minutes: ${depth.oldestDueMs} ms`,
      );
    });
  });
}
