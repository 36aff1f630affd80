import assert from 'node:assert/strict';
import { describe } from 'node:test';
import type { Lease } from '../../src/store/store.ts';
import {
  AVATAR,
  DAY_MS,
  deadAt,
  deliveredAt,
  HOUR_MS,
  MINUTE_MS,
  newEvent,
  newEventType,
  newKey,
  retryingAt,
  WIDE_OFFER,
} from '../support/store-fixtures.ts';
import { assertDistinct, assertSameMembers, type Bench, idsOf, type StoreTest } from './bench.ts';

/** Everything that the store tells of an account and of itself. */
async function everything(bench: Bench, username: string, hash: string, replayId: string) {
  const { store } = bench;
  const deliveries = await bench.deliveries(username);
  const events = await bench.events(username);
  const since = bench.now() - DAY_MS;
  return {
    meta: await store.getMeta('check'),
    account: await store.getAccount(username),
    accounts: await store.listAccounts({ limit: 10, cursor: null }),
    key: await store.findKey(hash),
    keys: await store.listKeys(username),
    operatorKeys: await store.listKeys(null),
    eventTypes: await store.listEventTypes(),
    endpoints: await store.listEndpoints(username),
    deliveries,
    details: await Promise.all(deliveries.map(({ deliveryId }) => store.getDelivery(username, deliveryId))),
    events,
    eventDetails: await Promise.all(events.map(({ eventId }) => store.getEvent(username, eventId))),
    replay: await store.getReplay(username, replayId),
    stats: await store.stats({
      username,
      since: since - (since % HOUR_MS),
      until: bench.now() + DAY_MS,
      intervalMs: HOUR_MS,
      by: 'endpoint',
    }),
  };
}

