/** What misbehaving receivers may hold of a dispatcher: their own lane, until the deadline. With a real store and sockets. */
import assert from 'node:assert/strict';
import { join } from 'node:path';
import { describe, it, type TestContext } from 'node:test';
import { systemClock } from '../src/clock.ts';
import { type AttemptReport, Dispatcher, type DispatcherOptions } from '../src/delivery/dispatcher.ts';
import { createRequester } from '../src/delivery/request.ts';
import type { Attempt } from '../src/model.ts';
import { openSqliteStore } from '../src/store/sqlite/index.ts';
import type { Store } from '../src/store/store.ts';
import { SECRET } from './support/dispatching.ts';
import {
  type Behaviour,
  dripBody,
  dripHeaders,
  endlessBody,
  gzipBomb,
  hugeBody,
  hugeHeaders,
  inTurn,
  neverAnswer,
  neverFinishHeaders,
  type Receiver,
  resetBeforeHeaders,
  respond,
  send,
  sendAndReset,
  startReceiver,
} from './support/receivers.ts';
import { newEndpoint, newEvent, SCRIPT, VIDEO } from './support/store-fixtures.ts';
import { tempDir } from './support/tempdir.ts';

const TIME_LIMIT = { timeout: 60_000 };

interface Running {
  store: Store;
  dispatcher: Dispatcher;
  /** Resolves with the first `count` attempts. */
  attempts(count: number): Promise<AttemptReport[]>;
  /** Resolves when `count` deliveries have come to an end. */
  ended(count: number): Promise<void>;
  connections(): { open: number; idle: number };
  subscribe(receiver: Receiver, event: string): Promise<void>;
  publish(event: string): Promise<string>;
}

/** A dispatcher as the service wires it, without retries. */
async function run(t: TestContext, settings: Partial<DispatcherOptions['settings']>): Promise<Running> {
  const dir = await tempDir();
  const store = await openSqliteStore({ path: join(dir.path, 'posthorn.db') });
  const requester = createRequester({ policy: 'development' });
  const reports: AttemptReport[] = [];
  let endedCount = 0;
  let onReport = (): void => {};
  const dispatcher = new Dispatcher({
    store,
    requester,
    open: { secret: () => SECRET, headers: () => ({}) },
    clock: systemClock,
    userAgent: 'Posthorn-Webhook/test',
    settings: { retryScheduleMs: [], timeoutMs: 5_000, laneLimit: 10, inFlightLimit: 100, ...settings },
    onAttempt: (report) => {
      reports.push(report);
      if (report.next !== 'pending') endedCount += 1;
      onReport();
    },
  });
  t.after(async () => {
    await dispatcher.stop(0);
    await requester.close();
    await store.close();
    await dir.remove();
  });
  await store.createAccount({ username: 'alice', metadata: null });
  dispatcher.start();
  return {
    store,
    dispatcher,
    attempts: (count) =>
      new Promise((resolve) => {
        onReport = () => {
          if (reports.length >= count) resolve(reports.slice(0, count));
        };
        onReport();
      }),
    ended: (count) =>
      new Promise((resolve) => {
        onReport = () => {
          if (endedCount >= count) resolve();
        };
        onReport();
      }),
    connections: () => requester.connections,
    subscribe: async (receiver, event) => {
      await store.addEndpoint(newEndpoint('alice', { url: receiver.url, events: [event] }), 20);
    },
    publish: async (event) => {
      const sealed = newEvent('alice', { event });
      const askedAtMs = performance.now();
      dispatcher.accept(await store.publish([sealed], dispatcher.offer()), askedAtMs);
      return sealed.eventId;
    },
  };
}

async function receiverOf(t: TestContext, behaviour: Behaviour): Promise<Receiver> {
  const receiver = await startReceiver(behaviour);
  t.after(() => receiver.close());
  return receiver;
}

