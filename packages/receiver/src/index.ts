/** The public door: verification and the receiver around it. Adapters and stores have doors of their own. */
export * from './core.ts';
export { memoryIdempotency, type MemoryIdempotencyOptions } from './idempotency/memory.ts';
export type { IdempotencyStore, Reservation } from './idempotency/store.ts';
export type * from './jogg-events.ts';
export { type EventQueue, inProcessQueue, type InProcessQueueOptions, type QueueJob } from './queue.ts';
export {
  createReceiver,
  type Handlers,
  type Receiver,
  type ReceiverAnswer,
  type ReceiverHost,
  type ReceiverOptions,
  type ReceiverRequest,
} from './receiver.ts';
export type { RunOutcome } from './run.ts';
