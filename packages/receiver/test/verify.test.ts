import assert from 'node:assert/strict';
import { generateKeyPairSync, sign as signByNode } from 'node:crypto';
import { afterEach, beforeEach, describe, it } from 'node:test';
import fc from 'fast-check';
import { Webhook as StandardWebhook } from 'standardwebhooks';
import { Webhook as SvixWebhook } from 'svix';
import { bodySignature, standardSignature } from '../../server/src/delivery/sign.ts';
import { type RawBody, safeVerify, sign, verify, verifySignature, type VerifyOptions } from '../src/index.ts';
import { coded, delivery, OTHER_SECRET, SECRET } from './support/samples.ts';

const NOW_SECONDS = 1_767_225_600;
const now = (): number => NOW_SECONDS * 1000;
const options: VerifyOptions = { secrets: SECRET, now };
const RUNS = { numRuns: 50 };

/** A pair as Standard Webhooks writes them. */
function ed25519Keys(): { publicKey: string; privateKey: string; sign(text: string): string } {
  const pair = generateKeyPairSync('ed25519');
  const { x = '', d = '' } = pair.privateKey.export({ format: 'jwk' });
  const base64 = (url: string): string => Buffer.from(url, 'base64url').toString('base64');
  return {
    publicKey: `whpk_${base64(x)}`,
    privateKey: `whsk_${base64(d)}`,
    sign: (text) => `v1a,${signByNode(null, Buffer.from(text), pair.privateKey).toString('base64')}`,
  };
}

