import assert from 'node:assert/strict';
import { createHmac } from 'node:crypto';
import { describe, test } from 'node:test';
import fc from 'fast-check';
import { Webhook as StandardWebhook } from 'standardwebhooks';
import { Webhook as SvixWebhook } from 'svix';
import {
  bodySignature,
  createSecret,
  isSecret,
  KeyRing,
  type SignatureInput,
  signatureHeaders,
  standardSignature,
} from '../src/delivery/sign.ts';

const SECRET = 'whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw';

const ring = new KeyRing();
const headersOf = (input: SignatureInput) => signatureHeaders(input, ring);

/** The verifiers refuse old timestamps by the real clock. */
const nowSeconds = (): number => Math.floor(Date.now() / 1000);

describe('the known answers of the wire contract, section 5', () => {
  test('Standard Webhooks, first row', () => {
    assert.equal(
      standardSignature(
        SECRET,
        'msg_p5jXN8AQM9LWM0D4loKWxJek',
        1614265330,
        Buffer.from('{"test": 2432232314}'),
      ),
      'v1,g0hM9SsE+OTPJTGt/tmIKtSyZlE3uFJELVlNIOLJ1OE=',
    );
  });
  test('Standard Webhooks, second row', () => {
    assert.equal(
      standardSignature(
        'whsec_C2FVsBQIhrscChlQIMV+b5sSYspob7oD',
        'msg_27UH4WbU6Z5A5EzD8u03UvzRbpk',
        1649367553,
        Buffer.from('{"email":"test@example.com","username":"test_user"}'),
      ),
      'v1,tZ1I4/hDygAJgO5TYxiSd6Sd0kDW6hPenDe+bTa3Kkw=',
    );
  });
  test('x-webhook-signature, a secret without prefix', () => {
    assert.equal(
      bodySignature("It's a Secret to Everybody", Buffer.from('Hello, World!')),
      '757107ea0eb2509fc211221cce984b8a37570b6d7586c22c46f4379c8b043e17',
    );
  });
  test('x-webhook-signature, the prefix belongs to the key', () => {
    assert.equal(
      bodySignature(SECRET, Buffer.from('{"test": 2432232314}')),
      '80ec8a89ce3cd22133a1066caecb4d04fea7467657c8514d717ec42c38a5c94c',
    );
  });
});

describe('the headers of an attempt', () => {
  const body = Buffer.from('{"event_id":"evt_1","event":"generated_video_success","timestamp":1,"data":{}}');

  test('are the four of the wire contract, all of them text', () => {
    const headers = headersOf({
      secret: SECRET,
      eventId: 'evt_1',
      timestampSeconds: 1700000000,
      body,
    });
    assert.deepEqual(headers, {
      'x-webhook-signature': bodySignature(SECRET, body),
      'webhook-id': 'evt_1',
      'webhook-timestamp': '1700000000',
      'webhook-signature': standardSignature(SECRET, 'evt_1', 1700000000, body),
    });
  });

  test('carry both signatures during an overlap, the new one first, and the new one alone in x-webhook-signature', () => {
    const previousSecret = createSecret();
    const headers = headersOf({
      secret: SECRET,
      previousSecret,
      eventId: 'evt_1',
      timestampSeconds: 1700000000,
      body,
    });
    assert.equal(headers['x-webhook-signature'], bodySignature(SECRET, body));
    assert.equal(
      headers['webhook-signature'],
      `${standardSignature(SECRET, 'evt_1', 1700000000, body)} ${standardSignature(previousSecret, 'evt_1', 1700000000, body)}`,
    );
  });

  test('carry one signature when there is no previous secret', () => {
    for (const previousSecret of [null, undefined]) {
      const headers = headersOf({
        secret: SECRET,
        previousSecret,
        eventId: 'evt_1',
        timestampSeconds: 1,
        body,
      });
      assert.doesNotMatch(headers['webhook-signature'], / /);
    }
  });

  test('are the same from kept keys and from keys that were pushed out and made anew', () => {
    const small = new KeyRing(2);
    const secrets = [SECRET, createSecret(), createSecret(), SECRET, SECRET];
    for (const secret of secrets) {
      const headers = signatureHeaders({ secret, eventId: 'evt_1', timestampSeconds: 1, body }, small);
      assert.equal(headers['x-webhook-signature'], createHmac('sha256', secret).update(body).digest('hex'));
      const key = Buffer.from(secret.slice('whsec_'.length), 'base64');
      const mac = createHmac('sha256', key).update('evt_1.1.').update(body).digest('base64');
      assert.equal(headers['webhook-signature'], `v1,${mac}`);
      assert.ok(small.size <= 2);
    }
  });

  test('sign the bytes, not a re-encoded text', () => {
    const bytes = Buffer.from([0x7b, 0xff, 0xfe, 0x00, 0x7d]);
    assert.equal(bodySignature(SECRET, bytes), createHmac('sha256', SECRET).update(bytes).digest('hex'));
  });
});

