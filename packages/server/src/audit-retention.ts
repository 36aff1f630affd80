import type { Clock } from './clock.ts';
import type { Store } from './store/store.ts';

const EVERY_MS = 3_600_000;
/** While there is more to do: everything else gets its turn. */
const PAUSE_MS = 100;
const LINES = 500;

export interface AuditRetentionOptions {
  store: Pick<Store, 'purgeAudit'>;
  clock: Pick<Clock, 'now' | 'timer'>;
  /** How long a line is kept. */
  retentionMs: number;
  onError: (message: string, error: unknown) => void;
}

/**
 * Takes lines from the audit log that are older than its retention, every hour.
 *
 * @example
 * const retention = new AuditRetention({ store, clock, retentionMs, onError });
 * retention.start();
 * await retention.stop();
 */
export class AuditRetention {
  readonly #options: AuditRetentionOptions;
  #running: Promise<void> = Promise.resolve();
  #cancelTimer: () => void = () => {};
  #isStopped = false;

  constructor(options: AuditRetentionOptions) {
    this.#options = options;
  }

  start(): void {
    this.#running = this.#run();
  }

  /** Resolves when nothing of it is with the store any more. */
  async stop(): Promise<void> {
    this.#isStopped = true;
    this.#cancelTimer();
    await this.#running;
  }

  async #run(): Promise<void> {
    const { store, clock, retentionMs, onError } = this.#options;
    let deleted = 0;
    try {
      deleted = await store.purgeAudit(clock.now() - retentionMs, LINES);
    } catch (error) {
      onError("old lines of the audit log can't be deleted; trying again in an hour", error);
    }
    if (this.#isStopped) return;
    this.#cancelTimer = clock.timer(deleted === LINES ? PAUSE_MS : EVERY_MS, () => this.start());
  }
}
