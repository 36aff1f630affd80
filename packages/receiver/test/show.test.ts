/**
 * The library against a real Posthorn on SQLite: in each framework all 22 events arrive, tampering is refused, and
 * neither a storm of duplicates nor a restart in its middle runs a handler twice or loses an event.
 */
import assert from 'node:assert/strict';
import { type ChildProcess, fork } from 'node:child_process';
import { once } from 'node:events';
import { join } from 'node:path';
import { after, before, describe, it } from 'node:test';
import { fileURLToPath } from 'node:url';
import Database from 'better-sqlite3';
import { createPosthorn, type Posthorn } from '../../server/src/index.ts';
import { BUILT_IN_TYPES } from '../../server/src/catalogue/built-in.ts';
import { Client } from '../../server/test/support/client.ts';
import { type TempDir, tempDir } from '../../server/test/support/tempdir.ts';
import { createReceiver, memoryIdempotency, type Receiver, sign, type WebhookEvent } from '../src/index.ts';
import { APPS, listen, type RunningApp } from './support/apps.ts';
import { OTHER_SECRET } from './support/samples.ts';
import { type Captured, post, startStorm, type Storm } from './support/storm.ts';

const COPIES = 5;
const RESTART_AT = 8;
const NAMES = BUILT_IN_TYPES.map(({ name }) => name);
/** Each test has an account of its own and mostly waits, so that they run beside each other. */
const TOGETHER = { timeout: 60_000, concurrency: 6 };

let folder: TempDir;
let posthorn: Posthorn;
let api: RunningApp;
let operator: Client;

before(async () => {
  folder = await tempDir();
  posthorn = await createPosthorn({
    database: `sqlite:${folder.path}/posthorn.db`,
    endpointPolicy: 'development',
    retrySchedule: Array<string>(50).fill('100ms'),
    rateLimitPost: 'off',
  });
  await posthorn.start();
  api = await listen(posthorn.handler);
  operator = new Client(new URL(api.url).origin, posthorn.firstStart.operatorKey ?? '');
});

after(async () => {
  await api.close();
  await posthorn.stop();
  await folder.remove();
});

interface Subscriber {
  username: string;
  secret: string;
  storm: Storm;
  /** Publishes the example of each type; resolves when Posthorn has delivered all of them. */
  publishAll(): Promise<void>;
}

/** An account of its own with one endpoint for all types, in front of which a storm stands. */
async function subscribe(username: string): Promise<Subscriber> {
  const storm = await startStorm(COPIES);
  await operator.data('POST', '/v2/account', { body: { username } });
  const { secret } = await operator.data<{ secret: string }>('POST', '/v2/endpoint', {
    account: username,
    body: { url: storm.url, events: NAMES },
  });
  return {
    username,
    secret,
    storm,
    async publishAll() {
      const done = new Set<string>();
      const delivered = new Promise<void>((resolve) => {
        const off = posthorn.on('delivered', (report) => {
          if (report.username === username) done.add(report.event);
          if (done.size < NAMES.length) return;
          off();
          resolve();
        });
      });
      const events = BUILT_IN_TYPES.map(({ name, example }) => ({
        username,
        event: name,
        data: example as object,
        eventId: `${username}-${name}`,
      }));
      for (const result of await posthorn.publish(events)) assert.ok(!('error' in result));
      await delivered;
    },
  };
}

function allTypes(handler: (event: WebhookEvent) => unknown): Record<string, typeof handler> {
  return Object.fromEntries(NAMES.map((name) => [name, handler]));
}

function countBy(names: readonly string[]): Record<string, number> {
  const counts: Record<string, number> = {};
  for (const name of names) counts[name] = (counts[name] ?? 0) + 1;
  return counts;
}

/** The ids of the events that a receiver's table knows as done. */
function completedIn(path: string): unknown[] {
  const database = new Database(path);
  const ids = database.prepare('SELECT event_id FROM posthorn_handled WHERE token IS NULL').pluck().all();
  database.close();
  return ids;
}

const EACH_ONCE = Object.fromEntries(NAMES.map((name) => [name, 1]));

function without(headers: Captured['headers'], leaves: (name: string) => boolean): Captured['headers'] {
  return Object.fromEntries(Object.entries(headers).filter(([name]) => !leaves(name)));
}

/** Ways to tamper with a delivery, or to make one up. */
const TAMPERING: Record<string, (good: Captured, other: Captured) => Promise<Captured> | Captured> = {
  'a changed byte of the body': ({ headers, body }) => ({
    headers,
    body: Buffer.from(body.toString().replace('"completed"', '"completes"').replace('"failed"', '"failee"')),
  }),
  'white space behind the body': ({ headers, body }) => ({
    headers,
    body: Buffer.from(`${body.toString()}\n`),
  }),
  'a field more': ({ headers, body }) => ({
    headers,
    body: Buffer.from(body.toString().replace('{', '{"admin":true,')),
  }),
  'another id': ({ headers, body }) => ({ headers: { ...headers, 'webhook-id': 'evt_other' }, body }),
  'a fresh timestamp on an old signature': ({ headers, body }) => ({
    headers: { ...headers, 'webhook-timestamp': `${Number(headers['webhook-timestamp']) + 1}` },
    body,
  }),
  // By the clock of the receiver.
  'a replay after the tolerance': (good) => good,
  'the secret of somebody else': async ({ headers, body }) => ({
    headers: { ...headers, ...(await sign(body, { secrets: OTHER_SECRET })) },
    body,
  }),
  'the signature of another delivery': ({ headers, body }, other) => ({
    headers: { ...headers, 'webhook-signature': other.headers['webhook-signature'] as string },
    body,
  }),
  'no signature': ({ headers, body }) => ({
    headers: without(headers, (name) => name === 'webhook-signature'),
    body,
  }),
  'the headers of Standard Webhooks left out, for the weaker scheme': ({ headers, body }) => ({
    headers: without(headers, (name) => name.startsWith('webhook-')),
    body,
  }),
  'a signature cut short': ({ headers, body }) => ({
    headers: { ...headers, 'webhook-signature': (headers['webhook-signature'] as string).slice(0, -4) },
    body,
  }),
  'x-webhook-event of another type': ({ headers, body }) => ({
    headers: { ...headers, 'x-webhook-event': 'order.paid' },
    body,
  }),
};

