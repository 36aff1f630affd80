import assert from 'node:assert/strict';
import { connect } from 'node:net';
import { after, before, describe, it } from 'node:test';

import type { Access } from '../../src/api/auth.ts';
import { unavailable } from '../../src/errors.ts';
import type { Store } from '../../src/store/store.ts';
import { type TestApp, checkEnvelope, overriding, testApp } from '../support/app.ts';

/** Everything that is sent over one connection, as text; resolves when the server has closed it. */
function rawExchange(port: number, text: string): Promise<string> {
  return new Promise((resolve, reject) => {
    const socket = connect(port, '127.0.0.1');
    let received = '';
    socket.on('data', (chunk) => {
      received += chunk.toString('latin1');
    });
    socket.on('end', () => {
      socket.destroy();
      resolve(received);
    });
    socket.on('error', (error) => (received === '' ? reject(error) : resolve(received)));
    socket.write(text);
  });
}

describe('a request without a valid key', () => {
  let api: TestApp;
  let key: string;
  let username: string;
  before(async () => {
    api = await testApp({ settings: { failedAuthPerMinute: 1000 } });
    ({ key, username } = await api.createAccount());
  });
  after(() => api.close());

  const paths = [
    ['GET', '/v2/endpoints'],
    ['POST', '/v2/endpoint'],
    ['POST', '/v2/publish'],
    ['GET', '/open/v2/endpoints'],
    ['GET', '/v1/endpoints'],
    ['GET', '/v1/webhook/events'],
    ['GET', '/v2/accounts'],
    ['GET', '/v2'],
    ['GET', '/v2/'],
    ['GET', '/v2/no/such/path'],
    ['DELETE', '/v2/endpoints'],
    ['GET', '/%76%32/endpoints'],
    ['GET', '/open/%762/endpoints'],
    ['PROPFIND', '/v2/endpoints'],
  ];
  for (const [method, path] of paths as [string, string][]) {
    it(`is refused before anything else at ${method} ${path}`, async () => {
      const answer = await api.request(method, path, {
        headers: { 'content-type': 'text/plain' },
        body: 'not even JSON',
      });
      assert.equal(answer.status, 401);
      assert.equal(answer.code, 10105);
    });
  }

  it('is refused with a wrong, empty, long or misplaced key', async () => {
    for (const headers of [
      { 'x-api-key': 'ph_wrong' },
      { 'x-api-key': '' },
      { 'x-api-key': key.slice(0, -1) },
      { 'x-api-key': key.toUpperCase() },
      { 'x-api-key': `${key}0` },
      { 'x-api-key': 'k'.repeat(9000) },
      { 'x-api-key': '💥' },
      { authorization: `Bearer ${key}` },
      { cookie: `x-api-key=${key}` },
    ] as Record<string, string>[]) {
      const answer = await api.request('GET', '/v2/endpoints', { headers });
      assert.equal(answer.code, 10105, JSON.stringify(headers));
    }
    for (const name of ['x-api-key', 'api_key', 'key']) {
      const answer = await api.request('GET', `/v2/endpoints?${name}=${key}`);
      assert.equal(answer.code, 10105);
      assert.ok(!answer.text.includes(key));
    }
  });

  it('is refused with two keys and with a key of 1 MB', async () => {
    const base = await api.app.listen({ host: '127.0.0.1', port: 0 });
    const port = Number(new URL(base).port);
    const request = (headers: string) =>
      rawExchange(port, `GET /v2/endpoints HTTP/1.1\r\nhost: a\r\nconnection: close\r\n${headers}\r\n`);
    for (const headers of [
      `x-api-key: ${key}\r\nX-API-Key: ${key}\r\n`,
      `x-api-key: ${key}, ${key}\r\n`,
      `x-api-key: ${'a'.repeat(1024 * 1024)}\r\n`,
    ]) {
      const [head, body] = (await request(headers)).split('\r\n\r\n') as [string, string];
      assert.match(head, /^HTTP\/1\.1 401 /);
      assert.equal(JSON.parse(body).code, 10105);
    }
    assert.match(await request(`x-api-key: ${key}\r\n`), /^HTTP\/1\.1 200 /);
  });

  it('is refused as soon as the key expires', async () => {
    const expiring = await api.createKey(username, ['account'], api.clock.now() + 10_000);
    const ask = () => api.request('GET', '/v2/endpoints', { key: expiring.key });
    assert.equal((await ask()).code, 0);
    api.clock.advance(9_999);
    assert.equal((await ask()).code, 0);
    api.clock.advance(1);
    const answer = await ask();
    assert.equal(answer.code, 10105);
    assert.match(answer.msg, /expired/);
  });

  it('is refused from the next request on when the key was revoked here', async () => {
    const other = await api.createKey(username, ['account']);
    const ask = () => api.request('GET', '/v2/endpoints', { key: other.key });
    assert.equal((await ask()).code, 0);
    const revoked = await api.request('DELETE', `/v2/api_key/${other.keyId}`, { key });
    assert.equal(revoked.code, 0);
    assert.equal((await ask()).code, 10105);
  });

  it('is refused within a second when the key was revoked on another node', async () => {
    const other = await api.createKey(username, ['account']);
    const ask = () => api.request('GET', '/v2/endpoints', { key: other.key });
    assert.equal((await ask()).code, 0);
    await api.store.revokeKey(other.keyId, null);
    assert.equal((await ask()).code, 0, 'cached for at most a second');
    api.clock.advance(1000);
    assert.equal((await ask()).code, 10105);
  });

  it('is refused when the key was revoked while it was being looked up', async (t) => {
    const looking = Promise.withResolvers<void>();
    const gate = Promise.withResolvers<void>();
    let held = false;
    const own = await testApp({
      wrapStore: (store) =>
        overriding(store, {
          async findKey(hash) {
            const found = await store.findKey(hash);
            if (held) {
              looking.resolve();
              await gate.promise;
            }
            return found;
          },
        }),
    });
    t.after(() => own.close());
    const account = await own.createAccount();
    const other = await own.createKey(account.username, ['account']);
    held = true;
    const early = own.request('GET', '/v2/endpoints', { key: other.key });
    await looking.promise;
    held = false;
    assert.equal(
      (await own.request('DELETE', `/v2/api_key/${other.keyId}`, { key: own.operatorKey })).code,
      0,
    );
    gate.resolve();
    assert.equal((await early).code, 0, 'it was asked before the revocation');
    assert.equal(
      (await own.request('GET', '/v2/endpoints', { key: other.key })).code,
      10105,
      'and was not kept',
    );
  });

  it('never sees its key in a log line', async () => {
    await api.request('GET', `/v2/endpoints?key=${key}`, { key });
    await api.request('GET', '/v2/endpoints', { key: 'ph_wrong_but_secret' });
    const text = JSON.stringify(api.logs);
    assert.ok(api.logs.length > 10);
    for (const secret of [key, key.slice(3, 30), 'ph_wrong_but_secret', api.operatorKey]) {
      assert.ok(!text.includes(secret));
    }
  });
});

