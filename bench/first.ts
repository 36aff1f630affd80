/**
 * The first measurements of the whole service, on one machine: what it accepts and delivers, and how long an event takes.
 *
 *   npm run bench
 *
 * The service runs as its users run it (`posthorn serve`, data in a temporary folder), receivers in a second process, this process publishes.
 * All three share the machine's cores, so compare runs on one machine; don't read the figures as limits.
 */
import { type ChildProcess, spawn } from 'node:child_process';
import { randomBytes } from 'node:crypto';
import { once } from 'node:events';
import { mkdtemp, rm } from 'node:fs/promises';
import { Agent, createServer, request } from 'node:http';
import { type AddressInfo, createServer as createTcpServer } from 'node:net';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { setTimeout as sleep } from 'node:timers/promises';
import { fileURLToPath } from 'node:url';

const CONNECTIONS = 50;
const LOAD_MS = 10_000;
const DRAIN_MS = 60_000;
const STEADY_PER_SECOND = 200;
const STEADY_MS = 10_000;
const ENDPOINTS = 10;
const EVENT = 'bench.event';
const SERVE = fileURLToPath(new URL('../packages/server/src/cli/main.ts', import.meta.url));

if (process.argv[2] === 'receiver') await runReceiver();
else await runBench();

// ---------------------------------------------------------------- receivers, in a process of their own

/** Answers 204 to everything and tells the parent which event arrived when, in groups. */
async function runReceiver(): Promise<void> {
  let arrived: [id: string, atMs: number][] = [];
  const server = createServer((incoming, answer) => {
    const id = String(incoming.headers['webhook-id']);
    incoming.resume().once('end', () => {
      arrived.push([id, preciseNow()]);
      answer.writeHead(204).end();
    });
  });
  server.listen(0, '127.0.0.1');
  await once(server, 'listening');
  process.send?.({ port: (server.address() as AddressInfo).port });
  setInterval(() => {
    if (arrived.length === 0) return;
    process.send?.({ arrived });
    arrived = [];
  }, 50);
  process.once('disconnect', () => process.exit(0));
}

/** Unix milliseconds with fractions; comparable between processes of one machine. */
function preciseNow(): number {
  return performance.timeOrigin + performance.now();
}

// ---------------------------------------------------------------- the bench

async function runBench(): Promise<void> {
  const folder = await mkdtemp(join(tmpdir(), 'posthorn-bench-'));
  const children: ChildProcess[] = [];
  try {
    const arrivals = new Map<string, number>();
    const receiverPort = await startReceiver(children, arrivals);
    const api = await startService(children, folder);
    await prepare(api, receiverPort);

    console.log(
      `load: ${CONNECTIONS} connections, ${LOAD_MS / 1000} s, one event a request, 1 endpoint an event`,
    );
    const before = arrivals.size;
    const started = preciseNow();
    const accepted = await publishFlatOut(api, started + LOAD_MS);
    const loadedSeconds = (preciseNow() - started) / 1000;
    const deliveredInLoad = arrivals.size - before;
    const drained = await until(() => arrivals.size - before >= accepted, DRAIN_MS);
    const wholeSeconds = (preciseNow() - started) / 1000;
    console.log(`  accepted   ${rate(accepted, loadedSeconds)}`);
    console.log(`  delivered  ${rate(deliveredInLoad, loadedSeconds)} while publishing`);
    const delivered = arrivals.size - before;
    console.log(
      `  delivered  ${rate(delivered, wholeSeconds)} until ${drained ? 'all had arrived' : 'patience ended'}`,
    );
    if (!drained) console.log(`  MISSING    ${accepted - delivered} events`);

    console.log(`steady: ${STEADY_PER_SECOND} events/s, ${STEADY_MS / 1000} s, publish answer → arrival`);
    const answered = await publishSteadily(api);
    await until(() => [...answered.keys()].every((id) => arrivals.has(id)), DRAIN_MS);
    const latencies: number[] = [];
    for (const [id, at] of answered) {
      const arrivedAt = arrivals.get(id);
      // A delivery may overtake its own publish answer: then nobody waited for it.
      if (arrivedAt !== undefined) latencies.push(Math.max(0, arrivedAt - at));
    }
    latencies.sort((a, b) => a - b);
    console.log(`  events     ${answered.size} published, ${latencies.length} arrived`);
    console.log(`  latency    p50 ${percentile(latencies, 0.5)}, p99 ${percentile(latencies, 0.99)}`);
    await printEventLoop(api);
  } finally {
    await Promise.all(children.map(stop));
    await rm(folder, { recursive: true, force: true });
  }
}

