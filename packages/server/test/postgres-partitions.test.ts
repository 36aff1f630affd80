/** What PostgreSQL's history does besides what every store must do: it lies in partitions by day, which go as a whole. */
import assert from 'node:assert/strict';
import { after, describe, it, type TestContext } from 'node:test';
import { serviceActor } from '../src/first-start.ts';
import { grantPublish } from '../src/store/postgres/grants.ts';
import type { Store } from '../src/store/store.ts';
import { PostgresEngine, type PostgresTestDatabase } from './support/postgres-store.ts';
import {
  DAY_MS,
  deadAt,
  deliveredAt,
  HOUR_MS,
  listAll,
  newEndpoint,
  newEvent,
  retryingAt,
  unique,
  VIDEO,
  WIDE_OFFER,
} from './support/store-fixtures.ts';

const engine = new PostgresEngine();
after(() => engine.dispose());

/** More than a day may have to go row by row. */
const BIG = 12_000;
/** The purge's limit; a day of {@link BIG} would take dozens of them. */
const LIMIT = 500;

class Bench {
  readonly database: PostgresTestDatabase;
  readonly store: Store;

  constructor(database: PostgresTestDatabase, store: Store) {
    this.database = database;
    this.store = store;
  }

  now(): Promise<number> {
    return this.database.now();
  }

  /** Moves the clock to the next noon, so that no test crosses midnight by itself. */
  async noon(): Promise<number> {
    const now = await this.now();
    await this.database.advance(DAY_MS - ((now + 12 * HOUR_MS) % DAY_MS));
    return this.now();
  }

  async daysLater(days: number): Promise<number> {
    await this.database.advance(days * DAY_MS);
    return this.now();
  }

  async subscriber(): Promise<{ username: string; endpointId: string }> {
    const username = unique('user');
    await this.store.createAccount({ username, metadata: null });
    const { endpointId } = await this.store.addEndpoint(newEndpoint(username), 20);
    return { username, endpointId };
  }

  async publish(username: string, eventId?: string): Promise<{ eventId: string; deliveryId: string }> {
    const event = newEvent(username, eventId === undefined ? {} : { eventId });
    const { results } = await this.store.publish([event], null);
    const [result] = results;
    assert.ok(result?.outcome === 'stored', JSON.stringify(result));
    return { eventId: result.eventId, deliveryId: result.deliveryIds[0] ?? '' };
  }

  async claim(deliveryId: string) {
    const { leases } = await this.store.claim(WIDE_OFFER);
    const lease = leases.find((other) => other.deliveryId === deliveryId);
    assert.ok(lease, `${deliveryId} is leased`);
    await this.store.release(leases.filter((other) => other !== lease));
    return lease;
  }

  /** Finished deliveries of the present moment, each with an attempt; their events are `prefix` and a number. */
  async fill(target: { username: string; endpointId: string }, count: number, prefix: string): Promise<void> {
    await this.database.database.query(
      `WITH t AS MATERIALIZED (SELECT posthorn.now_ms() AS now), made AS (
         SELECT $1::text AS username, $2::text AS endpoint_id, $4::text || n AS event_id, t.now AS at,
                posthorn.new_id('dlv', t.now) AS delivery_id, nextval('posthorn.event_seq') AS seq
         FROM t, generate_series(1, $3::integer) n
       ), event AS (
         INSERT INTO posthorn.event (seq, username, event_id, event, timestamp, created_at, body, fingerprint, deliveries)
         SELECT seq, username, event_id, '${VIDEO}', at / 1000, at, '{}', 'print', 1 FROM made
       ), key AS (
         INSERT INTO posthorn.event_key (username, event_id, created_at, seq)
         SELECT username, event_id, at, seq FROM made
       ), delivery AS (
         INSERT INTO posthorn.delivery (username, delivery_id, endpoint_id, event_id, event, event_at, event_seq, status,
                                        attempts, created_at, completed_at)
         SELECT username, delivery_id, endpoint_id, event_id, '${VIDEO}', at, seq, 'delivered', 1, at, at FROM made
       )
       INSERT INTO posthorn.attempt (username, delivery_id, event_at, number, started_at, duration_ms, outcome, url,
                                     request_headers, response_truncated, manual)
       SELECT username, delivery_id, at, 1, at, 5, 'success', 'https://receiver.example/', '{}', false, false FROM made`,
      [target.username, target.endpointId, count, prefix],
    );
  }

