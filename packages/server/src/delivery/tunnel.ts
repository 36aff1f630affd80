import type { Socket } from 'node:net';
import { ProxyError } from './request-failure.ts';

/** The operator's proxy, through which all deliveries go out. */
export interface EgressProxy {
  /** `http`: tunnels by CONNECT (RFC 9110, section 9.3.6); `socks5`: RFC 1928, with names left to the proxy. */
  kind: 'http' | 'socks5';
  /** A name or an address, IPv6 without brackets. */
  host: string;
  port: number;
  /** Null: without authentication. */
  credentials: { username: string; password: string } | null;
}

const MAX_CONNECT_ANSWER_BYTES = 16_384;

/**
 * Asks the proxy at the other end of `socket`, which is connected, for a tunnel to a receiver. When it resolves the
 * socket carries the receiver's bytes, and not one of them has been read.
 *
 * @param host a name as URLs have it, or an address, IPv6 without brackets
 * @param onAsked the proxy has let us in; from now on it is the receiver that may be waited for
 * @throws ProxyError when the proxy refuses or fails, or the socket's own error
 */
export async function openTunnel(
  socket: Socket,
  proxy: EgressProxy,
  host: string,
  port: number,
  onAsked: () => void,
): Promise<void> {
  const reader = new Reader(socket);
  try {
    if (proxy.kind === 'http') {
      socket.write(connectRequest(proxy, host, port));
      onAsked();
      const head = await reader.head(MAX_CONNECT_ANSWER_BYTES);
      checkConnectAnswer(head.text);
      // Nobody has been asked anything through the tunnel yet.
      if (!head.isAll) throw new ProxyError('not_http');
      return;
    }
    await greet(socket, reader, proxy);
    socket.write(socksRequest(host, port));
    onAsked();
    await checkSocksAnswer(reader);
  } finally {
    reader.release();
  }
}

/** Takes exactly what was asked for from a socket, and leaves the rest in it. */
class Reader {
  readonly #socket: Socket;
  #wake: () => void = () => {};
  #ended: Error | null = null;
  readonly #onReadable = (): void => this.#wake();
  readonly #onEnd = (): void => this.#end(new ProxyError('broken_off'));
  readonly #onError = (error: Error): void => this.#end(error);

