import assert from 'node:assert/strict';
import { after, before, describe, it } from 'node:test';

import { BUILT_IN_TYPES, OPERATIONAL_TYPES } from '../../src/catalogue/index.ts';
import { type TestApp, testApp } from '../support/app.ts';

const ORDER_PAID = {
  category: 'order',
  description: 'An order was paid',
  schema: { type: 'object', required: ['order_id'], properties: { order_id: { type: 'string' } } },
  example: { order_id: 'o-17' },
};

describe('event types', () => {
  let api: TestApp;
  let key: string;
  let username: string;
  before(async () => {
    api = await testApp();
    ({ key, username } = await api.createAccount());
  });
  after(() => api.close());
  const put = (name: string, body: unknown) =>
    api.request('PUT', `/v2/event_type/${name}`, { key: api.operatorKey, body });

  it('are the 22 built-in ones at first and those of operational events, with schema and example', async () => {
    const { data } = await api.request('GET', '/v2/event_types', { key });
    assert.equal(data.event_types.length, 26);
    for (const [i, type] of [...BUILT_IN_TYPES, ...OPERATIONAL_TYPES].entries()) {
      assert.deepEqual(data.event_types[i], {
        name: type.name,
        category: type.category,
        description: type.description,
        schema: type.schema,
        example: type.example,
        deprecated: false,
        built_in: true,
      });
    }
    const video = await api.request('GET', '/v2/event_types?category=video', { key });
    assert.ok(video.data.event_types.length >= 10);
    assert.ok(video.data.event_types.every((type: { category: string }) => type.category === 'video'));
    assert.deepEqual(
      (await api.request('GET', '/v2/event_types?category=nope', { key })).data.event_types,
      [],
    );
  });

  it('of the operator stand after them, are published and delivered', async () => {
    const created = await put('order.paid', ORDER_PAID);
    assert.deepEqual(created.data, { name: 'order.paid', ...ORDER_PAID, deprecated: false, built_in: false });
    const { data: names } = await api.request('GET', '/v2/events', { key });
    assert.equal(names.events[22], 'order.paid');
    assert.deepEqual((await api.request('GET', '/v2/event_type/order.paid', { key })).data, created.data);
    await api.request('POST', '/v2/endpoint', {
      key,
      body: { url: 'https://example.com/', events: ['order.paid'] },
    });
    const publish = (data: object) =>
      api.request('POST', '/v2/publish', {
        key: api.operatorKey,
        body: { username, event: 'order.paid', data },
      });
    assert.equal((await publish({ order_id: 'o-1' })).data.deliveries, 1);
    const refused = await publish({ order_id: 1 });
    assert.match(refused.msg, /\/data\/order_id/);
    await put('order.paid', { ...ORDER_PAID, schema: { type: 'object' }, description: 'changed' });
    assert.equal((await publish({ order_id: 1 })).code, 0, 'a new schema holds at once');
  });

  it('are judged without being stored, on a dry run', async () => {
    const judge = (body: unknown) => put('order.refunded?dry_run=true', body);
    const fits = await judge(ORDER_PAID);
    assert.deepEqual(fits.data, {
      name: 'order.refunded',
      ...ORDER_PAID,
      deprecated: false,
      built_in: false,
    });
    const misfit = await judge({ ...ORDER_PAID, example: { order_id: 17 } });
    assert.deepEqual([misfit.status, misfit.code], [400, 40000]);
    assert.equal(misfit.msg, 'example does not fit the schema: /example/order_id must be string');
    const unknown = await api.request('GET', '/v2/event_type/order.refunded', { key });
    assert.equal(unknown.code, 10104);
    const refused = await api.request('PUT', '/v2/event_type/order.refunded?dry_run=true', {
      key,
      body: ORDER_PAID,
    });
    assert.equal(refused.code, 18025, 'only operators');
  });

  it('cannot be deleted while an endpoint subscribes', async () => {
    await put('order.sent', ORDER_PAID);
    const added = await api.request('POST', '/v2/endpoint', {
      key,
      body: { url: 'https://example.com/', events: ['order.sent'] },
    });
    const path = '/v2/event_type/order.sent';
    const refused = await api.request('DELETE', path, { key: api.operatorKey });
    assert.deepEqual([refused.status, refused.code], [409, 40000]);
    await api.request('DELETE', `/v2/endpoint/${added.data.endpoint_id}`, { key });
    assert.equal((await api.request('DELETE', path, { key: api.operatorKey })).code, 0);
    assert.equal((await api.request('GET', path, { key })).code, 10104);
    assert.equal((await api.request('DELETE', path, { key: api.operatorKey })).code, 10104);
  });

  it('that are built in can be deprecated and nothing else', async () => {
    const type = BUILT_IN_TYPES[0];
    assert.ok(type !== undefined);
    const same = { category: type.category, description: type.description };
    const deprecated = await put(type.name, { ...same, deprecated: true });
    assert.equal(deprecated.data.deprecated, true);
    assert.deepEqual(deprecated.data.schema, type.schema);
    assert.equal((await put(type.name, same)).data.deprecated, false);
    for (const change of [
      { description: 'other' },
      { category: 'other' },
      { schema: { type: 'object' } },
      { example: {} },
    ]) {
      const refused = await put(type.name, { ...same, ...change });
      assert.deepEqual([refused.status, refused.code], [400, 40000]);
      assert.match(refused.msg, /built-in/);
    }
    const remove = await api.request('DELETE', `/v2/event_type/${type.name}`, { key: api.operatorKey });
    assert.equal(remove.code, 40000);
  });

  it('are refused with a mistake, which is named', async () => {
    for (const [name, body, field] of [
      ['Order.Paid', ORDER_PAID, 'name'],
      ['order%20paid', ORDER_PAID, 'name'],
      ['9order', ORDER_PAID, 'name'],
      ['a'.repeat(129), ORDER_PAID, 'name'],
      ['order.x', {}, 'category'],
      ['order.x', { ...ORDER_PAID, category: '' }, 'category'],
      ['order.x', { ...ORDER_PAID, description: 7 }, 'description'],
      ['order.x', { ...ORDER_PAID, schema: { type: 'nonsense' } }, 'schema'],
      ['order.x', { ...ORDER_PAID, schema: { $ref: 'https://example.com/schema.json' } }, 'schema'],
      ['order.x', { ...ORDER_PAID, schema: 'x' }, 'schema'],
      ['order.x', { ...ORDER_PAID, example: { order_id: 7 } }, 'example'],
      ['order.x', { ...ORDER_PAID, deprecated: 'yes' }, 'deprecated'],
      ['order.x', { ...ORDER_PAID, name: 'order.y' }, 'name'],
      ['order.x', { ...ORDER_PAID, schema: { description: 'x'.repeat(70_000) } }, 'schema'],
    ] as const) {
      const refused = await put(name, body);
      assert.deepEqual([refused.status, refused.code], [400, 40000], `${name} ${refused.text}`);
      assert.ok(refused.msg.includes(field), refused.msg);
    }
    assert.ok(!api.catalogue.has('order.x'));
  });
});
