/**
 * Where a service's memory goes under a steady load: what its threads' heaps hold after their garbage was collected,
 * and what of the process is neither heap nor buffer.
 *
 *   node bench/memory/main.ts [--engine postgres|sqlite] [--minutes 12] [--rate 300] [--every-s 60] [--snapshots FOLDER] [--arenas N]
 *
 * One receiver in five is bad: some of their answers are 500, never come, or are resets; one always fails. A third of the
 * publishes and three receivers take a new connection each time. `--snapshots` writes a heap snapshot of the main thread
 * after a quarter of the time and at the end, and prints which constructors grew. `--arenas` is MALLOC_ARENA_MAX.
 * Needs Linux (`/proc`).
 */
import { type ChildProcess, spawn } from 'node:child_process';
import { randomBytes } from 'node:crypto';
import { once } from 'node:events';
import { openSync, readFileSync } from 'node:fs';
import { Agent, createServer, type IncomingMessage, type ServerResponse } from 'node:http';
import type { AddressInfo } from 'node:net';
import { join } from 'node:path';
import { setTimeout as sleep } from 'node:timers/promises';
import { fileURLToPath } from 'node:url';
import { parseArgs } from 'node:util';
import { isMainThread, parentPort, Worker } from 'node:worker_threads';
import { PostgresCluster } from '../../packages/server/test/support/postgres-cluster.ts';
import {
  type Api,
  call,
  CONNECTIONS,
  createAccount,
  createEndpoint,
  createEventType,
  EVENT,
  freePort,
  onSite,
  preciseNow,
  until,
} from '../support.ts';
import type { ProbeOrder, ThreadHeap } from './probe.ts';

/** The built command, as users run it. */
const POSTHORN = fileURLToPath(new URL('../../packages/server/bin/posthorn.js', import.meta.url));
const PROBE = fileURLToPath(new URL('./probe.ts', import.meta.url));
const ENDPOINTS = 20;
const MIB = 2 ** 20;
const LONGEST_ANSWER_MS = 60_000;

async function measure(): Promise<void> {
  const { values } = parseArgs({
    options: {
      engine: { type: 'string', default: 'postgres' },
      minutes: { type: 'string', default: '12' },
      rate: { type: 'string', default: '300' },
      'every-s': { type: 'string', default: '60' },
      snapshots: { type: 'string' },
      arenas: { type: 'string' },
    },
  });
  const { engine, snapshots } = values;
  if (engine !== 'postgres' && engine !== 'sqlite') throw new Error('--engine is postgres or sqlite');
  const [minutes, rate, everyS] = [Number(values.minutes), Number(values.rate), Number(values['every-s'])];
  await onSite(async (site) => {
    const cluster = engine === 'postgres' ? await PostgresCluster.start() : null;
    try {
      const port = await freePort();
      const key = `ph_${randomBytes(24).toString('hex')}`;
      const log = openSync(join(site.folder, 'log'), 'a');
      const child = spawn(process.execPath, ['--expose-gc', '--import', PROBE, POSTHORN, 'serve'], {
        cwd: site.folder,
        stdio: ['ignore', log, log, 'ipc'],
        env: {
          ...process.env,
          ...(values.arenas === undefined ? {} : { MALLOC_ARENA_MAX: values.arenas }),
          POSTHORN_DATABASE_URL: cluster?.url() ?? `sqlite:${join(site.folder, 'posthorn.db')}`,
          POSTHORN_LISTEN: `127.0.0.1:${port}`,
          POSTHORN_OPERATOR_KEY: key,
          POSTHORN_ENCRYPTION_KEY: randomBytes(32).toString('base64'),
          POSTHORN_ENDPOINT_POLICY: 'development',
          POSTHORN_RATE_LIMIT_POST: 'off',
          POSTHORN_TIMEOUT: '2s',
          POSTHORN_RETRY_SCHEDULE: '1s,2s,5s,10s',
        },
      });
      site.children.push(child);
      const api = { port, key, agent: new Agent({ keepAlive: true, maxSockets: CONNECTIONS }) };
      const isReady = () =>
        call(api, 'GET', '/readyz').then(
          ({ status }) => status === 200,
          () => false,
        );
      if (!(await until(isReady, 60_000))) throw new Error('posthorn serve was not ready');
      await createEventType(api);
      const receivers = await startReceivers();
      for (let n = 0; n < ENDPOINTS; n += 1) {
        await createAccount(api, `memory-${n}`);
        await createEndpoint(api, `memory-${n}`, `http://127.0.0.1:${receivers}/${n}`);
      }
      console.log(
        `${engine}, ${minutes} minutes at ${rate} events/s, MALLOC_ARENA_MAX ${values.arenas ?? 'unset'}`,
      );
      await watch(child, api, { minutes, rate, everyS, snapshots });
    } finally {
      for (const child of site.children) child.kill('SIGKILL');
      await cluster?.remove();
    }
  });
  process.exit();
}

