/** Each adapter in its real framework, over HTTP. */
import assert from 'node:assert/strict';
import { once } from 'node:events';
import { type IncomingMessage, request } from 'node:http';
import { connect } from 'node:net';
import { text as textOf } from 'node:stream/consumers';
import { after, afterEach, describe, it } from 'node:test';
import express from 'express';
import { fastify } from 'fastify';
import { Hono } from 'hono';
import Koa from 'koa';
import { expressHandler } from '../src/adapters/express.ts';
import { fastifyPlugin } from '../src/adapters/fastify.ts';
import { fetchHandler } from '../src/adapters/fetch.ts';
import { honoHandler } from '../src/adapters/hono.ts';
import { koaHandler } from '../src/adapters/koa.ts';
import { nodeHandler } from '../src/adapters/node.ts';
import { workersHandler } from '../src/adapters/workers.ts';
import {
  createReceiver,
  inProcessQueue,
  type Receiver,
  type ReceiverOptions,
  type WebhookEvent,
} from '../src/index.ts';
import { APPS, listen, type RunningApp, startNest, startNextPages } from './support/apps.ts';
import { delivery, type Sample, SECRET } from './support/samples.ts';

const LIMIT_BYTES = 10_000;

let cleanups: (() => unknown)[] = [];
afterEach(async () => {
  for (const cleanup of cleanups.toReversed()) await cleanup();
  cleanups = [];
});

interface Setup {
  receiver: Receiver;
  events: WebhookEvent[];
  errors: string[];
}

function setUp(options: Partial<ReceiverOptions<Record<string, object>>> = {}): Setup {
  const events: WebhookEvent[] = [];
  const errors: string[] = [];
  const receiver = createReceiver<Record<string, object>>({
    secrets: SECRET,
    on: {},
    onUnknown: (event) => void events.push(event),
    onError: ({ code }) => void errors.push(code),
    maxBodyBytes: LIMIT_BYTES,
    ...options,
  });
  return { receiver, events, errors };
}

async function post(
  url: string,
  { body, headers }: Sample,
): Promise<{ status: number; json: any; headers: Headers }> {
  const response = await fetch(url, { method: 'POST', headers, body });
  const text = await response.text();
  return { status: response.status, json: text === '' ? null : JSON.parse(text), headers: response.headers };
}

async function started(app: Promise<RunningApp>): Promise<RunningApp> {
  const ready = await app;
  cleanups.push(() => ready.close());
  return ready;
}

for (const [name, start] of Object.entries(APPS)) {
  describe(name, () => {
    it('verifies the raw bytes, handles the event and answers 200', async () => {
      const { receiver, events, errors } = setUp();
      const { url } = await started(start(receiver));
      const sample = await delivery({ data: { text: 'é " \u2028 😀', n: 1e21 } });
      const { status, json, headers } = await post(url, sample);
      assert.deepEqual([status, json], [200, { status: 'handled' }]);
      assert.match(headers.get('content-type') ?? '', /^application\/json/);
      assert.deepEqual(events, [JSON.parse(sample.body)]);
      assert.deepEqual((await post(url, sample)).json, { status: 'duplicate' });
      assert.equal(events.length, 1);
      assert.deepEqual(errors, []);
    });

    it('takes the bytes whatever the content type says', async () => {
      const { receiver, events } = setUp();
      const { url } = await started(start(receiver));
      const sample = await delivery();
      sample.headers['content-type'] = name.includes('json()')
        ? 'application/json; charset=utf-8'
        : 'text/plain';
      if (name.startsWith('nest')) sample.headers['content-type'] = 'application/json; charset=utf-8';
      assert.equal((await post(url, sample)).status, 200);
      assert.equal(events.length, 1);
    });

    it('answers 401 to a forged body, 400 to a broken one, 413 to a long one', async () => {
      const { receiver, events, errors } = setUp();
      const { url } = await started(start(receiver));
      const good = await delivery();
      const forged = await post(url, { ...good, body: good.body.replace('v7', 'v8') });
      assert.deepEqual([forged.status, forged.json.error], [401, 'signature_mismatch']);
      const empty = await post(url, { ...good, body: '' });
      // Fastify's own parser refuses an empty JSON body before Nest's controllers are asked.
      const refusedBefore = name === 'nest on fastify';
      assert.deepEqual([empty.status, empty.json.error], [400, refusedBefore ? undefined : 'body_missing']);
      const longer = await delivery({ data: { text: 'x'.repeat(LIMIT_BYTES) } });
      const long = await post(url, longer);
      assert.deepEqual([long.status, long.json.error], [413, 'body_too_large']);
      assert.deepEqual(events, []);
      const refused = ['signature_mismatch', ...(refusedBefore ? [] : ['body_missing']), 'body_too_large'];
      assert.deepEqual(errors, refused);
      assert.equal((await post(url, good)).status, 200);
    });

    it('stops reading a body without a length at the limit', async () => {
      const { receiver, events } = setUp();
      const { port } = await started(start(receiver));
      const socket = connect(port, '127.0.0.1');
      const { headers } = await delivery();
      const lines = Object.entries(headers).map(([header, value]) => `${header}: ${value}\r\n`);
      socket.write(
        `POST /hooks HTTP/1.1\r\nhost: x\r\ntransfer-encoding: chunked\r\nconnection: close\r\n${lines.join('')}\r\n`,
      );
      const parts = ['{"text":"', ...Array<string>(8).fill('x'.repeat(0x1000)), '"}'];
      socket.write(parts.map((part) => `${part.length.toString(16)}\r\n${part}\r\n`).join(''));
      // Parsers in front want to see the end. The receiver doesn't: nothing more ever comes.
      if (/json\(\)|^nest/.test(name)) socket.end('0\r\n\r\n');
      socket.on('error', () => {});
      assert.match(await textOf(socket).catch(() => ''), /^HTTP\/1\.1 413 /);
      assert.deepEqual(events, []);
    });

    it('answers 500 when the handler fails, and handles the next delivery of the event', async () => {
      let failures = 1;
      const { receiver, errors } = setUp({
        onUnknown: () => {
          if (failures-- > 0) throw new Error('database away');
        },
      });
      const { url } = await started(start(receiver));
      const sample = await delivery();
      const failed = await post(url, sample);
      assert.deepEqual([failed.status, failed.json.error], [500, 'handler_failed']);
      assert.ok(
        !JSON.stringify(failed.json).includes('database away'),
        'the cause is not the sender’s business',
      );
      assert.deepEqual((await post(url, sample)).json, { status: 'handled' });
      assert.deepEqual(errors, ['handler_failed']);
    });

    it('answers at once with a queue, while the handler still runs', async () => {
      let release = (): void => {};
      const handled = new Promise<void>((resolve) => (release = resolve));
      const { receiver } = setUp({ onUnknown: () => handled, queue: inProcessQueue() });
      const { url } = await started(start(receiver));
      const { status, json } = await post(url, await delivery());
      assert.deepEqual([status, json], [202, { status: 'queued' }]);
      release();
      assert.equal(await receiver.close(), true);
    });
  });
}

