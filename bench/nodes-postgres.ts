/**
 * What a second worker adds on one machine: the same backlog drained by one worker node and by two.
 *
 *   BENCH_POSTGRES_URL=postgres://… node bench/nodes-postgres.ts [events a round, 20000 unless told]
 *
 * An API node takes the events while no worker runs; then the workers start, and the time counts from the first arrival
 * to the last. Rounds alternate on one database, which must be empty at the beginning and is left to you to drop.
 * API, workers, PostgreSQL and receivers share the machine: with two cores a second worker has little to add.
 */
import { randomBytes } from 'node:crypto';
import {
  CONNECTIONS,
  createAccounts,
  onSite,
  preciseNow,
  publish,
  runReceiver,
  startReceiver,
  startService,
  stopAll,
  until,
  usernameOf,
} from './support.ts';

const URL_VARIABLE = 'BENCH_POSTGRES_URL';
const ROUNDS = [1, 2, 2, 1, 1, 2];
const PATIENCE_MS = 120_000;

if (process.argv[2] === 'receiver') await runReceiver();
else await runBench(Number(process.argv[2] ?? 20_000));

async function runBench(events: number): Promise<void> {
  const url = process.env[URL_VARIABLE];
  if (url === undefined) throw new Error(`set ${URL_VARIABLE} to an empty database`);
  const settings = {
    POSTHORN_DATABASE_URL: url,
    POSTHORN_ENCRYPTION_KEY: randomBytes(32).toString('base64'),
    POSTHORN_LANE_LIMIT: '50',
  };
  await onSite(async (site) => {
    const arrivals = new Map<string, number>();
    const receiverPort = await startReceiver(site, import.meta.url, 'receiver', arrivals);
    const api = await startService(site, { ...settings, POSTHORN_ROLE: 'api' });
    await createAccounts(api, receiverPort);
    const rates = new Map<number, number[]>([
      [1, []],
      [2, []],
    ]);
    for (const [round, workers] of ROUNDS.entries()) {
      arrivals.clear();
      const startedAt = preciseNow();
      await Promise.all(
        Array.from({ length: CONNECTIONS }, async (_, connection) => {
          for (let n = connection; n < events; n += CONNECTIONS) {
            await publish(api, usernameOf(n), `round-${round}-${n}`);
          }
        }),
      );
      const ingest = events / ((preciseNow() - startedAt) / 1000);
      const before = site.children.length;
      await Promise.all(
        Array.from({ length: workers }, () => startService(site, { ...settings, POSTHORN_ROLE: 'worker' })),
      );
      if (!(await until(() => arrivals.size >= events, PATIENCE_MS))) {
        throw new Error(`${arrivals.size} of ${events} events arrived`);
      }
      await stopAll(site.children.splice(before));
      const times = [...arrivals.values()].sort((a, b) => a - b);
      // The last and first hundredth are starting and running dry.
      const first = Math.floor(events * 0.01);
      const last = Math.floor(events * 0.99);
      const seconds = ((times[last] as number) - (times[first] as number)) / 1000;
      const rate = (last - first) / seconds;
      rates.get(workers)?.push(rate);
      console.log(
        `${workers} worker${workers === 1 ? '' : 's'}: ${Math.round(rate)} deliveries/s; ` +
          `accepted before at ${Math.round(ingest)} events/s`,
      );
    }
    const [one, two] = [median(rates.get(1) ?? []), median(rates.get(2) ?? [])];
    console.log(
      `median: ${Math.round(one)} and ${Math.round(two)} deliveries/s, ratio ${(two / one).toFixed(2)}`,
    );
  });
}

function median(values: number[]): number {
  return values.sort((a, b) => a - b)[Math.floor(values.length / 2)] ?? Number.NaN;
}
