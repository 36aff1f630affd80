/** What machines ask without an account: liveness, readiness, metrics, the API's description. */
import type { FastifyInstance, FastifyRequest } from 'fastify';

import { unavailable } from '../errors.ts';
import { type Authenticator, addressGroup } from './auth.ts';
import type { ApiDeps } from './deps.ts';
import { mountedUnder } from './embed.ts';
import { success } from './envelope.ts';
import { credentialsOf } from './session.ts';

const READY_TIMEOUT_MS = 2000;
const FORWARDING_HEADERS = ['forwarded', 'x-forwarded-for', 'x-real-ip', 'via'];

/**
 * Whether the request was made on this machine. One that a proxy on this machine passed on was not: such requests come
 * from loopback too, and say so in their headers.
 */
function isLocal(request: FastifyRequest): boolean {
  const address = addressGroup(request.socket.remoteAddress ?? '');
  const loopback = address.startsWith('127.') || request.socket.remoteAddress === '::1';
  return loopback && FORWARDING_HEADERS.every((name) => request.headers[name] === undefined);
}

export function mountDescription(
  app: FastifyInstance,
  openApi: () => { document: object; text: string },
): void {
  app.route({
    method: 'GET',
    url: '/openapi.json',
    async handler(request, reply) {
      reply.header('cache-control', 'no-cache').type('application/json; charset=utf-8');
      const { document, text } = openApi();
      const prefix = mountedUnder(request.raw);
      return prefix === '' ? text : JSON.stringify({ ...document, servers: [{ url: prefix }] });
    },
  });
}

/** `/healthz`, `/readyz` and `/metrics`. */
export function mountHealth(app: FastifyInstance, deps: ApiDeps, auth: Authenticator): void {
  const { store, clock, metrics } = deps;

  async function checkReady(): Promise<void> {
    let cancel = (): void => {};
    const late = new Promise<never>((_, reject) => {
      cancel = clock.timer(READY_TIMEOUT_MS, () =>
        reject(unavailable(`the store did not answer within ${READY_TIMEOUT_MS / 1000} s`)),
      );
    });
    try {
      await Promise.race([Promise.all([store.ping(), deps.ready?.()]), late]);
    } catch (error) {
      const reason = error instanceof Error ? error.message : String(error);
      throw unavailable(`not ready: ${reason}`, error);
    } finally {
      cancel();
    }
  }

  app.route({
    method: 'GET',
    url: '/healthz',
    exposeHeadRoute: true,
    handler: (request) => Promise.resolve(success(request.id, { status: 'ok', version: deps.version })),
  });

  app.route({
    method: 'GET',
    url: '/readyz',
    exposeHeadRoute: true,
    async handler(request) {
      await checkReady();
      return success(request.id, { status: 'ready' });
    },
  });

  if (metrics !== undefined) {
    app.route({
      method: 'GET',
      url: '/metrics',
      async handler(request, reply) {
        if (!isLocal(request)) {
          const caller = await auth.authenticate(credentialsOf(request), request.ip);
          await auth.authorize(caller, 'operator', undefined);
        }
        reply.type(metrics.contentType);
        return await metrics.render();
      },
    });
  }
}
