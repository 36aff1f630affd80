import { setImmediate as nextTurn } from 'node:timers/promises';
import { Dispatcher, type AttemptReport, type DispatcherOptions } from '../../src/delivery/dispatcher.ts';
import type { Requester, RequestResult, RequestSpec } from '../../src/delivery/request.ts';
import type { Claimed, Lease, LeaseOffer, LeaseRef, Settlement, Store } from '../../src/store/store.ts';
import { ManualClock } from './manual-clock.ts';
import { unique } from './store-fixtures.ts';

export const SECRET = 'whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw';

/** Everything that promises can do without time passing. */
export async function settled(): Promise<void> {
  for (let i = 0; i < 5; i++) await nextTurn();
}

export interface LeaseChanges extends Partial<Omit<Lease, 'endpoint' | 'event'>> {
  endpoint?: Partial<Lease['endpoint']>;
}

export function leaseOf(clock: ManualClock, endpointId: string, changes: LeaseChanges = {}): Lease {
  const eventId = unique('evt_');
  return {
    deliveryId: unique('dlv_'),
    username: 'alice',
    token: unique('token'),
    leasedUntil: clock.now() + 90_000,
    attempts: 0,
    failures: 0,
    manual: false,
    event: { eventId, event: 'generated_video_success', body: `{"event_id":"${eventId}"}`, trace: null },
    ...changes,
    endpoint: {
      endpointId,
      url: `https://receiver.example/${endpointId}`,
      secret: SECRET,
      previousSecret: null,
      previousSecretExpiresAt: null,
      headers: null,
      rateLimitPerSecond: null,
      timeoutMs: null,
      ...changes.endpoint,
    },
  };
}

export function answer(httpStatus: number): RequestResult {
  const ok = httpStatus < 300;
  return {
    outcome: ok ? 'success' : 'http_error',
    httpStatus,
    error: ok ? null : `receiver.example answered HTTP ${httpStatus}`,
    responseHeaders: {},
    responseBody: '',
    responseTruncated: false,
    durationMs: 12.4,
    retryAfter: null,
  };
}

/** A request that a test answers when it likes. */
export interface OpenRequest {
  spec: RequestSpec;
  resolve(result: RequestResult): void;
}

/** A dispatcher between a store and receivers that do what the test says. */
export class Bench {
  readonly clock: ManualClock;
  /** In flight, oldest first. */
  readonly requests: OpenRequest[] = [];
  readonly claims: LeaseOffer[] = [];
  /** What the next claims answer, in turn; then nothing waits. */
  readonly claimable: Claimed[] = [];
  readonly batches: Settlement[][] = [];
  readonly released: LeaseRef[] = [];
  readonly reports: AttemptReport[] = [];
  readonly errors: string[] = [];
  /** What the store says of others that lease from it. */
  isSoleDeliverer = false;
  /** Replaced by tests that make the store slow or let it fail. */
  settle: (batch: readonly Settlement[]) => ReturnType<Store['settle']> = (batch) =>
    Promise.resolve({
      results: batch.map((one) => ({ outcome: 'settled' as const, status: one.next.status })),
      leases: [],
      nextDueAt: null,
    });
  claim: () => Promise<Claimed> = () =>
    Promise.resolve(this.claimable.shift() ?? { leases: [], nextDueAt: null });
  readonly dispatcher: Dispatcher;

  constructor(
    settings: Partial<DispatcherOptions['settings']> = {},
    options: Partial<DispatcherOptions> & { clock?: ManualClock } = {},
  ) {
    this.clock = options.clock ?? new ManualClock();
    const requester: Requester = {
      post: (spec) =>
        new Promise((resolve, reject) => {
          const request = { spec, resolve };
          this.requests.push(request);
          spec.signal?.addEventListener('abort', () => reject(spec.signal?.reason));
        }),
      connections: { open: 0, idle: 0 },
      close: () => Promise.resolve(),
    };
    const operations: Partial<Store> = {
      isSoleDeliverer: () => this.isSoleDeliverer,
      claim: (offer) => {
        this.claims.push(offer);
        return this.claim();
      },
      settle: (batch) => {
        this.batches.push([...batch]);
        return this.settle(batch);
      },
      release: (refs) => {
        this.released.push(...refs);
        return Promise.resolve();
      },
    };
    this.dispatcher = new Dispatcher({
      store: operations as Store,
      requester,
      open: {
        secret: (_endpointId, sealed) => sealed,
        headers: (_endpointId, sealed) => JSON.parse(sealed) as Record<string, string>,
      },
      clock: this.clock,
      userAgent: 'Posthorn-Webhook/test',
      settings: { retryScheduleMs: [5_000], timeoutMs: 5_000, laneLimit: 2, inFlightLimit: 4, ...settings },
      onAttempt: (report) => this.reports.push(report),
      onError: (message) => this.errors.push(message),
      ...options,
    });
  }

  lease(endpointId: string, changes: LeaseChanges = {}): Lease {
    return leaseOf(this.clock, endpointId, changes);
  }

  accept(...leases: Lease[]): void {
    this.dispatcher.accept({ leases, nextDueAt: null }, this.clock.monotonic());
  }

  /** The endpoints that are being posted to, in order of their starts. */
  get running(): string[] {
    return this.requests.map(({ spec }) => spec.url.split('/').pop() as string);
  }

  /** Answers the oldest request and waits for what follows. */
  async answerNext(status = 200): Promise<void> {
    this.requests.shift()?.resolve(answer(status));
    await settled();
  }

  async advance(ms: number): Promise<void> {
    this.clock.advance(ms);
    await settled();
  }
}
