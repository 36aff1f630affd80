/** The API inside a host's own server: as a plain Node handler, and as a Fastify plugin over it. */
import type { IncomingMessage, ServerResponse } from 'node:http';
import type { FastifyInstance, FastifyPluginAsync } from 'fastify';
import type { Logger } from 'pino';
import type { Clock } from '../clock.ts';
import { PosthornError, unavailable } from '../errors.ts';
import { refusal } from './envelope.ts';

/**
 * Serves the API in a host's server. Called as it is, it serves the paths of the API (`/v2/…`) as they stand in
 * `request.url`: at the root, or behind a router that takes its prefix away, as Express does.
 *
 * @example
 * createServer(posthorn.handler);
 * express().use('/webhooks', posthorn.handler);
 */
export interface PosthornHandler {
  (request: IncomingMessage, response: ServerResponse): void;
  /**
   * The same for paths under a prefix. What is not under it goes to `next`, and without one is answered with 404.
   *
   * @example
   * const serve = posthorn.handler.under('/webhooks');
   * createServer((request, response) => serve(request, response, () => ours(request, response)));
   */
  under(prefix: string): (request: IncomingMessage, response: ServerResponse, next?: () => void) => void;
  /**
   * The same as a Fastify plugin. The host's hooks run before it.
   *
   * @example
   * await fastify.register(posthorn.handler.fastify, { prefix: '/webhooks' });
   */
  readonly fastify: FastifyPluginAsync;
}

/** The prefix under which the host serves each request. */
const prefixes = new WeakMap<IncomingMessage, string>();

/** Where the API stands in its host's server, as it was served: empty at the root. */
export function mountedUnder(request: IncomingMessage): string {
  return prefixes.get(request) ?? '';
}

/** A handler and its end. */
export interface Embedded {
  handler: PosthornHandler;
  /** Refuses new requests with 503; resolves when those under way are answered, or after `graceMs`. */
  drain(graceMs: number): Promise<void>;
}

export interface EmbedOptions {
  /** Ready, and never listening. */
  app: FastifyInstance;
  clock: Clock;
  logger: Logger;
  makeRid: () => string;
}

export function embed({ app, clock, logger, makeRid }: EmbedOptions): Embedded {
  const underWay = new Set<ServerResponse>();
  let isDraining = false;
  let whenDrained: () => void = () => {};

  function refuse(response: ServerResponse, error: PosthornError): void {
    const { httpStatus, headers, body } = refusal(makeRid(), error);
    response
      .writeHead(httpStatus, {
        'content-type': 'application/json; charset=utf-8',
        'x-request-id': body.rid,
        ...headers,
      })
      .end(JSON.stringify(body));
  }

  /** @param url - the request's without the host's prefix */
  function serve(request: IncomingMessage, response: ServerResponse, url: string, base = ''): void {
    if (isDraining) {
      refuse(response, unavailable('this server is stopping; send the request again'));
      return;
    }
    if (request.readableDidRead && hasBody(request)) {
      const message =
        'the body was read before it came to Posthorn: put its handler before whatever parses bodies';
      logger.error({ url: pathOf(url) }, message);
      refuse(response, new PosthornError('internal', message));
      return;
    }
    underWay.add(response);
    response.once('close', () => {
      underWay.delete(response);
      if (isDraining && underWay.size === 0) whenDrained();
    });
    // Where Express keeps it, too: the host's log shows what was asked for.
    const asked = request as IncomingMessage & { originalUrl?: string };
    asked.originalUrl ??= request.url ?? url;
    const prefix = base === '' ? takenAway(asked.originalUrl, url) : base;
    if (prefix !== '') prefixes.set(request, prefix);
    request.url = url;
    app.routing(request, response);
  }

  const handler = (request: IncomingMessage, response: ServerResponse): void =>
    serve(request, response, request.url ?? '/');

  function under(prefix: string) {
    const base = normalized(prefix);
    return (request: IncomingMessage, response: ServerResponse, next?: () => void): void => {
      const url = without(base, request.url ?? '/');
      if (url !== null) serve(request, response, url, base);
      else if (next !== undefined) next();
      else refuse(response, new PosthornError('not_found', `no route there; the API is under ${base}`));
    };
  }

  const fastify: FastifyPluginAsync = async (host) => {
    const base = normalized(host.prefix);
    // Posthorn reads and judges bodies itself.
    host.removeAllContentTypeParsers();
    host.addContentTypeParser('*', (_request, _body, done) => done(null));
    host.all('/*', (request, reply) => {
      reply.hijack();
      const { url = '/' } = request.raw;
      serve(request.raw, reply.raw, without(base, url) ?? url, base);
    });
  };

  return {
    handler: Object.assign(handler, { under, fastify }),

    async drain(graceMs) {
      isDraining = true;
      if (underWay.size === 0) return;
      const { promise, resolve } = Promise.withResolvers<void>();
      whenDrained = resolve;
      const cancel = clock.timer(graceMs, resolve);
      await promise;
      cancel();
    },
  };
}

/** What a prefix that stands in a page's addresses may be. */
const PLAIN_PREFIX = /^(?:\/[A-Za-z0-9._~-]+)+$/;

/** What a router in front, such as Express's, has taken away from the URL; empty when nothing, or nothing that a prefix is. */
function takenAway(originalUrl: string, url: string): string {
  const asked = pathOf(originalUrl);
  const rest = pathOf(url);
  if (asked === rest) return '';
  const prefix = asked.endsWith(rest) ? asked.slice(0, -rest.length) : rest === '/' ? asked : '';
  return PLAIN_PREFIX.test(prefix) ? prefix : '';
}

function hasBody({ headers }: IncomingMessage): boolean {
  return headers['transfer-encoding'] !== undefined || Number(headers['content-length'] ?? 0) > 0;
}

function pathOf(url: string): string {
  return url.split('?', 1)[0] as string;
}

/** With a slash before and none behind; the root is empty. */
function normalized(prefix: string): string {
  const path = prefix.replace(/^\/*/, '/').replace(/\/+$/, '');
  if (/[?#]/.test(path))
    throw new TypeError(`a prefix is a path such as /webhooks, not ${JSON.stringify(prefix)}`);
  return path;
}

/** Null when the URL is not under the base. */
function without(base: string, url: string): string | null {
  if (!url.startsWith(base)) return null;
  const rest = url.slice(base.length);
  if (rest === '' || rest.startsWith('?')) return `/${rest}`;
  return rest.startsWith('/') ? rest : null;
}
