/** Posthorn's processes, run as users run them. */
import type { ChildProcess } from 'node:child_process';
import { randomBytes } from 'node:crypto';
import { setTimeout as sleep } from 'node:timers/promises';
import { endProcess } from '../site.ts';
import type { Site } from '../system.ts';
import { PosthornApi } from './posthorn-api.ts';
import { builtPosthorn } from './posthorn-build.ts';

/** What differs from Posthorn's defaults. */
export const POSTHORN_SETTINGS: Readonly<Record<string, string>> = {
  POSTHORN_ENDPOINT_POLICY: 'development',
  POSTHORN_RATE_LIMIT_POST: 'off',
};

/** Why, for the report. */
export const POSTHORN_SETTINGS_SHOWN: Readonly<Record<string, string>> = {
  POSTHORN_ENDPOINT_POLICY: 'development: the receivers are on loopback without TLS',
  POSTHORN_RATE_LIMIT_POST: 'off: the set-up makes many endpoints at once',
  'everything else': 'as by default: posthorn serve, built; log at level info, written to a file',
};

const READY_PATIENCE_MS = 30_000;
const LOOK_EVERY_MS = 5;

/** One `posthorn serve`. */
export interface PosthornProcess {
  child: ChildProcess;
  port: number;
}

/**
 * Starts `posthorn serve` and resolves when `/readyz` says so.
 *
 * @throws Error when it ends or isn't ready within 30 s
 */
export async function startPosthorn(
  site: Site,
  name: string,
  key: string,
  settings: Record<string, string>,
): Promise<PosthornProcess> {
  const program = await builtPosthorn(site);
  const port = await site.freePort();
  const child = site.spawn(name, process.execPath, [program, 'serve'], {
    cwd: site.folder,
    env: {
      POSTHORN_LISTEN: `127.0.0.1:${port}`,
      POSTHORN_OPERATOR_KEY: key,
      ...POSTHORN_SETTINGS,
      ...settings,
    },
  });
  const api = new PosthornApi(port, key);
  const endAt = performance.now() + READY_PATIENCE_MS;
  try {
    while (!(await api.isReady())) {
      if (child.exitCode !== null || child.signalCode !== null) {
        const ended = `posthorn serve ended with ${child.signalCode ?? child.exitCode}`;
        throw new Error(`${ended}:\n${await site.logTail(name)}`);
      }
      if (performance.now() > endAt) throw new Error('posthorn serve was not ready within 30 s');
      await sleep(LOOK_EVERY_MS);
    }
  } catch (error) {
    await endProcess(child, 'SIGKILL');
    throw error;
  } finally {
    api.close();
  }
  return { child, port };
}

/** An operator key of Posthorn's form. */
export function makeOperatorKey(): string {
  return `ph_${randomBytes(24).toString('hex')}`;
}

/** Ends several at once. */
export async function endAll(
  processes: readonly PosthornProcess[],
  signal: 'SIGTERM' | 'SIGKILL',
): Promise<void> {
  await Promise.all(processes.map(({ child }) => endProcess(child, signal)));
}

export function pidsOf(processes: readonly PosthornProcess[]): number[] {
  return processes.flatMap(({ child }) => child.pid ?? []);
}