interface Plan {
  minutes: number;
  rate: number;
  everyS: number;
  snapshots: string | undefined;
}

async function watch(
  child: ChildProcess,
  api: Api,
  { minutes, rate, everyS, snapshots }: Plan,
): Promise<void> {
  const load = new Load(api, rate);
  const startedAt = preciseNow();
  const endAt = startedAt + minutes * 60_000;
  const loading = load.until(endAt);
  const pid = child.pid as number;
  console.log(
    '| s | published | failed | RSS | PSS anon | before: main used | after: main used | main physical | external | buffers | workers used | workers physical | neither heap nor external | files |',
  );
  console.log('|---|---|---|---|---|---|---|---|---|---|---|---|---|---|');
  const snapshotAt =
    snapshots === undefined ? [] : [startedAt + (minutes * 60_000) / 4, endAt - everyS * 1000];
  const taken: string[] = [];
  for (let n = 1; startedAt + n * everyS * 1000 <= endAt; n += 1) {
    await sleep(Math.max(0, startedAt + n * everyS * 1000 - preciseNow()));
    const before = ofProcess(pid);
    const heaps = await ask<ThreadHeap[]>(child, { kind: 'collect' });
    const after = ofProcess(pid);
    const [main, ...workers] = heaps;
    if (main === undefined) throw new Error('the service did not tell its heap');
    const sum = (of: (heap: ThreadHeap) => number) => workers.reduce((all, heap) => all + of(heap), 0);
    const native =
      after.anon -
      main.physical -
      main.external -
      sum((heap) => heap.physical) -
      sum((heap) => heap.external);
    const cells = [
      before.rss,
      before.anon,
      after.anon,
      main.used,
      main.physical,
      main.external,
      main.arrayBuffers,
      sum((heap) => heap.used),
      sum((heap) => heap.physical),
      native,
    ].map((bytes) => (bytes / MIB).toFixed(1));
    console.log(
      `| ${((preciseNow() - startedAt) / 1000).toFixed(0)} | ${load.published} | ${load.failed} | ${cells.join(' | ')} | ${after.files} |`,
    );
    if (preciseNow() >= (snapshotAt[taken.length] ?? Number.POSITIVE_INFINITY)) {
      const path = join(snapshots as string, `${taken.length}.heapsnapshot`);
      await ask(child, { kind: 'snapshot', path });
      taken.push(path);
    }
  }
  await loading;
  const [first, last] = taken;
  if (first !== undefined && last !== undefined) printGrowth(first, last);
}

async function ask<Told>(child: ChildProcess, order: ProbeOrder): Promise<Told> {
  const answer = once(child, 'message', { signal: AbortSignal.timeout(LONGEST_ANSWER_MS) });
  child.send(order);
  return (await answer)[0] as Told;
}

/** Bytes, from `/proc`. */
function ofProcess(pid: number): { rss: number; anon: number; files: number } {
  const text = readFileSync(`/proc/${pid}/smaps_rollup`, 'utf8');
  const bytes = (field: string) => Number(new RegExp(`^${field}:\\s+(\\d+)`, 'm').exec(text)?.[1]) * 1024;
  const files = Number(/^FDSize:\s+(\d+)/m.exec(readFileSync(`/proc/${pid}/status`, 'utf8'))?.[1]);
  return { rss: bytes('Rss'), anon: bytes('Pss_Anon'), files };
}

/** Publishes by plan, an open loop. */
class Load {
  published = 0;
  failed = 0;
  readonly #api: Api;
  readonly #rate: number;

  constructor(api: Api, rate: number) {
    this.#api = api;
    this.#rate = rate;
  }

