/**
 * Before which nothing of a row of `posthorn.queue` goes unasked, as its endpoint is probed; null: it isn't. Its columns are
 * renamed, so that those of the row need no name of its table.
 */
const PROBE_AT = `(SELECT f.probe_at FROM (
    SELECT username AS failing_username, endpoint_id AS failing_id, probe_at FROM posthorn.failing_endpoint
  ) f WHERE f.failing_username = username AND f.failing_id = endpoint_id)`;

/** Selects {@link ../rows.ts AnyDeliveryRow} from `posthorn.queue`. */
export const QUEUE_AS_DELIVERY = `username, delivery_id, endpoint_id, event_id, event, 'pending' AS status,
  NULL::text AS status_reason, attempts, created_at, NULL::bigint AS completed_at,
  coalesce(leased_at, CASE WHEN manual THEN due_at ELSE greatest(due_at, ${PROBE_AT}) END) AS next_attempt_at`;

/** Selects {@link ../rows.ts AnyDeliveryRow} from `posthorn.delivery`. */
export const HISTORY_AS_DELIVERY = `username, delivery_id, endpoint_id, event_id, event, status, status_reason,
  attempts, created_at, completed_at, NULL::bigint AS next_attempt_at`;

/**
 * Whether a row of `posthorn.queue` or `posthorn.delivery` belongs to an event: a condition that finds its deliveries by
 * the table's key, or by the index of those that are apart.
 *
 * @param row - the table's alias
 * @param event - SQL for the event's columns; `id` its `event_id`, `head` its `posthorn.delivery_head` where that was worked
 *   out already, which takes longer than to find a delivery
 */
export function ofEvent(
  row: string,
  event: { username: string; id: string; createdAt: string; seq: string; head?: string },
): string {
  const head = event.head ?? `posthorn.delivery_head(${event.createdAt}, ${event.seq})`;
  // `+ 0` keeps the planner from the lane's index, whose last column event_seq is: it would read the account's whole queue.
  return `${row}.username = ${event.username} AND ${row}.event_seq + 0 = ${event.seq}
    AND (${row}.delivery_id >= ${head} AND ${row}.delivery_id < ${head} || '~'
      OR ${row}.apart AND ${row}.event_id = ${event.id})`;
}

/** Whether the account $1 is there for its reader: not deleted, though rows of it may still wait for the purge. */
export const ACCOUNT_EXISTS = `EXISTS (SELECT 1 FROM posthorn.account WHERE username = $1 AND status <> 'deleted')`;
