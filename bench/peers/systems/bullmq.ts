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
      ...PEER_SETTINGS,
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
