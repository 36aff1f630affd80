import assert from 'node:assert/strict';
import { EventEmitter, once } from 'node:events';
import type { IncomingMessage, ServerResponse } from 'node:http';
import { type AddressInfo, connect, Socket } from 'node:net';
import { describe, it } from 'node:test';
import { Admission, type AdmissionOptions } from '../../src/api/admission.ts';
import { testApp } from '../support/app.ts';
import { ManualClock } from '../support/manual-clock.ts';

const MIB = 1024 * 1024;

function setUp(changes: Partial<AdmissionOptions> = {}) {
  const clock = new ManualClock();
  const admission = new Admission({
    maxRequests: 10,
    maxBodyBytes: 10 * MIB,
    maxMemoryBytes: null,
    maxRequestBytes: 5 * MIB,
    clock,
    ...changes,
  });
  /** Asks for a request; answers the refusal, or the response whose `close` ends it. */
  const ask = (headers: Record<string, string> = {}, url = '/v2/publish') => {
    const response = new EventEmitter();
    const request = { url, headers, socket: { remoteAddress: '203.0.113.1' } } as unknown as IncomingMessage;
    const refusal = admission.admit(request, response as ServerResponse);
    return { refusal, end: () => response.emit('close') };
  };
  return { clock, admission, ask };
}

const body = (bytes: number, key = 'a'): Record<string, string> => ({
  'content-length': String(bytes),
  'x-api-key': key,
});

describe('admission', () => {
  it('refuses requests beyond so many under way, but never a look at health, and takes more as some end', () => {
    const { ask } = setUp();
    const taken = Array.from({ length: 10 }, () => ask());
    const { refusal } = ask();
    assert.deepEqual(
      [refusal?.kind, refusal?.httpStatus, refusal?.retryAfterSeconds],
      ['unavailable', 503, 1],
    );
    for (const url of ['/healthz', '/readyz', '/metrics']) assert.equal(ask({}, url).refusal, null);
    taken[0]?.end();
    assert.equal(ask().refusal, null);
  });

  it('bounds the bytes of bodies, and leaves room for others beside a key that floods', () => {
    const { ask } = setUp();
    const first = ask(body(5 * MIB));
    assert.equal(first.refusal, null);
    assert.equal(ask(body(3 * MIB)).refusal, null);
    assert.deepEqual(
      [ask(body(MIB)).refusal?.kind, ask(body(MIB)).refusal?.httpStatus],
      ['rate_limited', 429],
    );
    assert.equal(ask(body(MIB, 'b')).refusal, null);
    assert.equal(ask(body(4 * MIB, 'c')).refusal?.kind, 'unavailable');
    first.end();
    assert.equal(ask(body(MIB)).refusal, null);
  });

  it('counts a body without a length as the largest there may be', () => {
    const { ask } = setUp();
    const chunked = { 'transfer-encoding': 'chunked', 'x-api-key': 'a' };
    assert.equal(ask(chunked).refusal, null);
    assert.equal(ask({ ...chunked, 'x-api-key': 'b' }).refusal, null);
    assert.equal(ask({ ...chunked, 'x-api-key': 'c' }).refusal?.kind, 'unavailable');
  });

  it('takes nothing in while the process has too little memory, and goes on by itself', () => {
    let memory = 400 * MIB;
    const { ask, clock } = setUp({ maxMemoryBytes: 500 * MIB, memory: () => memory });
    assert.equal(ask(body(10)).refusal, null);
    memory = 501 * MIB;
    clock.advance(500);
    assert.match(ask(body(10)).refusal?.message ?? '', /uses 501 MiB of memory, its limit is 500/);
    assert.equal(ask().refusal, null, 'what brings no body may look');
    memory = 400 * MIB;
    clock.advance(500);
    assert.equal(ask(body(10)).refusal, null);
  });

  it('takes nothing in while the event loop is late again and again, for one late turn is none', () => {
    let lateMs = 0;
    let fire: () => void = () => {};
    let now = 0;
    const clock = {
      monotonic: () => now,
      timer: (_delayMs: number, run: () => void) => {
        fire = run;
        return () => {};
      },
    };
    const { ask } = setUp({ clock });
    const sample = (): void => {
      now += 500 + lateMs;
      fire();
    };
    lateMs = 1_500;
    for (let n = 0; n < 3; n += 1) sample();
    assert.equal(ask(body(10)).refusal, null);
    sample();
    assert.match(ask(body(10)).refusal?.message ?? '', /does not keep up/);
    lateMs = 0;
    sample();
    assert.equal(ask(body(10)).refusal, null);
  });
});

describe('a server with too many bodies under way', { timeout: 30_000 }, () => {
  it('answers with an envelope, retry-after and an end, and logs it; health is answered', async (t) => {
    const slow = new Socket();
    const api = await testApp({ settings: { maxBodiesBytes: 5 * MIB } });
    t.after(async () => {
      slow.destroy();
      await api.close();
    });
    await api.app.listen({ host: '127.0.0.1', port: 0 });
    const { port } = api.app.server.address() as AddressInfo;
    const head = (bytes: number): string =>
      `POST /v2/publish HTTP/1.1\r\nhost: x\r\nx-api-key: ${api.operatorKey}\r\ncontent-type: application/json\r\ncontent-length: ${bytes}\r\n\r\n{`;
    slow.connect(port, '127.0.0.1');
    const taken = once(api.app.server, 'request');
    slow.write(head(5 * MIB));
    await taken;
    const socket = connect(port, '127.0.0.1');
    socket.write(head(MIB));
    let text = '';
    for await (const chunk of socket) text += String(chunk);
    assert.match(text, /^HTTP\/1\.1 503 /);
    assert.match(text, /\r\nretry-after: 1\r\n/i);
    assert.match(text, /\r\nconnection: close\r\n/i);
    assert.match(text, /"code":50000,"msg":"too many bytes of requests/);
    assert.equal((await fetch(`http://127.0.0.1:${port}/healthz`)).status, 200);
    assert.ok(
      api.logs.some(({ msg, status, code }) => msg === 'request' && status === 503 && code === 50000),
    );
    assert.ok(api.outcomes.some(({ httpStatus }) => httpStatus === 503));
  });
});
