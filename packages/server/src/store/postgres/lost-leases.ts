import type { Clock } from '../../clock.ts';
import type { Lease, LeaseOffer, LeaseRef, Store } from '../store.ts';
import type { Sql } from './engine.ts';

type Leasing = Pick<Store, 'publish' | 'claim' | 'settle' | 'release'>;

/** A statement that gave leases has been answered or given up by then: longer than any call waits for its answer. */
const ANSWERED_AFTER_MS = 20_000;

/**
 * Gets back what was leased by a call whose answer was lost with its connection: the database holds those leases for
 * this node, which doesn't know of them, so they would wait until they end. After such a loss, and when every
 * answer that was under way has come or never will, the leases of this node that it never heard of are freed by its
 * next claim.
 *
 * @param onFreed - told how many deliveries were due again
 */
export function withoutLostLeases(
  operations: Leasing,
  context: Sql & { nodeId(): number; clock: Pick<Clock, 'monotonic'>; onFreed: (count: number) => void },
): Leasing {
  const { query, nodeId, clock, onFreed } = context;
  /** The tokens that this node was given and hasn't ended. */
  const known = new Set<string>();
  let lostAtMs: number | null = null;

  async function leasing<T extends { leases: Lease[] }>(
    offer: LeaseOffer | null,
    call: () => Promise<T>,
  ): Promise<T> {
    try {
      const answer = await call();
      for (const { token } of answer.leases) known.add(token);
      return answer;
    } catch (error) {
      if (offer !== null && offer.limit > 0) lostAtMs = clock.monotonic();
      throw error;
    }
  }

  function forget(leases: readonly LeaseRef[]): void {
    for (const { token } of leases) known.delete(token);
  }

  async function freeLost(): Promise<void> {
    if (lostAtMs === null || clock.monotonic() - lostAtMs < ANSWERED_AFTER_MS) return;
    const lostBefore = lostAtMs;
    const [row] = await query<{ freed: number }>('SELECT posthorn.free_lost_leases($1, $2, $3) AS freed', [
      nodeId(),
      [...known],
      ANSWERED_AFTER_MS,
    ]);
    // Another call may have been lost meanwhile.
    if (lostAtMs === lostBefore) lostAtMs = null;
    if (row !== undefined && row.freed > 0) onFreed(row.freed);
  }

  return {
    publish: (events, offer) => leasing(offer, () => operations.publish(events, offer)),

    async claim(offer) {
      await freeLost();
      return leasing(offer, () => operations.claim(offer));
    },

    async settle(settlements, offer, policy) {
      const answer = await leasing(offer, () => operations.settle(settlements, offer, policy));
      // Those of the answer are new ones.
      forget(settlements);
      return answer;
    },

    async release(leases) {
      // Whatever becomes of the call, nobody will end them any more.
      forget(leases);
      try {
        await operations.release(leases);
      } catch (error) {
        lostAtMs = clock.monotonic();
        throw error;
      }
    },
  };
}
