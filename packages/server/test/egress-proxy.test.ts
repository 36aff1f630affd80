/** Deliveries through an operator's proxy, of both kinds, on real sockets. */
import assert from 'node:assert/strict';
import { describe, test, type TestContext } from 'node:test';
import { AllowList } from '../src/delivery/allow-list.ts';
import {
  createRequester,
  type Requester,
  type RequesterOptions,
  type RequestResult,
} from '../src/delivery/request.ts';
import type { EgressProxy } from '../src/delivery/tunnel.ts';
import {
  EXPIRED_CERTIFICATE,
  OTHER_HOST_CERTIFICATE,
  TEST_CA,
  VALID_CERTIFICATE,
} from './support/certificates.ts';
import {
  type ProxyBehaviour,
  socksReply,
  startHttpProxy,
  startSocksProxy,
  type TestProxy,
} from './support/egress-proxies.ts';
import {
  type Behaviour,
  closedPort,
  inTurn,
  neverAnswer,
  type Receiver,
  type ReceiverOptions,
  resetBeforeHeaders,
  respond,
  startReceiver,
} from './support/receivers.ts';

const BODY = Buffer.from('{"event_id":"evt_1"}');
const SHORT_MS = 200;

const KINDS = { http: startHttpProxy, socks5: startSocksProxy } as const;
type Kind = keyof typeof KINDS;

interface Running {
  proxy: TestProxy;
  receiver: Receiver;
  requester: Requester;
  /** Names that were looked up here. */
  lookedUp: string[];
  post(url: string, timeoutMs?: number): Promise<RequestResult>;
}

async function run(
  t: TestContext,
  kind: Kind,
  {
    behaviour = {},
    answer = respond(200),
    tls,
    options = {},
    settings = {},
  }: {
    behaviour?: ProxyBehaviour;
    answer?: Behaviour;
    tls?: ReceiverOptions['tls'];
    options?: Partial<RequesterOptions>;
    settings?: Partial<EgressProxy>;
  } = {},
): Promise<Running> {
  const proxy = await KINDS[kind](behaviour);
  const receiver = await startReceiver(answer, tls === undefined ? {} : { tls });
  const lookedUp: string[] = [];
  const requester = createRequester({
    policy: 'development',
    ca: TEST_CA,
    lookup: async (name) => {
      lookedUp.push(name);
      return ['127.0.0.1'];
    },
    proxy: { kind, host: '127.0.0.1', port: proxy.port, credentials: null, ...settings },
    ...options,
  });
  t.after(async () => {
    await requester.close();
    await Promise.all([proxy.close(), receiver.close()]);
  });
  const post = (url: string, timeoutMs = 5_000): Promise<RequestResult> =>
    requester.post({ url, headers: { 'x-a': 'b' }, body: BODY, timeoutMs });
  return { proxy, receiver, requester, lookedUp, post };
}

