/**
 * The first measurements of the whole service, on one machine: what it accepts and delivers, and how long an event takes.
 *
 *   npm run bench
 *
 * The service runs as its users run it (`posthorn serve`, data in a temporary folder), receivers in a second process, this process publishes.
 * All three share the machine's cores, so compare runs on one machine; don't read the figures as limits.
 */
import {
  type Api,
  arrivalKeyOf,
  call,
  CONNECTIONS,
  createAccounts,
  inMs,
  latenciesOf,
  onSite,
  percentile,
  preciseNow,
  publish,
  publishSteadily,
  runReceiver,
  startReceiver,
  startService,
  until,
  usernameOf,
} from './support.ts';

const LOAD_MS = 10_000;
const DRAIN_MS = 60_000;
const STEADY_PER_SECOND = 200;
const STEADY_MS = 10_000;

if (process.argv[2] === 'receiver') await runReceiver();
else await runBench();

async function runBench(): Promise<void> {
  await onSite(async (site) => {
    const arrivals = new Map<string, number>();
    const receiverPort = await startReceiver(site, import.meta.url, 'receiver', arrivals);
    const api = await startService(site, { POSTHORN_LANE_LIMIT: '50' });
    await createAccounts(api, receiverPort);

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
    const answered = await publishSteadily(api, {
      perSecond: STEADY_PER_SECOND,
      forMs: STEADY_MS,
      name: 'steady',
      usernameOf,
    });
    const since = [...answered].map(([id, at]) => [arrivalKeyOf(id), at] as const);
    await until(() => since.every(([key]) => arrivals.has(key)), DRAIN_MS);
    const latencies = latenciesOf(since, arrivals);
    console.log(`  events     ${answered.size} published, ${latencies.length} arrived`);
    console.log(
      `  latency    p50 ${inMs(percentile(latencies, 0.5))}, p99 ${inMs(percentile(latencies, 0.99))}`,
    );
    await printEventLoop(api);
  });
}

async function publishFlatOut(api: Api, endAt: number): Promise<number> {
  let accepted = 0;
  await Promise.all(
    Array.from({ length: CONNECTIONS }, async (_, connection) => {
      for (let number = 0; preciseNow() < endAt; number += 1) {
        await publish(api, usernameOf(connection + number), `load-${connection}-${number}`);
        accepted += 1;
      }
    }),
  );
  return accepted;
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

function rate(count: number, seconds: number): string {
  return `${Math.round(count / seconds)} events/s (${count} in ${seconds.toFixed(1)} s)`;
}
