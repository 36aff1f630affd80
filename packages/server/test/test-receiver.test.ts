/** The built-in receiver: it answers by its address, and nothing is dialled. */
import assert from 'node:assert/strict';
import { after, before, describe, it } from 'node:test';
import { isTestReceiver, TEST_RECEIVER_URLS, withTestReceiver } from '../src/delivery/test-receiver.ts';
import type { Requester, RequestSpec } from '../src/delivery/request.ts';
import { type TestApp, testApp } from './support/app.ts';
import { ManualClock } from './support/manual-clock.ts';

function bench() {
  const clock = new ManualClock();
  const dialled: string[] = [];
  const outside: Requester = {
    connections: { open: 3, idle: 1 },
    post: async ({ url }) => {
      dialled.push(url);
      throw new Error('dialled');
    },
    close: async () => {},
  };
  const requester = withTestReceiver(outside, clock);
  const spec = (url: string, rest: Partial<RequestSpec> = {}): RequestSpec => ({
    url,
    headers: { 'webhook-id': 'evt_1' },
    body: Buffer.from('{}'),
    timeoutMs: 5000,
    ...rest,
  });
  return { clock, dialled, requester, spec };
}

describe('the built-in receiver', () => {
  it('takes what is sent to /succeed and says what it got', async () => {
    const { requester, spec, dialled } = bench();
    const result = await requester.post(spec(TEST_RECEIVER_URLS.succeed));
    assert.deepEqual([result.outcome, result.httpStatus, result.error], ['success', 200, null]);
    assert.equal(JSON.parse(result.responseBody as string).event_id, 'evt_1');
    assert.deepEqual(dialled, []);
  });

  it('answers 500 at /fail, and says how to mend it', async () => {
    const { requester, spec, dialled } = bench();
    const result = await requester.post(spec(TEST_RECEIVER_URLS.fail));
    assert.deepEqual([result.outcome, result.httpStatus], ['http_error', 500]);
    assert.match(result.error as string, /answered HTTP 500/);
    assert.match(result.responseBody as string, /\/succeed/);
    assert.deepEqual(dialled, []);
  });

  it('never answers at /hang: the attempt ends at its time limit, or when the service stops', async () => {
    const { requester, spec, clock, dialled } = bench();
    const late = requester.post(spec(TEST_RECEIVER_URLS.hang));
    clock.advance(4999);
    clock.advance(1);
    const result = await late;
    assert.deepEqual([result.outcome, result.httpStatus, result.durationMs], ['timeout', null, 5000]);
    assert.match(result.error as string, /within 5 s/);
    const stop = new AbortController();
    const cut = requester.post(spec(TEST_RECEIVER_URLS.hang, { signal: stop.signal }));
    stop.abort(new Error('stopping'));
    await assert.rejects(cut, /stopping/);
    assert.deepEqual(dialled, []);
  });

  it('leaves every other address to the network, and to its guard', async () => {
    const { requester, spec, dialled } = bench();
    const others = [
      'https://hooks.example.com/succeed',
      'https://test-receiver.posthorn.invalid.example.com/succeed',
      'https://test-receiver.posthorn.invalid/',
      'http://test-receiver.posthorn.invalid/succeed',
    ];
    for (const url of others) await assert.rejects(requester.post(spec(url)), /dialled/);
    assert.deepEqual(dialled, others);
    assert.deepEqual(requester.connections, { open: 3, idle: 1 });
  });

  it('has three addresses, and no others on its host', () => {
    for (const url of Object.values(TEST_RECEIVER_URLS)) assert.equal(isTestReceiver(url), true);
    assert.equal(isTestReceiver('https://hooks.example.com/'), false);
    assert.equal(isTestReceiver('no URL'), false);
    for (const url of [
      'https://test-receiver.posthorn.invalid/',
      'https://test-receiver.posthorn.invalid/succeed?a=1',
      'http://TEST-receiver.posthorn.invalid/succeed',
      'https://user@test-receiver.posthorn.invalid:1/fail',
    ]) {
      assert.throws(() => isTestReceiver(url), /must be one of the built-in receiver's addresses/);
    }
  });

  describe('as an endpoint', () => {
    let api: TestApp;
    let key: string;
    before(async () => {
      api = await testApp();
      ({ key } = await api.createAccount());
    });
    after(() => api.close());

    it('is saved where only public https addresses are, and changed to fail and back', async () => {
      const events = ['generated_script_success'];
      const made = await api.request('POST', '/v2/endpoint', {
        key,
        body: { url: TEST_RECEIVER_URLS.succeed, events },
      });
      assert.equal(made.code, 0, made.msg);
      const path = `/v2/endpoint/${made.data.endpoint_id}`;
      const changed = await api.request('PUT', path, { key, body: { url: TEST_RECEIVER_URLS.fail } });
      assert.equal(changed.data.url, TEST_RECEIVER_URLS.fail);
      const wrong = await api.request('PUT', path, {
        key,
        body: { url: 'https://test-receiver.posthorn.invalid/other' },
      });
      assert.equal(wrong.code, 40000);
      assert.match(wrong.msg, /url must be one of/);
    });
  });
});
