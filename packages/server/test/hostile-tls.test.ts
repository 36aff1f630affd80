/** What can go wrong between a TLS handshake's first byte and the end of an answer: each has its name. */
import assert from 'node:assert/strict';
import { type AddressInfo, createServer, type Server, type Socket } from 'node:net';
import { describe, test, type TestContext } from 'node:test';
import { createServer as createTlsServer, type TlsOptions, type TLSSocket } from 'node:tls';
import { createRequester, type RequestResult } from '../src/delivery/request.ts';
import {
  EXPIRED_CERTIFICATE,
  NOT_YET_VALID_CERTIFICATE,
  OTHER_HOST_CERTIFICATE,
  SELF_SIGNED_CERTIFICATE,
  TEST_CA,
  VALID_CERTIFICATE,
} from './support/certificates.ts';

const SHORT_MS = 250;

interface Attempt {
  result: RequestResult;
  /** TCP connections that were made. */
  connections: number;
  /** Bytes that came through TLS. */
  received: number;
}

async function attempt(
  t: TestContext,
  server: Server,
  timeoutMs = 5_000,
  ca: string = TEST_CA,
): Promise<Attempt> {
  const seen = { connections: 0, received: 0 };
  server.on('connection', (socket) => {
    seen.connections += 1;
    socket.on('error', () => {});
  });
  server.on('tlsClientError', () => {});
  server.on('secureConnection', (socket: TLSSocket) => {
    socket.on('error', () => {});
    socket.on('data', (chunk) => {
      seen.received += chunk.length;
    });
  });
  await new Promise<void>((resolve) => server.listen(0, '127.0.0.1', resolve));
  const requester = createRequester({ policy: 'development', ca, lookup: async () => ['127.0.0.1'] });
  t.after(async () => {
    await requester.close();
    server.close();
  });
  const { port } = server.address() as AddressInfo;
  const result = await requester.post({
    url: `https://hooks.example.com:${port}/hook`,
    headers: {},
    body: Buffer.from('{}'),
    timeoutMs,
  });
  await requester.close();
  assert.deepEqual(requester.connections, { open: 0, idle: 0 });
  return { result, ...seen };
}

const speaking = (options: TlsOptions): Server => createTlsServer({ ...VALID_CERTIFICATE, ...options });
/** A server below TLS: what it does with each connection. */
const below = (onConnection: (socket: Socket) => void): Server => createServer(onConnection);
const atFirstBytes = (bytes: Buffer | string, end?: (socket: Socket) => void): Server =>
  below((socket) =>
    socket.once('data', () => {
      socket.write(bytes, () => end?.(socket));
    }),
  );