  /** Events that wait for their delivery until long after, made at the present moment. */
  async fillQueue(target: { username: string; endpointId: string }, count: number): Promise<void> {
    await this.database.database.query(
      `WITH t AS MATERIALIZED (SELECT posthorn.now_ms() AS now), made AS (
         SELECT $1::text AS username, $2::text AS endpoint_id, 'waiting_' || n AS event_id, t.now AS at,
                posthorn.new_id('dlv', t.now) AS delivery_id, nextval('posthorn.event_seq') AS seq
         FROM t, generate_series(1, $3::integer) n
       ), event AS (
         INSERT INTO posthorn.event (seq, username, event_id, event, timestamp, created_at, body, fingerprint, deliveries)
         SELECT seq, username, event_id, '${VIDEO}', at / 1000, at, '{}', 'print', 1 FROM made
       ), key AS (
         INSERT INTO posthorn.event_key (username, event_id, created_at, seq)
         SELECT username, event_id, at, seq FROM made
       )
       INSERT INTO posthorn.queue (username, delivery_id, endpoint_id, event_id, event, event_at, event_seq, attempts,
                                   failures, manual, pinned, created_at, due_at, leased)
       SELECT username, delivery_id, endpoint_id, event_id, '${VIDEO}', at, seq, 0, 0, false, false, at,
              at + ${1_000 * DAY_MS}, false
       FROM made`,
      [target.username, target.endpointId, count],
    );
  }

  /** Purges until nothing is left that is over; answers how many steps that took. */
  async purge(before: number, store = this.store): Promise<number> {
    for (let steps = 1; steps < 200; steps++) {
      const { more } = await store.purge(before, LIMIT);
      if (!more) return steps;
    }
    throw new Error('the purge has no end');
  }

  /** Which tables of history there are for the day of a time. */
  async partitionsOf(at: number): Promise<string[]> {
    const day = new Date(at).toISOString().slice(0, 10).replaceAll('-', '');
    const rows = await this.database.database.query<{ name: string }>(
      `SELECT relname AS name FROM pg_class
       WHERE relnamespace = 'posthorn'::regnamespace AND relkind = 'r' AND relname LIKE '%' || $1 ORDER BY relname`,
      [`_${day}`],
    );
    return rows.map(({ name }) => name.slice(0, -9));
  }

  /** Which partition holds an event: `default`, or a day. */
  async placeOf(username: string, eventId: string): Promise<string | undefined> {
    const [row] = await this.database.database.query<{ name: string }>(
      `SELECT substr(c.relname, 7) AS name FROM posthorn.event e JOIN pg_class c ON c.oid = e.tableoid
       WHERE e.username = $1 AND e.event_id = $2`,
      [username, eventId],
    );
    return row?.name;
  }

  async eventIds(username: string): Promise<string[]> {
    const events = await listAll((page) => this.store.listEvents(username, {}, page), 1_000);
    return events.map(({ eventId }) => eventId);
  }
}

async function bench(t: TestContext): Promise<Bench> {
  const database = await engine.createDatabase();
  const store = await database.open();
  t.after(async () => {
    await store.close();
    await database.remove();
  });
  return new Bench(database, store);
}

const ALL_THREE = ['attempt', 'delivery', 'event'];

