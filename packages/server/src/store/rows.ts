/** How the rows of both engines become records of the model. Columns have the same names in both. */
import type {
  Attempt,
  AttemptOutcome,
  Delivery,
  DeliveryCounts,
  DeliveryStatus,
  EventDetail,
  EventSummary,
  EventTarget,
  Replay,
  ReplayKind,
} from '../model.ts';
import type { LeasedEndpoint } from './store.ts';

// ---------------------------------------------------------------- deliveries and attempts

export interface DeliveryRow {
  username: string;
  delivery_id: string;
  endpoint_id: string;
  event_id: string;
  event: string;
  status: DeliveryStatus;
  status_reason: string | null;
  attempts: number;
  created_at: number;
  completed_at: number;
}

/** A delivery wherever it is: `next_attempt_at` of the queue, or `completed_at` of the history. */
export interface AnyDeliveryRow extends Omit<DeliveryRow, 'completed_at'> {
  completed_at: number | null;
  next_attempt_at: number | null;
}

export function toDelivery(row: AnyDeliveryRow): Delivery {
  return {
    deliveryId: row.delivery_id,
    username: row.username,
    eventId: row.event_id,
    event: row.event,
    endpointId: row.endpoint_id,
    status: row.status,
    statusReason: row.status_reason,
    attempts: row.attempts,
    createdAt: row.created_at,
    nextAttemptAt: row.next_attempt_at,
    completedAt: row.completed_at,
  };
}

/** SQLite keeps booleans as 0 and 1. */
export interface AttemptRow {
  number: number;
  started_at: number;
  duration_ms: number;
  outcome: AttemptOutcome;
  http_status: number | null;
  error: string | null;
  url: string;
  request_headers: string;
  response_headers: string | null;
  /** UTF-8 where it comes as bytes. */
  response_body: string | Buffer | null;
  response_truncated: boolean | number;
  manual: boolean | number;
}

export function toAttempt(row: AttemptRow): Attempt {
  return {
    number: row.number,
    startedAt: row.started_at,
    durationMs: row.duration_ms,
    outcome: row.outcome,
    httpStatus: row.http_status,
    error: row.error,
    url: row.url,
    requestHeaders: JSON.parse(row.request_headers) as Record<string, string>,
    responseHeaders:
      row.response_headers === null ? null : (JSON.parse(row.response_headers) as Record<string, string>),
    responseBody: row.response_body === null ? null : row.response_body.toString(),
    responseTruncated: Boolean(row.response_truncated),
    manual: Boolean(row.manual),
  };
}

// ---------------------------------------------------------------- endpoints as leases carry them

export interface LeasedEndpointRow {
  endpoint_id: string;
  url: string;
  status: 'enabled' | 'disabled' | 'deleted';
  secret: string;
  previous_secret: string | null;
  previous_secret_expires_at: number | null;
  headers: string | null;
  rate_limit_per_second: number | null;
  timeout_ms: number | null;
}

/** Selects {@link LeasedEndpointRow} from `endpoint e`. */
export const LEASED_ENDPOINT_COLUMNS = `e.endpoint_id, e.url, e.status, e.secret, e.previous_secret,
  e.previous_secret_expires_at, e.headers, e.rate_limit_per_second, e.timeout_ms`;

export function toLeasedEndpoint(row: LeasedEndpointRow): LeasedEndpoint {
  return {
    endpointId: row.endpoint_id,
    url: row.url,
    secret: row.secret,
    previousSecret: row.previous_secret,
    previousSecretExpiresAt: row.previous_secret_expires_at,
    headers: row.headers,
    rateLimitPerSecond: row.rate_limit_per_second,
    timeoutMs: row.timeout_ms,
  };
}

// ---------------------------------------------------------------- events

export interface EventRow {
  seq: number;
  event_id: string;
  event: string;
  timestamp: number;
  created_at: number;
  body: string;
  /** Made at publish. */
  deliveries: number;
  /** JSON array of the disabled endpoints that subscribed; null without any. */
  skipped: string | null;
}

/** One delivery of an event, out of the queue (`pending`) or the history. */
export interface TargetRow {
  endpoint_id: string;
  delivery_id: string;
  status: DeliveryStatus;
  status_reason: string | null;
}

function skippedOf(row: Pick<EventRow, 'skipped'>): string[] {
  return row.skipped === null ? [] : (JSON.parse(row.skipped) as string[]);
}

/** Why nobody, or not everybody, got it. */
function noteOf(row: Pick<EventRow, 'skipped' | 'deliveries'>): string | null {
  const { length } = skippedOf(row);
  if (length > 0) return `${length} endpoint${length === 1 ? '' : 's'} disabled`;
  return row.deliveries === 0 ? 'no endpoint subscribed' : null;
}

export function countTargets(targets: readonly TargetRow[]): DeliveryCounts {
  const counts: DeliveryCounts = { pending: 0, delivered: 0, dead: 0, cancelled: 0 };
  for (const { status } of targets) counts[status] += 1;
  return counts;
}

/** @param deliveries - of now, by status */
export function toEventSummary(row: Omit<EventRow, 'body'>, deliveries: DeliveryCounts): EventSummary {
  return {
    eventId: row.event_id,
    event: row.event,
    timestamp: row.timestamp,
    createdAt: row.created_at,
    deliveries,
    note: noteOf(row),
  };
}

/** @param targets - of all its deliveries, in the order of their ids */
export function toEventDetail(row: EventRow, targets: readonly TargetRow[]): EventDetail {
  const served = new Set(targets.map((target) => target.endpoint_id));
  const skipped: EventTarget[] = skippedOf(row)
    .filter((endpointId) => !served.has(endpointId)) // a replay may have made up for it
    .map((endpointId) => ({ endpointId, deliveryId: null, status: 'skipped', reason: 'endpoint disabled' }));
  return {
    ...toEventSummary(row, countTargets(targets)),
    body: row.body,
    targets: [
      ...targets.map((target) => ({
        endpointId: target.endpoint_id,
        deliveryId: target.delivery_id,
        status: target.status,
        reason: target.status_reason,
      })),
      ...skipped,
    ],
  };
}

// ---------------------------------------------------------------- replays

export interface ReplayRow {
  username: string;
  replay_id: string;
  endpoint_id: string;
  kind: ReplayKind;
  status: Replay['status'];
  since: number;
  until: number;
  matched: number;
  done: number;
  /** Where the walk stands, in words of the engine's own; empty at the start. */
  position: string;
  created_at: number;
}

export function toReplay(row: ReplayRow): Replay {
  return {
    replayId: row.replay_id,
    username: row.username,
    endpointId: row.endpoint_id,
    kind: row.kind,
    status: row.status,
    matched: row.matched,
    done: row.done,
    createdAt: row.created_at,
  };
}
