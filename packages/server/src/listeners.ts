/**
 * Listeners by name. What one of them throws, or rejects with, reaches `onError` and nobody else.
 *
 * @example
 * const listeners = new Listeners<{ attempt: AttemptReport }>(onError);
 * const off = listeners.on('attempt', (report) => count(report.attempt.outcome));
 */
export class Listeners<Events extends object> {
  readonly #byName = new Map<keyof Events, Set<(event: never) => unknown>>();
  readonly #onError: (message: string, error: unknown) => void;

  constructor(onError: (message: string, error: unknown) => void) {
    this.#onError = onError;
  }

  /** Answers how to end it; the same listener twice is one. */
  on<Name extends keyof Events>(name: Name, listener: (event: Events[Name]) => unknown): () => void {
    let listeners = this.#byName.get(name);
    if (listeners === undefined) {
      listeners = new Set();
      this.#byName.set(name, listeners);
    }
    listeners.add(listener);
    return () => this.off(name, listener);
  }

  off<Name extends keyof Events>(name: Name, listener: (event: Events[Name]) => unknown): void {
    this.#byName.get(name)?.delete(listener);
  }

  /** Never throws. */
  emit<Name extends keyof Events>(name: Name, event: Events[Name]): void {
    const listeners = this.#byName.get(name);
    if (listeners === undefined) return;
    const failed = (error: unknown) => this.#onError(`a listener to ${String(name)} failed`, error);
    // A copy: a listener may take itself or others away.
    for (const listener of [...listeners] as ((event: Events[Name]) => unknown)[]) {
      try {
        const result = listener(event);
        if (result instanceof Promise) result.catch(failed);
      } catch (error) {
        failed(error);
      }
    }
  }
}
