import type { DeliveryStatus } from '../../model.ts';
import { UNSUBSCRIBED_REASON } from '../reasons.ts';
import type { AnyDeliveryRow } from '../rows.ts';
import type { EngineContext } from './engine.ts';

export interface QueueRow {
  username: string;
  delivery_id: string;
  endpoint_id: string;
  event_seq: number;
  event: string;
  attempts: number;
  failures: number;
  manual: number;
  created_at: number;
  due_at: number;
  leased: number;
  leased_at: number | null;
  token: string | null;
}

/** A delivery of either table, with what the tables name its event by. */
export type FoundDeliveryRow = AnyDeliveryRow & { event_seq: number };

const EVENT_ID = `(SELECT e.event_id FROM event e WHERE e.seq = event_seq) AS event_id`;
/** Before which nothing of a row of `queue` goes unasked, as its endpoint is probed; 0: it isn't. */
const PROBE_AT = `ifnull((SELECT f.probe_at FROM failing_endpoint f
  WHERE f.username = queue.username AND f.endpoint_id = queue.endpoint_id), 0)`;
/** Selects {@link FoundDeliveryRow} from `queue`. */
export const QUEUE_AS_DELIVERY = `username, delivery_id, endpoint_id, event_seq, ${EVENT_ID}, event, 'pending' AS status,
  NULL AS status_reason, attempts, created_at, NULL AS completed_at,
  ifnull(leased_at, CASE WHEN manual = 1 THEN due_at ELSE max(due_at, ${PROBE_AT}) END) AS next_attempt_at`;
/** Selects {@link FoundDeliveryRow} from `delivery`. */
export const HISTORY_AS_DELIVERY = `username, delivery_id, endpoint_id, event_seq, ${EVENT_ID}, event, status,
  status_reason, attempts, created_at, completed_at, NULL AS next_attempt_at`;

/** Moves deliveries between the queue and the history. */
export function deliveryMoves(context: EngineContext) {
  const { db, now } = context;
  const isSubscribed = subscriptionCheck(context);
  const enqueue = db.prepare(
    `INSERT INTO queue (username, delivery_id, endpoint_id, event_seq, event, attempts, failures, manual, created_at,
                        due_at, leased, leased_at, token)
     VALUES (?, ?, ?, ?, ?, ?, 0, ?, ?, ?, ?, ?, ?)`,
  );
  const dequeue = db.prepare<[string, string]>('DELETE FROM queue WHERE username = ? AND delivery_id = ?');
  const append = db.prepare(
    `INSERT INTO delivery (username, delivery_id, endpoint_id, event_seq, event, status, status_reason, attempts,
                           created_at, completed_at)
     VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?, ?)`,
  );
  const forget = db.prepare<[string, string]>('DELETE FROM delivery WHERE username = ? AND delivery_id = ?');
  // Expired leases count as waiting: whoever held one can no longer settle it.
  const waiting = db.prepare<[string, string, number, number], QueueRow>(
    `SELECT * FROM queue WHERE username = ? AND endpoint_id = ? AND (leased = 0 OR due_at <= ?) LIMIT ? + 0`,
  );

  function finish(row: QueueRow, status: Exclude<DeliveryStatus, 'pending'>, reason: string | null): void {
    dequeue.run(row.username, row.delivery_id);
    append.run(
      row.username,
      row.delivery_id,
      row.endpoint_id,
      row.event_seq,
      row.event,
      status,
      reason,
      row.attempts,
      row.created_at,
      now(),
    );
  }

  return {
    finish,

    /** Puts a new delivery into the queue, waiting or leased. */
    enqueue(
      delivery: { username: string; deliveryId: string; endpointId: string; eventSeq: number; event: string },
      manual: boolean,
      lease: { token: string; until: number } | null,
    ): void {
      enqueue.run(
        delivery.username,
        delivery.deliveryId,
        delivery.endpointId,
        delivery.eventSeq,
        delivery.event,
        0,
        manual ? 1 : 0,
        now(),
        lease === null ? now() : lease.until,
        lease === null ? 0 : 1,
        lease === null ? null : now(),
        lease === null ? null : lease.token,
      );
    },

    /** Makes a finished delivery pending and due; its schedule begins anew and its next attempt is manual. */
    revive(row: FoundDeliveryRow): void {
      forget.run(row.username, row.delivery_id);
      enqueue.run(
        row.username,
        row.delivery_id,
        row.endpoint_id,
        row.event_seq,
        row.event,
        row.attempts,
        1,
        row.created_at,
        now(),
        0,
        null,
        null,
      );
    },

    /** Cancels what waits for an endpoint that no longer takes its type, among the first `limit` that wait. */
    cancelUnsubscribed(username: string, endpointId: string, limit: number): void {
      for (const row of waiting.all(username, endpointId, now(), limit)) {
        if (!isSubscribed(row)) finish(row, 'cancelled', UNSUBSCRIBED_REASON);
      }
    },

    /** Cancels what waits for an endpoint, at most `limit` of it; answers whether more is left. */
    cancelWaiting(username: string, endpointId: string, reason: string, limit: number): boolean {
      const rows = waiting.all(username, endpointId, now(), limit);
      for (const row of rows) finish(row, 'cancelled', reason);
      return rows.length === limit;
    },
  };
}

export type DeliveryMoves = ReturnType<typeof deliveryMoves>;

/** Whether an account is there for its reader: not deleted, though rows of it may still wait for the purge. */
export function accountCheck({ db }: EngineContext): (username: string) => boolean {
  const live = db.prepare<[string]>(`SELECT 1 FROM account WHERE username = ? AND status <> 'deleted'`);
  return (username) => live.get(username) !== undefined;
}

/**
 * Whether an endpoint still takes a delivery's type: the subscriptions of now hold for every attempt (wire contract,
 * section 2). What a person asked for goes whatever it subscribes to, and so does a test event, which was for it alone.
 */
export function subscriptionCheck({ db }: EngineContext): (row: QueueRow) => boolean {
  const wanted = db.prepare<[string, string, string, number, string]>(
    `SELECT 1 FROM subscription WHERE username = ? AND event = ? AND endpoint_id = ?
     UNION ALL
     SELECT 1 FROM event WHERE seq = ? AND only_endpoint_id = ?
     LIMIT 1`,
  );
  return (row) =>
    row.manual === 1 ||
    wanted.get(row.username, row.event, row.endpoint_id, row.event_seq, row.endpoint_id) !== undefined;
}
