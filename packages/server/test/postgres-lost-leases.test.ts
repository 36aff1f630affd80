import assert from 'node:assert/strict';
import { after, before, describe, it } from 'node:test';
import { unavailable } from '../src/errors.ts';
import type { Sql } from '../src/store/postgres/engine.ts';
import { withoutLostLeases } from '../src/store/postgres/lost-leases.ts';
import type { Store } from '../src/store/store.ts';
import { ManualClock } from './support/manual-clock.ts';
import { PostgresEngine, type PostgresTestDatabase } from './support/postgres-store.ts';
import { deliveredAt, newEndpoint, newEvent, retryingAt, WIDE_OFFER } from './support/store-fixtures.ts';

const LONG_AGO_MS = 21_000;
const OFFER = { ...WIDE_OFFER, leaseMs: 600_000 };

describe('leases whose answer was lost', () => {
  const engine = new PostgresEngine();
  let database: PostgresTestDatabase;
  let real: Store;

  before(async () => {
    database = (await engine.createDatabase()) as PostgresTestDatabase;
    real = await database.open();
  });

  after(async () => {
    await real.close();
    await database.remove();
    await engine.dispose();
  });

  /** A store whose answers can be lost after the database has done what it was told. */
  async function setUp() {
    await database.clear();
    const { username } = await real.createAccount({ username: `user-${Math.random()}`, metadata: null });
    await real.addEndpoint(newEndpoint(username), 20);
    const clock = new ManualClock();
    const state = { loses: false, freed: [] as number[] };
    const lossy = async <T>(answer: Promise<T>): Promise<T> => {
      const known = await answer;
      if (state.loses) throw unavailable('the connection was lost');
      return known;
    };
    const [row] = await database.database.query<{ id: string }>(
      'SELECT max(node_id) AS id FROM posthorn.node',
    );
    const sql: Sql = {
      query: async <Row>(text: string, values?: readonly unknown[]) =>
        (await database.database.query(text, [...(values ?? [])])) as Row[],
    };
    const store = withoutLostLeases(
      {
        publish: (events, offer) => lossy(real.publish(events, offer)),
        claim: (offer) => lossy(real.claim(offer)),
        settle: (settlements, offer) => lossy(real.settle(settlements, offer)),
        release: (leases) =>
          state.loses ? Promise.reject(unavailable('the database is away')) : real.release(leases),
      },
      {
        ...sql,
        nodeId: () => Number(row?.id),
        clock,
        onFreed: (count) => state.freed.push(count),
      },
    );
    const pass = async (ms: number) => {
      clock.advance(ms);
      await database.advance(ms);
    };
    return { store, state, username, pass };
  }

  it('are leased again by a claim when every answer must have come, and what is known stays', async () => {
    const { store, state, username, pass } = await setUp();
    const { leases: held } = await store.publish([newEvent(username)], OFFER);
    assert.equal(held.length, 1);
    state.loses = true;
    await assert.rejects(store.publish([newEvent(username)], OFFER), /lost/);
    await real.publish([newEvent(username)], null);
    await assert.rejects(store.claim(OFFER), /lost/);
    state.loses = false;

    await pass(10_000);
    assert.deepEqual((await store.claim(OFFER)).leases, [], 'an answer may still come');
    await pass(LONG_AGO_MS);
    const { leases } = await store.claim(OFFER);
    assert.equal(leases.length, 2);
    assert.deepEqual(state.freed, [2]);
    const now = await database.now();
    const { results } = await store.settle(
      [...held, ...leases].map((lease) => deliveredAt(lease, now)),
      null,
    );
    assert.deepEqual(
      results,
      results.map(() => ({ outcome: 'settled', status: 'delivered' })),
    );
    assert.equal(results.length, 3);
  });

  it('are not looked for where nothing was lost', async () => {
    const { store, state, username, pass } = await setUp();
    await store.publish([newEvent(username)], OFFER);
    // Leased past the wrapper, as by a call whose answer is long under way.
    await real.publish([newEvent(username)], OFFER);
    await pass(LONG_AGO_MS);
    assert.deepEqual((await store.claim(OFFER)).leases, []);
    assert.deepEqual(state.freed, []);
  });

  it('of a settlement’s claim come back, while the settlement itself can be repeated', async () => {
    const { store, state, username, pass } = await setUp();
    const { leases: held } = await store.publish([newEvent(username)], OFFER);
    await real.publish([newEvent(username)], null);
    const now = await database.now();
    const ends = held.map((lease) => retryingAt(lease, now, now + 3_600_000));
    state.loses = true;
    await assert.rejects(store.settle(ends, OFFER), /lost/);
    state.loses = false;
    assert.deepEqual((await store.settle(ends, OFFER)).results, [{ outcome: 'stale' }]);
    await pass(LONG_AGO_MS);
    assert.equal((await store.claim(OFFER)).leases.length, 1);
    assert.deepEqual(state.freed, [1]);
  });

  it('come back too when giving them back failed', async () => {
    const { store, state, username, pass } = await setUp();
    const { leases: held } = await store.publish([newEvent(username), newEvent(username)], OFFER);
    state.loses = true;
    await assert.rejects(store.release(held.slice(1)), /away/);
    state.loses = false;
    await pass(LONG_AGO_MS);
    const { leases } = await store.claim(OFFER);
    assert.deepEqual(
      leases.map(({ deliveryId }) => deliveryId),
      held.slice(1).map(({ deliveryId }) => deliveryId),
    );
    assert.deepEqual(state.freed, [1]);
  });
});
