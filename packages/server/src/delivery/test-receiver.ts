/**
 * The built-in receiver: what is sent to its addresses is answered inside the process that attempts the delivery, and
 * nothing is dialled. So it works under every endpoint policy and on every node, opens no way to this or any other machine,
 * and needs no port, no name and no certificate. `.invalid` is reserved (RFC 6761): no name server will ever know the host.
 */
import type { Clock } from '../clock.ts';
import { invalid } from '../errors.ts';
import type { Requester, RequestResult, RequestSpec } from './request.ts';
import { statusFailure, timeoutFailure } from './request-failure.ts';

export const TEST_RECEIVER_HOST = 'test-receiver.posthorn.invalid';

/** What it does with a delivery, by the path of its address. */
const BEHAVIOURS = ['succeed', 'fail', 'hang'] as const;
type Behaviour = (typeof BEHAVIOURS)[number];

/** The address of each behaviour: `https://test-receiver.posthorn.invalid/succeed`. */
export const TEST_RECEIVER_URLS = Object.fromEntries(
  BEHAVIOURS.map((behaviour) => [behaviour, `https://${TEST_RECEIVER_HOST}/${behaviour}`]),
) as Record<Behaviour, string>;

function behaviourOf(url: string): Behaviour | null {
  return BEHAVIOURS.find((behaviour) => TEST_RECEIVER_URLS[behaviour] === url) ?? null;
}

/**
 * Whether an endpoint's URL is one of the built-in receiver's.
 *
 * @throws PosthornError `invalid_parameter` for another address on its host
 */
export function isTestReceiver(url: string): boolean {
  if (behaviourOf(url) !== null) return true;
  if (URL.parse(url)?.hostname !== TEST_RECEIVER_HOST) return false;
  throw invalid(
    'url',
    `url must be one of the built-in receiver's addresses: ${Object.values(TEST_RECEIVER_URLS).join(', ')}`,
  );
}

/** Answers what is for the built-in receiver, and hands everything else to the requester. */
export function withTestReceiver(requester: Requester, clock: Pick<Clock, 'monotonic' | 'timer'>): Requester {
  return {
    get connections() {
      return requester.connections;
    },
    post(spec) {
      const behaviour = behaviourOf(spec.url);
      return behaviour === null ? requester.post(spec) : receive(behaviour, spec, clock);
    },
    close: () => requester.close(),
  };
}

async function receive(
  behaviour: Behaviour,
  { headers, body, timeoutMs, signal }: RequestSpec,
  clock: Pick<Clock, 'monotonic' | 'timer'>,
): Promise<RequestResult> {
  const startedMs = clock.monotonic();
  signal?.throwIfAborted();
  if (behaviour === 'hang') {
    await hang(timeoutMs, signal, clock);
    return {
      ...timeoutFailure(TEST_RECEIVER_HOST, 'answer', timeoutMs),
      httpStatus: null,
      responseHeaders: null,
      responseBody: null,
      responseTruncated: false,
      durationMs: clock.monotonic() - startedMs,
      retryAfter: null,
    };
  }
  const succeeds = behaviour === 'succeed';
  const httpStatus = succeeds ? 200 : 500;
  const answer = {
    receiver: 'the built-in test receiver',
    says: succeeds ? 'received' : 'told to fail: change the end of the endpoint’s URL to /succeed',
    event_id: headers['webhook-id'] ?? null,
    bytes: body.length,
  };
  return {
    ...(succeeds ? { outcome: 'success', error: null } : statusFailure(TEST_RECEIVER_HOST, httpStatus)),
    httpStatus,
    responseHeaders: { 'content-type': 'application/json' },
    responseBody: JSON.stringify(answer),
    responseTruncated: false,
    durationMs: clock.monotonic() - startedMs,
    retryAfter: null,
  };
}

/** @throws the signal's reason when it aborts before the time is over */
function hang(
  timeoutMs: number,
  signal: AbortSignal | undefined,
  clock: Pick<Clock, 'timer'>,
): Promise<void> {
  const { promise, resolve, reject } = Promise.withResolvers<void>();
  const cancel = clock.timer(timeoutMs, resolve);
  const abort = (): void => {
    cancel();
    reject(signal?.reason);
  };
  signal?.addEventListener('abort', abort, { once: true });
  return promise.finally(() => signal?.removeEventListener('abort', abort));
}
