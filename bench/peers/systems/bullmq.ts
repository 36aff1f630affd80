/** BullMQ on Redis, with two answers to the question when a write is durable. */
import { type PeerSite, setUpPeer, fillPeer, type Layout, startPeer } from '../peer/processes.ts';
import {
  type AppendFsync,
  isRedisAvailable,
  type RedisServer,
  redisSettings,
  startRedis,
} from '../peer/redis.ts';
import { PEER_SETTINGS } from '../peer/settings.ts';
import type { Running, System } from '../system.ts';

const LAYOUT: Layout = { both: 'apart', deliverers: 1 };

const SETTINGS: Readonly<Record<string, string>> = {
  ...PEER_SETTINGS,
  BullMQ:
    'queue.add for one endpoint, addBulk for several; one Worker, concurrency 100; attempts 10, exponential back-off from 5 s; ' +
    'removeOnComplete; lockDuration 15 s, stalledInterval 5 s, maxStalledCount 100, so that a killed worker costs little',
  attempts:
    'XADD to a stream capped at about 100,000, awaited before the job completes; completed jobs are not kept',
  processes: 'API and worker apart',
  'tried and not kept':
    'auto-pipelining (-10 % ingest); two or four Workers (-5 to -15 % both at once); ' +
    'two worker processes (+2 % drain, -15 % both at once); API and worker in one process (-5 % both at once)',
  fill: 'waiting jobs as delayed ones that have not failed yet; of the finished, the attempts up to the cap',
};

/** A new {@link System} for BullMQ on a Redis with its log of writes on. */
export function bullmq(appendfsync: AppendFsync): System {
  const name = `bullmq-${appendfsync}`;
  let redis: RedisServer | undefined;
  let peer: PeerSite | undefined;
  let running: Running | undefined;

  const system: System = {
    name,
    durability: appendfsync === 'always' ? 'durable' : 'every second',
    family: 'other-peer',
    settings: {
      ...SETTINGS,
      Redis: Object.entries(redisSettings(appendfsync))
        .map(([key, value]) => `${key} ${value === '' ? '""' : value}`)
        .join(', '),
    },
    isAvailable: isRedisAvailable,
    async setUp(site) {
      await system.tearDown();
      redis = await startRedis(site, `${name}-redis`, appendfsync);
      peer = { site, name, queue: 'bullmq', databaseUrl: redis.url, databasePid: redis.pid };
      await setUpPeer(peer);
    },
    async start(mode) {
      if (peer === undefined) throw new Error(`${name}: start before setUp`);
      running = await startPeer(peer, LAYOUT, mode);
      return running;
    },
    async fill(counts) {
      if (peer === undefined) throw new Error(`${name}: fill before setUp`);
      await fillPeer(peer, counts);
    },
    async tearDown() {
      await running?.kill();
      running = undefined;
      peer = undefined;
      await redis?.remove();
      redis = undefined;
    },
  };
  return system;
}
