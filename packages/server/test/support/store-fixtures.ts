/** Records for tests of the store and of the rooms above it: valid, distinct, and changed only where a test says so. */
import type { ApiKey, Attempt, EventType, JsonObject, SealedEvent } from '../../src/model.ts';
import type { Lease, LeaseOffer, Page, PageRequest, Settlement, Store } from '../../src/store/store.ts';

export type NewEndpoint = Parameters<Store['addEndpoint']>[0];
export type NewKey = Parameters<Store['createKey']>[0];

/** Seconds and minutes and such, for times that read like a specification. */
export const SECOND_MS = 1_000;
export const MINUTE_MS = 60 * SECOND_MS;
export const HOUR_MS = 60 * MINUTE_MS;
export const DAY_MS = 24 * HOUR_MS;

/** Two types that every fixture endpoint subscribes to unless told otherwise. */
export const VIDEO = 'generated_video_success';
export const SCRIPT = 'generated_script_success';
/** One that none does. */
export const AVATAR = 'create_avatar_success';

/** Room for everything: an offer whose limits don't matter to the test. */
export const WIDE_OFFER: LeaseOffer = { limit: 1_000, laneLimit: 1_000, leaseMs: 30 * SECOND_MS };

let made = 0;

/** `prefix` and a number that no other call in this process gets. */
export function unique(prefix: string): string {
  made += 1;
  return `${prefix}${made.toString(36).padStart(5, '0')}`;
}

/** An endpoint to add: enabled, subscribed to {@link VIDEO} and {@link SCRIPT}. */
export function newEndpoint(username: string, changes: Partial<NewEndpoint> = {}): NewEndpoint {
  const endpointId = unique('wh_');
  return {
    endpointId,
    username,
    url: `https://receiver.example/${endpointId}`,
    events: [VIDEO, SCRIPT],
    status: 'enabled',
    secret: `sealed-secret-of-${endpointId}`,
    description: null,
    metadata: null,
    headers: null,
    rateLimitPerSecond: null,
    timeoutMs: null,
    ...changes,
  };
}

/** A key to create; `username` null makes it an operator-level one. Its `hash` is as long as a SHA-256 in hex. */
export function newKey(username: string | null, changes: Partial<NewKey> = {}): NewKey {
  const keyId = unique('key_');
  return {
    keyId,
    username,
    name: `name of ${keyId}`,
    scopes: username === null ? ['operator'] : ['account'],
    prefix: 'ph_fixture',
    expiresAt: null,
    hash: Buffer.from(keyId).toString('hex').padEnd(64, '0'),
    ...changes,
  };
}

/** The key as the store should give it back. */
export function storedKey(key: NewKey, createdAt: number, changes: Partial<ApiKey> = {}): ApiKey {
  const { hash: _hash, ...rest } = key;
  return { ...rest, createdAt, lastUsedAt: null, revokedAt: null, ...changes };
}

/** An event type of an operator. */
export function newEventType(name: string, changes: Partial<EventType> = {}): EventType {
  return {
    name,
    category: 'custom',
    description: `What ${name} means`,
    schema: { type: 'object', properties: { id: { type: 'string' } }, required: ['id'] },
    example: { id: 'x1' },
    deprecated: false,
    builtIn: false,
    ...changes,
  };
}

export interface EventChanges extends Partial<Omit<SealedEvent, 'body' | 'username'>> {
  data?: JsonObject;
  body?: string;
}

/** An event as `publish` takes it, with an id of the publisher's; its body and fingerprint follow from the changes. */
export function newEvent(username: string, changes: EventChanges = {}): SealedEvent {
  const { data = { video_id: 'v1' }, ...given } = changes;
  const eventId = given.eventId ?? unique('evt_');
  const event = given.event ?? VIDEO;
  const timestamp = given.timestamp ?? 1_750_000_000;
  return {
    username,
    eventId,
    event,
    timestamp,
    body: JSON.stringify({ event_id: eventId, event, timestamp, data }),
    fingerprint: `${event} ${JSON.stringify(data)}`,
    timestampGiven: false,
    ...given,
  };
}

/** A successful attempt of a lease; `startedAt` is unix ms. */
export function attemptOf(lease: Lease, startedAt: number, changes: Partial<Attempt> = {}): Attempt {
  return {
    number: lease.attempts + 1,
    startedAt,
    durationMs: 40,
    outcome: 'success',
    httpStatus: 200,
    error: null,
    url: lease.endpoint.url,
    requestHeaders: { 'content-type': 'application/json', 'x-webhook-event': lease.event.event },
    responseHeaders: { 'content-type': 'text/plain' },
    responseBody: 'ok',
    responseTruncated: false,
    manual: lease.manual,
    ...changes,
  };
}

/** A failed one. */
export function failedAttemptOf(lease: Lease, startedAt: number, changes: Partial<Attempt> = {}): Attempt {
  return attemptOf(lease, startedAt, {
    outcome: 'http_error',
    httpStatus: 500,
    error: 'the receiver answered 500',
    responseBody: 'broken',
    ...changes,
  });
}

function settlement(lease: Lease, attempt: Attempt, next: Settlement['next']): Settlement {
  return { username: lease.username, deliveryId: lease.deliveryId, token: lease.token, attempt, next };
}

/** The settlement of an attempt that the receiver accepted at `at` (unix ms). */
export function deliveredAt(lease: Lease, at: number, changes: Partial<Attempt> = {}): Settlement {
  return settlement(lease, attemptOf(lease, at, changes), { status: 'delivered' });
}

/** The settlement of an attempt that failed at `at` and comes again at `dueAt` (unix ms). */
export function retryingAt(
  lease: Lease,
  at: number,
  dueAt: number,
  changes: Partial<Attempt> = {},
): Settlement {
  return settlement(lease, failedAttemptOf(lease, at, changes), { status: 'pending', dueAt });
}

/** The settlement of the last attempt of a schedule. */
export function deadAt(
  lease: Lease,
  at: number,
  reason = 'no attempt of the schedule succeeded',
  changes: Partial<Attempt> = {},
): Settlement {
  return settlement(lease, failedAttemptOf(lease, at, changes), { status: 'dead', reason });
}

/** Walks a list page by page to its end. Fails rather than walk for ever when the cursors run in a circle. */
export async function listAll<T>(list: (page: PageRequest) => Promise<Page<T>>, limit = 200): Promise<T[]> {
  const items: T[] = [];
  let cursor: string | null = null;
  for (let pages = 0; pages < 10_000; pages++) {
    const page: Page<T> = await list({ limit, cursor });
    items.push(...page.items);
    if (page.nextCursor === null) return items;
    cursor = page.nextCursor;
  }
  throw new Error('the list has no end');
}
