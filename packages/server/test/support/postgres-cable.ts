import { once } from 'node:events';
import { type AddressInfo, connect, createServer, type Server, type Socket } from 'node:net';

/**
 * A connection to a database that can be cut, like a network cable: what is connected through {@link url} loses its
 * connections without a word of farewell, and gets no new ones until it is mended. What a killed process leaves to a
 * server looks the same.
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
  readonly #pairs = new Set<{ near: Socket; far: Socket }>();
  #isCut = false;
  #connectionsTried = 0;

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

  /** Lets new connections through again. */
  mend(): void {
    this.#isCut = false;
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
    const pair = { near, far };
    this.#pairs.add(pair);
    near.once('close', () => {
      far.destroy();
      this.#pairs.delete(pair);
    });
    far.once('close', () => near.destroy());
    near.pipe(far);
    far.pipe(near);
  }
}
