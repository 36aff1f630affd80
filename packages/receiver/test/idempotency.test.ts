/** One suite for every idempotency store, on real databases. */
import assert from 'node:assert/strict';
import { join } from 'node:path';
import { after, before, describe, it } from 'node:test';
import Database from 'better-sqlite3';
import { Redis as IoRedis } from 'ioredis';
import pg from 'pg';
import { createClient } from 'redis';
import { createDatabase } from '../../server/test/support/postgres.ts';
import { tempDir } from '../../server/test/support/tempdir.ts';
import {
  type IdempotencyStore,
  memoryIdempotency,
  redisIdempotency,
  type SqlDatabase,
  sqlIdempotency,
} from '../src/idempotency/index.ts';
import { noRedis, startRedis, stopRedis } from './support/redis.ts';

const LEASE_MS = 60_000;
const REMEMBER_MS = 3_600_000;

interface Opened {
  store: IdempotencyStore;
  /** Lets everything that is stored of the key expire. */
  expire(key: string): Promise<unknown>;
  close(): Promise<unknown>;
}

let number = 0;
const newKey = (): string => `evt_${number++}`;

/** The promises of `IdempotencyStore`. */
function suite(name: string, open: () => Promise<Opened>, skip: string | false = false): void {
  describe(`the idempotency store ${name}`, { skip }, () => {
    let opened: Opened;
    let store: IdempotencyStore;
    before(async () => {
      opened = await open();
      ({ store } = opened);
    });
    after(() => opened.close());

    it('gives a key to one of many who ask at the same time', async () => {
      const key = newKey();
      const asked = Array.from({ length: 20 }, (_, n) => store.reserve(key, `token-${n}`, LEASE_MS));
      const answers = await Promise.all(asked);
      assert.equal(answers.filter((answer) => answer === 'reserved').length, 1);
      assert.equal(answers.filter((answer) => answer === 'busy').length, 19);
    });

    it('says done of a key that was completed', async () => {
      const key = newKey();
      await store.reserve(key, 'token-a', LEASE_MS);
      assert.equal(await store.complete(key, 'token-a', REMEMBER_MS), true);
      assert.equal(await store.reserve(key, 'token-b', LEASE_MS), 'done');
      assert.equal(await store.reserve(key, 'token-a', LEASE_MS), 'done');
    });

    it('forgets what was completed when its time is over', async () => {
      const key = newKey();
      await store.reserve(key, 'token-a', LEASE_MS);
      await store.complete(key, 'token-a', REMEMBER_MS);
      await opened.expire(key);
      assert.equal(await store.reserve(key, 'token-b', LEASE_MS), 'reserved');
    });

    it('gives a released key to the next', async () => {
      const key = newKey();
      await store.reserve(key, 'token-a', LEASE_MS);
      await store.release(key, 'token-a');
      assert.equal(await store.reserve(key, 'token-b', LEASE_MS), 'reserved');
    });

    it('extends a lease for its holder', async () => {
      const key = newKey();
      await store.reserve(key, 'token-a', LEASE_MS);
      assert.equal(await store.reserve(key, 'token-a', LEASE_MS), 'reserved');
      assert.equal(await store.reserve(key, 'token-b', LEASE_MS), 'busy');
    });

    it('gives the key of a holder that died to the next, and takes nothing from the dead any more', async () => {
      const key = newKey();
      await store.reserve(key, 'token-a', LEASE_MS);
      await opened.expire(key);
      assert.equal(await store.reserve(key, 'token-b', LEASE_MS), 'reserved');
      assert.equal(await store.complete(key, 'token-a', REMEMBER_MS), false);
      await store.release(key, 'token-a');
      assert.equal(await store.reserve(key, 'token-c', LEASE_MS), 'busy');
      assert.equal(await store.complete(key, 'token-b', REMEMBER_MS), true);
    });

    it('keeps a completed key when its holder releases it late', async () => {
      const key = newKey();
      await store.reserve(key, 'token-a', LEASE_MS);
      await store.complete(key, 'token-a', REMEMBER_MS);
      await store.release(key, 'token-a');
      assert.equal(await store.reserve(key, 'token-b', LEASE_MS), 'done');
    });
  });
}

suite('in memory', async () => {
  let time = 1_000;
  return {
    store: memoryIdempotency({ now: () => time }),
    expire: async () => (time += REMEMBER_MS),
    close: async () => {},
  };
});

