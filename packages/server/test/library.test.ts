/** The library as an application uses it; its types are tested in `library.types.ts`. */
import assert from 'node:assert/strict';
import { spawn } from 'node:child_process';
import { once } from 'node:events';
import { createServer, type RequestListener, type Server } from 'node:http';
import type { AddressInfo } from 'node:net';
import { text as textOf } from 'node:stream/consumers';
import { afterEach, beforeEach, describe, it } from 'node:test';
import { fastify } from 'fastify';
import pg from 'pg';
import { pino } from 'pino';
import { librarySettings, optionName } from '../src/config.ts';
import {
  type AttemptReport,
  ConfigError,
  createPosthorn,
  type ErrorKind,
  type Posthorn,
  PosthornError,
  type PosthornOptions,
} from '../src/index.ts';
import { createEncryptionKey } from '../src/secrets.ts';
import { optionNames } from './library.types.ts';
import { startHttpProxy } from './support/egress-proxies.ts';
import { createDatabase, type PostgresDatabase } from './support/postgres.ts';
import { type Receiver, respond, startReceiver } from './support/receivers.ts';
import { type TempDir, tempDir } from './support/tempdir.ts';

const EVENT = 'order.paid';
const TIME_LIMIT = { timeout: 60_000 };

let folder: TempDir;
let cleanups: (() => unknown)[];
let logs: Record<string, unknown>[];

beforeEach(async () => {
  folder = await tempDir();
  cleanups = [];
  logs = [];
});
afterEach(async () => {
  for (const cleanup of cleanups.toReversed()) await cleanup();
  await folder.remove();
});

async function create(options: Partial<PosthornOptions> = {}): Promise<Posthorn> {
  const posthorn = await createPosthorn({
    database: `sqlite:${folder.path}/posthorn.db`,
    endpointPolicy: 'development',
    retrySchedule: 'off',
    logger: pino({ level: 'warn' }, { write: (line) => void logs.push(JSON.parse(line)) }),
    ...options,
  });
  cleanups.push(() => posthorn.stop());
  return posthorn;
}

async function startedReceiver(status = 200): Promise<Receiver> {
  const receiver = await startReceiver(respond(status));
  cleanups.push(() => receiver.close());
  return receiver;
}

async function listening(listener: RequestListener): Promise<string> {
  const server: Server = createServer(listener).listen(0, '127.0.0.1');
  await once(server, 'listening');
  cleanups.push(() => {
    server.close();
    server.closeAllConnections();
  });
  return `http://127.0.0.1:${(server.address() as AddressInfo).port}`;
}

/** Asks the API at a base URL; answers the envelope. */
async function ask(url: string, key: string | null, body?: object, method?: string) {
  const response = await fetch(url, {
    method: method ?? (body === undefined ? 'GET' : 'POST'),
    headers: {
      ...(key === null ? {} : { 'x-api-key': key, 'x-account': 'alice' }),
      ...(body === undefined ? {} : { 'content-type': 'application/json' }),
    },
    ...(body === undefined ? {} : { body: JSON.stringify(body) }),
  });
  const envelope = (await response.json()) as { code: number; msg: string; data: any };
  return { status: response.status, ...envelope };
}

/** Where the API's description says that the paths begin. */
async function baseOf(url: string): Promise<string | undefined> {
  const description = (await (await fetch(url)).json()) as { servers: { url: string }[] };
  return description.servers[0]?.url;
}

/** Sets up an account `alice`, a type and, when there is a receiver, an endpoint, as an operator does over HTTP. */
async function furnish(posthorn: Posthorn, receiver?: Receiver): Promise<string> {
  const key = posthorn.firstStart.operatorKey as string;
  const url = await listening(posthorn.handler);
  const schema = { type: 'object', required: ['orderId'], properties: { orderId: { type: 'string' } } };
  const type = { category: 'order', description: 'An order was paid', schema };
  assert.equal((await ask(`${url}/v2/account`, key, { username: 'alice' })).code, 0);
  assert.equal((await ask(`${url}/v2/event_type/${EVENT}`, key, type, 'PUT')).code, 0);
  if (receiver !== undefined) {
    assert.equal((await ask(`${url}/v2/endpoint`, key, { url: receiver.url, events: [EVENT] })).code, 0);
  }
  return url;
}

function paid(orderId = 'o-1', more: { eventId?: string; timestamp?: number } = {}) {
  return { username: 'alice', event: EVENT, data: { orderId }, ...more };
}