describe('an account', () => {
  let api: TestApp;
  before(async () => {
    api = await testApp();
  });
  after(() => api.close());

  it('is refused with 18025 from the next request on while it is suspended', async () => {
    const { key, username } = await api.createAccount();
    const set = (status: string) =>
      api.request('PATCH', `/v2/account/${username}`, { key: api.operatorKey, body: { status } });
    const ask = () => api.request('GET', '/v2/endpoints', { key });
    assert.equal((await ask()).code, 0);
    await set('suspended');
    const refused = await ask();
    assert.deepEqual([refused.status, refused.code], [403, 18025]);
    assert.match(refused.msg, /suspended/);
    assert.equal((await api.request('GET', '/v2/nope', { key })).code, 18025);
    const { wakes } = api.delivery;
    await set('active');
    assert.equal((await ask()).code, 0);
    assert.equal(api.delivery.wakes, wakes + 1, 'its deliveries go on');
  });

  it('is unknown from the next request on when it was deleted', async () => {
    const { key, username } = await api.createAccount();
    assert.equal((await api.request('GET', '/v2/endpoints', { key })).code, 0);
    await api.request('DELETE', `/v2/account/${username}`, { key: api.operatorKey });
    assert.equal((await api.request('GET', '/v2/endpoints', { key })).code, 10105);
  });

  it('cannot act for another one', async () => {
    const alice = await api.createAccount();
    const bob = await api.createAccount();
    const refused = await api.request('GET', '/v2/endpoints', { key: alice.key, account: bob.username });
    assert.deepEqual([refused.status, refused.code], [403, 18025]);
    const own = await api.request('GET', '/v2/endpoints', { key: alice.key, account: alice.username });
    assert.equal(own.code, 0);
  });
});