describe('with a real Posthorn', TOGETHER, () => {
  for (const [name, start] of Object.entries(APPS)) {
    it(`${name} handles all 22 events once in a storm of duplicates, and refuses tampering`, async () => {
      const { secret, storm, publishAll } = await subscribe(`storm-${name.replaceAll(/\W/g, '_')}`);
      const handled: WebhookEvent[] = [];
      let lateSeconds = 0;
      const receiver = createReceiver({
        secrets: secret,
        on: allTypes((event) => void handled.push(event)),
        onError: () => {},
        now: () => Date.now() + lateSeconds * 1000,
      });
      const app = await start(receiver);
      storm.target = app.url;
      try {
        await publishAll();
        assert.deepEqual(countBy(handled.map(({ event }) => event)), EACH_ONCE);
        for (const { name: type, example } of BUILT_IN_TYPES) {
          assert.deepEqual(handled.find(({ event }) => event === type)?.data, example);
        }
        assert.equal(storm.captured.length, NAMES.length);
        assert.deepEqual(countBy(storm.statuses.map(String)), { 200: NAMES.length * COPIES });

        const [good, other] = storm.captured as [Captured, Captured];
        for (const [how, tamper] of Object.entries(TAMPERING)) {
          lateSeconds = how.startsWith('a replay') ? 301 : 0;
          const status = await post(app.url, await tamper(good, other));
          assert.ok(status === 400 || status === 401, `${how}: ${status}`);
        }
        lateSeconds = 0;
        assert.equal(await post(app.url, good), 200, 'what is not tampered with passes');
        assert.equal(handled.length, NAMES.length);
      } finally {
        await app.close();
        await storm.close();
      }
    });

    it(`${name} loses and repeats nothing when it is restarted in the middle of the storm`, async () => {
      const { secret, storm, publishAll } = await subscribe(`restart-${name.replaceAll(/\W/g, '_')}`);
      const idempotency = memoryIdempotency();
      const handled: string[] = [];
      let restart = (): void => {};
      const middle = new Promise<void>((resolve) => (restart = resolve));
      let begun = 0;
      const create = (): Receiver =>
        createReceiver({
          secrets: secret,
          idempotency,
          on: allTypes(async ({ event }) => {
            if (++begun === RESTART_AT) restart();
            await new Promise(setImmediate);
            handled.push(event);
          }),
          onError: () => {},
        });

      const first = create();
      let app = await start(first);
      storm.target = app.url;
      const delivered = publishAll();
      await middle;
      await app.close();
      assert.equal(await first.close(), true);
      // On another port, since anybody may have taken the old one meanwhile.
      app = await start(create());
      storm.target = app.url;
      try {
        await delivered;
        assert.deepEqual(countBy(handled), EACH_ONCE);
      } finally {
        await app.close();
        await storm.close();
      }
    });
  }

  it('a receiver that is killed in the middle repeats at most what it was handling', async () => {
    const { username, secret, storm, publishAll } = await subscribe('killed');
    const database = join(folder.path, 'handled.db');
    const begun: string[] = [];
    const handled: string[] = [];
    let kill = (): void => {};
    const middle = new Promise<void>((resolve) => (kill = resolve));
    const start = async (hangAt: number): Promise<ChildProcess> => {
      const program = fileURLToPath(new URL('support/killed-receiver.ts', import.meta.url));
      const child = fork(program, [database, String(hangAt)], {
        env: { ...process.env, WEBHOOK_SECRET: secret },
      });
      child.on('message', ({ step, event }: { step: string; event: string }) => {
        if (step === 'begun') begun.push(event);
        if (step === 'handled') handled.push(event);
        if (begun.length === RESTART_AT) kill();
      });
      const listening = once(child, 'message');
      const ended = once(child, 'exit').then(() => assert.fail('the receiver ended before it listened'));
      ended.catch(() => {});
      const [{ port }] = (await Promise.race([listening, ended])) as [{ port: number }];
      storm.target = `http://127.0.0.1:${port}/hooks`;
      return child;
    };

    const first = await start(RESTART_AT);
    const delivered = publishAll();
    await middle;
    first.kill('SIGKILL');
    await once(first, 'exit');
    const done = completedIn(database);
    const begunBefore = begun.length;
    const second = await start(Number.POSITIVE_INFINITY);
    try {
      await delivered;
      assert.deepEqual(new Set(handled), new Set(NAMES));
      const again = begun.slice(begunBefore);
      assert.ok(done.length > 0 && done.length < begunBefore, `${done.length} of ${begunBefore} were done`);
      assert.deepEqual(
        again.filter((event) => done.includes(`${username}-${event}`)),
        [],
      );
    } finally {
      const ended = once(second, 'exit');
      second.kill('SIGTERM');
      assert.deepEqual(await ended, [null, 'SIGTERM'], 'it ends by the signal, after it has closed');
      await storm.close();
    }
  });
});
