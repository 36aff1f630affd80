import assert from 'node:assert/strict';
import { it } from 'node:test';
import { inspect } from 'node:util';
import { type ErrorKind, PosthornError } from '../../src/errors.ts';
import type { Delivery, DeliveryDetail, Endpoint, EventDetail, EventSummary } from '../../src/model.ts';
import type {
  DeliveryFilter,
  EventFilter,
  Lease,
  LeaseOffer,
  Settlement,
  SettleResult,
  Store,
} from '../../src/store/store.ts';
import {
  type EventChanges,
  listAll,
  type NewEndpoint,
  newEndpoint,
  newEvent,
  SECOND_MS,
  unique,
  WIDE_OFFER,
} from '../support/store-fixtures.ts';

/** What an engine brings to be tested by the suite. */
export interface StoreHarness {
  /** A new, empty store. */
  open(): Promise<TestStore>;
}

export interface TestStore {
  /** The present store; another one after {@link TestStore.reopen}. */
  readonly store: Store;
  /** Moves the store's clock on. It may run by itself besides: the suite measures times with {@link DRIFT_MS} to spare. */
  advance(ms: number): Promise<void>;
  /** As a new process would after a crash: nobody closed the old store. */
  reopen(): Promise<void>;
  /** Ends it and removes its data; the store may be closed already. */
  dispose(): Promise<void>;
}

/** How far the clock of an engine may run on by itself during one test. */
export const DRIFT_MS = 10 * SECOND_MS;

/** A store under test with the steps that nearly every test takes. */
export class Bench {
  readonly #test: TestStore;
  #startedAt: number | null = null;
  #advancedMs = 0;

  private constructor(test: TestStore) {
    this.#test = test;
  }

  static async open(harness: StoreHarness): Promise<Bench> {
    return new Bench(await harness.open());
  }

  get store(): Store {
    return this.#test.store;
  }

