import assert from 'node:assert/strict';
import { copyFile } from 'node:fs/promises';
import { join } from 'node:path';
import { describe } from 'node:test';
import { openSqliteStore } from '../src/store/sqlite/index.ts';
import type { Store } from '../src/store/store.ts';
import { storeSuite, type TestStore } from './store.suite.ts';
import { storeTest } from './store-suite/bench.ts';
import { ManualClock } from './support/manual-clock.ts';
import { HOUR_MS } from './support/store-fixtures.ts';
import { type TempDir, tempDir } from './support/tempdir.ts';

class SqliteTestStore implements TestStore {
  readonly #dir: TempDir;
  readonly #clock: ManualClock;
  #path: string;
  #store: Store;
  #crashes = 0;

  private constructor(dir: TempDir, clock: ManualClock, path: string, store: Store) {
    this.#dir = dir;
    this.#clock = clock;
    this.#path = path;
    this.#store = store;
  }

  static async open(): Promise<SqliteTestStore> {
    const dir = await tempDir();
    const clock = new ManualClock();
    const path = join(dir.path, 'posthorn.db');
    return new SqliteTestStore(dir, clock, path, await openSqliteStore({ path, clock }));
  }

  get store(): Store {
    return this.#store;
  }

  async advance(ms: number): Promise<void> {
    this.#clock.advance(ms);
  }

  /** The files as they lie there while the store is open are what a killed process leaves behind. */
  async reopen(): Promise<void> {
    this.#crashes += 1;
    const path = join(this.#dir.path, `posthorn-${this.#crashes}.db`);
    await copyFile(this.#path, path);
    await copyFile(`${this.#path}-wal`, `${path}-wal`).catch((error: NodeJS.ErrnoException) => {
      // A store that was closed in order has no log any more.
      if (error.code !== 'ENOENT') throw error;
    });
    const crashed = this.#store;
    this.#store = await openSqliteStore({ path, clock: this.#clock });
    this.#path = path;
    await closeQuietly(crashed);
  }

  async dispose(): Promise<void> {
    await closeQuietly(this.#store);
    await this.#dir.remove();
  }
}

/** A test may have closed it already. */
async function closeQuietly(store: Store): Promise<void> {
  await store.close().catch(() => {});
}

const harness = { open: () => SqliteTestStore.open() };

storeSuite('SQLite', harness);

describe('store: SQLite, which one process opens at a time', () => {
  storeTest(harness)('a recovery frees every lease at once', async (bench) => {
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
