/** One listener of `GET /v2/listen`, message by message. */
import assert from 'node:assert/strict';
import { readMessages, type StreamMessage } from '../../src/cli/event-stream.ts';

export interface ListenOptions {
  key: string;
  account?: string;
  /** The path with its query. */
  path?: string;
  headers?: Record<string, string>;
}

export interface ReceivedWebhook {
  event_id: string;
  event: string;
  headers: Record<string, string>;
  body: string;
}

export class EventStream {
  readonly response: Response;
  readonly #abort: AbortController;
  readonly #messages: AsyncGenerator<StreamMessage>;
  /** Of the last message. */
  lastId: string | null = null;

  /** Resolves when the server has answered. */
  static async open(url: string, options: ListenOptions): Promise<EventStream> {
    const abort = new AbortController();
    const response = await fetch(`${url}${options.path ?? '/v2/listen'}`, {
      headers: {
        'x-api-key': options.key,
        ...(options.account === undefined ? {} : { 'x-account': options.account }),
        ...options.headers,
      },
      signal: abort.signal,
    });
    return new EventStream(response, abort);
  }

  private constructor(response: Response, abort: AbortController) {
    this.response = response;
    this.#abort = abort;
    this.#messages = readMessages(response.body as AsyncIterable<Uint8Array>);
  }

  /** The next message that is no comment; null when the stream has ended. */
  async next(): Promise<StreamMessage | null> {
    for (;;) {
      const { value, done } = await this.#messages.next();
      if (done) return null;
      this.lastId = value.id;
      if (value.event !== 'comment') return value;
    }
  }

  /** The data of the next message, which must be of this kind. */
  async take<Data = Record<string, string>>(event: string): Promise<Data> {
    const message = await this.next();
    assert.equal(message?.event, event, message?.data);
    return JSON.parse(message.data) as Data;
  }

  /** The ids of so many events. */
  async ids(count: number): Promise<string[]> {
    const ids: string[] = [];
    while (ids.length < count) ids.push((await this.take<ReceivedWebhook>('webhook')).event_id);
    return ids;
  }

  close(): void {
    this.#abort.abort();
  }
}
