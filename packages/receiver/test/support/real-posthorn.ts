/** A Posthorn on SQLite whose events go through a storm of duplicates to a receiver. */
import assert from 'node:assert/strict';
import { createPosthorn } from '../../../server/src/index.ts';
import { BUILT_IN_TYPES } from '../../../server/src/catalogue/built-in.ts';
import { Client } from '../../../server/test/support/client.ts';
import { type TempDir, tempDir } from '../../../server/test/support/tempdir.ts';
import { listen } from './apps.ts';
import { startStorm, type Storm } from './storm.ts';

export const NAMES: readonly string[] = BUILT_IN_TYPES.map(({ name }) => name);
export const EACH_ONCE = Object.fromEntries(NAMES.map((name) => [name, 1]));
/** How often each delivery comes at the same time. */
export const COPIES = 5;
/** At the which event a receiver is restarted. */
export const RESTART_AT = 8;

export interface Subscriber {
  username: string;
  secret: string;
  storm: Storm;
  /** Publishes the example of each type; resolves when Posthorn has delivered all of them. */
  publishAll(): Promise<void>;
}

export interface RealPosthorn {
  folder: TempDir;
  /** An account of its own with one endpoint for all types, in front of which a storm stands. */
  subscribe(username: string): Promise<Subscriber>;
  stop(): Promise<void>;
}

/** @param retrySchedule - short waits, in all longer than a receiver takes to restart */
export async function startPosthorn(retrySchedule: readonly string[]): Promise<RealPosthorn> {
  const folder = await tempDir();
  const posthorn = await createPosthorn({
    database: `sqlite:${folder.path}/posthorn.db`,
    endpointPolicy: 'development',
    retrySchedule: [...retrySchedule],
    rateLimitPost: 'off',
    // A slow machine is no reason for a retry.
    timeout: '30s',
    // A receiver that restarts is away for dozens of attempts: probes would wait for ten seconds then.
    probeAfter: 1_000_000,
  });
  await posthorn.start();
  const api = await listen(posthorn.handler);
  const operator = new Client(new URL(api.url).origin, posthorn.firstStart.operatorKey ?? '');
  const storms: Storm[] = [];
  return {
    folder,
    async subscribe(username) {
      const storm = await startStorm(COPIES);
      storms.push(storm);
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
    },
    async stop() {
      for (const storm of storms) await storm.close();
      await api.close();
      await posthorn.stop();
      await folder.remove();
    },
  };
}

export function countBy(names: readonly string[]): Record<string, number> {
  const counts: Record<string, number> = {};
  for (const name of names) counts[name] = (counts[name] ?? 0) + 1;
  return counts;
}
