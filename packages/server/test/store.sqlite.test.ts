import assert from 'node:assert/strict';
import { copyFile } from 'node:fs/promises';
import { join } from 'node:path';
import { after, describe } from 'node:test';
import { openDatabase } from '../src/store/sqlite/database.ts';
import { openSqliteStore } from '../src/store/sqlite/index.ts';
import type { Store } from '../src/store/store.ts';
import { type StoreEngine, storeSuite, type TestDatabase } from './store.suite.ts';
import { assertRefused, BenchPool, storeTest } from './store-suite/bench.ts';
import { ManualClock } from './support/manual-clock.ts';
import { HOUR_MS } from './support/store-fixtures.ts';
import { type TempDir, tempDir } from './support/tempdir.ts';

class SqliteTestDatabase implements TestDatabase {
  readonly #dir: TempDir;
  readonly #clock = new ManualClock();
  #path: string;
  #crashes = 0;

  constructor(dir: TempDir) {
    this.#dir = dir;
    this.#path = join(dir.path, 'posthorn.db');
  }

  open(): Promise<Store> {
    return openSqliteStore({ path: this.#path, clock: this.#clock });
  }

  /** The files as they lie there while the store is open are what a killed process leaves behind. */
  async crash(store: Store): Promise<void> {
    this.#crashes += 1;
    const path = join(this.#dir.path, `posthorn-${this.#crashes}.db`);
    await copyFile(this.#path, path);
    await copyFile(`${this.#path}-wal`, `${path}-wal`);
    this.#path = path;
    await store.close();
  }

  async now(): Promise<number> {
    return this.#clock.now();
  }

  async advance(ms: number): Promise<void> {
    if (ms < 0) this.#clock.jump(ms);
    else this.#clock.advance(ms);
  }

  async clear(): Promise<void> {
    const db = openDatabase(this.#path);
    try {
      db.pragma('synchronous = OFF');
      const tables = db
        .prepare<[], { name: string }>(
          `SELECT name FROM sqlite_schema WHERE type = 'table' AND name <> 'schema_migration'`,
        )
        .all();
      db.exec(`BEGIN; ${tables.map(({ name }) => `DELETE FROM ${name};`).join(' ')} COMMIT;`);
    } finally {
      db.close();
    }
  }

  remove(): Promise<void> {
    return this.#dir.remove();
  }
}

const sqlite: StoreEngine = {
  name: 'SQLite',
  severalNodes: false,
  createDatabase: async () => new SqliteTestDatabase(await tempDir()),
};

storeSuite(sqlite);

describe('store: SQLite, which one process opens at a time', () => {
  const pool = new BenchPool(sqlite);
  after(() => pool.dispose());
  const test = storeTest(pool);

  test('a second store on the same file is refused, and the first goes on', async (bench) => {
    const { username } = await bench.subscriber();
    const refusal = await assertRefused('unavailable', bench.addNode());
    assert.match(refusal.message, /in use by another Posthorn process/);
    await bench.publish(username);
    await bench.claimOne();
  });

  test('a recovery frees every lease at once', async (bench) => {
    const { username } = await bench.subscriber();
    await bench.publishMany(username, 3);
    const lost = await bench.claim({ leaseMs: HOUR_MS });
    assert.equal(lost.length, 3);
    await bench.reopen();
    assert.equal(await bench.store.recover(), 3);
    assert.equal(await bench.store.recover(), 0);
    assert.equal((await bench.claim()).length, 3);
  });
});
