/** What createReceiver does with deliveries, without a framework around it. */
import assert from 'node:assert/strict';
import { afterEach, describe, it, mock } from 'node:test';
import {
  createReceiver,
  type EventQueue,
  type IdempotencyStore,
  inProcessQueue,
  type InProcessQueueOptions,
  memoryIdempotency,
  type Receiver,
  type ReceiverAnswer,
  type ReceiverOptions,
  type WebhookEvent,
} from '../src/index.ts';
import { coded, delivery, type Sample, SECRET } from './support/samples.ts';

type Any = Record<string, Record<string, unknown>>;

afterEach(() => {
  mock.restoreAll();
  mock.timers.reset();
});

/** What the sender reads. */
async function receive(
  receiver: Receiver,
  sample: Sample,
  host = {},
): Promise<ReceiverAnswer & { json: any }> {
  const answer = await receiver.receive({ method: 'POST', ...sample }, host);
  return { ...answer, json: JSON.parse(answer.body) };
}

function receiverOf(
  onUnknown: (event: WebhookEvent) => unknown,
  options: Partial<ReceiverOptions<Any>> = {},
): { receiver: Receiver; errors: string[] } {
  const errors: string[] = [];
  const receiver = createReceiver<Any>({
    secrets: SECRET,
    on: {},
    onUnknown,
    onError: ({ code }) => void errors.push(code),
    ...options,
  });
  return { receiver, errors };
}

/** A promise and what ends it. */
function gate(): { opened: Promise<void>; open: () => void } {
  let open = (): void => {};
  const opened = new Promise<void>((resolve) => (open = resolve));
  return { opened, open };
}

describe('handlers', () => {
  it('get the events of their type, with its type', async () => {
    const urls: string[] = [];
    const receiver = createReceiver({
      secrets: SECRET,
      on: { generated_video_success: (event) => void urls.push(event.data.video_url) },
    });
    await receive(receiver, await delivery({ data: { video_url: 'https://cdn.example.com/v7.mp4' } }));
    assert.deepEqual(urls, ['https://cdn.example.com/v7.mp4']);
  });

  it('are held to the event types by the compiler', () => {
    interface Events {
      'order.paid': { order_id: string };
    }
    createReceiver<Events>({
      secrets: SECRET,
      on: { 'order.paid': ({ data }) => data.order_id.toUpperCase() },
    });
    createReceiver<Events>({
      secrets: SECRET,
      on: {
        // @ts-expect-error There is no such type.
        'order.payed': () => {},
      },
    });
    createReceiver<Events>({
      secrets: SECRET,
      on: {
        // @ts-expect-error There is no such field.
        'order.paid': ({ data }) => data.orderId,
      },
    });
    // @ts-expect-error There is no such type among the 22.
    createReceiver({ secrets: SECRET, on: { generated_video_sucess: () => {} } });
  });

  it('may be missing: the event is acknowledged, so that it does not come again', async () => {
    const receiver = createReceiver({ secrets: SECRET, on: {} });
    for (const event of ['generated_video_success', 'order.paid', 'constructor', '__proto__']) {
      const { status, json } = await receive(receiver, await delivery({ event }));
      assert.deepEqual([status, json], [200, { status: 'ignored' }], event);
    }
  });

  it('that fail are told to onError with what they threw', async () => {
    const cause = new Error('database away');
    const told: unknown[] = [];
    const { receiver } = receiverOf(() => Promise.reject(cause), {
      onError: (error, { event }) => void told.push(error.cause, event?.event_id),
    });
    const { status, json } = await receive(receiver, await delivery({ event_id: 'evt_1' }));
    assert.deepEqual([status, json.error, told], [500, 'handler_failed', [cause, 'evt_1']]);
  });

  it('that take long are answered with 503 in time, handled on, and found done by the next delivery', async () => {
    const { opened, open } = gate();
    const { receiver, errors } = receiverOf(() => opened, { answerWithinMs: 1 });
    const sample = await delivery();
    const waited: Promise<unknown>[] = [];
    const slow = await receive(receiver, sample, {
      waitUntil: (work: Promise<unknown>) => waited.push(work),
    });
    assert.deepEqual([slow.status, slow.json.error, slow.headers['retry-after']], [503, 'handler_slow', '5']);
    assert.deepEqual(errors, ['handler_slow']);
    open();
    await Promise.all(waited);
    assert.equal(waited.length, 1);
    assert.deepEqual((await receive(receiver, sample)).json, { status: 'duplicate' });
  });
});

