/**
 * A fault injector between the service and PostgreSQL: what a network can do to a connection, done to a real service
 * under load. Refusals instead of waiting for ever, nothing acknowledged that isn't stored, nothing lost, no connection
 * left behind, and everything as before when the fault is over, without a restart.
 *
 * The service gives a statement up after 15 s without an answer, so each silence takes half a minute: `npm run test:slow`.
 */
import assert from 'node:assert/strict';
import { after, before, describe, it, type TestContext } from 'node:test';
import { setTimeout as delay } from 'node:timers/promises';
import { createEncryptionKey } from '../src/secrets.ts';
import { startService } from './cli/harness.ts';
import { type Answer, type AskOptions, Client } from './support/client.ts';
import { Load, LOAD_EVENT } from './support/load.ts';
import { createDatabase } from './support/postgres.ts';
import { Cable, type Fault } from './support/postgres-cable.ts';
import { type Receiver, respond, startReceiver } from './support/receivers.ts';
import { seeded } from './support/seeded.ts';
import { type TempDir, tempDir } from './support/tempdir.ts';

const OPERATOR_KEY = 'faults-test-operator-key-'.padEnd(48, '0');
const PUBLISHERS = 6;
const IN_FLIGHT_LIMIT = 20;
const POOL = 4;
/** The pool, and the one that listens for notices. */
const MOST_CONNECTIONS = POOL + 1;
const ACKNOWLEDGED_EACH_TIME = 30;
/** 10 s that a statement may take, 5 s for its answer, and the same for one that waited for a connection meanwhile. */
const LONGEST_ANSWER_MS = 40_000;
/** From the end of a fault to the first acknowledgement. */
const LONGEST_RECOVERY_MS = 30_000;
/** Leases whose answer was lost end after 90 s at the latest. */
const TIME_LIMIT = { timeout: 240_000 };
const seed = Number(process.env.POSTHORN_TEST_FAULTS_SEED ?? 20_261_130);

let folder: TempDir;
let receiver: Receiver;

before(async () => {
  folder = await tempDir();
  receiver = await startReceiver(respond(200));
});
after(async () => {
  await receiver.close();
  await folder.remove();
});

/** Remembers how long the slowest answer took. */
class TimedClient extends Client {
  slowestMs = 0;

  override async ask<T = unknown>(method: string, path: string, options?: AskOptions): Promise<Answer<T>> {
    const startedAt = performance.now();
    try {
      return await super.ask<T>(method, path, options);
    } finally {
      this.slowestMs = Math.max(this.slowestMs, performance.now() - startedAt);
    }
  }
}

interface Scene {
  cable: Cable;
  client: TimedClient;
  load: Load;
  username: string;
}

/** A service behind a cable, and publishers that are at it. */
async function underLoad(t: TestContext, username: string): Promise<Scene> {
  const database = await createDatabase();
  const cable = await Cable.lay(database.url);
  const service = await startService(folder.path, {
    longestRunMs: TIME_LIMIT.timeout,
    env: {
      POSTHORN_DATABASE_URL: cable.url,
      POSTHORN_DATABASE_POOL: String(POOL),
      POSTHORN_ENCRYPTION_KEY: createEncryptionKey(),
      POSTHORN_OPERATOR_KEY: OPERATOR_KEY,
      POSTHORN_ENDPOINT_POLICY: 'development',
      POSTHORN_RATE_LIMIT_POST: 'off',
      POSTHORN_IN_FLIGHT: String(IN_FLIGHT_LIMIT),
    },
  });
  t.after(async () => {
    service.kill('SIGKILL');
    await service.ended;
    await cable.remove();
    await database.drop();
  });
  const client = new TimedClient(service.url, OPERATOR_KEY);
  await client.data('POST', '/v2/account', { body: { username } });
  const body = { url: `${receiver.url}/${username}`, events: [LOAD_EVENT] };
  await client.data('POST', '/v2/endpoint', { account: username, body });
  const load = new Load({ client, username, publishers: PUBLISHERS, pauseMs: 20, idPrefix: `${username}-` });
  await load.when(() => load.acknowledged.length >= ACKNOWLEDGED_EACH_TIME);
  return { cable, client, load, username };
}

/** The test's time limit ends the waiting. */
async function until(reached: () => boolean | Promise<boolean>): Promise<void> {
  while (!(await reached())) await delay(50);
}

async function statusOf({ client }: Scene, path: string): Promise<number> {
  return (await client.ask('GET', path)).status;
}

