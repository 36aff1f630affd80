/** Dividing what is scarce, so that who asks for everything leaves something for the others. */

/**
 * How many times what is free one owner may hold: so one alone gets four fifths, two get four ninths each, and there is
 * always something left for whoever comes next.
 */
const SHARE_OF_FREE = 4;

/** Why something can't be had: all of it is taken, or the owner has his share and others may have the rest. */
export type Refused = 'full' | 'share';

/**
 * An amount of something that is divided by what is free (dynamic thresholds): nothing is set aside for owners who don't
 * ask, and no owner has to be known beforehand.
 *
 * @example
 * const shares = new FairShares(10_000);
 * if (shares.refusal('alice', 1) === null) shares.take('alice', 1);
 */
export class FairShares {
  readonly #limit: number;
  readonly #held = new Map<string, number>();
  #taken = 0;

  constructor(limit: number) {
    this.#limit = limit;
  }

  /** What all hold together. */
  get taken(): number {
    return this.#taken;
  }

  /** How many hold something. */
  get owners(): number {
    return this.#held.size;
  }

  /** Null when `owner` may have `amount` now. */
  refusal(owner: string, amount: number): Refused | null {
    const free = this.#limit - this.#taken;
    if (amount > free) return 'full';
    const held = this.#held.get(owner) ?? 0;
    return held > 0 && held + amount > SHARE_OF_FREE * free ? 'share' : null;
  }

  take(owner: string, amount: number): void {
    this.#taken += amount;
    this.#held.set(owner, (this.#held.get(owner) ?? 0) + amount);
  }

  give(owner: string, amount: number): void {
    this.#taken -= amount;
    const held = (this.#held.get(owner) ?? 0) - amount;
    if (held > 0) this.#held.set(owner, held);
    else this.#held.delete(owner);
  }
}