const { getBuiltinModule } = process;
for (const crypto of ['Node', 'WebCrypto'] as const) {
  describe(`verification by the crypto of ${crypto}`, () => {
    beforeEach(() => {
      if (crypto === 'WebCrypto') Reflect.deleteProperty(process, 'getBuiltinModule');
    });
    afterEach(() => {
      process.getBuiltinModule = getBuiltinModule;
    });

    describe('the known answers of the wire contract, section 5', () => {
      const standard = [
        {
          secret: SECRET,
          id: 'msg_p5jXN8AQM9LWM0D4loKWxJek',
          timestamp: 1614265330,
          body: '{"test": 2432232314}',
          signature: 'v1,g0hM9SsE+OTPJTGt/tmIKtSyZlE3uFJELVlNIOLJ1OE=',
        },
        {
          secret: OTHER_SECRET,
          id: 'msg_27UH4WbU6Z5A5EzD8u03UvzRbpk',
          timestamp: 1649367553,
          body: '{"email":"test@example.com","username":"test_user"}',
          signature: 'v1,tZ1I4/hDygAJgO5TYxiSd6Sd0kDW6hPenDe+bTa3Kkw=',
        },
      ];
      for (const { secret, id, timestamp, body, signature } of standard) {
        it(`Standard Webhooks, ${id}`, async () => {
          const headers = {
            'webhook-id': id,
            'webhook-timestamp': String(timestamp),
            'webhook-signature': signature,
          };
          const given = await sign(body, { secrets: secret, id, timestamp, scheme: 'standard' });
          assert.deepEqual(given, headers);
          const at = { secrets: secret, now: () => timestamp * 1000 };
          assert.deepEqual(await verifySignature(body, headers, at), { id, timestamp });
        });
      }
      for (const [secret, body, signature] of [
        [
          "It's a Secret to Everybody",
          'Hello, World!',
          '757107ea0eb2509fc211221cce984b8a37570b6d7586c22c46f4379c8b043e17',
        ],
        [SECRET, '{"test": 2432232314}', '80ec8a89ce3cd22133a1066caecb4d04fea7467657c8514d717ec42c38a5c94c'],
      ] as const) {
        it(`x-webhook-signature of ${body}`, async () => {
          const headers = { 'x-webhook-signature': signature };
          assert.deepEqual(await sign(body, { secrets: secret, scheme: 'jogg' }), headers);
          const verified = await verifySignature(body, headers, { secrets: secret, scheme: 'jogg' });
          assert.deepEqual(verified, { id: null, timestamp: null });
        });
      }
    });

    describe('against other implementations', () => {
      const bodies = fc.json().map((json) => `{"event_id":"evt_1","data":${json}}`);
      const keys = fc
        .uint8Array({ minLength: 24, maxLength: 64 })
        .map((bytes) => `whsec_${Buffer.from(bytes).toString('base64')}`);
      const ids = fc.stringMatching(/^[\w:-]{1,128}$/);

      it('accepts what Posthorn signs, also while a secret is rotated', async () => {
        await fc.assert(
          fc.asyncProperty(bodies, keys, keys, ids, async (body, secret, previousSecret, eventId) => {
            const signedBy = (key: string): string =>
              standardSignature(key, eventId, NOW_SECONDS, Buffer.from(body));
            const headers = {
              'x-webhook-signature': bodySignature(secret, Buffer.from(body)),
              'webhook-id': eventId,
              'webhook-timestamp': String(NOW_SECONDS),
              'webhook-signature': `${signedBy(secret)} ${signedBy(previousSecret)}`,
            };
            const expected = { id: eventId, timestamp: NOW_SECONDS };
            for (const [secrets, scheme] of [
              [secret, 'standard'],
              [previousSecret, 'standard'],
              [[previousSecret, secret], 'both'],
            ] as const) {
              assert.deepEqual(await verifySignature(body, headers, { secrets, scheme, now }), expected);
            }
            assert.deepEqual(
              await sign(body, {
                secrets: [secret, previousSecret],
                id: eventId,
                timestamp: NOW_SECONDS,
              }),
              headers,
            );
          }),
          RUNS,
        );
      });

      for (const [name, Webhook] of [
        ['standardwebhooks', StandardWebhook],
        ['svix', SvixWebhook],
      ] as const) {
        it(`accepts what ${name} signs, and it accepts what sign makes`, async () => {
          await fc.assert(
            fc.asyncProperty(bodies, keys, ids, async (body, secret, id) => {
              // Their clock is the machine's.
              const timestamp = Math.floor(Date.now() / 1000);
              const theirs = new Webhook(secret);
              const headers = {
                'webhook-id': id,
                'webhook-timestamp': String(timestamp),
                'webhook-signature': theirs.sign(id, new Date(timestamp * 1000), body),
              };
              await verifySignature(body, headers, { secrets: secret });
              const ours = await sign(body, { secrets: secret, id });
              assert.deepEqual(theirs.verify(body, ours), JSON.parse(body));
            }),
            RUNS,
          );
        });

        it(`refuses whatever ${name} refuses of a changed delivery`, async () => {
          const change = fc.record({
            header: fc.constantFrom('webhook-id', 'webhook-timestamp', 'webhook-signature', 'body'),
            at: fc.nat(),
            char: fc.constantFrom('a', '1', '+', '=', ' ', '.', ','),
          });
          await fc.assert(
            fc.asyncProperty(bodies, keys, change, async (body, secret, { header, at, char }) => {
              const sent = { ...(await sign(body, { secrets: secret })), body } as Record<string, string>;
              const text = sent[header] as string;
              const index = at % text.length;
              sent[header] = text.slice(0, index) + char + text.slice(index + 1);
              fc.pre(sent[header] !== text);
              const { body: given, ...headers } = sent;
              assert.throws(() => new Webhook(secret).verify(given as string, headers));
              await assert.rejects(verifySignature(given as string, headers, { secrets: secret }));
            }),
            RUNS,
          );
        });
      }
    });

    it('refuses every body and every signature in which one bit is another', async () => {
      const { body, headers } = await delivery({}, { timestamp: NOW_SECONDS });
      const bytes = Buffer.from(body);
      await fc.assert(
        fc.asyncProperty(
          fc.constantFrom('standard', 'jogg', 'both'),
          fc.nat(bytes.length * 8 - 1),
          async (scheme, bit) => {
            const changed = Buffer.from(bytes);
            changed[bit >> 3] = (changed[bit >> 3] as number) ^ (1 << (bit & 7));
            const { ok } = await safeVerify(changed, headers, { ...options, scheme });
            assert.equal(ok, false);
          },
        ),
        { numRuns: 200 },
      );
      for (const [scheme, name, digits] of [
        ['jogg', 'x-webhook-signature', 64],
        ['standard', 'webhook-signature', 43],
      ] as const) {
        const value = headers[name] as string;
        const from = value.length - (scheme === 'jogg' ? digits : digits + 1);
        for (let i = from; i < from + digits; i++) {
          const other = value[i] === 'a' ? 'b' : 'a';
          const changed = { ...headers, [name]: value.slice(0, i) + other + value.slice(i + 1) };
          await assert.rejects(
            verify(body, changed, { ...options, scheme }),
            coded('signature_mismatch'),
            `character ${i}`,
          );
        }
      }
    });

    it('verifies v1a by a public key, from Node and from sign', async () => {
      const keys = ed25519Keys();
      const { body, headers } = await delivery();
      const id = headers['webhook-id'] as string;
      const time = headers['webhook-timestamp'] as string;
      const secrets = keys.publicKey;
      const theirs = { ...headers, 'webhook-signature': keys.sign(`${id}.${time}.${body}`) };
      assert.equal((await verify(body, theirs, { secrets })).event_id, id);
      const ours = await sign(body, { secrets: keys.privateKey, scheme: 'standard' });
      assert.match(ours['webhook-signature'] ?? '', /^v1a,/);
      assert.equal((await verify(body, ours, { secrets })).event_id, id);

      const others = { ...headers, 'webhook-signature': ed25519Keys().sign(`${id}.${time}.${body}`) };
      await assert.rejects(verify(body, others, { secrets }), coded('signature_mismatch'));
      const ofAnother = { ...theirs, 'webhook-id': 'evt_other' };
      await assert.rejects(verify(body, ofAnother, { secrets }), coded('signature_mismatch'));
    });
  });
}

