import type { Clock } from '../clock.ts';
import type { Store } from '../store/store.ts';
import type { WindowState } from './fixed-window.ts';

/** Beyond it, who was refused is asked for in the store again. */
const MAX_REFUSED_KEYS = 10_000;

/**
 * The limit on POST requests of an account key (wire contract, section 1), counted by the store and so over all nodes.
 *
 * Own rather than `@fastify/rate-limit`: that one counts a route (or a group of routes) in `onRequest` by a key made
 * before authentication, while the contract wants one counter over all POST routes under four prefixes, by the key
 * that authentication found, with some callers exempt.
 */
export class RequestLimit {
  readonly #store: Pick<Store, 'countRequest'>;
  readonly #limit: number;
  readonly #windowMs: number;
  readonly #clock: Pick<Clock, 'monotonic'>;
  /** When the windows end whose limit is used up: their keys cost the store nothing more until then. */
  readonly #refusedUntil = new Map<string, number>();

  constructor(options: {
    store: Pick<Store, 'countRequest'>;
    limit: number;
    windowMs: number;
    clock: Pick<Clock, 'monotonic'>;
  }) {
    this.#store = options.store;
    this.#limit = options.limit;
    this.#windowMs = options.windowMs;
    this.#clock = options.clock;
  }

  /** Counts one request of a key. Rejects as the store does. */
  async hit(keyId: string): Promise<WindowState> {
    const leftMs = (this.#refusedUntil.get(keyId) ?? 0) - this.#clock.monotonic();
    if (leftMs > 0) return this.#state(this.#limit + 1, leftMs);
    this.#refusedUntil.delete(keyId);
    const { count, endsInMs } = await this.#store.countRequest(`post ${keyId}`, this.#windowMs);
    if (count > this.#limit) {
      if (this.#refusedUntil.size >= MAX_REFUSED_KEYS) this.#refusedUntil.clear();
      this.#refusedUntil.set(keyId, this.#clock.monotonic() + endsInMs);
    }
    return this.#state(count, endsInMs);
  }

  #state(count: number, endsInMs: number): WindowState {
    return {
      allowed: count <= this.#limit,
      limit: this.#limit,
      remaining: Math.max(0, this.#limit - count),
      resetSeconds: Math.max(1, Math.ceil(endsInMs / 1000)),
    };
  }
}