  async until(endAt: number): Promise<void> {
    const startedAt = preciseNow();
    const once = { ...this.#api, agent: new Agent({ keepAlive: false }) };
    for (let number = 0; preciseNow() < endAt; number += 1) {
      const waitMs = startedAt + (number * 1000) / this.#rate - preciseNow();
      if (waitMs > 0) await sleep(waitMs);
      const data = { number, text: 'x'.repeat(number % 50 === 0 ? 30_000 : 400 + (number % 7) * 200) };
      const body = { username: `memory-${number % ENDPOINTS}`, event: EVENT, data };
      call(number % 3 === 0 ? once : this.#api, 'POST', '/v2/publish', body).then(
        ({ status }) => {
          if (status === 200) this.published += 1;
          else this.failed += 1;
        },
        () => (this.failed += 1),
      );
    }
  }
}

// ---------------------------------------------------------------- receivers, on a thread of their own

async function startReceivers(): Promise<number> {
  const worker = new Worker(new URL(import.meta.url), { argv: [] });
  const [port] = (await once(worker, 'message')) as [number];
  worker.unref();
  return port;
}

function receive(): void {
  let requests = 0;
  const server = createServer((incoming, answer) => {
    requests += 1;
    const turn = requests;
    incoming.on('error', () => {});
    incoming.resume().once('end', () => answerAs(Number(incoming.url?.slice(1)), turn, incoming, answer));
  });
  server.keepAliveTimeout = 0;
  server.listen(0, '127.0.0.1', () => parentPort?.postMessage((server.address() as AddressInfo).port));
}

function answerAs(endpoint: number, turn: number, { socket }: IncomingMessage, answer: ServerResponse): void {
  const isBad = turn % 4 === 0;
  if (endpoint === 0) answer.writeHead(500).end('always');
  else if (endpoint === 1 && isBad)
    answer.writeHead(500, { 'content-type': 'text/plain' }).end('e'.repeat(5_000));
  else if (endpoint === 2 && isBad) return;
  else if (endpoint === 3 && isBad) socket.resetAndDestroy();
  else if (endpoint <= 6) answer.writeHead(200, { connection: 'close' }).end('ok');
  else answer.writeHead(204).end();
}

// ---------------------------------------------------------------- heap snapshots

interface Snapshot {
  snapshot: { meta: { node_fields: string[]; node_types: [string[], ...unknown[]] } };
  nodes: number[];
  strings: string[];
}

/** Count and own size of a snapshot's objects, by type and name; strings and code under their type alone. */
function byConstructor(path: string): Map<string, { count: number; bytes: number }> {
  const { snapshot, nodes, strings } = JSON.parse(readFileSync(path, 'utf8')) as Snapshot;
  const { node_fields: fields, node_types: types } = snapshot.meta;
  const [typeAt, nameAt, sizeAt] = ['type', 'name', 'self_size'].map((field) => fields.indexOf(field)) as [
    number,
    number,
    number,
  ];
  const sums = new Map<string, { count: number; bytes: number }>();
  for (let node = 0; node < nodes.length; node += fields.length) {
    const type = types[0][nodes[node + typeAt] as number] as string;
    const hasName = type === 'object' || type === 'native' || type === 'closure';
    const name = hasName ? `${type} ${strings[nodes[node + nameAt] as number]?.slice(0, 60)}` : type;
    const sum = sums.get(name) ?? { count: 0, bytes: 0 };
    sum.count += 1;
    sum.bytes += nodes[node + sizeAt] as number;
    sums.set(name, sum);
  }
  return sums;
}

function printGrowth(first: string, last: string): void {
  const [before, after] = [byConstructor(first), byConstructor(last)];
  const grown = [...after]
    .map(([name, { count, bytes }]) => {
      const was = before.get(name) ?? { count: 0, bytes: 0 };
      return { name, count: count - was.count, bytes: bytes - was.bytes, now: count };
    })
    .toSorted((a, b) => b.bytes - a.bytes);
  console.log('\n| what grew between the snapshots | count | of now | KiB |\n|---|---|---|---|');
  for (const { name, count, bytes, now } of grown.slice(0, 20)) {
    console.log(`| ${name} | ${count} | ${now} | ${(bytes / 1024).toFixed(1)} |`);
  }
}

if (isMainThread) await measure();
else receive();
