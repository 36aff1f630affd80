/**
 * A steady load for minutes: is anything lost, does latency hold, does memory stay flat?
 *
 *   node bench/soak.ts [minutes, 10 unless told] [events per second, 200 unless told]
 *
 * One line a minute: events, arrivals, latency from the publish answer to the arrival, the service's memory.
 */
import {
  type Api,
  arrivalKey,
  call,
  createAccount,
  createEndpoint,
  createEventType,
  inMs,
  latenciesOf,
  onSite,
  percentile,
  publishSteadily,
  runReceiver,
  startReceiver,
  startService,
  until,
} from './support.ts';

const USERNAME = 'soak';

if (process.argv[2] === 'receiver') await runReceiver();
else await runSoak(Number(process.argv[2] ?? 10), Number(process.argv[3] ?? 200));

async function runSoak(minutes: number, perSecond: number): Promise<void> {
  let lost = 0;
  await onSite(async (site) => {
    const arrivals = new Map<string, number>();
    const port = await startReceiver(site, import.meta.url, 'receiver', arrivals);
    const api = await startService(site);
    await createEventType(api);
    await createAccount(api, USERNAME);
    await createEndpoint(api, USERNAME, `http://127.0.0.1:${port}/0`);
    for (let minute = 1; minute <= minutes; minute += 1) {
      const answered = await publishSteadily(api, {
        perSecond,
        forMs: 60_000,
        name: `m${minute}`,
        usernameOf: () => USERNAME,
      });
      const since = [...answered].map(([id, at]) => [arrivalKey(id, '/0'), at] as const);
      await until(() => since.every(([key]) => arrivals.has(key)), 10_000);
      const latencies = latenciesOf(since, arrivals);
      const missing = since.length - latencies.length;
      lost += missing;
      console.log(
        `minute ${minute}: ${answered.size} published, ${missing} missing, p50 ${inMs(percentile(latencies, 0.5))}, ` +
          `p99 ${inMs(percentile(latencies, 0.99))}, max ${inMs(latencies.at(-1) ?? 0)}, ` +
          `memory ${((await residentBytes(api)) / 2 ** 20).toFixed(0)} MiB`,
      );
      arrivals.clear();
    }
    console.log(`lost ${lost} in ${minutes} minutes at ${perSecond} events/s`);
  });
  if (lost > 0) process.exitCode = 1;
}

async function residentBytes(api: Api): Promise<number> {
  const { text } = await call(api, 'GET', '/metrics');
  return Number(/^posthorn_resident_memory_bytes (\S+)/m.exec(text)?.[1]);
}
