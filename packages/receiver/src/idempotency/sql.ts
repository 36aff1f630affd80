import type { IdempotencyStore } from './store.ts';

/**
 * All that is needed of a database: a connection, or a pool of them, outside of any transaction.
 *
 * @example
 * const database: SqlDatabase = {
 *   execute: async (sql, values) => (await pool.query(sql, values)).rowCount ?? 0,
 *   query: async (sql, values) => (await pool.query(sql, values)).rows,
 * };
 */
export interface SqlDatabase {
  /** Runs a statement; answers how many rows it inserted, updated or deleted. */
  execute(sql: string, values: (string | number)[]): Promise<number>;
  /** Runs a query; answers its rows, each an object by column name. */
  query(sql: string, values: (string | number)[]): Promise<object[]>;
}

export interface SqlIdempotencyOptions {
  dialect: 'postgres' | 'sqlite';
  /**
   * Letters, digits and underscores; with a schema in front if you like. Receivers that share a database but handle the
   * same events each for itself need one each. Default `posthorn_handled`.
   */
  table?: string;
}

export interface SqlIdempotencyStore extends IdempotencyStore {
  /** Makes the table unless it is there. Call it at the start, or take {@link SqlIdempotencyStore.schema} to your migrations. */
  ensureTable(): Promise<void>;
  /** The statements of {@link SqlIdempotencyStore.ensureTable}. */
  readonly schema: readonly string[];
}

/** Rows that have expired are deleted by whoever completes an event, at most so often. */
const PURGE_INTERVAL_MS = 600_000;

/** Unix milliseconds by the database's clock: the clocks of several processes differ. */
const NOW = {
  postgres: '(extract(epoch from clock_timestamp()) * 1000)::bigint',
  sqlite: "cast((julianday('now') - 2440587.5) * 86400000 as integer)",
} as const;

/**
 * Remembers events in a table of PostgreSQL, or SQLite 3.24 or later: one row each, deleted after it has expired. Each
 * step is one statement.
 *
 * @throws TypeError when the table's name is no name
 */
export function sqlIdempotency(database: SqlDatabase, options: SqlIdempotencyOptions): SqlIdempotencyStore {
  const { dialect, table = 'posthorn_handled' } = options;
  if (!/^\w+(\.\w+)?$/.test(table)) {
    throw new TypeError(`table is ${JSON.stringify(table)}: letters, digits and underscores make a name`);
  }
  const now = NOW[dialect];
  if (now === undefined) throw new TypeError("dialect is 'postgres' or 'sqlite'");
  const bare = table.split('.').at(-1);
  const alias = 'held';
  /** Each value stands once, in the order in which the values are given: SQLite's clients count them so. */
  const $ = (n: number): string => (dialect === 'postgres' ? `$${n}` : '?');
  const ms = (n: number): string => (dialect === 'postgres' ? `${$(n)}::bigint` : $(n));

  const schema = [
    `CREATE TABLE IF NOT EXISTS ${table} (
  event_id text PRIMARY KEY,
  token text, -- of the run that holds it, null when it is done
  expires_at bigint NOT NULL -- unix milliseconds: the end of the lease, or of remembering
)`,
    `CREATE INDEX IF NOT EXISTS ${bare}_expires_at ON ${dialect === 'sqlite' ? bare : table} (expires_at)`,
  ];
  // One statement decides who gets it: a second that runs at the same time waits for the row and then sees the first's.
  const reserve = `INSERT INTO ${table} AS ${alias} (event_id, token, expires_at)
VALUES (${$(1)}, ${$(2)}, ${now} + ${ms(3)})
ON CONFLICT (event_id) DO UPDATE SET token = excluded.token, expires_at = excluded.expires_at
WHERE ${alias}.token = excluded.token OR ${alias}.expires_at <= ${now}`;
  const look = `SELECT token FROM ${table} WHERE event_id = ${$(1)}`;
  const complete = `UPDATE ${table} SET token = NULL, expires_at = ${now} + ${ms(1)} WHERE event_id = ${$(2)} AND token = ${$(3)}`;
  const release = `DELETE FROM ${table} WHERE event_id = ${$(1)} AND token = ${$(2)}`;
  const purge = `DELETE FROM ${table} WHERE expires_at <= ${now}`;
  let purgedAt = 0;

  return {
    schema,
    async ensureTable() {
      for (const statement of schema) await database.execute(statement, []);
    },
    async reserve(key, token, leaseMs) {
      if ((await database.execute(reserve, [key, token, Math.ceil(leaseMs)])) === 1) return 'reserved';
      const [row] = (await database.query(look, [key])) as { token: string | null }[];
      // Without a row it was released just now: the next delivery gets it.
      return row !== undefined && row.token === null ? 'done' : 'busy';
    },
    async complete(key, token, rememberMs) {
      const completed = (await database.execute(complete, [Math.ceil(rememberMs), key, token])) === 1;
      if (Date.now() - purgedAt > PURGE_INTERVAL_MS) {
        purgedAt = Date.now();
        await database.execute(purge, []);
      }
      return completed;
    },
    async release(key, token) {
      await database.execute(release, [key, token]);
    },
  };
}
