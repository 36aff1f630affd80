import assert from 'node:assert/strict';
import { after, before, describe, it } from 'node:test';

import { BUILT_IN_TYPES } from '../../src/catalogue/index.ts';
import { unavailable } from '../../src/errors.ts';
import { type TestApp, overriding, testApp } from '../support/app.ts';

const EVENT = 'generated_script_success';
const DATA = {
  task_id: 't1',
  status: 'completed',
  scripts: [{ script_style: 'Story', script_paragraphs: ['One', 'Two'] }],
};

describe('publishing', () => {
  let api: TestApp;
  let username: string;
  let key: string;
  before(async () => {
    api = await testApp({ settings: { maxEndpoints: 5 } });
    ({ username, key } = await api.createAccount());
    await api.request('POST', '/v2/endpoint', {
      key,
      body: { url: 'https://example.com/', events: [EVENT] },
    });
  });
  after(() => api.close());

  const publish = (body: unknown, headers: Record<string, string> = {}) =>
    api.request('POST', '/v2/publish', { key: api.operatorKey, body, headers });
  const item = (changes: object = {}) => ({ username, event: EVENT, data: DATA, ...changes });
  const eventCount = async () =>
    (await api.store.listEvents(username, {}, { limit: 200, cursor: null })).items.length;

  it('stores the event and a delivery for each endpoint that subscribed', async () => {
    const { status, data } = await publish(item());
    assert.equal(status, 200);
    assert.deepEqual({ ...data, event_id: '' }, { event_id: '', deliveries: 1, duplicate: false });
    assert.match(data.event_id, /^evt_/);
    const shown = await api.request('GET', `/v2/event_log/${data.event_id}`, { key });
    assert.deepEqual(shown.data.data, DATA);
    assert.equal(shown.data.timestamp, Math.floor(api.clock.now() / 1000));
    assert.deepEqual(shown.data.deliveries, { pending: 1, delivered: 0, dead: 0, cancelled: 0 });
    const { data: delivery } = await api.request('GET', `/v2/delivery/${shown.data.targets[0].delivery_id}`, {
      key,
    });
    assert.equal(
      delivery.request.body,
      `{"event_id":"${data.event_id}","event":"${EVENT}","timestamp":${shown.data.timestamp},"data":${JSON.stringify(DATA)}}`,
    );
  });

  it('takes every built-in type with its example', async () => {
    for (const { name, example } of BUILT_IN_TYPES) {
      const answer = await publish({ username, event: name, data: example });
      assert.equal(answer.code, 0, `${name}: ${answer.msg}`);
    }
  });

  it('accepts unknown fields in data, and gives back what it got, byte for byte', async () => {
    const data = { ...DATA, ключ: '💥\u2028', nested: { b: 1, a: [1.5, -0.25, 1e21, true, null] }, '1': 'x' };
    const { data: result } = await publish(item({ data }));
    const { data: event } = await api.request('GET', `/v2/event_log/${result.event_id}`, { key });
    assert.equal(JSON.stringify(event.data), JSON.stringify(data));
  });

  it('is idempotent by event_id, and refuses other content with 409', async () => {
    const body = item({ event_id: 'order-1:paid.v2_x', timestamp: 1_700_000_000 });
    const first = await publish(body);
    assert.deepEqual(first.data, { event_id: 'order-1:paid.v2_x', deliveries: 1, duplicate: false });
    const again = await publish(body);
    assert.deepEqual(again.data, { event_id: 'order-1:paid.v2_x', deliveries: 1, duplicate: true });
    // The order of keys is not content.
    const reordered = { status: DATA.status, scripts: DATA.scripts, task_id: DATA.task_id };
    assert.equal((await publish({ ...body, data: reordered })).data.duplicate, true);
    assert.equal((await publish({ ...body, timestamp: undefined })).data.duplicate, true);
    for (const changed of [
      { data: { ...DATA, task_id: 't2' } },
      {
        event: 'generated_script_failed',
        data: { task_id: 't1', status: 'failed', error: { code: 1, message: 'a' } },
      },
      { timestamp: 1_700_000_001 },
    ]) {
      const conflict = await publish({ ...body, ...changed });
      assert.deepEqual([conflict.status, conflict.code], [409, 40000], JSON.stringify(changed));
      assert.match(conflict.msg, /order-1:paid\.v2_x/);
    }
    const other = await api.createAccount();
    const elsewhere = await publish({ ...body, username: other.username });
    assert.equal(elsewhere.data.duplicate, false, 'ids belong to an account');
  });

  it('stores one of 100 parallel publishes with the same id', async () => {
    const before = await eventCount();
    const answers = await Promise.all(
      Array.from({ length: 100 }, () => publish(item({ event_id: 'parallel' }))),
    );
    assert.ok(answers.every((answer) => answer.code === 0));
    assert.equal(answers.filter((answer) => !answer.data.duplicate).length, 1);
    assert.ok(answers.every((answer) => answer.data.deliveries === 1));
    assert.equal(await eventCount(), before + 1);
  });

  const refusals: [string, object, number, number, RegExp][] = [
    ['no username', { event: EVENT, data: DATA }, 400, 40000, /username is required/],
    ['no event', { username: 'a', data: DATA }, 400, 40000, /event is required/],
    ['no data', { username: 'a', event: EVENT }, 400, 40000, /data is required/],
    ['an unknown account', item({ username: 'nobody' }), 404, 10104, /account "nobody" not found/],
    ['a malformed username', item({ username: 'a b' }), 400, 40000, /username/],
    ['an unknown type', item({ event: 'nope' }), 400, 40000, /event "nope"/],
    ['a type of the prototype', item({ event: '__proto__' }), 400, 40000, /event/],
    ['data that is a list', item({ data: [] }), 400, 40000, /data must be an object/],
    ['data of a wrong type', item({ data: { ...DATA, task_id: 7 } }), 400, 40000, /\/data\/task_id/],
    ['data without a field', item({ data: { status: 'completed', scripts: [] } }), 400, 40000, /task_id/],
    [
      'deep data of a wrong type',
      item({ data: { ...DATA, scripts: [{ script_style: 'a', script_paragraphs: [7] }] } }),
      400,
      40000,
      /\/data\/scripts\/0\/script_paragraphs\/0/,
    ],
    ['an empty id', item({ event_id: '' }), 400, 40000, /event_id/],
    ['a long id', item({ event_id: 'a'.repeat(129) }), 400, 40000, /event_id/],
    ['an id with a slash', item({ event_id: 'a/b' }), 400, 40000, /event_id/],
    ['a timestamp in milliseconds', item({ timestamp: 1_700_000_000_000_000 }), 400, 40000, /timestamp/],
    ['a timestamp as text', item({ timestamp: '1700000000' }), 400, 40000, /timestamp must be an integer/],
    ['a negative timestamp', item({ timestamp: -1 }), 400, 40000, /timestamp/],
    ['an unknown field', item({ eventid: 'a' }), 400, 40000, /unknown field "eventid"/],
    ['a batch and an event in one', { ...item(), events: [] }, 400, 40000, /unknown field "username"/],
    ['an empty batch', { events: [] }, 400, 40000, /events must have at least 1 item/],
    ['a batch of 1001', { events: Array.from({ length: 1001 }, () => 0) }, 400, 40000, /at most 1000 items/],
    ['a batch that is no list', { events: {} }, 400, 40000, /events must be an array/],
  ];
  for (const [name, refused, status, code, words] of refusals) {
    it(`is refused with ${name}`, async () => {
      const before = await eventCount();
      const body =
        'username' in refused && refused.username === undefined ? { ...refused, username } : refused;
      const answer = await publish(body);
      assert.deepEqual([answer.status, answer.code], [status, code], answer.msg);
      assert.match(answer.msg, words);
      assert.equal(await eventCount(), before, 'nothing is stored');
    });
  }

  const rawRefusals: [string, string | Buffer, number, RegExp][] = [
    ['nothing', '', 400, /body/],
    ['no JSON', '{"a":', 400, /not valid JSON.*position/],
    ['a text', '"abc"', 400, /object/],
    ['null', 'null', 400, /object/],
    ['10 000 levels', `${'['.repeat(10_000)}${']'.repeat(10_000)}`, 400, /nested|levels|deep/],
    ['invalid UTF-8', Buffer.from([0x7b, 0x22, 0xff, 0x22, 0x3a, 0x31, 0x7d]), 400, /UTF-8/],
    ['a byte order mark', Buffer.from('\ufeff{}'), 400, /byte order mark/],
    ['__proto__', '{"username":"a","__proto__":{"x":1}}', 400, /__proto__/],
    ['constructor.prototype', '{"data":{"constructor":{"prototype":{"x":1}}}}', 400, /prototype/],
    ['a number beyond 2^53', '{"data":{"n":9007199254740993}}', 400, /\/data\/n.*string/],
    ['a number of too many digits', '{"data":{"n":0.1000000000000000055511151231257827}}', 400, /\/data\/n/],
    ['a number beyond a double', '{"data":{"n":1e400}}', 400, /\/data\/n/],
    ['6 MB', `{"data":"${'x'.repeat(6 * 1024 * 1024)}"}`, 413, /5242880 bytes/],
  ];
  for (const [name, raw, status, words] of rawRefusals) {
    it(`is refused with a body of ${name}`, async () => {
      const before = await eventCount();
      const answer = await publish(raw);
      assert.deepEqual([answer.status, answer.code], [status, 40000], answer.msg);
      assert.match(answer.msg, words);
      assert.equal(await eventCount(), before);
    });
  }

  it('is refused with another media type', async () => {
    for (const type of [
      'text/plain',
      'application/x-www-form-urlencoded',
      'application/jsonx',
      'multipart/form-data; boundary=a',
      'nonsense',
      'application/json; charset=latin1',
    ]) {
      const answer = await publish(JSON.stringify(item()), { 'content-type': type });
      assert.deepEqual([answer.status, answer.code], [415, 40000], type);
      assert.match(answer.msg, /JSON/);
    }
    for (const type of [
      'application/json',
      'application/json;charset=UTF-8',
      'Application/JSON; charset="utf-8"',
    ]) {
      assert.equal((await publish(JSON.stringify(item()), { 'content-type': type })).code, 0, type);
    }
  });

  it('is refused over the size of a sealed body, which is told', async () => {
    const answer = await publish(item({ data: { ...DATA, filler: 'é'.repeat(128 * 1024) } }));
    assert.deepEqual([answer.status, answer.code], [413, 40000]);
    assert.match(answer.msg, /262144/);
  });

  it('of a batch answers each item in its place', async () => {
    const before = await eventCount();
    const answer = await publish({
      events: [
        item({ event_id: 'batch-1' }),
        item({ data: { ...DATA, task_id: 7 } }),
        'nonsense',
        item({ event_id: 'batch-1' }),
        item({ event_id: 'batch-1', data: { ...DATA, task_id: 'other' } }),
        item({ username: 'nobody' }),
        item({ event: 'nope' }),
        item({ data: { ...DATA, filler: 'x'.repeat(300_000) } }),
        item({ event_id: 'batch-2' }),
      ],
    });
    assert.equal(answer.status, 200);
    assert.equal(answer.code, 40000);
    assert.match(answer.msg, /6 of 9/);
    const { results } = answer.data;
    assert.deepEqual(results[0], { event_id: 'batch-1', deliveries: 1, duplicate: false });
    assert.equal(results[1].code, 40000);
    assert.match(results[1].msg, /\/data\/task_id/);
    assert.equal(results[2].code, 40000);
    assert.deepEqual(results[3], { event_id: 'batch-1', deliveries: 1, duplicate: true });
    assert.equal(results[4].code, 40000);
    assert.match(results[4].msg, /batch-1/);
    assert.equal(results[5].code, 10104);
    assert.match(results[6].msg, /nope/);
    assert.equal(results[7].code, 40000);
    assert.deepEqual(results[8], { event_id: 'batch-2', deliveries: 1, duplicate: false });
    assert.equal(await eventCount(), before + 2);
  });

  it('of a batch succeeds with code 0 when all items do, up to 1000', async () => {
    const events = Array.from({ length: 1000 }, (_, i) => item({ event_id: `thousand-${i}` }));
    const answer = await publish({ events });
    assert.equal(answer.code, 0);
    assert.deepEqual(
      answer.data.results.map((result: { event_id: string }) => result.event_id),
      events.map((event) => (event as { event_id?: string }).event_id),
    );
  });

  it('of a batch of nothing but mistakes stores nothing', async () => {
    const answer = await publish({ events: [{}, { username }] });
    assert.equal(answer.status, 200);
    assert.equal(answer.code, 40000);
    assert.deepEqual(
      answer.data.results.map((result: { code: number }) => result.code),
      [40000, 40000],
    );
  });

  it('says when a type is deprecated, in the result and in the log', async () => {
    const type = api.catalogue.get('generated_motion_failed');
    assert.ok(type !== null);
    await api.request('PUT', `/v2/event_type/${type.name}`, {
      key: api.operatorKey,
      body: { category: type.category, description: type.description, deprecated: true },
    });
    const { data } = await publish({ username, event: type.name, data: type.example });
    assert.equal(data.deprecated, true);
    const batch = await publish({ events: [{ username, event: type.name, data: type.example }, item()] });
    assert.equal(batch.data.results[0].deprecated, true);
    assert.equal(batch.data.results[1].deprecated, undefined);
    assert.ok(
      api.logs.some(
        (line) => String(line.msg).includes('deprecated') && String(line.events).includes(type.name),
      ),
    );
  });

  it('for a suspended account is accepted', async () => {
    const other = await api.createAccount();
    await api.store.updateAccount(other.username, { status: 'suspended' });
    assert.equal((await publish(item({ username: other.username }))).code, 0);
  });

  it('leaves neither payloads nor ids of events in the log', async () => {
    await publish(item({ data: { ...DATA, task_id: 'payload-marker' } }));
    await publish(item({ data: { ...DATA, task_id: 'payload-marker', scripts: 'payload-marker' } }));
    assert.ok(!JSON.stringify(api.logs).includes('payload-marker'));
  });

  it('is open to a key with scope publish, which can do nothing else', async () => {
    const publisher = await api.createKey(null, ['publish']);
    const answer = await api.request('POST', '/v2/publish', { key: publisher.key, body: item() });
    assert.equal(answer.code, 0);
    const refused = await api.request('GET', `/v2/event_log/${answer.data.event_id}`, {
      key: publisher.key,
      account: username,
    });
    assert.equal(refused.code, 18025);
  });
});

describe('publishing while the store cannot be written', () => {
  it('is answered with 503 and retry-after, and works again when the store does', async (t) => {
    let down = false;
    const api = await testApp({
      wrapStore: (store) =>
        overriding(store, {
          publish: (events, offer) =>
            down ? Promise.reject(unavailable('the disk is full')) : store.publish(events, offer),
        }),
    });
    t.after(() => api.close());
    const { username } = await api.createAccount();
    const one = { username, event: EVENT, data: DATA, event_id: 'while-down' };
    down = true;
    for (const body of [one, { events: [one, one] }]) {
      const refused = await api.request('POST', '/v2/publish', { key: api.operatorKey, body });
      assert.deepEqual([refused.status, refused.code, refused.data], [503, 50000, null]);
      assert.equal(refused.headers['retry-after'], '1');
    }
    down = false;
    const stored = await api.request('POST', '/v2/publish', { key: api.operatorKey, body: one });
    assert.equal(stored.data.duplicate, false, 'nothing was acknowledged that is not stored');
  });
});
