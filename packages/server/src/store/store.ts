/**
 * The store's contract: named operations, each one transaction, each comment saying what is atomic. Two engines
 * implement it and one conformance suite (`test/store.suite.ts`) tests both; nothing here betrays an engine.
 *
 * Every operation rejects with a `PosthornError`: of kind `unavailable` when the store can't be read or written (then
 * nothing was changed), `not_found` and `conflict` where the operation says so. The store judges leases and due times
 * by its own clock.
 */
import type {
  Account,
  AccountStatus,
  ApiKey,
  Attempt,
  AuditActor,
  AuditEntry,
  AuditTarget,
  Delivery,
  DeliveryDetail,
  DeliveryStatus,
  Endpoint,
  EndpointChanges,
  EndpointHealth,
  EventDetail,
  EventSummary,
  EventType,
  JsonObject,
  KeyIdentity,
  PortalLink,
  Replay,
  ReplayKind,
  SealedEvent,
  SessionIdentity,
  StatsDimension,
  StatsPoint,
} from '../model.ts';

/** One page of a list, newest first. `cursor` is a `nextCursor` of the same list; another text is refused. */
export interface PageRequest {
  limit: number;
  cursor: string | null;
}

export interface Page<T> {
  items: T[];
  /** Null at the end. */
  nextCursor: string | null;
}

// ---------------------------------------------------------------- publishing and the queue

/** What a dispatcher is ready to attempt now: how many deliveries it takes, and for how long. */
export interface LeaseOffer {
  /** At most this many leases in all. */
  limit: number;
  /**
   * At most this many unexpired leases of one lane, over all nodes; for an endpoint with a rate at most those of ten
   * seconds (one at least), so that none runs out while it waits for its turn.
   */
  laneLimit: number;
  leaseMs: number;
}

export interface LeasedEvent {
  eventId: string;
  event: string;
  body: string;
  /** The trace it was published in, see `trace-context.ts`; null without one. */
  trace: string | null;
}

/** The endpoint as it was when the lease was given. */
export type LeasedEndpoint = Pick<
  Endpoint,
  | 'endpointId'
  | 'url'
  | 'secret'
  | 'previousSecret'
  | 'previousSecretExpiresAt'
  | 'headers'
  | 'rateLimitPerSecond'
  | 'timeoutMs'
>;

/**
 * The right to attempt one delivery until `leasedUntil`, proved by `token`. From then on a claim may give the delivery
 * to somebody else; until one does, the token still settles and releases, so that an attempt that ended late isn't
 * made twice.
 */
export interface Lease {
  deliveryId: string;
  username: string;
  /** Fresh at every claim; settling and releasing demand it. */
  token: string;
  leasedUntil: number;
  /** Attempts made before this one. */
  attempts: number;
  /** Failures since the schedule last began: 0 for a new or revived delivery. */
  failures: number;
  /** The coming attempt was asked for by a person. */
  manual: boolean;
  event: LeasedEvent;
  endpoint: LeasedEndpoint;
}

export type PublishResult =
  | { outcome: 'stored'; eventId: string; deliveries: number; deliveryIds: string[] }
  | { outcome: 'duplicate'; eventId: string; deliveries: number }
  /** The id is taken by an event with other content. */
  | { outcome: 'conflict'; eventId: string }
  | { outcome: 'unknown_account'; username: string }
  /** Only with `onlyEndpointId`. */
  | { outcome: 'unknown_endpoint' | 'disabled_endpoint'; endpointId: string };

export interface LeaseRef {
  username: string;
  deliveryId: string;
  token: string;
}

/** How an attempt ended and what follows. */
export interface Settlement extends LeaseRef {
  attempt: Attempt;
  next: { status: 'delivered' } | { status: 'pending'; dueAt: number } | { status: 'dead'; reason: string };
  /** Disable the endpoint for this reason and cancel what waits for it (410 Gone), as {@link Store.updateEndpoint} does. */
  disableEndpoint?: string;
  /** The attempt failed, and by the endpoint's doing: it counts against it. */
  endpointFailed?: true;
}

