/** Accounts and API keys. */
import assert from 'node:assert/strict';
import { after, before, describe, it } from 'node:test';

import { hashApiKey } from '../../src/secrets.ts';
import { type TestApp, testApp } from '../support/app.ts';

describe('accounts', () => {
  let api: TestApp;
  before(async () => {
    api = await testApp();
  });
  after(() => api.close());
  const ask = (method: string, path: string, body?: unknown) =>
    api.request(method, path, { key: api.operatorKey, ...(body === undefined ? {} : { body }) });

  it('are created, shown, annotated and deleted', async () => {
    const created = await ask('POST', '/v2/account', { username: 'alice', metadata: { plan: 'pro' } });
    assert.deepEqual(created.data, {
      username: 'alice',
      status: 'active',
      metadata: { plan: 'pro' },
      endpoints: 0,
      created_at: Math.floor(api.clock.now() / 1000),
    });
    const { data: key } = await ask('POST', '/v2/account/alice/api_key', { name: 'test' });
    await api.request('POST', '/v2/endpoint', {
      key: key.api_key,
      body: { url: 'https://example.com/', events: ['generated_video_success'] },
    });
    const shown = await ask('GET', '/v2/account/alice');
    assert.deepEqual(shown.data, { ...created.data, endpoints: 1 });
    const patched = await ask('PATCH', '/v2/account/alice', { metadata: null });
    assert.deepEqual(patched.data, { ...shown.data, metadata: null });
    const { data: endpoints } = await api.request('GET', '/v2/endpoints', { key: key.api_key });
    api.delivery.changed.length = 0;
    await ask('PATCH', '/v2/account/alice', { status: 'suspended' });
    assert.deepEqual(api.delivery.changed, [endpoints.endpoints[0].endpoint_id]);
    const gone = await ask('DELETE', '/v2/account/alice');
    assert.deepEqual(gone.data, { message: 'account deleted' });
    assert.equal(api.delivery.changed.length, 2, 'the dispatcher looks again');
    for (const [method, body] of [
      ['GET', undefined],
      ['PATCH', { metadata: {} }],
      ['DELETE', undefined],
    ] as const) {
      assert.equal((await ask(method, '/v2/account/alice', body)).code, 10104, method);
    }
  });

  it('are created with every name that is allowed, and no other', async () => {
    for (const username of ['a', 'A1._-@+z', 'x'.repeat(64), 'me+you@example.com', '...']) {
      assert.equal((await ask('POST', '/v2/account', { username })).code, 0, username);
      const shown = await ask('GET', `/v2/account/${encodeURIComponent(username)}`);
      assert.equal(shown.data.username, username);
    }
    for (const username of ['', 'x'.repeat(65), 'a b', 'a/b', 'ä', 'a\n', '.', '..', 'a:b', 7, null]) {
      const refused = await ask('POST', '/v2/account', { username });
      assert.deepEqual([refused.status, refused.code], [400, 40000], String(username));
      assert.match(refused.msg, /username/);
    }
  });

  it('are created once, in parallel, too', async () => {
    const answers = await Promise.all(
      Array.from({ length: 10 }, () => ask('POST', '/v2/account', { username: 'parallel' })),
    );
    assert.equal(answers.filter((answer) => answer.code === 0).length, 1);
    const [taken] = answers.filter((answer) => answer.code !== 0);
    assert.deepEqual([taken?.status, taken?.code], [409, 40000]);
    assert.match(taken?.msg ?? '', /parallel/);
  });

  it('are listed newest first in pages', async (t) => {
    const own = await testApp();
    t.after(() => own.close());
    for (let i = 0; i < 5; i++) {
      await own.createAccount(`user-${i}`);
      own.clock.advance(10);
    }
    const first = await own.request('GET', '/v2/accounts?limit=2', { key: own.operatorKey });
    const names = [...first.data.accounts];
    let cursor = first.data.next_cursor;
    while (cursor !== null) {
      const page = await own.request('GET', `/v2/accounts?limit=2&cursor=${cursor}`, {
        key: own.operatorKey,
      });
      names.push(...page.data.accounts);
      cursor = page.data.next_cursor;
    }
    assert.deepEqual(
      names.map((account) => account.username),
      ['user-4', 'user-3', 'user-2', 'user-1', 'user-0'],
    );
  });

  it('are refused changes that are none or not known', async () => {
    await api.createAccount('bob');
    for (const [body, field] of [
      [{}, 'at least 1 field'],
      [{ status: 'deleted' }, 'status'],
      [{ username: 'eve' }, 'username'],
      [{ metadata: 'x' }, 'metadata'],
      [{ metadata: { a: 'x'.repeat(20_000) } }, 'metadata'],
    ] as const) {
      const refused = await ask('PATCH', '/v2/account/bob', body);
      assert.equal(refused.code, 40000);
      assert.ok(refused.msg.includes(field), refused.msg);
    }
  });
});

