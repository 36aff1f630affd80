/** The HTTP API as a Fastify app, apart from listening. */
import type { ServerResponse } from 'node:http';
import {
  type FastifyBaseLogger,
  type FastifyInstance,
  type FastifyReply,
  type FastifyRequest,
  LogController,
  fastify,
} from 'fastify';

import { idFactory } from '../clock.ts';
import { PosthornError, unavailable } from '../errors.ts';
import { parseJson } from '../json.ts';
import { accountRoutes } from './accounts.ts';
import { Admission, defaultLimits } from './admission.ts';
import { auditRoutes } from './audit.ts';
import { Authenticator, type Caller } from './auth.ts';
import { answerClientError } from './client-errors.ts';
import { deliveryRoutes } from './deliveries.ts';
import type { ApiDeps } from './deps.ts';
import { directPublish } from './direct-publish.ts';
import { mountDocs } from './docs.ts';
import { encryptionKeyRoutes } from './encryption-keys.ts';
import { endpointHealthRoutes } from './endpoint-health.ts';
import { endpointRoutes } from './endpoints.ts';
import { fromFrameworkError, refusal } from './envelope.ts';
import { eventLogRoutes } from './event-log.ts';
import { eventTypeRoutes } from './event-types.ts';
import { keyRoutes } from './keys.ts';
import { listenRoutes } from './listen.ts';
import { openApiDocument } from './openapi.ts';
import { type Page, mountPage } from './page.ts';
import { portalRoutes } from './portal.ts';
import { type Publish, publishing, publishRoutes } from './publish.ts';
import { RequestLimit } from './rate-limit.ts';
import { replayRoutes } from './replays.ts';
import { logRequests, noteAnswer, traceOf } from './request-log.ts';
import { type ApiRoute, mountRoutes } from './route.ts';
import { SECURITY_HEADERS } from './security-headers.ts';
import { statsRoutes } from './stats.ts';
import { mountDescription, mountHealth } from './system.ts';
import { systemHealthRoutes } from './system-health.ts';
import { credentialsOf, mountSession } from './session.ts';
import { testEventRoutes } from './test-event.ts';
import { mountV1 } from './v1.ts';
import { whoamiRoute } from './whoami.ts';

export type { ApiDeps, ApiSettings, RequestOutcome } from './deps.ts';

const API_PATH = /^\/(?:open\/)?v[12](?:\/|$)/;
const DEFAULT_FAILED_AUTH_PER_MINUTE = 60;
const RATE_WINDOW_MS = 60_000;
/** Receiving a request in full; slower senders hold a connection for nothing. */
const REQUEST_TIMEOUT_MS = 60_000;
const KEEP_ALIVE_MS = 72_000;
const SHOWN_PATH_CHARACTERS = 200;

/** All routes of `/v2`, which `/open/v2` repeats. */
export function v2Routes(
  deps: ApiDeps,
  auth: Authenticator,
  publish: Publish = publishing(deps),
): ApiRoute[] {
  return [
    whoamiRoute(deps, '/user/whoami', 'whoami'),
    ...eventTypeRoutes(deps),
    ...endpointRoutes(deps),
    ...endpointHealthRoutes(deps),
    ...testEventRoutes(deps),
    ...publishRoutes(publish),
    ...deliveryRoutes(deps),
    ...eventLogRoutes(deps),
    ...listenRoutes(deps, auth),
    ...replayRoutes(deps),
    ...statsRoutes(deps),
    ...accountRoutes(deps, auth),
    ...portalRoutes(deps),
    ...keyRoutes(deps, auth),
    ...auditRoutes(deps),
    ...encryptionKeyRoutes(deps),
    ...systemHealthRoutes(deps),
  ];
}

/** Fastify's types know no number of hops. */
function trusted(
  setting: false | number | string[],
): false | string[] | ((address: string, hop: number) => boolean) {
  return typeof setting === 'number' ? (_address, hop) => hop < setting : setting;
}

/** The path without its query, which may hold anything. */
function pathOf(request: FastifyRequest): string {
  return request.url.split('?', 1)[0] as string;
}

function noCompiler(): never {
  throw new Error('a route has a schema of Fastify’s: declare it by route() instead');
}

/**
 * Builds the app over a store. It does nothing by itself until `listen` or `inject` is called; `close` lets the
 * requests in flight end, closes the connections, and writes when keys were last used.
 *
 * @example
 * const app = await buildApp(deps);
 * await app.listen({ host: '127.0.0.1', port: 8080 });
 */
