import { closeSync, mkdirSync, openSync, statSync } from 'node:fs';
import { dirname, resolve } from 'node:path';
import Sqlite from 'better-sqlite3';
import { PosthornError, unavailable } from '../../errors.ts';
import {
  type AppliedMigration,
  type Migration,
  type MigrationReport,
  pendingMigrations,
  readMigrations,
} from '../migrate.ts';

export type Database = Sqlite.Database;

const MIGRATIONS = new URL('./migrations/', import.meta.url);

/**
 * Opens the file with the settings that the promises rest on: write-ahead log, and an fsync before a commit returns
 * (`synchronous=FULL`), so that a power cut after an acknowledged publish loses nothing.
 *
 * @throws PosthornError `unavailable` when the file can't be opened
 */
export function openDatabase(path: string, options: { readonly?: boolean } = {}): Database {
  try {
    if (options.readonly !== true) {
      mkdirSync(dirname(path), { recursive: true, mode: 0o700 });
      // For this user alone: SQLite would let everybody read it, and gives its log the mode of the file.
      closeSync(openSync(path, 'a', 0o600));
    }
    const db = new Sqlite(path, { readonly: options.readonly ?? false, timeout: 5000 });
    db.pragma('journal_mode = WAL');
    db.pragma('synchronous = FULL');
    db.pragma('temp_store = MEMORY');
    db.pragma('cache_size = -65536'); // KiB
    db.pragma('journal_size_limit = 67108864'); // a burst's log is cut back to 64 MiB
    return db;
  } catch (error) {
    throw toPosthornError(error);
  }
}

/**
 * Takes the file for this process until the connection closes, by SQLite's own lock on a file beside it: the kernel
 * frees it however the process ends. Two services on one file would each take the other's leases for its own.
 *
 * @throws PosthornError `unavailable` when another process has it
 */
export function lockDatabase(path: string): { unlock(): void } {
  try {
    mkdirSync(dirname(path), { recursive: true, mode: 0o700 });
    const lock = new Sqlite(`${path}.lock`, { timeout: 0 });
    lock.pragma('journal_mode = DELETE');
    lock.exec('BEGIN EXCLUSIVE');
    return { unlock: () => lock.close() };
  } catch (error) {
    if ((error as { code?: string }).code?.startsWith('SQLITE_BUSY')) {
      throw unavailable(`${path} is in use by another Posthorn process: stop it, or choose another database`);
    }
    throw toPosthornError(error);
  }
}

/**
 * Tells whether the database is still where it was opened. SQLite keeps its files open and doesn't notice when they
 * are moved, deleted or replaced: it would go on committing to files that no restart finds. Costs two calls of
 * `stat`, some microseconds.
 *
 * @returns a function to call before each commit; it throws a PosthornError `unavailable` while a file isn't in its
 *   place, and no longer when it is back
 */
export function databaseGuard(path: string): () => void {
  const files = [path, `${path}-wal`].map((file) => resolve(file));
  const opened = new Map<string, string>();
  return () => {
    for (const file of files) {
      const stat = statSync(file, { bigint: true, throwIfNoEntry: false });
      const identity = stat && `${stat.dev} ${stat.ino}`;
      const expected = opened.get(file);
      if (expected !== undefined && identity !== expected) {
        throw unavailable(
          'the database was moved, deleted or replaced while it was in use: put its files back, or restart Posthorn to ' +
            'use what lies there now',
        );
      }
      // The log is made by the first transaction.
      if (identity !== undefined) opened.set(file, identity);
    }
  };
}

/**
 * Brings the schema up to date under SQLite's write lock: of several processes that start at once, one migrates and
 * the others find it done.
 *
 * @throws PosthornError `unavailable` when the database is newer than this binary
 */
export function migrate(db: Database, nowMs: number): MigrationReport {
  const known = readMigrations(MIGRATIONS);
  db.exec(`CREATE TABLE IF NOT EXISTS schema_migration
    (version INTEGER PRIMARY KEY, name TEXT NOT NULL, checksum TEXT NOT NULL, applied_at INTEGER NOT NULL)`);
  return db
    .transaction((): MigrationReport => {
      const applied = appliedMigrations(db);
      const pending = pendingMigrations(known, applied);
      const insert = db.prepare('INSERT INTO schema_migration VALUES (?, ?, ?, ?)');
      for (const { version, name, sql, checksum } of pending) {
        db.exec(sql);
        insert.run(version, name, checksum, nowMs);
      }
      return { from: applied.length, to: known.length, applied: pending.map(({ name }) => name) };
    })
    .immediate();
}

/** The migrations that a database has, oldest first; none for a file without a schema. */
export function appliedMigrations(db: Database): AppliedMigration[] {
  const table = db.prepare(`SELECT 1 FROM sqlite_master WHERE name = 'schema_migration'`).get();
  if (table === undefined) return [];
  return db
    .prepare<[], AppliedMigration>('SELECT version, checksum FROM schema_migration ORDER BY version')
    .all();
}

/**
 * The migrations that a database lacks. Changes nothing.
 *
 * @throws PosthornError `unavailable` when the database is newer than this binary
 */
export function missingMigrations(db: Database): Migration[] {
  return pendingMigrations(readMigrations(MIGRATIONS), appliedMigrations(db));
}

/** How many schema versions this binary knows. */
export function knownSchemaVersion(): number {
  return readMigrations(MIGRATIONS).length;
}

/** A full, failing or locked disk is a reason to answer 503 and try again; anything else is a defect of ours. */
export function toPosthornError(error: unknown): PosthornError {
  if (error instanceof PosthornError) return error;
  const { code, message } = error as { code?: unknown; message?: unknown };
  // Raised by a trigger of the schema: the value was sealed with a key that was retired at this moment.
  if (code === 'SQLITE_CONSTRAINT_TRIGGER') return unavailable(`${String(message)}: try again`, error);
  if (typeof code === 'string' && !code.startsWith('SQLITE_CONSTRAINT') && code !== 'SQLITE_ERROR') {
    return unavailable(`the database can't be used (${code}: ${String(message)})`, error);
  }
  return new PosthornError('internal', `the store failed: ${String(message)}`, { cause: error });
}
