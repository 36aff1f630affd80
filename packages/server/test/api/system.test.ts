import assert from 'node:assert/strict';
import { describe, it } from 'node:test';

import { unavailable } from '../../src/errors.ts';
import { overriding, testApp } from '../support/app.ts';

describe('a node without the API', () => {
  it('has health, readiness and metrics, and says of all else where it is', async (t) => {
    const metrics = { contentType: 'text/plain; version=0.0.4', render: async () => 'attempts 1\n' };
    const api = await testApp({ surface: 'health', metrics });
    t.after(() => api.close());
    for (const path of ['/healthz', '/readyz']) {
      assert.equal((await api.request('GET', path)).status, 200);
    }
    assert.equal((await api.app.inject({ method: 'GET', url: '/metrics' })).body, 'attempts 1\n');
    for (const [method, path] of [
      ['GET', '/v2/accounts'],
      ['POST', '/v2/publish'],
      ['GET', '/open/v2/events'],
      ['GET', '/v1/whoami'],
      ['GET', '/openapi.json'],
      ['GET', '/docs'],
    ] as const) {
      const { status, code, msg } = await api.request(method, path, { key: api.operatorKey });
      assert.deepEqual([status, code], [404, 10104], path);
      assert.match(msg, /this node only delivers/);
    }
  });
});

describe('health and readiness', () => {
  it('need no key, and say when the store is out of reach', async (t) => {
    let down = false;
    const api = await testApp({
      wrapStore: (store) =>
        overriding(store, {
          ping: () => (down ? Promise.reject(unavailable('the store is out of reach')) : store.ping()),
        }),
    });
    t.after(() => api.close());
    for (const path of ['/healthz', '/readyz']) {
      assert.equal((await api.request('GET', path)).status, 200);
      assert.equal((await api.app.inject({ method: 'HEAD', url: path })).statusCode, 200);
    }
    down = true;
    assert.equal((await api.request('GET', '/healthz')).status, 200, 'the process is up');
    const answer = await api.request('GET', '/readyz');
    assert.deepEqual([answer.status, answer.code], [503, 50000]);
    assert.match(answer.msg, /out of reach/);
    down = false;
    assert.equal((await api.request('GET', '/readyz')).status, 200);
  });

  it('tell the role of the process, and a schema that a later version has made', async (t) => {
    let version = 0;
    const api = await testApp({
      wrapStore: (store) =>
        overriding(store, {
          schema: async () => {
            const { known } = await store.schema();
            return { version: known + version, known };
          },
        }),
    });
    t.after(() => api.close());
    const { known } = await api.store.schema();
    const readiness = async () => (await api.request('GET', '/readyz')).data;
    const expected = { status: 'ready', role: 'all', known_schema_version: known };
    assert.deepEqual(await readiness(), { ...expected, schema_version: known, outdated: false });
    version = 1;
    assert.deepEqual(await readiness(), { ...expected, schema_version: known + 1, outdated: true });
  });

  it('say that the service is not ready while it is not', async (t) => {
    let reason: string | null = 'the service is stopping';
    const api = await testApp({
      ready: () => (reason === null ? Promise.resolve() : Promise.reject(new Error(reason))),
    });
    t.after(() => api.close());
    const answer = await api.request('GET', '/readyz');
    assert.equal(answer.status, 503);
    assert.match(answer.msg, /stopping/);
    reason = null;
    assert.equal((await api.request('GET', '/readyz')).status, 200);
  });

  it('do not wait for ever for a store that hangs', async (t) => {
    const api = await testApp({ ready: () => new Promise(() => {}) });
    t.after(() => api.close());
    const timers = api.clock.timerCount;
    const asked = api.request('GET', '/readyz');
    await api.clock.whenTimers(timers + 1);
    api.clock.advance(2000);
    const answer = await asked;
    assert.equal(answer.status, 503);
    assert.match(answer.msg, /within 2 s/);
  });
});

describe('/metrics', () => {
  const metrics = {
    contentType: 'text/plain; version=0.0.4; charset=utf-8',
    render: async () => 'posthorn_up 1\n',
  };

  it('is given to this machine, and elsewhere to operator keys alone', async (t) => {
    const api = await testApp({ metrics, settings: { trustProxy: ['127.0.0.1'] } });
    t.after(() => api.close());
    const get = (remoteAddress: string, headers: Record<string, string> = {}) =>
      api.app.inject({ method: 'GET', url: '/metrics', remoteAddress, headers });
    for (const address of ['127.0.0.1', '127.0.0.9', '::1', '::ffff:127.0.0.1']) {
      const answer = await get(address);
      assert.equal(answer.statusCode, 200, address);
      assert.equal(answer.body, 'posthorn_up 1\n');
      assert.equal(answer.headers['content-type'], metrics.contentType);
    }
    const { key } = await api.createAccount();
    const publisher = await api.createKey(null, ['publish']);
    for (const [address, headers, status] of [
      ['203.0.113.1', {}, 401],
      ['10.0.0.1', {}, 401],
      ['203.0.113.1', { 'x-api-key': 'ph_wrong' }, 401],
      ['203.0.113.1', { 'x-api-key': key }, 403],
      ['203.0.113.1', { 'x-api-key': publisher.key }, 403],
      ['203.0.113.1', { 'x-api-key': api.operatorKey }, 200],
      // A proxy on this machine passes on what comes from elsewhere.
      ['127.0.0.1', { 'x-forwarded-for': '203.0.113.1' }, 401],
      ['127.0.0.1', { 'x-forwarded-for': '127.0.0.1' }, 401],
      ['127.0.0.1', { forwarded: 'for=203.0.113.1' }, 401],
    ] as const) {
      assert.equal((await get(address, headers)).statusCode, status, `${address} ${JSON.stringify(headers)}`);
    }
  });

  it('is not there when there are none', async (t) => {
    const api = await testApp();
    t.after(() => api.close());
    assert.equal((await api.request('GET', '/metrics')).code, 10104);
  });
});

