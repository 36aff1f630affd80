/**
 * Runs deliveries: takes leases (from a publish, a settlement or a claim), attempts them lane by lane, and writes their
 * ends in batches. What one attempt is stands in {@link ./deliver.ts}; here is only who goes when.
 *
 * A held lease is `ready` → `running` → `settling`, and its slot is free again only when the store has taken the
 * settlement: so a store that is away stops the intake by itself.
 */
import { type Clock, idTimeMs } from '../clock.ts';
import { PosthornError } from '../errors.ts';
import type { Attempt } from '../model.ts';
import type {
  CircuitPolicy,
  Claimed,
  EndpointTurn,
  Lease,
  LeaseOffer,
  LeaseRef,
  SettleResult,
  Settlement,
  Store,
} from '../store/store.ts';
import { jittered } from './circuit.ts';
import { deliver, type DeliverContext, type Opener } from './deliver.ts';
import { Lanes } from './lanes.ts';
import { RecentIds } from './recent-ids.ts';
import type { Requester } from './request.ts';
import { PASSED_ON, type Tracing } from '../tracing.ts';
import { traceIdOf } from '../trace-context.ts';
import { KeyRing } from './sign.ts';
import { StoreClock } from './store-clock.ts';

const LEASE_MS = 90_000;
/** What must be left of a lease beside the attempt's time limit, to settle it before it ends. */
const LEASE_MARGIN_MS = 5_000;
const MAX_SETTLE_BATCH = 400;
/** Settle calls at once: while one is being committed, the next one's way to the store costs no time. */
const MAX_SETTLE_CALLS = 2;
/** A further call costs a share of a commit, so it is made for this many at least; fewer wait for the call before. */
const MIN_FURTHER_BATCH = 50;
/** What is held of a lane, in parts of what may run: its next work is at hand while the last is being written. */
const HELD_SHARE = 2;
/** As {@link HELD_SHARE}, while the process holds little: a few lanes must keep it as busy as many do. */
const WIDE_HELD_SHARE = 12;
/** Event bodies held, in characters, beyond which it isn't little any more. */
const LITTLE_BODY_LENGTH = 16 * 1024 * 1024;
const BACKOFF_MIN_MS = 100;
const BACKOFF_MAX_MS = 5_000;
/** How long {@link Dispatcher.stop} waits for the store beyond the grace of the attempts. */
const STOP_STORE_MS = 2_000;
/**
 * Leases of a publish that was under way while their endpoint changed may carry its old state: for this time after a
 * change they are given back and claimed anew.
 */
const CHANGE_MEMORY_MS = 5_000;
/** Deliveries that wait for an attempt on a fresh connection are remembered up to this number. */
const MAX_NEED_FRESH = 10_000;
/** As a time: now, by any clock. */
const DUE = Number.NEGATIVE_INFINITY;

export interface DispatcherOptions {
  store: Store;
  requester: Requester;
  open: Opener;
  clock: Clock;
  /** `Posthorn-Webhook/<version>`. */
  userAgent: string;
  settings: {
    /** The delay before each retry. */
    retryScheduleMs: readonly number[];
    /** For endpoints that have none of their own. */
    timeoutMs: number;
    /** Attempts of one endpoint at once. */
    laneLimit: number;
    /**
     * Other processes may deliver from the same store, whose clock is a database's. While one does, what all hold of an
     * endpoint together is bounded by `laneLimit`, which only the store can count; alone, a process may hold more than
     * it runs. Default false: the store goes by this process's clock.
     */
    sharedStore?: boolean;
    /** Attempts at once in all. */
    inFlightLimit: number;
    /** When an endpoint that keeps failing is probed and given up; absent: never. */
    circuit?: CircuitPolicy;
    /** How far a retry's delay may stray, as a part of it; default 0.1. */
    retryJitter?: number;
    /** Receivers get a `traceparent` of attempts that belong to a trace; default false. */
    sendsTraceparent?: boolean;
    /** Claims are made at least this often, for work that nobody announced; default 1000. */
    pollMs?: number;
  };
  /** Default: no spans, see `tracing.ts`. */
  tracing?: Tracing;
  /** Told of every attempt once the store has judged its settlement. */
  onAttempt?: (report: AttemptReport) => void;
  /** Told of each endpoint from which on only probes go, whose lane is open again, or that was disabled. Must not throw. */
  onEndpointTurn?: (turn: EndpointTurn) => void;
  /** Told of every call that moves leases, when the store has answered it or failed. Must not throw. */
  onStoreCall?: (call: StoreCall) => void;
  /** Told of leases that were given back unattempted because too little of them was left. Must not throw. */
  onLeasesExpired?: (count: number) => void;
  /** Told of what failed on our side; the dispatcher goes on. */
  onError?: (message: string, error: unknown) => void;
}

