import assert from 'node:assert/strict';
import { createHash } from 'node:crypto';
import { describe, test } from 'node:test';
import fc from 'fast-check';
import { idFactory } from '../src/clock.ts';
import { PosthornError } from '../src/errors.ts';
import { parseJson } from '../src/json.ts';
import type { JsonObject, SealedEvent } from '../src/model.ts';
import {
  type BatchInfo,
  type EventInput,
  Publisher,
  type PublisherOptions,
  type SealContext,
  sealEvent,
} from '../src/publish.ts';
import type { Claimed, LeaseOffer, PublishResult } from '../src/store/store.ts';
import { ManualClock } from './support/manual-clock.ts';

const NOW_MS = 1_767_225_600_999;
const CONTEXT: SealContext = { nowMs: NOW_MS, makeId: () => 'evt_made', maxBodyBytes: 256 * 1024 };

function seal(input: Partial<EventInput> = {}, context = CONTEXT): SealedEvent {
  return sealEvent({ username: 'acme', event: 'order.paid', data: { order: 7 }, ...input }, context);
}

function sealRefusal(input: Partial<Record<keyof EventInput, unknown>>, context = CONTEXT): PosthornError {
  try {
    seal(input as Partial<EventInput>, context);
  } catch (error) {
    assert.ok(error instanceof PosthornError, String(error));
    return error;
  }
  return assert.fail('it was sealed');
}

