/** The cookie of the page's sessions, and how a request proves that the page made it. */
import { randomBytes } from 'node:crypto';

import { PosthornError } from '../errors.ts';
import { hashApiKey } from '../secrets.ts';
import type { Caller, Credentials } from './auth.ts';

/** From sign-in on, whatever is done in it. */
export const SESSION_MS = 12 * 3_600_000;

/**
 * A header of the page's own calls. No form and no link of another site can send it, and a script there would need a
 * permission (CORS) that this server never gives.
 */
export const CSRF_HEADER = 'x-posthorn-csrf';

/** By https: a browser takes it from this host over https alone, so that no neighbour of the host can plant one. */
const SECURE_NAME = '__Host-posthorn';
/** By http, on loopback or inside a network: browsers know no such guarantee there. */
const PLAIN_NAME = 'posthorn-session';
const TOKEN = /^[A-Za-z0-9_-]{43}$/;

/** A session that was just opened. */
export interface NewSession {
  /** For the browser's cookie alone. */
  token: string;
  caller: Caller;
}

/** 256 random bits, and what the store keeps of them. */
export function newToken(): { token: string; hash: string } {
  const token = randomBytes(32).toString('base64url');
  return { token, hash: hashApiKey(token) };
}

/** Whether a request changes nothing. */
export function isRead(method: string | undefined): boolean {
  return method === 'GET' || method === 'HEAD';
}

export function notFromThePage(): PosthornError {
  return new PosthornError(
    'forbidden',
    `a change in a session of the dashboard needs the header ${CSRF_HEADER}, which the page sends; programs call with an API key in the x-api-key header`,
    { field: CSRF_HEADER },
  );
}

export function sessionEnded(): PosthornError {
  return new PosthornError('unauthorized', 'this session has ended; sign in again', { field: 'cookie' });
}

/** The cookies of a header by their names; of two with one name the first, which has the longer path. */
function cookiesOf(header: string | undefined): Map<string, string> {
  const cookies = new Map<string, string>();
  for (const part of (header ?? '').split(';')) {
    const at = part.indexOf('=');
    const name = part.slice(0, at).trim();
    if (at > 0 && !cookies.has(name)) cookies.set(name, part.slice(at + 1).trim());
  }
  return cookies;
}

/** The token of a request's cookie; null without one that could be a session's. */
export function sessionTokenOf({ headers, isHttps }: Credentials): string | null {
  const cookies = cookiesOf(headers.cookie);
  const token = cookies.get(SECURE_NAME) ?? (isHttps ? undefined : cookies.get(PLAIN_NAME));
  return token !== undefined && TOKEN.test(token) ? token : null;
}

/**
 * The cookie that a browser is to keep, or with a null token to forget.
 *
 * @param isHttps - whether the page came by https
 */
export function sessionCookie(token: string | null, expiresInSeconds: number, isHttps: boolean): string {
  const name = isHttps ? SECURE_NAME : PLAIN_NAME;
  const age = token === null ? 0 : expiresInSeconds;
  return `${name}=${token ?? ''}; Path=/; Max-Age=${age}; HttpOnly; SameSite=Strict${isHttps ? '; Secure' : ''}`;
}
