/** Graphile Worker on the run's PostgreSQL server. */
import { postgresPeer } from '../peer/postgres-system.ts';
import type { System } from '../system.ts';

/** A new {@link System} for Graphile Worker. */
export function graphileWorker(): System {
  return postgresPeer(
    'graphile-worker',
    { both: 'together', deliverers: 2 },
    {
      'Graphile Worker':
        'addJob for one endpoint, addJobs for several; concurrentJobs 200, localQueue 500 with refetchDelay 10 ms, ' +
        'completeJobBatchDelay and failJobBatchDelay 10 ms, pollInterval 50 ms, LISTEN/NOTIFY; maxAttempts 10 with its own ' +
        'exponential back-off; pool of 10; what a killed worker had locked is unlocked at the next start (after 4 h by default)',
      attempts: 'INSERTs gathered for 5 ms, awaited before the job completes; completed jobs are deleted',
      processes: 'API and worker in one; two workers where it only delivers',
      'tried and not kept':
        'no delays at all (half of both at once; p50 1 ms instead of 6); delays of 25 ms (-10 % both at once, -30 % drain); ' +
        'concurrentJobs 100 and 300 (-10 % drain, the same); pools of 6 and 20 (the same, -10 % ingest); ' +
        'API and worker apart (-15 % both at once); one worker process (-15 % drain)',
      fill: 'attempts of the finished deliveries only: jobs that are done are not kept',
    },
  );
}
