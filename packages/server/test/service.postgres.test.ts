/** The service on PostgreSQL: one node as on SQLite, then several on one database, with and without notices. */
import assert from 'node:assert/strict';
import type { Socket } from 'node:net';
import { Writable } from 'node:stream';
import { afterEach, beforeEach, describe, it } from 'node:test';
import { setTimeout as delay } from 'node:timers/promises';
import { pino } from 'pino';
import { type Clock, systemClock } from '../src/clock.ts';
import { loadConfig } from '../src/config.ts';
import { createEncryptionKey } from '../src/secrets.ts';
import { createService, type Service } from '../src/service.ts';
import { runCli } from './cli/harness.ts';
import { Client } from './support/client.ts';
import { createDatabase, type PostgresDatabase } from './support/postgres.ts';
import { inTurn, type Receiver, type ReceivedRequest, respond, startReceiver } from './support/receivers.ts';

const PAYLOAD = 'nobody-may-log-this';
const EVENT = 'generated_image_success';
const OPERATOR_KEY = 'postgres-test-operator-key-'.padEnd(48, '0');
const ENCRYPTION_KEY = createEncryptionKey();
/** Far more than anything here takes; what is never told of takes for ever. */
const TIME_LIMIT = { timeout: 60_000 };

let database: PostgresDatabase;
let services: Service[];
let receivers: Receiver[];
let logs: Record<string, unknown>[];

beforeEach(async () => {
  database = await createDatabase();
  services = [];
  receivers = [];
  logs = [];
});
afterEach(async () => {
  await Promise.all(services.map((service) => service.stop()));
  await Promise.all(receivers.map((receiver) => receiver.close()));
  await database.drop();
});

function settings(env: Record<string, string> = {}): Record<string, string> {
  return {
    POSTHORN_DATABASE_URL: database.url,
    POSTHORN_DATABASE_POOL: '4',
    POSTHORN_ENCRYPTION_KEY: ENCRYPTION_KEY,
    POSTHORN_LISTEN: '127.0.0.1:0',
    POSTHORN_ENDPOINT_POLICY: 'development',
    ...env,
  };
}

async function create(env: Record<string, string> = {}, clock?: Clock): Promise<Service> {
  const sink = new Writable({
    write(chunk: Buffer, _encoding, done) {
      for (const line of chunk.toString().trim().split('\n')) logs.push(JSON.parse(line));
      done();
    },
  });
  const service = await createService(loadConfig({ env: settings(env) }), {
    logger: pino(sink),
    ...(clock === undefined ? {} : { clock }),
  });
  services.push(service);
  return service;
}

interface Node {
  url: string;
  operator: Client;
}

/** A node that listens, with the operator's key from its configuration. */
async function start(env: Record<string, string> = {}, clock?: Clock): Promise<Node> {
  const service = await create({ POSTHORN_OPERATOR_KEY: OPERATOR_KEY, ...env }, clock);
  const { url } = await service.start();
  return { url, operator: new Client(url, OPERATOR_KEY) };
}

async function receiver(behaviour: (socket: Socket, request: ReceivedRequest) => void = respond(200)) {
  const started = await startReceiver(behaviour);
  receivers.push(started);
  return started;
}

function subscribe({ operator }: Node, url: string, more: object = {}): Promise<{ endpoint_id: string }> {
  const body = { url, events: [EVENT], ...more };
  return operator.data('POST', '/v2/endpoint', { account: 'alice', body });
}

function publish({ operator }: Node, eventId?: string): Promise<{ event_id: string; deliveries: number }> {
  const data = { task_id: PAYLOAD, status: 'completed', image_urls: [] };
  return operator.data('POST', '/v2/publish', {
    body: { username: 'alice', event: EVENT, data, ...(eventId === undefined ? {} : { event_id: eventId }) },
  });
}

/** From now on no node hears of what another does: as with a proxy that pools transactions. */
async function dropNotices(): Promise<void> {
  await database.query(`
    CREATE SCHEMA deaf;
    CREATE FUNCTION deaf.pg_notify(text, text) RETURNS void LANGUAGE sql AS $$ SELECT NULL::void $$;
    ALTER DATABASE ${database.name} SET search_path = deaf, pg_catalog, public;`);
}

