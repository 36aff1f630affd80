import assert from 'node:assert/strict';
import { describe, it } from 'node:test';

import fc from 'fast-check';

import { PosthornError } from '../../src/errors.ts';
import {
  Vault,
  createApiKey,
  createEncryptionKey,
  hashApiKey,
  keyId,
  keyPrefix,
  parseEncryptionKey,
} from '../../src/secrets.ts';

const key = (fill: number) => Buffer.alloc(32, fill);

describe('the vault', () => {
  it('opens what it sealed, whatever the text', () => {
    const vault = new Vault(key(1));
    fc.assert(
      fc.property(fc.string({ unit: 'binary' }), fc.string(), (text, context) => {
        // Lone surrogates have no UTF-8 form; everything that has one must survive.
        fc.pre(text.isWellFormed() && context.isWellFormed());
        assert.equal(vault.open(vault.seal(text, context), context), text);
      }),
    );
  });

  it('gives a different sealed text each time, without the plain one in it', () => {
    const vault = new Vault(key(1));
    const [one, two] = [vault.seal('whsec_plain', 'wh_1/secret'), vault.seal('whsec_plain', 'wh_1/secret')];
    assert.notEqual(one, two);
    assert.ok(!one.includes('plain'));
    assert.ok(one.startsWith(`v1.${keyId(key(1))}.`));
  });

  it('refuses to open in another context, so that a secret cannot be moved to another endpoint', () => {
    const vault = new Vault(key(1));
    const sealed = vault.seal('secret', 'wh_1/secret');
    assert.throws(() => vault.open(sealed, 'wh_2/secret'), { name: 'PosthornError', kind: 'internal' });
    assert.equal(vault.open(sealed, 'wh_1/secret'), 'secret');
    assert.throws(() => vault.open(sealed, 'wh_2/secret'), { kind: 'internal' });
  });

  it('names both keys when it has the wrong one, and neither key nor text', () => {
    const sealed = new Vault(key(1)).seal('the plain text', 'wh_1/secret');
    const other = new Vault(key(2));
    assert.throws(
      () => other.open(sealed, 'wh_1/secret'),
      (error: unknown) => {
        assert.ok(error instanceof PosthornError);
        assert.match(error.message, new RegExp(keyId(key(1))));
        assert.match(error.message, new RegExp(keyId(key(2))));
        assert.match(error.message, /POSTHORN_ENCRYPTION_KEY/);
        assert.doesNotMatch(error.message, /plain/);
        return true;
      },
    );
  });

  it('refuses altered and malformed texts', () => {
    const vault = new Vault(key(1));
    const parts = vault.seal('secret', 'c').split('.');
    for (let i = 2; i < 5; i++) {
      const altered = [...parts];
      const part = altered[i] as string;
      altered[i] = (part.startsWith('A') ? 'B' : 'A') + part.slice(1);
      assert.throws(() => vault.open(altered.join('.'), 'c'), { kind: 'internal' }, `part ${i}`);
    }
    for (const text of ['', 'plain', 'v2.a.b.c.d', 'v1.a.b.c', `${parts.join('.')}.more`]) {
      assert.throws(() => vault.open(text, 'c'), { kind: 'internal' }, text);
    }
  });

  it('opens with a cache that is full', () => {
    const vault = new Vault(key(1), { cacheEntries: 2 });
    const sealed = ['a', 'b', 'c', 'd'].map((text) => vault.seal(text, text));
    for (let round = 0; round < 2; round++) {
      for (const [i, text] of ['a', 'b', 'c', 'd'].entries()) {
        assert.equal(vault.open(sealed[i] as string, text), text);
      }
    }
  });
});

describe('the encryption key', () => {
  it('survives its text form, with the line feed of a key file', () => {
    const text = createEncryptionKey();
    assert.equal(parseEncryptionKey(`${text}\n`).toString('base64'), text);
  });

  it('is refused when it is not base64 of 32 bytes, and never repeated in the message', () => {
    for (const text of [
      '',
      'short',
      'A'.repeat(44),
      `${'A'.repeat(42)}!=`,
      Buffer.alloc(33).toString('base64'),
    ]) {
      assert.throws(
        () => parseEncryptionKey(text),
        (error: unknown) => error instanceof PosthornError && (text === '' || !error.message.includes(text)),
        text,
      );
    }
  });
});

describe('API keys', () => {
  it('are ph_ and 256 bits, hashed with SHA-256, recognisable by their first characters', () => {
    const apiKey = createApiKey();
    assert.match(apiKey, /^ph_[0-9a-f]{64}$/);
    assert.notEqual(apiKey, createApiKey());
    assert.equal(hashApiKey('abc'), 'ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad');
    assert.equal(keyPrefix(apiKey), apiKey.slice(0, 11));
  });
});
