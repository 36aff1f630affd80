/** Deliveries, event log, replays and statistics. */
import assert from 'node:assert/strict';
import { after, before, describe, it } from 'node:test';

import { type TestApp, testApp } from '../support/app.ts';

const EVENT = 'generated_script_success';
const OTHER = 'generated_script_failed';
const DATA = {
  task_id: 't1',
  status: 'completed',
  scripts: [{ script_style: 'a', script_paragraphs: ['b'] }],
};

interface Fixture {
  key: string;
  username: string;
  endpointId: string;
}

async function withEndpoint(api: TestApp, events = [EVENT, OTHER]): Promise<Fixture> {
  const { key, username } = await api.createAccount();
  const { data } = await api.request('POST', '/v2/endpoint', {
    key,
    body: { url: 'https://example.com/', events },
  });
  return { key, username, endpointId: data.endpoint_id };
}

async function publish(api: TestApp, username: string, eventId?: string): Promise<string> {
  const { data } = await api.request('POST', '/v2/publish', {
    key: api.operatorKey,
    body: { username, event: EVENT, data: DATA, ...(eventId === undefined ? {} : { event_id: eventId }) },
  });
  return data.event_id;
}

describe('deliveries', () => {
  let api: TestApp;
  before(async () => {
    api = await testApp();
  });
  after(() => api.close());

  it('are retried many at once, each by itself', async () => {
    const { key, username } = await withEndpoint(api);
    const stranger = await withEndpoint(api);
    await publish(api, username);
    await publish(api, username);
    await publish(api, stranger.username);
    await api.settleDue('dead');
    const idsOf = async (used: string) =>
      (await api.request('GET', '/v2/deliveries', { key: used })).data.deliveries.map(
        (delivery: { delivery_id: string }) => delivery.delivery_id,
      );
    const own: string[] = await idsOf(key);
    const [foreign] = await idsOf(stranger.key);
    const retry = (deliveryIds: unknown) =>
      api.request('POST', '/v2/deliveries/retry', { key, body: { delivery_ids: deliveryIds } });
    const partly = await retry([own[0], foreign, own[0]]);
    assert.deepEqual([partly.status, partly.code], [200, 40000]);
    assert.match(partly.msg, /1 of 2 deliveries were refused/);
    assert.deepEqual(
      partly.data.results.map(({ delivery_id: id, code }: { delivery_id: string; code: number }) => [
        id,
        code,
      ]),
      [
        [own[0], 0],
        [foreign, 10104],
      ],
    );
    assert.equal((await api.request('GET', `/v2/delivery/${own[0]}`, { key })).data.status, 'pending');
    assert.equal((await api.request('GET', `/v2/delivery/${own[1]}`, { key })).data.status, 'dead');
    assert.equal(
      (await api.request('GET', `/v2/delivery/${foreign}`, { key: stranger.key })).data.status,
      'dead',
    );
    const all = await retry([own[1]]);
    assert.equal(all.code, 0);
    for (const wrong of [[], 'x', [1], Array.from({ length: 201 }, () => own[0])]) {
      assert.equal((await retry(wrong)).code, 40000);
    }
  });

  it('are shown with their attempts, and what was sent', async () => {
    const { key, username, endpointId } = await withEndpoint(api);
    const eventId = await publish(api, username);
    const list = await api.request('GET', '/v2/deliveries', { key });
    const [waiting] = list.data.deliveries;
    assert.deepEqual(
      { ...waiting, delivery_id: '' },
      {
        delivery_id: '',
        event_id: eventId,
        event: EVENT,
        endpoint_id: endpointId,
        status: 'pending',
        status_reason: null,
        attempts: 0,
        created_at: Math.floor(api.clock.now() / 1000),
        next_attempt_at: Math.floor(api.clock.now() / 1000),
        completed_at: null,
      },
    );
    const path = `/v2/delivery/${waiting.delivery_id}`;
    const fresh = await api.request('GET', path, { key });
    assert.deepEqual(fresh.data.request.headers, {});
    assert.deepEqual(fresh.data.attempt_log, []);
    assert.equal(fresh.data.url, 'https://example.com/');

    await api.settleDue('retrying');
    api.clock.advance(60_000);
    await api.settleDue('delivered');
    const { data } = await api.request('GET', path, { key });
    assert.equal(data.status, 'delivered');
    assert.equal(data.attempts, 2);
    assert.equal(data.next_attempt_at, null);
    assert.equal(data.completed_at, Math.floor(api.clock.now() / 1000));
    assert.equal(JSON.parse(data.request.body).event_id, eventId);
    assert.equal(data.request.headers['x-webhook-event'], EVENT);
    assert.deepEqual(data.attempt_log, [
      {
        number: 1,
        started_at: Math.floor((api.clock.now() - 60_000) / 1000),
        duration_ms: 40,
        outcome: 'http_error',
        http_status: 500,
        error: 'the receiver answered 500',
        response: { headers: { 'content-type': 'text/plain' }, body: 'broken', truncated: false },
        manual: false,
      },
      {
        number: 2,
        started_at: Math.floor(api.clock.now() / 1000),
        duration_ms: 40,
        outcome: 'success',
        http_status: 200,
        error: null,
        response: { headers: { 'content-type': 'text/plain' }, body: 'ok', truncated: false },
        manual: false,
      },
    ]);
  });

  it('are filtered by everything that is documented, and paged without gaps', async () => {
    const { key, username, endpointId } = await withEndpoint(api);
    const ids: string[] = [];
    for (let i = 0; i < 7; i++) {
      ids.push(await publish(api, username));
      api.clock.advance(1000);
    }
    const ask = async (query: string) => (await api.request('GET', `/v2/deliveries?${query}`, { key })).data;
    const seen: string[] = [];
    for (let cursor = ''; ; ) {
      const page = await ask(`limit=3${cursor}`);
      assert.ok(page.deliveries.length <= 3);
      seen.push(...page.deliveries.map((delivery: { event_id: string }) => delivery.event_id));
      if (page.next_cursor === null) break;
      cursor = `&cursor=${encodeURIComponent(page.next_cursor)}`;
    }
    assert.deepEqual(seen, ids.toReversed(), 'newest first');

    const start = Math.floor(api.clock.now() / 1000) - 7;
    for (const [query, count] of [
      ['status=pending', 7],
      ['status=delivered', 0],
      [`event=${EVENT}`, 7],
      [`event=${OTHER}`, 0],
      [`endpoint_id=${endpointId}`, 7],
      ['endpoint_id=wh_nope', 0],
      [`event_id=${ids[2]}`, 1],
      [`since=${start + 2}`, 5],
      [`until=${start + 2}`, 2],
      [`since=${start + 1}&until=${start + 3}&status=pending&event=${EVENT}`, 2],
    ] as const) {
      assert.equal((await ask(query)).deliveries.length, count, query);
    }
  });

  it('are refused to queries with a mistake, which is named', async () => {
    const { key } = await withEndpoint(api);
    for (const [query, field] of [
      ['limit=0', 'limit'],
      ['limit=201', 'limit'],
      ['limit=ten', 'limit'],
      ['limit=', 'limit'],
      ['limit=1&limit=2', 'limit'],
      ['cursor=nonsense', 'cursor'],
      ['cursor=', 'cursor'],
      ['status=done', 'status'],
      ['since=yesterday', 'since'],
      ['since=-1', 'since'],
      ['since=1700000000000000', 'since'],
      ['since=20&until=10', 'until'],
      ['endpoint=wh_1', 'endpoint'],
      ['x-api-key=ph_1', 'x-api-key'],
      ['__proto__=1', '__proto__'],
    ]) {
      for (const list of ['deliveries', 'event_log']) {
        if (list === 'event_log' && query?.startsWith('status')) continue;
        const answer = await api.request('GET', `/v2/${list}?${query}`, { key });
        assert.deepEqual([answer.status, answer.code], [400, 40000], `${list}?${query}`);
        assert.ok(answer.msg.includes(field as string), answer.msg);
      }
    }
    const { username } = await withEndpoint(api);
    await publish(api, username);
    await publish(api, username);
    const foreign = await api.request('GET', '/v2/deliveries?limit=1', {
      key: api.operatorKey,
      account: username,
    });
    const elsewhere = await api.request('GET', `/v2/event_log?cursor=${foreign.data.next_cursor}`, { key });
    assert.equal(elsewhere.code, 40000, "another list's cursor");
  });

  it('are attempted again at once on request, and the dispatcher is woken', async () => {
    const { key, username } = await withEndpoint(api);
    await publish(api, username);
    await api.settleDue('retrying');
    const { data } = await api.request('GET', '/v2/deliveries', { key });
    const { delivery_id: id, next_attempt_at: next } = data.deliveries[0];
    assert.equal(next, Math.floor(api.clock.now() / 1000) + 60);
    const { wakes } = api.delivery;
    const retried = await api.request('POST', `/v2/delivery/${id}/retry`, { key });
    assert.equal(retried.data.next_attempt_at, Math.floor(api.clock.now() / 1000));
    assert.equal(api.delivery.wakes, wakes + 1);
    await api.settleDue('dead');
    assert.equal((await api.request('GET', `/v2/delivery/${id}`, { key })).data.attempt_log[1].manual, true);
    const revived = await api.request('POST', `/v2/delivery/${id}/retry`, { key, body: {} });
    assert.equal(revived.data.status, 'pending');
  });

  it('to a disabled endpoint are not retried, which is said', async () => {
    const { key, username, endpointId } = await withEndpoint(api);
    await publish(api, username);
    await api.settleDue('dead');
    await api.request('PUT', `/v2/endpoint/${endpointId}`, { key, body: { status: 'disabled' } });
    const { data } = await api.request('GET', '/v2/deliveries', { key });
    const { wakes } = api.delivery;
    const refused = await api.request('POST', `/v2/delivery/${data.deliveries[0].delivery_id}/retry`, {
      key,
    });
    assert.deepEqual([refused.status, refused.code], [400, 40000]);
    assert.match(refused.msg, /disabled/);
    assert.equal(api.delivery.wakes, wakes);
  });
});