describe('an operator key', () => {
  let api: TestApp;
  before(async () => {
    api = await testApp();
  });
  after(() => api.close());

  it('acts for an account with x-account', async () => {
    const { username, key } = await api.createAccount();
    const added = await api.request('POST', '/v2/endpoint', {
      key: api.operatorKey,
      account: username,
      body: { url: 'https://example.com/', events: ['generated_video_success'] },
    });
    assert.equal(added.data.username, username);
    assert.equal((await api.request('GET', `/v2/endpoint/${added.data.endpoint_id}`, { key })).code, 0);
    const whoami = await api.request('GET', '/v2/user/whoami', { key: api.operatorKey, account: username });
    assert.equal(whoami.data.username, username);
  });

  it('also acts for a suspended account', async () => {
    const { username } = await api.createAccount();
    await api.store.updateAccount(username, { status: 'suspended' });
    const answer = await api.request('GET', '/v2/endpoints', { key: api.operatorKey, account: username });
    assert.equal(answer.code, 0);
  });

  it('is told to send x-account where it is missing, and 10104 where it is unknown', async () => {
    const missing = await api.request('GET', '/v2/endpoints', { key: api.operatorKey });
    assert.deepEqual([missing.status, missing.code], [400, 40000]);
    assert.match(missing.msg, /x-account/);
    for (const account of ['nobody', '../etc', 'a'.repeat(100), '']) {
      const unknown = await api.request('GET', '/v2/endpoints', { key: api.operatorKey, account });
      assert.deepEqual([unknown.status, unknown.code], [404, 10104], account);
    }
  });

  it('tells who it is', async () => {
    const configured = await api.request('GET', '/v2/user/whoami', { key: api.operatorKey });
    assert.deepEqual(configured.data, { username: null, created_at: null, scopes: ['operator'] });
    const { key } = await api.createKey(null, ['publish']);
    const publisher = await api.request('GET', '/v2/user/whoami', { key });
    const created = Math.floor(api.clock.now() / 1000);
    assert.deepEqual(publisher.data, { username: null, created_at: created, scopes: ['publish'] });
  });
});

describe('the scope of a key', () => {
  /** Which kinds of key a route lets pass, from the table in the specification. */
  const ALLOWED: Record<Access, string[]> = {
    any: ['account', 'publish', 'operator', 'operator for account'],
    account: ['account', 'operator for account'],
    account_or_operator: ['account', 'operator', 'operator for account'],
    publish: ['publish', 'operator', 'operator for account'],
    operator: ['operator', 'operator for account'],
  };

  it('decides at every route of every prefix', async (t) => {
    const api = await testApp();
    t.after(() => api.close());
    const { key, username } = await api.createAccount();
    const publisher = await api.createKey(null, ['publish']);
    const callers: Record<string, { key: string; account?: string }> = {
      account: { key },
      publish: { key: publisher.key },
      operator: { key: api.operatorKey },
      'operator for account': { key: api.operatorKey, account: username },
    };
    assert.equal(api.routes.length, 44);
    for (const route of api.routes) {
      for (const prefix of ['/v2', '/open/v2']) {
        // A stream would not end: it is refused for what it asks, once the caller was let in.
        const query = route.stream === undefined ? '' : '?events=nope';
        const path = prefix + route.path.replaceAll(/:\w+/g, 'nope') + query;
        for (const [name, caller] of Object.entries(callers)) {
          const answer = await api.request(route.method, path, {
            ...caller,
            ...(route.body === null ? {} : { body: {} }),
          });
          const where = `${route.method} ${path} as ${name}: ${answer.text}`;
          if (ALLOWED[route.access].includes(name)) assert.notEqual(answer.code, 18025, where);
          else if (route.access === 'account' && name === 'operator')
            assert.match(answer.msg, /x-account/, where);
          else assert.deepEqual([answer.status, answer.code], [403, 18025], where);
        }
        const stranger = await api.request(route.method, path, {
          key: 'ph_wrong',
          remoteAddress: `10.0.0.${path.length}`,
        });
        assert.equal(stranger.code, 10105, path);
      }
    }
  });

  it('says which routes are whose', async (t) => {
    const api = await testApp();
    t.after(() => api.close());
    const operatorOnly = api.routes
      .filter((route) => route.access === 'operator')
      .map((route) => route.operationId);
    assert.deepEqual(operatorOnly.sort(), [
      'createAccount',
      'createAccountKey',
      'createPortalLink',
      'deleteAccount',
      'deleteEventType',
      'getAccount',
      'getEncryptionKeys',
      'getSystem',
      'listAccountKeys',
      'listAccounts',
      'putEventType',
      'rotateEncryptionKey',
      'updateAccount',
    ]);
    const publish = api.routes
      .filter((route) => route.access === 'publish')
      .map((route) => route.operationId);
    assert.deepEqual(publish, ['publish']);
    const any = api.routes.filter((route) => route.access === 'any').map((route) => route.operationId);
    assert.deepEqual(any, ['whoami']);
  });
});

