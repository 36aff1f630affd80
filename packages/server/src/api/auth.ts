/**
 * Who calls, and for which account. Runs before the body is read.
 *
 * A key, and the token of a session, is looked up by its SHA-256, so that the comparison's time tells nothing about a stored
 * one. Positive answers are kept for at most a second: a revocation or a sign-out on another node holds within that second,
 * one on this node at once ({@link Authenticator.forgetKeys}).
 */
import { timingSafeEqual } from 'node:crypto';
import type { IncomingMessage } from 'node:http';

import ipaddr from 'ipaddr.js';
import type { Logger } from 'pino';

import type { Clock } from '../clock.ts';
import { PosthornError, invalid, notFound } from '../errors.ts';
import type { KeyIdentity, Scope, SessionIdentity } from '../model.ts';
import { hashApiKey } from '../secrets.ts';
import type { Store } from '../store/store.ts';
import { FixedWindow } from './fixed-window.ts';
import {
  CSRF_HEADER,
  type NewSession,
  SESSION_MS,
  isRead,
  newToken,
  notFromThePage,
  sessionEnded,
  sessionTokenOf,
} from './session-cookie.ts';
import { quoted } from './validate.ts';

/**
 * Who may call a route.
 *
 * | access | account key | `operator` | `publish` |
 * |---|---|---|---|
 * | `any` | yes | yes | yes |
 * | `account` | for itself | with `x-account` | no |
 * | `account_or_operator` | for itself | yes, `x-account` optional | no |
 * | `publish` | no | yes | yes |
 * | `operator` | no | yes | no |
 */
export type Access = 'any' | 'account' | 'account_or_operator' | 'publish' | 'operator';

/** Who a valid key, or a session of the page, belongs to. */
export interface Caller {
  /** Null in a session of a portal link, behind which there is no key. */
  keyId: string | null;
  scopes: Scope[];
  /** The account whose key it is; null for an operator-level key. */
  username: string | null;
  /** When the account, or for an operator-level key the key, was made; null for the configured operator key. */
  createdAt: number | null;
  /** Null when the request carried the key itself. */
  session: CallerSession | null;
}

/** The session of the page by which somebody calls. */
export interface CallerSession {
  via: 'api_key' | 'portal_link';
  /** Unix ms. */
  expiresAt: number;
}

/** The id under which the operator key of the configuration appears in logs. */
export const CONFIGURED_KEY_ID = 'configured';

const MAX_KEY_CHARACTERS = 512;
const CACHE_MS = 1000;
const CACHE_ENTRIES = 10_000;
const TOUCH_INTERVAL_MS = 5000;
const FAILURE_WINDOW_MS = 60_000;
const FAILURE_ADDRESSES = 50_000;

/**
 * The account names that may exist. `.` and `..` are left out because URLs drop them as path segments.
 */
export const USERNAME_PATTERN = '^(?!\\.{1,2}$)[A-Za-z0-9._@+-]{1,64}$';
const USERNAME = new RegExp(USERNAME_PATTERN);

function unauthorized(message: string, field = 'x-api-key'): PosthornError {
  return new PosthornError('unauthorized', message, { field });
}

function suspended(): PosthornError {
  return new PosthornError('forbidden', 'this account is suspended; ask whoever runs this service');
}

/** A remote address as failures are counted: an IPv6 network of 64 bits belongs to one customer. */
export function addressGroup(address: string): string {
  if (!ipaddr.isValid(address)) return address;
  const parsed = ipaddr.process(address);
  if (parsed.kind() === 'ipv4') return parsed.toString();
  return `${(parsed as ipaddr.IPv6).parts
    .slice(0, 4)
    .map((part) => part.toString(16))
    .join(':')}::/64`;
}

/** What a request says of who makes it. */
export interface Credentials {
  headers: IncomingMessage['headers'];
  method?: string | undefined;
  /** Whether the request came by https, as far as it is known. */
  isHttps: boolean;
}

export interface AuthenticatorOptions {
  store: Store;
  clock: Clock;
  logger: Logger;
  operatorKeyHash: string | null;
  failedAuthPerMinute: number;
}

