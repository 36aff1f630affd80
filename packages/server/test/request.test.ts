import assert from 'node:assert/strict';
import { describe, test, type TestContext } from 'node:test';
import fc from 'fast-check';
import {
  createRequester,
  type Requester,
  type RequesterOptions,
  type RequestResult,
  type RequestSpec,
} from '../src/delivery/request.ts';
import {
  EXPIRED_CERTIFICATE,
  OTHER_HOST_CERTIFICATE,
  SELF_SIGNED_CERTIFICATE,
  TEST_CA,
  VALID_CERTIFICATE,
} from './support/certificates.ts';
import { ManualClock } from './support/manual-clock.ts';
import {
  type Behaviour,
  closedPort,
  dripBody,
  dripHeaders,
  endlessBody,
  endlessInterim,
  gzipBomb,
  hugeBody,
  hugeHeaders,
  inTurn,
  neverAnswer,
  neverFinishHeaders,
  oneHugeHeader,
  type Receiver,
  type ReceiverOptions,
  resetBeforeHeaders,
  respond,
  send,
  sendAndClose,
  sendAndReset,
  startReceiver,
} from './support/receivers.ts';

const BODY = Buffer.from(
  '{"event_id":"evt_1","event":"generated_video_success","timestamp":1,"data":{"ü":1}}',
);
const HEADERS = { 'content-type': 'application/json', 'user-agent': 'Posthorn-Webhook/test' };
/** Of tests that let real time pass; the others drive a clock. */
const SHORT_MS = 200;

async function receiverOf(
  t: TestContext,
  behaviour: Behaviour,
  options?: ReceiverOptions,
): Promise<Receiver> {
  const receiver = await startReceiver(behaviour, options);
  t.after(() => receiver.close());
  return receiver;
}

function requesterOf(t: TestContext, options: Partial<RequesterOptions> = {}): Requester {
  const requester = createRequester({ policy: 'development', ...options });
  t.after(() => requester.close());
  return requester;
}

function post(requester: Requester, url: string, spec: Partial<RequestSpec> = {}): Promise<RequestResult> {
  return requester.post({ url, headers: HEADERS, body: BODY, timeoutMs: 5_000, ...spec });
}

/** Answers one request by `behaviour`, and sees to it that nothing of the attempt stays behind. */
async function attempt(
  t: TestContext,
  behaviour: Behaviour,
  spec: Partial<RequestSpec> = {},
): Promise<RequestResult> {
  const receiver = await receiverOf(t, behaviour);
  const requester = requesterOf(t);
  const result = await post(requester, receiver.url, spec);
  if (requester.connections.idle > 0) receiver.endConnections();
  await receiver.whenAllClosed();
  return result;
}

/** Closing waits for every socket and attempt: with one left behind, the test would not end. */
async function allFreed(requester: Requester): Promise<void> {
  assert.equal(requester.connections.idle, 0);
  await requester.close();
  assert.deepEqual(requester.connections, { open: 0, idle: 0 });
}

