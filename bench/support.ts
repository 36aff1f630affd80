/**
 * What the benches share: the service as its users run it, a receiver process, a load by plan, and small tools.
 * Importing it does nothing.
 */
import { type ChildProcess, spawn } from 'node:child_process';
import { randomBytes } from 'node:crypto';
import { once } from 'node:events';
import { mkdtemp, rm } from 'node:fs/promises';
import { Agent, createServer, type IncomingMessage, request, type ServerResponse } from 'node:http';
import { type AddressInfo, createServer as createTcpServer } from 'node:net';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { setTimeout as sleep } from 'node:timers/promises';
import { fileURLToPath } from 'node:url';

/** The one event type of the benches. */
export const EVENT = 'bench.event';
/** Connections over which a bench publishes. */
export const CONNECTIONS = 50;

const SERVE = fileURLToPath(new URL('../packages/server/src/cli/main.ts', import.meta.url));

export interface Api {
  port: number;
  key: string;
  agent: Agent;
}

/** How a receiver treats a request once its body is read. */
export type Answer = (incoming: IncomingMessage, answer: ServerResponse) => void;

/** Unix milliseconds with fractions; comparable between processes of one machine. */
export function preciseNow(): number {
  return performance.timeOrigin + performance.now();
}

/** Where a bench works: its processes and its folder are gone after it, however it ends. */
export interface Site {
  folder: string;
  /** What it has started. */
  children: ChildProcess[];
}

/** Runs a bench, or a part of it, on a site of its own. */
export async function onSite<T>(run: (site: Site) => Promise<T>): Promise<T> {
  const site: Site = { folder: await mkdtemp(join(tmpdir(), 'posthorn-bench-')), children: [] };
  try {
    return await run(site);
  } finally {
    await stopAll(site.children);
    await rm(site.folder, { recursive: true, force: true });
  }
}

// ---------------------------------------------------------------- receivers, in a process of their own

/**
 * The body of a receiver process: answers everything by `respond` and tells the parent what arrived when, in groups,
 * as `event id` + `path` of the request.
 */
