/**
 * An order and the event that tells of it, in one transaction of the application's own: both are there, or neither.
 *
 *   npm run build
 *   export DATABASE_URL=postgres://… POSTHORN_ENCRYPTION_KEY=$(openssl rand -base64 32)
 *   npm exec -- node examples/publish-in-transaction/main.ts
 */
import { randomBytes } from 'node:crypto';
import pg from 'pg';
import { createPosthorn } from 'posthorn';
import { furnish, listen, postgresFromEnvironment, Receiver } from '../support/customer.ts';

interface Events {
  'order.paid': { order_id: string };
}

const { database, encryptionKey } = postgresFromEnvironment();
const operatorKey = randomBytes(32).toString('hex');
const username = `customer-${randomBytes(4).toString('hex')}`;
const posthorn = await createPosthorn<Events>({
  database,
  encryptionKey,
  operatorKey,
  endpointPolicy: 'development',
});
await posthorn.start();
const server = await listen(posthorn.handler);
const receiver = await Receiver.start();
await furnish(server.url, operatorKey, username, receiver);

const pool = new pg.Pool({ connectionString: database });
await pool.query('CREATE TABLE IF NOT EXISTS example_order (id text PRIMARY KEY, customer text NOT NULL)');

/** Stores an order and publishes that it was paid; when `check` throws, nothing of it has happened. */
async function payOrder(id: string, check: () => void): Promise<void> {
  const client = await pool.connect();
  try {
    await client.query('BEGIN');
    await client.query('INSERT INTO example_order (id, customer) VALUES ($1, $2)', [id, username]);
    await posthorn.publish({ username, event: 'order.paid', data: { order_id: id } }, { client });
    check();
    await client.query('COMMIT');
  } catch (error) {
    await client.query('ROLLBACK');
    throw error;
  } finally {
    client.release();
  }
}

const suffix = randomBytes(4).toString('hex');
try {
  await payOrder(`refused-${suffix}`, () => {
    throw new Error('the card was refused');
  });
} catch (error) {
  console.log(`rolled back, with its event: ${(error as Error).message}`);
}
await payOrder(`paid-${suffix}`, () => {});
console.log('committed');

const webhook = await receiver.webhook(1);
console.log(`the customer received ${JSON.stringify(webhook)}`);
const { rows } = await pool.query('SELECT id FROM example_order WHERE customer = $1', [username]);
console.log(`orders: ${JSON.stringify(rows)}, webhooks: ${receiver.webhooks.length}`);
if (webhook.data.order_id !== `paid-${suffix}`) throw new Error('the webhook of another order arrived');

await pool.query('DROP TABLE example_order');
await pool.end();
await server.close();
await posthorn.stop();
await receiver.close();