/** Resolves with the next event of a name. */
function next(posthorn: Posthorn, name: 'attempt' | 'delivered' | 'dead'): Promise<AttemptReport> {
  return new Promise((resolve) => {
    const off = posthorn.on(name, (report) => {
      off();
      resolve(report);
    });
  });
}

async function refused(kind: ErrorKind, message: RegExp, publishing: Promise<unknown>): Promise<void> {
  await assert.rejects(publishing, (error: Error) => {
    assert.ok(error instanceof PosthornError, String(error));
    assert.equal(error.kind, kind, error.message);
    assert.match(error.message, message);
    return true;
  });
}

describe('what goes out', TIME_LIMIT, () => {
  it('delivers through the egress proxy that is set, and logs nothing of its credentials', async () => {
    const proxy = await startHttpProxy({ credentials: 'me:hunter2' });
    cleanups.push(() => proxy.close());
    const posthorn = await create({ egressProxy: `http://me:hunter2@127.0.0.1:${proxy.port}` });
    const receiver = await startedReceiver();
    await furnish(posthorn, receiver);
    await posthorn.start();
    const delivered = next(posthorn, 'delivered');
    await posthorn.publish(paid());
    await delivered;
    assert.equal(proxy.asked[0]?.credentials, 'me:hunter2');
    assert.equal(receiver.requests.length, 1);
    assert.doesNotMatch(JSON.stringify(logs), /hunter2/);
  });

  it('takes endpoints of one’s own networks that are opened, and no others', async () => {
    const posthorn = await create({
      endpointPolicy: 'public-https',
      allowPrivate: ['10.20.0.0/16', 'billing.internal'],
    });
    const key = posthorn.firstStart.operatorKey;
    const url = await furnish(posthorn);
    const add = async (to: string) =>
      (await ask(`${url}/v2/endpoint`, key, { url: to, events: [EVENT] })).code;
    assert.equal(await add('https://10.20.1.1/hook'), 0);
    assert.equal(await add('https://billing.internal/hook'), 0);
    assert.equal(await add('https://10.21.1.1/hook'), 40000);
    assert.equal(await add('https://other.internal/hook'), 40000);
  });
});

describe('createPosthorn', TIME_LIMIT, () => {
  it('takes every setting but those of its own server and log', () => {
    assert.deepEqual(Object.keys(optionNames).toSorted(), librarySettings().map(optionName).toSorted());
  });

  it('refuses wrong options with all mistakes, by the rules and words of the configuration', async () => {
    const options = { database: 'postgres://u:hunter2@db/x', laneLimit: 0, timeOut: '5s' } as PosthornOptions;
    await assert.rejects(createPosthorn(options), (error: Error) => {
      assert.ok(error instanceof ConfigError);
      assert.equal(error.mistakes.length, 3);
      assert.match(error.message, /laneLimit "0" is not possible; write a whole number between 1 and 1000/);
      assert.ok(!error.message.includes('hunter2'));
      return true;
    });
  });

  it('changes nothing in its process: no handler of signals, no output, nothing that keeps it alive', async () => {
    const names = ['SIGTERM', 'SIGINT', 'uncaughtException', 'unhandledRejection', 'beforeExit', 'warning'];
    const program = `
      import { createPosthorn } from ${JSON.stringify(new URL('../src/index.ts', import.meta.url).href)};
      const counts = () => JSON.stringify(${JSON.stringify(names)}.map((name) => process.listenerCount(name)));
      const before = counts();
      const posthorn = await createPosthorn({ database: 'sqlite:posthorn.db' });
      await posthorn.start();
      const during = counts();
      await posthorn.publish({ username: 'nobody', event: 'generated_video_success', data: {} }).catch(() => {});
      await posthorn.stop();
      if (during !== before || counts() !== before) process.exitCode = 7;`;
    const child = spawn(process.execPath, ['--input-type=module-typescript', '--eval', program], {
      cwd: folder.path,
      env: { ...process.env, NODE_TEST_CONTEXT: undefined, POSTHORN_RETENTION: 'nonsense that nobody reads' },
    });
    child.stdin.end();
    const ended = once(child, 'close');
    const [stdout, stderr] = await Promise.all([textOf(child.stdout), textOf(child.stderr)]);
    assert.deepEqual([stdout, stderr, (await ended)[0]], ['', '', 0]);
  });

  it('shows the operator key that it has made once', async () => {
    const first = await create();
    assert.match(first.firstStart.operatorKey ?? '', /^ph_/);
    await first.stop();
    assert.equal((await create()).firstStart.operatorKey, null);
  });
});