export class Authenticator {
  readonly #store: Store;
  readonly #clock: Clock;
  readonly #logger: Logger;
  readonly #operatorKeyHash: Buffer | null;
  readonly #failures: FixedWindow;
  readonly #cache = new Map<string, { identity: KeyIdentity; until: number }>();
  /** By the hashes of their tokens. */
  readonly #sessions = new Map<string, { session: SessionIdentity; until: number }>();
  /** Counts the changes that end a key, so that a look-up that was under way during one isn't kept. */
  #generation = 0;
  #uses = new Map<string, number>();
  #cancelFlush: (() => void) | null = null;

  constructor(options: AuthenticatorOptions) {
    this.#store = options.store;
    this.#clock = options.clock;
    this.#logger = options.logger;
    this.#operatorKeyHash =
      options.operatorKeyHash === null ? null : Buffer.from(options.operatorKeyHash, 'hex');
    this.#failures = new FixedWindow({
      limit: options.failedAuthPerMinute,
      windowMs: FAILURE_WINDOW_MS,
      maxKeys: FAILURE_ADDRESSES,
      clock: options.clock,
    });
  }

  /**
   * The caller of a request, by its `x-api-key` header; without that header, by the cookie of a session. A session acts
   * with what its key or portal link may do, and changes something only by requests that prove to come from the page.
   *
   * @throws PosthornError `unauthorized` without a key or session that holds; `rate_limited` instead when the address has
   *   failed too often (a valid key passes all the same); `forbidden` for a suspended account, and for a change by a
   *   session without {@link CSRF_HEADER}.
   */
  async authenticate(request: Credentials, remoteAddress: string): Promise<Caller> {
    const token = request.headers['x-api-key'] === undefined ? sessionTokenOf(request) : null;
    return await this.#counting(remoteAddress, async () => {
      if (token === null) return await this.#callerOfKey(hashApiKey(keyOf(request.headers)));
      if (!isRead(request.method) && request.headers[CSRF_HEADER] === undefined) throw notFromThePage();
      return await this.#callerOfSession(hashApiKey(token));
    });
  }

  /**
   * Opens a session of the page for whoever has the key.
   *
   * @param admit - told of the caller before; what it rejects with is the answer
   * @throws PosthornError as {@link Authenticator.authenticate}; `forbidden` also for a key that may only publish
   */
  async openSession(
    apiKey: string,
    remoteAddress: string,
    admit: (caller: Caller) => Promise<void>,
  ): Promise<NewSession> {
    return await this.#counting(remoteAddress, async () => {
      if (!isOneKey(apiKey)) throw unauthorized('api_key must be one API key and nothing else', 'api_key');
      const keyHash = hashApiKey(apiKey);
      const { caller, keyExpiresAt } = await this.#identify(keyHash);
      if (!mayCall(caller, 'account_or_operator')) {
        throw new PosthornError(
          'forbidden',
          'this key may only publish: sign in with an operator’s key, or an account’s own',
        );
      }
      await admit(caller);
      const { token, hash } = newToken();
      const expiresAt = Math.min(this.#clock.now() + SESSION_MS, keyExpiresAt ?? Number.MAX_SAFE_INTEGER);
      await this.#store.openSession({ hash, keyHash, expiresAt });
      return { token, caller: { ...caller, session: { via: 'api_key', expiresAt } } };
    });
  }

  /**
   * Opens a session of an account for whoever has a portal link to it.
   *
   * @throws PosthornError as {@link Store.usePortalLink}; `rate_limited` after too many failures
   */
  async openPortal(linkToken: string, remoteAddress: string): Promise<NewSession> {
    return await this.#counting(remoteAddress, async () => {
      const { token, hash } = newToken();
      const expiresAt = this.#clock.now() + SESSION_MS;
      await this.#store.usePortalLink(hashApiKey(linkToken), { hash, expiresAt });
      return { token, caller: await this.#callerOfSession(hash) };
    });
  }

  /** Ends the session of a request's cookie, on every node within a second and on this one at once. */
  async endSession(request: Credentials): Promise<void> {
    const token = sessionTokenOf(request);
    if (token === null) return;
    const hash = hashApiKey(token);
    await this.#store.endSession(hash);
    this.forgetKeys();
  }

  /**
   * The same caller without a look into the store: of the configured operator key, and of a key that was looked up
   * within the last second. Null in every other case, a wrong key's among them: {@link Authenticator.authenticate} then
   * says what is wrong, and counts it.
   */
  recognize(request: Pick<IncomingMessage, 'headers'>): Caller | null {
    const key = request.headers['x-api-key'];
    if (!isOneKey(key)) return null;
    const hash = hashApiKey(key);
    if (this.#isConfigured(hash)) return configuredCaller();
    const identity = this.#cached(hash);
    if (identity === null || this.#isExpired(identity) || identity.account?.status === 'suspended')
      return null;
    this.#noteUse(identity.keyId);
    return callerOf(identity);
  }

  /**
   * The account that a caller acts for on a route, or null where there is none.
   *
   * @param account the `x-account` header.
   * @throws PosthornError `forbidden` when the key may not call the route, `invalid_parameter` when an operator didn't
   *   say for which account, `not_found` when there is no such account.
   */
  async authorize(
    caller: Caller,
    access: Access,
    account: string | string[] | undefined,
  ): Promise<string | null> {
    if (caller.username !== null && account !== undefined && account !== caller.username) {
      throw new PosthornError(
        'forbidden',
        'an account key acts for its own account only; leave the x-account header out',
      );
    }
    if (!mayCall(caller, access)) throw forbidden(caller, access);
    if (caller.username !== null) return caller.username;
    const isOperator = caller.scopes.includes('operator');
    if (!isOperator || access === 'publish' || access === 'operator') return null;
    if (account === undefined) {
      if (access !== 'account') return null;
      throw invalid(
        'x-account',
        'x-account is required: an operator key acts for an account here; send its username in the x-account header',
      );
    }
    if (typeof account !== 'string' || !USERNAME.test(account) || !(await this.#store.getAccount(account))) {
      throw notFound('account', String(account).slice(0, 64));
    }
    return account;
  }

  /**
   * Drops every cached key and session: to be called after a commit that revokes a key, ends a session, or suspends or
   * deletes an account.
   */
  forgetKeys(): void {
    this.#generation += 1;
    this.#cache.clear();
    this.#sessions.clear();
  }

  /** Writes when keys were last used. Failures are logged: no request depends on it. */
  async flushUses(): Promise<void> {
    this.#cancelFlush?.();
    this.#cancelFlush = null;
    if (this.#uses.size === 0) return;
    const uses = [...this.#uses].map(([keyId, at]) => ({ keyId, at }));
    this.#uses = new Map();
    try {
      await this.#store.touchKeys(uses);
    } catch (error) {
      this.#logger.warn({ err: error, keys: uses.length }, 'could not note when keys were last used');
    }
  }

  #isConfigured(hash: string): boolean {
    return this.#operatorKeyHash !== null && timingSafeEqual(Buffer.from(hash, 'hex'), this.#operatorKeyHash);
  }

  /** Runs a check of who somebody is, and counts its failure for the address. */
  async #counting<T>(remoteAddress: string, check: () => Promise<T>): Promise<T> {
    try {
      return await check();
    } catch (error) {
      if (error instanceof PosthornError && error.kind === 'unauthorized') {
        throw this.#countFailure(error, remoteAddress);
      }
      throw error;
    }
  }

  async #callerOfKey(hash: string): Promise<Caller> {
    return (await this.#identify(hash)).caller;
  }

  async #identify(hash: string): Promise<{ caller: Caller; keyExpiresAt: number | null }> {
    if (this.#isConfigured(hash)) return { caller: configuredCaller(), keyExpiresAt: null };
    const identity = await this.#find(hash);
    this.#noteUse(identity.keyId);
    if (identity.account?.status === 'suspended') throw suspended();
    return { caller: callerOf(identity), keyExpiresAt: identity.expiresAt };
  }

  async #callerOfSession(hash: string): Promise<Caller> {
    const { keyHash, account, expiresAt } = await this.#findSession(hash);
    if (expiresAt <= this.#clock.now()) throw sessionEnded();
    if (keyHash !== null) {
      const caller = await this.#callerOfKey(keyHash).catch((error: unknown) => {
        // The key was revoked or has expired, and with it what was opened with it.
        throw error instanceof PosthornError && error.kind === 'unauthorized' ? sessionEnded() : error;
      });
      return { ...caller, session: { via: 'api_key', expiresAt } };
    }
    if (account === null) throw sessionEnded();
    if (account.status === 'suspended') throw suspended();
    return {
      keyId: null,
      scopes: ['account'],
      username: account.username,
      createdAt: account.createdAt,
      session: { via: 'portal_link', expiresAt },
    };
  }

  async #findSession(hash: string): Promise<SessionIdentity> {
    const cached = this.#sessions.get(hash);
    if (cached !== undefined && cached.until > this.#clock.monotonic()) return cached.session;
    const generation = this.#generation;
    const session = await this.#store.findSession(hash);
    if (session === null) throw sessionEnded();
    if (generation === this.#generation) {
      if (this.#sessions.size >= CACHE_ENTRIES) this.#sessions.clear();
      this.#sessions.set(hash, { session, until: this.#clock.monotonic() + CACHE_MS });
    }
    return session;
  }

  async #find(hash: string): Promise<KeyIdentity> {
    let identity = this.#cached(hash);
    if (identity === null) {
      const generation = this.#generation;
      identity = await this.#store.findKey(hash);
      if (identity !== null && generation === this.#generation) {
        if (this.#cache.size >= CACHE_ENTRIES) this.#cache.clear();
        this.#cache.set(hash, { identity, until: this.#clock.monotonic() + CACHE_MS });
      }
    }
    if (identity === null) throw unauthorized('the API key in the x-api-key header is not valid');
    if (this.#isExpired(identity)) {
      throw unauthorized('the API key in the x-api-key header has expired; ask for a new one');
    }
    return identity;
  }

  #cached(hash: string): KeyIdentity | null {
    const cached = this.#cache.get(hash);
    return cached !== undefined && cached.until > this.#clock.monotonic() ? cached.identity : null;
  }

  #isExpired({ expiresAt }: KeyIdentity): boolean {
    return expiresAt !== null && expiresAt <= this.#clock.now();
  }

  #countFailure(error: PosthornError, remoteAddress: string): PosthornError {
    const state = this.#failures.hit(addressGroup(remoteAddress));
    if (state.allowed) return error;
    return new PosthornError(
      'rate_limited',
      `too many requests without a valid API key from this address; try again in ${state.resetSeconds} s`,
      { retryAfterSeconds: state.resetSeconds },
    );
  }

  #noteUse(keyId: string): void {
    this.#uses.set(keyId, this.#clock.now());
    this.#cancelFlush ??= this.#clock.timer(TOUCH_INTERVAL_MS, () => void this.flushUses());
  }
}

