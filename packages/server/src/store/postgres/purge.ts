import { TELL_EVERY_MS } from '../circuit.ts';
import { ALL_ACCOUNTS, STAT_INTERVAL_MS, STAT_MINUTES_KEPT_MS, SUMMED_UNTIL } from '../statistics.ts';
import type { EngineContext, Operations, Sql } from './engine.ts';
import { sqlStateOf } from './failures.ts';
import { ofEvent } from './rows.ts';
import {
  bytesByDay,
  type Day,
  daysBefore,
  dropDay,
  LOOK_UP_BY_INDEX,
  makeDays,
  missingDays,
  sizeOfDay,
  survivorsOfDay,
  takePurgeLock,
  truncateDay,
} from './partitions.ts';

const HOUR_MS = 3_600_000;
const DAY_MS = 24 * HOUR_MS;

/** A day that is over and has more events or deliveries than these goes at once, a smaller one row by row. */
const BIG_DAY_ROWS = 10_000;
/** What outlives its day is moved while everybody waits: a day with more of it keeps its partitions. */
const MOVED_ROWS = 2_000;

/** The tables of an account, in an order in which nothing refers to what is gone. */
const ACCOUNT_TABLES: [name: string, storage: 'partitioned' | 'plain'][] = [
  ['queue', 'plain'],
  ['attempt', 'partitioned'],
  ['delivery', 'partitioned'],
  ['event', 'partitioned'],
  ['event_key', 'plain'],
  ['replay', 'plain'],
  ['lane', 'plain'],
  ['lane_call', 'plain'],
  ['failing_endpoint', 'plain'],
  ['subscription', 'plain'],
  ['endpoint', 'plain'],
  ['api_key', 'plain'],
  ['stat', 'plain'],
];

/**
 * After how long partitions are tried for again whose locks couldn't be had: whoever reads them for so long, a backup for
 * example, mustn't make everybody else wait each minute.
 */
const PARTITIONS_AGAIN_MS = 10 * 60_000;

/** Another node dropped the day meanwhile. */
const UNDEFINED_TABLE = '42P01';

/** Looks for a transaction that may still have published for a deleted account: so often, and so long in between. */
const LOOKS_FOR_OLDER = 10;
const LOOK_PAUSE_SECONDS = 0.05;

/** Where in the table `meta` it says up to which hour statistics have been merged, unix ms. */
const MERGED_UNTIL = 'statistics_merged_until';

/** Windows of rate limits are over after a day at the latest. */
const RATE_WINDOW_KEPT_MS = DAY_MS;

async function countOf(sql: Sql, text: string, values: readonly unknown[] = []): Promise<number> {
  const [row] = await sql.query<{ n: number }>(text, values);
  return row?.n ?? 0;
}

/** Unix ms. */
function nowOf(sql: Sql): Promise<number> {
  return countOf(sql, 'SELECT posthorn.now_ms() AS n');
}

/** Deletes rows of a table that isn't partitioned; `where` may speak of $2 and further `values`. */
function deleteRows(
  sql: Sql,
  table: string,
  where: string,
  limit: number,
  values: readonly unknown[] = [],
): Promise<number> {
  // What somebody else has in hand is left for the next time.
  return countOf(
    sql,
    `WITH gone AS (
       DELETE FROM ${table} WHERE ctid = ANY (ARRAY(
         SELECT ctid FROM ${table} WHERE ${where} LIMIT $1 FOR UPDATE SKIP LOCKED))
       RETURNING 1
     )
     SELECT count(*) AS n FROM gone`,
    [limit, ...values],
  );
}

// ---------------------------------------------------------------- deleted accounts

