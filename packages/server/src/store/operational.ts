/**
 * The events that Posthorn sends of itself, as both engines store them. Their types stand in the catalogue
 * (`catalogue/operational.ts`); here are the names that the store needs to know.
 */
import type { JsonObject } from '../model.ts';
import type { FailingEndpoint } from './circuit.ts';

export const ENDPOINT_FAILING = 'endpoint.failing';
export const ENDPOINT_RECOVERED = 'endpoint.recovered';
export const ENDPOINT_DISABLED = 'endpoint.disabled';
export const DELIVERY_DEAD = 'delivery.dead';

/** In the order in which the catalogue lists them. */
export const OPERATIONAL_NAMES = [
  ENDPOINT_FAILING,
  ENDPOINT_RECOVERED,
  ENDPOINT_DISABLED,
  DELIVERY_DEAD,
] as const;
export type OperationalName = (typeof OPERATIONAL_NAMES)[number];

/** The end of one of these is told to nobody, or a receiver of them that fails would be told of for ever. */
export function isOperational(event: string): boolean {
  return (OPERATIONAL_NAMES as readonly string[]).includes(event);
}

/** The endpoint that an event tells of. */
export interface Subject {
  username: string;
  endpointId: string;
  url: string;
}

export function toldSeconds(ms: number): number {
  return Math.floor(ms / 1000);
}

function subjectData({ username, endpointId, url }: Subject): JsonObject {
  return { username, endpoint_id: endpointId, url };
}

export function failingData(subject: Subject, row: FailingEndpoint): JsonObject {
  return {
    ...subjectData(subject),
    failing_since: toldSeconds(row.since),
    consecutive_failures: row.failures,
    next_probe_at: toldSeconds(row.probeAt ?? row.since),
    last_failure: {
      at: toldSeconds(row.last.at),
      outcome: row.last.outcome,
      http_status: row.last.httpStatus,
      error: row.last.error,
    },
  };
}

export function recoveredData(subject: Subject, before: FailingEndpoint, now: number): JsonObject {
  return {
    ...subjectData(subject),
    failing_since: toldSeconds(before.since),
    recovered_at: toldSeconds(now),
    consecutive_failures: before.failures,
  };
}

export function disabledData(
  subject: Subject,
  reason: string,
  { disabledAt, missedSince }: { disabledAt: number; missedSince: number },
): JsonObject {
  return {
    ...subjectData(subject),
    reason,
    disabled_at: toldSeconds(disabledAt),
    missed_since: toldSeconds(missedSince),
  };
}
