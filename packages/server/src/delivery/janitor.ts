/** What goes on beside deliveries: old history goes, replays move on, and jumps of the machine's clock are noticed. */
import type { Clock } from '../clock.ts';
import type { Store } from '../store/store.ts';

export interface JanitorOptions {
  store: Pick<Store, 'purge' | 'historyCut' | 'advanceReplays'>;
  clock: Clock;
  /** How long finished history is kept. */
  retentionMs: number;
  /** What it may take on disk: beyond it, it goes earlier, oldest first. Null: any amount. */
  maxHistoryBytes?: number | null;
  /** History goes in steps of this length only, counted from 1970; default: as soon as it is too old. */
  purgeStepMs?: number;
  /** How many rows a step of a purge deletes, and how long others have their turn between two steps; default 500, 100 ms. */
  purgeRows?: number;
  purgePauseMs?: number;
  /** How often to look for replays that another process has begun; default: only when woken. */
  replayPollMs?: number;
  /** Attempts in flight to one endpoint; a replay fills its lane to twice that. */
  laneLimit: number;
  /** A replay made deliveries due, or the clock jumped and due times with it. */
  onDue: () => void;
  onClockJump: (jumpMs: number) => void;
  onError: (message: string, error: unknown) => void;
}

const PURGE_EVERY_MS = 60_000;
/** A cut that moves by less is the same: the newest history stays, and its end moves with the clock. */
const SAME_CUT_MS = 1_000;
const REPLAY_EVERY_MS = 200;
const REPLAY_DELIVERIES = 100;
const CLOCK_CHECK_EVERY_MS = 10_000;
const CLOCK_JUMP_MS = 5_000;
const AFTER_ERROR_MS = 5_000;

/**
 * Runs one chore again and again, never twice at a time. The chore answers after how many milliseconds it wants to run
 * again; null: when it is woken.
 */
class Chore {
  readonly #clock: Clock;
  readonly #run: () => Promise<number | null>;
  readonly #onError: (error: unknown) => void;
  #cancelTimer: (() => void) | null = null;
  #running: Promise<void> | null = null;
  #wokenMeanwhile = false;
  #stopped = false;

  constructor(clock: Clock, run: () => Promise<number | null>, onError: (error: unknown) => void) {
    this.#clock = clock;
    this.#run = run;
    this.#onError = onError;
  }

  wake(): void {
    if (this.#stopped) return;
    if (this.#running !== null) {
      this.#wokenMeanwhile = true;
      return;
    }
    this.#cancelTimer?.();
    this.#cancelTimer = null;
    this.#running = this.#runOnce();
  }

  /** Resolves when the present run has ended; none follows. */
  async stop(): Promise<void> {
    this.#stopped = true;
    this.#cancelTimer?.();
    this.#cancelTimer = null;
    await this.#running;
  }

  async #runOnce(): Promise<void> {
    let delayMs: number | null;
    try {
      delayMs = await this.#run();
    } catch (error) {
      this.#onError(error);
      delayMs = AFTER_ERROR_MS;
    }
    this.#running = null;
    if (this.#stopped) return;
    if (this.#wokenMeanwhile) {
      this.#wokenMeanwhile = false;
      delayMs = 0;
    }
    if (delayMs !== null) this.#cancelTimer = this.#clock.timer(delayMs, () => this.wake());
  }
}

/**
 * @example
 * const janitor = new Janitor({ store, clock, retentionMs, laneLimit, onDue: () => dispatcher.wake(), … });
 * janitor.start();
 * await janitor.stop();
 */
export class Janitor {
  readonly #purging: Chore;
  readonly #replaying: Chore;
  readonly #watching: Chore;

  constructor(options: JanitorOptions) {
    const { store, clock, retentionMs, laneLimit, onDue, onClockJump, onError } = options;
    const { purgeStepMs = 1, purgeRows = 500, purgePauseMs = 100 } = options;
    const { replayPollMs = null, maxHistoryBytes = null } = options;
    let cut: number | null = null;
    let isCutDone = true;
    this.#purging = new Chore(
      clock,
      async () => {
        const tooOld = clock.now() - retentionMs;
        // Whether the history may still be too large is seen when what had to go has gone.
        let looksAgain = !isCutDone && cut !== null;
        if (maxHistoryBytes !== null && isCutDone) {
          const former: number | null = cut;
          cut = await store.historyCut(maxHistoryBytes, former);
          looksAgain = cut !== null && (former === null || cut > former + SAME_CUT_MS);
        }
        const before = Math.max(tooOld - (tooOld % purgeStepMs), cut ?? Number.NEGATIVE_INFINITY);
        const { more } = await store.purge(before, purgeRows);
        isCutDone = !more;
        return more || looksAgain ? purgePauseMs : PURGE_EVERY_MS;
      },
      (error) => onError("old history can't be deleted; trying again", error),
    );
    this.#replaying = new Chore(
      clock,
      async () => {
        const { made, running } = await store.advanceReplays(REPLAY_DELIVERIES, 2 * laneLimit);
        if (made > 0) onDue();
        return running ? REPLAY_EVERY_MS : replayPollMs;
      },
      (error) => onError("replays can't be moved on; trying again", error),
    );
    let offsetMs: number | null = null;
    this.#watching = new Chore(
      clock,
      async () => {
        const nowOffsetMs = clock.now() - clock.monotonic();
        const jumpMs = offsetMs === null ? 0 : nowOffsetMs - offsetMs;
        if (offsetMs === null || Math.abs(jumpMs) > CLOCK_JUMP_MS) offsetMs = nowOffsetMs;
        if (Math.abs(jumpMs) > CLOCK_JUMP_MS) {
          onClockJump(jumpMs);
          onDue();
        }
        return CLOCK_CHECK_EVERY_MS;
      },
      (error) => onError("the clock can't be checked", error),
    );
  }

  start(): void {
    this.#purging.wake();
    this.#replaying.wake();
    this.#watching.wake();
  }

  /** A replay may have been started. */
  wakeReplays(): void {
    this.#replaying.wake();
  }

  /** Resolves when nothing of it is with the store any more. */
  async stop(): Promise<void> {
    await Promise.all([this.#purging.stop(), this.#replaying.stop(), this.#watching.stop()]);
  }
}
