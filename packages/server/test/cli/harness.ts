/** Runs the command line as a user would, in a process of its own, or in this one where only its answers matter. */
import { spawn } from 'node:child_process';
import { once } from 'node:events';
import { createServer, type IncomingHttpHeaders } from 'node:http';
import type { AddressInfo } from 'node:net';
import { text as textOf } from 'node:stream/consumers';
import { Readable } from 'node:stream';
import { fileURLToPath } from 'node:url';
import type { Io } from '../../src/cli/io.ts';
import { main } from '../../src/cli/main.ts';

const ENTRY = fileURLToPath(new URL('../../src/cli/main.ts', import.meta.url));

export interface Outcome {
  code: number | null;
  stdout: string;
  stderr: string;
}

export interface RunOptions {
  /** `POSTHORN_…` variables; none of this process's own get through. */
  env?: Record<string, string>;
  stdin?: string;
  cwd?: string;
  /** After which the process is killed; default a minute. */
  longestRunMs?: number;
}

function cleanEnvironment(extra: Record<string, string>): Record<string, string> {
  const own = Object.entries(process.env).filter(
    ([name]) => !/^(POSTHORN_|NODE_)/.test(name) || name === 'NODE_COMPILE_CACHE',
  );
  return { ...(Object.fromEntries(own) as Record<string, string>), ...extra };
}

/** A process that hangs fails its test instead of holding up all others. */
const LONGEST_RUN_MS = 60_000;

/** Starts the command in a process of its own. */
export function startCli(
  args: readonly string[],
  { env = {}, cwd, longestRunMs = LONGEST_RUN_MS }: RunOptions = {},
) {
  return spawn(process.execPath, [ENTRY, ...args], {
    env: cleanEnvironment(env),
    cwd,
    stdio: 'pipe',
    timeout: longestRunMs,
    killSignal: 'SIGKILL',
  });
}

/** Runs the command in a process of its own until it ends. */
export async function runCli(args: readonly string[], options: RunOptions = {}): Promise<Outcome> {
  const child = startCli(args, options);
  child.stdin.end(options.stdin ?? '');
  const [stdout, stderr, [code]] = await Promise.all([
    textOf(child.stdout),
    textOf(child.stderr),
    once(child, 'close') as Promise<[number | null]>,
  ]);
  return { code, stdout, stderr };
}

/** Runs the command in this process. Sleeping moves its clock and takes no time. */
export async function callCli(args: readonly string[], options: RunOptions = {}): Promise<Outcome> {
  let stdout = '';
  let stderr = '';
  let nowMs = Date.UTC(2026, 0, 31, 12);
  const io: Io = {
    stdin: Readable.from([options.stdin ?? '']),
    stdout: { write: (text) => (stdout += text) },
    stderr: { write: (text) => (stderr += text) },
    env: options.env ?? {},
    cwd: options.cwd ?? process.cwd(),
    now: () => nowMs,
    monotonic: () => nowMs,
    sleep: async (ms) => {
      nowMs += ms;
    },
  };
  return { code: await main(args, io), stdout, stderr };
}

export interface SeenRequest {
  method: string;
  /** With the query. */
  path: string;
  headers: IncomingHttpHeaders;
  body: string;
}

export interface FakeAnswer {
  status?: number;
  headers?: Record<string, string>;
  /** An object goes out as JSON. */
  body: string | object;
}

/** A server that answers what it is told, by method and path, and remembers what it was asked. */
export class FakeServer {
  readonly url: string;
  readonly seen: SeenRequest[] = [];
  readonly #answers = new Map<string, FakeAnswer[]>();
  readonly #server;

  static async start(): Promise<FakeServer> {
    const server = createServer();
    server.listen(0, '127.0.0.1');
    await once(server, 'listening');
    return new FakeServer(server);
  }

  private constructor(server: ReturnType<typeof createServer>) {
    this.#server = server;
    this.url = `http://127.0.0.1:${(server.address() as AddressInfo).port}`;
    server.on('request', async (request, response) => {
      const { method = '', url: path = '', headers } = request;
      this.seen.push({ method, path, headers, body: await textOf(request) });
      const answers = this.#answers.get(`${method} ${path.split('?')[0]}`);
      // The last answer stands for good, the ones before it are given once.
      const answer =
        (answers && answers.length > 1 ? answers.shift() : answers?.[0]) ??
        refusal(404, 10104, 'no such route');
      const { status = 200, body } = answer;
      response.writeHead(status, { connection: 'close', ...answer.headers });
      response.end(typeof body === 'string' ? body : JSON.stringify(body));
    });
  }

