import { type ChildProcess, spawn } from 'node:child_process';
import { once } from 'node:events';
import { createInterface } from 'node:readline';
import { closedPort } from '../../../server/test/support/receivers.ts';
import { findProgram } from '../../../server/test/support/tools.ts';

/**
 * Why tests on Redis are skipped; false where `redis-server` is on the PATH.
 *
 * @throws Error where `POSTHORN_TEST_TOOLS` is `required`, as in CI
 */
export function noRedis(): string | false {
  if (findProgram('redis-server') !== null) return false;
  const missing = 'no redis-server here: apt-get install redis-server';
  if (process.env.POSTHORN_TEST_TOOLS === 'required') throw new Error(missing);
  return missing;
}

export interface RunningRedis {
  port: number;
  process: ChildProcess;
}

/** A Redis of the test's own, which keeps nothing. */
export async function startRedis(): Promise<RunningRedis> {
  const port = await closedPort();
  const flags = ['--port', `${port}`, '--bind', '127.0.0.1', '--save', '', '--appendonly', 'no'];
  const child = spawn('redis-server', flags, { stdio: ['ignore', 'pipe', 'ignore'] });
  for await (const line of createInterface({ input: child.stdout })) {
    if (/ready to accept connections/i.test(line)) break;
  }
  child.stdout.resume();
  return { port, process: child };
}

export async function stopRedis({ process: child }: RunningRedis): Promise<void> {
  const ended = once(child, 'exit');
  child.kill('SIGKILL');
  await ended;
}
