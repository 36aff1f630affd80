/** hostile-inputs.md, "clock jumps an hour either way": no lost delivery, no storm. Dispatcher, janitor and store together. */
import assert from 'node:assert/strict';
import { join } from 'node:path';
import { afterEach, beforeEach, describe, it } from 'node:test';
import { Janitor } from '../src/delivery/janitor.ts';
import { openSqliteStore } from '../src/store/sqlite/index.ts';
import type { Store } from '../src/store/store.ts';
import { answer, Bench, settled } from './support/dispatching.ts';
import { ManualClock } from './support/manual-clock.ts';
import {
  DAY_MS,
  HOUR_MS,
  listAll,
  MINUTE_MS,
  newEndpoint,
  newEvent,
  SCRIPT,
  SECOND_MS,
  VIDEO,
} from './support/store-fixtures.ts';
import { type TempDir, tempDir } from './support/tempdir.ts';

const LANE_LIMIT = 1;
const IN_FLIGHT_LIMIT = 4;
const RETRY_AFTER_MS = 5 * MINUTE_MS;
/** What the dispatcher holds when nobody answers: as much as may run at once in all, more than one lane may run. */
const HELD = IN_FLIGHT_LIMIT;
const VIDEOS = HELD + 3;

let folder: TempDir;
let clock: ManualClock;
let store: Store;
let bench: Bench;
let janitor: Janitor;
/** Store calls under way. */
let calls: Set<Promise<unknown>>;
let claims: number;
/** Posts by event id. */
let posts: Map<string, number>;
let jumps: number[];

/** The store, with its calls noted in `calls` and `claims`. */
function noting(real: Store): Store {
  return new Proxy(real, {
    get(target, name) {
      const value: unknown = Reflect.get(target, name, target);
      if (typeof value !== 'function') return value;
      return (...args: unknown[]) => {
        const call = Reflect.apply(value, target, args) as Promise<unknown>;
        calls.add(call);
        if (name === 'claim') claims += 1;
        const done = () => calls.delete(call);
        call.then(done, done);
        return call;
      };
    },
  });
}

/** Everything that can happen without time passing, on the store's threads too. */
async function still(): Promise<void> {
  for (;;) {
    await settled();
    if (calls.size === 0) return;
    await Promise.allSettled([...calls]);
  }
}

async function pass(ms: number, stepMs = SECOND_MS): Promise<void> {
  for (let passedMs = 0; passedMs < ms; passedMs += stepMs) {
    clock.advance(Math.min(stepMs, ms - passedMs));
    await still();
  }
}

/** Answers what is in flight. */
async function answerAll(status: number): Promise<void> {
  for (const request of bench.requests.splice(0)) {
    const eventId = request.spec.headers['webhook-id'] as string;
    posts.set(eventId, (posts.get(eventId) ?? 0) + 1);
    request.resolve(answer(status));
  }
  await still();
}

/** Lets time pass, a receiver answering at once, until nothing is unfinished. */
async function deliverWithin(ms: number): Promise<void> {
  const stepMs = 10 * SECOND_MS;
  for (let passedMs = 0; passedMs < ms; passedMs += stepMs) {
    await answerAll(200);
    const { scheduled, due, leased } = await store.queueDepth();
    if (scheduled + due + leased === 0) return;
    await pass(stepMs, stepMs);
  }
  assert.fail(`after ${ms / MINUTE_MS} minutes there is still ${JSON.stringify(await store.queueDepth())}`);
}

async function publish(event: string): Promise<string> {
  const sealed = newEvent('alice', { event });
  const askedAtMs = clock.monotonic();
  bench.dispatcher.accept(await store.publish([sealed], bench.dispatcher.offer()), askedAtMs);
  await still();
  return sealed.eventId;
}

beforeEach(async () => {
  folder = await tempDir();
  clock = new ManualClock();
  calls = new Set();
  claims = 0;
  posts = new Map();
  jumps = [];
  store = noting(await openSqliteStore({ path: join(folder.path, 'posthorn.db'), clock }));
  await store.createAccount({ username: 'alice', metadata: null });
  await store.addEndpoint(newEndpoint('alice', { events: [VIDEO] }), 20);
  await store.addEndpoint(newEndpoint('alice', { events: [SCRIPT] }), 20);
  bench = new Bench(
    { laneLimit: LANE_LIMIT, inFlightLimit: IN_FLIGHT_LIMIT, retryScheduleMs: [RETRY_AFTER_MS] },
    { store, clock },
  );
  janitor = new Janitor({
    store,
    clock,
    retentionMs: 30 * DAY_MS,
    laneLimit: LANE_LIMIT,
    onDue: () => bench.dispatcher.wake(),
    onClockJump: (jumpMs) => jumps.push(jumpMs),
    onError: (message) => bench.errors.push(message),
  });
  bench.dispatcher.start();
  janitor.start();
  await still();
});

afterEach(async () => {
  try {
    const stopped = bench.dispatcher.stop(0);
    await still();
    clock.advance(0);
    await stopped;
    await janitor.stop();
  } finally {
    // Its threads would keep the process alive.
    await store.close();
    await folder.remove();
  }
});

describe('a machine’s clock', () => {
  const rows: [name: string, ...jumpsMs: number[]][] = [
    ['that jumps an hour ahead', HOUR_MS],
    ['that jumps an hour back', -HOUR_MS],
    ['that jumps an hour ahead and is set right', HOUR_MS, -HOUR_MS],
    ['that jumps an hour back and is set right', -HOUR_MS, HOUR_MS],
  ];
  for (const [name, ...jumpsMs] of rows) {
    it(`${name} loses no delivery and repeats none, with leases running, ready and waiting`, async () => {
      const script = await publish(SCRIPT);
      await answerAll(500); // its retry waits for five minutes
      const videos: string[] = [];
      for (let i = 0; i < VIDEOS; i++) videos.push(await publish(VIDEO));
      assert.deepEqual(bench.dispatcher.depth, { inFlight: 1, ready: HELD - 1, settling: 0 });
      const { scheduled, due, leased } = await store.queueDepth();
      assert.deepEqual({ scheduled, due, leased }, { scheduled: 1, due: VIDEOS - HELD, leased: HELD });
      await pass(20 * SECOND_MS); // the janitor has seen the clock
      const [running] = bench.running;

      for (const jumpMs of jumpsMs) {
        const claimsBefore = claims;
        clock.jump(jumpMs);
        videos.push(await publish(VIDEO));
        // Nobody answers: what runs goes on, whatever the store thinks of its lease, and nothing is sent beside it.
        await pass(MINUTE_MS);
        assert.equal(bench.running[0], running);
        assert.ok(bench.requests.length <= 2, 'one for each endpoint at most');
        const made = claims - claimsBefore;
        assert.ok(made >= 30 && made <= 75, `${made} claims in a minute, where polls alone make 60`);
      }
      assert.deepEqual(jumps, jumpsMs);

      await deliverWithin(2 * HOUR_MS);
      const once = Object.fromEntries(videos.map((eventId) => [eventId, 1]));
      assert.deepEqual(Object.fromEntries(posts), { ...once, [script]: 2 });
      const deliveries = await listAll((page) => store.listDeliveries('alice', {}, page));
      assert.deepEqual(
        new Map(deliveries.map(({ eventId, status, attempts }) => [eventId, { status, attempts }])),
        new Map(
          [...videos, script].map((eventId) => [
            eventId,
            { status: 'delivered', attempts: eventId === script ? 2 : 1 },
          ]),
        ),
      );
      assert.deepEqual(bench.errors, []);
    });
  }
});
