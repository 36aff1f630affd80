/** Nodes that die, stall, come and go, each a process of its own: what they had in hand goes on, and nobody else is harmed. */
import assert from 'node:assert/strict';
import type { Socket } from 'node:net';
import { describe, it, type TestContext } from 'node:test';
import { setTimeout as delay } from 'node:timers/promises';
import { knownSchemaVersion } from '../src/store/postgres/migrate.ts';
import { Client } from './support/client.ts';
import { Fleet, type FleetNode, loggedLines } from './support/fleet.ts';
import { LOAD_EVENT } from './support/load.ts';
import { createDatabase, type PostgresDatabase } from './support/postgres.ts';
import { Cable } from './support/postgres-cable.ts';
import { type Behaviour, type Receiver, respond, startReceiver } from './support/receivers.ts';
import { StubbornLoad } from './support/stubborn-load.ts';

/** Far more than anything here takes. */
const TIME_LIMIT = { timeout: 120_000 };
/** Ten seconds of silence, a sweep every five, one of which is missed when the sweeper was itself just started. */
const TAKEOVER_MS = 15_000;
const SLACK_MS = 10_000;

interface Scene {
  database: PostgresDatabase;
  fleet: Fleet;
  receiver: Receiver;
}

async function scene(t: TestContext, behaviour: Behaviour = respond(200)): Promise<Scene> {
  const database = await createDatabase();
  const receiver = await startReceiver(behaviour);
  const fleet = await Fleet.gather({ databaseUrl: database.url, longestRunMs: TIME_LIMIT.timeout });
  t.after(async () => {
    await fleet.disband();
    await receiver.close();
    await database.drop();
  });
  return { database, fleet, receiver };
}

async function subscribe({ operator }: FleetNode, { url }: Receiver): Promise<void> {
  await operator.data('POST', '/v2/account', { body: { username: 'alice' } });
  const body = { url, events: [LOAD_EVENT] };
  await operator.data('POST', '/v2/endpoint', { account: 'alice', body });
}

function publish({ operator }: { operator: Client }, eventId: string): Promise<unknown> {
  const data = { task_id: eventId, status: 'completed', image_urls: [] };
  return operator.data('POST', '/v2/publish', {
    body: { username: 'alice', event: LOAD_EVENT, event_id: eventId, data },
  });
}

/** The test's time limit ends the waiting. */
async function until(reached: () => Promise<boolean>): Promise<void> {
  while (!(await reached())) await delay(50);
}

/** What became of the deliveries, by event: `one: delivered after 1`. */
async function ends(database: PostgresDatabase): Promise<string[]> {
  const rows = await database.query<{ event_id: string; status: string; attempts: number; logged: string }>(
    `SELECT event_id, status, attempts,
       (SELECT string_agg(number || ' ' || outcome, ', ' ORDER BY number) FROM posthorn.attempt a
        WHERE a.username = d.username AND a.delivery_id = d.delivery_id) AS logged
     FROM posthorn.delivery d ORDER BY event_id`,
  );
  return rows.map(
    ({ event_id, status, attempts, logged }) => `${event_id}: ${status} after ${attempts} (${logged})`,
  );
}

async function whenEnded(database: PostgresDatabase): Promise<void> {
  await until(async () => (await database.query('SELECT FROM posthorn.queue')).length === 0);
}

function eventIds(receiver: Receiver): string[] {
  return receiver.requests.map(({ headers }) => String(headers['webhook-id']));
}

