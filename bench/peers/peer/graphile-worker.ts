import { Logger, makeWorkerUtils, run, runMigrations, type WorkerUtils } from 'graphile-worker';
import pg from 'pg';
import { createAttemptsTable, fillAttempts, insertAttempts, type AttemptRow } from './attempts-table.ts';
import { gather } from './gather.ts';
import { type Delivery, DeliveryFailed, MAX_ATTEMPTS, type Queue } from './queue.ts';

declare global {
  namespace GraphileWorker {
    interface Tasks {
      deliver: Delivery;
    }
  }
}

const TASK = 'deliver';
const POOL = 10;
/** Jobs at the same time in a process. */
const CONCURRENT_JOBS = 200;
/** Jobs that are fetched by one query. */
const LOCAL_QUEUE = 500;
/**
 * A fetch for each notice, and a commit for each completion, would take more of the database than the deliveries do: fetches
 * that find less than a full queue are this far apart, and completions and attempts are gathered for as long.
 */
const REFETCH_MS = 10;
const COMPLETE_MS = 10;
const ATTEMPTS = { mostAWrite: 500, lingerMs: 5 };
/** Notices during the pause between two fetches are dropped, so the next poll has to come soon after it. */
const POLL_MS = 50;

/** Warnings and errors only: the default writes a line for each job. */
const logger = new Logger(() => (level, message) => {
  if (level === 'error' || level === 'warning') console.error(message);
});

/** Deliveries as jobs of Graphile Worker on PostgreSQL. */
export function graphileWorkerQueue(postgresUrl: string): Queue {
  const openPool = (): pg.Pool => {
    const pool = new pg.Pool({ connectionString: postgresUrl, max: POOL });
    pool.on('error', (error) => console.error(error));
    return pool;
  };

  return {
    setUp: async () => {
      const pool = openPool();
      await runMigrations({ pgPool: pool, logger });
      await createAttemptsTable(pool);
      await pool.end();
    },

    produce: async () => {
      const pool = openPool();
      const utils = await makeWorkerUtils({ pgPool: pool, logger });
      return {
        add: async (deliveries) => {
          const [first] = deliveries;
          if (deliveries.length === 1 && first !== undefined) {
            await utils.addJob(TASK, first, { maxAttempts: MAX_ATTEMPTS });
          } else {
            await utils.addJobs(
              deliveries.map((payload) => ({ identifier: TASK, payload, maxAttempts: MAX_ATTEMPTS })),
            );
          }
        },
        close: async () => {
          await utils.release();
          await pool.end();
        },
      };
    },

    consume: async (deliver, servingSince) => {
      const pool = openPool();
      await unlockAbandoned(pool, servingSince);
      const record = gather((rows: AttemptRow[]) => insertAttempts(pool, rows), ATTEMPTS);
      const runner = await run({
        pgPool: pool,
        logger,
        noHandleSignals: true,
        parsedCronItems: [],
        preset: {
          worker: {
            concurrentJobs: CONCURRENT_JOBS,
            pollInterval: POLL_MS,
            localQueue: {
              size: LOCAL_QUEUE,
              refetchDelay: {
                durationMs: REFETCH_MS,
                threshold: LOCAL_QUEUE - 1,
                maxAbortThreshold: LOCAL_QUEUE,
              },
            },
            completeJobBatchDelay: COMPLETE_MS,
            failJobBatchDelay: COMPLETE_MS,
          },
        },
        taskList: {
          [TASK]: async (payload, { job }) => {
            const outcome = await deliver(payload);
            await record({ jobId: job.id, delivery: payload, outcome });
            if (outcome.failure !== null) throw new DeliveryFailed(payload.endpoint, outcome.failure);
          },
        },
      });
      return {
        close: async () => {
          await runner.stop();
          await pool.end();
        },
      };
    },

    fill: async (filling) => {
      const { pending, endpoints, eventType, body } = filling;
      const pool = openPool();
      try {
        await fillAttempts(pool, filling);
        await pool.query(
          `SELECT count(*) FROM graphile_worker.add_jobs(ARRAY(
             SELECT ROW($1, json_build_object('endpoint', ($3::int[])[1 + n % cardinality($3::int[])],
               'eventId', 'evt_pending_' || n, 'eventType', $4::text, 'body', $5::text), NULL,
               now() + interval '1 hour' + n * interval '1 ms', $6, NULL, NULL, NULL)::graphile_worker.job_spec
             FROM generate_series(1, $2::int) AS n))`,
          [TASK, pending, endpoints, eventType, body, MAX_ATTEMPTS],
        );
        await pool.query('VACUUM ANALYZE');
      } finally {
        await pool.end();
      }
    },
  };
}

/**
 * Frees what was locked before any process of the service was started: by a worker that was killed, whose jobs would
 * otherwise wait for four hours.
 */
async function unlockAbandoned(pool: pg.Pool, servingSince: number): Promise<void> {
  const utils: WorkerUtils = await makeWorkerUtils({ pgPool: pool, logger });
  try {
    const { rows } = await pool.query<{ locked_by: string }>(
      'SELECT DISTINCT locked_by FROM graphile_worker.jobs WHERE locked_at < $1',
      [new Date(servingSince).toISOString()],
    );
    if (rows.length > 0) await utils.forceUnlockWorkers(rows.map(({ locked_by }) => locked_by));
  } finally {
    await utils.release();
  }
}