/** When an endpoint that keeps failing is probed instead of served, and when it is given up. */
export interface CircuitPolicy {
  /**
   * Failures in a row, over all its deliveries and all nodes, from which on its lane takes one probe at a time, until one
   * succeeds. What else is due waits, and spends none of its attempts.
   */
  probeAfter: number;
  /** The pauses before the first probe and after each that failed, in ms; the last one holds for all further. */
  pausesMs: readonly number[];
  /** An endpoint that is probed is disabled by the failure that comes so long after its failures began; null: never. */
  disableAfterMs: number | null;
  /** Why, for its owner; the last error is added. */
  disableReason: string;
  /** The account whose endpoints are told of the endpoints of all accounts; null: none. */
  operationsUsername: string | null;
}

/**
 * What settlements made of an endpoint: only probes go to it, its lane is open again, or it was disabled. What is held of
 * one that is `probing` or `disabled` and hasn't begun is to be given back.
 */
export interface EndpointTurn {
  username: string;
  endpointId: string;
  to: 'probing' | 'open' | 'disabled';
  /** Why it was disabled; else null. */
  reason: string | null;
}

/**
 * `settled`: written, with the state it came to (`cancelled` instead of `pending` when the endpoint was deleted or
 * disabled meanwhile, or no longer takes the type). `stale`: the token no longer holds; nothing was written. It holds
 * until it has settled or released, or, once the lease has run out, until the delivery is claimed again or cancelled.
 */
export type SettleResult = { outcome: 'settled'; status: DeliveryStatus } | { outcome: 'stale' };

export interface Claimed {
  leases: Lease[];
  /**
   * When another claim may find something: in the past or now when the offer left due deliveries behind, else the
   * next due time or lease end. Null: nothing waits. It is never late, and may be early (the end of a lease that has
   * been settled since): that claim finds nothing and answers with a later time, so that nobody claims in circles. A
   * full lane counts by its leases' ends only, until a settlement or a release makes room in it.
   */
  nextDueAt: number | null;
}

// ---------------------------------------------------------------- looking

/** A field that is absent or undefined doesn't narrow the list. */
export interface DeliveryFilter {
  status?: DeliveryStatus;
  event?: string;
  endpointId?: string;
  eventId?: string;
  /** Created at or after, unix ms. */
  since?: number;
  /** Created before, unix ms. */
  until?: number;
}

/** As {@link DeliveryFilter}. */
export interface EventFilter {
  event?: string;
  eventId?: string;
  since?: number;
  until?: number;
}

export interface StatsQuery {
  /** Null: over all accounts. */
  username: string | null;
  since: number;
  until: number;
  intervalMs: number;
  by: StatsDimension | null;
}

export interface StatsResult {
  series: StatsPoint[];
  /** One point a key over the whole range (`at` = `since`); one in all when `by` is null. */
  totals: StatsPoint[];
}

export interface QueueDepth {
  /** Unfinished deliveries: waiting for their time, due, and leased. */
  scheduled: number;
  due: number;
  leased: number;
  /** Milliseconds that the oldest due delivery has waited; 0 without one. */
  oldestDueMs: number;
}

/** An endpoint that somebody should look at. */
export interface TroubledEndpoint
  extends Pick<Endpoint, 'username' | 'endpointId' | 'url' | 'status' | 'disabledReason'> {
  delivered: number;
  failedAttempts: number;
  /** Deliveries given up. */
  dead: number;
}

/** How an account, or the whole service, is at this moment. */
export interface Overview {
  /** Unfinished deliveries. */
  pending: number;
  /** False: `pending` is the least of a long queue (one account) or an estimate (all accounts). */
  isExact: boolean;
  /** Milliseconds that the oldest due delivery has waited; 0 without one. What others hold by a lease doesn't wait. */
  oldestDueMs: number;
  endpoints: { enabled: number; disabled: number };
  /**
   * Endpoints that the service disabled, that gave deliveries up since the asked time and have some left so, or whose
   * newest attempts since then failed: the disabled ones first, then those with most given up, then with most failed.
   */
  troubled: TroubledEndpoint[];
}

