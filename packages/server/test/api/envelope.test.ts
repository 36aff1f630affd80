/** Every answer wears the envelope, also when nothing of the request could be understood. */
import assert from 'node:assert/strict';
import { once } from 'node:events';
import { connect } from 'node:net';
import { after, before, describe, it } from 'node:test';
import { setImmediate as nextTurn } from 'node:timers/promises';

import { fromFrameworkError, refusal } from '../../src/api/envelope.ts';
import { ERROR_KINDS, type ErrorKind, PosthornError } from '../../src/errors.ts';
import { type TestApp, checkEnvelope, overriding, testApp } from '../support/app.ts';

/** Writes bytes on a connection of its own; resolves with what came back when the server has closed it. */
function exchange(port: number, ...parts: string[]): Promise<string> {
  return new Promise((resolve, reject) => {
    const socket = connect(port, '127.0.0.1');
    let received = '';
    socket.on('data', (chunk) => {
      received += chunk.toString('utf8');
    });
    socket.on('end', () => {
      socket.destroy();
      resolve(received);
    });
    socket.on('error', (error) => (received === '' ? reject(error) : resolve(received)));
    for (const part of parts) socket.write(part);
  });
}

function parse(raw: string): { status: number; headers: Record<string, string>; body: string } {
  const [head, ...rest] = raw.split('\r\n\r\n') as [string, ...string[]];
  const [line, ...fields] = head.split('\r\n') as [string, ...string[]];
  const headers = Object.fromEntries(
    fields.map((field) => {
      const [name, ...value] = field.split(': ') as [string, ...string[]];
      return [name.toLowerCase(), value.join(': ')];
    }),
  );
  return { status: Number(line.split(' ')[1]), headers, body: rest.join('\r\n\r\n') };
}

