import type { Clock } from '../clock.ts';

export interface WindowState {
  allowed: boolean;
  limit: number;
  /** What the window still has after this hit. */
  remaining: number;
  /** Whole seconds until the window ends, at least 1. */
  resetSeconds: number;
}

/**
 * Counts hits a key in windows of fixed length that begin with a key's first hit. In memory and for this process:
 * several nodes each allow the limit. {@link ./rate-limit.ts} counts over all nodes.
 */
export class FixedWindow {
  readonly #limit: number;
  readonly #windowMs: number;
  readonly #maxKeys: number;
  readonly #clock: Clock;
  /** In the order of their beginning, so that the first ones are the next to end. */
  readonly #windows = new Map<string, { hits: number; endsAt: number }>();

  constructor(options: { limit: number; windowMs: number; maxKeys: number; clock: Clock }) {
    this.#limit = options.limit;
    this.#windowMs = options.windowMs;
    this.#maxKeys = options.maxKeys;
    this.#clock = options.clock;
  }

  /** Counts one hit of `key`; a hit that isn't allowed doesn't lengthen the window. */
  hit(key: string): WindowState {
    const now = this.#clock.monotonic();
    let window = this.#windows.get(key);
    if (window === undefined || window.endsAt <= now) {
      this.#windows.delete(key);
      this.#makeRoom(now);
      window = { hits: 0, endsAt: now + this.#windowMs };
      this.#windows.set(key, window);
    }
    const allowed = window.hits < this.#limit;
    if (allowed) window.hits += 1;
    return {
      allowed,
      limit: this.#limit,
      remaining: this.#limit - window.hits,
      resetSeconds: Math.max(1, Math.ceil((window.endsAt - now) / 1000)),
    };
  }

  #makeRoom(now: number): void {
    for (const [key, window] of this.#windows) {
      if (window.endsAt > now && this.#windows.size < this.#maxKeys) return;
      this.#windows.delete(key);
    }
  }
}
