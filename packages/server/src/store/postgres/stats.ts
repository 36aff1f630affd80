import { KEY_COLUMN, STAT_INTERVAL_MS, type StatRow, summariseAll } from '../statistics.ts';
import type { QueueDepth } from '../store.ts';
import type { EngineContext, Operations } from './engine.ts';

/** A queue of at most so many deliveries is counted. */
const COUNTED_ROWS = 20_000;
/** Of a longer one so many pages are read, of 30 to 40 deliveries each. */
const SAMPLED_PAGES = 1_000;
/** Lanes that are asked for their oldest due delivery when the queue is long, those that come next first. */
const SAMPLED_LANES = 1_000;

type DepthRow = Record<'total' | 'scheduled' | 'due' | 'leased', number> & { oldest_due_ms: number };

const COUNTS = `count(*) AS total,
  count(*) FILTER (WHERE NOT q.leased AND q.due_at > t.now) AS scheduled,
  count(*) FILTER (WHERE q.due_at <= t.now) AS due,
  count(*) FILTER (WHERE q.leased AND q.due_at > t.now) AS leased,
  coalesce(max(t.now - q.due_at) FILTER (WHERE q.due_at <= t.now), 0) AS oldest_due_ms`;

export function statsOperations({ query }: EngineContext): Operations<'stats' | 'queueDepth'> {
  /** From some pages of the table, always the same ones as long as it doesn't grow: the numbers don't flicker. */
  async function estimatedDepth(): Promise<QueueDepth> {
    const [row] = await query<DepthRow & { share: number }>(
      `WITH t AS MATERIALIZED (SELECT posthorn.now_ms() AS now),
       part AS MATERIALIZED (
         SELECT least(1, ${SAMPLED_PAGES} * current_setting('block_size')::float8
                         / greatest(1, pg_relation_size('posthorn.queue'))) AS share
       ),
       lane AS (
         SELECT username, endpoint_id FROM posthorn.lane
         WHERE next_at IS NOT NULL AND NOT parked ORDER BY next_at LIMIT ${SAMPLED_LANES}
       )
       SELECT c.*, part.share, greatest(c.oldest_due_ms, (
         SELECT max(t.now - first.due_at) FROM lane CROSS JOIN LATERAL (
           SELECT min(q.due_at) AS due_at FROM posthorn.queue q
           WHERE q.username = lane.username AND q.endpoint_id = lane.endpoint_id AND NOT q.leased) first
       )) AS oldest_due_ms
       FROM t, part, LATERAL (
         SELECT ${COUNTS} FROM posthorn.queue q TABLESAMPLE SYSTEM (100 * (SELECT share FROM part)) REPEATABLE (0)
       ) c`,
    );
    const { share = 1, scheduled = 0, due = 0, leased = 0, oldest_due_ms = 0 } = row ?? {};
    const scaled = (count: number) => Math.round(count / share);
    return {
      scheduled: scaled(scheduled),
      due: scaled(due),
      leased: scaled(leased),
      oldestDueMs: Math.max(0, oldest_due_ms),
    };
  }

  return {
    async stats({ username, since, until, intervalMs, by }) {
      const values: unknown[] = [intervalMs, since, until];
      // The key (username, at, …) gives the range, or stat_at for all accounts. A minute counts to where it begins.
      const rows = await query<StatRow>(
        `SELECT at - at % $1::bigint AS at, ${by === null ? 'NULL::text' : KEY_COLUMN[by]} AS key, outcome, latency,
                sum(count)::bigint AS count
         FROM posthorn.stat
         WHERE at >= $2::bigint - $2::bigint % ${STAT_INTERVAL_MS} AND at < $3::bigint
           ${username === null ? '' : `AND username = $${values.push(username)}`}
         GROUP BY 1, 2, outcome, latency ORDER BY 1, 2`,
        values,
      );
      return summariseAll(rows, since, by);
    },

    /**
     * Exact up to 20,000 deliveries. Of a longer queue the counts are an estimate, within some percent, from a fixed
     * number of pages, and the age of the oldest due delivery is that of the first thousand lanes: a look at the queue
     * costs some milliseconds however long it is.
     */
    async queueDepth() {
      const [row] = await query<DepthRow>(
        `WITH t AS MATERIALIZED (SELECT posthorn.now_ms() AS now)
         SELECT ${COUNTS} FROM t, (SELECT leased, due_at FROM posthorn.queue LIMIT ${COUNTED_ROWS + 1}) q`,
      );
      const { total = 0, scheduled = 0, due = 0, leased = 0, oldest_due_ms = 0 } = row ?? {};
      if (total > COUNTED_ROWS) return estimatedDepth();
      return { scheduled, due, leased, oldestDueMs: oldest_due_ms };
    },
  };
}
