/** One attempt of one delivery, from its lease to what the store is told. */
import { type Clock, toSeconds } from '../clock.ts';
import { type Attempt, isReceiversFailure } from '../model.ts';
import type { Lease, LeasedEndpoint, Settlement } from '../store/store.ts';
import type { AttemptTrace, Tracing } from '../tracing.ts';
import { webhookHeaders } from './headers.ts';
import { decide } from './outcome.ts';
import type { RecentIds } from './recent-ids.ts';
import type { Requester, RequestResult } from './request.ts';
import { type KeyRing, signatureHeaders } from './sign.ts';

/** Opens what the vault sealed for an endpoint. Both may throw. */
export interface Opener {
  secret(endpointId: string, sealed: string): string;
  headers(endpointId: string, sealed: string): Record<string, string>;
}

export interface DeliverContext {
  requester: Requester;
  open: Opener;
  ring: KeyRing;
  clock: Clock;
  /** `Posthorn-Webhook/<version>`. */
  userAgent: string;
  scheduleMs: readonly number[];
  /** For endpoints that have none of their own. */
  timeoutMs: number;
  tracing: Tracing;
  /** Whether receivers get a `traceparent`. */
  sendsTraceparent: boolean;
  /** See {@link decide}. */
  jitter: number;
  /** Deliveries whose last attempt a dead idle connection cost: the next one is made on a fresh connection. */
  needFresh: RecentIds;
  /** Told of defects on our side; the endpoint's owner reads only that there was one. */
  onError: (message: string, error: unknown) => void;
}

/** What a custom header's value reads as in the attempt log. */
const MASK = '***';

interface Prepared {
  body: Buffer;
  headers: Record<string, string>;
  /** As `headers`, with the values of custom ones masked. */
  loggedHeaders: Record<string, string>;
}

/**
 * Makes one attempt: signs, posts, decides. Whatever goes wrong, on the receiver's side or ours, is a settlement.
 *
 * @throws the signal's reason when `signal` aborts: such an attempt has no result, and its lease is to be released.
 */
export async function deliver(
  lease: Lease,
  context: DeliverContext,
  signal: AbortSignal,
): Promise<Settlement> {
  const { clock } = context;
  const startedAt = clock.now();
  const startedMs = clock.monotonic();
  const trace = context.tracing.attempt(lease);
  let prepared: Prepared | null = null;
  let result: RequestResult;
  let isOurs = false;
  try {
    prepared = prepare(lease, context, startedAt, trace);
    const { url, timeoutMs } = lease.endpoint;
    const { body, headers } = prepared;
    result = await trace.run(() =>
      context.requester.post({
        url,
        headers,
        body,
        timeoutMs: timeoutMs ?? context.timeoutMs,
        signal,
        freshConnection: context.needFresh.take(lease.deliveryId),
      }),
    );
    if (result.outcome === 'stale_connection') context.needFresh.add(lease.deliveryId);
  } catch (error) {
    if (signal.aborted) {
      trace.abandon();
      throw error;
    }
    context.onError(`delivery ${lease.deliveryId} could not be attempted`, error);
    isOurs = true;
    result = notSent(prepared !== null, clock.monotonic() - startedMs);
  }
  const attempt = attemptOf(lease, startedAt, prepared?.loggedHeaders ?? {}, result);
  const decision = decide({
    result,
    failures: lease.failures,
    now: clock.now(),
    scheduleMs: context.scheduleMs,
    jitter: context.jitter,
    random: clock.random(),
  });
  trace.end(attempt, decision.next.status);
  return {
    username: lease.username,
    deliveryId: lease.deliveryId,
    token: lease.token,
    attempt,
    ...decision,
    ...(!isOurs && isReceiversFailure(result.outcome) ? { endpointFailed: true } : {}),
  };
}

function prepare(
  lease: Lease,
  context: DeliverContext,
  now: number,
  { traceparent }: AttemptTrace,
): Prepared {
  const { endpoint, event } = lease;
  const { open } = context;
  const { endpointId } = endpoint;
  const body = Buffer.from(event.body, 'utf8');
  const signatures = signatureHeaders(
    {
      secret: open.secret(endpointId, endpoint.secret),
      previousSecret: previousSecret(endpoint, open, now),
      eventId: event.eventId,
      timestampSeconds: toSeconds(now),
      body,
    },
    context.ring,
  );
  const own = webhookHeaders(event.event, signatures, context.userAgent);
  // A custom header of this name is its owner's choice, and takes its place.
  const traced = context.sendsTraceparent && traceparent !== null ? { traceparent } : null;
  if (traced !== null && endpoint.headers === null) Object.assign(own, traced);
  if (endpoint.headers === null) return { body, headers: own, loggedHeaders: own };
  const custom = open.headers(endpointId, endpoint.headers);
  // Lower case, so that a custom header can't stand beside one of ours in another spelling.
  const names = Object.keys(custom).map((name) => [name, name.toLowerCase()] as const);
  return {
    body,
    headers: {
      ...traced,
      ...Object.fromEntries(names.map(([name, lower]) => [lower, custom[name] as string])),
      ...own,
    },
    loggedHeaders: { ...traced, ...Object.fromEntries(names.map(([, lower]) => [lower, MASK])), ...own },
  };
}

function previousSecret(endpoint: LeasedEndpoint, open: Opener, now: number): string | null {
  const { endpointId, previousSecret: sealed, previousSecretExpiresAt: expiresAt } = endpoint;
  if (sealed === null || expiresAt === null || expiresAt <= now) return null;
  return open.secret(endpointId, sealed);
}

/** A defect of ours as the result of an attempt; its cause is for the operator, not for the endpoint's owner. */
function notSent(wasPrepared: boolean, durationMs: number): RequestResult {
  const error = wasPrepared
    ? 'not sent: Posthorn failed to make the request; its operator finds the cause in the log'
    : "not sent: the endpoint's secret or custom headers could not be read; rotate the secret and set the headers again";
  return {
    outcome: 'protocol_error',
    httpStatus: null,
    error,
    responseHeaders: null,
    responseBody: null,
    responseTruncated: false,
    durationMs,
    retryAfter: null,
  };
}

function attemptOf(
  lease: Lease,
  startedAt: number,
  requestHeaders: Record<string, string>,
  result: RequestResult,
): Attempt {
  return {
    number: lease.attempts + 1,
    startedAt,
    durationMs: Math.max(0, Math.round(result.durationMs)),
    outcome: result.outcome,
    httpStatus: result.httpStatus,
    error: result.error,
    url: lease.endpoint.url,
    requestHeaders,
    responseHeaders: result.responseHeaders,
    responseBody: result.responseBody,
    responseTruncated: result.responseTruncated,
    manual: lease.manual,
  };
}
