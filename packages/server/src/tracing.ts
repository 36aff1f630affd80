/**
 * OpenTelemetry spans from publish to attempt. Whoever runs Posthorn brings the SDK (docs/tracing.md). Without one its
 * API isn't loaded, which would cost a start 50 ms, and no span is made; the trace that a publisher names is kept and
 * passed on all the same.
 */
import type * as OpenTelemetry from '@opentelemetry/api';
import type { Attempt } from './model.ts';
import type { Lease } from './store/store.ts';
import { traceContextOf, traceparentOf, tracestateOf } from './trace-context.ts';

/** A publish under way. */
export interface PublishTrace {
  /** Before: what the publisher said of its trace. From {@link Tracing.publish} on: what is kept with the events. */
  context: string | null;
}

/** What a publish came to. */
export interface PublishFacts {
  events: number;
  /** Of the only event; null for a batch. */
  eventId: string | null;
  event: string | null;
}

/** An attempt under way. */
export interface AttemptTrace {
  /** The header for the receiver; null without a trace. */
  traceparent: string | null;
  /** Runs the request so that instrumented HTTP clients neither make a span of their own nor add headers. */
  run<T>(request: () => Promise<T>): Promise<T>;
  /** The attempt was made. */
  end(attempt: Attempt, next: 'delivered' | 'pending' | 'dead'): void;
  /** It was given up: it has no result. */
  abandon(): void;
}

export interface Tracing {
  /** Runs a publish within its span. */
  publish<T>(trace: PublishTrace, run: () => Promise<T>, facts: (result: T) => PublishFacts): Promise<T>;
  /** The trace that is under way where it is called; null without one. */
  active(): string | null;
  /** Begins the span of an attempt, in the trace of its event. */
  attempt(lease: Lease): AttemptTrace;
}

/** Where OpenTelemetry's API, from its version 1 on, finds what was registered. */
const REGISTRY = Symbol.for('opentelemetry.js.api.1');

/**
 * Spans if an SDK is registered by now, else the passing on of what publishers say. Call it when the service is built:
 * SDKs are registered before anything else is loaded.
 */
export async function createTracing(version: string): Promise<Tracing> {
  if ((globalThis as Record<symbol, unknown>)[REGISTRY] === undefined) return PASSED_ON;
  return spans(await import('@opentelemetry/api'), version);
}

/** Without an SDK. */
export const PASSED_ON: Tracing = {
  publish: (_trace, run) => run(),
  active: () => null,
  attempt: ({ event: { trace } }) => ({
    traceparent: trace === null ? null : traceparentOf(trace),
    run: (request) => request(),
    end() {},
    abandon() {},
  }),
};

function spans(otel: typeof OpenTelemetry, version: string): Tracing {
  const { context, trace, ROOT_CONTEXT, SpanKind, SpanStatusCode } = otel;
  const tracer = trace.getTracer('posthorn', version);
  // The SDK's own key. An attempt has its span already, and what receivers get is for the setting to say.
  const suppressed = otel.createContextKey('OpenTelemetry SDK Context Key SUPPRESS_TRACING');

  /** The kept context as a parent: the span of another process, days ago perhaps. */
  function parentOf(kept: string | null): OpenTelemetry.Context {
    if (kept === null) return ROOT_CONTEXT;
    const state = tracestateOf(kept);
    return trace.setSpanContext(ROOT_CONTEXT, {
      traceId: kept.slice(3, 35),
      spanId: kept.slice(36, 52),
      traceFlags: Number.parseInt(kept.slice(53, 55), 16),
      isRemote: true,
      ...(state === null ? {} : { traceState: otel.createTraceState(state) }),
    });
  }

  function keptOf({ traceId, spanId, traceFlags, traceState }: OpenTelemetry.SpanContext): string | null {
    const flags = traceFlags.toString(16).padStart(2, '0');
    return traceContextOf(`00-${traceId}-${spanId}-${flags}`, traceState?.serialize());
  }

  return {
    async publish(publishing, run, facts) {
      // The span of an instrumented server or of the embedding application is nearer than what the request said.
      const active = context.active();
      const parent = trace.getSpanContext(active) === undefined ? parentOf(publishing.context) : active;
      const span = tracer.startSpan('posthorn publish', { kind: SpanKind.PRODUCER }, parent);
      publishing.context = keptOf(span.spanContext()) ?? publishing.context;
      try {
        const result = await context.with(trace.setSpan(parent, span), run);
        const { events, eventId, event } = facts(result);
        span.setAttributes({
          'messaging.system': 'posthorn',
          'messaging.operation.name': 'publish',
          'messaging.batch.message_count': events,
          ...(eventId === null ? null : { 'messaging.message.id': eventId }),
          ...(event === null ? null : { 'messaging.destination.name': event }),
        });
        return result;
      } catch (error) {
        const kind = (error as { kind?: unknown } | null)?.kind;
        span.setAttribute('error.type', typeof kind === 'string' ? kind : 'internal');
        span.setStatus({ code: SpanStatusCode.ERROR });
        throw error;
      } finally {
        span.end();
      }
    },

    active() {
      const active = trace.getSpanContext(context.active());
      return active === undefined ? null : keptOf(active);
    },

    attempt(lease) {
      const { event, endpoint } = lease;
      const span = tracer.startSpan(
        'posthorn attempt',
        {
          kind: SpanKind.CLIENT,
          attributes: {
            'messaging.system': 'posthorn',
            'messaging.operation.name': 'attempt',
            'messaging.message.id': event.eventId,
            'messaging.destination.name': event.event,
            'posthorn.account': lease.username,
            'posthorn.delivery_id': lease.deliveryId,
            'posthorn.endpoint_id': endpoint.endpointId,
            'posthorn.attempt': lease.attempts + 1,
            'posthorn.manual': lease.manual,
            'http.request.method': 'POST',
            // A URL's path and query may hold a secret.
            'server.address': hostOf(endpoint.url),
          },
        },
        parentOf(event.trace),
      );
      const own = keptOf(span.spanContext()) ?? event.trace;
      return {
        traceparent: own === null ? null : traceparentOf(own),
        run: (request) => context.with(trace.setSpan(ROOT_CONTEXT, span).setValue(suppressed, true), request),
        end({ outcome, httpStatus }, next) {
          span.setAttributes({ 'posthorn.outcome': outcome, 'posthorn.next': next });
          if (httpStatus !== null) span.setAttribute('http.response.status_code', httpStatus);
          if (outcome !== 'success') {
            span.setAttribute('error.type', outcome);
            span.setStatus({ code: SpanStatusCode.ERROR });
          }
          span.end();
        },
        abandon() {
          span.setAttribute('posthorn.outcome', 'abandoned');
          span.end();
        },
      };
    },
  };
}

function hostOf(url: string): string {
  return URL.parse(url)?.hostname ?? '';
}
