import { idFloor } from '../../clock.ts';
import { decodeCursor, pageOf } from '../cursor.ts';
import { type AnyDeliveryRow, type AttemptRow, toAttempt, toDelivery } from '../rows.ts';
import type { DeliveryFilter } from '../store.ts';
import type { EngineContext, Operations } from './engine.ts';
import { ACCOUNT_EXISTS, HISTORY_AS_DELIVERY, QUEUE_AS_DELIVERY } from './rows.ts';

interface DetailRow extends AnyDeliveryRow, Omit<AttemptRow, 'number'> {
  event_at: number;
  event_seq: number;
  endpoint_url: string | null;
  /** Null in the one row of a delivery without attempts. */
  number: number | null;
}

const allOf = (table: string): string => `posthorn.${table}`;

/**
 * The rows of a table that belong to an event of the account $1. Fenced by OFFSET 0: found by their index, never by
 * walking the account's deliveries from the newest on.
 */
function deliveriesOf(eventId: string): (table: string) => string {
  const head = `(SELECT posthorn.delivery_head(created_at, seq) FROM posthorn.event_key
                 WHERE username = $1 AND event_id = ${eventId})`;
  return (table) => `(SELECT * FROM posthorn.${table}
    WHERE username = $1 AND event_id = ${eventId}
      AND (delivery_id >= ${head} AND delivery_id < ${head} || '~' OR apart) OFFSET 0)`;
}

/** The list's statement: both halves in one, so that a delivery that moves meanwhile is seen in one of them. */
function listStatement(username: string, filter: DeliveryFilter, before: string | null, limit: number) {
  const values: unknown[] = [username, limit];
  const where = ['username = $1'];
  const add = (sql: string, value: string | null | undefined) => {
    if (value === undefined || value === null) return;
    values.push(value);
    where.push(`${sql} $${values.length}`);
  };
  add('delivery_id <', before);
  add('endpoint_id =', filter.endpointId);
  add('event =', filter.event);
  // Ids begin with the time at which they were made.
  add('delivery_id >=', filter.since === undefined ? null : idFloor('dlv', filter.since));
  add('delivery_id <', filter.until === undefined ? null : idFloor('dlv', filter.until));
  const { eventId } = filter;
  const source = eventId === undefined ? allOf : deliveriesOf(`$${values.push(eventId)}`);
  const half = (columns: string, table: string) =>
    `(SELECT ${columns} FROM ${source(table)} t WHERE ${where.join(' AND ')} ORDER BY delivery_id DESC LIMIT $2)`;
  const halves: string[] = [];
  const { status } = filter;
  if (status === undefined || status === 'pending') halves.push(half(QUEUE_AS_DELIVERY, 'queue'));
  if (status !== 'pending') {
    add('status =', status);
    // Says to the planner what the partial indexes of what failed want to hear.
    if (status !== undefined && status !== 'delivered') where.push(`status <> 'delivered'`);
    halves.push(half(HISTORY_AS_DELIVERY, 'delivery'));
  }
  const text = `SELECT * FROM (${halves.join(' UNION ALL ')}) d
    WHERE ${ACCOUNT_EXISTS} ORDER BY delivery_id DESC LIMIT $2`;
  return { text, values };
}

export function deliveryOperations({ query }: EngineContext): Operations<'listDeliveries' | 'getDelivery'> {
  return {
    async listDeliveries(username, filter, { limit, cursor }) {
      const before = cursor === null ? null : (decodeCursor('deliveries', cursor, ['string'])[0] as string);
      const { text, values } = listStatement(username, filter, before, limit + 1);
      const rows = await query<AnyDeliveryRow>(text, values);
      return pageOf('deliveries', rows, limit, (row) => [row.delivery_id], toDelivery);
    },

    async getDelivery(username, deliveryId) {
      // The delivery with its attempts as of one moment.
      const rows = await query<DetailRow>(
        `SELECT d.*, e.url AS endpoint_url, a.number, a.started_at, a.duration_ms, a.outcome, a.http_status, a.error,
                a.url, a.request_headers, a.response_headers, a.response_body, a.response_truncated, a.manual
         FROM (
           SELECT ${QUEUE_AS_DELIVERY}, event_at, event_seq FROM posthorn.queue
           WHERE username = $1 AND delivery_id = $2
           UNION ALL
           SELECT ${HISTORY_AS_DELIVERY}, event_at, event_seq FROM posthorn.delivery
           WHERE username = $1 AND delivery_id = $2
         ) d
         LEFT JOIN posthorn.endpoint e ON e.username = $1 AND e.endpoint_id = d.endpoint_id
         LEFT JOIN posthorn.attempt a ON a.username = $1 AND a.delivery_id = $2 AND a.event_at = d.event_at
         WHERE ${ACCOUNT_EXISTS} ORDER BY a.number, a.started_at`,
        [username, deliveryId],
      );
      const [first] = rows;
      if (first === undefined) return null;
      const [event] = await query<{ body: string }>(
        'SELECT body FROM posthorn.event WHERE username = $1 AND created_at = $2 AND seq = $3',
        [username, first.event_at, first.event_seq],
      );
      const attemptLog = rows
        .filter((row): row is DetailRow & AttemptRow => row.number !== null)
        .map(toAttempt);
      return {
        ...toDelivery(first),
        url: attemptLog.at(-1)?.url ?? first.endpoint_url ?? '',
        body: event?.body ?? '',
        attemptLog,
      };
    },
  };
}