describe('a request that is not a POST', () => {
  for (const name of ['node', 'fastify', 'next pages router', 'koa', 'fetch', 'workers'] as const) {
    it(`gets 405 from ${name}`, async () => {
      const { receiver } = setUp();
      const { url } = await started((APPS[name] as (typeof APPS)[string])(receiver));
      const response = await fetch(url);
      assert.deepEqual([response.status, response.headers.get('allow')], [405, 'POST']);
    });
  }
});

describe('a body that the framework has parsed', () => {
  const explained = async (app: Promise<RunningApp>, setup: Setup): Promise<void> => {
    const { url } = await started(app);
    const { status, json } = await post(url, await delivery());
    assert.deepEqual([status, json.error], [500, 'body_not_raw']);
    assert.match(json.message, /exact bytes|read before/);
    assert.deepEqual(setup.errors, ['body_not_raw']);
  };

  it('is explained in Express', async () => {
    const setup = setUp();
    const app = express();
    app.use(express.json());
    app.post('/hooks', expressHandler(setup.receiver));
    await explained(listen(app), setup);
  });

  it('is explained when something has begun to read it', async () => {
    const { receiver, errors } = setUp();
    const app = express();
    app.use(async (incoming, _response, next) => {
      incoming.on('data', () => {});
      await once(incoming, 'data');
      next();
    });
    app.post('/hooks', expressHandler(receiver));
    const { url } = await started(listen(app));
    const { body, headers } = await delivery();
    const half = request(url, { method: 'POST', headers: { ...headers, 'content-length': body.length } });
    half.on('error', () => {});
    half.write(body.slice(0, 20));
    const [response] = (await once(half, 'response')) as [IncomingMessage];
    assert.equal(response.statusCode, 400);
    assert.match(await textOf(response), /has read it before/);
    assert.deepEqual(errors, ['body_missing']);
  });

  it('is no problem in Express where the parser keeps the bytes', async () => {
    for (const parser of [express.raw({ type: '*/*' }), express.text({ type: '*/*' })]) {
      const { receiver, events } = setUp();
      const app = express();
      app.use(parser);
      app.post('/hooks', expressHandler(receiver));
      const { url } = await started(listen(app));
      assert.equal((await post(url, await delivery({ data: { text: 'é' } }))).status, 200);
      assert.equal(events.length, 1);
    }
  });

  it('is explained in the pages router of Next.js', async () => {
    const setup = setUp();
    await explained(startNextPages(setup.receiver, {}), setup);
  });

  for (const platform of ['express', 'fastify'] as const) {
    it(`is explained in Nest on ${platform}`, async () => {
      const setup = setUp();
      await explained(startNest(setup.receiver, platform, false), setup);
    });
  }

  it('is explained in Koa, and no problem where the parser keeps the bytes', async () => {
    const parse = (keep: boolean) => async (context: Koa.Context, next: Koa.Next) => {
      const rawBody = await textOf(context.req);
      Object.assign(context.request, { body: JSON.parse(rawBody), ...(keep ? { rawBody } : {}) });
      await next();
    };
    const setup = setUp();
    await explained(listen(new Koa().use(parse(false)).use(koaHandler(setup.receiver)).callback()), setup);
    const kept = new Koa().use(parse(true)).use(koaHandler(setUp().receiver));
    const { url } = await started(listen(kept.callback()));
    assert.equal((await post(url, await delivery())).status, 200);
  });

  it('is no problem in Hono, which keeps what it has read', async () => {
    for (const read of ['text', 'json', 'arrayBuffer'] as const) {
      const { receiver, events } = setUp();
      const app = new Hono();
      app.use(async (context, next) => {
        await context.req[read]();
        await next();
      });
      app.post('/hooks', honoHandler(receiver));
      const { body, headers } = await delivery({ data: { text: 'é' } });
      const response = await app.request('/hooks', { method: 'POST', headers, body });
      assert.equal(response.status, 200, read);
      assert.equal(events.length, 1);
    }
  });

  it('is explained where requests are those of fetch', async () => {
    const setup = setUp();
    const { body, headers } = await delivery();
    const request = new Request('http://x/', { method: 'POST', headers, body });
    await request.json();
    const response = await fetchHandler(setup.receiver)(request);
    assert.equal(response.status, 500);
    assert.deepEqual(setup.errors, ['body_not_raw']);
  });
});