describe('sealing', () => {
  test('writes the four keys in order, without white space, with an id and the present second', () => {
    assert.deepEqual(seal(), {
      username: 'acme',
      eventId: 'evt_made',
      event: 'order.paid',
      timestamp: 1_767_225_600,
      body: '{"event_id":"evt_made","event":"order.paid","timestamp":1767225600,"data":{"order":7}}',
      fingerprint: null,
      timestampGiven: false,
    });
  });

  test("takes the publisher's id and time", () => {
    const sealed = seal({ event_id: 'order-7:paid.v_1', timestamp: 12 });
    assert.equal(
      sealed.body,
      '{"event_id":"order-7:paid.v_1","event":"order.paid","timestamp":12,"data":{"order":7}}',
    );
    assert.equal(sealed.timestampGiven, true);
    assert.match(sealed.fingerprint ?? '', /^[0-9a-f]{64}$/);
  });

  test('asks an id factory for an event id of this moment', () => {
    const { eventId } = seal({}, { ...CONTEXT, makeId: idFactory() });
    assert.match(eventId, /^evt_[0-9a-z]{26}$/);
  });

  test("keeps the publisher's key order and characters in data", () => {
    const text = '{"z":1,"a":{"y":"ä😀\u2028","b":[true,null]},"m":""}';
    assert.ok(seal({ data: JSON.parse(text) as JsonObject }).body.endsWith(`"data":${text}}`));
  });

  for (const id of ['a', '0', 'A-b_c:d.e', 'x'.repeat(128)]) {
    test(`accepts the event_id ${id.slice(0, 12)}`, () => assert.equal(seal({ event_id: id }).eventId, id));
  }
  for (const id of ['', 'a b', 'a/b', 'ä', 'a\n', '"', 'x'.repeat(129), 7, null]) {
    test(`refuses the event_id ${JSON.stringify(id)?.slice(0, 12)}`, () => {
      const error = sealRefusal({ event_id: id });
      assert.deepEqual([error.code, error.field], [40000, 'event_id']);
    });
  }

  for (const timestamp of [0, 1, 1_767_225_600, 253_402_300_799]) {
    test(`accepts the timestamp ${timestamp}`, () => assert.equal(seal({ timestamp }).timestamp, timestamp));
  }
  for (const timestamp of [-1, 1.5, NaN, 1_767_225_600_123, 253_402_300_800, '1767225600', null]) {
    test(`refuses the timestamp ${JSON.stringify(timestamp)}`, () => {
      const error = sealRefusal({ timestamp });
      assert.deepEqual([error.code, error.field], [40000, 'timestamp']);
      assert.match(error.message, /unix seconds/);
    });
  }

  const cycle: Record<string, unknown> = {};
  cycle.self = cycle;
  const deep: Record<string, unknown> = {};
  for (let level = 0, inner = deep; level < 100_000; level++) inner = inner.a = {};
  const unwritable: [string, unknown, RegExp][] = [
    ['undefined', undefined, /must be a JSON object/],
    ['null', null, /must be a JSON object/],
    ['a list', [], /must be a JSON object/],
    ['a text', 'x', /must be a JSON object/],
    ['a date', new Date(0), /toJSON/],
    ['NaN inside', { a: [NaN] }, /number at \/data\/a\/0 can't be held/],
    ['Infinity inside', { a: Infinity }, /number at \/data\/a can't be held/],
    ['an integer beyond 2^53', { a: { b: 2 ** 60 } }, /number at \/data\/a\/b can't be held.*as a string/],
    ['a bigint', { a: 1n }, /can't be written as JSON/],
    ['a cycle', cycle, /can't be written as JSON/],
    ['more levels than the stack', deep, /can't be written as JSON/],
  ];
  for (const [name, data, message] of unwritable) {
    test(`refuses data that is ${name}`, () => {
      const error = sealRefusal({ data });
      assert.deepEqual([error.kind, error.field], ['invalid_parameter', 'data']);
      assert.match(error.message, message);
    });
  }

  test('counts the body in bytes of UTF-8 and refuses one byte too many with both sizes', () => {
    const data = { text: 'ä'.repeat(100) };
    const bytes = Buffer.byteLength(seal({ data }).body);
    assert.equal(bytes, seal({ data }).body.length + 100);
    seal({ data }, { ...CONTEXT, maxBodyBytes: bytes });
    const error = sealRefusal({ data }, { ...CONTEXT, maxBodyBytes: bytes - 1 });
    assert.deepEqual([error.kind, error.httpStatus, error.code], ['too_large', 413, 40000]);
    assert.match(error.message, new RegExp(`${bytes} bytes.* limit is ${bytes - 1}`));
  });
});

describe('the fingerprint', () => {
  const of = (data: JsonObject, event = 'order.paid') => seal({ event_id: 'x', event, data }).fingerprint;

  test('is the same whatever the order of keys, at any depth', () => {
    assert.equal(of({ a: 1, b: { c: [1, 2], d: null } }), of({ b: { d: null, c: [1, 2] }, a: 1 }));
  });

  test('sorts keys by code points, as SQL does: beyond U+FFFF UTF-16 has another order', () => {
    const canonical = 'order.paid\n{"a":{"\u{e000}":1,"\u{ffff}":2,"\u{10000}":3,"\u{1f600}":4}}';
    const expected = createHash('sha256').update(canonical).digest('hex');
    assert.equal(of({ a: { '\u{1f600}': 4, '\u{10000}': 3, '\u{ffff}': 2, '\u{e000}': 1 } }), expected);
    // Halves of characters, which UTF-8 can't tell apart, stand in one order, too.
    assert.equal(of({ '\ud800': 1, '\ud801': 2, '😀': 3 }), of({ '😀': 3, '\ud801': 2, '\ud800': 1 }));
  });

  test('is made of what JSON writes, also of values that JSON converts', () => {
    const expected = createHash('sha256')
      .update('order.paid\n{"a":"1970-01-01T00:00:00.000Z","b":"c"}')
      .digest('hex');
    const at = new Date(0) as unknown as string;
    assert.equal(of({ a: at, b: 'c' }), expected);
    assert.equal(of({ b: 'c', a: at }), expected);
  });

  test('does not depend on who publishes, the id and the time', () => {
    const first = seal({ event_id: 'x', username: 'a', timestamp: 1 }, CONTEXT);
    const second = seal({ event_id: 'y', username: 'b' }, { ...CONTEXT, nowMs: 0 });
    assert.equal(first.fingerprint, second.fingerprint);
  });

  test('differs by type, value, order in lists, absence and kind', () => {
    const all = [
      of({ a: 1 }),
      of({ a: 1 }, 'order.lost'),
      of({ a: 2 }),
      of({ a: '1' }),
      of({ a: null }),
      of({}),
      of({ b: 1 }),
      of({ a: [1, 2] }),
      of({ a: [2, 1] }),
      of({ a: { 0: 1, 1: 2 } }),
    ];
    assert.equal(new Set(all).size, all.length);
  });
});

test('property: what parseJson accepts as data is sealed as it was meant and survives being written again', () => {
  const anyData = fc.dictionary(fc.string(), fc.jsonValue({ maxDepth: 4 }));
  fc.assert(
    fc.property(anyData, (value) => {
      let data: JsonObject;
      try {
        data = parseJson(Buffer.from(JSON.stringify(value))) as JsonObject;
      } catch {
        return;
      }
      const { body, timestamp } = seal({ data, event_id: 'x' });
      assert.equal(body, JSON.stringify({ event_id: 'x', event: 'order.paid', timestamp, data }));
      assert.equal(JSON.stringify(JSON.parse(body)), body);
      assert.deepEqual(Object.keys(JSON.parse(body)), ['event_id', 'event', 'timestamp', 'data']);
      assert.equal(JSON.stringify(JSON.parse(body).data), JSON.stringify(data));
      const { fingerprint } = seal({ data, event_id: 'x' });
      assert.equal(seal({ data: reversedKeys(data) as JsonObject, event_id: 'x' }).fingerprint, fingerprint);
    }),
    { numRuns: 500 },
  );
});

test('property: whatever value an application hands over is sealed exactly or refused', () => {
  const anything = fc.dictionary(
    fc.string(),
    fc.anything({
      withBigInt: true,
      withDate: true,
      withMap: true,
      withSparseArray: true,
      withNullPrototype: true,
    }),
  );
  const numbers = fc.dictionary(
    fc.string(),
    fc.oneof(fc.double(), fc.float(), fc.maxSafeInteger(), fc.bigInt()),
  );
  let sealed = 0;
  fc.assert(
    fc.property(fc.oneof(anything, numbers), (data) => {
      let body: string;
      try {
        ({ body } = seal({ data: data as JsonObject, event_id: 'x' }));
      } catch (error) {
        assert.ok(error instanceof PosthornError && error.kind === 'invalid_parameter', String(error));
        assert.equal(error.field, 'data');
        return;
      }
      sealed += 1;
      assert.equal(JSON.stringify(JSON.parse(body)), body);
      // From 1e21 on JavaScript writes integers as the approximations that they are.
      const each = (value: unknown): void => {
        if (typeof value === 'number') {
          assert.ok(
            Number.isFinite(value) &&
              (!Number.isInteger(value) || Math.abs(value) <= 2 ** 53 || Math.abs(value) >= 1e21),
            body,
          );
        }
        if (typeof value === 'object' && value !== null) Object.values(value).forEach(each);
      };
      each(JSON.parse(body));
    }),
    { numRuns: 1_000 },
  );
  assert.ok(sealed > 100, `${sealed} were sealed`);
});

function reversedKeys(value: unknown): unknown {
  if (Array.isArray(value)) return value.map(reversedKeys);
  if (typeof value !== 'object' || value === null) return value;
  const entries = Object.entries(value).toReversed();
  return Object.fromEntries(entries.map(([key, child]) => [key, reversedKeys(child)]));
}

// ---------------------------------------------------------------- batching

interface Call {
  ids: string[];
  offer: LeaseOffer | null;
  finish: (nextDueAt?: number) => void;
  fail: (error: Error) => void;
}

/** A store that keeps every batch until the test finishes or fails it. */
class FakeStore {
  readonly calls: Call[] = [];

  publish(
    events: readonly SealedEvent[],
    offer: LeaseOffer | null,
  ): Promise<{ results: PublishResult[] } & Claimed> {
    const { promise, resolve, reject } = Promise.withResolvers<{ results: PublishResult[] } & Claimed>();
    const results = events.map(
      (event): PublishResult => ({ outcome: 'duplicate', eventId: event.eventId, deliveries: 0 }),
    );
    this.calls.push({
      ids: events.map((event) => event.eventId),
      offer,
      finish: (nextDueAt) => resolve({ results, leases: [], nextDueAt: nextDueAt ?? null }),
      fail: reject,
    });
    return promise;
  }

  /** The ids of each batch so far, as texts that are easy to compare. */
  get batches(): string[] {
    return this.calls.map((call) => call.ids.join(' '));
  }

  get last(): Call {
    return this.calls.at(-1) ?? assert.fail('nothing was sent');
  }
}

function setUp(options: Partial<PublisherOptions> = {}): { store: FakeStore; publisher: Publisher } {
  const store = new FakeStore();
  const publisher = new Publisher({ store, offer: () => null, onClaimed: () => {}, ...options });
  return { store, publisher };
}

function events(...ids: string[]): SealedEvent[] {
  return ids.map((id) => seal({ event_id: id }));
}

function idsOf(results: PublishResult[]): string {
  return results.map((result) => ('eventId' in result ? result.eventId : '?')).join(' ');
}

/** Whether a promise is settled once everything that was already resolved has run. */
async function state(promise: Promise<unknown>): Promise<'pending' | 'fulfilled' | 'rejected'> {
  let now: 'pending' | 'fulfilled' | 'rejected' = 'pending';
  promise.then(
    () => (now = 'fulfilled'),
    () => (now = 'rejected'),
  );
  await new Promise((resolve) => setImmediate(resolve));
  return now;
}

async function rejection(promise: Promise<unknown>): Promise<PosthornError> {
  const error = await promise.then(
    () => assert.fail('it was accepted'),
    (reason: unknown) => reason,
  );
  assert.ok(error instanceof PosthornError, String(error));
  return error;
}

describe('the publisher', () => {
  test('sends a lone request at once, within the call', async () => {
    const { store, publisher } = setUp();
    const published = publisher.publish(events('a', 'b'));
    assert.deepEqual(store.batches, ['a b']);
    assert.equal(await state(published), 'pending');
    store.last.finish();
    assert.equal(idsOf(await published), 'a b');
  });

  test('groups what arrives during a batch into the next one and gives each caller its own results', async () => {
    const { store, publisher } = setUp();
    const first = publisher.publish(events('a'));
    const others = [
      publisher.publish(events('b', 'c')),
      publisher.publish(events('d')),
      publisher.publish(events('e', 'f')),
    ];
    assert.deepEqual(store.batches, ['a']);
    store.last.finish();
    await first;
    assert.deepEqual(store.batches, ['a', 'b c d e f']);
    store.last.finish();
    assert.deepEqual((await Promise.all(others)).map(idsOf), ['b c', 'd', 'e f']);
  });

  test('is idle again after a batch: the next lone request goes at once', async () => {
    const { store, publisher } = setUp();
    const first = publisher.publish(events('a'));
    store.last.finish();
    await first;
    void publisher.publish(events('b'));
    assert.deepEqual(store.batches, ['a', 'b']);
  });

  test('answers no events with no results, without troubling the store', async () => {
    const { store, publisher } = setUp();
    assert.deepEqual(await publisher.publish([]), []);
    assert.equal(store.calls.length, 0);
  });

  test('cuts batches by number of events, never inside a request, in order of arrival', async () => {
    const { store, publisher } = setUp({ limits: { maxBatchEvents: 3 } });
    const all = [['a'], ['b', 'c'], ['d', 'e'], ['f'], ['g', 'h', 'i', 'j'], ['k']].map((ids) =>
      publisher.publish(events(...ids)),
    );
    for (const published of all) {
      if ((await state(published)) === 'pending') {
        store.last.finish();
        await published;
      }
    }
    assert.deepEqual(store.batches, ['a', 'b c', 'd e f', 'g h i j', 'k']);
  });

  test('cuts batches by bytes of UTF-8; a larger request goes alone', async () => {
    const small = () => seal({ event_id: 's', data: { text: 'ä'.repeat(50) } });
    const bytes = Buffer.byteLength(small().body);
    const { store, publisher } = setUp({ limits: { maxBatchBytes: 2 * bytes } });
    const large = seal({ event_id: 'L', data: { text: 'ä'.repeat(500) } });
    const all = [[small()], [small()], [small()], [small()], [large], [small()]].map((it) =>
      publisher.publish(it),
    );
    for (const published of all) {
      if ((await state(published)) === 'pending') {
        store.last.finish();
        await published;
      }
    }
    assert.deepEqual(store.batches, ['s', 's s', 's', 'L', 's']);
  });

  test('keeps up to maxConcurrentBatches with the store', async () => {
    const { store, publisher } = setUp({ limits: { maxConcurrentBatches: 2 } });
    const a = publisher.publish(events('a'));
    void publisher.publish(events('b'));
    void publisher.publish(events('c'));
    void publisher.publish(events('d'));
    assert.deepEqual(store.batches, ['a', 'b']);
    store.calls[0]?.finish();
    await a;
    assert.deepEqual(store.batches, ['a', 'b', 'c d']);
  });

  test('lets a batch pass one that takes long, and only then', async () => {
    const clock = new ManualClock();
    const { store, publisher } = setUp({ clock, limits: { maxConcurrentBatches: 2, joinAfterMs: 10 } });
    const a = publisher.publish(events('a'));
    void publisher.publish(events('b'));
    clock.advance(9);
    void publisher.publish(events('c'));
    assert.deepEqual(store.batches, ['a'], 'the first may answer any moment');
    clock.advance(1);
    assert.deepEqual(store.batches, ['a', 'b c']);
    void publisher.publish(events('d'));
    clock.advance(20);
    assert.deepEqual(store.batches, ['a', 'b c'], 'no more than may be under way');
    store.calls[0]?.finish();
    await a;
    assert.deepEqual(store.batches, ['a', 'b c', 'd'], 'the other one has been under way for long');
  });

  test('goes by what batches took lately: on a busy machine none is passed for its slowness', async () => {
    const clock = new ManualClock();
    const { store, publisher } = setUp({ clock, limits: { maxConcurrentBatches: 2, joinAfterMs: 10 } });
    /** Publishes a batch that takes so long, and nothing beside it. */
    const take = async (id: string, ms: number): Promise<void> => {
      const published = publisher.publish(events(id));
      clock.advance(ms);
      store.last.finish();
      await published;
    };
    for (let n = 0; n < 60; n += 1) await take(`slow-${n}`, 20);
    void publisher.publish(events('a'));
    void publisher.publish(events('b'));
    clock.advance(50);
    assert.equal(store.batches.at(-1), 'a', 'it takes not much longer than the others did');
    clock.advance(10);
    assert.equal(store.batches.at(-1), 'b', 'it hangs');
  });

  test('one batch that hung says nothing about the next', async () => {
    const clock = new ManualClock();
    const { store, publisher } = setUp({ clock, limits: { maxConcurrentBatches: 2, joinAfterMs: 10 } });
    const hung = publisher.publish(events('hung'));
    clock.advance(60_000);
    store.last.finish();
    await hung;
    void publisher.publish(events('a'));
    void publisher.publish(events('b'));
    clock.advance(10);
    assert.deepEqual(store.batches, ['hung', 'a', 'b']);
  });

  test('passes a batch that hangs after ten times the usual wait at the latest, however slow all are', async () => {
    const clock = new ManualClock();
    const { store, publisher } = setUp({ clock, limits: { maxConcurrentBatches: 2, joinAfterMs: 10 } });
    for (let n = 0; n < 60; n += 1) {
      const published = publisher.publish(events(`slow-${n}`));
      clock.advance(5_000);
      store.last.finish();
      await published;
    }
    void publisher.publish(events('a'));
    void publisher.publish(events('b'));
    clock.advance(99);
    assert.equal(store.batches.at(-1), 'a');
    clock.advance(1);
    assert.equal(store.batches.at(-1), 'b');
  });

  test('sends the next batch at once when none is under way', async () => {
    const clock = new ManualClock();
    const { store, publisher } = setUp({ clock, limits: { maxConcurrentBatches: 2, joinAfterMs: 10 } });
    const a = publisher.publish(events('a'));
    void publisher.publish(events('b'));
    store.last.finish();
    await a;
    assert.deepEqual(store.batches, ['a', 'b']);
  });

  test('rejects exactly the callers of a failed batch, with its error, and goes on', async () => {
    const { store, publisher } = setUp();
    const a = publisher.publish(events('a'));
    const b = publisher.publish(events('b'));
    const c = publisher.publish(events('c'));
    store.last.finish();
    await a;
    const failure = new PosthornError('unavailable', 'disk full');
    const d = publisher.publish(events('d'));
    store.last.fail(failure);
    assert.equal(await rejection(b), failure);
    assert.equal(await rejection(c), failure);
    assert.deepEqual(store.batches, ['a', 'b c', 'd']);
    store.last.finish();
    assert.equal(idsOf(await d), 'd');
  });

  test('survives a store that throws instead of rejecting', async () => {
    const failure = new PosthornError('unavailable', 'closed');
    const { publisher } = setUp({
      store: {
        publish() {
          throw failure;
        },
      },
    });
    assert.equal(await rejection(publisher.publish(events('a'))), failure);
    assert.equal(await rejection(publisher.publish(events('b'))), failure);
  });

  test('acknowledges nothing when the store answers for another number of events', async () => {
    const { publisher } = setUp({
      store: { publish: () => Promise.resolve({ results: [], leases: [], nextDueAt: null }) },
    });
    assert.equal((await rejection(publisher.publish(events('a')))).kind, 'internal');
  });

  test('asks for the offer when a batch is sent and hands on what was claimed before the callers resolve', async () => {
    const log: string[] = [];
    const clock = new ManualClock();
    let limit = 0;
    const { store, publisher } = setUp({
      offer: () => ({ limit: ++limit, laneLimit: 10, leaseMs: 1_000 }),
      onClaimed: ({ leases, nextDueAt }, askedAtMs) => {
        log.push(`claimed ${leases.length} next ${nextDueAt}, asked at ${askedAtMs}`);
      },
      clock,
    });
    const a = publisher.publish(events('a')).then(() => log.push('a'));
    const b = publisher.publish(events('b')).then(() => log.push('b'));
    assert.deepEqual([store.last.offer?.limit, limit], [1, 1]);
    clock.advance(30);
    store.last.finish(42);
    await a;
    assert.deepEqual(log, ['claimed 0 next 42, asked at 0', 'a']);
    assert.equal(store.last.offer?.limit, 2);
    store.last.fail(new PosthornError('unavailable', 'x'));
    await rejection(b);
    assert.equal(log.length, 2, 'nothing is claimed by a batch that failed');
  });

  test('refuses what would wait beyond the limits, at once, and takes more when there is room again', async () => {
    const { store, publisher } = setUp({ limits: { maxWaitingEvents: 3 } });
    const a = publisher.publish(events('a'));
    const b = publisher.publish(events('b', 'c'));
    const error = await rejection(publisher.publish(events('d', 'e')));
    assert.deepEqual([error.kind, error.httpStatus, error.retryAfterSeconds], ['unavailable', 503, 1]);
    void publisher.publish(events('f'));
    assert.equal((await rejection(publisher.publish(events('g')))).kind, 'unavailable');
    store.last.finish();
    await a;
    assert.deepEqual(store.batches, ['a', 'b c f']);
    void publisher.publish(events('h', 'i', 'j'));
    store.last.finish();
    await b;
    assert.deepEqual(store.batches.slice(2), ['h i j']);
  });

  test('keeps room for other accounts while one floods, and tells that one alone to slow down', async () => {
    const { store, publisher } = setUp({ limits: { maxWaitingEvents: 100 } });
    const of = (username: string) => publisher.publish([seal({ username })]);
    void of('flood');
    let accepted = 0;
    let refusal: PosthornError | null = null;
    while (refusal === null) {
      const published = of('flood');
      if ((await state(published)) === 'rejected') refusal = await rejection(published);
      else accepted += 1;
    }
    assert.equal(accepted, 80, 'four fifths at most');
    assert.deepEqual([refusal.kind, refusal.httpStatus, refusal.retryAfterSeconds], ['rate_limited', 429, 1]);
    assert.match(refusal.message, /too many events of account "flood"/);
    for (let n = 0; n < 15; n += 1) assert.equal(await state(of(`other-${n}`)), 'pending');
    assert.equal((await rejection(of('flood'))).kind, 'rate_limited');
    for (let n = 0; n < 5; n += 1) assert.equal(await state(of(`late-${n}`)), 'pending');
    assert.equal((await rejection(of('late-5'))).kind, 'unavailable', 'now everything is full');
    store.last.finish();
    await new Promise((resolve) => setImmediate(resolve));
    assert.equal(await state(of('flood')), 'pending', 'there is room again');
  });

  test('gives each account its part of a batch that not everything fits into', async () => {
    const { store, publisher } = setUp({ limits: { maxBatchEvents: 4 } });
    const of = (username: string, id: string) => publisher.publish([seal({ username, event_id: id })]);
    const first = of('flood', 'a');
    for (const id of ['b', 'c', 'd', 'e', 'f', 'g']) void of('flood', id);
    void of('alice', 'x');
    void of('bob', 'y');
    store.last.finish();
    await first;
    assert.deepEqual(store.batches.slice(1), ['b c x y']);
  });

  test('counts a request for several accounts as one of its own', async () => {
    const { publisher } = setUp({ limits: { maxWaitingEvents: 10 } });
    const mixed = () => publisher.publish([seal({ username: 'alice' }), seal({ username: 'bob' })]);
    for (let n = 0; n < 4; n += 1) void mixed();
    void mixed();
    assert.match((await rejection(mixed())).message, /requests for several accounts/);
    assert.equal(await state(publisher.publish([seal({ username: 'alice' })])), 'pending');
  });

  test('counts what waits in bytes too', async () => {
    const bytes = Buffer.byteLength(seal({ event_id: 'a' }).body);
    const { publisher } = setUp({ limits: { maxWaitingBytes: bytes } });
    void publisher.publish(events('a'));
    void publisher.publish(events('b'));
    assert.equal((await rejection(publisher.publish(events('c')))).kind, 'unavailable');
  });

  test('takes a request of any size when it need not wait', async () => {
    const { store, publisher } = setUp({ limits: { maxWaitingEvents: 1, maxBatchEvents: 1 } });
    const published = publisher.publish(events('a', 'b', 'c'));
    store.last.finish();
    assert.equal(idsOf(await published), 'a b c');
  });

  test('stops when all that it accepted has ended, and refuses the rest', async () => {
    const { store, publisher } = setUp();
    const a = publisher.publish(events('a'));
    const b = publisher.publish(events('b'));
    const stopped = publisher.stop();
    const refused = await rejection(publisher.publish(events('c')));
    assert.deepEqual([refused.kind, refused.retryAfterSeconds], ['unavailable', 1]);
    store.last.finish();
    await a;
    assert.equal(await state(stopped), 'pending');
    store.last.fail(new PosthornError('unavailable', 'x'));
    await rejection(b);
    await stopped;
    await publisher.stop();
    assert.deepEqual(store.batches, ['a', 'b']);
  });

  test('stops at once when idle', async () => {
    await setUp().publisher.stop();
  });

  test('tells of each batch what it held, how long it took and how it ended', async () => {
    const infos: BatchInfo[] = [];
    let monotonicMs = 0;
    const { store, publisher } = setUp({
      onBatch: (info) => infos.push(info),
      clock: { monotonic: () => monotonicMs, timer: () => () => {} },
    });
    const bytes = Buffer.byteLength(seal({ event_id: 'a' }).body);
    const a = publisher.publish(events('a'));
    const rest = [publisher.publish(events('b')), publisher.publish(events('c', 'd'))];
    monotonicMs = 7;
    store.last.finish();
    await a;
    store.last.fail(new PosthornError('unavailable', 'x'));
    await Promise.all(rest.map(rejection));
    assert.deepEqual(infos, [
      {
        requests: 1,
        events: 1,
        bytes,
        leases: 0,
        durationMs: 7,
        stored: true,
        waitingEvents: 3,
        waitingBytes: 3 * bytes,
      },
      {
        requests: 2,
        events: 3,
        bytes: 3 * bytes,
        leases: 0,
        durationMs: 0,
        stored: false,
        waitingEvents: 0,
        waitingBytes: 0,
      },
    ]);
  });

  test('property: every accepted event is sent once, in order, within the limits, and answered to its caller', async () => {
    const sizes = fc.array(fc.integer({ min: 1, max: 12 }), { minLength: 1, maxLength: 30 });
    /** After how many further requests the store finishes a batch. */
    const pace = fc.integer({ min: 0, max: 6 });
    await fc.assert(
      fc.asyncProperty(sizes, pace, fc.integer({ min: 1, max: 3 }), async (requests, every, concurrent) => {
        const maxBatchEvents = 10;
        const { store, publisher } = setUp({
          limits: { maxBatchEvents, maxConcurrentBatches: concurrent, maxWaitingEvents: 60 },
        });
        const open = (): Call[] => store.calls.splice(0);
        const sent: Call[] = [];
        const accepted: string[] = [];
        const answers: Promise<string>[] = [];
        const drain = async (): Promise<void> => {
          for (const call of open()) {
            sent.push(call);
            call.finish();
          }
          await new Promise((resolve) => setImmediate(resolve));
        };
        for (const [i, size] of requests.entries()) {
          const ids = Array.from({ length: size }, (_, k) => `${i}-${k}`);
          answers.push(
            publisher.publish(events(...ids)).then(
              (results) => {
                assert.equal(idsOf(results), ids.join(' '));
                accepted.push(...ids);
                return 'stored';
              },
              (error: PosthornError) => error.kind,
            ),
          );
          assert.ok(store.calls.length <= concurrent);
          if (every > 0 && i % every === 0) await drain();
        }
        const stopped = publisher.stop();
        for (let i = 0; i <= requests.length; i++) await drain();
        await stopped;
        const ends = ['stored', 'unavailable', 'rate_limited'];
        assert.ok((await Promise.all(answers)).every((end) => ends.includes(end)));
        assert.deepEqual(
          sent.flatMap((call) => call.ids),
          accepted,
        );
        for (const call of sent) {
          const requestsOf = new Set(call.ids.map((id) => id.split('-')[0]));
          assert.ok(call.ids.length <= maxBatchEvents || requestsOf.size === 1);
        }
      }),
      { numRuns: 100 },
    );
  });
});