describe('what is wrong', () => {
  it('is written to console.error without onError when the receiver is to blame, and only then', async () => {
    const written = mock.method(console, 'error', () => {});
    const { receiver } = receiverOf(() => assert.fail('failed'), { onError: undefined as never });
    const good = await delivery();
    await receive(receiver, { ...good, body: '{}' });
    assert.equal(written.mock.callCount(), 0);
    await receive(receiver, good);
    assert.equal(written.mock.callCount(), 1);
  });

  it('with onError itself harms nothing', async () => {
    const written = mock.method(console, 'error', () => {});
    for (const onError of [() => assert.fail('sync'), () => Promise.reject(new Error('async'))]) {
      const { receiver } = receiverOf(() => {}, { onError });
      assert.equal((await receive(receiver, { body: 'x', headers: {} })).status, 401);
    }
    await new Promise(setImmediate);
    assert.equal(written.mock.callCount(), 2);
  });

  it('with the options shows at once', () => {
    for (const wrong of [
      { secrets: '' },
      { maxBodyBytes: 0 },
      { leaseMs: Number.NaN },
      { on: null as never },
    ]) {
      assert.throws(() => receiverOf(() => {}, wrong), coded('invalid_configuration'));
    }
  });

  it('with the length of a body is found before it is verified', async () => {
    const { receiver } = receiverOf(() => {}, { maxBodyBytes: 20 });
    const { status } = await receive(receiver, { body: 'x'.repeat(21), headers: {} });
    assert.equal(status, 413);
  });
});

describe('duplicates', () => {
  it('are handled once, however many come at the same time', async () => {
    const { opened, open } = gate();
    let runs = 0;
    const { receiver } = receiverOf(() => {
      runs++;
      return opened;
    });
    const sample = await delivery();
    const answers = Array.from({ length: 5 }, () => receive(receiver, sample));
    open();
    for (const { status } of await Promise.all(answers)) assert.equal(status, 200);
    assert.deepEqual((await receive(receiver, sample)).json, { status: 'duplicate' });
    assert.equal(runs, 1);
  });

  it('share the failure of a run, and the next delivery is handled', async () => {
    let runs = 0;
    const { receiver } = receiverOf(async () => {
      if (runs++ === 0) throw new Error('once');
    });
    const sample = await delivery();
    const [first, second] = await Promise.all([receive(receiver, sample), receive(receiver, sample)]);
    assert.deepEqual([first.status, second.status, runs], [500, 500, 1]);
    assert.deepEqual((await receive(receiver, sample)).json, { status: 'handled' });
  });

  it('are sent away while another process handles the event: 503, so that they come again', async () => {
    const idempotency = memoryIdempotency();
    const { opened, open } = gate();
    const { receiver: here } = receiverOf(() => opened, { idempotency });
    const { receiver: there, errors } = receiverOf(() => assert.fail('twice'), { idempotency });
    const sample = await delivery();
    const first = receive(here, sample);
    await new Promise(setImmediate);
    const busy = await receive(there, sample);
    assert.deepEqual([busy.status, busy.json.error, busy.headers['retry-after']], [503, 'busy', '5']);
    open();
    assert.equal((await first).status, 200);
    assert.deepEqual((await receive(there, sample)).json, { status: 'duplicate' });
    assert.deepEqual(errors, []);
  });

  it('are handled each where idempotency is off', async () => {
    let runs = 0;
    const { receiver } = receiverOf(() => runs++, { idempotency: false });
    const sample = await delivery();
    await Promise.all([receive(receiver, sample), receive(receiver, sample)]);
    assert.equal(runs, 2);
  });

  it('wait for the end of the lease of a process that died', async () => {
    let time = Date.now();
    const idempotency = memoryIdempotency({ now: () => time });
    const sample = await delivery({ event_id: 'evt_1' });
    assert.equal(await idempotency.reserve('evt_1', 'of the dead', 60_000), 'reserved');
    const { receiver } = receiverOf(() => {}, { idempotency });
    assert.equal((await receive(receiver, sample)).status, 503);
    time += 60_000;
    assert.deepEqual((await receive(receiver, sample)).json, { status: 'handled' });
  });

  it('are not held up for ever by a run that the runtime has frozen with its request', async () => {
    mock.timers.enable({ apis: ['Date'], now: Date.now() });
    mock.method(globalThis, 'setInterval', () => 0);
    let frozen = true;
    const { receiver } = receiverOf(() => (frozen ? new Promise(() => {}) : undefined), {
      answerWithinMs: 1,
    });
    const body = await delivery({}, { timestamp: Math.floor(Date.now() / 1000) + 60 });
    assert.equal((await receive(receiver, body)).status, 503);
    frozen = false;
    mock.timers.setTime(Date.now() + 59_999);
    assert.equal((await receive(receiver, body)).json.error, 'handler_slow', 'it may still run');
    mock.timers.setTime(Date.now() + 1);
    assert.deepEqual((await receive(receiver, body)).json, { status: 'handled' });
  });

  it('tell the runtime of the run at once: it may end the request when the sender goes away', async () => {
    const { opened, open } = gate();
    const { receiver } = receiverOf(() => opened);
    const waited: Promise<unknown>[] = [];
    const answer = receive(receiver, await delivery(), {
      waitUntil: (work: Promise<unknown>) => {
        waited.push(work);
        open();
      },
    });
    assert.equal((await answer).status, 200);
    assert.equal(waited.length, 1);
  });

  it('have their lease extended while the handler runs', async () => {
    const renewed = gate();
    let reservations = 0;
    const inner = memoryIdempotency();
    const idempotency: IdempotencyStore = {
      ...inner,
      reserve(...args) {
        if (++reservations === 2) renewed.open();
        return inner.reserve(...args);
      },
    };
    const { receiver } = receiverOf(() => renewed.opened, { idempotency, leaseMs: 3 });
    assert.equal((await receive(receiver, await delivery())).status, 200);
    assert.ok(reservations >= 2);
  });
});

