/** The programs in `examples/receive`, each run as its reader runs it: in a process of its own, on the built package. */
import { spawn, spawnSync } from 'node:child_process';
import { once } from 'node:events';
import { existsSync, mkdirSync, readdirSync, readFileSync, symlinkSync, writeFileSync } from 'node:fs';
import { stripTypeScriptTypes } from 'node:module';
import { join } from 'node:path';
import { createInterface } from 'node:readline';
import { fileURLToPath } from 'node:url';
import { findRuntime, type Runtime } from './runtimes.ts';

export const ROOT = fileURLToPath(new URL('../../../../', import.meta.url));
export const EXAMPLES = join(ROOT, 'examples/receive');
const PACKAGE = join(ROOT, 'packages/receiver');
const PRELOAD = fileURLToPath(new URL('any-port.ts', import.meta.url));
const SERVE_DEFAULT = fileURLToPath(new URL('serve-default.ts', import.meta.url));

interface Command {
  program: string;
  args: string[];
  env?: Record<string, string>;
  cwd?: string;
  /** Finds the port in a line of output; null: the process tells it by a message. */
  port: RegExp | null;
}

export interface Example {
  /** Below the server's address. */
  path: string;
  /** A program that npm doesn't bring by itself; null: nothing is missing. */
  missing: string | null;
  /** How to start it. @param folder - for what is made for it, the same for each start */
  command(folder: string, secret: string): Command;
}

export interface RunningExample {
  url: string;
  /** The event types of what handlers have printed. */
  handled: string[];
  /** Resolves when so many were handled. */
  untilHandled(count: number): Promise<void>;
  /** SIGTERM, and what the process then does. */
  stop(): Promise<void>;
}

function onNode(file: string): Example {
  const args = ['--import', PRELOAD, join(EXAMPLES, file)];
  return {
    path: '/hooks',
    missing: null,
    command: () => ({ program: process.execPath, args, port: null }),
  };
}

/** Modules that only export `fetch`, behind Node's HTTP. */
function defaultOnNode(file: string): Example {
  const args = [SERVE_DEFAULT, join(EXAMPLES, file)];
  return { ...onNode(file), command: () => ({ program: process.execPath, args, port: null }) };
}

function onRuntime(
  name: Runtime,
  command: (folder: string, secret: string) => Omit<Command, 'program'>,
): Example {
  const { program, missing } = findRuntime(name);
  return {
    path: '/hooks',
    missing,
    command: (folder, secret) => ({ program, ...command(folder, secret) }),
  };
}

export const EXAMPLE_RUNS: Readonly<Record<string, Example>> = {
  node: { ...onNode('node.ts'), path: '/' },
  express: onNode('express.ts'),
  'express behind express.json()': onNode('express-parsed.ts'),
  fastify: onNode('fastify.ts'),
  hono: defaultOnNode('hono.ts'),
  koa: onNode('koa.ts'),
  fetch: defaultOnNode('fetch.ts'),
  nest: {
    ...onNode('nest.ts'),
    command: (folder) => ({
      program: process.execPath,
      args: ['--import', PRELOAD, join(compiledNest(folder), 'nest.js')],
      port: null,
    }),
  },
  'fetch on Bun': onRuntime('bun', () => ({
    args: [join(EXAMPLES, 'fetch.ts')],
    env: { PORT: '0' },
    port: /http:\/\/localhost:(\d+)/,
  })),
  'hono on Bun': onRuntime('bun', () => ({
    args: [join(EXAMPLES, 'hono.ts')],
    env: { PORT: '0' },
    port: /http:\/\/localhost:(\d+)/,
  })),
  'fetch on Deno': onRuntime('deno', () => ({
    args: ['serve', '-A', '--no-lock', '--port', '0', '--host', '127.0.0.1', join(EXAMPLES, 'fetch.ts')],
    port: /http:\/\/127\.0\.0\.1:(\d+)/,
  })),
  'Cloudflare Workers': onRuntime('workerd', (folder, secret) => ({
    args: ['serve', workerConfig(folder, secret), '--control-fd=1'],
    port: /"port":(\d+)/,
  })),
};

/** Both routers of Next.js in one server, which compiles a route when it is first asked for. */
export const NEXT: Example = {
  path: '/hooks',
  missing: null,
  command: () => ({
    program: process.execPath,
    args: [
      join(ROOT, 'node_modules/next/dist/bin/next'),
      'dev',
      '-p',
      '0',
      '-H',
      '127.0.0.1',
      join(EXAMPLES, 'next'),
    ],
    env: { NEXT_TELEMETRY_DISABLED: '1' },
    port: /http:\/\/127\.0\.0\.1:(\d+)/,
  }),
};

