import assert from 'node:assert/strict';
import { describe } from 'node:test';
import type { LeaseOffer } from '../../src/store/store.ts';
import {
  AVATAR,
  deliveredAt,
  MINUTE_MS,
  newEvent,
  retryingAt,
  SCRIPT,
  SECOND_MS,
  unique,
  VIDEO,
  WIDE_OFFER,
} from '../support/store-fixtures.ts';
import { assertAbout, assertDistinct, assertSameMembers, idsOf, type StoreTest } from './bench.ts';

export function publishTests(test: StoreTest): void {
  describe('publishing', () => {
    test('an event gets a delivery for each enabled endpoint that subscribes', async (bench) => {
      const username = await bench.account();
      const both = await bench.endpoint(username, { events: [VIDEO, SCRIPT] });
      const one = await bench.endpoint(username, { events: [VIDEO] });
      const other = await bench.endpoint(username, { events: [SCRIPT] });
      const disabled = await bench.endpoint(username, { events: [VIDEO], status: 'disabled' });
      const event = newEvent(username, { event: VIDEO });

      const { results, leases } = await bench.store.publish([event], null);
      const result = results[0];
      assert.ok(result?.outcome === 'stored');
      assert.equal(result.eventId, event.eventId);
      assert.equal(result.deliveries, 2);
      assert.equal(result.deliveryIds.length, 2);
      assertDistinct(result.deliveryIds, 'delivery ids');
      for (const deliveryId of result.deliveryIds) assert.match(deliveryId, /^dlv_/);
      assert.deepEqual(leases, [], 'nothing is leased without an offer');

      const deliveries = await bench.deliveries(username, { eventId: event.eventId });
      assertSameMembers(idsOf(deliveries), result.deliveryIds, 'deliveries');
      assertSameMembers(
        deliveries.map((delivery) => delivery.endpointId),
        [both.endpointId, one.endpointId],
        'endpoints',
      );
      assert.deepEqual(await bench.deliveries(username, { endpointId: other.endpointId }), []);
      assert.deepEqual(await bench.deliveries(username, { endpointId: disabled.endpointId }), []);
    });

    test('a new delivery is pending, due now and without attempts', async (bench) => {
      const { username, endpoint } = await bench.subscriber();
      const { eventId, deliveryIds } = await bench.publish(username);
      const delivery = await bench.delivery(username, deliveryIds[0] as string);
      assertAbout(delivery.createdAt, bench.now(), 'createdAt');
      assertAbout(delivery.nextAttemptAt, bench.now(), 'nextAttemptAt');
      const { body } = newEvent(username, { eventId });
      assert.deepEqual(delivery, {
        deliveryId: deliveryIds[0],
        username,
        eventId,
        event: VIDEO,
        endpointId: endpoint.endpointId,
        status: 'pending',
        statusReason: null,
        attempts: 0,
        createdAt: delivery.createdAt,
        nextAttemptAt: delivery.nextAttemptAt,
        completedAt: null,
        url: endpoint.url,
        body,
        attemptLog: [],
      });
    });

    test('a body is kept byte for byte, from the smallest to the largest', async (bench) => {
      const { username } = await bench.subscriber();
      const bodies = [
        '{}',
        ' {"b": 1.0, "a":1e2,"a":"\\u00e9" }\n',
        JSON.stringify({ text: 'ä€😀\u2028 \\ " \u0000 \ud800', n: 1e21, z: -0 }),
        `{"big":"${'é'.repeat(128 * 1024)}"}`,
      ];
      for (const body of bodies) {
        const { eventId, deliveryIds } = await bench.publish(username, { body });
        const lease = await bench.claimOne();
        assert.deepEqual(lease.event, { eventId, event: VIDEO, body, trace: null });
        assert.equal((await bench.event(username, eventId)).body, body);
        assert.equal((await bench.delivery(username, deliveryIds[0] as string)).body, body);
        await bench.settleOne(deliveredAt(lease, bench.now()));
        assert.equal((await bench.delivery(username, deliveryIds[0] as string)).body, body, 'when finished');
      }
    });

    test('an event that nobody subscribes to is stored with a note', async (bench) => {
      const { username } = await bench.subscriber({ events: [SCRIPT] });
      const event = newEvent(username, { event: AVATAR, timestamp: 1_700_000_001 });
      const { results } = await bench.store.publish([event], WIDE_OFFER);
      assert.deepEqual(results, [
        { outcome: 'stored', eventId: event.eventId, deliveries: 0, deliveryIds: [] },
      ]);
      const stored = await bench.event(username, event.eventId);
      assertAbout(stored.createdAt, bench.now(), 'createdAt');
      assert.deepEqual(stored, {
        eventId: event.eventId,
        event: AVATAR,
        timestamp: 1_700_000_001,
        createdAt: stored.createdAt,
        deliveries: { pending: 0, delivered: 0, dead: 0, cancelled: 0 },
        note: 'no endpoint subscribed',
        body: event.body,
        targets: [],
      });
    });

    test('disabled subscribers are noted as skipped, with the reason', async (bench) => {
      const username = await bench.account();
      const skipped = [
        await bench.endpoint(username, { status: 'disabled' }),
        await bench.endpoint(username, { status: 'disabled' }),
      ];
      await bench.endpoint(username, { status: 'disabled', events: [AVATAR] });
      const { eventId } = await bench.publish(username);
      const stored = await bench.event(username, eventId);
      assert.equal(stored.note, '2 endpoints disabled');
      assertSameMembers(
        stored.targets.map((target) => target.endpointId),
        skipped.map((endpoint) => endpoint.endpointId),
        'targets',
      );
      for (const target of stored.targets) {
        assert.equal(target.status, 'skipped');
        assert.equal(target.deliveryId, null);
        assert.match(target.reason ?? '', /disabled/);
      }
    });

    test('an event that reached some and skipped one says both', async (bench) => {
      const { username, endpoint } = await bench.subscriber();
      const skipped = await bench.endpoint(username, { status: 'disabled' });
      const { eventId, deliveryIds } = await bench.publish(username);
      const stored = await bench.event(username, eventId);
      assert.match(stored.note ?? '', /^1 endpoint disabled$/);
      assert.deepEqual(stored.deliveries, { pending: 1, delivered: 0, dead: 0, cancelled: 0 });
      assert.deepEqual(
        stored.targets.find((target) => target.endpointId === endpoint.endpointId),
        { endpointId: endpoint.endpointId, deliveryId: deliveryIds[0], status: 'pending', reason: null },
      );
      assert.equal(
        stored.targets.find((target) => target.endpointId === skipped.endpointId)?.status,
        'skipped',
      );
    });

    test('an event that everybody got has no note', async (bench) => {
      const { username } = await bench.subscriber();
      const { eventId } = await bench.publish(username);
      assert.equal((await bench.event(username, eventId)).note, null);
    });

    test('an event for an unknown account is refused and nothing is stored', async (bench) => {
      const event = newEvent('nobody');
      const { results } = await bench.store.publish([event], WIDE_OFFER);
      assert.deepEqual(results, [{ outcome: 'unknown_account', username: 'nobody' }]);
      await bench.account('nobody');
      assert.equal(await bench.store.getEvent('nobody', event.eventId), null);
    });

    test('an event for a suspended account is stored and waits', async (bench) => {
      const { username } = await bench.subscriber();
      await bench.store.updateAccount(username, { status: 'suspended' });
      const { results, leases } = await bench.store.publish([newEvent(username)], WIDE_OFFER);
      assert.equal(results[0]?.outcome, 'stored');
      assert.deepEqual(leases, []);
      await bench.store.updateAccount(username, { status: 'active' });
      await bench.claimOne();
    });

    test('an empty batch has no results', async (bench) => {
      assert.deepEqual((await bench.store.publish([], null)).results, []);
    });

    test('a batch of a thousand events is stored whole', async (bench) => {
      const { username } = await bench.subscriber();
      assertDistinct(await bench.publishMany(username, 1_000), 'delivery ids');
      assert.equal((await bench.store.queueDepth()).due, 1_000);
    });
  });

  describe('idempotent publishing', () => {
    test('a repeat answers as the first time and stores nothing', async (bench) => {
      const { username } = await bench.subscriber();
      await bench.endpoint(username);
      const event = newEvent(username);
      await bench.store.publish([event], null);
      // A later repeat is sealed with its own time; that alone doesn't make it another event.
      const repeat = newEvent(username, { eventId: event.eventId, timestamp: event.timestamp + 60 });
      assert.notEqual(repeat.body, event.body);
      const { results, leases } = await bench.store.publish([repeat], null);
      assert.deepEqual(results, [{ outcome: 'duplicate', eventId: event.eventId, deliveries: 2 }]);
      assert.deepEqual(leases, []);
      assert.equal((await bench.event(username, event.eventId)).body, event.body);
      assert.equal((await bench.deliveries(username)).length, 2);
    });

    test('a repeat counts the deliveries of the first time, whatever changed since', async (bench) => {
      const { username, endpoint } = await bench.subscriber();
      const event = newEvent(username);
      await bench.store.publish([event], null);
      await bench.settleOne(deliveredAt(await bench.claimOne(), bench.now()));
      await bench.endpoint(username);
      await bench.store.deleteEndpoint(username, endpoint.endpointId);
      const { results } = await bench.store.publish([event], null);
      assert.deepEqual(results, [{ outcome: 'duplicate', eventId: event.eventId, deliveries: 1 }]);
    });

    test('a repeat within a batch is a duplicate of the first', async (bench) => {
      const { username } = await bench.subscriber();
      const event = newEvent(username);
      const { results } = await bench.store.publish([event, event, newEvent(username), event], null);
      assert.deepEqual(
        results.map((result) => result.outcome),
        ['stored', 'duplicate', 'stored', 'duplicate'],
      );
      assert.equal((await bench.deliveries(username)).length, 2);
    });

    test('other content under a taken id is a conflict, in a batch and between batches', async (bench) => {
      const { username } = await bench.subscriber();
      const eventId = unique('evt_');
      const first = newEvent(username, { eventId, data: { n: 1 } });
      const second = newEvent(username, { eventId, data: { n: 2 } });
      const third = newEvent(username, { eventId, event: SCRIPT, data: { n: 1 } });
      const { results } = await bench.store.publish([first, second], null);
      assert.deepEqual(
        results.map((result) => result.outcome),
        ['stored', 'conflict'],
      );
      const later = await bench.store.publish([third, second, first], null);
      assert.deepEqual(later.results, [
        { outcome: 'conflict', eventId },
        { outcome: 'conflict', eventId },
        { outcome: 'duplicate', eventId, deliveries: 1 },
      ]);
      assert.equal((await bench.event(username, eventId)).body, first.body);
      assert.equal((await bench.deliveries(username)).length, 1);
    });

    test('a given timestamp belongs to the content', async (bench) => {
      const { username } = await bench.subscriber();
      const eventId = unique('evt_');
      const given = { eventId, timestamp: 1_700_000_000, timestampGiven: true };
      const event = newEvent(username, given);
      await bench.store.publish([event], null);
      const { results } = await bench.store.publish(
        [event, newEvent(username, { ...given, timestamp: 1_700_000_001 })],
        null,
      );
      assert.deepEqual(
        results.map((result) => result.outcome),
        ['duplicate', 'conflict'],
      );
    });

    test('an id that Posthorn made, and so without a fingerprint, is told apart by its content too', async (bench) => {
      const { username } = await bench.subscriber();
      const made = newEvent(username, { fingerprint: null, data: { n: 1 } });
      const { eventId } = made;
      await bench.store.publish([made], null);
      const { results } = await bench.store.publish(
        [
          newEvent(username, { eventId, data: { n: 1 }, timestamp: made.timestamp + 60 }),
          newEvent(username, { eventId, data: { n: 2 } }),
          newEvent(username, { eventId, data: { n: 1 }, event: SCRIPT }),
          made,
        ],
        null,
      );
      assert.deepEqual(
        results.map((result) => result.outcome),
        ['duplicate', 'conflict', 'conflict', 'duplicate'],
      );
    });

    test('of 100 parallel publishes of one id exactly one is stored', async (bench) => {
      const { username } = await bench.subscriber();
      const event = newEvent(username);
      const answers = await Promise.all(
        Array.from({ length: 100 }, () => bench.store.publish([event], WIDE_OFFER)),
      );
      const outcomes = answers.map(({ results }) => results[0]?.outcome);
      assert.equal(outcomes.filter((outcome) => outcome === 'stored').length, 1);
      assert.equal(outcomes.filter((outcome) => outcome === 'duplicate').length, 99);
      assert.equal(answers.flatMap(({ leases }) => leases).length, 1);
      assert.equal((await bench.deliveries(username)).length, 1);
    });

    test('of parallel publishes of one id with different content one is stored, the rest conflict', async (bench) => {
      const { username } = await bench.subscriber();
      const eventId = unique('evt_');
      const answers = await Promise.all(
        Array.from({ length: 20 }, (_, n) =>
          bench.store.publish([newEvent(username, { eventId, data: { n } })], null),
        ),
      );
      const outcomes = answers.map(({ results }) => results[0]?.outcome);
      assert.equal(outcomes.filter((outcome) => outcome === 'stored').length, 1);
      assert.equal(outcomes.filter((outcome) => outcome === 'conflict').length, 19);
    });

    test('each event of a batch stands alone, and the results keep the order', async (bench) => {
      const { username } = await bench.subscriber();
      const taken = newEvent(username);
      await bench.store.publish([taken], null);
      const batch = [
        newEvent(username),
        newEvent(username, { eventId: taken.eventId, data: { other: true } }),
        newEvent('nobody'),
        newEvent(username, { onlyEndpointId: 'wh_unknown' }),
        taken,
        newEvent(username, { event: AVATAR }),
        newEvent(username),
      ];
      const { results } = await bench.store.publish(batch, null);
      assert.deepEqual(
        results.map((result) => result.outcome),
        ['stored', 'conflict', 'unknown_account', 'unknown_endpoint', 'duplicate', 'stored', 'stored'],
      );
      assert.deepEqual(
        results.map((result) => ('eventId' in result ? result.eventId : null)),
        batch.map((event, n) => (n === 2 || n === 3 ? null : event.eventId)),
      );
      assertSameMembers(
        (await bench.events(username)).map((event) => event.eventId),
        [taken, batch[0], batch[5], batch[6]].map((event) => event?.eventId as string),
        'stored events',
      );
    });

    test('a batch may span accounts', async (bench) => {
      const one = await bench.subscriber();
      const two = await bench.subscriber();
      const events = [one, two, one].map(({ username }) => newEvent(username));
      const { results, leases } = await bench.store.publish(events, WIDE_OFFER);
      assert.deepEqual(
        results.map((result) => result.outcome),
        ['stored', 'stored', 'stored'],
      );
      for (const lease of leases) {
        assert.equal(lease.username, events.find((event) => event.eventId === lease.event.eventId)?.username);
      }
      assert.equal((await bench.events(one.username)).length, 2);
      assert.equal((await bench.events(two.username)).length, 1);
    });
  });

  describe('an event for one endpoint alone', () => {
    test('reaches that endpoint, subscribed or not, and no other; a person asked for it', async (bench) => {
      const username = await bench.account();
      const tested = await bench.endpoint(username, { events: [SCRIPT] });
      await bench.endpoint(username, { events: [VIDEO] });
      const event = newEvent(username, { event: VIDEO, onlyEndpointId: tested.endpointId });
      const { results } = await bench.store.publish([event], null);
      assert.equal(results[0]?.outcome === 'stored' && results[0].deliveries, 1);
      const lease = await bench.claimOne();
      assert.equal(lease.endpoint.endpointId, tested.endpointId);
      assert.equal(lease.manual, true);
      assert.equal((await bench.event(username, event.eventId)).targets.length, 1);
    });

    test('is refused for an unknown or deleted one, and nothing is stored', async (bench) => {
      const { username, endpoint } = await bench.subscriber();
      await bench.store.deleteEndpoint(username, endpoint.endpointId);
      for (const onlyEndpointId of ['wh_unknown', endpoint.endpointId]) {
        const event = newEvent(username, { onlyEndpointId });
        const { results } = await bench.store.publish([event], WIDE_OFFER);
        assert.deepEqual(results, [{ outcome: 'unknown_endpoint', endpointId: onlyEndpointId }]);
        assert.equal(await bench.store.getEvent(username, event.eventId), null);
      }
    });

    test('is refused for a disabled one, and nothing is stored', async (bench) => {
      const { username, endpoint } = await bench.subscriber({ status: 'disabled' });
      const event = newEvent(username, { onlyEndpointId: endpoint.endpointId });
      const { results } = await bench.store.publish([event], WIDE_OFFER);
      assert.deepEqual(results, [{ outcome: 'disabled_endpoint', endpointId: endpoint.endpointId }]);
      assert.equal(await bench.store.getEvent(username, event.eventId), null);
    });
  });

  describe('publishing with an offer', () => {
    const offer: LeaseOffer = { limit: 100, laneLimit: 10, leaseMs: 30 * SECOND_MS };

    test('new deliveries are leased at once, with all that an attempt needs', async (bench) => {
      const { username, endpoint } = await bench.subscriber({ headers: 'sealed-headers', timeoutMs: 9_000 });
      const event = newEvent(username);
      const { results, leases } = await bench.store.publish([event], offer);
      assert.ok(results[0]?.outcome === 'stored');
      assert.equal(leases.length, 1);
      const lease = leases[0];
      assert.ok(lease && lease.token.length > 0);
      assertAbout(lease.leasedUntil, bench.now() + offer.leaseMs, 'leasedUntil');
      assert.deepEqual(lease, {
        deliveryId: results[0].deliveryIds[0],
        username,
        token: lease.token,
        leasedUntil: lease.leasedUntil,
        attempts: 0,
        failures: 0,
        manual: false,
        event: { eventId: event.eventId, event: event.event, body: event.body, trace: null },
        endpoint: {
          endpointId: endpoint.endpointId,
          url: endpoint.url,
          secret: endpoint.secret,
          previousSecret: null,
          previousSecretExpiresAt: null,
          headers: 'sealed-headers',
          rateLimitPerSecond: null,
          timeoutMs: 9_000,
        },
      });
      assert.deepEqual(await bench.claim(), [], 'what is leased is nobody else’s');
      assert.equal(await bench.settleOne(deliveredAt(lease, bench.now())), 'delivered');
    });

    test('the offer’s limit caps what is leased; the rest is due now', async (bench) => {
      const { username } = await bench.subscriber();
      const events = Array.from({ length: 5 }, () => newEvent(username));
      const { leases } = await bench.store.publish(events, { ...offer, limit: 3 });
      assert.equal(leases.length, 3);
      const rest = await bench.claim();
      assert.equal(rest.length, 2);
      assertDistinct(
        [...leases, ...rest].map((lease) => lease.deliveryId),
        'leased deliveries',
      );
    });

    test('the lane’s limit caps what one endpoint holds, whatever else is leased', async (bench) => {
      const { username, endpoint } = await bench.subscriber();
      const other = await bench.endpoint(username);
      const held = await bench.store.publish([newEvent(username)], { ...offer, laneLimit: 1 });
      assert.equal(held.leases.length, 2);
      const events = Array.from({ length: 5 }, () => newEvent(username));
      const { leases } = await bench.store.publish(events, { ...offer, laneLimit: 3 });
      for (const { endpointId } of [endpoint, other]) {
        assert.equal(leases.filter((lease) => lease.endpoint.endpointId === endpointId).length, 2);
      }
    });

    test('an offer of nothing leases nothing', async (bench) => {
      const { username } = await bench.subscriber();
      assert.deepEqual((await bench.store.publish([newEvent(username)], { ...offer, limit: 0 })).leases, []);
      assert.equal((await bench.store.queueDepth()).due, 1);
    });

    test('a new delivery doesn’t pass an older one of its lane that is due', async (bench) => {
      const { username } = await bench.subscriber();
      const older = (await bench.publish(username)).deliveryIds[0] as string;
      await bench.advance(SECOND_MS);
      const newer = newEvent(username);
      const first = await bench.store.publish([newer], { ...offer, limit: 1 });
      const ids = idsOf(first.leases);
      assert.ok(ids.length === 0 || ids[0] === older, 'the one lease, if any, is the older one’s');
      const rest = await bench.claim({ limit: 2 - ids.length });
      assertSameMembers(
        [...ids, ...idsOf(rest)],
        idsOf(await bench.deliveries(username)),
        'both are leased in the end',
      );
    });

    test('an older one of another lane, or one that waits for its retry, holds nobody up', async (bench) => {
      const { username } = await bench.subscriber();
      await bench.publish(username);
      const lease = await bench.claimOne();
      await bench.settleOne(retryingAt(lease, bench.now(), bench.now() + MINUTE_MS));
      const busy = await bench.subscriber();
      await bench.publishMany(busy.username, 20);
      const event = newEvent(username);
      const { leases } = await bench.store.publish([event], offer);
      assert.deepEqual(
        leases.filter((leased) => leased.username === username).map((leased) => leased.event.eventId),
        [event.eventId],
      );
    });
  });
}
