/** One wide line for each answered request, and nothing of keys, secrets or payloads in it. */
import type { FastifyInstance, FastifyRequest } from 'fastify';

import { PosthornError } from '../errors.ts';
import type { ApiDeps } from './deps.ts';

/** Asked every few seconds by machines: their lines would bury the others. */
const QUIET_ROUTES = new Set(['/healthz', '/readyz', '/metrics']);
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

export function logRequests(app: FastifyInstance, { onRequestDone }: Pick<ApiDeps, 'onRequestDone'>): void {
  app.addHook('onResponse', (request, reply, done) => {
    const route = routeOf(request);
    const durationMs = Math.round(reply.elapsedTime * 100) / 100;
    const { failure } = reply;
    const line = {
      method: request.method,
      route,
      status: reply.statusCode,
      code: reply.outcomeCode,
      duration_ms: durationMs,
      username: request.username ?? request.caller?.username ?? null,
      key_id: request.caller?.keyId ?? null,
      ...(failure?.field === undefined ? {} : { field: failure.field }),
    };
    if (reply.statusCode >= 500) {
      request.log.error(
        { ...line, err: failure?.kind === 'internal' ? (failure.cause ?? failure) : failure },
        'request',
      );
    } else if (QUIET_ROUTES.has(route)) {
      request.log.debug(line, 'request');
    } else {
      request.log.info(line, 'request');
    }
    onRequestDone?.({ method: request.method, route, httpStatus: reply.statusCode, durationMs });
    done();
  });
}
