import type { JoggEvents } from './jogg-events.ts';
import { WebhookError } from './errors.ts';
import type { EventTypes, WebhookEvent } from './event.ts';
import type { RequestHeaders } from './headers.ts';
import { memoryIdempotency } from './idempotency/memory.ts';
import type { IdempotencyStore } from './idempotency/store.ts';
import type { EventQueue } from './queue.ts';
import { createRunner, type RunOutcome } from './run.ts';
import { misconfigured } from './secrets.ts';
import { createVerifier, type RawBody, type VerifyOptions, verifyWith } from './verify.ts';

/** What handles events of each type. It may take its time, and rejects or throws when the event has to come again. */
export type Handlers<Events> = {
  [Name in keyof Events & string]?: (event: WebhookEvent<Name, Events[Name]>) => unknown;
};

export interface ReceiverOptions<Events> extends VerifyOptions {
  on: Handlers<Events>;
  /** Handles the types that `on` doesn't name. Without it they are acknowledged and nothing happens. */
  onUnknown?: (event: WebhookEvent) => unknown;
  /**
   * Told of everything that goes wrong: refused deliveries, failed handlers (`error.cause` is what was thrown), failed
   * stores. Default: what is the receiver's fault (status 500 and up) goes to `console.error`.
   */
  onError?: (error: WebhookError, context: { event?: WebhookEvent }) => unknown;
  /** Default {@link memoryIdempotency}; `false` handles every delivery, duplicates too. */
  idempotency?: IdempotencyStore | false;
  /**
   * For how long an event belongs to a process that handles it, unless that extends it: so long an event waits after
   * the process has died. Default 60 000.
   */
  leaseMs?: number;
  /**
   * For how long an event that was handled is remembered. Default 7 days, twice as long as Posthorn's retries; so long
   * a replay of it is a duplicate, too.
   */
  rememberMs?: number;
  /** Acknowledge once the event is in this queue and handle it later. Without one an event is handled before the answer. */
  queue?: EventQueue;
  /** Longer bodies are refused with 413. Default 1 MiB; Posthorn sends 256 KiB at most unless its operator says otherwise. */
  maxBodyBytes?: number;
  /**
   * An event that isn't handled by then is answered with 503 and handled on; a later delivery of it finds it done. Default
   * 4 000, because senders wait 5 s. Not with a queue.
   */
  answerWithinMs?: number;
}

export interface ReceiverRequest {
  /** Anything but POST is refused. Absent: the framework has seen to it. */
  method?: string | undefined;
  headers: RequestHeaders;
  body: RawBody;
}

export interface ReceiverAnswer {
  status: number;
  headers: Record<string, string>;
  /** JSON: `{ status }`, or `{ error, message }`. The sender's delivery log shows it. */
  body: string;
}

/** What the runtime offers beside the request. */
export interface ReceiverHost {
  /** Keeps a runtime that stops after the answer alive until this has resolved. */
  waitUntil?: ((work: Promise<unknown>) => void) | undefined;
}

export interface Receiver {
  readonly maxBodyBytes: number;
  /** Verifies one delivery, handles or queues its event, and says what to answer. Never rejects. */
  receive(request: ReceiverRequest, host?: ReceiverHost): Promise<ReceiverAnswer>;
  /** The answer to a request that couldn't be read; told to `onError`. */
  refuse(error: unknown): ReceiverAnswer;
  /**
   * Handles an event that was verified when it was queued: for workers of a queue outside of this process.
   *
   * @throws WebhookError `handler_failed`, `store_failed` or `busy`: let the queue try again
   */
  run(event: WebhookEvent): Promise<RunOutcome>;
  /**
   * Refuses deliveries from now on (503: they come again) and resolves when what was accepted is handled, or after
   * `timeoutMs` (default 10 000). False: something still runs.
   */
  close(options?: { timeoutMs?: number }): Promise<boolean>;
}

const DEFAULT_LEASE_MS = 60_000;
const DEFAULT_REMEMBER_MS = 7 * 24 * 60 * 60 * 1000;
const DEFAULT_MAX_BODY_BYTES = 1024 * 1024;
const DEFAULT_ANSWER_WITHIN_MS = 4_000;
const DEFAULT_CLOSE_TIMEOUT_MS = 10_000;
const RETRY_AFTER_SECONDS = '5';

/**
 * A receiver of webhooks: verifies, drops duplicates, calls your handlers, and answers the sender so that it sends again
 * what failed. Mount it with the adapter of your framework. Without a type parameter it knows the 22 event types of the
 * JoggAI webhook API.
 *
 * @throws WebhookError `invalid_configuration`, so that a mistake shows at the start and not at the first delivery
 *
 * @example
 * const receiver = createReceiver({
 *   secrets: process.env.WEBHOOK_SECRET,
 *   on: {
 *     generated_video_success: async (event) => publishVideo(event.data.video_url),
 *   },
 * });
 * createServer(nodeHandler(receiver)).listen(3000);
 */
