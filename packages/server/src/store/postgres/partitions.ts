/**
 * The days of the history as partitions: made ahead, emptied at once when a whole day is over, and dropped.
 *
 * Whoever changes partitions waits for their locks half a second at most, for everybody else waits behind: less than
 * PostgreSQL takes to look for a deadlock, so that it is never somebody else's transaction that is given up. What
 * can't be had now is tried again with the next purge.
 */
import type { EngineContext, Sql } from './engine.ts';
import { sqlStateOf } from './failures.ts';
import { ofEvent } from './rows.ts';

const DAY_MS = 86_400_000;
/** Today's and those of the next days: a service that stands still over a day finds its partition when it is back. */
const DAYS_AHEAD = 2;
const LOCK_TIMEOUT = `SET LOCAL lock_timeout = '500ms'`;
/** So many pages of events lose their keys in one transaction: some thousand events. */
const PAGES_A_STEP = 512;

/** The lock under which history is purged, within a transaction: "purg" in ASCII. */
const PURGE_LOCK = `${0x70757267}, 0`;

/** Couldn't get a lock in time; was given up for another's sake. */
const BUSY = new Set(['55P03', '40P01']);

/** A day that has partitions. */
export interface Day {
  /** `20260131`, in UTC: how its tables' names end. */
  name: string;
  /** Unix ms, inclusive and exclusive. */
  from: number;
  to: number;
}

/** True when no other node is purging; then none is until the end of the transaction. */
export async function takePurgeLock(sql: Sql): Promise<boolean> {
  const [row] = await sql.query<{ held: boolean }>(`SELECT pg_try_advisory_xact_lock(${PURGE_LOCK}) AS held`);
  return row?.held === true;
}

/** Runs one transaction under the purge's lock; null when that or another lock wasn't had in time. */
async function tryAlone<T>(
  context: Pick<EngineContext, 'transaction'>,
  run: (sql: Sql) => Promise<T>,
): Promise<T | null> {
  try {
    return await context.transaction(async (sql) => {
      await sql.query(LOCK_TIMEOUT);
      // The steps of another node's purge are short.
      await sql.query(`SELECT pg_advisory_xact_lock(${PURGE_LOCK})`);
      return run(sql);
    });
  } catch (error) {
    if (BUSY.has(sqlStateOf(error) ?? '')) return null;
    throw error;
  }
}

/**
 * The days from today on whose partitions have to be made, unix ms. A day whose first rows are in the default partitions
 * already stays there.
 */
export async function missingDays(sql: Sql): Promise<number[]> {
  const rows = await sql.query<{ at: number }>(
    `WITH t AS MATERIALIZED (SELECT posthorn.now_ms() AS now), day AS (
       SELECT t.now - t.now % ${DAY_MS} + n * ${DAY_MS} AS at FROM t, generate_series(0, ${DAYS_AHEAD}) n
     )
     SELECT at FROM day
     WHERE to_regclass('posthorn.event_' || to_char(to_timestamp(at / 1000) AT TIME ZONE 'UTC', 'YYYYMMDD')) IS NULL
       AND NOT EXISTS (SELECT 1 FROM posthorn.event_default WHERE created_at >= at AND created_at < at + ${DAY_MS})
       AND NOT EXISTS (SELECT 1 FROM posthorn.delivery_default WHERE event_at >= at AND event_at < at + ${DAY_MS})
       AND NOT EXISTS (SELECT 1 FROM posthorn.attempt_default WHERE event_at >= at AND event_at < at + ${DAY_MS})`,
  );
  return rows.map(({ at }) => at);
}

/** Makes the partitions of days; false when the tables can't be had now. */
export async function makeDays(
  context: Pick<EngineContext, 'transaction'>,
  days: readonly number[],
): Promise<boolean> {
  const done = await tryAlone(context, async (sql) => {
    // In the order in which settlements take them.
    await sql.query(
      'LOCK TABLE ONLY posthorn.delivery, ONLY posthorn.attempt, ONLY posthorn.event IN ACCESS EXCLUSIVE MODE',
    );
    await sql.query('SELECT posthorn.add_partitions(at) FROM unnest($1::bigint[]) at', [days]);
    return true;
  });
  return done === true;
}

