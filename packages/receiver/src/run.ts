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

/** A lease is extended twice before it would end. */
const RENEWALS_PER_LEASE = 3;

/** Runs the handler of each event once: reserve, handle, complete or release. */
export function createRunner(options: RunnerOptions): Runner {
  const { handlerOf, store, leaseMs, rememberMs, report } = options;
  const running = new Map<string, Promise<RunOutcome>>();
  const active = new Set<Promise<RunOutcome>>();

  const runOnce = async (event: WebhookEvent): Promise<RunOutcome> => {
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
      // Deliveries of one event at the same time share one run and its end: none has to come again.
      const shared = store === null ? undefined : running.get(event.event_id);
      if (shared !== undefined) return shared;
      const run = runOnce(event).finally(() => {
        active.delete(run);
        if (running.get(event.event_id) === run) running.delete(event.event_id);
      });
      active.add(run);
      if (store !== null) running.set(event.event_id, run);
      return run;
    },
    async idle() {
      while (active.size > 0) await Promise.allSettled(active);
    },
  };
}

function storeFailed(step: string, cause: unknown): WebhookError {
  return new WebhookError('store_failed', `The idempotency store could not ${step} the event`, { cause });
}
