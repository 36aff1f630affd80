/** The queues of docs/receiving/once.md, on the real PostgreSQL and Redis. */
import assert from 'node:assert/strict';
import { describe, it } from 'node:test';
import { Queue, Worker } from 'bullmq';
import { PgBoss } from 'pg-boss';
import { createDatabase } from '../../server/test/support/postgres.ts';
import { createReceiver, type EventQueue, type Receiver, type WebhookEvent } from '../src/index.ts';
import { noRedis, startRedis, stopRedis } from './support/redis.ts';
import { delivery, SECRET } from './support/samples.ts';

const TIME_LIMIT = { timeout: 30_000 };

interface Watched {
  receiver: Receiver;
  /** Event ids, one for each time that a handler has run to its end. */
  handled: string[];
  /** Resolves when so many jobs have been worked on well. */
  afterJobs(count: number): Promise<void>;
  /** What the queue's worker does with a job. */
  work(event: WebhookEvent): Promise<unknown>;
}

/** A receiver whose handler fails once for each event. */
function watched(queue: EventQueue): Watched {
  const handled: string[] = [];
  const failed = new Set<string>();
  let jobs = 0;
  let changed = (): void => {};
  const receiver = createReceiver({
    secrets: SECRET,
    queue,
    onError: () => {},
    on: {
      generated_video_success: async ({ event_id }) => {
        if (!failed.has(event_id)) {
          failed.add(event_id);
          throw new Error('once');
        }
        handled.push(event_id);
      },
    },
  });
  return {
    receiver,
    handled,
    async work(event) {
      const outcome = await receiver.run(event);
      jobs++;
      changed();
      return outcome;
    },
    async afterJobs(count) {
      while (jobs < count) await new Promise<void>((resolve) => (changed = resolve));
    },
  };
}

/** Sends each of two events twice. */
async function send(receiver: Receiver): Promise<string[]> {
  const ids: string[] = [];
  for (let n = 0; n < 2; n++) {
    const { body, headers } = await delivery();
    ids.push((JSON.parse(body) as WebhookEvent).event_id);
    for (let twice = 0; twice < 2; twice++) {
      assert.equal((await receiver.receive({ method: 'POST', headers, body })).status, 202);
    }
  }
  return ids;
}

describe('a queue that stores events', TIME_LIMIT, () => {
  it('in PostgreSQL, by pg-boss, handles each once and tries again what failed', async () => {
    const database = await createDatabase();
    const boss = new PgBoss(database.url);
    boss.on('error', () => {});
    try {
      await boss.start();
      await boss.createQueue('webhooks', { retryLimit: 5, retryDelay: 0 });
      const { receiver, handled, afterJobs, work } = watched({
        add: ({ event }) => boss.send('webhooks', event),
      });
      const ids = await send(receiver);
      await boss.work<WebhookEvent>('webhooks', { pollingIntervalSeconds: 0.5 }, async (jobs) => {
        for (const job of jobs) await work(job.data);
      });
      await afterJobs(4);
      assert.deepEqual(handled.toSorted(), ids.toSorted());
    } finally {
      await boss.stop({ graceful: false });
      await database.drop();
    }
  });

  it('in Redis, by BullMQ, handles each once and tries again what failed', { skip: noRedis() }, async () => {
    const redis = await startRedis();
    const connection = { host: '127.0.0.1', port: redis.port };
    const queue = new Queue('webhooks', { connection });
    const { receiver, handled, afterJobs, work } = watched({
      add: ({ event }) => queue.add(event.event, event, { attempts: 5 }),
    });
    const worker = new Worker<WebhookEvent>('webhooks', (job) => work(job.data), {
      connection,
      autorun: false,
    });
    try {
      const ids = await send(receiver);
      void worker.run();
      await afterJobs(4);
      assert.deepEqual(handled.toSorted(), ids.toSorted());
    } finally {
      await worker.close(true);
      await queue.close();
      await stopRedis(redis);
    }
  });
});
