/** hostile-inputs.md, "SIGTERM under load": attempts end or are given back, the process ends in time, nothing is lost. */
import assert from 'node:assert/strict';
import { after, before, it } from 'node:test';
import { type RunningService, startService } from './cli/harness.ts';
import { Client } from './support/client.ts';
import { Load, LOAD_EVENT } from './support/load.ts';
import { type Behaviour, neverAnswer, type Receiver, respond, startReceiver } from './support/receivers.ts';
import { type TempDir, tempDir } from './support/tempdir.ts';

/** Each cycle is a start, a load and a SIGTERM. */
const CYCLES = Number(process.env.POSTHORN_TEST_STOP_CYCLES ?? 1);
const PUBLISHERS = 8;
const LANE_LIMIT = 10;
const ACKNOWLEDGED = 100;
const LONGEST_STOP_MS = 10_000;
const OPERATOR_KEY = 'shutdown-test-operator-key-'.padEnd(48, '0');

let folder: TempDir;
let service: RunningService | null = null;
/** Answers at once. */
let quick: Receiver;
/** Answers when the service is stopping. */
let slow: Receiver;
/** Doesn't answer while the service runs under load. */
let silent: Receiver;
let behaviour: { slow: Behaviour; silent: Behaviour };

before(async () => {
  folder = await tempDir();
  behaviour = { slow: respond(200), silent: respond(200) };
  quick = await startReceiver(respond(200));
  slow = await startReceiver((...request) => behaviour.slow(...request));
  silent = await startReceiver((...request) => behaviour.silent(...request));
});

after(async () => {
  service?.kill('SIGKILL');
  await service?.ended;
  await Promise.all([quick, slow, silent].map((receiver) => receiver.close()));
  await folder.remove();
});

async function start(): Promise<{ running: RunningService; operator: Client }> {
  service = await startService(folder.path, {
    env: {
      POSTHORN_OPERATOR_KEY: OPERATOR_KEY,
      POSTHORN_ENDPOINT_POLICY: 'development',
      POSTHORN_RATE_LIMIT_POST: 'off',
      POSTHORN_LANE_LIMIT: String(LANE_LIMIT),
      // Longer than a stop may take: what is silent is given back, not failed.
      POSTHORN_TIMEOUT: '30s',
    },
  });
  return { running: service, operator: new Client(service.url, OPERATOR_KEY) };
}

/** How often each event arrived there. */
function arrivals(receiver: Receiver): Map<string, number> {
  const counts = new Map<string, number>();
  for (const { headers } of receiver.requests) {
    const eventId = String(headers['webhook-id']);
    counts.set(eventId, (counts.get(eventId) ?? 0) + 1);
  }
  return counts;
}

it(`ends within 10 s of a SIGTERM under load, and the next start delivers the rest (${CYCLES} times)`, async () => {
  const acknowledged: string[] = [];
  for (let cycle = 0; cycle < CYCLES; cycle++) {
    const { running, operator } = await start();
    if (cycle === 0) {
      await operator.data('POST', '/v2/account', { body: { username: 'alice' } });
      for (const { url } of [quick, slow, silent]) {
        await operator.data('POST', '/v2/endpoint', {
          account: 'alice',
          body: { url, events: [LOAD_EVENT] },
        });
      }
    }
    const held: (() => void)[] = [];
    behaviour.slow = (socket, request) => held.push(() => respond(200)(socket, request));
    behaviour.silent = neverAnswer;
    const silentBefore = silent.requests.length;
    const load = new Load({
      client: operator,
      username: 'alice',
      publishers: PUBLISHERS,
      idPrefix: `cycle-${cycle}-`,
    });
    await load.when(
      () =>
        load.acknowledged.length >= ACKNOWLEDGED &&
        held.length >= LANE_LIMIT &&
        silent.requests.length >= silentBefore + LANE_LIMIT,
    );

    const stoppedAt = performance.now();
    running.kill('SIGTERM');
    await running.logged((line) => line.msg === 'stopping');
    behaviour.slow = respond(200);
    for (const answer of held) answer();
    assert.equal(await running.ended, 0, running.stdout.slice(-2_000));
    const stopMs = performance.now() - stoppedAt;
    assert.ok(stopMs < LONGEST_STOP_MS, `the stop took ${stopMs} ms`);
    await load.ended;
    for (const { status, code, retryAfter, text } of load.refusals) {
      assert.deepEqual([status, code, retryAfter], [503, 50000, '1'], text);
    }
    acknowledged.push(...load.acknowledged);
  }

  behaviour.silent = respond(200);
  const { running, operator } = await start();
  const pending = await operator.list<{ delivery_id: string }>(
    '/v2/deliveries?status=pending',
    'deliveries',
    'alice',
  );
  const unfinished = new Set(pending.map((delivery) => delivery.delivery_id));
  await running.logged((line) => {
    if (line.next === 'delivered') unfinished.delete(String(line.delivery_id));
    return unfinished.size === 0;
  });
  running.kill('SIGTERM');
  assert.equal(await running.ended, 0);
  assert.ok(!running.stdout.includes('recovered what'), 'every lease had been given back');

  for (const receiver of [quick, slow]) {
    const counts = arrivals(receiver);
    assert.deepEqual(
      acknowledged.filter((eventId) => !counts.has(eventId)),
      [],
    );
    const repeated = [...counts].filter(([, count]) => count > 1);
    assert.deepEqual(repeated, [], 'what had its answer is not sent again');
  }
  const counts = arrivals(silent);
  assert.deepEqual(
    acknowledged.filter((eventId) => !counts.has(eventId)),
    [],
  );
  const repeats = [...counts.values()].reduce((sum, count) => sum + count - 1, 0);
  assert.equal(repeats, CYCLES * LANE_LIMIT, 'what was in flight, and only that, is sent again');
});
