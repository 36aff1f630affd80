import assert from 'node:assert/strict';
import { describe } from 'node:test';
import type { Delivery, DeliveryStatus } from '../../src/model.ts';
import type { DeliveryFilter, EventFilter, Lease, Page } from '../../src/store/store.ts';
import {
  AVATAR,
  deadAt,
  deliveredAt,
  HOUR_MS,
  listAll,
  MINUTE_MS,
  newEvent,
  retryingAt,
  SCRIPT,
  SECOND_MS,
  VIDEO,
} from '../support/store-fixtures.ts';
import {
  assertDistinct,
  assertRefused,
  assertSameMembers,
  type Bench,
  idsOf,
  type StoreTest,
} from './bench.ts';

/**
 * Two endpoints and twelve events a minute apart, whose 18 deliveries have all four statuses.
 */
async function history(bench: Bench): Promise<{ username: string; deliveries: Delivery[] }> {
  const username = await bench.account();
  const first = await bench.endpoint(username, { events: [VIDEO, SCRIPT] });
  const second = await bench.endpoint(username, { events: [VIDEO] });
  const stranger = await bench.subscriber();
  for (let n = 0; n < 12; n++) {
    await bench.publish(username, { event: n % 2 === 0 ? VIDEO : SCRIPT });
    await bench.publish(stranger.username);
    const leases = (await bench.claim()).filter((lease) => lease.username === username);
    const ofFirst = leases.find((lease) => lease.endpoint.endpointId === first.endpointId) as Lease;
    const ofSecond = leases.find((lease) => lease.endpoint.endpointId === second.endpointId) as Lease;
    const laterAt = bench.now() + 10 * HOUR_MS;
    if (n % 4 === 0) await bench.settle(...leases.map((lease) => deliveredAt(lease, bench.now())));
    if (n % 4 === 1) await bench.settle(deadAt(ofFirst, bench.now()));
    if (n % 4 === 2) {
      await bench.settle(deadAt(ofFirst, bench.now()), retryingAt(ofSecond, bench.now(), laterAt));
    }
    if (n % 4 === 3) await bench.settle(retryingAt(ofFirst, bench.now(), laterAt));
    await bench.advance(MINUTE_MS);
  }
  await bench.store.updateEndpoint(username, second.endpointId, { status: 'disabled' });
  await bench.store.updateEndpoint(username, second.endpointId, { status: 'enabled' });
  const deliveries = await bench.deliveries(username);
  assert.equal(deliveries.length, 18);
  return { username, deliveries };
}

