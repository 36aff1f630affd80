import { PosthornError } from '../../errors.ts';
import type { DeliveryStatus } from '../../model.ts';
import { type AnyDeliveryRow, toDelivery } from '../rows.ts';
import { latencyClass } from '../statistics.ts';
import type { SettleResult, Settlement } from '../store.ts';
import type { EngineContext, Operations } from './engine.ts';
import { type ClaimedRow, offerValues, toClaimed } from './leases.ts';
import { HISTORY_AS_DELIVERY, QUEUE_AS_DELIVERY } from './rows.ts';

export function queueOperations({
  query,
  transaction,
  nodeId,
  notify,
}: EngineContext): Operations<'recover' | 'claim' | 'settle' | 'release' | 'retryDelivery'> {
  return {
    async recover() {
      // Soon after the server's start all nodes look dead: none could tell of itself.
      const [row] = await query<{ freed: number }>(
        `SELECT CASE WHEN pg_postmaster_start_time() < clock_timestamp() - interval '15 seconds'
                     THEN posthorn.free_dead_nodes() ELSE 0 END AS freed`,
      );
      return row?.freed ?? 0;
    },

    async claim(offer) {
      const [row] = await query<{ answer: ClaimedRow }>(
        'SELECT posthorn.claim($1, $2, $3, $4) AS answer',
        offerValues(nodeId(), offer),
      );
      return toClaimed((row as { answer: ClaimedRow }).answer);
    },

    async settle(settlements, offer) {
      // One delivery is settled once in a batch: the first takes the token with it.
      const sent: number[] = [];
      const seen = new Set<string>();
      for (const [index, { username, deliveryId, token }] of settlements.entries()) {
        const key = `${username} ${deliveryId} ${token}`;
        if (seen.has(key)) continue;
        seen.add(key);
        sent.push(index);
      }
      const rows = sent.map((index) => toRow(settlements[index] as Settlement));
      const [row] = await query<{ answer: ClaimedRow & { results: [number, DeliveryStatus][] } }>(
        'SELECT posthorn.settle($1, $2, $3, $4, $5, $6) AS answer',
        [
          JSON.stringify(rows),
          settlements.some(({ disableEndpoint }) => disableEndpoint !== undefined),
          ...offerValues(nodeId(), offer),
        ],
      );
      const { answer } = row as { answer: ClaimedRow & { results: [number, DeliveryStatus][] } };
      const results: SettleResult[] = settlements.map(() => ({ outcome: 'stale' }));
      for (const [index, status] of answer.results) {
        results[sent[index] as number] = { outcome: 'settled', status };
      }
      return { results, ...toClaimed(answer) };
    },

    async release(leases) {
      await query('SELECT posthorn.release($1)', [
        JSON.stringify(
          leases.map(({ username, deliveryId, token }) => ({ username, delivery_id: deliveryId, token })),
        ),
      ]);
    },

    retryDelivery: (username, deliveryId) =>
      transaction(async (sql) => {
        const [account] = await sql.query(
          `SELECT 1 FROM posthorn.account WHERE username = $1 AND status <> 'deleted'`,
          [username],
        );
        if (account === undefined) return null;
        const find = async (source: string): Promise<AnyDeliveryRow | undefined> =>
          (
            await sql.query<AnyDeliveryRow>(
              `SELECT ${source} WHERE username = $1 AND delivery_id = $2 FOR UPDATE`,
              [username, deliveryId],
            )
          )[0];
        const waiting = `${QUEUE_AS_DELIVERY} FROM posthorn.queue`;
        const row =
          (await find(waiting)) ??
          (await find(`${HISTORY_AS_DELIVERY} FROM posthorn.delivery`)) ??
          // Another retry may have moved it back while the history was looked at.
          (await find(waiting));
        if (row === undefined) return null;
        const [endpoint] = await sql.query<{ status: string }>(
          'SELECT status FROM posthorn.endpoint WHERE username = $1 AND endpoint_id = $2',
          [username, row.endpoint_id],
        );
        if (endpoint?.status !== 'enabled') {
          throw new PosthornError(
            'invalid_parameter',
            endpoint?.status === 'disabled'
              ? `endpoint ${row.endpoint_id} is disabled: enable it before retrying its deliveries`
              : `endpoint ${row.endpoint_id} is deleted: its deliveries can't be retried`,
          );
        }
        if (row.status === 'pending') {
          await sql.query(
            `UPDATE posthorn.queue SET due_at = posthorn.now_ms(), manual = true
             WHERE username = $1 AND delivery_id = $2 AND NOT leased`,
            [username, deliveryId],
          );
        } else {
          await sql.query(
            `WITH gone AS (
               DELETE FROM posthorn.delivery WHERE username = $1 AND delivery_id = $2 RETURNING *
             )
             INSERT INTO posthorn.queue (username, delivery_id, endpoint_id, event_id, event, event_at, event_seq,
                                         attempts, failures, manual, pinned, created_at, due_at, leased)
             SELECT username, delivery_id, endpoint_id, event_id, event, event_at, event_seq, attempts, 0, true,
                    coalesce((SELECT v.only_endpoint_id IS NOT NULL FROM posthorn.event v
                              WHERE v.username = gone.username AND v.created_at = gone.event_at
                                AND v.seq = gone.event_seq), false),
                    created_at, posthorn.now_ms(), false
             FROM gone`,
            [username, deliveryId],
          );
        }
        await sql.query(
          'INSERT INTO posthorn.lane_call (username, endpoint_id, at) VALUES ($1, $2, posthorn.now_ms())',
          [username, row.endpoint_id],
        );
        await notify(sql, { kind: 'due' });
        const now = await find(waiting);
        return now === undefined ? null : toDelivery(now);
      }),
  };
}

/** Text can't hold U+0000, which a receiver may put into what is quoted from it. */
function withoutNul(text: string | null): string | null {
  return text === null ? null : text.replaceAll('\0', '\u{fffd}');
}

function toRow({ username, deliveryId, token, attempt, next, disableEndpoint }: Settlement) {
  return {
    username,
    delivery_id: deliveryId,
    token,
    status: next.status,
    due_at: next.status === 'pending' ? next.dueAt : undefined,
    reason: next.status === 'dead' ? withoutNul(next.reason) : undefined,
    disable: disableEndpoint === undefined ? undefined : withoutNul(disableEndpoint),
    number: attempt.number,
    started_at: attempt.startedAt,
    duration_ms: attempt.durationMs,
    outcome: attempt.outcome,
    http_status: attempt.httpStatus,
    error: withoutNul(attempt.error),
    url: withoutNul(attempt.url),
    request_headers: JSON.stringify(attempt.requestHeaders),
    response_headers: attempt.responseHeaders === null ? null : JSON.stringify(attempt.responseHeaders),
    response_body:
      attempt.responseBody === null ? null : Buffer.from(attempt.responseBody, 'utf8').toString('base64'),
    response_truncated: attempt.responseTruncated,
    manual: attempt.manual,
    latency: latencyClass(attempt.durationMs),
  };
}
