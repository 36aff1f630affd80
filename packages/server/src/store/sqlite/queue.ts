import { PosthornError } from '../../errors.ts';
import type { DeliveryStatus } from '../../model.ts';
import { cancelReason, UNSUBSCRIBED_REASON } from '../reasons.ts';
import { LEASED_ENDPOINT_COLUMNS, type LeasedEndpointRow, toDelivery, toLeasedEndpoint } from '../rows.ts';
import type {
  CircuitPolicy,
  Claimed,
  EndpointTurn,
  Lease,
  LeasedEvent,
  LeaseOffer,
  SettleResult,
  Settlement,
} from '../store.ts';
import { attemptWriter } from './attempts.ts';
import { type CircuitTally, circuitTally, endpointEnder } from './circuits.ts';
import type { EngineContext, SyncStore } from './engine.ts';
import { laneBook, laneCapacity } from './lanes.ts';
import { operationalEvents } from './operational-events.ts';
import {
  accountCheck,
  deliveryMoves,
  type FoundDeliveryRow,
  HISTORY_AS_DELIVERY,
  QUEUE_AS_DELIVERY,
  type QueueRow,
  subscriptionCheck,
} from './rows.ts';
import { type StatTally, statTally } from './stats.ts';

/** How many deliveries of a deleted or disabled endpoint one claim cancels when it comes by. */
const CANCEL_PER_VISIT = 500;

interface LaneRow {
  username: string;
  endpoint_id: string;
}

/** What the settlements of one call share. */
interface SettleContext {
  count: StatTally['add'];
  policy: CircuitPolicy | null;
  circuits: CircuitTally | null;
  turns: EndpointTurn[];
}

