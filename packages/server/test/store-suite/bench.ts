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
  QueueDepth,
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
import type { StoreEngine, TestDatabase } from './engine.ts';

/** How far the clock of an engine may run on by itself during one test. */
export const DRIFT_MS = 10 * SECOND_MS;

/** A store under test with the steps that nearly every test takes. */
export class Bench {
  readonly #database: TestDatabase;
  readonly #nodes = new Set<Store>();
  #store: Store;
  #isOpen = true;
  #hasCrashed = false;
  #startedAt: number;
  #advancedMs = 0;

  private constructor(database: TestDatabase, store: Store, startedAt: number) {
    this.#database = database;
    this.#store = store;
    this.#startedAt = startedAt;
  }

  /** A bench with a database of its own, which it removes in {@link dispose}. */
  static async open(engine: StoreEngine): Promise<Bench> {
    const database = await engine.createDatabase();
    const store = await database.open();
    return new Bench(database, store, await database.now());
  }

  /** The present store; another one after {@link reopen}. */
  get store(): Store {
    return this.#store;
  }

  /** False between {@link close} and {@link reopen}. */
  get isOpen(): boolean {
    return this.#isOpen;
  }

  /** A node that crashed counts as alive for ten seconds, also for the next test. */
  get hasCrashed(): boolean {
    return this.#hasCrashed;
  }

  /** The store's time, unix ms; it may be {@link DRIFT_MS} later in truth. */
  now(): number {
    return this.#startedAt + this.#advancedMs;
  }

  /** Moves the store's clock, back where `ms` is negative. */
  async advance(ms: number): Promise<void> {
    await this.#database.advance(ms);
    this.#advancedMs += ms;
  }

  /** Advances to the next time that is `offsetMs` into a whole `unitMs`, so that no drift crosses a boundary. */
  async advanceInto(unitMs: number, offsetMs: number): Promise<void> {
    const into = this.now() % unitMs;
    await this.advance(into <= offsetMs ? offsetMs - into : unitMs - into + offsetMs);
  }

  /** Closes the store in order. */
  async close(): Promise<void> {
    this.#isOpen = false;
    await this.#store.close();
  }

  /** Opens the store as a new process would: after a crash of the present one, unless that was closed. */
  async reopen(): Promise<void> {
    if (this.#isOpen) {
      this.#hasCrashed = true;
      await this.#database.crash(this.#store);
    }
    this.#isOpen = false;
    this.#store = await this.#database.open();
    this.#isOpen = true;
  }

  /** Opens one more store on the same data, closed with the bench unless the test ends it before. */
  async addNode(): Promise<Store> {
    const node = await this.#database.open();
    this.#nodes.add(node);
    return node;
  }

  /** Ends a store of {@link addNode} as a killed process. */
  async crashNode(node: Store): Promise<void> {
    assert.ok(this.#nodes.delete(node), 'a node of this bench');
    this.#hasCrashed = true;
    await this.#database.crash(node);
  }

  async closeNode(node: Store): Promise<void> {
    assert.ok(this.#nodes.delete(node), 'a node of this bench');
    await node.close();
  }

  /** Empties the database for the next test, which begins at the present time. */
  async clear(): Promise<void> {
    for (const node of [...this.#nodes]) await this.closeNode(node);
    await this.#database.clear();
    this.#startedAt = await this.#database.now();
    this.#advancedMs = 0;
  }

  async dispose(): Promise<void> {
    for (const node of [...this.#nodes]) await this.closeNode(node);
    if (this.#isOpen) await this.close();
    await this.#database.remove();
  }

  async account(username = unique('user')): Promise<string> {
    await this.store.createAccount({ username, metadata: null });
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

/**
 * Lends benches to tests. Opening a database costs more than most tests do, so one that a test leaves in order is
 * emptied and lent again.
 */
export class BenchPool {
  readonly #engine: StoreEngine;
  readonly #idle: Bench[] = [];

  constructor(engine: StoreEngine) {
    this.#engine = engine;
  }

  /** Runs on an empty database that nobody else uses meanwhile. */
  async use(run: (bench: Bench) => Promise<void>): Promise<void> {
    return this.#lend(this.#idle.pop() ?? (await Bench.open(this.#engine)), run);
  }

  /** Runs on a database that nobody has ever used. */
  async useNew(run: (bench: Bench) => Promise<void>): Promise<void> {
    return this.#lend(await Bench.open(this.#engine), run);
  }

  async #lend(bench: Bench, run: (bench: Bench) => Promise<void>): Promise<void> {
    try {
      await run(bench);
      if (!bench.isOpen || bench.hasCrashed) return await bench.dispose();
      await bench.clear();
    } catch (error) {
      // What a failed test leaves behind may not even close; its own failure is the one to tell.
      await bench.dispose().catch(() => {});
      throw error;
    }
    this.#idle.push(bench);
  }

  async dispose(): Promise<void> {
    for (const bench of this.#idle.splice(0)) await bench.dispose();
  }
}

/** Declares a test with an empty database of its own. */
export type StoreTest = (behaviour: string, run: (bench: Bench) => Promise<void>) => void;

/** Tests on databases of the pool, one after another. */
export function storeTest(pool: BenchPool): StoreTest {
  return (behaviour, run) => {
    it(behaviour, () => pool.use(run));
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

/** The depth of a queue in which nothing is left. */
export const EMPTY_QUEUE: QueueDepth = { scheduled: 0, due: 0, leased: 0, oldestDueMs: 0 };

/** Of deliveries or of leases. */
export function idsOf(deliveries: readonly { deliveryId: string }[]): string[] {
  return deliveries.map(({ deliveryId }) => deliveryId);
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
