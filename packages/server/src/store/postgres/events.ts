import type { DeliveryCounts, DeliveryStatus } from '../../model.ts';
import { decodeCursor, pageOf } from '../cursor.ts';
import { type EventRow, type TargetRow, toEventDetail, toEventSummary } from '../rows.ts';
import type { EngineContext, Operations } from './engine.ts';
import { ACCOUNT_EXISTS, ofEvent } from './rows.ts';

type ListedRow = Omit<EventRow, 'body'>;

/** For {@link ofEvent}: an event of a list, and the event $2, $3, $4. */
const LISTED = { username: '$1', id: 'v.event_id', createdAt: 'v.created_at', seq: 'v.seq' };
const EVENT = { username: '$1', id: '$2', createdAt: '$3::bigint', seq: '$4::bigint' };

const NONE: DeliveryCounts = { pending: 0, delivered: 0, dead: 0, cancelled: 0 };

export function eventOperations({
  query,
}: EngineContext): Operations<'listEvents' | 'getEvent' | 'recentEvents'> {
  /** By the seq of the event, as of one moment. */
  async function countDeliveries(
    username: string,
    events: readonly ListedRow[],
  ): Promise<Map<number, DeliveryCounts>> {
    const counts = new Map<number, DeliveryCounts>();
    if (events.length === 0) return counts;
    const rows = await query<{ event_seq: number; status: DeliveryStatus; n: number }>(
      `SELECT v.seq AS event_seq, t.status, count(*) AS n
       FROM unnest($2::text[], $3::bigint[], $4::bigint[]) AS v(event_id, created_at, seq)
       CROSS JOIN LATERAL (
         SELECT 'pending' AS status FROM posthorn.queue q WHERE ${ofEvent('q', LISTED)}
         UNION ALL
         SELECT d.status FROM posthorn.delivery d WHERE ${ofEvent('d', LISTED)} AND d.event_at = v.created_at
       ) t
       GROUP BY v.seq, t.status`,
      [
        username,
        events.map((event) => event.event_id),
        events.map((event) => event.created_at),
        events.map((event) => event.seq),
      ],
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
         WHERE ${ofEvent('queue', EVENT)}
         UNION ALL
         SELECT endpoint_id, delivery_id, status, status_reason FROM posthorn.delivery
         WHERE ${ofEvent('delivery', EVENT)} AND event_at = $3
         ORDER BY delivery_id`,
        [username, eventId, row.created_at, row.seq],
      );
      return toEventDetail(row, targets);
    },

    /** From the end of the index event_account, of the partitions since then. */
    async recentEvents(username, since, limit) {
      const rows = await query<{ event_id: string; event: string; created_at: number }>(
        `SELECT v.event_id, v.event, v.created_at FROM posthorn.event v
         WHERE v.username = $1 AND v.created_at >= $2 AND ${ACCOUNT_EXISTS}
         ORDER BY v.created_at DESC, v.seq DESC LIMIT $3`,
        [username, since, limit],
      );
      return rows.map(({ event_id, event, created_at }) => ({
        eventId: event_id,
        event,
        createdAt: created_at,
      }));
    },
  };
}
