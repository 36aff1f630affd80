/**
 * The receivers of all endpoints, in a process of their own on one port: `/e/<number>` is an endpoint. Answers from prebuilt
 * bytes, and keeps what arrived when in flat arrays, because it shares the machine with what is measured.
 */
import { createHmac } from 'node:crypto';
import { once } from 'node:events';
import { type AddressInfo, createServer, type Server, type Socket } from 'node:net';
import { type RunName, sealedEventNumber } from './events.ts';
import { headerOf, MessageReader, requestPath } from './http-bytes.ts';
import { answerOrders, preciseNow } from './wire.ts';

/** `ok` answers 204; `hang` never answers; `later` answers 503 and asks to come again in a day. */
export type Behaviour = 'ok' | 'hang' | 'later';

/** What will arrive: who the endpoints are, and which run's events count. */
export interface Expectation {
  run: RunName;
  accounts: number;
  endpointsEach: number;
  /** By endpoint number. */
  secrets: string[];
}

export interface ReceiverReport {
  /** Unix ms of the first arrival, at `event number × endpointsEach + index of the endpoint`; 0 where none came. */
  arrivedAt: Float64Array;
  /** Pairs of event and endpoint that have arrived. */
  arrived: number;
  /** Arrivals of a pair that had arrived already. */
  duplicates: number;
  signaturesChecked: number;
  wrongSignatures: number;
  /** Requests that are none of the run's events, or came to another account's endpoint. */
  strays: number;
  firstStray: string | null;
}

export type ReceiverOrder =
  | { do: 'listen' }
  /** Forgets what arrived; all endpoints are `ok` again. */
  | { do: 'expect'; expectation: Expectation }
  | { do: 'behave'; endpoints: number[]; behaviour: Behaviour }
  /** Resolves when so many pairs have arrived, or the patience is over; answers how many have. */
  | { do: 'await'; arrivals: number; patienceMs: number }
  | { do: 'report' };

const ANSWERS = {
  ok: Buffer.from('HTTP/1.1 204 No Content\r\n\r\n'),
  later: Buffer.from('HTTP/1.1 503 Service Unavailable\r\nretry-after: 86400\r\ncontent-length: 0\r\n\r\n'),
};
/** One in so many events has its signatures checked. */
const SIGNATURE_SAMPLE = 50;
const GROWTH = 2;

/** Body of the process. */
export function runReceiver(): void {
  const receiver = new Receiver();
  answerOrders((order: ReceiverOrder) => receiver.carryOut(order));
}

export class Receiver {
  #expectation: Expectation = { run: '', accounts: 0, endpointsEach: 0, secrets: [] };
  #behaviours: (Behaviour | undefined)[] = [];
  #arrivedAt = new Float64Array(0);
  #counts = { arrived: 0, duplicates: 0, signaturesChecked: 0, wrongSignatures: 0, strays: 0 };
  #firstStray: string | null = null;
  readonly #sockets = new Set<Socket>();
  #server: Server | undefined;
  #awaited: { arrivals: number; reached(): void } | undefined;

  carryOut(order: ReceiverOrder): unknown {
    switch (order.do) {
      case 'listen':
        return this.#listen();
      case 'expect':
        return this.#expect(order.expectation);
      case 'behave':
        for (const endpoint of order.endpoints) this.#behaviours[endpoint] = order.behaviour;
        return undefined;
      case 'await':
        return this.#await(order.arrivals, order.patienceMs);
      case 'report':
        return this.report();
    }
  }

  report(): ReceiverReport {
    return { arrivedAt: this.#arrivedAt, ...this.#counts, firstStray: this.#firstStray };
  }

  /** Ends it; what is under way is cut off. */
  close(): void {
    this.#server?.close();
    for (const socket of this.#sockets) socket.destroy();
  }

  async #listen(): Promise<number> {
    const server = createServer({ noDelay: true }, (socket) => this.#serve(socket));
    this.#server = server;
    server.listen(0, '127.0.0.1');
    await once(server, 'listening');
    return (server.address() as AddressInfo).port;
  }

  #expect(expectation: Expectation): void {
    this.#expectation = expectation;
    this.#behaviours = [];
    this.#arrivedAt = new Float64Array(1 << 16);
    this.#counts = { arrived: 0, duplicates: 0, signaturesChecked: 0, wrongSignatures: 0, strays: 0 };
    this.#firstStray = null;
  }

  #await(arrivals: number, patienceMs: number): Promise<number> | number {
    if (this.#counts.arrived >= arrivals) return this.#counts.arrived;
    const { promise, resolve } = Promise.withResolvers<void>();
    const patience = setTimeout(resolve, patienceMs);
    this.#awaited = { arrivals, reached: resolve };
    return promise.then(() => {
      clearTimeout(patience);
      this.#awaited = undefined;
      return this.#counts.arrived;
    });
  }

  #serve(socket: Socket): void {
    const reader = new MessageReader(({ head, body }) => {
      const behaviour = this.take(head, body);
      if (behaviour !== 'hang') socket.write(ANSWERS[behaviour]);
    });
    this.#sockets.add(socket);
    socket.on('close', () => this.#sockets.delete(socket));
    socket.on('error', () => socket.destroy());
    socket.on('data', (chunk: Buffer) => {
      try {
        reader.push(chunk);
      } catch (error) {
        this.#noteStray(String(error));
        socket.destroy();
      }
    });
  }

  /** Notes one request and says how to answer it. */
  take(head: string, body: Buffer): Behaviour {
    const now = preciseNow();
    const path = requestPath(head);
    const endpoint = Number(path.slice('/e/'.length));
    const behaviour = this.#behaviours[endpoint] ?? 'ok';
    const { run, accounts, endpointsEach, secrets } = this.#expectation;
    const number = sealedEventNumber(run, body);
    const secret = secrets[endpoint];
    const isRight =
      number !== -1 && secret !== undefined && Math.floor(endpoint / endpointsEach) === number % accounts;
    if (!isRight) {
      this.#noteStray(`${path} ${body.toString('utf8', 0, 100)}`);
      return behaviour;
    }
    if (behaviour === 'ok') {
      this.#noteArrival(number * endpointsEach + (endpoint % endpointsEach), now);
      if (number % SIGNATURE_SAMPLE === 0) this.#checkSignature(secret, head, body);
    }
    return behaviour;
  }

  #noteArrival(index: number, now: number): void {
    while (index >= this.#arrivedAt.length) {
      const grown = new Float64Array(this.#arrivedAt.length * GROWTH);
      grown.set(this.#arrivedAt);
      this.#arrivedAt = grown;
    }
    if (this.#arrivedAt[index] !== 0) {
      this.#counts.duplicates += 1;
      return;
    }
    this.#arrivedAt[index] = now;
    this.#counts.arrived += 1;
    const awaited = this.#awaited;
    if (awaited !== undefined && this.#counts.arrived >= awaited.arrivals) awaited.reached();
  }

  #checkSignature(secret: string, head: string, body: Buffer): void {
    this.#counts.signaturesChecked += 1;
    const right = createHmac('sha256', secret).update(body).digest('hex');
    if (headerOf(head, 'x-webhook-signature') !== right) this.#counts.wrongSignatures += 1;
  }

  #noteStray(what: string): void {
    this.#counts.strays += 1;
    this.#firstStray ??= what;
  }
}

if (process.argv[2] === 'as-process') runReceiver();
