import { Queue as BullQueue, Worker } from 'bullmq';
import { Redis } from 'ioredis';
import {
  type AcceptedEvent,
  type Delivery,
  DeliveryFailed,
  type Filling,
  MAX_ATTEMPTS,
  type Outcome,
  type Queue,
} from './queue.ts';

const QUEUE = 'deliveries';
/** Jobs that were given up, which BullMQ keeps; older ones are removed as others fail. */
const FAILED_KEPT = 1_000;
/** The log of attempts: one stream, capped, since Redis holds it in memory. */
const ATTEMPTS = 'attempts';
const ATTEMPTS_KEPT = 100_000;
/** Jobs that run at the same time. */
const CONCURRENCY = 100;
/** A lock that outlives the longest attempt threefold, and checks that find a dead worker's jobs soon after it. */
const LOCK_MS = 15_000;
const STALLED_CHECK_MS = 5_000;
/** A crash of the worker must not end a delivery: the default is to fail a job at the second one. */
const MAX_STALLED = 100;
/** How long events are kept, and so their ids known: as long as Posthorn keeps them by default. */
const EVENTS_KEPT_S = 30 * 24 * 3600;
const FILL_JOBS_A_CALL = 1_000;
const HOUR_MS = 3_600_000;

const JOB_OPTIONS = {
  attempts: MAX_ATTEMPTS,
  backoff: { type: 'exponential', delay: 5_000, jitter: 0.1 },
  removeOnComplete: true,
  removeOnFail: { count: FAILED_KEPT },
};

/** Deliveries as jobs of BullMQ on Redis. */
export function bullmqQueue(redisUrl: string): Queue {
  const connect = (): Redis => new Redis(redisUrl, { maxRetriesPerRequest: null });

  return {
    // Redis needs no tables; asking it something says early when it isn't there.
    setUp: async () => {
      const redis = connect();
      await redis.ping();
      await redis.quit();
    },

    produce: async () => {
      const connection = connect();
      const queue = new BullQueue<Delivery>(QUEUE, { connection, defaultJobOptions: JOB_OPTIONS });
      await queue.waitUntilReady();
      const add = async (deliveries: Delivery[], jobId?: (delivery: Delivery) => string): Promise<void> => {
        const jobs = deliveries.map((data) => ({
          name: data.eventType,
          data,
          ...(jobId === undefined ? {} : { opts: { jobId: jobId(data) } }),
        }));
        const [first] = jobs;
        if (jobs.length === 1 && first !== undefined) await queue.add(first.name, first.data, first.opts);
        else await queue.addBulk(jobs);
      };
      return {
        add: (deliveries) => add(deliveries),
        // The event comes last: when a crash leaves jobs without it, a repeat adds jobs of the same ids, which is none.
        addOnce: async ({ username, eventId, fingerprint, body }: AcceptedEvent, deliveries) => {
          const key = `event:${username}:${eventId}`;
          const known = await connection.get(key);
          if (known !== null) return known.startsWith(fingerprint) ? 'duplicate' : 'conflict';
          await add(deliveries, ({ endpoint }) => `${username}-${eventId}-${endpoint}`);
          await connection.set(key, `${fingerprint} ${body}`, 'EX', EVENTS_KEPT_S, 'NX');
          return 'stored';
        },
        close: async () => {
          await queue.close();
          await connection.quit();
        },
      };
    },

    consume: async (deliver) => {
      const attempts = connect();
      const connection = connect();
      const worker = new Worker<Delivery>(
        QUEUE,
        async (job) => {
          const outcome = await deliver(job.data);
          await attempts.xadd(
            ATTEMPTS,
            'MAXLEN',
            '~',
            ATTEMPTS_KEPT,
            '*',
            ...attemptFields(job.data, outcome),
          );
          if (outcome.failure !== null) throw new DeliveryFailed(job.data.endpoint, outcome.failure);
        },
        {
          connection,
          concurrency: CONCURRENCY,
          lockDuration: LOCK_MS,
          stalledInterval: STALLED_CHECK_MS,
          maxStalledCount: MAX_STALLED,
        },
      );
      worker.on('error', (error) => console.error(error));
      await worker.waitUntilReady();
      return {
        close: async () => {
          await worker.close();
          await Promise.all([attempts.quit(), connection.quit()]);
        },
      };
    },

    fill: async (filling) => {
      const connection = connect();
      const queue = new BullQueue<Delivery>(QUEUE, { connection, defaultJobOptions: JOB_OPTIONS });
      try {
        await fillAttempts(connection, filling);
        await fillDelayed(queue, filling);
      } finally {
        await queue.close();
        await connection.quit();
      }
    },
  };
}

function attemptFields({ endpoint, eventId }: Delivery, outcome: Outcome): (string | number)[] {
  const { status, failure, startedAt, durationMs, exchange } = outcome;
  const kept =
    exchange === undefined
      ? []
      : [
          'url',
          exchange.url,
          'request',
          JSON.stringify(exchange.requestHeaders),
          'response',
          JSON.stringify(exchange.responseHeaders),
          'body',
          exchange.responseBody ?? '',
        ];
  return [
    ...kept,
    'endpoint',
    endpoint,
    'event',
    eventId,
    'at',
    startedAt,
    'ms',
    durationMs,
    'status',
    status ?? failure ?? '',
  ];
}

/** Only the attempts: the jobs themselves are gone once they are completed. */
async function fillAttempts(redis: Redis, { finished, endpoints, ...filling }: Filling): Promise<void> {
  const outcome: Outcome = { status: 200, failure: null, startedAt: Date.now(), durationMs: 3 };
  const kept = Math.min(finished, ATTEMPTS_KEPT);
  for (let first = 0; first < kept; first += FILL_JOBS_A_CALL) {
    const calls = redis.pipeline();
    for (let n = first; n < Math.min(first + FILL_JOBS_A_CALL, kept); n += 1) {
      const delivery = {
        ...filling,
        endpoint: endpoints[n % endpoints.length] ?? 0,
        eventId: `evt_finished_${n}`,
      };
      calls.xadd(ATTEMPTS, '*', ...attemptFields(delivery, outcome));
    }
    await calls.exec();
  }
}

async function fillDelayed(
  queue: BullQueue<Delivery>,
  { pending, endpoints, ...filling }: Filling,
): Promise<void> {
  const { eventType, body } = filling;
  for (let first = 0; first < pending; first += FILL_JOBS_A_CALL) {
    const length = Math.min(FILL_JOBS_A_CALL, pending - first);
    const jobs = Array.from({ length }, (_, index) => {
      const n = first + index;
      const endpoint = endpoints[n % endpoints.length] ?? 0;
      return {
        name: eventType,
        data: { endpoint, eventId: `evt_pending_${n}`, eventType, body },
        opts: { delay: HOUR_MS + (n % HOUR_MS) },
      };
    });
    await queue.addBulk(jobs);
  }
}
