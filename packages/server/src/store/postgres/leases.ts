import type { LeasedEndpointRow } from '../rows.ts';
import { toLeasedEndpoint } from '../rows.ts';
import type { Claimed, Lease, LeasedEndpoint, LeaseOffer } from '../store.ts';

/** An offer as the functions of migration 0002 take it; null leases nothing. */
export function offerValues(
  nodeId: number,
  offer: LeaseOffer | null,
): [node: number, limit: number, laneLimit: number, leaseMs: number] {
  return [nodeId, offer?.limit ?? 0, offer?.laneLimit ?? 0, offer?.leaseMs ?? 0];
}

type LeaseRow = [
  deliveryId: string,
  username: string,
  token: string,
  attempts: number,
  failures: number,
  manual: boolean,
  eventId: string,
  endpointId: string,
];
type EventRow = [username: string, eventId: string, event: string, body: string, trace: string | null];

/** What `posthorn.claim` answers: what it leased in its two rounds. */
export interface ClaimedRow {
  leases: LeaseRow[] | null;
  more_leases?: LeaseRow[] | null;
  /** What a person asked for, of endpoints that are probed. */
  asked_leases?: LeaseRow[] | null;
  events: EventRow[] | null;
  more_events?: EventRow[] | null;
  asked_events?: EventRow[] | null;
  endpoints: LeasedEndpointRow[];
  until: number;
  next: number | null;
}

/** Endpoint ids are unique over all accounts. */
export function endpointsById(rows: readonly LeasedEndpointRow[]): Map<string, LeasedEndpoint> {
  return new Map(rows.map((row) => [row.endpoint_id, toLeasedEndpoint(row)]));
}

export function toClaimed(row: ClaimedRow): Claimed {
  const endpoints = endpointsById(row.endpoints);
  const events = new Map(
    [...(row.events ?? []), ...(row.more_events ?? []), ...(row.asked_events ?? [])].map(
      ([username, eventId, event, body, trace]) => [
        `${username} ${eventId}`,
        { eventId, event, body, trace },
      ],
    ),
  );
  const leases: Lease[] = [];
  const rows = [...(row.leases ?? []), ...(row.more_leases ?? []), ...(row.asked_leases ?? [])];
  for (const [deliveryId, username, token, attempts, failures, manual, eventId, endpointId] of rows) {
    const event = events.get(`${username} ${eventId}`);
    const endpoint = endpoints.get(endpointId);
    // Both were there in the same statement, unless the account was purged at this very moment.
    if (event === undefined || endpoint === undefined) continue;
    leases.push({
      deliveryId,
      username,
      token,
      leasedUntil: row.until,
      attempts,
      failures,
      manual,
      event,
      endpoint,
    });
  }
  return { leases, nextDueAt: row.next };
}
