import assert from 'node:assert/strict';
import { describe, it } from 'node:test';
import { newEndpoint, newEvent, newKey, WIDE_OFFER } from '../support/store-fixtures.ts';
import { assertRefused, type BenchPool, EMPTY_QUEUE, type StoreTest } from './bench.ts';

export function lifecycleTests(test: StoreTest, pool: BenchPool): void {
  describe('lifecycle', () => {
    test('the store tells of its database, and of the processes that work on it', async (bench) => {
      const username = await bench.account();
      await bench.endpoint(username);
      await bench.publish(username);
      await bench.claimOne();
      const state = await bench.store.state();
      assert.match(state.version, /^(SQLite|PostgreSQL) \d+\./);
      assert.ok(state.sizeBytes > 10_000, `${state.sizeBytes} bytes`);
      assert.ok(state.freeBytes === null || state.freeBytes > 0);
      const own = state.nodes.filter(({ isThis }) => isThis);
      assert.equal(own.length, 1);
      assert.match(own[0]?.name as string, new RegExp(`:${process.pid}$`));
      assert.equal(own[0]?.leases, 1);
      const { startedAt, seenAt } = own[0] as (typeof own)[number];
      assert.ok(startedAt > 0 && startedAt <= seenAt, `started ${startedAt}, seen ${seenAt}`);
    });

    it('a new store answers a ping and is empty', () =>
      pool.useNew(async ({ store }) => {
        await store.ping();
        assert.deepEqual(await store.listAccounts({ limit: 10, cursor: null }), {
          items: [],
          nextCursor: null,
        });
        assert.deepEqual(await store.listKeys(null), []);
        assert.deepEqual(await store.listEventTypes(), []);
        assert.deepEqual(await store.claim(WIDE_OFFER), { leases: [], nextDueAt: null });
        assert.deepEqual(await store.queueDepth(), EMPTY_QUEUE);
        assert.deepEqual(await store.advanceReplays(10, 10), { made: 0, running: false });
        assert.equal(await store.recover(), 0);
      }));

    test('work that was under way when the store is closed ends in order and lasts', async (bench) => {
      const { username } = await bench.subscriber();
      const events = Array.from({ length: 20 }, () => newEvent(username));
      const publishing = Promise.all(events.map((event) => bench.store.publish([event], null)));
      const closing = bench.close();
      const answers = await publishing;
      await closing;
      assert.deepEqual(
        answers.map(({ results }) => results[0]?.outcome),
        events.map(() => 'stored'),
      );
      await bench.reopen();
      assert.equal((await bench.events(username)).length, events.length);
    });

    test('after close every call rejects as unavailable', async (bench) => {
      const { username, endpoint } = await bench.subscriber();
      const { store } = bench;
      await bench.close();
      const page = { limit: 1, cursor: null };
      const calls: Record<string, () => Promise<unknown>> = {
        ping: () => store.ping(),
        recover: () => store.recover(),
        getMeta: () => store.getMeta('name'),
        initMeta: () => store.initMeta('name', 'value'),
        setMeta: () => store.setMeta('name', 'value'),
        takeChanges: () => store.takeChanges(),
        countRequest: () => store.countRequest('name', 1000),
        createAccount: () => store.createAccount({ username: 'ada', metadata: null }),
        getAccount: () => store.getAccount(username),
        listAccounts: () => store.listAccounts(page),
        createKey: () => store.createKey(newKey(null)),
        findKey: () => store.findKey('0'.repeat(64)),
        touchKeys: () => store.touchKeys([{ keyId: 'key_x', at: 1 }]),
        listEventTypes: () => store.listEventTypes(),
        addEndpoint: () => store.addEndpoint(newEndpoint(username), 20),
        getEndpoint: () => store.getEndpoint(username, endpoint.endpointId),
        publish: () => store.publish([newEvent(username)], null),
        claim: () => store.claim(WIDE_OFFER),
        settle: () => store.settle([], WIDE_OFFER),
        release: () => store.release([{ username, deliveryId: 'dlv_x', token: 'x' }]),
        retryDelivery: () => store.retryDelivery(username, 'dlv_x'),
        advanceReplays: () => store.advanceReplays(10, 10),
        listDeliveries: () => store.listDeliveries(username, {}, page),
        listEvents: () => store.listEvents(username, {}, page),
        queueDepth: () => store.queueDepth(),
        historyBytes: () => store.historyBytes(),
        state: () => store.state(),
        schema: () => store.schema(),
        findSession: () => store.findSession('x'),
        listReplays: () => store.listReplays(username, null, page),
        overview: () => store.overview(username, 0, 10),
        listEndpointHealth: () => store.listEndpointHealth(username),
        countEndpointStates: () => store.countEndpointStates(),
        purge: () => store.purge(0, 10),
      };
      for (const call of Object.values(calls)) await assertRefused('unavailable', call());
    });
  });

  describe('meta', () => {
    test('a value that was never set is null', async ({ store }) => {
      assert.equal(await store.getMeta('check'), null);
    });

    test('the first value stands', async ({ store }) => {
      assert.equal(await store.initMeta('check', 'first'), 'first');
      assert.equal(await store.initMeta('check', 'second'), 'first');
      assert.equal(await store.getMeta('check'), 'first');
      assert.equal(await store.getMeta('other'), null);
    });

    test('of parallel callers one wins and all hear the same', async ({ store }) => {
      const answers = await Promise.all(
        Array.from({ length: 20 }, (_, n) => store.initMeta('check', `value ${n}`)),
      );
      assert.equal(new Set(answers).size, 1);
      assert.equal(await store.getMeta('check'), answers[0]);
    });
  });
}
