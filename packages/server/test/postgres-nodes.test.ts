import assert from 'node:assert/strict';
import { after, afterEach, before, beforeEach, describe, it } from 'node:test';
import { unavailable } from '../src/errors.ts';
import { PostgresPool } from '../src/store/postgres/connection.ts';
import type { Notice, Sql } from '../src/store/postgres/engine.ts';
import { migrateDatabase } from '../src/store/postgres/migrate.ts';
import { NodeRegistration } from '../src/store/postgres/nodes.ts';
import { Notices } from '../src/store/postgres/notices.ts';
import { assertRefused } from './store-suite/bench.ts';
import { ManualClock } from './support/manual-clock.ts';
import { clearRecords, createDatabase, type PostgresDatabase } from './support/postgres.ts';

const BEAT_MS = 1_000;

let database: PostgresDatabase;
let pool: PostgresPool;

before(async () => {
  database = await createDatabase();
  await migrateDatabase(database.url);
});

after(() => database.drop());

beforeEach(async () => {
  await clearRecords(database);
  await database.query('DELETE FROM posthorn.node');
  pool = new PostgresPool({ url: database.url });
});

afterEach(() => pool.close());

describe('a node on PostgreSQL', () => {
  let clock: ManualClock;
  let node: NodeRegistration;
  let told: string[];
  let isCutOff: boolean;

  beforeEach(async () => {
    clock = new ManualClock();
    told = [];
    isCutOff = false;
    const cable: Sql = {
      query: (text, values) => (isCutOff ? Promise.reject(unavailable('cut')) : pool.query(text, values)),
    };
    node = new NodeRegistration({
      lifeline: cable,
      pool: cable,
      clock,
      delivers: true,
      onTakenForDead: () => told.push('taken for dead'),
      onFreed: (leases) => told.push(`freed ${leases}`),
      onError: (message) => told.push(message),
    });
    await node.start();
  });

  afterEach(() => node.close());

  /** Resolves when the beats that fall due have been made. */
  async function beats(count: number): Promise<void> {
    for (let n = 0; n < count; n++) {
      clock.advance(BEAT_MS);
      await clock.whenTimers(1);
    }
  }

  async function nodeIds(): Promise<number[]> {
    return (await pool.query<{ node_id: number }>('SELECT node_id FROM posthorn.node ORDER BY node_id')).map(
      (row) => row.node_id,
    );
  }

  /** A node that was heard `seconds` ago, with one lease. */
  async function otherNode(seconds: number, deliveryId: string): Promise<number> {
    const [row] = await pool.query<{ node_id: number }>(
      `WITH node AS (
         INSERT INTO posthorn.node (name, seen_at)
         VALUES ('other', clock_timestamp() - $1 * interval '1 second') RETURNING node_id)
       INSERT INTO posthorn.queue (username, delivery_id, endpoint_id, event_id, event, event_at, event_seq, attempts,
                                   failures, manual, pinned, created_at, due_at, leased, leased_at, leased_until, token,
                                   holder)
       SELECT 'ada', $2, 'wh_1', 'evt_1', 'done', 1, 1, 0, 0, false, false, 1, 1, true, 1, 9e15, 'token', node_id FROM node
       RETURNING holder AS node_id`,
      [seconds, deliveryId],
    );
    return row?.node_id as number;
  }

  async function leasedIds(): Promise<string[]> {
    return (
      await pool.query<{ delivery_id: string }>(
        'SELECT delivery_id FROM posthorn.queue WHERE leased ORDER BY 1',
      )
    ).map((row) => row.delivery_id);
  }

  it('is heard every second', async () => {
    assert.deepEqual(await nodeIds(), [node.id]);
    for (let n = 0; n < 3; n++) {
      await pool.query("UPDATE posthorn.node SET seen_at = clock_timestamp() - interval '5 seconds'");
      await beats(1);
      assert.deepEqual(
        await pool.query(
          "SELECT count(*) AS n FROM posthorn.node WHERE seen_at > clock_timestamp() - interval '4 seconds'",
        ),
        [{ n: 1 }],
      );
    }
    assert.deepEqual(told, []);
  });

  it('is the only deliverer for as long as no other that delivers is alive, and two seconds beyond its last beat', async () => {
    assert.equal(node.isSoleDeliverer(), false, 'nothing was heard yet');
    await pool.query("INSERT INTO posthorn.node (name, delivers) VALUES ('api', false)");
    await pool.query(
      "INSERT INTO posthorn.node (name, seen_at) VALUES ('dead', clock_timestamp() - interval '11 seconds')",
    );
    await beats(1);
    assert.equal(node.isSoleDeliverer(), true);

    await pool.query("INSERT INTO posthorn.node (name) VALUES ('worker')");
    await beats(1);
    assert.equal(node.isSoleDeliverer(), false);
    await pool.query("DELETE FROM posthorn.node WHERE name = 'worker'");
    await beats(1);
    assert.equal(node.isSoleDeliverer(), true);

    isCutOff = true;
    await beats(1);
    assert.equal(node.isSoleDeliverer(), true);
    await beats(1);
    assert.equal(node.isSoleDeliverer(), false);
    isCutOff = false;
  });

  it('whose row is gone registers anew, under another id, and tells so', async () => {
    const first = node.id;
    await pool.query('DELETE FROM posthorn.node');
    await beats(1);
    assert.notEqual(node.id, first);
    assert.deepEqual(await nodeIds(), [node.id]);
    assert.deepEqual(told, ['taken for dead']);
    await beats(1);
    assert.deepEqual(told, ['taken for dead']);
  });

  it('registers once when several beats find its row gone', async () => {
    await pool.query('DELETE FROM posthorn.node');
    await Promise.all(Array.from({ length: 8 }, () => node.beat(pool)));
    assert.deepEqual(await nodeIds(), [node.id]);
    assert.deepEqual(told, ['taken for dead']);
  });

  it('frees what nodes hold that were not heard for ten seconds, and leaves the others alone', async () => {
    await otherNode(11, 'dlv_dead');
    const living = await otherNode(-3600, 'dlv_living');
    await beats(15);
    assert.deepEqual(told, ['freed 1']);
    assert.deepEqual(await leasedIds(), ['dlv_living']);
    assert.deepEqual(
      await nodeIds(),
      [node.id, living].sort((a, b) => a - b),
    );
    await otherNode(11, 'dlv_dead_2');
    await beats(5);
    assert.deepEqual(told, ['freed 1', 'freed 1']);
  });

  it('judges nobody until it was itself heard for a while: after an outage all others seem dead', async () => {
    await beats(14);
    isCutOff = true;
    await beats(3);
    isCutOff = false;
    await otherNode(11, 'dlv_reconnecting');
    await beats(14);
    assert.deepEqual(await leasedIds(), ['dlv_reconnecting']);
    await beats(1);
    assert.deepEqual(told, ['freed 1']);
  });

  it('that closes lets the others free at once what it still held', async () => {
    await otherNode(-3600, 'dlv_held');
    await pool.query('UPDATE posthorn.queue SET holder = $1', [node.id]);
    await node.close();
    assert.deepEqual(await pool.query('SELECT posthorn.free_dead_nodes() AS freed'), [{ freed: 1 }]);
    assert.equal(clock.timerCount, 0, 'it tells of itself no more');
  });
});

