import { PosthornError } from '../../errors.ts';
import type { DeliveryStatus } from '../../model.ts';
import { type AnyDeliveryRow, toDelivery } from '../rows.ts';
import { latencyClass } from '../statistics.ts';
import type { CircuitPolicy, EndpointTurn, SettleResult, Settlement } from '../store.ts';
import { bigintArray, booleanArray, doubleArray, integerArray, textArray, utf8Array } from './arrays.ts';
import type { EngineContext, Operations } from './engine.ts';
import { type ClaimedRow, offerValues, toClaimed } from './leases.ts';
import { HISTORY_AS_DELIVERY, QUEUE_AS_DELIVERY } from './rows.ts';

/** What `posthorn.settle` answers; indices are those of its settlements. */
interface SettledRow {
  results: [index: number, status: DeliveryStatus][];
  turns: [username: string, endpointId: string, to: EndpointTurn['to'], reason: string | null][];
  claimed: ClaimedRow;
}

const SETTLE = `SELECT posthorn.settle($1, $2, $3, $4, $5, $6, $7, $8, $9, $10, $11, $12, $13, $14, $15, $16, $17, $18, $19,
  $20, $21, $22, $23, $24, $25, $26, $27, $28, $29, $30, $31) AS answer`;

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

    async settle(settlements, offer, policy = null) {
      // One delivery is settled once in a batch: the first takes the token with it.
      const sent: number[] = [];
      const seen = new Set<string>();
      for (const [index, { username, deliveryId, token }] of settlements.entries()) {
        const key = `${username} ${deliveryId} ${token}`;
        if (seen.has(key)) continue;
        seen.add(key);
        sent.push(index);
      }
      const batch = sent.map((index) => settlements[index] as Settlement);
      const [row] = await query<{ answer: SettledRow }>(SETTLE, [
        ...toColumns(batch),
        batch.some(({ next, disableEndpoint }) => next.status === 'pending' || disableEndpoint !== undefined),
        ...policyValues(policy),
        ...offerValues(nodeId(), offer),
      ]);
      const { answer } = row as { answer: SettledRow };
      const results: SettleResult[] = settlements.map(() => ({ outcome: 'stale' }));
      for (const [index, status] of answer.results) {
        results[sent[index] as number] = { outcome: 'settled', status };
      }
      const turns = answer.turns.map(([username, endpointId, to, reason]) => ({
        username,
        endpointId,
        to,
        reason,
      }));
      return { results, turns, ...toClaimed(answer.claimed) };
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
        // Before what it speaks of: a call's time is never after that.
        await sql.query(
          'INSERT INTO posthorn.lane_call (username, endpoint_id, at) VALUES ($1, $2, posthorn.now_ms())',
          [username, row.endpoint_id],
        );
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
                                         attempts, failures, manual, pinned, apart, created_at, due_at, leased)
             SELECT username, delivery_id, endpoint_id, event_id, event, event_at, event_seq, attempts, 0, true,
                    coalesce((SELECT v.only_endpoint_id IS NOT NULL FROM posthorn.event v
                              WHERE v.username = gone.username AND v.created_at = gone.event_at
                                AND v.seq = gone.event_seq), false),
                    apart, created_at, posthorn.now_ms(), false
             FROM gone`,
            [username, deliveryId],
          );
        }
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

/** The settlements as `posthorn.settle` takes them. */
function toColumns(settlements: readonly Settlement[]): Buffer[] {
  const attempts = settlements.map(({ attempt }) => attempt);
  return [
    textArray(settlements.map(({ username }) => username)),
    textArray(settlements.map(({ deliveryId }) => deliveryId)),
    textArray(settlements.map(({ token }) => token)),
    textArray(settlements.map(({ next }) => next.status)),
    bigintArray(settlements.map(({ next }) => (next.status === 'pending' ? next.dueAt : null))),
    textArray(settlements.map(({ next }) => (next.status === 'dead' ? withoutNul(next.reason) : null))),
    textArray(settlements.map(({ disableEndpoint }) => withoutNul(disableEndpoint ?? null))),
    integerArray(attempts.map(({ number }) => number)),
    bigintArray(attempts.map(({ startedAt }) => startedAt)),
    doubleArray(attempts.map(({ durationMs }) => durationMs)),
    textArray(attempts.map(({ outcome }) => outcome)),
    integerArray(attempts.map(({ httpStatus }) => httpStatus)),
    textArray(attempts.map(({ error }) => withoutNul(error))),
    textArray(attempts.map(({ url }) => withoutNul(url))),
    textArray(attempts.map(({ requestHeaders }) => JSON.stringify(requestHeaders))),
    textArray(
      attempts.map(({ responseHeaders }) =>
        responseHeaders === null ? null : JSON.stringify(responseHeaders),
      ),
    ),
    utf8Array(attempts.map(({ responseBody }) => responseBody)),
    booleanArray(attempts.map(({ responseTruncated }) => responseTruncated)),
    booleanArray(attempts.map(({ manual }) => manual)),
    integerArray(attempts.map(({ durationMs }) => latencyClass(durationMs))),
    booleanArray(settlements.map(({ endpointFailed }) => endpointFailed === true)),
  ];
}

/** The policy as `posthorn.settle` takes it. */
function policyValues(policy: CircuitPolicy | null): unknown[] {
  if (policy === null) return [null, null, null, null, null];
  return [
    policy.probeAfter,
    policy.pausesMs,
    policy.disableAfterMs,
    policy.disableReason,
    policy.operationsUsername,
  ];
}
