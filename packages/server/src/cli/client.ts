/** The command line's side of the HTTP API: one request, its envelope (wire contract, section 1), its failures. */
import { readJson } from '../json-read.ts';
import { CommandError } from './failure.ts';
import type { Io } from './io.ts';
import { harmless } from './output.ts';

export const DEFAULT_URL = 'http://127.0.0.1:8080';
const REQUEST_TIMEOUT_MS = 30_000;

export interface ClientOptions {
  url?: string;
  key?: string;
  account?: string;
}

export interface Request {
  method: 'GET' | 'POST' | 'PUT' | 'PATCH' | 'DELETE';
  /** Path segments, encoded here. */
  path: readonly string[];
  query?: Record<string, string | number | undefined>;
  /** Text: sent as it is, so that numbers that JavaScript would round reach the server as they were written. */
  body?: string | object;
  /** Send `x-account` with the account of the options: only on the routes of an account. */
  forAccount?: boolean;
}

export interface Client {
  readonly url: string;
  /** Resolves with the envelope's `data`; rejects with a {@link CommandError}. */
  request<Data>(request: Request): Promise<Data>;
  /** The bytes of a stream of an account's, which stays open; rejects as {@link Client.request} while there is none. */
  stream(request: StreamRequest): Promise<AsyncIterable<Uint8Array>>;
}

export interface StreamRequest extends Pick<Request, 'path' | 'query'> {
  headers: Record<string, string>;
  signal: AbortSignal;
}

/** The server's refusal. */
export class ApiError extends CommandError {
  readonly code: number;
  readonly httpStatus: number;

  constructor(code: number, httpStatus: number, message: string) {
    super('failed', message);
    this.code = code;
    this.httpStatus = httpStatus;
  }
}

/** The base URL of options or environment, without a slash at its end. */
export function serverUrl(options: ClientOptions, env: Io['env']): string {
  const text = options.url ?? (env.POSTHORN_URL || DEFAULT_URL);
  const origin = options.url === undefined ? 'POSTHORN_URL' : '--url';
  const url = URL.canParse(text) ? new URL(text) : null;
  if (url === null || !/^https?:$/.test(url.protocol)) {
    throw new CommandError('usage', `${origin} must be an http or https URL such as ${DEFAULT_URL}`);
  }
  if (url.username !== '' || url.password !== '' || url.search !== '' || url.hash !== '') {
    throw new CommandError(
      'usage',
      `${origin} must have no user name, query or fragment; keys go into --key`,
    );
  }
  return url.href.replace(/\/+$/, '');
}

function apiKey(options: ClientOptions, env: Io['env']): string {
  const key = options.key ?? (env.POSTHORN_API_KEY || env.POSTHORN_OPERATOR_KEY);
  if (key === undefined || key === '') {
    throw new CommandError(
      'usage',
      'No API key: give --key, or set POSTHORN_API_KEY or POSTHORN_OPERATOR_KEY (`posthorn serve` prints the ' +
        "operator's key at its first start)",
    );
  }
  // Checked here because fetch's own refusal repeats the value.
  if (!/^[\x21-\x7e]+$/.test(key)) {
    throw new CommandError(
      'usage',
      'The API key has characters that no key has (a line break, a space?); copy it again',
    );
  }
  return key;
}

/**
 * A client for the server and key of the options, or of the environment.
 *
 * @throws {CommandError} `usage` when there is no key, or URL, key or account can't be sent.
 */
export function createClient(options: ClientOptions, env: Io['env']): Client {
  const url = serverUrl(options, env);
  const key = apiKey(options, env);
  const { account } = options;
  if (account !== undefined && !/^[\x21-\x7e]+$/.test(account)) {
    throw new CommandError('usage', '--account must be a username: letters, digits and . _ - @ +');
  }
  function targetOf({ path, query = {} }: Pick<Request, 'path' | 'query'>): URL {
    const target = new URL(`${url}/v2/${path.map(encodeURIComponent).join('/')}`);
    for (const [name, value] of Object.entries(query)) {
      if (value !== undefined) target.searchParams.set(name, String(value));
    }
    return target;
  }
  return {
    url,
    async request<Data>({ method, path, query = {}, body, forAccount = false }: Request): Promise<Data> {
      const target = targetOf({ path, query });
      const headers: Record<string, string> = { 'x-api-key': key, accept: 'application/json' };
      if (body !== undefined) headers['content-type'] = 'application/json';
      if (forAccount && account !== undefined) headers['x-account'] = account;
      const answer = await send(url, target, {
        method,
        headers,
        body: typeof body === 'object' ? JSON.stringify(body) : body,
      });
      return opened<Data>(url, answer);
    },
    async stream({ path, query = {}, headers, signal }) {
      const response = await fetch(targetOf({ path, query }), {
        headers: {
          ...headers,
          'x-api-key': key,
          accept: 'text/event-stream',
          ...(account === undefined ? {} : { 'x-account': account }),
        },
        redirect: 'manual',
        signal,
      }).catch((error: unknown) => {
        throw unreachable(url, error, REQUEST_TIMEOUT_MS);
      });
      const { status: httpStatus, body } = response;
      const isStream = response.headers.get('content-type')?.startsWith('text/event-stream') === true;
      if (httpStatus === 200 && isStream && body !== null) return body;
      const location = response.headers.get('location');
      opened(url, { httpStatus, location, text: await response.text() });
      throw new CommandError(
        'unreachable',
        `The server at ${url} answered without a stream: is it an older one?`,
      );
    },
  };
}

