/** The process of the bare loop: reads what to send, says that it is ready, then sends everything as fast as it can. */
import { createHmac } from 'node:crypto';
import { readFileSync } from 'node:fs';
import { Pool } from 'undici';
import { sealEvent } from '../events.ts';
import { EVENT_TYPE } from '../system.ts';

export type PreparedEvents = {
  eventId: string;
  data: unknown;
  endpoints: { number: number; url: string; secret: string }[];
}[];

/** The best of 10, 25, 50 and 100 connections, tried on two cores. */
const CONNECTIONS = 50;

export const BARE_SETTINGS: Record<string, string> = {
  client: 'undici Pool per origin, keep-alive, no pipelining',
  connections: String(CONNECTIONS),
  work: 'sealed and signed (both schemes of the wire contract) for each request; the response is read; nothing is stored',
};

async function run(file: string): Promise<void> {
  const events = JSON.parse(readFileSync(file, 'utf8')) as PreparedEvents;
  const pools = new Map<string, Pool>();
  const requests = events.flatMap(({ eventId, data, endpoints }) =>
    endpoints.map(({ url, secret }) => {
      const { origin, pathname } = new URL(url);
      let pool = pools.get(origin);
      if (pool === undefined) {
        pool = new Pool(origin, { connections: CONNECTIONS, pipelining: 1, allowH2: false });
        pools.set(origin, pool);
      }
      return {
        eventId,
        data,
        pool,
        pathname,
        secret,
        key: Buffer.from(secret.slice('whsec_'.length), 'base64'),
      };
    }),
  );
  process.send?.('ready');
  const waiting = requests.values();
  const send = async (): Promise<void> => {
    for (const { eventId, data, pool, pathname, secret, key } of waiting) {
      const timestamp = Math.floor(Date.now() / 1000);
      const body = sealEvent(eventId, data, timestamp);
      const standard = createHmac('sha256', key).update(`${eventId}.${timestamp}.${body}`).digest('base64');
      const { body: answer } = await pool.request({
        method: 'POST',
        path: pathname,
        body,
        headers: {
          'content-type': 'application/json',
          'x-webhook-event': EVENT_TYPE,
          'x-webhook-signature': createHmac('sha256', secret).update(body).digest('hex'),
          'webhook-id': eventId,
          'webhook-timestamp': String(timestamp),
          'webhook-signature': `v1,${standard}`,
        },
      });
      await answer.dump();
    }
  };
  await Promise.all(Array.from({ length: CONNECTIONS }, send));
}

if (process.argv[2] === 'as-process') {
  process.once('disconnect', () => process.exit(0));
  await run(process.argv[3] ?? '');
}