describe('publish', TIME_LIMIT, () => {
  it('stores what start() delivers', async () => {
    const receiver = await startedReceiver();
    const posthorn = await create();
    await furnish(posthorn, receiver);
    const published = await posthorn.publish(paid('o-1', { eventId: 'one', timestamp: 1_760_000_000 }));
    assert.deepEqual(published, { eventId: 'one', deliveries: 1, duplicate: false });
    assert.deepEqual(await posthorn.publish(paid('o-1', { eventId: 'one' })), {
      ...published,
      duplicate: true,
    });
    await posthorn.start();
    await receiver.whenRequests(1);
    assert.equal(
      receiver.requests[0]?.body.toString(),
      `{"event_id":"one","event":"${EVENT}","timestamp":1760000000,"data":{"orderId":"o-1"}}`,
    );
  });

  it('refuses with the words of the API', async () => {
    const posthorn = await create();
    await furnish(posthorn);
    const publish = (changes: object) => posthorn.publish({ ...paid(), ...changes });
    await refused('not_found', /account "bob" not found/, publish({ username: 'bob' }));
    await refused(
      'invalid_parameter',
      /"order.payed" is not a known event type/,
      publish({ event: 'order.payed' }),
    );
    await refused('invalid_parameter', /data does not fit.*orderId/, publish({ data: {} }));
    await refused('invalid_parameter', /event_id must be 1 to 128/, publish({ eventId: '' }));
    await refused(
      'invalid_parameter',
      /event_id is no field.*did you mean eventId/,
      publish({ event_id: 'x' }),
    );
    await refused('invalid_parameter', /username must be a text/, publish({ username: 7 }));
    await refused('too_large', /bytes as a sealed body/, publish({ data: { orderId: 'x'.repeat(300_000) } }));
    await posthorn.publish(paid('o-1', { eventId: 'one' }));
    await refused(
      'conflict',
      /"one" is taken by an event with other content/,
      publish({ eventId: 'one', data: { orderId: 'o-2' } }),
    );
    await posthorn.stop();
    await refused('unavailable', /stopping/, publish({}));
  });

  it('lets each event of a list stand alone, in order', async () => {
    const posthorn = await create();
    await furnish(posthorn);
    const answers = await posthorn.publish([
      paid('o-1', { eventId: 'one' }),
      { ...paid(), event: 'order.payed' },
      { ...paid(), username: 'bob' },
      paid('o-1', { eventId: 'one' }),
    ]);
    assert.deepEqual(
      answers.map((answer) => ('error' in answer ? answer.error.kind : answer)),
      [
        { eventId: 'one', deliveries: 0, duplicate: false },
        'invalid_parameter',
        'not_found',
        { eventId: 'one', deliveries: 0, duplicate: true },
      ],
    );
    assert.deepEqual(await posthorn.publish([]), []);
  });

  it('needs PostgreSQL for a client', async () => {
    const posthorn = await create();
    const client = { query: () => Promise.reject(new Error('never asked')) };
    await refused(
      'invalid_parameter',
      /client needs Posthorn on PostgreSQL/,
      posthorn.publish(paid(), { client }),
    );
  });
});