describe('a store that fails', () => {
  const failing = (step: keyof IdempotencyStore): IdempotencyStore => ({
    ...memoryIdempotency(),
    [step]: () => Promise.reject(new Error('away')),
  });

  it('at the reservation: 503, nothing is handled', async () => {
    const { receiver, errors } = receiverOf(() => assert.fail('handled'), {
      idempotency: failing('reserve'),
    });
    const { status } = await receive(receiver, await delivery());
    assert.deepEqual([status, errors], [503, ['store_failed']]);
  });

  it('after the handler: 200, because it is done', async () => {
    const { receiver, errors } = receiverOf(() => {}, { idempotency: failing('complete') });
    const { status } = await receive(receiver, await delivery());
    assert.deepEqual([status, errors], [200, ['store_failed']]);
  });

  it('at the release: the handler is what is told of', async () => {
    const { receiver, errors } = receiverOf(() => Promise.reject(new Error('x')), {
      idempotency: failing('release'),
    });
    const { json } = await receive(receiver, await delivery());
    assert.deepEqual([json.error, errors], ['handler_failed', ['handler_failed', 'store_failed']]);
  });

  it('by giving the lease to another: that is told', async () => {
    const idempotency = { ...memoryIdempotency(), complete: () => Promise.resolve(false) };
    const { receiver, errors } = receiverOf(() => {}, { idempotency });
    const { status } = await receive(receiver, await delivery());
    assert.deepEqual([status, errors], [200, ['lease_lost']]);
  });
});

describe('a queue', () => {
  it('has the event before the answer, and its worker runs it once', async () => {
    const stored: string[] = [];
    const handled: string[] = [];
    const queue: EventQueue = { add: async ({ event }) => void stored.push(JSON.stringify(event)) };
    const { receiver } = receiverOf(({ event_id }) => void handled.push(event_id), { queue });
    const sample = await delivery({ event_id: 'evt_1' });
    for (let n = 0; n < 2; n++) {
      const { status, json } = await receive(receiver, sample);
      assert.deepEqual([status, json], [202, { status: 'queued' }]);
    }
    assert.deepEqual(handled, []);
    const [first = '', second = ''] = stored;
    assert.equal(await receiver.run(JSON.parse(first)), 'handled');
    assert.equal(await receiver.run(JSON.parse(second)), 'duplicate');
    assert.deepEqual(handled, ['evt_1']);
  });

  it('that can not take the event is told of, and the sender keeps it', async () => {
    const queue: EventQueue = { add: () => Promise.reject(new Error('redis away')) };
    const { receiver, errors } = receiverOf(() => assert.fail('handled'), { queue });
    const { status, json } = await receive(receiver, await delivery());
    assert.deepEqual([status, json.error, errors], [503, 'queue_failed', ['queue_failed']]);
  });

  it('gets the failure of a run, so that it tries again', async () => {
    const { receiver } = receiverOf(() => Promise.reject(new Error('x')));
    const event = JSON.parse((await delivery()).body) as WebhookEvent;
    await assert.rejects(receiver.run(event), coded('handler_failed'));
  });
});

