import { notFound } from '../../errors.ts';
import type { Endpoint } from '../../model.ts';
import {
  beginsAnew,
  CANCEL_AT_ONCE,
  changedColumns,
  type EndpointRow,
  toEndpoint,
  tooManyEndpoints,
} from '../account-rows.ts';
import { stringifyOrNull } from '../columns.ts';
import { cancelReason } from '../reasons.ts';
import { endpointEnder } from './circuits.ts';
import type { EngineContext, SyncStore } from './engine.ts';
import { laneBook } from './lanes.ts';
import { accountCheck, deliveryMoves } from './rows.ts';

export function endpointOperations(
  context: EngineContext,
): Pick<
  SyncStore,
  'addEndpoint' | 'getEndpoint' | 'listEndpoints' | 'updateEndpoint' | 'deleteEndpoint' | 'rotateSecret'
> {
  const { db, now, failing } = context;
  const lanes = laneBook(context);
  const moves = deliveryMoves(context);
  const end = endpointEnder(context);
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
  const enabled = db.prepare(
    `UPDATE endpoint SET disabled_at = NULL, missed_until = CASE WHEN missed_since IS NULL THEN NULL ELSE ? END
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
      if ((count.get(username) as { n: number }).n >= maxEndpoints) throw tooManyEndpoints(maxEndpoints);
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
      // While its failures are known: what it has missed began with them.
      if (changes.status === 'disabled') end(username, endpointId, null);
      for (const [column, value] of changedColumns(changes)) {
        db.prepare(`UPDATE endpoint SET ${column} = ? WHERE username = ? AND endpoint_id = ?`).run(
          value,
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
        if (changes.status === 'disabled') {
          cancelWaiting(username, endpointId, 'disabled');
        } else if (before.status === 'disabled') {
          // It starts afresh: what a large backlog still holds from before must not be sent now.
          moves.cancelWaiting(username, endpointId, cancelReason('disabled'), Number.MAX_SAFE_INTEGER);
          enabled.run(now(), username, endpointId);
        }
      }
      if (beginsAnew(before, changes) && changes.status !== 'disabled') {
        failing.set(username, endpointId, null);
        lanes.lookBy(username, endpointId, now());
      }
      return find(username, endpointId);
    },

    deleteEndpoint(username, endpointId) {
      const endpoint = find(username, endpointId);
      if (endpoint === null) return false;
      remove.run(now(), username, endpointId);
      failing.set(username, endpointId, null);
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
