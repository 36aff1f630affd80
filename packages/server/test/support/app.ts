/** The HTTP API over a real store in a temporary folder, with what tests need to drive and to see it. */
import assert from 'node:assert/strict';
import { join } from 'node:path';
import { Writable } from 'node:stream';

import { Ajv2020 } from 'ajv/dist/2020.js';
import type { FastifyInstance, InjectOptions } from 'fastify';
import { pino } from 'pino';

import { v2Routes, buildApp } from '../../src/api/app.ts';
import { NOTHING_ALLOWED } from '../../src/delivery/allow-list.ts';
import { Authenticator } from '../../src/api/auth.ts';
import type { ApiDeps, ApiSettings, RequestOutcome } from '../../src/api/deps.ts';
import type { ApiRoute } from '../../src/api/route.ts';
import { Catalogue } from '../../src/catalogue/index.ts';
import { KeyRotation } from '../../src/key-rotation.ts';
import { LiveEvents } from '../../src/live-events.ts';
import { PASSED_ON } from '../../src/tracing.ts';
import type { Scope } from '../../src/model.ts';
import { Publisher } from '../../src/publish.ts';
import { Vault, createApiKey, hashApiKey, keyPrefix } from '../../src/secrets.ts';
import { openSqliteStore } from '../../src/store/sqlite/index.ts';
import type { Lease, Store } from '../../src/store/store.ts';
import { ManualClock } from './manual-clock.ts';
import { MINUTE_MS, WIDE_OFFER, deadAt, deliveredAt, retryingAt, unique } from './store-fixtures.ts';
import { tempDir } from './tempdir.ts';

export interface ApiAnswer {
  status: number;
  headers: Record<string, string>;
  /** The parsed body, whatever it is. */
  json: Record<string, unknown>;
  rid: string;
  code: number;
  msg: string;
  /** Tests look into answers of every shape. */
  data: any;
  text: string;
}

export interface RequestOptions {
  key?: string | null;
  /** The `x-account` header. */
  account?: string;
  body?: unknown;
  headers?: Record<string, string>;
  remoteAddress?: string;
}

export interface TestAppOptions {
  settings?: Partial<ApiSettings>;
  metrics?: ApiDeps['metrics'];
  ready?: ApiDeps['ready'];
  surface?: NonNullable<ApiDeps['surface']>;
  pageFolder?: string;
  /** The store to work on; one of SQLite in a temporary folder by default. Closed with the app. */
  openStore?: () => Promise<Store>;
  /** Stands between the API and the real store, to make it fail. */
  wrapStore?: (store: Store) => Store;
}

export interface TestApp {
  app: FastifyInstance;
  store: Store;
  clock: ManualClock;
  catalogue: Catalogue;
  publisher: Publisher;
  routes: ApiRoute[];
  /** The operator key of the "configuration". */
  operatorKey: string;
  delivery: { wakes: number; changed: string[] };
  /** Log lines, parsed. */
  logs: Record<string, unknown>[];
  outcomes: RequestOutcome[];
  /** A request by injection; the envelope is checked, and a success against the route's schema. */
  request(method: string, path: string, options?: RequestOptions): Promise<ApiAnswer>;
  /** Creates an account and answers a key of it. */
  createAccount(username?: string): Promise<{ username: string; key: string }>;
  createKey(
    username: string | null,
    scopes: Scope[],
    expiresAt?: number,
  ): Promise<{ keyId: string; key: string }>;
  /** Leases everything that is due and ends it in one way. */
  settleDue(end: 'delivered' | 'dead' | 'retrying'): Promise<Lease[]>;
  close(): Promise<void>;
}

const ajv = new Ajv2020({ strict: false, validateFormats: false });

/** A copy of a schema in which every object with properties takes no others: an undocumented field is a mistake. */
function closed(schema: unknown): unknown {
  if (Array.isArray(schema)) return schema.map(closed);
  if (typeof schema !== 'object' || schema === null) return schema;
  const copy = Object.fromEntries(
    Object.entries(schema).map(([name, value]) => [name, name === 'examples' ? value : closed(value)]),
  );
  if (typeof copy.properties === 'object' && copy.additionalProperties === undefined) {
    copy.additionalProperties = false;
  }
  return copy;
}