it(
  'every misbehaviour ends by its deadline or cap, frees the one slot of its lane and is told by name',
  TIME_LIMIT,
  async (t) => {
    const rows: [behaviour: Behaviour, outcome: string, httpStatus: number | null][] = [
      [neverAnswer, 'timeout', null],
      [neverFinishHeaders, 'timeout', null],
      [dripHeaders(10), 'timeout', null],
      [dripBody(10), 'timeout', 200],
      [endlessBody, 'success', 200],
      [hugeBody(1024 ** 3), 'success', 200],
      [gzipBomb(), 'success', 200],
      [hugeHeaders(1024 ** 2), 'protocol_error', null],
      [send('no HTTP at all\r\n\r\n'), 'protocol_error', null],
      [resetBeforeHeaders, 'reset', null],
      [sendAndReset('HTTP/1.1 200 OK\r\nx-a: b'), 'reset', null],
      [sendAndReset('HTTP/1.1 200 OK\r\ncontent-length: 10\r\n\r\nabc'), 'reset', 200],
      [respond(302, { headers: { location: 'http://elsewhere.example/' } }), 'http_error', 302],
      [respond(204), 'success', 204],
    ];
    const behaviours = rows.map(([behaviour]) => behaviour) as [Behaviour, ...Behaviour[]];
    const receiver = await receiverOf(t, inTurn(...behaviours));
    const { store, dispatcher, attempts, subscribe, publish, connections } = await run(t, {
      laneLimit: 1,
      timeoutMs: 300,
    });
    await subscribe(receiver, VIDEO);
    for (let i = 0; i < rows.length; i++) await publish(VIDEO);
    const reports = await attempts(rows.length);
    assert.deepEqual(
      reports.map(({ attempt: { outcome, httpStatus } }) => [outcome, httpStatus]),
      rows.map(([, outcome, httpStatus]) => [outcome, httpStatus]),
    );
    for (const { attempt, next } of reports) {
      assert.equal(next, attempt.outcome === 'success' ? 'delivered' : 'dead');
      assert.ok((attempt.responseBody ?? '').length <= 65_536);
    }
    assert.deepEqual(dispatcher.depth, { inFlight: 0, ready: 0, settling: 0 });
    assert.equal(connections().open - connections().idle, 0);
    const { scheduled, due, leased } = await store.queueDepth();
    assert.deepEqual([scheduled, due, leased], [0, 0, 0]);
  },
);

it(
  'a receiver that never answers holds its lane and no more: its neighbour gets everything meanwhile',
  TIME_LIMIT,
  async (t) => {
    const silent = await receiverOf(t, neverAnswer);
    const well = await receiverOf(t, respond(200));
    const { dispatcher, attempts, subscribe, publish } = await run(t, {
      laneLimit: 3,
      inFlightLimit: 5,
      timeoutMs: 30_000,
    });
    await subscribe(silent, VIDEO);
    await subscribe(well, SCRIPT);
    const expected: string[] = [];
    for (let i = 0; i < 20; i++) {
      await publish(VIDEO);
      await publish(VIDEO);
      expected.push(await publish(SCRIPT));
    }
    const reports = await attempts(expected.length);
    assert.deepEqual(new Set(reports.map(({ eventId }) => eventId)), new Set(expected));
    await silent.whenRequests(3);
    assert.equal(silent.requests.length, 3);
    assert.equal(dispatcher.depth.inFlight, 3);
  },
);

describe('what arrives at a receiver is what is recorded', () => {
  /** Every POST that came in, by event. */
  const arrivals = (receiver: Receiver): Record<string, number> => {
    const counts: Record<string, number> = {};
    for (const { headers } of receiver.requests) {
      const eventId = headers['webhook-id'] as string;
      counts[eventId] = (counts[eventId] ?? 0) + 1;
    }
    return counts;
  };

  /** Every attempt in the log, by event. */
  const recorded = async (store: Store, eventIds: string[]): Promise<Record<string, Attempt[]>> => {
    const attempts: Record<string, Attempt[]> = {};
    for (const eventId of eventIds) {
      const { items } = await store.listDeliveries('alice', { eventId }, { limit: 10, cursor: null });
      const details = await Promise.all(
        items.map(({ deliveryId }) => store.getDelivery('alice', deliveryId)),
      );
      attempts[eventId] = details.flatMap((detail) => detail?.attemptLog ?? []);
    }
    return attempts;
  };

  it(
    'when it closes each kept connection under the next request: one attempt for each POST, none against it',
    TIME_LIMIT,
    async (t) => {
      const receiver = await receiverOf(t, (socket, request) => {
        if (request.numberOnConnection > 1) socket.resetAndDestroy();
        else respond(200)(socket, request);
      });
      // Not one retry: an attempt that counted would be the last.
      const { store, ended, subscribe, publish } = await run(t, { laneLimit: 2, retryScheduleMs: [] });
      await subscribe(receiver, VIDEO);
      const eventIds: string[] = [];
      for (let i = 0; i < 30; i++) {
        eventIds.push(await publish(VIDEO));
        // Some one after the other, so that connections are kept; some at once, so that they cross.
        if (i % 3 === 0) await ended(eventIds.length);
      }
      await ended(eventIds.length);
      const log = await recorded(store, eventIds);
      const came = arrivals(receiver);
      let stale = 0;
      for (const eventId of eventIds) {
        const outcomes = (log[eventId] as Attempt[]).map(({ outcome }) => outcome);
        assert.equal(came[eventId], outcomes.length, `${eventId}: ${outcomes}`);
        assert.equal(outcomes.at(-1), 'success');
        // The one after a dead idle connection goes on a fresh one.
        assert.deepEqual(outcomes.slice(0, -1), outcomes.length === 1 ? [] : ['stale_connection']);
        stale += outcomes.length - 1;
      }
      assert.ok(stale > 0, 'no connection was closed under a request');
    },
  );
});
