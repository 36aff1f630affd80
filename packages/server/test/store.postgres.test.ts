import assert from 'node:assert/strict';
import { after, describe, it, type TestContext } from 'node:test';
import { openPostgresStore } from '../src/store/postgres/index.ts';
import { storeSuite } from './store.suite.ts';
import { assertRefused } from './store-suite/bench.ts';
import { createDatabase, type PostgresDatabase } from './support/postgres.ts';
import { PostgresEngine } from './support/postgres-store.ts';

const engine = new PostgresEngine();
after(() => engine.dispose());

storeSuite(engine);

async function emptyDatabase(t: TestContext): Promise<PostgresDatabase> {
  const database = await createDatabase();
  t.after(() => database.drop());
  return database;
}

async function connectionsOfOthers(database: PostgresDatabase): Promise<number> {
  const [row] = await database.query<{ count: string }>(
    `SELECT count(*) FROM pg_stat_activity
     WHERE datname = current_database() AND backend_type = 'client backend' AND pid <> pg_backend_pid()`,
  );
  return Number(row?.count);
}

/** The server ends its side of a connection a moment after the client has closed it. */
async function assertNoConnections(database: PostgresDatabase): Promise<void> {
  const deadline = performance.now() + 5_000;
  while ((await connectionsOfOthers(database)) > 0) {
    assert.ok(performance.now() < deadline, 'connections are left on the server');
  }
}

describe('store: PostgreSQL, opening and closing', () => {
  it('nodes that start at once on an empty database migrate it once, and all of them work', async (t) => {
    const { url } = await emptyDatabase(t);
    const nodes = await Promise.all(Array.from({ length: 6 }, () => openPostgresStore({ url })));
    try {
      for (const node of nodes) await node.ping();
      assert.equal(await nodes[0]?.initMeta('check', 'first'), 'first');
      for (const node of nodes) assert.equal(await node.getMeta('check'), 'first');
    } finally {
      await Promise.all(nodes.map((node) => node.close()));
    }
  });

  it('a closed store leaves no connection behind', async (t) => {
    const database = await emptyDatabase(t);
    const store = await openPostgresStore({ url: database.url });
    await store.ping();
    assert.ok((await connectionsOfOthers(database)) > 0, 'an open store is connected');
    await store.close();
    await assertNoConnections(database);
  });

  it('a schema that is newer than this version is refused with a sentence, and stays as it is', async (t) => {
    const database = await emptyDatabase(t);
    await (await openPostgresStore({ url: database.url })).close();
    const newest = `SELECT max(version) AS version FROM posthorn.schema_migration`;
    await database.query(
      `INSERT INTO posthorn.schema_migration (version, name, checksum)
       SELECT max(version) + 1, 'of_tomorrow.sql', 'none' FROM posthorn.schema_migration`,
    );
    const before = await database.query(newest);
    const refusal = await assertRefused('unavailable', openPostgresStore({ url: database.url }));
    assert.match(refusal.message, /schema version \d+.*start a newer Posthorn/);
    assert.deepEqual(await database.query(newest), before);
    await assertNoConnections(database);
  });
});
