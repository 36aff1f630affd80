/**
 * A process that keeps one PostgreSQL cluster for the process that started it ({@link ./postgres-cluster.ts}), and
 * outlives it by a moment: however the other ends, SIGKILL included, the channel between them closes; then the server
 * is stopped and its data removed. A hook within the tests' own process could not promise that.
 */
import { type ChildProcess, spawn, spawnSync } from 'node:child_process';
import { randomBytes, randomInt } from 'node:crypto';
import { once } from 'node:events';
import { chownSync, cpSync, mkdirSync, mkdtempSync, rmSync, writeFileSync } from 'node:fs';
import { createServer } from 'node:net';
import { tmpdir } from 'node:os';
import { basename, dirname, join } from 'node:path';
import { createInterface } from 'node:readline';

export interface Plan {
  /** The folder that holds `initdb` and `postgres`. */
  binaries: string;
  superuser: string;
  /** Settings of the server besides those below. */
  settings: Record<string, string>;
}

/** `stop` is in order ("fast"); `crash` ends every process of the server at once, as a power cut of the server would. */
export type Order = 'create' | 'start' | 'stop' | 'crash' | 'remove';

export interface Request {
  id: number;
  order: Order;
}

export interface Answer {
  id: number;
  error?: string;
  /** Of `start`. */
  port?: number;
  /** Of `create`: the superuser's. */
  password?: string;
}

const SETTINGS: Readonly<Record<string, string>> = {
  listen_addresses: '127.0.0.1',
  unix_socket_directories: '',
  max_connections: '200',
  shared_buffers: '64MB',
  // What a killed process has written is in the page cache and stays: only a power cut of the machine needs fsync.
  fsync: 'off',
  full_page_writes: 'off',
  // Not under /dev/shm, where a killed server would leave files behind, and where containers have little room.
  dynamic_shared_memory_type: 'mmap',
  // Neither UTC nor whole hours from it: days and times that depend on the server's time zone come out wrong.
  timezone: 'Asia/Kathmandu',
  log_timezone: 'UTC',
  lc_messages: 'C',
};

/** Below the ports that systems give to outgoing connections: those would take the port while the server is down. */
const PORTS = { from: 15_000, to: 32_000 };
const LOG_LINES = 40;
const READY = 'database system is ready to accept connections';
const PORT_TAKEN = /could not (bind|create any TCP\/IP sockets)/;

/** PostgreSQL refuses to run as root: then an account of the system that is there already runs it. */
function unprivileged(): { uid: number; gid: number } | undefined {
  if (process.getuid?.() !== 0) return undefined;
  for (const name of ['postgres', 'nobody']) {
    const [uid, gid] = ['-u', '-g'].map((flag) => {
      const { status, stdout } = spawnSync('id', [flag, name], { encoding: 'utf8' });
      return status === 0 ? Number(stdout) : undefined;
    });
    if (uid !== undefined && gid !== undefined) return { uid, gid };
  }
  throw new Error('PostgreSQL does not run as root, and there is no user "postgres" or "nobody" to run it');
}

class Keeper {
  readonly #plan: Plan;
  readonly #user = unprivileged();
  readonly #folder: string;
  readonly #data: string;
  #binaries: string;
  #server: ChildProcess | undefined;
  #port: number | undefined;
  #log: string[] = [];

  constructor(plan: Plan) {
    this.#plan = plan;
    this.#binaries = plan.binaries;
    this.#folder = mkdtempSync(join(tmpdir(), 'posthorn-test-postgres-'));
    this.#data = join(this.#folder, 'data');
    this.#give(this.#folder);
  }