  constructor(socket: Socket) {
    this.#socket = socket;
    socket.on('readable', this.#onReadable);
    socket.on('end', this.#onEnd);
    socket.on('close', this.#onEnd);
    socket.on('error', this.#onError);
  }

  async bytes(count: number): Promise<Buffer> {
    for (;;) {
      const taken: Buffer | null = this.#socket.read(count);
      if (taken !== null && taken.length === count) return taken;
      await this.#more();
    }
  }

  /** HTTP headers up to their empty line, and whether nothing has come behind it. */
  async head(maxBytes: number): Promise<{ text: string; isAll: boolean }> {
    let seen = Buffer.alloc(0);
    for (;;) {
      const chunk: Buffer | null = this.#socket.read();
      if (chunk === null) {
        await this.#more();
        continue;
      }
      seen = Buffer.concat([seen, chunk]);
      const end = seen.indexOf('\r\n\r\n');
      if (end >= 0) {
        return { text: seen.toString('latin1', 0, end), isAll: seen.length === end + 4 };
      }
      if (seen.length > maxBytes) throw new ProxyError('not_http');
    }
  }

  release(): void {
    this.#socket.off('readable', this.#onReadable);
    this.#socket.off('end', this.#onEnd);
    this.#socket.off('close', this.#onEnd);
    this.#socket.off('error', this.#onError);
  }

  #more(): Promise<void> {
    return new Promise((resolve, reject) => {
      this.#wake = () => (this.#ended === null ? resolve() : reject(this.#ended));
      if (this.#ended !== null) reject(this.#ended);
    });
  }

  #end(error: Error): void {
    this.#ended ??= error;
    this.#wake();
  }
}

// ---------------------------------------------------------------- HTTP

function connectRequest({ credentials }: EgressProxy, host: string, port: number): string {
  const authority = `${host.includes(':') ? `[${host}]` : host}:${port}`;
  const authorization =
    credentials === null
      ? ''
      : `proxy-authorization: Basic ${Buffer.from(`${credentials.username}:${credentials.password}`).toString('base64')}\r\n`;
  return `CONNECT ${authority} HTTP/1.1\r\nhost: ${authority}\r\n${authorization}\r\n`;
}

function checkConnectAnswer(head: string): void {
  const status = Number(/^HTTP\/1\.[01] (\d{3})(?= |\r|$)/.exec(head)?.[1] ?? 0);
  if (status >= 200 && status < 300) return;
  const said = `HTTP ${status}`;
  switch (status) {
    case 0:
      throw new ProxyError('not_http');
    case 403:
    case 451:
      throw new ProxyError('not_allowed', said);
    case 407:
      throw new ProxyError('unauthorized', said);
    case 502:
    case 503:
    case 504:
      throw new ProxyError('unreachable', said);
    default:
      throw new ProxyError('refused', said);
  }
}

// ---------------------------------------------------------------- SOCKS5

const SOCKS_VERSION = 5;
const NO_AUTHENTICATION = 0;
const BY_PASSWORD = 2;
const PASSWORD_VERSION = 1;
const CONNECT = 1;
const ADDRESS_V4 = 1;
const ADDRESS_NAME = 3;
const ADDRESS_V6 = 4;

async function greet(socket: Socket, reader: Reader, { credentials }: EgressProxy): Promise<void> {
  const methods = credentials === null ? [NO_AUTHENTICATION] : [NO_AUTHENTICATION, BY_PASSWORD];
  socket.write(Buffer.from([SOCKS_VERSION, methods.length, ...methods]));
  const [version, method] = await reader.bytes(2);
  if (version !== SOCKS_VERSION) throw new ProxyError('not_socks');
  if (method === NO_AUTHENTICATION) return;
  if (method !== BY_PASSWORD || credentials === null)
    throw new ProxyError('unauthorized', 'no common method');
  const username = Buffer.from(credentials.username);
  const password = Buffer.from(credentials.password);
  socket.write(
    Buffer.concat([
      Buffer.from([PASSWORD_VERSION, username.length]),
      username,
      Buffer.from([password.length]),
      password,
    ]),
  );
  const [, status] = await reader.bytes(2);
  if (status !== 0) throw new ProxyError('unauthorized', `SOCKS status ${status}`);
}

function socksRequest(host: string, port: number): Buffer {
  const address = URL.parse(`http://${host.includes(':') ? `[${host}]` : host}/`)?.hostname ?? host;
  return Buffer.concat([
    Buffer.from([SOCKS_VERSION, CONNECT, 0]),
    socksAddress(address),
    Buffer.from([port >> 8, port & 255]),
  ]);
}

function socksAddress(host: string): Buffer {
  if (host.startsWith('[')) return Buffer.from([ADDRESS_V6, ...ipv6Bytes(host.slice(1, -1))]);
  if (/^\d+\.\d+\.\d+\.\d+$/.test(host)) return Buffer.from([ADDRESS_V4, ...host.split('.').map(Number)]);
  const name = Buffer.from(host);
  if (name.length > 255) throw new ProxyError('refused', 'the name is too long for SOCKS5');
  return Buffer.concat([Buffer.from([ADDRESS_NAME, name.length]), name]);
}

/** Of the form that URLs have: words in hexadecimal, `::` for the longest run of zeros. */
function ipv6Bytes(address: string): number[] {
  const [head = '', tail] = address.split('::');
  const words = (part: string): number[] =>
    part === '' ? [] : part.split(':').map((word) => Number.parseInt(word, 16));
  const before = words(head);
  const after = words(tail ?? '');
  const zeros = Array.from({ length: 8 - before.length - after.length }, () => 0);
  return [...before, ...zeros, ...after].flatMap((word) => [word >> 8, word & 255]);
}

async function checkSocksAnswer(reader: Reader): Promise<void> {
  const [version, reply = 0, , addressKind] = await reader.bytes(4);
  if (version !== SOCKS_VERSION) throw new ProxyError('not_socks');
  if (reply !== 0) throw socksRefusal(reply);
  // The address that the proxy dials from, which says nothing to us.
  if (addressKind === ADDRESS_V4) await reader.bytes(4 + 2);
  else if (addressKind === ADDRESS_V6) await reader.bytes(16 + 2);
  else if (addressKind === ADDRESS_NAME) await reader.bytes(((await reader.bytes(1))[0] as number) + 2);
  else throw new ProxyError('not_socks');
}

function socksRefusal(reply: number): ProxyError {
  const said = `SOCKS reply ${reply}`;
  if (reply === 2) return new ProxyError('not_allowed', said);
  // General failure, no network, no host, refused, too many hops: the proxy tried.
  return new ProxyError([1, 3, 4, 5, 6].includes(reply) ? 'unreachable' : 'refused', said);
}
