import type { LeaseOffer } from '../store.ts';
import type { EngineContext } from './engine.ts';

/** A rate-limited endpoint gets leases for this many seconds of its rate at most, so that none runs out waiting. */
const RATE_LIMITED_LEASE_SECONDS = 10;

/** How many unexpired leases a lane may hold under an offer. */
export function laneCapacity(offer: LeaseOffer, rateLimitPerSecond: number | null): number {
  if (rateLimitPerSecond === null) return offer.laneLimit;
  return Math.min(offer.laneLimit, Math.max(1, Math.floor(rateLimitPerSecond * RATE_LIMITED_LEASE_SECONDS)));
}

/** The lane rows: when a claim should look at which endpoint. See the migration for the rule that they keep. */
export function laneBook({ db, now }: EngineContext) {
  const insert = db.prepare(
    `INSERT INTO lane (username, endpoint_id, next_at, parked)
     VALUES (?, ?, NULL, (SELECT status <> 'active' FROM account WHERE username = ?))`,
  );
  const sooner = db.prepare<[number, string, string, number]>(
    'UPDATE lane SET next_at = ? WHERE username = ? AND endpoint_id = ? AND (next_at IS NULL OR next_at > ?)',
  );
  const set = db.prepare<[number | null, string, string]>(
    'UPDATE lane SET next_at = ? WHERE username = ? AND endpoint_id = ?',
  );
  const next = db.prepare<[], { at: number | null }>(
    'SELECT min(next_at) AS at FROM lane WHERE next_at IS NOT NULL AND parked = 0',
  );
  // All four seek the index (username, endpoint_id, leased, due_at).
  const leasedCount = db.prepare<[string, string, number], { n: number }>(
    'SELECT count(*) AS n FROM queue WHERE username = ? AND endpoint_id = ? AND leased = 1 AND due_at > ?',
  );
  const firstDue = db.prepare<[string, string, number], { at: number | null }>(
    'SELECT min(due_at) AS at FROM queue WHERE username = ? AND endpoint_id = ? AND leased = ?',
  );
  const dueWaiting = db.prepare<[string, string, number, number], { n: number }>(
    `SELECT count(*) AS n FROM (SELECT 1 FROM queue
       WHERE username = ? AND endpoint_id = ? AND leased = 0 AND due_at <= ? LIMIT ? + 0)`,
  );

  return {
    create: (username: string, endpointId: string) => void insert.run(username, endpointId, username),

    /** Something falls due at `at`: look at the lane then at the latest. Writes only when that is news. */
    lookBy: (username: string, endpointId: string, at: number) =>
      void sooner.run(at, username, endpointId, at),

    /** Leases that hold now. */
    leased: (username: string, endpointId: string) =>
      (leasedCount.get(username, endpointId, now()) as { n: number }).n,

    /** Due and not leased, counted up to `limit`. */
    dueWaiting: (username: string, endpointId: string, limit: number) =>
      (dueWaiting.get(username, endpointId, now(), limit) as { n: number }).n,

    /** A slot of the lane came free: whatever waits in it may go, after the lanes that were due before. */
    slotFreed(username: string, endpointId: string): void {
      const waiting = firstDue.get(username, endpointId, 0)?.at ?? null;
      if (waiting === null) return;
      const at = Math.max(waiting, now());
      sooner.run(at, username, endpointId, at);
    },

    /**
     * Sets when to look again after a claim took what it could. `full`: no slot is free before a settlement. `probeAt`:
     * when the next probe may go, of an endpoint that is probed and of which nothing else may.
     */
    served(username: string, endpointId: string, full: boolean, probeAt: number | null = null): void {
      const leaseEnd = firstDue.get(username, endpointId, 1)?.at ?? null;
      const waiting = firstDue.get(username, endpointId, 0)?.at ?? null;
      let at = leaseEnd;
      if (probeAt !== null && probeAt > now()) {
        const first = Math.min(leaseEnd ?? Number.MAX_SAFE_INTEGER, waiting ?? Number.MAX_SAFE_INTEGER);
        const next = first === Number.MAX_SAFE_INTEGER ? null : Math.max(first, probeAt);
        set.run(next, username, endpointId);
        return;
      }
      if (waiting !== null && !(full && waiting <= now())) {
        // What is due already sends the lane to the back of the line, behind lanes due before this moment.
        at = Math.min(Math.max(waiting, now()), leaseEnd ?? Number.MAX_SAFE_INTEGER);
      }
      set.run(at, username, endpointId);
    },

    nextAt: () => next.get()?.at ?? null,
  };
}

export type LaneBook = ReturnType<typeof laneBook>;