describe('what a worker had in hand', { ...TIME_LIMIT, concurrency: true }, () => {
  it('goes to another within 15 s when it is killed', async (t) => {
    const takesFrom = 4;
    const { database, fleet, receiver } = await scene(t, (socket, request) => {
      if (receiver.requests.length >= takesFrom) respond(200)(socket, request);
    });
    const [api, victim] = (await Promise.all([fleet.start('api'), fleet.start('worker')])) as [
      FleetNode,
      FleetNode,
    ];
    await subscribe(api, receiver);
    for (const eventId of ['one', 'three', 'two']) await publish(api, eventId);
    await receiver.whenRequests(3);
    await fleet.start('worker');
    victim.kill('SIGKILL');
    const killedAt = performance.now();
    await receiver.whenRequests(6);
    const tookMs = performance.now() - killedAt;
    t.diagnostic(`taken over ${(tookMs / 1_000).toFixed(1)} s after the kill`);
    assert.ok(tookMs < TAKEOVER_MS + SLACK_MS, `${tookMs} ms`);
    await whenEnded(database);
    assert.deepEqual(await ends(database), [
      'one: delivered after 1 (1 success)',
      'three: delivered after 1 (1 success)',
      'two: delivered after 1 (1 success)',
    ]);
    assert.deepEqual(eventIds(receiver).sort(), ['one', 'one', 'three', 'three', 'two', 'two']);
  });

  it('is not for it to settle any more when it stood still for so long that another owns it', async (t) => {
    // Two of the stalled worker, then the same two of the other.
    const held: ((status: number) => void)[] = [];
    const { database, fleet, receiver } = await scene(t, (socket: Socket, request) => {
      const answer = (status: number) => respond(status)(socket, request);
      if (held.length < 4) held.push(answer);
      else answer(200);
    });
    const patient = { POSTHORN_TIMEOUT: '30s' };
    const [api, stalled] = (await Promise.all([fleet.start('api'), fleet.start('worker', patient)])) as [
      FleetNode,
      FleetNode,
    ];
    await subscribe(api, receiver);
    for (const eventId of ['one', 'two']) await publish(api, eventId);
    await receiver.whenRequests(2);
    stalled.kill('SIGSTOP');
    const stoppedAt = performance.now();
    const other = await fleet.start('worker', patient);
    await receiver.whenRequests(4);
    const tookMs = performance.now() - stoppedAt;
    t.diagnostic(`taken over ${(tookMs / 1_000).toFixed(1)} s after the stop`);
    assert.ok(tookMs < TAKEOVER_MS + SLACK_MS, `${tookMs} ms`);

    const leases = () =>
      database.query('SELECT event_id, attempts, holder, token FROM posthorn.queue ORDER BY event_id');
    const leasesOfTheOther = await leases();
    for (const answer of held.slice(0, 2)) answer(500);
    stalled.kill('SIGCONT');
    let stale = 0;
    await stalled.logged(({ msg, next, status }) => {
      if (msg === 'attempt' && next === 'stale' && status === 500) stale += 1;
      return stale === 2;
    });
    await stalled.logged(({ msg }) => /was taken for dead/.test(String(msg)));
    assert.deepEqual(await leases(), leasesOfTheOther, 'its failures count for nothing');

    for (const answer of held.slice(2)) answer(200);
    await whenEnded(database);
    assert.deepEqual(await ends(database), [
      'one: delivered after 1 (1 success)',
      'two: delivered after 1 (1 success)',
    ]);

    // It goes on as a new node.
    other.kill('SIGTERM');
    assert.equal(await other.ended, 0);
    await publish(api, 'three');
    await receiver.whenRequests(5);
    await stalled.logged(({ event_id, next }) => event_id === 'three' && next === 'delivered');
    assert.deepEqual(eventIds(receiver).toSorted(), ['one', 'one', 'three', 'two', 'two']);
  });
});

describe('nodes that come and go', TIME_LIMIT, () => {
  it('start at once on an empty database: one prints the operator key, and both work', async (t) => {
    const { fleet, receiver } = await scene(t);
    const nodes = await Promise.all(
      Array.from({ length: 2 }, () => fleet.start('all', { POSTHORN_OPERATOR_KEY: '' })),
    );
    const [key, ...more] = nodes.flatMap(({ printedKey }) => (printedKey === null ? [] : [printedKey]));
    assert.ok(key !== undefined && more.length === 0, 'one key is printed once');
    const [one, other] = nodes.map((node) => ({ ...node, operator: new Client(node.url, key) })) as [
      FleetNode,
      FleetNode,
    ];
    await subscribe(one, receiver);
    await publish(one, 'one');
    await publish(other, 'other');
    await receiver.whenRequests(2);
    for (const node of [one, other]) assert.equal((await node.operator.ask('GET', '/readyz')).status, 200);
  });

  it('are replaced one by one under load, and each event arrives once', async (t) => {
    const { database, fleet, receiver } = await scene(t, (socket, request) => {
      setTimeout(() => respond(200)(socket, request), 10);
    });
    const old = await Promise.all([fleet.start('api'), fleet.start('worker')]);
    let apis = [old[0] as FleetNode];
    await subscribe(old[0] as FleetNode, receiver);
    const load = new StubbornLoad({
      nodes: () => apis.map(({ operator }) => operator),
      usernames: ['alice'],
      publishers: 4,
      pauseMs: 10,
      idPrefix: 'rolling-',
    });
    const more = (count: number) => {
      const from = load.count;
      return until(async () => load.count >= from + count);
    };
    await more(20);
    for (const [n, role] of (['api', 'worker'] as const).entries()) {
      const fresh = await fleet.start(role);
      if (role === 'api') apis = [...apis, fresh];
      await more(20);
      const leaving = old[n] as FleetNode;
      apis = apis.filter((node) => node !== leaving);
      leaving.kill('SIGTERM');
      assert.equal(await leaving.ended, 0);
      await more(20);
    }
    await load.stop();
    assert.deepEqual(load.failures, []);
    await whenEnded(database);
    const expected = load.acknowledged.get('alice') as string[];
    assert.deepEqual(eventIds(receiver).sort(), expected.toSorted());
    const settled = await ends(database);
    assert.equal(
      settled.filter((end) => end.endsWith(': delivered after 1 (1 success)')).length,
      expected.length,
    );
  });

  it('of an older version refuse to start on a newer schema with a sentence; those that run go on', async (t) => {
    const { database, fleet, receiver } = await scene(t);
    const [node, worker] = (await Promise.all([fleet.start('all'), fleet.start('worker')])) as [
      FleetNode,
      FleetNode,
    ];
    await subscribe(node, receiver);
    const known = knownSchemaVersion();
    const readiness = (role: string, version: number) => ({
      status: 'ready',
      role,
      schema_version: version,
      known_schema_version: known,
      outdated: version > known,
    });
    assert.deepEqual(await node.operator.data('GET', '/readyz'), readiness('all', known));
    assert.deepEqual(await worker.operator.data('GET', '/readyz'), readiness('worker', known));
    const newer = knownSchemaVersion() + 1;
    await database.query(
      `INSERT INTO posthorn.schema_migration (version, name, checksum) VALUES ($1, 'later', 'x')`,
      [newer],
    );
    await assert.rejects(fleet.start('worker'), (error: Error) => {
      assert.match(error.message, new RegExp(`schema version ${newer}.*start a newer Posthorn`));
      assert.doesNotMatch(error.message, /\n {4}at /, 'a sentence, not a stack trace');
      return true;
    });
    // Another node was upgraded: they say so, and go on.
    assert.deepEqual(await node.operator.data('GET', '/readyz'), readiness('all', known + 1));
    assert.deepEqual(await worker.operator.data('GET', '/readyz'), readiness('worker', known + 1));
    await publish(node, 'one');
    await receiver.whenRequests(1);
  });
});