export async function runReceiver(
  respond: Answer = (_, answer) => answer.writeHead(204).end(),
): Promise<void> {
  let arrived: [key: string, atMs: number][] = [];
  const server = createServer((incoming, answer) => {
    const key = arrivalKey(String(incoming.headers['webhook-id']), incoming.url ?? '');
    incoming.resume().once('end', () => {
      arrived.push([key, preciseNow()]);
      respond(incoming, answer);
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

/** Names one event's arrival at one endpoint: `evt_1/0` for the event `evt_1` at the path `/0`. */
export function arrivalKey(eventId: string, path: string): string {
  return eventId + path;
}

/**
 * Starts `file` again with the argument `role`, which must lead it to `runReceiver`.
 * The first arrival of each event at each path is noted in `arrivals`.
 */
export async function startReceiver(
  { children }: Pick<Site, 'children'>,
  file: string,
  role: string,
  arrivals: Map<string, number>,
): Promise<number> {
  const child = spawn(process.execPath, [fileURLToPath(file), role], {
    stdio: ['ignore', 'inherit', 'inherit', 'ipc'],
  });
  children.push(child);
  const [{ port }] = (await once(child, 'message')) as [{ port: number }];
  child.on('message', ({ arrived }: { arrived: [string, number][] }) => {
    for (const [key, at] of arrived) if (!arrivals.has(key)) arrivals.set(key, at);
  });
  return port;
}

// ---------------------------------------------------------------- the service

/**
 * Runs `posthorn serve` with its data in the site's folder, and waits until it is ready.
 *
 * @throws Error when it ends or isn't ready within 15 s
 */
export async function startService(
  { folder, children }: Site,
  settings: Record<string, string> = {},
): Promise<Api> {
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
      POSTHORN_LOG_LEVEL: 'warn',
      ...settings,
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

/** A port that nobody listens on right now. */
export async function freePort(): Promise<number> {
  const server = createTcpServer().listen(0, '127.0.0.1');
  await once(server, 'listening');
  const { port } = server.address() as AddressInfo;
  server.close();
  await once(server, 'close');
  return port;
}

/** Makes the benches' event type. */
export async function createEventType(api: Api): Promise<void> {
  await must(api, 'PUT', `/v2/event_type/${EVENT}`, {
    category: 'bench',
    description: 'An event of the bench',
  });
}

export async function createAccount(api: Api, username: string): Promise<void> {
  await must(api, 'POST', '/v2/account', { username });
}

/** Makes an endpoint that subscribes to the benches' event type; returns its id. */
export async function createEndpoint(api: Api, username: string, url: string): Promise<string> {
  const text = await must(api, 'POST', '/v2/endpoint', { url, events: [EVENT] }, { 'x-account': username });
  return (JSON.parse(text) as { data: { endpoint_id: string } }).data.endpoint_id;
}

/** How many accounts {@link createAccounts} makes. */
export const ACCOUNTS = 10;

/** Makes the event type and accounts with one endpoint each, so that each event has exactly one delivery; returns the endpoints' ids. */
export async function createAccounts(api: Api, receiverPort: number): Promise<string[]> {
  await createEventType(api);
  const endpointIds: string[] = [];
  for (let number = 0; number < ACCOUNTS; number += 1) {
    await createAccount(api, usernameOf(number));
    const url = `http://127.0.0.1:${receiverPort}/${number}`;
    endpointIds.push(await createEndpoint(api, usernameOf(number), url));
  }
  return endpointIds;
}

/** The one of {@link createAccounts} whose turn it is: that of the event of this number. */
export function usernameOf(number: number): string {
  return `bench-${number % ACCOUNTS}`;
}

/** The arrival of the event `<name>-<number>` at its account's endpoint. */
export function arrivalKeyOf(eventId: string): string {
  const number = Number(eventId.slice(eventId.lastIndexOf('-') + 1));
  return arrivalKey(eventId, `/${number % ACCOUNTS}`);
}

/** Publishes one event of about one kilobyte. */
export async function publish(api: Api, username: string, eventId: string): Promise<void> {
  const data = { number: 0, text: 'x'.repeat(900) };
  await must(api, 'POST', '/v2/publish', { username, event: EVENT, event_id: eventId, data });
}

/**
 * Publishes `perSecond` events a second for `forMs`, whatever the answers take (an open loop).
 *
 * @returns event id → when its publish was answered
 */
export async function publishSteadily(
  api: Api,
  plan: {
    perSecond: number;
    forMs: number;
    name: string;
    usernameOf(number: number): string;
    /** Hears of each event just before its publish is sent. */
    onSend?(eventId: string, atMs: number): void;
  },
): Promise<Map<string, number>> {
  const answered = new Map<string, number>();
  const running: Promise<void>[] = [];
  const started = preciseNow();
  for (let number = 0; number < (plan.perSecond * plan.forMs) / 1000; number += 1) {
    // Against the plan, not the last event: a slow answer must not thin out the load.
    const waitMs = started + (number * 1000) / plan.perSecond - preciseNow();
    if (waitMs > 0) await sleep(waitMs);
    const id = `${plan.name}-${number}`;
    plan.onSend?.(id, preciseNow());
    running.push(
      publish(api, plan.usernameOf(number), id).then(() => {
        answered.set(id, preciseNow());
      }),
    );
  }
  await Promise.all(running);
  return answered;
}

// ---------------------------------------------------------------- small tools

/** @throws Error for any answer but HTTP 200 */
export async function must(
  api: Api,
  method: string,
  path: string,
  body: object | undefined,
  headers: Record<string, string> = {},
): Promise<string> {
  const { status, text } = await call(api, method, path, body, headers);
  if (status !== 200) throw new Error(`${method} ${path}: HTTP ${status} ${text.slice(0, 300)}`);
  return text;
}

/** By `node:http`: cheaper than fetch, so that the load takes less from the service's share of the machine. */
export function call(
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

export async function until(holds: () => boolean | Promise<boolean>, patienceMs: number): Promise<boolean> {
  const end = preciseNow() + patienceMs;
  while (!(await holds())) {
    if (preciseNow() > end) return false;
    await sleep(50);
  }
  return true;
}

export async function stopAll(children: readonly ChildProcess[]): Promise<void> {
  await Promise.all(children.map(stop));
}

async function stop(child: ChildProcess): Promise<void> {
  if (child.exitCode !== null || child.signalCode !== null) return;
  const ended = once(child, 'exit');
  child.kill('SIGTERM');
  const patience = setTimeout(() => child.kill('SIGKILL'), 15_000);
  await ended;
  clearTimeout(patience);
}

/**
 * How long each arrival took since its time in `since` (arrival key → unix ms), sorted; what never arrived is left
 * out. A delivery may overtake its own publish answer: then nobody waited for it.
 */
export function latenciesOf(
  since: Iterable<readonly [key: string, atMs: number]>,
  arrivals: ReadonlyMap<string, number>,
): number[] {
  const latencies: number[] = [];
  for (const [key, atMs] of since) {
    const arrivedAt = arrivals.get(key);
    if (arrivedAt !== undefined) latencies.push(Math.max(0, arrivedAt - atMs));
  }
  return latencies.sort((a, b) => a - b);
}

/** The value below which `share` of the sorted ones lie; NaN without any. */
export function percentile(sorted: readonly number[], share: number): number {
  return sorted[Math.min(sorted.length - 1, Math.floor(sorted.length * share))] ?? Number.NaN;
}

/** `12.3 ms` */
export function inMs(value: number): string {
  return Number.isNaN(value) ? '–' : `${value.toFixed(1)} ms`;
}
