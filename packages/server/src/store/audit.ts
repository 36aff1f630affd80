/**
 * What the audit log says of a change: pure, and the same for both engines. An engine reads a thing before and after the
 * operation, in the operation's transaction; what differs is the line. No difference, no line.
 */
import { createHash } from 'node:crypto';
import { isDeepStrictEqual } from 'node:util';
import { readJson } from '../json-read.ts';
import type {
  Account,
  ApiKey,
  AuditActor,
  AuditEntry,
  AuditTarget,
  Delivery,
  Endpoint,
  EventType,
  Json,
  JsonObject,
  PortalLink,
  Replay,
} from '../model.ts';
import type { AuditedOperations, AuditFilter, EncryptionKeys } from './store.ts';

/** The things that are changed, as the store knows them. */
export interface AuditedThings {
  account: Account;
  api_key: ApiKey;
  portal_link: PortalLink;
  event_type: EventType;
  endpoint: Endpoint;
  delivery: Delivery;
  replay: Replay;
  encryption_key: EncryptionKeys;
}

type Thing = keyof AuditedThings;

/** A thing that an operation may change. */
export interface Subject<T extends Thing = Thing> {
  type: T;
  id: string;
  /** Whose it is; null: nobody's. */
  username: string | null;
}

type Name = keyof AuditedOperations;
type Args<N extends Name> = Parameters<AuditedOperations[N]>;
type Result<N extends Name> = Awaited<ReturnType<AuditedOperations[N]>>;

interface Rule<N extends Name> {
  action: string;
  /** Null when it becomes known only by the result. */
  subject(...args: Args<N>): Subject | null;
  /** Of what the operation has made. */
  made?(result: Result<N>): Subject | null;
}

function keySubject(keyId: string, username: string | null): Subject {
  return { type: 'api_key', id: keyId, username };
}

/** Every operation that is audited. */
export const AUDITED: { readonly [N in Name]: Rule<N> } = {
  createAccount: {
    action: 'account.create',
    subject: ({ username }) => ({ type: 'account', id: username, username }),
  },
  updateAccount: {
    action: 'account.update',
    subject: (username) => ({ type: 'account', id: username, username }),
  },
  deleteAccount: {
    action: 'account.delete',
    subject: (username) => ({ type: 'account', id: username, username }),
  },
  createKey: {
    action: 'api_key.create',
    subject: ({ keyId, username }) => keySubject(keyId, username),
  },
  createFirstOperatorKey: {
    action: 'api_key.create',
    subject: ({ keyId }) => keySubject(keyId, null),
  },
  revokeKey: {
    action: 'api_key.revoke',
    subject: (keyId, username) => keySubject(keyId, username),
  },
  createPortalLink: {
    action: 'portal_link.create',
    subject: ({ linkId, username }) => ({ type: 'portal_link', id: linkId, username }),
  },
  putEventType: {
    action: 'event_type.put',
    subject: ({ name }) => ({ type: 'event_type', id: name, username: null }),
  },
  deleteEventType: {
    action: 'event_type.delete',
    subject: (name) => ({ type: 'event_type', id: name, username: null }),
  },
  addEndpoint: {
    action: 'endpoint.create',
    subject: ({ endpointId, username }) => ({ type: 'endpoint', id: endpointId, username }),
  },
  updateEndpoint: {
    action: 'endpoint.update',
    subject: (username, endpointId) => ({ type: 'endpoint', id: endpointId, username }),
  },
  deleteEndpoint: {
    action: 'endpoint.delete',
    subject: (username, endpointId) => ({ type: 'endpoint', id: endpointId, username }),
  },
  rotateSecret: {
    action: 'endpoint.rotate_secret',
    subject: (username, endpointId) => ({ type: 'endpoint', id: endpointId, username }),
  },
  retryDelivery: {
    action: 'delivery.retry',
    subject: (username, deliveryId) => ({ type: 'delivery', id: deliveryId, username }),
  },
  createReplay: {
    action: 'replay.create',
    subject: () => null,
    made: (replay) =>
      replay === null ? null : { type: 'replay', id: replay.replayId, username: replay.username },
  },
  cancelReplay: {
    action: 'replay.cancel',
    subject: (username, replayId) => ({ type: 'replay', id: replayId, username }),
  },
  activateEncryptionKey: {
    action: 'encryption_key.activate',
    subject: (keyId) => ({ type: 'encryption_key', id: keyId, username: null }),
  },
  retireEncryptionKey: {
    action: 'encryption_key.retire',
    subject: (keyId) => ({ type: 'encryption_key', id: keyId, username: null }),
  },
};

