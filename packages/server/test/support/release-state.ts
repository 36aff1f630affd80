/**
 * The states that releases leave databases in: made by a service that works, kept as text, and put back into a schema of
 * their time. See docs/upgrades.md.
 */
import assert from 'node:assert/strict';
import { createHmac } from 'node:crypto';
import { existsSync, readdirSync, readFileSync } from 'node:fs';
import { join } from 'node:path';
import { gunzipSync } from 'node:zlib';
import { type Migration, readMigrations } from '../../src/store/migrate.ts';
import { MIGRATIONS as POSTGRES_MIGRATIONS } from '../../src/store/postgres/migrate.ts';
import { type RunningService, startService } from '../cli/harness.ts';
import { Client } from './client.ts';
import { type Behaviour, neverAnswer, type Receiver, type ReceivedRequest, respond } from './receivers.ts';

export type EngineName = 'sqlite' | 'postgres';
export const ENGINES: readonly EngineName[] = ['sqlite', 'postgres'];

/** One folder a release. */
export const RELEASES = join(import.meta.dirname, '../releases');

/** What is written of a release beside the dumps. */
export interface Release {
  version: string;
  /** For each engine what the database was migrated by, oldest first. */
  migrations: Record<EngineName, { name: string; checksum: string }[]>;
  expected: Record<EngineName, Expected>;
}

/** Rows of every table, as texts that the engine understands. */
export interface Dump {
  tables: Record<string, { columns: string[]; rows: unknown[] }>;
  /** Where PostgreSQL's sequences stand. */
  sequences: Record<string, string>;
}

/** What a service answered about the state, and what proves later that it still works. */
export interface Expected {
  accountKey: string;
  endpointSecret: string;
  /** Of an event that was delivered, to be published again. */
  published: { event_id: string; data: object };
  /** The deliveries that wait for their retry, later than a test would. */
  retrying: string[];
  picture: Record<string, unknown>;
}

// Of a fixture and of nothing else: what they open is in the repository.
const ENCRYPTION_KEY = Buffer.from('the key of released test states!').toString('base64');
const OPERATOR_KEY = 'operator-key-of-released-test-states'.padEnd(48, '0');
/** Stands in a kept state for the address of its receiver. */
const RECEIVER = '127.0.0.1:1';
const USERNAME = 'alice';
const VIDEO = 'generated_video_success';
const SCRIPT = 'generated_script_success';

/** Starts a service on a state, with retention long enough for one of years ago. */
export function startOn(folder: string, databaseUrl: string): Promise<RunningService> {
  return startService(folder, {
    env: {
      POSTHORN_DATABASE_URL: databaseUrl,
      POSTHORN_ENCRYPTION_KEY: ENCRYPTION_KEY,
      POSTHORN_OPERATOR_KEY: OPERATOR_KEY,
      POSTHORN_ENDPOINT_POLICY: 'development',
      POSTHORN_RATE_LIMIT_POST: 'off',
      POSTHORN_RETENTION: '3650d',
      // So that what waits for its retry waits however long a slow machine takes.
      POSTHORN_RETRY_SCHEDULE: '30d,30d',
      POSTHORN_TIMEOUT: '30s',
    },
  });
}

export function operatorOf({ url }: RunningService): Client {
  return new Client(url, OPERATOR_KEY);
}

/** Receives as the state's endpoints want it: by the path. */
export const behaveByPath: Behaviour = (socket, request) => {
  const path = new URL(request.target, 'http://receiver').pathname;
  const behaviours: Record<string, Behaviour> = {
    '/good': respond(200, { body: 'thanks' }),
    '/broken': respond(500, { body: 'broken' }),
    '/gone': respond(410),
  };
  (behaviours[path] ?? neverAnswer)(socket, request);
};

// ---------------------------------------------------------------- making a state

/**
 * Has a service make every kind of record: delivered, dead, cancelled, waiting for a retry, under way.
 *
 * @param receiver - behaves by {@link behaveByPath}
 * @param endsAttempts - nothing is under way at the end, so that a stop in order is a quick one
 */
export async function fill(
  service: RunningService,
  receiver: Receiver,
  { endsAttempts = false } = {},
): Promise<Expected> {
  const operator = operatorOf(service);
  const mine = { account: USERNAME };
  await operator.data('POST', '/v2/account', {
    body: { username: USERNAME, metadata: { plan: 'naïve 🚀' } },
  });
  await operator.data('POST', '/v2/account', { body: { username: 'bob' } });
  await operator.data('PATCH', '/v2/account/bob', { body: { status: 'suspended' } });
  await operator.data('PUT', '/v2/event_type/order.paid', {
    body: { category: 'orders', description: 'An order was paid', schema: { type: 'object' } },
  });
  const { api_key: accountKey } = await operator.data<{ api_key: string }>(
    'POST',
    '/v2/account/alice/api_key',
    {
      body: { name: 'backend' },
    },
  );

  const addEndpoint = (path: string, events: string[], more: object = {}) =>
    operator.data<{ endpoint_id: string; secret: string }>('POST', '/v2/endpoint', {
      ...mine,
      body: { url: `http://127.0.0.1:${receiver.port}${path}`, events, ...more },
    });
  const good = await addEndpoint('/good', [VIDEO], { headers: { 'x-team': 'video' }, description: 'main' });
  await addEndpoint('/gone', ['order.paid']);
  const waiting = await addEndpoint('/waiting', [SCRIPT], endsAttempts ? { timeout_seconds: 1 } : {});
  await addEndpoint('/broken', ['create_avatar_failed']);
  await addEndpoint('/paused', [VIDEO], { status: 'disabled' });

  const publish = async (eventId: string, event: string) => {
    const { example } = await operator.data<{ example: object | null }>('GET', `/v2/event_type/${event}`);
    const data = example ?? { id: eventId };
    await operator.data('POST', '/v2/publish', {
      body: { username: USERNAME, event, event_id: eventId, data },
    });
    return { event_id: eventId, data };
  };
  const attempted = (eventId: string) =>
    service.logged((line) => line.msg === 'attempt' && line.event_id === eventId);
  const published = await publish('delivered-1', VIDEO);
  await publish('delivered-2', VIDEO);
  await publish('gone-1', 'order.paid');
  await publish('under-way', SCRIPT);
  await publish('retrying', 'create_avatar_failed');
  await Promise.all(['delivered-1', 'delivered-2', 'gone-1', 'retrying'].map(attempted));
  await operator.data('POST', `/v2/endpoint/${good.endpoint_id}/rotate_secret`, { ...mine, body: {} });
  const rotated = await operator.data<{ endpoints: { endpoint_id: string; secret: string }[] }>(
    'GET',
    '/v2/endpoints',
    mine,
  );
  const endpointSecret = rotated.endpoints.find((e) => e.endpoint_id === waiting.endpoint_id)?.secret ?? '';
  if (endsAttempts) await attempted('under-way');
  const waits = endsAttempts ? ['retrying', 'under-way'] : ['retrying'];
  const deliveries = await operator.list<Listed>('/v2/deliveries?status=pending', 'deliveries', USERNAME);
  return {
    accountKey,
    endpointSecret,
    published,
    retrying: deliveries.filter((d) => waits.includes(d.event_id)).map((d) => d.delivery_id),
    picture: await pictureOf(operator),
  };
}