describe('the rest of the application', () => {
  it('goes on parsing JSON in Fastify', async () => {
    const app = fastify();
    await app.register(fastifyPlugin(setUp().receiver), { prefix: '/hooks' });
    app.post('/other', (request) => request.body);
    const response = await app.inject({ method: 'POST', url: '/other', payload: { a: 1 } });
    assert.deepEqual(response.json(), { a: 1 });
  });

  it('is reached in Koa and in a Worker by other paths', async () => {
    const koa = new Koa();
    koa.use(koaHandler(setUp().receiver, { path: '/hooks' }));
    koa.use((context) => void (context.body = 'ours'));
    const { port } = await started(listen(koa.callback()));
    assert.equal(await (await fetch(`http://127.0.0.1:${port}/other`)).text(), 'ours');
    const worker = workersHandler(() => setUp().receiver, { path: '/hooks' });
    const response = await worker.fetch(new Request('http://x/other'), {}, { waitUntil() {} });
    assert.equal(response.status, 404);
  });
});

describe('a runtime that stops after the answer', () => {
  it('is asked to live on until the queue is empty', async () => {
    let release = (): void => {};
    const handled = new Promise<void>((resolve) => (release = resolve));
    const { receiver } = setUp({ onUnknown: () => handled, queue: inProcessQueue() });
    const worker = workersHandler(() => receiver);
    const waited: Promise<unknown>[] = [];
    const { body, headers } = await delivery();
    const request = new Request('http://x/', { method: 'POST', headers, body });
    const response = await worker.fetch(request, {}, { waitUntil: (work) => void waited.push(work) });
    assert.equal(response.status, 202);
    assert.equal(waited.length, 1);
    release();
    await Promise.all(waited);
  });

  it('makes the receiver of a Worker once, from its environment', async () => {
    let made = 0;
    const worker = workersHandler((env: { SECRET: string }) => {
      made++;
      return createReceiver({ secrets: env.SECRET, on: {} });
    });
    for (let n = 0; n < 2; n++) {
      const { body, headers } = await delivery();
      const request = new Request('http://x/', { method: 'POST', headers, body });
      const response = await worker.fetch(request, { SECRET }, { waitUntil() {} });
      assert.equal(response.status, 200);
    }
    assert.equal(made, 1);
  });
});

describe('a sender that goes away in the middle of a body', () => {
  it('is told to onError and harms nothing', async () => {
    let told = (_code: string): void => {};
    const error = new Promise<string>((resolve) => (told = resolve));
    const { receiver } = setUp({ onError: ({ code }) => told(code) });
    const { port, url } = await started(listen(nodeHandler(receiver)));
    const socket = connect(port, '127.0.0.1');
    socket.write('POST /hooks HTTP/1.1\r\nhost: x\r\ncontent-length: 100\r\n\r\n{"half":');
    await once(socket, 'connect');
    socket.destroy();
    assert.equal(await error, 'body_missing');
    assert.equal((await post(url, await delivery())).status, 200);
  });
});

after(() => assert.deepEqual(cleanups, []));
