/**
 * The library against a real Posthorn on SQLite, in the process of the test: all 22 events arrive, tampering is refused,
 * and neither a storm of duplicates nor a restart in its middle runs a handler twice or loses an event.
 */
import assert from 'node:assert/strict';
import { type ChildProcess, fork } from 'node:child_process';
import { once } from 'node:events';
import { join } from 'node:path';
import { after, before, describe, it } from 'node:test';
import { fileURLToPath } from 'node:url';
import Database from 'better-sqlite3';
import { BUILT_IN_TYPES } from '../../server/src/catalogue/built-in.ts';
import { createReceiver, memoryIdempotency, type Receiver, type WebhookEvent } from '../src/index.ts';
import { APPS, type StartApp } from './support/apps.ts';
import {
  COPIES,
  countBy,
  EACH_ONCE,
  NAMES,
  type RealPosthorn,
  RESTART_AT,
  startPosthorn,
} from './support/real-posthorn.ts';
import { assertRefused } from './support/tampering.ts';

/** Each test has an account of its own and mostly waits, so that they run beside each other. */
const TOGETHER = { timeout: 300_000, concurrency: 2 };
/** The others are shown by `examples.test.ts`, in processes of their own; Workers, too, where their runtime is installed. */
const WITHOUT_EXAMPLE = ['nest on fastify', 'workers'] as const;

let posthorn: RealPosthorn;

before(async () => {
  posthorn = await startPosthorn(Array<string>(50).fill('100ms'));
});
after(() => posthorn.stop());

function allTypes(handler: (event: WebhookEvent) => unknown): Record<string, typeof handler> {
  return Object.fromEntries(NAMES.map((name) => [name, handler]));
}

/** The ids of the events that a receiver's table knows as done. */
function completedIn(path: string): unknown[] {
  const database = new Database(path);
  const ids = database.prepare('SELECT event_id FROM posthorn_handled WHERE token IS NULL').pluck().all();
  database.close();
  return ids;
}

describe('with a real Posthorn', TOGETHER, () => {
  for (const name of WITHOUT_EXAMPLE) {
    const start = APPS[name] as StartApp;
    it(`${name} handles all 22 events once in a storm of duplicates, and refuses tampering`, async () => {
      const { secret, storm, publishAll } = await posthorn.subscribe(`storm-${name.replaceAll(/\W/g, '_')}`);
      const handled: WebhookEvent[] = [];
      const receiver = createReceiver({
        secrets: secret,
        on: allTypes((event) => void handled.push(event)),
        onError: () => {},
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

        await assertRefused(storm, secret);
        assert.equal(handled.length, NAMES.length);
      } finally {
        await app.close();
      }
    });

    it(`${name} loses and repeats nothing when it is restarted in the middle of the storm`, async () => {
      const { secret, storm, publishAll } = await posthorn.subscribe(
        `restart-${name.replaceAll(/\W/g, '_')}`,
      );
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
      }
    });
  }

  it('a receiver that is killed in the middle repeats at most what it was handling', async () => {
    const { username, secret, storm, publishAll } = await posthorn.subscribe('killed');
    const database = join(posthorn.folder.path, 'handled.db');
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
    }
  });
});
