import assert from 'node:assert/strict';
import { describe, it } from 'node:test';
import fc from 'fast-check';
import type { DeliveryStatus } from '../../src/model.ts';
import type { Claimed, Lease, LeaseOffer, Settlement } from '../../src/store/store.ts';
import {
  DAY_MS,
  deadAt,
  deliveredAt,
  MINUTE_MS,
  newEndpoint,
  newEvent,
  retryingAt,
  SCRIPT,
  SECOND_MS,
  VIDEO,
  WIDE_OFFER,
} from '../support/store-fixtures.ts';
import { assertRefused, type Bench, type BenchPool, DRIFT_MS, EMPTY_QUEUE } from './bench.ts';

/*
 * Random walks through the queue beside a model that is simple enough to be believed. The clock moves by whole
 * minutes only, leases last and retries wait half a minute more than whole ones, so that the engine's own clock may
 * drift without changing what is due.
 */
const HALF_MINUTE_MS = 30 * SECOND_MS;
const EVENT_TYPES = [VIDEO, SCRIPT] as const;
const MAX_ENDPOINTS = 4;

type Next = 'delivered' | 'pending' | 'dead' | 'gone';

/** The lane's limit is one for a whole walk, as it is for all nodes of one configuration. */
type StepOffer = Omit<LeaseOffer, 'laneLimit'>;

type Step =
  | { op: 'publish'; types: number[]; only: number | null; offer: StepOffer | null }
  | { op: 'claim'; offer: StepOffer }
  | { op: 'settle'; ends: { lease: number; next: Next; retryMinutes: number }[]; offer: StepOffer | null }
  | { op: 'release'; leases: number[] }
  | { op: 'advance'; minutes: number }
  | { op: 'add' | 'disable' | 'enable' | 'delete'; endpoint: number }
  | { op: 'suspend' | 'activate' | 'crash' }
  | { op: 'retry'; delivery: number };

interface ModelDelivery {
  deliveryId: string;
  eventId: string;
  endpointId: string;
  body: string;
  status: DeliveryStatus;
  attempts: number;
  failures: number;
  /** Null where the contract leaves open whether a person asked for it. */
  manual: boolean | null;
  dueAt: number;
  lease: { token: string; until: number } | null;
  /** A token whose lease had expired when it was given back or passed over: it may hold still. */
  faded: string | null;
}

interface ModelEndpoint {
  enabled: boolean;
  deleted: boolean;
  events: readonly string[];
}

class QueueModel {
  readonly #bench: Bench;
  readonly #username: string;
  readonly #laneLimit: number;
  readonly #endpoints = new Map<string, ModelEndpoint>();
  readonly #deliveries = new Map<string, ModelDelivery>();
  readonly #tokens = new Set<string>();
  /** Every lease that was ever given, the stale ones too. */
  readonly #given: Lease[] = [];
  #active = true;

  constructor(bench: Bench, username: string, laneLimit: number) {
    this.#bench = bench;
    this.#username = username;
    this.#laneLimit = laneLimit;
  }

