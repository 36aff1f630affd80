import { type AddressInfo, connect, createServer, type Server, type Socket } from 'node:net';

/** What a proxy was asked for. */
export interface Asked {
  host: string;
  port: number;
  /** `user:password` as it came; null without. */
  credentials: string | null;
}

export interface ProxyBehaviour {
  /** `user:password` that it demands. */
  credentials?: string;
  /** Once a tunnel is asked for: anything that can be done to a socket. Default: opens it to 127.0.0.1. */
  onAsked?: (socket: Socket, asked: Asked) => void;
  /** Called with every new connection instead of reading from it. */
  onConnection?: (socket: Socket) => void;
}

/** An egress proxy on a free port of 127.0.0.1, which leads every name and address to that port of 127.0.0.1. */
export interface TestProxy {
  port: number;
  asked: Asked[];
  connectionsSeen: number;
  /** What went through in both directions, so that a test can look for plain text. */
  bytes(): Buffer;
  /** Resolves when no connection is open any more. */
  whenAllClosed(): Promise<void>;
  close(): Promise<void>;
}

export function startHttpProxy(behaviour: ProxyBehaviour = {}): Promise<TestProxy> {
  return startProxy(behaviour, (socket, proxy) => {
    let head = '';
    const onData = (chunk: Buffer): void => {
      head += chunk.toString('latin1');
      if (!head.includes('\r\n\r\n')) return;
      socket.off('data', onData);
      const [, host = '', port = ''] = /^CONNECT (\S+):(\d+) HTTP\/1\.1\r\n/.exec(head) ?? [];
      const basic = /\r\nproxy-authorization: Basic (\S+)\r\n/i.exec(head)?.[1];
      const asked = {
        host,
        port: Number(port),
        credentials: basic === undefined ? null : Buffer.from(basic, 'base64').toString(),
      };
      proxy.asked.push(asked);
      if (behaviour.credentials !== undefined && asked.credentials !== behaviour.credentials) {
        socket.end('HTTP/1.1 407 Proxy Authentication Required\r\nproxy-authenticate: Basic\r\n\r\n');
      } else if (behaviour.onAsked) behaviour.onAsked(socket, asked);
      else proxy.tunnel(socket, asked.port, 'HTTP/1.1 200 Connection established\r\nvia: 1.1 test\r\n\r\n');
    };
    socket.on('data', onData);
  });
}

/** The reply to a request, with a name for its address. */
export function socksReply(code: number): Buffer {
  return Buffer.from([5, code, 0, 3, 4, ...Buffer.from('self'), 0, 80]);
}

export function startSocksProxy(behaviour: ProxyBehaviour = {}): Promise<TestProxy> {
  return startProxy(behaviour, (socket, proxy) => {
    let unread = Buffer.alloc(0);
    let credentials: string | null = null;
    let step: 'greeting' | 'password' | 'request' | 'done' = 'greeting';
    const onData = (chunk: Buffer): void => {
      unread = Buffer.concat([unread, chunk]);
      if (step === 'greeting' && unread.length >= 2 + (unread[1] as number)) {
        const methods = unread.subarray(2, 2 + (unread[1] as number));
        unread = unread.subarray(2 + methods.length);
        const wanted = behaviour.credentials === undefined ? 0 : 2;
        socket.write(Buffer.from([5, methods.includes(wanted) ? wanted : 0xff]));
        step = wanted === 0 ? 'request' : 'password';
      }
      if (step === 'password' && unread.length > 2) {
        const nameLength = unread[1] as number;
        const passwordLength = unread[2 + nameLength];
        if (passwordLength === undefined || unread.length < 3 + nameLength + passwordLength) return;
        credentials = `${unread.toString('utf8', 2, 2 + nameLength)}:${unread.toString('utf8', 3 + nameLength, 3 + nameLength + passwordLength)}`;
        unread = unread.subarray(3 + nameLength + passwordLength);
        socket.write(Buffer.from([1, credentials === behaviour.credentials ? 0 : 1]));
        step = 'request';
      }
      const asked = step === 'request' ? readSocksRequest(unread, credentials) : null;
      if (asked === null) return;
      step = 'done';
      socket.off('data', onData);
      proxy.asked.push(asked);
      if (behaviour.onAsked) behaviour.onAsked(socket, asked);
      else proxy.tunnel(socket, asked.port, socksReply(0));
    };
    socket.on('data', onData);
  });
}

function readSocksRequest(bytes: Buffer, credentials: string | null): Asked | null {
  const kind = bytes[3];
  const nameLength = kind === 1 ? 4 : kind === 4 ? 16 : 1 + (bytes[4] ?? 255);
  const portAt = 4 + nameLength;
  if (bytes.length < portAt + 2) return null;
  const address = bytes.subarray(4, portAt);
  const host =
    kind === 1
      ? [...address].join('.')
      : kind === 4
        ? [...address]
            .map((byte, i) => (i % 2 === 0 ? '' : ((address[i - 1] as number) * 256 + byte).toString(16)))
            .filter(Boolean)
            .join(':')
        : address.toString('utf8', 1);
  return { host, port: bytes.readUInt16BE(portAt), credentials };
}

interface RunningProxy extends TestProxy {
  tunnel(socket: Socket, port: number, answer: string | Buffer): void;
}

async function startProxy(
  behaviour: ProxyBehaviour,
  serve: (socket: Socket, proxy: RunningProxy) => void,
): Promise<TestProxy> {
  const sockets = new Set<Socket>();
  const waiting = new Set<() => void>();
  const chunks: Buffer[] = [];
  const server: Server = createServer((socket) => {
    proxy.connectionsSeen += 1;
    sockets.add(socket);
    socket.on('error', () => {});
    socket.on('close', () => {
      sockets.delete(socket);
      if (sockets.size === 0) for (const resolve of waiting) resolve();
    });
    // Unread, a connection never tells of its end.
    socket.resume();
    if (behaviour.onConnection) behaviour.onConnection(socket);
    else serve(socket, proxy);
  });
  await new Promise<void>((resolve) => server.listen(0, '127.0.0.1', resolve));
  const proxy: RunningProxy = {
    port: (server.address() as AddressInfo).port,
    asked: [],
    connectionsSeen: 0,
    bytes: () => Buffer.concat(chunks),
    whenAllClosed: () =>
      sockets.size === 0 ? Promise.resolve() : new Promise((resolve) => waiting.add(resolve)),
    tunnel(socket, port, answer) {
      const onward = connect(port, '127.0.0.1', () => {
        socket.write(answer);
        onward.on('data', (chunk) => {
          chunks.push(chunk);
          socket.write(chunk);
        });
        socket.on('data', (chunk: Buffer) => {
          chunks.push(chunk);
          onward.write(chunk);
        });
      });
      onward.on('error', () => socket.destroy());
      onward.on('close', () => socket.end());
      socket.on('close', () => onward.destroy());
    },
    close: () =>
      new Promise((resolve) => {
        server.close(() => resolve());
        for (const socket of sockets) socket.destroy();
      }),
  };
  return proxy;
}
