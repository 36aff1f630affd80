/** How the orchestrator speaks with its load generator and its receiver: numbered orders over the channel of `spawn`. */
import type { ChildProcess } from 'node:child_process';
import { once } from 'node:events';

interface Order<T> {
  id: number;
  order: T;
}

interface Answer {
  id: number;
  answer?: unknown;
  error?: string;
}

/** Unix milliseconds with fractions, comparable between the processes of one machine. */
export function preciseNow(): number {
  return performance.timeOrigin + performance.now();
}

/**
 * The child's side: carries out orders as they come, and ends with the parent.
 *
 * @param carryOut - what it resolves to is the answer; what it throws is thrown at the asker
 */
export function answerOrders<T>(carryOut: (order: T) => unknown): void {
  process.on('message', (message: Order<T>) => {
    const { id, order } = message;
    Promise.resolve()
      .then(() => carryOut(order))
      .then(
        (answer) => process.send?.({ id, answer } satisfies Answer),
        (error: unknown) => process.send?.({ id, error: String(error) } satisfies Answer),
      );
  });
  process.once('disconnect', () => process.exit(0));
}

/** The parent's side of {@link answerOrders}. The child must have been spawned with `serialization: 'advanced'`. */
export class Orders<T> {
  readonly #child: ChildProcess;
  readonly #name: string;
  readonly #waiting = new Map<number, PromiseWithResolvers<unknown>>();
  #asked = 0;

  constructor(name: string, child: ChildProcess) {
    this.#name = name;
    this.#child = child;
    child.on('message', ({ id, answer, error }: Answer) => {
      const waiter = this.#waiting.get(id);
      this.#waiting.delete(id);
      if (error === undefined) waiter?.resolve(answer);
      else waiter?.reject(new Error(`${name}: ${error}`));
    });
    void once(child, 'exit').then(([code, signal]) => {
      for (const waiter of this.#waiting.values())
        waiter.reject(new Error(`${name} ended with ${signal ?? code}`));
      this.#waiting.clear();
    });
  }

  /** @throws Error with the child's reason, or when the child has ended */
  async ask<Result>(order: T): Promise<Result> {
    if (this.#child.exitCode !== null || this.#child.signalCode !== null)
      throw new Error(`${this.#name} has ended`);
    const id = ++this.#asked;
    const waiter = Promise.withResolvers<unknown>();
    this.#waiting.set(id, waiter);
    this.#child.send({ id, order } satisfies Order<T>);
    return (await waiter.promise) as Result;
  }
}
