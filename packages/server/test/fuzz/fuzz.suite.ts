/** The whole API against requests that nobody wrote by hand, on whichever engine. */
import assert from 'node:assert/strict';
import { describe, it, type TestContext } from 'node:test';

import { type TestApp } from '../support/app.ts';
import { seeded } from '../support/seeded.ts';
import { Fuzzer } from './fuzzer.ts';

const EVERYTHING = ['generated_video_success', 'generated_script_success'];

/** `POSTHORN_TEST_FUZZ_REQUESTS` and `POSTHORN_TEST_FUZZ_SEED`; the normal run sends the same few, quickly. */
const requests = Number(process.env.POSTHORN_TEST_FUZZ_REQUESTS ?? 700);
const seed = Number(process.env.POSTHORN_TEST_FUZZ_SEED ?? 20_261_124);

interface Account {
  username: string;
  key: string;
  keyId: string;
  ids: Record<string, string>;
}

/** An account with a record of every kind, each of which carries the word where there is room for one. */
async function furnished(api: TestApp, username: string, word: string): Promise<Account> {
  await api.request('POST', '/v2/account', {
    key: api.operatorKey,
    body: { username, metadata: { word } },
  });
  const { key, keyId } = await api.createKey(username, ['account']);
  const endpoint = await api.request('POST', '/v2/endpoint', {
    key,
    body: {
      url: `https://example.com/${word}`,
      events: EVERYTHING,
      description: word,
      metadata: { word },
      headers: { 'x-word': word },
    },
  });
  const path = `/v2/endpoint/${endpoint.data.endpoint_id}`;
  const test = await api.request('POST', `${path}/test`, { key, body: { event: EVERYTHING[0] } });
  const replay = await api.request('POST', `${path}/replay`, { key, body: { status: 'all', since: 0 } });
  const spare = await api.request('POST', '/v2/api_key', { key, body: { name: word } });
  await api.request('POST', '/v2/publish', {
    key: api.operatorKey,
    body: {
      username,
      event: 'generated_script_success',
      event_id: `event-of-${username}`,
      data: {
        task_id: word,
        status: 'completed',
        scripts: [{ script_style: word, script_paragraphs: [word] }],
      },
    },
  });
  return {
    username,
    key,
    keyId,
    ids: {
      endpoint_id: endpoint.data.endpoint_id,
      delivery_id: test.data.delivery_id,
      event_id: test.data.event_id,
      replay_id: replay.data.replay_id,
      key_id: spare.data.key_id,
    },
  };
}

/** Everything that the API shows of an account. */
async function stateOf(api: TestApp, { username, ids }: Account): Promise<unknown[]> {
  const asked = [
    '/v2/endpoints',
    '/v2/deliveries?limit=200',
    '/v2/event_log?limit=200',
    `/v2/account/${username}`,
    `/v2/account/${username}/api_keys`,
    `/v2/delivery/${ids.delivery_id}`,
  ];
  const answers = await Promise.all(
    asked.map((path) => api.request('GET', path, { key: api.operatorKey, account: username })),
  );
  return answers.map((answer, i) => {
    assert.equal(answer.code, 0, `${asked[i]}: ${answer.text}`);
    return answer.data as unknown;
  });
}

function noDefect(api: TestApp): void {
  const defects = api.logs.filter(({ level }) => Number(level) >= 50);
  assert.deepEqual(defects, [], 'no line of level error');
}

function summary({ tally }: Fuzzer): string {
  const statuses = [...tally.statuses].sort(([a], [b]) => a - b);
  return `${tally.requests} requests: ${statuses.map(([status, count]) => `${count} × ${status}`).join(', ')}`;
}

/** @param open an app over an empty store of the engine */
export function fuzzSuite(engine: string, open: (t: TestContext) => Promise<TestApp>): void {
  describe(`every route of the OpenAPI document, fuzzed (${engine}, seed ${seed})`, () => {
    it('a customer gets no 5xx, no broken envelope, nothing of another account, and changes nothing there', async (t) => {
      const api = await open(t);
      const victim = await furnished(api, 'victim', 'canary-of-the-victim');
      const alice = await furnished(api, 'alice', 'of-alice');
      const before = await stateOf(api, victim);
      const secrets = JSON.stringify(before).match(/whsec_[\w+/=]+/g) ?? [];
      assert.ok(secrets.length > 0, 'the victim has a secret to keep');

      const fuzzer = await Fuzzer.of(api, seeded(seed));
      for (const [name, id] of Object.entries(alice.ids)) fuzzer.learn(name, id);
      fuzzer.learn('event_id', 'event-of-victim', 'event-of-alice');
      fuzzer.learn('username', 'victim', 'alice');
      fuzzer.learn('name', ...EVERYTHING);
      await fuzzer.drive(requests, {
        keys: [alice.key, alice.key, alice.key, alice.key, alice.key, alice.key, null],
        keyIds: [alice.keyId],
        accountShare: 0.1,
        accounts: ['victim', 'alice', '', '../victim', 'victim,alice'],
        foreignIds: victim.ids,
        forbidden: ['canary-of-the-victim', victim.key, alice.key, api.operatorKey, ...secrets],
      });

      assert.deepEqual(await stateOf(api, victim), before, "the victim's records");
      noDefect(api);
      const { operations } = fuzzer.tally;
      assert.equal(operations.size, fuzzer.operations.length, 'every operation was driven');
      const fruitless = ['whoami', 'listEndpoints', 'addEndpoint', 'getDelivery', 'getStats'].filter(
        (id) => (operations.get(id)?.succeeded ?? 0) === 0,
      );
      assert.deepEqual(fruitless, [], 'requests that fit succeed');
      t.diagnostic(summary(fuzzer));
    });

    it('an operator and a publisher get no 5xx, no broken envelope and no key', async (t) => {
      const api = await open(t);
      const bob = await furnished(api, 'bob', 'of-bob');
      const publisher = await api.createKey(null, ['publish']);
      const operator = await api.createKey(null, ['operator']);
      const fuzzer = await Fuzzer.of(api, seeded(seed + 1));
      for (const [name, id] of Object.entries(bob.ids)) fuzzer.learn(name, id);
      fuzzer.learn('username', 'bob', 'carol', 'dave');
      fuzzer.learn('name', 'order.paid', 'order.sent', ...EVERYTHING);
      const rounds = Math.ceil(requests / 100);
      for (let round = 0; round < rounds; round += 1) {
        // What was deleted or suspended is brought back, or the rest would speak of nothing.
        await api.store.purge(0, 10_000);
        for (const username of ['bob', 'carol', 'dave']) {
          const body = { username };
          await api.request('POST', '/v2/account', { key: api.operatorKey, body });
          const path = `/v2/account/${username}`;
          await api.request('PATCH', path, { key: api.operatorKey, body: { status: 'active' } });
        }
        await fuzzer.drive(100, {
          keys: [api.operatorKey, api.operatorKey, operator.key, publisher.key],
          keyIds: [bob.keyId, publisher.keyId, operator.keyId],
          accountShare: 0.9,
          accounts: ['bob', 'carol', 'carol', 'dave'],
          foreignIds: {},
          forbidden: [bob.key, publisher.key, operator.key, api.operatorKey],
        });
      }
      noDefect(api);
      assert.equal(fuzzer.tally.operations.size, fuzzer.operations.length, 'every operation was driven');
      t.diagnostic(summary(fuzzer));
    });
  });
}
