/** The whole API against requests that nobody wrote by hand, on whichever engine. */
import assert from 'node:assert/strict';
import { describe, it, type TestContext } from 'node:test';

import { checkEnvelope, type TestApp } from '../support/app.ts';
import { seeded } from '../support/seeded.ts';
import { bodyBytes, HOSTILE_TEXTS, hostileValue, mutated, pick } from './values.ts';
import { Fuzzer } from './fuzzer.ts';

const EVERYTHING = ['generated_video_success', 'generated_script_success'];

/** `POSTHORN_TEST_FUZZ_REQUESTS` and `POSTHORN_TEST_FUZZ_SEED`; the normal run sends the same few, quickly. */
const requests = Number(process.env.POSTHORN_TEST_FUZZ_REQUESTS ?? 700);
const seed = Number(process.env.POSTHORN_TEST_FUZZ_SEED ?? 20_261_124);

const SESSION = '/dashboard/session';
const CSRF = { 'x-posthorn-csrf': '1' };

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

    it('a customer who is signed in to the page gets no more than with a key', async (t) => {
      const api = await open(t);
      const victim = await furnished(api, 'victim', 'canary-of-the-victim');
      const alice = await furnished(api, 'alice', 'of-alice');
      const before = await stateOf(api, victim);
      const body = { api_key: alice.key };
      const signIn = await api.request('POST', SESSION, { body, headers: CSRF });
      const cookie = String(signIn.headers['set-cookie']).split(';', 1)[0] as string;
      assert.match(cookie, /=.{20}/, signIn.text);

      const fuzzer = await Fuzzer.of(api, seeded(seed + 2));
      for (const [name, id] of Object.entries(alice.ids)) fuzzer.learn(name, id);
      await fuzzer.drive(Math.ceil(requests / 2), {
        keys: [null],
        headers: { ...CSRF, cookie },
        keyIds: [alice.keyId],
        accountShare: 0.1,
        accounts: ['victim', '../victim'],
        foreignIds: victim.ids,
        forbidden: [
          'canary-of-the-victim',
          victim.key,
          alice.key,
          api.operatorKey,
          cookie.split('=')[1] as string,
        ],
      });
      assert.deepEqual(await stateOf(api, victim), before, "the victim's records");
      noDefect(api);
      assert.ok((fuzzer.tally.operations.get('whoami')?.succeeded ?? 0) > 0, 'the session holds');
      t.diagnostic(summary(fuzzer));
    });

    it('whatever is sent to the sign-in of the page, nobody is signed in but by a key', async (t) => {
      const api = await open(t);
      const alice = await furnished(api, 'alice', 'canary-of-alice');
      const random = seeded(seed + 3);
      for (let n = 0; n < Math.ceil(requests / 4); n += 1) {
        const value = mutated(random, pick(random, [{ api_key: alice.key }, { portal_token: 'ph_x' }, {}]));
        const name = pick(random, ['posthorn_session', '__Host-posthorn_session', 'x']);
        const answer = await api.app.inject({
          method: pick(random, ['POST', 'POST', 'GET', 'DELETE', 'PUT'] as const),
          url: `${SESSION}${random() < 0.1 ? '?api_key=1' : ''}`,
          remoteAddress: `127.0.${n >> 8}.${n & 255}`,
          headers: {
            'content-type': 'application/json',
            ...(random() < 0.8 ? CSRF : {}),
            ...(random() < 0.5
              ? { cookie: `${name}=${encodeURIComponent(pick(random, HOSTILE_TEXTS).toWellFormed())}` }
              : {}),
          },
          payload: bodyBytes(random, random() < 0.1 ? hostileValue(random) : value),
        });
        const said = `${answer.statusCode} ${answer.body} to ${JSON.stringify(value)}`;
        assert.ok(answer.statusCode < 500, said);
        const { code } = checkEnvelope(answer.body, answer.headers as Record<string, string>);
        assert.ok(!answer.body.includes('canary-of-alice') && !answer.body.includes(alice.key), said);
        const isKnown = (value as { api_key?: unknown } | null)?.api_key === alice.key;
        const signsIn = /session=(?!;)[^;]+/.test(String(answer.headers['set-cookie'] ?? ''));
        assert.ok(!signsIn || (code === 0 && isKnown), said);
      }
      noDefect(api);
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