/** Rows of deleted accounts, `limit` at most; an account itself when nothing of it is left. */
async function purgeAccounts(sql: Sql, limit: number): Promise<number> {
  const accounts = await sql.query<{ username: string }>(
    `SELECT username FROM posthorn.account WHERE status = 'deleted' ORDER BY username LIMIT 100`,
  );
  let deleted = 0;
  for (const { username } of accounts) {
    for (const [table, storage] of ACCOUNT_TABLES) {
      while (deleted < limit) {
        const part = storage === 'plain' ? `posthorn.${table}` : await partOf(sql, table, username);
        if (part === null) break;
        const gone = await deleteRows(sql, part, 'username = $2', limit - deleted, [username]);
        deleted += gone;
        if (gone === 0) break;
      }
    }
    if (deleted >= limit) break;
    deleted += await forgetSums(sql, username, limit - deleted);
    if (deleted >= limit) break;
    deleted += await deleteAccountRow(sql, username);
  }
  return deleted;
}

/** Sums of a deleted account, taken out of those over all accounts. */
function forgetSums(sql: Sql, username: string, limit: number): Promise<number> {
  return countOf(
    sql,
    `WITH own AS (
       DELETE FROM posthorn.stat_sum WHERE ctid = ANY (ARRAY(
         SELECT ctid FROM posthorn.stat_sum WHERE username = $1 LIMIT $2))
       RETURNING at, outcome, latency, count
     ), less AS (
       UPDATE posthorn.stat_sum s SET count = s.count - own.count FROM own
       WHERE s.username = '${ALL_ACCOUNTS}' AND s.at = own.at AND s.outcome = own.outcome AND s.latency = own.latency
     )
     SELECT count(*) AS n FROM own`,
    [username, limit],
  );
}

/** A partition of a table that has rows of an account. */
async function partOf(sql: Sql, table: string, username: string): Promise<string | null> {
  const [row] = await sql.query<{ part: string }>(
    `SELECT tableoid::regclass::text AS part FROM posthorn.${table} WHERE username = $1 LIMIT 1`,
    [username],
  );
  return row?.part ?? null;
}

/** Not before all transactions have ended that may have seen the account and write for it. */
function deleteAccountRow(sql: Sql, username: string): Promise<number> {
  const empty = ACCOUNT_TABLES.map(
    ([table]) => `NOT EXISTS (SELECT 1 FROM posthorn.${table} WHERE username = $1)`,
  );
  return countOf(
    sql,
    `WITH gone AS (
       DELETE FROM posthorn.account
       WHERE username = $1 AND status = 'deleted' 
         AND (deleted_xid IS NULL OR deleted_xid < pg_snapshot_xmin(pg_current_snapshot()))
         AND ${empty.join(' AND ')}
       RETURNING 1
     )
     SELECT count(*) AS n FROM gone`,
    [username],
  );
}

// ---------------------------------------------------------------- history, row by row

/** @param part - how the names of three tables end: a day, or `default` */
async function purgePart(sql: Sql, part: string, before: number, limit: number): Promise<number> {
  const [finished] = await sql.query<{ deliveries: number; attempts: number }>(
    `WITH gone AS (
       DELETE FROM posthorn.delivery_${part} WHERE ctid = ANY (ARRAY(
         SELECT ctid FROM posthorn.delivery_${part} WHERE completed_at < $1 LIMIT $2 FOR UPDATE SKIP LOCKED))
       RETURNING username, delivery_id
     ), logs AS (
       DELETE FROM posthorn.attempt_${part} a USING gone g
       WHERE a.username = g.username AND a.delivery_id = g.delivery_id
       RETURNING 1
     )
     SELECT (SELECT count(*) FROM gone) AS deliveries, (SELECT count(*) FROM logs) AS attempts`,
    [before, limit],
  );
  const deleted = (finished?.deliveries ?? 0) + (finished?.attempts ?? 0);
  return deleted >= limit ? deleted : deleted + (await purgeEvents(sql, part, before, limit - deleted));
}

const E = { username: 'e.username', id: 'e.event_id', createdAt: 'e.created_at', seq: 'e.seq' };