  async create(): Promise<{ password: string }> {
    this.#makeReachable();
    const password = randomBytes(16).toString('hex');
    const passwordFile = join(this.#folder, 'password');
    writeFileSync(passwordFile, password, { mode: 0o600 });
    this.#give(passwordFile);
    const options = [
      `--pgdata=${this.#data}`,
      `--username=${this.#plan.superuser}`,
      `--pwfile=${passwordFile}`,
    ];
    const fixed = ['--auth=scram-sha-256', '--encoding=UTF8', '--locale=C', '--no-sync', '--no-instructions'];
    const initdb = this.#run('initdb', [...options, ...fixed]);
    const [code] = (await once(initdb, 'close')) as [number | null];
    if (code !== 0) throw new Error(this.#failure(`initdb ended with ${code}`));
    return { password };
  }

  async start(): Promise<{ port: number }> {
    if (this.#server !== undefined) throw new Error('the server is running already');
    for (let tries = 1; ; tries++) {
      // Once chosen it stays: after a restart clients find the server where it was.
      const port = this.#port ?? (await freePort());
      try {
        await this.#launch(port);
        this.#port = port;
        return { port };
      } catch (error) {
        const taken = error instanceof Error && PORT_TAKEN.test(error.message);
        if (!taken || this.#port !== undefined || tries === 5) throw error;
      }
    }
  }

  async end(signal: 'SIGINT' | 'SIGQUIT'): Promise<void> {
    const server = this.#server;
    if (server === undefined) return;
    const ended = once(server, 'exit');
    server.kill(signal);
    await ended;
  }

  async remove(): Promise<void> {
    await this.end('SIGQUIT');
    rmSync(this.#folder, { recursive: true, force: true, maxRetries: 10, retryDelay: 50 });
  }

  async #launch(port: number): Promise<void> {
    this.#log = [];
    const settings = { ...SETTINGS, ...this.#plan.settings, port: String(port) };
    const flags = Object.entries(settings).flatMap(([name, value]) => ['-c', `${name}=${value}`]);
    const server = this.#run('postgres', ['-D', this.#data, ...flags]);
    const lines = createInterface({ input: server.stderr as NodeJS.ReadableStream });
    await new Promise<void>((resolve, reject) => {
      lines.on('line', (line) => line.includes(READY) && resolve());
      server.once('error', reject);
      server.once('close', (code) => reject(new Error(this.#failure(`the server ended with ${code}`))));
    });
    this.#server = server;
    server.once('exit', () => {
      this.#server = undefined;
    });
  }

  #run(program: string, args: string[]): ChildProcess {
    const child = spawn(join(this.#binaries, program), args, {
      ...this.#user,
      cwd: this.#folder,
      stdio: ['ignore', 'ignore', 'pipe'],
      // No PG… variable of this machine may lead the server elsewhere.
      env: { PATH: process.env.PATH, TMPDIR: this.#folder, TZ: 'UTC', LC_ALL: 'C' },
    });
    createInterface({ input: child.stderr as NodeJS.ReadableStream }).on('line', (line) => {
      this.#log.push(line);
      if (this.#log.length > LOG_LINES) this.#log.shift();
    });
    return child;
  }

  #failure(what: string): string {
    return [`${what} (${this.#binaries})`, ...this.#log].join('\n    ');
  }

  #give(path: string): void {
    if (this.#user !== undefined) chownSync(path, this.#user.uid, this.#user.gid);
  }

  /** Root may have the checkout in a folder that only root can enter: then the server runs from a copy. */
  #makeReachable(): void {
    const probe = spawnSync(join(this.#binaries, 'postgres'), ['--version'], {
      ...this.#user,
      cwd: this.#folder,
      encoding: 'utf8',
    });
    const code = (probe.error as NodeJS.ErrnoException | undefined)?.code;
    if (code === 'EACCES' && this.#user !== undefined) {
      const copy = join(this.#folder, 'postgresql');
      mkdirSync(copy);
      cpSync(dirname(this.#binaries), copy, { recursive: true, verbatimSymlinks: true });
      this.#give(copy);
      this.#binaries = join(copy, basename(this.#binaries));
    } else if (probe.status !== 0) {
      throw new Error(`${join(this.#binaries, 'postgres')} can't be run: ${code ?? probe.stderr.trim()}`);
    }
  }
}

async function freePort(): Promise<number> {
  for (let tries = 0; tries < 100; tries++) {
    const port = randomInt(PORTS.from, PORTS.to);
    const probe = createServer();
    const isFree = await new Promise<boolean>((resolve) => {
      probe.once('error', () => resolve(false));
      probe.listen(port, '127.0.0.1', () => probe.close(() => resolve(true)));
    });
    if (isFree) return port;
  }
  throw new Error(`no free port from ${PORTS.from} to ${PORTS.to} on 127.0.0.1`);
}

function carryOut(keeper: Keeper, order: Order): Promise<Partial<Answer> | void> {
  switch (order) {
    case 'create':
      return keeper.create();
    case 'start':
      return keeper.start();
    case 'stop':
      return keeper.end('SIGINT');
    case 'crash':
      return keeper.end('SIGQUIT');
    case 'remove':
      return keeper.remove();
  }
}

/** Serves its parent until the channel to it closes. */
function main(): void {
  const keeper = new Keeper(JSON.parse(process.argv[2] ?? '') as Plan);
  let working: Promise<unknown> = Promise.resolve();
  process.on('message', ({ id, order }: Request) => {
    working = working.then(async () => {
      let answer: Answer = { id };
      try {
        answer = { ...(await carryOut(keeper, order)), id };
      } catch (error) {
        answer.error = error instanceof Error ? error.message : String(error);
      }
      if (process.connected) process.send?.(answer);
    });
  });
  const leave = () => {
    working = working.then(() => keeper.remove()).then(() => process.exit());
  };
  process.once('disconnect', leave);
  process.once('SIGTERM', leave);
  process.once('SIGINT', leave);
  process.once('SIGHUP', leave);
}

main();