interface Answer {
  httpStatus: number;
  location: string | null;
  text: string;
}

/** One request; follows no redirect, because the key must not go to another server. */
async function send(
  url: string,
  target: URL,
  init: { method: string; headers?: Record<string, string>; body?: string | undefined },
  timeoutMs = REQUEST_TIMEOUT_MS,
): Promise<Answer> {
  const { body, ...rest } = init;
  try {
    const response = await fetch(target, {
      ...rest,
      ...(body === undefined ? {} : { body }),
      redirect: 'manual',
      signal: AbortSignal.timeout(timeoutMs),
    });
    return {
      httpStatus: response.status,
      location: response.headers.get('location'),
      text: await response.text(),
    };
  } catch (error) {
    throw unreachable(url, error, timeoutMs);
  }
}

function unreachable(url: string, error: unknown, timeoutMs: number): CommandError {
  return new CommandError(
    'unreachable',
    `Can't reach Posthorn at ${url} (${unreachableReason(error, timeoutMs)}): start it with \`posthorn serve\`, or ` +
      'name its address with --url or POSTHORN_URL',
    { cause: error },
  );
}

function unreachableReason(error: unknown, timeoutMs: number): string {
  if (error instanceof Error && error.name === 'TimeoutError')
    return `no answer within ${timeoutMs / 1000} s`;
  const cause = (error as { cause?: { code?: string; message?: string } }).cause;
  switch (cause?.code) {
    case 'ECONNREFUSED':
      return 'connection refused';
    case 'ECONNRESET':
    case 'UND_ERR_SOCKET':
      return 'it closed the connection';
    case 'ENOTFOUND':
    case 'EAI_AGAIN':
      return 'its host name is unknown';
    default:
      return cause?.code ?? cause?.message ?? String(error);
  }
}

/** `data` of a good envelope. */
function opened<Data>(url: string, { httpStatus, location, text }: Answer): Data {
  const envelope = parsedEnvelope(text);
  if (envelope === null) {
    const what =
      location === null
        ? `HTTP ${httpStatus} without Posthorn's JSON`
        : `HTTP ${httpStatus}, a redirect to ${harmless(location)}`;
    throw new CommandError(
      'unreachable',
      `What answers at ${url} is not a Posthorn server (${what}): check --url or POSTHORN_URL`,
    );
  }
  if (envelope.code === 0) return envelope.data as Data;
  const advice = refusalAdvice(envelope);
  throw new ApiError(
    envelope.code,
    httpStatus,
    `${harmless(envelope.msg)}${advice === null ? '' : `: ${advice}`} (HTTP ${httpStatus}, code ${envelope.code}, ` +
      `request ${harmless(envelope.rid)})`,
  );
}

interface Envelope {
  rid: string;
  code: number;
  msg: string;
  data: unknown;
}

function parsedEnvelope(text: string): Envelope | null {
  try {
    const value = readJson(text) as Partial<Envelope> | null;
    if (typeof value?.code !== 'number' || typeof value.msg !== 'string') return null;
    return { rid: String(value.rid), code: value.code, msg: value.msg, data: value.data };
  } catch {
    return null;
  }
}

function refusalAdvice({ code, msg }: Envelope): string | null {
  if (code === 10105) return 'give a valid key with --key or POSTHORN_API_KEY';
  if (code === 40000 && msg.includes('x-account')) return 'name the account with --account';
  return null;
}

/**
 * What the server says of its readiness, without a key: null when nobody answers there.
 *
 * @throws {CommandError} `usage` when the URL can't be one.
 */
export async function readReadiness(
  options: ClientOptions,
  env: Io['env'],
  timeoutMs: number,
): Promise<{ url: string; httpStatus: number | null; reason: string | null }> {
  const url = serverUrl(options, env);
  try {
    const { httpStatus, text } = await send(url, new URL(`${url}/readyz`), { method: 'GET' }, timeoutMs);
    return {
      url,
      httpStatus,
      reason: httpStatus === 200 ? null : harmless(parsedEnvelope(text)?.msg ?? text.slice(0, 200)),
    };
  } catch (error) {
    if (!(error instanceof CommandError) || error.reason !== 'unreachable') throw error;
    return { url, httpStatus: null, reason: unreachableReason(error.cause, timeoutMs) };
  }
}