describe('a scheme', () => {
  const both: VerifyOptions = { ...options, scheme: 'both' };

  it('both accepts a delivery that both signatures fit', async () => {
    const { body, headers } = await delivery({ event_id: 'evt_1' }, { timestamp: NOW_SECONDS });
    assert.equal((await verify(body, headers, both)).event_id, 'evt_1');
  });

  for (const name of ['x-webhook-signature', 'webhook-signature', 'webhook-id', 'webhook-timestamp']) {
    it(`both refuses a delivery without ${name}: nobody gets past a scheme by leaving it out`, async () => {
      const { body, headers } = await delivery({}, { timestamp: NOW_SECONDS });
      Reflect.deleteProperty(headers, name);
      await assert.rejects(verify(body, headers, both), coded('signature_missing', new RegExp(`^${name}`)));
    });
  }

  it('both refuses a delivery of which only one signature fits', async () => {
    const good = await delivery({ event_id: 'evt_1' }, { timestamp: NOW_SECONDS });
    const bad = await delivery({ event_id: 'evt_1' }, { timestamp: NOW_SECONDS, secrets: OTHER_SECRET });
    for (const name of ['x-webhook-signature', 'webhook-signature']) {
      const mixed = { ...good.headers, [name]: bad.headers[name] };
      await assert.rejects(verify(good.body, mixed, both), coded('signature_mismatch'));
    }
  });

  it('standard takes no notice of x-webhook-signature, jogg none of the others', async () => {
    const { body, headers } = await delivery({}, { timestamp: NOW_SECONDS });
    await verify(body, { ...headers, 'x-webhook-signature': 'nonsense' }, options);
    const alone = { 'x-webhook-signature': headers['x-webhook-signature'] };
    await verify(body, alone, { ...options, scheme: 'jogg' });
  });

  it('standard tells of jogg where that is all there is', async () => {
    const { body, headers } = await delivery({}, { scheme: 'jogg' });
    await assert.rejects(verify(body, headers, options), coded('signature_missing', /scheme 'jogg'/));
  });

  it('never takes a v1 signature for a v1a one or the other way round', async () => {
    const { publicKey, sign: signAs } = ed25519Keys();
    const { body, headers } = await delivery({}, { timestamp: NOW_SECONDS });
    const v1 = headers['webhook-signature'] as string;
    const asV1a = { ...headers, 'webhook-signature': v1.replace('v1,', 'v1a,') };
    await assert.rejects(verify(body, asV1a, options), coded('signature_mismatch'));
    await assert.rejects(
      verify(body, headers, { ...options, secrets: publicKey }),
      coded('signature_mismatch'),
    );
    const v1a = signAs(`${headers['webhook-id']}.${NOW_SECONDS}.${body}`);
    const asV1 = { ...headers, 'webhook-signature': v1a.replace('v1a,', 'v1,') };
    await assert.rejects(verify(body, asV1, { ...options, secrets: publicKey }), coded('signature_mismatch'));
    // A public key is known to everybody: it must never serve as the key of an HMAC.
    const forged = await sign(body, {
      secrets: `whsec_${publicKey.slice('whpk_'.length)}`,
      timestamp: NOW_SECONDS,
    });
    const both = { ...options, secrets: [publicKey, SECRET] };
    await assert.rejects(verify(body, forged, both), coded('signature_mismatch'));
  });
});

