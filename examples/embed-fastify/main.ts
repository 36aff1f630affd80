/**
 * Posthorn inside a Fastify application: its API under /webhooks, publishing from a route of the application's own.
 * Needs nothing else; with DATABASE_URL and POSTHORN_ENCRYPTION_KEY it runs on PostgreSQL.
 *
 *   npm run build && npm exec -- node examples/embed-fastify/main.ts
 */
import { randomBytes } from 'node:crypto';
import { mkdtemp, rm } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { fastify } from 'fastify';
import { createPosthorn } from 'posthorn';
import { furnish, Receiver } from '../support/customer.ts';

/** What this application publishes: wrong names and wrong data don't compile. */
interface Events {
  'order.paid': { order_id: string };
}

const folder = await mkdtemp(join(tmpdir(), 'posthorn-example-'));
const operatorKey = randomBytes(32).toString('hex');
const posthorn = await createPosthorn<Events>({
  database: process.env.DATABASE_URL || `sqlite:${join(folder, 'posthorn.db')}`,
  ...(process.env.DATABASE_URL ? { encryptionKey: process.env.POSTHORN_ENCRYPTION_KEY ?? '' } : {}),
  operatorKey,
  endpointPolicy: 'development', // the sample receiver listens on http and on this machine
});
posthorn.on('delivered', ({ eventId, attempt }) =>
  console.log(`delivered ${eventId} in ${Math.round(attempt.durationMs)} ms`),
);

const username = `customer-${randomBytes(4).toString('hex')}`;
const app = fastify();
await app.register(posthorn.handler.fastify, { prefix: '/webhooks' });
app.post<{ Params: { id: string } }>('/orders/:id/pay', async ({ params }) => {
  const { eventId } = await posthorn.publish({
    username,
    event: 'order.paid',
    data: { order_id: params.id },
    eventId: `${username}-${params.id}-paid`, // a repeated request changes nothing
  });
  return { paid: params.id, event_id: eventId };
});
app.addHook('onClose', () => posthorn.stop());
await posthorn.start();
const url = await app.listen({ host: '127.0.0.1', port: 0 });
console.log(`the application listens on ${url}, Posthorn's API is under ${url}/webhooks`);

const receiver = await Receiver.start();
await furnish(`${url}/webhooks`, operatorKey, username, receiver);
const answer = await fetch(`${url}/orders/o-17/pay`, { method: 'POST' });
console.log(`POST /orders/o-17/pay answers ${await answer.text()}`);
console.log(`the customer received ${JSON.stringify(await receiver.webhook(1))}`);

await app.close();
await receiver.close();
await rm(folder, { recursive: true, force: true });
