/** The API's records as the page reads them (docs at /docs; names and units are the API's own). Times are unix seconds. */

export type Scope = 'account' | 'publish' | 'operator';

export interface SessionInfo {
  role: 'operator' | 'account';
  /** The account; null for operators. */
  username: string | null;
  scopes: Scope[];
  expires_at: number;
  via: 'api_key' | 'portal_link';
}

export interface Account {
  username: string;
  status: 'active' | 'suspended';
  metadata: Record<string, unknown> | null;
  endpoints: number;
  created_at: number;
}

export interface EventType {
  name: string;
  category: string;
  description: string;
  schema: Record<string, unknown>;
  example: Record<string, unknown> | null;
  deprecated: boolean;
  built_in: boolean;
}

export type EndpointStatus = 'enabled' | 'disabled';

export interface Endpoint {
  endpoint_id: string;
  url: string;
  secret: string;
  status: EndpointStatus;
  events: string[];
  username: string;
  created_at: number;
  description?: string;
  metadata?: Record<string, unknown>;
  headers?: Record<string, string>;
  rate_limit_per_second?: number;
  timeout_seconds?: number;
  disabled_reason?: string;
  previous_secret_expires_at?: number;
}

export interface EndpointHealth {
  endpoint_id: string;
  /** `probing`: one attempt at a time with growing pauses, until one succeeds; what else is due waits. */
  state: 'healthy' | 'failing' | 'probing' | 'disabled';
  next_probe_at: number | null;
  disabled_at: number | null;
  /** The time in which it may have missed events; until null while it is disabled. */
  missed: { since: number; until: number | null } | null;
  failing_since: number | null;
  consecutive_failures: number;
  last_success_at: number | null;
  last_failure: { at: number; outcome: Outcome; http_status: number | null; error: string | null } | null;
}

export const DELIVERY_STATUSES = ['pending', 'delivered', 'dead', 'cancelled'] as const;
export type DeliveryStatus = (typeof DELIVERY_STATUSES)[number];

export interface Delivery {
  delivery_id: string;
  event_id: string;
  event: string;
  endpoint_id: string;
  status: DeliveryStatus;
  status_reason: string | null;
  attempts: number;
  created_at: number;
  next_attempt_at: number | null;
  completed_at: number | null;
}

export type Outcome =
  | 'success'
  | 'http_error'
  | 'timeout'
  | 'dns_error'
  | 'connect_error'
  | 'tls_error'
  | 'reset'
  | 'protocol_error'
  | 'blocked_address'
  | 'proxy_error'
  | 'stale_connection';

export interface Attempt {
  number: number;
  started_at: number;
  duration_ms: number;
  outcome: Outcome;
  http_status: number | null;
  error: string | null;
  response: { headers: Record<string, string>; body: string | null; truncated: boolean } | null;
  manual: boolean;
}

export interface DeliveryDetail extends Delivery {
  url: string;
  request: { headers: Record<string, string>; body: string };
  attempt_log: Attempt[];
}

export interface EventSummary {
  event_id: string;
  event: string;
  timestamp: number;
  created_at: number;
  deliveries: { pending: number; delivered: number; dead: number; cancelled: number };
  note: string | null;
}

export interface EventDetail extends EventSummary {
  data: Record<string, unknown>;
  targets: {
    endpoint_id: string;
    delivery_id?: string;
    status: DeliveryStatus | 'skipped';
    reason: string | null;
  }[];
}

export type ReplayKind = 'failed' | 'missing' | 'all';

export interface Replay {
  replay_id: string;
  /** Only in the list. */
  endpoint_id?: string;
  /** Only in the list. */
  kind?: ReplayKind;
  status: 'running' | 'done' | 'cancelled';
  matched: number;
  done: number;
  /** Only in the list. */
  created_at?: number;
}

export interface StatsMeasures {
  delivered: number;
  failed_attempts: number;
  dead: number;
  p50_ms: number | null;
  p95_ms: number | null;
}

export interface Stats {
  /** Oldest first; intervals without attempts are left out. */
  series: ({ at: number; key?: string } & StatsMeasures)[];
  totals: StatsMeasures;
  groups?: ({ key: string } & StatsMeasures)[];
}

export interface TroubledEndpoint {
  username: string;
  endpoint_id: string;
  url: string;
  status: EndpointStatus;
  disabled_reason: string | null;
  /** Of the last 24 hours. */
  delivered: number;
  failed_attempts: number;
  dead: number;
}

export interface Overview {
  pending: number;
  /** False: at least so many (one account), or about so many (all accounts). */
  pending_is_exact: boolean;
  oldest_due_seconds: number;
  endpoints: { enabled: number; disabled: number };
  troubled: TroubledEndpoint[];
}

export interface ApiKey {
  key_id: string;
  name: string;
  scopes: Scope[];
  prefix: string;
  created_at: number;
  expires_at: number | null;
  last_used_at: number | null;
  revoked_at: number | null;
}

export interface NewApiKey extends Omit<ApiKey, 'last_used_at' | 'revoked_at'> {
  /** The key: in this one answer and never again. */
  api_key: string;
}

export interface AuditEntry {
  audit_id: string;
  at: number;
  actor: 'account' | 'operator' | 'command' | 'service';
  key_id: string | null;
  key_account: string | null;
  via: string;
  request_id: string | null;
  remote_address: string | null;
  /** By which page a person did it; null for programs. */
  through: 'dashboard' | 'portal' | null;
  action: string;
  target_type: string;
  target: string;
  account: string | null;
  before: Record<string, unknown> | null;
  after: Record<string, unknown> | null;
}

/** `GET /v2/system`, for operators. */
export interface SystemHealth {
  version: string;
  /** Processes that were heard within the last minute. */
  nodes: {
    name: string;
    started_at: number;
    seen_at: number;
    delivers: boolean;
    /** Deliveries that it has in hand. */
    leases: number;
    is_this: boolean;
  }[];
  queue: { scheduled: number; due: number; leased: number; oldest_due_seconds: number };
  database: {
    engine: 'sqlite' | 'postgres';
    version: string;
    size_bytes: number;
    /** Null on PostgreSQL, whose own machine knows. */
    free_bytes: number | null;
    ping_ms: number;
  };
}

/** `POST /v2/account/{username}/portal_link`, with `{ expires_in_seconds? }`. Opens one session. */
export interface PortalLink {
  url: string;
  expires_at: number;
}

/**
 * Endpoint URLs of the receiver that is built into the service: it answers inside of it, with 200, with 500, or never. Fails
 * or mends an endpoint by changing its `url`; what it was sent and answered stands with each delivery.
 */
export const TEST_RECEIVER = {
  succeed: 'https://test-receiver.posthorn.invalid/succeed',
  fail: 'https://test-receiver.posthorn.invalid/fail',
  hang: 'https://test-receiver.posthorn.invalid/hang',
} as const;

export interface EncryptionKeys {
  state: 'idle' | 'running';
  active_key_id: string;
  keys: { key_id: string; active: boolean; values: number }[];
  /** Values that are still encrypted with another key than the active one. */
  remaining: number;
}
