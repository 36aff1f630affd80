/** Spans from publish to attempt, with the OpenTelemetry SDK as an operator registers it, on both engines. */
import assert from 'node:assert/strict';
import { AsyncLocalStorage } from 'node:async_hooks';
import { randomUUID } from 'node:crypto';
import diagnostics from 'node:diagnostics_channel';
import { EventEmitter, once } from 'node:events';
import { createServer } from 'node:http';
import type { AddressInfo } from 'node:net';
import { after, before, beforeEach, describe, it } from 'node:test';
import {
  type Context,
  context,
  type ContextManager,
  ROOT_CONTEXT,
  SpanKind,
  trace,
} from '@opentelemetry/api';
import {
  InMemorySpanExporter,
  type ReadableSpan,
  SimpleSpanProcessor,
  TracerProvider,
} from '@opentelemetry/sdk-trace';
import pg from 'pg';
import { pino } from 'pino';
import { type AttemptReport, createPosthorn, type Posthorn, type PosthornOptions } from '../src/index.ts';
import { createEncryptionKey } from '../src/secrets.ts';
import { createTracing, PASSED_ON } from '../src/tracing.ts';
import { createDatabase } from './support/postgres.ts';
import { type Receiver, respond, startReceiver } from './support/receivers.ts';
import { type TempDir, tempDir } from './support/tempdir.ts';

const PAID = 'order.paid';
const LOST = 'order.lost';
const SECRET = 'nobody-may-trace-this';
const TRACE_ID = '4bf92f3577b34da6a3ce929d0e0e4736';
const PARENT = `00-${TRACE_ID}-00f067aa0ba902b7-01`;
const TIME_LIMIT = { timeout: 60_000 };

/** What `@opentelemetry/sdk-trace-node` would bring. */
class AsyncContextManager implements ContextManager {
  readonly #storage = new AsyncLocalStorage<Context>();
  active(): Context {
    return this.#storage.getStore() ?? ROOT_CONTEXT;
  }
  with: ContextManager['with'] = (active, run, self, ...given) =>
    this.#storage.run(active, () => run.apply(self as never, given));
  bind<T>(_context: Context, target: T): T {
    return target;
  }
  enable(): this {
    return this;
  }
  disable(): this {
    return this;
  }
}

const exported = new InMemorySpanExporter();
let folder: TempDir;

before(async () => {
  folder = await tempDir();
  assert.equal(await createTracing('0'), PASSED_ON, 'without an SDK nothing is traced');
  context.setGlobalContextManager(new AsyncContextManager());
  trace.setGlobalTracerProvider(
    new TracerProvider({ spanProcessors: [new SimpleSpanProcessor({ exporter: exported })] }),
  );
});
after(() => folder.remove());

interface Bench {
  posthorn: Posthorn;
  receiver: Receiver;
  logs: Record<string, unknown>[];
  databaseUrl: string;
  publish(headers?: Record<string, string>, body?: object): Promise<{ event_id: string }>;
  /** The attempts of an event, when there are so many. */
  attempts(eventId: string, count?: number): Promise<AttemptReport[]>;
  close(): Promise<void>;
}

