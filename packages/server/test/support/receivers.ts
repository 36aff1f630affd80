import { createServer, type AddressInfo, type Server, type Socket } from 'node:net';
import { createServer as createTlsServer } from 'node:tls';
import { gzipSync } from 'node:zlib';
import type { Certificate } from './certificates.ts';

/** A request as it came over the wire. */
export interface ReceivedRequest {
  method: string;
  /** Path and query. */
  target: string;
  /** Names in lower case. */
  headers: Record<string, string>;
  body: Buffer;
  /** 1 for the first request of its connection. */
  numberOnConnection: number;
  /** The name that the client asked for in the TLS handshake; null without TLS or without a name. */
  serverName: string | null;
}

/** What a receiver does once it has read a whole request: anything that can be done to a socket. */
export type Behaviour = (socket: Socket, request: ReceivedRequest) => void;

export interface ReceiverOptions {
  /** Speak TLS with this certificate. */
  tls?: Certificate;
  /** Default 127.0.0.1. */
  host?: '127.0.0.1' | '::1';
}

/**
 * A webhook receiver on a free port of the loopback interface, on a bare socket so that it can misbehave in every way.
 *
 * @example
 * const receiver = await startReceiver(respond(200));
 * t.after(() => receiver.close());
 * await deliverTo(receiver.url);
 * assert.equal(receiver.requests.length, 1);
 */
export class Receiver {
  /** Everything that was read to its end, in order. */
  readonly requests: ReceivedRequest[] = [];
  readonly #server: Server;
  readonly #sockets = new Set<Socket>();
  readonly #waiters = new Set<{ ready: () => boolean; resolve: () => void }>();
  readonly #scheme: 'http' | 'https';
  #connectionsSeen = 0;
  #bytesSent = 0;

