import { openPostgresStore } from '../../src/store/postgres/index.ts';
import type { Store } from '../../src/store/store.ts';
import type { StoreEngine, TestDatabase } from '../store-suite/engine.ts';
import { clearRecords, createDatabase, type PostgresDatabase } from './postgres.ts';
import { Cable } from './postgres-cable.ts';
import { clockOf, type DatabaseClock, steerClock } from './postgres-clock.ts';

/** The longest that a server may take to end a connection, ms. */
const TERMINATION_MS = 5_000;

/** A database with Posthorn's schema and a clock that tests can move; each store has a cable of its own to it. */
export class PostgresTestDatabase implements TestDatabase {
  readonly #database: PostgresDatabase;
  readonly #clock: DatabaseClock;
  readonly #cables = new Map<Store, Cable>();

  constructor(database: PostgresDatabase) {
    this.#database = database;
    this.#clock = clockOf(database);
  }

  /** For statements of a test's own, past the stores. */
  get database(): PostgresDatabase {
    return this.#database;
  }

  /** What lies between a store of this database and the server. */
  cableOf(store: Store): Cable {
    const cable = this.#cables.get(store);
    if (cable === undefined) throw new Error('the store was not opened here, or has crashed');
    return cable;
  }

  async open(): Promise<Store> {
    const cable = await Cable.lay(this.#database.url);
    try {
      const store = await openPostgresStore({ url: cable.url });
      this.#cables.set(store, cable);
      return store;
    } catch (error) {
      await cable.remove();
      throw error;
    }
  }

  /** The store never reaches the database again, whatever it still tries. */
  async crash(store: Store): Promise<void> {
    const cable = this.cableOf(store);
    this.#cables.delete(store);
    const ports = cable.cut();
    // A server hears of a dead client when it next writes to it. Until then its transaction holds its locks.
    await this.#database.query(
      `SELECT pg_terminate_backend(pid, $2) FROM pg_stat_activity
       WHERE datname = current_database() AND client_port = ANY ($1)`,
      [ports, TERMINATION_MS],
    );
    // Only to free what it holds in this process; that the database can't be reached is no news.
    await store.close().catch(() => {});
    await cable.remove();
  }

  now(): Promise<number> {
    return this.#clock.now();
  }

  advance(ms: number): Promise<void> {
    return this.#clock.advance(ms);
  }

  clear(): Promise<void> {
    return clearRecords(this.#database);
  }

  async remove(): Promise<void> {
    await Promise.all([...this.#cables.values()].map((cable) => cable.remove()));
    await this.#database.drop();
  }
}

/** Makes databases as copies of one that is migrated once. */
export class PostgresEngine implements StoreEngine {
  readonly name = 'PostgreSQL';
  readonly severalNodes = true;
  readonly #databases: PostgresDatabase[] = [];
  #template: Promise<PostgresDatabase> | undefined;

  async createDatabase(): Promise<PostgresTestDatabase> {
    const template = await (this.#template ??= migrated());
    const database = await createDatabase({ template });
    this.#databases.push(database);
    return new PostgresTestDatabase(database);
  }

  /** Drops what is left. A store that a failed test left open would keep the process alive by its connections. */
  async dispose(): Promise<void> {
    const template = await this.#template?.catch(() => undefined);
    for (const database of this.#databases) await database.drop();
    await template?.drop();
  }
}

async function migrated(): Promise<PostgresDatabase> {
  const database = await createDatabase();
  try {
    await (await openPostgresStore({ url: database.url })).close();
    await steerClock(database);
    return database;
  } catch (error) {
    // Connections that a failed opening left would keep the process alive, and its run from ever telling of the failure.
    await database.drop();
    throw error;
  }
}
