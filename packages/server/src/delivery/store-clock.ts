import type { Clock } from '../clock.ts';

/**
 * The clock by which a store judges what is due, where that isn't this process's: a database has its own, and the two may
 * be hours apart. It is told by answers: each carries a time that the store's clock showed between question and answer.
 *
 * @example
 * const storeClock = new StoreClock(clock);
 * const askedAtMs = clock.monotonic();
 * const [lease] = (await store.claim(offer)).leases;
 * storeClock.learn(lease.leasedUntil - offer.leaseMs, askedAtMs);
 * storeClock.now() >= nextDueAt;
 */
export class StoreClock {
  readonly #clock: Pick<Clock, 'now' | 'monotonic'>;
  /** From monotonic to the store's milliseconds; null until an answer has told. */
  #offsetMs: number | null = null;

  /** @param clock taken for the store's until an answer has told better. */
  constructor(clock: Pick<Clock, 'now' | 'monotonic'>) {
    this.#clock = clock;
  }

  /** Unix milliseconds by the store's clock, not always whole; no further off than the quickest answer took. */
  now(): number {
    if (this.#offsetMs === null) return this.#clock.now();
    return this.#clock.monotonic() + this.#offsetMs;
  }

  /**
   * Corrects itself no further than the answer demands: a slow one says little, and must not spoil what a quick one said.
   *
   * @param shownMs what the store's clock showed at some moment since `askedAtMs`
   * @param askedAtMs monotonic milliseconds
   */
  learn(shownMs: number, askedAtMs: number): void {
    const answeredAtMs = this.#clock.monotonic();
    const presumedMs = this.now() - answeredAtMs;
    this.#offsetMs = Math.min(Math.max(presumedMs, shownMs - answeredAtMs), shownMs - askedAtMs);
  }
}
