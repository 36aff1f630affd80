import type { IdempotencyStore, Reservation } from './store.ts';

export interface MemoryIdempotencyOptions {
  /** How many events are remembered; beyond that the oldest that are done are forgotten. Default 100 000, about 20 MB. */
  maxEntries?: number;
  /** Unix milliseconds. Default `Date.now`. */
  now?: () => number;
}

interface Entry {
  /** Null when it is done. */
  token: string | null;
  expiresAt: number;
}

/**
 * Remembers events in this process: enough for one process whose duplicates may come again after a restart. With more
 * than one process use Redis or SQL.
 */
export function memoryIdempotency(options: MemoryIdempotencyOptions = {}): IdempotencyStore {
  const { maxEntries = 100_000, now = Date.now } = options;
  /** In the order in which they were reserved or done: the oldest first. */
  const entries = new Map<string, Entry>();

  const put = (key: string, entry: Entry): void => {
    entries.delete(key);
    entries.set(key, entry);
  };
  const forgetSome = (): void => {
    for (const [key, entry] of entries) {
      const over = entries.size > maxEntries && entry.token === null;
      if (!over && entry.expiresAt > now()) return;
      entries.delete(key);
    }
  };

  return {
    async reserve(key, token, leaseMs): Promise<Reservation> {
      const entry = entries.get(key);
      if (entry !== undefined && entry.expiresAt > now() && entry.token !== token) {
        return entry.token === null ? 'done' : 'busy';
      }
      put(key, { token, expiresAt: now() + leaseMs });
      forgetSome();
      return 'reserved';
    },
    async complete(key, token, rememberMs) {
      if (entries.get(key)?.token !== token) return false;
      put(key, { token: null, expiresAt: now() + rememberMs });
      return true;
    },
    async release(key, token) {
      if (entries.get(key)?.token === token) entries.delete(key);
    },
  };
}