export const AUDITED_NAMES = Object.keys(AUDITED) as Name[];

/** A rule with its types forgotten. */
export interface PlainRule {
  action: string;
  subject(...args: unknown[]): Subject | null;
  made?(result: unknown): Subject | null;
}

/** @throws TypeError for an operation that isn't audited: a defect */
export function ruleOf(name: string): PlainRule {
  const rule = (AUDITED as Record<string, unknown>)[name];
  if (rule === undefined) throw new TypeError(`${name} is not an audited operation`);
  return rule as PlainRule;
}

/**
 * The operations over one function that runs any of them by its name, with its line.
 *
 * @param call - resolves with what the operation resolves with
 */
export function operationsOver(call: (name: Name, args: unknown[]) => Promise<unknown>): AuditedOperations {
  return Object.fromEntries(
    AUDITED_NAMES.map((name) => [name, (...args: unknown[]) => call(name, args)]),
  ) as unknown as AuditedOperations;
}

// ---------------------------------------------------------------- what is said of a thing

/** What may be shown, and sealed values, of which only that they are set or were replaced may. */
interface Facts {
  shown: JsonObject;
  sealed: Record<string, string | null>;
}

function seconds(ms: number | null): number | null {
  return ms === null ? null : Math.floor(ms / 1000);
}

const FACTS: { readonly [T in Thing]: (thing: AuditedThings[T]) => Facts } = {
  account: ({ status, metadata }) => ({ shown: { status, metadata }, sealed: {} }),
  api_key: ({ name, scopes, prefix, expiresAt, revokedAt }) => ({
    shown: { name, scopes, prefix, expires_at: seconds(expiresAt), revoked_at: seconds(revokedAt) },
    sealed: {},
  }),
  portal_link: ({ expiresAt }) => ({ shown: { expires_at: seconds(expiresAt) }, sealed: {} }),
  event_type: ({ category, description, schema, example, deprecated }) => ({
    shown: { category, description, schema, example, deprecated },
    sealed: {},
  }),
  endpoint: (endpoint) => ({
    shown: {
      url: endpoint.url,
      events: endpoint.events,
      status: endpoint.status,
      disabled_reason: endpoint.disabledReason,
      description: endpoint.description,
      metadata: endpoint.metadata,
      rate_limit_per_second: endpoint.rateLimitPerSecond,
      timeout_seconds: endpoint.timeoutMs === null ? null : endpoint.timeoutMs / 1000,
      previous_secret_expires_at: seconds(endpoint.previousSecretExpiresAt),
    },
    sealed: { secret: endpoint.secret, headers: endpoint.headers },
  }),
  delivery: ({ status, statusReason, nextAttemptAt }) => ({
    shown: { status, status_reason: statusReason, next_attempt_at: seconds(nextAttemptAt) },
    sealed: {},
  }),
  replay: ({ endpointId, kind, status, matched }) => ({
    shown: { endpoint_id: endpointId, kind, status, matched },
    sealed: {},
  }),
  encryption_key: ({ activeId, olderIds }) => ({
    shown: { active: activeId, older: olderIds },
    sealed: {},
  }),
};

const SET = '[set]';
const REPLACED = '[replaced]';
/** A value whose JSON is longer stands in the log by its length and SHA-256. */
const MAX_VALUE_CHARACTERS = 4096;

function bounded(value: Json): Json {
  const text = JSON.stringify(value);
  if (text.length <= MAX_VALUE_CHARACTERS) return value;
  return {
    omitted_bytes: Buffer.byteLength(text),
    sha256: createHash('sha256').update(text).digest('hex'),
  };
}

/** All that is set, of a thing that is new or gone. */
function everything({ shown, sealed }: Facts): JsonObject {
  const facts: JsonObject = {};
  for (const [name, value] of Object.entries(shown)) if (value !== null) facts[name] = bounded(value);
  for (const [name, value] of Object.entries(sealed)) if (value !== null) facts[name] = SET;
  return facts;
}

