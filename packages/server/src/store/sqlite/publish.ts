import type { SealedEvent } from '../../model.ts';
import { isRepeat, type StoredEvent } from '../repeat.ts';
import { LEASED_ENDPOINT_COLUMNS, type LeasedEndpointRow, toLeasedEndpoint } from '../rows.ts';
import type { Lease, LeasedEndpoint, PublishResult } from '../store.ts';
import type { EngineContext, SyncStore } from './engine.ts';
import { laneBook, laneCapacity } from './lanes.ts';
import { deliveryMoves } from './rows.ts';

interface StoredEventRow extends StoredEvent {
  deliveries: number;
}

interface Target {
  row: LeasedEndpointRow;
  endpoint: LeasedEndpoint;
}

/** What a lane can still take in this transaction. */
interface LaneState {
  free: number;
  /** Older deliveries wait: a new one must not pass them. */
  blocked: boolean;
}

export function publishOperations(context: EngineContext): Pick<SyncStore, 'publish'> {
  const { db, now, nextId, nextToken } = context;
  const lanes = laneBook(context);
  const moves = deliveryMoves(context);
  const accountStatus = db.prepare<[string], { status: string }>(
    'SELECT status FROM account WHERE username = ?',
  );
  const stored = db.prepare<[string, string], StoredEventRow>(
    'SELECT event, timestamp, fingerprint, body, deliveries FROM event WHERE username = ? AND event_id = ?',
  );
  const insertEvent = db.prepare(
    `INSERT INTO event (username, event_id, event, timestamp, created_at, body, fingerprint, deliveries, skipped,
                        only_endpoint_id)
     VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?, ?)`,
  );
  // The subscription's key (username, event, …) gives the endpoints, the endpoint's key each row.
  const subscribers = db.prepare<[string, string], LeasedEndpointRow>(
    `SELECT ${LEASED_ENDPOINT_COLUMNS} FROM subscription s
     JOIN endpoint e ON e.username = s.username AND e.endpoint_id = s.endpoint_id
     WHERE s.username = ? AND s.event = ?`,
  );
  const oneEndpoint = db.prepare<[string, string], LeasedEndpointRow>(
    `SELECT ${LEASED_ENDPOINT_COLUMNS} FROM endpoint e
     WHERE e.username = ? AND e.endpoint_id = ? AND e.status <> 'deleted'`,
  );

  return {
    publish(events, offer) {
      const statuses = new Map<string, string | undefined>();
      const targetsByType = new Map<string, Target[]>();
      const laneStates = new Map<string, LaneState>();
      const leases: Lease[] = [];

      function statusOf(username: string): string | undefined {
        if (!statuses.has(username)) statuses.set(username, accountStatus.get(username)?.status);
        return statuses.get(username);
      }

      function targetsOf(username: string, type: string): Target[] {
        const key = `${username} ${type}`;
        let targets = targetsByType.get(key);
        if (targets === undefined) {
          targets = subscribers.all(username, type).map((row) => ({ row, endpoint: toLeasedEndpoint(row) }));
          targetsByType.set(key, targets);
        }
        return targets;
      }

      function laneStateOf(username: string, row: LeasedEndpointRow): LaneState {
        let state = laneStates.get(row.endpoint_id);
        if (state === undefined) {
          state =
            offer === null
              ? { free: 0, blocked: true }
              : {
                  free:
                    laneCapacity(offer, row.rate_limit_per_second) - lanes.leased(username, row.endpoint_id),
                  blocked: lanes.dueWaiting(username, row.endpoint_id, 1) > 0,
                };
          laneStates.set(row.endpoint_id, state);
        }
        return state;
      }

      function enqueue(
        event: SealedEvent,
        target: Target,
        suspended: boolean,
        shared: Lease['event'],
      ): string {
        const { username } = event;
        const { endpoint_id: endpointId } = target.row;
        const deliveryId = nextId('dlv');
        const manual = event.onlyEndpointId !== undefined;
        const delivery = { username, deliveryId, endpointId, eventId: event.eventId, event: event.event };
        const lane = laneStateOf(username, target.row);
        if (offer !== null && !suspended && leases.length < offer.limit && lane.free > 0 && !lane.blocked) {
          const lease = { token: nextToken(), until: now() + offer.leaseMs };
          moves.enqueue(delivery, manual, lease);
          lanes.lookBy(username, endpointId, lease.until);
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
          lanes.lookBy(username, endpointId, now());
          lane.blocked = true;
        }
        return deliveryId;
      }

      function publishOne(event: SealedEvent): PublishResult {
        const { username, eventId } = event;
        const status = statusOf(username);
        if (status === undefined || status === 'deleted') return { outcome: 'unknown_account', username };
        const existing = stored.get(username, eventId);
        if (existing !== undefined) {
          return isRepeat(event, existing)
            ? { outcome: 'duplicate', eventId, deliveries: existing.deliveries }
            : { outcome: 'conflict', eventId };
        }
        let targets: Target[];
        if (event.onlyEndpointId === undefined) {
          targets = targetsOf(username, event.event);
        } else {
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
        insertEvent.run(
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
        );
        const shared = { eventId, event: event.event, body: event.body };
        const deliveryIds = enabled.map((target) => enqueue(event, target, status === 'suspended', shared));
        return { outcome: 'stored', eventId, deliveries: enabled.length, deliveryIds };
      }

      const results = events.map(publishOne);
      return { results, leases, nextDueAt: lanes.nextAt() };
    },
  };
}
