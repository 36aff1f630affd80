/**
 * From a publisher's words to a stored event: sealing gives the id and the exact bytes that are signed; the
 * {@link Publisher} lets concurrent requests share commits.
 */
import { hash } from 'node:crypto';
import stableStringify from 'fast-json-stable-stringify';
import { type Clock, systemClock, toSeconds } from './clock.ts';
import { invalid, PosthornError, unavailable } from './errors.ts';
import { FairShares } from './fair-shares.ts';
import { refuseInexactNumbers } from './json.ts';
import type { JsonObject, SealedEvent } from './model.ts';
import type { Claimed, LeaseOffer, PublishResult, Store } from './store/store.ts';

// ---------------------------------------------------------------- sealing

/** What a publisher says, named as on the wire. */
export interface EventInput {
  username: string;
  /** The event type's name; the catalogue judges whether it exists and whether `data` fits. */
  event: string;
  data: JsonObject;
  /** 1–128 of letters, digits, `_ - : .`; the same one again makes a publish idempotent. */
  event_id?: string;
  /** Whole unix seconds, up to the year 9999. Default: now. */
  timestamp?: number;
}

export interface SealContext {
  nowMs: number;
  /** Makes the id of an event that came without one; an `idFactory()` fits. */
  makeId: (prefix: 'evt', nowMs: number) => string;
  /** Largest sealed body, in bytes of UTF-8. */
  maxBodyBytes: number;
}

const EVENT_ID = /^[A-Za-z0-9_\-:.]{1,128}$/;
/** 9999-12-31T23:59:59Z: what lies beyond are milliseconds taken for seconds. */
const LAST_TIMESTAMP = 253_402_300_799;

/**
 * Seals an event: the body is written once, here, and these bytes are what every endpoint, retry and replay gets
 * (wire contract, section 2). Keys of `data` keep the publisher's order.
 *
 * @throws PosthornError `invalid_parameter` of field `event_id`, `timestamp` or `data`; `too_large` when the body is over
 * the limit.
 *
 * @example
 * sealEvent({ username: 'acme', event: 'order.paid', data: { id: 7 } }, context).body;
 * // '{"event_id":"evt_01kas4…","event":"order.paid","timestamp":1767225600,"data":{"id":7}}'
 */
export function sealEvent(input: EventInput, context: SealContext): SealedEvent {
  const { username, event, data } = input;
  const eventId = input.event_id === undefined ? context.makeId('evt', context.nowMs) : input.event_id;
  if (typeof eventId !== 'string' || !EVENT_ID.test(eventId)) {
    throw invalid('event_id', 'event_id must be 1 to 128 letters, digits, "_", "-", ":" and "."');
  }
  const timestamp = input.timestamp === undefined ? toSeconds(context.nowMs) : input.timestamp;
  if (!Number.isInteger(timestamp) || timestamp < 0 || timestamp > LAST_TIMESTAMP) {
    throw invalid(
      'timestamp',
      `timestamp must be whole unix seconds from 0 to ${LAST_TIMESTAMP}, not milliseconds`,
    );
  }
  checkData(data);

  let dataText: string;
  try {
    dataText = JSON.stringify(data);
    refuseInexactNumbers('data', data);
  } catch (error) {
    if (error instanceof PosthornError) throw error;
    // A cycle, a bigint, a toJSON that throws, more levels than the stack: only an embedding application can send these.
    const reason = error instanceof Error ? error.message : String(error);
    throw new PosthornError('invalid_parameter', `data can't be written as JSON: ${reason}`, {
      field: 'data',
      cause: error,
    });
  }
  // As JSON.stringify writes the whole; neither the id nor the time has a character that it would escape.
  const body = `{"event_id":"${eventId}","event":${JSON.stringify(event)},"timestamp":${timestamp},"data":${dataText}}`;
  // Counted only when it may be too much: UTF-8 takes three bytes for a unit of UTF-16 at most.
  const bytes = body.length * 3 > context.maxBodyBytes ? Buffer.byteLength(body) : 0;
  if (bytes > context.maxBodyBytes) {
    throw new PosthornError(
      'too_large',
      `the event has ${bytes} bytes as a sealed body, the limit is ${context.maxBodyBytes}: ` +
        'publish a link to large content instead of the content',
      { field: 'data' },
    );
  }
  return {
    username,
    eventId,
    event,
    timestamp,
    body,
    fingerprint: input.event_id === undefined ? null : fingerprintOf(event, data, dataText),
    timestampGiven: input.timestamp !== undefined,
  };
}

function checkData(data: unknown): void {
  if (typeof data !== 'object' || data === null || Array.isArray(data)) {
    throw invalid('data', 'data must be a JSON object');
  }
  // A Date, for one, would be sealed as a text.
  if ('toJSON' in data && typeof data.toJSON === 'function') {
    throw invalid('data', 'data must be a plain JSON object, not one with a toJSON method');
  }
}

