import assert from 'node:assert/strict';
import { describe, it } from 'node:test';

import { checkCustomHeaders } from '../../src/api/custom-headers.ts';

describe('custom headers', () => {
  it('may be what a receiver wants to see', () => {
    checkCustomHeaders({});
    checkCustomHeaders({ Authorization: 'Bearer abc', 'X-Team': 'vidéo', 'x-empty': '', 'x-tab': 'a\tb' });
    checkCustomHeaders(Object.fromEntries(Array.from({ length: 20 }, (_, i) => [`x-${i}`, String(i)])));
  });

  const rows: [string, Record<string, string>][] = [
    ['more than 20', Object.fromEntries(Array.from({ length: 21 }, (_, i) => [`x-${i}`, '']))],
    ['a value with CRLF', { 'x-a': 'a\r\nhost: evil' }],
    ['a value with a line feed', { 'x-a': 'a\nb' }],
    ['a value with a carriage return', { 'x-a': 'a\rb' }],
    ['a value with NUL', { 'x-a': 'a\0b' }],
    ['a value beyond Latin-1', { 'x-a': '邮' }],
    ['a value of 5000 characters', { 'x-a': 'a'.repeat(5000) }],
    ['a name with CRLF', { 'x-a\r\nx-b': '' }],
    ['a name with a space', { 'x a': '' }],
    ['a name with a colon', { 'x:a': '' }],
    ['an empty name', { '': '' }],
    ['a name that is no ASCII', { 'x-é': '' }],
    ['a name of 200 characters', { ['x'.repeat(200)]: '' }],
    ['the same name twice', { 'X-A': '1', 'x-a': '2' }],
    ...[
      'host',
      'Host',
      'content-type',
      'Content-Length',
      'content-encoding',
      'connection',
      'keep-alive',
      'transfer-encoding',
      'Transfer-Encoding',
      'te',
      'trailer',
      'upgrade',
      'expect',
      'user-agent',
      'accept-encoding',
      'proxy-authorization',
      'x-webhook-signature',
      'X-Webhook-Event',
      'x-webhook-anything',
      'webhook-id',
      'webhook-timestamp',
      'Webhook-Signature',
    ].map((name): [string, Record<string, string>] => [`the name ${name}`, { [name]: 'a' }]),
  ];
  for (const [name, headers] of rows) {
    it(`must not have ${name}`, () => {
      assert.throws(() => checkCustomHeaders(headers), { kind: 'invalid_parameter', field: 'headers' });
    });
  }
});