export function createReceiver<Events extends EventTypes<Events> = JoggEvents>(
  // Not inferred from the handlers: a misspelt type would then be a type of its own.
  options: ReceiverOptions<NoInfer<Events>>,
): Receiver {
  const {
    queue,
    maxBodyBytes = DEFAULT_MAX_BODY_BYTES,
    answerWithinMs = DEFAULT_ANSWER_WITHIN_MS,
    leaseMs = DEFAULT_LEASE_MS,
    rememberMs = DEFAULT_REMEMBER_MS,
    idempotency = memoryIdempotency(),
  } = options;
  for (const [name, value] of Object.entries({ maxBodyBytes, answerWithinMs, leaseMs, rememberMs })) {
    if (!(value > 0)) throw misconfigured(`${name} must be a number above 0`);
  }
  if (typeof options.on !== 'object' || options.on === null)
    throw misconfigured('on has the handlers, by event type');
  const verifier = createVerifier(options);
  const handlers = options.on as Readonly<Record<string, ((event: WebhookEvent) => unknown) | undefined>>;

  const report = (error: WebhookError, event?: WebhookEvent): void => {
    try {
      const told = options.onError;
      if (told !== undefined)
        void Promise.resolve(told(error, event === undefined ? {} : { event })).catch(logFailure);
      else if (error.status >= 500) console.error(error);
    } catch (failure) {
      logFailure(failure);
    }
  };
  const runner = createRunner({
    handlerOf: ({ event: name }) =>
      (Object.hasOwn(handlers, name) ? handlers[name] : undefined) ?? options.onUnknown ?? null,
    store: idempotency === false ? null : idempotency,
    leaseMs,
    rememberMs,
    report,
  });
  let closing = false;

  const accept = async (request: ReceiverRequest): Promise<WebhookEvent> => {
    const { method, headers, body } = request;
    if (method !== undefined && method !== 'POST') {
      throw new WebhookError('method_not_allowed', `Deliveries are POST requests, this is ${method}`);
    }
    if (closing) throw new WebhookError('closing', 'This receiver is stopping: try again later');
    if (sizeOf(body) > maxBodyBytes) throw bodyTooLarge(maxBodyBytes);
    return verifyWith(verifier, body, headers);
  };

  const enqueue = async (
    to: EventQueue,
    event: WebhookEvent,
    host: ReceiverHost,
  ): Promise<ReceiverAnswer> => {
    const gaveUp = (cause: unknown): void =>
      report(new WebhookError('gave_up', `${event.event_id} is tried no more`, { cause }), event);
    try {
      await to.add({ event, run: () => runner.run(event), gaveUp });
    } catch (cause) {
      throw new WebhookError('queue_failed', 'The event could not be queued: try again later', { cause });
    }
    if (to.idle !== undefined) host.waitUntil?.(to.idle());
    return answer(202, { status: 'queued' });
  };

  const handle = async (event: WebhookEvent, host: ReceiverHost): Promise<ReceiverAnswer> => {
    const run = runner.run(event);
    // Not only when it is slow: the sender may go away, and some runtimes then end what its request has begun.
    host.waitUntil?.(run.catch(() => {}));
    const outcome = await within(answerWithinMs, run);
    if (outcome !== null) return answer(200, { status: outcome });
    throw new WebhookError(
      'handler_slow',
      `The event is still being handled after ${answerWithinMs} ms: a queue would answer at once`,
    );
  };

  /** Failures of a run have been reported by it. */
  const reportedByRun = new Set(['handler_failed', 'store_failed', 'busy']);
  const refuse = (error: unknown, event?: WebhookEvent): ReceiverAnswer => {
    const known =
      error instanceof WebhookError
        ? error
        : new WebhookError('unexpected', 'The receiver failed', { cause: error });
    if (!reportedByRun.has(known.code)) report(known, event);
    return answer(known.status, { error: known.code, message: known.message });
  };

  return {
    maxBodyBytes,
    async receive(request, host = {}) {
      let event: WebhookEvent | undefined;
      try {
        event = await accept(request);
        return await (queue === undefined ? handle(event, host) : enqueue(queue, event, host));
      } catch (error) {
        return refuse(error, event);
      }
    },
    refuse: (error) => refuse(error),
    run: (event) => runner.run(event),
    async close({ timeoutMs = DEFAULT_CLOSE_TIMEOUT_MS } = {}) {
      closing = true;
      const ended = Promise.all([queue?.close?.(), runner.idle()]).then(() => true);
      return (await within(timeoutMs, ended)) ?? false;
    },
  };
}

/** For adapters that stop reading where the receiver's limit is. */
export function bodyTooLarge(maxBodyBytes: number): WebhookError {
  return new WebhookError('body_too_large', `The body is longer than ${maxBodyBytes} bytes (maxBodyBytes)`);
}

function answer(status: number, body: object): ReceiverAnswer {
  const headers: Record<string, string> = { 'content-type': 'application/json' };
  if (status === 503) headers['retry-after'] = RETRY_AFTER_SECONDS;
  if (status === 405) headers.allow = 'POST';
  return { status, headers, body: JSON.stringify(body) };
}

/** In bytes; of a text at least its length, which is enough to bound what is read. */
function sizeOf(body: unknown): number {
  if (typeof body === 'string') return body.length;
  return body instanceof Uint8Array || body instanceof ArrayBuffer ? body.byteLength : 0;
}

/** What `work` resolves to, or null when it takes longer. */
async function within<T>(limitMs: number, work: Promise<T>): Promise<T | null> {
  let timer: ReturnType<typeof setTimeout> | undefined;
  const limit = new Promise<null>((resolve) => {
    timer = setTimeout(resolve, limitMs, null);
  });
  try {
    return await Promise.race([work, limit]);
  } finally {
    clearTimeout(timer);
  }
}

function logFailure(failure: unknown): void {
  console.error('onError failed', failure);
}