describe('failed authentications', () => {
  it('are limited for an address, while a valid key from there passes', async (t) => {
    const api = await testApp({ settings: { failedAuthPerMinute: 3 } });
    t.after(() => api.close());
    const { key } = await api.createAccount();
    const from = (remoteAddress: string, used?: string) =>
      api.request('GET', '/v2/endpoints', { remoteAddress, ...(used === undefined ? {} : { key: used }) });
    for (const wrong of ['ph_a', undefined, 'ph_b']) {
      assert.equal((await from('203.0.113.9', wrong)).code, 10105);
    }
    const limited = await from('203.0.113.9', 'ph_c');
    assert.deepEqual([limited.status, limited.code], [429, 429]);
    assert.equal(limited.headers['retry-after'], '60');
    assert.equal((await from('203.0.113.9', key)).code, 0);
    assert.equal((await from('203.0.113.10', 'ph_c')).code, 10105);
    assert.equal((await from('2001:db8::1', 'ph_c')).code, 10105);
    api.clock.advance(60_000);
    assert.equal((await from('203.0.113.9', 'ph_c')).code, 10105);
  });
});

describe('when keys were last used', () => {
  it('is written in batches, and at the end', async (t) => {
    const touched: { keyId: string; at: number }[][] = [];
    const api = await testApp({
      wrapStore: (store) =>
        overriding(store, {
          async touchKeys(uses) {
            touched.push(uses);
            await store.touchKeys(uses);
          },
        }),
    });
    let open = true;
    t.after(() => (open ? api.close() : undefined));
    const { key } = await api.createAccount();
    for (let i = 0; i < 5; i++) await api.request('GET', '/v2/endpoints', { key });
    assert.equal(touched.length, 0, 'no request writes');
    api.clock.advance(5000);
    assert.equal(touched.length, 1);
    assert.equal(touched[0]?.length, 1);
    const { data } = await api.request('GET', '/v2/api_keys', { key });
    assert.equal(data.api_keys[0].last_used_at, Math.floor((api.clock.now() - 5000) / 1000));
    open = false;
    await api.close();
    assert.equal(touched.length, 2, 'the last uses are written when the app closes');
  });
});

describe('a store that is down', () => {
  it('is told as 503 with 50000, not as an invalid key, and nothing of its words leaks', async (t) => {
    let down = false;
    const api = await testApp({
      wrapStore: (store) =>
        new Proxy(store, {
          get(target, name: keyof Store) {
            const value = Reflect.get(target, name, target);
            if (typeof value !== 'function') return value;
            return (...args: unknown[]) => {
              if (!down || name === 'close') return Reflect.apply(value, target, args);
              return Promise.reject(
                unavailable(
                  'the store is out of reach: try again',
                  new Error('SQLITE_CANTOPEN /secret/path'),
                ),
              );
            };
          },
        }),
    });
    t.after(() => api.close());
    const { key } = await api.createAccount();
    down = true;
    const answer = await api.request('GET', '/v2/endpoints', { key });
    assert.deepEqual([answer.status, answer.code], [503, 50000]);
    assert.equal(answer.headers['retry-after'], '1');
    assert.ok(!answer.text.includes('secret'));
    down = false;
    assert.equal((await api.request('GET', '/v2/endpoints', { key })).code, 0, 'it recovers by itself');
  });
});

describe('the envelope helper of these tests', () => {
  it('fails when an answer lacks it', () => {
    const headers = { 'content-type': 'application/json', 'x-request-id': `req_${'0'.repeat(26)}` };
    const good = { rid: headers['x-request-id'], code: 0, msg: 'Success', data: null };
    checkEnvelope(JSON.stringify(good), headers);
    for (const bad of [
      { ...good, rid: 'req_1' },
      { ...good, msg: 'ok' },
      { ...good, code: '0' },
      { ...good, data: 1 },
    ]) {
      assert.throws(() => checkEnvelope(JSON.stringify(bad), headers));
    }
  });
});