type Keyed = { key: string };
/** The package's types leave its options out. */
const sortedJson: (data: JsonObject, options?: { cmp: (a: Keyed, b: Keyed) => number }) => string =
  stableStringify;

/** Half of a character beyond U+FFFF. */
const SURROGATE = /[\ud800-\udfff]/;

/**
 * Hex SHA-256 over the type and `data` with sorted keys: a repeat may spell the same content in another order.
 *
 * PostgreSQL makes the same one where an event is published from SQL (`posthorn.fingerprint`), and sorts by code points.
 * JavaScript's own order by UTF-16 units is quicker, and differs only beside characters beyond U+FFFF.
 */
function fingerprintOf(event: string, data: JsonObject, dataText: string): string {
  let canonical: string;
  if (SURROGATE.test(dataText)) canonical = sortedJson(data, { cmp: byCodePoints });
  else canonical = isInOrder(data) ? dataText : sortedJson(data);
  return hash('sha256', `${event}\n${canonical}`, 'hex');
}

/**
 * Whether `JSON.stringify` writes a value with its keys sorted already, as most programs send them. Only plain values
 * are judged: whatever JSON would convert is left to the slower way.
 */
function isInOrder(value: unknown): boolean {
  switch (typeof value) {
    case 'string':
    case 'number':
    case 'boolean':
      return true;
    case 'object':
      break;
    default:
      return false;
  }
  if (value === null) return true;
  if (Array.isArray(value)) return value.every(isInOrder);
  const prototype: unknown = Object.getPrototypeOf(value);
  if (prototype !== Object.prototype && prototype !== null) return false;
  let before: string | null = null;
  for (const key of Object.keys(value)) {
    if (before !== null && key < before) return false;
    if (!isInOrder((value as JsonObject)[key])) return false;
    before = key;
  }
  return true;
}

function byCodePoints({ key: a }: Keyed, { key: b }: Keyed): number {
  // UTF-8 keeps the order of code points. It makes halves of characters equal, which UTF-16 tells apart.
  return Buffer.compare(Buffer.from(a), Buffer.from(b)) || (a < b ? -1 : 1);
}

// ---------------------------------------------------------------- group commit

export interface PublisherLimits {
  /** Most events that requests share a commit for; a single larger request is stored alone. */
  maxBatchEvents: number;
  /** Most bytes of bodies that requests share a commit for; a single larger request is stored alone. */
  maxBatchBytes: number;
  /** Batches that may be with the store at the same time. */
  maxConcurrentBatches: number;
  /**
   * How long, in ms, the last batch must have been with the store before another joins it. A store that answers sooner
   * gets one full batch after another, which costs it least; one that hangs on a batch doesn't hold up the rest.
   *
   * Where batches take long because the machine is busy, it is three times what they took lately, up to ten times this.
   */
  joinAfterMs: number;
  /** Events that may wait for their batch; beyond it publishing is refused for a second. */
  maxWaitingEvents: number;
  /** Bytes of bodies that may wait for their batch. */
  maxWaitingBytes: number;
}

const MIB = 1024 * 1024;

export const DEFAULT_PUBLISHER_LIMITS: Readonly<PublisherLimits> = {
  maxBatchEvents: 500,
  maxBatchBytes: 4 * MIB,
  maxConcurrentBatches: 1,
  joinAfterMs: 0,
  maxWaitingEvents: 10_000,
  maxWaitingBytes: 64 * MIB,
};

/** One batch that went to the store, for telemetry. */
export interface BatchInfo {
  /** Calls of {@link Publisher.publish} that shared it. */
  requests: number;
  events: number;
  bytes: number;
  /** Deliveries that were leased with it. */
  leases: number;
  durationMs: number;
  /** Whether the store took it. */
  stored: boolean;
  /** What was waiting for the next batch when this one ended. */
  waitingEvents: number;
  waitingBytes: number;
}

export interface PublisherOptions {
  store: Pick<Store, 'publish'>;
  /** What the dispatcher would attempt now; asked at the moment a batch is sent. Must not throw. */
  offer: () => LeaseOffer | null;
  /**
   * Gets what the batch leased, before its callers get their results. Not called for a failed batch. Must not throw.
   *
   * @param askedAtMs monotonic ms, read before the store was called: leases last from then on at least
   */
  onClaimed: (claimed: Claimed, askedAtMs: number) => void;
  /** Told of each event and its result after the commit, before its caller is. Must not throw. */
  onStored?: (event: SealedEvent, result: PublishResult) => void;
  /** Absent ones have the default. */
  limits?: Partial<PublisherLimits>;
  /** Must not throw. */
  onBatch?: (info: BatchInfo) => void;
  clock?: Pick<Clock, 'monotonic' | 'timer'>;
}

