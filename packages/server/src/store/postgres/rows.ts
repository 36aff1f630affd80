/** Selects {@link ../rows.ts AnyDeliveryRow} from `posthorn.queue`. */
export const QUEUE_AS_DELIVERY = `username, delivery_id, endpoint_id, event_id, event, 'pending' AS status,
  NULL::text AS status_reason, attempts, created_at, NULL::bigint AS completed_at,
  coalesce(leased_at, due_at) AS next_attempt_at`;

/** Selects {@link ../rows.ts AnyDeliveryRow} from `posthorn.delivery`. */
export const HISTORY_AS_DELIVERY = `username, delivery_id, endpoint_id, event_id, event, status, status_reason,
  attempts, created_at, completed_at, NULL::bigint AS next_attempt_at`;

/** Whether the account $1 is there for its reader: not deleted, though rows of it may still wait for the purge. */
export const ACCOUNT_EXISTS = `EXISTS (SELECT 1 FROM posthorn.account WHERE username = $1 AND status <> 'deleted')`;
