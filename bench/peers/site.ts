/** Where a run of the benchmark works: one folder, its processes and its database server, all gone when it ends. */
import { type ChildProcess, spawn, type SpawnOptions } from 'node:child_process';
import { once } from 'node:events';
import { openSync, closeSync } from 'node:fs';
import { mkdtemp, readFile, rm } from 'node:fs/promises';
import { type AddressInfo, createServer } from 'node:net';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { Guard, killGroup } from './guard.ts';
import { PostgresServer } from './postgres.ts';
import type { Postgres, Site } from './system.ts';

const STOP_PATIENCE_MS = 15_000;
const LOG_TAIL_CHARACTERS = 2000;

/** The {@link Site} of a run. Make one by {@link RunSite.open}, end it by {@link RunSite.remove}. */
export class RunSite implements Site {
  readonly folder: string;
  readonly fleetFile: string;
  readonly #guard: Guard;
  readonly #children = new Set<ChildProcess>();
  #postgres: Promise<PostgresServer> | undefined;
  #isRemoved = false;

  readonly revision: string | null;

  private constructor(folder: string, revision: string | null) {
    this.folder = folder;
    this.revision = revision;
    this.#guard = new Guard(folder);
    this.fleetFile = join(folder, 'fleet.json');
  }

  /** @param revision - of Posthorn; null: the working tree */
  static async open(revision: string | null = null): Promise<RunSite> {
    return new RunSite(await mkdtemp(join(tmpdir(), 'posthorn-bench-')), revision);
  }

  spawn(
    name: string,
    command: string,
    args: readonly string[],
    { env, ...options }: SpawnOptions = {},
  ): ChildProcess {
    if (this.#isRemoved) throw new Error('the run is over');
    const log = openSync(join(this.folder, `${name}.log`), 'a', 0o600);
    const [program, programArgs] = command.endsWith('.ts')
      ? [process.execPath, [command, ...args]]
      : [command, args];
    try {
      const child = spawn(program, programArgs, {
        stdio: ['ignore', log, log],
        ...options,
        // A group of its own: Ctrl-C goes to the run alone, which then ends everything in order.
        detached: true,
        env: { ...process.env, ...env },
      });
      this.#children.add(child);
      this.#guard.watch(child);
      child.once('exit', () => this.#children.delete(child));
      return child;
    } finally {
      closeSync(log);
    }
  }

  async logTail(name: string): Promise<string> {
    const text = await readFile(join(this.folder, `${name}.log`), 'utf8').catch(() => '');
    return text.slice(-LOG_TAIL_CHARACTERS).trim();
  }

  async freePort(): Promise<number> {
    const server = createServer().listen(0, '127.0.0.1');
    await once(server, 'listening');
    const { port } = server.address() as AddressInfo;
    server.close();
    await once(server, 'close');
    return port;
  }

  async postgres(): Promise<Postgres> {
    this.#postgres ??= PostgresServer.start();
    return await this.#postgres;
  }

  /** Of the server, when a system has asked for it; else none. */
  async postgresSettings(): Promise<Record<string, string>> {
    const postgres = await this.#postgres?.catch(() => undefined);
    return postgres?.settings ?? {};
  }

  /** Ends every process and removes the folder; once more does nothing. */
  async remove(): Promise<void> {
    if (this.#isRemoved) return;
    this.#isRemoved = true;
    const children = [...this.#children];
    for (const { pid } of children) if (pid !== undefined) killGroup(pid);
    await Promise.all(children.map((child) => endProcess(child, 'SIGKILL')));
    const postgres = await this.#postgres?.catch(() => undefined);
    await postgres?.remove();
    await rm(this.folder, { recursive: true, force: true, maxRetries: 5 });
    this.#guard.release();
  }
}

/** Signals a process and resolves when it is gone; SIGTERM is followed by SIGKILL after 15 s. */
export async function endProcess(child: ChildProcess, signal: 'SIGTERM' | 'SIGKILL'): Promise<void> {
  if (child.exitCode !== null || child.signalCode !== null || child.pid === undefined) return;
  const ended = once(child, 'exit');
  child.kill(signal);
  const patience = setTimeout(() => child.kill('SIGKILL'), STOP_PATIENCE_MS);
  await ended;
  clearTimeout(patience);
}