  get #now(): number {
    return this.#bench.now();
  }

  #isEnabled(endpointId: string): boolean {
    const endpoint = this.#endpoints.get(endpointId);
    return endpoint !== undefined && endpoint.enabled && !endpoint.deleted;
  }

  #isInFlight(delivery: ModelDelivery): boolean {
    return delivery.status === 'pending' && delivery.lease !== null && delivery.lease.until > this.#now;
  }

  #isEligible(delivery: ModelDelivery): boolean {
    return (
      this.#active &&
      delivery.status === 'pending' &&
      !this.#isInFlight(delivery) &&
      delivery.dueAt <= this.#now &&
      this.#isEnabled(delivery.endpointId)
    );
  }

  #inFlight(endpointId: string): number {
    let count = 0;
    for (const delivery of this.#deliveries.values()) {
      if (delivery.endpointId === endpointId && this.#isInFlight(delivery)) count += 1;
    }
    return count;
  }

  #endpointId(index: number): string | undefined {
    return pick([...this.#endpoints.keys()], index);
  }

  async addEndpoint(types: readonly string[]): Promise<void> {
    const { endpointId, events } = await this.#bench.store.addEndpoint(
      newEndpoint(this.#username, { events: [...types] }),
      1_000,
    );
    this.#endpoints.set(endpointId, { enabled: true, deleted: false, events });
  }

  async take(step: Step): Promise<void> {
    await this.#learnWhatExpired();
    switch (step.op) {
      case 'publish':
        return this.#publish(step.types, step.only, this.#offer(step.offer));
      case 'claim': {
        const offer = { ...step.offer, laneLimit: this.#laneLimit };
        const before = this.#lanes();
        return this.#leased(await this.#bench.store.claim(offer), offer, before, 'claim');
      }
      case 'settle':
        return this.#settle(step.ends, this.#offer(step.offer));
      case 'release':
        return this.#release(step.leases);
      case 'advance':
        return this.#bench.advance(step.minutes * MINUTE_MS);
      case 'add':
        if (this.#endpoints.size < MAX_ENDPOINTS)
          await this.addEndpoint([EVENT_TYPES[step.endpoint % 2] as string]);
        return;
      case 'enable':
      case 'disable':
      case 'delete':
        return this.#change(step.op, this.#endpointId(step.endpoint));
      case 'suspend':
      case 'activate': {
        const status = step.op === 'suspend' ? 'suspended' : 'active';
        await this.#bench.store.updateAccount(this.#username, { status });
        this.#active = step.op === 'activate';
        return;
      }
      case 'retry':
        return this.#retry(pick([...this.#deliveries.values()], step.delivery));
      case 'crash':
        return this.#crash();
    }
  }

  #offer(offer: StepOffer | null): LeaseOffer | null {
    return offer && { ...offer, laneLimit: this.#laneLimit };
  }

  /** Those whose lease expired while their endpoint was disabled or deleted. */
  #expiredUnderway(): ModelDelivery[] {
    return [...this.#deliveries.values()].filter(
      (delivery) =>
        delivery.status === 'pending' && !this.#isInFlight(delivery) && !this.#isEnabled(delivery.endpointId),
    );
  }

  /** The contract leaves open when those are cancelled: the model asks. */
  async #learnWhatExpired(deliveries = this.#expiredUnderway()): Promise<void> {
    for (const delivery of deliveries) {
      const stored = await this.#bench.delivery(this.#username, delivery.deliveryId);
      if (stored.status === 'cancelled') this.#cancel(delivery);
      else assert.equal(stored.status, 'pending', `${delivery.deliveryId}, whose lease expired`);
    }
  }

  #cancel(delivery: ModelDelivery): void {
    delivery.status = 'cancelled';
    delivery.lease = null;
    delivery.faded = null;
  }

  async #publish(types: readonly number[], only: number | null, offer: LeaseOffer | null): Promise<void> {
    const onlyEndpointId = only === null ? undefined : this.#endpointId(only);
    const events = types.map((type) =>
      newEvent(this.#username, {
        event: EVENT_TYPES[type % 2] as string,
        ...(onlyEndpointId === undefined ? {} : { onlyEndpointId }),
      }),
    );
    const before = this.#lanes();
    const answer = await this.#bench.store.publish(events, offer);
    for (const [n, event] of events.entries()) {
      const result = answer.results[n];
      const targets = [...this.#endpoints]
        .filter(([endpointId, { events }]) =>
          onlyEndpointId === undefined ? events.includes(event.event) : endpointId === onlyEndpointId,
        )
        .map(([endpointId]) => endpointId)
        .filter((endpointId) => this.#isEnabled(endpointId));
      if (onlyEndpointId !== undefined && targets.length === 0) {
        const deleted = this.#endpoints.get(onlyEndpointId)?.deleted;
        assert.equal(result?.outcome, deleted ? 'unknown_endpoint' : 'disabled_endpoint');
        continue;
      }
      assert.ok(result?.outcome === 'stored', JSON.stringify(result));
      assert.equal(result.deliveryIds.length, targets.length);
      const stored = await this.#bench.event(this.#username, event.eventId);
      for (const deliveryId of result.deliveryIds) {
        const target = stored.targets.find((target) => target.deliveryId === deliveryId);
        assert.ok(target && targets.includes(target.endpointId), `a target of ${deliveryId}`);
        this.#deliveries.set(deliveryId, {
          deliveryId,
          eventId: event.eventId,
          endpointId: target.endpointId,
          body: event.body,
          status: 'pending',
          attempts: 0,
          failures: 0,
          manual: onlyEndpointId !== undefined,
          dueAt: this.#now,
          lease: null,
          faded: null,
        });
      }
    }
    if (offer) this.#leased(answer, offer, before, 'publish');
    else assert.deepEqual(answer.leases, []);
  }

  #lanes(): Map<string, number> {
    return new Map([...this.#endpoints.keys()].map((endpointId) => [endpointId, this.#inFlight(endpointId)]));
  }

  #leased(claimed: Claimed, offer: LeaseOffer, before: Map<string, number>, by: 'claim' | 'publish'): void {
    assert.ok(claimed.leases.length <= offer.limit, `${claimed.leases.length} leases of ${offer.limit}`);
    for (const lease of claimed.leases) {
      const delivery = this.#deliveries.get(lease.deliveryId);
      assert.ok(delivery, `${lease.deliveryId} was published`);
      assert.ok(this.#isEligible(delivery), `${lease.deliveryId} may be leased: ${JSON.stringify(delivery)}`);
      assert.ok(!this.#tokens.has(lease.token), 'a token is fresh');
      assert.equal(lease.endpoint.endpointId, delivery.endpointId);
      assert.equal(lease.event.eventId, delivery.eventId);
      assert.equal(lease.event.body, delivery.body);
      assert.equal(lease.attempts, delivery.attempts, 'attempts');
      assert.equal(lease.failures, delivery.failures, 'failures');
      if (delivery.manual !== null) assert.equal(lease.manual, delivery.manual, 'manual');
      delivery.manual = lease.manual;
      delivery.lease = { token: lease.token, until: this.#now + offer.leaseMs };
      delivery.faded = null;
      this.#tokens.add(lease.token);
      this.#given.push(lease);
    }
    for (const [endpointId, held] of this.#lanes()) {
      const allowed = Math.max(before.get(endpointId) ?? 0, offer.laneLimit);
      assert.ok(held <= allowed, `lane ${endpointId} has ${held} in flight of ${allowed}`);
    }
    if (by === 'claim') this.#assertNothingIsForgotten(claimed, offer);
  }

  /**
   * Whoever claims again at `nextDueAt` and when a slot comes free misses nothing: neither what is due nor what falls
   * due. In a full lane only the end of a lease is news.
   */
  #assertNothingIsForgotten({ leases, nextDueAt }: Claimed, offer: LeaseOffer): void {
    if (!this.#active || leases.length === offer.limit) return;
    for (const delivery of this.#deliveries.values()) {
      if (delivery.status !== 'pending' || !this.#isEnabled(delivery.endpointId)) continue;
      const isInFlight = this.#isInFlight(delivery);
      if (!isInFlight && this.#inFlight(delivery.endpointId) >= offer.laneLimit) continue;
      const at = isInFlight ? (delivery.lease?.until ?? 0) : Math.max(delivery.dueAt, this.#now);
      assert.ok(
        nextDueAt !== null && nextDueAt <= at + DRIFT_MS,
        `the next claim at ${nextDueAt} comes too late for ${JSON.stringify(delivery)}`,
      );
    }
  }

  async #settle(
    ends: readonly { lease: number; next: Next; retryMinutes: number }[],
    offer: LeaseOffer | null,
  ): Promise<void> {
    const settlements: { lease: Lease; next: Next; dueAt: number; settlement: Settlement }[] = [];
    for (const end of ends) {
      const lease = pick(this.#given, end.lease);
      if (!lease) return;
      const dueAt = this.#now + end.retryMinutes * MINUTE_MS + HALF_MINUTE_MS;
      const settlement =
        end.next === 'delivered'
          ? deliveredAt(lease, this.#now)
          : end.next === 'pending'
            ? retryingAt(lease, this.#now, dueAt)
            : deadAt(lease, this.#now);
      if (end.next === 'gone') settlement.disableEndpoint = 'the receiver answered 410 Gone';
      settlements.push({ lease, next: end.next, dueAt, settlement });
    }
    const answer = await this.#bench.store.settle(
      settlements.map(({ settlement }) => settlement),
      offer,
    );
    for (const [n, { lease, next, dueAt }] of settlements.entries()) {
      const result = answer.results[n];
      const delivery = this.#deliveries.get(lease.deliveryId) as ModelDelivery;
      const holds = delivery.status === 'pending' && delivery.lease?.token === lease.token;
      const mayHold = delivery.status === 'pending' && delivery.faded === lease.token;
      // An expired lease may be settled late or not; a valid one must be, and any other token must not.
      if (holds && this.#isInFlight(delivery)) assert.equal(result?.outcome, 'settled', lease.deliveryId);
      if (!holds && !mayHold) assert.equal(result?.outcome, 'stale', lease.deliveryId);
      if (result?.outcome !== 'settled') continue;
      if (next === 'gone') this.#disable(delivery.endpointId);
      const status =
        next === 'gone'
          ? 'dead'
          : next === 'pending' && !this.#isEnabled(delivery.endpointId)
            ? 'cancelled'
            : next;
      assert.equal(result.status, status, lease.deliveryId);
      delivery.status = status;
      delivery.attempts += 1;
      delivery.failures += next === 'delivered' ? 0 : 1;
      delivery.manual = false;
      delivery.dueAt = dueAt;
      delivery.lease = null;
      delivery.faded = null;
    }
    if (offer) this.#leased(answer, offer, this.#lanes(), 'claim');
    else assert.deepEqual(answer.leases, []);
  }

  async #release(indexes: readonly number[]): Promise<void> {
    const leases = indexes.flatMap((index) => pick(this.#given, index) ?? []);
    await this.#bench.store.release(leases);
    for (const { deliveryId, token } of leases) {
      const delivery = this.#deliveries.get(deliveryId) as ModelDelivery;
      if (delivery.status !== 'pending' || delivery.lease?.token !== token) continue;
      const wasInFlight = this.#isInFlight(delivery);
      delivery.lease = null;
      delivery.faded = wasInFlight ? null : token;
      delivery.dueAt = this.#now;
      if (wasInFlight && !this.#isEnabled(delivery.endpointId)) this.#cancel(delivery);
    }
  }

  /** What waits is cancelled; what is in flight ends as it ends; of an expired lease see {@link #learnWhatExpired}. */
  #disable(endpointId: string): void {
    const endpoint = this.#endpoints.get(endpointId) as ModelEndpoint;
    endpoint.enabled = false;
    for (const delivery of this.#deliveries.values()) {
      if (delivery.endpointId !== endpointId || delivery.status !== 'pending') continue;
      if (delivery.lease === null && delivery.faded === null) this.#cancel(delivery);
    }
  }

  async #change(op: 'enable' | 'disable' | 'delete', endpointId: string | undefined): Promise<void> {
    const endpoint = this.#endpoints.get(endpointId ?? '');
    if (!endpoint || endpointId === undefined) return;
    const { store } = this.#bench;
    if (op === 'delete') {
      assert.equal(await store.deleteEndpoint(this.#username, endpointId), !endpoint.deleted);
      this.#disable(endpointId);
      endpoint.deleted = true;
      return;
    }
    const status = op === 'enable' ? 'enabled' : 'disabled';
    const expired = this.#expiredUnderway();
    const updated = await store.updateEndpoint(this.#username, endpointId, { status });
    assert.equal(updated?.status, endpoint.deleted ? undefined : status);
    if (op === 'disable') return this.#disable(endpointId);
    endpoint.enabled = true;
    await this.#learnWhatExpired(expired);
  }

  async #retry(delivery: ModelDelivery | undefined): Promise<void> {
    if (!delivery) return;
    const retrying = this.#bench.store.retryDelivery(this.#username, delivery.deliveryId);
    if (!this.#isEnabled(delivery.endpointId)) {
      await assertRefused('invalid_parameter', retrying);
      return;
    }
    assert.equal((await retrying)?.status, 'pending');
    if (this.#isInFlight(delivery)) return;
    if (delivery.status !== 'pending') {
      delivery.failures = 0;
      delivery.faded = null;
    }
    delivery.manual = delivery.lease || delivery.faded ? null : true;
    delivery.faded = delivery.lease?.token ?? delivery.faded;
    delivery.lease = null;
    delivery.status = 'pending';
    delivery.dueAt = this.#now;
  }

  /** Which leases a recovery frees depends on the engine: time passes until all are over in any case. */
  async #crash(): Promise<void> {
    await this.#bench.reopen();
    // An expired lease that a retry by hand went over is one too: its holder's token still settles.
    const leased = [...this.#deliveries.values()].filter(({ lease, faded }) => lease ?? faded).length;
    const freed = await this.#bench.store.recover();
    assert.ok(freed >= 0 && freed <= leased, `${freed} leases freed of ${leased}`);
    await this.#bench.advance(10 * MINUTE_MS);
    for (const delivery of this.#deliveries.values()) {
      if (delivery.lease === null) continue;
      assert.ok(!this.#isInFlight(delivery), 'the leases are over');
    }
    await this.#compare();
  }

  /** The store tells of every delivery what the model expects, in each of its views. */
  async #compare(): Promise<void> {
    await this.#learnWhatExpired();
    const stored = await this.#bench.deliveries(this.#username);
    assert.deepEqual(
      stored.map(({ deliveryId }) => deliveryId).sort(),
      [...this.#deliveries.keys()].sort(),
      'no delivery is lost or made up',
    );
    for (const { deliveryId, status, attempts } of stored) {
      const expected = this.#deliveries.get(deliveryId) as ModelDelivery;
      assert.deepEqual({ deliveryId, status, attempts }, pickStatus(expected));
    }
    for (const event of await this.#bench.events(this.#username)) {
      const counts = { pending: 0, delivered: 0, dead: 0, cancelled: 0 };
      for (const delivery of this.#deliveries.values()) {
        if (delivery.eventId === event.eventId) counts[delivery.status] += 1;
      }
      assert.deepEqual(event.deliveries, counts, event.eventId);
    }
    if (!this.#active) return;
    const pending = [...this.#deliveries.values()].filter(({ status }) => status === 'pending');
    const { scheduled, due, leased } = await this.#bench.store.queueDepth();
    assert.equal(scheduled + due + leased, pending.length, 'the queue holds what is unfinished');
    assert.equal(leased, pending.filter((delivery) => this.#isInFlight(delivery)).length, 'leased');
  }

  /** When every endpoint listens again, whatever isn't finished is delivered. */
  async drain(): Promise<void> {
    await this.#compare();
    await this.take({ op: 'activate' });
    for (const [endpointId, { deleted }] of this.#endpoints) {
      if (!deleted) await this.#change('enable', endpointId);
    }
    await this.#bench.advance(DAY_MS);
    for (let claims = 0; claims < 100; claims++) {
      await this.#learnWhatExpired();
      const offer = { ...WIDE_OFFER, laneLimit: this.#laneLimit };
      const before = this.#lanes();
      const claimed = await this.#bench.store.claim(offer);
      this.#leased(claimed, offer, before, 'claim');
      if (claimed.leases.length === 0) break;
      const first = this.#given.length - claimed.leases.length;
      const ends = claimed.leases.map((_, n) => ({
        lease: first + n,
        next: 'delivered' as const,
        retryMinutes: 0,
      }));
      await this.#settle(ends, null);
    }
    await this.#compare();
    const unfinished = [...this.#deliveries.values()].filter(({ status }) => status === 'pending');
    assert.deepEqual(unfinished, [], 'everything ends');
    assert.deepEqual(await this.#bench.store.queueDepth(), EMPTY_QUEUE);
  }
}

function pick<T>(items: readonly T[], index: number): T | undefined {
  return items.length === 0 ? undefined : items[index % items.length];
}

function pickStatus({ deliveryId, status, attempts }: ModelDelivery) {
  return { deliveryId, status, attempts };
}

const anOffer = fc.record<StepOffer>({
  limit: fc.integer({ min: 0, max: 8 }),
  leaseMs: fc.integer({ min: 1, max: 3 }).map((minutes) => minutes * MINUTE_MS + HALF_MINUTE_MS),
});
const maybeOffer = fc.option(anOffer);
const anIndex = fc.nat({ max: 1_000 });
const op = <Op extends Step['op']>(...names: Op[]) => fc.constantFrom(...names);

const aStep: fc.Arbitrary<Step> = fc.oneof(
  {
    weight: 6,
    arbitrary: fc.record({
      op: op('publish'),
      types: fc.array(fc.nat({ max: 1 }), { minLength: 1, maxLength: 4 }),
      only: fc.option(anIndex, { freq: 8 }),
      offer: maybeOffer,
    }),
  },
  { weight: 6, arbitrary: fc.record({ op: op('claim'), offer: anOffer }) },
  {
    weight: 8,
    arbitrary: fc.record({
      op: op('settle'),
      ends: fc.array(
        fc.record({
          lease: anIndex,
          next: fc.constantFrom<Next>('delivered', 'pending', 'pending', 'dead', 'gone'),
          retryMinutes: fc.integer({ min: 0, max: 5 }),
        }),
        { minLength: 1, maxLength: 4 },
      ),
      offer: maybeOffer,
    }),
  },
  {
    weight: 2,
    arbitrary: fc.record({ op: op('release'), leases: fc.array(anIndex, { minLength: 1, maxLength: 3 }) }),
  },
  { weight: 4, arbitrary: fc.record({ op: op('advance'), minutes: fc.integer({ min: 1, max: 6 }) }) },
  { weight: 2, arbitrary: fc.record({ op: op('add', 'disable', 'delete'), endpoint: anIndex }) },
  { weight: 2, arbitrary: fc.record({ op: op('enable'), endpoint: anIndex }) },
  { weight: 1, arbitrary: fc.record({ op: op('suspend', 'activate', 'activate', 'crash') }) },
  { weight: 3, arbitrary: fc.record({ op: op('retry'), delivery: anIndex }) },
);

/** On a slow or busy machine fewer walks are taken. */
const TIME_LIMIT_MS = 10_000;

export function queueModelTests(pool: BenchPool): void {
  describe('the queue as a model', () => {
    it('in any sequence of steps no delivery is lost, no two tokens hold, and the counts add up', async () => {
      const steps = fc.array(aStep, { minLength: 5, maxLength: 40, size: 'max' });
      const laneLimits = fc.integer({ min: 1, max: 4 });
      // fast-check's own limit leaves the walk that it interrupts running, which opens stores that nobody closes.
      const endAt = performance.now() + TIME_LIMIT_MS;
      const walk = fc.asyncProperty(steps, laneLimits, async (walked, laneLimit) => {
        if (performance.now() >= endAt) return;
        await pool.use(async (bench) => {
          const model = new QueueModel(bench, await bench.account(), laneLimit);
          await model.addEndpoint([VIDEO]);
          await model.addEndpoint([VIDEO, SCRIPT]);
          for (const step of walked) await model.take(step);
          await model.drain();
        });
      });
      // A failure prints its seed and path, and the shortest walk that fails.
      await fc.assert(walk, { numRuns: 60 });
    });
  });
}