/** Asks again until the answer is there; the test's time limit ends it. */
async function until<T>(ask: () => Promise<T | null | undefined | false>): Promise<T> {
  for (;;) {
    const answer = await ask();
    if (answer) return answer;
    await delay(20);
  }
}

describe('a node on PostgreSQL', TIME_LIMIT, () => {
  it('makes an operator key at the first start that works, and no second one later', async () => {
    const first = await create();
    const key = first.firstStart.operatorKey as string;
    assert.match(key, /^ph_[0-9a-f]{64}$/);
    const { url } = await first.start();
    assert.equal((await new Client(url, key).ask('GET', '/v2/accounts')).status, 200);
    await first.stop();
    assert.equal((await create()).firstStart.operatorKey, null);
  });

  it('refuses another encryption key than the data has, with a sentence that shows no secret', async () => {
    await (await create()).stop();
    const other = createEncryptionKey();
    await assert.rejects(create({ POSTHORN_ENCRYPTION_KEY: other }), (error: Error) => {
      assert.match(error.message, /written with encryption key [0-9a-f]{8}, but .*POSTHORN_ENCRYPTION_KEY/);
      for (const secret of [other, new URL(database.url).password])
        assert.ok(!error.message.includes(secret));
      return true;
    });
  });

  for (const hours of [1, -1]) {
    it(`whose clock is ${hours > 0 ? 'an hour ahead' : 'an hour behind'} delivers and retries in time`, async () => {
      const target = await receiver(inTurn(respond(500), respond(200)));
      const clock = { ...systemClock, now: () => Date.now() + hours * 3_600_000 };
      const node = await start({ POSTHORN_RETRY_SCHEDULE: '200ms' }, clock);
      await node.operator.data('POST', '/v2/account', { body: { username: 'alice' } });
      await subscribe(node, target.url);
      await publish(node);
      const startedAtMs = performance.now();
      await target.whenRequests(2);
      assert.ok(performance.now() - startedAtMs < 5_000);
    });
  }

  it('delivers what is published, and logs neither payload nor secret nor password', async () => {
    const { url } = await receiver();
    const node = await start();
    await node.operator.data('POST', '/v2/account', { body: { username: 'alice' } });
    await subscribe(node, url);
    const { event_id: eventId } = await publish(node);
    const line = await until(async () => logs.find(({ msg }) => msg === 'attempt'));
    assert.equal(line.event_id, eventId);
    assert.deepEqual([line.outcome, line.status, line.attempt, line.next], ['success', 200, 1, 'delivered']);
    assert.equal((await node.operator.ask('GET', '/readyz')).status, 200);
    const metrics = await (await fetch(`${node.url}/metrics`)).text();
    assert.match(metrics, /^posthorn_deliveries_ended_total\{status="delivered"\} 1$/m);
    assert.match(metrics, /^posthorn_queue_deliveries\{state="due"\} 0$/m);
    await services[0]?.stop();
    const text = JSON.stringify(logs);
    for (const secret of [PAYLOAD, OPERATOR_KEY, ENCRYPTION_KEY, new URL(database.url).password]) {
      assert.ok(!text.includes(secret), 'a secret is in the log');
    }
  });

  it('tells whoever publishes by SQL the largest body', async () => {
    await (await create({ POSTHORN_MAX_BODY: '1MiB' })).stop();
    await (await create({ POSTHORN_MAX_BODY: '2KiB', POSTHORN_ROLE: 'worker' })).stop();
    const value = () => database.query(`SELECT value FROM posthorn.meta WHERE name = 'max_body_bytes'`);
    assert.deepEqual(await value(), [{ value: '1048576' }], 'a worker publishes nothing');
    await (await create({ POSTHORN_MAX_BODY: '512KiB' })).stop();
    assert.deepEqual(await value(), [{ value: '524288' }]);
  });

  it('ends with one sentence when its database is not there', async () => {
    const url = new URL(database.url);
    url.pathname = '/nowhere';
    const env = settings({ POSTHORN_DATABASE_URL: url.href });
    const { code, stdout, stderr } = await runCli(['serve'], { env });
    assert.equal(code, 1);
    assert.match(stderr, /^posthorn: PostgreSQL at .*\/nowhere can't be used: .*does not exist.*\n$/);
    assert.ok(!`${stdout}${stderr}`.includes(url.password));
  });
});

describe('several nodes that start at once on an empty database', TIME_LIMIT, () => {
  it('make one schema, one operator key for all, and print it once', async () => {
    const started = await Promise.all(Array.from({ length: 4 }, () => create()));
    const keys = started.map(({ firstStart }) => firstStart.operatorKey).filter((key) => key !== null);
    assert.equal(keys.length, 1);
    for (const service of started) {
      const { url } = await service.start();
      assert.equal((await new Client(url, keys[0] as string).ask('GET', '/v2/accounts')).status, 200);
    }
    assert.equal((await database.query('SELECT FROM posthorn.api_key')).length, 1);
  });
});

describe('roles', TIME_LIMIT, () => {
  it('a node of role api stores and delivers nothing; a worker delivers and has no API', async () => {
    const target = await receiver();
    const api = await start({ POSTHORN_ROLE: 'api' });
    await api.operator.data('POST', '/v2/account', { body: { username: 'alice' } });
    await subscribe(api, target.url);
    assert.equal((await publish(api)).deliveries, 1);
    assert.equal((await api.operator.ask('GET', '/readyz')).status, 200);
    assert.deepEqual(await database.query('SELECT leased FROM posthorn.queue'), [{ leased: false }]);

    const worker = await start({ POSTHORN_ROLE: 'worker' });
    await target.whenRequests(1);
    await until(async () => logs.find(({ msg }) => msg === 'attempt'));
    for (const path of ['/v2/accounts', '/v1/events', '/open/v2/events', '/openapi.json', '/docs', '/']) {
      const { status, code, msg } = await worker.operator.ask('GET', path);
      assert.deepEqual([status, code], [404, 10104], path);
      assert.match(msg, /this node only delivers \(role worker\)/);
    }
    for (const path of ['/healthz', '/readyz']) {
      assert.equal((await worker.operator.ask('GET', path)).status, 200);
    }
    const metrics = await (await fetch(`${worker.url}/metrics`)).text();
    assert.match(metrics, /^posthorn_attempts_total\{outcome="success"\} 1$/m);
    const proxied = await fetch(`${worker.url}/metrics`, { headers: { 'x-forwarded-for': '203.0.113.1' } });
    assert.equal(proxied.status, 401);
  });

  it('a worker hears at once of what an api node stores', async () => {
    const target = await receiver();
    const api = await start({ POSTHORN_ROLE: 'api' });
    await start({ POSTHORN_ROLE: 'worker' });
    await api.operator.data('POST', '/v2/account', { body: { username: 'alice' } });
    await subscribe(api, target.url);
    const took: number[] = [];
    for (let n = 1; n <= 5; n++) {
      const startedAt = performance.now();
      await publish(api);
      await target.whenRequests(n);
      took.push(performance.now() - startedAt);
    }
    assert.ok(Math.min(...took) < 500, `the quickest took ${Math.min(...took)} ms: a poll, not a notice`);
  });
});

describe('nodes on one database', TIME_LIMIT, () => {
  it('count the POST requests of a key together', async () => {
    const nodes = [
      await start({ POSTHORN_RATE_LIMIT_POST: '5/m' }),
      await start({ POSTHORN_RATE_LIMIT_POST: '5/m' }),
    ];
    const [one, other] = nodes as [Node, Node];
    await one.operator.data('POST', '/v2/account', { body: { username: 'alice' } });
    const { api_key: key } = await one.operator.data<{ api_key: string }>(
      'POST',
      '/v2/account/alice/api_key',
      {
        body: { name: 'first' },
      },
    );
    const answers = [];
    for (let n = 0; n < 8; n++) {
      const node = n % 2 === 0 ? one : other;
      answers.push(await node.operator.ask('POST', '/v2/endpoint', { key, body: {} }));
    }
    assert.deepEqual(
      answers.map(({ code }) => code),
      [40000, 40000, 40000, 40000, 40000, 429, 429, 429],
    );
    for (const { retryAfter } of answers.slice(5))
      assert.ok(Number(retryAfter) >= 1 && Number(retryAfter) <= 60);
  });

  for (const notices of ['told', 'lost'] as const) {
    describe(`when notices are ${notices}`, () => {
      beforeEach(async () => {
        if (notices === 'lost') await dropNotices();
      });

      it('an event type of one is known to the other', async () => {
        const [one, other] = [await start(), await start()];
        await one.operator.data('POST', '/v2/account', { body: { username: 'alice' } });
        const type = { category: 'order', description: 'An order was paid' };
        await one.operator.data('PUT', '/v2/event_type/order.paid', { body: type });
        const body = { url: 'http://127.0.0.1:9/', events: ['order.paid'], status: 'disabled' };
        await other.operator.data('POST', '/v2/endpoint', { account: 'alice', body });
        await one.operator.data('PUT', '/v2/event_type/order.shipped', { body: type });
        const event = { username: 'alice', event: 'order.shipped', data: {} };
        await until(
          async () => (await other.operator.ask('POST', '/v2/publish', { body: event })).code === 0,
        );
        // A change of what is known already is told as well.
        await one.operator.data('PUT', '/v2/event_type/order.paid', { body: { ...type, deprecated: true } });
        await until(async () => {
          const path = '/v2/event_type/order.paid';
          return (await other.operator.data<{ deprecated: boolean }>('GET', path)).deprecated;
        });
      });

      it('what one stores another delivers, retries and replays as well', async () => {
        const target = await receiver();
        const api = await start({ POSTHORN_ROLE: 'api' });
        await start({ POSTHORN_ROLE: 'worker' });
        await api.operator.data('POST', '/v2/account', { body: { username: 'alice' } });
        const { endpoint_id: endpointId } = await subscribe(api, target.url);
        await publish(api);
        await target.whenRequests(1);
        const delivery = await until(async () => {
          const list = await api.operator.list<{ delivery_id: string }>(
            '/v2/deliveries?status=delivered',
            'deliveries',
            'alice',
          );
          return list[0];
        });
        await api.operator.data('POST', `/v2/delivery/${delivery.delivery_id}/retry`, { account: 'alice' });
        await target.whenRequests(2);
        await until(async () => {
          const path = `/v2/delivery/${delivery.delivery_id}`;
          return (
            (await api.operator.data<{ status: string }>('GET', path, { account: 'alice' })).status ===
            'delivered'
          );
        });
        await api.operator.data('POST', `/v2/endpoint/${endpointId}/replay`, {
          account: 'alice',
          body: { status: 'all', since: 0 },
        });
        await target.whenRequests(3);
      });

      it("an endpoint's new address holds for what another node has leased already", async () => {
        let answer: () => void = () => {};
        const old = await receiver((socket, request) => {
          answer = () => respond(200)(socket, request);
        });
        const moved = await receiver();
        const api = await start({ POSTHORN_ROLE: 'api' });
        // It attempts one at a time, and holds the next one in reserve.
        await start({ POSTHORN_ROLE: 'worker', POSTHORN_IN_FLIGHT: '1', POSTHORN_TIMEOUT: '30s' });
        await api.operator.data('POST', '/v2/account', { body: { username: 'alice' } });
        const { endpoint_id: endpointId } = await subscribe(api, old.url);
        await publish(api, 'first');
        await old.whenRequests(1);
        await publish(api, 'second');
        const tokenOf = async (eventId: string) => {
          const [row] = await database.query<{ token: string | null }>(
            'SELECT token FROM posthorn.queue WHERE event_id = $1',
            [eventId],
          );
          return row?.token;
        };
        const before = await until(() => tokenOf('second'));
        await api.operator.data('PUT', `/v2/endpoint/${endpointId}`, {
          account: 'alice',
          body: { url: moved.url },
        });
        await until(async () => (await tokenOf('second')) !== before);
        answer();
        await moved.whenRequests(1);
        assert.equal(moved.requests[0]?.headers['webhook-id'], 'second');
        assert.equal(old.requests.length, 1);
      });
    });
  }
});