/** The days with partitions that begin before a time (unix ms), oldest first. */
export async function daysBefore(sql: Sql, before: number): Promise<Day[]> {
  const rows = await sql.query<{ name: string }>(
    `SELECT right(relname, 8) AS name FROM pg_class
     WHERE relnamespace = 'posthorn'::regnamespace AND relispartition AND relkind = 'r'
       AND relname ~ '^event_[0-9]{8}$'
     ORDER BY relname`,
  );
  return rows
    .map(({ name }) => {
      const from = Date.UTC(Number(name.slice(0, 4)), Number(name.slice(4, 6)) - 1, Number(name.slice(6)));
      return { name, from, to: from + DAY_MS };
    })
    .filter(({ from }) => from < before);
}

/**
 * What the history takes on disk, in bytes with its indexes: of each day that has partitions, and of the rest under null.
 * The keys of events are counted nowhere: they are a few per cent.
 */
export async function bytesByDay(sql: Sql): Promise<Map<string | null, number>> {
  const rows = await sql.query<{ day: string | null; bytes: number }>(
    `SELECT substring(relname FROM '^(?:event|delivery|attempt)_([0-9]{8})$') AS day,
            sum(pg_total_relation_size(oid))::bigint AS bytes
     FROM pg_class
     WHERE relnamespace = 'posthorn'::regnamespace AND relispartition AND relkind = 'r'
       AND relname ~ '^(event|delivery|attempt)_([0-9]{8}|default)$'
     GROUP BY 1`,
  );
  return new Map(rows.map(({ day, bytes }) => [day, bytes]));
}

/** How many events or deliveries a day has, whichever are more; counted up to `most`. */
export async function sizeOfDay(sql: Sql, { name }: Day, most: number): Promise<number> {
  const [row] = await sql.query<{ size: number }>(
    `SELECT greatest((SELECT count(*) FROM (SELECT 1 FROM posthorn.event_${name} LIMIT $1) e),
                     (SELECT count(*) FROM (SELECT 1 FROM posthorn.delivery_${name} LIMIT $1) d)) AS size`,
    [most],
  );
  return row?.size ?? 0;
}

/** How many deliveries of a day are unfinished or ended at `before` or later; counted up to `most`. */
export async function survivorsOfDay(
  sql: Sql,
  { name, from, to }: Day,
  before: number,
  most: number,
): Promise<number> {
  const [row] = await sql.query<{ survivors: number }>(
    `SELECT count(*) AS survivors FROM (
       SELECT 1 FROM posthorn.queue WHERE event_at >= $1 AND event_at < $2
       UNION ALL
       SELECT 1 FROM posthorn.delivery_${name} WHERE completed_at >= $3
       LIMIT $4
     ) s`,
    [from, to, before, most],
  );
  return row?.survivors ?? 0;
}

/**
 * Empties a day that is over in one go, but for the deliveries that are unfinished or ended at `before` or later, their
 * events and attempts. Answers how many events' ids it made free; null when its tables can't be had now.
 *
 * The keys go first, step by step: an event without its key is still whole, but for being found by its id, while a key
 * without its event would stand in the way of whoever publishes that id. Then nobody may write to the day's tables
 * (others hardly ever do) while it is looked up what stays, and they are locked for readers only for the moment of the
 * truncation itself.
 */