  constructor(behaviour: Behaviour, options: ReceiverOptions) {
    this.#scheme = options.tls ? 'https' : 'http';
    const serve = (socket: Socket): void =>
      readRequests(socket, behaviour, (request) => this.#received(request));
    this.#server = options.tls ? createTlsServer(options.tls, serve) : createServer(serve);
    // 'connection' is the TCP connection under TLS too, so that failed handshakes count.
    this.#server.on('connection', (socket) => this.#track(socket));
    // A client that dislikes the certificate leaves in mid-handshake: that is the test, not a defect.
    this.#server.on('tlsClientError', () => {});
  }

  listen(host: string): Promise<void> {
    return new Promise((resolve, reject) => {
      this.#server.once('error', reject).listen(0, host, resolve);
    });
  }

  get port(): number {
    return (this.#server.address() as AddressInfo).port;
  }

  /** `http(s)://<address>:<port>/hook`. */
  get url(): string {
    return this.urlFor((this.#server.address() as AddressInfo).address);
  }

  /** The same with another host name, for a lookup that leads it here. */
  urlFor(host: string): string {
    return `${this.#scheme}://${host.includes(':') ? `[${host}]` : host}:${this.port}/hook`;
  }

  get openConnections(): number {
    return this.#sockets.size;
  }

  get connectionsSeen(): number {
    return this.#connectionsSeen;
  }

  /** Bytes handed to the system on connections that have ended. */
  get bytesSent(): number {
    return this.#bytesSent;
  }

  /** Calls `behave` with every new connection before a byte is read, for servers that speak first or break handshakes. */
  onConnection(behave: (socket: Socket) => void): void {
    this.#server.on('connection', behave);
  }

  /** Resolves when at least `count` requests have been read. */
  whenRequests(count: number): Promise<void> {
    return this.#when(() => this.requests.length >= count);
  }

  /** Resolves when at least `count` connections have been made, closed ones included. */
  whenConnections(count: number): Promise<void> {
    return this.#when(() => this.#connectionsSeen >= count);
  }

  /** Resolves when no connection is open any more: whoever called has let go. */
  whenAllClosed(): Promise<void> {
    return this.#when(() => this.#sockets.size === 0);
  }

  /** Ends every open connection from this side, in order (FIN). */
  endConnections(): void {
    for (const socket of this.#sockets) socket.end();
  }

  /** Breaks every open connection from this side, at once (RST). */
  resetConnections(): void {
    for (const socket of this.#sockets) socket.resetAndDestroy();
  }

  /** Stops listening and breaks what is open. */
  close(): Promise<void> {
    return new Promise((resolve) => {
      this.#server.close(() => resolve());
      for (const socket of this.#sockets) socket.destroy();
    });
  }

  #received(request: ReceivedRequest): void {
    this.requests.push(request);
    this.#notify();
  }

  #track(socket: Socket): void {
    this.#connectionsSeen++;
    this.#sockets.add(socket);
    socket.on('error', () => {});
    socket.on('close', () => {
      this.#bytesSent += socket.bytesWritten;
      this.#sockets.delete(socket);
      this.#notify();
    });
    this.#notify();
  }

  #when(ready: () => boolean): Promise<void> {
    if (ready()) return Promise.resolve();
    return new Promise((resolve) => this.#waiters.add({ ready, resolve }));
  }

  #notify(): void {
    for (const waiter of this.#waiters) {
      if (!waiter.ready()) continue;
      this.#waiters.delete(waiter);
      waiter.resolve();
    }
  }
}

/** Starts a {@link Receiver} that treats every request by `behaviour`. */
export async function startReceiver(behaviour: Behaviour, options: ReceiverOptions = {}): Promise<Receiver> {
  const receiver = new Receiver(behaviour, options);
  await receiver.listen(options.host ?? '127.0.0.1');
  return receiver;
}

/** A port of 127.0.0.1 on which nobody listens. */
export async function closedPort(): Promise<number> {
  const receiver = await startReceiver(neverAnswer);
  const { port } = receiver;
  await receiver.close();
  return port;
}

function readRequests(
  socket: Socket,
  behaviour: Behaviour,
  received: (request: ReceivedRequest) => void,
): void {
  let unread = Buffer.alloc(0);
  let count = 0;
  const { servername } = socket as { servername?: string | false };
  socket.on('error', () => {});
  socket.on('data', (chunk: Buffer) => {
    unread = Buffer.concat([unread, chunk]);
    for (let request = cutRequest(unread); request !== null; request = cutRequest(unread)) {
      unread = unread.subarray(request.length);
      const whole = { ...request.head, numberOnConnection: ++count, serverName: servername || null };
      received(whole);
      behaviour(socket, whole);
    }
  });
}

type Head = Omit<ReceivedRequest, 'numberOnConnection' | 'serverName'>;

function cutRequest(bytes: Buffer): { head: Head; length: number } | null {
  const headEnd = bytes.indexOf('\r\n\r\n');
  if (headEnd < 0) return null;
  const [requestLine = '', ...lines] = bytes.subarray(0, headEnd).toString('latin1').split('\r\n');
  const [method = '', target = ''] = requestLine.split(' ');
  const headers = Object.fromEntries(
    lines.map((line) => {
      const colon = line.indexOf(':');
      return [line.slice(0, colon).toLowerCase(), line.slice(colon + 1).trim()];
    }),
  );
  const length = headEnd + 4 + Number(headers['content-length'] ?? 0);
  if (bytes.length < length) return null;
  return { head: { method, target, headers, body: bytes.subarray(headEnd + 4, length) }, length };
}

// ---------------------------------------------------------------- good behaviour

/** An ordinary HTTP/1.1 answer on a connection that stays open. */
export function respond(
  status: number,
  answer: { headers?: Record<string, string>; body?: string | Buffer } = {},
): Behaviour {
  const body = Buffer.from(answer.body ?? '');
  const headers = { 'content-length': String(body.length), ...answer.headers };
  return (socket) => {
    socket.write(Buffer.concat([Buffer.from(head(status, headers)), body]));
  };
}

/** A different behaviour for each request of the receiver in turn; the last one stays. */
export function inTurn(...behaviours: [Behaviour, ...Behaviour[]]): Behaviour {
  let next = 0;
  return (socket, request) => {
    const behaviour = behaviours[Math.min(next++, behaviours.length - 1)] as Behaviour;
    behaviour(socket, request);
  };
}

/** Exactly these bytes, and nothing more. */
export function send(bytes: string | Buffer): Behaviour {
  return (socket) => {
    socket.write(bytes);
  };
}

/** Exactly these bytes, then the end of the connection. */
export function sendAndClose(bytes: string | Buffer): Behaviour {
  return (socket) => {
    socket.end(bytes);
  };
}

function head(status: number, headers: Record<string, string>): string {
  const lines = Object.entries(headers).map(([name, value]) => `${name}: ${value}\r\n`);
  return `HTTP/1.1 ${status} Whatever\r\n${lines.join('')}\r\n`;
}

// ---------------------------------------------------------------- bad behaviour

/** Reads the request and stays silent. */
export const neverAnswer: Behaviour = () => {};

/** Part of the status line and of the headers, and nothing more. */
export const neverFinishHeaders: Behaviour = send('HTTP/1.1 200 OK\r\ncontent-type: text/pl');

/** Complete headers with status 200, then one byte of the body every `intervalMs` for ever. */
export function dripBody(intervalMs: number): Behaviour {
  return (socket) => {
    socket.write(head(200, { 'content-length': '1000000' }));
    drip(socket, intervalMs, () => 'x');
  };
}

/** The whole answer one byte at a time, headers included, and never complete. */
export function dripHeaders(intervalMs: number): Behaviour {
  const line = 'x-slow: yes\r\n';
  const start = 'HTTP/1.1 200 OK\r\n';
  let sent = 0;
  return (socket) => {
    drip(socket, intervalMs, () => {
      const at = sent++;
      return (at < start.length ? start[at] : line[(at - start.length) % line.length]) as string;
    });
  };
}

function drip(socket: Socket, intervalMs: number, nextByte: () => string): void {
  const timer = setInterval(() => socket.write(nextByte()), intervalMs);
  socket.on('close', () => clearInterval(timer));
}

/** A body without end, as fast as the client takes it. */
export const endlessBody: Behaviour = (socket) => {
  socket.write(head(200, { 'content-type': 'application/octet-stream' }));
  pour(socket, Buffer.alloc(65_536, 'x'));
};

/** A body of `bytes`, announced and sent as fast as the client takes it. */
export function hugeBody(bytes: number): Behaviour {
  return (socket) => {
    socket.write(head(200, { 'content-length': String(bytes) }));
    pour(socket, Buffer.alloc(65_536, 'x'), bytes);
  };
}

/** A small gzip body that inflates a thousandfold, to 64 MiB. */
export function gzipBomb(): Behaviour {
  const body = gzipSync(Buffer.alloc(64 * 1024 * 1024), { level: 9 });
  return respond(200, { headers: { 'content-encoding': 'gzip' }, body });
}

/** Headers of `bytes` in all, many to a name. */
export function hugeHeaders(bytes: number): Behaviour {
  const line = `x-padding: ${'x'.repeat(1000)}\r\n`;
  return send(`HTTP/1.1 200 OK\r\n${line.repeat(Math.ceil(bytes / line.length))}content-length: 0\r\n\r\n`);
}

/** One header longer than any limit. */
export function oneHugeHeader(bytes: number): Behaviour {
  return send(`HTTP/1.1 200 OK\r\nx-padding: ${'x'.repeat(bytes)}\r\ncontent-length: 0\r\n\r\n`);
}

/** Interim responses (103) without end. */
export const endlessInterim: Behaviour = (socket) => {
  pour(socket, Buffer.from('HTTP/1.1 103 Early Hints\r\nlink: </a>\r\n\r\n'.repeat(100)));
};

/** Breaks the connection (RST) instead of answering. */
export const resetBeforeHeaders: Behaviour = (socket) => {
  socket.resetAndDestroy();
};

/** Sends `bytes`, and breaks the connection (RST) when they have gone out. */
export function sendAndReset(bytes: string): Behaviour {
  return (socket) => {
    socket.write(bytes, () => socket.resetAndDestroy());
  };
}

function pour(socket: Socket, block: Buffer, bytes = Number.POSITIVE_INFINITY): void {
  let left = bytes;
  const more = (): void => {
    while (left > 0 && !socket.destroyed) {
      const part = left < block.length ? block.subarray(0, left) : block;
      left -= part.length;
      if (!socket.write(part)) return;
    }
  };
  socket.on('drain', more);
  more();
}
