/** What {@link IdempotencyStore.reserve} found. */
export type Reservation =
  /** The caller's now, and nobody else's until the lease ends. */
  | 'reserved'
  /** It was completed before. */
  | 'done'
  /** Somebody else has it and their lease hasn't ended. */
  | 'busy';

/**
 * Remembers which events were handled, so that each is handled once. A process that dies while it holds an event leaves
 * a lease that ends by itself; then the event can be reserved anew.
 *
 * Write your own for another database: each method is one atomic step.
 */
export interface IdempotencyStore {
  /**
   * Takes the key if it is free, its lease has ended, it was completed longer ago than it is remembered, or this token
   * has it already (then the lease is extended).
   *
   * @param token fresh for each run; proves who holds the key
   */
  reserve(key: string, token: string, leaseMs: number): Promise<Reservation>;
  /**
   * Marks the key as done, for so long. False, and nothing is changed, when the token doesn't hold it any more: its lease
   * has ended and somebody else took over.
   */
  complete(key: string, token: string, rememberMs: number): Promise<boolean>;
  /** Frees the key for the next delivery if the token holds it; otherwise nothing. */
  release(key: string, token: string): Promise<void>;
}
