import assert from 'node:assert/strict';
import { createHmac } from 'node:crypto';
import { describe, test } from 'node:test';
import fc from 'fast-check';
import { HmacKey } from '../src/delivery/hmac.ts';

const bytes = (maxLength: number) => fc.uint8Array({ maxLength }).map((array) => Buffer.from(array));

describe('an HMAC', () => {
  test('of RFC 4231, cases 1, 2 and 6, is as it stands there', () => {
    const cases: [key: Buffer, message: string, mac: string][] = [
      [
        Buffer.alloc(20, 0x0b),
        'Hi There',
        'b0344c61d8db38535ca8afceaf0bf12b881dc200c9833da726e9376c2e32cff7',
      ],
      [
        Buffer.from('Jefe'),
        'what do ya want for nothing?',
        '5bdcc146bf60754e6a042426089575c75a003f089d2739839dec58b964ec3843',
      ],
      [
        Buffer.alloc(131, 0xaa),
        'Test Using Larger Than Block-Size Key - Hash Key First',
        '60e431591ee0b67f0d8a26aacbf5b77f8e0bc6213728c5140546040f0ee37f54',
      ],
    ];
    for (const [key, message, mac] of cases) {
      assert.equal(new HmacKey(key).sign('', Buffer.from(message), 'hex'), mac);
      assert.equal(new HmacKey(key).sign(message, Buffer.alloc(0), 'hex'), mac);
    }
  });

  test("of any key, prefix and body is createHmac's, whatever the key has signed before", () => {
    fc.assert(
      fc.property(
        bytes(200),
        fc.array(fc.tuple(fc.string({ unit: 'binary', maxLength: 100 }), bytes(300)), { minLength: 1 }),
        (keyBytes, messages) => {
          const key = new HmacKey(keyBytes);
          for (const [prefix, body] of messages) {
            for (const encoding of ['hex', 'base64'] as const) {
              const expected = createHmac('sha256', keyBytes).update(prefix).update(body).digest(encoding);
              assert.equal(key.sign(prefix, body, encoding), expected);
            }
          }
        },
      ),
    );
  });

  test('covers every byte of a long body, beside short ones', () => {
    const secret = Buffer.from('secret');
    const key = new HmacKey(secret);
    for (const length of [16_000, 16_319, 16_320, 16_321, 20_000, 262_144, 3]) {
      const body = Buffer.alloc(length, 'body');
      const expected = createHmac('sha256', secret).update('é.').update(body).digest('hex');
      assert.equal(key.sign('é.', body, 'hex'), expected);
    }
  });
});
