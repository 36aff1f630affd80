/**
 * Posthorn in a minute: starts the service and a receiver, adds endpoints, publishes every event type of the catalogue
 * and shows how the deliveries arrive, some after a retry. Everything lives in a temporary folder and goes with it.
 *
 * Usage: npm run demo [-- --keep]
 */
import { type ChildProcess, spawn } from 'node:child_process';
import { randomBytes } from 'node:crypto';
import { once } from 'node:events';
import { mkdtempSync, openSync, readFileSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { setTimeout as sleep } from 'node:timers/promises';
import { fileURLToPath } from 'node:url';
import type { ReceiverMessage } from './receiver.ts';

const TIME_LIMIT_MS = 60_000;
const POLL_MS = 200;
const STOP_GRACE_MS = 10_000;
const USERNAME = 'demo';
const SERVICE = fileURLToPath(new URL('../../packages/server/src/cli/main.ts', import.meta.url));
const RECEIVER = fileURLToPath(new URL('./receiver.ts', import.meta.url));

interface EventType {
  name: string;
  category: string;
  example: Record<string, unknown> | null;
}

interface Row {
  event: string;
  eventId: string;
  publishedAt: number;
  expected: number;
  attempts: number;
  delivered: number;
  failed: number;
  /** When the last endpoint had answered 2xx. */
  lastAt: number | null;
}

const children: ChildProcess[] = [];
const folder = mkdtempSync(join(tmpdir(), 'posthorn-demo-'));
const logFile = join(folder, 'service.log');
let ending = false;

/** Rejects when a child ends before the demo does. */
const childEnded = Promise.withResolvers<never>();
childEnded.promise.catch(() => {});

function start(what: string, child: ChildProcess): ChildProcess {
  children.push(child);
  child.once('error', (error) => childEnded.reject(new Error(`${what} can't be started: ${error.message}`)));
  child.once('exit', (code, signal) => {
    if (!ending) childEnded.reject(new Error(`${what} ended by itself (${signal ?? `exit code ${code}`})`));
  });
  return child;
}

async function startService(operatorKey: string): Promise<string> {
  const own = Object.entries(process.env).filter(([name]) => !name.startsWith('POSTHORN_'));
  const child = start(
    'the service',
    spawn(process.execPath, [SERVICE, 'serve'], {
      cwd: folder,
      env: {
        ...Object.fromEntries(own),
        POSTHORN_LISTEN: '127.0.0.1:0',
        POSTHORN_DATABASE_URL: `sqlite:${join(folder, 'posthorn.db')}`,
        POSTHORN_OPERATOR_KEY: operatorKey,
        POSTHORN_ENDPOINT_POLICY: 'development',
        POSTHORN_RETRY_SCHEDULE: '1s,1s,2s,3s',
        POSTHORN_RATE_LIMIT_POST: 'off',
        POSTHORN_LOG_FORMAT: 'json',
      },
      stdio: ['ignore', openSync(logFile, 'a'), 'pipe'],
      // A process group of its own: Ctrl-C reaches the demo, which stops it in order.
      detached: process.platform !== 'win32',
    }),
  );
  let said = '';
  const listening = Promise.withResolvers<string>();
  child.stderr?.setEncoding('utf8').on('data', (text: string) => {
    said = (said + text).slice(-4000);
    const url = /Posthorn listens on (\S+);/.exec(said)?.[1];
    if (url !== undefined) listening.resolve(url);
  });
  child.once('close', () => listening.reject(new Error(`the service did not start: ${said.trim()}`)));
  listening.promise.catch(() => {});
  return await listening.promise;
}

async function startReceiver(
  onDelivery: (message: ReceiverMessage & { kind: 'delivery' }) => void,
): Promise<{ child: ChildProcess; url: string }> {
  const child = start(
    'the receiver',
    spawn(process.execPath, [RECEIVER], { stdio: ['ignore', 'inherit', 'inherit', 'ipc'] }),
  );
  const port = Promise.withResolvers<number>();
  child.on('message', (message: ReceiverMessage) => {
    if (message.kind === 'listening') port.resolve(message.port);
    else onDelivery(message);
  });
  return { child, url: `http://127.0.0.1:${await port.promise}` };
}

/** A call of Posthorn's API; throws with the server's sentence when it refuses. */
async function call<T>(base: string, key: string, method: string, path: string, body?: object): Promise<T> {
  const response = await fetch(`${base}${path}`, {
    method,
    headers: {
      'x-api-key': key,
      ...(body === undefined ? {} : { 'content-type': 'application/json' }),
    },
    ...(body === undefined ? {} : { body: JSON.stringify(body) }),
  });
  const answer = (await response.json()) as { code: number; msg: string; data: T };
  if (answer.code !== 0) throw new Error(`${method} ${path}: ${answer.msg} (code ${answer.code})`);
  return answer.data;
}

// ---------------------------------------------------------------- showing

/** The table's columns fill 79 characters: one terminal line each on the narrowest terminal in use. */
function columns(
  event: string,
  endpoints: string,
  attempts: string,
  status: string,
  latency: string,
): string {
  return `${event.padEnd(34)}${endpoints.padStart(9)}${attempts.padStart(10)}  ${status.padEnd(15)}${latency.padStart(9)}`;
}

const HEADING = columns('event type', 'endpoints', 'attempts', 'status', 'latency');

const GREEN = 32;
const YELLOW = 33;

function line(row: Row, colour: boolean): string {
  const arrived = `${row.delivered}/${row.expected}`;
  const [status, code] =
    row.delivered === row.expected
      ? ['delivered', GREEN]
      : row.failed > 0
        ? [`retrying (${arrived})`, YELLOW]
        : [`pending (${arrived})`, null];
  const latency = row.lastAt === null ? '' : `${Math.max(0, row.lastAt - row.publishedAt)} ms`;
  const text = columns(row.event, String(row.expected), String(row.attempts), status, latency);
  return colour && code !== null ? text.replace(status, `\x1b[${code}m${status}\x1b[0m`) : text;
}

function counted(count: number, noun: string): string {
  return `${count} ${noun}${count === 1 ? '' : 's'}`;
}

/**
 * On a terminal one table that changes; elsewhere, and on a terminal that is too small for the table, a line for each
 * event when all of its endpoints have it.
 */
class Display {
  /** A table that doesn't fit would scroll, and be drawn beside itself. */
  readonly #live: boolean;
  readonly #colour: boolean;
  #drawnLines = 0;
  readonly #said = new Set<string>();

  constructor(events: number) {
    const isTTY = process.stdout.isTTY === true;
    this.#live =
      isTTY && (process.stdout.rows ?? 0) > events + 1 && (process.stdout.columns ?? 0) >= HEADING.length;
    this.#colour = isTTY && (process.env.NO_COLOR ?? '') === '';
  }

  show(rows: readonly Row[]): void {
    if (!this.#live) {
      for (const row of rows) {
        if (row.delivered < row.expected || this.#said.has(row.event)) continue;
        this.#said.add(row.event);
        console.log(
          `  ${row.event}: delivered to ${counted(row.expected, 'endpoint')} in ${counted(row.attempts, 'attempt')}`,
        );
      }
      return;
    }
    const lines = this.#table(rows);
    const up = this.#drawnLines === 0 ? '' : `\x1b[${this.#drawnLines}A`;
    process.stdout.write(`${up}${lines.map((text) => `\x1b[2K${text}\n`).join('')}`);
    this.#drawnLines = lines.length;
  }

  finish(rows: readonly Row[]): void {
    this.show(rows);
    if (!this.#live) console.log(['', ...this.#table(rows)].join('\n'));
  }

  #table(rows: readonly Row[]): string[] {
    return [HEADING, ...rows.map((row) => line(row, this.#colour))];
  }
}

// ---------------------------------------------------------------- the demo

async function run(keep: boolean): Promise<void> {
  const rows: Row[] = [];
  const byId = new Map<string, Row>();
  let forged = 0;
  const operatorKey = `ph_${randomBytes(32).toString('hex')}`;

  console.log('Starting Posthorn and a receiver …');
  const [base, receiver] = await Promise.all([
    startService(operatorKey),
    startReceiver((delivery) => {
      if (!delivery.verified) forged += 1;
      const row = byId.get(delivery.eventId);
      if (row === undefined) return;
      row.attempts += 1;
      if (delivery.status === 200) {
        row.delivered += 1;
        row.lastAt = delivery.at;
      } else row.failed += 1;
    }),
  ]);

  await call(base, operatorKey, 'POST', '/v2/account', { username: USERNAME });
  const { api_key: accountKey } = await call<{ api_key: string }>(
    base,
    operatorKey,
    'POST',
    `/v2/account/${USERNAME}/api_key`,
    { name: 'demo' },
  );
  const { event_types: listed } = await call<{ event_types: EventType[] }>(
    base,
    accountKey,
    'GET',
    '/v2/event_types',
  );
  // Posthorn alone publishes those about endpoints and deliveries.
  const types = listed.filter(({ category }) => category !== 'operational');
  const subscriptions: Record<string, string[]> = {
    '/everything': types.map(({ name }) => name),
    '/videos': types.filter(({ category }) => category === 'video').map(({ name }) => name),
    '/failures': types.filter(({ name }) => name.endsWith('_failed')).map(({ name }) => name),
  };
  const secrets: Record<string, string> = {};
  for (const [path, events] of Object.entries(subscriptions)) {
    const url = `${receiver.url}${path}`;
    const endpoint = await call<{ secret: string }>(base, accountKey, 'POST', '/v2/endpoint', {
      url,
      events,
    });
    secrets[path] = endpoint.secret;
    console.log(`  endpoint ${url} subscribes to ${events.length} event types`);
  }
  await new Promise<void>((resolve, reject) =>
    receiver.child.send({ secrets }, (error) => (error === null ? resolve() : reject(error))),
  );

  console.log(`Publishing all ${types.length} event types; the receiver refuses some at first …\n`);
  const display = new Display(types.length);
  for (const { name, example } of types) {
    const row: Row = {
      event: name,
      eventId: `demo-${name}`,
      publishedAt: Date.now(),
      expected: 0,
      attempts: 0,
      delivered: 0,
      failed: 0,
      lastAt: null,
    };
    for (const events of Object.values(subscriptions)) if (events.includes(name)) row.expected += 1;
    rows.push(row);
    byId.set(row.eventId, row);
    await call(base, operatorKey, 'POST', '/v2/publish', {
      username: USERNAME,
      event: name,
      data: example ?? {},
      event_id: row.eventId,
    });
    display.show(rows);
  }

  const expected = rows.reduce((sum, row) => sum + row.expected, 0);
  for (;;) {
    display.show(rows);
    const { deliveries } = await call<{ deliveries: { status: string }[] }>(
      base,
      accountKey,
      'GET',
      '/v2/deliveries?limit=200',
    );
    const dead = deliveries.filter(({ status }) => status === 'dead' || status === 'cancelled').length;
    if (dead > 0) throw new Error(`${dead} deliveries were given up`);
    const done = deliveries.filter(({ status }) => status === 'delivered').length;
    const received = rows.reduce((sum, row) => sum + row.delivered, 0);
    if (done === expected && received >= expected) break;
    await sleep(POLL_MS);
  }
  display.finish(rows);
  if (forged > 0) throw new Error(`${forged} deliveries had a signature that does not match`);

  const attempts = rows.reduce((sum, row) => sum + row.attempts, 0);
  console.log(
    [
      '',
      `${rows.length} events, ${expected} deliveries, ${attempts} attempts: the receiver answered ${attempts - expected} with 500`,
      'at first, and Posthorn delivered them again after a second. Every delivery',
      'carried two signatures; the receiver verified both.',
    ].join('\n'),
  );
  if (!keep) {
    console.log('To look around while it runs: npm run demo -- --keep');
    return;
  }
  console.log(
    [
      '',
      `Posthorn runs on ${base} until you press Ctrl-C; its log is ${logFile}. Try:`,
      '',
      `  curl -H 'x-api-key: ${accountKey}' '${base}/v2/deliveries?limit=3'`,
      `  curl -H 'x-api-key: ${accountKey}' ${base}/v2/event_log/${rows[0]?.eventId}`,
      `  curl -H 'x-api-key: ${operatorKey}' -H 'content-type: application/json' \\`,
      `    -d '{"username":"${USERNAME}","event":"generated_image_success","data":{"task_id":"t1","status":"completed","image_urls":[]}}' ${base}/v2/publish`,
      `In a browser: ${base}/docs`,
      '',
    ].join('\n'),
  );
}

async function stopChildren(): Promise<void> {
  ending = true;
  await Promise.all(
    children.map(async (child) => {
      if (child.pid === undefined || child.exitCode !== null || child.signalCode !== null) return;
      const ended = once(child, 'exit');
      child.kill('SIGTERM');
      const force = setTimeout(() => child.kill('SIGKILL'), STOP_GRACE_MS);
      await ended;
      clearTimeout(force);
    }),
  );
}

function lastOfLog(): string {
  try {
    return readFileSync(logFile, 'utf8').trimEnd().split('\n').slice(-5).join('\n');
  } catch {
    return '';
  }
}

async function main(args: readonly string[]): Promise<number> {
  const unknown = args.find((argument) => argument !== '--keep');
  if (unknown !== undefined) {
    console.error(`demo: ${unknown} is no option; there is --keep, which leaves everything running.`);
    return 2;
  }
  const keep = args.includes('--keep');
  const interrupted = Promise.withResolvers<'interrupted'>();
  process.once('SIGINT', () => interrupted.resolve('interrupted'));
  process.once('SIGTERM', () => interrupted.resolve('interrupted'));
  const timeLimit = Promise.withResolvers<never>();
  const timer = setTimeout(
    () => timeLimit.reject(new Error(`not done within ${TIME_LIMIT_MS / 1000} s`)),
    TIME_LIMIT_MS,
  );
  try {
    const running = run(keep);
    running.catch(() => {});
    const end = await Promise.race([running, interrupted.promise, timeLimit.promise, childEnded.promise]);
    clearTimeout(timer);
    if (end === 'interrupted') return 130;
    if (keep) await Promise.race([interrupted.promise, childEnded.promise]);
    return 0;
  } catch (error) {
    const log = lastOfLog();
    console.error(`demo: ${error instanceof Error ? error.message : String(error)}`);
    if (log !== '') console.error(`The service's last log lines:\n${log}`);
    return 1;
  } finally {
    clearTimeout(timer);
    await stopChildren();
    rmSync(folder, { recursive: true, force: true, maxRetries: 5, retryDelay: 100 });
  }
}

// What run() still waits for after an interruption must not keep the process.
process.exit(await main(process.argv.slice(2)));