describe('listeners', TIME_LIMIT, () => {
  it('hear of what is published, attempted, delivered and dead', async () => {
    const [good, bad] = [await startedReceiver(), await startedReceiver(500)];
    const posthorn = await create();
    const url = await furnish(posthorn, good);
    await ask(`${url}/v2/endpoint`, posthorn.firstStart.operatorKey, { url: bad.url, events: [EVENT] });
    const told: string[] = [];
    posthorn.on('published', ({ username, eventId, event, deliveries }) =>
      told.push(`published ${username} ${eventId} ${event} ${deliveries}`),
    );
    posthorn.on('attempt', ({ eventId, next: led }) => told.push(`attempt ${eventId} ${led}`));
    const ends = Promise.all([next(posthorn, 'delivered'), next(posthorn, 'dead')]);
    await posthorn.start();
    await posthorn.publish(paid('o-1', { eventId: 'one' }));
    await posthorn.publish(paid('o-1', { eventId: 'one' }));
    const [delivered, dead] = await ends;
    assert.deepEqual([delivered.eventId, delivered.attempt.httpStatus], ['one', 200]);
    assert.deepEqual([dead.eventId, dead.attempt.httpStatus], ['one', 500]);
    assert.deepEqual(told.toSorted(), [
      'attempt one dead',
      'attempt one delivered',
      `published alice one ${EVENT} 2`,
    ]);
  });

  it('that throw or reject harm nothing, and are logged', async () => {
    const receiver = await startedReceiver();
    const posthorn = await create();
    await furnish(posthorn, receiver);
    for (const name of ['published', 'attempt', 'delivered'] as const) {
      posthorn.on(name, () => {
        throw new Error(`defect in ${name}`);
      });
      posthorn.on(name, () => Promise.reject(new Error(`late defect in ${name}`)));
    }
    const delivered = next(posthorn, 'delivered');
    await posthorn.start();
    assert.equal((await posthorn.publish(paid())).deliveries, 1);
    await delivered;
    await posthorn.stop();
    const failures = logs.map(({ msg, err }) => `${msg}: ${(err as { message: string }).message}`).toSorted();
    assert.deepEqual(
      failures,
      ['attempt', 'delivered', 'published'].flatMap((name) => [
        `a listener to ${name} failed: defect in ${name}`,
        `a listener to ${name} failed: late defect in ${name}`,
      ]),
    );
  });

  it('hear nothing more once they are taken off', async () => {
    const posthorn = await create();
    await furnish(posthorn);
    const told: string[] = [];
    const listener = () => told.push('first');
    posthorn.on('published', listener);
    const off = posthorn.on('published', () => told.push('second'));
    await posthorn.publish(paid());
    posthorn.off('published', listener);
    await posthorn.publish(paid());
    off();
    await posthorn.publish(paid());
    assert.deepEqual(told, ['first', 'second', 'second']);
  });
});

