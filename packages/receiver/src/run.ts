import { WebhookError } from './errors.ts';
import type { WebhookEvent } from './event.ts';
import type { IdempotencyStore } from './idempotency/store.ts';

/** How a run ended well. */
export type RunOutcome =
  | 'handled'
  /** It was handled before. */
  | 'duplicate'
  /** Nobody asked for this type. */
  | 'ignored';

export interface RunnerOptions {
  /** Null when nobody handles this type. */
  handlerOf(event: WebhookEvent): ((event: WebhookEvent) => unknown) | null;
  /** Null: every delivery is handled. */
  store: IdempotencyStore | null;
  leaseMs: number;
  rememberMs: number;
  report(error: WebhookError, event: WebhookEvent): void;
}

export interface Runner {
  /** @throws WebhookError `handler_failed`, `store_failed` or `busy`, after reporting the first two */
  run(event: WebhookEvent): Promise<RunOutcome>;
  /** Resolves when nothing runs. */
  idle(): Promise<void>;
}

interface SharedRun {
  outcome: Promise<RunOutcome>;
  /**
   * When its timer last went off, in unix milliseconds. Cloudflare Workers freeze what a request has begun when they end the
   * request, and its promise then never settles: after a lease without a sign of it the store decides.
   */
  aliveAt: number;
}

/** A lease is extended twice before it would end. */
const RENEWALS_PER_LEASE = 3;

/** Runs the handler of each event once: reserve, handle, complete or release. */
export function createRunner(options: RunnerOptions): Runner {
  const { handlerOf, store, leaseMs, rememberMs, report } = options;
  const running = new Map<string, SharedRun>();
  const active = new Set<Promise<RunOutcome>>();

  const runOnce = async (event: WebhookEvent, isAlive: () => void): Promise<RunOutcome> => {
    const handler = handlerOf(event);
    if (handler === null) return 'ignored';
    if (store === null) return handle(handler, event);

    const { event_id: key } = event;
    const token = crypto.randomUUID();
    const reservation = await store.reserve(key, token, leaseMs).catch((cause: unknown) => {
      throw reported(storeFailed('reserve', cause), event);
    });
    if (reservation === 'done') return 'duplicate';
    if (reservation === 'busy') {
      throw new WebhookError('busy', 'This event is being handled elsewhere: try again later');
    }

    const renewal = setInterval(() => {
      isAlive();
      store
        .reserve(key, token, leaseMs)
        .catch((cause: unknown) => report(storeFailed('extend', cause), event));
    }, leaseMs / RENEWALS_PER_LEASE);
    // A handler that never ends is no reason for a process to live on.
    (renewal as { unref?(): void }).unref?.();
    try {
      await handle(handler, event);
    } catch (error) {
      // What can't be released is free when the lease ends.
      await store.release(key, token).catch((cause: unknown) => report(storeFailed('release', cause), event));
      throw error;
    } finally {
      clearInterval(renewal);
    }
    await complete(store, event, token);
    return 'handled';
  };

  const handle = async (
    handler: (event: WebhookEvent) => unknown,
    event: WebhookEvent,
  ): Promise<RunOutcome> => {
    try {
      await handler(event);
      return 'handled';
    } catch (cause) {
      throw reported(
        new WebhookError('handler_failed', `The handler of ${event.event} failed`, { cause }),
        event,
      );
    }
  };

  /** The work is done whatever comes of this: an error here must not make the sender send it again. */
  const complete = async (from: IdempotencyStore, event: WebhookEvent, token: string): Promise<void> => {
    try {
      if (await from.complete(event.event_id, token, rememberMs)) return;
      report(
        new WebhookError(
          'lease_lost',
          `${event.event_id} took longer than its lease, which nobody extended: it may have been handled twice`,
        ),
        event,
      );
    } catch (cause) {
      report(storeFailed('complete', cause), event);
    }
  };

  const reported = (error: WebhookError, event: WebhookEvent): WebhookError => {
    report(error, event);
    return error;
  };

  return {
    run(event) {
      const { event_id: key } = event;
      // Deliveries of one event at the same time share one run and its end: none has to come again.
      const shared = store === null ? undefined : running.get(key);
      if (shared !== undefined && Date.now() - shared.aliveAt < leaseMs) return shared.outcome;
      const outcome = runOnce(event, () => (run.aliveAt = Date.now())).finally(() => {
        active.delete(outcome);
        if (running.get(key) === run) running.delete(key);
      });
      const run: SharedRun = { outcome, aliveAt: Date.now() };
      active.add(outcome);
      if (store !== null) running.set(key, run);
      return outcome;
    },
    async idle() {
      while (active.size > 0) await Promise.allSettled(active);
    },
  };
}

function storeFailed(step: string, cause: unknown): WebhookError {
  return new WebhookError('store_failed', `The idempotency store could not ${step} the event`, { cause });
}
