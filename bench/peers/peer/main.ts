/**
 * A process of a peer: waits for its plan on the IPC channel, tells when it is ready, and ends at SIGTERM, or when the
 * benchmark that started it is gone.
 */
import { once } from 'node:events';
import { EVENT_TYPE } from '../system.ts';
import { eventId, makeData, sealEvent } from '../events.ts';
import { createSender } from './deliver.ts';
import { type Directory, readDirectory } from './fleet.ts';
import { buildIngest } from './ingest.ts';
import type { FillOrder, Plan, QueueName, Ready, ServeOrder } from './plan.ts';
import type { Queue } from './queue.ts';

/** Loads one queue only: a start shouldn't pay for the others. */
const OPEN: Record<QueueName, (databaseUrl: string) => Promise<Queue>> = {
  bullmq: async (url) => (await import('./bullmq.ts')).bullmqQueue(url),
  'pg-boss': async (url) => (await import('./pg-boss.ts')).pgBossQueue(url),
  'graphile-worker': async (url) => (await import('./graphile-worker.ts')).graphileWorkerQueue(url),
};

async function run(plan: Plan): Promise<void> {
  const queue = await OPEN[plan.queue](plan.databaseUrl);
  if (plan.task === 'setUp') await queue.setUp();
  if (plan.task === 'fill') await fill(queue, plan);
  if (plan.task === 'serve') await serve(queue, plan);
  else tell();
}

async function fill(queue: Queue, { fleetFile, finished, pending }: FillOrder): Promise<void> {
  const { targets } = await readDirectory(fleetFile);
  const body = sealEvent(eventId('filled', 0), makeData(), Math.floor(Date.now() / 1000));
  await queue.fill({ finished, pending, endpoints: [...targets.keys()], eventType: EVENT_TYPE, body });
}

/** Ends in order: no more requests, then no more deliveries. */
async function serve(queue: Queue, order: ServeOrder): Promise<void> {
  const { api, delivers, fleetFile, servingSince, keepsPromises } = order;
  const ended = once(process, 'SIGTERM');
  const directory = await readDirectory(fleetFile);
  const closeApi = api === null ? undefined : await serveApi(queue, directory, api, keepsPromises);
  const closeDelivery = delivers
    ? await serveDelivery(queue, directory, servingSince, keepsPromises)
    : undefined;
  tell();
  await ended;
  await closeApi?.();
  await closeDelivery?.();
}

async function serveApi(
  queue: Queue,
  directory: Directory,
  { port, apiKey }: NonNullable<ServeOrder['api']>,
  keepsPromises: boolean,
): Promise<() => Promise<void>> {
  const producer = await queue.produce();
  const app = buildIngest(apiKey, directory, producer, keepsPromises);
  await app.listen({ port, host: '127.0.0.1' });
  return async () => {
    await app.close();
    await producer.close();
  };
}

async function serveDelivery(
  queue: Queue,
  directory: Directory,
  servingSince: number,
  keepsPromises: boolean,
): Promise<() => Promise<void>> {
  const sender = createSender(directory, keepsPromises);
  const consumer = await queue.consume(sender.deliver, servingSince);
  return async () => {
    await consumer.close();
    await sender.close();
  };
}

function tell(): void {
  process.send?.({ ready: true } satisfies Ready);
}

process.once('disconnect', () => process.exit(0));
const [plan] = (await once(process, 'message')) as [Plan];
await run(plan);
// With nothing left to do, only the channel to the benchmark would keep the process.
process.exit(0);
