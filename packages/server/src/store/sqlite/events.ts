import type { DeliveryCounts, DeliveryStatus, EventSummary, EventTarget } from '../../model.ts';
import { decodeCursor, pageOf } from '../cursor.ts';
import type { EngineContext, SyncStore } from './engine.ts';
import { accountCheck } from './rows.ts';

interface EventRow {
  seq: number;
  event_id: string;
  event: string;
  timestamp: number;
  created_at: number;
  body: string;
  deliveries: number;
  skipped: string | null;
}

interface TargetRow {
  endpoint_id: string;
  delivery_id: string;
  status: DeliveryStatus;
  status_reason: string | null;
}

function skippedOf(row: EventRow): string[] {
  return row.skipped === null ? [] : (JSON.parse(row.skipped) as string[]);
}

/** Why nobody, or not everybody, got it. */
function noteOf(row: EventRow): string | null {
  const { length } = skippedOf(row);
  if (length > 0) return `${length} endpoint${length === 1 ? '' : 's'} disabled`;
  return row.deliveries === 0 ? 'no endpoint subscribed' : null;
}

export function eventOperations(context: EngineContext): Pick<SyncStore, 'listEvents' | 'getEvent'> {
  const { db } = context;
  const accountExists = accountCheck(context);
  const select = db.prepare<[string, string], EventRow>(
    'SELECT * FROM event WHERE username = ? AND event_id = ?',
  );
  // Both halves by their index on (username, event_id).
  const targets = db.prepare<[string, string, string, string], TargetRow>(
    `SELECT endpoint_id, delivery_id, 'pending' AS status, NULL AS status_reason FROM queue
       WHERE username = ? AND event_id = ?
     UNION ALL
     SELECT endpoint_id, delivery_id, status, status_reason FROM delivery WHERE username = ? AND event_id = ?
     ORDER BY delivery_id`,
  );

  function targetsOf(username: string, eventId: string): TargetRow[] {
    return targets.all(username, eventId, username, eventId);
  }

  function toSummary(row: EventRow, made: TargetRow[]): EventSummary {
    const deliveries: DeliveryCounts = { pending: 0, delivered: 0, dead: 0, cancelled: 0 };
    for (const { status } of made) deliveries[status] += 1;
    return {
      eventId: row.event_id,
      event: row.event,
      timestamp: row.timestamp,
      createdAt: row.created_at,
      deliveries,
      note: noteOf(row),
    };
  }

  return {
    listEvents(username, filter, { limit, cursor }) {
      if (!accountExists(username)) return { items: [], nextCursor: null };
      const where = ['username = ?'];
      const values: (string | number)[] = [username];
      const add = (sql: string, value: string | number | undefined) => {
        if (value === undefined) return;
        where.push(sql);
        values.push(value);
      };
      add('event = ?', filter.event);
      add('event_id = ?', filter.eventId);
      add('created_at >= ?', filter.since);
      add('created_at < ?', filter.until);
      if (cursor !== null) {
        where.push('(created_at, seq) < (?, ?)');
        values.push(...decodeCursor('events', cursor, ['number', 'number']));
      }
      const rows = db
        .prepare<unknown[], EventRow>(
          `SELECT * FROM event WHERE ${where.join(' AND ')} ORDER BY created_at DESC, seq DESC LIMIT ?`,
        )
        .all(...values, limit + 1);
      return pageOf(
        'events',
        rows,
        limit,
        (row) => [row.created_at, row.seq],
        (row) => toSummary(row, targetsOf(username, row.event_id)),
      );
    },

    getEvent(username, eventId) {
      const row = select.get(username, eventId);
      if (row === undefined || !accountExists(username)) return null;
      const made = targetsOf(username, eventId);
      const served = new Set(made.map((target) => target.endpoint_id));
      const skipped: EventTarget[] = skippedOf(row)
        .filter((endpointId) => !served.has(endpointId)) // a replay may have made up for it
        .map((endpointId) => ({
          endpointId,
          deliveryId: null,
          status: 'skipped',
          reason: 'endpoint disabled',
        }));
      return {
        ...toSummary(row, made),
        body: row.body,
        targets: [
          ...made.map((target) => ({
            endpointId: target.endpoint_id,
            deliveryId: target.delivery_id,
            status: target.status,
            reason: target.status_reason,
          })),
          ...skipped,
        ],
      };
    },
  };
}
