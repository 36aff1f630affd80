import assert from 'node:assert/strict';
import { after, before, describe, it } from 'node:test';

import { BUILT_IN_TYPES } from '../../src/catalogue/index.ts';
import { isSecret } from '../../src/delivery/sign.ts';
import { type TestApp, testApp } from '../support/app.ts';

const URL_TEXT = 'https://Example.COM:443/hooks/../a?b=%7E#'.replace('#', '');
const body = (changes: object = {}) => ({
  url: 'https://example.com/hooks',
  events: ['generated_video_success'],
  ...changes,
});

describe('endpoints', () => {
  let api: TestApp;
  let key: string;
  let username: string;
  before(async () => {
    api = await testApp({ settings: { maxEndpoints: 1000 } });
    ({ key, username } = await api.createAccount());
  });
  after(() => api.close());

  const add = (changes: object = {}) => api.request('POST', '/v2/endpoint', { key, body: body(changes) });

  it('are added with exactly the fields of the contract', async () => {
    const { status, data } = await add({ url: URL_TEXT });
    assert.equal(status, 200);
    assert.deepEqual(Object.keys(data), [
      'endpoint_id',
      'url',
      'secret',
      'status',
      'events',
      'username',
      'created_at',
    ]);
    assert.match(data.endpoint_id, /^wh_/);
    assert.equal(data.url, URL_TEXT, 'the URL comes back exactly as it was sent');
    assert.ok(isSecret(data.secret));
    assert.equal(data.status, 'enabled');
    assert.equal(data.username, username);
    assert.equal(data.created_at, Math.floor(api.clock.now() / 1000));
    const shown = await api.request('GET', `/v2/endpoint/${data.endpoint_id}`, { key });
    assert.deepEqual(shown.data, data);
  });

  it('keep their secret sealed in the store', async () => {
    const { data } = await add({ headers: { authorization: 'Bearer hidden-value' } });
    const stored = await api.store.getEndpoint(username, data.endpoint_id);
    assert.match(stored?.secret ?? '', /^v1\./);
    assert.match(stored?.headers ?? '', /^v1\./);
    assert.ok(!JSON.stringify(stored).includes('hidden-value'));
    assert.ok(!JSON.stringify(stored).includes(data.secret));
  });

  it('show optional fields only when they are set, and take them away with null', async () => {
    const optional = {
      description: 'production',
      metadata: { team: 'video', nested: { a: [1] } },
      headers: { 'X-Team': 'video' },
      rate_limit_per_second: 2.5,
      timeout_seconds: 30,
    };
    const { data } = await add(optional);
    for (const [name, value] of Object.entries(optional)) assert.deepEqual(data[name], value, name);
    const path = `/v2/endpoint/${data.endpoint_id}`;
    const cleared = await api.request('PUT', path, {
      key,
      body: Object.fromEntries(Object.keys(optional).map((name) => [name, null])),
    });
    assert.equal(Object.keys(cleared.data).length, 7);
    assert.equal(cleared.data.secret, data.secret);
    const emptied = await api.request('PUT', path, { key, body: { headers: {}, description: 'x' } });
    assert.equal(emptied.data.headers, undefined);
    assert.equal(emptied.data.description, 'x');
  });

  it('keep the order of their events and count repeats once', async () => {
    const events = ['generated_video_failed', 'create_avatar_success', 'generated_video_failed'];
    const { data } = await add({ events });
    assert.deepEqual(data.events, ['generated_video_failed', 'create_avatar_success']);
  });

  it('may be added disabled', async () => {
    assert.equal((await add({ status: 'disabled' })).data.status, 'disabled');
  });

  const refusals: [string, object | string, string][] = [
    ['no url', { events: ['generated_video_success'] }, 'url'],
    ['an empty url', body({ url: '' }), 'url'],
    ['a url that is no text', body({ url: 7 }), 'url'],
    ['http', body({ url: 'http://example.com/' }), 'url'],
    ['file:', body({ url: 'file:///etc/passwd' }), 'url'],
    ['user info', body({ url: 'https://user:pass@example.com/' }), 'url'],
    ['a fragment', body({ url: 'https://example.com/#a' }), 'url'],
    ['a backslash', body({ url: 'https://example.com\\@evil.com/' }), 'url'],
    ['a line break', body({ url: 'https://example.com/\r\nx: y' }), 'url'],
    ['port 0', body({ url: 'https://example.com:0/' }), 'url'],
    ['port 65536', body({ url: 'https://example.com:65536/' }), 'url'],
    ['a relative url', body({ url: '/hooks' }), 'url'],
    ['3000 bytes', body({ url: `https://example.com/${'a'.repeat(3000)}` }), 'url'],
    ['loopback', body({ url: 'https://127.0.0.1/' }), 'url'],
    ['loopback as a number', body({ url: 'https://2130706433/' }), 'url'],
    ['loopback in IPv6', body({ url: 'https://[::ffff:127.0.0.1]/' }), 'url'],
    ['localhost', body({ url: 'https://localhost./' }), 'url'],
    ['the metadata service', body({ url: 'https://169.254.169.254/' }), 'url'],
    ['no events', { url: 'https://example.com/' }, 'events'],
    ['an empty list of events', body({ events: [] }), 'events'],
    ['an unknown event', body({ events: ['generated_video_success', 'nope'] }), 'nope'],
    [
      '10 000 unknown events',
      body({ events: Array.from({ length: 10_000 }, (_, i) => `event_${i}`) }),
      'event_0',
    ],
    ['an event that is no text', body({ events: [{}] }), 'events[0]'],
    ['events that are a text', body({ events: 'generated_video_success' }), 'events'],
    ['a name of the prototype', body({ events: ['constructor'] }), 'constructor'],
    ['an unknown status', body({ status: 'on' }), 'status'],
    ['a secret of one’s own', body({ secret: 'whsec_x' }), 'secret'],
    ['an unknown field', body({ evnts: [] }), 'evnts'],
    ['a timeout of 0', body({ timeout_seconds: 0 }), 'timeout_seconds'],
    ['a timeout of 31', body({ timeout_seconds: 31 }), 'timeout_seconds'],
    ['a negative rate', body({ rate_limit_per_second: -1 }), 'rate_limit_per_second'],
    ['metadata that is a list', body({ metadata: [] }), 'metadata'],
    ['metadata of 20 KB', body({ metadata: { a: 'x'.repeat(20_000) } }), 'metadata'],
    ['a long description', body({ description: 'x'.repeat(501) }), 'description'],
    ['a header that breaks out', body({ headers: { 'x-a': 'a\r\nb: c' } }), 'x-a'],
    ['a header that is ours', body({ headers: { 'webhook-id': 'a' } }), 'webhook-id'],
    ['a header that is no text', body({ headers: { 'x-a': 1 } }), 'headers.x-a'],
    ['a body that is a list', [], 'body'],
  ];
  for (const [name, refused, field] of refusals) {
    it(`are refused with ${name}, the message names ${field}`, async () => {
      const countBefore = (await api.store.listEndpoints(username)).length;
      const answer = await api.request('POST', '/v2/endpoint', { key, body: refused });
      assert.equal(answer.status, 400);
      assert.equal(answer.code, 40000);
      assert.ok(answer.msg.includes(field), answer.msg);
      assert.ok(answer.msg.length < 600, 'a sentence, not a dump');
      assert.equal((await api.store.listEndpoints(username)).length, countBefore, 'nothing is stored');
    });
  }

  it('accept 10 000 repeats of one event as one', async () => {
    const { data } = await add({ events: Array.from({ length: 10_000 }, () => 'generated_video_success') });
    assert.deepEqual(data.events, ['generated_video_success']);
  });

  it('are updated in what is present and in nothing else; the dispatcher is told before the answer', async () => {
    const { data } = await add();
    const path = `/v2/endpoint/${data.endpoint_id}`;
    api.delivery.changed.length = 0;
    const disabled = await api.request('PUT', path, { key, body: { status: 'disabled' } });
    assert.deepEqual(disabled.data, { ...data, status: 'disabled' });
    assert.deepEqual(api.delivery.changed, [data.endpoint_id]);
    const moved = await api.request('PUT', path, { key, body: { url: 'https://example.org/b' } });
    assert.deepEqual(moved.data, { ...data, status: 'disabled', url: 'https://example.org/b' });
    const events = await api.request('PUT', path, { key, body: { events: ['create_avatar_failed'] } });
    assert.deepEqual(events.data.events, ['create_avatar_failed']);
  });

  it('are not updated by nothing, by a bad value or by a secret', async () => {
    const { data } = await add();
    const path = `/v2/endpoint/${data.endpoint_id}`;
    for (const [refused, field] of [
      [{}, 'at least 1 field'],
      [{ events: [] }, 'events'],
      [{ events: ['nope'] }, 'nope'],
      [{ url: 'https://10.0.0.1/' }, 'url'],
      [{ url: null }, 'url'],
      [{ secret: 'whsec_x' }, 'secret'],
      [{ endpoint_id: 'wh_x' }, 'endpoint_id'],
    ] as const) {
      const answer = await api.request('PUT', path, { key, body: refused });
      assert.equal(answer.status, 400, JSON.stringify(refused));
      assert.ok(answer.msg.includes(field), answer.msg);
    }
    assert.deepEqual((await api.request('GET', path, { key })).data, data);
  });

  it('are deleted once', async () => {
    const { data } = await add();
    const path = `/v2/endpoint/${data.endpoint_id}`;
    api.delivery.changed.length = 0;
    const gone = await api.request('DELETE', path, { key });
    assert.deepEqual(gone.json, {
      rid: gone.rid,
      code: 0,
      msg: 'Success',
      data: { message: 'webhook deleted' },
    });
    assert.deepEqual(api.delivery.changed, [data.endpoint_id]);
    for (const method of ['DELETE', 'GET', 'PUT'] as const) {
      const again = await api.request(method, path, {
        key,
        ...(method === 'PUT' ? { body: { status: 'disabled' } } : {}),
      });
      assert.equal(again.status, 404);
      assert.equal(again.code, 10104);
    }
    assert.deepEqual(api.delivery.changed, [data.endpoint_id], 'what failed changed nothing');
  });

  it('get a new secret beside the old one for the overlap, a day unless told otherwise', async () => {
    const { data } = await add();
    const path = `/v2/endpoint/${data.endpoint_id}`;
    api.delivery.changed.length = 0;
    const rotated = await api.request('POST', `${path}/rotate_secret`, { key });
    assert.equal(rotated.status, 200);
    assert.notEqual(rotated.data.secret, data.secret);
    assert.ok(isSecret(rotated.data.secret));
    assert.equal(rotated.data.previous_secret_expires_at, Math.floor(api.clock.now() / 1000) + 86_400);
    assert.deepEqual(api.delivery.changed, [data.endpoint_id]);
    const short = await api.request('POST', `${path}/rotate_secret`, { key, body: { overlap_seconds: 60 } });
    assert.equal(short.data.previous_secret_expires_at, Math.floor(api.clock.now() / 1000) + 60);
    api.clock.advance(60_001);
    const after = await api.request('GET', path, { key });
    assert.deepEqual(Object.keys(after.data).length, 7, 'the overlap is over and no longer shown');
    assert.equal(after.data.secret, short.data.secret);
    const atOnce = await api.request('POST', `${path}/rotate_secret`, { key, body: { overlap_seconds: 0 } });
    assert.equal(atOnce.data.previous_secret_expires_at, undefined);
    for (const overlap of [-1, 604_801, 1.5, '60', null]) {
      const refused = await api.request('POST', `${path}/rotate_secret`, {
        key,
        body: { overlap_seconds: overlap },
      });
      assert.equal(refused.code, 40000, String(overlap));
      assert.match(refused.msg, /overlap_seconds/);
    }
  });

  it('are sent a test event of any type, subscribed or not', async () => {
    const { data } = await add();
    for (const { name } of BUILT_IN_TYPES) {
      const test = await api.request('POST', `/v2/endpoint/${data.endpoint_id}/test`, {
        key,
        body: { event: name },
      });
      assert.equal(test.status, 200, test.msg);
      const delivery = await api.request('GET', `/v2/delivery/${test.data.delivery_id}`, { key });
      assert.equal(delivery.data.event_id, test.data.event_id);
      assert.equal(delivery.data.endpoint_id, data.endpoint_id);
      const detail = await api.request('GET', `/v2/event_log/${test.data.event_id}`, { key });
      assert.equal(detail.data.targets.length, 1, 'nobody else gets it');
    }
  });

  it('are sent no test event that cannot be', async () => {
    const { data } = await add();
    const path = `/v2/endpoint/${data.endpoint_id}/test`;
    await api.catalogue.put({ name: 'order.paid', category: 'order', description: 'An order was paid' });
    for (const [event, words] of [
      ['nope', /event "nope" is not a known event type/],
      ['order.paid', /has no example/],
    ] as const) {
      const refused = await api.request('POST', path, { key, body: { event } });
      assert.equal(refused.code, 40000);
      assert.match(refused.msg, words);
    }
    await api.request('PUT', `/v2/endpoint/${data.endpoint_id}`, { key, body: { status: 'disabled' } });
    const refused = await api.request('POST', path, { key, body: { event: 'generated_video_success' } });
    assert.equal(refused.status, 400);
    assert.match(refused.msg, /disabled/);
    const unknown = await api.request('POST', '/v2/endpoint/wh_nope/test', {
      key,
      body: { event: 'generated_video_success' },
    });
    assert.equal(unknown.code, 10104);
  });
});

