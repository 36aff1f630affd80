import { decodeCursor, pageOf } from '../cursor.ts';
import { countTargets, type EventRow, type TargetRow, toEventDetail, toEventSummary } from '../rows.ts';
import type { EngineContext, SyncStore } from './engine.ts';
import { accountCheck } from './rows.ts';

export function eventOperations(
  context: EngineContext,
): Pick<SyncStore, 'listEvents' | 'getEvent' | 'recentEvents'> {
  const { db } = context;
  const accountExists = accountCheck(context);
  const select = db.prepare<[string, string], EventRow>(
    'SELECT * FROM event WHERE username = ? AND event_id = ?',
  );
  // From the end of the index event_account.
  const recent = db.prepare<[string, number, number], { eventId: string; event: string; createdAt: number }>(
    `SELECT event_id AS eventId, event, created_at AS createdAt FROM event
     WHERE username = ? AND created_at >= ? ORDER BY created_at DESC, seq DESC LIMIT ?`,
  );
  // Both halves by their index on event_seq.
  const targets = db.prepare<[number, number], TargetRow>(
    `SELECT endpoint_id, delivery_id, 'pending' AS status, NULL AS status_reason FROM queue WHERE event_seq = ?
     UNION ALL
     SELECT endpoint_id, delivery_id, status, status_reason FROM delivery WHERE event_seq = ?
     ORDER BY delivery_id`,
  );

  function targetsOf({ seq }: EventRow): TargetRow[] {
    return targets.all(seq, seq);
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
        (row) => toEventSummary(row, countTargets(targetsOf(row))),
      );
    },

    getEvent(username, eventId) {
      const row = select.get(username, eventId);
      if (row === undefined || !accountExists(username)) return null;
      return toEventDetail(row, targetsOf(row));
    },

    recentEvents(username, since, limit) {
      return accountExists(username) ? recent.all(username, since, limit) : [];
    },
  };
}
