/**
 * The library's types, checked by the compiler alone (`npm run typecheck`): each `@ts-expect-error` fails where the
 * mistake under it is not one. Nothing here is ever run.
 */
import { createServer } from 'node:http';
import { fastify } from 'fastify';
import pg from 'pg';
import {
  type AttemptReport,
  createPosthorn,
  type Posthorn,
  type PosthornEvent,
  type PosthornOptions,
  type Published,
  type Refused,
} from '../src/index.ts';

interface Shop {
  'order.paid': { orderId: string; cents: number };
  'order.shipped': { orderId: string; carrier?: string };
}

declare const shop: Posthorn<Shop>;
declare const any: Posthorn;
declare const client: pg.Client;
declare const pool: pg.Pool;
declare const poolClient: pg.PoolClient;

function expect<Expected>(_value: Expected): void {}

export async function publishing(): Promise<void> {
  const paid = { username: 'alice', event: 'order.paid', data: { orderId: 'o-1', cents: 100 } } as const;
  expect<Published>(await shop.publish(paid));
  expect<(Published | Refused)[]>(await shop.publish([paid, { ...paid, eventId: 'o-1', timestamp: 1 }]));
  for (const sql of [client, pool, poolClient]) {
    expect<{ eventId: string }>(await shop.publish(paid, { client: sql }));
    expect<{ eventId: string }[]>(await shop.publish([paid], { client: sql }));
  }
  const [first] = await shop.publish([paid]);
  // @ts-expect-error a refused event has no id
  expect<string | undefined>(first?.eventId);
  if (first !== undefined && !('error' in first)) expect<string>(first.eventId);

  // @ts-expect-error no such event type
  await shop.publish({ username: 'alice', event: 'order.payed', data: { orderId: 'o-1', cents: 100 } });
  // @ts-expect-error the data of another type
  await shop.publish({ username: 'alice', event: 'order.paid', data: { orderId: 'o-1', carrier: 'x' } });
  // @ts-expect-error a part of the data is missing
  await shop.publish({ username: 'alice', event: 'order.paid', data: { orderId: 'o-1' } });
  // @ts-expect-error a part of the data is of another type
  await shop.publish([{ username: 'alice', event: 'order.shipped', data: { orderId: 1 } }]);
  // @ts-expect-error whose it is is missing
  await shop.publish({ event: 'order.shipped', data: { orderId: 'o-1' } });
  // @ts-expect-error the id's name on the wire, which would be ignored
  await shop.publish({ ...paid, event_id: 'o-1' });
  // @ts-expect-error no client
  await shop.publish(paid, { client: {} });
  // @ts-expect-error with a client it isn't known to whom it goes
  expect<number>((await shop.publish(paid, { client })).deliveries);

  await any.publish({ username: 'alice', event: 'whatever', data: { a: [1, null, { b: true }] } });
  // @ts-expect-error data is an object
  await any.publish({ username: 'alice', event: 'whatever', data: 'text' });
}

export function events(): void {
  expect<() => void>(shop.on('attempt', (report) => expect<AttemptReport>(report)));
  shop.on('dead', ({ deliveryId, attempt }) => expect<[string, number]>([deliveryId, attempt.number]));
  shop.on('delivered', async () => {});
  shop.on('published', ({ username, eventId, deliveries }) =>
    expect<[string, string, number]>([username, eventId, deliveries]),
  );
  // @ts-expect-error no such event
  shop.on('failed', () => {});
  // @ts-expect-error it has no attempt
  shop.on('published', ({ attempt }) => attempt);
  // @ts-expect-error no such event
  shop.off('publish', () => {});
}

export async function handlers(): Promise<void> {
  createServer(shop.handler);
  const serve = shop.handler.under('/webhooks');
  createServer((request, response) => serve(request, response));
  createServer((request, response) => serve(request, response, () => response.end()));
  await fastify().register(shop.handler.fastify, { prefix: '/webhooks' });
  // @ts-expect-error a prefix is a text
  shop.handler.under(1);
}

export async function creating(): Promise<void> {
  expect<Posthorn<Shop>>(await createPosthorn<Shop>({ database: 'sqlite:x.db' }));
  expect<Posthorn>(await createPosthorn({ database: 'sqlite:x.db', laneLimit: 3, retrySchedule: ['5s'] }));
  const event: PosthornEvent<Shop> = { username: 'a', event: 'order.shipped', data: { orderId: 'o' } };
  await shop.publish(event);
  // @ts-expect-error the database is missing
  await createPosthorn({ laneLimit: 3 });
  // @ts-expect-error a duration has a unit
  await createPosthorn({ database: 'sqlite:x.db', timeout: 5 });
  // @ts-expect-error no such role
  await createPosthorn({ database: 'sqlite:x.db', role: 'both' });
  // @ts-expect-error no such option: it has no port
  await createPosthorn({ database: 'sqlite:x.db', listen: '127.0.0.1:8080' });
  // @ts-expect-error data is an object
  await createPosthorn<{ 'order.paid': string }>({ database: 'sqlite:x.db' });
}

type OptionName =
  | 'database'
  | 'databasePool'
  | 'role'
  | 'operatorKey'
  | 'encryptionKey'
  | 'encryptionKeyOld'
  | 'endpointPolicy'
  | 'allowPrivate'
  | 'egressProxy'
  | 'retrySchedule'
  | 'timeout'
  | 'probeAfter'
  | 'probePauses'
  | 'disableAfter'
  | 'operationsAccount'
  | 'retention'
  | 'maxHistory'
  | 'auditRetention'
  | 'rateLimitPost'
  | 'maxEndpoints'
  | 'maxBody'
  | 'maxRequest'
  | 'maxMemory'
  | 'laneLimit'
  | 'inFlight'
  | 'responseCapture'
  | 'sendTraceparent'
  | 'publicUrl'
  | 'trustProxy';

/** In the order of the settings; `config.test.ts` holds `loadOptions` to the same names. */
export const optionNames: Record<OptionName, true> & Record<Exclude<keyof PosthornOptions, 'logger'>, true> =
  {
    database: true,
    databasePool: true,
    role: true,
    operatorKey: true,
    encryptionKey: true,
    encryptionKeyOld: true,
    endpointPolicy: true,
    allowPrivate: true,
    egressProxy: true,
    retrySchedule: true,
    timeout: true,
    probeAfter: true,
    probePauses: true,
    disableAfter: true,
    operationsAccount: true,
    retention: true,
    maxHistory: true,
    auditRetention: true,
    rateLimitPost: true,
    maxEndpoints: true,
    maxBody: true,
    maxRequest: true,
    maxMemory: true,
    laneLimit: true,
    inFlight: true,
    responseCapture: true,
    sendTraceparent: true,
    publicUrl: true,
    trustProxy: true,
  };
