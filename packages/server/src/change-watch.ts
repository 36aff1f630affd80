import type { Clock } from './clock.ts';
import { PosthornError } from './errors.ts';
import type { Store } from './store/store.ts';

const LOOK_EVERY_MS = 1_000;

export interface ChangeWatchOptions {
  store: Pick<Store, 'takeChanges'>;
  clock: Pick<Clock, 'timer'>;
  /** May be told the same more than once. Must not throw. */
  onEndpoint: (endpointId: string) => void;
  /** Called again after a second when it rejects. */
  onCatalogue: () => Promise<void>;
  /** Told of defects only; that the store is away is known elsewhere. */
  onError: (message: string, error: unknown) => void;
}

/**
 * Looks every second for what other nodes have changed. They tell each other at once as well; but what is told can be
 * lost, and no delivery may go to an endpoint's old address for much longer than that.
 */
export class ChangeWatch {
  readonly #options: ChangeWatchOptions;
  #isCatalogueOld = false;
  #cancelTimer: (() => void) | null = null;
  #looking: Promise<void> | null = null;
  #stopped = false;

  constructor(options: ChangeWatchOptions) {
    this.#options = options;
  }

  /** What is changed after it has resolved is told. Rejects as the store does. */
  async start(): Promise<void> {
    await this.#options.store.takeChanges();
    this.#schedule();
  }

  /** Resolves when nothing of it is with the store any more. */
  async stop(): Promise<void> {
    this.#stopped = true;
    this.#cancelTimer?.();
    await this.#looking;
  }

  #schedule(): void {
    if (this.#stopped) return;
    this.#cancelTimer = this.#options.clock.timer(LOOK_EVERY_MS, () => {
      this.#looking = this.#look().finally(() => this.#schedule());
    });
  }

  async #look(): Promise<void> {
    const { store, onEndpoint, onCatalogue, onError } = this.#options;
    try {
      const { catalogue, endpointIds } = await store.takeChanges();
      this.#isCatalogueOld ||= catalogue;
      for (const endpointId of endpointIds) onEndpoint(endpointId);
      if (!this.#isCatalogueOld) return;
      await onCatalogue();
      this.#isCatalogueOld = false;
    } catch (error) {
      if (error instanceof PosthornError && error.kind === 'unavailable') return;
      onError('what other nodes changed could not be read; trying again', error);
    }
  }
}
