/**
 * Publishing from plain SQL, as any language and any trigger can: here a trigger publishes for every order that is
 * inserted, under a role that may do nothing else with Posthorn.
 *
 *   npm run build
 *   export DATABASE_URL=postgres://… POSTHORN_ENCRYPTION_KEY=$(openssl rand -base64 32)   # a user that may CREATE ROLE
 *   npm exec -- node examples/publish-from-sql/main.ts
 */
import { randomBytes } from 'node:crypto';
import pg from 'pg';
import { createPosthorn } from 'posthorn';
import { furnish, listen, postgresFromEnvironment, Receiver } from '../support/customer.ts';

const { database, encryptionKey } = postgresFromEnvironment();
const operatorKey = randomBytes(32).toString('hex');
const suffix = randomBytes(4).toString('hex');
const username = `customer-${suffix}`;

// Who delivers: this library here, `posthorn serve` elsewhere.
const posthorn = await createPosthorn({
  database,
  encryptionKey,
  operatorKey,
  endpointPolicy: 'development',
});
await posthorn.start();
const server = await listen(posthorn.handler);
const receiver = await Receiver.start();
await furnish(server.url, operatorKey, username, receiver);

// Who publishes: a client that knows nothing of Posthorn but one function.
const client = new pg.Client(database);
await client.connect();
await client.query(`
  CREATE ROLE shop_${suffix};
  GRANT USAGE ON SCHEMA posthorn TO shop_${suffix}; -- or: posthorn migrate --grant-publish <role>
  GRANT EXECUTE ON FUNCTION posthorn.publish(text, text, jsonb, text) TO shop_${suffix};

  CREATE SCHEMA shop_${suffix} AUTHORIZATION shop_${suffix};
  SET ROLE shop_${suffix};
  SET search_path = shop_${suffix};

  CREATE TABLE orders (id text PRIMARY KEY, customer text NOT NULL);
  CREATE FUNCTION tell_customer() RETURNS trigger LANGUAGE plpgsql AS $$
  BEGIN
    PERFORM posthorn.publish(NEW.customer, 'order.paid', jsonb_build_object('order_id', NEW.id), 'order-' || NEW.id);
    RETURN NEW;
  END $$;
  CREATE TRIGGER tell_customer AFTER INSERT ON orders FOR EACH ROW EXECUTE FUNCTION tell_customer();`);

await client.query('BEGIN');
await client.query(`INSERT INTO orders VALUES ('${suffix}-1', '${username}')`);
await client.query('ROLLBACK');
console.log('rolled back: nobody hears of the first order');
await client.query('BEGIN');
await client.query(`INSERT INTO orders VALUES ('${suffix}-2', '${username}')`);
await client.query('COMMIT');
console.log('committed');

const webhook = await receiver.webhook(1);
console.log(`the customer received ${JSON.stringify(webhook)}`);
if (webhook.event_id !== `order-${suffix}-2`) throw new Error('the webhook of another order arrived');

try {
  await client.query('SELECT * FROM posthorn.event');
} catch (error) {
  console.log(`and the shop can't read what others published: ${(error as Error).message}`);
}

await client.query(`RESET ROLE; DROP OWNED BY shop_${suffix}; DROP ROLE shop_${suffix}`);
await client.end();
await server.close();
await posthorn.stop();
await receiver.close();
