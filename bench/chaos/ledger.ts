/**
 * What became of each event, in memory that the load and the receivers share. An event is a number; its account and
 * endpoint follow from it, so that a soak of a million events needs some 20 MB for its books.
 */

/** One account with one endpoint each, so that each event has exactly one delivery. */
export const ACCOUNTS = 100;

/** The ways in which a receiver is bad, and the accounts whose receiver is: one in twenty. */
export const MISCHIEF = ['hang', 'reset', 'error', 'drip', 'garbage'] as const;
export type Mischief = (typeof MISCHIEF)[number];

export function usernameOf(account: number): string {
  return `soak-${account}`;
}

/** Null for a good receiver. */
export function mischiefOf(account: number): Mischief | null {
  return account % 20 === 0 ? (MISCHIEF[account / 20] ?? null) : null;
}

const ID_PREFIX = 'soak-event-';

export function eventIdOf(event: number): string {
  return ID_PREFIX + event;
}

const [IS_HEALED, HELD, TAKEN, REPEATED, SPOILT] = [0, 1, 2, 3, 4];
const COUNTERS = 5;

/** The memory itself, as it is handed to a thread. */
export interface LedgerMemory {
  acknowledgedAt: SharedArrayBuffer;
  arrivedAt: SharedArrayBuffer;
  arrivals: SharedArrayBuffer;
  counters: SharedArrayBuffer;
}

export class Ledger {
  readonly memory: LedgerMemory;
  /** Unix ms by event; 0 until its publish was answered. */
  readonly #acknowledgedAt: Float64Array;
  /** Unix ms by event of its first arrival that was taken; 0 until then. */
  readonly #arrivedAt: Float64Array;
  /** How often an event was taken. */
  readonly #arrivals: Uint8Array;
  readonly #counters: Int32Array;

  constructor(memory: LedgerMemory) {
    this.memory = memory;
    this.#acknowledgedAt = new Float64Array(memory.acknowledgedAt);
    this.#arrivedAt = new Float64Array(memory.arrivedAt);
    this.#arrivals = new Uint8Array(memory.arrivals);
    this.#counters = new Int32Array(memory.counters);
  }

  static of(events: number): Ledger {
    return new Ledger({
      acknowledgedAt: new SharedArrayBuffer(events * 8),
      arrivedAt: new SharedArrayBuffer(events * 8),
      arrivals: new SharedArrayBuffer(events),
      counters: new SharedArrayBuffer(COUNTERS * 4),
    });
  }

  acknowledge(event: number, atMs: number): void {
    this.#acknowledgedAt[event] = atMs;
  }

  /** A receiver answers 2xx. */
  take(eventId: string, atMs: number): void {
    const event = Number(eventId.slice(ID_PREFIX.length));
    Atomics.add(this.#counters, TAKEN as number, 1);
    if (Atomics.add(this.#arrivals, event, 1) === 0) this.#arrivedAt[event] = atMs;
    else Atomics.add(this.#counters, REPEATED as number, 1);
  }

  /** A receiver begins or ends to hold a request. */
  hold(change: 1 | -1): void {
    Atomics.add(this.#counters, HELD as number, change);
  }

  /** A bad receiver does what it does. */
  spoil(): void {
    Atomics.add(this.#counters, SPOILT as number, 1);
  }

  /** From now on all receivers are good. */
  heal(): void {
    Atomics.store(this.#counters, IS_HEALED as number, 1);
  }

  get isHealed(): boolean {
    return this.#read(IS_HEALED) === 1;
  }

  /** Requests that receivers hold right now. */
  get held(): number {
    return this.#read(HELD);
  }

  /** Arrivals that were answered 2xx, repeats included. */
  get taken(): number {
    return this.#read(TAKEN);
  }

  /** Arrivals of events that had been answered 2xx before. */
  get repeated(): number {
    return this.#read(REPEATED);
  }

  /** Attempts that a bad receiver spoilt. */
  get spoilt(): number {
    return this.#read(SPOILT);
  }

  /** The events below `published` that were acknowledged and never taken. */
  missing(published: number): number[] {
    const missing: number[] = [];
    for (let event = 0; event < published; event += 1) {
      if (this.#acknowledgedAt[event] !== 0 && this.#arrivals[event] === 0) missing.push(event);
    }
    return missing;
  }

  /** ms from the publish answer to the arrival at good receivers, sorted, of events acknowledged in that time. */
  latencies(published: number, fromMs: number, toMs: number): number[] {
    const latencies: number[] = [];
    for (let event = 0; event < published; event += 1) {
      const at = this.#acknowledgedAt[event] as number;
      const arrivedAt = this.#arrivedAt[event] as number;
      if (at < fromMs || at >= toMs || arrivedAt === 0 || mischiefOf(event % ACCOUNTS) !== null) continue;
      latencies.push(Math.max(0, arrivedAt - at));
    }
    return latencies.sort((a, b) => a - b);
  }

  #read(counter: number | undefined): number {
    return Atomics.load(this.#counters, counter as number);
  }
}
