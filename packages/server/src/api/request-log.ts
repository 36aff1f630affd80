/** One wide line for each answered request, and nothing of keys, secrets or payloads in it. */
import type { IncomingMessage } from 'node:http';
import type { FastifyInstance, FastifyRequest } from 'fastify';

import { PosthornError } from '../errors.ts';
import { traceContextOf, traceIdOf } from '../trace-context.ts';
import type { PublishTrace } from '../tracing.ts';
import type { ApiDeps } from './deps.ts';

/** Asked every few seconds by machines, or a dozen times by each load of the page: their lines would bury the others. */
const QUIET_ROUTES = new Set([
  '/healthz',
  '/readyz',
  '/metrics',
  '/assets/:name',
  '/favicon.svg',
  '/theme.js',
]);
const UNKNOWN_ROUTE = 'none';

declare module 'fastify' {
  interface FastifyReply {
    /** The envelope's code; null on answers without an envelope. */
    outcomeCode: number | null;
    /** What the request failed of. */
    failure: PosthornError | null;
  }
}

/** The route's pattern: a path may hold anything, even a key in its query. */
export function routeOf(request: FastifyRequest): string {
  return request.routeOptions.url ?? UNKNOWN_ROUTE;
}

/** What a request says of its trace. */
export function traceOf({ headers }: Pick<IncomingMessage, 'headers'>): PublishTrace {
  const { traceparent } = headers;
  return { context: traceparent === undefined ? null : traceContextOf(traceparent, headers.tracestate) };
}

/** One answered request. */
export interface Answered {
  rid: string;
  method: string;
  /** The route's pattern. */
  route: string;
  status: number;
  /** The envelope's code; null on answers without an envelope. */
  code: number | null;
  durationMs: number;
  /** The account that was acted for, or whose key it was. */
  username: string | null;
  keyId: string | null;
  /** The trace it belongs to, see `trace-context.ts`. */
  trace: string | null;
  failure: PosthornError | null;
}

/** Writes the line of an answered request, and tells the metrics of it. */
export function noteAnswer(
  { logger, onRequestDone }: Pick<ApiDeps, 'logger' | 'onRequestDone'>,
  answered: Answered,
): void {
  const { method, route, status, failure } = answered;
  const traceId = traceIdOf(answered.trace);
  const durationMs = Math.round(answered.durationMs * 100) / 100;
  const line = {
    rid: answered.rid,
    method,
    route,
    status,
    code: answered.code,
    duration_ms: durationMs,
    username: answered.username,
    key_id: answered.keyId,
    ...(traceId === null ? null : { trace_id: traceId }),
    ...(failure?.field === undefined ? null : { field: failure.field }),
  };
  if (status >= 500) {
    logger.error(
      { ...line, err: failure?.kind === 'internal' ? (failure.cause ?? failure) : failure },
      'request',
    );
  } else if (QUIET_ROUTES.has(route)) {
    logger.debug(line, 'request');
  } else {
    logger.info(line, 'request');
  }
  onRequestDone?.({ method, route, httpStatus: status, durationMs });
}

export function logRequests(app: FastifyInstance, deps: Pick<ApiDeps, 'logger' | 'onRequestDone'>): void {
  app.addHook('onResponse', (request, reply, done) => {
    noteAnswer(deps, {
      rid: request.id,
      method: request.method,
      route: routeOf(request),
      status: reply.statusCode,
      code: reply.outcomeCode,
      durationMs: reply.elapsedTime,
      username: request.username ?? request.caller?.username ?? null,
      keyId: request.caller?.keyId ?? null,
      trace: request.trace?.context ?? null,
      failure: reply.failure,
    });
    done();
  });
}
