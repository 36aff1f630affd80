/**
 * What is ready to be attempted, one lane an endpoint: each lane has a limit on what runs and, where its owner asked
 * for it, a rate; lanes with work take turns, so that a long lane doesn't delay a short one.
 */
export interface LaneItem {
  readonly endpointId: string;
  /** Attempts a second that the endpoint takes; null for any. */
  readonly rateLimitPerSecond: number | null;
}

interface Lane<T> {
  running: number;
  ready: T[];
  /** Attempts that may start now under the rate; refilled on use. */
  tokens: number;
  refilledAtMs: number;
}

export class Lanes<T extends LaneItem> {
  readonly #laneLimit: number;
  readonly #lanes = new Map<string, Lane<T>>();
  /** Lanes with ready work and room to run it, in the order of their turns. */
  readonly #turns = new Set<string>();
  #ready = 0;
  #running = 0;

  /** @param laneLimit how many of one lane run at once. */
  constructor(laneLimit: number) {
    this.#laneLimit = laneLimit;
  }

  get ready(): number {
    return this.#ready;
  }

  get running(): number {
    return this.#running;
  }

  add(item: T): void {
    let lane = this.#lanes.get(item.endpointId);
    if (lane === undefined) {
      lane = { running: 0, ready: [], tokens: 1, refilledAtMs: Number.NEGATIVE_INFINITY };
      this.#lanes.set(item.endpointId, lane);
    }
    lane.ready.push(item);
    this.#ready += 1;
    if (lane.running < this.#laneLimit) this.#turns.add(item.endpointId);
  }

  /**
   * Takes the next item that may start and counts it as running until {@link finish}. Otherwise `waitMs` tells when a
   * rate allows the next one; null when only a finish or new work can.
   *
   * @param nowMs monotonic milliseconds
   */
  take(nowMs: number): { item: T } | { item: null; waitMs: number | null } {
    let waitMs: number | null = null;
    for (const endpointId of this.#turns) {
      const lane = this.#lanes.get(endpointId) as Lane<T>;
      const item = lane.ready[0] as T;
      const laneWaitMs = reserve(lane, item.rateLimitPerSecond, nowMs);
      if (laneWaitMs > 0) {
        waitMs = Math.min(waitMs ?? laneWaitMs, laneWaitMs);
        continue;
      }
      lane.ready.shift();
      lane.running += 1;
      this.#ready -= 1;
      this.#running += 1;
      // To the end of the line, if it is to stay in it.
      this.#turns.delete(endpointId);
      if (lane.ready.length > 0 && lane.running < this.#laneLimit) this.#turns.add(endpointId);
      return { item };
    }
    return { item: null, waitMs };
  }

  /** What {@link take} gave doesn't run any more. */
  finish(endpointId: string): void {
    const lane = this.#lanes.get(endpointId);
    if (lane === undefined || lane.running === 0) return;
    lane.running -= 1;
    this.#running -= 1;
    if (lane.ready.length > 0) this.#turns.add(endpointId);
    this.#forgetIdle(endpointId, lane);
  }

  /** Removes and answers what is ready in one lane, or in all. */
  drain(endpointId?: string): T[] {
    const ids = endpointId === undefined ? [...this.#lanes.keys()] : [endpointId];
    return ids.flatMap((id) => {
      const lane = this.#lanes.get(id);
      if (lane === undefined) return [];
      const items = lane.ready;
      lane.ready = [];
      this.#ready -= items.length;
      this.#turns.delete(id);
      this.#forgetIdle(id, lane);
      return items;
    });
  }

  /** The lane of a rate is kept while it is in debt: forgetting it would begin its rate anew. */
  #forgetIdle(endpointId: string, lane: Lane<T>): void {
    if (lane.running > 0 || lane.ready.length > 0) return;
    if (lane.refilledAtMs === Number.NEGATIVE_INFINITY) this.#lanes.delete(endpointId);
    else this.#forgetSettledRates();
  }

  #forgetSettledRates(): void {
    if (this.#lanes.size <= MAX_KEPT_RATES) return;
    for (const [id, lane] of this.#lanes) {
      if (lane.running === 0 && lane.ready.length === 0) this.#lanes.delete(id);
      if (this.#lanes.size <= MAX_KEPT_RATES / 2) return;
    }
  }
}

/** Idle lanes whose rate is remembered; the oldest are forgotten beyond it. */
const MAX_KEPT_RATES = 10_000;

/**
 * Takes a token of the lane's bucket, or tells how many milliseconds are missing for one. A tenth of a second's worth
 * may burst (at least one), so that timers that fire late don't cost throughput and a second never sees much more than
 * its rate.
 */
function reserve<T>(lane: Lane<T>, ratePerSecond: number | null, nowMs: number): number {
  if (ratePerSecond === null) return 0;
  const burst = Math.max(1, Math.floor(ratePerSecond / 10));
  const refill =
    lane.refilledAtMs === Number.NEGATIVE_INFINITY
      ? burst
      : ((nowMs - lane.refilledAtMs) * ratePerSecond) / 1000;
  lane.tokens = Math.min(burst, lane.tokens + refill);
  lane.refilledAtMs = nowMs;
  // Sums of fractions miss a whole number by a hair, on either side.
  const missing = 1 - 1e-6 - lane.tokens;
  if (missing > 0) return Math.max(1, Math.ceil((missing * 1000) / ratePerSecond));
  lane.tokens = Math.max(0, lane.tokens - 1);
  return 0;
}
