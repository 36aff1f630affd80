/** Promises 1 and 2 of the design against real SIGKILLs: what was acknowledged arrives, and little arrives twice. */
import assert from 'node:assert/strict';
import { after, before, it } from 'node:test';
import { type RunningService, startService } from './cli/harness.ts';
import { Client } from './support/client.ts';
import { Load, LOAD_EVENT } from './support/load.ts';
import { type Receiver, respond, startReceiver } from './support/receivers.ts';
import { seeded } from './support/seeded.ts';
import { type TempDir, tempDir } from './support/tempdir.ts';

/** Each cycle is a start, a load and a SIGKILL. */
const CYCLES = Number(process.env.POSTHORN_TEST_CRASH_CYCLES ?? 3);
/** Decides when the kills fall; a failure says it, so that it can be played again. */
const SEED = Number(process.env.POSTHORN_TEST_CRASH_SEED ?? Date.now() % 1_000_000);
const PUBLISHERS = 8;
const ENDPOINTS = 3;
const IN_FLIGHT_LIMIT = 24;
/** Acknowledged events of a cycle between which the kill falls. */
const EARLIEST_KILL = 5;
const LATEST_KILL = 250;
const OPERATOR_KEY = 'crash-test-operator-key-'.padEnd(48, '0');

let folder: TempDir;
let receiver: Receiver;
let service: RunningService | null = null;

before(async () => {
  folder = await tempDir();
  receiver = await startReceiver(respond(200));
});

after(async () => {
  service?.kill('SIGKILL');
  await service?.ended;
  await receiver.close();
  await folder.remove();
});

async function start(): Promise<{ running: RunningService; operator: Client }> {
  service = await startService(folder.path, {
    env: {
      POSTHORN_OPERATOR_KEY: OPERATOR_KEY,
      POSTHORN_ENDPOINT_POLICY: 'development',
      POSTHORN_RATE_LIMIT_POST: 'off',
      POSTHORN_RETRY_SCHEDULE: '100ms,200ms,500ms,1s,1s',
      POSTHORN_IN_FLIGHT: String(IN_FLIGHT_LIMIT),
    },
  });
  return { running: service, operator: new Client(service.url, OPERATOR_KEY) };
}

function deliveries(operator: Client, status: string): Promise<{ delivery_id: string }[]> {
  return operator.list(`/v2/deliveries?status=${status}`, 'deliveries', 'alice');
}

it(`delivers every acknowledged event after ${CYCLES} SIGKILLs under load, and repeats at most what was in flight (seed ${SEED})`, async () => {
  const random = seeded(SEED);
  const acknowledged: string[] = [];

  for (let cycle = 0; cycle < CYCLES; cycle++) {
    const { running, operator } = await start();
    if (cycle === 0) {
      await operator.data('POST', '/v2/account', { body: { username: 'alice' } });
      for (let i = 0; i < ENDPOINTS; i++) {
        const body = { url: `${receiver.url}/${i}`, events: [LOAD_EVENT] };
        await operator.data('POST', '/v2/endpoint', { account: 'alice', body });
      }
    }
    const killAfter = EARLIEST_KILL + Math.floor(random() * (LATEST_KILL - EARLIEST_KILL));
    const load = new Load({
      client: operator,
      username: 'alice',
      publishers: PUBLISHERS,
      idPrefix: `cycle-${cycle}-`,
    });
    await load.when(() => load.acknowledged.length >= killAfter);
    running.kill('SIGKILL');
    await Promise.all([load.ended, running.ended]);
    assert.deepEqual(load.refusals, []);
    acknowledged.push(...load.acknowledged);
  }

  const { running, operator } = await start();
  const unfinished = new Set((await deliveries(operator, 'pending')).map((one) => one.delivery_id));
  await running.logged((line) => {
    if (line.msg === 'attempt' && line.next !== 'pending') unfinished.delete(String(line.delivery_id));
    return unfinished.size === 0;
  });
  for (const status of ['pending', 'dead', 'cancelled']) {
    assert.deepEqual(await deliveries(operator, status), [], `${status} deliveries`);
  }
  running.kill('SIGTERM');
  assert.equal(await running.ended, 0);

  /** By `path event_id`. */
  const arrivals = new Map<string, number>();
  for (const { target, headers } of receiver.requests) {
    const key = `${target} ${headers['webhook-id']}`;
    arrivals.set(key, (arrivals.get(key) ?? 0) + 1);
  }
  const missing = acknowledged.flatMap((eventId) =>
    Array.from({ length: ENDPOINTS }, (_, i) => `/hook/${i} ${eventId}`).filter((key) => !arrivals.has(key)),
  );
  assert.deepEqual(missing, [], `acknowledged, but never arrived (of ${acknowledged.length} events)`);

  // A dispatcher holds up to twice the limit: what runs, and what has ended and isn't on disk yet.
  const repeats = [...arrivals.values()].reduce((sum, count) => sum + count - 1, 0);
  assert.ok(repeats <= CYCLES * 2 * IN_FLIGHT_LIMIT, `${repeats} deliveries arrived more than once`);
});