describe('rotation', () => {
  it('accepts the old and the new secret from a sender with either, and none besides', async () => {
    const secrets = [OTHER_SECRET, SECRET];
    for (const scheme of ['standard', 'jogg', 'both'] as const) {
      for (const sender of [SECRET, OTHER_SECRET]) {
        const { body, headers } = await delivery({}, { secrets: sender, timestamp: NOW_SECONDS });
        await verify(body, headers, { ...options, secrets, scheme });
      }
    }
    const { body, headers } = await delivery(
      {},
      { secrets: `whsec_${Buffer.alloc(32, 7).toString('base64')}`, timestamp: NOW_SECONDS },
    );
    await assert.rejects(verify(body, headers, { ...options, secrets }), coded('signature_mismatch'));
  });

  it('lets a receiver that has only the old secret go on under standard while both sign', async () => {
    const { body, headers } = await delivery({}, { secrets: [OTHER_SECRET, SECRET], timestamp: NOW_SECONDS });
    await verify(body, headers, options);
    await assert.rejects(verify(body, headers, { ...options, scheme: 'jogg' }), coded('signature_mismatch'));
  });
});

describe('the tolerance', () => {
  for (const [offset, code] of [
    [-300, null],
    [300, null],
    [-301, 'timestamp_too_old'],
    [301, 'timestamp_too_new'],
  ] as const) {
    it(`${code === null ? 'accepts' : 'refuses'} a timestamp ${offset} s from now`, async () => {
      const { body, headers } = await delivery({}, { timestamp: NOW_SECONDS + offset });
      const verified = verify(body, headers, options);
      if (code === null) await verified;
      else await assert.rejects(verified, coded(code, /301 s/));
    });
  }

  it('is what the options say', async () => {
    const { body, headers } = await delivery({}, { timestamp: NOW_SECONDS - 20 });
    await verify(body, headers, { ...options, toleranceSeconds: 20 });
    await assert.rejects(
      verify(body, headers, { ...options, toleranceSeconds: 19 }),
      coded('timestamp_too_old'),
    );
  });

  it('holds under both, too, and there is none under jogg, which signs no time', async () => {
    const { body, headers } = await delivery({}, { timestamp: 1 });
    await assert.rejects(verify(body, headers, { ...options, scheme: 'both' }), coded('timestamp_too_old'));
    await verify(body, headers, { ...options, scheme: 'jogg' });
  });
});