describe('API keys', () => {
  let api: TestApp;
  before(async () => {
    api = await testApp();
  });
  after(() => api.close());

  it('are shown once and kept as a hash', async () => {
    const { key, username } = await api.createAccount();
    const created = await api.request('POST', '/v2/api_key', { key, body: { name: 'laptop' } });
    const { api_key: text, ...shown } = created.data;
    assert.match(text, /^ph_[0-9a-f]{64}$/);
    assert.deepEqual(shown, {
      key_id: shown.key_id,
      name: 'laptop',
      scopes: ['account'],
      prefix: text.slice(0, 11),
      created_at: Math.floor(api.clock.now() / 1000),
      expires_at: null,
    });
    assert.equal((await api.request('GET', '/v2/endpoints', { key: text })).code, 0);
    const list = await api.request('GET', '/v2/api_keys', { key });
    assert.ok(!list.text.includes(text));
    const listed = list.data.api_keys.find((item: { key_id: string }) => item.key_id === shown.key_id);
    assert.deepEqual(listed, { ...shown, last_used_at: null, revoked_at: null });
    const byOperator = await api.request('GET', `/v2/account/${username}/api_keys`, { key: api.operatorKey });
    assert.deepEqual(byOperator.data, list.data);
    assert.notEqual(await api.store.findKey(hashApiKey(text)), null);
    assert.ok(!JSON.stringify(await api.store.listKeys(username)).includes(text.slice(12)));
  });

  it('are revoked by their account and by an operator, and stay in the list', async () => {
    const { key, username } = await api.createAccount();
    for (const revoker of [{ key }, { key: api.operatorKey }, { key: api.operatorKey, account: username }]) {
      const other = await api.createKey(username, ['account']);
      const answer = await api.request('DELETE', `/v2/api_key/${other.keyId}`, revoker);
      assert.equal(answer.code, 0, answer.msg);
      const { data } = await api.request('GET', '/v2/api_keys', { key });
      const listed = data.api_keys.find((item: { key_id: string }) => item.key_id === other.keyId);
      assert.equal(listed.revoked_at, Math.floor(api.clock.now() / 1000));
    }
    const foreign = await api.createKey(null, ['operator']);
    for (const caller of [{ key }, { key: api.operatorKey, account: username }]) {
      assert.equal((await api.request('DELETE', `/v2/api_key/${foreign.keyId}`, caller)).code, 10104);
    }
    assert.equal((await api.request('GET', '/v2/accounts', { key: foreign.key })).code, 0);
  });

  it('of the operator level say their scopes, and are made by an operator', async () => {
    const list = () => api.request('GET', '/v2/api_keys', { key: api.operatorKey });
    const before = (await list()).data.api_keys.length;
    for (const scopes of [['publish'], ['operator'], ['publish', 'operator']]) {
      const created = await api.request('POST', '/v2/api_key', {
        key: api.operatorKey,
        body: { name: 'ci', scopes },
      });
      assert.deepEqual(created.data.scopes, scopes);
      const whoami = await api.request('GET', '/v2/user/whoami', { key: created.data.api_key });
      assert.deepEqual([whoami.data.username, whoami.data.scopes], [null, scopes]);
    }
    assert.equal((await list()).data.api_keys.length, before + 3);
    for (const body of [
      { name: 'ci' },
      { name: 'ci', scopes: ['account'] },
      { name: 'ci', scopes: ['account', 'operator'] },
    ]) {
      const refused = await api.request('POST', '/v2/api_key', { key: api.operatorKey, body });
      assert.equal(refused.code, 40000);
      assert.match(refused.msg, /scopes/);
    }
  });

  it('of an account never reach beyond it', async () => {
    const { key, username } = await api.createAccount();
    for (const scopes of [['operator'], ['publish'], ['account', 'operator']]) {
      for (const [path, caller] of [
        ['/v2/api_key', { key }],
        ['/v2/api_key', { key: api.operatorKey, account: username }],
        [`/v2/account/${username}/api_key`, { key: api.operatorKey }],
      ] as const) {
        const refused = await api.request('POST', path, { ...caller, body: { name: 'x', scopes } });
        assert.equal(refused.code, 40000, `${path} ${scopes}`);
        assert.match(refused.msg, /scopes/);
      }
    }
    const forAccount = await api.request('POST', '/v2/api_key', {
      key: api.operatorKey,
      account: username,
      body: { name: 'x' },
    });
    const whoami = await api.request('GET', '/v2/user/whoami', { key: forAccount.data.api_key });
    assert.equal(whoami.data.username, username);
  });

  it('are refused with a mistake, which is named', async () => {
    const { key } = await api.createAccount();
    for (const [body, field] of [
      [{}, 'name'],
      [{ name: '' }, 'name'],
      [{ name: 'x'.repeat(101) }, 'name'],
      [{ name: 'x', scopes: [] }, 'scopes'],
      [{ name: 'x', scopes: ['admin'] }, 'scopes[0]'],
      [{ name: 'x', expires_at: 1 }, 'expires_at'],
      [{ name: 'x', expires_at: 'tomorrow' }, 'expires_at'],
      [{ name: 'x', prefix: 'ph_' }, 'prefix'],
    ] as const) {
      const refused = await api.request('POST', '/v2/api_key', { key, body });
      assert.equal(refused.code, 40000);
      assert.ok(refused.msg.includes(field), refused.msg);
    }
    const unknown = await api.request('POST', '/v2/account/nobody/api_key', {
      key: api.operatorKey,
      body: { name: 'x' },
    });
    assert.equal(unknown.code, 10104);
    const list = await api.request('GET', '/v2/account/nobody/api_keys', { key: api.operatorKey });
    assert.equal(list.code, 10104);
    assert.equal((await api.request('DELETE', '/v2/api_key/key_nope', { key })).code, 10104);
  });

  it('may expire', async () => {
    const { key } = await api.createAccount();
    const expiresAt = Math.floor(api.clock.now() / 1000) + 60;
    const { data } = await api.request('POST', '/v2/api_key', {
      key,
      body: { name: 'x', expires_at: expiresAt },
    });
    assert.equal(data.expires_at, expiresAt);
    api.clock.advance(61_000);
    assert.equal((await api.request('GET', '/v2/endpoints', { key: data.api_key })).code, 10105);
  });
});
