import { notFound } from '../../errors.ts';
import type { AccountStatus, Endpoint } from '../../model.ts';
import {
  beginsAnew,
  CANCEL_AT_ONCE,
  changedColumns,
  type EndpointRow,
  toEndpoint,
  tooManyEndpoints,
} from '../account-rows.ts';
import { stringifyOrNull } from '../columns.ts';
import { cancelReason, UNSUBSCRIBED_REASON } from '../reasons.ts';
import type { EngineContext, Operations, Sql } from './engine.ts';
import { decodeText, encodeText } from './text.ts';

/** How many of a backlog one statement cancels, so that none comes near the statement timeout. */
const CANCEL_A_STATEMENT = 10_000;
/** How many waiting deliveries are looked at when a type is taken out; the rest is judged when it is claimed. */
const LOOKED_AT_ONCE = 10_000;

const SELECT = `SELECT username, endpoint_id, url, events, status, disabled_reason, secret, previous_secret,
    previous_secret_expires_at, description, metadata, headers, rate_limit_per_second, timeout_ms, created_at,
    posthorn.now_ms() AS now
  FROM posthorn.endpoint`;

interface FoundRow extends EndpointRow {
  /** By the database's clock. */
  now: number;
}

function toFound(row: FoundRow): Endpoint {
  const description = row.description === null ? null : decodeText(row.description);
  return toEndpoint({ ...row, description }, row.now);
}

async function find(
  sql: Sql,
  username: string,
  endpointId: string,
  lock: '' | 'FOR NO KEY UPDATE' = '',
): Promise<Endpoint | null> {
  const [row] = await sql.query<FoundRow>(
    `${SELECT} WHERE username = $1 AND endpoint_id = $2 AND status <> 'deleted' ${lock}`,
    [username, endpointId],
  );
  return row === undefined ? null : toFound(row);
}

async function subscribe(
  sql: Sql,
  username: string,
  endpointId: string,
  events: readonly string[],
): Promise<void> {
  await sql.query(
    `INSERT INTO posthorn.subscription (username, event, endpoint_id)
     SELECT $1, event, $2 FROM unnest($3::text[]) AS s(event) ON CONFLICT DO NOTHING`,
    [username, endpointId, events],
  );
}

async function unsubscribe(
  sql: Sql,
  username: string,
  endpointId: string,
  events: readonly string[],
): Promise<void> {
  await sql.query(
    'DELETE FROM posthorn.subscription WHERE username = $1 AND endpoint_id = $2 AND event = ANY ($3::text[])',
    [username, endpointId, events],
  );
}

/** Answers how many it cancelled. What another transaction has in hand is left to it: it judges the endpoint itself. */
async function cancelWaiting(
  sql: Sql,
  username: string,
  endpointId: string,
  status: 'disabled' | 'deleted',
  limit: number,
): Promise<number> {
  const [row] = await sql.query<{ cancelled: number }>(
    'SELECT posthorn.cancel_waiting($1, $2, $3, $4) AS cancelled',
    [username, endpointId, cancelReason(status), limit],
  );
  return row?.cancelled ?? 0;
}

/** Cancels what waits of types that the endpoint no longer takes, as {@link cancelWaiting}. */
async function cancelUnsubscribed(
  sql: Sql,
  username: string,
  endpointId: string,
  events: readonly string[],
): Promise<void> {
  await sql.query(
    `WITH looked AS MATERIALIZED (
       SELECT delivery_id, event, manual OR pinned AS asked FROM posthorn.queue
       WHERE username = $1 AND endpoint_id = $2 AND (NOT leased OR leased_until <= posthorn.now_ms()) LIMIT $5
     ), unwanted AS MATERIALIZED (
       SELECT q.delivery_id FROM looked l
       JOIN posthorn.queue q ON q.username = $1 AND q.delivery_id = l.delivery_id
       WHERE NOT l.asked AND l.event <> ALL ($3::text[])
         AND NOT q.manual AND (NOT q.leased OR q.leased_until <= posthorn.now_ms())
       FOR UPDATE OF q SKIP LOCKED
     ), gone AS (
       DELETE FROM posthorn.queue q USING unwanted u
       WHERE q.username = $1 AND q.delivery_id = u.delivery_id
       RETURNING q.*
     )
     INSERT INTO posthorn.delivery (username, delivery_id, endpoint_id, event_id, event, event_at, event_seq, status,
                                    status_reason, attempts, created_at, completed_at, apart)
     SELECT username, delivery_id, endpoint_id, event_id, event, event_at, event_seq, 'cancelled', $4, attempts,
            created_at, posthorn.now_ms(), apart
     FROM gone`,
    [username, endpointId, events, UNSUBSCRIBED_REASON, LOOKED_AT_ONCE],
  );
}