describe('a request that is not a delivery', () => {
  const cases: [string, Record<string, string | string[]>, Parameters<typeof coded>[0]][] = [
    ['an empty signature', { 'webhook-signature': '' }, 'signature_missing'],
    ['a signature of an unknown version', { 'webhook-signature': 'v2,AAAA' }, 'signature_malformed'],
    ['a signature without a version', { 'webhook-signature': 'AAAA' }, 'signature_malformed'],
    ['17 signatures', { 'webhook-signature': Array(17).fill('v1,AAAA').join(' ') }, 'signature_malformed'],
    ['a short signature', { 'webhook-signature': 'v1,AAAA' }, 'signature_mismatch'],
    ['an empty v1 signature', { 'webhook-signature': 'v1,' }, 'signature_mismatch'],
    ['a timestamp in words', { 'webhook-timestamp': 'yesterday' }, 'timestamp_malformed'],
    ['a timestamp with a sign', { 'webhook-timestamp': `+${NOW_SECONDS}` }, 'timestamp_malformed'],
    ['a timestamp with a fraction', { 'webhook-timestamp': `${NOW_SECONDS}.0` }, 'timestamp_malformed'],
    ['a timestamp in milliseconds', { 'webhook-timestamp': `${NOW_SECONDS}000` }, 'timestamp_malformed'],
    ['another id', { 'webhook-id': 'evt_other' }, 'signature_mismatch'],
    ['two ids', { 'webhook-id': ['evt_1', 'evt_2'] }, 'header_repeated'],
    ['two signature headers', { 'webhook-signature': ['v1,AAAA', 'v1,BBBB'] }, 'header_repeated'],
  ];
  for (const [name, change, code] of cases) {
    it(`is refused: ${name}`, async () => {
      const { body, headers } = await delivery({}, { timestamp: NOW_SECONDS });
      await assert.rejects(verify(body, { ...headers, ...change }, options), coded(code));
    });
  }

  for (const [name, value] of [
    ['short', 'abc'],
    ['upper-case', 'A'.repeat(64)],
    ['prefixed', `sha256=${'a'.repeat(64)}`],
  ] as const) {
    it(`is refused: a ${name} x-webhook-signature`, async () => {
      const { body, headers } = await delivery();
      await assert.rejects(
        verify(body, { ...headers, 'x-webhook-signature': value }, { ...options, scheme: 'jogg' }),
        coded('signature_malformed'),
      );
    });
  }

  for (const [name, body] of [
    ['no JSON', 'Hello, World!'],
    ['invalid UTF-8', Buffer.from([0x22, 0xff, 0x22])],
    ['null', 'null'],
    ['a list', '[]'],
    ['an object without an id', '{"event":"x","timestamp":1,"data":{}}'],
    ['an empty id', '{"event_id":"","event":"x","timestamp":1,"data":{}}'],
    ['an id that is a number', '{"event_id":7,"event":"x","timestamp":1,"data":{}}'],
    ['data that is null', '{"event_id":"e","event":"x","timestamp":1,"data":null}'],
  ] as const) {
    it(`is refused although it is signed: ${name}`, async () => {
      const headers = await sign(body, { secrets: SECRET, scheme: 'jogg' });
      await assert.rejects(
        verify(body, headers, { secrets: SECRET, scheme: 'jogg' }),
        coded('body_malformed'),
      );
    });
  }

  for (const name of ['webhook-id', 'x-webhook-event']) {
    it(`is refused when ${name}, unsigned under jogg, says something else than the body`, async () => {
      const { body, headers } = await delivery();
      await assert.rejects(
        verify(body, { ...headers, [name]: 'other' }, { ...options, scheme: 'jogg' }),
        coded('header_mismatch', new RegExp(name)),
      );
    });
  }
});

describe('a body that is not raw', () => {
  const given = delivery({ data: { text: 'é', n: 1 } }, { timestamp: NOW_SECONDS });

  for (const [name, convert] of [
    ['text', (text) => text],
    ['a Buffer', (text) => Buffer.from(text)],
    ['a Uint8Array', (text) => new Uint8Array(Buffer.from(text))],
    ['an ArrayBuffer', (text) => new Uint8Array(Buffer.from(text)).buffer],
    ['a part of a larger buffer', (text) => Buffer.from(`__${text}__`).subarray(2, -2)],
  ] as [string, (text: string) => RawBody][]) {
    it(`is none as ${name}`, async () => {
      const { body, headers } = await given;
      await verify(convert(body), headers, options);
    });
  }

  it('is explained when it was parsed', async () => {
    const { body, headers } = await given;
    for (const parsed of [JSON.parse(body), [], 7, true, { type: 'Buffer', data: [1] }]) {
      await assert.rejects(verify(parsed as never, headers, options), coded('body_not_raw', /exact bytes/));
    }
  });

  it('is explained when something has read it before', async () => {
    const { headers } = await given;
    for (const empty of ['', new Uint8Array(), new ArrayBuffer(0), undefined, null]) {
      await assert.rejects(verify(empty as never, headers, options), coded('body_missing', /has read it/));
    }
  });

  it('is explained when it was written anew, in either scheme', async () => {
    const { body, headers } = await given;
    const anew = JSON.stringify(JSON.parse(body), null, 2);
    for (const scheme of ['standard', 'jogg', 'both'] as const) {
      await assert.rejects(
        verify(anew, headers, { ...options, scheme }),
        coded('body_reserialised', /parsed and written anew/),
      );
    }
    const changed = anew.replace('"n": 1', '"n": 2');
    await assert.rejects(verify(changed, headers, options), coded('signature_mismatch', /exact bytes/));
  });
});

