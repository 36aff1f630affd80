/** What machines ask without an account: liveness, readiness, metrics, the API's description. */
import type { FastifyInstance, FastifyRequest } from 'fastify';

import { type Static, Type } from './schema.ts';

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

/** What `/readyz` answers with 200. */
export const Readiness = Type.Object(
  {
    status: Type.Literal('ready'),
    role: Type.Enum(['all', 'api', 'worker'], { description: 'What this process is for.' }),
    schema_version: Type.Integer({ minimum: 0, description: 'Of the database, now.', examples: [9] }),
    known_schema_version: Type.Integer({
      minimum: 0,
      description: 'The newest that this process knows.',
      examples: [9],
    }),
    outdated: Type.Boolean({
      description:
        'A later Posthorn has migrated the database. This process goes on, but would not start any more: replace it.',
    }),
  },
  { title: 'Readiness' },
);

/** `/healthz`, `/readyz` and `/metrics`. */
export function mountHealth(app: FastifyInstance, deps: ApiDeps, auth: Authenticator): void {
  const { store, clock, metrics } = deps;

  async function checkReady(): Promise<Static<typeof Readiness>> {
    let cancel = (): void => {};
    const late = new Promise<never>((_, reject) => {
      cancel = clock.timer(READY_TIMEOUT_MS, () =>
        reject(unavailable(`the store did not answer within ${READY_TIMEOUT_MS / 1000} s`)),
      );
    });
    try {
      const [schema] = await Promise.race([
        Promise.all([store.schema(), store.ping(), deps.ready?.()]),
        late,
      ]);
      return {
        status: 'ready',
        role: deps.role,
        schema_version: schema.version,
        known_schema_version: schema.known,
        outdated: schema.version > schema.known,
      };
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
      return success(request.id, await checkReady());
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
