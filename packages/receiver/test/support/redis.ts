import { type ChildProcess, spawn, spawnSync } from 'node:child_process';
import { once } from 'node:events';
import { createInterface } from 'node:readline';
import { closedPort } from '../../../server/test/support/receivers.ts';

/** Why tests on Redis are skipped; false where `redis-server` is on the PATH. */
export const noRedis =
  spawnSync('redis-server', ['--version']).status === 0 ? false : 'redis-server is not installed here';

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
