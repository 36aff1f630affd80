import assert from 'node:assert/strict';
import { test } from 'node:test';
import fc from 'fast-check';
import { CapturedBody } from '../src/delivery/captured-body.ts';

function capture(maxBytes: number, ...chunks: (string | Buffer)[]): { all: boolean; body: CapturedBody } {
  const body = new CapturedBody(maxBytes);
  let all = true;
  for (const chunk of chunks) all = body.add(Buffer.from(chunk)) && all;
  return { all, body };
}

test('what fits is kept whole', () => {
  const { all, body } = capture(4, 'ab', 'cd');
  assert.equal(all, true);
  assert.equal(body.text(undefined, false), 'abcd');
});

test('what is longer is cut at the limit', () => {
  const { all, body } = capture(4, 'abc', 'def');
  assert.equal(all, false);
  assert.equal(body.text(undefined, true), 'abcd');
});

test('a character that the limit cuts is left out', () => {
  const { body } = capture(4, 'abcü');
  assert.equal(body.text(undefined, true), 'abc');
});

test('invalid UTF-8 and NUL become replacement characters', () => {
  const { body } = capture(100, Buffer.from([0x61, 0xff, 0x00, 0x62]));
  assert.equal(body.text(undefined, false), 'a\ufffd\ufffdb');
});

test('a byte order mark is kept, cut or not', () => {
  for (const truncated of [false, true]) {
    assert.equal(capture(100, '\ufeffab').body.text(undefined, truncated), '\ufeffab');
  }
});

test('nothing is an empty text', () => {
  assert.equal(capture(10).body.text(undefined, false), '');
  assert.equal(capture(10, '').body.text('gzip', false), '');
});

test('a compressed body is named and not shown', () => {
  assert.equal(
    capture(10, 'abc').body.text('gzip', false),
    '[3 bytes with content-encoding gzip, not decoded]',
  );
  assert.equal(
    capture(2, 'abc').body.text('br', true),
    '[more than 2 bytes with content-encoding br, not decoded]',
  );
  assert.equal(capture(10, 'abc').body.text('identity', false), 'abc');
});

test('the chunks it was given may be reused after the first, and are never written to', () => {
  const [first, second] = [Buffer.from('ab'), Buffer.from('cd')];
  const body = new CapturedBody(100);
  body.add(first);
  body.add(second);
  second.fill('x');
  assert.equal(body.text(undefined, false), 'abcd');
  assert.equal(first.toString(), 'ab');
});

test('however a body is cut into chunks, its first bytes are kept', () => {
  fc.assert(
    fc.property(fc.array(fc.string({ maxLength: 300 }), { maxLength: 30 }), fc.nat(3000), (chunks, max) => {
      const whole = chunks.join('').replaceAll(/[^ -~]/g, '?');
      const { all, body } = capture(max, ...chunks.map((chunk) => chunk.replaceAll(/[^ -~]/g, '?')));
      assert.equal(all, whole.length <= max);
      assert.equal(body.text(undefined, !all), whole.slice(0, max));
    }),
  );
});
