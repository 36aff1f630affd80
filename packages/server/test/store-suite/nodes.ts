import assert from 'node:assert/strict';
import { describe } from 'node:test';
import type { Lease, Store } from '../../src/store/store.ts';
import {
  deadAt,
  deliveredAt,
  MINUTE_MS,
  newEndpoint,
  newEvent,
  newKey,
  retryingAt,
  WIDE_OFFER,
} from '../support/store-fixtures.ts';
import {
  assertDistinct,
  assertRefused,
  assertSameMembers,
  type Bench,
  idsOf,
  type StoreTest,
} from './bench.ts';

/** The bench's store and two more on the same data. */
async function threeNodes(bench: Bench): Promise<[Store, Store, Store]> {
  return [bench.store, await bench.addNode(), await bench.addNode()];
}

/** What several stores on one database owe each other. */
export function nodeTests(test: StoreTest): void {
  describe('several nodes', () => {
    test('what one node has answered, the others see', async (bench) => {
      const [one, other] = await threeNodes(bench);
      const { username, endpoint } = await bench.subscriber();
      const key = newKey(username);
      await one.createKey(key);
      const { eventId } = await bench.publish(username);
      assert.equal((await other.findKey(key.hash))?.username, username);
      assert.deepEqual(await other.getEndpoint(username, endpoint.endpointId), endpoint);
      assert.deepEqual(await other.getEvent(username, eventId), await one.getEvent(username, eventId));
      assert.deepEqual((await other.queueDepth()).due, 1);
      await other.revokeKey(key.keyId, username);
      assert.equal(await one.findKey(key.hash), null);
    });

    test('of parallel first values, accounts and events of one name at several nodes, one wins', async (bench) => {
      const nodes = await threeNodes(bench);
      const values = await Promise.all(nodes.map((node, n) => node.initMeta('check', `value ${n}`)));
      assert.equal(new Set(values).size, 1);

      const made = await Promise.allSettled(
        nodes.map((node) => node.createAccount({ username: 'ada', metadata: null })),
      );
      assert.equal(made.filter(({ status }) => status === 'fulfilled').length, 1);
      for (const outcome of made) {
        if (outcome.status === 'rejected')
          await assertRefused('conflict', Promise.reject<unknown>(outcome.reason));
      }

      await bench.endpoint('ada');
      const event = newEvent('ada');
      const answers = await Promise.all(
        Array.from({ length: 30 }, (_, n) => (nodes[n % 3] as Store).publish([event], null)),
      );
      const outcomes = answers.map(({ results }) => results[0]?.outcome);
      assert.equal(outcomes.filter((outcome) => outcome === 'stored').length, 1);
      assert.equal(outcomes.filter((outcome) => outcome === 'duplicate').length, 29);
      assert.equal((await bench.deliveries('ada')).length, 1);
    });

    test('an event’s trace is with it at publish, at a retry by another node, and after a replay', async (bench) => {
      const [one, other] = await threeNodes(bench);
      const { username } = await bench.subscriber();
      const trace = '00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01 vendor=a:1,other=b';
      const events = [newEvent(username, { trace }), newEvent(username)];
      const { leases } = await one.publish(events, WIDE_OFFER);
      assert.deepEqual(
        leases.map((lease) => lease.event.trace),
        [trace, null],
      );
      const [traced] = leases as [Lease, Lease];
      const due = bench.now() + 30 * MINUTE_MS;
      await one.settle(
        leases.map((lease) => retryingAt(lease, bench.now(), due)),
        null,
      );
      await bench.advance(31 * MINUTE_MS);
      const again = (await other.claim(WIDE_OFFER)).leases;
      assert.deepEqual(
        new Map(again.map((lease) => [lease.event.eventId, lease.event.trace])),
        new Map(events.map((event) => [event.eventId, event.trace ?? null])),
      );
      await other.settle(
        again.map((lease) => deadAt(lease, bench.now())),
        null,
      );
      await other.retryDelivery(username, traced.deliveryId);
      const [revived] = (await one.claim(WIDE_OFFER)).leases;
      assert.equal(revived?.event.trace, trace);
    });

    test('an account’s limit of endpoints holds over all nodes', async (bench) => {
      const nodes = await threeNodes(bench);
      const username = await bench.account();
      const outcomes = await Promise.allSettled(
        Array.from({ length: 21 }, (_, n) => (nodes[n % 3] as Store).addEndpoint(newEndpoint(username), 20)),
      );
      assert.equal(outcomes.filter(({ status }) => status === 'fulfilled').length, 20);
      assert.equal((await bench.store.listEndpoints(username)).length, 20);
    });

    test('parallel claims of several nodes never lease one delivery twice, nor pass a lane’s limit', async (bench) => {
      const nodes = await threeNodes(bench);
      const username = await bench.account();
      for (let n = 0; n < 10; n++) await bench.endpoint(username);
      await bench.publishMany(username, 10);
      const offer = { limit: 8, laneLimit: 5, leaseMs: 5 * MINUTE_MS };
      const leases: Lease[] = [];
      // A claim may pass over what another node is taking at the moment, and find it the next time.
      for (let rounds = 0; rounds < 20 && leases.length < 50; rounds++) {
        const claims = await Promise.all(nodes.map((node) => node.claim(offer)));
        leases.push(...claims.flatMap((claimed) => claimed.leases));
      }
      assertDistinct(idsOf(leases), 'leased deliveries');
      assertDistinct(
        leases.map((lease) => lease.token),
        'tokens',
      );
      const inLane = Map.groupBy(leases, (lease) => lease.endpoint.endpointId);
      for (const [endpointId, held] of inLane) assert.equal(held.length, 5, endpointId);
      assert.equal(leases.length, 50, 'ten lanes of five');
      for (const node of nodes) assert.deepEqual((await node.claim(offer)).leases, []);
    });

    test('publishing and claiming at several nodes at once leases each delivery once', async (bench) => {
      const [one, other, third] = await threeNodes(bench);
      const { username } = await bench.subscriber();
      const leases: Lease[] = [];
      for (let rounds = 0; rounds < 10; rounds++) {
        const answers = await Promise.all([
          one.publish([newEvent(username), newEvent(username)], WIDE_OFFER),
          other.publish([newEvent(username)], WIDE_OFFER),
          third.claim(WIDE_OFFER),
        ]);
        leases.push(...answers.flatMap((answer) => answer.leases));
      }
      leases.push(...(await bench.claim()));
      assertSameMembers(idsOf(leases), idsOf(await bench.deliveries(username)), 'leased');
    });

    test('a lease that one node gave is settled at another, and counts once', async (bench) => {
      const nodes = await threeNodes(bench);
      const { username } = await bench.subscriber();
      await bench.publish(username);
      const lease = await bench.claimOne();
      const answers = await Promise.all(
        nodes.map((node) => node.settle([deliveredAt(lease, bench.now())], null)),
      );
      assertSameMembers(
        answers.flatMap(({ results }) => results.map((result) => result.outcome)),
        ['settled', 'stale', 'stale'],
        'outcomes',
      );
      assert.equal((await bench.delivery(username, lease.deliveryId)).attemptLog.length, 1);
    });

    test('a starting node frees nothing that a living one holds', async (bench) => {
      const { username } = await bench.subscriber();
      await bench.publishMany(username, 2);
      const held = await bench.claim();
      const started = await bench.addNode();
      assert.equal(await started.recover(), 0);
      assert.deepEqual((await started.claim(WIDE_OFFER)).leases, []);
      for (const lease of held) {
        assert.equal(await bench.settleOne(deliveredAt(lease, bench.now())), 'delivered');
      }
    });

    test('what a crashed node held goes to the others when its leases end, and theirs stay theirs', async (bench) => {
      const [, crashing, other] = await threeNodes(bench);
      const { username } = await bench.subscriber();
      await bench.publishMany(username, 2);
      const lost = (await crashing.claim({ ...WIDE_OFFER, limit: 1, leaseMs: 2 * MINUTE_MS })).leases;
      const kept = (await other.claim({ ...WIDE_OFFER, leaseMs: 10 * MINUTE_MS })).leases;
      assert.equal(lost.length, 1);
      assert.equal(kept.length, 1);

      await bench.crashNode(crashing);

      await bench.advance(MINUTE_MS);
      assert.deepEqual(await bench.claim(), [], 'the lease holds until its time');
      await bench.advance(2 * MINUTE_MS);
      const taken = await bench.claimOne();
      assert.equal(taken.deliveryId, lost[0]?.deliveryId);
      const late = await other.settle(
        lost.map((lease) => deadAt(lease, bench.now())),
        null,
      );
      assert.deepEqual(late.results, [{ outcome: 'stale' }]);
      for (const lease of [taken, ...kept]) {
        assert.equal(await bench.settleOne(deliveredAt(lease, bench.now())), 'delivered');
      }
    });

    test('what a node answered before it crashed lasts', async (bench) => {
      const crashing = await bench.addNode();
      const { username } = await bench.subscriber();
      const events = Array.from({ length: 20 }, () => newEvent(username));
      await Promise.all(events.map((event) => crashing.publish([event], WIDE_OFFER)));
      await bench.crashNode(crashing);
      assertSameMembers(
        (await bench.events(username)).map((event) => event.eventId),
        events.map((event) => event.eventId),
        'events',
      );
      assert.equal((await bench.deliveries(username, { status: 'pending' })).length, 20);
    });

    test('a node that closes leaves the others at work', async (bench) => {
      const [one, closing, other] = await threeNodes(bench);
      const { username } = await bench.subscriber();
      await bench.publish(username);
      await bench.closeNode(closing);
      await assertRefused('unavailable', closing.claim(WIDE_OFFER));
      const [lease] = (await other.claim(WIDE_OFFER)).leases;
      assert.ok(lease);
      await one.settle([deliveredAt(lease, bench.now())], null);
      assert.equal((await bench.delivery(username, lease.deliveryId)).status, 'delivered');
    });

    test('an endpoint’s end or change and an account’s suspension hold for the next claim of every node', async (bench) => {
      const [one, other] = await threeNodes(bench);
      const deleted = await bench.subscriber();
      const disabled = await bench.subscriber();
      const suspended = await bench.subscriber();
      const moved = await bench.subscriber();
      for (const { username } of [deleted, disabled, suspended, moved]) await bench.publish(username);
      await one.deleteEndpoint(deleted.username, deleted.endpoint.endpointId);
      await one.updateEndpoint(disabled.username, disabled.endpoint.endpointId, { status: 'disabled' });
      await one.updateAccount(suspended.username, { status: 'suspended' });
      const url = 'https://moved.example/';
      await one.updateEndpoint(moved.username, moved.endpoint.endpointId, { url });
      const { leases } = await other.claim(WIDE_OFFER);
      assert.deepEqual(
        leases.map((lease) => lease.endpoint.url),
        [url],
      );
    });

    test('nothing slips past an endpoint that one node disables while others publish, settle and retry', async (bench) => {
      const [one, other, third] = await threeNodes(bench);
      for (let rounds = 0; rounds < 5; rounds++) {
        const { username, endpoint } = await bench.subscriber();
        await bench.publishMany(username, 2);
        const [retrying, dead] = await bench.claim();
        assert.ok(retrying && dead);
        await bench.settle(deadAt(dead, bench.now()));
        const [retried] = await Promise.allSettled([
          third.retryDelivery(username, dead.deliveryId),
          one.updateEndpoint(username, endpoint.endpointId, { status: 'disabled' }),
          other.publish([newEvent(username)], null),
          other.settle([retryingAt(retrying, bench.now(), bench.now())], null),
          third.publish([newEvent(username)], null),
        ]);
        if (retried.status === 'rejected') {
          await assertRefused('invalid_parameter', Promise.reject<unknown>(retried.reason));
        }
        assert.equal((await bench.events(username)).length, 4, 'every event is stored');
        // What was published at the very moment may be cancelled by the claim that comes by.
        assert.deepEqual(await bench.claim(), []);
        assert.deepEqual(await bench.deliveries(username, { status: 'pending' }), []);
      }
    });

    test('nodes that move one replay on at once make each delivery due once', async (bench) => {
      const nodes = await threeNodes(bench);
      const { username, endpoint } = await bench.subscriber({ status: 'disabled' });
      const { endpointId } = endpoint;
      await bench.publishMany(username, 40);
      await bench.store.updateEndpoint(username, endpointId, { status: 'enabled' });
      const until = bench.now() + MINUTE_MS;
      const replay = await bench.store.createReplay({
        username,
        endpointId,
        kind: 'missing',
        since: 0,
        until,
      });
      let made = 0;
      let running = true;
      for (let rounds = 0; running && rounds < 100; rounds++) {
        const steps = await Promise.all(nodes.map((node) => node.advanceReplays(3, 1_000)));
        for (const step of steps) made += step.made;
        running = steps.some((step) => step.running);
      }
      assert.equal(made, 40);
      const finished = await bench.store.getReplay(username, replay?.replayId as string);
      assert.equal(finished?.status, 'done');
      assert.equal(finished?.done, 40);
      assert.equal((await bench.claim()).length, 40);
    });
  });
}
