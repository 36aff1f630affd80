import type { Clock } from '../../src/clock.ts';

/** Where a {@link ManualClock} stands unless told otherwise: 2025-06-15T15:06:40Z. */
export const DEFAULT_START_MS = 1_750_000_000_000;

interface Timer {
  dueAt: number;
  order: number;
  fire: () => void;
}

export interface ManualClockOptions {
  /** Unix milliseconds at the start; default {@link DEFAULT_START_MS}. */
  startMs?: number;
  /** What `random()` answers, a number in [0, 1); default always 0.5, the middle of every jitter. */
  random?: () => number;
}

/**
 * A clock that stands still until a test moves it, so that nothing has to sleep to see whether something happens.
 *
 * @example
 * const clock = new ManualClock();
 * startRetrying({ clock });
 * await clock.whenTimers(1); // the code under test waits now
 * clock.advance(5_000); // its timer fires before this returns
 */
export class ManualClock implements Clock {
  #nowMs: number;
  #monotonicMs = 0;
  #order = 0;
  #advancing = false;
  readonly #random: () => number;
  readonly #timers = new Set<Timer>();
  readonly #waiters = new Set<{ count: number; resolve: () => void }>();

  constructor(options: ManualClockOptions = {}) {
    this.#nowMs = options.startMs ?? DEFAULT_START_MS;
    this.#random = options.random ?? (() => 0.5);
  }

  // Fields rather than methods: like those of the system's clock, they may be taken off the object.

  readonly now = (): number => this.#nowMs;

  readonly monotonic = (): number => this.#monotonicMs;

  readonly random = (): number => this.#random();

  readonly timer = (delayMs: number, fire: () => void): (() => void) => {
    const timer: Timer = { dueAt: this.#monotonicMs + Math.max(0, delayMs), order: this.#order++, fire };
    this.#timers.add(timer);
    for (const waiter of this.#waiters) {
      if (this.#timers.size < waiter.count) continue;
      this.#waiters.delete(waiter);
      waiter.resolve();
    }
    return () => {
      this.#timers.delete(timer);
    };
  };

  /**
   * Moves both times on by `ms` and fires, in order of their times and then of their making, every timer that falls
   * due on the way, those set by a firing timer included; each sees the clock at its own due time. A timer of delay 0
   * waits for `advance(0)`. Code that needs promises to settle between two timers is advanced in two steps.
   *
   * @throws RangeError when `ms` is negative or no number: time doesn't run backwards, see {@link jump}.
   */
  advance(ms: number): void {
    if (!(ms >= 0)) throw new RangeError(`can't advance by ${ms} ms`);
    if (this.#advancing) throw new Error('advance() was called from within a timer');
    const end = this.#monotonicMs + ms;
    this.#advancing = true;
    try {
      for (let timer = this.#earliest(); timer && timer.dueAt <= end; timer = this.#earliest()) {
        this.#timers.delete(timer);
        this.#moveTo(timer.dueAt);
        timer.fire();
      }
      this.#moveTo(end);
    } finally {
      this.#advancing = false;
    }
  }

  /** Sets the wall clock forwards or (negative) backwards, as an operator or NTP does: no timer fires. */
  jump(ms: number): void {
    this.#nowMs += ms;
  }

  /** How many timers wait. */
  get timerCount(): number {
    return this.#timers.size;
  }

  /** Milliseconds until the earliest timer; null without one. */
  get nextTimerMs(): number | null {
    const timer = this.#earliest();
    return timer ? timer.dueAt - this.#monotonicMs : null;
  }

  /** Resolves as soon as at least `count` timers wait: the code under test has reached its waits. */
  whenTimers(count: number): Promise<void> {
    if (this.#timers.size >= count) return Promise.resolve();
    return new Promise((resolve) => {
      this.#waiters.add({ count, resolve });
    });
  }

  #earliest(): Timer | undefined {
    let earliest: Timer | undefined;
    for (const timer of this.#timers) {
      if (
        !earliest ||
        timer.dueAt < earliest.dueAt ||
        (timer.dueAt === earliest.dueAt && timer.order < earliest.order)
      ) {
        earliest = timer;
      }
    }
    return earliest;
  }

  #moveTo(monotonicMs: number): void {
    this.#nowMs += monotonicMs - this.#monotonicMs;
    this.#monotonicMs = monotonicMs;
  }
}
