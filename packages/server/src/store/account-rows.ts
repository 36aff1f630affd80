/**
 * How rows of accounts, their keys and endpoints, and of the catalogue become records of the model, and how their
 * operations are refused. Columns have the same names in both engines.
 */
import { PosthornError } from '../errors.ts';
import { readJson } from '../json-read.ts';
import type {
  Account,
  AccountStatus,
  ApiKey,
  Endpoint,
  EndpointChanges,
  EndpointStatus,
  EventType,
  JsonObject,
  KeyIdentity,
  Scope,
} from '../model.ts';
import { parseObject, stringifyOrNull } from './columns.ts';

// ---------------------------------------------------------------- accounts

export interface AccountRow {
  username: string;
  status: AccountStatus | 'deleted';
  metadata: string | null;
  created_at: number;
  endpoints: number;
}

/** @param row - of an account that isn't deleted */
export function toAccount(row: AccountRow): Account {
  return {
    username: row.username,
    status: row.status as AccountStatus,
    metadata: parseObject(row.metadata),
    endpoints: row.endpoints,
    createdAt: row.created_at,
  };
}

/** @param status - of the account that has the name */
export function usernameTaken(username: string, status: AccountRow['status'] | undefined): PosthornError {
  const why = status === 'deleted' ? 'is still being deleted: try again later' : 'is taken';
  return new PosthornError('conflict', `username ${JSON.stringify(username)} ${why}`, { field: 'username' });
}

// ---------------------------------------------------------------- keys

export interface KeyRow {
  key_id: string;
  username: string | null;
  name: string;
  scopes: string;
  prefix: string;
  created_at: number;
  expires_at: number | null;
  last_used_at: number | null;
  revoked_at: number | null;
}

/** Selects {@link KeyRow} from `api_key`. */
export const KEY_COLUMNS =
  'key_id, username, name, scopes, prefix, created_at, expires_at, last_used_at, revoked_at';

function parseScopes(text: string): Scope[] {
  return text.split(' ') as Scope[];
}

export function toKey(row: KeyRow): ApiKey {
  return {
    keyId: row.key_id,
    username: row.username,
    name: row.name,
    scopes: parseScopes(row.scopes),
    prefix: row.prefix,
    createdAt: row.created_at,
    expiresAt: row.expires_at,
    lastUsedAt: row.last_used_at,
    revokedAt: row.revoked_at,
  };
}

/** A key that isn't revoked, with its account. */
export interface IdentityRow {
  key_id: string;
  username: string | null;
  scopes: string;
  created_at: number;
  expires_at: number | null;
  account_status: AccountStatus | 'deleted' | null;
  account_created_at: number | null;
}

/** Null when the key's account is deleted. */
export function toIdentity(row: IdentityRow): KeyIdentity | null {
  if (row.account_status === 'deleted') return null;
  return {
    keyId: row.key_id,
    username: row.username,
    scopes: parseScopes(row.scopes),
    expiresAt: row.expires_at,
    createdAt: row.created_at,
    account:
      row.account_status === null || row.account_created_at === null
        ? null
        : { status: row.account_status, createdAt: row.account_created_at },
  };
}

// ---------------------------------------------------------------- catalogue

/** SQLite keeps booleans as 0 and 1. */
export interface EventTypeRow {
  name: string;
  category: string;
  description: string;
  schema: string;
  example: string | null;
  deprecated: boolean | number;
  built_in: boolean | number;
}

export function toEventType(row: EventTypeRow): EventType {
  return {
    name: row.name,
    category: row.category,
    description: row.description,
    schema: readJson(row.schema) as JsonObject,
    example: parseObject(row.example),
    deprecated: Boolean(row.deprecated),
    builtIn: Boolean(row.built_in),
  };
}

export function eventTypeSubscribed(name: string, endpoints: number): PosthornError {
  return new PosthornError(
    'conflict',
    `event type ${name} has ${endpoints} subscribed endpoint${endpoints === 1 ? '' : 's'}: take it out of their events first`,
    { field: 'name' },
  );
}

// ---------------------------------------------------------------- endpoints

/**
 * How many waiting deliveries a disable or delete cancels in its own transaction. The rest of a larger backlog is
 * cancelled by the claims that come by, so that one call never holds up all commits.
 */
export const CANCEL_AT_ONCE = 1000;

export interface EndpointRow {
  username: string;
  endpoint_id: string;
  url: string;
  events: string;
  status: EndpointStatus | 'deleted';
  disabled_reason: string | null;
  secret: string;
  previous_secret: string | null;
  previous_secret_expires_at: number | null;
  description: string | null;
  metadata: string | null;
  headers: string | null;
  rate_limit_per_second: number | null;
  timeout_ms: number | null;
  created_at: number;
}

/** @param row - of an endpoint that isn't deleted */
export function toEndpoint(row: EndpointRow, nowMs: number): Endpoint {
  const overlaps = row.previous_secret_expires_at !== null && row.previous_secret_expires_at > nowMs;
  return {
    endpointId: row.endpoint_id,
    username: row.username,
    url: row.url,
    events: JSON.parse(row.events) as string[],
    status: row.status as EndpointStatus,
    disabledReason: row.disabled_reason,
    secret: row.secret,
    previousSecret: overlaps ? row.previous_secret : null,
    previousSecretExpiresAt: overlaps ? row.previous_secret_expires_at : null,
    description: row.description,
    metadata: parseObject(row.metadata),
    headers: row.headers,
    rateLimitPerSecond: row.rate_limit_per_second,
    timeoutMs: row.timeout_ms,
    createdAt: row.created_at,
  };
}

type Changeable = keyof EndpointChanges;

const COLUMN_OF: Record<Changeable, keyof EndpointRow> = {
  url: 'url',
  events: 'events',
  status: 'status',
  description: 'description',
  metadata: 'metadata',
  headers: 'headers',
  rateLimitPerSecond: 'rate_limit_per_second',
  timeoutMs: 'timeout_ms',
};

const KEPT_AS_JSON = new Set<Changeable>(['events', 'metadata']);

/** The columns that changes set, with their new values; an owner's own status has no reason of the service. */
export function changedColumns(changes: EndpointChanges): [column: keyof EndpointRow, value: unknown][] {
  const columns = (Object.keys(COLUMN_OF) as Changeable[])
    .filter((name) => changes[name] !== undefined)
    .map((name): [keyof EndpointRow, unknown] => [
      COLUMN_OF[name],
      KEPT_AS_JSON.has(name) ? stringifyOrNull(changes[name]) : changes[name],
    ]);
  return changes.status === undefined ? columns : [...columns, ['disabled_reason', null]];
}

/** Changes after which an endpoint's failures of before tell nothing of it. */
export function beginsAnew(before: Endpoint, changes: EndpointChanges): boolean {
  const { url, headers, timeoutMs, status } = changes;
  return (
    (url !== undefined && url !== before.url) ||
    headers !== undefined ||
    (timeoutMs !== undefined && timeoutMs !== before.timeoutMs) ||
    (status !== undefined && status !== before.status)
  );
}

export function tooManyEndpoints(maxEndpoints: number): PosthornError {
  return new PosthornError(
    'invalid_parameter',
    `the account has ${maxEndpoints} endpoints, the limit: delete one before adding another`,
  );
}