async function purgeEvents(sql: Sql, part: string, before: number, limit: number): Promise<number> {
  // Fenced by OFFSET 0: each look-up is planned by itself and takes the index on the event's id.
  const undelivered = `NOT EXISTS (SELECT 1 FROM posthorn.queue q WHERE ${ofEvent('q', E)} OFFSET 0)
    AND NOT EXISTS (SELECT 1 FROM posthorn.delivery_${part} d WHERE ${ofEvent('d', E)} OFFSET 0)`;
  const held = await sql.query<{ place: string }>(
    `SELECT e.ctid::text AS place FROM posthorn.event_${part} e WHERE e.created_at < $1 AND ${undelivered}
     LIMIT $2 FOR UPDATE OF e SKIP LOCKED`,
    [before, limit],
  );
  if (held.length === 0) return 0;
  // Once more, now that no replay can make a delivery of them: one may have done so since the look.
  return countOf(
    sql,
    `WITH gone AS (
       DELETE FROM posthorn.event_${part} e WHERE e.ctid = ANY ($1::tid[]) AND ${undelivered}
       RETURNING username, event_id, seq
     ), freed AS (
       DELETE FROM posthorn.event_key k USING gone g
       WHERE k.username = g.username AND k.event_id = g.event_id AND k.seq = g.seq
     )
     SELECT count(*) AS n FROM gone`,
    [held.map(({ place }) => place)],
  );
}

// ---------------------------------------------------------------- the rest

async function purgeRest(sql: Sql, before: number, limit: number, now: number): Promise<number> {
  const statBefore = before - (before % STAT_INTERVAL_MS) - HOUR_MS;
  let deleted = await deleteRows(sql, 'posthorn.stat', 'at < $2', limit, [statBefore]);
  deleted += await deleteRows(sql, 'posthorn.stat_sum', 'at < $2', limit, [statBefore]);
  deleted += await deleteRows(sql, 'posthorn.replay', `created_at < $2 AND status <> 'running'`, limit, [
    before,
  ]);
  deleted += await deleteRows(
    sql,
    'posthorn.endpoint',
    `status = 'deleted' AND deleted_at < $2
     AND NOT EXISTS (SELECT 1 FROM posthorn.queue q
       WHERE q.username = endpoint.username AND q.endpoint_id = endpoint.endpoint_id OFFSET 0)
     AND NOT EXISTS (SELECT 1 FROM posthorn.delivery d
       WHERE d.username = endpoint.username AND d.endpoint_id = endpoint.endpoint_id OFFSET 0)`,
    limit,
    [before],
  );
  deleted += await countOf(
    sql,
    `WITH expired AS (
       UPDATE posthorn.endpoint SET previous_secret = NULL, previous_secret_expires_at = NULL
       WHERE previous_secret_expires_at <= $1
       RETURNING 1
     )
     SELECT count(*) AS n FROM expired`,
    [now],
  );
  await deleteRows(
    sql,
    'posthorn.lane',
    `NOT EXISTS (SELECT 1 FROM posthorn.endpoint e
       WHERE e.username = lane.username AND e.endpoint_id = lane.endpoint_id)`,
    limit,
  );
  await deleteRows(
    sql,
    'posthorn.lane_call',
    `NOT EXISTS (SELECT 1 FROM posthorn.lane l
       WHERE l.username = lane_call.username AND l.endpoint_id = lane_call.endpoint_id)`,
    limit,
  );
  // Those that have recovered: nothing that was told of them matters any more.
  await deleteRows(sql, 'posthorn.failing_endpoint', 'failures = 0 AND coalesce(told_at, 0) <= $2', limit, [
    now - TELL_EVERY_MS,
  ]);
  await deleteRows(sql, 'posthorn.rate_window', 'began_at < $2', limit, [now - RATE_WINDOW_KEPT_MS]);
  if (await mergeHour(sql, now)) deleted += 1;
  if (await sumHour(sql, now)) deleted += 1;
  return deleted;
}

/** Notes in meta before which hour a chore on statistics is done. */
async function setMark(sql: Sql, name: typeof MERGED_UNTIL | typeof SUMMED_UNTIL, at: number): Promise<void> {
  await sql.query(
    `INSERT INTO posthorn.meta (name, value) VALUES ('${name}', $1)
     ON CONFLICT (name) DO UPDATE SET value = excluded.value`,
    [at],
  );
}

