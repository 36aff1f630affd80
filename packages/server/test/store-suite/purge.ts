import assert from 'node:assert/strict';
import { randomBytes } from 'node:crypto';
import { describe } from 'node:test';
import {
  DAY_MS,
  deadAt,
  deliveredAt,
  HOUR_MS,
  MINUTE_MS,
  newEvent,
  newKey,
  retryingAt,
} from '../support/store-fixtures.ts';
import { assertRefused, assertSameMembers, EMPTY_QUEUE, idsOf, type StoreTest } from './bench.ts';

export function purgeTests(test: StoreTest): void {
  describe('purging', () => {
    test('an empty store has nothing that is over', async (bench) => {
      await bench.account();
      assert.deepEqual(await bench.store.purge(bench.now() + DAY_MS, 100), { deleted: 0, more: false });
    });

    test('events and finished deliveries go when they ended before the time', async (bench) => {
      const { username, endpoint } = await bench.subscriber();
      const { eventId } = await bench.publish(username);
      const delivered = await bench.claimOne();
      await bench.settleOne(deliveredAt(delivered, bench.now()));
      await bench.publish(username);
      const dead = await bench.claimOne();
      await bench.settleOne(deadAt(dead, bench.now()));
      await bench.publish(username);
      await bench.store.updateEndpoint(username, endpoint.endpointId, { status: 'disabled' });
      await bench.publish(username);
      await bench.advance(DAY_MS);
      const before = bench.now() - HOUR_MS;
      await bench.store.updateEndpoint(username, endpoint.endpointId, { status: 'enabled' });
      const recent = await bench.publish(username);
      await bench.settleOne(deliveredAt(await bench.claimOne(), bench.now()));

      assert.ok((await bench.purgeAll(before)) > 0);

      assert.deepEqual(
        (await bench.events(username)).map((event) => event.eventId),
        [recent.eventId],
      );
      assert.deepEqual(idsOf(await bench.deliveries(username)), recent.deliveryIds);
      assert.equal(await bench.store.getEvent(username, eventId), null);
      assert.equal(await bench.store.getDelivery(username, delivered.deliveryId), null);
      assert.equal(await bench.store.retryDelivery(username, dead.deliveryId), null);
      assert.equal((await bench.delivery(username, recent.deliveryIds[0] as string)).attemptLog.length, 1);
      assert.deepEqual(await bench.store.purge(before, 100), { deleted: 0, more: false });
    });

    test('history that takes no more than it may is cut nowhere, and what ended lately never is', async (bench) => {
      const { username } = await bench.subscriber();
      await bench.publish(username);
      await bench.settleOne(deliveredAt(await bench.claimOne(), bench.now()));
      const bytes = await bench.store.historyBytes();
      assert.ok(bytes > 1_000 && bytes < 100_000_000, `${bytes} bytes`);
      assert.equal(await bench.store.historyCut(bytes, null), null, 'compared with the same number');
      const cut = await bench.store.historyCut(1, null);
      if (cut !== null) await bench.purgeAll(cut);
      assert.equal((await bench.events(username)).length, 1);
    });

    test('history that takes more goes from its oldest end until it takes no more, the unfinished stays', async (bench) => {
      const { username } = await bench.subscriber();
      const other = await bench.subscriber();
      const unfinished = await bench.publish(other.username);
      await bench.settleOne(retryingAt(await bench.claimOne(), bench.now(), bench.now() + 90 * DAY_MS));
      const days = 6;
      // Nothing that a database could compress.
      const body = JSON.stringify({ filler: randomBytes(75_000).toString('base64') });
      for (let day = 0; day < days; day += 1) {
        for (let n = 0; n < 10; n += 1) {
          await bench.publish(username, { eventId: `day-${day}-${n}`, body });
          await bench.settleOne(deliveredAt(await bench.claimOne(), bench.now()));
        }
        if (day === days - 1) break;
        await bench.advance(DAY_MS);
        // Makes the partitions of the next days.
        await bench.store.purge(0, 1);
      }
      assert.ok((await bench.store.historyBytes()) > days * 10 * 75_000, 'bodies count');
      await bench.advance(2 * HOUR_MS);
      let kept = (await bench.events(username)).length;
      let gone: number | null = null;
      let steps = 0;
      for (;;) {
        const cut: number | null = await bench.store.historyCut(4_000_000, gone);
        if (cut === null || (gone !== null && cut <= gone)) break;
        gone = cut;
        await bench.purgeAll(cut);
        const left = (await bench.events(username)).map((event) => event.eventId);
        assert.ok(left.length <= kept);
        kept = left.length;
        assert.ok(left.includes(`day-${days - 1}-9`), 'the newest stays');
        steps += 1;
        assert.ok(steps < 500, 'it ends');
      }
      const left = (await bench.events(username)).map((event) => event.eventId);
      assert.ok(left.length > 0 && left.length < days * 10, `${left.length} events are left`);
      const newest = Array.from({ length: days * 10 }, (_, n) => `day-${Math.floor(n / 10)}-${n % 10}`);
      assert.deepEqual(left.toReversed(), newest.slice(-left.length), 'the oldest went first');
      assert.equal((await bench.event(other.username, unfinished.eventId)).deliveries.pending, 1);
    });

    test('an event whose delivery ended lately stays, however old it is', async (bench) => {
      const { username } = await bench.subscriber();
      const { eventId, deliveryIds } = await bench.publish(username);
      await bench.settleOne(retryingAt(await bench.claimOne(), bench.now(), bench.now() + DAY_MS));
      await bench.advance(DAY_MS);
      const before = bench.now() - HOUR_MS;
      await bench.settleOne(deliveredAt(await bench.claimOne(), bench.now()));
      await bench.purgeAll(before);
      assert.equal((await bench.event(username, eventId)).deliveries.delivered, 1);
      assert.equal((await bench.delivery(username, deliveryIds[0] as string)).attemptLog.length, 2);
    });

    test('an event with an unfinished delivery stays and can be delivered, whatever its other deliveries did', async (bench) => {
      const { username, endpoint } = await bench.subscriber();
      const other = await bench.endpoint(username);
      const { eventId } = await bench.publish(username);
      const leases = await bench.claim();
      const one = leases.find((lease) => lease.endpoint.endpointId === endpoint.endpointId);
      const two = leases.find((lease) => lease.endpoint.endpointId === other.endpointId);
      assert.ok(one && two);
      await bench.settle(
        deliveredAt(one, bench.now()),
        retryingAt(two, bench.now(), bench.now() + 2 * DAY_MS),
      );
      const due = await bench.publish(username);
      await bench.advance(3 * DAY_MS);
      await bench.purgeAll(bench.now());

      const event = await bench.event(username, eventId);
      assert.equal(event.deliveries.pending, 1);
      const waiting = await bench.delivery(username, two.deliveryId);
      assert.equal(waiting.status, 'pending');
      assert.equal(waiting.attemptLog.length, 1, 'the attempts of an unfinished delivery stay');
      const again = await bench.claim();
      assertSameMembers(idsOf(again), [two.deliveryId, ...due.deliveryIds], 'leased');
      assert.equal(again.find((lease) => lease.deliveryId === two.deliveryId)?.event.body, event.body);
    });

    test('a delivery in flight is not purged', async (bench) => {
      const { username } = await bench.subscriber();
      await bench.publish(username);
      const lease = await bench.claimOne({ leaseMs: 10 * DAY_MS });
      await bench.advance(DAY_MS);
      await bench.purgeAll(bench.now() + DAY_MS);
      assert.equal(await bench.settleOne(deliveredAt(lease, bench.now())), 'delivered');
    });

    test('an event that nobody got goes by the time it came', async (bench) => {
      const username = await bench.account();
      const old = await bench.publish(username);
      await bench.advance(DAY_MS);
      const recent = await bench.publish(username);
      await bench.purgeAll(bench.now() - HOUR_MS);
      assert.equal(await bench.store.getEvent(username, old.eventId), null);
      assert.ok(await bench.store.getEvent(username, recent.eventId));
    });

    test('a purged event’s id is free again', async (bench) => {
      const username = await bench.account();
      const event = newEvent(username);
      await bench.store.publish([event], null);
      await bench.advance(DAY_MS);
      assert.equal((await bench.store.publish([event], null)).results[0]?.outcome, 'duplicate');
      await bench.purgeAll(bench.now());
      assert.equal((await bench.store.publish([event], null)).results[0]?.outcome, 'stored');
    });

    test('a purge goes on in steps of about the limit, and says when more is left', async (bench) => {
      const { username } = await bench.subscriber();
      await bench.publishMany(username, 200);
      const leases = await bench.claim();
      await bench.settle(...leases.map((lease) => deliveredAt(lease, bench.now())));
      await bench.advance(DAY_MS);
      const first = await bench.store.purge(bench.now(), 20);
      assert.equal(first.more, true);
      assert.ok(first.deleted > 0 && first.deleted <= 100, `deleted ${first.deleted} of a limit of 20`);
      const left = (await bench.events(username)).length;
      assert.ok(left >= 100, `${left} of 200 events are left after a step of 20 rows`);
      await bench.purgeAll(bench.now(), 50);
      assert.deepEqual(await bench.events(username), []);
      assert.deepEqual(await bench.deliveries(username), []);
    });

    test('statistics go when they are older than the time', async (bench) => {
      const { username } = await bench.subscriber();
      await bench.advanceInto(HOUR_MS, 5 * MINUTE_MS);
      const start = bench.now() - (bench.now() % HOUR_MS);
      for (let n = 0; n < 2; n++) {
        await bench.publish(username);
        await bench.settleOne(deliveredAt(await bench.claimOne(), bench.now()));
        await bench.advance(5 * DAY_MS);
      }
      await bench.purgeAll(bench.now() - 7 * DAY_MS);
      const query = { username, intervalMs: HOUR_MS, by: null };
      const old = await bench.store.stats({ ...query, since: start, until: start + DAY_MS });
      assert.deepEqual(old.series, []);
      const recent = await bench.store.stats({ ...query, since: start + DAY_MS, until: start + 7 * DAY_MS });
      assert.equal(recent.totals[0]?.delivered, 1);
    });

    test('an expired previous secret goes, one within its overlap stays', async (bench) => {
      const { username, endpoint } = await bench.subscriber();
      const other = await bench.endpoint(username);
      await bench.store.rotateSecret(username, endpoint.endpointId, 'sealed-2', bench.now() + HOUR_MS);
      await bench.store.rotateSecret(username, other.endpointId, 'sealed-2', bench.now() + DAY_MS);
      await bench.advance(2 * HOUR_MS);
      await bench.purgeAll(bench.now() - DAY_MS);
      const ended = await bench.store.getEndpoint(username, endpoint.endpointId);
      assert.equal(ended?.secret, 'sealed-2');
      assert.equal(ended?.previousSecret, null);
      assert.equal(ended?.previousSecretExpiresAt, null);
      assert.equal((await bench.store.getEndpoint(username, other.endpointId))?.previousSecret, other.secret);
    });

    test('a deleted account goes in steps, and its name is taken until the last', async (bench) => {
      const { username } = await bench.subscriber();
      const ids = await bench.publishMany(username, 100);
      const leases = await bench.claim({ limit: 60 });
      await bench.settle(...leases.map((lease) => deliveredAt(lease, bench.now())));
      const key = newKey(username);
      await bench.store.createKey(key);
      await bench.store.deleteAccount(username);
      await assertRefused('conflict', bench.store.createAccount({ username, metadata: null }));

      let steps = 0;
      for (;;) {
        steps += 1;
        assert.ok(steps < 1_000, 'the purge ends');
        const { more } = await bench.store.purge(0, 10);
        assert.equal(await bench.store.getAccount(username), null);
        if (!more) break;
      }
      assert.ok(steps > 3, `${steps} steps of about 10 rows for hundreds`);

      await bench.account(username);
      assert.equal((await bench.store.getAccount(username))?.endpoints, 0);
      assert.deepEqual(await bench.store.listEndpoints(username), []);
      assert.deepEqual(await bench.store.listKeys(username), []);
      assert.deepEqual(await bench.events(username), []);
      assert.deepEqual(await bench.deliveries(username), []);
      assert.equal(await bench.store.getDelivery(username, ids[0] as string), null);
      assert.equal(await bench.store.findKey(key.hash), null);
      const range = { since: bench.now() - DAY_MS, until: bench.now() + DAY_MS };
      const stats = await bench.store.stats({ username, ...range, intervalMs: HOUR_MS, by: null });
      assert.deepEqual(stats.series, []);
      assert.deepEqual(await bench.store.queueDepth(), EMPTY_QUEUE);
      await bench.store.createKey(key);
    });

    test('retention keeps what the future may still need: accounts, endpoints, keys', async (bench) => {
      const { username, endpoint } = await bench.subscriber();
      const key = newKey(username);
      await bench.store.createKey(key);
      await bench.advance(400 * DAY_MS);
      await bench.purgeAll(bench.now());
      assert.ok(await bench.store.getAccount(username));
      assert.ok(await bench.store.getEndpoint(username, endpoint.endpointId));
      assert.ok(await bench.store.findKey(key.hash));
    });
  });
}