interface Listed {
  delivery_id: string;
  event_id: string;
  status: string;
}

/** What the API tells of everything that a state holds; of what is pending only what time doesn't change. */
export async function pictureOf(operator: Client): Promise<Record<string, unknown>> {
  const mine = { account: USERNAME };
  const deliveries = await operator.list<Listed>('/v2/deliveries', 'deliveries', USERNAME);
  const ended = deliveries.filter(({ status }) => status !== 'pending');
  const events = await operator.list<{ event_id: string }>('/v2/event_log', 'events', USERNAME);
  const details = [];
  for (const { delivery_id: id } of ended)
    details.push(await operator.data('GET', `/v2/delivery/${id}`, mine));
  return {
    account: await operator.data('GET', '/v2/account/alice'),
    suspended: await operator.data('GET', '/v2/account/bob'),
    keys: await operator.data('GET', '/v2/account/alice/api_keys'),
    eventType: await operator.data('GET', '/v2/event_type/order.paid'),
    endpoints: await operator.data('GET', '/v2/endpoints', mine),
    details: details.toSorted((a, b) => ((a as Listed).delivery_id < (b as Listed).delivery_id ? -1 : 1)),
    pending: deliveries
      .filter(({ status }) => status === 'pending')
      .map(({ delivery_id, event_id }) => `${delivery_id} ${event_id}`)
      .toSorted(),
    events: events.map((event) => event.event_id).toSorted(),
  };
}

/** The first request at a path; waits for it. */
export async function firstAt(receiver: Receiver, path: string): Promise<ReceivedRequest> {
  for (let count = 1; ; count++) {
    await receiver.whenRequests(count);
    const found = receiver.requests.find(({ target }) => target === path);
    if (found !== undefined) return found;
  }
}

// ---------------------------------------------------------------- judging a state

/** Everything that `before` says, `now` says too: a later version may add fields. */
export function assertStillSays(now: unknown, before: unknown, at = 'answers'): void {
  if (typeof before !== 'object' || before === null) {
    assert.deepEqual(now, before, at);
    return;
  }
  assert.ok(typeof now === 'object' && now !== null, at);
  if (Array.isArray(before)) assert.equal((now as unknown[]).length, before.length, `${at}: how many`);
  for (const [name, value] of Object.entries(before)) {
    assertStillSays((now as Record<string, unknown>)[name], value, `${at}.${name}`);
  }
}

/** @throws AssertionError when the signature isn't that of the secret (wire contract, section 2) */
export function assertSigned({ headers, body }: ReceivedRequest, secret: string): void {
  const expected = createHmac('sha256', secret).update(body).digest('hex');
  assert.equal(headers['x-webhook-signature'], expected);
}

/** Puts the address of this run's receiver where a kept state has its mark, or the other way round. */
export function withReceiver<T>(state: T, port: number | 'mark', from?: number): T {
  const [old, now] = port === 'mark' ? [`127.0.0.1:${from}`, RECEIVER] : [RECEIVER, `127.0.0.1:${port}`];
  return JSON.parse(JSON.stringify(state).replaceAll(`${old}/`, `${now}/`)) as T;
}

// ---------------------------------------------------------------- releases

export function migrationsOf(engine: EngineName): Migration[] {
  const sqlite = new URL('../../src/store/sqlite/migrations/', import.meta.url);
  return readMigrations(engine === 'sqlite' ? sqlite : POSTGRES_MIGRATIONS);
}

/** Oldest first. */
export function readReleases(): Release[] {
  if (!existsSync(RELEASES)) return [];
  return readdirSync(RELEASES, { withFileTypes: true })
    .filter((entry) => entry.isDirectory())
    .map(({ name }) => JSON.parse(readFileSync(join(RELEASES, name, 'release.json'), 'utf8')) as Release)
    .toSorted((a, b) => a.version.localeCompare(b.version, 'en', { numeric: true }));
}

export function readDump({ version }: Release, engine: EngineName): Dump {
  return JSON.parse(
    gunzipSync(readFileSync(join(RELEASES, version, `${engine}.json.gz`))).toString(),
  ) as Dump;
}
