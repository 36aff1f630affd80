/** What receivers may answer, one case a test: the attempt ends by name, is one POST, and leaves nothing behind. */
import assert from 'node:assert/strict';
import type { Socket } from 'node:net';
import { describe, test, type TestContext } from 'node:test';
import { createRequester, type Requester, type RequestResult } from '../src/delivery/request.ts';
import {
  type Behaviour,
  inTurn,
  type Receiver,
  respond,
  send,
  sendAndClose,
  sendAndReset,
  startReceiver,
} from './support/receivers.ts';

const BODY = Buffer.from('{"event_id":"evt_1"}');
const SHORT_MS = 250;
/** More than the systems on both sides keep of what nobody reads. */
const LARGE_BODY = Buffer.alloc(24 * 1024 * 1024, 'x');

async function setUp(
  t: TestContext,
  behaviour: Behaviour,
  onConnection?: (socket: Socket) => void,
): Promise<{ receiver: Receiver; requester: Requester }> {
  const receiver = await startReceiver(behaviour);
  if (onConnection !== undefined) receiver.onConnection(onConnection);
  const requester = createRequester({ policy: 'development' });
  t.after(async () => {
    await requester.close();
    await receiver.close();
  });
  return { receiver, requester };
}

function post(requester: Requester, url: string, timeoutMs = 5_000, body = BODY): Promise<RequestResult> {
  return requester.post({ url, headers: {}, body, timeoutMs });
}

async function allFreed(requester: Requester, receiver: Receiver): Promise<void> {
  await requester.close();
  assert.deepEqual(requester.connections, { open: 0, idle: 0 });
  await receiver.whenAllClosed();
}

type Row = [name: string, behaviour: Behaviour, outcome: RequestResult['outcome'], error: RegExp | null];

function cases(rows: Row[]): void {
  for (const [name, behaviour, outcome, error] of rows) {
    test(`${name}: ${outcome}`, async (t) => {
      const { receiver, requester } = await setUp(t, behaviour);
      const result = await post(requester, receiver.url, outcome === 'timeout' ? SHORT_MS : 5_000);
      assert.equal(result.outcome, outcome, result.error ?? '');
      if (error === null) assert.equal(result.error, null);
      else assert.match(result.error ?? '', error);
      assert.equal(receiver.requests.length, 1);
      assert.equal(receiver.connectionsSeen, 1);
      await allFreed(requester, receiver);
    });
  }
}

const OK = 'HTTP/1.1 200 OK\r\n';
const EMPTY = 'content-length: 0\r\n\r\n';
const chunked = (body: string): string => `${OK}transfer-encoding: chunked\r\n\r\n${body}`;
const hints = (count: number): string => 'HTTP/1.1 103 Early Hints\r\nlink: </a>\r\n\r\n'.repeat(count);

describe('another version of HTTP', () => {
  cases([
    [
      'HTTP/1.0 with a length',
      sendAndClose('HTTP/1.0 200 OK\r\ncontent-length: 2\r\n\r\nok'),
      'success',
      null,
    ],
    [
      'HTTP/1.0 that lasts until the connection ends',
      sendAndClose('HTTP/1.0 200 OK\r\n\r\nok'),
      'success',
      null,
    ],
    [
      'HTTP/1.0 with an error status',
      sendAndClose('HTTP/1.0 500 Oops\r\n\r\n'),
      'http_error',
      /answered HTTP 500$/,
    ],
    [
      'HTTP/1.0 that is cut in its body',
      sendAndClose('HTTP/1.0 200 OK\r\ncontent-length: 9\r\n\r\nok'),
      'reset',
      /body was complete$/,
    ],
    [
      'HTTP/1.0 that keeps its connection',
      send('HTTP/1.0 200 OK\r\nconnection: keep-alive\r\ncontent-length: 0\r\n\r\n'),
      'success',
      null,
    ],
    ['HTTP/0.9: a body alone', sendAndClose('<html>hello</html>'), 'protocol_error', /malformed HTTP/],
    ['HTTP/2 frames', send(Buffer.from([0, 0, 0, 4, 0, 0, 0, 0, 0])), 'protocol_error', /malformed HTTP/],
    ['HTTP/2.0 in a status line', sendAndClose(`HTTP/2.0 200 OK\r\n${EMPTY}`), 'success', null],
    [
      'HTTP/9.9 in a status line',
      send(`HTTP/9.9 200 OK\r\n${EMPTY}`),
      'protocol_error',
      /Invalid HTTP version/,
    ],
    ['a lower-case http/1.1', send(`http/1.1 200 OK\r\n${EMPTY}`), 'protocol_error', /malformed HTTP/],
    [
      'a request instead of an answer',
      send('GET / HTTP/1.1\r\nhost: a\r\n\r\n'),
      'protocol_error',
      /malformed HTTP/,
    ],
    ['ICY, as radio servers say', send('ICY 200 OK\r\n\r\n'), 'protocol_error', /malformed HTTP/],
    ['an SSH banner', send('SSH-2.0-OpenSSH_9.9\r\n'), 'protocol_error', /malformed HTTP/],
    ['a TLS alert', send(Buffer.from([0x15, 3, 1, 0, 2, 2, 70])), 'protocol_error', /malformed HTTP/],
    ['random bytes', send(Buffer.from([0, 1, 2, 3, 0xff, 0xfe])), 'protocol_error', /malformed HTTP/],
  ]);
});

