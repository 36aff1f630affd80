/**
 * The words of the project as types. Times are unix milliseconds (`…At`), durations say their unit; the wire's
 * seconds are made in `api/`. `sealed` marks text encrypted by the {@link ./secrets.ts vault}.
 */

export type Json = null | boolean | number | string | Json[] | { [key: string]: Json };
export type JsonObject = { [key: string]: Json };

// ---------------------------------------------------------------- accounts and keys

export type AccountStatus = 'active' | 'suspended';

export interface Account {
  username: string;
  status: AccountStatus;
  metadata: JsonObject | null;
  /** How many endpoints it has. */
  endpoints: number;
  createdAt: number;
}

/** `account` acts for one account; `publish` and `operator` belong to operator-level keys. */
export type Scope = 'account' | 'publish' | 'operator';

export interface ApiKey {
  keyId: string;
  /** The account the key acts for; null for an operator-level key. */
  username: string | null;
  name: string;
  scopes: Scope[];
  /** The key's first characters, enough to recognise it and useless to anybody else. */
  prefix: string;
  createdAt: number;
  expiresAt: number | null;
  lastUsedAt: number | null;
  revokedAt: number | null;
}

/** What authentication needs to know of a key, in one read. */
export interface KeyIdentity {
  keyId: string;
  username: string | null;
  scopes: Scope[];
  expiresAt: number | null;
  /** Null for an operator-level key. */
  account: { status: AccountStatus; createdAt: number } | null;
  createdAt: number;
}

/** What a session of the page stands on, in one read. */
export interface SessionIdentity {
  /** Of the key that it was opened with, by which it holds as long as the key does; null: by a portal link. */
  keyHash: string | null;
  /** Whose portal it is; null with a key. */
  account: { username: string; status: AccountStatus; createdAt: number } | null;
  expiresAt: number;
}

/** A way into an account's portal, for one session. */
export interface PortalLink {
  linkId: string;
  username: string;
  createdAt: number;
  expiresAt: number;
  usedAt: number | null;
}

// ---------------------------------------------------------------- catalogue

export interface EventType {
  name: string;
  category: string;
  description: string;
  /** JSON Schema 2020-12 for `data`. */
  schema: JsonObject;
  /** A `data` that fits the schema; null when the operator gave none. */
  example: JsonObject | null;
  deprecated: boolean;
  builtIn: boolean;
}

// ---------------------------------------------------------------- endpoints

export type EndpointStatus = 'enabled' | 'disabled';

export interface Endpoint {
  endpointId: string;
  username: string;
  /** Exactly as it was sent: clients compare it by string equality. */
  url: string;
  events: string[];
  status: EndpointStatus;
  /** Why the service disabled it; null when it is enabled or its owner disabled it. */
  disabledReason: string | null;
  /** Sealed `whsec_…`. */
  secret: string;
  /** Sealed; signs beside the new one until `previousSecretExpiresAt`. */
  previousSecret: string | null;
  previousSecretExpiresAt: number | null;
  description: string | null;
  metadata: JsonObject | null;
  /** Sealed JSON object of custom request headers. */
  headers: string | null;
  rateLimitPerSecond: number | null;
  timeoutMs: number | null;
  createdAt: number;
}

/** When an endpoint may have missed events, unix ms. */
export interface MissedTime {
  since: number;
  /** Null while it goes on. */
  until: number | null;
}

/** `failing`: its last attempts failed, it is still served; `probing`: only probes go, until one succeeds. */
export const ENDPOINT_STATES = ['healthy', 'failing', 'probing', 'disabled'] as const;
export type EndpointState = (typeof ENDPOINT_STATES)[number];

/** How an endpoint is. */
export interface EndpointHealth {
  endpointId: string;
  state: EndpointState;
  /** When the first attempt failed after the last success; null while it doesn't fail. */
  failingSince: number | null;
  /** Over all its deliveries. */
  consecutiveFailures: number;
  /** When the next probe may go at the earliest; null unless it is probed. */
  nextProbeAt: number | null;
  /** Null: none in the time for which history is kept. */
  lastSuccessAt: number | null;
  /** Since its last success; null without one. */
  lastFailure: {
    at: number;
    outcome: AttemptOutcome;
    httpStatus: number | null;
    error: string | null;
  } | null;
  /** Why the service disabled it. */
  disabledReason: string | null;
  /** Null while it is enabled. */
  disabledAt: number | null;
  /** As it failed and was disabled; null when a replay was begun that makes up for it. */
  missed: MissedTime | null;
}

/** What an update may set. Absent: unchanged; null: back to the default. */
export interface EndpointChanges {
  url?: string;
  events?: string[];
  status?: EndpointStatus;
  description?: string | null;
  metadata?: JsonObject | null;
  headers?: string | null;
  rateLimitPerSecond?: number | null;
  timeoutMs?: number | null;
}

// ---------------------------------------------------------------- events

/** An event as it is stored: sealed once, the same bytes for every endpoint, retry and replay. */
export interface SealedEvent {
  username: string;
  eventId: string;
  /** The event type's name. */
  event: string;
  /** Unix seconds, as it stands in the body. */
  timestamp: number;
  /** The exact text that is signed and sent, UTF-8. */
  body: string;
  /**
   * Fingerprint of event type and `data` (canonical), to tell a repeat from a conflict. Null when Posthorn made the
   * id: such an event can't be repeated.
   */
  fingerprint: string | null;
  /** True when the publisher gave `timestamp`: then a repeat must carry the same. */
  timestampGiven: boolean;
  /** Deliver to this endpoint alone, subscribed or not (a test event). */
  onlyEndpointId?: string;
  /** The trace it was published in, see `trace-context.ts`. */
  trace?: string;
}