describe('the envelope', () => {
  let api: TestApp;
  let key: string;
  let port: number;
  before(async () => {
    api = await testApp();
    ({ key } = await api.createAccount());
    port = Number(new URL(await api.app.listen({ host: '127.0.0.1', port: 0 })).port);
  });
  after(() => api.close());

  it('of a success has code 0, "Success" and the request id of header and log', async () => {
    const answer = await api.request('GET', '/v2/endpoints', { key });
    assert.deepEqual(Object.keys(answer.json), ['rid', 'code', 'msg', 'data']);
    const line = api.logs.find((entry) => entry.rid === answer.rid);
    assert.equal(line?.route, '/v2/endpoints');
  });

  it('never takes a request id from the caller', async () => {
    const answer = await api.request('GET', '/v2/endpoints', {
      key,
      headers: { 'x-request-id': 'req_mine', 'request-id': 'x' },
    });
    assert.notEqual(answer.rid, 'req_mine');
  });

  it('says that a path is unknown, and which methods one takes', async () => {
    for (const [method, path, words] of [
      ['GET', '/v2/nope', /no route GET \/v2\/nope; GET \/openapi\.json/],
      ['GET', '/v2/endpoint', /takes POST/],
      ['DELETE', '/v2/endpoints', /takes GET/],
      ['POST', '/v2/endpoint/wh_1', /takes GET, PUT, DELETE/],
      ['GET', '/v2/endpoints/', /no route/],
      ['GET', '/v2//endpoints', /no route/],
      ['GET', '/V2/endpoints', /no route/],
      ['HEAD', '/nowhere', /./],
      ['OPTIONS', '/v2/endpoints', /takes GET/],
      ['GET', '/v3/endpoints', /no route/],
      ['GET', '/', /no route/],
      ['GET', '/.env', /no route/],
    ] as const) {
      if (method === 'HEAD') continue;
      const answer = await api.request(method, path, { key });
      assert.deepEqual([answer.status, answer.code], [404, 10104], `${method} ${path}`);
      assert.match(answer.msg, words);
    }
    const long = await api.request('GET', `/v2/${'a'.repeat(5000)}?key=${key}`, { key });
    assert.ok(long.msg.length < 300);
  });

  it('is there when the path cannot be decoded', async () => {
    for (const path of ['/v2/%zz', '/v2/endpoint/%ff', '/%']) {
      const answer = await api.request('GET', path, { key });
      assert.ok(answer.status === 400 || answer.status === 404, String(answer.status));
    }
  });

  it('is there for every malformed request, before the connection is closed', async () => {
    const start = `POST /v2/publish HTTP/1.1\r\nhost: a\r\nx-api-key: ${api.operatorKey}\r\ncontent-type: application/json\r\n`;
    const rows: [string, number, number, string[]][] = [
      ['no HTTP', 400, 40000, ['\x16\x03\x01\x02\x00\x01\x00\r\n\r\n']],
      ['a broken first line', 400, 40000, ['GET\r\n\r\n']],
      ['an unknown method', 400, 40000, ['BREW /v2/endpoints HTTP/1.1\r\nhost: a\r\n\r\n']],
      ['a broken header', 400, 40000, ['GET /v2/endpoints HTTP/1.1\r\nhost: a\r\nno colon\r\n\r\n']],
      ['a header with NUL', 400, 40000, ['GET /v2/endpoints HTTP/1.1\r\nhost: a\r\nx: \0\r\n\r\n']],
      ['two lengths', 400, 40000, [`${start}content-length: 2\r\ncontent-length: 3\r\n\r\n{}`]],
      [
        'a length beside chunks',
        400,
        40000,
        [`${start}content-length: 2\r\ntransfer-encoding: chunked\r\n\r\n{}`],
      ],
      ['a length that is no number', 400, 40000, [`${start}content-length: two\r\n\r\n{}`]],
      ['a broken chunk', 400, 40000, [`${start}transfer-encoding: chunked\r\n\r\nzz\r\n{}\r\n`]],
      ['too many headers', 401, 10105, [`GET / HTTP/1.1\r\nhost: a\r\n${'x-a: b\r\n'.repeat(5000)}\r\n`]],
      [
        'a key of 1 MB',
        401,
        10105,
        [`GET /v2/endpoints HTTP/1.1\r\nhost: a\r\nx-api-key: ${'k'.repeat(1024 * 1024)}\r\n\r\n`],
      ],
    ];
    for (const [name, status, code, parts] of rows) {
      const answer = parse(await exchange(port, ...parts));
      assert.equal(answer.status, status, name);
      const envelope = checkEnvelope(answer.body, answer.headers);
      assert.equal(envelope.code, code, name);
      assert.equal(answer.headers.connection, 'close', name);
      assert.ok(
        api.logs.some((line) => line.rid === envelope.rid),
        `${name} is logged`,
      );
    }
  });

  it('is there without a host header, and whatever is expected', async () => {
    const raw = `GET /v2/endpoints HTTP/1.1\r\nx-api-key: ${key}\r\nconnection: close\r\n`;
    for (const extra of ['', 'host: a\r\nexpect: miracles\r\n', 'host: a\r\nupgrade: websocket\r\n']) {
      const answer = parse(await exchange(port, `${raw}${extra}\r\n`));
      assert.equal(answer.status, 200, extra);
      assert.equal(checkEnvelope(answer.body, answer.headers).code, 0);
    }
  });

  it('comes with the headers of an API that is nobody’s page', async () => {
    const { headers } = await api.request('GET', '/v2/endpoints', { key });
    assert.equal(headers['cache-control'], 'no-store');
    assert.equal(headers['x-content-type-options'], 'nosniff');
    assert.match(headers['content-security-policy'] ?? '', /default-src 'none'/);
    assert.equal(headers['x-powered-by'], undefined);
    assert.equal(headers['access-control-allow-origin'], undefined);
  });
});