describe('a head', () => {
  cases([
    ['without a reason', sendAndClose(`HTTP/1.1 200\r\n${EMPTY}`), 'success', null],
    ['with status 000', send(`HTTP/1.1 000 Zero\r\n${EMPTY}`), 'protocol_error', /malformed HTTP|status/],
    [
      'with a status of four digits',
      send(`HTTP/1.1 2000 OK\r\n${EMPTY}`),
      'protocol_error',
      /malformed HTTP/,
    ],
    [
      'with a status in letters',
      send(`HTTP/1.1 OK fine\r\n${EMPTY}`),
      'protocol_error',
      /Invalid status code/,
    ],
    ['with status 999', sendAndClose(`HTTP/1.1 999 Odd\r\n${EMPTY}`), 'http_error', /answered HTTP 999$/],
    ['with a space before a colon', send(`${OK}x-a : b\r\n${EMPTY}`), 'protocol_error', /malformed HTTP/],
    ['with a header without a colon', send(`${OK}nonsense\r\n${EMPTY}`), 'protocol_error', /malformed HTTP/],
    ['with an empty header name', send(`${OK}: b\r\n${EMPTY}`), 'protocol_error', /malformed HTTP/],
    ['with a bare CR in a value', send(`${OK}x-a: b\rc\r\n${EMPTY}`), 'protocol_error', /malformed HTTP/],
    ['with a NUL in a name', send(`${OK}x\0a: b\r\n${EMPTY}`), 'protocol_error', /malformed HTTP/],
    [
      'with 16 000 small headers',
      send(`${OK}${'a: b\r\n'.repeat(16_000)}${EMPTY}`),
      'protocol_error',
      /more than 16384 bytes of response headers/,
    ],
    ['with a length below zero', send(`${OK}content-length: -1\r\n\r\n`), 'protocol_error', /Content-Length/],
    [
      'with a length in hexadecimal',
      send(`${OK}content-length: 0x2\r\n\r\nok`),
      'protocol_error',
      /Content-Length/,
    ],
    [
      'with a length that is a sum',
      send(`${OK}content-length: +2\r\n\r\nok`),
      'protocol_error',
      /Content-Length/,
    ],
    [
      'with a length in letters',
      send(`${OK}content-length: two\r\n\r\nok`),
      'protocol_error',
      /Content-Length/,
    ],
    [
      'with a length beyond 64 bits',
      send(`${OK}content-length: 99999999999999999999\r\n\r\nok`),
      'protocol_error',
      /contradictory lengths|Content-Length/,
    ],
    [
      'with two lengths in one header',
      send(`${OK}content-length: 2, 3\r\n\r\nok`),
      'protocol_error',
      /contradictory lengths|Content-Length/,
    ],
    [
      'with a length and chunks the other way round',
      send(`${OK}transfer-encoding: chunked\r\ncontent-length: 2\r\n\r\n0\r\n\r\n`),
      'protocol_error',
      /contradictory|malformed/,
    ],
    [
      'with an upgrade that nobody asked for',
      send('HTTP/1.1 101 Switching Protocols\r\nupgrade: h2c\r\nconnection: upgrade\r\n\r\n'),
      'protocol_error',
      /HTTP 101/,
    ],
    ['that is cut in its status line', sendAndClose('HTTP/1.'), 'reset', /closed the connection/],
    [
      'that is cut before its last line',
      sendAndClose(`${OK}x-a: b\r\n`),
      'reset',
      /before its response headers were complete$/,
    ],
    [
      'that is reset after its status line',
      sendAndReset(OK),
      'reset',
      /before its response headers were complete$/,
    ],
  ]);
});

