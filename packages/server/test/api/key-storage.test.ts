/** How API keys are made, kept and looked up (issue: 256 random bits, SHA-256 at rest, shown once, prefix, last use, expiry). */
import assert from 'node:assert/strict';
import { createHash } from 'node:crypto';
import { readdirSync, readFileSync } from 'node:fs';
import { dirname, join } from 'node:path';
import { describe, it } from 'node:test';
import { createService } from '../../src/service.ts';
import { loadConfig } from '../../src/config.ts';
import { openPostgresStore } from '../../src/store/postgres/index.ts';
import { openDatabase } from '../../src/store/sqlite/database.ts';
import { createApiKey, hashApiKey, keyPrefix } from '../../src/secrets.ts';
import { overriding, testApp } from '../support/app.ts';
import { createDatabase } from '../support/postgres.ts';
import { newKey } from '../support/store-fixtures.ts';
import { tempDir } from '../support/tempdir.ts';
import { pino } from 'pino';

function sha256(text: string): string {
  return createHash('sha256').update(text).digest('hex');
}

describe('an API key', () => {
  it('has 256 random bits, of which none is ever repeated', () => {
    const keys = Array.from({ length: 2_000 }, createApiKey);
    assert.equal(new Set(keys).size, keys.length);
    const ones = Array.from({ length: 256 }, () => 0);
    for (const key of keys) {
      const bytes = Buffer.from(key.slice('ph_'.length), 'hex');
      assert.equal(bytes.length, 32);
      for (let bit = 0; bit < 256; bit++)
        ones[bit] = (ones[bit] as number) + (((bytes[bit >> 3] as number) >> (bit & 7)) & 1);
    }
    // Ten standard deviations: a bit that doesn't vary is far beyond.
    for (const [bit, count] of ones.entries())
      assert.ok(Math.abs(count - 1_000) < 224, `bit ${bit}: ${count}`);
  });

  it('is in the answer that makes it and in no other', async (t) => {
    const api = await testApp();
    t.after(() => api.close());
    const operator = { key: api.operatorKey };
    await api.request('POST', '/v2/account', { ...operator, body: { username: 'alice' } });
    const made = await api.request('POST', '/v2/account/alice/api_key', { ...operator, body: { name: 'n' } });
    const key = made.data.api_key as string;
    assert.equal(made.data.prefix, keyPrefix(key));
    assert.ok(key.startsWith(made.data.prefix));
    for (const [path, as] of [
      ['/v2/account/alice/api_keys', operator],
      ['/v2/api_keys', { key }],
      ['/v2/user/whoami', { key }],
      ['/v2/audit', operator],
      ['/v2/audit', { key }],
    ] as const) {
      const answer = await api.request('GET', path, as);
      assert.equal(answer.code, 0);
      assert.ok(!answer.text.includes(key.slice(12)), path);
      assert.ok(!answer.text.includes(sha256(key)), `${path} has the hash`);
    }
    const revoked = await api.request('DELETE', `/v2/api_key/${made.data.key_id}`, { key });
    assert.ok(!revoked.text.includes(key.slice(12)));
  });

  it('is looked up by its SHA-256 alone: the store never sees a key, of whatever kind', async (t) => {
    const asked: unknown[][] = [];
    const api = await testApp({
      wrapStore: (store) =>
        overriding(store, {
          findKey(...args) {
            asked.push(args);
            return store.findKey(...args);
          },
        }),
    });
    t.after(() => api.close());
    const { key } = await api.createAccount();
    const wrong = [createApiKey(), `${key}0`, key.slice(0, -1), key.toUpperCase(), 'x', "' OR 1=1 --"];
    for (const used of [key, ...wrong]) await api.request('GET', '/v2/endpoints', { key: used });
    assert.deepEqual(
      asked,
      [key, ...wrong].map((used) => [sha256(used)]),
    );
    assert.equal(
      (await api.request('GET', '/v2/endpoints', { key: sha256(key) })).code,
      10105,
      'a hash is no key',
    );
  });

  it('is on disk as its SHA-256, beside its first characters: on SQLite', async (t) => {
    const dir = await tempDir();
    t.after(() => dir.remove());
    const path = join(dir.path, 'data', 'posthorn.db');
    const config = loadConfig({
      env: { POSTHORN_DATABASE_URL: `sqlite:${path}`, POSTHORN_LISTEN: '127.0.0.1:0' },
    });
    const service = await createService(config, { logger: pino({ level: 'silent' }) });
    const key = service.firstStart.operatorKey as string;
    // While it runs: the log of writes is part of what is on disk.
    for (const file of readdirSync(dirname(path))) {
      const bytes = readFileSync(join(dirname(path), file), 'latin1');
      assert.ok(!bytes.includes(key.slice(12)), file);
    }
    await service.stop();
    const db = openDatabase(path, { readonly: true });
    t.after(() => db.close());
    const rows = db.prepare('SELECT hash, prefix FROM api_key').all();
    assert.deepEqual(rows, [{ hash: sha256(key), prefix: key.slice(0, 11) }]);
    assert.deepEqual(
      db.prepare('SELECT actor, action, via FROM audit').all(),
      [{ actor: 'service', action: 'api_key.create', via: 'first start' }],
      'the first key has its line, too',
    );
  });

  it('is in the database as its SHA-256, beside its first characters: on PostgreSQL', async (t) => {
    const database = await createDatabase();
    t.after(() => database.drop());
    const store = await openPostgresStore({ url: database.url });
    t.after(() => store.close());
    const key = createApiKey();
    await store.createKey(newKey(null, { hash: hashApiKey(key), prefix: keyPrefix(key) }));
    const rows = await database.query('SELECT hash, prefix FROM posthorn.api_key');
    assert.deepEqual(rows, [{ hash: sha256(key), prefix: key.slice(0, 11) }]);
  });

  it('that has expired is refused with the very moment, whatever was cached, and can’t be made', async (t) => {
    const api = await testApp();
    t.after(() => api.close());
    const operator = { key: api.operatorKey };
    const at = Math.floor(api.clock.now() / 1000);
    const input = (expires_at: number) => ({
      ...operator,
      body: { name: 'n', scopes: ['operator'], expires_at },
    });
    assert.equal(
      (await api.request('POST', '/v2/api_key', input(at))).code,
      40000,
      'it would be dead at once',
    );
    const made = await api.request('POST', '/v2/api_key', input(at + 10));
    const use = async () => (await api.request('GET', '/v2/accounts', { key: made.data.api_key })).code;
    api.clock.advance((at + 10) * 1000 - api.clock.now() - 1);
    assert.equal(await use(), 0);
    api.clock.advance(1);
    assert.equal(await use(), 10105);
    const listed = await api.request('GET', '/v2/api_keys', operator);
    assert.equal(listed.data.api_keys[0].expires_at, at + 10, 'it is still listed');
  });

  it('of the configuration is taken whole and nothing else, whatever its length', async (t) => {
    const api = await testApp();
    t.after(() => api.close());
    for (const key of ['', 'x', api.operatorKey.slice(0, -1), `${api.operatorKey}x`, 'k'.repeat(512)]) {
      assert.equal((await api.request('GET', '/v2/accounts', { key })).code, 10105);
    }
    assert.equal((await api.request('GET', '/v2/accounts', { key: api.operatorKey })).code, 0);
  });
});
