import assert from 'node:assert/strict';
import { describe } from 'node:test';
import type { EndpointChanges } from '../../src/model.ts';
import {
  AVATAR,
  deadAt,
  deliveredAt,
  HOUR_MS,
  MINUTE_MS,
  newEndpoint,
  newEvent,
  retryingAt,
  SCRIPT,
  SECOND_MS,
  VIDEO,
} from '../support/store-fixtures.ts';
import { assertAbout, assertRefused, type Bench, EMPTY_QUEUE, idsOf, type StoreTest } from './bench.ts';

export function endpointTests(test: StoreTest): void {
  describe('endpoints', () => {
    test('a new endpoint is given back as it was sent', async (bench) => {
      const username = await bench.account();
      const sent = newEndpoint(username, {
        events: [SCRIPT, VIDEO],
        description: 'Ünïcode “description” 📮',
        metadata: { team: 'video', nested: { a: [1, 2.5, null] } },
        headers: 'sealed-headers',
        rateLimitPerSecond: 25,
        timeoutMs: 12_000,
      });
      const made = await bench.store.addEndpoint(sent, 20);
      assertAbout(made.createdAt, bench.now(), 'createdAt');
      assert.deepEqual(made, {
        ...sent,
        disabledReason: null,
        previousSecret: null,
        previousSecretExpiresAt: null,
        createdAt: made.createdAt,
      });
      assert.deepEqual(await bench.store.getEndpoint(username, sent.endpointId), made);
      assert.deepEqual(await bench.store.listEndpoints(username), [made]);
    });

    test('an endpoint can start disabled, for no reason of the service', async (bench) => {
      const { username, endpoint } = await bench.subscriber({ status: 'disabled' });
      assert.equal(endpoint.status, 'disabled');
      assert.equal(endpoint.disabledReason, null);
      assert.deepEqual((await bench.publish(username)).deliveryIds, []);
    });

    test('a URL comes back byte for byte', async (bench) => {
      const username = await bench.account();
      const urls = [
        'https://Example.COM',
        'https://example.com/',
        'https://example.com:443/a/../b/./c?',
        'https://example.com/%7Euser/%e4?q=1&q=2+3%20#',
        'https://bücher.example/Straße?ключ=значение',
        'HTTPS://EXAMPLE.COM/A b',
        "https://example.com/'quote''s\"/\\?x=%00",
      ];
      for (const url of urls) {
        const { endpointId } = await bench.endpoint(username, { url });
        assert.equal((await bench.store.getEndpoint(username, endpointId))?.url, url);
        await bench.publish(username, { onlyEndpointId: endpointId });
        assert.equal((await bench.claimOne()).endpoint.url, url);
      }
      const { endpointId } = await bench.endpoint(username);
      for (const url of urls) {
        assert.equal((await bench.store.updateEndpoint(username, endpointId, { url }))?.url, url);
      }
    });

    test('an endpoint for an unknown account is not found', async ({ store }) => {
      await assertRefused('not_found', store.addEndpoint(newEndpoint('nobody'), 20));
    });

    test('an endpoint beyond the limit is refused with a message that says the limit', async (bench) => {
      const username = await bench.account();
      await bench.store.addEndpoint(newEndpoint(username), 2);
      await bench.store.addEndpoint(newEndpoint(username, { status: 'disabled' }), 2);
      const refusal = await assertRefused(
        'invalid_parameter',
        bench.store.addEndpoint(newEndpoint(username), 2),
      );
      assert.match(refusal.message, /\b2\b/);
      assert.equal((await bench.store.listEndpoints(username)).length, 2);
    });

    test('of 21 parallel additions under a limit of 20, one is refused', async (bench) => {
      const username = await bench.account();
      const outcomes = await Promise.allSettled(
        Array.from({ length: 21 }, () => bench.store.addEndpoint(newEndpoint(username), 20)),
      );
      const refused = outcomes.filter((outcome) => outcome.status === 'rejected');
      assert.equal(refused.length, 1);
      await assertRefused('invalid_parameter', Promise.reject<unknown>(refused[0]?.reason));
      assert.equal((await bench.store.listEndpoints(username)).length, 20);
    });

    test('the limit is the account’s own, and a deleted endpoint makes room', async (bench) => {
      const { username, endpoint } = await bench.subscriber();
      const other = await bench.account();
      await bench.store.addEndpoint(newEndpoint(other), 1);
      await assertRefused('invalid_parameter', bench.store.addEndpoint(newEndpoint(username), 1));
      await bench.store.deleteEndpoint(username, endpoint.endpointId);
      await bench.store.addEndpoint(newEndpoint(username), 1);
    });

    test('endpoints are listed oldest first', async (bench) => {
      const username = await bench.account();
      const ids: string[] = [];
      for (let n = 0; n < 5; n++) {
        ids.push((await bench.endpoint(username)).endpointId);
        await bench.advance(SECOND_MS);
      }
      await bench.store.updateEndpoint(username, ids[0] as string, { description: 'changed' });
      const listed = await bench.store.listEndpoints(username);
      assert.deepEqual(
        listed.map((endpoint) => endpoint.endpointId),
        ids,
      );
    });

    test('an unknown endpoint is null everywhere', async (bench) => {
      const username = await bench.account();
      assert.equal(await bench.store.getEndpoint(username, 'wh_unknown'), null);
      assert.equal(await bench.store.updateEndpoint(username, 'wh_unknown', { status: 'disabled' }), null);
      assert.equal(await bench.store.deleteEndpoint(username, 'wh_unknown'), false);
      assert.equal(await bench.store.rotateSecret(username, 'wh_unknown', 'sealed', null), null);
      assert.deepEqual(await bench.store.listEndpoints('nobody'), []);
    });

    test('an update replaces only what is present', async (bench) => {
      const { username, endpoint } = await bench.subscriber({
        description: 'before',
        metadata: { before: true },
        headers: 'sealed-before',
        rateLimitPerSecond: 5,
        timeoutMs: 5_000,
      });
      const steps: EndpointChanges[] = [
        { url: 'https://after.example/' },
        { events: [AVATAR] },
        { status: 'disabled' },
        { description: 'after' },
        { metadata: { after: [true] } },
        { headers: 'sealed-after' },
        { rateLimitPerSecond: 50 },
        { timeoutMs: 30_000 },
        { description: null, metadata: null, headers: null, rateLimitPerSecond: null, timeoutMs: null },
        { status: 'enabled', url: 'https://last.example/', events: [VIDEO, SCRIPT] },
      ];
      let expected = endpoint;
      for (const changes of steps) {
        expected = { ...expected, ...changes };
        assert.deepEqual(
          await bench.store.updateEndpoint(username, endpoint.endpointId, changes),
          expected,
          JSON.stringify(changes),
        );
        assert.deepEqual(await bench.store.getEndpoint(username, endpoint.endpointId), expected);
      }
    });

    test('new subscriptions hold for the next event', async (bench) => {
      const { username, endpoint } = await bench.subscriber({ events: [VIDEO] });
      await bench.store.updateEndpoint(username, endpoint.endpointId, { events: [AVATAR] });
      assert.equal((await bench.publish(username, { event: VIDEO })).deliveryIds.length, 0);
      assert.equal((await bench.publish(username, { event: AVATAR })).deliveryIds.length, 1);
    });

    test('an updated URL holds for what waits already', async (bench) => {
      const { username, endpoint } = await bench.subscriber();
      await bench.publish(username);
      await bench.store.updateEndpoint(username, endpoint.endpointId, {
        url: 'https://after.example/',
        headers: 'sealed-after',
        timeoutMs: 1_000,
        rateLimitPerSecond: 7,
      });
      const lease = await bench.claimOne();
      assert.deepEqual(lease.endpoint, {
        endpointId: endpoint.endpointId,
        url: 'https://after.example/',
        secret: endpoint.secret,
        previousSecret: null,
        previousSecretExpiresAt: null,
        headers: 'sealed-after',
        rateLimitPerSecond: 7,
        timeoutMs: 1_000,
      });
    });

    test('a rotated secret replaces the present one, which stays until the overlap ends', async (bench) => {
      const { username, endpoint } = await bench.subscriber();
      const overlapUntil = bench.now() + HOUR_MS;
      const expected = {
        ...endpoint,
        secret: 'sealed-2',
        previousSecret: endpoint.secret,
        previousSecretExpiresAt: overlapUntil,
      };
      assert.deepEqual(
        await bench.store.rotateSecret(username, endpoint.endpointId, 'sealed-2', overlapUntil),
        expected,
      );
      assert.deepEqual(await bench.store.getEndpoint(username, endpoint.endpointId), expected);
      await bench.publish(username);
      const lease = await bench.claimOne();
      assert.equal(lease.endpoint.secret, 'sealed-2');
      assert.equal(lease.endpoint.previousSecret, endpoint.secret);
      assert.equal(lease.endpoint.previousSecretExpiresAt, overlapUntil);
    });

    test('a rotation without overlap ends the old secret at once', async (bench) => {
      const { username, endpoint } = await bench.subscriber();
      await bench.store.rotateSecret(username, endpoint.endpointId, 'sealed-2', bench.now() + HOUR_MS);
      assert.deepEqual(await bench.store.rotateSecret(username, endpoint.endpointId, 'sealed-3', null), {
        ...endpoint,
        secret: 'sealed-3',
        previousSecret: null,
        previousSecretExpiresAt: null,
      });
    });

    test('a second rotation within the overlap keeps the secret before it, not the first', async (bench) => {
      const { username, endpoint } = await bench.subscriber();
      const overlapUntil = bench.now() + HOUR_MS;
      await bench.store.rotateSecret(username, endpoint.endpointId, 'sealed-2', overlapUntil);
      const rotated = await bench.store.rotateSecret(
        username,
        endpoint.endpointId,
        'sealed-3',
        overlapUntil + HOUR_MS,
      );
      assert.equal(rotated?.previousSecret, 'sealed-2');
      assert.equal(rotated?.previousSecretExpiresAt, overlapUntil + HOUR_MS);
    });
  });

  describe('an endpoint that takes a type no longer', () => {
    test('what waits of that type is cancelled with a reason, due or not, and nothing else', async (bench) => {
      const { username, endpoint } = await bench.subscriber({ events: [VIDEO, SCRIPT] });
      const retrying = (await bench.publish(username, { event: VIDEO })).deliveryIds[0] as string;
      const lease = await bench.claimOne();
      await bench.settleOne(retryingAt(lease, bench.now(), bench.now() + HOUR_MS));
      const due = (await bench.publish(username, { event: VIDEO })).deliveryIds[0] as string;
      const kept = (await bench.publish(username, { event: SCRIPT })).deliveryIds[0] as string;

      await bench.store.updateEndpoint(username, endpoint.endpointId, { events: [SCRIPT] });

      for (const deliveryId of [retrying, due]) {
        const delivery = await bench.delivery(username, deliveryId);
        assert.equal(delivery.status, 'cancelled');
        assert.match(delivery.statusReason ?? '', /subscribed/);
      }
      assert.equal((await bench.claimOne()).deliveryId, kept);
    });

    test('nothing of a large backlog of that type is sent, and it holds up nothing behind it', async (bench) => {
      const { username, endpoint } = await bench.subscriber({ events: [VIDEO, SCRIPT] });
      for (let batch = 0; batch < 3; batch++) {
        await bench.publishMany(username, 1_000, { event: VIDEO, body: '{}' });
      }
      await bench.store.updateEndpoint(username, endpoint.endpointId, { events: [SCRIPT] });
      await bench.advance(SECOND_MS);
      const kept = await bench.publishMany(username, 1, { event: SCRIPT });
      const leased: string[] = [];
      for (let claims = 0; claims < 300; claims++) {
        const { leases, nextDueAt } = await bench.store.claim({ limit: 50, laneLimit: 10, leaseMs: HOUR_MS });
        leased.push(...idsOf(leases));
        if (nextDueAt === null || nextDueAt > bench.now() + MINUTE_MS) break;
        await bench.advance(SECOND_MS);
      }
      assert.deepEqual(leased, kept);
      assert.equal((await bench.deliveries(username, { status: 'cancelled' })).length, 3_000);
    });

    test('an attempt of that type in flight ends as it ends, and is not repeated', async (bench) => {
      const { username, endpoint } = await bench.subscriber({ events: [VIDEO, SCRIPT] });
      await bench.publishMany(username, 2, { event: VIDEO });
      const [arriving, failing] = await bench.claim();
      assert.ok(arriving && failing);
      await bench.store.updateEndpoint(username, endpoint.endpointId, { events: [SCRIPT] });
      assert.equal(await bench.settleOne(deliveredAt(arriving, bench.now())), 'delivered');
      const again = retryingAt(failing, bench.now(), bench.now() + SECOND_MS);
      assert.equal(await bench.settleOne(again), 'cancelled');
    });

    test('a lease of that type that is given back is not given out again', async (bench) => {
      const { username, endpoint } = await bench.subscriber({ events: [VIDEO, SCRIPT] });
      await bench.publish(username, { event: VIDEO });
      const lease = await bench.claimOne();
      await bench.store.updateEndpoint(username, endpoint.endpointId, { events: [SCRIPT] });
      await bench.store.release([lease]);
      assert.deepEqual(await bench.claim(), []);
      assert.equal((await bench.delivery(username, lease.deliveryId)).status, 'cancelled');
    });

    test('a test event of a type that it never took is retried all the same', async (bench) => {
      const { username, endpoint } = await bench.subscriber({ events: [SCRIPT] });
      await bench.publish(username, { event: VIDEO, onlyEndpointId: endpoint.endpointId });
      const lease = await bench.claimOne();
      assert.equal(await bench.settleOne(retryingAt(lease, bench.now(), bench.now() + SECOND_MS)), 'pending');
    });
  });

  describe('an endpoint that ends', () => {
    const endings: Record<string, (bench: Bench, username: string, endpointId: string) => Promise<unknown>> =
      {
        disabled: (bench, username, endpointId) =>
          bench.store.updateEndpoint(username, endpointId, { status: 'disabled' }),
        deleted: (bench, username, endpointId) => bench.store.deleteEndpoint(username, endpointId),
      };

    for (const [ending, end] of Object.entries(endings)) {
      test(`what waits for a ${ending} endpoint is cancelled with a reason, due or not`, async (bench) => {
        const { username, endpoint } = await bench.subscriber();
        const retrying = (await bench.publish(username)).deliveryIds[0] as string;
        const lease = await bench.claimOne();
        await bench.settleOne(retryingAt(lease, bench.now(), bench.now() + HOUR_MS));
        const due = (await bench.publish(username)).deliveryIds[0] as string;

        await end(bench, username, endpoint.endpointId);

        for (const deliveryId of [retrying, due]) {
          const delivery = await bench.delivery(username, deliveryId);
          assert.equal(delivery.status, 'cancelled');
          assert.match(delivery.statusReason ?? '', new RegExp(ending));
          assert.equal(delivery.nextAttemptAt, null);
          assertAbout(delivery.completedAt, bench.now(), 'completedAt');
        }
        assert.equal((await bench.delivery(username, retrying)).attemptLog.length, 1);
        await bench.advance(2 * HOUR_MS);
        assert.deepEqual(await bench.claim(), []);
      });

      test(`what waits elsewhere stays when an endpoint is ${ending}`, async (bench) => {
        const { username, endpoint } = await bench.subscriber();
        const other = await bench.endpoint(username);
        await bench.publish(username);
        await end(bench, username, endpoint.endpointId);
        assert.equal((await bench.claimOne()).endpoint.endpointId, other.endpointId);
      });

      test(`an attempt in flight to a ${ending} endpoint ends as it ends`, async (bench) => {
        const { username, endpoint } = await bench.subscriber();
        await bench.publishMany(username, 3);
        const [first, second, third] = await bench.claim();
        assert.ok(first && second && third);
        await end(bench, username, endpoint.endpointId);

        for (const lease of [first, second, third]) {
          const delivery = await bench.delivery(username, lease.deliveryId);
          assert.equal(delivery.status, 'pending', 'nothing is decided while the attempt is in flight');
        }
        assert.equal(await bench.settleOne(deliveredAt(first, bench.now())), 'delivered');
        assert.equal(await bench.settleOne(deadAt(second, bench.now(), 'the end')), 'dead');
        assert.equal(
          await bench.settleOne(retryingAt(third, bench.now(), bench.now() + MINUTE_MS)),
          'cancelled',
          'no further attempt may start',
        );

        const cancelled = await bench.delivery(username, third.deliveryId);
        assert.equal(cancelled.status, 'cancelled');
        assert.match(cancelled.statusReason ?? '', new RegExp(ending));
        assert.equal(cancelled.attempts, 1);
        assert.equal(cancelled.attemptLog.length, 1, 'the attempt that was made is kept');
        await bench.advance(HOUR_MS);
        assert.deepEqual(await bench.claim(), []);
      });

      test(`a lease that is given back for a ${ending} endpoint is cancelled`, async (bench) => {
        const { username, endpoint } = await bench.subscriber();
        await bench.publish(username);
        const lease = await bench.claimOne();
        await end(bench, username, endpoint.endpointId);
        await bench.store.release([lease]);
        const delivery = await bench.delivery(username, lease.deliveryId);
        assert.equal(delivery.status, 'cancelled');
        assert.match(delivery.statusReason ?? '', new RegExp(ending));
        assert.equal(delivery.attempts, 0);
      });

      test(`a lease that nobody ends for a ${ending} endpoint is cancelled after its time, not forgotten`, async (bench) => {
        const { username, endpoint } = await bench.subscriber();
        await bench.publish(username);
        const lease = await bench.claimOne({ leaseMs: MINUTE_MS });
        await end(bench, username, endpoint.endpointId);
        await bench.advance(2 * MINUTE_MS);
        const claimed = await bench.store.claim({ limit: 10, laneLimit: 10, leaseMs: MINUTE_MS });
        assert.deepEqual(claimed.leases, []);
        assert.equal((await bench.delivery(username, lease.deliveryId)).status, 'cancelled');
        const depth = await bench.store.queueDepth();
        assert.deepEqual(depth, EMPTY_QUEUE);
      });

      test(`a large backlog of a ${ending} endpoint is cancelled, at the latest when claims come by`, async (bench) => {
        const { username, endpoint } = await bench.subscriber();
        for (let batch = 0; batch < 3; batch++) await bench.publishMany(username, 1_000, { body: '{}' });
        await end(bench, username, endpoint.endpointId);
        for (let claims = 0; claims < 10; claims++) {
          assert.deepEqual(await bench.claim(), []);
          await bench.advance(SECOND_MS);
        }
        assert.deepEqual(await bench.store.queueDepth(), EMPTY_QUEUE);
        const cancelled = await bench.deliveries(username, { status: 'cancelled' });
        assert.equal(cancelled.length, 3_000);
      });

      test(`nothing slips past an endpoint that is ${ending} while events and retries arrive`, async (bench) => {
        const { username, endpoint } = await bench.subscriber();
        const [dead] = await bench.publishMany(username, 1);
        await bench.settleOne(deadAt(await bench.claimOne(), bench.now()));
        const publishing = Array.from({ length: 20 }, () => newEvent(username)).map((event) =>
          bench.store.publish([event], null),
        );
        const ended = end(bench, username, endpoint.endpointId);
        publishing.push(bench.store.publish([newEvent(username)], null));
        const [retried] = await Promise.allSettled([
          bench.store.retryDelivery(username, dead as string),
          ended,
          ...publishing,
        ]);
        if (retried.status === 'rejected') {
          await assertRefused('invalid_parameter', Promise.reject<unknown>(retried.reason));
        }
        assert.equal((await bench.events(username)).length, 22, 'every event is stored');
        // What was published at the very moment may be cancelled by the claim that comes by.
        assert.deepEqual(await bench.claim(), []);
        assert.deepEqual(await bench.deliveries(username, { status: 'pending' }), []);
      });

      test(`events after an endpoint was ${ending} don't reach it`, async (bench) => {
        const { username, endpoint } = await bench.subscriber();
        await end(bench, username, endpoint.endpointId);
        assert.deepEqual((await bench.publish(username)).deliveryIds, []);
        assert.deepEqual(await bench.claim(), []);
      });
    }

    test('an owner’s disabling has no reason of the service', async (bench) => {
      const { username, endpoint } = await bench.subscriber();
      const disabled = await bench.store.updateEndpoint(username, endpoint.endpointId, {
        status: 'disabled',
      });
      assert.equal(disabled?.disabledReason, null);
    });

    test('nothing of a large backlog from before a disabling is sent when the endpoint is enabled again', async (bench) => {
      const { username, endpoint } = await bench.subscriber();
      for (let batch = 0; batch < 3; batch++) await bench.publishMany(username, 1_000, { body: '{}' });
      await bench.store.updateEndpoint(username, endpoint.endpointId, { status: 'disabled' });
      await bench.store.updateEndpoint(username, endpoint.endpointId, { status: 'enabled' });
      assert.deepEqual(await bench.claim(), []);
      assert.deepEqual(await bench.deliveries(username, { status: 'pending' }), []);
    });

    test('an endpoint that is enabled again gets the next events, not those it missed', async (bench) => {
      const { username, endpoint } = await bench.subscriber();
      await bench.publish(username);
      await bench.store.updateEndpoint(username, endpoint.endpointId, { status: 'disabled' });
      await bench.publish(username);
      await bench.store.updateEndpoint(username, endpoint.endpointId, { status: 'enabled' });
      const { deliveryIds } = await bench.publish(username);
      assert.deepEqual(idsOf(await bench.claim()), deliveryIds);
    });

    test('a deleted endpoint is gone from every look-up and can’t be deleted twice', async (bench) => {
      const { username, endpoint } = await bench.subscriber();
      const { endpointId } = endpoint;
      assert.equal(await bench.store.deleteEndpoint(username, endpointId), true);
      assert.equal(await bench.store.deleteEndpoint(username, endpointId), false);
      assert.equal(await bench.store.getEndpoint(username, endpointId), null);
      assert.deepEqual(await bench.store.listEndpoints(username), []);
      assert.equal(await bench.store.updateEndpoint(username, endpointId, { status: 'enabled' }), null);
      assert.equal(await bench.store.rotateSecret(username, endpointId, 'sealed', null), null);
    });

    test('the history of a deleted endpoint stays readable', async (bench) => {
      const { username, endpoint } = await bench.subscriber();
      const { eventId } = await bench.publish(username);
      const lease = await bench.claimOne();
      await bench.settleOne(deliveredAt(lease, bench.now()));
      await bench.store.deleteEndpoint(username, endpoint.endpointId);
      const delivery = await bench.delivery(username, lease.deliveryId);
      assert.equal(delivery.status, 'delivered');
      assert.equal(delivery.endpointId, endpoint.endpointId);
      assert.equal(delivery.url, endpoint.url, 'the URL of the last attempt');
      assert.equal(delivery.attemptLog.length, 1);
      const [listed] = await bench.deliveries(username, { endpointId: endpoint.endpointId });
      assert.equal(listed?.deliveryId, lease.deliveryId);
      assert.equal((await bench.event(username, eventId)).targets[0]?.deliveryId, lease.deliveryId);
    });
  });
}
