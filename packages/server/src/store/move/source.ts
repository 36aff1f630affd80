import { createHash } from 'node:crypto';
import { existsSync } from 'node:fs';
import { PosthornError, unavailable } from '../../errors.ts';
import {
  appliedMigrations,
  type Database,
  lockDatabase,
  missingMigrations,
  openDatabase,
  toPosthornError,
} from '../sqlite/database.ts';
import { RowSum, type Value } from './row-sum.ts';
import { type Column, MOVED_TABLES, type MovedTable } from './tables.ts';

/** A batch ends with the row that reaches one of these. */
export interface BatchLimits {
  rows: number;
  /** Of text. */
  chars: number;
}

export interface Batch {
  rows: Value[][];
  /** The key of its last row. */
  after: Value[];
}

export interface Survey {
  /** Rows by table. */
  rows: Map<string, number>;
  /** Changes whenever a service works on the file: a fingerprint of everything but the history, and of its extent. */
  contents: string;
  /** The highest `event.seq` and `event_type.position`; 0 without one. */
  lastSeq: number;
  lastPosition: number;
}

/** Rows of these are added and deleted, never changed. */
const HISTORY = new Set(['event', 'event_key', 'delivery', 'attempt']);

/**
 * An SQLite file that is moved: locked against services, opened read-only, and read as of one moment.
 */
export class Source {
  readonly path: string;
  readonly #db: Database;
  readonly #lock: { unlock(): void };

  private constructor(path: string, db: Database, lock: { unlock(): void }) {
    this.path = path;
    this.#db = db;
    this.#lock = lock;
  }

  /**
   * @throws PosthornError `unavailable` when there is no such file, a service has it open, or its schema is another than
   *   this version's
   */
  static open(path: string): Source {
    if (!existsSync(path)) throw unavailable(`there is no file ${path} to move from`);
    const lock = lockDatabase(path);
    try {
      const db = openDatabase(path, { readonly: true });
      try {
        checkSchema(path, db);
        db.exec('BEGIN');
        return new Source(path, db, lock);
      } catch (error) {
        db.close();
        throw toPosthornError(error);
      }
    } catch (error) {
      lock.unlock();
      throw error;
    }
  }

  close(): void {
    this.#db.close();
    this.#lock.unlock();
  }

  /** Tells this database from others, wherever its file lies: when its schema was made, and the encryption key's id. */
  get identity(): string {
    const schema = this.#db.prepare('SELECT * FROM schema_migration ORDER BY version').all();
    const key = this.#db.prepare(`SELECT value FROM meta WHERE name = 'encryption_key_id'`).get();
    return fingerprint([schema, key ?? null]);
  }

  survey(): Survey {
    const rows = new Map<string, number>();
    const facts: unknown[] = [];
    for (const table of MOVED_TABLES) {
      if (HISTORY.has(table.name)) {
        const extent = this.#db
          .prepare<[], { rows: number; last: number | null }>(
            `SELECT count(*) AS rows, min(t.seq) AS first, max(t.seq) AS last FROM ${plainFrom(table)}`,
          )
          .get() as { rows: number };
        rows.set(table.name, extent.rows);
        facts.push([table.name, extent]);
      } else {
        const sum = new RowSum();
        for (const row of this.#rows(table)) sum.add('', JSON.stringify(row));
        rows.set(table.name, sum.rows);
        facts.push([table.name, sum.rows, sum.checksum]);
      }
    }
    return {
      rows,
      contents: fingerprint(facts),
      lastSeq: this.#max('event', 'seq'),
      lastPosition: this.#max('event_type', 'position'),
    };
  }

  /** The rows after a key in the order of the key, as the target should have them; null when there are none. */
  read(table: MovedTable, after: Value[] | null, limits: BatchLimits): Batch | null {
    const rows: Value[][] = [];
    let last: Value[] = [];
    let chars = 0;
    const width = table.columns.length;
    const parameters = after === null ? [limits.rows] : [...after, limits.rows];
    for (const found of this.#statement(table, after !== null).iterate(...parameters)) {
      const row = toTarget(table, found.slice(0, width));
      rows.push(row);
      last = found.slice(width);
      for (const value of row) if (typeof value === 'string') chars += value.length;
      if (chars >= limits.chars) break;
    }
    return rows.length === 0 ? null : { rows, after: last };
  }

  *#rows(table: MovedTable): Generator<Value[]> {
    for (const found of this.#statement(table, false).iterate(-1)) {
      yield toTarget(table, found.slice(0, table.columns.length));
    }
  }

  #statement(table: MovedTable, isContinued: boolean) {
    const key = table.key.map((column) => `t.${column}`).join(', ');
    const columns = table.columns.map(({ name, sql }) => `${sql} AS ${name}`).join(', ');
    const where = isContinued ? `WHERE (${key}) > (${table.key.map(() => '?').join(', ')})` : '';
    return this.#db
      .prepare<unknown[], Value[]>(
        `SELECT ${columns}, ${key} FROM ${table.from} ${where} ORDER BY ${key} LIMIT ?`,
      )
      .raw();
  }

  #max(table: string, column: string): number {
    const row = this.#db
      .prepare<[], { max: number | null }>(`SELECT max(${column}) AS max FROM ${table}`)
      .get();
    return row?.max ?? 0;
  }
}

/** Without what its columns are joined with. */
function plainFrom({ from }: MovedTable): string {
  return from.split(' ', 2).join(' ');
}

function fingerprint(facts: unknown): string {
  return createHash('sha256').update(JSON.stringify(facts)).digest('hex').slice(0, 32);
}

function checkSchema(path: string, db: Database): void {
  const version = appliedMigrations(db).at(-1)?.version ?? 0;
  if (version === 0) {
    throw unavailable(
      `${path} holds no data of Posthorn: give the database file of the service that is to be moved`,
    );
  }
  let missing: number;
  try {
    missing = missingMigrations(db).length;
  } catch (error) {
    throw error instanceof PosthornError ? unavailable(`${path}: ${error.message}`, error) : error;
  }
  if (missing === 0) return;
  throw unavailable(
    `${path} has schema version ${version}, and this version of Posthorn moves version ${version + missing}: run ` +
      `posthorn migrate --database-url sqlite:${path} first`,
  );
}

const NUL = /\0/g;

function toTarget(table: MovedTable, row: Value[]): Value[] {
  for (const [i, column] of table.columns.entries()) {
    const value = row[i];
    if (typeof value === 'string') row[i] = toTargetText(table, column, value, row);
  }
  return row;
}

function toTargetText(table: MovedTable, { name, kind }: Column, text: string, row: Value[]): string {
  if (kind === 'written') return JSON.stringify(text);
  if (kind === 'bytes') return Buffer.from(text).toString('base64');
  if (!text.includes('\0')) return text;
  if (kind === 'note') return text.replace(NUL, '\ufffd');
  throw new PosthornError(
    'invalid_parameter',
    `${name} of ${table.name} ${rowName(table, row)} holds U+0000, which PostgreSQL can't keep: take it out first`,
  );
}

/** The row as a person would look for it; also what says on both sides that two rows are the same one. */
export function rowName(table: MovedTable, row: readonly Value[]): string {
  return table.id.map((column) => row[table.columns.findIndex(({ name }) => name === column)]).join(' ');
}