/**
 * Makes one hour's statistics by the minute, of all nodes, one of the hour, when they are old enough; answers whether
 * there was one. What is counted later for an hour that is merged stays by the minute.
 */
async function mergeHour(sql: Sql, now: number): Promise<boolean> {
  const [next] = await sql.query<{ at: number }>(
    `SELECT at FROM posthorn.stat
     WHERE at >= coalesce((SELECT value::bigint FROM posthorn.meta WHERE name = '${MERGED_UNTIL}'), 0) AND at < $1
     ORDER BY at LIMIT 1`,
    [now - STAT_MINUTES_KEPT_MS],
  );
  if (next === undefined) return false;
  const hour = next.at - (next.at % HOUR_MS);
  await sql.query(
    `WITH minutes AS (
       DELETE FROM posthorn.stat WHERE at >= $1 AND at < $2 RETURNING *
     )
     INSERT INTO posthorn.stat (username, at, endpoint_id, event, outcome, latency, node, count)
     SELECT username, $1, endpoint_id, event, outcome, latency, 0, sum(count) FROM minutes
     GROUP BY username, endpoint_id, event, outcome, latency`,
    [hour, hour + HOUR_MS],
  );
  await setMark(sql, MERGED_UNTIL, hour + HOUR_MS);
  return true;
}

/** Adds up the next whole hour of statistics that is old enough; answers whether there was one. */
async function sumHour(sql: Sql, now: number): Promise<boolean> {
  const old = now - STAT_MINUTES_KEPT_MS;
  const end = old - (old % HOUR_MS);
  const [mark] = await sql.query<{ at: number }>(
    `SELECT value::bigint AS at FROM posthorn.meta WHERE name = '${SUMMED_UNTIL}'`,
  );
  const until = mark?.at ?? 0;
  if (until > end) {
    // The clock went back: what isn't old yet is still counted in stat alone.
    await sql.query('DELETE FROM posthorn.stat_sum WHERE at >= $1', [end]);
    await setMark(sql, SUMMED_UNTIL, end);
    return false;
  }
  const [next] = await sql.query<{ at: number }>(
    'SELECT at FROM posthorn.stat WHERE at >= $1 AND at < $2 ORDER BY at LIMIT 1',
    [until, end],
  );
  if (next === undefined) return false;
  const hour = next.at - (next.at % HOUR_MS);
  await sql.query(
    `WITH own AS MATERIALIZED (
       SELECT username, outcome, latency, sum(count)::bigint AS count FROM posthorn.stat
       WHERE at >= $1 AND at < $2 GROUP BY username, outcome, latency
     )
     INSERT INTO posthorn.stat_sum (username, at, outcome, latency, count)
     SELECT username, $1, outcome, latency, count FROM own
     UNION ALL
     SELECT '${ALL_ACCOUNTS}', $1, outcome, latency, sum(count)::bigint FROM own GROUP BY outcome, latency`,
    [hour, hour + HOUR_MS],
  );
  await setMark(sql, SUMMED_UNTIL, hour + HOUR_MS);
  return true;
}

// ---------------------------------------------------------------- all of it