/** The key of a request. */
function keyOf(headers: IncomingMessage['headers']): string {
  // Node joins repeated headers with ', ', so two keys arrive as one text that no key is.
  const key = headers['x-api-key'];
  if (typeof key !== 'string' || key === '') {
    throw unauthorized('an API key is required: send it in the x-api-key header');
  }
  if (!isOneKey(key)) throw unauthorized('the x-api-key header must hold one API key and nothing else');
  return key;
}

function isOneKey(header: string | string[] | undefined): header is string {
  return (
    typeof header === 'string' &&
    header !== '' &&
    header.length <= MAX_KEY_CHARACTERS &&
    !header.includes(',')
  );
}

function configuredCaller(): Caller {
  return { keyId: CONFIGURED_KEY_ID, scopes: ['operator'], username: null, createdAt: null, session: null };
}

function callerOf({ keyId, scopes, username, account, createdAt }: KeyIdentity): Caller {
  return { keyId, scopes, username, createdAt: account?.createdAt ?? createdAt, session: null };
}

/** Whether a caller's scopes allow a route, see {@link Access}. */
export function mayCall({ username, scopes }: Caller, access: Access): boolean {
  if (access === 'any') return true;
  if (username !== null) return access.startsWith('account') && scopes.includes('account');
  return scopes.includes('operator') || (access === 'publish' && scopes.includes('publish'));
}

function forbidden(caller: Caller, access: Access): PosthornError {
  const needed: Record<Access, string> = {
    any: 'any key',
    account: "an account's key",
    account_or_operator: "an account's key or one with scope operator",
    publish: 'a key with scope publish or operator',
    operator: 'a key with scope operator',
  };
  return new PosthornError(
    'forbidden',
    `this key (scopes: ${caller.scopes.map((scope) => quoted(scope)).join(', ')}) may not call this route, which takes ${needed[access]}`,
  );
}