/** Before the endpoint is locked, as settlements do: nobody waits in a circle. */
async function lockFailures(sql: Sql, username: string, endpointId: string): Promise<void> {
  await sql.query(
    'SELECT 1 FROM posthorn.failing_endpoint WHERE username = $1 AND endpoint_id = $2 FOR UPDATE',
    [username, endpointId],
  );
}

async function forgetFailures(sql: Sql, username: string, endpointId: string): Promise<void> {
  await sql.query('DELETE FROM posthorn.failing_endpoint WHERE username = $1 AND endpoint_id = $2', [
    username,
    endpointId,
  ]);
}

export function endpointOperations({
  query,
  transaction,
  notify,
}: EngineContext): Operations<
  'addEndpoint' | 'getEndpoint' | 'listEndpoints' | 'updateEndpoint' | 'deleteEndpoint' | 'rotateSecret'
> {
  /** Cancels what waits for an endpoint that ended; claims cancel the rest of a large backlog. */
  async function endWaiting(
    sql: Sql,
    username: string,
    endpointId: string,
    status: 'disabled' | 'deleted',
  ): Promise<void> {
    const cancelled = await cancelWaiting(sql, username, endpointId, status, CANCEL_AT_ONCE);
    if (cancelled < CANCEL_AT_ONCE) return;
    await sql.query(
      'INSERT INTO posthorn.lane_call (username, endpoint_id, at) VALUES ($1, $2, posthorn.now_ms())',
      [username, endpointId],
    );
    await notify(sql, { kind: 'due' });
  }

  return {
    addEndpoint: (endpoint, maxEndpoints) =>
      transaction(async (sql) => {
        const { username, endpointId } = endpoint;
        // Held until the commit: additions of one account come one after another, and see each other.
        const [account] = await sql.query<{ status: AccountStatus }>(
          `SELECT status FROM posthorn.account WHERE username = $1 AND status <> 'deleted' FOR NO KEY UPDATE`,
          [username],
        );
        if (account === undefined) throw notFound('account', username);
        const [count] = await sql.query<{ n: number }>(
          `SELECT count(*) AS n FROM posthorn.endpoint WHERE username = $1 AND status <> 'deleted'`,
          [username],
        );
        if ((count?.n ?? 0) >= maxEndpoints) throw tooManyEndpoints(maxEndpoints);
        await sql.query(
          `INSERT INTO posthorn.endpoint (username, endpoint_id, url, events, status, secret, description, metadata,
                                          headers, rate_limit_per_second, timeout_ms, created_at)
           VALUES ($1, $2, $3, $4, $5, $6, $7, $8, $9, $10, $11, posthorn.now_ms())`,
          [
            username,
            endpointId,
            endpoint.url,
            JSON.stringify(endpoint.events),
            endpoint.status,
            endpoint.secret,
            endpoint.description === null ? null : encodeText(endpoint.description),
            stringifyOrNull(endpoint.metadata),
            endpoint.headers,
            endpoint.rateLimitPerSecond,
            endpoint.timeoutMs,
          ],
        );
        await subscribe(sql, username, endpointId, endpoint.events);
        await sql.query('INSERT INTO posthorn.lane (username, endpoint_id, parked) VALUES ($1, $2, $3)', [
          username,
          endpointId,
          account.status !== 'active',
        ]);
        return (await find(sql, username, endpointId)) as Endpoint;
      }),

    getEndpoint: (username, endpointId) => find({ query }, username, endpointId),

    async listEndpoints(username) {
      // Ids sort by the time they were made, so the key's order is the order of making.
      const rows = await query<FoundRow>(
        `${SELECT} WHERE username = $1 AND status <> 'deleted' ORDER BY endpoint_id`,
        [username],
      );
      return rows.map(toFound);
    },

    updateEndpoint: (username, endpointId, changes) =>
      transaction(async (sql) => {
        await lockFailures(sql, username, endpointId);
        const before = await find(sql, username, endpointId, 'FOR NO KEY UPDATE');
        if (before === null) return null;
        const columns = changedColumns(changes);
        if (columns.length === 0) return before;
        // While its failures are known: what it has missed began with them.
        if (changes.status === 'disabled') {
          await sql.query('SELECT posthorn.end_endpoint($1, $2, NULL, NULL, false, NULL)', [
            username,
            endpointId,
          ]);
        }
        const values = columns.map(([column, value]) =>
          column === 'description' && typeof value === 'string' ? encodeText(value) : value,
        );
        await sql.query(
          `UPDATE posthorn.endpoint SET ${columns.map(([column], n) => `${column} = $${n + 3}`).join(', ')}
           WHERE username = $1 AND endpoint_id = $2`,
          [username, endpointId, ...values],
        );
        if (changes.events !== undefined) {
          await unsubscribe(sql, username, endpointId, before.events);
          await subscribe(sql, username, endpointId, changes.events);
          await cancelUnsubscribed(sql, username, endpointId, changes.events);
        }
        if (changes.status === 'disabled') {
          await endWaiting(sql, username, endpointId, 'disabled');
        } else if (changes.status === 'enabled' && before.status === 'disabled') {
          // It starts afresh: what a large backlog still holds from before must not be sent now.
          let cancelled: number;
          do {
            cancelled = await cancelWaiting(sql, username, endpointId, 'disabled', CANCEL_A_STATEMENT);
          } while (cancelled === CANCEL_A_STATEMENT);
          await sql.query(
            `UPDATE posthorn.endpoint
             SET disabled_at = NULL,
                 missed_until = CASE WHEN missed_since IS NOT NULL THEN posthorn.now_ms() END
             WHERE username = $1 AND endpoint_id = $2`,
            [username, endpointId],
          );
        }
        if (beginsAnew(before, changes) && changes.status !== 'disabled') {
          await forgetFailures(sql, username, endpointId);
          await sql.query(
            'INSERT INTO posthorn.lane_call (username, endpoint_id, at) VALUES ($1, $2, posthorn.now_ms())',
            [username, endpointId],
          );
        }
        await notify(sql, { kind: 'endpoint', endpointId });
        return find(sql, username, endpointId);
      }),

    deleteEndpoint: (username, endpointId) =>
      transaction(async (sql) => {
        await lockFailures(sql, username, endpointId);
        const [deleted] = await sql.query<Pick<EndpointRow, 'events'>>(
          `UPDATE posthorn.endpoint SET status = 'deleted', deleted_at = posthorn.now_ms(), secret = '',
             previous_secret = NULL, previous_secret_expires_at = NULL, headers = NULL
           WHERE username = $1 AND endpoint_id = $2 AND status <> 'deleted' RETURNING events`,
          [username, endpointId],
        );
        if (deleted === undefined) return false;
        await unsubscribe(sql, username, endpointId, JSON.parse(deleted.events) as string[]);
        await forgetFailures(sql, username, endpointId);
        await endWaiting(sql, username, endpointId, 'deleted');
        await notify(sql, { kind: 'endpoint', endpointId });
        return true;
      }),

    rotateSecret: (username, endpointId, secret, overlapUntil) =>
      transaction(async (sql) => {
        const [rotated] = await sql.query(
          `UPDATE posthorn.endpoint SET secret = $3,
             previous_secret = CASE WHEN $4::bigint IS NULL THEN NULL ELSE secret END,
             previous_secret_expires_at = $4
           WHERE username = $1 AND endpoint_id = $2 AND status <> 'deleted' RETURNING 1`,
          [username, endpointId, secret, overlapUntil],
        );
        if (rotated === undefined) return null;
        await notify(sql, { kind: 'endpoint', endpointId });
        return find(sql, username, endpointId);
      }),
  };
}
