import type { IdempotencyStore, Reservation } from './store.ts';

/**
 * All that is needed of a Redis client: send one command and answer its reply.
 *
 * @example
 * const redis: RedisCommands = { send: (command) => nodeRedis.sendCommand(command) };            // redis
 * const redis: RedisCommands = { send: ([name, ...rest]) => ioredis.call(name, ...rest) };       // ioredis
 */
export interface RedisCommands {
  send(command: [name: string, ...rest: string[]]): Promise<unknown>;
}

export interface RedisIdempotencyOptions {
  /** Before each key. Receivers that share a Redis but handle the same events each for itself need one each. Default `posthorn:`. */
  prefix?: string;
}

/** The value is the holder's token, or this when the event is done; no token is as short. */
const DONE = '1';

const RESERVE = `
local held = redis.call('get', KEYS[1])
if held == '${DONE}' then return 'done' end
if held and held ~= ARGV[1] then return 'busy' end
redis.call('set', KEYS[1], ARGV[1], 'px', ARGV[2])
return 'reserved'`;
const COMPLETE = `
if redis.call('get', KEYS[1]) ~= ARGV[1] then return 0 end
redis.call('set', KEYS[1], '${DONE}', 'px', ARGV[2])
return 1`;
const RELEASE = `
if redis.call('get', KEYS[1]) == ARGV[1] then redis.call('del', KEYS[1]) end
return 1`;

/**
 * Remembers events in Redis (2.6 or later, or Valkey): one key each, which Redis itself lets expire.
 *
 * A Redis that loses its memory or fails over to a replica that is behind forgets: an event may then be handled twice.
 */
export function redisIdempotency(
  redis: RedisCommands,
  options: RedisIdempotencyOptions = {},
): IdempotencyStore {
  const { prefix = 'posthorn:' } = options;
  const run = (script: string, key: string, ...args: string[]): Promise<unknown> =>
    redis.send(['EVAL', script, '1', prefix + key, ...args]);

  return {
    async reserve(key, token, leaseMs) {
      return String(await run(RESERVE, key, token, wholeMs(leaseMs))) as Reservation;
    },
    async complete(key, token, rememberMs) {
      return Number(await run(COMPLETE, key, token, wholeMs(rememberMs))) === 1;
    },
    async release(key, token) {
      await run(RELEASE, key, token);
    },
  };
}

/** Redis takes no fractions. */
function wholeMs(ms: number): string {
  return String(Math.max(1, Math.ceil(ms)));
}
