/** The other side of the examples: a customer who has a receiver of webhooks and puts its address into an account. */
import { createHmac, timingSafeEqual } from 'node:crypto';
import { once } from 'node:events';
import { createServer, type IncomingMessage, type RequestListener } from 'node:http';
import type { AddressInfo } from 'node:net';
import { buffer } from 'node:stream/consumers';

/** A webhook as it arrived. */
export interface Webhook {
  event_id: string;
  event: string;
  data: Record<string, unknown>;
}

const PATIENCE_MS = 20_000;

/** Listens on a free port of this machine. */
export async function listen(listener: RequestListener): Promise<{ url: string; close(): Promise<void> }> {
  const server = createServer(listener).listen(0, '127.0.0.1');
  await once(server, 'listening');
  return {
    url: `http://127.0.0.1:${(server.address() as AddressInfo).port}`,
    async close() {
      server.close();
      server.closeAllConnections();
      await once(server, 'close');
    },
  };
}

/** Answers 204 to webhooks that carry the right signature, and keeps them. */
export class Receiver {
  /** Of the endpoint, known once it is added. */
  secret = '';
  readonly webhooks: Webhook[] = [];
  #tell: () => void = () => {};
  #server: { url: string; close(): Promise<void> } | undefined;

  static async start(): Promise<Receiver> {
    const receiver = new Receiver();
    receiver.#server = await listen(async (request, response) => {
      response.writeHead((await receiver.#take(request)) ? 204 : 401).end();
    });
    return receiver;
  }

  get url(): string {
    return `${this.#server?.url}/hooks`;
  }

  /** Resolves with the webhook of a number, counted from 1; rejects when it doesn't come. */
  async webhook(number: number): Promise<Webhook> {
    const late = AbortSignal.timeout(PATIENCE_MS);
    while (this.webhooks.length < number) {
      await new Promise<void>((resolve, reject) => {
        this.#tell = resolve;
        late.onabort = () => reject(new Error(`no webhook arrived within ${PATIENCE_MS / 1000} s`));
      });
    }
    return this.webhooks[number - 1] as Webhook;
  }

  async close(): Promise<void> {
    await this.#server?.close();
  }

  async #take(request: IncomingMessage): Promise<boolean> {
    // The raw bytes: they are what was signed.
    const body = await buffer(request);
    const expected = createHmac('sha256', this.secret).update(body).digest();
    const given = Buffer.from(String(request.headers['x-webhook-signature']), 'hex');
    if (given.length !== expected.length || !timingSafeEqual(given, expected)) return false;
    this.webhooks.push(JSON.parse(body.toString()) as Webhook);
    this.#tell();
    return true;
  }
}

/** One request to Posthorn's API; answers its `data`. */
export async function api<Data>(
  url: string,
  key: string,
  body: object,
  options: { method?: string; account?: string } = {},
): Promise<Data> {
  const { method = 'POST', account } = options;
  const response = await fetch(url, {
    method,
    headers: {
      'x-api-key': key,
      'content-type': 'application/json',
      ...(account === undefined ? {} : { 'x-account': account }),
    },
    body: JSON.stringify(body),
  });
  const { code, msg, data } = (await response.json()) as { code: number; msg: string; data: Data };
  if (code !== 0) throw new Error(`${method} ${url}: ${msg}`);
  return data;
}

/**
 * What an operator does once, by `curl` or `posthorn account`: an event type of the application's own, an account for a
 * customer, and the customer's endpoint, whose secret goes to the receiver.
 *
 * @param base - where the API is served
 */
export async function furnish(base: string, operatorKey: string, username: string, receiver: Receiver) {
  await api(
    `${base}/v2/event_type/order.paid`,
    operatorKey,
    {
      category: 'order',
      description: 'An order was paid',
      schema: { type: 'object', required: ['order_id'], properties: { order_id: { type: 'string' } } },
      example: { order_id: 'o-17' },
    },
    { method: 'PUT' },
  );
  await api(`${base}/v2/account`, operatorKey, { username });
  const endpoint = await api<{ secret: string }>(
    `${base}/v2/endpoint`,
    operatorKey,
    { url: receiver.url, events: ['order.paid'] },
    { account: username },
  );
  receiver.secret = endpoint.secret;
}

/** The database of the examples on PostgreSQL, and the key of what is encrypted there. */
export function postgresFromEnvironment(): { database: string; encryptionKey: string } {
  const { DATABASE_URL: database, POSTHORN_ENCRYPTION_KEY: encryptionKey } = process.env;
  if (!database?.startsWith('postgres') || !encryptionKey) {
    console.error(
      'This example needs a PostgreSQL (15 or newer) and a key for it:\n' +
        '  export DATABASE_URL=postgres://user:password@localhost:5432/database\n' +
        '  export POSTHORN_ENCRYPTION_KEY=$(openssl rand -base64 32)   # the same for every run on this database',
    );
    process.exit(2);
  }
  return { database, encryptionKey };
}