/** Endpoints that aren't well, of all accounts. */
export interface EndpointStateCounts {
  /** Failed since their last success, and are still served. */
  failing: number;
  /** Take probes only. */
  probing: number;
  /** Disabled by the service: for their failures, or as they answered 410. */
  disabled: number;
}

/** What a node keeps in memory and has to look at again. */
export interface Changes {
  /** Event types were added, changed or deleted. */
  catalogue: boolean;
  /** Endpoints that were changed, disabled or deleted; leases of before carry their old state. */
  endpointIds: string[];
}

/** The encryption keys that a sealed value may be sealed with, by their ids. */
export interface EncryptionKeys {
  /** New values are sealed with it. */
  activeId: string;
  /** Oldest first. */
  olderIds: string[];
}

/** What is sealed of an endpoint; null where there is nothing. */
export interface SealedValues {
  username: string;
  endpointId: string;
  secret: string | null;
  previousSecret: string | null;
  headers: string | null;
}

/** A sealed value to be replaced by one that opens to the same, if it still stands there. */
export interface Resealing {
  username: string;
  endpointId: string;
  field: 'secret' | 'previousSecret' | 'headers';
  from: string;
  to: string;
}

/** As {@link DeliveryFilter}. */
export interface AuditFilter {
  /** The account whose things were changed. */
  username?: string;
  keyId?: string;
  action?: string;
  targetType?: AuditTarget;
  withoutTargetType?: AuditTarget;
  target?: string;
  since?: number;
  until?: number;
}

/** What operators and accounts change. */
export type AuditedOperations = Pick<
  Store,
  | 'createAccount'
  | 'updateAccount'
  | 'deleteAccount'
  | 'createKey'
  | 'createFirstOperatorKey'
  | 'revokeKey'
  | 'createPortalLink'
  | 'putEventType'
  | 'deleteEventType'
  | 'addEndpoint'
  | 'updateEndpoint'
  | 'deleteEndpoint'
  | 'rotateSecret'
  | 'retryDelivery'
  | 'createReplay'
  | 'cancelReplay'
  | 'activateEncryptionKey'
  | 'retireEncryptionKey'
>;

/** A process that works on the data. */
export interface NodeState {
  /** `<host>:<process id>` */
  name: string;
  startedAt: number;
  /** When it was last heard. */
  seenAt: number;
  /** Whether it leases deliveries. */
  delivers: boolean;
  /** Deliveries that it holds leases of. */
  leases: number;
  /** The one that was asked. */
  isThis: boolean;
}

/** So many events a count of a replay looks at. */
export const MAX_COUNTED_EVENTS = 5_000;

/** What a replay would match. */
export interface ReplayCount {
  matched: number;
  /** False when the range was too long to be looked through: then there may be more. */
  isExact: boolean;
}

/** How the store itself is. */
export interface StoreState {
  engine: 'sqlite' | 'postgres';
  /** Of the database program. */
  version: string;
  /** Of the database, with its indexes. */
  sizeBytes: number;
  /** What its disk has left; null where only the database's own machine knows. */
  freeBytes: number | null;
  /** Those that were heard within the last minute, in the order of their start. */
  nodes: NodeState[];
}

export interface Store {
  // ------------------------------------------------------------ lifecycle

  /** Resolves when the store can commit now; rejects with `unavailable` and the cause. Writes nothing that stays. */
  ping(): Promise<void>;
  /**
   * Whether no other process can be leasing deliveries now, as far as is known: what another began in the last two
   * seconds may be missing. Asks nobody.
   */
  isSoleDeliverer(): boolean;