/** Null when nothing differs. */
function difference(before: Facts, after: Facts): { before: JsonObject; after: JsonObject } | null {
  const was: JsonObject = {};
  const is: JsonObject = {};
  for (const [name, value] of Object.entries(after.shown)) {
    const former = before.shown[name] ?? null;
    if (isDeepStrictEqual(former, value)) continue;
    was[name] = bounded(former);
    is[name] = bounded(value);
  }
  for (const [name, value] of Object.entries(after.sealed)) {
    const former = before.sealed[name] ?? null;
    if (former === value) continue;
    was[name] = former === null ? null : SET;
    is[name] = value === null ? null : former === null ? SET : REPLACED;
  }
  return Object.keys(is).length === 0 ? null : { before: was, after: is };
}

/** A line without the id and the time, which the engine gives. */
export type NewAuditEntry = Omit<AuditEntry, 'auditId' | 'at'>;

/**
 * The line of a change; null when nothing was changed.
 *
 * @param before - the thing before the operation, and `after` it; null where there was none
 */
export function auditLine<T extends Thing>(
  by: AuditActor,
  action: string,
  { type, id, username }: Subject<T>,
  before: AuditedThings[T] | null,
  after: AuditedThings[T] | null,
): NewAuditEntry | null {
  const was = before === null ? null : FACTS[type](before);
  const is = after === null ? null : FACTS[type](after);
  if (was === null && is === null) return null;
  // Who revokes a key needn't know whose it is.
  const owner = type === 'api_key' ? ((after ?? before) as ApiKey).username : username;
  const changed =
    was !== null && is !== null
      ? difference(was, is)
      : { before: was === null ? null : everything(was), after: is === null ? null : everything(is) };
  if (changed === null) return null;
  return { by, action, targetType: type, target: id, username: owner, ...changed };
}

// ---------------------------------------------------------------- rows

export interface AuditRow {
  seq: number;
  audit_id: string;
  at: number;
  actor: AuditActor['kind'];
  key_id: string | null;
  key_account: string | null;
  via: string;
  request_id: string | null;
  remote_address: string | null;
  action: string;
  target_type: AuditTarget;
  target: string;
  account: string | null;
  before: string | null;
  after: string | null;
  through: AuditActor['through'];
}

/** The columns that {@link auditValues} gives values for, in their order. */
export const AUDIT_COLUMNS =
  'actor, key_id, key_account, via, request_id, remote_address, action, target_type, target, account, before, after, through';

export function auditValues({
  by,
  action,
  targetType,
  target,
  username,
  before,
  after,
}: NewAuditEntry): (string | null)[] {
  return [
    by.kind,
    by.keyId,
    by.username,
    by.via,
    by.requestId,
    by.remoteAddress,
    action,
    targetType,
    target,
    username,
    before === null ? null : JSON.stringify(before),
    after === null ? null : JSON.stringify(after),
    by.through,
  ];
}

export function toAuditEntry(row: AuditRow): AuditEntry {
  const parse = (text: string | null) => (text === null ? null : (readJson(text) as JsonObject));
  return {
    auditId: row.audit_id,
    at: row.at,
    by: {
      kind: row.actor,
      keyId: row.key_id,
      username: row.key_account,
      via: row.via,
      requestId: row.request_id,
      remoteAddress: row.remote_address,
      through: row.through,
    },
    action: row.action,
    targetType: row.target_type,
    target: row.target,
    username: row.account,
    before: parse(row.before),
    after: parse(row.after),
  };
}

/** In the order of time; lines of one moment in the order of writing. */
export function auditCursorKey(row: AuditRow): [at: number, seq: number] {
  return [row.at, row.seq];
}

/** The conditions of a filter, as SQL comparisons up to their operator, with their values. */
export function auditConditions(filter: AuditFilter): [sql: string, value: string | number][] {
  const conditions: [string, string | number | undefined][] = [
    ['account =', filter.username],
    ['key_id =', filter.keyId],
    ['action =', filter.action],
    ['target_type =', filter.targetType],
    ['target_type <>', filter.withoutTargetType],
    ['target =', filter.target],
    ['at >=', filter.since],
    ['at <', filter.until],
  ];
  return conditions.filter((condition): condition is [string, string | number] => condition[1] !== undefined);
}
