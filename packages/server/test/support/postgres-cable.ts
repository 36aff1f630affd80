import { once } from 'node:events';
import { type AddressInfo, connect, createServer, type Server, type Socket } from 'node:net';

/** What can be wrong with a cable that isn't cut. Each holds for the connections that there are and for new ones. */
export type Fault =
  /** Bytes that way are lost and nobody is told: a half-open connection, as behind a firewall that forgot it. */
  | { kind: 'silence'; toward: 'server' | 'client' | 'both' }
  /** Every byte comes so much later, both ways. */
  | { kind: 'delay'; ms: number }
  /** What the server says comes a byte at a time. */
  | { kind: 'trickle'; everyMs: number }
  /** Each connection is reset when so many more bytes have passed that way. */
  | { kind: 'reset'; toward: 'server' | 'client'; afterBytes: () => number };

type Way = 'server' | 'client';

/** One connection through the cable. */
interface Pair {
  near: Socket;
  far: Socket;
  /** Bytes that may still pass before it is reset, by their way. */
  left: Record<Way, number>;
  /** The ways in which everything is lost, for good; then neither side is told that the other has ended. */
  silenced: Set<Way>;
  /** What is on its way, by its way, so that nothing overtakes. */
  underWay: Record<Way, Promise<void>>;
}

/**
 * A connection to a database that can be cut, like a network cable: what is connected through {@link url} loses its
 * connections without a word of farewell, and gets no new ones until it is mended. What a killed process leaves to a
 * server looks the same. It can also be faulty in every way in which networks are, see {@link Fault}.
 *
 * @example
 * const cable = await Cable.lay(database.url);
 * const store = await openPostgresStore({ url: cable.url });
 * cable.cut();
 */
export class Cable {
  /** The database's URL with this cable in place of the server. */
  readonly url: string;
  readonly #server: Server;
  readonly #far: { host: string; port: number };
  readonly #pairs = new Set<Pair>();
  #isCut = false;
  #fault: Fault | null = null;
  #connectionsTried = 0;
  #resets = 0;

  private constructor(url: string, server: Server) {
    const target = new URL(url);
    this.#far = { host: target.hostname.replace(/^\[|\]$/g, ''), port: Number(target.port || 5432) };
    target.hostname = '127.0.0.1';
    target.port = String((server.address() as AddressInfo).port);
    this.url = target.href;
    this.#server = server;
    server.on('connection', (near) => this.#join(near));
  }

  /** How often somebody has connected to it so far, or tried to while it was cut. */
  get connectionsTried(): number {
    return this.#connectionsTried;
  }

  /** Connections that its clients hold right now. */
  get openConnections(): number {
    return [...this.#pairs].filter(({ near }) => !near.destroyed).length;
  }

  /** How many connections a fault has reset. */
  get resets(): number {
    return this.#resets;
  }

  static async lay(url: string): Promise<Cable> {
    const server = createServer({ noDelay: true });
    server.listen(0, '127.0.0.1').unref();
    await once(server, 'listening');
    return new Cable(url, server);
  }

  /**
   * Cuts it. Answers the ports that the database saw its clients at (`client_port` of `pg_stat_activity`): the server
   * may go on for a moment with what it was told last.
   */
  cut(): number[] {
    this.#isCut = true;
    const ports: number[] = [];
    for (const { near, far } of this.#pairs) {
      if (far.localPort !== undefined) ports.push(far.localPort);
      near.destroy();
      far.destroy();
    }
    return ports;
  }

  /** From now on it is faulty. */
  inflict(fault: Fault): void {
    this.#fault = fault;
    for (const pair of this.#pairs) this.#suffer(pair);
  }

  /** Lets new connections through again, unharmed. Those that were silenced stay so: nobody tells their ends. */
  mend(): void {
    this.#isCut = false;
    this.#fault = null;
    for (const pair of this.#pairs) this.#suffer(pair);
  }

  /** Cuts it for good and frees its port. */
  async remove(): Promise<void> {
    this.cut();
    if (!this.#server.listening) return;
    this.#server.close();
    await once(this.#server, 'close');
  }

  #join(near: Socket): void {
    this.#connectionsTried += 1;
    near.on('error', () => {});
    // The port stays open and refuses by hanging up: were it closed, somebody else could get it.
    if (this.#isCut) {
      near.destroy();
      return;
    }
    const far = connect({ ...this.#far, noDelay: true });
    far.on('error', () => {});
    const pair: Pair = {
      near,
      far,
      left: { server: Infinity, client: Infinity },
      silenced: new Set(),
      underWay: { server: Promise.resolve(), client: Promise.resolve() },
    };
    this.#pairs.add(pair);
    this.#suffer(pair);
    this.#carry(pair, 'server');
    this.#carry(pair, 'client');
    far.once('close', () => {
      if (pair.silenced.size === 0) near.destroy();
      if (near.destroyed) this.#pairs.delete(pair);
    });
    near.once('close', () => {
      if (pair.silenced.size === 0) far.destroy();
      if (far.destroyed) this.#pairs.delete(pair);
    });
  }

  /** A new fault comes upon a connection. */
  #suffer(pair: Pair): void {
    const fault = this.#fault;
    pair.left = { server: Infinity, client: Infinity };
    if (fault?.kind === 'reset') pair.left[fault.toward] = fault.afterBytes();
    if (fault?.kind !== 'silence') return;
    for (const way of ['server', 'client'] as const) {
      if (fault.toward === way || fault.toward === 'both') pair.silenced.add(way);
    }
  }

  #carry(pair: Pair, way: Way): void {
    const [from, to] = way === 'server' ? [pair.near, pair.far] : [pair.far, pair.near];
    from.on('data', (chunk: Buffer) => {
      if (pair.silenced.has(way)) return;
      if (pair.left[way] < chunk.length) {
        this.#reset(pair, to, chunk.subarray(0, pair.left[way]));
        return;
      }
      pair.left[way] -= chunk.length;
      const fault = this.#fault;
      if (fault?.kind === 'delay') {
        pair.underWay[way] = laterBy(fault.ms, pair.underWay[way]).then(() => void to.write(chunk));
      } else if (fault?.kind === 'trickle' && way === 'client') {
        pair.underWay[way] = pair.underWay[way].then(() => trickle(to, chunk, fault.everyMs));
      } else {
        pair.underWay[way] = pair.underWay[way].then(() => {
          if (to.write(chunk)) return;
          from.pause();
          to.once('drain', () => from.resume());
        });
      }
    });
  }

  /** Both sides hear of it: the one whose bytes arrive in part by RST, the server by the end of the connection. */
  #reset({ near, far }: Pair, to: Socket, last: Buffer): void {
    this.#resets += 1;
    to.write(last, () => {
      near.resetAndDestroy();
      far.resetAndDestroy();
    });
  }
}

/** So much after now, and not before what is ahead. */
async function laterBy(ms: number, ahead: Promise<void>): Promise<void> {
  await Promise.all([ahead, new Promise<void>((resolve) => setTimeout(resolve, ms).unref())]);
}

async function trickle(to: Socket, chunk: Buffer, everyMs: number): Promise<void> {
  for (const byte of chunk) {
    if (to.destroyed) return;
    to.write(Buffer.of(byte));
    await new Promise<void>((resolve) => setTimeout(resolve, everyMs).unref());
  }
}