  /**
   * Frees the leases whose holders can't be alive any more: on an engine that only one process can open, all of
   * them. Called once, before the dispatcher starts. Answers how many it freed.
   */
  recover(): Promise<number>;

  /** Ends open work in order and closes the files. Calls after it reject. */
  close(): Promise<void>;

  /** A value kept with the data, such as the check of the encryption key. */
  getMeta(name: string): Promise<string | null>;
  /** Sets it when it is absent; answers the value that stands. Atomic: of two callers one wins. */
  initMeta(name: string, value: string): Promise<string>;
  /** Sets it, whatever it was. */
  setMeta(name: string, value: string): Promise<void>;

  /**
   * What was changed through other stores on the same data since the last call of this one; the first call answers
   * nothing. Changes made through this store may be among it, and a change may be told more than once.
   */
  takeChanges(): Promise<Changes>;

  /**
   * Counts a request under `name`, in windows of `windowMs` that begin with the name's first request, over all stores on
   * the same data. Answers how many the present window has with this one, and how long it still lasts. Windows may be
   * forgotten when the last store is closed.
   */
  countRequest(name: string, windowMs: number): Promise<{ count: number; endsInMs: number }>;

  // ------------------------------------------------------------ accounts and keys

  /** Rejects with `conflict` when the name is taken. */
  createAccount(account: { username: string; metadata: JsonObject | null }): Promise<Account>;
  getAccount(username: string): Promise<Account | null>;
  /** `search`: only those whose name contains it, in either case. */
  listAccounts(page: PageRequest, search?: string): Promise<Page<Account>>;
  /**
   * Suspending parks the account's lanes: nothing of it is leased until it is active again. Null when there is no
   * such account.
   */
  updateAccount(
    username: string,
    changes: { status?: AccountStatus; metadata?: JsonObject | null },
  ): Promise<Account | null>;
  /**
   * From its answer on the account, its keys and its endpoints don't exist for any other operation; its rows go by
   * {@link purge}. False when there is none. The name can be taken again when they are gone (`conflict` until then).
   */
  deleteAccount(username: string): Promise<boolean>;

  /** `hash` is the SHA-256 of the key, hex. Rejects with `not_found` when the account isn't there. */
  createKey(key: Omit<ApiKey, 'createdAt' | 'lastUsedAt' | 'revokedAt'> & { hash: string }): Promise<ApiKey>;
  /**
   * Creates an operator-level key, unless one of scope `operator` is there that is neither revoked nor expired. Atomic:
   * of several nodes that start at once on an empty database one creates it. True when this call did.
   */
  createFirstOperatorKey(
    key: Omit<ApiKey, 'username' | 'createdAt' | 'lastUsedAt' | 'revokedAt'> & { hash: string },
  ): Promise<boolean>;
  /** Null for an unknown or revoked key. Expiry is the caller's to judge. */
  findKey(hash: string): Promise<KeyIdentity | null>;
  /** An account's keys, or the operator-level ones (null), newest first. */
  listKeys(username: string | null): Promise<ApiKey[]>;
  /** `username` null: any key. False when there is none, or it is another account's. */
  revokeKey(keyId: string, username: string | null): Promise<boolean>;
  /** Notes when keys were last used; never moves a time back. */
  touchKeys(uses: { keyId: string; at: number }[]): Promise<void>;

  // ------------------------------------------------------------ sessions

  /** Hashes are SHA-256, hex: of the session's token, and of the key that it was opened with. */
  openSession(session: { hash: string; keyHash: string; expiresAt: number }): Promise<void>;
  /**
   * Null for an unknown or ended session, and for one of an account that doesn't exist any more. Expiry, and whether the
   * key still holds, are the caller's to judge.
   */
  findSession(hash: string): Promise<SessionIdentity | null>;
  /** From its answer on the session is unknown to every store on the same data. */
  endSession(hash: string): Promise<void>;
  /** `hash` is the SHA-256 of the link's token, hex. Rejects with `not_found` when the account isn't there. */
  createPortalLink(link: {
    linkId: string;
    username: string;
    hash: string;
    expiresAt: number;
  }): Promise<PortalLink>;
  /**
   * Opens a session of the link's account, once: of several calls one succeeds. Rejects with `unauthorized` when the link
   * is unknown, used, expired or its account gone, with `forbidden` when that is suspended; a link that is refused stays
   * as it was.
   */
  usePortalLink(linkHash: string, session: { hash: string; expiresAt: number }): Promise<PortalLink>;

