/** What the hot path on PostgreSQL rests on: see docs/decisions/0010-postgresql-hot-path.md. */
import assert from 'node:assert/strict';
import { after, before, beforeEach, describe, it } from 'node:test';
import pg from 'pg';
import {
  bigintArray,
  booleanArray,
  doubleArray,
  integerArray,
  textArray,
  utf8Array,
} from '../src/store/postgres/arrays.ts';
import type { Lease, Store } from '../src/store/store.ts';
import { PostgresEngine, type PostgresTestDatabase } from './support/postgres-store.ts';
import { deliveredAt, newEndpoint, newEvent, unique, VIDEO, WIDE_OFFER } from './support/store-fixtures.ts';

const engine = new PostgresEngine();
let database: PostgresTestDatabase;
let store: Store;

before(async () => {
  database = (await engine.createDatabase()) as PostgresTestDatabase;
  store = await database.open();
});

after(async () => {
  await store.close();
  await database.remove();
  await engine.dispose();
});

describe('a column as a binary array', () => {
  async function read(type: string, array: Buffer): Promise<unknown[]> {
    const [row] = await database.database.query<{ members: unknown[] }>(
      `SELECT to_json($1::${type}[]) AS members`,
      [array],
    );
    return row?.members ?? [];
  }

  it('of texts keeps every character, nulls and no text at all', async () => {
    const texts = ['', 'plain', '{"a":"b\\n"}', "'", 'NULL', null, 'é 中 😀', '{,}', 'x'.repeat(70_000)];
    assert.deepEqual(await read('text', textArray([...texts, undefined])), [...texts, null]);
    assert.deepEqual(await read('text', textArray([])), []);
    assert.deepEqual(await read('text', textArray([null, null])), [null, null]);
  });

  it('of whole numbers keeps them up to 2^53, below zero too', async () => {
    const numbers = [0, 1, -1, 2 ** 31, -(2 ** 31) - 1, 2 ** 32, -(2 ** 32), 2 ** 53, -(2 ** 53), null];
    assert.deepEqual(await read('bigint', bigintArray(numbers)), numbers);
    const small = [0, 1, -1, 2 ** 31 - 1, -(2 ** 31), null];
    assert.deepEqual(await read('integer', integerArray(small)), small);
  });

  it('of fractions and booleans keeps them', async () => {
    assert.deepEqual(await read('double precision', doubleArray([0.1, -2.5e-9, null])), [0.1, -2.5e-9, null]);
    assert.deepEqual(await read('boolean', booleanArray([true, false])), [true, false]);
  });

  it('of bytes keeps U+0000, which a text can’t hold', async () => {
    const [row] = await database.database.query<{ members: Buffer[] }>('SELECT $1::bytea[] AS members', [
      utf8Array(['a\0é', '', null]),
    ]);
    assert.deepEqual(row?.members, [Buffer.from('a\0é'), Buffer.alloc(0), null]);
  });
});

describe('the queue', () => {
  let username: string;
  let endpointId: string;

  beforeEach(async () => {
    await database.clear();
    ({ username } = await store.createAccount({ username: unique('user'), metadata: null }));
    ({ endpointId } = await store.addEndpoint(newEndpoint(username), 20));
  });

  const settle = (leases: readonly Lease[]) =>
    store.settle(
      leases.map((lease) => deliveredAt(lease, Date.now())),
      null,
    );

  it('has no index that a lease would have to write to', async () => {
    const columns = await database.database.query<{ index: string; name: string }>(
      `SELECT pg_get_indexdef(i.indexrelid) AS index, a.attname AS name
       FROM pg_index i CROSS JOIN unnest(ARRAY['leased', 'leased_at', 'leased_until', 'token', 'holder']) AS a(attname)
       WHERE i.indrelid = 'posthorn.queue'::regclass`,
    );
    assert.ok(columns.length >= 5);
    const written = columns.filter(({ index, name }) => new RegExp(`\\b${name}\\b`).test(index));
    assert.deepEqual(written, []);
  });

  it('hands out what was committed late, behind the place to which its lane has come', async () => {
    const late = new pg.Client(database.database.url);
    await late.connect();
    try {
      await late.query('BEGIN');
      await late.query(`SELECT posthorn.publish($1, '${VIDEO}', '{}', 'late')`, [username]);
      // The lane goes on, and runs empty.
      for (let round = 0; round < 3; round += 1) {
        await store.publish([newEvent(username), newEvent(username)], null);
        const { leases } = await store.claim(WIDE_OFFER);
        assert.equal(leases.length, 2);
        await settle(leases);
      }
      await store.publish([newEvent(username)], WIDE_OFFER);
      await late.query('COMMIT');
    } finally {
      await late.end();
    }
    const { leases } = await store.claim(WIDE_OFFER);
    assert.deepEqual(
      leases.map((lease) => lease.event.eventId),
      ['late'],
    );
  });

  it('counts what is leased of a lane however much of it has been leased before', async () => {
    const offer = { ...WIDE_OFFER, laneLimit: 3 };
    await store.publish(
      Array.from({ length: 30 }, () => newEvent(username)),
      null,
    );
    let held: Lease[] = [];
    for (let left = 30; left > 0; left -= 1) {
      held.push(...(await store.claim(offer)).leases);
      assert.equal(held.length, Math.min(3, left), `with ${left} deliveries left`);
      await settle(held.slice(0, 1));
      held = held.slice(1);
    }
  });

  it('finds the deliveries of an event by its id, made with it or by a replay', async () => {
    const events = [newEvent(username), newEvent(username)] as const;
    await store.publish(events, null);
    const second = await store.addEndpoint(newEndpoint(username), 20);
    await settle((await store.claim(WIDE_OFFER)).leases);
    const replay = await store.createReplay({
      username,
      endpointId: second.endpointId,
      kind: 'missing',
      since: 0,
      until: Date.now() + 60_000,
    });
    assert.equal(replay?.matched, 2);
    await store.advanceReplays(100, 1_000);
    for (const { eventId } of events) {
      const { items } = await store.listDeliveries(username, { eventId }, { limit: 10, cursor: null });
      assert.deepEqual(
        items.map((item) => [item.eventId, item.endpointId, item.status]),
        [
          [eventId, second.endpointId, 'pending'],
          [eventId, endpointId, 'delivered'],
        ],
      );
      const targets = (await store.getEvent(username, eventId))?.targets ?? [];
      assert.deepEqual(
        targets.map((target) => target.endpointId),
        [endpointId, second.endpointId],
      );
    }
  });
});