export async function buildApp(deps: ApiDeps): Promise<FastifyInstance> {
  const { settings, clock, logger, store } = deps;
  const makeId = idFactory();
  const makeRid = (): string => makeId('req', clock.now());
  const hasApi = deps.surface !== 'health';
  let closing = false;

  const app = fastify({
    loggerInstance: logger as FastifyBaseLogger,
    logController: new LogController({ disableRequestLogging: true, requestIdLogLabel: 'rid' }),
    genReqId: makeRid,
    requestIdHeader: false,
    bodyLimit: settings.maxRequestBytes,
    trustProxy: trusted(settings.trustProxy ?? false),
    requestTimeout: REQUEST_TIMEOUT_MS,
    keepAliveTimeout: KEEP_ALIVE_MS,
    exposeHeadRoutes: false,
    // Its answer has no envelope; the first hook below refuses instead.
    return503OnClosing: false,
    // Node answers a missing host header with an empty 400; nothing here needs one.
    http: { requireHostHeader: false },
    // No path fits through Node's header limit that is longer; the default of 100 would hide valid event ids.
    routerOptions: { maxParamLength: 20_000 },
    // Requests are checked by validate.ts: Fastify would load compilers for schemas that no route gives it.
    schemaController: { compilersFactory: { buildValidator: noCompiler, buildSerializer: noCompiler } },
    // No hook runs for a path that can't be decoded, so this writes its own line.
    frameworkErrors(error, request, reply) {
      const refused = refusal(request.id, fromFrameworkError(error, settings.maxRequestBytes));
      const { httpStatus: status } = refused;
      request.log.info({ method: request.method, route: 'none', status, code: refused.body.code }, 'request');
      (reply as FastifyReply)
        .code(refused.httpStatus)
        .headers({ 'x-request-id': request.id, ...refused.headers })
        .type('application/json; charset=utf-8')
        .send(JSON.stringify(refused.body));
    },
    clientErrorHandler: (error, socket) => answerClientError(error, socket, { makeRid, logger, clock }),
  });

  const auth = new Authenticator({
    store,
    clock,
    logger,
    operatorKeyHash: deps.operatorKeyHash,
    failedAuthPerMinute: settings.failedAuthPerMinute ?? DEFAULT_FAILED_AUTH_PER_MINUTE,
  });
  const posts =
    settings.rateLimitPostPerMinute === null
      ? null
      : new RequestLimit({
          store,
          limit: settings.rateLimitPostPerMinute,
          windowMs: RATE_WINDOW_MS,
          clock,
        });

  /** An account's POST requests are counted by its key; those of portal links, behind which there is none, by account. */
  async function countPost({ keyId, username }: Caller, reply: FastifyReply): Promise<void> {
    if (posts === null || username === null) return;
    const state = await posts.hit(keyId ?? `portal ${username}`);
    reply.headers({
      'x-ratelimit-limit': String(state.limit),
      'x-ratelimit-remaining': String(state.remaining),
      'x-ratelimit-reset': String(state.resetSeconds),
    });
    if (state.allowed) return;
    throw new PosthornError(
      'rate_limited',
      `more than ${state.limit} POST requests in a minute; try again in ${state.resetSeconds} s`,
      { retryAfterSeconds: state.resetSeconds },
    );
  }

  app.decorateRequest('caller', null);
  app.decorateRequest('username', null);
  app.decorateRequest('trace', null);
  app.decorateReply('outcomeCode', null);
  app.decorateReply('failure', null);

  app.removeAllContentTypeParsers();
  app.addContentTypeParser('application/json', { parseAs: 'buffer' }, (request, body, done) => {
    try {
      const charset = /;\s*charset\s*=\s*"?([^\s;"]+)/i.exec(request.headers['content-type'] ?? '')?.[1];
      if (charset !== undefined && !/^utf-?8$/i.test(charset)) {
        throw new PosthornError(
          'unsupported_media_type',
          'the body must be JSON in UTF-8, whatever its charset says',
        );
      }
      // Clients send the header with nothing after it where no body is taken; the route judges what is missing.
      done(null, body.length === 0 ? undefined : parseJson(body as Buffer));
    } catch (error) {
      done(error as Error, undefined);
    }
  });

  app.addHook('onRequest', async (request, reply) => {
    reply.headers(SECURITY_HEADERS).header('x-request-id', request.id);
    request.trace = traceOf(request);
    if (closing) throw unavailable('this server is stopping; send the request again');
    if (!hasApi) return;
    const { access } = request.routeOptions.config;
    // A known route is judged by its own declaration, so that no spelling of its path goes past it.
    if (access === undefined && !API_PATH.test(pathOf(request))) return;
    reply.header('cache-control', 'no-store');
    const caller = await auth.authenticate(credentialsOf(request), request.ip);
    request.caller = caller;
    if (access === undefined) return;
    if (request.method === 'POST') await countPost(caller, reply);
    request.username = await auth.authorize(caller, access, request.headers['x-account']);
  });

  app.addHook('onSend', (_request, reply, _payload, done) => {
    // Otherwise a client would keep the connection and the server could not end.
    if (closing) reply.header('connection', 'close');
    done();
  });

  app.setErrorHandler((error, request, reply) => {
    const failure = fromFrameworkError(error, settings.maxRequestBytes);
    const refused = refusal(request.id, failure);
    reply.failure = failure;
    reply.outcomeCode = refused.body.code;
    reply.code(refused.httpStatus).headers(refused.headers).send(refused.body);
  });

  const publish = publishing(deps);
  const routes = hasApi ? v2Routes(deps, auth, publish) : [];
  mountHealth(app, deps, auth);
  const page: Page | null = hasApi && deps.pageFolder !== undefined ? mountPage(app, deps.pageFolder) : null;
  if (hasApi) {
    mountSession(app, { auth, clock, countPost });
    mountRoutes(app, routes, '/v2');
    mountRoutes(app, routes, '/open/v2');
    const v1Only = mountV1(app, routes, deps);
    const openApi = openApiDocument(deps, { routes, v1: [v1Only] });
    mountDescription(app, openApi);
    mountDocs(app, () => openApi().document);
  }

  app.setNotFoundHandler((request, reply) => {
    if (page?.answers(request, reply)) return;
    const path = pathOf(request);
    if (!hasApi) {
      throw new PosthornError(
        'not_found',
        'this node only delivers (role worker); API and dashboard are at the nodes of role api or all',
      );
    }
    const others = methodsAt(routes, path);
    const hint =
      others.length === 0
        ? 'GET /openapi.json lists the routes'
        : `this path takes ${[...new Set(others)].join(', ')}`;
    throw new PosthornError(
      'not_found',
      `no route ${request.method} ${path.slice(0, SHOWN_PATH_CHARACTERS)}; ${hint}`,
    );
  });

  logRequests(app, deps);

  app.addHook('preClose', async () => {
    closing = true;
    // They would never end by themselves.
    deps.live.close();
  });
  /** A connection whose answer was under way when closing began is idle only now. */
  const onAnswered = (): void => {
    if (closing) app.server.closeIdleConnections();
  };
  app.addHook('onResponse', (_request, _reply, done) => {
    onAnswered();
    done();
  });
  app.addHook('onClose', async () => {
    await auth.flushUses();
  });
  if (hasApi) {
    const answersDirectly = directPublish({
      auth,
      publish,
      maxRequestBytes: settings.maxRequestBytes,
      makeRid,
      logger,
      clock,
      ...(deps.onRequestDone === undefined ? {} : { onRequestDone: deps.onRequestDone }),
      isClosing: () => closing,
      onAnswered,
    });
    const defaults = defaultLimits(settings.maxRequestBytes);
    const admission = new Admission({
      maxRequests: defaults.maxRequests,
      maxBodyBytes: settings.maxBodiesBytes ?? defaults.maxBodyBytes,
      maxMemoryBytes: settings.maxMemoryBytes ?? null,
      maxRequestBytes: settings.maxRequestBytes,
      clock,
    });
    app.addHook('onClose', async () => admission.stop());
    /** Its body stays unread, so its connection ends. */
    const refuse = (response: ServerResponse, method: string, failure: PosthornError): void => {
      const rid = makeRid();
      const { httpStatus, headers, body } = refusal(rid, failure);
      response
        .writeHead(httpStatus, {
          ...SECURITY_HEADERS,
          'content-type': 'application/json; charset=utf-8',
          'x-request-id': rid,
          connection: 'close',
          ...headers,
        })
        .end(JSON.stringify(body));
      const unknown = { username: null, keyId: null, trace: null, route: 'none', durationMs: 0 };
      noteAnswer(deps, { ...unknown, rid, method, status: httpStatus, code: body.code, failure });
    };
    app.server.removeAllListeners('request').on('request', (request, response) => {
      const refused = admission.admit(request, response);
      if (refused !== null) refuse(response, request.method ?? '', refused);
      else if (!answersDirectly(request, response)) app.routing(request, response);
    });
  }
  // Node would answer `expect: something` with an empty 417.
  app.server.on('checkExpectation', (request, response) => app.routing(request, response));

  return app;
}

/** The methods of the routes at a path, whatever the prefix. */
function methodsAt(routes: readonly ApiRoute[], path: string): string[] {
  const steps = path.replace(API_PATH, '').split('/');
  return routes
    .filter((route) => {
      const pattern = route.path.slice(1).split('/');
      return (
        pattern.length === steps.length &&
        pattern.every((step, i) => step.startsWith(':') || step === steps[i])
      );
    })
    .map((route) => route.method);
}
