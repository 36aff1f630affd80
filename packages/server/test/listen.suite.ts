/** What live listening promises, on whatever engine the services run. */
import assert from 'node:assert/strict';
import { after, before, it } from 'node:test';
import { bodySignature, createSecret, standardSignature } from '../src/delivery/sign.ts';
import { Client } from './support/client.ts';
import { EventStream, type ReceivedWebhook } from './support/event-stream.ts';

const VIDEO = 'generated_video_success';
const FAILED = 'generated_video_failed';
/** A stream that never says what it should fails its test instead of holding up all others. */
const TIME_LIMIT = { timeout: 60_000 };

export interface ListenBench {
  /** Of a service whose operator key is `operatorKey`. */
  url: string;
  operatorKey: string;
  /** Of another service on the same data, where events are published; default: the same one. */
  publishUrl?: string;
  /** Ends the service that is listened to. */
  stop(): Promise<void>;
  /** Ends and removes everything. */
  remove(): Promise<void>;
}

export interface Account {
  username: string;
  key: string;
  keyId: string;
}

let made = 0;

export async function createAccount(operator: Client): Promise<Account> {
  const username = `listener-${(made += 1)}`;
  await operator.data('POST', '/v2/account', { body: { username } });
  const created = await operator.data<{ api_key: string; key_id: string }>(
    'POST',
    `/v2/account/${username}/api_key`,
    { body: { name: 'test' } },
  );
  return { username, key: created.api_key, keyId: created.key_id };
}

/** Publishes events with these ids, in this order. */
export async function publish(operator: Client, username: string, ids: readonly string[], event = VIDEO) {
  const { example } = await operator.data<{ example: object }>('GET', `/v2/event_type/${event}`);
  const events = ids.map((id) => ({ username, event, event_id: id, data: example }));
  await operator.data('POST', '/v2/publish', { body: { events } });
}

const range = (from: number, to: number) => Array.from({ length: to - from + 1 }, (_, i) => `e${from + i}`);