describe('notices between nodes', () => {
  class Ear {
    readonly #heard: string[] = [];
    readonly #waiting: ((notice: string) => void)[] = [];

    readonly hear = (notice: Notice): void => {
      const text = 'endpointId' in notice ? `${notice.kind} ${notice.endpointId}` : notice.kind;
      const waiting = this.#waiting.shift();
      if (waiting === undefined) this.#heard.push(text);
      else waiting(text);
    };

    async next(): Promise<string> {
      return this.#heard.shift() ?? (await new Promise((resolve) => this.#waiting.push(resolve)));
    }
  }

  let clock: ManualClock;
  let speaker: Notices;
  let listener: Notices;
  let heardBySpeaker: Ear;
  let heard: Ear;

  beforeEach(async () => {
    clock = new ManualClock();
    heardBySpeaker = new Ear();
    heard = new Ear();
    speaker = new Notices({ pool, clock, nodeId: () => 1, onNotice: heardBySpeaker.hear });
    listener = new Notices({ pool, clock, nodeId: () => 2, onNotice: heard.hear });
    await Promise.all([speaker.start(), listener.start()]);
  });

  afterEach(async () => {
    await speaker.close();
    await listener.close();
  });

  /** What is heard of all that was said before. */
  async function heardSoFar(ear: Ear, from: Notices): Promise<string[]> {
    await from.notify(pool, { kind: 'endpoint', endpointId: 'last' });
    const all: string[] = [];
    for (let next = await ear.next(); next !== 'endpoint last'; next = await ear.next()) all.push(next);
    return all;
  }

  it('come with the change that they speak of, and not without it', async () => {
    await pool.transaction(async (sql) => {
      await speaker.notify(sql, { kind: 'catalogue' });
      await speaker.notify(sql, { kind: 'endpoint', endpointId: 'wh_1' });
      assert.deepEqual(await heardSoFar(heard, speaker), []);
    });
    await assert.rejects(
      pool.transaction(async (sql) => {
        await speaker.notify(sql, { kind: 'endpoint', endpointId: 'wh_undone' });
        throw new Error('no');
      }),
    );
    assert.deepEqual(await heardSoFar(heard, speaker), ['catalogue', 'endpoint wh_1']);
  });

  it('are not heard by who said them', async () => {
    await speaker.notify(pool, { kind: 'catalogue' });
    assert.deepEqual(await heardSoFar(heardBySpeaker, listener), []);
  });

  it('tell that something is due after the transaction, and never when it was undone', async () => {
    await pool.transaction(async (sql) => {
      await speaker.notify(sql, { kind: 'due' });
      assert.deepEqual(await heardSoFar(heard, speaker), []);
    });
    assert.equal(await heard.next(), 'due');
    await assert.rejects(
      pool.transaction(async (sql) => {
        await speaker.notify(sql, { kind: 'due' });
        throw new Error('no');
      }),
    );
    assert.deepEqual(await heardSoFar(heard, speaker), []);
  });

  it('tell at most every five milliseconds that something is due, and never forget the last', async () => {
    for (let n = 0; n < 100; n++) await speaker.notify(pool, { kind: 'due' });
    assert.equal(await heard.next(), 'due');
    assert.deepEqual(await heardSoFar(heard, speaker), []);
    clock.advance(4);
    assert.deepEqual(await heardSoFar(heard, speaker), []);
    clock.advance(1);
    assert.equal(await heard.next(), 'due');
    clock.advance(5);
    assert.deepEqual(await heardSoFar(heard, speaker), [], 'all hundred were told by two');
  });

  it('pass over what somebody else says on the channel', async () => {
    for (const text of ['', 'due', '{"kind":', '[]', 'null', '{"kind":"later"}', '{"kind":"endpoint"}']) {
      await pool.query("SELECT pg_notify('posthorn', $1)", [text]);
    }
    assert.deepEqual(await heardSoFar(heard, speaker), []);
  });

  it('are heard again after the listener was cut off, which is told to look by itself at what it missed', async () => {
    const [{ pid } = { pid: 0 }] = await listener.query<{ pid: number }>('SELECT pg_backend_pid() AS pid');
    await database.query('SELECT pg_terminate_backend($1, 5000)', [pid]);
    await clock.whenTimers(1); // the pause before it connects again
    await speaker.notify(pool, { kind: 'endpoint', endpointId: 'wh_missed' });
    clock.advance(200);
    assert.equal(await heard.next(), 'due');
    assert.equal(await heard.next(), 'catalogue');
    assert.deepEqual(await heardSoFar(heard, speaker), []);
    const [session] = await listener.query<{ pid: number }>('SELECT pg_backend_pid() AS pid');
    assert.notEqual(session?.pid, pid);
  });

  it('leave statements of the listener a way while it is cut off', async () => {
    const [{ pid } = { pid: 0 }] = await listener.query<{ pid: number }>('SELECT pg_backend_pid() AS pid');
    await database.query('SELECT pg_terminate_backend($1, 5000)', [pid]);
    await clock.whenTimers(1);
    assert.deepEqual(await listener.query('SELECT 1 AS one'), [{ one: 1 }]);
  });

  it('need no listener to be sent, and a closed one hears nothing', async () => {
    await listener.close();
    await speaker.notify(pool, { kind: 'due' });
    await speaker.close();
    await assertRefused(
      'unavailable',
      pool.close().then(() => speaker.query('SELECT 1')),
    );
  });
});
