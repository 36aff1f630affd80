/** Takes the rows out of a database of any schema version, and puts them into another of any, as far as it has the columns. */
import assert from 'node:assert/strict';
import { openDatabase } from '../../src/store/sqlite/database.ts';
import type { Migration } from '../../src/store/migrate.ts';
import type { PostgresDatabase } from './postgres.ts';
import type { Dump } from './release-state.ts';

/** Of the running processes, or of the schema itself. */
const NOT_KEPT = ['schema_migration', 'node'];

export interface LoadOptions {
  /** That the schema to load into is made by, oldest first. */
  migrations: readonly Migration[];
  /** False: columns and tables that the schema doesn't have are left out. */
  whole: boolean;
}

function columnsToLoad(
  table: string,
  columns: readonly string[],
  there: readonly string[],
  whole: boolean,
): readonly { name: string; index: number }[] {
  const found = columns.map((name, index) => ({ name, index })).filter(({ name }) => there.includes(name));
  if (whole) assert.equal(found.length, columns.length, `${table} has the columns that it had`);
  return found;
}

// ---------------------------------------------------------------- SQLite

/** A value of SQLite's as JSON holds it: whole numbers as text, beyond 2^53 too, and bytes by their base 64. */
function toJson(value: unknown): unknown {
  if (typeof value === 'bigint') return { int: String(value) };
  return Buffer.isBuffer(value) ? { bytes: value.toString('base64') } : value;
}

function fromJson(value: unknown): unknown {
  if (typeof value !== 'object' || value === null) return value;
  const { int, bytes } = value as { int?: string; bytes?: string };
  return int === undefined ? Buffer.from(bytes ?? '', 'base64') : BigInt(int);
}

const SQLITE_TABLES = `SELECT name FROM sqlite_master WHERE type = 'table' AND name NOT LIKE 'sqlite_%' ORDER BY name`;

/** Also of one that a killed service has left, with its log. */
export function dumpSqlite(path: string): Dump {
  const db = openDatabase(path);
  try {
    const dump: Dump = { tables: {}, sequences: {} };
    for (const name of db.prepare<[], string>(SQLITE_TABLES).pluck().all() as string[]) {
      if (NOT_KEPT.includes(name)) continue;
      const rows = db.prepare(`SELECT * FROM "${name}"`).raw().safeIntegers();
      const columns = rows.columns().map((column) => column.name);
      dump.tables[name] = { columns, rows: rows.all().map((row) => (row as unknown[]).map(toJson)) };
    }
    return dump;
  } finally {
    db.close();
  }
}

/** Makes the file with the schema of its time, and the rows in it. */
export function loadSqlite(path: string, dump: Dump, { migrations, whole }: LoadOptions): void {
  const db = openDatabase(path);
  try {
    db.exec(`CREATE TABLE schema_migration
      (version INTEGER PRIMARY KEY, name TEXT NOT NULL, checksum TEXT NOT NULL, applied_at INTEGER NOT NULL)`);
    for (const { version, name, sql, checksum } of migrations) {
      db.exec(sql);
      db.prepare('INSERT INTO schema_migration VALUES (?, ?, ?, 0)').run(version, name, checksum);
    }
    const triggers = db
      .prepare<[], { name: string; sql: string }>(
        `SELECT name, sql FROM sqlite_master WHERE type = 'trigger'`,
      )
      .all();
    // They speak of changes; this is none.
    for (const { name } of triggers) db.exec(`DROP TRIGGER "${name}"`);
    const tables = db.prepare<[], string>(SQLITE_TABLES).pluck().all() as string[];
    if (whole) for (const table of Object.keys(dump.tables)) assert.ok(tables.includes(table), table);
    for (const table of tables) {
      const kept = dump.tables[table];
      if (kept === undefined) continue;
      const there = db.prepare<[string], string>('SELECT name FROM pragma_table_info(?)').pluck().all(table);
      const columns = columnsToLoad(table, kept.columns, there as string[], whole);
      db.exec(`DELETE FROM "${table}"`);
      const insert = db.prepare(
        `INSERT INTO "${table}" (${columns.map(({ name }) => `"${name}"`).join(', ')})
         VALUES (${columns.map(() => '?').join(', ')})`,
      );
      for (const row of kept.rows as unknown[][]) {
        insert.run(...columns.map(({ index }) => fromJson(row[index])));
      }
    }
    for (const { sql } of triggers) db.exec(sql);
  } finally {
    db.close();
  }
}

