/** What misbehaving receivers may hold of a dispatcher: their own lane, until the deadline. With a real store and sockets. */
import assert from 'node:assert/strict';
import { join } from 'node:path';
import { it, type TestContext } from 'node:test';
import { systemClock } from '../src/clock.ts';
import { type AttemptReport, Dispatcher, type DispatcherOptions } from '../src/delivery/dispatcher.ts';
import { createRequester } from '../src/delivery/request.ts';
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