/** One call of the store that moves leases, for telemetry. */
export interface StoreCall {
  operation: 'claim' | 'settle' | 'release';
  /** Attempts that were to be settled, or leases that were to be released; 0 for a claim. */
  items: number;
  /** New leases that it brought. */
  leases: number;
  durationMs: number;
  /** Whether the store did it. */
  done: boolean;
}

/** An attempt and what it led to. */
export interface AttemptReport {
  username: string;
  eventId: string;
  /** The event type's name. */
  event: string;
  deliveryId: string;
  endpointId: string;
  attempt: Attempt;
  /** `stale`: the lease had ended and somebody else owns the delivery; nothing was written. */
  next: 'delivered' | 'pending' | 'dead' | 'cancelled' | 'stale';
  /** Unix ms by this process's clock, as `attempt.startedAt`; null unless `next` is `pending`. */
  nextAttemptAt: number | null;
  /**
   * Milliseconds from the delivery's making to this attempt's start, when it is the first one and nobody asked for it by
   * hand; else null.
   */
  waitedMs: number | null;
  /** Of the trace in which the event was published, 32 hex digits; null without one. */
  traceId: string | null;
}

interface EndpointChange {
  count: number;
  /** Monotonic ms. */
  atMs: number;
}

interface TakenLease {
  lease: Lease;
  /**
   * Monotonic ms at which it ends at the earliest, counted from before the store was asked for it: `leasedUntil` is a
   * time by the store's clock, and a wall clock may jump.
   */
  endsAtMs: number;
}

interface Held extends TakenLease {
  state: 'ready' | 'running' | 'settling';
  readonly endpointId: string;
  readonly rateLimitPerSecond: number | null;
  settlement: Settlement | null;
  /** A lease of the same delivery that arrived while the store had this one's settlement. */
  newer: TakenLease | null;
}

/**
 * @example
 * const dispatcher = new Dispatcher({ store, requester, open, clock, userAgent, settings });
 * await store.recover();
 * dispatcher.start();
 * …
 * await dispatcher.stop(8_000); // then requester.close(), then store.close()
 */
export class Dispatcher {
  readonly #store: Store;
  readonly #clock: Clock;
  /** What the store tells as a time, and is told, is by this one. */
  readonly #storeClock: StoreClock;
  readonly #settings: DispatcherOptions['settings'];
  readonly #pollMs: number;
  readonly #context: DeliverContext;
  readonly #onAttempt: (report: AttemptReport) => void;
  readonly #onError: (message: string, error: unknown) => void;
  readonly #onEndpointTurn: (turn: EndpointTurn) => void;
  readonly #onStoreCall: (call: StoreCall) => void;
  readonly #onLeasesExpired: (count: number) => void;
  readonly #lanes: Lanes<Held>;
  /** By delivery id. */
  readonly #held = new Map<string, Held>();
  /** Of the events of what is held, in characters. */
  #heldBodyLength = 0;
  readonly #abort = new AbortController();
  #phase: 'new' | 'running' | 'stopped' = 'new';
  #stopping: Promise<void> | null = null;

  /** Attempts that ended and that the store hasn't been told of yet. */
  #outbox: Held[] = [];
  #settleCalls = 0;
  #batchLimit = MAX_SETTLE_BATCH;
  #settleFailures = 0;
  #cancelSettleRetry: (() => void) | null = null;

  #claiming = false;
  #claimFailures = 0;
  /** Unix ms by the store's clock; infinite when nothing is known to wait, minus infinite when something is due. */
  #nextClaimAt = Number.POSITIVE_INFINITY;
  /** Monotonic ms of the next claim that nobody asked for. */
  #pollAtMs = 0;
  #cancelClaimTimer: (() => void) | null = null;
  #cancelRateTimer: (() => void) | null = null;
  #releasing = 0;

