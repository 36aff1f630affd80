/** A Redis server of a peer's own, on a free loopback port, with its data in the run's folder. */
import { execFile } from 'node:child_process';
import { once } from 'node:events';
import { mkdir, rm } from 'node:fs/promises';
import { connect } from 'node:net';
import { join } from 'node:path';
import { setTimeout as sleep } from 'node:timers/promises';
import { promisify } from 'node:util';
import { endProcess } from '../site.ts';
import type { Site } from '../system.ts';

const READY_PATIENCE_MS = 30_000;
const LOOK_EVERY_MS = 10;

/** When Redis flushes its log of writes to disk: before each answer, or once a second. */
export type AppendFsync = 'always' | 'everysec';

export interface RedisServer {
  url: string;
  pid: number;
  /** Ends it and removes its data. */
  remove(): Promise<void>;
}

/** What is set other than Redis's defaults. */
export function redisSettings(appendfsync: AppendFsync): Record<string, string> {
  return {
    appendonly: 'yes',
    appendfsync,
    save: '',
    'maxmemory-policy': 'noeviction',
    // The log is rewritten when it is large, not in the middle of a short measurement: in the peer's favour.
    'auto-aof-rewrite-min-size': '4gb',
  };
}

/** True, or what to do. */
export async function isRedisAvailable(): Promise<true | string> {
  try {
    await promisify(execFile)('redis-server', ['--version']);
    return true;
  } catch {
    return 'there is no redis-server: install it (Debian and Ubuntu: apt-get install redis-server)';
  }
}

/**
 * Starts an empty server and resolves when it answers.
 *
 * @throws Error when it ends or doesn't answer within 30 s
 */
export async function startRedis(site: Site, name: string, appendfsync: AppendFsync): Promise<RedisServer> {
  const folder = join(site.folder, name);
  await rm(folder, { recursive: true, force: true });
  await mkdir(folder);
  const port = await site.freePort();
  const settings = Object.entries(redisSettings(appendfsync)).flatMap(([key, value]) => [`--${key}`, value]);
  const args = ['--port', String(port), '--bind', '127.0.0.1', '--dir', folder, ...settings];
  const child = site.spawn(name, 'redis-server', args);
  const remove = async (): Promise<void> => {
    await endProcess(child, 'SIGKILL');
    await rm(folder, { recursive: true, force: true, maxRetries: 5 });
  };
  const endAt = performance.now() + READY_PATIENCE_MS;
  while (!(await answersPing(port))) {
    const hasEnded = child.exitCode !== null || child.signalCode !== null;
    if (hasEnded || performance.now() > endAt) {
      await remove();
      throw new Error(`redis-server ${hasEnded ? 'ended' : "didn't answer within 30 s"}: see ${name}.log`);
    }
    await sleep(LOOK_EVERY_MS);
  }
  return { url: `redis://127.0.0.1:${port}`, pid: child.pid ?? 0, remove };
}

async function answersPing(port: number): Promise<boolean> {
  const socket = connect({ port, host: '127.0.0.1' });
  try {
    await once(socket, 'connect');
    socket.write('PING\r\n');
    const [answer] = (await once(socket, 'data')) as [Buffer];
    return answer.toString().startsWith('+PONG');
  } catch {
    return false;
  } finally {
    socket.destroy();
  }
}
