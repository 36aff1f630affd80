import { idFloor } from '../../clock.ts';
import { decodeCursor, pageOf } from '../cursor.ts';
import { toDelivery } from '../rows.ts';
import type { DeliveryFilter } from '../store.ts';
import { attemptReader } from './attempts.ts';
import type { EngineContext, SyncStore } from './engine.ts';
import { accountCheck, type FoundDeliveryRow, HISTORY_AS_DELIVERY, QUEUE_AS_DELIVERY } from './rows.ts';

/** The conditions of a filter that queue and history share. Ids begin with their time: a range of one is a range of the other. */
function conditions(username: string, filter: DeliveryFilter, before: string | null) {
  const where = ['username = ?'];
  const values: (string | number)[] = [username];
  const add = (sql: string, value: string | number | undefined | null) => {
    if (value === undefined || value === null) return;
    where.push(sql);
    values.push(value);
  };
  add('delivery_id < ?', before);
  add('endpoint_id = ?', filter.endpointId);
  if (filter.eventId !== undefined) {
    where.push('event_seq = (SELECT e.seq FROM event e WHERE e.username = ? AND e.event_id = ?)');
    values.push(username, filter.eventId);
  }
  add('event = ?', filter.event);
  add('delivery_id >= ?', filter.since === undefined ? null : idFloor('dlv', filter.since));
  add('delivery_id < ?', filter.until === undefined ? null : idFloor('dlv', filter.until));
  return { where, values };
}

export function deliveryOperations(
  context: EngineContext,
): Pick<SyncStore, 'listDeliveries' | 'getDelivery'> {
  const { db } = context;
  const accountExists = accountCheck(context);
  const readAttempts = attemptReader(context);
  const pending = db.prepare<[string, string], FoundDeliveryRow>(
    `SELECT ${QUEUE_AS_DELIVERY} FROM queue WHERE username = ? AND delivery_id = ?`,
  );
  const finished = db.prepare<[string, string], FoundDeliveryRow>(
    `SELECT ${HISTORY_AS_DELIVERY} FROM delivery WHERE username = ? AND delivery_id = ?`,
  );
  // Deleted ones too: they are there as long as their history is.
  const endpointsOf = db.prepare<[string], { endpoint_id: string }>(
    'SELECT endpoint_id FROM endpoint WHERE username = ?',
  );
  const bodyOf = db.prepare<[number], { body: string }>('SELECT body FROM event WHERE seq = ?');
  const urlOf = db.prepare<[string, string], { url: string }>(
    'SELECT url FROM endpoint WHERE username = ? AND endpoint_id = ?',
  );

  function listQueue(username: string, filter: DeliveryFilter, before: string | null, limit: number) {
    if (filter.status !== undefined && filter.status !== 'pending') return [];
    const { where, values } = conditions(username, filter, before);
    return db
      .prepare<unknown[], FoundDeliveryRow>(
        `SELECT ${QUEUE_AS_DELIVERY} FROM queue WHERE ${where.join(' AND ')} ORDER BY delivery_id DESC LIMIT ?`,
      )
      .all(...values, limit);
  }

  function selectHistory<Row>(
    columns: string,
    username: string,
    filter: DeliveryFilter,
    before: string | null,
    limit: number,
  ): Row[] {
    const { where, values } = conditions(username, filter, before);
    if (filter.status !== undefined) {
      where.push('status = ?');
      values.push(filter.status);
      // Says to the planner what the partial index delivery_failed wants to hear.
      if (filter.status !== 'delivered') where.push(`status <> 'delivered'`);
    }
    return db
      .prepare<unknown[], Row>(
        `SELECT ${columns} FROM delivery WHERE ${where.join(' AND ')} ORDER BY delivery_id DESC LIMIT ?`,
      )
      .all(...values, limit);
  }

  function listHistory(
    username: string,
    filter: DeliveryFilter,
    before: string | null,
    limit: number,
  ): FoundDeliveryRow[] {
    if (filter.status === 'pending') return [];
    const { endpointId, eventId, status } = filter;
    const hasIndex =
      endpointId !== undefined || eventId !== undefined || (status ?? 'delivered') !== 'delivered';
    if (hasIndex) return selectHistory(HISTORY_AS_DELIVERY, username, filter, before, limit);
    // No index is by account and time alone, which would cost every settlement more than this costs a list: the newest of
    // the account are among the newest of each endpoint, found by ids that its index carries (delivery_endpoint).
    return endpointsOf
      .all(username)
      .flatMap((endpoint) => {
        const ofEndpoint = { ...filter, endpointId: endpoint.endpoint_id };
        return selectHistory<{ delivery_id: string }>('delivery_id', username, ofEndpoint, before, limit);
      })
      .map((row) => row.delivery_id)
      .sort()
      .slice(-limit)
      .map((deliveryId) => finished.get(username, deliveryId) as FoundDeliveryRow);
  }

  return {
    listDeliveries(username, filter, { limit, cursor }) {
      if (!accountExists(username)) return { items: [], nextCursor: null };
      const before = cursor === null ? null : (decodeCursor('deliveries', cursor, ['string'])[0] as string);
      const rows = [
        ...listQueue(username, filter, before, limit + 1),
        ...listHistory(username, filter, before, limit + 1),
      ].sort((a, b) => (a.delivery_id < b.delivery_id ? 1 : -1));
      return pageOf('deliveries', rows, limit, (row) => [row.delivery_id], toDelivery);
    },

    getDelivery(username, deliveryId) {
      const row = pending.get(username, deliveryId) ?? finished.get(username, deliveryId);
      if (row === undefined || !accountExists(username)) return null;
      const attemptLog = readAttempts(deliveryId);
      return {
        ...toDelivery(row),
        url: attemptLog.at(-1)?.url ?? urlOf.get(username, row.endpoint_id)?.url ?? '',
        body: bodyOf.get(row.event_seq)?.body ?? '',
        attemptLog,
      };
    },
  };
}