/** All tests share the services, but for the one that ends them. */
export function listenSuite(start: () => Promise<ListenBench>): void {
  let bench: ListenBench;
  before(async () => {
    bench = await start();
  }, TIME_LIMIT);
  after(() => bench?.remove());
  const test = (name: string, run: (bench: ListenBench, operator: Client) => Promise<void>): void => {
    void it(name, TIME_LIMIT, () => run(bench, new Client(bench.publishUrl ?? bench.url, bench.operatorKey)));
  };

  test('gives events as receivers get them, signed with the secret of the session, without any endpoint', async ({
    url,
  }, operator) => {
    const { username, key } = await createAccount(operator);
    await publish(operator, username, ['before']);
    const stream = await EventStream.open(url, { key });
    assert.equal(stream.response.status, 200);
    assert.equal(stream.response.headers.get('content-type'), 'text/event-stream; charset=utf-8');
    assert.equal(stream.response.headers.get('cache-control'), 'no-store');
    const { secret } = await stream.take<{ secret: string }>('session');
    await publish(operator, username, ['after']);
    const webhook = await stream.take<ReceivedWebhook>('webhook');
    assert.equal(webhook.event_id, 'after');
    assert.equal(webhook.event, VIDEO);
    const body = Buffer.from(webhook.body);
    const { headers } = webhook;
    assert.equal(JSON.stringify(JSON.parse(webhook.body)), webhook.body);
    assert.equal(headers['x-webhook-event'], VIDEO);
    assert.equal(headers['webhook-id'], 'after');
    assert.equal(headers['x-webhook-signature'], bodySignature(secret, body));
    const timestamp = Number(headers['webhook-timestamp']);
    assert.ok(Math.abs(timestamp - Date.now() / 1000) < 60);
    assert.equal(headers['webhook-signature'], standardSignature(secret, 'after', timestamp, body));
    assert.match(headers['user-agent'] ?? '', /^Posthorn-Webhook\//);
    stream.close();
  });

  test('signs with a secret that was brought, and does not repeat it', async ({ url }, operator) => {
    const { username, key } = await createAccount(operator);
    const secret = createSecret();
    const stream = await EventStream.open(url, { key, headers: { 'x-listen-secret': secret } });
    assert.deepEqual(await stream.take('session'), {});
    await publish(operator, username, ['e1']);
    const { headers, body } = await stream.take<ReceivedWebhook>('webhook');
    assert.equal(headers['x-webhook-signature'], bodySignature(secret, Buffer.from(body)));
    stream.close();
  });

  test('gives an account its own events only, of the types that it asks for, and an operator those of the account he names', async ({
    url,
    operatorKey,
  }, operator) => {
    const alice = await createAccount(operator);
    const bob = await createAccount(operator);
    const own = await EventStream.open(url, { key: alice.key, path: `/open/v2/listen?events=${FAILED}` });
    const named = await EventStream.open(url, { key: operatorKey, account: alice.username });
    await own.take('session');
    await named.take('session');
    await publish(operator, bob.username, ['of-bob'], FAILED);
    await publish(operator, alice.username, ['success']);
    await publish(operator, alice.username, ['failure'], FAILED);
    assert.deepEqual(await own.ids(1), ['failure']);
    assert.deepEqual(await named.ids(2), ['success', 'failure']);
    own.close();
    named.close();
  });

  test('goes on after a break where it ended, in order', async ({ url }, operator) => {
    const { username, key } = await createAccount(operator);
    const first = await EventStream.open(url, { key });
    await first.take('session');
    const beforeAny = first.lastId as string;
    await publish(operator, username, range(1, 3));
    assert.deepEqual(await first.ids(2), ['e1', 'e2']);
    const afterTwo = first.lastId as string;
    first.close();
    await publish(operator, username, range(4, 6));
    for (const [id, missing] of [
      [beforeAny, range(1, 6)],
      [afterTwo, range(3, 6)],
    ] as const) {
      const again = await EventStream.open(url, { key, headers: { 'last-event-id': id } });
      await again.take('session');
      const got: string[] = [];
      // Nodes that share a database repeat the last minute.
      while (got.at(-1) !== 'e6') got.push(...(await again.ids(1)));
      assert.deepEqual(got.slice(-missing.length), missing);
      again.close();
    }
  });

  test('says that something was missed when more came than is kept for it', async ({ url }, operator) => {
    const { username, key } = await createAccount(operator);
    const first = await EventStream.open(url, { key });
    await first.take('session');
    const lastId = first.lastId as string;
    first.close();
    await publish(operator, username, range(1, 600));
    await publish(operator, username, range(601, 1100));
    const again = await EventStream.open(url, { key, headers: { 'last-event-id': lastId } });
    await again.take('session');
    assert.match((await again.take('missed')).msg ?? '', /more than 1000 events behind/);
    assert.deepEqual(await again.ids(1000), range(101, 1100));
    again.close();
  });

  test('refuses what it cannot serve with the envelope', async ({ url }, operator) => {
    const { key } = await createAccount(operator);
    const refused = async (options: Parameters<typeof EventStream.open>[1]) => {
      const { response } = await EventStream.open(url, options);
      const { code, msg, data } = (await response.json()) as { code: number; msg: string; data: null };
      assert.equal(data, null);
      return [response.status, code, msg.split(' ')[0]];
    };
    assert.deepEqual(await refused({ key: 'ph_wrong' }), [401, 10105, 'the']);
    assert.deepEqual((await refused({ key, path: '/v2/listen?events=nope' })).slice(0, 2), [400, 40000]);
    assert.deepEqual((await refused({ key, path: '/v2/listen?events=' })).slice(0, 2), [400, 40000]);
    assert.deepEqual((await refused({ key, path: '/v2/listen?event=x' })).slice(0, 2), [400, 40000]);
    for (const id of ['x', '1', '1.\u00e9', `${'9'.repeat(400)}.e`, '-1.e', "1.e' OR 1=1"]) {
      assert.deepEqual(
        await refused({ key, headers: { 'last-event-id': id } }),
        [400, 40000, 'last-event-id'],
        id,
      );
    }
    const secret = 'whsec_short';
    assert.deepEqual(await refused({ key, headers: { 'x-listen-secret': secret } }), [
      400,
      40000,
      'x-listen-secret',
    ]);
  });

  test('lets ten listen to an account, and another when one has gone', async ({ url }, operator) => {
    const { key } = await createAccount(operator);
    const streams = await Promise.all(Array.from({ length: 10 }, () => EventStream.open(url, { key })));
    const eleventh = await EventStream.open(url, { key });
    assert.equal(eleventh.response.status, 429);
    assert.ok(Number(eleventh.response.headers.get('retry-after')) > 0);
    const other = await createAccount(operator);
    const theirs = await EventStream.open(url, { key: other.key });
    assert.equal(theirs.response.status, 200);
    theirs.close();
    streams.pop()?.close();
    for (;;) {
      const next = await EventStream.open(url, { key });
      next.close();
      if (next.response.status === 200) break;
    }
    for (const stream of streams) stream.close();
  });

  test('ends when its key is revoked', async ({ url }, operator) => {
    const { username, key, keyId } = await createAccount(operator);
    const stream = await EventStream.open(url, { key });
    await stream.take('session');
    await operator.data('DELETE', `/v2/api_key/${keyId}`);
    assert.match((await stream.take('end')).msg ?? '', /API key/);
    assert.equal(await stream.next(), null);
    await publish(operator, username, ['later']);
  });

  test('holds up no publish while somebody reads nothing, and tells him when he missed something', async ({
    url,
  }, operator) => {
    const { username, key } = await createAccount(operator);
    const stream = await EventStream.open(url, { key });
    await stream.take('session');
    // Far more than the buffers of both sides hold, of a stream of which nothing is read.
    const events = Array.from({ length: 25 }, (_, i) => ({
      username,
      event: VIDEO,
      event_id: `big-${i}`,
      data: {
        video_id: 'v7',
        project_id: 'v7',
        status: 'completed',
        duration: 12.5,
        created_at: 1_760_000_000,
        video_url: 'https://cdn.example.com/v7.mp4',
        cover_url: 'https://cdn.example.com/v7.jpg',
        note: 'x'.repeat(190_000),
      },
    }));
    for (let batch = 0; batch < 2; batch += 1) {
      const named = events.map((event) => ({ ...event, event_id: `${event.event_id}-${batch}` }));
      await operator.data('POST', '/v2/publish', { body: { events: named } });
    }
    await publish(operator, username, range(1, 600));
    await publish(operator, username, range(601, 1200));
    let missed = 0;
    const heard = new Set<string>();
    while (!heard.has('e1200')) {
      const message = await stream.next();
      if (message?.event === 'missed') missed += 1;
      else heard.add((JSON.parse(message?.data ?? '{}') as ReceivedWebhook).event_id);
    }
    // How much the operating system takes of what nobody reads is its own affair; a gap without a word is ours.
    assert.equal(
      missed > 0,
      heard.size < 2 * events.length + 1200,
      `${heard.size} heard, told ${missed} times`,
    );
    stream.close();
  });

  it('ends at the end of the server, which it does not delay', TIME_LIMIT, async (t) => {
    const { url, publishUrl = url, operatorKey, stop, remove } = await start();
    t.after(remove);
    const { key } = await createAccount(new Client(publishUrl, operatorKey));
    const stream = await EventStream.open(url, { key });
    const idle = await EventStream.open(url, { key });
    await stream.take('session');
    await idle.take('session');
    const startedAt = performance.now();
    await stop();
    assert.ok(performance.now() - startedAt < 2_000, 'well within the grace for requests');
    for (const ended of [stream, idle]) {
      assert.match((await ended.take('end')).msg ?? '', /stopping/);
      assert.equal(await ended.next(), null);
    }
  });
}
