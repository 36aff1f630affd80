/**
 * An account's events as they are accepted, for those who listen. The event log is the buffer: each listener reads it
 * as fast as it takes, so that nothing is held in memory for a slow one and no publish ever waits for anybody.
 */
import type { Clock } from './clock.ts';
import { PosthornError } from './errors.ts';
import type { Store } from './store/store.ts';

/** What a listener may be behind; older events are missed, and it is told so. */
export const BUFFERED_EVENTS = 1_000;

const LISTENERS_AN_ACCOUNT = 10;
const LISTENERS_IN_ALL = 200;
/** What another node accepted is seen after so long; what this one did, at once. */
const LOOK_EVERY_MS = 1_000;
/** So that a busy account's listeners don't read its log at every event. */
const LOOK_PAUSE_MS = 100;
/** Transactions on PostgreSQL become visible in another order than that of their times: each look goes so far back. */
const OVERLAP_MS = 60_000;
/** Without an event to begin at: the database's clock may differ by as much. */
const START_MS = 600_000;

/** A place in an account's log: a time (unix ms) and the event there; null before all events of that time. */
export interface Position {
  createdAt: number;
  eventId: string | null;
}

/** @returns what {@link parsePosition} reads, such as `1767225600000.evt_01kas4h3bq0000w3r8y0e6a1kd` */
export function formatPosition({ createdAt, eventId }: Position): string {
  return `${createdAt}.${eventId ?? ''}`;
}

/** Null for a text that is no position. */
export function parsePosition(text: string): Position | null {
  const [, createdAt, eventId] = /^(\d{1,15})\.([A-Za-z0-9_:.-]{0,128})$/.exec(text) ?? [];
  if (createdAt === undefined) return null;
  return { createdAt: Number(createdAt), eventId: eventId || null };
}

/** An event of the log, without its body. */
export interface EventRef {
  eventId: string;
  event: string;
  /** Unix ms. */
  createdAt: number;
}

export interface LiveEventsOptions {
  store: Pick<Store, 'recentEvents'>;
  clock: Pick<Clock, 'now' | 'monotonic' | 'timer'>;
  /** Several nodes accept events: one that goes on after a break is sent those of the last minute once more. */
  sharedStore: boolean;
  /** How long the log keeps events. */
  retentionMs: number;
}

/** Who listens in this process, and to whose events. */
export class LiveEvents {
  readonly #options: LiveEventsOptions;
  readonly #byAccount = new Map<string, Set<LiveListener>>();
  #count = 0;
  #closed = false;

  constructor(options: LiveEventsOptions) {
    this.#options = options;
  }

