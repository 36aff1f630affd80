import type { Clock } from '../clock.ts';

/** What ends when its time is over. */
export interface Timed {
  onDeadline(): void;
}

/** Of one time limit: what was added first is due first. */
interface Queue {
  readonly dueAtMs: Map<Timed, number>;
  cancelTimer: () => void;
}

/** A timer may fire so much early by the finer clock. */
const EARLY_MS = 1;

/**
 * Time limits of many things of which most end before: one timer for all that have the same limit, so that adding and
 * removing costs a map's entry each.
 *
 * @example
 * deadlines.add(attempt, 5_000); // attempt.onDeadline() is called in 5 s …
 * deadlines.delete(attempt, 5_000); // … unless it has ended
 */
export class Deadlines {
  readonly #clock: Pick<Clock, 'monotonic' | 'timer'>;
  readonly #queues = new Map<number, Queue>();

  constructor(clock: Pick<Clock, 'monotonic' | 'timer'>) {
    this.#clock = clock;
  }

  /** @param timeoutMs from now */
  add(timed: Timed, timeoutMs: number): void {
    let queue = this.#queues.get(timeoutMs);
    if (queue === undefined) {
      queue = { dueAtMs: new Map(), cancelTimer: () => {} };
      this.#queues.set(timeoutMs, queue);
      this.#arm(queue, timeoutMs, timeoutMs);
    }
    queue.dueAtMs.set(timed, this.#clock.monotonic() + timeoutMs);
  }

  /** Has no effect on what isn't there any more. */
  delete(timed: Timed, timeoutMs: number): void {
    const queue = this.#queues.get(timeoutMs);
    if (queue === undefined || !queue.dueAtMs.delete(timed) || queue.dueAtMs.size > 0) return;
    queue.cancelTimer();
    this.#queues.delete(timeoutMs);
  }

  #arm(queue: Queue, timeoutMs: number, delayMs: number): void {
    queue.cancelTimer = this.#clock.timer(delayMs, () => this.#expire(queue, timeoutMs));
  }

  #expire(queue: Queue, timeoutMs: number): void {
    const nowMs = this.#clock.monotonic();
    const due: Timed[] = [];
    for (const [timed, dueAtMs] of queue.dueAtMs) {
      if (dueAtMs > nowMs + EARLY_MS) {
        this.#arm(queue, timeoutMs, dueAtMs - nowMs);
        break;
      }
      due.push(timed);
      queue.dueAtMs.delete(timed);
    }
    if (queue.dueAtMs.size === 0) this.#queues.delete(timeoutMs);
    for (const timed of due) timed.onDeadline();
  }
}
