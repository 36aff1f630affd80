import type { JsonObject } from '../../model.ts';
import type { FailingEndpoint } from '../circuit.ts';
import {
  DELIVERY_DEAD,
  disabledData,
  ENDPOINT_DISABLED,
  ENDPOINT_FAILING,
  ENDPOINT_RECOVERED,
  failingData,
  isOperational,
  type OperationalName,
  recoveredData,
  type Subject,
  toldSeconds,
} from '../operational.ts';
import type { CircuitPolicy } from '../store.ts';
import type { EngineContext } from './engine.ts';
import { laneBook } from './lanes.ts';
import { deliveryMoves, type QueueRow } from './rows.ts';

/**
 * Stores events that tell of endpoints and deliveries, in the transaction of what they tell of, for the endpoints of the
 * account and of the operations account that subscribe to them. Without a subscriber nothing is written.
 */
export function operationalEvents(context: EngineContext) {
  const { db, now, nextId, subscribers } = context;
  const moves = deliveryMoves(context);
  const lanes = laneBook(context);
  const insert = db.prepare(
    `INSERT INTO event (username, event_id, event, timestamp, created_at, body, fingerprint, deliveries, skipped)
     VALUES (?, ?, ?, ?, ?, ?, NULL, ?, ?)`,
  );
  const missedSince = db.prepare<[string, string], { missed_since: number | null }>(
    'SELECT missed_since FROM endpoint WHERE username = ? AND endpoint_id = ?',
  );
  const eventIdOf = db.prepare<[number], { event_id: string }>('SELECT event_id FROM event WHERE seq = ?');

  /** @param exceptEndpointId - which isn't told: of itself */
  function tellOne(
    username: string,
    name: OperationalName,
    data: JsonObject,
    exceptEndpointId: string | null,
  ): void {
    const status = subscribers.statusOf(username);
    if (status === undefined || status === 'deleted') return;
    const targets = subscribers
      .of(username, name)
      .filter(({ row }) => row.status !== 'deleted' && row.endpoint_id !== exceptEndpointId);
    if (targets.length === 0) return;
    const enabled = targets.filter(({ row }) => row.status === 'enabled');
    const skipped = targets.filter(({ row }) => row.status !== 'enabled').map(({ row }) => row.endpoint_id);
    const eventId = nextId('evt');
    const timestamp = toldSeconds(now());
    const { lastInsertRowid } = insert.run(
      username,
      eventId,
      name,
      timestamp,
      now(),
      JSON.stringify({ event_id: eventId, event: name, timestamp, data }),
      enabled.length,
      skipped.length === 0 ? null : JSON.stringify(skipped),
    );
    for (const { row } of enabled) {
      const endpointId = row.endpoint_id;
      const eventSeq = Number(lastInsertRowid);
      moves.enqueue({ username, deliveryId: nextId('dlv'), endpointId, eventSeq, event: name }, false, null);
      lanes.lookBy(username, endpointId, now());
    }
  }

  function tell(
    { username, endpointId }: Pick<Subject, 'username' | 'endpointId'>,
    name: OperationalName,
    data: () => JsonObject,
    { operationsUsername }: CircuitPolicy,
  ): void {
    const listeners = new Set(operationsUsername === null ? [username] : [username, operationsUsername]);
    for (const listener of listeners) {
      if (subscribers.of(listener, name).length === 0) continue;
      tellOne(listener, name, data(), name === DELIVERY_DEAD ? null : endpointId);
    }
  }

  return {
    failing: (subject: Subject, row: FailingEndpoint, policy: CircuitPolicy) =>
      tell(subject, ENDPOINT_FAILING, () => failingData(subject, row), policy),

    recovered: (subject: Subject, before: FailingEndpoint, policy: CircuitPolicy) =>
      tell(subject, ENDPOINT_RECOVERED, () => recoveredData(subject, before, now()), policy),

    /** To be called when it is disabled. */
    disabled: (subject: Subject, reason: string, policy: CircuitPolicy) =>
      tell(
        subject,
        ENDPOINT_DISABLED,
        () => {
          const since = missedSince.get(subject.username, subject.endpointId)?.missed_since ?? now();
          return disabledData(subject, reason, { disabledAt: now(), missedSince: since });
        },
        policy,
      ),

    /** @param row - with the attempt that ended it */
    dead(row: QueueRow, reason: string, policy: CircuitPolicy): void {
      if (isOperational(row.event)) return;
      const { username, endpoint_id: endpointId } = row;
      tell(
        { username, endpointId },
        DELIVERY_DEAD,
        () => ({
          username,
          endpoint_id: endpointId,
          delivery_id: row.delivery_id,
          event_id: eventIdOf.get(row.event_seq)?.event_id ?? '',
          event: row.event,
          attempts: row.attempts,
          reason,
          created_at: toldSeconds(row.created_at),
        }),
        policy,
      );
    },
  };
}