describe('chunks', () => {
  cases([
    ['in good order', sendAndClose(chunked('2\r\nok\r\n0\r\n\r\n')), 'success', null],
    ['with trailers', sendAndClose(chunked('2\r\nok\r\n0\r\nx-a: b\r\n\r\n')), 'success', null],
    ['with an extension', sendAndClose(chunked('2;a=b\r\nok\r\n0\r\n\r\n')), 'success', null],
    ['of a size below zero', send(chunked('-1\r\nok\r\n')), 'protocol_error', /chunk size/],
    [
      'of a size beyond 64 bits',
      send(chunked('FFFFFFFFFFFFFFFFF\r\nok\r\n')),
      'protocol_error',
      /[Cc]hunk size/,
    ],
    ['of a size in no digits', send(chunked('\r\nok\r\n')), 'protocol_error', /chunk/],
    ['of a size with a prefix', send(chunked('0x2\r\nok\r\n')), 'protocol_error', /chunk/],
    ['longer than their size', send(chunked('2\r\nokay\r\n0\r\n\r\n')), 'protocol_error', /malformed HTTP/],
    ['without their last', sendAndClose(chunked('2\r\nok\r\n')), 'reset', /body was complete$/],
    ['that are reset in the middle', sendAndReset(chunked('9\r\nok')), 'reset', /body was complete$/],
    ['that stop in the middle', send(chunked('9\r\nok')), 'timeout', /did not complete the response body/],
    ['whose last never comes', send(chunked('2\r\nok\r\n')), 'timeout', /did not complete the response body/],
    [
      'whose trailers never end',
      send(chunked('0\r\nx-a: b\r\n')),
      'timeout',
      /did not complete the response body/,
    ],
    ['of a size that says nothing', send(chunked('zz\r\n')), 'protocol_error', /chunk size/],
    [
      'named twice',
      sendAndClose(`${OK}transfer-encoding: chunked, chunked\r\n\r\n0\r\n\r\n`),
      'success',
      null,
    ],
  ]);

  for (const [name, start, more] of [
    ['an extension without end', '2;', 'a=b;'.repeat(1_000)],
    ['trailers without end', '0\r\n', 'x-a: b\r\n'.repeat(1_000)],
    ['chunks of one byte without end', '', '1\r\nx\r\n'.repeat(1_000)],
    ['leading zeros without end', '0', '0'.repeat(1_000)],
  ] as const) {
    test(`${name}: the attempt ends by its deadline or a cap, and memory stays flat`, async (t) => {
      const { receiver, requester } = await setUp(t, (socket) => {
        socket.write(chunked(start));
        const pour = (): void => {
          while (!socket.destroyed && socket.write(more));
        };
        socket.on('drain', pour);
        pour();
      });
      const before = process.memoryUsage.rss();
      const result = await post(requester, receiver.url, 500);
      assert.ok(['success', 'timeout', 'protocol_error'].includes(result.outcome), result.outcome);
      assert.ok((result.responseBody ?? '').length <= 65_536);
      await allFreed(requester, receiver);
      const grown = process.memoryUsage.rss() - before;
      assert.ok(grown < 96 * 1024 ** 2, `memory grew by ${grown} bytes`);
    });
  }
});

describe('interim answers', () => {
  cases([
    ['ten before the answer', sendAndClose(`${hints(10)}${OK}${EMPTY}`), 'success', null],
    ['eleven before the answer', send(`${hints(11)}${OK}${EMPTY}`), 'protocol_error', /too many interim/],
    ['102 before the answer', sendAndClose(`HTTP/1.1 102 Processing\r\n\r\n${OK}${EMPTY}`), 'success', null],
    ['one alone, then the end', sendAndClose(hints(1)), 'reset', /closed the connection/],
    ['one alone, then silence', send(hints(1)), 'timeout', /did not|complete/],
    [
      '100 that nobody asked for, before the answer',
      send(`HTTP/1.1 100 Continue\r\n\r\n${OK}${EMPTY}`),
      'protocol_error',
      /HTTP 100 that nobody asked for/,
    ],
    ['199 before the answer', sendAndClose(`HTTP/1.1 199 Odd\r\n\r\n${OK}${EMPTY}`), 'success', null],
  ]);
});

describe('an answer without a body', () => {
  cases([
    [
      '204 that says it has a length',
      sendAndClose('HTTP/1.1 204 No Content\r\ncontent-length: 5\r\n\r\n'),
      'success',
      null,
    ],
    [
      '304 that says it has a length',
      sendAndClose('HTTP/1.1 304 Not Modified\r\ncontent-length: 5\r\n\r\n'),
      'http_error',
      /HTTP 304$/,
    ],
    ['205', sendAndClose('HTTP/1.1 205 Reset Content\r\ncontent-length: 0\r\n\r\n'), 'success', null],
  ]);
});