interface Api {
  port: number;
  key: string;
  agent: Agent;
}

async function startReceiver(children: ChildProcess[], arrivals: Map<string, number>): Promise<number> {
  const child = spawn(process.execPath, [fileURLToPath(import.meta.url), 'receiver'], {
    stdio: ['ignore', 'inherit', 'inherit', 'ipc'],
  });
  children.push(child);
  const [{ port }] = (await once(child, 'message')) as [{ port: number }];
  child.on('message', ({ arrived }: { arrived: [string, number][] }) => {
    for (const [id, at] of arrived) if (!arrivals.has(id)) arrivals.set(id, at);
  });
  return port;
}

async function startService(children: ChildProcess[], folder: string): Promise<Api> {
  const port = await freePort();
  const key = `ph_${randomBytes(24).toString('hex')}`;
  const child = spawn(process.execPath, [SERVE, 'serve'], {
    cwd: folder,
    stdio: ['ignore', 'ignore', 'inherit'],
    env: {
      ...process.env,
      POSTHORN_LISTEN: `127.0.0.1:${port}`,
      POSTHORN_DATABASE_URL: `sqlite:${join(folder, 'posthorn.db')}`,
      POSTHORN_OPERATOR_KEY: key,
      POSTHORN_ENDPOINT_POLICY: 'development',
      POSTHORN_RATE_LIMIT_POST: 'off',
      POSTHORN_LANE_LIMIT: '50',
      POSTHORN_LOG_LEVEL: 'warn',
    },
  });
  children.push(child);
  const api = { port, key, agent: new Agent({ keepAlive: true, maxSockets: CONNECTIONS }) };
  const ready = async () => {
    if (child.exitCode !== null) throw new Error(`posthorn serve ended with exit code ${child.exitCode}`);
    return call(api, 'GET', '/readyz').then(
      ({ status }) => status === 200,
      () => false,
    );
  };
  if (!(await until(ready, 15_000))) throw new Error('posthorn serve was not ready within 15 s');
  return api;
}

async function freePort(): Promise<number> {
  const server = createTcpServer().listen(0, '127.0.0.1');
  await once(server, 'listening');
  const { port } = server.address() as AddressInfo;
  server.close();
  await once(server, 'close');
  return port;
}

/** One account an endpoint, so that each event has exactly one delivery. */
async function prepare(api: Api, receiverPort: number): Promise<void> {
  await must(api, 'PUT', `/v2/event_type/${EVENT}`, {
    category: 'bench',
    description: 'An event of the bench',
  });
  for (let number = 0; number < ENDPOINTS; number += 1) {
    await must(api, 'POST', '/v2/account', { username: `bench-${number}` });
    const url = `http://127.0.0.1:${receiverPort}/${number}`;
    await must(api, 'POST', '/v2/endpoint', { url, events: [EVENT] }, { 'x-account': `bench-${number}` });
  }
}

async function publishFlatOut(api: Api, endAt: number): Promise<number> {
  let accepted = 0;
  await Promise.all(
    Array.from({ length: CONNECTIONS }, async (_, connection) => {
      for (let number = 0; preciseNow() < endAt; number += 1) {
        await publish(api, `load-${connection}-${number}`, (connection + number) % ENDPOINTS);
        accepted += 1;
      }
    }),
  );
  return accepted;
}

