import { PosthornError } from '../../errors.ts';
import type { SealedEvent } from '../../model.ts';
import { isRepeat, type StoredEvent } from '../repeat.ts';
import type { LeasedEndpointRow } from '../rows.ts';
import type { Lease, PublishResult } from '../store.ts';
import { bigintArray, textArray } from './arrays.ts';
import type { EngineContext, Operations } from './engine.ts';
import { endpointsById, offerValues } from './leases.ts';

/** What `posthorn.publish_batch` answers; indices are those of its events. */
interface PublishedRow {
  stored: number[];
  made: [index: number, deliveryId: string, endpointId: string, token: string | null][];
  endpoints: LeasedEndpointRow[];
  /** What stands in the place of an event that wasn't stored. `body` is null where the fingerprint isn't. */
  taken: [
    index: number,
    event: string,
    timestamp: number,
    fingerprint: string | null,
    deliveries: number,
    body: string | null,
  ][];
  until: number;
  next: number | null;
}

/** An event whose id was free and taken again by the purge at the same moment is published anew so often. */
const MAX_ROUNDS = 3;

/**
 * What is acknowledged must be on disk. The session's settings see to that too, but a proxy that pools transactions may
 * have run them on another connection than this one.
 */
const PUBLISH = `SELECT posthorn.publish_batch($1, $2, $3, $4, $5, $6, $7, $8, $9, $10, $11, $12) AS answer,
  CASE WHEN current_setting('synchronous_commit') = 'off'
       THEN pg_catalog.set_config('synchronous_commit', 'on', true) END`;

export function publishOperations({ query, nodeId, notify }: EngineContext): Operations<'publish'> {
  /** Why an event that nothing stands in the way of wasn't stored; null when there is no reason any more. */
  async function refusalOf({ username, onlyEndpointId }: SealedEvent): Promise<PublishResult | null> {
    const [account] = await query(
      `SELECT 1 FROM posthorn.account WHERE username = $1 AND status <> 'deleted'`,
      [username],
    );
    if (account === undefined) return { outcome: 'unknown_account', username };
    if (onlyEndpointId === undefined) return null;
    const [endpoint] = await query<{ status: string }>(
      `SELECT status FROM posthorn.endpoint WHERE username = $1 AND endpoint_id = $2 AND status <> 'deleted'`,
      [username, onlyEndpointId],
    );
    if (endpoint === undefined) return { outcome: 'unknown_endpoint', endpointId: onlyEndpointId };
    return endpoint.status === 'disabled'
      ? { outcome: 'disabled_endpoint', endpointId: onlyEndpointId }
      : null;
  }

  return {
    async publish(events, offer) {
      const results: (PublishResult | undefined)[] = events.map(() => undefined);
      const leases: Lease[] = [];
      let nextDueAt: number | null = null;
      let isDue = false;
      // The first with an id speaks for it; what repeats it in the batch is judged by what became of it.
      const firstOf = new Map<string, number>();
      const repeats: [index: number, first: number][] = [];
      let open: number[] = [];
      for (const [index, event] of events.entries()) {
        const key = `${event.username} ${event.eventId}`;
        const first = firstOf.get(key);
        if (first === undefined) {
          firstOf.set(key, index);
          open.push(index);
        } else {
          repeats.push([index, first]);
        }
      }
      const standing = new Map<number, StoredEvent & { deliveries: number }>();

      for (let round = 1; open.length > 0; round += 1) {
        if (round > MAX_ROUNDS) {
          throw new PosthornError(
            'unavailable',
            'the event is being deleted and published at once: try again',
          );
        }
        const sent: number[] = open;
        const batch = sent.map((index) => events[index] as SealedEvent);
        const [row] = await query<{ answer: PublishedRow }>(PUBLISH, [
          ...toColumns(batch),
          ...offerValues(nodeId(), offer),
          tracesOf(batch),
        ]);
        const { answer } = row as { answer: PublishedRow };
        nextDueAt = answer.next;
        const idsOf = new Map<number, string[]>();
        const endpoints = endpointsById(answer.endpoints);
        for (const [index, deliveryId, endpointId, token] of answer.made) {
          const ids = idsOf.get(index);
          if (ids === undefined) idsOf.set(index, [deliveryId]);
          else ids.push(deliveryId);
          if (token === null) isDue = true;
          const endpoint = endpoints.get(endpointId);
          if (token === null || endpoint === undefined) continue;
          const {
            username,
            eventId,
            event,
            body,
            onlyEndpointId,
            trace = null,
          } = batch[index] as SealedEvent;
          leases.push({
            deliveryId,
            username,
            token,
            leasedUntil: answer.until,
            attempts: 0,
            failures: 0,
            manual: onlyEndpointId !== undefined,
            event: { eventId, event, body, trace },
            endpoint,
          });
        }
        for (const index of answer.stored) {
          const deliveryIds = idsOf.get(index) ?? [];
          const { eventId } = batch[index] as SealedEvent;
          results[sent[index] as number] = {
            outcome: 'stored',
            eventId,
            deliveries: deliveryIds.length,
            deliveryIds,
          };
        }
        for (const [index, event, timestamp, fingerprint, deliveries, body] of answer.taken) {
          const existing = { event, timestamp, fingerprint, body: body ?? '', deliveries };
          const published = batch[index] as SealedEvent;
          standing.set(sent[index] as number, existing);
          results[sent[index] as number] = judge(published, existing);
        }
        open = [];
        for (const index of sent) {
          if (results[index] !== undefined) continue;
          const refusal = await refusalOf(events[index] as SealedEvent);
          if (refusal === null) open.push(index);
          else results[index] = refusal;
        }
      }

      for (const [index, first] of repeats) {
        const event = events[index] as SealedEvent;
        const original = results[first] as PublishResult;
        const existing =
          original.outcome === 'stored'
            ? { ...(events[first] as SealedEvent), deliveries: original.deliveries }
            : standing.get(first);
        results[index] = existing === undefined ? original : judge(event, existing);
      }
      if (isDue) void notify({ query }, { kind: 'due' });
      return { results: results as PublishResult[], leases, nextDueAt };
    },
  };
}

function judge(event: SealedEvent, existing: StoredEvent & { deliveries: number }): PublishResult {
  const { eventId } = event;
  return isRepeat(event, existing)
    ? { outcome: 'duplicate', eventId, deliveries: existing.deliveries }
    : { outcome: 'conflict', eventId };
}

/** Null where nobody traces, which is the rule. */
function tracesOf(events: readonly SealedEvent[]): Buffer | null {
  return events.some(({ trace }) => trace !== undefined) ? textArray(events.map(({ trace }) => trace)) : null;
}

/** The events as `posthorn.publish_batch` takes them. */
function toColumns(events: readonly SealedEvent[]): Buffer[] {
  return [
    textArray(events.map(({ username }) => username)),
    textArray(events.map(({ eventId }) => eventId)),
    textArray(events.map(({ event }) => event)),
    bigintArray(events.map(({ timestamp }) => timestamp)),
    textArray(events.map(({ body }) => body)),
    textArray(events.map(({ fingerprint }) => fingerprint)),
    textArray(events.map(({ onlyEndpointId }) => onlyEndpointId)),
  ];
}
