import assert from 'node:assert/strict';
import { once } from 'node:events';
import { Agent, type IncomingHttpHeaders, request as httpRequest } from 'node:http';
import { type AddressInfo, connect } from 'node:net';
import { after, before, beforeEach, describe, it } from 'node:test';

import helmet from '@fastify/helmet';
import { fastify } from 'fastify';

import { SECURITY_HEADERS } from '../../src/api/security-headers.ts';
import { unavailable } from '../../src/errors.ts';
import { type TestApp, overriding, testApp } from '../support/app.ts';

const EVENT = 'generated_script_success';
const DATA = { task_id: 't1', status: 'completed', scripts: [] };
const MAX_REQUEST_BYTES = 4096;

interface Sent {
  path?: string;
  headers?: Record<string, string>;
  body: string | Buffer;
}

/** What a caller, the log and the metrics see of a request, without what differs from one to the next. */
interface Seen {
  status: number;
  headers: Record<string, unknown>;
  body: Record<string, unknown>;
  log: Record<string, unknown>[];
  outcome: Record<string, unknown> | undefined;
}

describe('a publish that comes over a connection', () => {
  let api: TestApp;
  let username: string;
  let accountKey: string;
  let publishKey: string;
  let failing = false;
  /** Requests that the framework got. */
  let routed = 0;
  const agent = new Agent({ keepAlive: true });
  before(async () => {
    api = await testApp({
      settings: { maxRequestBytes: MAX_REQUEST_BYTES, maxBodyBytes: 2048 },
      wrapStore: (store) =>
        overriding(store, {
          publish: (events, offer) =>
            failing
              ? Promise.reject(unavailable('the disk is full', undefined, 7))
              : store.publish(events, offer),
        }),
    });
    ({ username, key: accountKey } = await api.createAccount());
    ({ key: publishKey } = await api.createKey(null, ['publish']));
    await api.store.publish([], null);
    const { routing } = api.app;
    api.app.routing = (request, response) => {
      routed += 1;
      routing(request, response);
    };
    await api.app.listen({ host: '127.0.0.1', port: 0 });
  });
  beforeEach(() => {
    routed = 0;
  });
  after(async () => {
    agent.destroy();
    await api.close();
  });

  const item = (changes: object = {}) => ({ username, event: EVENT, data: DATA, ...changes });
  const portOf = () => (api.app.server.address() as AddressInfo).port;
  const headersOf = ({ headers, body }: Sent) => ({
    'x-api-key': api.operatorKey,
    'content-type': 'application/json',
    'content-length': String(Buffer.byteLength(body)),
    ...headers,
  });

  function seen(status: number, headers: IncomingHttpHeaders, text: string): Seen {
    const {
      date: _,
      'keep-alive': __,
      connection = 'keep-alive',
      'content-length': length,
      ...rest
    } = headers;
    assert.equal(Number(length), Buffer.byteLength(text));
    const body = JSON.parse(text);
    assert.equal(rest['x-request-id'], body.rid);
    const id = body.data?.event_id;
    return {
      status,
      headers: { ...rest, connection, 'x-request-id': 'rid' },
      body: JSON.parse(text.replaceAll(body.rid, 'rid').replaceAll(/"evt_\w+"/g, '"evt"')),
      log: api.logs.splice(0).map(({ time: _time, duration_ms, pid: _pid, hostname: _host, ...line }) => {
        assert.equal(line.rid, body.rid);
        assert.ok(duration_ms === undefined || Number(duration_ms) >= 0);
        assert.ok(!JSON.stringify(line).includes(`"${id}"`));
        return { ...line, rid: 'rid', ...(line.err === undefined ? {} : { err: 'err' }) };
      }),
      outcome: api.outcomes.splice(0).map(({ durationMs: __, ...outcome }) => ({ ...outcome }))[0],
    };
  }

  async function byConnection(sent: Sent): Promise<Seen> {
    const request = httpRequest({
      agent,
      host: '127.0.0.1',
      port: portOf(),
      method: 'POST',
      path: sent.path ?? '/v2/publish',
      headers: headersOf(sent),
    });
    request.end(sent.body);
    const [response] = await once(request, 'response');
    let text = '';
    for await (const chunk of response) text += chunk;
    // The line is written when the answer has left, which the client may see before.
    while (api.outcomes.length === 0) await new Promise(setImmediate);
    return seen(response.statusCode, response.headers, text);
  }

  async function byFramework(sent: Sent): Promise<Seen> {
    const response = await api.app.inject({
      method: 'POST',
      url: sent.path ?? '/v2/publish',
      headers: headersOf(sent),
      payload: sent.body,
    });
    return seen(response.statusCode, response.headers as IncomingHttpHeaders, response.body);
  }

  const json = (value: unknown, further: Partial<Sent> = {}): Sent => ({
    ...further,
    body: JSON.stringify(value),
  });
  const cases: Record<string, { sent: () => Sent; status: number; directly: boolean }> = {
    'one event': { sent: () => json(item()), status: 200, directly: true },
    'an event under the older prefix': {
      sent: () => json(item(), { path: '/open/v2/publish' }),
      status: 200,
      directly: true,
    },
    'a key of scope publish': {
      sent: () => json(item(), { headers: { 'x-api-key': publishKey } }),
      status: 200,
      directly: true,
    },
    'a charset that says UTF-8': {
      sent: () => json(item(), { headers: { 'content-type': 'application/json; charset=utf-8' } }),
      status: 200,
      directly: true,
    },
    'characters beyond ASCII': {
      sent: () => json(item({ data: { ...DATA, note: 'Größe 東京 🎬' } })),
      status: 200,
      directly: true,
    },
    'a batch with a refused event': {
      sent: () => json({ events: [item(), item({ event: 'no.such' })] }),
      status: 200,
      directly: true,
    },
    'an unknown field': { sent: () => json(item({ more: 1 })), status: 400, directly: true },
    'data that does not fit': { sent: () => json(item({ data: {} })), status: 400, directly: true },
    'an unknown account': { sent: () => json(item({ username: 'nobody' })), status: 404, directly: true },
    'a taken event_id': {
      sent: () => json(item({ event_id: 'taken', data: { ...DATA, task_id: String(Math.random()) } })),
      status: 409,
      directly: true,
    },
    'an event over the limit': {
      sent: () => json(item({ data: { ...DATA, note: 'x'.repeat(2048) } })),
      status: 413,
      directly: true,
    },
    'text that is not JSON': { sent: () => ({ body: '{"username":' }), status: 400, directly: true },
    'a forbidden key': { sent: () => ({ body: '{"__proto__":{}}' }), status: 400, directly: true },
    'invalid UTF-8': { sent: () => ({ body: Buffer.from([0x22, 0xff, 0x22]) }), status: 400, directly: true },
    'a number that no double holds': {
      sent: () => ({ body: JSON.stringify(item()).replace('"t1"', '12345678901234567890') }),
      status: 400,
      directly: true,
    },
    'no object': { sent: () => json([]), status: 400, directly: true },
    'a request over the limit': {
      sent: () => json(item({ data: { ...DATA, note: 'x'.repeat(MAX_REQUEST_BYTES) } })),
      status: 413,
      directly: false,
    },
    'a wrong key': {
      sent: () => json(item(), { headers: { 'x-api-key': 'ph_wrong' } }),
      status: 401,
      directly: false,
    },
    "an account's key": {
      sent: () => json(item(), { headers: { 'x-api-key': accountKey } }),
      status: 403,
      directly: false,
    },
    'another media type': {
      sent: () => json(item(), { headers: { 'content-type': 'text/plain' } }),
      status: 415,
      directly: false,
    },
    'another charset': {
      sent: () => json(item(), { headers: { 'content-type': 'application/json; charset=latin1' } }),
      status: 415,
      directly: false,
    },
    'a query': { sent: () => json(item(), { path: '/v2/publish?a=1' }), status: 400, directly: false },
    'no body': { sent: () => ({ body: '' }), status: 400, directly: false },
  };
  for (const [name, { sent, status, directly }] of Object.entries(cases)) {
    it(`is answered, logged and counted as by the framework: ${name}`, async () => {
      await api.app.inject({
        method: 'POST',
        url: '/v2/publish',
        headers: { 'x-api-key': publishKey, 'content-type': 'application/json' },
        payload: item({ event_id: 'taken' }),
      });
      api.logs.length = 0;
      api.outcomes.length = 0;
      const request = sent();
      const expected = await byFramework(request);
      assert.equal(expected.status, status, JSON.stringify(expected.body));
      assert.deepEqual(await byConnection(request), expected);
      assert.equal(routed, directly ? 0 : 1);
    });
  }

  it('is answered alike while nothing can be stored', async () => {
    failing = true;
    try {
      const expected = await byFramework(json(item()));
      assert.equal(expected.status, 503);
      assert.equal(expected.headers['retry-after'], '7');
      assert.deepEqual(await byConnection(json(item())), expected);
      assert.equal(routed, 0);
    } finally {
      failing = false;
    }
  });

  it('that arrives in parts is put together', async () => {
    const body = JSON.stringify(item({ data: { ...DATA, note: '東'.repeat(100) } }));
    const request = httpRequest({
      agent,
      host: '127.0.0.1',
      port: portOf(),
      method: 'POST',
      path: '/v2/publish',
      headers: headersOf({ body }),
    });
    const bytes = Buffer.from(body);
    request.write(bytes.subarray(0, 300));
    // What the other side has read: the second part then comes apart from the first.
    await once(api.app.server, 'request');
    request.end(bytes.subarray(300));
    const [response] = await once(request, 'response');
    response.resume();
    assert.equal(response.statusCode, 200);
    assert.equal(routed, 0);
  });

  it('that breaks off stores nothing, and leaves what the framework would leave of it', async () => {
    const lines: unknown[][] = [];
    for (const type of ['application/json', 'application/json;charset=utf-8']) {
      api.logs.length = 0;
      api.outcomes.length = 0;
      const body = JSON.stringify(item({ event_id: 'broken-off' }));
      const socket = connect(portOf(), '127.0.0.1');
      socket.write(
        `POST /v2/publish HTTP/1.1\r\nhost: a\r\nx-api-key: ${api.operatorKey}\r\ncontent-type: ${type}\r\n` +
          `content-length: ${body.length}\r\n\r\n${body.slice(0, -1)}`,
      );
      const [request] = await once(api.app.server, 'request');
      const serverSide = request.socket;
      socket.destroy();
      await once(serverSide, 'close');
      // The parser's refusal: a request that never was one has no route and no outcome.
      while (api.logs.length === 0) await new Promise(setImmediate);
      lines.push(
        api.logs.map(({ msg, method, route, status, reason }) => ({ msg, method, route, status, reason })),
      );
      assert.deepEqual(api.outcomes, []);
    }
    assert.equal(routed, 1);
    assert.equal(lines[0]?.length, 1);
    assert.deepEqual(lines[0], lines[1]);
    assert.equal(await api.store.getEvent(username, 'broken-off'), null);
  });
});

