/**
 * Each program in `examples/receive`, with a real Posthorn and in its real framework or runtime: all 22 events arrive, and
 * neither a storm of duplicates nor a restart in its middle runs a handler twice; what was tampered with is refused.
 */
import assert from 'node:assert/strict';
import { mkdirSync } from 'node:fs';
import { join } from 'node:path';
import { after, before, describe, it } from 'node:test';
import { skipsWithout } from '../../server/test/support/tools.ts';
import { EXAMPLE_RUNS, type Example, NEXT, type RunningExample, startExample } from './support/examples.ts';
import {
  countBy,
  EACH_ONCE,
  NAMES,
  type RealPosthorn,
  RESTART_AT,
  startPosthorn,
  type Subscriber,
} from './support/real-posthorn.ts';
import { assertRefused } from './support/tampering.ts';

const TOGETHER = { timeout: 400_000, concurrency: 2 };
/** Two minutes in all, for frameworks that start slowly on a loaded machine. */
const RETRY_SCHEDULE = [...Array<string>(10).fill('200ms'), ...Array<string>(40).fill('3s')];

let posthorn: RealPosthorn;

before(async () => {
  posthorn = await startPosthorn(RETRY_SCHEDULE);
});
after(() => posthorn.stop());

async function subscribe(name: string): Promise<Subscriber & { folder: string }> {
  const username = name.replaceAll(/\W/g, '_');
  const folder = join(posthorn.folder.path, username);
  mkdirSync(folder);
  return { ...(await posthorn.subscribe(username)), folder };
}

/** Publishes to all, restarts the receiver in the middle, and answers what its handlers have printed in both lives. */
async function throughRestart(
  example: Example,
  folder: string,
  subscribers: readonly (Subscriber & { path?: string })[],
): Promise<{ app: RunningExample; handled: string[] }> {
  const secrets = subscribers.map(({ secret }) => secret).join(',');
  const start = async (): Promise<RunningExample> => {
    const app = await startExample(example, folder, secrets);
    for (const { path, storm } of subscribers) {
      storm.target = path === undefined ? app.url : new URL(path, app.url).href;
      // Compiles the route where that is done at its first request.
      assert.notEqual((await fetch(storm.target)).status, 500);
    }
    return app;
  };
  const first = await start();
  const delivered = Promise.all(subscribers.map(({ publishAll }) => publishAll()));
  await first.untilHandled(RESTART_AT);
  await first.stop();
  const app = await start();
  await delivered;
  return { app, handled: [...first.handled, ...app.handled] };
}

describe('examples/receive', TOGETHER, () => {
  for (const [name, example] of Object.entries(EXAMPLE_RUNS)) {
    it(`${name} handles all 22 events once through a storm and a restart, and refuses tampering`, async (t) => {
      if (skipsWithout(t, example.missing)) return;
      const { folder, ...subscriber } = await subscribe(name);
      const { app, handled } = await throughRestart(example, folder, [subscriber]);
      try {
        assert.deepEqual(countBy(handled), EACH_ONCE);
        const before = app.handled.length;
        await assertRefused(subscriber.storm, subscriber.secret);
        assert.equal(app.handled.length, before, 'nothing of that was handled');
      } finally {
        await app.stop();
      }
    });
  }

  it('next, both routers, handle all 22 events once through a storm and a restart, and refuse tampering', async () => {
    const { folder, ...forApp } = await subscribe('next app router');
    const { folder: _, ...forPages } = await subscribe('next pages router');
    const { app, handled } = await throughRestart(NEXT, folder, [
      { ...forApp, path: '/hooks' },
      { ...forPages, path: '/api/hooks' },
    ]);
    try {
      assert.deepEqual(countBy(handled), Object.fromEntries(NAMES.map((name) => [name, 2])));
      const before = app.handled.length;
      for (const { storm, secret } of [forApp, forPages]) await assertRefused(storm, secret);
      assert.equal(app.handled.length, before, 'nothing of that was handled');
    } finally {
      await app.stop();
    }
  });
});
