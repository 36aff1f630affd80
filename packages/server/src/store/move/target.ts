import { PosthornError, unavailable } from '../../errors.ts';
import { PostgresPool } from '../postgres/connection.ts';
import type { Sql } from '../postgres/engine.ts';
import { appliedSchema, knownSchemaVersion, migrate } from '../postgres/migrate.ts';
import { MARK, type MoveMark, readMark } from './mark.ts';
import type { Value } from './row-sum.ts';
import type { Survey } from './source.ts';
import { type ColumnKind, MOVED_TABLES, type MovedTable } from './tables.ts';

/** A batch of large bodies or the statistics of a long history on a slow disk may take a while. */
const STATEMENT_TIMEOUT_MS = 10 * 60_000;
/** A node that told of itself within this time may be alive; those that end in order say so. */
const NODE_SILENCE_SECONDS = 30;
const ROWS_A_FETCH = 2_000;
const DAY_MS = 24 * 60 * 60_000;

const TYPES: Record<ColumnKind, string> = {
  text: 'text',
  written: 'text',
  note: 'text',
  bytes: 'text', // base 64
  integer: 'bigint',
  real: 'double precision',
  boolean: 'boolean',
};

/** What begins a move. */
export type NewMark = Pick<MoveMark, 'source' | 'contents' | 'from'>;

/** The PostgreSQL database that is moved to. */
export class Target {
  readonly #url: string;
  readonly #pool: PostgresPool;
  /** Days whose partitions are there. */
  readonly #days = new Set<number>();

  /** @throws PosthornError `invalid_parameter` when the URL isn't one */
  constructor(url: string) {
    this.#url = url;
    this.#pool = new PostgresPool({ url, poolSize: 2, statementTimeoutMs: STATEMENT_TIMEOUT_MS });
  }

  /** Without user and password. */
  get server(): string {
    return this.#pool.server;
  }

  async close(): Promise<void> {
    await this.#pool.close();
  }