describe('a publish that is under way when the server ends', () => {
  it('is answered, and its connection ends', async () => {
    const reached = Promise.withResolvers<void>();
    const released = Promise.withResolvers<void>();
    const api = await testApp({
      wrapStore: (store) =>
        overriding(store, {
          publish: async (events, offer) => {
            reached.resolve();
            await released.promise;
            return await store.publish(events, offer);
          },
        }),
    });
    const { username } = await api.createAccount();
    await api.app.listen({ host: '127.0.0.1', port: 0 });
    const agent = new Agent({ keepAlive: true });
    const body = JSON.stringify({ username, event: EVENT, data: DATA });
    const request = httpRequest({
      agent,
      host: '127.0.0.1',
      port: (api.app.server.address() as AddressInfo).port,
      method: 'POST',
      path: '/v2/publish',
      headers: {
        'x-api-key': api.operatorKey,
        'content-type': 'application/json',
        'content-length': Buffer.byteLength(body),
      },
    });
    request.end(body);
    await reached.promise;
    const closed = api.close();
    released.resolve();
    const [response] = await once(request, 'response');
    response.resume();
    assert.equal(response.statusCode, 200);
    assert.equal(response.headers.connection, 'close');
    await closed;
    agent.destroy();
  });
});

describe('the security headers', () => {
  it('are those that helmet gives with our content security policy', async (t) => {
    const app = fastify();
    t.after(() => app.close());
    app.get('/without', async () => '');
    await app.register(async (scope) => {
      await scope.register(helmet, {
        contentSecurityPolicy: {
          useDefaults: false,
          directives: { defaultSrc: ["'none'"], frameAncestors: ["'none'"] },
        },
        strictTransportSecurity: false,
      });
      scope.get('/with', async () => '');
    });
    const { headers: without } = await app.inject('/without');
    const { headers } = await app.inject('/with');
    const added = Object.entries(headers).filter(([name]) => !Object.hasOwn(without, name));
    assert.deepEqual(Object.fromEntries(added), SECURITY_HEADERS);
  });
});