/** A batch that takes so many times as long as those before waits for something else than its turn. */
const JOIN_FACTOR = 3;
/** The most that is waited, in parts of {@link PublisherLimits.joinAfterMs}. */
const MAX_JOIN_PARTS = 10;
/** What a batch took counts so much in the mean of the last ones. */
const LAST_BATCH_SHARE = 1 / 8;

interface Request {
  /** Whose events these are; empty for those of several accounts. */
  account: string;
  events: readonly SealedEvent[];
  bytes: number;
  resolve: (results: PublishResult[]) => void;
  reject: (error: unknown) => void;
}

/**
 * Groups concurrent publishes into transactions. A request that meets an idle publisher goes to the store at once;
 * what arrives while a batch is being committed forms the next one. So a lone request never waits for company, and
 * under load the cost of a commit is shared by all who waited for it.
 *
 * @example
 * const publisher = new Publisher({
 *   store,
 *   offer: () => dispatcher.offer(),
 *   onClaimed: (claimed, askedAtMs) => dispatcher.accept(claimed, askedAtMs),
 * });
 * const [result] = await publisher.publish([sealEvent(input, context)]);
 */
export class Publisher {
  readonly #options: PublisherOptions;
  readonly #limits: PublisherLimits;
  readonly #clock: Pick<Clock, 'monotonic' | 'timer'>;
  #waiting: Request[] = [];
  readonly #waitingEvents: FairShares;
  readonly #waitingBytes: FairShares;
  #batchesInFlight = 0;
  /** Monotonic ms. */
  #lastSentAtMs = 0;
  /** What batches took lately, in ms. */
  #usualMs = 0;
  #cancelJoin: (() => void) | null = null;
  #stopped: PromiseWithResolvers<void> | null = null;

  constructor(options: PublisherOptions) {
    this.#options = options;
    this.#limits = { ...DEFAULT_PUBLISHER_LIMITS, ...options.limits };
    this.#clock = options.clock ?? systemClock;
    this.#waitingEvents = new FairShares(this.#limits.maxWaitingEvents);
    this.#waitingBytes = new FairShares(this.#limits.maxWaitingBytes);
  }

  /**
   * Stores events durably, each one standing alone; resolves after the commit with one result an event, in order.
   *
   * Rejects with `unavailable` when too much is waiting already (nothing was stored, try again after
   * `retryAfterSeconds`) or after {@link Publisher.stop}; with `rate_limited` when too much of what waits is of the same
   * account, while others still get in; with the store's error when its batch failed.
   */
  publish(events: readonly SealedEvent[]): Promise<PublishResult[]> {
    if (this.#stopped !== null) {
      return Promise.reject(unavailable('the service is stopping and takes no more events: try again'));
    }
    if (events.length === 0) return Promise.resolve([]);
    let bytes = 0;
    for (const event of events) bytes += Buffer.byteLength(event.body);
    const account = accountOf(events);
    const idle = this.#batchesInFlight < this.#limits.maxConcurrentBatches;
    // An idle publisher takes a request of any size: it doesn't wait, so it is no part of the backlog.
    const refusal = idle ? null : this.#refusalOf(account, events.length, bytes);
    if (refusal !== null) return Promise.reject(refusal);
    const { promise, resolve, reject } = Promise.withResolvers<PublishResult[]>();
    this.#waiting.push({ account, events, bytes, resolve, reject });
    this.#waitingEvents.take(account, events.length);
    this.#waitingBytes.take(account, bytes);
    this.#sendWhatMayGo();
    return promise;
  }

  /**
   * Refuses new events from now on; resolves when what was accepted before has been stored or has failed. May be called
   * more than once.
   */
  stop(): Promise<void> {
    this.#stopped ??= Promise.withResolvers<void>();
    this.#settleStop();
    return this.#stopped.promise;
  }

