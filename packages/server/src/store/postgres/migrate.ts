import { PosthornError, unavailable } from '../../errors.ts';
import {
  type AppliedMigration,
  type MigrationReport,
  pendingMigrations,
  readMigrations,
} from '../migrate.ts';
import { PostgresPool } from './connection.ts';
import type { Sql } from './engine.ts';
import { sqlStateOf } from './failures.ts';
import { makeDays, missingDays } from './partitions.ts';

export const MIGRATIONS = new URL('./migrations/', import.meta.url);

/** What the nodes that start at once on one database queue up for: "posthorn" in ASCII. */
const MIGRATION_LOCK = '8101821198468346478';
/** A table of history may take a while to be altered; and so may the wait for another node that does it. */
const LONG = { statementTimeoutMs: 10 * 60_000 };

const OLDEST_SERVER = 15;

const INSUFFICIENT_PRIVILEGE = '42501';

/**
 * Brings the schema up to date in one transaction under a lock, so that any number of nodes may start at once on an empty
 * database: one migrates, the others find it done. Then makes the partitions of today and the next days, unless a
 * transaction that is open just now has their tables in hand: the purge makes them later, and what is published until
 * then is kept in the default partitions.
 *
 * @throws PosthornError `unavailable` when the server or its database can't be used, the user lacks rights, or the
 *   database is newer than this binary
 */
export async function migrate(pool: PostgresPool): Promise<MigrationReport> {
  const known = readMigrations(MIGRATIONS);
  await checkServer(pool);
  try {
    const report = await pool.transaction(async (sql): Promise<MigrationReport> => {
      await sql.query('SELECT pg_advisory_xact_lock($1)', [MIGRATION_LOCK]);
      await makeMigrationTable(sql);
      const applied = await appliedMigrations(sql);
      const pending = pendingMigrations(known, applied);
      for (const { version, name, sql: text, checksum } of pending) {
        await sql.query(text);
        await sql.query(
          'INSERT INTO posthorn.schema_migration (version, name, checksum) VALUES ($1, $2, $3)',
          [version, name, checksum],
        );
      }
      // New functions are everybody's to call, so a role that may publish could call them.
      if (pending.length > 0) await sql.query('REVOKE ALL ON ALL ROUTINES IN SCHEMA posthorn FROM PUBLIC');
      return { from: applied.length, to: known.length, applied: pending.map(({ name }) => name) };
    }, LONG);
    const missing = await pool.transaction(missingDays, LONG);
    if (missing.length > 0) await makeDays({ transaction: (run) => pool.transaction(run, LONG) }, missing);
    return report;
  } catch (error) {
    if (sqlStateOf(error) !== INSUFFICIENT_PRIVILEGE) throw error;
    throw unavailable(
      `the user ${pool.user} may not set up the schema posthorn (${(error as PosthornError).message}): make it the ` +
        `owner of the schema, or grant it CREATE on the database`,
      error,
    );
  }
}

/**
 * {@link migrate} for a database that is not open, as `posthorn migrate` does it.
 *
 * @example
 * const { from, to } = await migrateDatabase('postgres://posthorn@localhost/posthorn');
 */
export function migrateDatabase(url: string): Promise<MigrationReport> {
  return withPool(url, migrate);
}

/**
 * The migrations that a database has, oldest first; none for one without a schema. Changes nothing.
 *
 * @throws PosthornError `unavailable` when it can't be read
 */
export function appliedSchema(url: string): Promise<AppliedMigration[]> {
  return withPool(url, async (pool) => {
    await checkServer(pool);
    return appliedMigrations(pool);
  });
}

/** How many schema versions this binary knows. */
export function knownSchemaVersion(): number {
  return readMigrations(MIGRATIONS).length;
}

async function withPool<T>(url: string, run: (pool: PostgresPool) => Promise<T>): Promise<T> {
  const pool = new PostgresPool({ url, poolSize: 1 });
  try {
    return await run(pool);
  } finally {
    await pool.close();
  }
}

/** Refuses what Posthorn can't work on, before anything is changed. */
async function checkServer(pool: PostgresPool): Promise<void> {
  let row: { version: number; encoding: string; standby: boolean } | undefined;
  try {
    [row] = await pool.query<{ version: number; encoding: string; standby: boolean }>(
      `SELECT current_setting('server_version_num')::integer / 10000 AS version,
        current_setting('server_encoding') AS encoding, pg_is_in_recovery() AS standby`,
    );
  } catch (error) {
    const { message } = error as Error;
    throw unavailable(`PostgreSQL at ${pool.server} can't be used: ${message}`, error);
  }
  const { version = 0, encoding = '', standby = false } = row ?? {};
  let wrong: string | null = null;
  if (version < OLDEST_SERVER) {
    wrong = `is version ${version}: Posthorn needs ${OLDEST_SERVER} or newer`;
  } else if (encoding !== 'UTF8') {
    wrong = `has the encoding ${encoding}: make the database with ENCODING 'UTF8'`;
  } else if (standby) {
    wrong = 'is a standby, which only reads: give the address of its primary';
  }
  if (wrong !== null) throw unavailable(`PostgreSQL at ${pool.server} ${wrong}`);
}

/** Looks first: a node whose user may change nothing but rows starts on a schema that is up to date. */
async function makeMigrationTable(sql: Sql): Promise<void> {
  if (await hasMigrationTable(sql)) return;
  await sql.query('CREATE SCHEMA IF NOT EXISTS posthorn');
  await sql.query(`CREATE TABLE posthorn.schema_migration (
    version    integer PRIMARY KEY,
    name       text NOT NULL,
    checksum   text NOT NULL,
    applied_at timestamptz NOT NULL DEFAULT clock_timestamp()
  )`);
}

async function hasMigrationTable(sql: Sql): Promise<boolean> {
  const [row] = await sql.query<{ found: boolean }>(
    `SELECT to_regclass('posthorn.schema_migration') IS NOT NULL AS found`,
  );
  return row?.found === true;
}

async function appliedMigrations(sql: Sql): Promise<AppliedMigration[]> {
  if (!(await hasMigrationTable(sql))) return [];
  return sql.query<AppliedMigration>(
    'SELECT version, checksum FROM posthorn.schema_migration ORDER BY version',
  );
}