describe('a request', () => {
  test('carries the exact body, the given headers and the path, and asks for no compression', async (t) => {
    const receiver = await receiverOf(t, respond(200));
    const url = `${receiver.url}/a%20b?x=1&y=ü`;
    await post(requesterOf(t), url, {
      headers: { ...HEADERS, 'x-webhook-event': 'generated_video_success' },
    });
    const [request] = receiver.requests;
    assert.ok(request);
    assert.equal(request.method, 'POST');
    assert.equal(request.target, '/hook/a%20b?x=1&y=%C3%BC');
    assert.deepEqual(request.body, BODY);
    assert.deepEqual(request.headers, {
      host: `127.0.0.1:${receiver.port}`,
      connection: 'keep-alive',
      ...HEADERS,
      'x-webhook-event': 'generated_video_success',
      'content-length': String(BODY.length),
    });
  });

  test('with a header that HTTP cannot carry ends as protocol_error, without the value in the error', async (t) => {
    const receiver = await receiverOf(t, respond(200));
    const result = await post(requesterOf(t), receiver.url, { headers: { 'x-token': 'hunter2\r\nx: y' } });
    assert.equal(result.outcome, 'protocol_error');
    assert.match(result.error ?? '', /x-token header; check the endpoint's custom headers/);
    assert.doesNotMatch(result.error ?? '', /hunter2/);
    assert.equal(receiver.requests.length, 0);
  });
});

describe('an answer', () => {
  for (const status of [200, 201, 204, 299]) {
    test(`of ${status} is a success`, async (t) => {
      const result = await attempt(t, respond(status));
      assert.equal(result.outcome, 'success');
      assert.equal(result.httpStatus, status);
      assert.equal(result.error, null);
    });
  }

  for (const status of [300, 304, 400, 401, 404, 410, 429, 500, 503, 599]) {
    test(`of ${status} is an http_error that names it`, async (t) => {
      const result = await attempt(t, respond(status));
      assert.equal(result.outcome, 'http_error');
      assert.equal(result.httpStatus, status);
      assert.match(result.error ?? '', new RegExp(`^127\\.0\\.0\\.1:\\d+ answered HTTP ${status}$`));
    });
  }

  for (const status of [301, 302, 303, 307, 308]) {
    test(`of ${status} is a failure, and its target is not visited`, async (t) => {
      const target = await receiverOf(t, respond(200));
      const result = await attempt(t, respond(status, { headers: { location: target.url } }));
      assert.equal(result.outcome, 'http_error');
      assert.equal(result.httpStatus, status);
      assert.match(result.error ?? '', /redirects are not followed/);
      assert.equal(result.responseHeaders?.location, target.url);
      assert.equal(target.connectionsSeen, 0);
    });
  }

  test('has its retry-after passed on as it came', async (t) => {
    const late = await attempt(t, respond(429, { headers: { 'retry-after': '120' } }));
    assert.equal(late.retryAfter, '120');
    const nonsense = await attempt(t, respond(503, { headers: { 'Retry-After': 'soon, perhaps' } }));
    assert.equal(nonsense.retryAfter, 'soon, perhaps');
    assert.equal((await attempt(t, respond(503))).retryAfter, null);
  });

  test('has its headers in lower case, repeated ones joined, and harmless whatever their names', async (t) => {
    const result = await attempt(
      t,
      send(
        'HTTP/1.1 200 OK\r\nX-A: 1\r\nx-a: 2\r\n__proto__: 3\r\nconstructor: 4\r\ncontent-length: 0\r\n\r\n',
      ),
    );
    assert.deepEqual(Object.entries(result.responseHeaders ?? {}), [
      ['x-a', '1, 2'],
      ['__proto__', '3'],
      ['constructor', '4'],
      ['content-length', '0'],
    ]);
  });

  test('has its body kept as text', async (t) => {
    const body = Buffer.from([...Buffer.from('grün'), 0xff, 0x00]);
    const result = await attempt(t, respond(200, { body }));
    assert.equal(result.responseBody, 'grün\ufffd\ufffd');
    assert.equal(result.responseTruncated, false);
  });

  test('without a body has an empty one', async (t) => {
    assert.equal((await attempt(t, respond(204))).responseBody, '');
  });

  test('of exactly the capture limit is whole', async (t) => {
    const result = await attempt(t, respond(200, { body: 'x'.repeat(65_536) }));
    assert.equal(result.responseBody?.length, 65_536);
    assert.equal(result.responseTruncated, false);
  });

  for (const [status, outcome] of [
    [200, 'success'],
    [500, 'http_error'],
  ] as const) {
    test(`of ${status} beyond the capture limit is cut, and judged by its status`, async (t) => {
      const result = await attempt(t, respond(status, { body: 'x'.repeat(65_537) }));
      assert.equal(result.outcome, outcome);
      assert.equal(result.responseBody?.length, 65_536);
      assert.equal(result.responseTruncated, true);
    });
  }

  test('that lasts until the connection ends is complete', async (t) => {
    const result = await attempt(t, sendAndClose('HTTP/1.1 200 OK\r\n\r\nuntil the end'));
    assert.equal(result.outcome, 'success');
    assert.equal(result.responseBody, 'until the end');
  });

  test('that arrived in time counts, though a stalled process reads it after the deadline', async (t) => {
    const stalled: Behaviour = (socket, request) => {
      respond(200)(socket, request);
      const end = performance.now() + 2 * SHORT_MS;
      while (performance.now() < end);
    };
    assert.equal((await attempt(t, stalled, { timeoutMs: SHORT_MS })).outcome, 'success');
  });

  test('after an interim response counts alone', async (t) => {
    const result = await attempt(
      t,
      send('HTTP/1.1 103 Early Hints\r\nlink: </a>\r\n\r\nHTTP/1.1 201 Created\r\ncontent-length: 0\r\n\r\n'),
    );
    assert.equal(result.outcome, 'success');
    assert.equal(result.httpStatus, 201);
    assert.deepEqual(Object.keys(result.responseHeaders ?? {}), ['content-length']);
  });
});

// ---------------------------------------------------------------- receivers that misbehave

type Misbehaviour = [name: string, behaviour: Behaviour, outcome: RequestResult['outcome'], error: RegExp];

/** An attempt that must fail as the row says. */
async function failedAttempt(t: TestContext, row: Misbehaviour): Promise<RequestResult> {
  const [, behaviour, outcome, error] = row;
  const result = await attempt(t, behaviour, outcome === 'timeout' ? { timeoutMs: SHORT_MS } : {});
  assert.equal(result.outcome, outcome);
  assert.match(result.error ?? '', error);
  return result;
}

describe('a receiver that', () => {
  const beforeBody: Misbehaviour[] = [
    ['never answers', neverAnswer, 'timeout', /did not answer within 0\.2 s$/],
    [
      'never finishes its headers',
      neverFinishHeaders,
      'timeout',
      /did not complete its headers within 0\.2 s$/,
    ],
    ['sends its headers a byte at a time', dripHeaders(10), 'timeout', /did not complete its headers/],
    ['resets instead of answering', resetBeforeHeaders, 'reset', /closed the connection without an answer$/],
    ['closes instead of answering', sendAndClose(''), 'reset', /closed the connection without an answer$/],
    [
      'resets in the middle of its headers',
      sendAndReset('HTTP/1.1 200 OK\r\nx-a: b'),
      'reset',
      /before its response headers were complete$/,
    ],
    [
      'closes in the middle of its headers',
      sendAndClose('HTTP/1.1 200 OK\r\nx-a: b'),
      'reset',
      /before its response headers were complete$/,
    ],
    ['sends 1 MiB of headers', hugeHeaders(1024 * 1024), 'protocol_error', /more than 16384 bytes of resp/],
    ['sends one header of 1 MiB', oneHugeHeader(1024 * 1024), 'protocol_error', /more than 16384 bytes of/],
    ['sends interim responses for ever', endlessInterim, 'protocol_error', /too many interim/],
    ['speaks something else', send('220 mail.example.com ESMTP\r\n'), 'protocol_error', /malformed HTTP/],
    ['sends a bad status', send('HTTP/1.1 99 Low\r\n\r\n'), 'protocol_error', /Invalid status code/],
    ['sends a NUL in a header', send('HTTP/1.1 200 OK\r\nx: a\0b\r\n\r\n'), 'protocol_error', /header value/],
    [
      'sends two lengths',
      send('HTTP/1.1 200 OK\r\ncontent-length: 1\r\ncontent-length: 2\r\n\r\nab'),
      'protocol_error',
      /contradictory lengths/,
    ],
    [
      'sends a length and chunks',
      send('HTTP/1.1 200 OK\r\ncontent-length: 1\r\ntransfer-encoding: chunked\r\n\r\n0\r\n\r\n'),
      'protocol_error',
      /contradictory lengths/,
    ],
    [
      'switches to another protocol',
      send('HTTP/1.1 101 Switching Protocols\r\nconnection: upgrade\r\nupgrade: websocket\r\n\r\n'),
      'protocol_error',
      /HTTP 101/,
    ],
    ['sends an unexpected 100', send('HTTP/1.1 100 Continue\r\n\r\n'), 'protocol_error', /HTTP 100/],
  ];
  for (const row of beforeBody) {
    test(`${row[0]} fails the attempt as ${row[2]}, and its connection is freed`, async (t) => {
      const result = await failedAttempt(t, row);
      assert.equal(result.httpStatus, null);
      assert.equal(result.responseHeaders, null);
      assert.equal(result.responseBody, null);
    });
  }

  const midBody: Misbehaviour[] = [
    [
      'stalls in its body',
      send('HTTP/1.1 200 OK\r\ncontent-length: 10\r\n\r\nabc'),
      'timeout',
      /sent its status but did not complete the response body within 0\.2 s$/,
    ],
    [
      'resets in its body',
      sendAndReset('HTTP/1.1 200 OK\r\ncontent-length: 10\r\n\r\nabc'),
      'reset',
      /before its response body was complete$/,
    ],
    [
      'closes in its body',
      sendAndClose('HTTP/1.1 200 OK\r\ncontent-length: 10\r\n\r\nabc'),
      'reset',
      /before its response body was complete$/,
    ],
    [
      'closes in its announced last body',
      sendAndClose('HTTP/1.1 200 OK\r\nconnection: close\r\ncontent-length: 10\r\n\r\nabc'),
      'reset',
      /before its response body was complete$/,
    ],
    [
      'closes between chunks',
      sendAndClose('HTTP/1.1 200 OK\r\nconnection: close\r\ntransfer-encoding: chunked\r\n\r\n3\r\nabc\r\n'),
      'reset',
      /before its response body was complete$/,
    ],
    [
      'sends a bad chunk',
      send('HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\n3\r\nabc\r\nzz\r\n'),
      'protocol_error',
      /Invalid character in chunk size/,
    ],
  ];
  for (const row of midBody) {
    test(`${row[0]} fails the attempt as ${row[2]} in spite of its 200, and its connection is freed`, async (t) => {
      const result = await failedAttempt(t, row);
      assert.equal(result.httpStatus, 200);
      assert.equal(result.responseBody, 'abc');
    });
  }

  test('drips its body, beyond the time limit, is a timeout in spite of its 200', async (t) => {
    const result = await attempt(t, dripBody(10), { timeoutMs: SHORT_MS });
    assert.equal(result.outcome, 'timeout');
    assert.equal(result.httpStatus, 200);
    assert.match(result.responseBody ?? '', /^x+$/);
  });

  test('never answers holds the attempt exactly until its deadline', async (t) => {
    const clock = new ManualClock();
    const receiver = await receiverOf(t, neverAnswer);
    const requester = requesterOf(t, { clock });
    const attempt = post(requester, receiver.url, { timeoutMs: 5_000 });
    await receiver.whenRequests(1);
    assert.equal(clock.nextTimerMs, 5_000);
    clock.advance(4_999);
    assert.equal(requester.connections.open, 1);
    clock.advance(1);
    const result = await attempt;
    assert.equal(result.outcome, 'timeout');
    assert.equal(result.durationMs, 5_000);
    await receiver.whenAllClosed();
    assert.equal(clock.timerCount, 0);
  });

  test('sends a gzip bomb has it left as it is', async (t) => {
    const result = await attempt(t, gzipBomb());
    assert.equal(result.outcome, 'success');
    assert.match(result.responseBody ?? '', /^\[\d+ bytes with content-encoding gzip, not decoded\]$/);
  });

  for (const [name, behaviour] of [
    ['an endless body', endlessBody],
    ['a body of 1 GiB', hugeBody(1024 ** 3)],
  ] as const) {
    test(`sends ${name} is cut off early, and memory stays flat`, async (t) => {
      const receiver = await receiverOf(t, behaviour);
      const requester = requesterOf(t);
      await post(requester, receiver.url);
      const before = process.memoryUsage.rss();
      const results = await Promise.all(Array.from({ length: 20 }, () => post(requester, receiver.url)));
      for (const result of results) {
        assert.equal(result.outcome, 'success');
        assert.equal(result.responseBody?.length, 65_536);
        assert.equal(result.responseTruncated, true);
      }
      await receiver.whenAllClosed();
      await allFreed(requester);
      // What the system's socket buffers took before the end was noticed, of 21 bodies.
      assert.ok(receiver.bytesSent < 21 * 8 * 1024 ** 2, `${receiver.bytesSent} bytes were sent`);
      const grown = process.memoryUsage.rss() - before;
      assert.ok(grown < 64 * 1024 ** 2, `memory grew by ${grown} bytes`);
    });
  }

  test('sends any bytes whatever and closes ends the attempt by name, and leaves nothing behind', async (t) => {
    const wellFormed = 'HTTP/1.1 200 OK\r\ncontent-type: text/plain\r\ncontent-length: 5\r\n\r\nhello';
    const mutated = fc
      .tuple(fc.nat(wellFormed.length), fc.nat(8), fc.string({ unit: 'binary', maxLength: 8 }))
      .map(([at, cut, inserted]) => wellFormed.slice(0, at) + inserted + wellFormed.slice(at + cut));
    const answer = fc.oneof(
      mutated,
      mutated.map((text) => text.replace('content-length: 5', 'transfer-encoding: chunked')),
      fc.string({ unit: 'binary', maxLength: 200 }),
    );
    let bytes = '';
    const receiver = await receiverOf(t, (socket) => void socket.end(bytes));
    const requester = requesterOf(t);
    await fc.assert(
      fc.asyncProperty(answer, async (text) => {
        bytes = text;
        const result = await post(requester, receiver.url);
        assert.ok(
          ['success', 'http_error', 'reset', 'protocol_error'].includes(result.outcome),
          result.outcome,
        );
        assert.equal(result.error === null, result.outcome === 'success');
        await receiver.whenAllClosed();
      }),
      { numRuns: 200 },
    );
    await requester.close();
  });

  test('misbehaves in any way leaves its neighbour alone', async (t) => {
    const requester = requesterOf(t);
    const bad = await Promise.all(
      [neverAnswer, dripBody(10), endlessBody, resetBeforeHeaders].map((each) => receiverOf(t, each)),
    );
    const well = await receiverOf(t, respond(200));
    const failing = bad.map((receiver) => post(requester, receiver.url, { timeoutMs: SHORT_MS }));
    for (let i = 0; i < 20; i++) assert.equal((await post(requester, well.url)).outcome, 'success');
    await Promise.all(failing);
    assert.equal(well.connectionsSeen, 1);
  });
});

// ---------------------------------------------------------------- connecting

describe('a host', () => {
  test('that nobody listens on is a connect_error', async (t) => {
    const result = await post(requesterOf(t), `http://127.0.0.1:${await closedPort()}/`);
    assert.equal(result.outcome, 'connect_error');
    assert.match(result.error ?? '', /refused the connection \(ECONNREFUSED\)$/);
  });

  for (const [code, error] of [
    ['ENOTFOUND', /hooks\.example\.com:81 does not exist in DNS$/],
    ['EAI_AGAIN', /name servers gave no address for hooks\.example\.com:81 \(EAI_AGAIN\)$/],
  ] as const) {
    test(`whose lookup fails with ${code} is a dns_error`, async (t) => {
      const lookup = (): Promise<never> => Promise.reject(Object.assign(new Error(code), { code }));
      const requester = requesterOf(t, { lookup });
      const result = await post(requester, 'http://hooks.example.com:81/');
      assert.equal(result.outcome, 'dns_error');
      assert.match(result.error ?? '', error);
      await allFreed(requester);
    });
  }

  test('without any address is a dns_error', async (t) => {
    const result = await post(requesterOf(t, { lookup: async () => [] }), 'http://hooks.example.com/');
    assert.equal(result.outcome, 'dns_error');
    assert.match(result.error ?? '', /no address in DNS$/);
  });

  test('whose lookup never ends is a timeout that frees the attempt', async (t) => {
    const clock = new ManualClock();
    const requester = requesterOf(t, { clock, lookup: () => new Promise(() => {}) });
    const result = post(requester, 'http://hooks.example.com/');
    clock.advance(5_000);
    assert.equal((await result).outcome, 'timeout');
    assert.match(
      (await result).error ?? '',
      /name servers gave no address for hooks\.example\.com within 5 s$/,
    );
    await allFreed(requester);
  });

  test('with a dead address and a living one is reached', async (t) => {
    const receiver = await receiverOf(t, respond(200));
    const requester = requesterOf(t, { lookup: async () => ['::1', '127.0.0.1'] });
    const result = await post(requester, receiver.urlFor('hooks.example.com'));
    assert.equal(result.outcome, 'success');
  });

  test('is asked for by its own name whatever address it has', async (t) => {
    const receiver = await receiverOf(t, respond(200), { tls: VALID_CERTIFICATE });
    const requester = requesterOf(t, { ca: TEST_CA, lookup: async () => ['127.0.0.1'] });
    const result = await post(requester, receiver.urlFor('hooks.example.com'));
    assert.equal(result.error, null);
    assert.equal(receiver.requests[0]?.serverName, 'hooks.example.com');
    assert.equal(receiver.requests[0]?.headers.host, `hooks.example.com:${receiver.port}`);
  });
});

describe('the guard of addresses', () => {
  /** Looks up as told and says what was asked. */
  function lookupOf(...answers: string[][]): {
    asked: string[];
    lookup: (name: string) => Promise<string[]>;
  } {
    const asked: string[] = [];
    const lookup = async (hostname: string): Promise<string[]> => {
      asked.push(hostname);
      return answers[Math.min(asked.length, answers.length) - 1] as string[];
    };
    return { asked, lookup };
  }

  const literals = [
    '127.0.0.1',
    '127.1',
    '2130706433',
    '0x7f.1',
    '0177.0.0.1',
    '①②⑦.⓪.⓪.①',
    '[::ffff:127.0.0.1]',
  ];
  for (const host of literals) {
    test(`does not dial https://${host} under public-https`, async (t) => {
      const receiver = await receiverOf(t, respond(200), { tls: VALID_CERTIFICATE });
      const { asked, lookup } = lookupOf(['8.8.8.8']);
      const requester = requesterOf(t, { policy: 'public-https', lookup });
      const result = await post(requester, `https://${host}:${receiver.port}/hook`);
      assert.equal(result.outcome, 'blocked_address');
      assert.match(result.error ?? '', /leads to a loopback address .*, which Posthorn does not connect to$/);
      assert.equal(receiver.connectionsSeen, 0);
      assert.deepEqual(asked, []);
      assert.equal(requester.connections.open, 0);
    });
  }

  for (const host of ['[::1]', '[::]', '[::127.0.0.1]', '0', '169.254.169.254', '[64:ff9b::7f00:1]']) {
    test(`does not dial https://${host} under public-https`, async (t) => {
      const result = await post(requesterOf(t, { policy: 'public-https' }), `https://${host}/`);
      assert.equal(result.outcome, 'blocked_address');
    });
  }

  for (const [name, addresses] of [
    ['a private address', ['10.1.2.3']],
    ['a public and a private address', ['93.184.215.14', '10.1.2.3']],
    ['a public address and a disguised private one', ['93.184.215.14', '::ffff:10.1.2.3']],
    ['the metadata address', ['169.254.169.254']],
    ['something that is no address', ['localhost']],
  ] as const) {
    test(`does not dial a name that leads to ${name}, and does not tell which`, async (t) => {
      const { lookup } = lookupOf([...addresses]);
      const requester = requesterOf(t, { policy: 'public-https', lookup });
      const result = await post(requester, 'https://hooks.example.com/');
      assert.equal(result.outcome, 'blocked_address');
      assert.match(result.error ?? '', /^hooks\.example\.com leads to an? [^,]*, which Posthorn does not/);
      for (const address of addresses) assert.ok(!result.error?.includes(address));
      await allFreed(requester);
    });
  }

  test('holds under development for the metadata address', async (t) => {
    const { lookup } = lookupOf(['169.254.169.254']);
    const result = await post(requesterOf(t, { lookup }), 'http://hooks.example.com/');
    assert.equal(result.outcome, 'blocked_address');
  });

  test('checks the very answer that is dialled: a name is asked for once a connection', async (t) => {
    const receiver = await receiverOf(t, respond(200));
    const { asked, lookup } = lookupOf(['127.0.0.1'], ['169.254.169.254']);
    const requester = requesterOf(t, { lookup });
    assert.equal((await post(requester, receiver.urlFor('hooks.example.com'))).outcome, 'success');
    assert.deepEqual(asked, ['hooks.example.com']);
  });

  test('sees a name that changes its answer between two connections', async (t) => {
    const receiver = await receiverOf(t, respond(200, { headers: { connection: 'close' } }));
    const { lookup } = lookupOf(['127.0.0.1'], ['169.254.169.254']);
    const requester = requesterOf(t, { lookup });
    assert.equal((await post(requester, receiver.urlFor('hooks.example.com'))).outcome, 'success');
    await receiver.whenAllClosed();
    assert.equal((await post(requester, receiver.urlFor('hooks.example.com'))).outcome, 'blocked_address');
  });

  for (const url of [
    'http://hooks.example.com/',
    'file:///etc/passwd',
    'ftp://hooks.example.com/',
    'nonsense',
  ]) {
    test(`refuses ${url} under public-https without a lookup, however it was stored`, async (t) => {
      const { asked, lookup } = lookupOf(['8.8.8.8']);
      const result = await post(requesterOf(t, { policy: 'public-https', lookup }), url);
      assert.equal(result.outcome, 'blocked_address');
      assert.deepEqual(asked, []);
    });
  }
});

describe('TLS', () => {
  const lookup = async (): Promise<string[]> => ['127.0.0.1'];
  const rows = [
    ['an expired certificate', EXPIRED_CERTIFICATE, /has expired \(CERT_HAS_EXPIRED\)$/],
    ['a self-signed certificate', SELF_SIGNED_CERTIFICATE, /self-signed .*\(DEPTH_ZERO_SELF_SIGNED_CERT\)$/],
    [
      'a certificate for another host',
      OTHER_HOST_CERTIFICATE,
      /for another host name \(ERR_TLS_CERT_ALTNAME_INVALID\)$/,
    ],
  ] as const;
  for (const [name, tls, error] of rows) {
    test(`with ${name} is a tls_error, and no request is sent`, async (t) => {
      const receiver = await receiverOf(t, respond(200), { tls });
      const result = await post(
        requesterOf(t, { ca: TEST_CA, lookup }),
        receiver.urlFor('hooks.example.com'),
      );
      assert.equal(result.outcome, 'tls_error');
      assert.match(result.error ?? '', error);
      assert.equal(receiver.requests.length, 0);
      await receiver.whenAllClosed();
    });
  }

  test('with a certificate of an unknown authority is a tls_error', async (t) => {
    const receiver = await receiverOf(t, respond(200), { tls: VALID_CERTIFICATE });
    const result = await post(requesterOf(t, { lookup }), receiver.urlFor('hooks.example.com'));
    assert.equal(result.outcome, 'tls_error');
    assert.match(result.error ?? '', /not signed by a trusted authority/);
    await receiver.whenAllClosed();
  });

  test('is checked whatever the environment says', async (t) => {
    const before = process.env.NODE_TLS_REJECT_UNAUTHORIZED;
    process.env.NODE_TLS_REJECT_UNAUTHORIZED = '0';
    t.after(() => {
      if (before === undefined) delete process.env.NODE_TLS_REJECT_UNAUTHORIZED;
      else process.env.NODE_TLS_REJECT_UNAUTHORIZED = before;
    });
    const receiver = await receiverOf(t, respond(200), { tls: SELF_SIGNED_CERTIFICATE });
    const result = await post(requesterOf(t, { lookup }), receiver.urlFor('hooks.example.com'));
    assert.equal(result.outcome, 'tls_error');
  });

  test('with a server that speaks plain HTTP is a tls_error', async (t) => {
    const receiver = await receiverOf(t, neverAnswer);
    receiver.onConnection((socket) => socket.write('HTTP/1.1 400 Bad Request\r\n\r\n'));
    const result = await post(requesterOf(t), `https://127.0.0.1:${receiver.port}/`);
    assert.equal(result.outcome, 'tls_error');
    assert.match(result.error ?? '', /does not speak TLS on this port/);
    await receiver.whenAllClosed();
  });

  test('with a server that never shakes hands is a timeout', async (t) => {
    const receiver = await receiverOf(t, neverAnswer);
    const result = await post(requesterOf(t), `https://127.0.0.1:${receiver.port}/`, { timeoutMs: SHORT_MS });
    assert.equal(result.outcome, 'timeout');
    assert.match(result.error ?? '', /did not complete the TLS handshake within 0\.2 s$/);
    await receiver.whenAllClosed();
  });

  test('with a server that breaks the handshake off is a reset', async (t) => {
    const receiver = await receiverOf(t, neverAnswer);
    receiver.onConnection((socket) => socket.once('data', () => socket.resetAndDestroy()));
    const result = await post(requesterOf(t), `https://127.0.0.1:${receiver.port}/`);
    assert.equal(result.outcome, 'reset');
    assert.match(result.error ?? '', /during the TLS handshake/);
  });

  test('for an address checks the certificate against that address', async (t) => {
    const good = await receiverOf(t, respond(200), { tls: VALID_CERTIFICATE });
    assert.equal((await post(requesterOf(t, { ca: TEST_CA }), good.url)).error, null);
    assert.equal(good.requests[0]?.serverName, null);
    const wrong = await receiverOf(t, respond(200), { tls: OTHER_HOST_CERTIFICATE });
    assert.equal((await post(requesterOf(t, { ca: TEST_CA }), wrong.url)).outcome, 'tls_error');
  });
});

// ---------------------------------------------------------------- connections that are kept

describe('a connection', () => {
  test('serves one request after the other', async (t) => {
    const receiver = await receiverOf(t, respond(200, { body: 'ok' }));
    const requester = requesterOf(t);
    for (let i = 0; i < 5; i++) assert.equal((await post(requester, receiver.url)).outcome, 'success');
    assert.equal(receiver.connectionsSeen, 1);
    assert.deepEqual(requester.connections, { open: 1, idle: 1 });
  });

  test('serves on after an error status', async (t) => {
    const receiver = await receiverOf(t, respond(500));
    const requester = requesterOf(t);
    await post(requester, receiver.url);
    await post(requester, receiver.url);
    assert.equal(receiver.connectionsSeen, 1);
  });

  test('is each request’s own: many at once to one origin don’t wait for each other', async (t) => {
    const receiver = await receiverOf(t, neverAnswer);
    const clock = new ManualClock();
    const requester = requesterOf(t, { clock });
    const attempts = Array.from({ length: 50 }, () => post(requester, receiver.url));
    await receiver.whenRequests(50);
    assert.equal(receiver.connectionsSeen, 50);
    clock.advance(5_000);
    for (const attempt of attempts) assert.equal((await attempt).outcome, 'timeout');
    await receiver.whenAllClosed();
    await allFreed(requester);
  });

  test('that its server says it closes is not used again', async (t) => {
    const receiver = await receiverOf(t, respond(200, { headers: { connection: 'close' } }));
    const requester = requesterOf(t);
    await post(requester, receiver.url);
    await post(requester, receiver.url);
    await receiver.whenAllClosed();
    assert.equal(receiver.connectionsSeen, 2);
  });

  test('that its server closes while it is unused is forgotten', async (t) => {
    const receiver = await receiverOf(t, respond(200));
    const requester = requesterOf(t);
    await post(requester, receiver.url);
    receiver.endConnections();
    await receiver.whenAllClosed();
    assert.equal((await post(requester, receiver.url)).outcome, 'success');
    assert.equal(receiver.connectionsSeen, 2);
    assert.equal(requester.connections.idle, 1);
  });

  test('is not kept beyond the limit over all origins: the longest unused one closes', async (t) => {
    const requester = requesterOf(t, { maxIdleConnections: 2 });
    const [first, second, third] = await Promise.all([
      receiverOf(t, respond(200)),
      receiverOf(t, respond(200)),
      receiverOf(t, respond(200)),
    ]);
    for (const receiver of [first, second, third]) await post(requester, receiver.url);
    await first.whenAllClosed();
    assert.equal(requester.connections.idle, 2);
    await post(requester, second.url);
    await post(requester, third.url);
    assert.equal(second.connectionsSeen + third.connectionsSeen, 2);
  });

  test('is not used again after a minute, so that a changed address takes effect', async (t) => {
    const clock = new ManualClock();
    const receiver = await receiverOf(t, respond(200));
    const requester = requesterOf(t, { clock });
    await post(requester, receiver.url);
    clock.advance(59_999);
    await post(requester, receiver.url);
    assert.equal(receiver.connectionsSeen, 1);
    clock.advance(1);
    await post(requester, receiver.url);
    assert.equal(receiver.connectionsSeen, 2);
  });

  /** Answers the first request of a connection, and treats the second one by `second`. */
  const once =
    (second: Behaviour): Behaviour =>
    (socket, request) =>
      (request.numberOnConnection === 1 ? respond(200) : second)(socket, request);

  for (const [name, behaviour] of [
    ['closes', sendAndClose('')],
    ['resets', resetBeforeHeaders],
  ] as const) {
    test(`that its server ${name} under the next request is stale: told apart, and no second POST is made`, async (t) => {
      const receiver = await receiverOf(t, once(behaviour));
      const requester = requesterOf(t);
      await post(requester, receiver.url);
      const result = await post(requester, receiver.url);
      assert.equal(result.outcome, 'stale_connection');
      assert.match(
        result.error ?? '',
        /closed the connection kept from an earlier delivery .* sent again at once/,
      );
      assert.equal(result.httpStatus, null);
      assert.equal(receiver.requests.length, 2);
      assert.equal(receiver.connectionsSeen, 1);
    });
  }

  test('that is stale takes the others of its origin with it, and none of another', async (t) => {
    let hold = true;
    const waiting: (() => void)[] = [];
    const receiver = await receiverOf(t, (socket, request) => {
      if (request.numberOnConnection > 1) socket.resetAndDestroy();
      else if (!hold) respond(200)(socket, request);
      else waiting.push(() => respond(200)(socket, request));
    });
    const other = await receiverOf(t, respond(200));
    const requester = requesterOf(t);
    await post(requester, other.url);
    const three = [1, 2, 3].map(() => post(requester, receiver.url));
    await receiver.whenRequests(3);
    hold = false;
    for (const answer of waiting) answer();
    await Promise.all(three);
    assert.equal(requester.connections.idle, 4);
    assert.equal((await post(requester, receiver.url)).outcome, 'stale_connection');
    assert.equal(requester.connections.idle, 1);
    assert.equal((await post(requester, receiver.url)).outcome, 'success');
    assert.equal(other.connectionsSeen, 1);
  });

  test('that went silent under a request takes the others of its origin with it', async (t) => {
    const receiver = await receiverOf(t, once(neverAnswer));
    const requester = requesterOf(t);
    const both = [post(requester, receiver.url), post(requester, receiver.url)];
    await Promise.all(both);
    assert.equal(requester.connections.idle, 2);
    const result = await post(requester, receiver.url, { timeoutMs: SHORT_MS });
    assert.equal(result.outcome, 'timeout');
    assert.equal(requester.connections.idle, 0);
  });

  for (const [name, end] of [
    ['was closed', (receiver: Receiver) => receiver.endConnections()],
    ['was reset', (receiver: Receiver) => receiver.resetConnections()],
  ] as const) {
    test(`that ${name} while it was unused is not written to, though nothing has told yet: one POST, on a fresh one`, async (t) => {
      const clock = new ManualClock();
      const receiver = await receiverOf(t, respond(200));
      const requester = requesterOf(t, { clock });
      await post(requester, receiver.url);
      clock.advance(1_000);
      end(receiver);
      assert.equal((await post(requester, receiver.url)).outcome, 'success');
      assert.equal(receiver.requests.length, 2);
      assert.equal(receiver.connectionsSeen, 2);
    });
  }

  test('that is given up while it is being looked at makes no POST', async (t) => {
    const clock = new ManualClock();
    const receiver = await receiverOf(t, respond(200));
    const requester = requesterOf(t, { clock });
    await post(requester, receiver.url);
    clock.advance(1_000);
    const controller = new AbortController();
    const attempt = post(requester, receiver.url, { signal: controller.signal });
    controller.abort('stop');
    await assert.rejects(attempt, (error) => error === 'stop');
    await allFreed(requester);
    await receiver.whenAllClosed();
    assert.equal(receiver.requests.length, 1);
  });

  test('that is kept is passed by where a fresh one is asked for, and stays', async (t) => {
    const receiver = await receiverOf(t, respond(200));
    const requester = requesterOf(t);
    await post(requester, receiver.url);
    assert.equal((await post(requester, receiver.url, { freshConnection: true })).outcome, 'success');
    assert.equal(receiver.connectionsSeen, 2);
    assert.equal(requester.connections.idle, 2);
  });

  test('that is fresh and reset is the receiver’s failure, however it was asked for', async (t) => {
    const receiver = await receiverOf(t, inTurn(respond(200), resetBeforeHeaders));
    const requester = requesterOf(t);
    await post(requester, receiver.url);
    assert.equal((await post(requester, receiver.url, { freshConnection: true })).outcome, 'reset');
    assert.equal(receiver.requests.length, 2);
  });

  test('is not stale when the answer had begun', async (t) => {
    const receiver = await receiverOf(t, once(sendAndClose('HTTP/1.1 200 OK\r\n')));
    const requester = requesterOf(t);
    await post(requester, receiver.url);
    assert.equal((await post(requester, receiver.url)).outcome, 'reset');
    assert.equal(receiver.requests.length, 2);
  });

  test('that is reset at its first request is a reset, and no second POST is made', async (t) => {
    const receiver = await receiverOf(t, resetBeforeHeaders);
    assert.equal((await post(requesterOf(t), receiver.url)).outcome, 'reset');
    assert.equal(receiver.requests.length, 1);
  });

  test('with bytes behind its answer is not used again', async (t) => {
    const smuggled = 'HTTP/1.1 200 OK\r\ncontent-length: 0\r\n\r\nHTTP/1.1 200 OK\r\nx-smuggled: 1\r\n\r\n';
    const receiver = await receiverOf(t, send(smuggled));
    const requester = requesterOf(t);
    for (let i = 0; i < 2; i++) {
      const result = await post(requester, receiver.url);
      assert.equal(result.outcome, 'success');
      assert.equal(result.responseHeaders?.['x-smuggled'], undefined);
    }
    assert.equal(receiver.connectionsSeen, 2);
  });
});

// ---------------------------------------------------------------- stopping

describe('an aborted signal', () => {
  test('rejects what is in flight with its reason, and frees the connections', async (t) => {
    const receiver = await receiverOf(t, neverAnswer);
    const requester = requesterOf(t);
    const controller = new AbortController();
    const attempts = [1, 2, 3].map(() => post(requester, receiver.url, { signal: controller.signal }));
    await receiver.whenRequests(3);
    const reason = new Error('shutting down');
    controller.abort(reason);
    for (const attempt of attempts) await assert.rejects(attempt, (error) => error === reason);
    await receiver.whenAllClosed();
    await allFreed(requester);
  });

  test('rejects what waits for a lookup', async (t) => {
    const requester = requesterOf(t, { lookup: () => new Promise(() => {}) });
    const controller = new AbortController();
    const attempt = post(requester, 'http://hooks.example.com/', { signal: controller.signal });
    controller.abort('stop');
    await assert.rejects(attempt, (error) => error === 'stop');
  });

  test('rejects before anything is dialled', async (t) => {
    const receiver = await receiverOf(t, respond(200));
    const attempt = post(requesterOf(t), receiver.url, { signal: AbortSignal.abort('stop') });
    await assert.rejects(attempt, (error) => error === 'stop');
    assert.equal(receiver.connectionsSeen, 0);
  });

  test('changes nothing about what has ended, or has no signal', async (t) => {
    const receiver = await receiverOf(t, respond(200));
    const requester = requesterOf(t);
    const controller = new AbortController();
    const ended = await post(requester, receiver.url, { signal: controller.signal });
    const other = post(requester, receiver.url);
    controller.abort();
    assert.equal(ended.outcome, 'success');
    assert.equal((await other).outcome, 'success');
  });
});

describe('closing', () => {
  test('closes what is unused at once, and refuses further requests', async (t) => {
    const receiver = await receiverOf(t, respond(200));
    const requester = requesterOf(t);
    await post(requester, receiver.url);
    await requester.close();
    await receiver.whenAllClosed();
    assert.deepEqual(requester.connections, { open: 0, idle: 0 });
    await assert.rejects(post(requester, receiver.url), /requester is closed/);
  });

  test('lets what is in flight end, and waits for it', async (t) => {
    let answer = (): void => {};
    const receiver = await receiverOf(t, (socket, request) => {
      answer = () => respond(200)(socket, request);
    });
    const requester = requesterOf(t);
    const attempt = post(requester, receiver.url);
    await receiver.whenRequests(1);
    let closed = false;
    const closing = requester.close().then(() => {
      closed = true;
    });
    assert.equal(closed, false);
    answer();
    assert.equal((await attempt).outcome, 'success');
    await closing;
    assert.deepEqual(requester.connections, { open: 0, idle: 0 });
  });

  test('may be asked for twice, also when nothing was ever open', async (t) => {
    const requester = requesterOf(t);
    await Promise.all([requester.close(), requester.close()]);
  });
});