  #refusalOf(account: string, events: number, bytes: number): PosthornError | null {
    const refused = [
      this.#waitingEvents.refusal(account, events),
      this.#waitingBytes.refusal(account, bytes),
    ];
    if (refused.includes('full')) {
      return unavailable(
        `${this.#waitingEvents.taken} events are waiting to be stored, which is the limit: try again`,
      );
    }
    if (!refused.includes('share')) return null;
    const whose = account === '' ? 'requests for several accounts' : `account ${JSON.stringify(account)}`;
    return new PosthornError(
      'rate_limited',
      `too many events of ${whose} are waiting to be stored, the rest is kept for others: try again`,
      { retryAfterSeconds: 1 },
    );
  }

  #sendWhatMayGo(): void {
    this.#cancelJoin?.();
    this.#cancelJoin = null;
    while (this.#waiting.length > 0 && this.#batchesInFlight < this.#limits.maxConcurrentBatches) {
      const nowMs = this.#clock.monotonic();
      const waitMs = this.#batchesInFlight === 0 ? 0 : this.#lastSentAtMs + this.#joinAfterMs() - nowMs;
      if (waitMs > 0) {
        this.#cancelJoin = this.#clock.timer(waitMs, () => this.#sendWhatMayGo());
        return;
      }
      this.#lastSentAtMs = nowMs;
      this.#batchesInFlight += 1;
      void this.#send(this.#takeBatch());
    }
  }

  #joinAfterMs(): number {
    const { joinAfterMs } = this.#limits;
    return Math.max(joinAfterMs, Math.min(JOIN_FACTOR * this.#usualMs, MAX_JOIN_PARTS * joinAfterMs));
  }

  /**
   * What has waited longest, whole, as far as it fits together; never none. Where not everything fits, each account first
   * gets its part of the batch: who has thousands waiting is no reason for another's one to wait for them.
   */
  #takeBatch(): Request[] {
    const { maxBatchEvents, maxBatchBytes } = this.#limits;
    let batch: Request[];
    if (this.#waitingEvents.taken <= maxBatchEvents && this.#waitingBytes.taken <= maxBatchBytes) {
      batch = this.#waiting;
      this.#waiting = [];
    } else {
      const taken = this.#chooseFairly();
      batch = this.#waiting.filter((request) => taken.has(request));
      this.#waiting = this.#waiting.filter((request) => !taken.has(request));
    }
    for (const { account, events, bytes } of batch) {
      this.#waitingEvents.give(account, events.length);
      this.#waitingBytes.give(account, bytes);
    }
    return batch;
  }

  #chooseFairly(): Set<Request> {
    const { maxBatchEvents, maxBatchBytes } = this.#limits;
    const share = Math.max(1, Math.floor(maxBatchEvents / this.#waitingEvents.owners));
    const taken = new Set<Request>();
    const takenOf = new Map<string, number>();
    let events = 0;
    let bytes = 0;
    // Each its share, then what others left over.
    for (const most of [share, Number.POSITIVE_INFINITY]) {
      const passedOver = new Set<string>();
      for (const request of this.#waiting) {
        const before = takenOf.get(request.account) ?? 0;
        if (taken.has(request) || passedOver.has(request.account)) continue;
        if (before > 0 && before + request.events.length > most) {
          // Its later ones mustn't pass it.
          passedOver.add(request.account);
          continue;
        }
        const fits =
          events + request.events.length <= maxBatchEvents && bytes + request.bytes <= maxBatchBytes;
        if (taken.size > 0 && !fits) break;
        taken.add(request);
        takenOf.set(request.account, before + request.events.length);
        events += request.events.length;
        bytes += request.bytes;
      }
    }
    return taken;
  }

  async #send(batch: Request[]): Promise<void> {
    const events: SealedEvent[] = [];
    let bytes = 0;
    for (const request of batch) {
      for (const event of request.events) events.push(event);
      bytes += request.bytes;
    }
    const startedAt = this.#clock.monotonic();
    let stored = false;
    let leased = 0;
    try {
      const { results, leases, nextDueAt } = await this.#options.store.publish(events, this.#options.offer());
      stored = true;
      leased = leases.length;
      if (results.length !== events.length) {
        throw new PosthornError(
          'internal',
          'the store answered for another number of events than it was given',
        );
      }
      this.#options.onClaimed({ leases, nextDueAt }, startedAt);
      if (this.#options.onStored !== undefined) {
        for (const [i, event] of events.entries()) this.#options.onStored(event, results[i] as PublishResult);
      }
      let from = 0;
      for (const request of batch) {
        const until = from + request.events.length;
        request.resolve(results.slice(from, until));
        from = until;
      }
    } catch (error) {
      for (const request of batch) request.reject(error);
    }
    const durationMs = this.#clock.monotonic() - startedAt;
    // One that hung says nothing about the next, so it counts as one that just didn't.
    this.#usualMs += LAST_BATCH_SHARE * (Math.min(durationMs, this.#joinAfterMs()) - this.#usualMs);
    this.#batchesInFlight -= 1;
    this.#options.onBatch?.({
      requests: batch.length,
      events: events.length,
      bytes,
      leases: leased,
      durationMs,
      stored,
      waitingEvents: this.#waitingEvents.taken,
      waitingBytes: this.#waitingBytes.taken,
    });
    this.#sendWhatMayGo();
    this.#settleStop();
  }

  #settleStop(): void {
    if (this.#batchesInFlight === 0 && this.#waiting.length === 0) this.#stopped?.resolve();
  }
}

/** The account of a request's events; empty where they are of several. */
function accountOf(events: readonly SealedEvent[]): string {
  const { username } = events[0] as SealedEvent;
  return events.every((event) => event.username === username) ? username : '';
}