  // ------------------------------------------------------------ catalogue

  /** The operator's own types, and the built-in ones that were deprecated, in order of their making. */
  listEventTypes(): Promise<EventType[]>;
  putEventType(type: EventType): Promise<void>;
  /** Rejects with `conflict` while an endpoint subscribes to it; false when there is none. */
  deleteEventType(name: string): Promise<boolean>;

  // ------------------------------------------------------------ endpoints

  /**
   * Rejects with `invalid_parameter` when the account has `maxEndpoints` already: counted in the same transaction, so
   * that parallel calls can't pass it; with `not_found` when the account isn't there.
   */
  addEndpoint(
    endpoint: Omit<Endpoint, 'createdAt' | 'disabledReason' | 'previousSecret' | 'previousSecretExpiresAt'>,
    maxEndpoints: number,
  ): Promise<Endpoint>;
  getEndpoint(username: string, endpointId: string): Promise<Endpoint | null>;
  /** All of an account, oldest first. */
  listEndpoints(username: string): Promise<Endpoint[]>;
  /**
   * One transaction: replaces what is present; disabling also cancels what waits for the endpoint (an attempt in
   * flight ends as it ends), and taking a type out cancels what waits of that type, except test events and what a
   * person asked for; enabling clears `disabledReason`. Enabling, another URL, other headers and another time limit begin
   * the count of its failures anew and open its lane. Null when there is none.
   *
   * From its answer on no claim leases what is to be cancelled. So that one call never holds up all others, at most
   * about 1,000 waiting deliveries are looked at in the transaction; the rest of a larger backlog, and leases that run
   * out later, stay `pending` for a while. Those of a disabled endpoint are cancelled as claims come by, and all of
   * them before it is enabled again: what waited before a disabling is never sent after it. Those of a type taken out
   * are cancelled when they are claimed or settled, unless the endpoint takes the type again by then.
   */
  updateEndpoint(username: string, endpointId: string, changes: EndpointChanges): Promise<Endpoint | null>;
  /**
   * The endpoint is gone and what waited for it is `cancelled`, in one transaction; the rest of a large backlog as
   * claims come by (see {@link updateEndpoint}). False when there is none.
   */
  deleteEndpoint(username: string, endpointId: string): Promise<boolean>;
  /** The present secret becomes the previous one until `overlapUntil` (null: it ends at once). */
  rotateSecret(
    username: string,
    endpointId: string,
    secret: string,
    overlapUntil: number | null,
  ): Promise<Endpoint | null>;

  // ------------------------------------------------------------ publishing and the queue

  /**
   * Stores events and their deliveries in one transaction; each event of the batch stands alone (a conflict of one
   * changes nothing for the others), in order, so that a repeat within the batch is a duplicate. A delivery for each
   * enabled endpoint that subscribes; disabled ones are noted as skipped. New deliveries are leased at once as far as
   * the offer and their lanes allow (without passing older due ones of the same lane), the rest is due now. Those of an
   * endpoint that is probed wait, but for test events.
   */
  publish(
    events: readonly SealedEvent[],
    offer: LeaseOffer | null,
  ): Promise<{ results: PublishResult[] } & Claimed>;

  /**
   * Leases due deliveries (never attempted yet, waiting for a retry that is due, or with an expired lease), fair
   * across lanes: a lane with many due ones doesn't delay a lane with one. Skips suspended accounts. Cancels, instead
   * of leasing, some of what an endpoint that was disabled, deleted or changed left behind. May pass over what a claim
   * at the same moment is taking. Of an endpoint that is probed it leases what a person asked for, and one delivery
   * when the next probe is due and nothing else of it is leased.
   */
  claim(offer: LeaseOffer): Promise<Claimed>;

