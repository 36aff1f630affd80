/**
 * A soak in a hostile world: a steady load for minutes while one receiver in twenty misbehaves, the service's processes
 * are killed at random and PostgreSQL is restarted under them. At its end every acknowledged event must have arrived.
 *
 *   node bench/chaos/main.ts [--engine postgres|sqlite] [--minutes 30] [--rate 500] [--seed N] [--kill-s 40,120] [--restart-s 120,300] [--pause 5m]
 *
 * On PostgreSQL two nodes share the work, and `b` is killed three times as often as `a`, so that one of them lives long
 * enough to show what its memory does; on SQLite there is one. `--kill-s` and `--restart-s` bound the pauses between two
 * kills and between two restarts of the database, every other one of which is a crash. A publisher sends an event until
 * it is acknowledged. Bad receivers hang, reset, answer 500, drip or send garbage until the load ends; then they are
 * good, and what waits for them must arrive too. Needs Linux (`/proc`). Exit code 1 when anything is lost, stuck, dead
 * or an error was logged.
 */
import { randomBytes } from 'node:crypto';
import { join } from 'node:path';
import { setTimeout as sleep } from 'node:timers/promises';
import { parseArgs } from 'node:util';
import { PostgresCluster } from '../../packages/server/test/support/postgres-cluster.ts';
import { seeded } from '../../packages/server/test/support/seeded.ts';
import {
  type Api,
  call,
  createAccount,
  createEndpoint,
  createEventType,
  inMs,
  onSite,
  percentile,
  preciseNow,
  type Site,
  until,
} from '../support.ts';
import { ACCOUNTS, Ledger, usernameOf } from './ledger.ts';
import { Node } from './nodes.ts';
import { Publishers } from './publishers.ts';
import { startReceivers } from './receivers.ts';
import { LIVES_HEAD } from './samples.ts';

const IN_FLIGHT_LIMIT = 200;
/** A dispatcher holds what runs, and as much again that has ended and isn't on disk yet. */
const MOST_HELD = 2 * IN_FLIGHT_LIMIT;
const SAMPLE_EVERY_MS = 10_000;
/** After the load: the longest pause of the schedule, and the backlogs of the bad receivers. */
const LONGEST_DRAIN_MS = 20 * 60_000;

interface Options {
  engine: 'postgres' | 'sqlite';
  minutes: number;
  rate: number;
  seed: number;
  killS: [number, number];
  restartS: [number, number];
  /** The longest one between two attempts: `5m`. */
  pause: string;
}

interface Misfortune {
  what: 'kill' | 'database restart' | 'database crash';
  /** The node that is killed. */
  node: number;
  atMs: number;
}

await runSoak(readOptions());

function readOptions(): Options {
  const { values } = parseArgs({
    options: {
      engine: { type: 'string', default: 'postgres' },
      minutes: { type: 'string', default: '30' },
      rate: { type: 'string', default: '500' },
      seed: { type: 'string', default: String(Date.now() % 1_000_000) },
      'kill-s': { type: 'string', default: '40,120' },
      'restart-s': { type: 'string', default: '120,300' },
      pause: { type: 'string', default: '5m' },
    },
  });
  const { engine } = values;
  if (engine !== 'postgres' && engine !== 'sqlite') throw new Error('--engine is postgres or sqlite');
  const number = (text: string, name: string) => {
    const value = Number(text);
    if (!(value > 0)) throw new Error(`--${name} must be a number above 0`);
    return value;
  };
  const range = (text: string, name: string): [number, number] => {
    const [low = '', high = low] = text.split(',');
    return [number(low, name), number(high, name)];
  };
  return {
    engine,
    minutes: number(values.minutes, 'minutes'),
    rate: number(values.rate, 'rate'),
    seed: Number(values.seed),
    killS: range(values['kill-s'], 'kill-s'),
    restartS: range(values['restart-s'], 'restart-s'),
    pause: values.pause,
  };
}

/** What befalls whom and when: the same for the same seed. The last quarter of a minute is quiet. */
function misfortunes({ engine, minutes, seed, killS, restartS }: Options): Misfortune[] {
  const random = seeded(seed);
  const endMs = minutes * 60_000 - 15_000;
  const plan: Misfortune[] = [];
  const pauseMs = ([low, high]: [number, number]) => 1000 * (low + (high - low) * random());
  for (let atMs = pauseMs(killS); atMs < endMs; atMs += pauseMs(killS)) {
    plan.push({ what: 'kill', node: engine === 'postgres' && random() < 0.75 ? 1 : 0, atMs });
  }
  if (engine === 'postgres') {
    let restarts = 0;
    for (let atMs = pauseMs(restartS); atMs < endMs; atMs += pauseMs(restartS)) {
      plan.push({ what: restarts++ % 2 === 0 ? 'database restart' : 'database crash', node: 0, atMs });
    }
  }
  return plan.sort((a, b) => a.atMs - b.atMs);
}

