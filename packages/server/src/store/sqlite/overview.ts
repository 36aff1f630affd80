import { STAT_INTERVAL_MS } from '../statistics.ts';
import { type TroubledRow, toTroubled, troubledSql } from '../troubled.ts';
import type { EngineContext, SyncStore } from './engine.ts';
import { STATS_OF_ALL } from './stats.ts';

export function overviewOperations({ db, now }: EngineContext): Pick<SyncStore, 'overview'> {
  return {
    overview(username, since, limit) {
      const values = username === null ? [] : [username];
      const ofAccount = username === null ? '' : 'AND username = ?';
      // The key (username, …) gives an account's part of the queue, the lanes' index each lane's oldest.
      const queue = db
        .prepare<unknown[], { pending: number; oldest: number | null }>(
          `SELECT (SELECT count(*) FROM queue WHERE true ${ofAccount}) AS pending,
                  (SELECT min(max((SELECT min(due_at) FROM queue
                                   WHERE username = lane.username AND endpoint_id = lane.endpoint_id AND leased = 0),
                                  ifnull((SELECT f.probe_at FROM failing_endpoint f
                                          WHERE f.username = lane.username AND f.endpoint_id = lane.endpoint_id), 0)))
                   FROM lane WHERE parked = 0 ${ofAccount}) AS oldest`,
        )
        .get(...values, ...values);
      const { pending = 0, oldest = null } = queue ?? {};
      const counts = db
        .prepare<unknown[], { enabled: number; disabled: number }>(
          `SELECT count(*) FILTER (WHERE status = 'enabled') AS enabled,
                  count(*) FILTER (WHERE status = 'disabled') AS disabled
           FROM endpoint WHERE true ${ofAccount}`,
        )
        .get(...values);
      const troubled = db
        .prepare<unknown[], TroubledRow>(
          troubledSql({
            schema: '',
            since: '?',
            limit: '?',
            ofAccount,
            ...(username === null ? { stats: `(${STATS_OF_ALL} AND at >= ?)` } : {}),
          }),
        )
        .all(since - (since % STAT_INTERVAL_MS), ...values, ...values, limit);
      return {
        pending,
        isExact: true,
        oldestDueMs: oldest === null ? 0 : Math.max(0, now() - oldest),
        endpoints: counts ?? { enabled: 0, disabled: 0 },
        troubled: troubled.map(toTroubled),
      };
    },
  };
}
