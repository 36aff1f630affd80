import {
  ALL_ACCOUNTS,
  KEY_COLUMN,
  STAT_INTERVAL_MS,
  SUMMED_UNTIL,
  type StatRow,
  summariseAll,
} from '../statistics.ts';
import type { QueueDepth } from '../store.ts';
import type { EngineContext, Operations, Sql } from './engine.ts';

/** A queue of at most so many deliveries is counted. */
const COUNTED_ROWS = 20_000;
/** Of a longer one at least so many pages are read, of 30 to 40 deliveries each, and fewer than twice as many. */
const SAMPLED_PAGES = 1_000;
/** Lanes that are asked for their oldest due delivery when the queue is long, those that come next first. */
const SAMPLED_LANES = 1_000;

type DepthRow = Record<'total' | 'scheduled' | 'due' | 'leased', number> & { oldest_due_ms: number };

/**
 * What the counts go by: a leased delivery is due again when its lease ends, and of an endpoint that is probed what nobody
 * asked for with the next probe.
 */
const QUEUED = `leased, CASE WHEN leased THEN leased_until WHEN manual THEN due_at ELSE greatest(due_at, probe_at) END AS due_at`;
const PROBED = `(SELECT username, endpoint_id, probe_at FROM posthorn.failing_endpoint WHERE probe_at IS NOT NULL) f
  USING (username, endpoint_id)`;

const COUNTS = `count(*) AS total,
  count(*) FILTER (WHERE NOT q.leased AND q.due_at > t.now) AS scheduled,
  count(*) FILTER (WHERE q.due_at <= t.now) AS due,
  count(*) FILTER (WHERE q.leased AND q.due_at > t.now) AS leased,
  coalesce(max(t.now - q.due_at) FILTER (WHERE q.due_at <= t.now), 0) AS oldest_due_ms`;

export function statsOperations({ query, transaction }: EngineContext): Operations<'stats' | 'queueDepth'> {
  /** From pages at equal distances: the numbers don't flicker from one look to the next. */
  async function estimatedDepth(sql: Sql): Promise<QueueDepth> {
    // What PostgreSQL believes of these pages makes it compile the statement, which takes longer than to run it.
    await sql.query('SET LOCAL jit = off');
    const [row] = await sql.query<DepthRow & { distance: number }>(
      `WITH t AS MATERIALIZED (SELECT posthorn.now_ms() AS now),
       size AS MATERIALIZED (
         SELECT pg_relation_size('posthorn.queue') / current_setting('block_size')::bigint AS pages
       ),
       page AS MATERIALIZED (
         SELECT greatest(1, size.pages / ${SAMPLED_PAGES}) AS distance FROM size
       ),
       lane AS MATERIALIZED (
         SELECT username, endpoint_id FROM posthorn.lane
         WHERE next_at IS NOT NULL AND NOT parked ORDER BY next_at LIMIT ${SAMPLED_LANES}
       ),
       counted AS (
         SELECT ${COUNTS}
         FROM t, size, page, generate_series(0, size.pages - 1, page.distance) n
         CROSS JOIN LATERAL (
           SELECT ${QUEUED} FROM (
             SELECT * FROM posthorn.queue
             WHERE ctid >= format('(%s,0)', n)::tid AND ctid < format('(%s,0)', n + 1)::tid OFFSET 0
           ) page LEFT JOIN ${PROBED} OFFSET 0
         ) q
       ),
       oldest AS (
         SELECT max(t.now - greatest(first.due_at, f.probe_at)) AS ms
         FROM t, lane LEFT JOIN ${PROBED} CROSS JOIN LATERAL (
           SELECT due_at FROM posthorn.queue
           WHERE username = lane.username AND endpoint_id = lane.endpoint_id AND NOT leased
           ORDER BY due_at LIMIT 1
         ) first
       )
       SELECT counted.*, page.distance, greatest(0, counted.oldest_due_ms, oldest.ms) AS oldest_due_ms
       FROM counted, page, oldest`,
    );
    const { distance = 1, scheduled = 0, due = 0, leased = 0, oldest_due_ms: oldestDueMs = 0 } = row ?? {};
    return { scheduled: scheduled * distance, due: due * distance, leased: leased * distance, oldestDueMs };
  }

  return {
    async stats({ username, since, until, intervalMs, by }) {
      const from = since - (since % STAT_INTERVAL_MS);
      const ofAccount = username === null ? '' : 'AND username = $4';
      const key = by === null ? 'NULL::text' : KEY_COLUMN[by];
      // What tells endpoints and types apart isn't summed.
      const isSummed = by === null || by === 'status';
      const summed = isSummed
        ? `coalesce((SELECT value::bigint FROM posthorn.meta WHERE name = '${SUMMED_UNTIL}'), 0)`
        : '0::bigint';
      // The keys (username, at, …) give the ranges, or stat_at for all accounts. A minute counts to where it begins.
      const rows = await query<StatRow>(
        `WITH summed AS MATERIALIZED (SELECT ${summed} AS until), counted AS (
           SELECT at, NULL::text AS endpoint_id, NULL::text AS event, outcome, latency, count FROM posthorn.stat_sum
           WHERE username = $4 AND at >= $2::bigint AND at < least($3::bigint, (SELECT until FROM summed))
           UNION ALL
           SELECT at, endpoint_id, event, outcome, latency, count FROM posthorn.stat
           WHERE at >= greatest($2::bigint, (SELECT until FROM summed)) AND at < $3::bigint ${ofAccount}
         )
         SELECT at - at % $1::bigint AS at, ${key} AS key, outcome, latency, sum(count)::bigint AS count
         FROM counted GROUP BY 1, 2, outcome, latency ORDER BY 1, 2`,
        [intervalMs, from, until, username ?? ALL_ACCOUNTS],
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
         SELECT ${COUNTS} FROM t, (
           SELECT ${QUEUED} FROM (SELECT * FROM posthorn.queue LIMIT ${COUNTED_ROWS + 1}) counted LEFT JOIN ${PROBED}
         ) q`,
      );
      const { total = 0, scheduled = 0, due = 0, leased = 0, oldest_due_ms = 0 } = row ?? {};
      if (total > COUNTED_ROWS) return transaction(estimatedDepth);
      return { scheduled, due, leased, oldestDueMs: oldest_due_ms };
    },
  };
}