/** Event id → when its publish was answered. */
async function publishSteadily(api: Api): Promise<Map<string, number>> {
  const answered = new Map<string, number>();
  const running: Promise<void>[] = [];
  const started = preciseNow();
  for (let number = 0; number < (STEADY_PER_SECOND * STEADY_MS) / 1000; number += 1) {
    // Against the plan, not the last event: a slow answer must not thin out the load.
    const waitMs = started + (number * 1000) / STEADY_PER_SECOND - preciseNow();
    if (waitMs > 0) await sleep(waitMs);
    const id = `steady-${number}`;
    running.push(
      publish(api, id, number % ENDPOINTS).then(() => {
        answered.set(id, preciseNow());
      }),
    );
  }
  await Promise.all(running);
  return answered;
}

function publish(api: Api, eventId: string, account: number): Promise<void> {
  const data = { number: account, text: 'x'.repeat(400) };
  return must(api, 'POST', '/v2/publish', {
    username: `bench-${account}`,
    event: EVENT,
    event_id: eventId,
    data,
  });
}

/** How long timers of the service's main thread came late. */
async function printEventLoop(api: Api): Promise<void> {
  const { status, text } = await call(api, 'GET', '/metrics');
  const figures = [...text.matchAll(/^posthorn_event_loop_delay_seconds\{(.*)\} (\S+)$/gm)];
  if (status !== 200 || figures.length === 0) {
    console.log(`event loop: /metrics says nothing (HTTP ${status})`);
    return;
  }
  const shown = figures.map(([, labels, seconds]) => `${labels} ${(Number(seconds) * 1000).toFixed(1)} ms`);
  console.log(`event loop of the service, delay: ${shown.join(', ')}`);
}

// ---------------------------------------------------------------- small tools

async function must(
  api: Api,
  method: string,
  path: string,
  body: object,
  headers: Record<string, string> = {},
): Promise<void> {
  const { status, text } = await call(api, method, path, body, headers);
  if (status !== 200) throw new Error(`${method} ${path}: HTTP ${status} ${text.slice(0, 300)}`);
}

/** By `node:http`: cheaper than fetch, so that the load takes less from the service's share of the machine. */
function call(
  api: Api,
  method: string,
  path: string,
  body?: object,
  headers: Record<string, string> = {},
): Promise<{ status: number; text: string }> {
  const json = body === undefined ? undefined : JSON.stringify(body);
  const { promise, resolve, reject } = Promise.withResolvers<{ status: number; text: string }>();
  const outgoing = request(
    {
      host: '127.0.0.1',
      port: api.port,
      method,
      path,
      agent: api.agent,
      headers: {
        'x-api-key': api.key,
        ...headers,
        ...(json === undefined
          ? {}
          : { 'content-type': 'application/json', 'content-length': Buffer.byteLength(json) }),
      },
    },
    (answer) => {
      const chunks: Buffer[] = [];
      answer.on('data', (chunk: Buffer) => chunks.push(chunk));
      answer.on('end', () =>
        resolve({ status: answer.statusCode ?? 0, text: Buffer.concat(chunks).toString() }),
      );
      answer.on('error', reject);
    },
  );
  outgoing.on('error', reject);
  outgoing.end(json);
  return promise;
}

async function until(holds: () => boolean | Promise<boolean>, patienceMs: number): Promise<boolean> {
  const end = preciseNow() + patienceMs;
  while (!(await holds())) {
    if (preciseNow() > end) return false;
    await sleep(50);
  }
  return true;
}

async function stop(child: ChildProcess): Promise<void> {
  if (child.exitCode !== null || child.signalCode !== null) return;
  const ended = once(child, 'exit');
  child.kill('SIGTERM');
  const patience = setTimeout(() => child.kill('SIGKILL'), 15_000);
  await ended;
  clearTimeout(patience);
}

function rate(count: number, seconds: number): string {
  return `${Math.round(count / seconds)} events/s (${count} in ${seconds.toFixed(1)} s)`;
}

function percentile(sorted: readonly number[], share: number): string {
  const value = sorted[Math.min(sorted.length - 1, Math.floor(sorted.length * share))];
  return value === undefined ? '–' : `${value.toFixed(1)} ms`;
}
