/** pg-boss on the run's PostgreSQL server. */
import { postgresPeer } from '../peer/postgres-system.ts';
import type { System } from '../system.ts';

/** A new {@link System} for pg-boss. */
export function pgBoss(): System {
  return postgresPeer(
    'pg-boss',
    { both: 'apart', deliverers: 1 },
    {
      'pg-boss':
        "insert without returned ids; a partition of the queue's own; 20 fetch loops, batchSize 50, spread evenly over " +
        'pollingIntervalSeconds 0.5, burstWhenBatchFull, perJobResults; retryLimit 9, retryDelay 5 s with retryBackoff; ' +
        'expireInSeconds 15 and supervision every 15 s, so that a killed worker costs little; pool of 20; OpenTelemetry off',
      attempts:
        'one INSERT a batch, awaited before the jobs complete; completed jobs are kept (7 days by default)',
      processes: 'API and worker apart',
      'tried and not kept':
        'LISTEN/NOTIFY (p50 1 ms instead of 14, but half the ingest and a third to a half of both at once); ' +
        'batchSize 25 and 100, 6, 10 and 25 loops (within 10 %, or slower); a pool of 10 (the same); ' +
        'two worker processes (-5 % drain); API and worker in one process (-5 % both at once)',
    },
  );
}