export function lookingTests(test: StoreTest): void {
  describe('the list of deliveries', () => {
    test('is empty for an account without deliveries, and for an unknown one', async (bench) => {
      const username = await bench.account();
      const page = { limit: 10, cursor: null };
      const empty = { items: [], nextCursor: null };
      assert.deepEqual(await bench.store.listDeliveries(username, {}, page), empty);
      assert.deepEqual(await bench.store.listDeliveries('nobody', {}, page), empty);
      assert.equal(await bench.store.getDelivery(username, 'dlv_unknown'), null);
    });

    test('runs from the newest to the oldest, whatever became of them', async (bench) => {
      const { deliveries } = await history(bench);
      const times = deliveries.map((delivery) => delivery.createdAt);
      assert.deepEqual(
        times,
        times.toSorted((a, b) => b - a),
      );
      assertDistinct(idsOf(deliveries), 'deliveries');
    });

    test('shows of each delivery what its detail shows', async (bench) => {
      const { username, deliveries } = await history(bench);
      for (const listed of deliveries) {
        const { url, body, attemptLog, ...row } = await bench.delivery(username, listed.deliveryId);
        assert.deepEqual(row, listed);
        assert.match(url, /^https:/);
        assert.match(body, /^\{"event_id"/);
        assert.equal(attemptLog.length, listed.attempts);
      }
    });

    test('comes in pages of the limit without gaps or repeats, the last one without a cursor', async (bench) => {
      const { username, deliveries } = await history(bench);
      for (const limit of [1, 2, 5, 9, 18, 200]) {
        const sizes: number[] = [];
        const listed = await listAll(async (page) => {
          const answer = await bench.store.listDeliveries(username, {}, page);
          sizes.push(answer.items.length);
          return answer;
        }, limit);
        assert.deepEqual(listed, deliveries, `pages of ${limit}`);
        assert.equal(sizes.length, Math.ceil(18 / limit), `pages of ${limit}: ${sizes}`);
      }
    });

    test('deliveries made in one moment are each listed once', async (bench) => {
      const username = await bench.account();
      for (let n = 0; n < 4; n++) await bench.endpoint(username);
      const ids = await bench.publishMany(username, 8);
      await bench.settle(
        ...(await bench.claim({ limit: 16 })).map((lease) => deliveredAt(lease, bench.now())),
      );
      const listed = await bench.deliveries(username, {}, 3);
      assertSameMembers(idsOf(listed), ids, 'deliveries');
    });

    test('keeps what endpoints that are deleted got, among what others got', async (bench) => {
      const { username, deliveries } = await history(bench);
      const gone = (deliveries[0] as Delivery).endpointId;
      await bench.store.deleteEndpoint(username, gone);
      const listed = await bench.deliveries(username, {}, 4);
      assert.deepEqual(idsOf(listed), idsOf(deliveries));
      const delivered = deliveries.filter(({ status }) => status === 'delivered');
      assert.ok(delivered.some(({ endpointId }) => endpointId === gone));
      assert.deepEqual(idsOf(await bench.deliveries(username, { status: 'delivered' }, 2)), idsOf(delivered));
    });

    test('each filter, alone and with others, keeps what fits and nothing else', async (bench) => {
      const { username, deliveries } = await history(bench);
      const sample = deliveries[9] as Delivery;
      const times = deliveries.map((delivery) => delivery.createdAt);
      const since = times[12] as number;
      const until = times[4] as number;
      const statuses: DeliveryStatus[] = ['pending', 'delivered', 'dead', 'cancelled'];
      const filters: DeliveryFilter[] = [
        {},
        ...statuses.map((status) => ({ status })),
        { event: VIDEO },
        { event: SCRIPT },
        { endpointId: sample.endpointId },
        { eventId: sample.eventId },
        { since },
        { until },
        { since, until },
        { since: until, until: since },
        ...statuses.flatMap((status) => [
          { status, event: VIDEO },
          { status, endpointId: sample.endpointId },
          { status, since },
          { status, since, until, event: sample.event, endpointId: sample.endpointId },
        ]),
        { eventId: sample.eventId, endpointId: sample.endpointId },
        { eventId: sample.eventId, status: sample.status },
        { eventId: sample.eventId, since: sample.createdAt, until: sample.createdAt + 1 },
        { eventId: sample.eventId, until: sample.createdAt },
        { event: VIDEO, endpointId: sample.endpointId, since },
        { event: 'unknown' },
        { endpointId: 'wh_unknown' },
        { eventId: 'evt_unknown' },
        { event: SCRIPT, eventId: deliveries.find(({ event }) => event === VIDEO)?.eventId as string },
      ];
      for (const filter of filters) {
        const expected = deliveries.filter(
          (delivery) =>
            (filter.status === undefined || delivery.status === filter.status) &&
            (filter.event === undefined || delivery.event === filter.event) &&
            (filter.endpointId === undefined || delivery.endpointId === filter.endpointId) &&
            (filter.eventId === undefined || delivery.eventId === filter.eventId) &&
            (filter.since === undefined || delivery.createdAt >= filter.since) &&
            (filter.until === undefined || delivery.createdAt < filter.until),
        );
        for (const limit of [2, 200]) {
          assert.deepEqual(
            await bench.deliveries(username, filter, limit),
            expected,
            `${JSON.stringify(filter)} in pages of ${limit}`,
          );
        }
      }
      for (const status of statuses) {
        assert.ok(
          deliveries.some((delivery) => delivery.status === status),
          `the history has one that is ${status}`,
        );
      }
    });

    test('pages stay whole while new deliveries arrive', async (bench) => {
      const { username, deliveries } = await history(bench);
      const listed = await listAll(async (page) => {
        const answer = await bench.store.listDeliveries(username, {}, page);
        await bench.publish(username);
        return answer;
      }, 4);
      assert.deepEqual(idsOf(listed), idsOf(deliveries));
    });

    test('pages stay whole while deliveries finish, and are revived, behind and ahead of the reader', async (bench) => {
      const { username } = await bench.subscriber();
      const ids: string[] = [];
      for (let n = 0; n < 20; n++) {
        ids.unshift((await bench.publish(username)).deliveryIds[0] as string);
        await bench.advance(SECOND_MS);
      }
      const listed: string[] = [];
      let cursor: string | null = null;
      do {
        const page: Page<Delivery> = await bench.store.listDeliveries(username, {}, { limit: 3, cursor });
        listed.push(...idsOf(page.items));
        cursor = page.nextCursor;
        const leases = await bench.claim({ limit: 4 });
        await bench.settle(
          ...leases.map((lease, n) =>
            n % 2 === 0 ? deliveredAt(lease, bench.now()) : deadAt(lease, bench.now()),
          ),
        );
        const dead = (await bench.deliveries(username, { status: 'dead' }))[0];
        if (dead) await bench.store.retryDelivery(username, dead.deliveryId);
      } while (cursor !== null);
      assert.deepEqual(listed, ids, 'each delivery once and in order');
    });

    test('a filtered list has no repeats while its members come and go', async (bench) => {
      const { username } = await bench.subscriber();
      const ids = await bench.publishMany(username, 30);
      const finished = new Set<string>();
      const listed = await listAll(async (page) => {
        const answer = await bench.store.listDeliveries(username, { status: 'pending' }, page);
        for (const lease of await bench.claim({ limit: 3 })) {
          finished.add(lease.deliveryId);
          await bench.settle(deliveredAt(lease, bench.now()));
        }
        return answer;
      }, 5);
      const seen = idsOf(listed);
      assertDistinct(seen, 'listed deliveries');
      for (const id of ids) {
        assert.ok(seen.includes(id) || finished.has(id), `${id} was pending all the time and is listed`);
      }
    });
  });

  describe('the event log', () => {
    test('is empty for an account without events, and for an unknown one', async (bench) => {
      const username = await bench.account();
      const page = { limit: 10, cursor: null };
      assert.deepEqual(await bench.store.listEvents(username, {}, page), { items: [], nextCursor: null });
      assert.deepEqual(await bench.store.listEvents('nobody', {}, page), { items: [], nextCursor: null });
      assert.equal(await bench.store.getEvent(username, 'evt_unknown'), null);
    });

    test('gives the newest events of an account alone, newest first, from a time on', async (bench) => {
      const { username } = await history(bench);
      const events = await bench.events(username);
      const expected = events.map(({ eventId, event, createdAt }) => ({ eventId, event, createdAt }));
      assert.equal(expected.length, 12);
      assert.deepEqual(await bench.store.recentEvents(username, 0, 100), expected);
      assert.deepEqual(await bench.store.recentEvents(username, 0, 5), expected.slice(0, 5));
      const since = expected[3]?.createdAt as number;
      assert.deepEqual(await bench.store.recentEvents(username, since, 100), expected.slice(0, 4));
      assert.deepEqual(await bench.store.recentEvents(username, since + 1, 100), expected.slice(0, 3));
      assert.deepEqual(await bench.store.recentEvents('nobody', 0, 100), []);
      await bench.store.deleteAccount(username);
      assert.deepEqual(await bench.store.recentEvents(username, 0, 100), []);
    });

    test('counts the deliveries of each event by status and shows in the list what the detail shows', async (bench) => {
      const { username, deliveries } = await history(bench);
      const events = await bench.events(username);
      assert.equal(events.length, 12);
      for (const listed of events) {
        const { body, targets, ...row } = await bench.event(username, listed.eventId);
        assert.deepEqual(row, listed);
        assert.equal(JSON.parse(body).event_id, listed.eventId);
        const own = deliveries.filter((delivery) => delivery.eventId === listed.eventId);
        const counts = { pending: 0, delivered: 0, dead: 0, cancelled: 0 };
        for (const { status } of own) counts[status] += 1;
        assert.deepEqual(listed.deliveries, counts);
        assert.deepEqual(
          targets.toSorted((a, b) => (a.endpointId < b.endpointId ? -1 : 1)),
          own
            .map(({ endpointId, deliveryId, status, statusReason }) => ({
              endpointId,
              deliveryId,
              status,
              reason: statusReason,
            }))
            .toSorted((a, b) => (a.endpointId < b.endpointId ? -1 : 1)),
        );
      }
    });

    test('runs from the newest to the oldest, in pages without gaps or repeats', async (bench) => {
      const { username } = await history(bench);
      const events = await bench.events(username);
      const times = events.map((event) => event.createdAt);
      assert.deepEqual(
        times,
        times.toSorted((a, b) => b - a),
      );
      for (const limit of [1, 4, 5, 12]) {
        assert.deepEqual(await bench.events(username, {}, limit), events, `pages of ${limit}`);
      }
      const whole = await bench.store.listEvents(username, {}, { limit: 12, cursor: null });
      assert.equal(whole.nextCursor, null, 'a page that ends the list has no cursor');
    });

    test('events published in one moment are each listed once', async (bench) => {
      const username = await bench.account();
      const events = Array.from({ length: 11 }, () => newEvent(username));
      await bench.store.publish(events, null);
      const listed = await bench.events(username, {}, 3);
      assertSameMembers(
        listed.map((event) => event.eventId),
        events.map((event) => event.eventId),
        'events',
      );
    });

    test('events of the publisher’s own ids are listed by their time, not by their id', async (bench) => {
      const username = await bench.account();
      for (const eventId of ['m', 'z', 'a', 'evt_5', '0']) {
        await bench.publish(username, { eventId });
        await bench.advance(SECOND_MS);
      }
      assert.deepEqual(
        (await bench.events(username, {}, 2)).map((event) => event.eventId),
        ['0', 'evt_5', 'a', 'z', 'm'],
      );
    });

    test('each filter, alone and with others, keeps what fits and nothing else', async (bench) => {
      const { username } = await history(bench);
      const events = await bench.events(username);
      const sample = events[5] as (typeof events)[number];
      const since = events[8]?.createdAt as number;
      const until = events[2]?.createdAt as number;
      const filters: EventFilter[] = [
        { event: VIDEO },
        { event: AVATAR },
        { eventId: sample.eventId },
        { eventId: 'evt_unknown' },
        { since },
        { until },
        { since, until },
        { since, until, event: SCRIPT },
        { eventId: sample.eventId, event: sample.event, since, until },
        { eventId: sample.eventId, until: sample.createdAt },
        { eventId: sample.eventId, since: sample.createdAt, until: sample.createdAt + 1 },
      ];
      for (const filter of filters) {
        const expected = events.filter(
          (event) =>
            (filter.event === undefined || event.event === filter.event) &&
            (filter.eventId === undefined || event.eventId === filter.eventId) &&
            (filter.since === undefined || event.createdAt >= filter.since) &&
            (filter.until === undefined || event.createdAt < filter.until),
        );
        for (const limit of [2, 200]) {
          assert.deepEqual(
            await bench.events(username, filter, limit),
            expected,
            `${JSON.stringify(filter)} in pages of ${limit}`,
          );
        }
      }
    });

    test('pages stay whole while events arrive and deliveries finish', async (bench) => {
      const { username } = await history(bench);
      const before = await bench.events(username);
      const listed = await listAll(async (page) => {
        const answer = await bench.store.listEvents(username, {}, page);
        await bench.publish(username);
        const leases = await bench.claim({ limit: 2 });
        await bench.settle(...leases.map((lease) => deliveredAt(lease, bench.now())));
        return answer;
      }, 5);
      assert.deepEqual(
        listed.map((event) => event.eventId),
        before.map((event) => event.eventId),
      );
    });
  });

  describe('cursors', () => {
    test('a text that no list gave is refused by every list', async (bench) => {
      const { username } = await history(bench);
      const { store } = bench;
      const lists: Record<string, (cursor: string) => Promise<unknown>> = {
        accounts: (cursor) => store.listAccounts({ limit: 2, cursor }),
        deliveries: (cursor) => store.listDeliveries(username, {}, { limit: 2, cursor }),
        events: (cursor) => store.listEvents(username, {}, { limit: 2, cursor }),
      };
      const texts = [
        '',
        'x',
        'null',
        '{}',
        '%',
        '😀',
        '1750000000000',
        'eyJ4IjoxfQ',
        "' or 1=1 --",
        'a'.repeat(5_000),
      ];
      for (const list of Object.values(lists)) {
        for (const text of texts) await assertRefused('invalid_parameter', list(text));
      }
    });

    test('a cursor of another list is refused', async (bench) => {
      const { username } = await history(bench);
      const { store } = bench;
      const page = { limit: 1, cursor: null };
      const deliveries = (await store.listDeliveries(username, {}, page)).nextCursor as string;
      const events = (await store.listEvents(username, {}, page)).nextCursor as string;
      const accounts = (await store.listAccounts(page)).nextCursor as string;
      assert.ok(deliveries && events && accounts);
      for (const cursor of [deliveries, accounts]) {
        await assertRefused('invalid_parameter', store.listEvents(username, {}, { limit: 1, cursor }));
      }
      for (const cursor of [events, accounts]) {
        await assertRefused('invalid_parameter', store.listDeliveries(username, {}, { limit: 1, cursor }));
      }
      for (const cursor of [events, deliveries]) {
        await assertRefused('invalid_parameter', store.listAccounts({ limit: 1, cursor }));
      }
    });
  });
}
