/**
 * The little of HTTP/1.1 that the load generator and the receiver need, cut from a stream of bytes. Anything outside of it
 * throws: a benchmark that guesses measures something else.
 */

/** A request or response whose body has arrived as a whole. */
export interface Message {
  /** Request or status line and header lines, as they came. */
  head: string;
  /** Holds until the call that gave it returns. */
  body: Buffer;
}

const END_OF_HEAD = Buffer.from('\r\n\r\n');
const MAX_HEAD_BYTES = 64 * 1024;
const CONTENT_LENGTH = /\r\ncontent-length:[ \t]*(\d+)[ \t]*(?:\r\n|$)/i;
const TRANSFER_ENCODING = /\r\ntransfer-encoding:/i;
const STATUS = /^HTTP\/1\.[01] (\d{3})/;

/**
 * Cuts messages out of chunks, however they are split or joined.
 *
 * @example
 * const reader = new MessageReader(({ head, body }) => console.log(requestPath(head), body.length));
 * socket.on('data', (chunk) => reader.push(chunk));
 */
export class MessageReader {
  readonly #onMessage: (message: Message) => void;
  /** What has arrived of an unfinished message; a copy, since chunks are only lent. */
  #rest: Buffer | undefined;
  /** How many bytes the unfinished message needs before it is worth another look. */
  #wanted = 0;

  constructor(onMessage: (message: Message) => void) {
    this.#onMessage = onMessage;
  }

  /** Whether a message has begun and not ended. */
  get isInside(): boolean {
    return this.#rest !== undefined;
  }

  /**
   * Takes the next bytes and gives every message that they complete. `chunk` may be reused after the call.
   *
   * @throws Error for a chunked body, and for a head without end
   */
  push(chunk: Buffer): void {
    let bytes = chunk;
    if (this.#rest !== undefined) {
      bytes = Buffer.concat([this.#rest, chunk]);
      if (bytes.length < this.#wanted) {
        this.#rest = bytes;
        return;
      }
    }
    let at = 0;
    this.#wanted = 0;
    while (at < bytes.length) {
      const headEnd = bytes.indexOf(END_OF_HEAD, at);
      if (headEnd === -1) {
        if (bytes.length - at > MAX_HEAD_BYTES) throw new Error('no end of the head within 64 KiB');
        break;
      }
      const head = bytes.toString('latin1', at, headEnd);
      const bodyAt = headEnd + END_OF_HEAD.length;
      const end = bodyAt + bodyLength(head);
      if (end > bytes.length) {
        this.#wanted = end - at;
        break;
      }
      this.#onMessage({ head, body: bytes.subarray(bodyAt, end) });
      at = end;
    }
    this.#rest = at < bytes.length ? Buffer.from(bytes.subarray(at)) : undefined;
  }
}

function bodyLength(head: string): number {
  const given = CONTENT_LENGTH.exec(head)?.[1];
  if (given !== undefined) return Number(given);
  if (TRANSFER_ENCODING.test(head)) {
    throw new Error(`chunked bodies are not read here: send content-length\n${firstLine(head)}`);
  }
  return 0;
}

/** @throws Error when it is no response */
export function responseStatus(head: string): number {
  const status = STATUS.exec(head)?.[1];
  if (status === undefined) throw new Error(`not an HTTP response: ${firstLine(head)}`);
  return Number(status);
}

/** `/e/7` */
export function requestPath(head: string): string {
  const from = head.indexOf(' ') + 1;
  return head.slice(from, head.indexOf(' ', from));
}

/** The value of a header, whatever the case of its name; undefined without it. `name` in lower case. */
export function headerOf(head: string, name: string): string | undefined {
  let at = head.indexOf(`\r\n${name}:`);
  if (at === -1) at = head.toLowerCase().indexOf(`\r\n${name}:`);
  if (at === -1) return undefined;
  const from = at + name.length + 3;
  const end = head.indexOf('\r\n', from);
  return head.slice(from, end === -1 ? undefined : end).trim();
}

function firstLine(head: string): string {
  return head.slice(0, Math.min(200, head.indexOf('\r\n') >>> 0));
}
