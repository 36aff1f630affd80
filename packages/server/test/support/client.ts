/** Asks a running service over HTTP, as its operator and publishers do. */
import assert from 'node:assert/strict';

export interface Answer<T> {
  status: number;
  headers: Headers;
  /** The header, null without it. */
  retryAfter: string | null;
  code: number;
  msg: string;
  data: T;
  /** The body as it came. */
  text: string;
}

export interface AskOptions {
  /** An object goes out as JSON, a text as it is. */
  body?: object | string;
  /** For whom an operator asks (`x-account`). */
  account?: string;
  /** Instead of the client's own key. */
  key?: string;
  headers?: Record<string, string>;
  /** Without an answer for so long {@link Client.ask} rejects; default: it waits for ever. */
  timeoutMs?: number;
}

/**
 * @example
 * const operator = new Client(service.url, OPERATOR_KEY);
 * await operator.data('POST', '/v2/account', { body: { username: 'alice' } });
 */
export class Client {
  readonly #url: string;
  readonly #key: string;

  constructor(url: string, key: string) {
    this.#url = url;
    this.#key = key;
  }

  /** Rejects only when there was no answer. */
  async ask<T = unknown>(method: string, path: string, options: AskOptions = {}): Promise<Answer<T>> {
    const { body, account, key = this.#key, headers, timeoutMs } = options;
    const response = await fetch(`${this.#url}${path}`, {
      method,
      ...(timeoutMs === undefined ? {} : { signal: AbortSignal.timeout(timeoutMs) }),
      headers: {
        'x-api-key': key,
        ...(account === undefined ? {} : { 'x-account': account }),
        ...(body === undefined ? {} : { 'content-type': 'application/json' }),
        ...headers,
      },
      ...(body === undefined ? {} : { body: typeof body === 'string' ? body : JSON.stringify(body) }),
    });
    const text = await response.text();
    const { code, msg, data } = JSON.parse(text) as Answer<T>;
    return {
      status: response.status,
      headers: response.headers,
      retryAfter: response.headers.get('retry-after'),
      code,
      msg,
      data,
      text,
    };
  }

  /** The `data` of an answer that must be a success. */
  async data<T = unknown>(method: string, path: string, options: AskOptions = {}): Promise<T> {
    const answer = await this.ask<T>(method, path, options);
    assert.equal(answer.code, 0, `${method} ${path}: ${answer.msg}`);
    return answer.data;
  }

  /** Everything of a list, page by page. */
  async list<T>(path: string, field: string, account: string): Promise<T[]> {
    const items: T[] = [];
    let cursor: string | null = null;
    do {
      const page: string = `${path}${path.includes('?') ? '&' : '?'}limit=200${cursor === null ? '' : `&cursor=${cursor}`}`;
      const data = await this.data<Record<string, unknown>>('GET', page, { account });
      items.push(...(data[field] as T[]));
      cursor = data.next_cursor as string | null;
    } while (cursor !== null);
    return items;
  }
}
