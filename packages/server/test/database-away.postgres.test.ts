/**
 * hostile-inputs.md, "database gone, killed in mid-transaction", on PostgreSQL: API nodes refuse with 503 and acknowledge
 * nothing that isn't stored, workers wait, and all of them recover by themselves.
 */
import assert from 'node:assert/strict';
import { after, afterEach, before, beforeEach, describe, it } from 'node:test';
import { setTimeout as delay } from 'node:timers/promises';
import { createEncryptionKey } from '../src/secrets.ts';
import { type RunningService, startService } from './cli/harness.ts';
import { Client } from './support/client.ts';
import { Load, LOAD_EVENT } from './support/load.ts';
import { createDatabase, type PostgresDatabase } from './support/postgres.ts';
import { PostgresCluster } from './support/postgres-cluster.ts';
import { type Receiver, respond, startReceiver } from './support/receivers.ts';
import { type TempDir, tempDir } from './support/tempdir.ts';

const OPERATOR_KEY = 'database-test-operator-key-'.padEnd(48, '0');
const ENCRYPTION_KEY = createEncryptionKey();
const PUBLISHERS = 4;
const IN_FLIGHT_LIMIT = 20;
/** Requests and attempts are under way when the trouble begins and when it ends. */
const ACKNOWLEDGED_EACH_TIME = 20;
const REFUSALS = 20;
/**
 * It takes seconds, but for leases whose claim was committed and whose answer was lost with the server: nobody knows
 * that he has them, and they end after 90 s.
 */
const TIME_LIMIT = { timeout: 180_000 };
/** As long for the processes. */
const RUN_LIMIT = { longestRunMs: TIME_LIMIT.timeout };
/** From the signal to the end of a process. */
const LONGEST_STOP_MS = 10_000;

let cluster: PostgresCluster;
let database: PostgresDatabase;
let folder: TempDir;
let receiver: Receiver;
let services: RunningService[];

before(async () => {
  cluster = await PostgresCluster.start();
});
after(() => cluster.remove());

beforeEach(async () => {
  database = await createDatabase({ cluster });
  folder = await tempDir();
  receiver = await startReceiver(respond(200));
  services = [];
});
afterEach(async () => {
  for (const service of services) service.kill('SIGKILL');
  await Promise.all(services.map(({ ended }) => ended));
  await receiver.close();
  await folder.remove();
  await database.drop();
});

async function start(role: 'api' | 'worker'): Promise<{ service: RunningService; client: Client }> {
  const service = await startService(folder.path, {
    ...RUN_LIMIT,
    env: {
      POSTHORN_DATABASE_URL: database.url,
      POSTHORN_ENCRYPTION_KEY: ENCRYPTION_KEY,
      POSTHORN_OPERATOR_KEY: OPERATOR_KEY,
      POSTHORN_ROLE: role,
      POSTHORN_ENDPOINT_POLICY: 'development',
      POSTHORN_RATE_LIMIT_POST: 'off',
      POSTHORN_IN_FLIGHT: String(IN_FLIGHT_LIMIT),
    },
  });
  services.push(service);
  return { service, client: new Client(service.url, OPERATOR_KEY) };
}

async function readiness(client: Client): Promise<number> {
  return (await client.ask('GET', '/readyz')).status;
}

/** The test's time limit ends the waiting. */
async function until(reached: () => Promise<boolean>): Promise<void> {
  while (!(await reached())) await delay(50);
}

describe('a PostgreSQL', () => {
  for (const [how, stop] of [
    ['is stopped', () => cluster.stopServer()],
    ['crashes', () => cluster.crashServer()],
  ] as const) {
    it(
      `that ${how} under load costs nothing that was acknowledged, and is used again when it is back`,
      TIME_LIMIT,
      async () => {
        const api = await start('api');
        const worker = await start('worker');
        await api.client.data('POST', '/v2/account', { body: { username: 'alice' } });
        const endpoint = { url: receiver.url, events: [LOAD_EVENT] };
        await api.client.data('POST', '/v2/endpoint', { account: 'alice', body: endpoint });
        const load = new Load({
          client: api.client,
          username: 'alice',
          publishers: PUBLISHERS,
          idPrefix: 'evt-',
          fillerLength: 1_000,
        });
        await load.when(() => load.acknowledged.length >= ACKNOWLEDGED_EACH_TIME);
        await stop();
        await load.when(() => load.refusals.length >= REFUSALS);
        for (const { client } of [api, worker]) {
          assert.equal(await readiness(client), 503);
          assert.equal((await client.ask('GET', '/healthz')).status, 200);
        }
        await cluster.startServer();
        const before = load.acknowledged.length;
        await load.when(() => load.acknowledged.length >= before + ACKNOWLEDGED_EACH_TIME);
        for (const { client } of [api, worker]) await until(async () => (await readiness(client)) === 200);
        await load.stop();

        for (const { status, code, retryAfter, text } of load.refusals) {
          assert.deepEqual([status, code], [503, 50000], text);
          assert.ok(Number(retryAfter) >= 1, `retry-after is ${retryAfter}: ${text}`);
          assert.doesNotMatch(
            text,
            /\n? {4}at |x{20}|postgres:/,
            'neither a stack trace nor payload nor URL',
          );
        }
        // An answer that was lost with the server may have been a success: such an event is stored as well.
        const stored = await api.client.list<{ event_id: string }>('/v2/event_log', 'events', 'alice');
        const missing = new Set(load.acknowledged);
        for (const { event_id: eventId } of stored) missing.delete(eventId);
        assert.deepEqual([...missing], [], 'acknowledged and not stored');

        const pending = '/v2/deliveries?status=pending';
        await until(async () => (await api.client.list(pending, 'deliveries', 'alice')).length === 0);
        const ended = await api.client.list<{ status: string }>('/v2/deliveries', 'deliveries', 'alice');
        assert.deepEqual(
          ended.map(({ status }) => status),
          stored.map(() => 'delivered'),
        );
        const arrivals = receiver.requests.map(({ headers }) => headers['webhook-id']);
        assert.equal(new Set(arrivals).size, stored.length);
        const repeats = arrivals.length - stored.length;
        assert.ok(repeats <= IN_FLIGHT_LIMIT, `${repeats} deliveries arrived more than once`);
      },
    );
  }

  it('that is away keeps nobody from stopping in time', TIME_LIMIT, async () => {
    const nodes = [await start('api'), await start('worker')];
    await cluster.stopServer();
    for (const { client } of nodes) await until(async () => (await readiness(client)) === 503);
    const startedAt = performance.now();
    for (const { service } of nodes) service.kill('SIGTERM');
    const codes = await Promise.all(nodes.map(({ service }) => service.ended));
    const tookMs = performance.now() - startedAt;
    await cluster.startServer();
    assert.deepEqual(codes, [0, 0]);
    assert.ok(tookMs < LONGEST_STOP_MS, `it took ${tookMs} ms`);
    for (const { service } of nodes) {
      assert.ok(!`${service.stdout}${service.stderr}`.includes(new URL(database.url).password));
    }
  });
});
