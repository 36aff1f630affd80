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

const PROMISES_SETTINGS: Readonly<Record<string, string>> = {
  ...SETTINGS,
  API:
    'Fastify 5, schema-validated (data too), one log line a request; each event kept for 30 days under its id with a ' +
    'fingerprint of its content (GET before, SET NX after the jobs, whose ids are made of the event’s)',
  deliveries:
    'undici 8, a keep-alive pool an origin without a limit, time-out 5 s by its coarse timers; both signatures, address ' +
    'check, one log line an attempt',
  attempts: `${SETTINGS.attempts}; with URL, headers of both sides and the response's first 4 KiB`,
  'left out, in their favour':
    'lanes, metrics, statistics, encrypted secrets, a queryable history of deliveries',
};

/**
 * A new {@link System} for BullMQ on a Redis with its log of writes on.
 *
 * @param keepsPromises - built as a service that promises what Posthorn does, as far as the queue allows
 */
export function bullmq(appendfsync: AppendFsync, keepsPromises = false): System {
  const name = keepsPromises ? `bullmq-${appendfsync}-same-work` : `bullmq-${appendfsync}`;
  let redis: RedisServer | undefined;
  let peer: PeerSite | undefined;
  let running: Running | undefined;

  const system: System = {
    name,
    durability: appendfsync === 'always' ? 'durable' : 'every second',
    family: keepsPromises ? 'same-work' : 'other-peer',
    settings: {
      ...(keepsPromises ? PROMISES_SETTINGS : SETTINGS),
      Redis: Object.entries(redisSettings(appendfsync))
        .map(([key, value]) => `${key} ${value === '' ? '""' : value}`)
        .join(', '),
    },
    isAvailable: isRedisAvailable,
    async setUp(site) {
      await system.tearDown();
      redis = await startRedis(site, `${name}-redis`, appendfsync);
      peer = { site, name, queue: 'bullmq', keepsPromises, databaseUrl: redis.url, databasePid: redis.pid };
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
