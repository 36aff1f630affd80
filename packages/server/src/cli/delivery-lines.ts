import { type Colour, coloured } from './colours.ts';
import type { Io } from './io.ts';
import { formatTime, harmless } from './output.ts';
import type { AttemptData, DeliveryData } from './wire.ts';

const STATUS_COLOURS: Record<string, Colour> = {
  delivered: 'green',
  dead: 'red',
  cancelled: 'yellow',
  pending: 'dim',
};
const LONGEST_STATUS = 'delivered'.length;

/** A delivery's status, all of one width. */
export function statusText(io: Io, status: string): string {
  return coloured(io, STATUS_COLOURS[status] ?? 'dim', harmless(status).padEnd(LONGEST_STATUS));
}

/** What one delivery has come to, on one line. */
export function deliveryLine(io: Io, delivery: DeliveryData): string {
  const { status, attempts, next_attempt_at: nextAt } = delivery;
  return [
    coloured(io, 'dim', formatTime(delivery.completed_at ?? delivery.created_at) ?? '-'),
    statusText(io, status),
    harmless(delivery.event),
    harmless(delivery.delivery_id),
    `to ${harmless(delivery.endpoint_id)}`,
    `attempts ${attempts}`,
    ...(status === 'pending' && attempts > 0 && nextAt !== null ? [`next ${formatTime(nextAt)}`] : []),
    ...(delivery.status_reason === null ? [] : [`(${harmless(delivery.status_reason)})`]),
  ].join('  ');
}

/** How one attempt ended, on one line. */
export function attemptLine(io: Io, endpointId: string, attempt: AttemptData): string {
  const { outcome, http_status: httpStatus, error } = attempt;
  const result = httpStatus === null ? harmless(outcome) : `HTTP ${httpStatus}`;
  return [
    coloured(io, outcome === 'success' ? 'green' : 'red', result),
    `${attempt.duration_ms} ms`,
    `attempt ${attempt.number}`,
    `to ${harmless(endpointId)}`,
    ...(error === null ? [] : [`(${harmless(error)})`]),
  ].join('  ');
}
