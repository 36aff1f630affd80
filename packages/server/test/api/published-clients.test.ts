/** The request sequences of published clients of the API, with nothing changed but the base URL. */
import assert from 'node:assert/strict';
import { after, before, describe, it } from 'node:test';

import { type TestApp, testApp } from '../support/app.ts';

const NAMES = [
  'generated_video_success',
  'generated_video_failed',
  'create_avatar_success',
  'create_avatar_failed',
  'generated_image_success',
  'generated_image_failed',
  'generated_motion_success',
  'generated_motion_failed',
  'generated_product_video_success',
  'generated_product_video_failed',
  'generated_avatar_video_success',
  'generated_avatar_video_failed',
  'generated_template_video_success',
  'generated_template_video_failed',
  'generated_translate_video_success',
  'generated_translate_video_failed',
  'generated_photo_avatar_success',
  'generated_photo_avatar_failed',
  'generated_product_avatar_success',
  'generated_product_avatar_failed',
  'generated_script_success',
  'generated_script_failed',
];

describe('a client of the published API', () => {
  let api: TestApp;
  let base: string;
  before(async () => {
    api = await testApp();
    base = await api.app.listen({ host: '127.0.0.1', port: 0 });
  });
  after(() => api.close());

  /** As the published clients send: always JSON headers, and one header that means nothing to us. */
  async function call(key: string, method: string, path: string, body?: object) {
    const response = await fetch(base + path, {
      method,
      headers: { 'x-api-key': key, 'content-type': 'application/json', 'x-api-platform': 'n8n' },
      ...(body === undefined ? {} : { body: JSON.stringify(body) }),
    });
    assert.equal(response.headers.get('content-type'), 'application/json; charset=utf-8');
    return (await response.json()) as Record<string, any>;
  }

  for (const prefix of ['/v2', '/open/v2', '/v1', '/v1/webhook']) {
    const bare = prefix === '/v1/webhook';
    const isV1 = prefix.startsWith('/v1');
    const list = (json: Record<string, any>, field: string) => (bare ? json.data : json.data[field]);

    describe(`of ${prefix}`, () => {
      it('finds the 22 event types in their order', async () => {
        const { key } = await api.createAccount();
        const json = await call(key, 'GET', `${prefix}/events`);
        assert.equal(json.code, 0);
        assert.deepEqual(list(json, 'events'), NAMES);
      });

      it('checks for its endpoint, adds it, finds it by its URL, updates and deletes it', async () => {
        const { key } = await api.createAccount();
        const url = `https://n8n.example.com/webhook/${prefix.length}/Jogg?x=%2f`;
        const before = await call(key, 'GET', `${prefix}/endpoints`);
        assert.deepEqual(list(before, 'endpoints'), []);

        const events = ['generated_avatar_video_success', 'generated_avatar_video_failed'];
        const added = await call(key, 'POST', `${prefix}/endpoint`, { url, status: 'enabled', events });
        assert.equal(added.code, 0, added.msg);
        assert.equal(added.msg, 'Success');
        const id = added.data.endpoint_id;
        assert.equal(added.endpoint_id, isV1 ? id : undefined);
        if (isV1)
          assert.deepEqual(added, {
            ...added.data,
            rid: added.rid,
            code: 0,
            msg: 'Success',
            data: added.data,
          });

        const found = list(await call(key, 'GET', `${prefix}/endpoints`), 'endpoints').find(
          (endpoint: { url: string }) => endpoint.url === url,
        );
        assert.deepEqual(found, added.data);

        const updated = await call(key, 'PUT', `${prefix}/endpoint/${id}`, {
          url,
          status: 'disabled',
          events,
        });
        assert.equal(updated.code, 0, updated.msg);
        assert.equal(updated.data.status, 'disabled');
        assert.equal(updated.status, isV1 ? 'disabled' : undefined);
        assert.equal(updated.data.secret, added.data.secret);

        // One client sends an empty body, one `{}`, one nothing.
        const deleted = await call(
          key,
          'DELETE',
          `${prefix}/endpoint/${id}`,
          prefix === '/v2' ? {} : undefined,
        );
        assert.deepEqual(deleted.data, { message: 'webhook deleted' });
        const gone = await call(key, 'DELETE', `${prefix}/endpoint/${id}`);
        assert.equal(gone.code, 10104);
        assert.equal(gone.data, null);
      });

      it('may leave the status out', async () => {
        const { key } = await api.createAccount();
        const added = await call(key, 'POST', `${prefix}/endpoint`, {
          url: 'https://example.com/',
          events: ['generated_video_success'],
        });
        assert.equal(added.data.status, 'enabled');
      });

      it('tells a wrong key by code 10105, and errors without top-level fields', async () => {
        const { key } = await api.createAccount();
        const wrong = await call('ph_wrong', 'GET', `${prefix}/events`);
        assert.deepEqual(Object.keys(wrong), ['rid', 'code', 'msg', 'data']);
        assert.equal(wrong.code, 10105);
        const bad = await call(key, 'POST', `${prefix}/endpoint`, { url: 'nope', events: NAMES });
        assert.deepEqual(
          [Object.keys(bad), bad.code, bad.data],
          [['rid', 'code', 'msg', 'data'], 40000, null],
        );
      });
    });
  }

  for (const path of ['/v2/user/whoami', '/open/v2/user/whoami', '/v1/whoami']) {
    it(`tests its credential at ${path}`, async () => {
      const { key, username } = await api.createAccount();
      const { code, data } = await call(key, 'GET', path);
      assert.equal(code, 0);
      const created = Math.floor(api.clock.now() / 1000);
      assert.deepEqual(data, { username, created_at: created, scopes: ['account'] });
      assert.equal((await call('ph_wrong', 'GET', path)).code, 10105);
    });
  }

  it('shares its endpoints between all prefixes', async () => {
    const { key } = await api.createAccount();
    const { data } = await call(key, 'POST', '/v1/webhook/endpoint', {
      url: 'https://example.com/shared',
      events: ['generated_video_success'],
    });
    for (const prefix of ['/v2', '/open/v2', '/v1']) {
      const { data: listed } = await call(key, 'GET', `${prefix}/endpoints`);
      assert.deepEqual(listed.endpoints, [data], prefix);
    }
  });
});
