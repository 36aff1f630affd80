/** The service's processes, watched over as systemd would: whoever is killed is started again, until it runs. */
import { type ChildProcess, spawn } from 'node:child_process';
import { once } from 'node:events';
import { closeSync, openSync, readFileSync } from 'node:fs';
import { Agent } from 'node:http';
import { join } from 'node:path';
import { setTimeout as sleep } from 'node:timers/promises';
import { fileURLToPath } from 'node:url';
import { type Api, call, CONNECTIONS, freePort, preciseNow, type Site } from '../support.ts';
import { Life } from './samples.ts';

/** The built command, as users run it. */
const POSTHORN = fileURLToPath(new URL('../../packages/server/bin/posthorn.js', import.meta.url));
const LONGEST_START_MS = 60_000;
const RESTART_AFTER_MS = 500;

export class Node {
  readonly name: string;
  readonly lives: Life[] = [];
  /** Null while it doesn't run or isn't ready. */
  api: Api | null = null;
  readonly #site: Site;
  readonly #settings: Record<string, string>;
  readonly #log: string;
  #child: ChildProcess | null = null;
  #isOver = false;

  constructor(name: string, site: Site, settings: Record<string, string>) {
    this.name = name;
    this.#site = site;
    this.#settings = settings;
    this.#log = join(site.folder, `${name}.log`);
  }

  /** Resolves when it is ready, however many starts that takes. */
  async start(): Promise<void> {
    while (!this.#isOver && !(await this.#startOnce())) await sleep(RESTART_AFTER_MS);
  }

  /** Kills it (SIGKILL) and starts it again; answers how long it wasn't ready, in ms. */
  async killAndRestart(): Promise<number> {
    const since = preciseNow();
    this.api = null;
    await this.#kill();
    await this.start();
    return preciseNow() - since;
  }

  /** Ends it in order, and answers its exit code. */
  async stop(): Promise<number | null> {
    this.#isOver = true;
    this.api = null;
    const child = this.#child;
    if (child === null || child.exitCode !== null) return child?.exitCode ?? null;
    const ended = once(child, 'exit');
    child.kill('SIGTERM');
    await ended;
    return child.exitCode;
  }

  sample(): void {
    this.lives.at(-1)?.sample();
  }

  /** What its log has of defects, of all lives: errors that are not about a database that is away. */
  defects(): string[] {
    const lines = readFileSync(this.#log, 'utf8').split('\n');
    return lines.filter((line) => {
      if (/^\s+at /.test(line)) return true;
      return /"level":"(error|fatal)"/.test(line) && !line.includes('"kind":"unavailable"');
    });
  }

  async #kill(): Promise<void> {
    const child = this.#child;
    if (child === null || child.exitCode !== null || child.signalCode !== null) return;
    const ended = once(child, 'exit');
    child.kill('SIGKILL');
    await ended;
  }

  async #startOnce(): Promise<boolean> {
    const port = await freePort();
    const log = openSync(this.#log, 'a');
    const child = spawn(process.execPath, [POSTHORN, 'serve'], {
      cwd: this.#site.folder,
      stdio: ['ignore', log, log],
      env: { ...process.env, ...this.#settings, POSTHORN_LISTEN: `127.0.0.1:${port}` },
    });
    closeSync(log);
    this.#site.children.push(child);
    this.#child = child;
    this.lives.push(new Life(`${this.name}, life ${this.lives.length + 1}`, child.pid ?? 0));
    const api = {
      port,
      key: this.#settings.POSTHORN_OPERATOR_KEY as string,
      agent: new Agent({ keepAlive: true, maxSockets: CONNECTIONS }),
    };
    const giveUpAt = preciseNow() + LONGEST_START_MS;
    while (child.exitCode === null && child.signalCode === null && preciseNow() < giveUpAt) {
      const answer = await call(api, 'GET', '/readyz').catch(() => null);
      if (answer?.status === 200) {
        this.api = api;
        return true;
      }
      await sleep(50);
    }
    await this.#kill();
    return false;
  }
}