async function runSoak(options: Options): Promise<void> {
  const { engine, minutes, rate, seed } = options;
  console.log(
    `${engine}, ${minutes} minutes at ${rate} events/s, ${ACCOUNTS} endpoints of which 5 are bad, seed ${seed}`,
  );
  await onSite(async (site) => {
    const cluster = engine === 'postgres' ? await PostgresCluster.start() : null;
    try {
      await soak(options, site, cluster);
    } finally {
      // The nodes first: they would only complain.
      for (const child of site.children) child.kill('SIGKILL');
      await cluster?.remove();
    }
  });
}

async function soak(options: Options, site: Site, cluster: PostgresCluster | null): Promise<void> {
  const settings = {
    POSTHORN_DATABASE_URL: cluster?.url() ?? `sqlite:${join(site.folder, 'posthorn.db')}`,
    POSTHORN_ENCRYPTION_KEY: randomBytes(32).toString('base64'),
    POSTHORN_OPERATOR_KEY: `ph_${randomBytes(24).toString('hex')}`,
    POSTHORN_ENDPOINT_POLICY: 'development',
    POSTHORN_RATE_LIMIT_POST: 'off',
    POSTHORN_LOG_LEVEL: 'warn',
    POSTHORN_IN_FLIGHT: String(IN_FLIGHT_LIMIT),
    // On a machine that is short of time a good receiver's answer may come late; a repeat for that is no misfortune's.
    POSTHORN_TIMEOUT: '30s',
    // No delivery may die before its receiver is healed.
    POSTHORN_RETRY_SCHEDULE: `5s,30s${`,${options.pause}`.repeat(40)}`,
  };
  const names = cluster === null ? ['node a'] : ['node a', 'node b'];
  const nodes = names.map((name) => new Node(name, site, settings));
  await Promise.all(nodes.map((node) => node.start()));
  const present = () => nodes.flatMap(({ api }) => api ?? []);

  const events = Math.floor(options.minutes * 60 * options.rate);
  const ledger = Ledger.of(events);
  const receiverPort = await startReceivers(ledger);
  const [operator] = present() as [Api];
  await createEventType(operator);
  for (let account = 0; account < ACCOUNTS; account += 1) {
    await createAccount(operator, usernameOf(account));
    await createEndpoint(operator, usernameOf(account), `http://127.0.0.1:${receiverPort}/${account}`);
  }

  const startedAt = preciseNow();
  const say = (text: string) =>
    console.log(`${((preciseNow() - startedAt) / 1000).toFixed(0).padStart(5)} s  ${text}`);
  const publishers = new Publishers(ledger, present, options.rate, events);
  const sampling = setInterval(() => nodes.forEach((node) => node.sample()), SAMPLE_EVERY_MS);
  const telling = setInterval(() => {
    const nowMs = preciseNow();
    const latencies = ledger.latencies(publishers.published, nowMs - 65_000, nowMs - 5_000);
    say(
      `${publishers.published} published, ${ledger.taken} taken, ${ledger.spoilt} spoilt, ${ledger.repeated} repeated; ` +
        `last minute p50 ${inMs(percentile(latencies, 0.5))}, p99 ${inMs(percentile(latencies, 0.99))}`,
    );
  }, 60_000);

  const { counts, notReadyMs, away } = await strike(options, {
    nodes,
    cluster,
    publishers,
    ledger,
    say,
    startedAt,
  });
  await publishers.ended;
  const tookS = (preciseNow() - startedAt) / 1000;
  say(
    `the load has ended: ${publishers.published} events acknowledged; the bad receivers are good from now on`,
  );
  const repeatedUnderLoad = ledger.repeated;
  ledger.heal();
  const drainedMs = await drain(present, publishers, ledger);
  clearInterval(telling);
  say(
    drainedMs === null
      ? 'it did not drain'
      : `everything has arrived ${(drainedMs / 1000).toFixed(0)} s after the load`,
  );

  const missing = ledger.missing(publishers.published);
  const left = await countByStatus(present()[0] as Api);
  clearInterval(sampling);
  for (const node of nodes) node.sample();
  const exitCodes = await Promise.all(nodes.map((node) => node.stop()));
  const errors = nodes.flatMap((node) => node.defects());
  const kills = counts.get('kill') ?? 0;
  const latencies = ledger.latencies(publishers.published, 0, Number.MAX_VALUE);

  console.log(`
| figure | value |
|---|---|
| events acknowledged | ${publishers.published} in ${tookS.toFixed(0)} s (${(publishers.published / tookS).toFixed(0)}/s) |
| misfortunes | ${[...counts].map(([what, count]) => `${count} × ${what}`).join(', ')} |
| attempts spoilt by bad receivers | ${ledger.spoilt} |
| publishes refused with 503, without an answer, answered as duplicates | ${publishers.refused}, ${publishers.unanswered}, ${publishers.duplicates} |
| answers that are neither success nor 503 | ${publishers.defects.length} |
| lost: acknowledged, never arrived | ${missing.length} |
| stuck: still pending | ${left.pending} |
| dead, cancelled | ${left.dead}, ${left.cancelled} |
| arrived more than once | ${ledger.repeated} (${repeatedUnderLoad} under load); possible were ${kills * MOST_HELD}: ${kills} kills of a node that holds ${MOST_HELD} at most |
| ready again after a kill | ${longest(notReadyMs)} |
| first acknowledged publish after the database was back | ${longest(away)} |
| publish answer → arrival at good receivers, whole run | p50 ${inMs(percentile(latencies, 0.5))}, p99 ${inMs(percentile(latencies, 0.99))}, most ${inMs(latencies.at(-1) ?? Number.NaN)} |
| errors in the logs, beside those of a database that is away | ${errors.length} |
| exit codes at the end | ${exitCodes.join(', ')} |

${LIVES_HEAD}
${nodes.flatMap(({ lives }) => lives.map((life) => life.row())).join('\n')}`);
  for (const line of [...publishers.defects, ...errors].slice(0, 20)) console.log(line);
  for (const event of missing.slice(0, 20))
    console.log(`missing: event ${event} of ${usernameOf(event % ACCOUNTS)}`);
  const isGood =
    drainedMs !== null &&
    missing.length + left.pending + left.dead + left.cancelled + errors.length + publishers.defects.length ===
      0 &&
    ledger.repeated <= kills * MOST_HELD &&
    exitCodes.every((code) => code === 0);
  console.log(isGood ? 'passed' : 'FAILED');
  if (!isGood) process.exitCode = 1;
}

