import type { WebhookEvent } from './event.ts';

/** An event to be handled after its delivery was acknowledged. */
export interface QueueJob {
  /** Plain JSON: a queue outside of this process stores it, and its worker calls `receiver.run(event)`. */
  readonly event: WebhookEvent;
  /** Handles the event, once among all runs of the same event; rejects when it has to be tried again. */
  run(): Promise<unknown>;
  /** Reports to `onError` that the event is tried no more. */
  gaveUp(error: unknown): void;
}

/**
 * Where events wait to be handled. A delivery is acknowledged once `add` has resolved: from then on the queue answers for
 * the event, and the sender doesn't send it again. So a queue that must lose nothing stores the event before it resolves.
 *
 * @example
 * const queue: EventQueue = { add: ({ event }) => boss.send('webhooks', event) }; // pg-boss
 */
export interface EventQueue {
  /** Rejects when it can't take the event: the delivery is refused with 503, and the sender tries again. */
  add(job: QueueJob): unknown;
  /** Resolves when nothing waits or runs in this process; for runtimes that must be asked to live on after an answer. */
  idle?(): Promise<void>;
  /** Ends what waits and runs in this process. */
  close?(): Promise<void>;
}

export interface InProcessQueueOptions {
  /** How many events are handled at a time. Default 10. */
  concurrency?: number;
  /** How many wait at most; more are refused, so that the sender keeps them. Default 1000. */
  maxWaiting?: number;
  /** How long to wait before each further try of an event whose handler failed. Default 1 s, 10 s, 60 s; then it is given up. */
  retryDelaysMs?: readonly number[];
  /** Replaces `setTimeout` in tests; answers what cancels it. */
  timer?: (delayMs: number, fire: () => void) => () => void;
}

const DEFAULT_RETRY_DELAYS_MS = [1_000, 10_000, 60_000];

interface Waiting {
  job: QueueJob;
  /** Tries that have failed. */
  failures: number;
}

/**
 * A queue in the memory of this process. A process that is killed loses the events that wait in it, although they were
 * acknowledged: close the receiver when the process is asked to end, and where no event may be lost take a queue that
 * stores them, or none.
 */
export function inProcessQueue(options: InProcessQueueOptions = {}): EventQueue & Required<EventQueue> {
  const {
    concurrency = 10,
    maxWaiting = 1000,
    retryDelaysMs = DEFAULT_RETRY_DELAYS_MS,
    timer = startTimer,
  } = options;
  const waiting: Waiting[] = [];
  /** Waiting for their next try, with what cancels that. */
  const retrying = new Map<Waiting, () => void>();
  let running = 0;
  let closing = false;
  let whenIdle: (() => void)[] = [];

  const start = (): void => {
    while (running < concurrency) {
      const next = waiting.shift();
      if (next === undefined) break;
      running++;
      void handle(next);
    }
    if (running + waiting.length + retrying.size > 0) return;
    for (const resolve of whenIdle) resolve();
    whenIdle = [];
  };
  const handle = async (item: Waiting): Promise<void> => {
    try {
      await item.job.run();
    } catch (error) {
      failed(item, error);
    } finally {
      running--;
      start();
    }
  };
  const failed = (item: Waiting, error: unknown): void => {
    const delayMs = retryDelaysMs[item.failures++];
    if (delayMs === undefined || closing) return item.job.gaveUp(error);
    const again = (): void => {
      retrying.delete(item);
      waiting.push(item);
      start();
    };
    retrying.set(item, timer(delayMs, again));
  };
  const idle = (): Promise<void> =>
    new Promise((resolve) => {
      whenIdle.push(resolve);
      start();
    });

  return {
    add(job) {
      if (closing) throw new Error('The queue is closing');
      if (waiting.length + retrying.size >= maxWaiting) {
        throw new Error(`${maxWaiting} events wait already: raise maxWaiting or the concurrency`);
      }
      waiting.push({ job, failures: 0 });
      start();
    },
    idle,
    /** Runs what waits to its end; what waits for a retry is tried once more, now. */
    close() {
      closing = true;
      for (const [item, cancel] of retrying) {
        cancel();
        waiting.push(item);
      }
      retrying.clear();
      return idle();
    },
  };
}

function startTimer(delayMs: number, fire: () => void): () => void {
  const handle = setTimeout(fire, delayMs);
  return () => clearTimeout(handle);
}