  /** The store's time, unix ms; it may be {@link DRIFT_MS} later in truth. Known from the first {@link account} on. */
  now(): number {
    assert.ok(this.#startedAt !== null, 'the store tells its time when it makes the first account');
    return this.#startedAt + this.#advancedMs;
  }

  async advance(ms: number): Promise<void> {
    await this.#test.advance(ms);
    this.#advancedMs += ms;
  }

  /** Advances to the next time that is `offsetMs` into a whole `unitMs`, so that no drift crosses a boundary. */
  async advanceInto(unitMs: number, offsetMs: number): Promise<void> {
    const into = this.now() % unitMs;
    await this.advance(into <= offsetMs ? offsetMs - into : unitMs - into + offsetMs);
  }

  reopen(): Promise<void> {
    return this.#test.reopen();
  }

  dispose(): Promise<void> {
    return this.#test.dispose();
  }

  async account(username = unique('user')): Promise<string> {
    const account = await this.store.createAccount({ username, metadata: null });
    this.#startedAt ??= account.createdAt - this.#advancedMs;
    return username;
  }

  endpoint(username: string, changes: Partial<NewEndpoint> = {}): Promise<Endpoint> {
    return this.store.addEndpoint(newEndpoint(username, changes), 1_000);
  }

  /** An account with one endpoint. */
  async subscriber(changes: Partial<NewEndpoint> = {}): Promise<{ username: string; endpoint: Endpoint }> {
    const username = await this.account();
    return { username, endpoint: await this.endpoint(username, changes) };
  }

  /** Publishes one event, which must be stored; leases nothing. */
  async publish(
    username: string,
    changes: EventChanges = {},
  ): Promise<{ eventId: string; deliveryIds: string[] }> {
    const { results } = await this.store.publish([newEvent(username, changes)], null);
    const result = results[0];
    assert.ok(result?.outcome === 'stored', `the event was not stored: ${JSON.stringify(result)}`);
    return { eventId: result.eventId, deliveryIds: result.deliveryIds };
  }

  /** Publishes `count` events in one batch; answers the ids of all their deliveries, in the events' order. */
  async publishMany(username: string, count: number, changes: EventChanges = {}): Promise<string[]> {
    const events = Array.from({ length: count }, () => newEvent(username, changes));
    const { results } = await this.store.publish(events, null);
    return results.flatMap((result) => {
      assert.ok(result.outcome === 'stored', `an event was not stored: ${JSON.stringify(result)}`);
      return result.deliveryIds;
    });
  }

  async claim(offer: Partial<LeaseOffer> = {}): Promise<Lease[]> {
    return (await this.store.claim({ ...WIDE_OFFER, ...offer })).leases;
  }

  /** Claims by a wide offer and expects exactly one lease. */
  async claimOne(offer: Partial<LeaseOffer> = {}): Promise<Lease> {
    const leases = await this.claim(offer);
    assert.equal(leases.length, 1, 'leases');
    return leases[0] as Lease;
  }

  /** Settles without claiming. */
  async settle(...settlements: Settlement[]): Promise<SettleResult[]> {
    return (await this.store.settle(settlements, null)).results;
  }

  /** Settles one, which must not be stale, and answers the status that it came to. */
  async settleOne(settlement: Settlement): Promise<Delivery['status']> {
    const [result] = await this.settle(settlement);
    assert.ok(result?.outcome === 'settled', `the settlement was refused: ${JSON.stringify(result)}`);
    return result.status;
  }

  async delivery(username: string, deliveryId: string): Promise<DeliveryDetail> {
    const delivery = await this.store.getDelivery(username, deliveryId);
    assert.ok(delivery, `delivery ${deliveryId} is there`);
    return delivery;
  }

  async event(username: string, eventId: string): Promise<EventDetail> {
    const event = await this.store.getEvent(username, eventId);
    assert.ok(event, `event ${eventId} is there`);
    return event;
  }

  deliveries(username: string, filter: DeliveryFilter = {}, limit = 200): Promise<Delivery[]> {
    return listAll((page) => this.store.listDeliveries(username, filter, page), limit);
  }

  events(username: string, filter: EventFilter = {}, limit = 200): Promise<EventSummary[]> {
    return listAll((page) => this.store.listEvents(username, filter, page), limit);
  }

  /** Purges until nothing more is over; answers the number of deleted rows. */
  async purgeAll(before: number, limit = 1_000): Promise<number> {
    let deleted = 0;
    for (let calls = 0; calls < 1_000; calls++) {
      const step = await this.store.purge(before, limit);
      deleted += step.deleted;
      if (!step.more) return deleted;
    }
    throw new Error('purge says for ever that there is more');
  }
}

/** Declares a test with a store of its own. */
export type StoreTest = (behaviour: string, run: (bench: Bench) => Promise<void>) => void;

export function storeTest(harness: StoreHarness): StoreTest {
  return (behaviour, run) => {
    it(behaviour, async () => {
      const bench = await Bench.open(harness);
      try {
        await run(bench);
      } finally {
        await bench.dispose();
      }
    });
  };
}

/** Expects a time of the store's clock: `expected`, or later by no more than {@link DRIFT_MS}. */
export function assertAbout(actual: number | null, expected: number, what: string): void {
  assert.ok(
    actual !== null && actual >= expected && actual <= expected + DRIFT_MS,
    `${what} is ${actual}, expected ${expected} (at most ${DRIFT_MS} ms later)`,
  );
}

/** Expects a {@link PosthornError} of a kind: nothing else may leave the store. */
export async function assertRefused(kind: ErrorKind, operation: Promise<unknown>): Promise<PosthornError> {
  let refusal: unknown;
  let answer: unknown;
  try {
    answer = await operation;
  } catch (error) {
    refusal = error;
  }
  assert.ok(
    refusal instanceof PosthornError,
    `expected a PosthornError of kind ${kind}, got ${inspect(refusal ?? answer)}`,
  );
  assert.equal(refusal.kind, kind, refusal.message);
  return refusal;
}

/** Expects the same members in any order. */
export function assertSameMembers(
  actual: readonly string[],
  expected: readonly string[],
  what: string,
): void {
  assert.deepEqual([...actual].sort(), [...expected].sort(), what);
}

/** Expects that no member occurs twice. */
export function assertDistinct(members: readonly string[], what: string): void {
  assert.equal(new Set(members).size, members.length, `${what} are distinct`);
}
