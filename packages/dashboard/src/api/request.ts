/** One call of the API by the session's cookie. */
import { BASE } from '../lib/base.ts';
import { ApiError } from './error.ts';

export type Query = Record<string, string | number | boolean | null | undefined>;

export interface RequestOptions {
  /** Sent as JSON. */
  body?: object;
  /** What is undefined, null or empty is left out. */
  query?: Query;
  /** The account that an operator acts for (`x-account`). */
  account?: string | null;
  signal?: AbortSignal;
}

export type Method = 'GET' | 'POST' | 'PUT' | 'PATCH' | 'DELETE';

interface Envelope {
  rid: string;
  code: number;
  msg: string;
  data: unknown;
}

/** A path with its query; parts of the path must be encoded by the caller. */
export function withQuery(path: string, query: Query = {}): string {
  const search = new URLSearchParams();
  for (const [name, value] of Object.entries(query)) {
    if (value !== undefined && value !== null && value !== '') search.set(name, String(value));
  }
  return search.size === 0 ? path : `${path}?${search.toString()}`;
}

function isEnvelope(value: unknown): value is Envelope {
  return typeof value === 'object' && value !== null && 'code' in value && 'msg' in value;
}

/**
 * Calls the API and opens the envelope.
 *
 * A partial success (a batch of which items were refused: HTTP 200 with a code other than 0) resolves with its `data`,
 * which tells item by item.
 *
 * @returns the envelope's `data`
 * @throws ApiError with the API's own message; with status 0 when no answer came, unless `signal` ended it
 */
export async function request<T>(method: Method, path: string, options: RequestOptions = {}): Promise<T> {
  const { body, query, account, signal } = options;
  const headers: Record<string, string> = { accept: 'application/json' };
  if (body !== undefined) headers['content-type'] = 'application/json';
  if (account) headers['x-account'] = account;
  // A form of another site can't send this header: that is what proves that this page makes the call.
  if (method !== 'GET') headers['x-posthorn-csrf'] = '1';
  let response: Response;
  try {
    response = await fetch(BASE + withQuery(path, query), {
      method,
      headers,
      credentials: 'same-origin',
      cache: 'no-store',
      ...(body === undefined ? {} : { body: JSON.stringify(body) }),
      ...(signal === undefined ? {} : { signal }),
    });
  } catch (error) {
    if (signal?.aborted === true) throw error;
    throw new ApiError(
      'The server can’t be reached. Check that it runs and that you are connected, then try again.',
      {
        status: 0,
        code: -1,
        requestId: null,
        retryAfterSeconds: null,
      },
    );
  }
  const envelope: unknown = await response.json().catch(() => null);
  const retryAfter = Number(response.headers.get('retry-after') ?? Number.NaN);
  const facts = {
    status: response.status,
    requestId: response.headers.get('x-request-id'),
    retryAfterSeconds: Number.isFinite(retryAfter) ? retryAfter : null,
  };
  if (!isEnvelope(envelope)) {
    throw new ApiError(
      `The server, or a proxy in front of it, answered ${response.status} without saying why.`,
      {
        ...facts,
        code: -1,
      },
    );
  }
  if (response.ok && envelope.data !== null) return envelope.data as T;
  if (envelope.code !== 0) throw new ApiError(envelope.msg, { ...facts, code: envelope.code });
  return envelope.data as T;
}
