import pg from 'pg';
import { type JobResult, PgBoss } from 'pg-boss';
import { createAttemptsTable, fillAttempts, insertAttempts } from './attempts-table.ts';
import { type Delivery, MAX_ATTEMPTS, type Queue } from './queue.ts';

const QUEUE = 'deliveries';
/** Connections of a process: enough that commits gather on the server. */
const POOL = 20;
/** Jobs of one fetch, which are POSTed together, and fetch loops of a process. */
const BATCH = 50;
const LOOPS = 6;
/** The least that pg-boss allows; between full batches it doesn't wait at all. */
const POLL_S = 0.5;
/** Three time-outs of a POST: then a job whose worker died counts as failed, and is tried again. */
const EXPIRE_S = 15;
const SUPERVISE_S = 15;

/** Deliveries as jobs of pg-boss on PostgreSQL. */
export function pgBossQueue(postgresUrl: string): Queue {
  const open = async (options: { listens: boolean; supervises: boolean }): Promise<PgBoss> => {
    const boss = new PgBoss({
      connectionString: postgresUrl,
      max: POOL,
      useListenNotify: options.listens,
      supervise: options.supervises,
      superviseIntervalSeconds: SUPERVISE_S,
      monitorIntervalSeconds: SUPERVISE_S,
      schedule: false,
      openTelemetry: { enabled: false },
    });
    boss.on('error', (error) => console.error(error));
    await boss.start();
    return boss;
  };

  return {
    setUp: async () => {
      const boss = await open({ listens: false, supervises: false });
      await boss.createQueue(QUEUE, {
        partition: true,
        notify: true,
        retryLimit: MAX_ATTEMPTS - 1,
        retryDelay: 5,
        retryBackoff: true,
        expireInSeconds: EXPIRE_S,
      });
      await boss.stop();
      await withClient(postgresUrl, createAttemptsTable);
    },

    produce: async () => {
      const boss = await open({ listens: false, supervises: false });
      return {
        add: async (deliveries) => {
          await boss.insert(
            QUEUE,
            deliveries.map((data) => ({ data })),
          );
        },
        close: () => boss.stop(),
      };
    },

    consume: async (deliver) => {
      const boss = await open({ listens: true, supervises: true });
      const log = new pg.Pool({ connectionString: postgresUrl, max: LOOPS });
      await boss.work<Delivery>(
        QUEUE,
        {
          batchSize: BATCH,
          localConcurrency: LOOPS,
          pollingIntervalSeconds: POLL_S,
          notifyPollingIntervalSeconds: POLL_S,
          burstWhenBatchFull: true,
          perJobResults: true,
        },
        async (jobs): Promise<JobResult[]> => {
          const rows = await Promise.all(
            jobs.map(async ({ id, data }) => ({ jobId: id, delivery: data, outcome: await deliver(data) })),
          );
          await insertAttempts(log, rows);
          return rows.map(({ jobId, outcome: { failure } }) =>
            failure === null
              ? { id: jobId, status: 'completed' }
              : { id: jobId, status: 'failed', output: { failure } },
          );
        },
      );
      return {
        close: async () => {
          await boss.stop();
          await log.end();
        },
      };
    },

    fill: async (filling) => {
      const { finished, pending, endpoints, eventType, body } = filling;
      await withClient(postgresUrl, async (db) => {
        await fillAttempts(db, filling);
        await db.query(
          `INSERT INTO pgboss.job
             (name, state, data, retry_limit, retry_count, retry_delay, retry_backoff, expire_seconds, policy, start_after,
              created_on, started_on, completed_on, keep_until)
           SELECT $1, (CASE WHEN n <= $2 THEN 'completed' ELSE 'retry' END)::pgboss.job_state,
             jsonb_build_object('endpoint', ($4::int[])[1 + n % cardinality($4::int[])], 'eventId', 'evt_filled_' || n,
               'eventType', $5::text, 'body', $6::text),
             $7, 0, 5, true, $8, 'standard',
             CASE WHEN n <= $2 THEN now() - interval '1 day' ELSE now() + interval '1 hour' + n * interval '1 ms' END,
             now() - interval '1 day', now() - interval '1 day', CASE WHEN n <= $2 THEN now() - interval '1 day' END,
             now() + interval '14 days'
           FROM generate_series(1, $2::int + $3::int) AS n`,
          [QUEUE, finished, pending, endpoints, eventType, body, MAX_ATTEMPTS - 1, EXPIRE_S],
        );
        await db.query('VACUUM ANALYZE');
      });
    },
  };
}

async function withClient(connectionString: string, use: (db: pg.Client) => Promise<void>): Promise<void> {
  const db = new pg.Client({ connectionString });
  await db.connect();
  try {
    await use(db);
  } finally {
    await db.end();
  }
}