/** The fault is over: everything goes on by itself, and all that was acknowledged is stored and arrives. */
async function assertRecovery(t: TestContext, scene: Scene): Promise<void> {
  const { cable, client, load, username } = scene;
  const before = load.acknowledged.length;
  const mendedAt = performance.now();
  cable.mend();
  await load.when(() => load.acknowledged.length > before);
  const recoveryMs = performance.now() - mendedAt;
  await load.when(() => load.acknowledged.length >= before + ACKNOWLEDGED_EACH_TIME);
  await until(async () => (await statusOf(scene, '/readyz')) === 200);
  await load.stop();
  assert.ok(recoveryMs < LONGEST_RECOVERY_MS, `acknowledged again after ${Math.round(recoveryMs)} ms`);
  assert.ok(client.slowestMs < LONGEST_ANSWER_MS, `an answer took ${Math.round(client.slowestMs)} ms`);
  for (const { status, code, retryAfter, text } of load.refusals) {
    assert.deepEqual([status, code], [503, 50000], text);
    assert.ok(Number(retryAfter) >= 1, `retry-after is ${retryAfter}: ${text}`);
    assert.doesNotMatch(text, /\n? {4}at |postgres:/, 'neither a stack trace nor the URL');
  }

  const stored = await client.list<{ event_id: string }>('/v2/event_log', 'events', username);
  const missing = new Set(load.acknowledged);
  for (const { event_id: eventId } of stored) missing.delete(eventId);
  assert.deepEqual([...missing], [], 'acknowledged and not stored');
  const unfinished = () => client.list('/v2/deliveries?status=pending', 'deliveries', username);
  await until(async () => (await unfinished()).length === 0);
  const drainedMs = performance.now() - mendedAt;
  const deliveries = await client.list<{ status: string }>('/v2/deliveries', 'deliveries', username);
  assert.deepEqual(
    deliveries.map(({ status }) => status),
    stored.map(() => 'delivered'),
  );
  const arrivals = receiver.requests
    .filter(({ target }) => target.endsWith(`/${username}`))
    .map(({ headers }) => headers['webhook-id']);
  assert.equal(new Set(arrivals).size, stored.length, 'each event has arrived');
  const open = cable.openConnections;
  assert.ok(open <= MOST_CONNECTIONS, `${open} connections are open`);
  t.diagnostic(
    `${load.acknowledged.length} acknowledged, ${load.refusals.length} refused, slowest answer ` +
      `${Math.round(client.slowestMs)} ms; acknowledged again after ${Math.round(recoveryMs)} ms, all delivered after ` +
      `${Math.round(drainedMs)} ms; ${arrivals.length - stored.length} arrived more than once`,
  );
  // What was in flight may repeat: its settlement may have been lost with every connection that broke.
  const incidents = 1 + cable.resets;
  assert.ok(arrivals.length - stored.length <= incidents * IN_FLIGHT_LIMIT);
}

function onlySlow(t: TestContext): boolean {
  if (process.env.POSTHORN_TEST_SLOW !== undefined) return false;
  t.skip('npm run test:slow has it');
  return true;
}

const SILENCES: [name: string, fault: Fault][] = [
  ['loses everything both ways', { kind: 'silence', toward: 'both' }],
  ['loses what the server says', { kind: 'silence', toward: 'client' }],
  ['loses what the service says', { kind: 'silence', toward: 'server' }],
];

describe('a connection to PostgreSQL', { concurrency: 4 }, () => {
  for (const [name, fault] of SILENCES) {
    it(`that ${name}, without a word, is given up in time and made anew`, TIME_LIMIT, async (t) => {
      if (onlySlow(t)) return;
      const scene = await underLoad(t, `silence-${fault.kind === 'silence' && fault.toward}`);
      scene.cable.inflict(fault);
      await scene.load.when(() => scene.load.refusals.length >= PUBLISHERS);
      assert.equal(await statusOf(scene, '/healthz'), 200, 'the process itself is well');
      assert.equal(await statusOf(scene, '/readyz'), 503);
      await assertRecovery(t, scene);
    });
  }

  it(
    'that was forgotten on the way, like all that are open, costs one wait and not one each',
    TIME_LIMIT,
    async (t) => {
      if (onlySlow(t)) return;
      const scene = await underLoad(t, 'forgotten');
      const before = scene.load.acknowledged.length;
      const forgottenAt = performance.now();
      // New ones lead to the server.
      scene.cable.inflict({ kind: 'silence', toward: 'both' });
      scene.cable.mend();
      await scene.load.when(() => scene.load.acknowledged.length >= before + ACKNOWLEDGED_EACH_TIME);
      const tookMs = performance.now() - forgottenAt;
      assert.ok(tookMs < LONGEST_RECOVERY_MS, `it took ${Math.round(tookMs)} ms`);
      await assertRecovery(t, scene);
    },
  );

  it('whose server answers a byte a second is given up in time and made anew', TIME_LIMIT, async (t) => {
    if (onlySlow(t)) return;
    const scene = await underLoad(t, 'trickle');
    scene.cable.inflict({ kind: 'trickle', everyMs: 1000 });
    await scene.load.when(() => scene.load.refusals.length >= PUBLISHERS);
    assert.equal(await statusOf(scene, '/readyz'), 503);
    await assertRecovery(t, scene);
  });

  it('that takes 200 ms each way is slow and refuses nothing', TIME_LIMIT, async (t) => {
    const scene = await underLoad(t, 'delay');
    scene.cable.inflict({ kind: 'delay', ms: 200 });
    const before = scene.load.acknowledged.length;
    await scene.load.when(() => scene.load.acknowledged.length >= before + ACKNOWLEDGED_EACH_TIME);
    await until(async () => (await statusOf(scene, '/readyz')) === 200);
    assert.deepEqual(scene.load.refusals, []);
    await assertRecovery(t, scene);
  });

  for (const toward of ['server', 'client'] as const) {
    it(
      `that is reset at any byte on the way to the ${toward} loses nothing (seed ${seed})`,
      TIME_LIMIT,
      async (t) => {
        const scene = await underLoad(t, `reset-${toward}`);
        const random = seeded(seed);
        // From the middle of the handshake to some thousand bytes into the work.
        scene.cable.inflict({ kind: 'reset', toward, afterBytes: () => Math.floor(10 ** (4.5 * random())) });
        await until(() => scene.cable.resets >= 40);
        await assertRecovery(t, scene);
      },
    );
  }
});
