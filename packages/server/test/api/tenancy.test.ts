import assert from 'node:assert/strict';
import { describe, it } from 'node:test';

import { testApp } from '../support/app.ts';

describe("another account's record", () => {
  it('is indistinguishable from one that never existed, at every route that takes an id', async (t) => {
    const api = await testApp();
    t.after(() => api.close());
    const alice = await api.createAccount();
    const mallory = await api.createAccount();

    const endpoint = await api.request('POST', '/v2/endpoint', {
      key: alice.key,
      body: { url: 'https://example.com/', events: ['generated_script_success'] },
    });
    const path = `/v2/endpoint/${endpoint.data.endpoint_id}`;
    const test = await api.request('POST', `${path}/test`, {
      key: alice.key,
      body: { event: 'generated_script_success' },
    });
    const replay = await api.request('POST', `${path}/replay`, {
      key: alice.key,
      body: { status: 'all', since: 0 },
    });
    const apiKey = await api.createKey(alice.username, ['account']);
    const ids: Record<string, string> = {
      endpoint_id: endpoint.data.endpoint_id,
      delivery_id: test.data.delivery_id,
      event_id: test.data.event_id,
      replay_id: replay.data.replay_id,
      key_id: apiKey.keyId,
    };

    const bodies: Record<string, object> = {
      updateEndpoint: { status: 'disabled' },
      testEndpoint: { event: 'generated_video_success' },
      createReplay: { status: 'all', since: 0 },
      rotateSecret: {},
    };
    let tried = 0;
    for (const route of api.routes) {
      const [, name] = /:(\w+_id)/.exec(route.path) ?? [];
      if (name === undefined) continue;
      tried += 1;
      const id = ids[name] as string;
      const ask = (used: string) =>
        api.request(route.method, `/v2${route.path.replace(`:${name}`, used)}`, {
          key: mallory.key,
          ...(route.body === null ? {} : { body: bodies[route.operationId] }),
        });
      const foreign = await ask(id);
      const unknown = await ask(`${id.slice(0, -1)}${id.endsWith('0') ? '1' : '0'}`);
      assert.deepEqual([foreign.status, foreign.code], [404, 10104], route.operationId);
      const strip = (text: string) => text.replaceAll(/"(\\"|[^"])*_[0-9a-z]+\\?"/g, 'ID');
      assert.equal(strip(foreign.msg), strip(unknown.msg), route.operationId);
      assert.deepEqual(Object.keys(foreign.headers).sort(), Object.keys(unknown.headers).sort());
    }
    assert.equal(tried, 13, 'routes with an id');

    // Nothing happened to any of them.
    assert.deepEqual((await api.request('GET', path, { key: alice.key })).data, endpoint.data);
    assert.equal((await api.request('GET', '/v2/endpoints', { key: apiKey.key })).code, 0);

    // And lists show nothing of them.
    for (const [list, field] of [
      ['/v2/endpoints', 'endpoints'],
      ['/v2/deliveries', 'deliveries'],
      [`/v2/deliveries?endpoint_id=${ids.endpoint_id}`, 'deliveries'],
      [`/v2/deliveries?event_id=${ids.event_id}`, 'deliveries'],
      ['/v2/event_log', 'events'],
      [`/v2/event_log?event_id=${ids.event_id}`, 'events'],
    ] as const) {
      const answer = await api.request('GET', list, { key: mallory.key });
      assert.deepEqual(answer.data[field], [], list);
    }
    const keys = await api.request('GET', '/v2/api_keys', { key: mallory.key });
    assert.equal(keys.data.api_keys.length, 1);
    const stats = await api.request('GET', '/v2/stats', { key: mallory.key });
    assert.deepEqual(stats.data.series, []);
  });
});