  /** @throws PosthornError `unavailable` when the server or its database can't be used, or is newer than this version */
  async migrate(): Promise<void> {
    try {
      await migrate(this.#pool);
    } catch (error) {
      throw error instanceof PosthornError && error.kind === 'unavailable'
        ? unavailable(`the target: ${error.message}`, error)
        : error;
    }
  }

  /** @throws PosthornError `unavailable` when it can't be used, or its schema is another than this version's */
  async checkSchema(): Promise<void> {
    const version = (await appliedSchema(this.#url)).at(-1)?.version ?? 0;
    const known = knownSchemaVersion();
    if (version === known || version === 0) return;
    throw unavailable(
      version > known
        ? `the target has schema version ${version}, this version of Posthorn knows ${known}: start a newer Posthorn`
        : `the target has schema version ${version}, and this version of Posthorn compares version ${known}: run posthorn ` +
            'migrate --database-url with its URL first',
    );
  }

  /** The mark, after what a killed run had sent last is committed or undone. */
  readMark(): Promise<MoveMark | null> {
    return this.#pool.transaction(async (sql) => {
      const [held] = await sql.query(`SELECT to_regclass('posthorn.meta') IS NOT NULL AS held`);
      if (held?.held !== true) return null;
      await sql.query('SELECT FROM posthorn.meta WHERE name = $1 FOR UPDATE', [MARK]);
      return readMark(sql);
    });
  }

  /**
   * Marks an empty database as the target of a move, from when on no service opens it, and sets its counters beyond what
   * will be copied.
   *
   * @throws PosthornError `conflict` when it holds data or a service has it open
   */
  begin({ source, contents, from }: NewMark, { lastSeq, lastPosition }: Survey): Promise<MoveMark> {
    return this.#pool.transaction(async (sql) => {
      // A service registers before it looks for a mark: it waits here and finds the mark, or is found.
      await sql.query('LOCK TABLE posthorn.node IN SHARE ROW EXCLUSIVE MODE');
      await refuseForeign(sql, this.server);
      const [row] = await sql.query<{ now: number }>('SELECT posthorn.now_ms() AS now');
      const mark: MoveMark = {
        source,
        contents,
        from,
        begunAt: row?.now ?? 0,
        table: MOVED_TABLES[0]?.name ?? null,
        after: null,
        rows: 0,
        finishedAt: null,
      };
      await sql.query('INSERT INTO posthorn.meta (name, value) VALUES ($1, $2)', [
        MARK,
        JSON.stringify(mark),
      ]);
      if (lastSeq > 0) await sql.query(`SELECT setval('posthorn.event_seq', $1)`, [lastSeq]);
      if (lastPosition > 0) {
        await sql.query(`SELECT setval(pg_get_serial_sequence('posthorn.event_type', 'position'), $1)`, [
          lastPosition,
        ]);
      }
      return mark;
    });
  }

  /**
   * Copies rows and moves the mark on, both or neither.
   *
   * @throws PosthornError `conflict` when another process has moved the mark on
   */
  async write(table: MovedTable, rows: readonly Value[][], before: MoveMark, after: MoveMark): Promise<void> {
    await this.#addPartitions(table, rows);
    const { columns } = table;
    const names = columns.map(({ name }) => name);
    const values = columns.map(({ name, kind }) =>
      kind === 'bytes' ? `decode(r.${name}, 'base64')` : `r.${name}::${TYPES[kind]}`,
    );
    // Arrays by column: several times as fast as an array of objects.
    const arrays = columns.map((_, i) => `json_array_elements_text($${i + 4}::json)`);
    await this.#moveMark(
      `, copied AS (
         INSERT INTO posthorn.${table.name} (${names.join(', ')})
         OVERRIDING SYSTEM VALUE
         SELECT ${values.join(', ')}
         FROM ROWS FROM (${arrays.join(', ')}) AS r(${names.join(', ')})
         WHERE EXISTS (SELECT FROM marked))`,
      before,
      after,
      columns.map((_, i) => JSON.stringify(rows.map((row) => row[i]))),
    );
  }

  /** Moves the mark on over the end of a table. */
  async setMark(before: MoveMark, after: MoveMark): Promise<void> {
    await this.#moveMark('', before, after, []);
  }

  /** What the planner must know of a database that was filled at once. */
  async analyze(): Promise<void> {
    await this.#pool.query(`ANALYZE ${MOVED_TABLES.map(({ name }) => `posthorn.${name}`).join(', ')}`);
  }

  /** Opens the target to services. */
  async finish(mark: MoveMark): Promise<MoveMark> {
    const [row] = await this.#pool.query<{ now: number }>('SELECT posthorn.now_ms() AS now');
    const finished = { ...mark, finishedAt: row?.now ?? 0 };
    await this.setMark(mark, finished);
    return finished;
  }

  /**
   * Gathers all rows of a table, in any order, as the source would have them.
   *
   * @param make - what they are gathered in; made anew when PostgreSQL gave the reading up for another's sake
   */
  scan<T>(table: MovedTable, make: () => T, take: (into: T, row: Value[]) => void): Promise<T> {
    const columns = table.columns.map(({ name }) => name);
    const where = table.where === undefined ? '' : `WHERE ${table.where}`;
    return this.#pool.transaction(async (sql) => {
      const into = make();
      await sql.query(
        `DECLARE moved NO SCROLL CURSOR FOR SELECT ${columns.join(', ')} FROM posthorn.${table.name} ${where}`,
      );
      const fetch = () => sql.query<Record<string, unknown>>(`FETCH ${ROWS_A_FETCH} FROM moved`);
      // The server reads on while these are looked at.
      for (let rows = await fetch(); rows.length > 0; ) {
        const fetched = fetch();
        fetched.catch(() => {}); // awaited below, unless one of the rows can't be taken
        for (const row of rows) {
          take(
            into,
            columns.map((column) => comparable(row[column])),
          );
        }
        rows = await fetched;
      }
      return into;
    });
  }

  async #moveMark(withAlso: string, before: MoveMark, after: MoveMark, values: unknown[]): Promise<void> {
    const [row] = await this.#pool.query<{ moved: number }>(
      `WITH marked AS (
         UPDATE posthorn.meta SET value = $3 WHERE name = $1 AND value = $2 RETURNING 1
       )${withAlso}
       SELECT count(*) AS moved FROM marked`,
      [MARK, JSON.stringify(before), JSON.stringify(after), ...values],
    );
    if (row?.moved === 1) return;
    throw new PosthornError(
      'conflict',
      'the move has gone on meanwhile without this process: another one moves to the same database, or the server had ' +
        'still been at work for a run that was interrupted. If no other is running, run this again',
    );
  }

  async #addPartitions({ day, columns }: MovedTable, rows: readonly Value[][]): Promise<void> {
    if (day === undefined) return;
    const index = columns.findIndex(({ name }) => name === day);
    const missing = new Set<number>();
    for (const row of rows) {
      const at = Math.floor((row[index] as number) / DAY_MS);
      if (!this.#days.has(at)) missing.add(at);
    }
    if (missing.size === 0) return;
    await this.#pool.query('SELECT posthorn.add_partitions(at) FROM unnest($1::bigint[]) AS d(at)', [
      [...missing].map((at) => at * DAY_MS),
    ]);
    for (const at of missing) this.#days.add(at);
  }
}

async function refuseForeign(sql: Sql, server: string): Promise<void> {
  const [node] = await sql.query<{ name: string }>(
    'SELECT name FROM posthorn.node WHERE seen_at > clock_timestamp() - make_interval(secs => $1) LIMIT 1',
    [NODE_SILENCE_SECONDS],
  );
  if (node !== undefined) {
    throw new PosthornError(
      'conflict',
      `a Posthorn service (${node.name}) has ${server} open: stop it, and give an empty database to move to`,
    );
  }
  const held: string[] = [];
  for (const { name } of MOVED_TABLES) {
    const found = await sql.query(`SELECT FROM posthorn.${name} LIMIT 1`);
    if (found.length > 0) held.push(name);
  }
  if (held.length === 0) return;
  throw new PosthornError(
    'conflict',
    `${server} holds data of another service already (${held.join(', ')}): give an empty database to move to, or empty ` +
      'this one with DROP SCHEMA posthorn CASCADE if nobody needs it',
  );
}

function comparable(value: unknown): Value {
  if (typeof value === 'boolean') return value ? 1 : 0;
  return Buffer.isBuffer(value) ? value.toString('base64') : (value as Value);
}
