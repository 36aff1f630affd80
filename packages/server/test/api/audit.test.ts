import assert from 'node:assert/strict';
import { after, before, describe, it } from 'node:test';
import { createApiKey } from '../../src/secrets.ts';
import { newEvent, VIDEO } from '../support/store-fixtures.ts';
import { type ApiAnswer, type RequestOptions, type TestApp, testApp } from '../support/app.ts';

interface Entry {
  audit_id: string;
  actor: string;
  key_id: string | null;
  key_account: string | null;
  via: string;
  request_id: string | null;
  remote_address: string | null;
  action: string;
  target_type: string;
  target: string;
  account: string | null;
  before: Record<string, unknown> | null;
  after: Record<string, unknown> | null;
}

/** Routes that change something and have no line: publishing, of which test events are a part. */
const WITHOUT_LINE = new Set(['publish', 'testEndpoint']);

function reader(api: TestApp) {
  return async (query = '', options: RequestOptions = { key: api.operatorKey }): Promise<Entry[]> => {
    const answer = await api.request('GET', `/v2/audit${query}`, options);
    assert.equal(answer.code, 0, answer.msg);
    return answer.data.entries;
  };
}

describe('the audit log of the API', () => {
  it('has a line of every route that changes something, and of no other', async (t) => {
    const api = await testApp();
    t.after(() => api.close());
    const entries = reader(api);
    const operator = { key: api.operatorKey };
    const tried = new Set<string>();

    /** Calls a route and expects one more line, with what the request can be found by. */
    async function change(
      operationId: string,
      path: string,
      options: RequestOptions,
      action: string,
    ): Promise<ApiAnswer> {
      const route = api.routes.find((known) => known.operationId === operationId);
      assert.ok(route, operationId);
      const { length } = await entries();
      const answer = await api.request(route.method, `/v2${path}`, {
        remoteAddress: '203.0.113.7',
        ...options,
      });
      assert.equal(answer.code, 0, `${operationId}: ${answer.msg}`);
      const found = await entries();
      assert.equal(found.length, length + 1, `${operationId} has one line`);
      const [line] = found;
      assert.deepEqual(
        [line?.action, line?.via, line?.request_id, line?.remote_address],
        [action, `${route.method} /v2${route.path}`, answer.rid, '203.0.113.7'],
      );
      const isOperator = options.key === api.operatorKey;
      assert.equal(line?.actor, isOperator ? 'operator' : 'account');
      assert.equal(line?.key_account, isOperator ? null : 'alice');
      assert.equal(line?.key_id === 'configured', isOperator);
      tried.add(operationId);
      return answer;
    }

    await change('createAccount', '/account', { ...operator, body: { username: 'alice' } }, 'account.create');
    const { data: made } = await change(
      'createAccountKey',
      '/account/alice/api_key',
      { ...operator, body: { name: 'first' } },
      'api_key.create',
    );
    const alice = { key: made.api_key as string };
    const { data: second } = await change(
      'createKey',
      '/api_key',
      { ...alice, body: { name: 'second' } },
      'api_key.create',
    );
    await change('revokeKey', `/api_key/${second.key_id}`, alice, 'api_key.revoke');
    await change(
      'updateAccount',
      '/account/alice',
      { ...operator, body: { metadata: { a: 1 } } },
      'account.update',
    );
    await change(
      'putEventType',
      '/event_type/order.paid',
      { ...operator, body: { category: 'order', description: 'Paid' } },
      'event_type.put',
    );
    const { data: endpoint } = await change(
      'addEndpoint',
      '/endpoint',
      { ...alice, body: { url: 'https://example.com/', events: [VIDEO], headers: { 'x-token': 'abc' } } },
      'endpoint.create',
    );
    const path = `/endpoint/${endpoint.endpoint_id}`;
    await change(
      'updateEndpoint',
      path,
      { ...operator, account: 'alice', body: { timeout_seconds: 9 } },
      'endpoint.update',
    );
    await change('rotateSecret', `${path}/rotate_secret`, alice, 'endpoint.rotate_secret');
    await api.store.publish([newEvent('alice')], null);
    const [lease] = await api.settleDue('dead');
    await change('retryDelivery', `/delivery/${lease?.deliveryId}/retry`, alice, 'delivery.retry');
    const [again] = await api.settleDue('dead');
    await change(
      'retryDeliveries',
      '/deliveries/retry',
      { ...alice, body: { delivery_ids: [again?.deliveryId] } },
      'delivery.retry',
    );
    await change('createPortalLink', '/account/alice/portal_link', operator, 'portal_link.create');
    const { data: replay } = await change(
      'createReplay',
      `${path}/replay`,
      { ...alice, body: { status: 'all', since: 1 } },
      'replay.create',
    );
    await change('cancelReplay', `/replay/${replay.replay_id}`, alice, 'replay.cancel');
    await change('deleteEndpoint', path, alice, 'endpoint.delete');
    await change('deleteEventType', '/event_type/order.paid', operator, 'event_type.delete');
    await change('deleteAccount', '/account/alice', operator, 'account.delete');

    // The key of these tests is the only one, so there is nothing to rotate to.
    tried.add('rotateEncryptionKey');
    const changing = api.routes.filter(({ method }) => method !== 'GET').map((route) => route.operationId);
    assert.deepEqual([...tried, ...WITHOUT_LINE].sort(), changing.sort());
  });

  describe('to an account', () => {
    let api: TestApp;
    let key: string;
    let username: string;
    before(async () => {
      api = await testApp();
      ({ key, username } = await api.createAccount());
    });
    after(() => api.close());

    it('shows what was done to its things, by itself and by the operator, who stays unnamed', async () => {
      const own = await api.request('POST', '/v2/endpoint', {
        key,
        body: { url: 'https://example.com/', events: [VIDEO] },
      });
      const target = own.data.endpoint_id;
      await api.request('PUT', `/v2/endpoint/${target}`, {
        key: api.operatorKey,
        account: username,
        body: { status: 'disabled' },
      });
      await api.request('PATCH', `/v2/account/${username}`, {
        key: api.operatorKey,
        body: { metadata: { note: 'pays late' } },
      });
      const [disabling, adding, ...more] = await reader(api)('', { key });
      assert.deepEqual(more, []);
      assert.deepEqual(
        [disabling?.actor, disabling?.key_id, disabling?.remote_address, disabling?.request_id],
        ['operator', null, null, null],
      );
      assert.deepEqual(
        [disabling?.before, disabling?.after],
        [{ status: 'enabled' }, { status: 'disabled' }],
      );
      assert.equal(adding?.actor, 'account');
      assert.equal(adding?.request_id, own.rid);
      assert.ok(adding?.key_id?.startsWith('key_'));
      assert.deepEqual(
        await reader(api)('', { key: api.operatorKey, account: username }),
        [disabling, adding],
        'an operator that acts for it sees the same',
      );
    });

    it('shows nothing of another account, whatever it asks for', async () => {
      const other = await api.createAccount();
      await api.request('POST', '/v2/endpoint', {
        key: other.key,
        body: { url: 'https://example.com/', events: [VIDEO] },
      });
      const theirs = await reader(api)('', { key: other.key });
      assert.equal(theirs.length, 1);
      for (const query of [
        `?target=${theirs[0]?.target}`,
        `?key_id=${theirs[0]?.key_id}`,
        '?target_type=account',
      ]) {
        assert.deepEqual(await reader(api)(query, { key }), [], query);
      }
      const asked = await api.request('GET', `/v2/audit?account=${other.username}`, { key });
      assert.deepEqual([asked.code, asked.status], [40000, 400]);
    });

    it('shows nothing of a former account of the same name', async () => {
      const former = await api.createAccount('phoenix');
      await api.request('POST', '/v2/api_key', { key: former.key, body: { name: 'more' } });
      assert.equal((await reader(api)('', { key: former.key })).length, 1);
      await api.request('DELETE', '/v2/account/phoenix', { key: api.operatorKey });
      while ((await api.store.purge(0, 100)).more);
      api.clock.advance(1_000);
      const { key: later } = await api.createAccount('phoenix');
      assert.deepEqual(await reader(api)('', { key: later }), []);
      assert.equal((await reader(api)('?account=phoenix')).length, 2);
    });

    it('is refused to a key that may only publish', async () => {
      const publisher = await api.createKey(null, ['publish']);
      const answer = await api.request('GET', '/v2/audit', { key: publisher.key });
      assert.deepEqual([answer.status, answer.code], [403, 18025]);
    });
  });

  it('is filtered and paged', async (t) => {
    const api = await testApp();
    t.after(() => api.close());
    const entries = reader(api);
    const key = api.operatorKey;
    for (const username of ['ada', 'bob', 'cleo']) {
      await api.request('POST', '/v2/account', { key, body: { username } });
      api.clock.advance(1_000);
    }
    const since = Math.floor(api.clock.now() / 1000);
    await api.request('PATCH', '/v2/account/ada', { key, body: { status: 'suspended' } });
    const targets = async (query: string) => (await entries(query)).map(({ target }) => target);
    assert.deepEqual(await targets('?action=account.create'), ['cleo', 'bob', 'ada']);
    assert.deepEqual(await targets('?target=ada'), ['ada', 'ada']);
    assert.deepEqual(await targets('?account=bob&target_type=account'), ['bob']);
    assert.deepEqual(await targets('?key_id=configured&limit=1'), ['ada']);
    assert.deepEqual(await targets(`?since=${since}`), ['ada']);
    assert.deepEqual(await targets(`?until=${since}`), ['cleo', 'bob', 'ada']);
    const paged: string[] = [];
    let cursor: string | null = '';
    while (cursor !== null) {
      const page: ApiAnswer = await api.request(
        'GET',
        `/v2/audit?limit=3&cursor=${cursor}`.replace(/&cursor=$/, ''),
        {
          key,
        },
      );
      paged.push(...page.data.entries.map(({ target }: Entry) => target));
      cursor = page.data.next_cursor;
    }
    assert.deepEqual(paged, ['ada', 'cleo', 'bob', 'ada']);
    for (const query of ['?cursor=abc', '?target_type=nothing', '?who=ada', '?since=5&until=5']) {
      assert.equal((await api.request('GET', `/v2/audit${query}`, { key })).code, 40000, query);
    }
  });

  it('has no line of what was refused, of failed authentication, or of publishing', async (t) => {
    const api = await testApp();
    t.after(() => api.close());
    const { key, username } = await api.createAccount();
    await api.request('POST', '/v2/account', { key: api.operatorKey, body: { username } });
    await api.request('POST', '/v2/account', { key: 'ph_wrong', body: { username: 'x' } });
    await api.request('POST', '/v2/account', { key, body: { username: 'x' } });
    await api.request('POST', '/v2/endpoint', { key, body: { url: 'http://localhost/', events: [VIDEO] } });
    await api.request('DELETE', '/v2/endpoint/wh_unknown', { key });
    const published = await api.request('POST', '/v2/publish', {
      key: api.operatorKey,
      body: {
        username,
        event: 'generated_image_success',
        data: { task_id: 't', status: 'completed', image_urls: [] },
      },
    });
    assert.equal(published.code, 0, published.msg);
    assert.deepEqual(await reader(api)(), []);
  });

  it('tells the address that a trusted proxy gives, and no other', async (t) => {
    for (const [trustProxy, expected] of [
      [false, '198.51.100.1'],
      [['198.51.100.1'], '203.0.113.50'],
    ] as const) {
      const api = await testApp({
        settings: { trustProxy: trustProxy === false ? false : [...trustProxy] },
      });
      t.after(() => api.close());
      await api.request('POST', '/v2/account', {
        key: api.operatorKey,
        body: { username: 'alice' },
        remoteAddress: '198.51.100.1',
        headers: { 'x-forwarded-for': '203.0.113.50' },
      });
      assert.equal((await reader(api)())[0]?.remote_address, expected);
    }
  });

  it('holds no key, no secret and no value of a custom header', async (t) => {
    const api = await testApp();
    t.after(() => api.close());
    const operator = { key: api.operatorKey };
    const { key } = await api.createAccount('alice');
    const secrets = [api.operatorKey, key, 'token-of-the-header', createApiKey()];
    const made = await api.request('POST', '/v2/account/alice/api_key', { ...operator, body: { name: 'b' } });
    secrets.push(made.data.api_key);
    const endpoint = await api.request('POST', '/v2/endpoint', {
      key,
      body: {
        url: 'https://example.com/',
        events: [VIDEO],
        headers: { authorization: 'Bearer token-of-the-header' },
      },
    });
    const rotated = await api.request('POST', `/v2/endpoint/${endpoint.data.endpoint_id}/rotate_secret`, {
      key,
    });
    await api.request('PUT', `/v2/endpoint/${endpoint.data.endpoint_id}`, {
      key,
      body: { headers: { authorization: 'Bearer token-of-the-header' } },
    });
    secrets.push(endpoint.data.secret, rotated.data.secret);
    const answer = await api.request('GET', '/v2/audit', operator);
    assert.equal(answer.data.entries.length, 4);
    const stored = JSON.stringify(await api.store.listAudit({}, { limit: 200, cursor: null }));
    for (const secret of secrets) {
      assert.ok(!answer.text.includes(secret) && !stored.includes(secret), 'a secret is in the log');
    }
    assert.ok(!stored.includes('v1.'), 'not even sealed');
  });
});