describe('headers', () => {
  it('are read from whatever a runtime has for them, in any case', async () => {
    const { body, headers } = await delivery({}, { timestamp: NOW_SECONDS });
    const upper = Object.fromEntries(
      Object.entries(headers).map(([name, value]) => [name.toUpperCase(), value]),
    );
    const lists = Object.fromEntries(Object.entries(headers).map(([name, value]) => [name, [value]]));
    for (const form of [headers, new Headers(headers), new Map(Object.entries(headers)), upper, lists]) {
      await verify(body, form, { ...options, scheme: 'both' });
    }
    await assert.rejects(verify(body, Object.create(headers) as never, options), coded('signature_missing'));
  });
});

describe('safeVerify', () => {
  it('answers instead of throwing', async () => {
    const { body, headers } = await delivery({}, { timestamp: NOW_SECONDS });
    const good = await safeVerify(body, headers, options);
    assert.ok(good.ok);
    assert.deepEqual(good.event, JSON.parse(body));
    const bad = await safeVerify(body, {}, options);
    assert.ok(!bad.ok);
    assert.equal(bad.error.code, 'signature_missing');
    assert.equal(bad.error.status, 401);
    const wrong = await safeVerify(body, headers, { secrets: '' });
    assert.ok(!wrong.ok);
    assert.equal(wrong.error.code, 'invalid_configuration');
  });
});

describe('secrets', () => {
  const { privateKey, publicKey } = ed25519Keys();
  for (const [name, secrets, scheme, says] of [
    ['that are not set', undefined, 'standard', /environment variable/],
    ['that are empty', '', 'standard', /environment variable/],
    ['of which one is not set', [SECRET, undefined], 'standard', /secrets\[1\] is undefined/],
    ['of which there are none', [], 'standard', /secrets is empty/],
    ['without their prefix', SECRET.slice(6), 'standard', /whsec_/],
    ['that were cut', SECRET.slice(0, -6), 'standard', /24 to 64 bytes/],
    ['that are no base64', `${SECRET.slice(0, -1)}!`, 'standard', /base64/],
    ['without their padding', `whsec_${'A'.repeat(34)}`, 'standard', /base64/],
    ['that are too long', `whsec_${'A'.repeat(88)}`, 'standard', /24 to 64 bytes/],
    ['that are private keys', privateKey, 'standard', /public one/],
    ['that are half a public key', publicKey.slice(0, 20), 'standard', /32 bytes/],
    ['that are a public key alone', publicKey, 'jogg', /x-webhook-signature/],
    ['that are a public key alone', publicKey, 'both', /x-webhook-signature/],
    ['for a scheme that there is not', SECRET, 'sha1', /'standard', 'jogg' or 'both'/],
  ] as const) {
    it(`${name} are refused (${scheme})`, async () => {
      const { body, headers } = await delivery();
      const wrong = { secrets, scheme } as unknown as VerifyOptions;
      await assert.rejects(verify(body, headers, wrong), coded('invalid_configuration', says));
    });
  }

  it('refuses a tolerance that is none', async () => {
    const { body, headers } = await delivery();
    for (const toleranceSeconds of [0, -1, Number.NaN, Number.POSITIVE_INFINITY]) {
      await assert.rejects(
        verify(body, headers, { ...options, toleranceSeconds }),
        coded('invalid_configuration', /toleranceSeconds/),
      );
    }
  });

  it('may be any text under jogg', async () => {
    const { body, headers } = await delivery({}, { secrets: 'plain text', scheme: 'jogg' });
    await verify(body, headers, { secrets: 'plain text', scheme: 'jogg' });
  });
});
