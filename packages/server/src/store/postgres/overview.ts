import { STAT_INTERVAL_MS } from '../statistics.ts';
import { type TroubledRow, toTroubled, troubledSql } from '../troubled.ts';
import type { EngineContext, Operations } from './engine.ts';
import { statsOperations } from './stats.ts';

/** Of one account's queue so many deliveries are counted: some ten milliseconds. */
const COUNTED_ROWS = 20_000;

export function overviewOperations(context: EngineContext): Operations<'overview'> {
  const { query } = context;
  const { queueDepth } = statsOperations(context);

  async function queueOfAll() {
    const { scheduled, due, leased, oldestDueMs } = await queueDepth();
    const pending = scheduled + due + leased;
    return { pending, isExact: pending <= COUNTED_ROWS, oldestDueMs };
  }

  /** The key (username, …) gives the account's part of the queue, queue_lane each lane's oldest. */
  async function queueOf(username: string) {
    const [row] = await query<{ pending: number; oldest_due_ms: number | null }>(
      `WITH t AS MATERIALIZED (SELECT posthorn.now_ms() AS now)
       SELECT (SELECT count(*) FROM (SELECT 1 FROM posthorn.queue WHERE username = $1 LIMIT ${COUNTED_ROWS + 1}) q)
                AS pending,
              (SELECT max(t.now - greatest(first.due_at, f.probe_at))
               FROM t, posthorn.lane
               LEFT JOIN posthorn.failing_endpoint f ON f.username = lane.username AND f.endpoint_id = lane.endpoint_id
               CROSS JOIN LATERAL (
                 SELECT due_at FROM posthorn.queue
                 WHERE username = lane.username AND endpoint_id = lane.endpoint_id AND NOT leased
                 ORDER BY due_at LIMIT 1
               ) first WHERE lane.username = $1 AND NOT lane.parked) AS oldest_due_ms`,
      [username],
    );
    const { pending = 0, oldest_due_ms: oldest = null } = row ?? {};
    return {
      pending: Math.min(pending, COUNTED_ROWS),
      isExact: pending <= COUNTED_ROWS,
      oldestDueMs: Math.max(0, oldest ?? 0),
    };
  }

  return {
    async overview(username, since, limit) {
      const ofAccount = username === null ? '' : 'AND username = $3';
      const values = [since - (since % STAT_INTERVAL_MS), limit, ...(username === null ? [] : [username])];
      const [queue, [endpoints], troubled] = await Promise.all([
        username === null ? queueOfAll() : queueOf(username),
        query<{ enabled: number; disabled: number }>(
          `SELECT count(*) FILTER (WHERE status = 'enabled') AS enabled,
                  count(*) FILTER (WHERE status = 'disabled') AS disabled
           FROM posthorn.endpoint WHERE $1::text IS NULL OR username = $1`,
          [username],
        ),
        query<TroubledRow>(
          troubledSql({
            schema: 'posthorn.',
            since: '$1::bigint',
            limit: '$2::integer',
            ofAccount,
          }),
          values,
        ),
      ]);
      return {
        ...queue,
        endpoints: endpoints ?? { enabled: 0, disabled: 0 },
        troubled: troubled.map(toTroubled),
      };
    },
  };
}