export function purgeOperations(context: EngineContext): Operations<'purge' | 'historyBytes' | 'historyCut'> {
  /**
   * The time before which all history that was over has gone, as far as this process knows. What isn't over before a
   * time that has passed never will be, for it ends later: so such a time is gone through once.
   */
  let done = Number.NEGATIVE_INFINITY;
  /** When partitions may be tried for again, by the store's clock. */
  let partitionsAt = Number.NEGATIVE_INFINITY;

  /** Runs one transaction of the purge; null when another node purges. */
  function alone<T>(run: (sql: Sql) => Promise<T>): Promise<T | null> {
    return context.transaction(async (sql) => {
      if (!(await takePurgeLock(sql))) return null;
      await sql.query(LOOK_UP_BY_INDEX);
      return run(sql);
    });
  }

  /** A day that goes at once; null when there is none. */
  async function bigDay(days: readonly Day[], before: number): Promise<Day | null> {
    for (const day of days) {
      if (day.to > before || (await sizeOfDay(context, day, BIG_DAY_ROWS + 1)) <= BIG_DAY_ROWS) continue;
      if ((await survivorsOfDay(context, day, before, BIG_DAY_ROWS + 1)) <= BIG_DAY_ROWS) return day;
    }
    return null;
  }

  /** Drops the days of which nothing more is to be deleted; false when the tables of one can't be had now. */
  async function dropDays(days: readonly Day[], before: number): Promise<boolean> {
    for (const day of days) {
      if (day.to > before || (await sizeOfDay(context, day, MOVED_ROWS + 1)) > MOVED_ROWS) continue;
      if (!(await dropDay(context, day))) return false;
    }
    return true;
  }

  async function purgeDays(before: number, limit: number, now: number): Promise<number> {
    const days = await daysBefore(context, before);
    const big = await bigDay(days, before);
    if (big !== null) {
      if (now < partitionsAt) return 0;
      const freed = await truncateDay(context, big, before);
      if (freed === null) partitionsAt = now + PARTITIONS_AGAIN_MS;
      return freed === null ? 0 : Math.max(1, freed);
    }
    const deleted = await alone(async (sql) => {
      let gone = 0;
      for (const part of [...days.map(({ name }) => name), 'default']) {
        if (gone < limit) gone += await purgePart(sql, part, before, limit - gone);
      }
      return gone;
    });
    if (deleted !== 0) return deleted ?? 0;
    if (now < partitionsAt) return 0;
    if (!(await dropDays(days, before))) partitionsAt = now + PARTITIONS_AGAIN_MS;
    else if (before <= now) done = before;
    return 0;
  }

  async function purgeHistory(before: number, limit: number, now: number): Promise<number> {
    try {
      return await purgeDays(before, limit, now);
    } catch (error) {
      if (sqlStateOf(error) === UNDEFINED_TABLE) return 0;
      throw error;
    }
  }

  return {
    async historyBytes() {
      const bytes = await bytesByDay(context);
      return [...bytes.values()].reduce((sum, ofDay) => sum + ofDay, 0);
    },

    async historyCut(maxBytes) {
      const now = await nowOf(context);
      const bytes = await bytesByDay(context);
      const days = await daysBefore(context, now);
      let left = bytes.get(null) ?? 0;
      for (const { name, from, to } of days.toReversed()) {
        left += bytes.get(name) ?? 0;
        // The day that is running stays.
        if (left > maxBytes && to <= now) return to;
        if (left > maxBytes) return from;
      }
      return null;
    },

    async purge(before, limit) {
      const now = await nowOf(context);
      if (now >= partitionsAt) {
        const missing = await missingDays(context);
        if (missing.length > 0 && !(await makeDays(context, missing)))
          partitionsAt = now + PARTITIONS_AGAIN_MS;
      }
      let deleted = await alone((sql) => purgeAccounts(sql, limit));
      if (deleted === null) return { deleted: 0, more: false };
      if (deleted < limit && before > done) {
        deleted += await purgeHistory(before, limit - deleted, now);
      }
      if (deleted < limit) {
        const left = limit - deleted;
        deleted += (await alone((sql) => purgeRest(sql, before, left, now))) ?? 0;
      }
      for (let looks = 0; deleted === 0 && looks < LOOKS_FOR_OLDER; looks++) {
        const waiting = await context.query(
          `SELECT 1 FROM posthorn.account WHERE status = 'deleted' LIMIT 1`,
        );
        if (waiting.length === 0) break;
        await context.query(`SELECT pg_sleep(${LOOK_PAUSE_SECONDS})`);
        deleted += (await alone((sql) => purgeAccounts(sql, limit))) ?? 0;
      }
      return { deleted, more: deleted > 0 };
    },
  };
}