describe('the limit of endpoints', () => {
  it('holds against 21 parallel requests', async (t) => {
    const api = await testApp();
    t.after(() => api.close());
    const { key, username } = await api.createAccount();
    const answers = await Promise.all(
      Array.from({ length: 21 }, (_, i) =>
        api.request('POST', '/v2/endpoint', { key, body: body({ url: `https://example.com/${i}` }) }),
      ),
    );
    assert.equal(answers.filter((answer) => answer.code === 0).length, 20);
    const [refused] = answers.filter((answer) => answer.code !== 0);
    assert.equal(refused?.status, 400);
    assert.equal(refused?.code, 40000);
    assert.match(refused?.msg ?? '', /20/);
    assert.equal((await api.store.listEndpoints(username)).length, 20);
    const other = await api.createAccount();
    assert.equal((await api.request('POST', '/v2/endpoint', { key: other.key, body: body() })).code, 0);
  });
});

describe('the development policy', () => {
  it('allows http and loopback, and nothing else that is refused', async (t) => {
    const api = await testApp({ settings: { endpointPolicy: 'development' } });
    t.after(() => api.close());
    const { key } = await api.createAccount();
    const url = 'http://127.0.0.1:9999/hooks';
    const { data } = await api.request('POST', '/v2/endpoint', { key, body: body({ url }) });
    assert.equal(data.url, url);
    const refused = await api.request('POST', '/v2/endpoint', {
      key,
      body: body({ url: 'ftp://127.0.0.1/' }),
    });
    assert.equal(refused.code, 40000);
  });
});