// ---------------------------------------------------------------- PostgreSQL

const POSTGRES_TABLES = `SELECT c.relname AS name, array_agg(a.attname::text ORDER BY a.attnum) AS columns
  FROM pg_class c JOIN pg_attribute a ON a.attrelid = c.oid AND a.attnum > 0 AND NOT a.attisdropped
  WHERE c.relnamespace = 'posthorn'::regnamespace AND c.relkind IN ('r', 'p') AND NOT c.relispartition
  GROUP BY c.relname ORDER BY c.relname`;

interface PostgresTable {
  name: string;
  columns: string[];
}

export async function dumpPostgres(database: PostgresDatabase): Promise<Dump> {
  const dump: Dump = { tables: {}, sequences: {} };
  for (const { name, columns } of await database.query<PostgresTable>(POSTGRES_TABLES)) {
    if (NOT_KEPT.includes(name)) continue;
    // As the server writes it: JavaScript would round large numbers.
    const rows = await database.query<{ row: string }>(
      `SELECT to_json(t)::text AS row FROM posthorn.${name} t`,
    );
    dump.tables[name] = { columns, rows: rows.map(({ row }) => row) };
  }
  const sequences = await database.query<{ name: string; value: string | null }>(
    `SELECT sequencename AS name, last_value::text AS value FROM pg_sequences WHERE schemaname = 'posthorn'`,
  );
  for (const { name, value } of sequences) if (value !== null) dump.sequences[name] = value;
  return dump;
}

/** Makes the schema of its time, and the rows in it. As a superuser. */
export async function loadPostgres(
  database: PostgresDatabase,
  dump: Dump,
  { migrations, whole }: LoadOptions,
): Promise<void> {
  await database.query('CREATE SCHEMA posthorn');
  await database.query(`CREATE TABLE posthorn.schema_migration (version integer PRIMARY KEY, name text NOT NULL,
    checksum text NOT NULL, applied_at timestamptz NOT NULL DEFAULT clock_timestamp())`);
  for (const { version, name, sql, checksum } of migrations) {
    await database.query(sql);
    await database.query(
      'INSERT INTO posthorn.schema_migration (version, name, checksum) VALUES ($1, $2, $3)',
      [version, name, checksum],
    );
  }
  // Triggers speak of changes; this is none.
  await database.query('SET session_replication_role = replica');
  const tables = await database.query<PostgresTable>(POSTGRES_TABLES);
  const names = tables.map(({ name }) => name);
  if (whole) for (const table of Object.keys(dump.tables)) assert.ok(names.includes(table), table);
  for (const { name, columns: there } of tables) {
    const kept = dump.tables[name];
    if (kept === undefined) continue;
    const columns = columnsToLoad(name, kept.columns, there, whole)
      .map((column) => column.name)
      .join(', ');
    await database.query(`DELETE FROM posthorn.${name}`);
    await database.query(
      `INSERT INTO posthorn.${name} (${columns}) OVERRIDING SYSTEM VALUE
       SELECT ${columns} FROM json_populate_recordset(NULL::posthorn.${name}, $1::json)`,
      [`[${(kept.rows as string[]).join(',')}]`],
    );
  }
  for (const [name, value] of Object.entries(dump.sequences)) {
    await database.query(
      `SELECT setval(format('posthorn.%I', $1::text)::regclass, $2::bigint)
       WHERE to_regclass(format('posthorn.%I', $1::text)) IS NOT NULL`,
      [name, value],
    );
  }
  await database.query('RESET session_replication_role');
}
