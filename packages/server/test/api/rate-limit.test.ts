import assert from 'node:assert/strict';
import { describe, it } from 'node:test';

import { unavailable } from '../../src/errors.ts';
import { overriding, testApp } from '../support/app.ts';

const ENDPOINT = { url: 'https://example.com/', events: ['generated_video_success'] };

describe('the rate limit', () => {
  it('counts the POST requests of a key over all routes and prefixes together', async (t) => {
    const api = await testApp({ settings: { rateLimitPostPerMinute: 4 } });
    t.after(() => api.close());
    const { key } = await api.createAccount();
    const posts = ['/v2/endpoint', '/open/v2/endpoint', '/v1/endpoint', '/v1/webhook/endpoint'];
    for (const [i, path] of posts.entries()) {
      // Refused ones count as well: the limit is on requests.
      const answer = await api.request('POST', path, { key, body: i % 2 === 0 ? ENDPOINT : {} });
      assert.equal(answer.code, i % 2 === 0 ? 0 : 40000);
      assert.equal(answer.headers['x-ratelimit-limit'], '4');
      assert.equal(answer.headers['x-ratelimit-remaining'], String(3 - i));
      assert.equal(answer.headers['x-ratelimit-reset'], '60');
      assert.equal(answer.headers['retry-after'], undefined);
    }
    api.clock.advance(20_000);
    const refused = await api.request('POST', '/v2/api_key', { key, body: { name: 'a' } });
    assert.deepEqual([refused.status, refused.code], [429, 429]);
    assert.match(refused.msg, /4 POST requests.*40 s/);
    assert.equal(refused.headers['retry-after'], '40');
    assert.equal(refused.headers['x-ratelimit-limit'], '4');
    assert.equal(refused.headers['x-ratelimit-remaining'], '0');
    assert.equal(refused.headers['x-ratelimit-reset'], '40');
    api.clock.advance(40_000);
    assert.equal((await api.request('POST', '/v2/endpoint', { key, body: ENDPOINT })).code, 0);
  });

  it('is 20 a minute and refuses what is beyond, in parallel, too', async (t) => {
    const api = await testApp({ settings: { rateLimitPostPerMinute: 20 } });
    t.after(() => api.close());
    const { key } = await api.createAccount();
    const answers = await Promise.all(
      Array.from({ length: 25 }, () => api.request('POST', '/v2/endpoint', { key, body: ENDPOINT })),
    );
    assert.equal(answers.filter((answer) => answer.status === 200).length, 20);
    assert.equal(answers.filter((answer) => answer.status === 429).length, 5);
  });

  it('asks the store no more for a key that is over it, until its window ends', async (t) => {
    let asked = 0;
    const api = await testApp({
      settings: { rateLimitPostPerMinute: 2 },
      wrapStore: (store) =>
        overriding(store, {
          countRequest: (name, windowMs) => {
            asked += 1;
            return store.countRequest(name, windowMs);
          },
        }),
    });
    t.after(() => api.close());
    const { key } = await api.createAccount();
    const post = () => api.request('POST', '/v2/endpoint', { key, body: {} });
    for (let n = 0; n < 10; n++) await post();
    assert.equal(asked, 3);
    api.clock.advance(59_500);
    const refused = await post();
    assert.deepEqual([refused.status, refused.headers['retry-after'], asked], [429, '1', 3]);
    api.clock.advance(500);
    assert.equal((await post()).code, 40000);
    assert.equal(asked, 4);
  });

  it('refuses with 503 while nobody can count', async (t) => {
    const api = await testApp({
      settings: { rateLimitPostPerMinute: 2 },
      wrapStore: (store) =>
        overriding(store, { countRequest: () => Promise.reject(unavailable('the database is away')) }),
    });
    t.after(() => api.close());
    const { key } = await api.createAccount();
    const { status, code, headers } = await api.request('POST', '/v2/endpoint', { key, body: ENDPOINT });
    assert.deepEqual([status, code, headers['retry-after']], [503, 50000, '1']);
  });

  it('leaves other methods, other keys and operator-level keys alone', async (t) => {
    const api = await testApp({ settings: { rateLimitPostPerMinute: 1 } });
    t.after(() => api.close());
    const { key, username } = await api.createAccount();
    const { data } = await api.request('POST', '/v2/endpoint', { key, body: ENDPOINT });
    const path = `/v2/endpoint/${data.endpoint_id}`;
    for (const [method, at, body] of [
      ['GET', '/v2/endpoints', undefined],
      ['PUT', path, { status: 'disabled' }],
      ['PUT', path, { status: 'enabled' }],
      ['DELETE', path, undefined],
    ] as const) {
      const answer = await api.request(method, at, { key, ...(body === undefined ? {} : { body }) });
      assert.equal(answer.code, 0);
      assert.equal(answer.headers['x-ratelimit-limit'], undefined);
    }
    assert.equal((await api.request('POST', '/v2/endpoint', { key, body: ENDPOINT })).status, 429);
    const second = await api.createKey(username, ['account']);
    assert.equal((await api.request('POST', '/v2/endpoint', { key: second.key, body: ENDPOINT })).code, 0);
    for (let i = 0; i < 5; i++) {
      const answer = await api.request('POST', '/v2/endpoint', {
        key: api.operatorKey,
        account: username,
        body: ENDPOINT,
      });
      assert.equal(answer.code, 0);
      assert.equal(answer.headers['x-ratelimit-limit'], undefined);
    }
  });

  it('can be off', async (t) => {
    const api = await testApp({ settings: { rateLimitPostPerMinute: null, maxEndpoints: 100 } });
    t.after(() => api.close());
    const { key } = await api.createAccount();
    for (let i = 0; i < 30; i++) {
      const answer = await api.request('POST', '/v2/endpoint', { key, body: ENDPOINT });
      assert.equal(answer.code, 0);
      assert.equal(answer.headers['x-ratelimit-limit'], undefined);
    }
  });
});