describe('nodes whose database is away', TIME_LIMIT, () => {
  it('refuse with 503 and a time to come back, and storm it neither meanwhile nor when it is back', async (t) => {
    const pool = 5;
    const { database, fleet, receiver } = await scene(t);
    const cables = [await Cable.lay(database.url), await Cable.lay(database.url)] as const;
    t.after(() => Promise.all(cables.map((cable) => cable.remove())));
    const [api, worker] = (await Promise.all([
      fleet.start('api', { POSTHORN_DATABASE_URL: cables[0].url, POSTHORN_DATABASE_POOL: String(pool) }),
      fleet.start('worker', { POSTHORN_DATABASE_URL: cables[1].url, POSTHORN_DATABASE_POOL: String(pool) }),
    ])) as [FleetNode, FleetNode];
    await subscribe(api, receiver);
    await Promise.all(Array.from({ length: 20 }, (_, n) => publish(api, `before-${n}`)));
    await receiver.whenRequests(20);

    const tried = () => cables.map(({ connectionsTried }) => connectionsTried);
    const before = tried();
    for (const cable of cables) cable.cut();
    const awaySince = performance.now();
    let refusals = 0;
    while (performance.now() - awaySince < 5_000) {
      const answers = await Promise.all(
        Array.from({ length: 10 }, () =>
          api.operator.ask('POST', '/v2/publish', {
            body: {
              username: 'alice',
              event: LOAD_EVENT,
              data: { task_id: 'x', status: 'completed', image_urls: [] },
            },
          }),
        ),
      );
      for (const { status, code, retryAfter, text } of answers) {
        assert.deepEqual([status, code], [503, 50000], text);
        assert.ok(Number(retryAfter) >= 1 && Number(retryAfter) <= 10, `retry-after is ${retryAfter}`);
      }
      refusals += answers.length;
      for (const { operator } of [api, worker])
        assert.equal((await operator.ask('GET', '/readyz')).status, 503);
      await delay(50);
    }
    const away = tried().map((count, n) => count - (before[n] as number));
    // At first each of the pool and the listener once; then one at a time after 0.1 s, 0.2 s, … 5 s.
    const mostAway = pool + 1 + 8;
    t.diagnostic(
      `5 s away: ${refusals} requests refused, connections tried by API and worker: ${away.join(', ')}`,
    );
    for (const count of away) assert.ok(count <= mostAway, `${count} connections tried`);

    for (const cable of cables) cable.mend();
    const load = new StubbornLoad({
      nodes: () => [api.operator],
      usernames: ['alice'],
      publishers: 10,
      pauseMs: 10,
      idPrefix: 'after-',
    });
    await until(async () => load.count >= 100);
    await load.stop();
    await receiver.whenRequests(20 + load.count);
    for (const { operator } of [api, worker])
      await until(async () => (await operator.ask('GET', '/readyz')).status === 200);
    const back = tried().map((count, n) => count - (before[n] as number) - (away[n] as number));
    t.diagnostic(`back: connections made by API and worker: ${back.join(', ')}`);
    for (const count of back) assert.ok(count <= pool + 1 + 2, `${count} connections made`);
    await whenEnded(database);
    assert.equal(new Set(eventIds(receiver)).size, 20 + load.count);
    const told = loggedLines(worker, ({ msg }) => msg === 'the database is away').length;
    assert.equal(told, 1, 'an outage is logged once');
  });
});
