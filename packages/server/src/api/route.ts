/**
 * A route as data: method, path, who may call it, schemas and handler side by side. The app mounts the same route under
 * several prefixes; the OpenAPI document and the tests read the same table.
 */
import type { FastifyBaseLogger, FastifyInstance, FastifyReply, FastifyRequest } from 'fastify';
import { type Static, type TObject, type TSchema, Type } from './schema.ts';

import type { AuditActor } from '../model.ts';

import type { Access, Caller } from './auth.ts';
import { mountedUnder } from './embed.ts';
import { type Envelope, envelopeOf, type PartialFailure } from './envelope.ts';
import type { PublishTrace } from '../tracing.ts';
import { type Check, compileCheck } from './validate.ts';

declare module 'fastify' {
  interface FastifyContextConfig {
    /** Who may call the route; absent on the few routes outside the API. */
    access?: Access;
  }
  interface FastifyRequest {
    /** Null before authentication and on public routes. */
    caller: Caller | null;
    /** The account that is acted for. */
    username: string | null;
    /** What its headers say; null before they were looked at. */
    trace: PublishTrace | null;
  }
}

export type Method = 'GET' | 'POST' | 'PUT' | 'PATCH' | 'DELETE';

/** Errors that a route answers with beyond those that any may: they stand in the OpenAPI document. */
export type DocumentedError = 'not_found' | 'conflict' | 'too_large';

/** What a handler gets: checked and typed, and nothing of the HTTP framework. */
export interface Call<A extends Access, P, Q, B> {
  params: P;
  query: Q;
  body: B;
  caller: Caller;
  /** The account that is acted for; null only on routes that an operator may call for no account. */
  username: A extends 'account' ? string : string | null;
  /** The caller as the audit log names him: what changes something does it as him (`store.as(by)`). */
  by: AuditActor;
  log: FastifyBaseLogger;
  /** What the request says of its trace. */
  trace: PublishTrace;
  /** The address of this server as the caller has it, `https://hooks.example.com/webhooks`; null when it didn't say. */
  baseUrl(): string | null;
}

export interface RouteSpec<
  A extends Access,
  D extends TSchema,
  P extends TSchema,
  Q extends TSchema,
  B extends TSchema,
> {
  method: Method;
  /** Without the prefix; parameters as `:name`. */
  path: string;
  access: A;
  operationId: string;
  tag: string;
  summary: string;
  description?: string;
  params?: P;
  query?: Q;
  body?: B;
  /** True when the request may come without a body, which then counts as `{}`. */
  bodyOptional?: boolean;
  /** True when the handler checks the body itself; the schema is then documentation. */
  bodyUnchecked?: boolean;
  /** The schema of the envelope's `data`. */
  data: D;
  errors?: DocumentedError[];
  handle(
    call: Call<A, Static<P>, Static<Q>, Static<B>>,
  ): Promise<Static<D> | PartialFailure<Static<D>>> | Static<D>;
}

/** A {@link RouteSpec} with its types forgotten, ready to be mounted. */
export interface ApiRoute {
  method: Method;
  path: string;
  access: Access;
  operationId: string;
  tag: string;
  summary: string;
  description: string | null;
  params: TSchema | null;
  query: TSchema | null;
  body: TSchema | null;
  bodyOptional: boolean;
  data: TSchema;
  errors: DocumentedError[];
  /** Request headers that the route takes, with their descriptions. */
  headers?: Record<string, string>;
  /** On a route whose answer is a stream of server-sent events: takes the place of `answer`. `data` is then a message. */
  stream?(query: unknown, request: FastifyRequest, reply: FastifyReply): Promise<FastifyReply>;
  answer(parts: { params: unknown; query: unknown; body: unknown }, who: Who): Promise<unknown>;
}

interface Who {
  caller: Caller;
  username: string | null;
  by: AuditActor;
  log: FastifyBaseLogger;
  trace: PublishTrace;
  baseUrl(): string | null;
}

const Nothing = Type.Object({}, { additionalProperties: false });
type Nothing = typeof Nothing;

/** Declares a route; the handler's argument and result are typed by the schemas. */
export function route<
  A extends Access,
  D extends TSchema,
  P extends TSchema = Nothing,
  Q extends TSchema = Nothing,
  B extends TSchema = Nothing,