  /**
   * Begins to listen: at what is accepted from now on, or after `position`.
   *
   * @throws PosthornError `rate_limited` when the account or the process has too many listeners, `unavailable` when the
   *   process is stopping
   */
  listen(username: string, position: Position | null): LiveListener {
    if (this.#closed)
      throw new PosthornError('unavailable', 'this server is stopping', { retryAfterSeconds: 1 });
    const listeners = this.#byAccount.get(username) ?? new Set();
    const isFull = listeners.size >= LISTENERS_AN_ACCOUNT;
    if (isFull || this.#count >= LISTENERS_IN_ALL) {
      throw new PosthornError(
        'rate_limited',
        isFull
          ? `account ${JSON.stringify(username)} has ${LISTENERS_AN_ACCOUNT} listeners already; end one of them`
          : `${LISTENERS_IN_ALL} are listening to this server already; try again later`,
        { retryAfterSeconds: 10 },
      );
    }
    const listener = new LiveListener(username, position, this.#options, () => this.#leave(listener));
    this.#byAccount.set(username, listeners.add(listener));
    this.#count += 1;
    return listener;
  }

  /** This process has stored an event of the account. Cheap, and never throws. */
  accepted(username: string): void {
    const listeners = this.#byAccount.get(username);
    if (listeners !== undefined) for (const listener of listeners) listener.wake();
  }

  /** Ends every listener; no other may begin. */
  close(): void {
    this.#closed = true;
    for (const listeners of this.#byAccount.values()) for (const listener of [...listeners]) listener.close();
  }

  #leave(listener: LiveListener): void {
    const listeners = this.#byAccount.get(listener.username);
    if (!listeners?.delete(listener)) return;
    this.#count -= 1;
    if (listeners.size === 0) this.#byAccount.delete(listener.username);
  }
}

/** One listener. Whoever has it must {@link LiveListener.close} it. */
export class LiveListener {
  readonly username: string;
  readonly #options: LiveEventsOptions;
  readonly #onClose: () => void;
  /** Up to where the log was read. */
  #position: Position | null;
  /** What the last look has seen; null before the first. */
  #seen: Set<string> | null = null;
  #lookedAt = Number.NEGATIVE_INFINITY;
  #woken = false;
  #wakeUp: () => void = () => {};
  #closed = false;

  constructor(username: string, position: Position | null, options: LiveEventsOptions, onClose: () => void) {
    this.username = username;
    this.#position = position;
    this.#options = options;
    this.#onClose = onClose;
  }

  get closed(): boolean {
    return this.#closed;
  }

  /** A listener that begins here gets what is accepted after the last look. Null before the first look. */
  get position(): Position | null {
    return this.#position;
  }

  /**
   * What was accepted since the last look, oldest first, and whether older events than these were missed because the
   * listener was too far behind. Rejects as the store does; then nothing has moved.
   */
  async look(): Promise<{ found: EventRef[]; missed: boolean }> {
    const { store, clock, retentionMs } = this.#options;
    this.#woken = false;
    this.#lookedAt = clock.monotonic();
    const now = clock.now();
    const from = this.#position;
    const since = from === null ? now - START_MS : from.createdAt - OVERLAP_MS;
    const recent = await store.recentEvents(this.username, since, BUFFERED_EVENTS);
    const seen = this.#seen ?? this.#before(recent);
    const fresh = recent.filter(({ eventId }) => !seen.has(eventId));
    const oldest = recent.at(-1);
    const isCut = recent.length === BUFFERED_EVENTS && oldest !== undefined && !seen.has(oldest.eventId);
    const missed =
      from !== null &&
      ((isCut && oldest.createdAt >= from.createdAt) ||
        (this.#seen === null && from.createdAt < now - retentionMs));
    this.#seen = new Set(recent.map(({ eventId }) => eventId));
    const newest = recent[0];
    if (newest !== undefined && newest.createdAt >= (from?.createdAt ?? 0)) this.#position = newest;
    else this.#position ??= { createdAt: since, eventId: null };
    return { found: fresh.reverse(), missed };
  }

  /** Of the first look: what is not to be sent, because it was before the listener or was sent to it already. */
  #before(recent: readonly EventRef[]): Set<string> {
    const from = this.#position;
    if (from === null) return new Set(recent.map(({ eventId }) => eventId));
    const at = recent.findIndex(({ eventId }) => eventId === from.eventId);
    const old = at === -1 ? recent.filter(({ createdAt }) => createdAt <= from.createdAt) : recent.slice(at);
    const repeatedSince = this.#options.sharedStore ? from.createdAt - OVERLAP_MS : Number.POSITIVE_INFINITY;
    return new Set(
      old
        .filter(({ createdAt, eventId }) => createdAt < repeatedSince || eventId === from.eventId)
        .map(({ eventId }) => eventId),
    );
  }

  /** Something was accepted: the next look comes sooner. */
  wake(): void {
    this.#woken = true;
    this.#wakeUp();
  }

  /** Resolves when another look is due, or the listener was closed. */
  async untilNextLook(): Promise<void> {
    await this.#sleep(this.#lookedAt + LOOK_PAUSE_MS, () => false);
    await this.#sleep(this.#lookedAt + LOOK_EVERY_MS, () => this.#woken);
  }

  async #sleep(until: number, isEnough: () => boolean): Promise<void> {
    const { clock } = this.#options;
    for (;;) {
      const leftMs = until - clock.monotonic();
      if (leftMs <= 0 || this.#closed || isEnough()) return;
      const { promise, resolve } = Promise.withResolvers<void>();
      this.#wakeUp = resolve;
      const cancel = clock.timer(leftMs, resolve);
      await promise;
      cancel();
    }
  }

  /** Twice is once. */
  close(): void {
    this.#closed = true;
    this.#wakeUp();
    this.#onClose();
  }
}