const checks = new Map<string, (value: unknown) => boolean>();

function assertFits(route: ApiRoute, data: unknown): void {
  let check = checks.get(route.operationId);
  if (check === undefined) {
    check = ajv.compile(closed(route.data) as object);
    checks.set(route.operationId, check);
  }
  const fits = check(data);
  const errors = JSON.stringify((check as { errors?: unknown }).errors);
  assert.ok(fits, `data of ${route.operationId} is not as documented: ${errors} in ${JSON.stringify(data)}`);
}

function routeAt(routes: readonly ApiRoute[], method: string, path: string): ApiRoute | undefined {
  const steps = (path.split('?', 1)[0] as string).replace(/^\/(open\/)?v2\//, '').split('/');
  return routes.find((route) => {
    const pattern = route.path.slice(1).split('/');
    return (
      route.method === method &&
      pattern.length === steps.length &&
      pattern.every((step, i) => step.startsWith(':') || step === steps[i])
    );
  });
}

/**
 * Builds store and app in a temporary folder of their own.
 *
 * @example
 * const api = await testApp();
 * t.after(() => api.close());
 * const { key } = await api.createAccount('alice');
 * const { data } = await api.request('GET', '/v2/endpoints', { key });
 */
export async function testApp(options: TestAppOptions = {}): Promise<TestApp> {
  const dir = await tempDir();
  const clock = new ManualClock();
  const realStore = await (options.openStore?.() ??
    openSqliteStore({ path: join(dir.path, 'posthorn.db'), clock }));
  const store = options.wrapStore?.(realStore) ?? realStore;
  const catalogue = new Catalogue(store);
  await catalogue.load();
  const publisher = new Publisher({ store, offer: () => null, onClaimed: () => {} });
  const operatorKey = createApiKey();
  const delivery = { wakes: 0, changed: [] as string[] };
  const logs: Record<string, unknown>[] = [];
  const outcomes: RequestOutcome[] = [];
  const sink = new Writable({
    write(chunk: Buffer, _encoding, done) {
      for (const line of chunk.toString().trim().split('\n')) logs.push(JSON.parse(line));
      done();
    },
  });
  const vault = new Vault(Buffer.alloc(32, 7));
  await realStore.announceEncryptionKeys(vault.keyIds, vault.sealsWith);
  const keyRotation = new KeyRotation({
    store,
    vault,
    clock,
    file: null,
    isShared: false,
    setting: 'POSTHORN_ENCRYPTION_KEY',
    olderSetting: 'POSTHORN_ENCRYPTION_KEY_OLD',
    onProgress: () => {},
    onRetired: () => {},
    onError: (message, error) => deps.logger.error({ err: error }, message),
  });
  const deps: ApiDeps = {
    store,
    publisher,
    catalogue,
    vault,
    keyRotation,
    delivery: {
      wake: () => {
        delivery.wakes += 1;
      },
      endpointChanged: (endpointId) => {
        delivery.changed.push(endpointId);
      },
    },
    tracing: PASSED_ON,
    live: new LiveEvents({ store, clock, sharedStore: false, retentionMs: 86_400_000 }),
    clock,
    logger: pino({ level: 'debug' }, sink),
    version: '0.0.0-test',
    role: 'all',
    operatorKeyHash: hashApiKey(operatorKey),
    settings: {
      endpointPolicy: 'public-https',
      allow: NOTHING_ALLOWED,
      maxEndpoints: 20,
      maxBodyBytes: 256 * 1024,
      maxRequestBytes: 5 * 1024 * 1024,
      rateLimitPostPerMinute: null,
      publicUrl: null,
      ...options.settings,
    },
    onRequestDone: (outcome) => outcomes.push(outcome),
    ...(options.metrics === undefined ? {} : { metrics: options.metrics }),
    ...(options.ready === undefined ? {} : { ready: options.ready }),
    ...(options.surface === undefined ? {} : { surface: options.surface }),
    ...(options.pageFolder === undefined ? {} : { pageFolder: options.pageFolder }),
  };
  const app = await buildApp(deps);
  await app.ready();
  const routes = v2Routes(
    deps,
    new Authenticator({ store, clock, logger: deps.logger, operatorKeyHash: null, failedAuthPerMinute: 1 }),
  );

  async function createKey(username: string | null, scopes: Scope[], expiresAt: number | null = null) {
    const key = createApiKey();
    const keyId = unique('key_test');
    await store.createKey({
      keyId,
      username,
      name: 'test',
      scopes,
      prefix: keyPrefix(key),
      expiresAt,
      hash: hashApiKey(key),
    });
    return { keyId, key };
  }

  return {
    app,
    store,
    clock,
    catalogue,
    publisher,
    routes,
    operatorKey,
    delivery,
    logs,
    outcomes,
    createKey,

    async request(method, path, { key, account, body, headers = {}, remoteAddress } = {}) {
      const response = await app.inject({
        method: method as NonNullable<InjectOptions['method']>,
        url: path,
        headers: {
          ...(key === undefined || key === null ? {} : { 'x-api-key': key }),
          ...(account === undefined ? {} : { 'x-account': account }),
          ...(body === undefined ? {} : { 'content-type': 'application/json' }),
          ...headers,
        },
        ...(body === undefined
          ? {}
          : { payload: typeof body === 'string' || Buffer.isBuffer(body) ? body : JSON.stringify(body) }),
        ...(remoteAddress === undefined ? {} : { remoteAddress }),
      });
      const answer = {
        status: response.statusCode,
        headers: response.headers as Record<string, string>,
        ...checkEnvelope(response.body, response.headers as Record<string, string>),
      };
      assert.equal(answer.code === 0 || answer.data !== null, response.statusCode === 200, response.body);
      const route = /^\/(open\/)?v2\//.test(path) ? routeAt(routes, method, path) : undefined;
      if (route !== undefined && answer.data !== null) assertFits(route, answer.data);
      return answer;
    },

    async createAccount(username = unique('account')) {
      await store.createAccount({ username, metadata: null });
      const { key } = await createKey(username, ['account']);
      return { username, key };
    },

    async settleDue(end) {
      const { leases } = await store.claim(WIDE_OFFER);
      const now = clock.now();
      const settlements = leases.map((lease) => {
        if (end === 'delivered') return deliveredAt(lease, now);
        return end === 'dead' ? deadAt(lease, now) : retryingAt(lease, now, now + MINUTE_MS);
      });
      await store.settle(settlements, null);
      return leases;
    },

    async close() {
      await app.close();
      await keyRotation.stop();
      await publisher.stop();
      await store.close();
      await dir.remove();
    },
  };
}

/**
 * The store with some operations replaced.
 *
 * @example
 * wrapStore: (store) => overriding(store, { ping: () => Promise.reject(unavailable('gone')) })
 */
export function overriding(store: Store, operations: Partial<Store>): Store {
  return new Proxy(store, {
    get(target, name: keyof Store) {
      const value = Reflect.get(target, name, target);
      return operations[name] ?? (typeof value === 'function' ? value.bind(target) : value);
    },
  });
}

/** Parses an answer and asserts that it wears the envelope, with the request id of its header. */
export function checkEnvelope(
  text: string,
  headers: Record<string, string>,
): Omit<ApiAnswer, 'status' | 'headers'> {
  assert.match(headers['content-type'] ?? '', /^application\/json/, text);
  const json = JSON.parse(text) as Record<string, unknown>;
  const { rid, code, msg, data } = json;
  assert.match(String(rid), /^req_[0-9a-z]{26}$/);
  assert.equal(headers['x-request-id'], rid);
  assert.equal(typeof code, 'number');
  assert.equal(typeof msg, 'string');
  assert.ok(data === null || typeof data === 'object');
  if (code === 0) assert.equal(msg, 'Success');
  else assert.ok((msg as string).length > 8, `a sentence: ${String(msg)}`);
  return { json, rid: rid as string, code: code as number, msg: msg as string, data, text };
}