describe('a receiver that does not read', () => {
  test('the request is a timeout that says so, and the slot is free again', async (t) => {
    const { receiver, requester } = await setUp(t, respond(200), (socket) => socket.pause());
    const result = await post(requester, receiver.url, SHORT_MS, LARGE_BODY);
    assert.equal(result.outcome, 'timeout');
    assert.match(result.error ?? '', /did not read the whole request within 0\.25 s$/);
    assert.equal(receiver.connectionsSeen, 1);
    await requester.close();
    assert.deepEqual(requester.connections, { open: 0, idle: 0 });
    // Unread, a connection never tells of its end.
    receiver.resetConnections();
  });

  test('more than a byte at a time is one too', async (t) => {
    const { receiver, requester } = await setUp(t, respond(200), (socket) => {
      socket.pause();
      const timer = setInterval(() => socket.read(1), 10);
      socket.on('close', () => clearInterval(timer));
    });
    const result = await post(requester, receiver.url, SHORT_MS, LARGE_BODY);
    assert.equal(result.outcome, 'timeout');
    assert.match(result.error ?? '', /did not read the whole request/);
    receiver.resetConnections();
  });

  test('all before it answers with 200 has answered', async (t) => {
    const { receiver, requester } = await setUp(t, respond(200), (socket) => {
      socket.once('data', () => socket.write(`${OK}${EMPTY}`));
    });
    const result = await post(requester, receiver.url, 5_000, LARGE_BODY);
    assert.equal(result.outcome, 'success');
    assert.equal(receiver.connectionsSeen, 1);
  });

  test('all before it answers 413 and breaks off is a failure of one POST', async (t) => {
    const { receiver, requester } = await setUp(t, respond(200), (socket) => {
      socket.once('data', () =>
        socket.end('HTTP/1.1 413 Too Large\r\nconnection: close\r\ncontent-length: 0\r\n\r\n'),
      );
    });
    const result = await post(requester, receiver.url, 5_000, LARGE_BODY);
    assert.ok(['http_error', 'reset'].includes(result.outcome), result.outcome);
    assert.equal(receiver.connectionsSeen, 1);
  });

  for (const [name, end] of [
    ['and resets at once', (socket: Socket) => socket.resetAndDestroy()],
    ['and closes at once', (socket: Socket) => socket.destroy()],
    [
      'and resets after the first bytes',
      (socket: Socket) => socket.once('data', () => socket.resetAndDestroy()),
    ],
    ['and half-closes at once', (socket: Socket) => socket.end()],
  ] as const) {
    test(`${name}: reset, on one connection`, async (t) => {
      const { receiver, requester } = await setUp(
        t,
        () => {},
        (socket) => void end(socket),
      );
      const result = await post(requester, receiver.url);
      assert.equal(result.outcome, 'reset', result.error ?? '');
      assert.equal(result.httpStatus, null);
      assert.equal(receiver.connectionsSeen, 1);
      await allFreed(requester, receiver);
    });
  }
});

describe('an answer that nobody asked for', () => {
  const FORGED = 'HTTP/1.1 200 OK\r\ncontent-length: 6\r\n\r\nforged';

  test('between two requests is not taken for the next one’s', async (t) => {
    const sockets: Socket[] = [];
    const { receiver, requester } = await setUp(t, inTurn(respond(200), respond(500)), (socket) =>
      sockets.push(socket),
    );
    await post(requester, receiver.url);
    await new Promise<void>((resolve) => sockets[0]?.write(FORGED, () => resolve()));
    await receiver.whenAllClosed();
    const result = await post(requester, receiver.url);
    assert.equal(result.httpStatus, 500);
    assert.equal(receiver.connectionsSeen, 2);
  });

  test('behind an answer is not taken for the next one’s', async (t) => {
    const { receiver, requester } = await setUp(t, inTurn(send(`${OK}${EMPTY}${FORGED}`), respond(500)));
    assert.equal((await post(requester, receiver.url)).responseBody, '');
    assert.equal((await post(requester, receiver.url)).httpStatus, 500);
    assert.equal(receiver.connectionsSeen, 2);
  });

  test('behind a 204 is not taken for its body or the next one’s', async (t) => {
    const { receiver, requester } = await setUp(
      t,
      inTurn(send(`HTTP/1.1 204 No Content\r\n\r\n${FORGED}`), respond(500)),
    );
    assert.equal((await post(requester, receiver.url)).responseBody, '');
    assert.equal((await post(requester, receiver.url)).httpStatus, 500);
    assert.equal(receiver.connectionsSeen, 2);
  });
});

describe('a compressed body is named and not inflated', () => {
  for (const coding of ['gzip', 'deflate', 'br', 'zstd', 'gzip, gzip', 'x-unknown']) {
    test(coding, async (t) => {
      const { receiver, requester } = await setUp(
        t,
        respond(200, { headers: { 'content-encoding': coding }, body: Buffer.from([0x1f, 0x8b, 8, 0]) }),
      );
      const result = await post(requester, receiver.url);
      assert.equal(result.outcome, 'success');
      assert.equal(result.responseBody, `[4 bytes with content-encoding ${coding}, not decoded]`);
    });
  }
});