export interface DeliveryCounts {
  pending: number;
  delivered: number;
  dead: number;
  cancelled: number;
}

/** One row of the event log. */
export interface EventSummary {
  eventId: string;
  event: string;
  /** Unix seconds, as in the body. */
  timestamp: number;
  createdAt: number;
  deliveries: DeliveryCounts;
  /** Why nobody, or not everybody, got it; null when there is nothing to say. */
  note: string | null;
}

export interface EventTarget {
  endpointId: string;
  /** Absent when the endpoint was skipped at publish. */
  deliveryId: string | null;
  status: DeliveryStatus | 'skipped';
  reason: string | null;
}

export interface EventDetail extends EventSummary {
  body: string;
  targets: EventTarget[];
}

// ---------------------------------------------------------------- deliveries

/**
 * `pending` → `delivered` | `dead` | `cancelled`; a retry or a replay makes any of the three pending again.
 */
export type DeliveryStatus = 'pending' | 'delivered' | 'dead' | 'cancelled';

export interface Delivery {
  deliveryId: string;
  username: string;
  eventId: string;
  event: string;
  endpointId: string;
  status: DeliveryStatus;
  statusReason: string | null;
  /** Attempts made so far. */
  attempts: number;
  createdAt: number;
  /** When the next attempt is due; null when it is finished. While one is in flight, when it started counts as due. */
  nextAttemptAt: number | null;
  completedAt: number | null;
}

/** The class of an attempt's end; `success` is any 2xx. */
export const ATTEMPT_OUTCOMES = [
  'success',
  'http_error',
  'timeout',
  'dns_error',
  'connect_error',
  'tls_error',
  'reset',
  'protocol_error',
  'blocked_address',
  'proxy_error',
  'stale_connection',
] as const;
export type AttemptOutcome = (typeof ATTEMPT_OUTCOMES)[number];

/**
 * True when an attempt failed for a reason that its receiver may have. Not so with `stale_connection`, a connection kept
 * from before that was closed as the request went out (made again at once, outside of the schedule), and `proxy_error`,
 * where the operator's own egress proxy failed.
 */
export function isReceiversFailure(outcome: AttemptOutcome): boolean {
  return outcome !== 'success' && outcome !== 'stale_connection' && outcome !== 'proxy_error';
}

export interface Attempt {
  /** 1 for the first of its delivery. */
  number: number;
  startedAt: number;
  durationMs: number;
  outcome: AttemptOutcome;
  httpStatus: number | null;
  /** A sentence on what failed; null on success. */
  error: string | null;
  url: string;
  /** As they were sent, values of custom headers masked. */
  requestHeaders: Record<string, string>;
  responseHeaders: Record<string, string> | null;
  /** The first bytes (at most the capture limit), decoded as UTF-8. */
  responseBody: string | null;
  /** True when the response was longer than what was kept. */
  responseTruncated: boolean;
  /** Asked for by a person (retry, replay, test) rather than by the schedule. */
  manual: boolean;
}

export interface DeliveryDetail extends Delivery {
  /** The endpoint's URL of the last attempt, or the present one before the first. */
  url: string;
  body: string;
  attemptLog: Attempt[];
}

// ---------------------------------------------------------------- replays and statistics

/**
 * `failed`: dead or cancelled deliveries; `missing`: events of subscribed types that never had a delivery to the
 * endpoint; `all`: both, and what was delivered already.
 */
export type ReplayKind = 'failed' | 'missing' | 'all';

export interface Replay {
  replayId: string;
  username: string;
  endpointId: string;
  kind: ReplayKind;
  status: 'running' | 'done' | 'cancelled';
  matched: number;
  done: number;
  createdAt: number;
}

export type StatsDimension = 'endpoint' | 'event' | 'status';

export interface StatsPoint {
  /** Start of the interval. */
  at: number;
  /** The endpoint id, event type or attempt outcome, when statistics are asked `by` one; else null. */
  key: string | null;
  delivered: number;
  failedAttempts: number;
  dead: number;
  /** Percentiles of the attempts' durations, within 5 %; null without attempts. */
  p50Ms: number | null;
  p95Ms: number | null;
}

// ---------------------------------------------------------------- the audit log

/** Who makes a change, and through what. */
export interface AuditActor {
  /** `key`: over the API; `command`: a command that works on the database itself; `service`: nobody asked. */
  kind: 'key' | 'command' | 'service';
  /** Null unless `kind` is `key`. */
  keyId: string | null;
  /** The account whose key it is; null for an operator-level key and where there is none. */
  username: string | null;
  /** The route as it is documented (`PUT /v2/endpoint/:endpoint_id`), or the command. */
  via: string;
  requestId: string | null;
  /** As far as proxies are believed; null unless `kind` is `key`. */
  remoteAddress: string | null;
  /** By which page a person did it: a session of a key (`dashboard`), or of a portal link, which has no key; else null. */
  through: 'dashboard' | 'portal' | null;
}

/** What kind of thing was changed. */
export const AUDIT_TARGETS = [
  'account',
  'api_key',
  'portal_link',
  'event_type',
  'endpoint',
  'delivery',
  'replay',
  'encryption_key',
  'database',
] as const;
export type AuditTarget = (typeof AUDIT_TARGETS)[number];

/** One change, as it was made. No secret is in it: where one was changed, it says so. */
export interface AuditEntry {
  auditId: string;
  at: number;
  by: AuditActor;
  /** `<noun>.<verb>`: `endpoint.update`. */
  action: string;
  targetType: AuditTarget;
  target: string;
  /** The account whose thing was changed; null for what belongs to none. */
  username: string | null;
  /** What was changed, as it was; null where there was nothing before. */
  before: JsonObject | null;
  /** What was changed, as it is; null where there is nothing any more. */
  after: JsonObject | null;
}