describe('/docs', () => {
  it('is served from this server alone, under a policy that says so', async (t) => {
    const api = await testApp();
    t.after(() => api.close());
    const page = await api.app.inject({ method: 'GET', url: '/docs' });
    assert.equal(page.statusCode, 200);
    const csp = String(page.headers['content-security-policy']);
    assert.match(csp, /script-src 'self';/);
    assert.doesNotMatch(csp, /https:|upgrade-insecure|unsafe-eval|\*/);
    const links = [...page.body.matchAll(/(?:src|href)="([^"]+)"/g)].map((match) => match[1] as string);
    assert.ok(links.length >= 4);
    for (const link of links) {
      assert.ok(link.startsWith('/docs/'), link);
      assert.equal((await api.app.inject({ method: 'GET', url: link })).statusCode, 200, link);
    }
    assert.doesNotMatch(
      page.body,
      /<script(?![^>]*src=)[^>]*>\s*\S/,
      'no inline script, which the policy forbids',
    );
    assert.match(page.body, /<meta name="viewport" content="width=device-width/, 'readable on a phone');
    assert.equal(
      (await api.app.inject({ method: 'GET', url: '/docs/static/../../package.json' })).statusCode,
      404,
    );
  });

  it('shows every operation and webhook of /openapi.json, and no group without an operation', async (t) => {
    const api = await testApp();
    t.after(() => api.close());
    const shown = (await api.app.inject({ method: 'GET', url: '/docs/json' })).json();
    const published = (await api.app.inject({ method: 'GET', url: '/openapi.json' })).json();
    assert.deepEqual(
      { ...shown, tags: null, externalDocs: null },
      { ...published, tags: null, externalDocs: null },
    );
    assert.equal(shown.externalDocs.url, '/openapi.json');
    const used = new Set(
      Object.values(published.paths as Record<string, Record<string, { tags: string[] }>>).flatMap((path) =>
        Object.values(path).flatMap(({ tags }) => tags),
      ),
    );
    assert.deepEqual(new Set(shown.tags.map(({ name }: { name: string }) => name)), used);
  });
});

describe('the request log', () => {
  it('has one line a request, with who and what and how long, by the route and not the path', async (t) => {
    const api = await testApp();
    t.after(() => api.close());
    const { key, username } = await api.createAccount();
    const answer = await api.request('GET', '/v2/endpoint/wh_123?secret=1', { key });
    const lines = api.logs.filter((line) => line.rid === answer.rid);
    assert.equal(lines.length, 1);
    const {
      level,
      time,
      pid,
      hostname,
      duration_ms: durationMs,
      key_id: keyId,
      ...line
    } = lines[0] as Record<string, unknown>;
    assert.deepEqual(line, {
      rid: answer.rid,
      method: 'GET',
      route: '/v2/endpoint/:endpoint_id',
      status: 400,
      code: 40000,
      username,
      field: 'secret',
      msg: 'request',
    });
    assert.equal(typeof durationMs, 'number');
    assert.match(String(keyId), /^key_/);
    assert.ok(level && time && pid && hostname);
    assert.ok(!JSON.stringify(api.logs).includes('wh_123'));
    assert.deepEqual(
      { ...api.outcomes.at(-1), durationMs: 0 },
      { method: 'GET', route: '/v2/endpoint/:endpoint_id', httpStatus: 400, durationMs: 0 },
    );
  });

  it('names the account that an operator acted for, and keeps health checks out of sight', async (t) => {
    const api = await testApp();
    t.after(() => api.close());
    const { username } = await api.createAccount();
    const answer = await api.request('GET', '/v2/endpoints', { key: api.operatorKey, account: username });
    const line = api.logs.find((entry) => entry.rid === answer.rid);
    assert.equal(line?.username, username);
    assert.equal(line?.key_id, 'configured');
    const health = await api.request('GET', '/healthz');
    assert.equal(api.logs.find((entry) => entry.rid === health.rid)?.level, 20, 'debug');
  });

  it('holds neither keys nor secrets after everything that has them', async (t) => {
    const api = await testApp();
    t.after(() => api.close());
    const { key, username } = await api.createAccount();
    const endpoint = await api.request('POST', '/v2/endpoint', {
      key,
      body: {
        url: 'https://example.com/',
        events: ['generated_video_success'],
        headers: { authorization: 'Bearer hidden' },
      },
    });
    const rotated = await api.request('POST', `/v2/endpoint/${endpoint.data.endpoint_id}/rotate_secret`, {
      key,
    });
    const created = await api.request('POST', `/v2/account/${username}/api_key`, {
      key: api.operatorKey,
      body: { name: 'x' },
    });
    await api.request('POST', '/v2/endpoint', {
      key,
      body: { url: 'https://u:hidden@example.com/', events: ['x'], secret: 'hidden' },
    });
    const text = JSON.stringify(api.logs);
    for (const secret of [
      key,
      api.operatorKey,
      endpoint.data.secret,
      rotated.data.secret,
      created.data.api_key,
      'hidden',
    ]) {
      assert.ok(!text.includes(secret), `${secret.slice(0, 6)} is in the log`);
    }
  });
});
