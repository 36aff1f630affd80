/** `/dashboard/session`: signing in to the page, who is signed in, signing out. For the page alone, and not in OpenAPI. */
import type { FastifyInstance, FastifyReply, FastifyRequest } from 'fastify';
import { type Static, Type } from './schema.ts';

import { toSeconds } from '../clock.ts';
import { PosthornError } from '../errors.ts';
import type { Authenticator, Caller, CallerSession } from './auth.ts';
import type { ApiDeps } from './deps.ts';
import { success } from './envelope.ts';
import {
  CSRF_HEADER,
  type NewSession,
  notFromThePage,
  sessionCookie,
  sessionEnded,
} from './session-cookie.ts';
import { compileCheck } from './validate.ts';

const PATH = '/dashboard/session';
/** A key, or a link's token, and some room. */
const MAX_SECRET_CHARACTERS = 512;

const SignIn = Type.Object(
  {
    api_key: Type.Optional(Type.String({ minLength: 1, maxLength: MAX_SECRET_CHARACTERS })),
    portal_token: Type.Optional(Type.String({ minLength: 1, maxLength: MAX_SECRET_CHARACTERS })),
  },
  { additionalProperties: false, minProperties: 1, maxProperties: 1 },
);

/** What a request says of who makes it. */
export function credentialsOf(request: FastifyRequest) {
  return {
    headers: request.headers,
    method: request.method,
    isHttps: request.protocol === 'https',
  };
}

/** Whether the page was loaded by https, also through a proxy that nobody told this server to believe: its browser says so. */
function isPageHttps(request: FastifyRequest): boolean {
  return request.protocol === 'https' || request.headers.origin?.startsWith('https://') === true;
}

function infoOf({ username, scopes, session }: Caller): object {
  const { via, expiresAt } = session as CallerSession;
  return {
    role: username === null ? 'operator' : 'account',
    username,
    scopes,
    expires_at: toSeconds(expiresAt),
    via,
  };
}

interface SessionRoutesOptions extends Pick<ApiDeps, 'clock'> {
  auth: Authenticator;
  /** Counts a sign-in as one of the caller's POST requests. */
  countPost: (caller: Caller, reply: FastifyReply) => Promise<void>;
}

export function mountSession(app: FastifyInstance, { auth, clock, countPost }: SessionRoutesOptions): void {
  const check = compileCheck(SignIn, 'body') as (body: unknown) => Static<typeof SignIn>;

  /** Also of a request that has no session yet: nobody else's page may sign a browser in. */
  function mustBeFromThePage(request: FastifyRequest): void {
    if (request.headers[CSRF_HEADER] === undefined) throw notFromThePage();
  }

  function forget(reply: FastifyReply): void {
    reply.header('set-cookie', [sessionCookie(null, 0, true), sessionCookie(null, 0, false)]);
  }

  app.route({
    method: 'GET',
    url: PATH,
    async handler(request, reply) {
      reply.header('cache-control', 'no-store');
      // A key in a header is no session, whatever cookie is there beside it.
      if (request.headers.cookie === undefined || request.headers['x-api-key'] !== undefined) {
        // Not a failed attempt: each load of the page asks.
        throw new PosthornError('unauthorized', 'nobody is signed in', { field: 'cookie' });
      }
      try {
        const caller = await auth.authenticate(credentialsOf(request), request.ip);
        request.caller = caller;
        return success(request.id, infoOf(caller));
      } catch (error) {
        if (error instanceof PosthornError && error.kind === 'unauthorized') forget(reply);
        throw error;
      }
    },
  });

  app.route({
    method: 'POST',
    url: PATH,
    async handler(request, reply) {
      reply.header('cache-control', 'no-store');
      mustBeFromThePage(request);
      const { api_key: apiKey, portal_token: linkToken } = check(request.body);
      const opened: NewSession =
        apiKey === undefined
          ? await auth.openPortal(linkToken as string, request.ip)
          : await auth.openSession(apiKey, request.ip, (caller) => countPost(caller, reply));
      request.caller = opened.caller;
      // A fresh token each time, and the one that the browser came with has ended: nobody can have chosen or kept it.
      await auth.endSession(credentialsOf(request));
      const { expiresAt } = opened.caller.session as CallerSession;
      const ageSeconds = Math.max(0, Math.floor((expiresAt - clock.now()) / 1000));
      reply.header('set-cookie', sessionCookie(opened.token, ageSeconds, isPageHttps(request)));
      return success(request.id, infoOf(opened.caller));
    },
  });

  app.route({
    method: 'DELETE',
    url: PATH,
    async handler(request, reply) {
      reply.header('cache-control', 'no-store');
      mustBeFromThePage(request);
      forget(reply);
      if (request.headers.cookie === undefined) throw sessionEnded();
      await auth.endSession(credentialsOf(request));
      return success(request.id, { message: 'signed out' });
    },
  });
}
