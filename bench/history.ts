/**
 * What a long history costs: how long an event takes beside an empty file, and beside one with many finished deliveries.
 *
 *   node bench/history.ts [finished deliveries, 1000000 unless told]
 *
 * Counted from the sending of the publish, since the history may slow its commit as well as its claim.
 * The history is written by SQL into a file that the service has migrated, one event, delivery and attempt each,
 * spread over the last day and over the accounts that are measured. Needs about 2 GB in the temporary folder for a
 * million. The two files are measured in turns, each time with a fresh start of the service.
 */
import { mkdir, stat } from 'node:fs/promises';
import { join } from 'node:path';
import { writeHistory } from './sqlite-history.ts';
import {
  type Api,
  arrivalKeyOf,
  createAccounts,
  inMs,
  latenciesOf,
  onSite,
  percentile,
  publishSteadily,
  runReceiver,
  type Site,
  startReceiver,
  startService,
  stopAll,
  until,
  usernameOf,
} from './support.ts';

const HISTORY = 1_000_000;
const HISTORY_SPAN_MS = 24 * 3600 * 1000;
const PER_SECOND = 100;
const WARM_UP_MS = 2000;
const MEASURED_MS = 10_000;
const DRAIN_MS = 30_000;
const ROUNDS = 2;
const DATABASE = 'posthorn.db';
const TEXT = 'x'.repeat(400);

interface Receiver {
  port: number;
  arrivals: Map<string, number>;
}

if (process.argv[2] === 'receiver') await runReceiver();
else await runBench(process.argv[2] === undefined ? HISTORY : Number(process.argv[2]));

async function runBench(history: number): Promise<void> {
  if (!Number.isSafeInteger(history) || history < 1) {
    throw new Error('the history must be a whole number of deliveries, such as 1000000');
  }
  await onSite(async (site) => {
    const arrivals = new Map<string, number>();
    const port = await startReceiver(site, import.meta.url, 'receiver', arrivals);
    const receiver = { port, arrivals };
    const [empty, full] = [join(site.folder, 'empty'), join(site.folder, 'full')];
    await prepare(empty, port);
    const endpointIds = await prepare(full, port);
    const nowMs = Date.now();
    const seconds = writeHistory(join(full, DATABASE), history, endpointIds, TEXT, (number) => {
      return nowMs - HISTORY_SPAN_MS + Math.floor((number * HISTORY_SPAN_MS) / history);
    });
    const { size } = await stat(join(full, DATABASE));
    console.log(
      `${history} finished deliveries written in ${seconds.toFixed(0)} s, file ${(size / 2 ** 20).toFixed(0)} MiB`,
    );
    console.log(`${PER_SECOND} events/s, ${MEASURED_MS / 1000} s a phase, publish sent → arrival`);

    const before: number[] = [];
    const after: number[] = [];
    for (let round = 0; round < ROUNDS; round += 1) {
      before.push(...(await measure('empty', empty, receiver, round)));
      after.push(...(await measure('full', full, receiver, round)));
    }
    const [emptyP50, fullP50] = [print('all empty', before), print('all full', after)];
    console.log(`ratio of p50, full to empty: ${(fullP50 / emptyP50).toFixed(2)}`);
  });
}

/** Lets the service make a file with the accounts and endpoints; returns the endpoints' ids. */
async function prepare(folder: string, receiverPort: number): Promise<string[]> {
  await mkdir(folder);
  return withService(folder, (api) => createAccounts(api, receiverPort));
}

async function withService<T>(folder: string, use: (api: Api) => Promise<T>): Promise<T> {
  const site: Site = { folder, children: [] };
  try {
    return await use(await startService(site));
  } finally {
    await stopAll(site.children);
  }
}

async function measure(
  name: string,
  folder: string,
  { arrivals }: Receiver,
  round: number,
): Promise<number[]> {
  return withService(folder, async (api) => {
    const prefix = `${name}${round}`;
    await publishSteadily(api, {
      perSecond: PER_SECOND,
      forMs: WARM_UP_MS,
      name: `${prefix}-warm`,
      usernameOf,
    });
    const sent: [key: string, atMs: number][] = [];
    await publishSteadily(api, {
      perSecond: PER_SECOND,
      forMs: MEASURED_MS,
      name: prefix,
      usernameOf,
      onSend: (id, atMs) => sent.push([arrivalKeyOf(id), atMs]),
    });
    const arrived = await until(() => sent.every(([key]) => arrivals.has(key)), DRAIN_MS);
    if (!arrived) console.log(`  MISSING: not every event arrived within ${DRAIN_MS / 1000} s`);
    const latencies = latenciesOf(sent, arrivals);
    print(`  ${name}`, latencies);
    return latencies;
  });
}

/** Prints the percentiles and returns p50 in milliseconds. */
function print(name: string, latencies: readonly number[]): number {
  const sorted = latencies.toSorted((a, b) => a - b);
  const p50 = percentile(sorted, 0.5);
  console.log(`${name}: ${sorted.length} events, p50 ${inMs(p50)}, p99 ${inMs(percentile(sorted, 0.99))}`);
  return p50;
}