describe('a handshake with a server that', () => {
  const rows: [name: string, server: () => Server, outcome: string, error: RegExp, ca?: string][] = [
    [
      'has an expired certificate',
      () => speaking(EXPIRED_CERTIFICATE),
      'tls_error',
      /has expired \(CERT_HAS_EXPIRED\)$/,
    ],
    [
      'has a certificate for later',
      () => speaking(NOT_YET_VALID_CERTIFICATE),
      'tls_error',
      /is not valid yet \(CERT_NOT_YET_VALID\)$/,
      NOT_YET_VALID_CERTIFICATE.cert,
    ],
    [
      'has a certificate signed by itself',
      () => speaking(SELF_SIGNED_CERTIFICATE),
      'tls_error',
      /self-signed/,
    ],
    [
      'has a certificate for another host',
      () => speaking(OTHER_HOST_CERTIFICATE),
      'tls_error',
      /is for another host name/,
    ],
    [
      'has a certificate of an unknown authority',
      () => speaking({}),
      'tls_error',
      /not signed by a trusted authority/,
      SELF_SIGNED_CERTIFICATE.cert,
    ],
    [
      'speaks TLS 1.1 at most',
      () => speaking({ minVersion: 'TLSv1', maxVersion: 'TLSv1.1', ciphers: 'ALL:@SECLEVEL=0' }),
      'tls_error',
      /offers no version of TLS that is still safe/,
    ],
    [
      'has no cipher in common',
      () => speaking({ maxVersion: 'TLSv1.2', ciphers: 'NULL-SHA256:@SECLEVEL=0' }),
      'tls_error',
      /has no cipher in common/,
    ],
    [
      'demands a client certificate, TLS 1.2',
      () => speaking({ requestCert: true, rejectUnauthorized: true, maxVersion: 'TLSv1.2' }),
      'tls_error',
      /has no cipher in common with Posthorn, or refuses the handshake/,
    ],
    [
      'has no certificate for the name',
      () => speaking({ SNICallback: (_name, done) => done(new Error('who?')) }),
      'reset',
      /TLS handshake|closed/,
    ],
    [
      'answers in plain HTTP',
      () => atFirstBytes('HTTP/1.1 400 Bad Request\r\n\r\n'),
      'tls_error',
      /does not speak TLS on this port/,
    ],
    [
      'answers as a mail server',
      () => below((socket) => socket.write('220 mail.example.com ESMTP\r\n')),
      'tls_error',
      /does not speak TLS on this port/,
    ],
    ['answers with random bytes', () => atFirstBytes(Buffer.alloc(64, 0xff)), 'tls_error', /TLS/],
    [
      'answers with an alert of no reason',
      () => atFirstBytes(Buffer.from([0x15, 3, 3, 0, 2, 2, 40])),
      'tls_error',
      /has no cipher in common/,
    ],
    [
      'answers that the name is unknown',
      () => atFirstBytes(Buffer.from([0x15, 3, 3, 0, 2, 2, 112])),
      'tls_error',
      /has no certificate for this name/,
    ],
    [
      'answers that its version is another',
      () => atFirstBytes(Buffer.from([0x15, 3, 3, 0, 2, 2, 70])),
      'tls_error',
      /offers no version of TLS/,
    ],
    [
      'answers with a record that says 64 KiB and stops',
      () => atFirstBytes(Buffer.from([0x16, 3, 3, 0xff, 0xff, 2])),
      'tls_error',
      /TLS/,
    ],
    [
      'resets at the first bytes',
      () => atFirstBytes('', (socket) => socket.resetAndDestroy()),
      'reset',
      /during the TLS handshake/,
    ],
    [
      'closes at the first bytes',
      () => below((socket) => socket.once('data', () => socket.end())),
      'reset',
      /during the TLS handshake/,
    ],
    ['closes when it is connected to', () => below((socket) => socket.end()), 'reset', /TLS handshake/],
    [
      'closes in the middle of its answer',
      () => atFirstBytes(Buffer.from([0x16, 3, 3, 0, 0x7a, 2, 0]), (socket) => socket.end()),
      'reset',
      /during the TLS handshake/,
    ],
    [
      'stops in the middle of its answer',
      () => atFirstBytes(Buffer.from([0x16, 3, 3, 0, 0x7a, 2, 0])),
      'timeout',
      /did not complete the TLS handshake within/,
    ],
    [
      'never says a word',
      () => below((socket) => socket.resume()),
      'timeout',
      /did not complete the TLS handshake within/,
    ],
    [
      'drips its answer',
      () => below((socket) => drip(socket)),
      'timeout',
      /did not complete the TLS handshake within/,
    ],
  ];
  for (const [name, server, outcome, error, ca] of rows) {
    test(`${name}: ${outcome}, and no byte of the request leaves`, async (t) => {
      const { result, connections, received } = await attempt(
        t,
        server(),
        outcome === 'timeout' ? SHORT_MS : 5_000,
        ca,
      );
      assert.equal(result.outcome, outcome, result.error ?? '');
      assert.match(result.error ?? '', error);
      assert.equal(result.httpStatus, null);
      assert.equal(connections, 1);
      assert.equal(received, 0);
    });
  }

  test('demands a client certificate, TLS 1.3: tls_error that says so', async (t) => {
    const { result, connections } = await attempt(
      t,
      speaking({ requestCert: true, rejectUnauthorized: true }),
    );
    assert.ok(['tls_error', 'reset'].includes(result.outcome), result.outcome);
    assert.equal(connections, 1);
  });
});

describe('an answer through TLS that', () => {
  const answering = (bytes: string, end: (socket: TLSSocket) => void): Server => {
    const server = speaking({});
    server.on('secureConnection', (socket: TLSSocket) =>
      socket.once('data', () => socket.write(bytes, () => end(socket))),
    );
    return server;
  };
  const rows: [name: string, server: () => Server, outcome: string, error: RegExp][] = [
    [
      'is cut without a goodbye',
      () => answering('HTTP/1.1 200 OK\r\ncontent-length: 9\r\n\r\nok', (socket) => socket.destroy()),
      'reset',
      /before its response body was complete$/,
    ],
    [
      'is cut before its first byte',
      () => answering('', (socket) => socket.destroy()),
      'reset',
      /closed the connection/,
    ],
    [
      'is followed by an alert in its body',
      () => answering('HTTP/1.1 200 OK\r\ncontent-length: 9\r\n\r\nok', (socket) => socket.end()),
      'reset',
      /before its response body was complete$/,
    ],
  ];
  for (const [name, server, outcome, error] of rows) {
    test(`${name}: ${outcome}`, async (t) => {
      const { result, connections } = await attempt(t, server());
      assert.equal(result.outcome, outcome, result.error ?? '');
      assert.match(result.error ?? '', error);
      assert.equal(connections, 1);
    });
  }
});

function drip(socket: Socket): void {
  socket.resume();
  const timer = setInterval(() => socket.write(Buffer.from([0x16, 3, 3, 0x3f, 0xff, 2]).subarray(0, 1)), 50);
  socket.once('data', () => socket.write(Buffer.from([0x16, 3, 3, 0x3f, 0xff, 2])));
  socket.on('close', () => clearInterval(timer));
}
