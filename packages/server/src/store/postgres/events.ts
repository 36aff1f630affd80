import type { DeliveryCounts, DeliveryStatus } from '../../model.ts';
import { decodeCursor, pageOf } from '../cursor.ts';
import { type EventRow, type TargetRow, toEventDetail, toEventSummary } from '../rows.ts';
import type { EngineContext, Operations } from './engine.ts';
import { ACCOUNT_EXISTS } from './rows.ts';

type ListedRow = Omit<EventRow, 'body'>;

const NONE: DeliveryCounts = { pending: 0, delivered: 0, dead: 0, cancelled: 0 };

export function eventOperations({ query }: EngineContext): Operations<'listEvents' | 'getEvent'> {
  /** By the seq of the event, as of one moment. */
  async function countDeliveries(
    username: string,
    events: readonly ListedRow[],
  ): Promise<Map<number, DeliveryCounts>> {
    const counts = new Map<number, DeliveryCounts>();
    const [newest] = events;
    const oldest = events.at(-1);
    if (newest === undefined || oldest === undefined) return counts;
    // By queue_event, and by delivery_event of the days in which the events lie.
    const rows = await query<{ event_seq: number; status: DeliveryStatus; n: number }>(
      `SELECT event_seq, status, count(*) AS n FROM (
         SELECT event_seq, 'pending' AS status FROM posthorn.queue WHERE username = $1 AND event_id = ANY ($2)
         UNION ALL
         SELECT event_seq, status FROM posthorn.delivery
         WHERE username = $1 AND event_id = ANY ($2) AND event_at BETWEEN $3 AND $4
       ) t
       GROUP BY event_seq, status`,
      [username, events.map((event) => event.event_id), oldest.created_at, newest.created_at],
    );
    for (const { event_seq: seq, status, n } of rows) {
      counts.set(seq, { ...(counts.get(seq) ?? NONE), [status]: n });
    }
    return counts;
  }

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
      const rows = await query<ListedRow>(
        `SELECT v.seq, v.event_id, v.event, v.timestamp, v.created_at, v.deliveries, v.skipped
         FROM ${from} WHERE ${where.join(' AND ')} AND ${ACCOUNT_EXISTS}
         ORDER BY v.created_at DESC, v.seq DESC LIMIT $2`,
        values,
      );
      const countsOf = await countDeliveries(username, rows);
      return pageOf(
        'events',
        rows,
        limit,
        (row) => [row.created_at, row.seq],
        (row) => toEventSummary(row, countsOf.get(row.seq) ?? NONE),
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