describe('the event log', () => {
  let api: TestApp;
  before(async () => {
    api = await testApp();
  });
  after(() => api.close());

  it('says who got an event, and why nobody did', async () => {
    const { key, username } = await api.createAccount();
    const unheard = await publish(api, username);
    const nobody = await api.request('GET', `/v2/event_log/${unheard}`, { key });
    assert.equal(nobody.data.note, 'no endpoint subscribed');
    assert.deepEqual(nobody.data.targets, []);

    const add = (status: string) =>
      api.request('POST', '/v2/endpoint', {
        key,
        body: { url: 'https://example.com/', events: [EVENT], status },
      });
    const enabled = await add('enabled');
    const disabled = await add('disabled');
    const eventId = await publish(api, username);
    await api.settleDue('delivered');
    const { data } = await api.request('GET', `/v2/event_log/${eventId}`, { key });
    assert.deepEqual(data.deliveries, { pending: 0, delivered: 1, dead: 0, cancelled: 0 });
    const byEndpoint = new Map(
      data.targets.map((target: { endpoint_id: string }) => [target.endpoint_id, target]),
    );
    const got = byEndpoint.get(enabled.data.endpoint_id) as Record<string, unknown>;
    assert.equal(got.status, 'delivered');
    assert.match(String(got.delivery_id), /^dlv_/);
    const skipped = byEndpoint.get(disabled.data.endpoint_id) as Record<string, unknown>;
    assert.equal(skipped.status, 'skipped');
    assert.ok(!('delivery_id' in skipped));
    assert.match(String(skipped.reason), /disabled/);
  });

  it('is filtered and paged', async () => {
    const { key, username } = await api.createAccount();
    const ids: string[] = [];
    for (let i = 0; i < 5; i++) {
      ids.push(await publish(api, username, `logged-${i}`));
      api.clock.advance(1000);
    }
    const first = await api.request('GET', '/v2/event_log?limit=3', { key });
    const second = await api.request('GET', `/v2/event_log?limit=3&cursor=${first.data.next_cursor}`, {
      key,
    });
    const seen = [...first.data.events, ...second.data.events].map(
      (event: { event_id: string }) => event.event_id,
    );
    assert.deepEqual(seen, ids.toReversed());
    assert.equal(second.data.next_cursor, null);
    const start = Math.floor(api.clock.now() / 1000) - 5;
    for (const [query, count] of [
      ['event_id=logged-3', 1],
      [`event=${OTHER}`, 0],
      [`event=${EVENT}`, 5],
      [`since=${start + 1}&until=${start + 2}`, 1],
    ] as const) {
      assert.equal(
        (await api.request('GET', `/v2/event_log?${query}`, { key })).data.events.length,
        count,
        query,
      );
    }
  });

  it('finds events by ids with every character that ids may have', async () => {
    const { key, username } = await api.createAccount();
    for (const id of ['a:b.c-d_e', 'A'.repeat(128)]) {
      await publish(api, username, id);
      const { data } = await api.request('GET', `/v2/event_log/${encodeURIComponent(id)}`, { key });
      assert.equal(data.event_id, id);
      assert.equal((await api.request('GET', `/v2/event_log/${id}`, { key })).data.event_id, id);
    }
    for (const id of ['nope', 'x'.repeat(5000), 'a%2Fb', "' OR 1=1 --"]) {
      const answer = await api.request('GET', `/v2/event_log/${id.replaceAll(' ', '%20')}`, { key });
      assert.deepEqual([answer.status, answer.code], [404, 10104], id);
    }
    const nul = await api.request('GET', '/v2/event_log/%00', { key });
    assert.deepEqual([nul.status, nul.code, nul.msg], [400, 40000, 'event_id must not hold U+0000']);
  });
});