describe('an unexpected error', () => {
  it('is 50000 without its words; the log has them under the request id', async (t) => {
    const api = await testApp({
      wrapStore: (store) =>
        overriding(store, {
          listEndpoints: () =>
            Promise.reject(new TypeError("Cannot read properties of undefined (reading 'internals')")),
        }),
    });
    t.after(() => api.close());
    const { key } = await api.createAccount();
    const answer = await api.request('GET', '/v2/endpoints', { key });
    assert.deepEqual([answer.status, answer.code], [500, 50000]);
    assert.ok(!answer.text.includes('internals') && !answer.text.includes('.ts'));
    assert.ok(answer.msg.includes(answer.rid));
    const line = api.logs.find((entry) => entry.rid === answer.rid && entry.level === 50);
    assert.match(JSON.stringify(line?.err), /internals/);
  });
});

describe('every kind of error', () => {
  for (const kind of Object.keys(ERROR_KINDS) as ErrorKind[]) {
    it(`has its code and status on the wire: ${kind}`, () => {
      const { httpStatus, body } = refusal('req_1', new PosthornError(kind, 'words of its own'));
      assert.equal(httpStatus, ERROR_KINDS[kind].httpStatus);
      assert.equal(body.code, ERROR_KINDS[kind].code);
      assert.equal(body.data, null);
      assert.equal(body.msg === 'words of its own', kind !== 'internal');
    });
  }

  it('is made of what the framework throws, and of nonsense', () => {
    for (const [thrown, kind] of [
      [{ code: 'FST_ERR_CTP_BODY_TOO_LARGE', statusCode: 413 }, 'too_large'],
      [{ code: 'FST_ERR_CTP_INVALID_MEDIA_TYPE', statusCode: 415 }, 'unsupported_media_type'],
      [{ code: 'FST_ERR_NEW_ONE', statusCode: 418 }, 'invalid_parameter'],
      [new Error('boom'), 'internal'],
      [undefined, 'internal'],
      ['text', 'internal'],
    ] as const) {
      assert.equal(fromFrameworkError(thrown, 100).kind, kind);
    }
  });
});

describe('closing the app', () => {
  it('lets a request in flight end, answers it with connection: close, and ends idle connections', async () => {
    const inHandler = Promise.withResolvers<void>();
    const gate = Promise.withResolvers<void>();
    const api = await testApp({
      wrapStore: (store) =>
        overriding(store, {
          async listEndpoints(username) {
            inHandler.resolve();
            await gate.promise;
            return await store.listEndpoints(username);
          },
        }),
    });
    const { key } = await api.createAccount();
    const port = Number(new URL(await api.app.listen({ host: '127.0.0.1', port: 0 })).port);

    const idle = connect(port, '127.0.0.1');
    const idleClosed = once(idle, 'close');
    const idleAnswered = once(idle, 'data');
    idle.write('GET /healthz HTTP/1.1\r\nhost: a\r\n\r\n');
    await idleAnswered;
    idle.resume();

    const inFlight = exchange(port, `GET /v2/endpoints HTTP/1.1\r\nhost: a\r\nx-api-key: ${key}\r\n\r\n`);
    await inHandler.promise;
    const closed = api.close();
    await idleClosed;
    gate.resolve();
    const answer = parse(await inFlight);
    assert.equal(answer.status, 200);
    assert.equal(answer.headers.connection, 'close');
    assert.equal(checkEnvelope(answer.body, answer.headers).code, 0);
    await closed;
  });

  it('refuses a request that arrives meanwhile with an envelope that says to come again', async () => {
    const api = await testApp();
    const port = Number(new URL(await api.app.listen({ host: '127.0.0.1', port: 0 })).port);
    const connected = once(api.app.server, 'connection');
    const socket = connect(port, '127.0.0.1');
    await connected;
    let received = '';
    socket.on('data', (chunk) => {
      received += chunk.toString('utf8');
    });
    const ended = once(socket, 'close');
    const closed = api.close();
    // The hooks of closing have run when the server takes no new connections.
    while (api.app.server.listening) await nextTurn();
    socket.write('GET /healthz HTTP/1.1\r\nhost: a\r\n\r\n');
    await ended;
    const answer = parse(received);
    assert.equal(answer.status, 503);
    assert.equal(answer.headers['retry-after'], '1');
    assert.equal(answer.headers.connection, 'close');
    assert.equal(checkEnvelope(answer.body, answer.headers).code, 50000);
    await closed;
  });
});
