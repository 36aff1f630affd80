/**
 * A readiness check writes one row in place, for which a full disk still has room: so what a publish or a settlement
 * met is remembered, until the same operation succeeds.
 */
import type { Clock } from '../../clock.ts';
import type { Store } from '../store.ts';
import { sqlStateOf } from './failures.ts';

/** `disk_full`, and what goes wrong with the server's files. */
const DISK_FAILED = /^(53100|58)/;
/** Then it may have healed with nobody publishing: whoever asks decides by the next request. */
const REMEMBERED_MS = 10_000;

type Writing = Pick<Store, 'publish' | 'settle' | 'ping'>;

/** The same operations, of which `ping` rejects as long as one of the others is known to find no room. */
export function withDiskMemory({ publish, settle, ping }: Writing, clock: Pick<Clock, 'monotonic'>): Writing {
  const failures = new Map<string, { error: unknown; atMs: number }>();

  async function noting<Result>(name: string, call: Promise<Result>): Promise<Result> {
    try {
      const result = await call;
      failures.delete(name);
      return result;
    } catch (error) {
      if (DISK_FAILED.test(sqlStateOf(error) ?? '')) failures.set(name, { error, atMs: clock.monotonic() });
      throw error;
    }
  }

  return {
    publish: (events, offer) => noting('publish', publish(events, offer)),
    settle: (settlements, offer, policy) => noting('settle', settle(settlements, offer, policy)),
    async ping() {
      for (const [name, { error, atMs }] of failures) {
        if (clock.monotonic() - atMs < REMEMBERED_MS) throw error;
        failures.delete(name);
      }
      await ping();
    },
  };
}