  /**
   * Writes attempts and next states, then claims by the offer, in one transaction. Each settlement stands alone. An
   * attempt with the outcome `stale_connection` is no failure of the schedule, and the next one is as manual as it was.
   * Only the holder of the present token can settle, after the end of its lease too, as long as nobody else took over.
   *
   * By the policy it counts, in the same transaction, the failures in a row of each endpoint, shrinks its lane to probes,
   * opens it again or disables it (`turns`), and stores the operational events that tell of it for those who
   * subscribe to them, and `delivery.dead` for each delivery that ends so. Without one nothing is counted or told.
   */
  settle(
    settlements: readonly Settlement[],
    offer: LeaseOffer | null,
    policy?: CircuitPolicy | null,
  ): Promise<{ results: SettleResult[]; turns?: EndpointTurn[] } & Claimed>;

  /**
   * Gives leases back unattempted: due at once (cancelled when the endpoint is gone or disabled; of a type that it no
   * longer takes, by the next claim at the latest). Stale ones are ignored.
   */
  release(leases: readonly LeaseRef[]): Promise<void>;

  /**
   * Makes a delivery due now: one that waits for its retry, or a finished one (its schedule begins anew). The next
   * attempt counts as manual. One in flight stays as it is. Null when there is none; rejects with `invalid_parameter`
   * when the endpoint is disabled or deleted.
   */
  retryDelivery(username: string, deliveryId: string): Promise<Delivery | null>;

  // ------------------------------------------------------------ replays

  /** Counts what matches and stores the job; rejects like {@link retryDelivery} for a disabled endpoint. Null when there is no such endpoint. */
  createReplay(replay: {
    username: string;
    endpointId: string;
    kind: ReplayKind;
    /** Events created at or after, unix ms. */
    since: number;
    /** Events created before, unix ms. */
    until: number;
  }): Promise<Replay | null>;
  /**
   * What {@link createReplay} would match, which it refuses likewise; nothing is stored. Of a long range's events the
   * oldest {@link MAX_COUNTED_EVENTS} are looked at, for `failed` all deliveries.
   */
  countReplay(replay: Parameters<Store['createReplay']>[0]): Promise<ReplayCount | null>;
  getReplay(username: string, replayId: string): Promise<Replay | null>;
  listReplays(username: string, endpointId: string | null, page: PageRequest): Promise<Page<Replay>>;
  /** Stops a running one; null when there is none. */
  cancelReplay(username: string, replayId: string): Promise<Replay | null>;
  /**
   * Moves running replays on, each by at most `limit` deliveries, and none whose lane has `laneBacklog` deliveries due
   * already, or a single one while its endpoint is probed: then by one. Answers how many deliveries it made due, and whether a replay is still running.
   */
  advanceReplays(limit: number, laneBacklog: number): Promise<{ made: number; running: boolean }>;

  // ------------------------------------------------------------ looking

