import type { DeliveryCounts } from '../../model.ts';
import { decodeCursor, pageOf } from '../cursor.ts';
import { type EventRow, type TargetRow, toEventDetail, toEventSummary } from '../rows.ts';
import type { EngineContext, Operations } from './engine.ts';
import { ACCOUNT_EXISTS } from './rows.ts';

type ListedRow = Omit<EventRow, 'body'> & DeliveryCounts;

export function eventOperations({ query }: EngineContext): Operations<'listEvents' | 'getEvent'> {
  return {
    async listEvents(username, filter, { limit, cursor }) {
      const values: unknown[] = [username, limit + 1];
      const bind = (value: unknown) => `$${values.push(value)}`;
      let from = 'posthorn.event v';
      const where = ['v.username = $1'];
      if (filter.eventId !== undefined) {
        from = `posthorn.event_key k
          JOIN posthorn.event v ON v.username = $1 AND v.created_at = k.created_at AND v.seq = k.seq`;
        where.push(`k.username = $1 AND k.event_id = ${bind(filter.eventId)}`);
      }
      if (filter.event !== undefined) where.push(`v.event = ${bind(filter.event)}`);
      if (filter.since !== undefined) where.push(`v.created_at >= ${bind(filter.since)}`);
      if (filter.until !== undefined) where.push(`v.created_at < ${bind(filter.until)}`);
      if (cursor !== null) {
        const [createdAt, seq] = decodeCursor('events', cursor, ['number', 'number']);
        const at = bind(createdAt);
        // Once more without seq: by that partitions are left out.
        where.push(`(v.created_at, v.seq) < (${at}, ${bind(seq)}) AND v.created_at <= ${at}`);
      }
      // Events and what became of their deliveries as of one moment; of each event's by queue_event and delivery_event.
      const rows = await query<ListedRow>(
        `SELECT e.*, made.* FROM (
           SELECT v.username, v.seq, v.event_id, v.event, v.timestamp, v.created_at, v.deliveries, v.skipped
           FROM ${from} WHERE ${where.join(' AND ')}
           ORDER BY v.created_at DESC, v.seq DESC LIMIT $2
         ) e
         CROSS JOIN LATERAL (
           SELECT count(*) FILTER (WHERE t.status = 'pending') AS pending,
                  count(*) FILTER (WHERE t.status = 'delivered') AS delivered,
                  count(*) FILTER (WHERE t.status = 'dead') AS dead,
                  count(*) FILTER (WHERE t.status = 'cancelled') AS cancelled
           FROM (
             SELECT 'pending' AS status FROM posthorn.queue q
             WHERE q.username = e.username AND q.event_id = e.event_id AND q.event_seq = e.seq
             UNION ALL
             SELECT d.status FROM posthorn.delivery d
             WHERE d.username = e.username AND d.event_id = e.event_id AND d.event_at = e.created_at
               AND d.event_seq = e.seq
           ) t
         ) made
         WHERE ${ACCOUNT_EXISTS} ORDER BY e.created_at DESC, e.seq DESC`,
        values,
      );
      return pageOf(
        'events',
        rows,
        limit,
        (row) => [row.created_at, row.seq],
        (row) => {
          const { pending, delivered, dead, cancelled } = row;
          return toEventSummary(row, { pending, delivered, dead, cancelled });
        },
      );
    },

    async getEvent(username, eventId) {
      const [row] = await query<EventRow>(
        `SELECT v.seq, v.event_id, v.event, v.timestamp, v.created_at, v.body, v.deliveries, v.skipped
         FROM posthorn.event_key k
         JOIN posthorn.event v ON v.username = $1 AND v.created_at = k.created_at AND v.seq = k.seq
         WHERE k.username = $1 AND k.event_id = $2 AND ${ACCOUNT_EXISTS}`,
        [username, eventId],
      );
      if (row === undefined) return null;
      const targets = await query<TargetRow>(
        `SELECT endpoint_id, delivery_id, 'pending' AS status, NULL AS status_reason FROM posthorn.queue
         WHERE username = $1 AND event_id = $2 AND event_seq = $4
         UNION ALL
         SELECT endpoint_id, delivery_id, status, status_reason FROM posthorn.delivery
         WHERE username = $1 AND event_id = $2 AND event_at = $3 AND event_seq = $4
         ORDER BY delivery_id`,
        [username, eventId, row.created_at, row.seq],
      );
      return toEventDetail(row, targets);
    },
  };
}
