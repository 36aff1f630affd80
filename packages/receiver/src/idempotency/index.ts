export { memoryIdempotency, type MemoryIdempotencyOptions } from './memory.ts';
export { redisIdempotency, type RedisCommands, type RedisIdempotencyOptions } from './redis.ts';
export {
  sqlIdempotency,
  type SqlDatabase,
  type SqlIdempotencyOptions,
  type SqlIdempotencyStore,
} from './sql.ts';
export type { IdempotencyStore, Reservation } from './store.ts';
