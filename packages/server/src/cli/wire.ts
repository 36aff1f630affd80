/** The parts of the API's answers that commands print; times are unix seconds. */

export interface AccountData {
  username: string;
  status: string;
  metadata: object | null;
  endpoints: number;
  created_at: number;
}

export interface AccountPage {
  accounts: AccountData[];
  next_cursor: string | null;
}

export interface PortalLinkData {
  url: string;
  expires_at: number;
}

export interface KeyData {
  key_id: string;
  name: string;
  scopes: string[];
  prefix: string;
  created_at: number;
  expires_at: number | null;
}

export interface NewKeyData extends KeyData {
  api_key: string;
}

export interface KeyList {
  api_keys: (KeyData & { last_used_at: number | null; revoked_at: number | null })[];
}

export interface DeliveryData {
  delivery_id: string;
  event_id: string;
  event: string;
  endpoint_id: string;
  status: string;
  status_reason: string | null;
  attempts: number;
  created_at: number;
  next_attempt_at: number | null;
  completed_at: number | null;
}

export interface DeliveryPage {
  deliveries: DeliveryData[];
  next_cursor: string | null;
}

export interface DeliveryDetailData extends DeliveryData {
  url: string;
  attempt_log: AttemptData[];
}

export interface AttemptData {
  number: number;
  started_at: number;
  duration_ms: number;
  outcome: string;
  http_status: number | null;
  error: string | null;
  manual: boolean;
}

export interface EventTypeData {
  name: string;
  example: object | null;
}

export interface PublishData {
  event_id: string;
  deliveries: number;
  duplicate: boolean;
  /** Present when the event type is deprecated. */
  deprecated?: true;
}

export interface EventDetailData {
  event_id: string;
  event: string;
  deliveries: { pending: number; delivered: number; dead: number; cancelled: number };
  note: string | null;
  targets: { endpoint_id: string; delivery_id?: string; status: string; reason: string | null }[];
}

export interface ReplayStartData {
  replay_id: string;
  matched: number;
}

export interface ReplayData {
  status: string;
  matched: number;
  done: number;
}

export interface AuditEntryData {
  audit_id: string;
  at: number;
  actor: string;
  key_id: string | null;
  key_account: string | null;
  via: string;
  request_id: string | null;
  remote_address: string | null;
  through: string | null;
  action: string;
  target_type: string;
  target: string;
  account: string | null;
  before: Record<string, unknown> | null;
  after: Record<string, unknown> | null;
}

export interface AuditPage {
  entries: AuditEntryData[];
  next_cursor: string | null;
}

export interface EncryptionKeysData {
  state: 'idle' | 'running';
  active_key_id: string;
  next_key_id: string | null;
  makes_key: boolean;
  keys: { key_id: string; active: boolean; values: number }[];
  remaining: number;
}