for (const kind of ['http', 'socks5'] as const) {
  describe(`through a proxy of the kind ${kind}`, () => {
    test('a name is handed over as it is, and not looked up here', async (t) => {
      const { proxy, receiver, lookedUp, post } = await run(t, kind, { tls: VALID_CERTIFICATE });
      const result = await post(receiver.urlFor('hooks.example.com'));
      assert.equal(result.error, null);
      assert.deepEqual(proxy.asked, [{ host: 'hooks.example.com', port: receiver.port, credentials: null }]);
      assert.deepEqual(lookedUp, []);
      assert.deepEqual(receiver.requests[0]?.body, BODY);
    });

    test('TLS goes from end to end: the proxy sees neither headers nor body', async (t) => {
      const { proxy, receiver, post } = await run(t, kind, { tls: VALID_CERTIFICATE });
      await post(receiver.urlFor('hooks.example.com'));
      assert.equal(receiver.requests[0]?.serverName, 'hooks.example.com');
      assert.equal(receiver.requests[0]?.headers.host, `hooks.example.com:${receiver.port}`);
      assert.ok(proxy.bytes().length > 0);
      for (const secret of ['evt_1', 'x-a', 'POST']) assert.ok(!proxy.bytes().includes(secret), secret);
    });

    for (const [name, tls, error] of [
      ['an expired certificate', EXPIRED_CERTIFICATE, /CERT_HAS_EXPIRED/],
      ['another host’s certificate', OTHER_HOST_CERTIFICATE, /ERR_TLS_CERT_ALTNAME_INVALID/],
    ] as const) {
      test(`${name} is the receiver's tls_error, and no request is sent`, async (t) => {
        const { receiver, post, proxy } = await run(t, kind, { tls });
        const result = await post(receiver.urlFor('hooks.example.com'));
        assert.equal(result.outcome, 'tls_error');
        assert.match(result.error ?? '', error);
        assert.equal(receiver.requests.length, 0);
        await proxy.whenAllClosed();
      });
    }

    test('an address has its certificate checked against that address', async (t) => {
      const { receiver, post } = await run(t, kind, { tls: OTHER_HOST_CERTIFICATE });
      assert.match((await post(receiver.url)).error ?? '', /ERR_TLS_CERT_ALTNAME_INVALID/);
    });

    test('http of the development policy is tunnelled all the same', async (t) => {
      const { proxy, receiver, post } = await run(t, kind);
      assert.equal((await post(receiver.urlFor('hooks.example.com'))).outcome, 'success');
      assert.equal(receiver.requests[0]?.target, '/hook');
      assert.equal(proxy.asked.length, 1);
    });

    test('a tunnel is kept, and serves its receiver alone', async (t) => {
      const { proxy, receiver, requester, post } = await run(t, kind);
      for (let i = 0; i < 3; i++) await post(receiver.urlFor('hooks.example.com'));
      await post(receiver.urlFor('other.example.com'));
      assert.deepEqual(
        proxy.asked.map(({ host }) => host),
        ['hooks.example.com', 'other.example.com'],
      );
      assert.deepEqual(requester.connections, { open: 2, idle: 2 });
    });

    test('a dead kept tunnel is a stale connection, not a failure', async (t) => {
      const { receiver, post } = await run(t, kind, { answer: inTurn(respond(200), resetBeforeHeaders) });
      await post(receiver.urlFor('hooks.example.com'));
      assert.equal((await post(receiver.urlFor('hooks.example.com'))).outcome, 'stale_connection');
      assert.equal(receiver.requests.length, 2);
    });

    test('credentials are sent, and right ones let in', async (t) => {
      const { proxy, receiver, post } = await run(t, kind, {
        behaviour: { credentials: 'me:p@ss:wörd' },
        settings: { credentials: { username: 'me', password: 'p@ss:wörd' } },
      });
      assert.equal((await post(receiver.url)).error, null);
      assert.equal(proxy.asked[0]?.credentials, 'me:p@ss:wörd');
    });

    for (const [name, credentials] of [
      ['wrong', { username: 'me', password: 'hunter2' }],
      ['missing', null],
    ] as const) {
      test(`${name} credentials are a proxy_error that doesn't repeat them`, async (t) => {
        const { receiver, post, proxy } = await run(t, kind, {
          behaviour: { credentials: 'me:right' },
          settings: { credentials },
        });
        const result = await post(receiver.url);
        assert.equal(result.outcome, 'proxy_error');
        assert.match(result.error ?? '', /the egress proxy does not take Posthorn's credentials/);
        assert.doesNotMatch(result.error ?? '', /hunter2|right/);
        assert.equal(receiver.connectionsSeen, 0);
        await proxy.whenAllClosed();
      });
    }

    test('a literal special address is refused and the proxy never asked', async (t) => {
      const { proxy, post } = await run(t, kind, { options: { policy: 'public-https' } });
      for (const host of [
        '127.0.0.1',
        '10.0.0.1',
        '169.254.169.254',
        '[::1]',
        '[::ffff:10.0.0.1]',
        '0x7f.1',
      ]) {
        assert.equal((await post(`https://${host}/`)).outcome, 'blocked_address', host);
      }
      assert.equal(proxy.connectionsSeen, 0);
    });

    test('a name that only private networks have is refused and the proxy never asked', async (t) => {
      const { proxy, post } = await run(t, kind, { options: { policy: 'public-https' } });
      for (const host of [
        'localhost',
        'localhost.',
        'a.localhost',
        'receiver',
        'db.internal',
        'metadata.google.internal',
        'nas.local',
      ]) {
        const result = await post(`https://${host}/`);
        assert.equal(result.outcome, 'blocked_address', host);
        assert.match(result.error ?? '', /^the URL must (have a|not point)/);
      }
      assert.equal(proxy.connectionsSeen, 0);
    });

    test('what the operator has opened is handed over', async (t) => {
      const { proxy, receiver, post } = await run(t, kind, {
        tls: VALID_CERTIFICATE,
        options: { policy: 'public-https', allow: AllowList.of(['127.0.0.1', 'localhost']) },
      });
      assert.equal((await post(receiver.urlFor('localhost'))).error, null);
      assert.equal((await post(receiver.urlFor('127.0.0.1'))).error, null);
      assert.deepEqual(
        proxy.asked.map(({ host }) => host),
        ['localhost', '127.0.0.1'],
      );
    });

    test('an IPv6 address is handed over as one', async (t) => {
      const { proxy, receiver, post } = await run(t, kind);
      assert.equal((await post(receiver.urlFor('2606:4700::1111'))).error, null);
      assert.match(proxy.asked[0]?.host ?? '', /^\[2606:4700::1111\]$|^2606:4700:0:0:0:0:0:1111$/);
    });

    test('a receiver that never answers is a timeout of its own', async (t) => {
      const { proxy, receiver, post } = await run(t, kind, { answer: neverAnswer });
      const result = await post(receiver.urlFor('hooks.example.com'), SHORT_MS);
      assert.equal(result.outcome, 'timeout');
      assert.match(result.error ?? '', /^hooks\.example\.com:\d+ did not answer within/);
      await Promise.all([proxy.whenAllClosed(), receiver.whenAllClosed()]);
    });

    test('a receiver that never shakes hands is a timeout that frees the tunnel', async (t) => {
      const { proxy, receiver, requester, post } = await run(t, kind, { answer: neverAnswer });
      const result = await post(`https://hooks.example.com:${receiver.port}/`, SHORT_MS);
      assert.equal(result.outcome, 'timeout');
      assert.match(result.error ?? '', /did not complete the TLS handshake/);
      await Promise.all([proxy.whenAllClosed(), receiver.whenAllClosed()]);
      assert.equal(requester.connections.open, 0);
    });

    const failures: [name: string, behaviour: ProxyBehaviour, outcome: string, error: RegExp][] = [
      [
        'accepts and never says a word',
        { onConnection: () => {} },
        kind === 'http' ? 'timeout' : 'proxy_error',
        kind === 'http'
          ? /the egress proxy opened no connection to hooks\.example\.com:81 within 0\.2 s/
          : /the egress proxy did not answer, so hooks\.example\.com:81 was not reached within 0\.2 s/,
      ],
      [
        'never opens the tunnel',
        { onAsked: () => {} },
        'timeout',
        /the egress proxy opened no connection to hooks\.example\.com:81 within 0\.2 s/,
      ],
      [
        'closes when it is connected to',
        { onConnection: (socket) => socket.end() },
        'proxy_error',
        /the egress proxy closed the connection|connection to the egress proxy failed/,
      ],
      [
        'resets when it is connected to',
        { onConnection: (socket) => socket.resetAndDestroy() },
        'proxy_error',
        /connection to the egress proxy failed \(ECONNRESET\)|closed the connection/,
      ],
      [
        'closes when it is asked',
        { onAsked: (socket) => socket.end() },
        'proxy_error',
        /the egress proxy closed the connection instead of opening one to hooks/,
      ],
      [
        'resets when it is asked',
        { onAsked: (socket) => socket.resetAndDestroy() },
        'proxy_error',
        /connection to the egress proxy failed \(ECONNRESET\)/,
      ],
      [
        'answers garbage',
        { onConnection: (socket) => socket.write('\x00\x01\x02 garbage\r\n\r\n') },
        'proxy_error',
        /gave an answer that is not/,
      ],
      [
        'speaks first, as a mail server does',
        { onConnection: (socket) => socket.write('220 mail.example.com ESMTP\r\n\r\n') },
        'proxy_error',
        /gave an answer that is not/,
      ],
      [
        'drips an answer without end',
        { onConnection: (socket) => drip(socket, kind) },
        kind === 'http' ? 'timeout' : 'proxy_error',
        /egress proxy/,
      ],
    ];
    for (const [name, behaviour, outcome, error] of failures) {
      test(`that ${name}: ${outcome}, told apart from the receiver's failures, and everything is freed`, async (t) => {
        const { proxy, receiver, requester, post } = await run(t, kind, { behaviour });
        const result = await post('http://hooks.example.com:81/', SHORT_MS);
        assert.equal(result.outcome, outcome, result.error ?? '');
        assert.match(result.error ?? '', error);
        assert.doesNotMatch(result.error ?? '', /127\.0\.0\.1/);
        assert.equal(receiver.connectionsSeen, 0);
        await proxy.whenAllClosed();
        await requester.close();
        assert.deepEqual(requester.connections, { open: 0, idle: 0 });
      });
    }

    test('that nobody listens on: a proxy_error that doesn’t tell where', async (t) => {
      const { post } = await run(t, kind, { settings: { port: await closedPort() } });
      const result = await post('http://hooks.example.com/');
      assert.equal(result.outcome, 'proxy_error');
      assert.equal(
        result.error,
        'the connection to the egress proxy failed (ECONNREFUSED), so hooks.example.com was not reached',
      );
    });

    test('that has no address: a proxy_error', async (t) => {
      const { post } = await run(t, kind, { settings: { host: 'proxy.invalid' } });
      const result = await post('http://hooks.example.com/');
      assert.equal(result.outcome, 'proxy_error');
      assert.match(result.error ?? '', /the connection to the egress proxy failed \((ENOTFOUND|EAI_AGAIN)\)/);
    });

    test('an attempt that is given up while the tunnel is opened frees the connection', async (t) => {
      let onAsked = (): void => {};
      const asked = new Promise<void>((resolve) => {
        onAsked = resolve;
      });
      const { proxy, requester } = await run(t, kind, { behaviour: { onAsked } });
      const controller = new AbortController();
      const attempt = requester.post({
        url: 'https://hooks.example.com/',
        headers: {},
        body: BODY,
        timeoutMs: 5_000,
        signal: controller.signal,
      });
      await asked;
      controller.abort('stop');
      await assert.rejects(attempt, (error) => error === 'stop');
      await proxy.whenAllClosed();
      await requester.close();
    });
  });
}

describe('an http proxy’s answer of', () => {
  const rows: [status: number, outcome: string, error: RegExp][] = [
    [
      400,
      'proxy_error',
      /the egress proxy refused to open a connection to hooks\.example\.com:81 \(HTTP 400\)$/,
    ],
    [403, 'blocked_address', /does not allow connections to hooks\.example\.com:81 \(HTTP 403\)$/],
    [405, 'proxy_error', /refused to open a connection/],
    [407, 'proxy_error', /does not take Posthorn's credentials, so .* \(HTTP 407\)$/],
    [429, 'proxy_error', /refused to open a connection/],
    [451, 'blocked_address', /does not allow/],
    [500, 'proxy_error', /refused to open/],
    [502, 'connect_error', /the egress proxy could not connect to hooks\.example\.com:81 \(HTTP 502\)$/],
    [503, 'connect_error', /could not connect/],
    [504, 'connect_error', /could not connect/],
    [302, 'proxy_error', /refused to open/],
    [101, 'proxy_error', /refused to open/],
  ];
  for (const [status, outcome, error] of rows) {
    test(`${status} is ${outcome}`, async (t) => {
      const { post, receiver, proxy } = await run(t, 'http', {
        behaviour: {
          onAsked: (socket) =>
            socket.write(
              `HTTP/1.1 ${status} Whatever\r\nlocation: http://127.0.0.1/\r\ncontent-length: 2\r\n\r\nno`,
            ),
        },
      });
      const result = await post('http://hooks.example.com:81/');
      assert.equal(result.outcome, outcome);
      assert.match(result.error ?? '', error);
      // What the proxy says is never taken for the receiver's answer.
      assert.equal(result.httpStatus, null);
      assert.equal(receiver.connectionsSeen, 0);
      await proxy.whenAllClosed();
    });
  }

  test('more than 16 KiB of headers is a proxy_error', async (t) => {
    const { post, proxy } = await run(t, 'http', {
      behaviour: { onAsked: (socket) => socket.write(`HTTP/1.1 200 OK\r\nx: ${'x'.repeat(20_000)}`) },
    });
    assert.match((await post('http://hooks.example.com/')).error ?? '', /not HTTP/);
    await proxy.whenAllClosed();
  });

  test('200 with HTTP/1.0 and without a reason opens the tunnel', async (t) => {
    const { post, proxy } = await run(t, 'http', {
      behaviour: { onAsked: (socket) => socket.write('HTTP/1.0 200\r\n\r\n', () => answerOn(socket)) },
    });
    assert.equal((await post('http://hooks.example.com/')).error, null);
    assert.equal(proxy.asked.length, 1);
  });

  test('200 with an answer behind it that nobody asked for is a proxy_error', async (t) => {
    const { post } = await run(t, 'http', {
      behaviour: {
        onAsked: (socket) =>
          socket.end('HTTP/1.1 200 OK\r\n\r\nHTTP/1.1 200 OK\r\ncontent-length: 0\r\n\r\n'),
      },
    });
    assert.equal((await post('http://hooks.example.com/')).outcome, 'proxy_error');
  });
});

describe('a SOCKS5 proxy’s reply of', () => {
  const rows: [name: string, reply: Buffer, outcome: string, error: RegExp][] = [
    [
      '1, a failure',
      socksReply(1),
      'connect_error',
      /could not connect to hooks\.example\.com:81 \(SOCKS reply 1\)$/,
    ],
    ['2, not allowed', socksReply(2), 'blocked_address', /does not allow connections to hooks/],
    ['3, no network', socksReply(3), 'connect_error', /could not connect/],
    ['4, no host', socksReply(4), 'connect_error', /could not connect/],
    ['5, refused', socksReply(5), 'connect_error', /could not connect/],
    ['6, too far', socksReply(6), 'connect_error', /could not connect/],
    ['7, no such command', socksReply(7), 'proxy_error', /refused to open .* \(SOCKS reply 7\)$/],
    ['8, no such address', socksReply(8), 'proxy_error', /refused to open/],
    ['255, unknown', socksReply(255), 'proxy_error', /refused to open/],
    ['another version', Buffer.from([4, 0, 0, 1, 0, 0, 0, 0, 0, 0]), 'proxy_error', /not SOCKS5/],
    ['another kind of address', Buffer.from([5, 0, 0, 9, 0, 0, 0, 0, 0, 0]), 'proxy_error', /not SOCKS5/],
  ];
  for (const [name, reply, outcome, error] of rows) {
    test(`${name} is ${outcome}`, async (t) => {
      const { post, proxy } = await run(t, 'socks5', {
        behaviour: { onAsked: (socket) => socket.write(reply) },
      });
      const result = await post('http://hooks.example.com:81/');
      assert.equal(result.outcome, outcome);
      assert.match(result.error ?? '', error);
      await proxy.whenAllClosed();
    });
  }

  for (const [name, reply] of [
    ['an IPv4 address', Buffer.from([5, 0, 0, 1, 127, 0, 0, 1, 0, 80])],
    ['an IPv6 address', Buffer.from([5, 0, 0, 4, ...Buffer.alloc(16), 0, 80])],
    ['a name', socksReply(0)],
  ] as const) {
    test(`success with ${name} opens the tunnel, byte by byte as well`, async (t) => {
      const { post } = await run(t, 'socks5', {
        behaviour: {
          onAsked: (socket) => {
            for (const byte of reply) socket.write(Buffer.from([byte]));
            answerOn(socket);
          },
        },
      });
      assert.equal((await post('http://hooks.example.com/')).error, null);
    });
  }

  test('a name longer than SOCKS5 can say is refused before it is asked', async (t) => {
    const { post, proxy } = await run(t, 'socks5');
    const result = await post(`http://${'a.'.repeat(130)}example/`);
    assert.equal(result.outcome, 'proxy_error');
    assert.match(result.error ?? '', /too long for SOCKS5/);
    assert.equal(proxy.asked.length, 0);
  });
});

/** The proxy plays the receiver. */
function answerOn(socket: import('node:net').Socket): void {
  socket.on('data', () => socket.write('HTTP/1.1 204 No Content\r\n\r\n'));
}

function drip(socket: import('node:net').Socket, kind: Kind): void {
  socket.write(kind === 'http' ? 'HTTP/1.1 200 OK\r\n' : '\x05');
  if (kind === 'socks5') return;
  const timer = setInterval(() => socket.write('x: y\r\n'), 10);
  socket.on('close', () => clearInterval(timer));
}