/** Starts an example; `folder` holds what it remembers. */
export async function startExample(
  example: Example,
  folder: string,
  secret: string,
): Promise<RunningExample> {
  const { program, args, env = {}, cwd = ROOT, port } = example.command(folder, secret);
  const child = spawn(program, args, {
    cwd,
    env: {
      ...process.env,
      ...env,
      WEBHOOK_SECRET: secret,
      HANDLED_DB: join(folder, 'handled.db'),
      // Set by the test runner: children would take themselves for test files.
      NODE_TEST_CONTEXT: undefined,
    },
    stdio: ['ignore', 'pipe', 'pipe', ...(port === null ? (['ipc'] as const) : [])],
  });
  // Not left behind by a test that fails: Next.js starts no second server in a folder.
  const kill = (): void => void child.kill('SIGKILL');
  process.once('exit', kill);
  const handled: string[] = [];
  const output: string[] = [];
  let changed = (): void => {};
  let listens = (_port: number): void => {};
  const listening = new Promise<number>((resolve) => (listens = resolve));
  const onLine = (line: string): void => {
    output.push(line);
    const [, found] = port?.exec(line) ?? [];
    if (found !== undefined) listens(Number(found));
    const [, event] = /^handled \S+ (\w+)/.exec(line) ?? [];
    if (event !== undefined) handled.push(event);
    changed();
  };
  for (const stream of [child.stdout, child.stderr]) {
    if (stream !== null) createInterface({ input: stream }).on('line', onLine);
  }
  child.on('message', (message) => listens((message as { port: number }).port));
  const closed = once(child, 'close');
  const ended = closed.then(() => {
    throw new Error(`${program} ${args.join(' ')} ended:\n${output.join('\n')}`);
  });
  ended.catch(() => {});
  const address = `http://127.0.0.1:${await Promise.race([listening, ended])}`;
  return {
    url: address + example.path,
    handled,
    async untilHandled(count) {
      while (handled.length < count) {
        await Promise.race([new Promise<void>((resolve) => (changed = resolve)), ended]);
      }
    },
    async stop() {
      child.kill('SIGTERM');
      await closed;
      process.off('exit', kill);
    },
  };
}

/** Nest's decorators need a compiler, as Nest projects have one. */
function compiledNest(folder: string): string {
  const out = join(folder, 'nest');
  if (existsSync(out)) return out;
  const { status, stdout } = spawnSync(
    process.execPath,
    [join(ROOT, 'node_modules/typescript/bin/tsc'), '-p', EXAMPLES, '--noCheck', '--outDir', out],
    { encoding: 'utf8' },
  );
  if (status !== 0) throw new Error(stdout);
  symlinkSync(join(ROOT, 'node_modules'), join(folder, 'node_modules'));
  writeFileSync(join(folder, 'package.json'), '{ "type": "module" }');
  return out;
}

/** What a bundler and `wrangler` do: the Worker and the modules that it imports, with its bindings. */
function workerConfig(folder: string, secret: string): string {
  const path = join(folder, 'worker.capnp');
  if (existsSync(path)) return path;
  const built = join(PACKAGE, 'dist/esm');
  const source = stripTypeScriptTypes(readFileSync(join(EXAMPLES, 'workers/main.ts'), 'utf8'));
  writeFileSync(
    join(folder, 'main.js'),
    source.replaceAll(/'@posthorn\/receiver([^']*)'/g, (_, entry: string) => {
      const target =
        entry === '' ? 'index' : entry === '/idempotency' ? 'idempotency/index' : `adapters${entry}`;
      return `'./receiver/${target}.js'`;
    }),
  );
  symlinkSync(built, join(folder, 'receiver'));
  mkdirSync(join(folder, 'objects'));
  const modules = [
    'main.js',
    ...readdirSync(built, { recursive: true })
      .filter((name) => String(name).endsWith('.js'))
      .map((name) => `receiver/${String(name)}`),
  ].map((name) => `(name = "${name}", esModule = embed "${name}")`);
  writeFileSync(
    path,
    `using Workerd = import "/workerd/workerd.capnp";
const config :Workerd.Config = (
  services = [
    (name = "main", worker = .worker),
    (name = "objects", disk = (path = "${join(folder, 'objects')}", writable = true)),
  ],
  sockets = [(name = "http", address = "127.0.0.1:0", http = (), service = "main")],
);
const worker :Workerd.Worker = (
  modules = [${modules.join(', ')}],
  compatibilityDate = "2026-01-01",
  bindings = [
    (name = "WEBHOOK_SECRET", text = "${secret}"),
    (name = "HANDLED", durableObjectNamespace = "HandledEvents"),
  ],
  durableObjectNamespaces = [(className = "HandledEvents", uniqueKey = "handled", enableSql = true)],
  durableObjectStorage = (localDisk = "objects"),
);
`,
  );
  return path;
}