describe('replays', () => {
  let api: TestApp;
  before(async () => {
    api = await testApp();
  });
  after(() => api.close());

  it('are started, shown and stopped', async () => {
    const { key, username, endpointId } = await withEndpoint(api);
    await publish(api, username);
    await publish(api, username);
    await api.settleDue('dead');
    const { wakes } = api.delivery;
    const since = Math.floor(api.clock.now() / 1000) - 60;
    const started = await api.request('POST', `/v2/endpoint/${endpointId}/replay`, {
      key,
      body: { status: 'failed', since },
    });
    assert.equal(started.code, 0, started.msg);
    assert.equal(started.data.matched, 2, 'what was published in the present second counts');
    assert.equal(api.delivery.wakes, wakes + 1);
    const path = `/v2/replay/${started.data.replay_id}`;
    const shown = await api.request('GET', path, { key });
    assert.deepEqual(shown.data, {
      replay_id: started.data.replay_id,
      status: 'running',
      matched: 2,
      done: 0,
    });
    const stopped = await api.request('DELETE', path, { key });
    assert.equal(stopped.data.status, 'cancelled');
    assert.equal((await api.request('GET', path, { key })).data.status, 'cancelled');
  });

  it('count by kind and time', async () => {
    const { key, username, endpointId } = await withEndpoint(api);
    await publish(api, username);
    await api.settleDue('delivered');
    api.clock.advance(10_000);
    await publish(api, username);
    await api.settleDue('dead');
    const now = Math.floor(api.clock.now() / 1000);
    const matched = async (body: object) =>
      (await api.request('POST', `/v2/endpoint/${endpointId}/replay`, { key, body })).data.matched;
    assert.equal(await matched({ status: 'failed', since: 0 }), 1);
    assert.equal(await matched({ status: 'all', since: 0 }), 2);
    assert.equal(await matched({ status: 'missing', since: 0 }), 0);
    assert.equal(await matched({ status: 'all', since: now - 5 }), 1);
    assert.equal(await matched({ status: 'all', since: 0, until: now - 5 }), 1);
  });

  it('are refused with a mistake, which is named', async () => {
    const { key, endpointId } = await withEndpoint(api);
    const path = `/v2/endpoint/${endpointId}/replay`;
    for (const [body, field] of [
      [{}, 'status'],
      [{ status: 'failed' }, 'since'],
      [{ status: 'delivered', since: 0 }, 'status'],
      [{ status: 'failed', since: '1h' }, 'since'],
      [{ status: 'failed', since: 20, until: 10 }, 'since'],
      [{ status: 'failed', since: Math.floor(api.clock.now() / 1000) + 100 }, 'since'],
      [{ status: 'failed', since: 0, limit: 1 }, 'limit'],
    ] as const) {
      const answer = await api.request('POST', path, { key, body });
      assert.deepEqual([answer.status, answer.code], [400, 40000]);
      assert.ok(answer.msg.includes(field), answer.msg);
    }
    await api.request('PUT', `/v2/endpoint/${endpointId}`, { key, body: { status: 'disabled' } });
    const disabled = await api.request('POST', path, { key, body: { status: 'failed', since: 0 } });
    assert.equal(disabled.code, 40000);
    assert.match(disabled.msg, /disabled/);
  });
});