describe('the handler', TIME_LIMIT, () => {
  it('serves the API in a plain server, under a prefix beside the host’s own routes', async () => {
    const posthorn = await create();
    const key = posthorn.firstStart.operatorKey as string;
    const serve = posthorn.handler.under('/hooks/');
    const url = await listening((request, response) =>
      serve(request, response, () => response.end(`host: ${request.url}`)),
    );
    assert.equal((await ask(`${url}/hooks/v2/account`, key, { username: 'alice' })).code, 0);
    assert.equal((await ask(`${url}/hooks/v2/account/alice?`, key)).data.username, 'alice');
    assert.equal((await ask(`${url}/hooks/healthz`, null)).status, 200);
    assert.equal((await ask(`${url}/hooks/v2`, key)).code, 10104);
    assert.match((await fetch(`${url}/hooks`)).headers.get('content-type') as string, /^text\/html/);
    for (const path of ['/', '/v2/accounts', '/hooksv2/accounts', '/hook']) {
      assert.equal(await (await fetch(`${url}${path}`)).text(), `host: ${path}`);
    }
    assert.equal(await baseOf(`${url}/hooks/openapi.json`), '/hooks');
    const docs = await (await fetch(`${url}/hooks/docs`)).text();
    for (const [, link] of docs.matchAll(/(?:src|href)="([^"]+)"/g)) {
      assert.match(String(link), /^\/hooks\/docs\//);
      assert.equal((await fetch(new URL(String(link), url))).status, 200, link);
    }
    assert.equal(await baseOf(`${url}/hooks/docs/json`), '/hooks');
  });

  it('answers 404 for what is not under its prefix when nobody else would', async () => {
    const posthorn = await create();
    const url = await listening(posthorn.handler.under('hooks'));
    const { status, code, msg } = await ask(`${url}/v2/accounts`, posthorn.firstStart.operatorKey);
    assert.deepEqual([status, code], [404, 10104]);
    assert.match(msg, /the API is under \/hooks/);
    assert.throws(() => posthorn.handler.under('/hooks?x'), /a prefix is a path such as/);
  });

  it('works behind a router that takes the prefix away', async () => {
    const posthorn = await create();
    const url = await listening((request, response) => {
      request.url = (request.url as string).slice('/api'.length);
      posthorn.handler(request, response);
    });
    assert.equal((await ask(`${url}/api/v2/accounts`, posthorn.firstStart.operatorKey)).code, 0);
  });

  it('says so when somebody has read the body before it', async () => {
    const posthorn = await create();
    const url = await listening(async (request, response) => {
      await textOf(request);
      posthorn.handler(request, response);
    });
    const key = posthorn.firstStart.operatorKey;
    const { status, code } = await ask(`${url}/v2/account`, key, { username: 'alice' });
    assert.deepEqual([status, code], [500, 50000]);
    assert.match(String(logs[0]?.msg), /put its handler before whatever parses bodies/);
    assert.equal((await ask(`${url}/v2/accounts`, key)).code, 0, 'without a body nothing is missing');
  });

  it('is a Fastify plugin under any prefix, which leaves the host’s own routes and parsers alone', async () => {
    const posthorn = await create();
    const key = posthorn.firstStart.operatorKey as string;
    const host = fastify();
    cleanups.push(() => host.close());
    const seen: string[] = [];
    host.addHook('onRequest', async (request) => void seen.push(request.url));
    host.post('/echo', async (request) => request.body);
    await host.register(async (nested) => nested.register(posthorn.handler.fastify, { prefix: '/hooks' }), {
      prefix: '/api',
    });
    const url = await host.listen({ host: '127.0.0.1', port: 0 });
    assert.equal((await ask(`${url}/api/hooks/v2/account`, key, { username: 'alice' })).code, 0);
    assert.equal((await ask(`${url}/api/hooks/v2/account/alice`, key)).data.username, 'alice');
    assert.equal((await ask(`${url}/api/hooks/v2/account/alice`, key, undefined, 'DELETE')).code, 0);
    assert.equal((await ask(`${url}/api/hooks/v2/account`, key, { name: 'x' })).code, 40000);
    assert.equal(await baseOf(`${url}/api/hooks/openapi.json`), '/api/hooks');
    assert.equal((await fetch(`${url}/api/hooks/healthz`, { method: 'HEAD' })).status, 200);
    const echo = { method: 'POST', headers: { 'content-type': 'application/json' }, body: '{"a":1}' };
    assert.equal(await (await fetch(`${url}/echo`, echo)).text(), '{"a":1}');
    assert.ok(seen.includes('/api/hooks/v2/account'), 'the host’s hooks run');

    const injected = await host.inject({
      method: 'POST',
      url: '/api/hooks/v2/account',
      headers: { 'x-api-key': key },
      payload: { username: 'bob' },
    });
    assert.equal(injected.json().code, 0);
  });

  it('answers what is under way while it stops, and refuses the rest', async () => {
    const posthorn = await create();
    await furnish(posthorn);
    const key = posthorn.firstStart.operatorKey as string;
    const { promise: arrived, resolve: arrive } = Promise.withResolvers<void>();
    const url = await listening((request, response) => {
      posthorn.handler(request, response);
      if (request.url === '/v2/publish') arrive();
    });
    const body = JSON.stringify(paid());
    const { promise: begun, resolve: begin } = Promise.withResolvers<void>();
    const slow = (async () => {
      const response = await fetch(`${url}/v2/publish`, {
        method: 'POST',
        headers: { 'x-api-key': key, 'content-type': 'application/json' },
        body: new ReadableStream({
          async start(controller) {
            controller.enqueue(Buffer.from(body.slice(0, 10)));
            await begun;
            controller.enqueue(Buffer.from(body.slice(10)));
            controller.close();
          },
        }),
        duplex: 'half',
      } as RequestInit);
      return response.json() as Promise<{ code: number }>;
    })();
    await arrived;
    const stopping = posthorn.stop();
    const refusal = await ask(`${url}/v2/accounts`, key);
    assert.deepEqual([refusal.status, refusal.code], [503, 50000]);
    begin();
    assert.equal((await slow).code, 0);
    await stopping;
    assert.equal((await ask(`${url}/healthz`, null)).status, 503);
  });
});

