import pg from 'pg';
import { type JobResult, PgBoss } from 'pg-boss';
import { createAttemptsTable, fillAttempts, insertAttempts } from './attempts-table.ts';
import { type Delivery, MAX_ATTEMPTS, type Queue } from './queue.ts';

const QUEUE = 'deliveries';
/** Connections of a process: enough that commits gather on the server. */
const POOL = 20;
/** Jobs of one fetch, which are POSTed together. */
const BATCH = 50;
/**
 * Loops that fetch, spread evenly over the time between two polls: something new is found after a twentieth of it. LISTEN
 * would find it at once, but a NOTIFY in every insert makes commits wait for each other, and wakes all loops.
 */
const LOOPS = 20;
/** The least that pg-boss allows; after a full batch a loop doesn't wait at all. */
const POLL_S = 0.5;
/** Three time-outs of a POST: then a job whose worker died counts as failed, and is tried again. */
const EXPIRE_S = 15;
const SUPERVISE_S = 15;

/** Deliveries as jobs of pg-boss on PostgreSQL. */
export function pgBossQueue(postgresUrl: string): Queue {
  const open = async ({ supervises }: { supervises: boolean }): Promise<PgBoss> => {
    const boss = new PgBoss({
      connectionString: postgresUrl,
      max: POOL,
      supervise: supervises,
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
      const boss = await open({ supervises: false });
      await boss.createQueue(QUEUE, {
        partition: true,
        retryLimit: MAX_ATTEMPTS - 1,
        retryDelay: 5,
        retryBackoff: true,
        expireInSeconds: EXPIRE_S,
      });
      await boss.stop();
      await withClient(postgresUrl, createAttemptsTable);
    },

    produce: async () => {
      const boss = await open({ supervises: false });
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
      const boss = await open({ supervises: true });
      const log = new pg.Pool({ connectionString: postgresUrl, max: LOOPS });
      const startLoop = async (): Promise<void> => {
        await boss.work<Delivery>(
          QUEUE,
          {
            batchSize: BATCH,
            pollingIntervalSeconds: POLL_S,
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
      };
      await startLoop();
      const others = spreadOver(POLL_S * 1000, LOOPS, startLoop);
      return {
        close: async () => {
          others.stop();
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

/** Starts the second and all further loops at even distances, without holding up what delivers already. */
function spreadOver(ms: number, count: number, start: () => Promise<void>): { stop(): void } {
  const timers = Array.from({ length: count - 1 }, (_, index) =>
    setTimeout(() => void start().catch((error) => console.error(error)), ((index + 1) * ms) / count),
  );
  return { stop: () => timers.forEach(clearTimeout) };
}