describe('statistics', () => {
  let api: TestApp;
  before(async () => {
    api = await testApp();
  });
  after(() => api.close());

  it('count what happened, in all and split', async () => {
    const { key, username, endpointId } = await withEndpoint(api);
    for (let i = 0; i < 3; i++) await publish(api, username);
    await api.settleDue('delivered');
    await publish(api, username);
    await api.settleDue('dead');
    const { data } = await api.request('GET', '/v2/stats', { key });
    const { p50_ms: p50, p95_ms: p95, ...counts } = data.totals;
    assert.deepEqual(counts, { delivered: 3, failed_attempts: 1, dead: 1 });
    assert.ok(p50 >= 38 && p50 <= 42 && p95 >= 38 && p95 <= 42, `${p50} ${p95}`);
    assert.equal(data.groups, undefined);
    assert.equal(data.series.length, 1);
    assert.equal(data.series[0].delivered, 3);
    assert.ok(data.series[0].at <= Math.floor(api.clock.now() / 1000));

    const byEndpoint = await api.request('GET', '/v2/stats?by=endpoint', { key });
    assert.equal(byEndpoint.data.groups[0].key, endpointId);
    assert.deepEqual(byEndpoint.data.totals, data.totals);
    const byEvent = await api.request('GET', '/v2/stats?by=event&interval=1h', { key });
    assert.equal(byEvent.data.groups[0].key, EVENT);
    const byStatus = await api.request('GET', '/v2/stats?by=status&interval=60', { key });
    assert.deepEqual(byStatus.data.groups.map((group: { key: string }) => group.key).sort(), [
      'http_error',
      'success',
    ]);
  });

  it('are an account’s own, or for an operator those of all accounts', async () => {
    const one = await withEndpoint(api);
    const other = await withEndpoint(api);
    await publish(api, one.username);
    await publish(api, other.username);
    await api.settleDue('delivered');
    const delivered = async (options: { key: string; account?: string }) =>
      (await api.request('GET', '/v2/stats', options)).data.totals.delivered;
    assert.equal(await delivered({ key: one.key }), 1);
    assert.equal(await delivered({ key: api.operatorKey, account: other.username }), 1);
    assert.ok((await delivered({ key: api.operatorKey })) >= 2);
  });

  it('of nothing are zeros', async () => {
    const { key } = await api.createAccount();
    const { data } = await api.request('GET', '/v2/stats?by=event', { key });
    assert.deepEqual(data, {
      series: [],
      totals: { delivered: 0, failed_attempts: 0, dead: 0, p50_ms: null, p95_ms: null },
      groups: [],
    });
  });

  it('are bounded in their points, and refused with a mistake', async () => {
    const { key } = await api.createAccount();
    const now = Math.floor(api.clock.now() / 1000);
    for (const [query, field] of [
      ['interval=0', 'interval'],
      ['interval=30', 'interval'],
      ['interval=90s', 'interval'],
      ['interval=1w', 'interval'],
      ['interval=5m5', 'interval'],
      ['interval=1m&since=0', 'interval'],
      [`since=${now + 10}`, 'since'],
      [`since=${now}&until=${now}`, 'since'],
      ['by=account', 'by'],
    ]) {
      const answer = await api.request('GET', `/v2/stats?${query}`, { key });
      assert.deepEqual([answer.status, answer.code], [400, 40000], query);
      assert.ok(answer.msg.includes(field as string), answer.msg);
    }
    for (const query of [
      'interval=1m',
      'interval=5m',
      'interval=1h',
      'interval=1d',
      'interval=3600',
      'interval=60s',
      'since=0',
    ]) {
      assert.equal((await api.request('GET', `/v2/stats?${query}`, { key })).code, 0, query);
    }
  });
});