for (const [name, Webhook] of [
  ['standardwebhooks', StandardWebhook],
  ['svix', SvixWebhook],
] as const) {
  describe(`the ${name} package`, () => {
    const event = fc.record({
      secret: fc.uint8Array({ minLength: 24, maxLength: 64 }).map(toSecret),
      previousSecret: fc.uint8Array({ minLength: 24, maxLength: 64 }).map(toSecret),
      eventId: fc.stringMatching(/^[A-Za-z0-9_:.-]{1,128}$/),
      data: fc.dictionary(fc.string({ unit: 'grapheme' }), fc.jsonValue()),
    });

    test('accepts any signed event, and returns its content', () => {
      fc.assert(
        fc.property(event, ({ secret, eventId, data }) => {
          const text = JSON.stringify({ event_id: eventId, data });
          const headers = headersOf({
            secret,
            eventId,
            timestampSeconds: nowSeconds(),
            body: Buffer.from(text),
          });
          assert.deepEqual(new Webhook(secret).verify(text, headers), JSON.parse(text));
        }),
        { numRuns: 50 },
      );
    });

    test('accepts an event with the new and with the previous secret during an overlap, and with no third', () => {
      fc.assert(
        fc.property(event, ({ secret, previousSecret, eventId, data }) => {
          const text = JSON.stringify(data);
          const headers = headersOf({
            secret,
            previousSecret,
            eventId,
            timestampSeconds: nowSeconds(),
            body: Buffer.from(text),
          });
          new Webhook(secret).verify(text, headers);
          new Webhook(previousSecret).verify(text, headers);
          assert.throws(() => new Webhook(createSecret()).verify(text, headers), /No matching signature/);
        }),
        { numRuns: 50 },
      );
    });

    test('refuses another body, id or timestamp', () => {
      const body = Buffer.from('{"a":1}');
      const headers = headersOf({
        secret: SECRET,
        eventId: 'evt_1',
        timestampSeconds: nowSeconds(),
        body,
      });
      const webhook = new Webhook(SECRET);
      assert.throws(() => webhook.verify('{"a":2}', headers), /No matching signature/);
      assert.throws(() => webhook.verify('{"a":1}', { ...headers, 'webhook-id': 'evt_2' }));
      assert.throws(() =>
        webhook.verify('{"a":1}', { ...headers, 'webhook-timestamp': String(nowSeconds() - 1) }),
      );
    });
  });
}

describe('a secret', () => {
  test('is made of whsec_ and 32 random bytes, and never twice the same', () => {
    const secrets = new Set(Array.from({ length: 100 }, createSecret));
    assert.equal(secrets.size, 100);
    for (const secret of secrets) {
      assert.ok(isSecret(secret));
      assert.equal(Buffer.from(secret.slice(6), 'base64').length, 32);
    }
  });

  test('holds 24 to 64 bytes', () => {
    fc.assert(
      fc.property(fc.uint8Array({ minLength: 0, maxLength: 100 }), (bytes) => {
        assert.equal(isSecret(toSecret(bytes)), bytes.length >= 24 && bytes.length <= 64);
      }),
    );
  });

  for (const [name, text] of [
    ['no prefix', SECRET.slice(6)],
    ['another prefix', SECRET.replace('whsec_', 'WHSEC_')],
    ['no base64 characters', `${SECRET.slice(0, -1)}!`],
    ['base64url characters', `whsec_${'-'.repeat(32)}`],
    ['missing padding', `whsec_${Buffer.alloc(32, 7).toString('base64').replace('=', '')}`],
    ['white space', `${SECRET}\n`],
    ['bits beyond its bytes', `whsec_${Buffer.alloc(32).toString('base64').replace('A=', 'B=')}`],
    ['nothing', ''],
  ] as const) {
    test(`with ${name} is none`, () => assert.equal(isSecret(text), false));
  }

  test('of the known answers is one', () => assert.ok(isSecret(SECRET)));
});

function toSecret(bytes: Uint8Array): string {
  return `whsec_${Buffer.from(bytes).toString('base64')}`;
}