export async function truncateDay(context: EngineContext, day: Day, before: number): Promise<number | null> {
  const { name, from, to } = day;
  const [size] = await context.query<{ pages: number }>(
    `SELECT pg_relation_size('posthorn.event_${name}') / current_setting('block_size')::integer AS pages`,
  );
  let freed = 0;
  for (let page = 0; page < (size?.pages ?? 0); page += PAGES_A_STEP) {
    freed += await context.transaction((sql) => freeKeys(sql, day, before, page));
  }
  const done = await tryAlone(context, async (sql) => {
    await sql.query(LOOK_UP_BY_INDEX);
    await sql.query(`DO $$ BEGIN
      LOCK TABLE posthorn.delivery_${name}, posthorn.attempt_${name}, posthorn.event_${name} IN EXCLUSIVE MODE;
      CREATE UNLOGGED TABLE posthorn.kept_delivery AS
        SELECT * FROM posthorn.delivery_${name} WHERE completed_at >= ${before};
      CREATE UNLOGGED TABLE posthorn.kept AS
        SELECT username, delivery_id, event_at, event_seq FROM posthorn.queue
        WHERE event_at >= ${from} AND event_at < ${to}
        UNION ALL
        SELECT username, delivery_id, event_at, event_seq FROM posthorn.kept_delivery;
      CREATE UNLOGGED TABLE posthorn.kept_event AS
        SELECT e.* FROM (SELECT DISTINCT username, event_at, event_seq FROM posthorn.kept) k
        JOIN posthorn.event_${name} e
          ON e.username = k.username AND e.created_at = k.event_at AND e.seq = k.event_seq;
      CREATE UNLOGGED TABLE posthorn.kept_attempt AS
        SELECT a.* FROM posthorn.kept k
        JOIN posthorn.attempt_${name} a ON a.username = k.username AND a.delivery_id = k.delivery_id;
      -- Of what was revived since its key went.
      INSERT INTO posthorn.event_key (username, event_id, created_at, seq)
        SELECT username, event_id, created_at, seq FROM posthorn.kept_event ON CONFLICT DO NOTHING;
      TRUNCATE posthorn.delivery_${name}, posthorn.attempt_${name}, posthorn.event_${name};
      INSERT INTO posthorn.delivery_${name} SELECT * FROM posthorn.kept_delivery;
      INSERT INTO posthorn.event_${name} SELECT * FROM posthorn.kept_event;
      INSERT INTO posthorn.attempt_${name} SELECT * FROM posthorn.kept_attempt;
      DROP TABLE posthorn.kept, posthorn.kept_delivery, posthorn.kept_event, posthorn.kept_attempt;
    END $$`);
    return true;
  });
  return done === null ? null : freed;
}

/**
 * Without statistics of what was just made or will just be emptied the planner may want to read whole tables. What a
 * purge looks up has an index each time.
 */
export const LOOK_UP_BY_INDEX = `SELECT set_config('enable_hashjoin', 'off', true), set_config('enable_mergejoin', 'off', true)`;

const E = { username: 'e.username', id: 'e.event_id', createdAt: 'e.created_at', seq: 'e.seq' };

async function freeKeys(sql: Sql, { name }: Day, before: number, page: number): Promise<number> {
  await sql.query(LOOK_UP_BY_INDEX);
  const [row] = await sql.query<{ freed: number }>(
    `WITH freed AS (
       DELETE FROM posthorn.event_key k USING posthorn.event_${name} e
       WHERE e.ctid >= '(${page},0)'::tid AND e.ctid < '(${page + PAGES_A_STEP},0)'::tid
         AND k.username = e.username AND k.event_id = e.event_id AND k.seq = e.seq
         AND NOT EXISTS (SELECT 1 FROM posthorn.queue q WHERE ${ofEvent('q', E)} OFFSET 0)
         AND NOT EXISTS (SELECT 1 FROM posthorn.delivery_${name} d WHERE ${ofEvent('d', E)} AND d.completed_at >= $1 OFFSET 0)
       RETURNING 1
     )
     SELECT count(*) AS freed FROM freed`,
    [before],
  );
  return row?.freed ?? 0;
}

/** Drops a day's partitions and moves what they still hold to the default ones; false when they can't be had now. */
export async function dropDay(context: EngineContext, { name }: Day): Promise<boolean> {
  const done = await tryAlone(context, async (sql) => {
    // One statement: everybody waits for it.
    await sql.query(`DO $$ DECLARE v_table text; BEGIN
      LOCK TABLE ONLY posthorn.delivery, ONLY posthorn.attempt, ONLY posthorn.event IN ACCESS EXCLUSIVE MODE;
      FOREACH v_table IN ARRAY ARRAY['delivery', 'attempt', 'event'] LOOP
        EXECUTE format('ALTER TABLE posthorn.%I DETACH PARTITION posthorn.%I', v_table, v_table || '_${name}');
        EXECUTE format('INSERT INTO posthorn.%I SELECT * FROM posthorn.%I', v_table, v_table || '_${name}');
        -- Whoever may use the schema can make a view or a column of a partition's row type: that mustn't keep the day.
        EXECUTE format('DROP TABLE posthorn.%I CASCADE', v_table || '_${name}');
      END LOOP;
    END $$`);
    return true;
  });
  return done === true;
}
