import { PosthornError, notFound } from '../../errors.ts';
import type { Endpoint, EndpointChanges, EndpointStatus } from '../../model.ts';
import { cancelReason } from '../reasons.ts';
import { parseObject, stringifyOrNull } from './columns.ts';
import type { EngineContext, SyncStore } from './engine.ts';
import { laneBook } from './lanes.ts';
import { accountCheck, deliveryMoves } from './rows.ts';

/**
 * How many waiting deliveries a disable or delete cancels in its own transaction. The rest of a larger backlog is
 * cancelled by the claims that come by, so that one call never holds up all commits.
 */
const CANCEL_AT_ONCE = 1000;

interface EndpointRow {
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

function toEndpoint(row: EndpointRow, nowMs: number): Endpoint {
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

/** The columns that an update may set, and how a value is kept. */
const CHANGEABLE: {
  [Name in keyof Required<EndpointChanges>]: { column: string; keep: (value: unknown) => unknown };
} = {
  url: { column: 'url', keep: (value) => value },
  events: { column: 'events', keep: stringifyOrNull },
  status: { column: 'status', keep: (value) => value },
  description: { column: 'description', keep: (value) => value },
  metadata: { column: 'metadata', keep: stringifyOrNull },
  headers: { column: 'headers', keep: (value) => value },
  rateLimitPerSecond: { column: 'rate_limit_per_second', keep: (value) => value },
  timeoutMs: { column: 'timeout_ms', keep: (value) => value },
};

export function endpointOperations(
  context: EngineContext,
): Pick<
  SyncStore,
  'addEndpoint' | 'getEndpoint' | 'listEndpoints' | 'updateEndpoint' | 'deleteEndpoint' | 'rotateSecret'
> {
  const { db, now } = context;
  const lanes = laneBook(context);
  const moves = deliveryMoves(context);
  const accountExists = accountCheck(context);
  const count = db.prepare<[string], { n: number }>(
    `SELECT count(*) AS n FROM endpoint WHERE username = ? AND status <> 'deleted'`,
  );
  const insert = db.prepare(
    `INSERT INTO endpoint (username, endpoint_id, url, events, status, secret, description, metadata, headers,
                           rate_limit_per_second, timeout_ms, created_at)
     VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?)`,
  );
  const select = db.prepare<[string, string], EndpointRow>(
    `SELECT * FROM endpoint WHERE username = ? AND endpoint_id = ? AND status <> 'deleted'`,
  );
  // Ids sort by the time they were made, so the key's order is the order of making.
  const list = db.prepare<[string], EndpointRow>(
    `SELECT * FROM endpoint WHERE username = ? AND status <> 'deleted' ORDER BY endpoint_id`,
  );
  const subscribe = db.prepare(
    'INSERT INTO subscription (username, event, endpoint_id) VALUES (?, ?, ?) ON CONFLICT DO NOTHING',
  );
  const unsubscribe = db.prepare<[string, string, string]>(
    'DELETE FROM subscription WHERE username = ? AND endpoint_id = ? AND event = ?',
  );
  const remove = db.prepare(
    `UPDATE endpoint SET status = 'deleted', deleted_at = ?, secret = '', previous_secret = NULL,
       previous_secret_expires_at = NULL, headers = NULL
     WHERE username = ? AND endpoint_id = ?`,
  );
  const rotate = db.prepare(
    `UPDATE endpoint SET secret = ?, previous_secret = CASE WHEN ? IS NULL THEN NULL ELSE secret END,
       previous_secret_expires_at = ?
     WHERE username = ? AND endpoint_id = ?`,
  );

  function find(username: string, endpointId: string): Endpoint | null {
    const row = select.get(username, endpointId);
    return row === undefined ? null : toEndpoint(row, now());
  }

  function cancelWaiting(username: string, endpointId: string, status: string): void {
    const more = moves.cancelWaiting(username, endpointId, cancelReason(status), CANCEL_AT_ONCE);
    if (more) lanes.lookBy(username, endpointId, now());
  }

  return {
    addEndpoint(endpoint, maxEndpoints) {
      const { username, endpointId } = endpoint;
      if (!accountExists(username)) throw notFound('account', username);
      if ((count.get(username) as { n: number }).n >= maxEndpoints) {
        throw new PosthornError(
          'invalid_parameter',
          `the account has ${maxEndpoints} endpoints, the limit: delete one before adding another`,
        );
      }
      insert.run(
        username,
        endpointId,
        endpoint.url,
        JSON.stringify(endpoint.events),
        endpoint.status,
        endpoint.secret,
        endpoint.description,
        stringifyOrNull(endpoint.metadata),
        endpoint.headers,
        endpoint.rateLimitPerSecond,
        endpoint.timeoutMs,
        now(),
      );
      for (const event of endpoint.events) subscribe.run(username, event, endpointId);
      lanes.create(username, endpointId);
      return find(username, endpointId) as Endpoint;
    },

    getEndpoint: find,

    listEndpoints: (username) => list.all(username).map((row) => toEndpoint(row, now())),

    updateEndpoint(username, endpointId, changes) {
      const before = find(username, endpointId);
      if (before === null) return null;
      const names = (Object.keys(changes) as (keyof EndpointChanges)[]).filter(
        (name) => changes[name] !== undefined,
      );
      for (const name of names) {
        const { column, keep } = CHANGEABLE[name];
        db.prepare(`UPDATE endpoint SET ${column} = ? WHERE username = ? AND endpoint_id = ?`).run(
          keep(changes[name]),
          username,
          endpointId,
        );
      }
      if (changes.events !== undefined) {
        for (const event of before.events) unsubscribe.run(username, endpointId, event);
        for (const event of changes.events) subscribe.run(username, event, endpointId);
        // What is left of a larger backlog is cancelled when it is claimed.
        moves.cancelUnsubscribed(username, endpointId, CANCEL_AT_ONCE);
      }
      if (changes.status !== undefined) {
        db.prepare('UPDATE endpoint SET disabled_reason = NULL WHERE username = ? AND endpoint_id = ?').run(
          username,
          endpointId,
        );
        if (changes.status === 'disabled') {
          cancelWaiting(username, endpointId, 'disabled');
        } else if (before.status === 'disabled') {
          // It starts afresh: what a large backlog still holds from before must not be sent now.
          moves.cancelWaiting(username, endpointId, cancelReason('disabled'), Number.MAX_SAFE_INTEGER);
        }
      }
      return find(username, endpointId);
    },

    deleteEndpoint(username, endpointId) {
      const endpoint = find(username, endpointId);
      if (endpoint === null) return false;
      remove.run(now(), username, endpointId);
      for (const event of endpoint.events) unsubscribe.run(username, endpointId, event);
      cancelWaiting(username, endpointId, 'deleted');
      return true;
    },

    rotateSecret(username, endpointId, secret, overlapUntil) {
      if (find(username, endpointId) === null) return null;
      rotate.run(secret, overlapUntil, overlapUntil, username, endpointId);
      return find(username, endpointId);
    },
  };
}
