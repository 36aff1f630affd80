import assert from 'node:assert/strict';
import { suite, test } from 'node:test';
import { headerOf, MessageReader, requestPath, responseStatus } from '../http-bytes.ts';

interface Seen {
  head: string;
  body: string;
}

function readInPieces(text: string, size: number): Seen[] {
  const seen: Seen[] = [];
  const reader = new MessageReader(({ head, body }) => seen.push({ head, body: body.toString() }));
  for (let at = 0; at < text.length; at += size) {
    const lent = Buffer.from(text.slice(at, at + size));
    reader.push(lent);
    // The socket writes its next bytes into the same memory.
    lent.fill(0);
  }
  assert.equal(reader.isInside, false, 'nothing is left over');
  return seen;
}

suite('the little of HTTP that load generator and receiver read', () => {
  const first = 'POST /e/7 HTTP/1.1\r\nhost: a\r\nContent-Length: 5\r\n\r\nhello';
  const second = 'POST /e/12 HTTP/1.1\r\ncontent-length:11\r\nx-mark: 1\r\n\r\n\r\n\r\nhello!!';
  const third = 'GET /e/1 HTTP/1.1\r\nhost: a\r\n\r\n';

  test('messages are cut the same wherever the bytes are split or joined', () => {
    const whole = first + second + third;
    for (let size = 1; size <= whole.length; size += 1) {
      const seen = readInPieces(whole, size);
      assert.deepEqual(
        seen.map(({ head, body }) => [requestPath(head), body]),
        [
          ['/e/7', 'hello'],
          ['/e/12', '\r\n\r\nhello!!'],
          ['/e/1', ''],
        ],
        `in pieces of ${size}`,
      );
    }
  });

  test('a chunked body is refused, not guessed', () => {
    const reader = new MessageReader(() => assert.fail('no message'));
    const chunked = 'POST /e/7 HTTP/1.1\r\nTransfer-Encoding: chunked\r\n\r\n5\r\nhello\r\n0\r\n\r\n';
    assert.throws(() => reader.push(Buffer.from(chunked)), /chunked bodies are not read here/);
  });

  test('a head without end is refused', () => {
    const reader = new MessageReader(() => assert.fail('no message'));
    assert.throws(() => reader.push(Buffer.alloc(65 * 1024, 'x')), /no end of the head/);
  });

  test('headers are found whatever the case of their names, and only at the start of a line', () => {
    const head = 'POST / HTTP/1.1\r\nX-Not-Webhook-Id: no\r\nWebhook-Id:  evt_1 \r\nlast: yes';
    assert.equal(headerOf(head, 'webhook-id'), 'evt_1');
    assert.equal(headerOf(head, 'last'), 'yes');
    assert.equal(headerOf(head, 'x-other'), undefined);
  });

  test('a status is read from an answer, and anything else is refused', () => {
    assert.equal(responseStatus('HTTP/1.1 503 Service Unavailable\r\nx: y'), 503);
    assert.throws(() => responseStatus('SSH-2.0-x'), /not an HTTP response: SSH-2.0-x/);
  });
});