  /** Counts endpoint changes, so that what a store call answers can be told to be older than one. */
  #changeCount = 0;
  readonly #changes = new Map<string, EndpointChange>();
  readonly #watchers = new Set<() => void>();

  constructor(options: DispatcherOptions) {
    const { store, requester, open, clock, userAgent, settings } = options;
    this.#store = store;
    this.#clock = clock;
    this.#storeClock = new StoreClock(clock);
    this.#settings = settings;
    this.#pollMs = settings.pollMs ?? 1_000;
    this.#lanes = new Lanes(settings.laneLimit);
    this.#onAttempt = options.onAttempt ?? (() => {});
    this.#onError = guarded(options.onError ?? (() => {}));
    this.#onEndpointTurn = options.onEndpointTurn ?? (() => {});
    this.#onStoreCall = options.onStoreCall ?? (() => {});
    this.#onLeasesExpired = options.onLeasesExpired ?? (() => {});
    this.#context = {
      requester,
      open,
      ring: new KeyRing(),
      clock,
      userAgent,
      scheduleMs: settings.retryScheduleMs,
      timeoutMs: settings.timeoutMs,
      tracing: options.tracing ?? PASSED_ON,
      sendsTraceparent: settings.sendsTraceparent ?? false,
      jitter: settings.retryJitter ?? 0.1,
      needFresh: new RecentIds(MAX_NEED_FRESH),
      onError: this.#onError,
    };
  }

  /** Begins to claim and attempt. Has no effect after {@link stop}. */
  start(): void {
    if (this.#phase !== 'new') return;
    this.#phase = 'running';
    this.#nextClaimAt = DUE;
    this.#claimIfDue();
  }

  /** What can be taken now, for a publish to lease at once; null when nothing can. */
  offer(): LeaseOffer | null {
    const { laneLimit, inFlightLimit, sharedStore } = this.#settings;
    const held = this.#held.size;
    if (this.#phase !== 'running') return null;
    // Beside others no more than may run: what this process holds in reserve they could run beside what runs here.
    if (sharedStore === true && !this.#store.isSoleDeliverer())
      return offerOf(HELD_SHARE * inFlightLimit - held, laneLimit);
    if (this.#heldBodyLength > LITTLE_BODY_LENGTH) {
      return offerOf(HELD_SHARE * inFlightLimit - held, HELD_SHARE * laneLimit);
    }
    // One part more than lanes of the usual share fill: what lanes that hang hold of the wide one must not cost others.
    const limit = Math.min((HELD_SHARE + 1) * inFlightLimit - held, inFlightLimit);
    return offerOf(limit, (held < inFlightLimit ? WIDE_HELD_SHARE : HELD_SHARE) * laneLimit);
  }

  /**
   * Takes what a publish leased. Never throws.
   *
   * @param askedAtMs monotonic ms, read before the store was called
   */
  accept(claimed: Claimed, askedAtMs: number): void {
    const sinceMs = this.#clock.monotonic() - CHANGE_MEMORY_MS;
    this.#takeNew(claimed.leases, askedAtMs, (change) => change.atMs > sinceMs);
    if (claimed.nextDueAt !== null) this.#claimBy(claimed.nextDueAt);
  }

  /** Something may be due: claims soon. Calls in a row cost one claim. */
  wake(): void {
    this.#claimBy(DUE);
  }

  /**
   * An endpoint was updated, disabled or deleted: what hasn't started is given back, so that no attempt starts from its
   * old state once this returns.
   */
  endpointChanged(endpointId: string): void {
    const atMs = this.#clock.monotonic();
    for (const [id, change] of this.#changes) {
      // A store call takes longer than this only when the store is in trouble; a lease ends by then.
      if (change.atMs > atMs - LEASE_MS) break;
      this.#changes.delete(id);
    }
    this.#changes.delete(endpointId);
    this.#changeCount += 1;
    this.#changes.set(endpointId, { count: this.#changeCount, atMs });
    this.#giveBack(this.#lanes.drain(endpointId));
  }

  /**
   * Ends in order: no new attempt, ready leases are given back, running attempts get `graceMs` to end and are then
   * aborted and given back, what ended is written. Resolves at the latest 2 s after the grace; what a store that is away
   * didn't take by then is attempted again when its lease ends.
   */
  stop(graceMs: number): Promise<void> {
    this.#stopping ??= this.#stop(graceMs);
    return this.#stopping;
  }

  get depth(): { inFlight: number; ready: number; settling: number } {
    const inFlight = this.#lanes.running;
    const ready = this.#lanes.ready;
    return { inFlight, ready, settling: this.#held.size - inFlight - ready };
  }

  // ------------------------------------------------------------ taking

  /** `isOlder` tells whether leases that arrive now may be from before a change of their endpoint. */
  #takeNew(leases: readonly Lease[], askedAtMs: number, isOlder: (change: EndpointChange) => boolean): void {
    const [first] = leases;
    if (this.#settings.sharedStore === true && first !== undefined) {
      this.#storeClock.learn(first.leasedUntil - LEASE_MS, askedAtMs);
    }
    this.#take(leases, askedAtMs + LEASE_MS, isOlder);
  }

  #take(leases: readonly Lease[], endsAtMs: number, isOlder: (change: EndpointChange) => boolean): void {
    const refused: Lease[] = [];
    for (const lease of leases) {
      const change = this.#changes.get(lease.endpoint.endpointId);
      const known = this.#held.get(lease.deliveryId);
      if (known !== undefined && known.state !== 'ready') this.#adopt(known, { lease, endsAtMs });
      else if (this.#phase === 'stopped' || (change !== undefined && isOlder(change))) refused.push(lease);
      else if (known !== undefined) this.#adopt(known, { lease, endsAtMs });
      else this.#hold(lease, endsAtMs);
    }
    if (refused.length > 0) void this.#release(refused);
    this.#pump();
  }

  #hold(lease: Lease, endsAtMs: number): void {
    const { endpointId, rateLimitPerSecond } = lease.endpoint;
    const held: Held = {
      lease,
      endsAtMs,
      state: 'ready',
      endpointId,
      rateLimitPerSecond,
      settlement: null,
      newer: null,
    };
    this.#held.set(lease.deliveryId, held);
    this.#heldBodyLength += lease.event.body.length;
    this.#lanes.add(held);
  }

  #drop({ lease }: Held): void {
    this.#held.delete(lease.deliveryId);
    this.#heldBodyLength -= lease.event.body.length;
  }

  /** A clock that jumped made our own lease look expired to the store: the new token counts, the attempt goes on. */
  #adopt(held: Held, taken: TakenLease): void {
    if (held.state === 'settling' && !this.#outbox.includes(held)) {
      held.newer = taken;
      return;
    }
    held.lease = taken.lease;
    held.endsAtMs = taken.endsAtMs;
    if (held.settlement !== null) held.settlement = { ...held.settlement, token: taken.lease.token };
  }

  // ------------------------------------------------------------ attempting

  #pump(): void {
    this.#cancelRateTimer?.();
    this.#cancelRateTimer = null;
    const expired: Held[] = [];
    while (this.#phase !== 'stopped' && this.#lanes.running < this.#settings.inFlightLimit) {
      const taken = this.#lanes.take(this.#clock.monotonic());
      if (taken.item === null) {
        if (taken.waitMs !== null) {
          this.#cancelRateTimer = this.#clock.timer(taken.waitMs, () => this.#pump());
        }
        break;
      }
      const held = taken.item;
      if (this.#hasTimeLeft(held)) {
        void this.#attempt(held);
      } else {
        this.#lanes.finish(held.endpointId);
        expired.push(held);
      }
    }
    if (expired.length > 0) this.#onLeasesExpired(expired.length);
    this.#giveBack(expired);
  }

  #hasTimeLeft({ lease, endsAtMs }: TakenLease): boolean {
    const timeoutMs = lease.endpoint.timeoutMs ?? this.#settings.timeoutMs;
    return endsAtMs - this.#clock.monotonic() >= timeoutMs + LEASE_MARGIN_MS;
  }

  async #attempt(held: Held): Promise<void> {
    held.state = 'running';
    try {
      const settlement = await deliver(held.lease, this.#context, this.#abort.signal);
      // The lease may have been given anew meanwhile.
      settlement.token = held.lease.token;
      held.settlement = settlement;
      held.state = 'settling';
      this.#outbox.push(held);
    } catch (error) {
      // Only an abort comes here, and only stop() aborts.
      if (!this.#abort.signal.aborted) {
        this.#onError(`delivery ${held.lease.deliveryId} was given up in mid-attempt`, error);
      }
      this.#giveBack([held]);
    }
    this.#lanes.finish(held.endpointId);
    this.#pump();
    void this.#flush();
    this.#changed();
  }

  // ------------------------------------------------------------ settling

  /** Few batches at a time: what ends while they are being written forms the next. */
  async #flush(): Promise<void> {
    if (!this.#maySettle()) return;
    this.#settleCalls += 1;
    const limit = this.#batchLimit;
    const batch = this.#outbox.splice(0, limit);
    const settlements = batch.map((held) => this.#byStoreClock(held.settlement as Settlement));
    const changeCount = this.#changeCount;
    const askedAtMs = this.#clock.monotonic();
    const offer = this.offer();
    const dueAt = this.#nextClaimAt;
    // It claims too, so that no claim is due beside it.
    if (offer !== null) this.#nextClaimAt = Number.POSITIVE_INFINITY;
    try {
      const settled = await this.#store.settle(settlements, offer, this.#circuit());
      this.#tellCall('settle', batch.length, askedAtMs, settled);
      this.#settleFailures = 0;
      // Only one that was made alone tells that the refused one is gone.
      if (limit === 1) this.#batchLimit = MAX_SETTLE_BATCH;
      batch.forEach((held, i) => this.#settled(held, settled.results[i] as SettleResult));
      for (const turn of settled.turns ?? []) this.#turned(turn);
      this.#takeNew(settled.leases, askedAtMs, (change) => change.count > changeCount);
      this.#noteDue(settled);
    } catch (error) {
      this.#tellCall('settle', batch.length, askedAtMs, null);
      this.#nextClaimAt = Math.min(this.#nextClaimAt, dueAt);
      this.#settleFailed(batch, error);
    }
    this.#settleCalls -= 1;
    void this.#flush();
    this.#claimIfDue();
    this.#changed();
  }

  /** With pauses of its own for each call. */
  #circuit(): CircuitPolicy | null {
    const { circuit } = this.#settings;
    return circuit === undefined ? null : jittered(circuit, this.#context.jitter, this.#clock.random());
  }

  #turned(turn: EndpointTurn): void {
    // What hasn't begun waits in the store with the rest, and spends no attempt on a lane known to be dead.
    if (turn.to !== 'open') this.endpointChanged(turn.endpointId);
    this.#onEndpointTurn(turn);
  }

  #maySettle(): boolean {
    if (this.#cancelSettleRetry !== null) return false;
    if (this.#settleCalls === 0) return this.#outbox.length > 0;
    const isSearching = this.#batchLimit === 1;
    return !isSearching && this.#settleCalls < MAX_SETTLE_CALLS && this.#outbox.length >= MIN_FURTHER_BATCH;
  }

  /** A retry is due so long after its attempt, whatever the time is by the two clocks. */
  #byStoreClock(settlement: Settlement): Settlement {
    const { next } = settlement;
    if (next.status !== 'pending') return settlement;
    const dueAt = Math.round(next.dueAt - this.#clock.now() + this.#storeClock.now());
    return { ...settlement, next: { ...next, dueAt } };
  }

  #settled(held: Held, result: SettleResult): void {
    const { lease, newer } = held;
    const settlement = held.settlement as Settlement;
    if (newer !== null && result.outcome === 'stale' && newer.lease.attempts === lease.attempts) {
      // The store had given the lease anew before it read the settlement: the same attempt, under the new token.
      held.newer = null;
      held.lease = newer.lease;
      held.endsAtMs = newer.endsAtMs;
      held.settlement = { ...settlement, token: newer.lease.token };
      this.#outbox.push(held);
      return;
    }
    this.#drop(held);
    this.#report(lease, settlement, result);
    if (settlement.disableEndpoint !== undefined && result.outcome === 'settled') {
      this.endpointChanged(held.endpointId);
    }
    if (newer !== null) this.#take([newer.lease], newer.endsAtMs, () => false);
  }

  #settleFailed(batch: Held[], error: unknown): void {
    const refused = error instanceof PosthornError && error.kind !== 'unavailable';
    if (refused && batch.length === 1) {
      // Alone and refused for what it is: kept, it would hold up all others for ever.
      const [held] = batch as [Held];
      this.#drop(held);
      this.#onError(
        `the store refused the attempt of delivery ${held.lease.deliveryId}; it is attempted again when its lease ends`,
        error,
      );
      return;
    }
    this.#outbox = [...batch, ...this.#outbox];
    for (const held of batch) {
      if (held.newer === null) continue;
      const newer = held.newer;
      held.newer = null;
      this.#adopt(held, newer);
    }
    if (refused) {
      this.#batchLimit = 1;
      return;
    }
    this.#onError('attempts could not be written; trying again', error);
    // The call beside it may have failed first.
    if (this.#cancelSettleRetry !== null) return;
    this.#settleFailures += 1;
    this.#cancelSettleRetry = this.#clock.timer(backoffMs(this.#settleFailures), () => {
      this.#cancelSettleRetry = null;
      void this.#flush();
    });
  }

  #report(lease: Lease, settlement: Settlement, result: SettleResult): void {
    const next = result.outcome === 'stale' ? 'stale' : result.status;
    const dueAt = settlement.next.status === 'pending' ? settlement.next.dueAt : null;
    try {
      this.#onAttempt({
        username: lease.username,
        eventId: lease.event.eventId,
        event: lease.event.event,
        deliveryId: lease.deliveryId,
        endpointId: lease.endpoint.endpointId,
        attempt: settlement.attempt,
        next,
        nextAttemptAt: next === 'pending' ? dueAt : null,
        waitedMs: this.#waitedMs(lease, settlement.attempt),
        traceId: traceIdOf(lease.event.trace),
      });
    } catch (error) {
      this.#onError('the listener to attempts threw', error);
    }
  }

  /** The id tells when the delivery was made, by the store's clock. */
  #waitedMs({ deliveryId }: Lease, { number, manual, startedAt }: Attempt): number | null {
    if (number > 1 || manual) return null;
    const startedByStore = startedAt - this.#clock.now() + this.#storeClock.now();
    return Math.max(0, startedByStore - idTimeMs(deliveryId));
  }

  /** @param answer null when the store failed */
  #tellCall(
    operation: StoreCall['operation'],
    items: number,
    askedAtMs: number,
    answer: Pick<Claimed, 'leases'> | null,
  ): void {
    const durationMs = this.#clock.monotonic() - askedAtMs;
    this.#onStoreCall({
      operation,
      items,
      leases: answer?.leases.length ?? 0,
      durationMs,
      done: answer !== null,
    });
  }

  // ------------------------------------------------------------ claiming

  #claimBy(at: number): void {
    this.#nextClaimAt = Math.min(this.#nextClaimAt, at);
    this.#armClaimTimer();
  }

  /**
   * A claim that found nothing although something is due met full lanes: until an attempt ends (whose settlement claims
   * by itself) or the next poll, another would find nothing too.
   */
  #noteDue({ leases, nextDueAt }: Claimed): void {
    if (nextDueAt === null) return;
    if (leases.length === 0 && nextDueAt <= this.#storeClock.now()) return;
    this.#nextClaimAt = Math.min(this.#nextClaimAt, nextDueAt);
  }

  #armClaimTimer(): void {
    if (this.#phase !== 'running' || this.#claiming) return;
    const untilPollMs = this.#pollAtMs - this.#clock.monotonic();
    // Without room only a settlement changes anything, and that claims by itself.
    const untilDueMs = this.offer() === null ? this.#pollMs : this.#nextClaimAt - this.#storeClock.now();
    this.#cancelClaimTimer?.();
    this.#cancelClaimTimer = this.#clock.timer(Math.max(1, Math.min(untilDueMs, untilPollMs)), () => {
      this.#cancelClaimTimer = null;
      if (this.#clock.monotonic() >= this.#pollAtMs) {
        this.#nextClaimAt = DUE;
        this.#pollAtMs = this.#clock.monotonic() + this.#pollMs;
      }
      this.#claimIfDue();
    });
  }

  #claimIfDue(): void {
    if (this.#phase !== 'running' || this.#claiming) return;
    const offer = this.#nextClaimAt <= this.#storeClock.now() ? this.offer() : null;
    if (offer === null) this.#armClaimTimer();
    else void this.#claim(offer);
  }

  async #claim(offer: LeaseOffer): Promise<void> {
    this.#claiming = true;
    this.#nextClaimAt = Number.POSITIVE_INFINITY;
    const changeCount = this.#changeCount;
    const askedAtMs = this.#clock.monotonic();
    let nextPollMs = this.#pollMs;
    try {
      const claimed = await this.#store.claim(offer);
      this.#tellCall('claim', 0, askedAtMs, claimed);
      this.#claimFailures = 0;
      this.#takeNew(claimed.leases, askedAtMs, (change) => change.count > changeCount);
      this.#noteDue(claimed);
    } catch (error) {
      this.#tellCall('claim', 0, askedAtMs, null);
      this.#claimFailures += 1;
      nextPollMs = backoffMs(this.#claimFailures);
      this.#onError('due deliveries could not be claimed; trying again', error);
    }
    this.#claiming = false;
    this.#pollAtMs = this.#clock.monotonic() + nextPollMs;
    this.#armClaimTimer();
    this.#changed();
  }

  // ------------------------------------------------------------ giving back

  #giveBack(held: readonly Held[]): void {
    if (held.length === 0) return;
    for (const one of held) this.#drop(one);
    void this.#release(held.map(({ lease }) => lease));
  }

  async #release(leases: readonly LeaseRef[]): Promise<void> {
    this.#releasing += 1;
    const askedAtMs = this.#clock.monotonic();
    try {
      await this.#store.release(
        leases.map(({ username, deliveryId, token }) => ({ username, deliveryId, token })),
      );
      this.#tellCall('release', leases.length, askedAtMs, { leases: [] });
    } catch (error) {
      this.#tellCall('release', leases.length, askedAtMs, null);
      this.#onError(
        `${leases.length} leases could not be given back; their deliveries wait until they end`,
        error,
      );
    }
    this.#releasing -= 1;
    this.wake();
    this.#changed();
  }

  // ------------------------------------------------------------ stopping

  async #stop(graceMs: number): Promise<void> {
    this.#phase = 'stopped';
    this.#cancelClaimTimer?.();
    this.#cancelRateTimer?.();
    this.#giveBack(this.#lanes.drain());
    await this.#until(() => this.#lanes.running === 0, graceMs);
    this.#abort.abort(new Error('the dispatcher stopped'));
    this.#dropSettleRetry();
    void this.#flush();
    const written = await this.#until(
      () => this.#held.size === 0 && this.#settleCalls === 0 && !this.#claiming && this.#releasing === 0,
      STOP_STORE_MS,
    );
    this.#dropSettleRetry();
    if (!written) {
      this.#onError(
        `stopped with ${this.#held.size} attempts that the store did not take; they are made again`,
        null,
      );
    }
  }

  #dropSettleRetry(): void {
    this.#cancelSettleRetry?.();
    this.#cancelSettleRetry = null;
  }

  /** Resolves with true when `reached` holds, with false when it doesn't within `limitMs`. */
  #until(reached: () => boolean, limitMs: number): Promise<boolean> {
    if (reached()) return Promise.resolve(true);
    return new Promise((resolve) => {
      const end = (): void => {
        cancel();
        this.#watchers.delete(watch);
        resolve(reached());
      };
      const watch = (): void => {
        if (reached()) end();
      };
      const cancel = this.#clock.timer(limitMs, end);
      this.#watchers.add(watch);
    });
  }

  #changed(): void {
    if (this.#watchers.size === 0) return;
    for (const watch of [...this.#watchers]) watch();
  }
}

function offerOf(limit: number, laneLimit: number): LeaseOffer | null {
  return limit > 0 ? { limit, laneLimit, leaseMs: LEASE_MS } : null;
}

function backoffMs(failures: number): number {
  return Math.min(BACKOFF_MAX_MS, BACKOFF_MIN_MS * 2 ** Math.min(failures - 1, 10));
}

/** A reporter that throws must not stop deliveries. */
function guarded(report: (message: string, error: unknown) => void): DeliverContext['onError'] {
  return (message, error) => {
    try {
      report(message, error);
    } catch {
      // There is nobody left to tell.
    }
  };
}
