import type { Clock } from '../../clock.ts';

const FIRST_DELAY_MS = 100;
/** Doubled at most by jitter: 5 s. */
const LAST_DELAY_MS = 2500;

/** A pause after so many failures in a row: 100 to 200 ms after the first, up to 5 s. */
export function pauseMs(failures: number, clock: Pick<Clock, 'random'>): number {
  return Math.min(LAST_DELAY_MS, FIRST_DELAY_MS * 2 ** (failures - 1)) * (1 + clock.random());
}

/** The right to try one connection. */
export interface ConnectionTrial {
  succeeded(): void;
  failed(): void;
}

/**
 * Decides for all callers of a store when a new connection may be tried, so that a server that is away, or that has
 * just come back, isn't stormed. While connections succeed everybody may try. After a failure nobody may for a delay
 * that doubles with each failed trial (100 ms to 5 s, up to half of it by chance, so that nodes don't come in step);
 * then one caller tries, and the others are refused until it is known what came of it.
 */
export class Reconnection {
  readonly #clock: Pick<Clock, 'monotonic' | 'random'>;
  #failures = 0;
  #retryAt = 0;
  #probe: ConnectionTrial | null = null;
  /** Trials of one wave fail for one reason: only the first of them counts. */
  #wave = 0;

  constructor(clock: Pick<Clock, 'monotonic' | 'random'>) {
    this.#clock = clock;
  }

  /** How long nobody may try, in milliseconds; 0: a trial may begin now. */
  waitMs(): number {
    if (this.#failures === 0) return 0;
    const waitMs = Math.max(0, this.#retryAt - this.#clock.monotonic());
    return waitMs === 0 && this.#probe !== null ? FIRST_DELAY_MS : waitMs;
  }

  /** Null when nobody may try now. */
  begin(): ConnectionTrial | null {
    if (this.waitMs() > 0) return null;
    const wave = this.#wave;
    const trial: ConnectionTrial = {
      succeeded: () => {
        if (this.#probe === trial) this.#probe = null;
        this.#failures = 0;
      },
      failed: () => {
        if (this.#probe === trial) this.#probe = null;
        if (wave !== this.#wave) return;
        this.#wave += 1;
        this.#failures += 1;
        this.#retryAt = this.#clock.monotonic() + pauseMs(this.#failures, this.#clock);
      },
    };
    if (this.#failures > 0) this.#probe = trial;
    return trial;
  }
}