describe('the queue in the process', () => {
  /** Timers that go off when the test says so. */
  function manualTimer(): {
    timer: NonNullable<InProcessQueueOptions['timer']>;
    delays: number[];
    fire: () => void;
  } {
    const delays: number[] = [];
    let due: (() => void) | undefined;
    return {
      timer(delayMs, fire) {
        delays.push(delayMs);
        due = fire;
        return () => (due = undefined);
      },
      delays,
      fire: () => due?.(),
    };
  }

  it('runs so many at a time and the others after them', async () => {
    const gates = Array.from({ length: 5 }, gate);
    let running = 0;
    let most = 0;
    let next = 0;
    const { receiver } = receiverOf(
      async () => {
        most = Math.max(most, ++running);
        await gates[next++]?.opened;
        running--;
      },
      { queue: inProcessQueue({ concurrency: 2 }) },
    );
    for (let n = 0; n < 5; n++) await receive(receiver, await delivery());
    for (const { open } of gates) open();
    assert.equal(await receiver.close(), true);
    assert.deepEqual([most, next], [2, 5]);
  });

  it('tries a failed handler again after each delay, and then tells that it gave up', async () => {
    const manual = manualTimer();
    let runs = 0;
    const queue = inProcessQueue({ retryDelaysMs: [10, 20], timer: manual.timer });
    const { receiver, errors } = receiverOf(() => Promise.reject(new Error(`run ${++runs}`)), { queue });
    await receive(receiver, await delivery());
    for (let n = 1; n <= 2; n++) {
      while (manual.delays.length < n) await new Promise(setImmediate);
      manual.fire();
    }
    await queue.idle();
    assert.deepEqual(manual.delays, [10, 20]);
    assert.deepEqual([runs, errors.at(-1)], [3, 'gave_up']);
  });

  it('refuses events when too many wait, so that the sender keeps them', async () => {
    const { opened, open } = gate();
    const { receiver, errors } = receiverOf(() => opened, {
      queue: inProcessQueue({ concurrency: 1, maxWaiting: 1 }),
    });
    const statuses = [];
    for (let n = 0; n < 3; n++) statuses.push((await receive(receiver, await delivery())).status);
    assert.deepEqual([statuses, errors], [[202, 202, 503], ['queue_failed']]);
    open();
    assert.equal(await receiver.close(), true);
  });

  it('closes when everything has run, what waits for a retry included, and takes nothing more', async () => {
    const { opened, open } = gate();
    const manual = manualTimer();
    let failures = 1;
    const handled: string[] = [];
    const { receiver } = receiverOf(
      async ({ event_id }) => {
        await opened;
        if (event_id === 'evt_1' && failures-- > 0) throw new Error('once');
        handled.push(event_id);
      },
      { queue: inProcessQueue({ concurrency: 1, timer: manual.timer }) },
    );
    for (const event_id of ['evt_1', 'evt_2']) await receive(receiver, await delivery({ event_id }));
    open();
    while (manual.delays.length === 0) await new Promise(setImmediate);
    const closed = receiver.close();
    const refused = await receive(receiver, await delivery());
    assert.deepEqual([refused.status, refused.json.error], [503, 'closing']);
    assert.equal(await closed, true);
    assert.deepEqual(handled.toSorted(), ['evt_1', 'evt_2']);
  });

  it('does not hold up a close for ever', async () => {
    const { receiver } = receiverOf(() => new Promise(() => {}), { queue: inProcessQueue() });
    await receive(receiver, await delivery());
    assert.equal(await receiver.close({ timeoutMs: 1 }), false);
  });
});