interface Scene {
  nodes: readonly Node[];
  cluster: PostgresCluster | null;
  publishers: Publishers;
  ledger: Ledger;
  say(text: string): void;
  startedAt: number;
}

/** Lets everything happen that is planned; answers how often, and how long each took to be over, in ms. */
async function strike(
  options: Options,
  { nodes, cluster, publishers, ledger, say, startedAt }: Scene,
): Promise<{ counts: Map<string, number>; notReadyMs: number[]; away: number[] }> {
  const counts = new Map<string, number>();
  const notReadyMs: number[] = [];
  const away: number[] = [];
  const random = seeded(options.seed + 1);
  const running: Promise<void>[] = [];
  let database: Promise<void> = Promise.resolve();
  const take = async ({ what, node: index }: Misfortune): Promise<void> => {
    const node = nodes[index] as Node;
    if (what === 'kill') {
      // Killed already, and on its way back.
      if (node.api === null) return;
      counts.set(what, (counts.get(what) ?? 0) + 1);
      say(`${node.name} is killed while receivers hold ${ledger.held} requests`);
      const tookMs = await node.killAndRestart();
      notReadyMs.push(tookMs);
      say(`${node.name} is ready again after ${inMs(tookMs)}`);
      return;
    }
    counts.set(what, (counts.get(what) ?? 0) + 1);
    const downMs = 500 + 4_500 * random();
    say(`${what}: PostgreSQL is away for ${inMs(downMs)}`);
    await (what === 'database crash' ? cluster?.crashServer() : cluster?.stopServer());
    await sleep(downMs);
    await cluster?.startServer();
    const backAt = preciseNow();
    await until(() => publishers.lastAckAt > backAt, 120_000);
    away.push(publishers.lastAckAt - backAt);
    say(`acknowledged again ${inMs(away.at(-1) as number)} after it was back`);
  };
  for (const misfortune of misfortunes(options)) {
    const waitMs = startedAt + misfortune.atMs - preciseNow();
    if (waitMs > 0) await sleep(waitMs);
    if (misfortune.what === 'kill') running.push(take(misfortune));
    else running.push((database = database.then(() => take(misfortune))));
  }
  await Promise.all(running);
  return { counts, notReadyMs, away };
}

/** Waits until nothing is unfinished; answers how long that took in ms, or null when it takes too long. */
async function drain(
  present: () => readonly Api[],
  publishers: Publishers,
  ledger: Ledger,
): Promise<number | null> {
  const since = preciseNow();
  const isDone = async () => {
    await sleep(2_000);
    if (ledger.missing(publishers.published).length > 0) return false;
    const [api] = present();
    return api !== undefined && (await countByStatus(api)).pending === 0;
  };
  return (await until(isDone, LONGEST_DRAIN_MS)) ? preciseNow() - since : null;
}

/** Deliveries by how they stand, over all accounts, as the API tells it; at most 200 of each for an account. */
async function countByStatus(api: Api): Promise<Record<'pending' | 'dead' | 'cancelled', number>> {
  const counts = { pending: 0, dead: 0, cancelled: 0 };
  for (const status of ['pending', 'dead', 'cancelled'] as const) {
    for (let account = 0; account < ACCOUNTS; account += 1) {
      const path = `/v2/deliveries?limit=200&status=${status}`;
      const { text } = await call(api, 'GET', path, undefined, { 'x-account': usernameOf(account) });
      const { data } = JSON.parse(text) as { data: { deliveries: unknown[] } };
      counts[status] += data.deliveries.length;
    }
  }
  return counts;
}

function longest(timesMs: readonly number[]): string {
  if (timesMs.length === 0) return '–';
  const sorted = timesMs.toSorted((a, b) => a - b);
  return `median ${inMs(percentile(sorted, 0.5))}, most ${inMs(sorted.at(-1) as number)}`;
}