describe('the idempotency store in memory', () => {
  it('remembers so many events and forgets the oldest, but none that is being handled', async () => {
    const store = memoryIdempotency({ maxEntries: 2 });
    for (const key of ['a', 'b', 'c']) {
      await store.reserve(key, key, LEASE_MS);
      if (key !== 'b') await store.complete(key, key, REMEMBER_MS);
    }
    await store.reserve('d', 'd', LEASE_MS);
    assert.equal(await store.reserve('a', 'x', LEASE_MS), 'reserved');
    assert.equal(await store.reserve('b', 'x', LEASE_MS), 'busy');
  });
});

// ---------------------------------------------------------------- SQL

suite('in SQLite', async () => {
  const folder = await tempDir();
  const database = new Database(join(folder.path, 'app.db'));
  const store = sqlIdempotency(sqliteDatabase(database), { dialect: 'sqlite' });
  await store.ensureTable();
  await store.ensureTable();
  return {
    store,
    expire: async (key) =>
      database.prepare('UPDATE posthorn_handled SET expires_at = 1 WHERE event_id = ?').run(key),
    close: async () => {
      database.close();
      await folder.remove();
    },
  };
});

suite('in PostgreSQL', async () => {
  const database = await createDatabase();
  const pool = new pg.Pool({ connectionString: database.url });
  const table = 'hooks.handled_by_us';
  const store = sqlIdempotency(postgresDatabase(pool), { dialect: 'postgres', table });
  await pool.query('CREATE SCHEMA hooks');
  await store.ensureTable();
  await store.ensureTable();
  return {
    store,
    expire: (key) => pool.query(`UPDATE ${table} SET expires_at = 1 WHERE event_id = $1`, [key]),
    close: async () => {
      await pool.end();
      await database.drop();
    },
  };
});

describe('the idempotency store in SQL', () => {
  it('deletes what has expired when an event is completed', async () => {
    const database = new Database(':memory:');
    const store = sqlIdempotency(sqliteDatabase(database), { dialect: 'sqlite' });
    await store.ensureTable();
    database.prepare("INSERT INTO posthorn_handled VALUES ('old', NULL, 1)").run();
    await store.reserve('evt_1', 'token', LEASE_MS);
    await store.complete('evt_1', 'token', REMEMBER_MS);
    assert.deepEqual(database.prepare('SELECT event_id FROM posthorn_handled').pluck().all(), ['evt_1']);
    database.close();
  });

  it('refuses a table name that is none, and an engine that it does not know', () => {
    const none = {} as SqlDatabase;
    assert.throws(() => sqlIdempotency(none, { dialect: 'sqlite', table: 'x; DROP TABLE y' }), /table/);
    assert.throws(() => sqlIdempotency(none, { dialect: 'mysql' as never }), /dialect/);
  });
});

function sqliteDatabase(database: Database.Database): SqlDatabase {
  return {
    execute: async (sql, values) => database.prepare(sql).run(...values).changes,
    query: async (sql, values) => database.prepare(sql).all(...values) as object[],
  };
}

function postgresDatabase(pool: pg.Pool): SqlDatabase {
  return {
    execute: async (sql, values) => (await pool.query(sql, values)).rowCount ?? 0,
    query: async (sql, values) => (await pool.query(sql, values)).rows,
  };
}

// ---------------------------------------------------------------- Redis

suite(
  'in Redis, through redis',
  async () => {
    const server = await startRedis();
    const client = createClient({ url: `redis://127.0.0.1:${server.port}` });
    await client.connect();
    return {
      store: redisIdempotency({ send: (command) => client.sendCommand(command) }),
      // Redis's clock can't be driven: that it lets the key expire is seen, and then it is taken away.
      expire: async (key) => {
        assert.ok((await client.pTTL(`posthorn:${key}`)) > 0);
        await client.del(`posthorn:${key}`);
      },
      close: async () => {
        client.destroy();
        await stopRedis(server);
      },
    };
  },
  noRedis(),
);

suite(
  'in Redis, through ioredis',
  async () => {
    const server = await startRedis();
    const client = new IoRedis(server.port, '127.0.0.1');
    return {
      store: redisIdempotency({ send: ([name, ...rest]) => client.call(name, ...rest) }, { prefix: 'ours:' }),
      expire: async (key) => {
        assert.ok((await client.pttl(`ours:${key}`)) > 0);
        await client.del(`ours:${key}`);
      },
      close: async () => {
        client.disconnect();
        await stopRedis(server);
      },
    };
  },
  noRedis(),
);
