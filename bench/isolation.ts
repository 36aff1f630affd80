/**
 * What bad receivers cost the healthy ones: the same load with and without three bad endpoints beside ten healthy ones.
 *
 *   node bench/isolation.ts [events per second, 30 unless told]
 *
 * One account, so that every event goes to all endpoints: the healthy ones get ten deliveries an event in both
 * phases. The bad ones never answer, answer 500, or drip a byte a second. Each phase has a fresh service and
 * database, so that no backlog of a bad phase reaches the next good one. The bad receivers live in a process of their
 * own. All share the machine's cores: the bad phases also pay for three deliveries more an event.
 */
import type { IncomingMessage, ServerResponse } from 'node:http';
import {
  arrivalKey,
  createAccount,
  createEndpoint,
  createEventType,
  inMs,
  latenciesOf,
  onSite,
  percentile,
  preciseNow,
  publishSteadily,
  runReceiver,
  startReceiver,
  startService,
  until,
} from './support.ts';

const HEALTHY = 10;
const BAD = ['hang', 'fail', 'drip'] as const;
const PER_SECOND = 30;
const WARM_UP_MS = 2000;
const MEASURED_MS = 10_000;
const DRAIN_MS = 30_000;
const ROUNDS = 2;
const USERNAME = 'bench';

interface PhaseResult {
  perSecond: number;
  latencies: number[];
  missing: number;
}

if (process.argv[2] === 'healthy') await runReceiver();
else if (process.argv[2] === 'bad') await runReceiver(misbehave);
else await runBench(process.argv[2] === undefined ? PER_SECOND : Number(process.argv[2]));

async function runBench(perSecond: number): Promise<void> {
  if (!(perSecond > 0)) throw new Error('the rate must be a number of events a second, such as 30');
  console.log(
    `${perSecond} events/s to ${HEALTHY} healthy endpoints (${perSecond * HEALTHY} deliveries/s), ` +
      `${MEASURED_MS / 1000} s a phase; latency is publish answer → arrival`,
  );
  const alone: PhaseResult[] = [];
  const beside: PhaseResult[] = [];
  for (let round = 0; round < ROUNDS; round += 1) {
    alone.push(await runPhase(perSecond, false));
    beside.push(await runPhase(perSecond, true));
  }
  const [without, withBad] = [merge(alone), merge(beside)];
  print('all without', without);
  print('all with', withBad);
  const p99 = (result: PhaseResult) => percentile(result.latencies, 0.99);
  console.log(
    `ratio, with to without: throughput ${(withBad.perSecond / without.perSecond).toFixed(3)}, ` +
      `p99 ${(p99(withBad) / p99(without)).toFixed(2)}`,
  );
}

function runPhase(perSecond: number, withBad: boolean): Promise<PhaseResult> {
  return onSite(async (site) => {
    const arrivals = new Map<string, number>();
    const badArrivals = new Map<string, number>();
    const port = await startReceiver(site, import.meta.url, 'healthy', arrivals);
    const badPort = await startReceiver(site, import.meta.url, 'bad', badArrivals);
    const api = await startService(site);
    await createEventType(api);
    await createAccount(api, USERNAME);
    const paths = Array.from({ length: HEALTHY }, (_, number) => `/${number}`);
    for (const path of paths) await createEndpoint(api, USERNAME, `http://127.0.0.1:${port}${path}`);
    if (withBad) {
      for (const kind of BAD) await createEndpoint(api, USERNAME, `http://127.0.0.1:${badPort}/${kind}`);
    }

    const usernameOf = () => USERNAME;
    await publishSteadily(api, { perSecond, forMs: WARM_UP_MS, name: 'warm', usernameOf });
    const started = preciseNow();
    const answered = await publishSteadily(api, {
      perSecond,
      forMs: MEASURED_MS,
      name: 'steady',
      usernameOf,
    });
    const ended = preciseNow();
    const since = [...answered].flatMap(([id, at]) =>
      paths.map((path) => [arrivalKey(id, path), at] as const),
    );
    await until(() => since.every(([key]) => arrivals.has(key)), DRAIN_MS);

    const inTime = [...arrivals.values()].filter((at) => at >= started && at < ended).length;
    const latencies = latenciesOf(since, arrivals);
    const result: PhaseResult = {
      perSecond: (inTime * 1000) / (ended - started),
      latencies,
      missing: since.length - latencies.length,
    };
    print(withBad ? `  with ${BAD.join(', ')}` : '  without', result);
    if (withBad) {
      const counts = BAD.map((kind) => {
        const attempted = [...badArrivals.keys()].filter((key) => key.endsWith(`/${kind}`)).length;
        return `${kind} ${attempted}`;
      });
      console.log(`    events that reached the bad ones: ${counts.join(', ')}`);
    }
    return result;
  });
}

function merge(results: readonly PhaseResult[]): PhaseResult {
  return {
    perSecond: results.reduce((sum, result) => sum + result.perSecond, 0) / results.length,
    latencies: results.flatMap(({ latencies }) => latencies).toSorted((a, b) => a - b),
    missing: results.reduce((sum, { missing }) => sum + missing, 0),
  };
}

function print(name: string, { perSecond, latencies, missing }: PhaseResult): void {
  console.log(
    `${name}: ${perSecond.toFixed(1)} deliveries/s, p50 ${inMs(percentile(latencies, 0.5))}, ` +
      `p99 ${inMs(percentile(latencies, 0.99))}${missing > 0 ? `, MISSING ${missing}` : ''}`,
  );
}

/** The three bad kinds, told apart by the path. */
function misbehave(incoming: IncomingMessage, answer: ServerResponse): void {
  if (incoming.url === '/fail') answer.writeHead(500).end();
  if (incoming.url === '/drip') {
    answer.writeHead(200);
    const timer = setInterval(() => answer.write('x'), 1000);
    answer.once('close', () => clearInterval(timer));
  }
}