describe('publish with a client', TIME_LIMIT, () => {
  let database: PostgresDatabase;
  let posthorn: Posthorn;
  let receiver: Receiver;
  let client: pg.Client;

  beforeEach(async () => {
    database = await createDatabase();
    cleanups.push(() => database.drop());
    receiver = await startedReceiver();
    posthorn = await create({
      database: database.url,
      encryptionKey: createEncryptionKey(),
      databasePool: 4,
    });
    await furnish(posthorn, receiver);
    await posthorn.start();
    client = await connect(database.url);
    await client.query('CREATE TABLE orders (id text PRIMARY KEY)');
  });

  async function connect(url: string): Promise<pg.Client> {
    const connected = new pg.Client(url);
    await connected.connect();
    cleanups.push(() => connected.end());
    return connected;
  }

  it('delivers what is committed and nothing of what is rolled back', async () => {
    await client.query('BEGIN');
    await client.query(`INSERT INTO orders VALUES ('o-1')`);
    assert.deepEqual(await posthorn.publish(paid('o-1', { eventId: 'undone' }), { client }), {
      eventId: 'undone',
    });
    await client.query('ROLLBACK');
    await client.query('BEGIN');
    await client.query(`INSERT INTO orders VALUES ('o-2')`);
    const { eventId } = await posthorn.publish(paid('o-2'), { client });
    assert.match(eventId, /^evt_/);
    await client.query('COMMIT');
    await receiver.whenRequests(1);
    assert.equal(receiver.requests[0]?.headers['webhook-id'], eventId);
    assert.deepEqual(await database.query('SELECT event_id FROM posthorn.event'), [{ event_id: eventId }]);
  });

  it('takes a pool, and a list in one statement', async () => {
    const pool = new pg.Pool({ connectionString: database.url, max: 2 });
    cleanups.push(() => pool.end());
    const many = Array.from({ length: 20 }, (_, n) => paid(`o-${n}`, { eventId: `event-${n}` }));
    const ids = await posthorn.publish(many, { client: pool });
    assert.deepEqual(
      ids,
      many.map(({ eventId }) => ({ eventId })),
    );
    await receiver.whenRequests(20);
    assert.deepEqual(await posthorn.publish([], { client: pool }), []);
    const data = { orderId: 'o-"\\ü€😀', nested: [{ b: 1.5, a: null }], when: new Date(0) };
    await posthorn.publish({ username: 'alice', event: EVENT, data }, { client: pool });
    await receiver.whenRequests(21);
    const sent = JSON.parse(receiver.requests[20]?.body.toString() ?? '');
    assert.deepEqual(sent.data, JSON.parse(JSON.stringify(data)));
  });

  it('checks type and schema before the database is asked: the transaction stays usable', async () => {
    await client.query('BEGIN');
    const publish = (changes: object) => posthorn.publish({ ...paid(), ...changes }, { client });
    await refused('invalid_parameter', /not a known event type/, publish({ event: 'order.payed' }));
    await refused('invalid_parameter', /data does not fit/, publish({ data: { orderId: 1 } }));
    await refused(
      'invalid_parameter',
      /can't be held exactly|double/,
      publish({ data: { orderId: 'o', n: 2 ** 53 + 2 } }),
    );
    await refused('invalid_parameter', /timestamp is not possible with a client/, publish({ timestamp: 1 }));
    await client.query(`INSERT INTO orders VALUES ('o-1')`);
    await client.query('COMMIT');
    assert.equal((await client.query('SELECT FROM orders')).rowCount, 1);
  });

  it('gives the database’s refusals as its own, with the cause', async () => {
    const publish = (changes: object) => posthorn.publish({ ...paid(), ...changes }, { client });
    await refused('not_found', /account "bob" not found/, publish({ username: 'bob' }));
    await publish({ eventId: 'one' });
    assert.deepEqual(await publish({ eventId: 'one' }), { eventId: 'one' });
    await refused('conflict', /"one" is taken/, publish({ eventId: 'one', data: { orderId: 'o-2' } }));
    await refused('invalid_parameter', /U\+0000/, publish({ data: { orderId: '\0' } }));
    await assert.rejects(publish({ username: 'bob' }), (error: Error) => {
      assert.equal((error.cause as { code: string }).code, 'PH007');
      return true;
    });
  });

  it('says when the client is of another database, or of a user who may not publish', async () => {
    const elsewhere = await createDatabase();
    cleanups.push(() => elsewhere.drop());
    const stranger = await connect(elsewhere.url);
    await refused(
      'invalid_parameter',
      /give a client of Posthorn's own database/,
      posthorn.publish(paid(), { client: stranger }),
    );

    const role = `${database.name}_app`;
    await database.query(`CREATE ROLE ${role}`);
    cleanups.push(() => elsewhere.query(`DROP ROLE ${role}`));
    cleanups.push(() => database.query(`DROP OWNED BY ${role}`));
    await client.query(`SET ROLE ${role}`);
    await refused('invalid_parameter', /migrate --grant-publish/, posthorn.publish(paid(), { client }));
    await database.query(
      `GRANT USAGE ON SCHEMA posthorn TO ${role}; GRANT EXECUTE ON FUNCTION posthorn.publish(text, text, jsonb, text) TO ${role}`,
    );
    await posthorn.publish(paid(), { client });
    await assert.rejects(client.query('SELECT * FROM posthorn.event'), { code: '42501' });
  });
});
