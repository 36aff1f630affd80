import type { SealedEvent } from '../../model.ts';
import { isRepeat, type StoredEvent } from '../repeat.ts';
import { LEASED_ENDPOINT_COLUMNS, type LeasedEndpointRow, toLeasedEndpoint } from '../rows.ts';
import type { Lease, PublishResult } from '../store.ts';
import type { EngineContext, SyncStore } from './engine.ts';
import { laneBook, laneCapacity } from './lanes.ts';
import { deliveryMoves } from './rows.ts';
import type { Target } from './subscribers.ts';

interface StoredEventRow extends StoredEvent {
  deliveries: number;
}

/** What a lane can still take in this transaction. */
interface LaneState {
  username: string;
  endpointId: string;
  free: number;
  /** Older deliveries wait: a new one must not pass them. */
  blocked: boolean;
  /** When the next probe may go, of an endpoint that is probed; else null. */
  probeAt: number | null;
  /** The earliest time at which something new of it falls due. */
  lookAt: number;
}

export function publishOperations(context: EngineContext): Pick<SyncStore, 'publish'> {
  const { db, now, nextId, nextToken, subscribers, failing } = context;
  const lanes = laneBook(context);
  const moves = deliveryMoves(context);
  const stored = db.prepare<[string, string], StoredEventRow>(
    'SELECT event, timestamp, fingerprint, body, deliveries FROM event WHERE username = ? AND event_id = ?',
  );
  const insertEvent = db.prepare(
    `INSERT INTO event (username, event_id, event, timestamp, created_at, body, fingerprint, deliveries, skipped,
                        only_endpoint_id, trace)
     VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?)
     ON CONFLICT (username, event_id) DO NOTHING`,
  );
  const oneEndpoint = db.prepare<[string, string], LeasedEndpointRow>(
    `SELECT ${LEASED_ENDPOINT_COLUMNS} FROM endpoint e
     WHERE e.username = ? AND e.endpoint_id = ? AND e.status <> 'deleted'`,
  );

  return {
    publish(events, offer) {
      const laneStates = new Map<string, LaneState>();
      const leases: Lease[] = [];

      function laneStateOf(username: string, row: LeasedEndpointRow): LaneState {
        const endpointId = row.endpoint_id;
        let state = laneStates.get(endpointId);
        if (state === undefined) {
          state = {
            username,
            endpointId,
            free: 0,
            blocked: true,
            probeAt: failing.get(username, endpointId)?.probeAt ?? null,
            lookAt: Number.POSITIVE_INFINITY,
          };
          if (offer !== null) {
            state.free = laneCapacity(offer, row.rate_limit_per_second) - lanes.leased(username, endpointId);
            state.blocked = lanes.dueWaiting(username, endpointId, 1) > 0;
          }
          laneStates.set(endpointId, state);
        }
        return state;
      }

      function enqueue(
        event: SealedEvent,
        eventSeq: number,
        target: Target,
        suspended: boolean,
        shared: Lease['event'],
      ): string {
        const { username } = event;
        const { endpoint_id: endpointId } = target.row;
        const deliveryId = nextId('dlv');
        const manual = event.onlyEndpointId !== undefined;
        const delivery = { username, deliveryId, endpointId, eventSeq, event: event.event };
        const lane = laneStateOf(username, target.row);
        // Of an endpoint that is probed a test event alone goes, and passes what waits.
        const mayGo = lane.probeAt === null ? !lane.blocked : manual;
        if (offer !== null && !suspended && leases.length < offer.limit && lane.free > 0 && mayGo) {
          const lease = { token: nextToken(), until: now() + offer.leaseMs };
          moves.enqueue(delivery, manual, lease);
          lane.lookAt = Math.min(lane.lookAt, lease.until);
          lane.free -= 1;
          leases.push({
            deliveryId,
            username,
            token: lease.token,
            leasedUntil: lease.until,
            attempts: 0,
            failures: 0,
            manual,
            event: shared,
            endpoint: target.endpoint,
          });
        } else {
          moves.enqueue(delivery, manual, null);
          lane.lookAt = Math.min(lane.lookAt, manual ? now() : Math.max(now(), lane.probeAt ?? 0));
          lane.blocked = true;
        }
        return deliveryId;
      }

      /** The answer to an event whose id is taken; null when it isn't. */
      function repeatOf(event: SealedEvent): PublishResult | null {
        const { username, eventId } = event;
        const existing = stored.get(username, eventId);
        if (existing === undefined) return null;
        return isRepeat(event, existing)
          ? { outcome: 'duplicate', eventId, deliveries: existing.deliveries }
          : { outcome: 'conflict', eventId };
      }

      function publishOne(event: SealedEvent): PublishResult {
        const { username, eventId } = event;
        const status = subscribers.statusOf(username);
        if (status === undefined || status === 'deleted') return { outcome: 'unknown_account', username };
        let targets: readonly Target[];
        if (event.onlyEndpointId === undefined) {
          targets = subscribers.of(username, event.event);
        } else {
          const repeated = repeatOf(event);
          if (repeated !== null) return repeated;
          const endpointId = event.onlyEndpointId;
          const row = oneEndpoint.get(username, endpointId);
          if (row === undefined) return { outcome: 'unknown_endpoint', endpointId };
          if (row.status === 'disabled') return { outcome: 'disabled_endpoint', endpointId };
          targets = [{ row, endpoint: toLeasedEndpoint(row) }];
        }
        const enabled = targets.filter(({ row }) => row.status === 'enabled');
        const skipped = targets
          .filter(({ row }) => row.status !== 'enabled')
          .map(({ row }) => row.endpoint_id);
        const inserted = insertEvent.run(
          username,
          eventId,
          event.event,
          event.timestamp,
          now(),
          event.body,
          event.fingerprint,
          enabled.length,
          skipped.length === 0 ? null : JSON.stringify(skipped),
          event.onlyEndpointId ?? null,
          event.trace ?? null,
        );
        // The id is looked for only where it is taken: nearly all are new.
        if (inserted.changes === 0) return repeatOf(event) as PublishResult;
        const seq = Number(inserted.lastInsertRowid);
        const shared = { eventId, event: event.event, body: event.body, trace: event.trace ?? null };
        const deliveryIds = enabled.map((target) =>
          enqueue(event, seq, target, status === 'suspended', shared),
        );
        return { outcome: 'stored', eventId, deliveries: enabled.length, deliveryIds };
      }

      const results = events.map(publishOne);
      for (const { username, endpointId, lookAt } of laneStates.values()) {
        if (lookAt < Number.POSITIVE_INFINITY) lanes.lookBy(username, endpointId, lookAt);
      }
      return { results, leases, nextDueAt: lanes.nextAt() };
    },
  };
}