describe('the overview', () => {
  let api: TestApp;
  before(async () => {
    api = await testApp();
  });
  after(() => api.close());

  it('tells what waits for how long, and which endpoints need attention', async () => {
    const { key, username, endpointId } = await withEndpoint(api);
    await publish(api, username);
    await api.settleDue('dead');
    await publish(api, username);
    api.clock.advance(90_000);
    const { data } = await api.request('GET', '/v2/overview', { key });
    assert.deepEqual(data, {
      pending: 1,
      pending_is_exact: true,
      oldest_due_seconds: 90,
      endpoints: { enabled: 1, disabled: 0 },
      troubled: [
        {
          username,
          endpoint_id: endpointId,
          url: 'https://example.com/',
          status: 'enabled',
          disabled_reason: null,
          delivered: 0,
          failed_attempts: 1,
          dead: 1,
        },
      ],
    });
  });

  it('shows an account nothing of others, and an operator everything', async () => {
    const one = await withEndpoint(api);
    const other = await withEndpoint(api);
    await publish(api, other.username);
    await api.settleDue('retrying');
    const own = await api.request('GET', '/v2/overview', { key: one.key });
    assert.deepEqual([own.data.pending, own.data.endpoints.enabled, own.data.troubled], [0, 1, []]);
    const all = await api.request('GET', '/v2/overview', { key: api.operatorKey });
    assert.ok(all.data.pending >= 1 && all.data.endpoints.enabled >= 2);
    const names = all.data.troubled.map((endpoint: { username: string }) => endpoint.username);
    assert.ok(names.includes(other.username), JSON.stringify(names));
  });
});