/** A running service with two endpoints: one for `order.paid`, and one for `order.lost` that fails. */
async function bench(
  engine: 'sqlite' | 'postgres',
  options: Partial<PosthornOptions> = {},
  endpoint: object = {},
): Promise<Bench> {
  const logs: Record<string, unknown>[] = [];
  const made = engine === 'postgres' ? await createDatabase() : null;
  const databaseUrl = made?.url ?? `sqlite:${folder.path}/${randomUUID()}/posthorn.db`;
  const posthorn = await createPosthorn({
    database: databaseUrl,
    endpointPolicy: 'development',
    encryptionKey: createEncryptionKey(),
    retrySchedule: ['1ms'],
    logger: pino({ level: 'debug' }, { write: (line) => void logs.push(JSON.parse(line)) }),
    ...options,
  });
  const reports: AttemptReport[] = [];
  const heard = new EventEmitter();
  posthorn.on('attempt', (report) => {
    reports.push(report);
    heard.emit('report');
  });
  const receiver = await startReceiver((socket, request) =>
    respond(request.target.includes('broken') ? 500 : 200, { body: SECRET })(socket, request),
  );
  const server = createServer(posthorn.handler).listen(0, '127.0.0.1');
  await once(server, 'listening');
  const url = `http://127.0.0.1:${(server.address() as AddressInfo).port}`;
  const call = async (method: string, path: string, body: object, headers: Record<string, string> = {}) => {
    const response = await fetch(`${url}${path}`, {
      method,
      headers: {
        'x-api-key': posthorn.firstStart.operatorKey as string,
        'x-account': 'alice',
        'content-type': 'application/json',
        ...headers,
      },
      body: JSON.stringify(body),
    });
    const envelope = (await response.json()) as { code: number; msg: string; data: any };
    assert.equal(envelope.code, 0, envelope.msg);
    return envelope.data;
  };
  await call('POST', '/v2/account', { username: 'alice' });
  for (const [event, path] of [
    [PAID, 'hook'],
    [LOST, 'broken'],
  ]) {
    await call('PUT', `/v2/event_type/${event}`, {
      category: 'order',
      description: 'Something with an order',
    });
    const hook = `${receiver.url}/${path}/${SECRET}?token=${SECRET}`;
    await call('POST', '/v2/endpoint', { url: hook, events: [event], ...endpoint });
  }
  await posthorn.start();
  return {
    posthorn,
    receiver,
    logs,
    databaseUrl,
    publish: (headers = {}, body = { username: 'alice', event: PAID, data: { secret: SECRET } }) =>
      call('POST', '/v2/publish', body, headers),
    async attempts(eventId, count = 1) {
      for (;;) {
        const those = reports.filter((report) => report.eventId === eventId);
        if (those.length >= count) return those;
        await once(heard, 'report');
      }
    },
    async close() {
      server.close();
      server.closeAllConnections();
      await posthorn.stop();
      await receiver.close();
      await made?.drop();
    },
  };
}

function spans(name: string): ReadableSpan[] {
  return exported.getFinishedSpans().filter((span) => span.name === name);
}

beforeEach(() => exported.reset());