export function queueOperations(
  context: EngineContext,
): Pick<SyncStore, 'recover' | 'claim' | 'settle' | 'release' | 'retryDelivery'> {
  const { db, now, nextToken, failing } = context;
  const lanes = laneBook(context);
  const moves = deliveryMoves(context);
  const isSubscribed = subscriptionCheck(context);
  const writeAttempt = attemptWriter(context);
  const newTally = statTally(context);
  const newCircuitTally = circuitTally(context);
  const endEndpoint = endpointEnder(context);
  const tell = operationalEvents(context);

  // lane_next, oldest first: a lane that was just served comes after those that fell due before it was.
  const dueLanes = db.prepare<[number, number], LaneRow>(
    `SELECT username, endpoint_id FROM lane
     WHERE next_at IS NOT NULL AND next_at <= ? AND parked = 0 ORDER BY next_at LIMIT ? + 0`,
  );
  const endpointOf = db.prepare<[string, string], LeasedEndpointRow>(
    `SELECT ${LEASED_ENDPOINT_COLUMNS} FROM endpoint e WHERE e.username = ? AND e.endpoint_id = ?`,
  );
  // queue_lane: the first rows of the range are the answer, however many are behind them.
  const dueRows = db.prepare<[string, string, number, number, number], QueueRow>(
    `SELECT * FROM queue WHERE username = ? AND endpoint_id = ? AND leased = ? AND due_at <= ?
     ORDER BY due_at LIMIT ? + 0`,
  );
  // queue_manual. The due_at of a leased one is the end of its lease.
  const askedRows = db.prepare<[string, string, number, number], QueueRow>(
    `SELECT * FROM queue INDEXED BY queue_manual WHERE username = ? AND endpoint_id = ? AND manual = 1 AND due_at <= ?
     ORDER BY due_at LIMIT ? + 0`,
  );
  const lease = db.prepare(
    `UPDATE queue SET leased = 1, leased_at = ?, due_at = ?, token = ? WHERE username = ? AND delivery_id = ?`,
  );
  const bodyOf = db.prepare<[number], { event_id: string; body: string; trace: string | null }>(
    'SELECT event_id, body, trace FROM event WHERE seq = ?',
  );
  const queued = db.prepare<[string, string], QueueRow>(
    'SELECT * FROM queue WHERE username = ? AND delivery_id = ?',
  );
  const reschedule = db.prepare(
    `UPDATE queue SET attempts = ?, failures = ?, manual = ?, due_at = ?, leased = 0, leased_at = NULL, token = NULL
     WHERE username = ? AND delivery_id = ?`,
  );
  const unlease = db.prepare(
    `UPDATE queue SET due_at = ?, leased = 0, leased_at = NULL, token = NULL WHERE username = ? AND delivery_id = ?`,
  );
  const dueNow = db.prepare(
    'UPDATE queue SET due_at = ?, manual = 1 WHERE username = ? AND delivery_id = ? AND leased = 0',
  );
  const accountExists = accountCheck(context);
  const finished = db.prepare<[string, string], FoundDeliveryRow>(
    `SELECT ${HISTORY_AS_DELIVERY} FROM delivery WHERE username = ? AND delivery_id = ?`,
  );
  const pending = db.prepare<[string, string], FoundDeliveryRow>(
    `SELECT ${QUEUE_AS_DELIVERY} FROM queue WHERE username = ? AND delivery_id = ?`,
  );

  function claim(offer: LeaseOffer): Claimed {
    const leases: Lease[] = [];
    const events = new Map<number, LeasedEvent>();
    const due = offer.limit > 0 ? dueLanes.all(now(), offer.limit) : [];
    const share = Math.max(1, Math.floor(offer.limit / Math.max(1, due.length)));
    const takeFrom = ({ username, endpoint_id: endpointId }: LaneRow, most: number): void => {
      const row = endpointOf.get(username, endpointId);
      if (row === undefined || row.status !== 'enabled') {
        moves.cancelWaiting(username, endpointId, cancelReason(row?.status), CANCEL_PER_VISIT);
        lanes.served(username, endpointId, false);
        return;
      }
      const leased = lanes.leased(username, endpointId);
      const free = laneCapacity(offer, row.rate_limit_per_second) - leased;
      const take = Math.min(free, most, offer.limit - leases.length);
      const probeAt = failing.get(username, endpointId)?.probeAt ?? null;
      let rows: QueueRow[] = [];
      if (probeAt !== null && take > 0) {
        rows = askedRows.all(username, endpointId, now(), take);
        if (rows.length === 0 && leased === 0 && probeAt <= now()) {
          const [expired] = dueRows.all(username, endpointId, 1, now(), 1);
          const [probe = expired] =
            expired === undefined ? dueRows.all(username, endpointId, 0, now(), 1) : [];
          if (probe !== undefined) rows = [probe];
        }
      } else if (take > 0) {
        rows = dueRows.all(username, endpointId, 1, now(), take); // leases that ran out, first
        if (rows.length < take) {
          rows = rows.concat(dueRows.all(username, endpointId, 0, now(), take - rows.length));
        }
      }
      const endpoint = toLeasedEndpoint(row);
      let taken = 0;
      for (const delivery of rows) {
        if (!isSubscribed(delivery)) {
          moves.finish(delivery, 'cancelled', UNSUBSCRIBED_REASON);
          continue;
        }
        taken += 1;
        const token = nextToken();
        const leasedUntil = now() + offer.leaseMs;
        lease.run(now(), leasedUntil, token, username, delivery.delivery_id);
        leases.push({
          deliveryId: delivery.delivery_id,
          username,
          token,
          leasedUntil,
          attempts: delivery.attempts,
          failures: delivery.failures,
          manual: delivery.manual === 1,
          event: eventOf(events, delivery),
          endpoint,
        });
      }
      // A probe under way fills its lane, and what was asked for beyond this claim's share is looked at again at once.
      const isLeftAsked = probeAt !== null && taken > 0 && taken === take;
      lanes.served(
        username,
        endpointId,
        taken >= free || (probeAt !== null && !isLeftAsked && leased + taken > 0),
        isLeftAsked ? null : probeAt,
      );
    };
    // Each lane its share first, then what others left over.
    for (const most of [share, offer.limit]) {
      for (const lane of due) {
        if (leases.length < offer.limit) takeFrom(lane, most);
      }
    }
    return { leases, nextDueAt: lanes.nextAt() };
  }

  /** The event's body, read once a claim however many endpoints it goes to. */
  function eventOf(events: Map<number, LeasedEvent>, delivery: QueueRow): LeasedEvent {
    let event = events.get(delivery.event_seq);
    if (event === undefined) {
      const stored = bodyOf.get(delivery.event_seq);
      if (stored === undefined)
        throw new PosthornError('internal', `event of ${delivery.delivery_id} is gone`);
      event = { eventId: stored.event_id, event: delivery.event, body: stored.body, trace: stored.trace };
      events.set(delivery.event_seq, event);
    }
    return event;
  }

  function settleOne(
    settlement: Settlement,
    row: QueueRow | undefined,
    { count, policy, circuits, turns }: SettleContext,
  ): SettleResult {
    const { username, deliveryId, token, attempt, next } = settlement;
    if (row === undefined || row.leased === 0 || row.token !== token) return { outcome: 'stale' };
    writeAttempt(username, deliveryId, attempt);
    count(
      username,
      row.endpoint_id,
      row.event,
      attempt.outcome,
      attempt.startedAt,
      attempt.durationMs,
      next.status === 'dead',
    );
    row.attempts += 1;
    circuits?.add(row, attempt, settlement.endpointFailed === true);
    const { disableEndpoint } = settlement;
    if (
      disableEndpoint !== undefined &&
      endEndpoint(username, row.endpoint_id, disableEndpoint, row.created_at)
    ) {
      turns.push({ username, endpointId: row.endpoint_id, to: 'disabled', reason: disableEndpoint });
      if (policy !== null) {
        const { url } = attempt;
        tell.disabled({ username, endpointId: row.endpoint_id, url }, disableEndpoint, policy);
      }
    }
    let status: DeliveryStatus = next.status;
    if (next.status === 'pending') {
      const endpoint = endpointOf.get(username, row.endpoint_id);
      const isRepeated = attempt.outcome === 'stale_connection';
      const retried = { ...row, manual: isRepeated ? row.manual : 0 };
      if (endpoint?.status === 'enabled' && isSubscribed(retried)) {
        const failures = row.failures + (isRepeated ? 0 : 1);
        reschedule.run(row.attempts, failures, retried.manual, next.dueAt, username, deliveryId);
        lanes.lookBy(username, row.endpoint_id, next.dueAt);
      } else {
        status = 'cancelled';
        const reason = endpoint?.status === 'enabled' ? UNSUBSCRIBED_REASON : cancelReason(endpoint?.status);
        moves.finish(row, status, reason);
      }
    } else {
      moves.finish(row, next.status, next.status === 'dead' ? next.reason : null);
      if (next.status === 'dead' && policy !== null) tell.dead(row, next.reason, policy);
    }
    // Last, when this delivery itself no longer waits.
    if (disableEndpoint !== undefined) cancelDisabled(username, row.endpoint_id);
    return { outcome: 'settled', status };
  }

  function cancelDisabled(username: string, endpointId: string): void {
    const more = moves.cancelWaiting(username, endpointId, cancelReason('disabled'), CANCEL_PER_VISIT);
    if (more) lanes.lookBy(username, endpointId, now());
  }

  return {
    recover() {
      // Lane by lane, by index: a large queue isn't scanned.
      const held = db.prepare<[string, string], { n: number }>(
        'SELECT count(*) AS n FROM queue WHERE username = ? AND endpoint_id = ? AND leased = 1',
      );
      const free = db.prepare(
        `UPDATE queue SET leased = 0, leased_at = NULL, token = NULL, due_at = ?
         WHERE username = ? AND endpoint_id = ? AND leased = 1`,
      );
      let freed = 0;
      const all = db
        .prepare<[], LaneRow>('SELECT username, endpoint_id FROM lane WHERE next_at IS NOT NULL')
        .all();
      for (const { username, endpoint_id: endpointId } of all) {
        const { n } = held.get(username, endpointId) as { n: number };
        if (n === 0) continue;
        free.run(now(), username, endpointId);
        lanes.lookBy(username, endpointId, now());
        freed += n;
      }
      return freed;
    },

    claim,

    settle(settlements, offer, policy = null) {
      const lanesOf = new Map<string, LaneRow>();
      const tally = newTally();
      const circuits = policy === null ? null : newCircuitTally(policy);
      const turns: EndpointTurn[] = [];
      const settling = { count: tally.add, policy, circuits, turns };
      const rows = settlements.map((settlement) => {
        const row = queued.get(settlement.username, settlement.deliveryId);
        if (row !== undefined) lanesOf.set(row.endpoint_id, row);
        return { row, result: settleOne(settlement, row, settling) };
      });
      tally.write();
      const given = circuits?.judge(cancelDisabled) ?? [];
      turns.push(...given);
      const givenUp = new Set(
        given.filter(({ to }) => to === 'disabled').map(({ endpointId }) => endpointId),
      );
      const results = rows.map(({ row, result }): SettleResult => {
        const isCancelled =
          result.outcome === 'settled' && result.status === 'pending' && givenUp.has(row?.endpoint_id ?? '');
        return isCancelled ? { outcome: 'settled', status: 'cancelled' } : result;
      });
      for (const { username, endpoint_id: endpointId } of lanesOf.values()) {
        lanes.slotFreed(username, endpointId);
      }
      return {
        results,
        turns,
        ...(offer === null ? { leases: [], nextDueAt: lanes.nextAt() } : claim(offer)),
      };
    },

    release(leases) {
      for (const { username, deliveryId, token } of leases) {
        const row = queued.get(username, deliveryId);
        if (row === undefined || row.leased === 0 || row.token !== token) continue;
        const endpoint = endpointOf.get(username, row.endpoint_id);
        if (endpoint?.status === 'enabled') {
          unlease.run(now(), username, deliveryId);
          lanes.lookBy(username, row.endpoint_id, now());
        } else {
          moves.finish(row, 'cancelled', cancelReason(endpoint?.status));
        }
      }
    },

    retryDelivery(username, deliveryId) {
      const row = pending.get(username, deliveryId) ?? finished.get(username, deliveryId);
      if (row === undefined || !accountExists(username)) return null;
      const endpoint = endpointOf.get(username, row.endpoint_id);
      if (endpoint?.status !== 'enabled') {
        throw new PosthornError(
          'invalid_parameter',
          endpoint?.status === 'disabled'
            ? `endpoint ${row.endpoint_id} is disabled: enable it before retrying its deliveries`
            : `endpoint ${row.endpoint_id} is deleted: its deliveries can't be retried`,
        );
      }
      if (row.status === 'pending') dueNow.run(now(), username, deliveryId);
      else moves.revive(row);
      lanes.lookBy(username, row.endpoint_id, now());
      return toDelivery(pending.get(username, deliveryId) as FoundDeliveryRow);
    },
  };
}