describe('replays of an account', () => {
  it('are counted before they start, and listed', async (t) => {
    const api = await testApp();
    t.after(() => api.close());
    const { key, username, endpointId } = await withEndpoint(api);
    await publish(api, username);
    await api.settleDue('dead');
    const path = `/v2/endpoint/${endpointId}/replay`;
    const dry = await api.request('POST', path, { key, body: { status: 'failed', since: 0, dry_run: true } });
    assert.deepEqual(dry.data, { matched: 1 });
    assert.deepEqual((await api.request('GET', '/v2/replays', { key })).data.replays, []);
    const { data } = await api.request('POST', path, { key, body: { status: 'failed', since: 0 } });
    const list = await api.request('GET', `/v2/replays?endpoint_id=${endpointId}`, { key });
    assert.equal(list.data.replays.length, 1);
    const { created_at: createdAt, ...replay } = list.data.replays[0];
    assert.equal(createdAt, Math.floor(api.clock.now() / 1000));
    assert.deepEqual(replay, {
      replay_id: data.replay_id,
      endpoint_id: endpointId,
      kind: 'failed',
      status: 'running',
      matched: 1,
      done: 0,
    });
    assert.deepEqual((await api.request('GET', '/v2/replays?endpoint_id=wh_none', { key })).data.replays, []);
  });
});

describe('the system', () => {
  it('is the operator’s to look at', async (t) => {
    const api = await testApp();
    t.after(() => api.close());
    const { key, username } = await withEndpoint(api);
    await publish(api, username);
    const { data } = await api.request('GET', '/v2/system', { key: api.operatorKey });
    assert.equal(data.version, '0.0.0-test');
    assert.equal(data.database.engine, 'sqlite');
    assert.ok(data.database.size_bytes > 0 && data.database.free_bytes > 0);
    assert.equal(data.nodes.length, 1);
    assert.equal(data.queue.due, 1);
    assert.equal((await api.request('GET', '/v2/system', { key })).code, 18025);
  });
});