for (const engine of ['sqlite', 'postgres'] as const) {
  describe(`a trace on ${engine}`, TIME_LIMIT, () => {
    let service: Bench;
    before(async () => {
      service = await bench(engine);
    });
    after(() => service.close());

    it('goes from the publisher through the publish to the attempt', async () => {
      const { publish, attempts, logs, receiver } = service;
      const { event_id: eventId } = await publish({ traceparent: PARENT, tracestate: 'vendor=1' });
      const [report] = await attempts(eventId);
      const [published] = spans('posthorn publish') as [ReadableSpan];
      assert.equal(published.kind, SpanKind.PRODUCER);
      assert.equal(published.spanContext().traceId, TRACE_ID);
      assert.equal(published.spanContext().traceState?.serialize(), 'vendor=1');
      assert.equal(published.parentSpanContext?.spanId, '00f067aa0ba902b7');
      assert.equal(published.attributes['messaging.message.id'], eventId);
      const [attempt] = spans('posthorn attempt') as [ReadableSpan];
      assert.equal(attempt.kind, SpanKind.CLIENT);
      assert.equal(attempt.spanContext().traceId, TRACE_ID);
      assert.equal(attempt.parentSpanContext?.spanId, published.spanContext().spanId);
      assert.deepEqual(
        [attempt.attributes['posthorn.outcome'], attempt.attributes['http.response.status_code']],
        ['success', 200],
      );
      assert.equal(attempt.attributes['posthorn.delivery_id'], report?.deliveryId);
      assert.equal(receiver.requests.at(-1)?.headers.traceparent, undefined, 'off unless switched on');
      const lines = logs.filter((line) => line.route === '/v2/publish' || line.event_id === eventId);
      assert.deepEqual(
        lines.map((line) => [line.msg, line.trace_id]),
        [
          ['request', TRACE_ID],
          ['attempt', TRACE_ID],
        ],
      );
      assert.ok(!JSON.stringify(exported.getFinishedSpans().map(whatItSays)).includes(SECRET));
    });

    it('is a new one where the publisher has none, and one for a batch', async () => {
      const item = { username: 'alice', event: PAID, data: {} };
      const events = ['one', 'two'].map((id) => ({ ...item, event_id: id }));
      await service.publish({}, { events });
      await Promise.all(events.map(({ event_id: id }) => service.attempts(id)));
      const [published] = spans('posthorn publish') as [ReadableSpan];
      assert.equal(published.attributes['messaging.batch.message_count'], 2);
      assert.deepEqual(
        spans('posthorn attempt').map(({ parentSpanContext }) => parentSpanContext?.spanId),
        Array(2).fill(published.spanContext().spanId),
      );
    });

    it('is that of the embedding application’s active span', async () => {
      const { posthorn, attempts } = service;
      const event = { username: 'alice', event: PAID, data: {} };
      const { eventId } = await trace.getTracer('application').startActiveSpan('checkout', async (span) => {
        const answer = await posthorn.publish(event);
        span.end();
        return answer;
      });
      await attempts(eventId);
      const [checkout, published, attempt] = ['checkout', 'posthorn publish', 'posthorn attempt'].map(
        (name) => spans(name)[0] as ReadableSpan,
      ) as [ReadableSpan, ReadableSpan, ReadableSpan];
      assert.equal(published.parentSpanContext?.spanId, checkout.spanContext().spanId);
      assert.equal(attempt.spanContext().traceId, checkout.spanContext().traceId);
    });

    if (engine === 'postgres') {
      it('goes along when the application publishes in its own transaction', async (t) => {
        const { posthorn, attempts, databaseUrl } = service;
        const client = new pg.Client(databaseUrl);
        await client.connect();
        t.after(() => client.end());
        const event = { username: 'alice', event: PAID, data: {} };
        const { eventId } = await trace.getTracer('application').startActiveSpan('checkout', async (span) => {
          const answer = await posthorn.publish(event, { client });
          span.end();
          return answer;
        });
        await attempts(eventId);
        const [checkout, attempt] = ['checkout', 'posthorn attempt'].map((name) => spans(name)[0]);
        assert.equal(attempt?.parentSpanContext?.spanId, checkout?.spanContext().spanId);
      });
    }

    it('names failures, of the publish and of each attempt, without what was said', async () => {
      const { publish, attempts } = service;
      const lost = { username: 'alice', event: LOST, data: { secret: SECRET } };
      const { event_id: eventId } = await publish({ traceparent: PARENT }, lost);
      await attempts(eventId, 2);
      assert.deepEqual(
        spans('posthorn attempt').map(({ attributes: a }) => [
          a['posthorn.attempt'],
          a['error.type'],
          a['posthorn.next'],
        ]),
        [
          [1, 'http_error', 'pending'],
          [2, 'http_error', 'dead'],
        ],
      );
      await assert.rejects(publish({}, { ...lost, data: SECRET }));
      assert.equal(spans('posthorn publish').at(-1)?.attributes['error.type'], 'invalid_parameter');
      assert.ok(!JSON.stringify(exported.getFinishedSpans().map(whatItSays)).includes(SECRET));
    });

    it('is no reason for an HTTP client’s instrumentation to add anything', async (t) => {
      const key = Symbol.for('OpenTelemetry SDK Context Key SUPPRESS_TRACING');
      const suppressed: unknown[] = [];
      const note = (message: unknown) => {
        const { request } = message as { request: { path: string } };
        if (request.path.includes(SECRET)) suppressed.push(context.active().getValue(key));
      };
      diagnostics.subscribe('undici:request:create', note);
      t.after(() => diagnostics.unsubscribe('undici:request:create', note));
      const { event_id: eventId } = await service.publish({ traceparent: PARENT });
      await service.attempts(eventId);
      assert.deepEqual(suppressed, [true]);
    });
  });
}

describe('a traceparent for receivers', TIME_LIMIT, () => {
  it('is that of the attempt, when it is switched on', async (t) => {
    const service = await bench('sqlite', { sendTraceparent: 'on' });
    t.after(() => service.close());
    const { event_id: eventId } = await service.publish({ traceparent: PARENT });
    await service.attempts(eventId);
    const [attempt] = spans('posthorn attempt') as [ReadableSpan];
    assert.equal(
      service.receiver.requests[0]?.headers.traceparent,
      `00-${TRACE_ID}-${attempt.spanContext().spanId}-01`,
    );
  });

  it('leaves an endpoint’s own header of that name alone', async (t) => {
    const service = await bench('sqlite', { sendTraceparent: 'on' }, { headers: { Traceparent: 'its own' } });
    t.after(() => service.close());
    const { event_id: eventId } = await service.publish({ traceparent: PARENT });
    await service.attempts(eventId);
    assert.equal(service.receiver.requests[0]?.headers.traceparent, 'its own');
  });

  it('is the publisher’s own where no SDK is registered', () => {
    const lease = { event: { trace: `${PARENT} vendor=1` } } as Parameters<typeof PASSED_ON.attempt>[0];
    assert.equal(PASSED_ON.attempt(lease).traceparent, PARENT);
  });
});

/** Everything of a span that leaves the process. */
function whatItSays({ name, attributes, events, links, status, resource }: ReadableSpan): unknown {
  return { name, attributes, events, links, status, resource: resource.attributes };
}
