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
const POOL = 20;
/** Jobs at the same time in a process. */
const CONCURRENT_JOBS = 100;
/** Jobs that are fetched by one query. */
const LOCAL_QUEUE = 500;
const ATTEMPTS_A_WRITE = 500;

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

    consume: async (deliver) => {
      const pool = openPool();
      await unlockAbandoned(pool);
      const record = gather((rows: AttemptRow[]) => insertAttempts(pool, rows), ATTEMPTS_A_WRITE);
      const runner = await run({
        pgPool: pool,
        logger,
        noHandleSignals: true,
        parsedCronItems: [],
        preset: {
          worker: {
            concurrentJobs: CONCURRENT_JOBS,
            localQueue: { size: LOCAL_QUEUE },
            completeJobBatchDelay: 0,
            failJobBatchDelay: 0,
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
 * Frees what a worker that was killed had locked: this is the only one, and otherwise its jobs would wait for four hours.
 */
async function unlockAbandoned(pool: pg.Pool): Promise<void> {
  const utils: WorkerUtils = await makeWorkerUtils({ pgPool: pool, logger });
  try {
    const { rows } = await pool.query<{ locked_by: string }>(
      'SELECT DISTINCT locked_by FROM graphile_worker.jobs WHERE locked_by IS NOT NULL',
    );
    if (rows.length > 0) await utils.forceUnlockWorkers(rows.map(({ locked_by }) => locked_by));
  } finally {
    await utils.release();
  }
}