>(spec: RouteSpec<A, D, P, Q, B>): ApiRoute {
  const checkParams = compileCheck(spec.params ?? Nothing, 'path') as Check<P>;
  const checkQuery = compileCheck(spec.query ?? Nothing, 'query') as Check<Q>;
  const checkBody = spec.bodyUnchecked
    ? (body: unknown) => body as Static<B>
    : (compileCheck(spec.body ?? Nothing, 'body') as Check<B>);
  // Many clients send `content-type: application/json` with nothing, or `{}`, where no body is taken.
  const bodyMayBeAbsent = spec.body === undefined || spec.bodyOptional === true;
  return {
    method: spec.method,
    path: spec.path,
    access: spec.access,
    operationId: spec.operationId,
    tag: spec.tag,
    summary: spec.summary,
    description: spec.description ?? null,
    params: spec.params ?? null,
    query: spec.query ?? null,
    body: spec.body ?? null,
    bodyOptional: spec.bodyOptional === true,
    data: spec.data,
    errors: spec.errors ?? [],
    async answer({ params, query, body }, who) {
      return await spec.handle({
        params: checkParams(params),
        query: checkQuery(query),
        body: checkBody(body === undefined && bodyMayBeAbsent ? {} : body),
        caller: who.caller,
        username: who.username as Call<A, unknown, unknown, unknown>['username'],
        by: who.by,
        log: who.log,
        trace: who.trace,
        baseUrl: who.baseUrl,
      });
    },
  };
}

/**
 * Declares a route whose answer is a stream of server-sent events. What `stream` rejects with before it sends anything
 * is answered as everywhere.
 */
export function streamRoute<Q extends TSchema>(
  spec: Pick<ApiRoute, 'path' | 'access' | 'operationId' | 'tag' | 'summary'> & {
    description: string;
    query: Q;
    headers: Record<string, string>;
    message: TSchema;
    stream(query: Static<Q>, request: FastifyRequest, reply: FastifyReply): Promise<FastifyReply>;
  },
): ApiRoute {
  const { message, stream, ...rest } = spec;
  const checkQuery = compileCheck(spec.query, 'query') as Check<Q>;
  return {
    ...rest,
    method: 'GET',
    params: null,
    body: null,
    bodyOptional: false,
    data: message,
    errors: [],
    answer: () => Promise.reject(new Error(`${spec.path} answers with a stream`)),
    stream: async (query, request, reply) => await stream(checkQuery(query), request, reply),
  };
}

/** The fields of path parameters, all texts. */
export function pathParams<const N extends string>(
  ...names: N[]
): TObject<Record<N, ReturnType<typeof Type.String>>> {
  const fields = Object.fromEntries(names.map((name) => [name, Type.String({ minLength: 1 })]));
  return Type.Object(fields as Record<N, ReturnType<typeof Type.String>>, { additionalProperties: false });
}

/**
 * Mounts routes under a prefix.
 *
 * @param shape what becomes of an envelope before it is sent; the v1 aliases differ in nothing else.
 */
export function mountRoutes(
  app: FastifyInstance,
  routes: readonly ApiRoute[],
  prefix: string,
  shape: (envelope: Envelope, route: ApiRoute) => unknown = (envelope) => envelope,
): void {
  for (const entry of routes) {
    app.route({
      method: entry.method,
      url: prefix + entry.path,
      config: { access: entry.access },
      async handler(request, reply) {
        if (entry.stream !== undefined) return entry.stream(request.query, request, reply);
        const result = await entry.answer(
          { params: request.params, query: request.query, body: request.body },
          {
            caller: request.caller as Caller,
            username: request.username,
            by: actorOf(request),
            log: request.log,
            trace: request.trace ?? { context: null },
            baseUrl: () => baseUrlOf(request),
          },
        );
        const envelope = envelopeOf(request.id, result);
        reply.outcomeCode = envelope.code;
        return shape(envelope, entry);
      },
    });
  }
}

/** A name or an address, with or without a port: a host header may hold anything. */
const HOST = /^(?:[A-Za-z0-9._-]+|\[[0-9A-Fa-f:.]+\])(?::\d{1,5})?$/;

function baseUrlOf(request: FastifyRequest): string | null {
  const url = `${request.protocol}://${request.host}`;
  if (!HOST.test(request.host) || !URL.canParse(url)) return null;
  return new URL(url).origin + mountedUnder(request.raw);
}

/** Who asks, for the audit log: the key, the documented route, the request's id, and the address as far as proxies are believed. */
function actorOf(request: FastifyRequest): AuditActor {
  const { keyId, username, session } = request.caller as Caller;
  return {
    kind: 'key',
    keyId,
    username,
    via: `${request.method} ${request.routeOptions.url ?? ''}`,
    requestId: request.id,
    remoteAddress: request.ip,
    through: session === null ? null : session.via === 'api_key' ? 'dashboard' : 'portal',
  };
}