export function durabilityTests(test: StoreTest): void {
  describe('durability', () => {
    test('all that was answered is there after a crash', async (bench) => {
      const { store } = bench;
      const { username, endpoint } = await bench.subscriber({
        metadata: { a: 1 },
        headers: 'sealed-headers',
      });
      const other = await bench.endpoint(username, { status: 'disabled' });
      await bench.advanceInto(HOUR_MS, 5 * MINUTE_MS);
      await store.initMeta('check', 'sealed-check');
      await store.updateAccount(username, { metadata: { plan: 'pro' } });
      const key = newKey(username);
      const revoked = newKey(null);
      await store.createKey(key);
      await store.createKey(revoked);
      await store.revokeKey(revoked.keyId, null);
      await store.touchKeys([{ keyId: key.keyId, at: bench.now() }]);
      await store.putEventType(newEventType('custom.done'));
      await store.putEventType(newEventType('custom.gone'));
      await store.deleteEventType('custom.gone');
      await store.rotateSecret(username, endpoint.endpointId, 'sealed-2', bench.now() + DAY_MS);
      await store.updateEndpoint(username, other.endpointId, { url: 'https://changed.example/' });
      const gone = await bench.endpoint(username, { events: [AVATAR] });
      await bench.publish(username, { event: AVATAR });
      await store.deleteEndpoint(username, gone.endpointId);
      await bench.publishMany(username, 6);
      const [delivered, dead, retrying, released] = await bench.claim({ limit: 4 });
      assert.ok(delivered && dead && retrying && released);
      await bench.settle(
        deliveredAt(delivered, bench.now()),
        deadAt(dead, bench.now()),
        retryingAt(retrying, bench.now(), bench.now() + HOUR_MS),
      );
      await store.release([released]);
      const range = { since: 0, until: bench.now() + HOUR_MS };
      const replay = await store.createReplay({
        username,
        endpointId: endpoint.endpointId,
        kind: 'failed',
        ...range,
      });
      const replayId = replay?.replayId as string;
      const before = await everything(bench, username, key.hash, replayId);

      await bench.reopen();

      assert.equal(await bench.store.recover(), 0, 'nothing was in flight');
      assert.deepEqual(await everything(bench, username, key.hash, replayId), before);
      assert.equal((await bench.store.advanceReplays(10, 1_000)).made, 1);
      assert.equal((await bench.claim()).length, 4, 'three that were due, and the revived one');
      await bench.advance(HOUR_MS);
      const again = await bench.claim();
      assert.ok(again.some((lease) => lease.deliveryId === retrying.deliveryId));
    });

    test('idempotency lasts through a crash', async (bench) => {
      const { username } = await bench.subscriber();
      const event = newEvent(username);
      await bench.store.publish([event], WIDE_OFFER);
      await bench.reopen();
      const { results } = await bench.store.publish(
        [event, newEvent(username, { eventId: event.eventId, data: { other: true } })],
        null,
      );
      assert.deepEqual(results, [
        { outcome: 'duplicate', eventId: event.eventId, deliveries: 1 },
        { outcome: 'conflict', eventId: event.eventId },
      ]);
    });

    test('what was in flight at a crash is leased again, at the latest when its lease ends, and no token of old holds', async (bench) => {
      const { username } = await bench.subscriber();
      const published = await bench.store.publish([newEvent(username), newEvent(username)], {
        ...WIDE_OFFER,
        limit: 1,
        leaseMs: MINUTE_MS,
      });
      const lost = [...published.leases, ...(await bench.claim({ leaseMs: MINUTE_MS }))];
      assert.equal(lost.length, 2);

      await bench.reopen();

      const freed = await bench.store.recover();
      const leases = await bench.claim();
      assert.equal(leases.length, freed, 'what was freed is due at once');
      await bench.advance(2 * MINUTE_MS);
      leases.push(...(await bench.claim({ leaseMs: 10 * MINUTE_MS })));
      assert.ok(leases.length >= 2);
      const present = new Map(leases.map((lease) => [lease.deliveryId, lease]));
      assertSameMembers([...present.keys()], idsOf(lost), 'leased again');
      assertDistinct(
        [...lost, ...leases].map((lease) => lease.token),
        'tokens',
      );
      assert.deepEqual(
        await bench.settle(...lost.map((lease) => deadAt(lease, bench.now()))),
        lost.map(() => ({ outcome: 'stale' })),
      );
      for (const lease of present.values()) {
        assert.equal(lease.attempts, 0);
        assert.equal(await bench.settleOne(deliveredAt(lease, bench.now())), 'delivered');
      }
    });

    test('a lane’s limit still holds after a crash, neither tighter nor wider', async (bench) => {
      const { username } = await bench.subscriber();
      await bench.publishMany(username, 10);
      assert.equal((await bench.claim({ laneLimit: 3, leaseMs: MINUTE_MS })).length, 3);
      await bench.reopen();
      await bench.store.recover();
      await bench.advance(2 * MINUTE_MS);
      assert.equal((await bench.claim({ laneLimit: 3, leaseMs: MINUTE_MS })).length, 3);
      assert.equal((await bench.claim({ laneLimit: 3, leaseMs: MINUTE_MS })).length, 0);
    });

    test('a suspension, a disabling and a deletion last through a crash', async (bench) => {
      const suspended = await bench.subscriber();
      const disabled = await bench.subscriber();
      const deleted = await bench.subscriber();
      const accountGone = await bench.subscriber();
      for (const { username } of [suspended, disabled, deleted, accountGone]) await bench.publish(username);
      const { store } = bench;
      await store.updateAccount(suspended.username, { status: 'suspended' });
      await store.updateEndpoint(disabled.username, disabled.endpoint.endpointId, { status: 'disabled' });
      await store.deleteEndpoint(deleted.username, deleted.endpoint.endpointId);
      await store.deleteAccount(accountGone.username);

      await bench.reopen();

      await bench.store.recover();
      assert.deepEqual(await bench.claim(), []);
      assert.equal(await bench.store.getAccount(accountGone.username), null);
      for (const { username } of [disabled, deleted]) {
        assert.equal((await bench.deliveries(username))[0]?.status, 'cancelled');
      }
      await bench.store.updateAccount(suspended.username, { status: 'active' });
      assert.equal((await bench.claimOne()).username, suspended.username);
    });

    test('a crash in the middle of an account’s purge is finished by the next', async (bench) => {
      const { username } = await bench.subscriber();
      await bench.publishMany(username, 100);
      await bench.store.deleteAccount(username);
      assert.equal((await bench.store.purge(0, 10)).more, true);
      await bench.reopen();
      await bench.purgeAll(0, 50);
      await bench.account(username);
      assert.deepEqual(await bench.events(username), []);
    });

    test('a chain of crashes loses nothing', async (bench) => {
      const { username } = await bench.subscriber();
      const published: string[] = [];
      const delivered = new Set<string>();
      for (let crashes = 0; crashes < 5; crashes++) {
        published.push(...(await bench.publishMany(username, 10)));
        const leases: Lease[] = await bench.claim({ limit: 8, leaseMs: MINUTE_MS });
        const settled = leases.slice(0, 5);
        await bench.settle(...settled.map((lease) => deliveredAt(lease, bench.now())));
        for (const lease of settled) delivered.add(lease.deliveryId);
        await bench.reopen();
        await bench.store.recover();
        await bench.advance(2 * MINUTE_MS);
      }
      const rest = await bench.claim();
      assertSameMembers(
        [...delivered, ...idsOf(rest)],
        published,
        'each delivered once or still to be delivered',
      );
    });
  });
}