  listDeliveries(username: string, filter: DeliveryFilter, page: PageRequest): Promise<Page<Delivery>>;
  getDelivery(username: string, deliveryId: string): Promise<DeliveryDetail | null>;
  listEvents(username: string, filter: EventFilter, page: PageRequest): Promise<Page<EventSummary>>;
  getEvent(username: string, eventId: string): Promise<EventDetail | null>;
  /** The newest events that were created at or after `since` (unix ms), newest first, without their bodies. */
  recentEvents(
    username: string,
    since: number,
    limit: number,
  ): Promise<{ eventId: string; event: string; createdAt: number }[]>;
  /**
   * Counts and latencies by interval, oldest first; intervals without attempts are absent. Kept by the minute for a
   * day and by the hour after it.
   */
  stats(query: StatsQuery): Promise<StatsResult>;
  queueDepth(): Promise<QueueDepth>;
  /**
   * Bytes that events, deliveries and attempts take on disk, as {@link historyCut} compares them: what the engine knows of
   * its files, no row is counted. SQLite has one file, so all else that is in it is counted in.
   */
  historyBytes(): Promise<number>;
  state(): Promise<StoreState>;
  /** The version of the schema that the data has now, and the newest that this process knows: less once a later Posthorn has migrated the data. */
  schema(): Promise<{ version: number; known: number }>;
  /**
   * One account's, or all accounts' (null), with at most `limit` troubled endpoints, judged by what was attempted at or
   * after `since` (unix ms).
   */
  overview(username: string | null, since: number, limit: number): Promise<Overview>;
  /** How the endpoints of an account are, those that aren't deleted, oldest first. */
  listEndpointHealth(username: string): Promise<EndpointHealth[]>;
  /** How many endpoints of all accounts fail, are probed, or were disabled by the service. */
  countEndpointStates(): Promise<EndpointStateCounts>;

  // ------------------------------------------------------------ keeping house

  /**
   * Deletes at most about `limit` rows of what is over: deleted accounts, and events and finished deliveries with
   * their attempts that ended before `before` (unix ms; an event with an unfinished delivery stays), statistics
   * older than it, expired previous secrets. `more` says that a further call would find something.
   */
  purge(before: number, limit: number): Promise<{ deleted: number; more: boolean }>;

  /**
   * When the history takes more than `maxBytes`: a time (unix ms) before which it has to go by {@link purge}, for what is
   * left to be less; null when it takes no more than that. It may go in several steps: `gone` is what the last call
   * answered, once that has been purged. What has ended lately stays, however much it is: an hour on an engine that
   * deletes rows, the day on one that drops days.
   */
  historyCut(maxBytes: number, gone: number | null): Promise<number | null>;

  // ------------------------------------------------------------ encryption keys

  /**
   * Tells with which keys this process can open values and with which it seals new ones, and answers what the data may
   * be sealed with; the first key that was ever told is the active one. Called before anything is sealed, and again
   * every few seconds. `reseals`: of the processes that share the data this is the one to seal values anew.
   */
  announceEncryptionKeys(
    keyIds: readonly string[],
    sealsWith: string,
  ): Promise<EncryptionKeys & { reseals: boolean }>;
  /**
   * From its answer on new values are to be sealed with this key; the former one becomes an older one. Rejects with
   * `conflict` while a process that is alive can't open values with it.
   */
  activateEncryptionKey(keyId: string): Promise<EncryptionKeys>;
  /**
   * Takes an older key from the data, when nothing is sealed with it and no process that is alive still seals with it:
   * false until then. From its answer on a value that is sealed with it is refused (`unavailable`).
   */
  retireEncryptionKey(keyId: string): Promise<boolean>;
  /** How many values are sealed with each key, by id. */
  countSealed(): Promise<Record<string, number>>;
  /** Endpoints that have a value sealed with another key than the active one, in the order of a cursor of their own. */
  listResealable(page: PageRequest): Promise<Page<SealedValues>>;
  /** Replaces values that are still as they were read, in one transaction. Answers how many it replaced. */
  reseal(values: readonly Resealing[]): Promise<number>;

  // ------------------------------------------------------------ the audit log

  /**
   * The operations that operators and accounts ask for, each with its line in the audit log: in the same transaction, so
   * that there is neither a change without its line nor a line without its change. What changes nothing has no line.
   *
   * @example
   * await store.as(actor).updateAccount('alice', { status: 'suspended' });
   */
  as(by: AuditActor): AuditedOperations;
  listAudit(filter: AuditFilter, page: PageRequest): Promise<Page<AuditEntry>>;
  /** Deletes at most `limit` lines from before `before` (unix ms), none that isn't a day old. Answers how many. */
  purgeAudit(before: number, limit: number): Promise<number>;
}