describe('store: PostgreSQL, the days of the history', () => {
  it('partitions are made ahead, and events lie in that of their day', async (t) => {
    const b = await bench(t);
    const { username } = await b.subscriber();
    await b.noon();
    for (let day = 0; day < 3; day++) {
      const now = await b.daysLater(1);
      const { eventId } = await b.publish(username);
      const place = await b.placeOf(username, eventId);
      assert.equal(place, new Date(now).toISOString().slice(0, 10).replaceAll('-', ''));
      await b.purge(now - 30 * DAY_MS);
      for (const ahead of [0, 1, 2]) assert.deepEqual(await b.partitionsOf(now + ahead * DAY_MS), ALL_THREE);
    }
  });

  it('a big day goes at once; what outlives it stays whole, and the rest leaves its ids free', async (t) => {
    const b = await bench(t);
    const target = await b.subscriber();
    const { username } = target;
    const day = await b.noon();
    const waiting = await b.publish(username);
    const first = await b.claim(waiting.deliveryId);
    await b.store.settle([retryingAt(first, day, day + 10 * DAY_MS)], null);
    const late = await b.publish(username);
    const failed = await b.claim(late.deliveryId);
    await b.store.settle([retryingAt(failed, day, day + DAY_MS)], null);
    const dead = await b.publish(username);
    await b.store.settle([deadAt(await b.claim(dead.deliveryId), day)], null);
    await b.fill(target, BIG, 'old_');
    assert.deepEqual(await b.partitionsOf(day), ALL_THREE);

    const now = await b.daysLater(2);
    const before = now - (now % DAY_MS);
    await b.store.settle([deliveredAt(await b.claim(late.deliveryId), now)], null);
    assert.ok((await b.purge(before)) < 10, 'not row by row');

    assert.deepEqual(await b.partitionsOf(day), []);
    assert.deepEqual(await b.eventIds(username), [late.eventId, waiting.eventId]);
    assert.equal(await b.store.getDelivery(username, dead.deliveryId), null);
    assert.equal(await b.store.getEvent(username, 'old_1'), null);

    for (const survivor of [waiting, late]) {
      const event = await b.store.getEvent(username, survivor.eventId);
      assert.equal(JSON.parse(event?.body ?? '').event_id, survivor.eventId);
      assert.deepEqual(
        event?.targets.map(({ deliveryId }) => deliveryId),
        [survivor.deliveryId],
      );
      const again = newEvent(username, { eventId: survivor.eventId });
      assert.equal((await b.store.publish([again], null)).results[0]?.outcome, 'duplicate');
    }
    const numbers = async (deliveryId: string) =>
      (await b.store.getDelivery(username, deliveryId))?.attemptLog.map(({ number }) => number);
    assert.deepEqual(await numbers(waiting.deliveryId), [1]);
    assert.deepEqual(await numbers(late.deliveryId), [1, 2]);

    for (const { deliveryId, eventId } of [waiting, late]) {
      await b.store.retryDelivery(username, deliveryId);
      const lease = await b.claim(deliveryId);
      assert.equal(JSON.parse(lease.event.body).event_id, eventId);
      await b.store.settle([deliveredAt(lease, await b.now())], null);
    }
    assert.deepEqual(await numbers(waiting.deliveryId), [1, 2]);
    assert.deepEqual(await numbers(late.deliveryId), [1, 2, 3]);
    await b.publish(username, 'old_1');
  });

  it('what survived a day goes when it is over, too', async (t) => {
    const b = await bench(t);
    const { username } = await b.subscriber();
    const day = await b.noon();
    const { eventId, deliveryId } = await b.publish(username);
    const settled = await b.daysLater(1);
    await b.store.settle([deliveredAt(await b.claim(deliveryId), settled)], null);
    await b.purge(settled - HOUR_MS);
    assert.deepEqual(await b.partitionsOf(day), []);
    assert.equal(await b.placeOf(username, eventId), 'default');
    assert.equal((await b.store.getDelivery(username, deliveryId))?.status, 'delivered');

    await b.purge(await b.daysLater(1));
    assert.equal(await b.store.getEvent(username, eventId), null);
    assert.equal(await b.store.getDelivery(username, deliveryId), null);
    await b.publish(username, eventId);
  });

  it('what was written while there were no partitions is found, and goes like the rest', async (t) => {
    const b = await bench(t);
    const { username } = await b.subscriber();
    const at = await b.daysLater(20);
    const { eventId, deliveryId } = await b.publish(username);
    assert.equal(await b.placeOf(username, eventId), 'default');
    await b.store.settle([deliveredAt(await b.claim(deliveryId), at)], null);
    await b.purge(at - DAY_MS);
    assert.deepEqual(await b.partitionsOf(at), [], 'a day that lies in the default partitions stays there');
    assert.deepEqual(await b.partitionsOf(at + DAY_MS), ALL_THREE);
    assert.equal((await b.store.getDelivery(username, deliveryId))?.attemptLog.length, 1);

    await b.purge(await b.daysLater(1));
    assert.equal(await b.store.getEvent(username, eventId), null);
    await b.publish(username, eventId);
  });

  it('a day of which much is unfinished keeps its partitions, and all of that is there', async (t) => {
    const b = await bench(t);
    const target = await b.subscriber();
    const day = await b.noon();
    await b.fillQueue(target, 2_500);
    await b.fill(target, 300, 'old_');
    const now = await b.daysLater(2);
    await b.purge(now);
    assert.deepEqual(await b.partitionsOf(day), ALL_THREE);
    assert.equal((await b.eventIds(target.username)).length, 2_500);
    assert.equal((await b.store.queueDepth()).scheduled, 2_500);

    await b.store.updateEndpoint(target.username, target.endpointId, { status: 'disabled' });
    await b.store.updateEndpoint(target.username, target.endpointId, { status: 'enabled' });
    await b.purge(await b.daysLater(2));
    assert.deepEqual(await b.partitionsOf(day), []);
    assert.deepEqual(await b.eventIds(target.username), []);
  });

  it('a purge that can’t have a day’s tables holds nobody up for long and is done by a later one', async (t) => {
    const b = await bench(t);
    const target = await b.subscriber();
    const day = await b.noon();
    await b.fill(target, BIG, 'old_');
    const now = await b.daysLater(2);
    const { database } = b.database;
    await database.query('BEGIN');
    try {
      await database.query('SELECT count(*) FROM posthorn.event');
      const purging = b.store.purge(now, LIMIT);
      const began = performance.now();
      const { eventId } = await b.publish(target.username);
      assert.ok(performance.now() - began < 2_000, 'publishing goes on');
      await purging;
      await b.purge(now);
      assert.ok(await b.store.getEvent(target.username, eventId));
      assert.ok((await b.partitionsOf(day)).length > 0, 'the reader’s tables are there');
    } finally {
      await database.query('ROLLBACK');
    }
    await b.database.advance(HOUR_MS);
    await b.purge(now);
    assert.deepEqual(await b.partitionsOf(day), []);
    assert.equal((await b.eventIds(target.username)).length, 1);
  });

  it('a start that can’t have the days’ tables holds nobody up for long and leaves them to a later one', async (t) => {
    const b = await bench(t);
    const { username } = await b.subscriber();
    const at = await b.daysLater(20);
    const { database } = b.database;
    await database.query('BEGIN');
    try {
      // As an application's transaction that has published.
      await database.query('LOCK TABLE posthorn.event IN ROW EXCLUSIVE MODE');
      const opening = b.database.open();
      let isOpen = false;
      const noteEnd = () => {
        isOpen = true;
      };
      opening.then(noteEnd, noteEnd);
      for (let published = 0; !isOpen; published++) {
        const began = performance.now();
        const { eventId } = await b.publish(username);
        assert.ok(performance.now() - began < 2_000, 'publishing goes on');
        assert.equal(await b.placeOf(username, eventId), 'default');
        assert.ok(published < 1_000, 'the store is open');
      }
      await (await opening).close();
      assert.deepEqual(await b.partitionsOf(at + DAY_MS), []);
    } finally {
      await database.query('ROLLBACK');
    }
    await (await b.database.open()).close();
    for (const ahead of [1, 2]) assert.deepEqual(await b.partitionsOf(at + ahead * DAY_MS), ALL_THREE);
  });

  it('a start that lacks no day waits for none of their tables', async (t) => {
    const b = await bench(t);
    await b.noon();
    await (await b.database.open()).close();
    const { database } = b.database;
    await database.query('BEGIN');
    try {
      await database.query('LOCK TABLE posthorn.delivery, posthorn.event IN ROW EXCLUSIVE MODE');
      await (await b.database.open()).close();
    } finally {
      await database.query('ROLLBACK');
    }
  });

  it('what a role with the right to publish hangs on a day’s tables doesn’t keep the day', async (t) => {
    const b = await bench(t);
    const { username } = await b.subscriber();
    const { database } = b.database;
    const day = await b.noon();
    await (await b.database.open()).close();
    const { deliveryId } = await b.publish(username);
    await b.store.settle([deliveredAt(await b.claim(deliveryId), day)], null);
    const name = new Date(day).toISOString().slice(0, 10).replaceAll('-', '');
    const role = `${database.name}_publisher`;
    await database.query(`CREATE ROLE ${role}`);
    try {
      await database.query(`GRANT CREATE ON DATABASE ${database.name} TO ${role}`);
      await grantPublish(database.url, role, serviceActor('a test'));
      await database.query('BEGIN');
      await database.query(`SET LOCAL ROLE ${role}`);
      await database.query('CREATE SCHEMA theirs');
      await database.query(`CREATE VIEW theirs.of_event AS SELECT NULL::posthorn.event_${name} AS e`);
      await database.query(`CREATE TABLE theirs.own (id integer, d posthorn.delivery_${name})`);
      await database.query('INSERT INTO theirs.own (id) VALUES (7)');
      await database.query('COMMIT');

      await b.purge(await b.daysLater(2));
      assert.deepEqual(await b.partitionsOf(day), []);
      assert.deepEqual(await database.query('SELECT * FROM theirs.own'), [{ id: 7 }], 'their own rows stay');
    } finally {
      await database.query(`DROP OWNED BY ${role} CASCADE`);
      await database.query(`DROP ROLE ${role}`);
    }
  });

  it('an event of which a replay is making a delivery stays', async (t) => {
    const b = await bench(t);
    const { username, endpointId } = await b.subscriber();
    await b.store.updateEndpoint(username, endpointId, { status: 'disabled' });
    await b.noon();
    const { eventId } = await b.publish(username);
    const other = await b.publish(username);
    const now = await b.daysLater(2);
    const { database } = b.database;
    await database.query('BEGIN');
    try {
      // As a step of a replay does, which hasn't been committed.
      await database.query(
        `INSERT INTO posthorn.queue (username, delivery_id, endpoint_id, event_id, event, event_at, event_seq, attempts,
                                     failures, manual, pinned, created_at, due_at, leased)
         SELECT username, 'dlv_replayed', $2, event_id, event, created_at, seq, 0, 0, true, false, created_at, created_at, false
         FROM posthorn.event WHERE username = $1 AND event_id = $3 FOR KEY SHARE`,
        [username, endpointId, eventId],
      );
      await b.purge(now);
    } finally {
      await database.query('COMMIT');
    }
    await b.purge(now);
    assert.deepEqual(await b.eventIds(username), [eventId]);
    assert.equal((await b.store.getEvent(username, eventId))?.targets[0]?.deliveryId, 'dlv_replayed');
    assert.equal(await b.store.getEvent(username, other.eventId), null);
  });

  it('an account’s rows go from all days', async (t) => {
    const b = await bench(t);
    const gone = await b.subscriber();
    const other = await b.subscriber();
    await b.noon();
    for (let day = 0; day < 3; day++) {
      const now = await b.daysLater(1);
      await b.purge(now - 30 * DAY_MS);
      for (const target of [gone, other]) await b.fill(target, 50, `day${day}_`);
    }
    await b.store.deleteAccount(gone.username);
    await b.purge(0);
    for (const table of ['event', 'event_key', 'delivery', 'attempt', 'endpoint', 'lane', 'account']) {
      const [row] = await b.database.database.query<{ n: string }>(
        `SELECT count(*) AS n FROM posthorn.${table} WHERE username = $1`,
        [gone.username],
      );
      assert.equal(row?.n, '0', table);
    }
    assert.equal((await b.eventIds(other.username)).length, 150);
  });

  it('nodes that purge at once beside publishing and settling lose nothing and keep nothing', async (t) => {
    const b = await bench(t);
    const target = await b.subscriber();
    const { username } = target;
    const second = await b.database.open();
    t.after(() => second.close());
    const day = await b.noon();
    await b.fill(target, BIG, 'old_');
    const now = await b.daysLater(2);
    const before = now - (now % DAY_MS);

    let isPurging = true;
    const published: string[] = [];
    const delivered = new Set<string>();
    async function load(store: Store): Promise<void> {
      for (let rounds = 0; isPurging || rounds < 5; rounds++) {
        const events = Array.from({ length: 5 }, () => newEvent(username));
        const answer = await store.publish(events, WIDE_OFFER);
        for (const result of answer.results) {
          assert.equal(result.outcome, 'stored');
          if (result.outcome === 'stored') published.push(result.eventId);
        }
        const leases = [...answer.leases, ...(await store.claim(WIDE_OFFER)).leases];
        const { results } = await store.settle(
          leases.map((lease) => deliveredAt(lease, now)),
          null,
        );
        for (const [index, result] of results.entries()) {
          if (result.outcome === 'settled') delivered.add(leases[index]?.event.eventId ?? '');
        }
      }
    }
    const loads = [load(b.store), load(second)];
    await Promise.all([b.purge(before), b.purge(before, second)]);
    // Whichever of them was told that another one purges.
    await b.purge(before);
    isPurging = false;
    await Promise.all(loads);
    for (;;) {
      const { leases } = await b.store.claim(WIDE_OFFER);
      if (leases.length === 0) break;
      await b.store.settle(
        leases.map((lease) => deliveredAt(lease, now)),
        null,
      );
      for (const lease of leases) delivered.add(lease.event.eventId);
    }
    assert.deepEqual((await b.eventIds(username)).sort(), published.toSorted());
    assert.deepEqual([...delivered].sort(), published.toSorted());
    assert.deepEqual(await b.partitionsOf(day), []);
  });
});