  /** @param route - such as `GET /v2/accounts` */
  answer(route: string, ...answers: FakeAnswer[]): void {
    this.#answers.set(route, answers);
  }

  get lastSeen(): SeenRequest {
    const last = this.seen.at(-1);
    if (last === undefined) throw new Error('the server was never asked');
    return last;
  }

  async stop(): Promise<void> {
    this.#server.close();
    this.#server.closeAllConnections();
    await once(this.#server, 'close');
  }
}

/** A good envelope. */
export function success(data: object): FakeAnswer {
  return { body: { rid: 'req_1', code: 0, msg: 'Success', data } };
}

/** A refusing envelope. */
export function refusal(status: number, code: number, msg: string): FakeAnswer {
  return { status, body: { rid: 'req_1', code, msg, data: null } };
}

/** A line of the service's log, with `level`, `msg` and what belongs to it. */
export type LogLine = Record<string, unknown>;

/** What a service logs, line by line, for those who wait for one. */
class LogReader {
  readonly #lines: LogLine[] = [];
  readonly #waiting = new Set<() => void>();
  #rest = '';
  #ended = false;

  read(text: string): void {
    const lines = (this.#rest + text).split('\n');
    this.#rest = lines.pop() as string;
    for (const line of lines) this.#lines.push(JSON.parse(line) as LogLine);
    this.#wake();
  }

  end(): void {
    this.#ended = true;
    this.#wake();
  }

  async find(matches: (line: LogLine) => boolean): Promise<LogLine> {
    for (let next = 0; ; ) {
      while (next < this.#lines.length) {
        const line = this.#lines[next++] as LogLine;
        if (matches(line)) return line;
      }
      if (this.#ended) throw new Error(`the service ended, and none of its ${next} log lines was the one`);
      await new Promise<void>((resolve) => this.#waiting.add(resolve));
    }
  }

  #wake(): void {
    for (const resolve of this.#waiting) resolve();
    this.#waiting.clear();
  }
}

export interface RunningService {
  url: string;
  pid: number;
  /** The key that the first start printed; null when it printed none. */
  printedKey: string | null;
  /** What it has printed so far. */
  stdout: string;
  stderr: string;
  /**
   * Resolves with the first log line, written already or still to come, that `matches`; it is asked once a line, in
   * order. Rejects when the process ends without such a line.
   */
  logged(matches: (line: LogLine) => boolean): Promise<LogLine>;
  kill(signal: NodeJS.Signals): void;
  /** Resolves with the exit code when all output was read. */
  ended: Promise<number | null>;
}

/** Starts `posthorn serve` in a process of its own on a free port, and waits until it listens. */
export async function startService(folder: string, options: RunOptions = {}): Promise<RunningService> {
  const child = startCli(['serve', '--listen', '127.0.0.1:0'], {
    ...options,
    cwd: folder,
  });
  child.stdin.end();
  const log = new LogReader();
  const service: RunningService = {
    url: '',
    pid: child.pid ?? 0,
    printedKey: null,
    stdout: '',
    stderr: '',
    logged: (matches) => log.find(matches),
    kill: (signal) => void child.kill(signal),
    ended: once(child, 'close').then(([code]) => code as number | null),
  };
  child.stdout.setEncoding('utf8').on('data', (text: string) => {
    service.stdout += text;
    log.read(text);
  });
  child.once('close', () => log.end());
  await new Promise<void>((resolve, reject) => {
    child.stderr.setEncoding('utf8').on('data', (text: string) => {
      service.stderr += text;
      const listening = /Posthorn listens on (\S+);/.exec(service.stderr);
      if (listening === null) return;
      service.url = listening[1] as string;
      service.printedKey = /^ {2}(ph_\S+)$/m.exec(service.stderr)?.[1] ?? null;
      resolve();
    });
    child.once('close', () => reject(new Error(`serve ended before it listened: ${service.stderr}`)));
  });
  return service;
}
