/**
 * The promises of the design with several nodes: two API nodes and three workers on one PostgreSQL, under load, while
 * any of them is killed, stopped in mid-work and restarted at random, and PostgreSQL crashes in between.
 */
import assert from 'node:assert/strict';
import { after, before, it, type TestContext } from 'node:test';
import { setTimeout as delay } from 'node:timers/promises';
import type { LogLine } from './cli/harness.ts';
import { Fleet, type FleetNode, loggedLines } from './support/fleet.ts';
import { LOAD_EVENT } from './support/load.ts';
import { createDatabase, type PostgresDatabase } from './support/postgres.ts';
import { PostgresCluster } from './support/postgres-cluster.ts';
import { type Behaviour, type Receiver, respond, startReceiver } from './support/receivers.ts';
import { seeded } from './support/seeded.ts';
import { StubbornLoad } from './support/stubborn-load.ts';

/** How long the load lasts. */
const LOAD_MS = Number(process.env.POSTHORN_TEST_CHAOS_SECONDS ?? 12) * 1_000;
/** Decides who suffers what and when; the test's name says it, so that it can be played again. */
const SEED = Number(process.env.POSTHORN_TEST_CHAOS_SEED ?? Date.now() % 1_000_000);

const ROLES = ['api', 'api', 'worker', 'worker', 'worker'] as const;
const WORKERS = [2, 3, 4] as const;
const ACCOUNTS = ['alice', 'bob'];
const ENDPOINTS = 2;
const PUBLISHERS = 4;
const IN_FLIGHT_LIMIT = 10;
/** A dispatcher holds up to twice the limit: what runs, and what has ended and isn't on disk yet. */
const MOST_HELD = 2 * IN_FLIGHT_LIMIT;
/** A node that wasn't heard for so long is dead to the others. */
const NODE_TIMEOUT_MS = 10_000;
/** After the load: a stall that waits for its end, leases of the dead, and some whose answer was lost with PostgreSQL. */
const LONGEST_AFTERMATH_MS = 180_000;
/** A node that can't be started again: PostgreSQL is back long before. */
const LONGEST_START_MS = 60_000;
const TIME_LIMIT = { timeout: LOAD_MS + LONGEST_AFTERMATH_MS };

type Misfortune =
  | { atMs: number; kind: 'kill' | 'restart'; slot: number }
  | { atMs: number; kind: 'stall'; slot: number; forMs: number }
  /** A worker that runs at that time is stopped until the others have taken it for dead. */
  | { atMs: number; kind: 'long stall'; slot: number }
  | { atMs: number; kind: 'PostgreSQL crashes' };

/** What befalls whom and when: the same for the same seed. */
function misfortunes(random: () => number): Misfortune[] {
  const pick = <T>(items: readonly T[]): T => items[Math.floor(random() * items.length)] as T;
  const plan: Misfortune[] = [{ atMs: LOAD_MS * (0.1 + 0.1 * random()), kind: 'PostgreSQL crashes' }];
  // The next begins when the last is over for sure.
  for (let atMs = 0.25 * LOAD_MS; atMs < LOAD_MS; atMs += 3 * NODE_TIMEOUT_MS) {
    plan.push({ atMs, kind: 'long stall', slot: pick(WORKERS) });
  }
  for (let atMs = 1_000 * random(); atMs < LOAD_MS; atMs += 1_000 + 1_800 * random()) {
    const slot = Math.floor(random() * ROLES.length);
    const kind = pick(['kill', 'kill', 'restart', 'stall'] as const);
    plan.push(kind === 'stall' ? { atMs, kind, slot, forMs: 500 + 3_500 * random() } : { atMs, kind, slot });
  }
  return plan.sort((a, b) => a.atMs - b.atMs);
}

let cluster: PostgresCluster;
let database: PostgresDatabase;
let fleet: Fleet;
let receiver: Receiver;

/** By `path event_id`: how often it arrived, and how often it was refused. */
const arrivals = new Map<string, { arrived: number; refused: number }>();

/** Most are taken after some milliseconds; one in twenty is refused when it arrives first. */
const behaviour: Behaviour = (socket, request) => {
  const key = `${request.target} ${request.headers['webhook-id']}`;
  const seen = arrivals.get(key) ?? { arrived: 0, refused: 0 };
  arrivals.set(key, seen);
  seen.arrived += 1;
  const refuses = seen.arrived === 1 && arrivals.size % 20 === 0;
  if (refuses) seen.refused += 1;
  setTimeout(() => respond(refuses ? 500 : 200)(socket, request), 5 + (arrivals.size % 25));
};

before(async () => {
  cluster = await PostgresCluster.start();
  database = await createDatabase({ cluster });
  receiver = await startReceiver(behaviour);
  fleet = await Fleet.gather({
    databaseUrl: database.url,
    env: {
      POSTHORN_IN_FLIGHT: String(IN_FLIGHT_LIMIT),
      // An answer that comes while its worker is stopped is found when the worker goes on: a success, too late.
      POSTHORN_TIMEOUT: '30s',
      POSTHORN_RETRY_SCHEDULE: '100ms,200ms,500ms,1s,2s,5s,5s,5s',
    },
    longestRunMs: TIME_LIMIT.timeout,
  });
});

after(async () => {
  await fleet?.disband();
  await receiver?.close();
  await cluster?.remove();
});

/** The nodes by their places; who is struck is out of reach until he runs again. */
class Nodes {
  readonly #slots: (FleetNode | null)[] = ROLES.map(() => null);
  readonly #log: (text: string) => void;
  /** Ends all waiting. */
  readonly #signal: AbortSignal;
  /** Times that a worker ended or stood still with deliveries in hand. */
  incidents = 0;
  readonly counts = new Map<string, number>();

  constructor(log: (text: string) => void, signal: AbortSignal) {
    this.#log = log;
    this.#signal = signal;
  }

  async startAll(): Promise<void> {
    await Promise.all(ROLES.map((_, slot) => this.#start(slot)));
  }

  /** Those that run and aren't stopped. */
  get present(): FleetNode[] {
    return this.#slots.filter((node) => node !== null);
  }

  get apis(): FleetNode[] {
    return this.present.filter(({ role }) => role === 'api');
  }

  async strike(misfortune: Misfortune): Promise<void> {
    if (misfortune.kind === 'PostgreSQL crashes') {
      this.#count(misfortune.kind);
      await cluster.crashServer();
      await cluster.startServer();
      return;
    }
    const { kind } = misfortune;
    const slot = kind === 'long stall' ? await this.#presentWorker(misfortune.slot) : misfortune.slot;
    const node = this.#slots[slot] ?? null;
    if (node === null) return;
    this.#slots[slot] = null;
    this.#count(`${kind} of ${node.role}`);
    const startedAt = performance.now();
    if (kind === 'kill' || kind === 'restart') {
      node.kill(kind === 'kill' ? 'SIGKILL' : 'SIGTERM');
      await node.ended;
      if (kind === 'kill' || hasGivenUp(node)) this.#noteIncident(node);
      await this.#start(slot);
      return;
    }
    node.kill('SIGSTOP');
    this.#noteIncident(node);
    if (kind === 'stall') await this.#delay(misfortune.forMs);
    else await this.#whenForgotten(node);
    node.kill('SIGCONT');
    if (kind === 'long stall') await node.logged(isTakenForDead);
    this.#log(`${kind} of a ${node.role} for ${Math.round(performance.now() - startedAt)} ms`);
    this.#slots[slot] = node;
  }

  /** As whoever watches over processes does it: again and again until it runs. */
  async #start(slot: number): Promise<void> {
    const giveUpAt = performance.now() + LONGEST_START_MS;
    for (;;) {
      try {
        this.#slots[slot] = await fleet.start(ROLES[slot] as (typeof ROLES)[number]);
        return;
      } catch (error) {
        if (performance.now() > giveUpAt) throw error;
        await this.#delay(200);
      }
    }
  }

  /** The one that is asked for, or the next that is there. */
  async #presentWorker(slot: number): Promise<number> {
    for (;;) {
      const found = [slot, ...WORKERS].find((worker) => this.#slots[worker] !== null);
      if (found !== undefined) return found;
      await this.#delay(50);
    }
  }

  async #whenForgotten({ pid }: FleetNode): Promise<void> {
    for (;;) {
      await this.#delay(200);
      const known = await database
        .query('SELECT FROM posthorn.node WHERE name LIKE $1', [`%:${pid}`])
        .catch(() => null);
      if (known?.length === 0) return;
    }
  }

  #delay(ms: number): Promise<void> {
    return delay(ms, undefined, { signal: this.#signal });
  }

  #noteIncident(node: FleetNode): void {
    if (node.role === 'worker') this.incidents += 1;
  }

  #count(what: string): void {
    this.counts.set(what, (this.counts.get(what) ?? 0) + 1);
  }
}

/** A stop in order repeats nothing, unless the database was away at that moment. */
function hasGivenUp(node: FleetNode): boolean {
  return loggedLines(node, ({ msg }) => /did not take|could not be given back/.test(String(msg))).length > 0;
}

function isTakenForDead({ msg }: LogLine): boolean {
  return /was taken for dead/.test(String(msg));
}

/** Asks again until all of them are nought; the test's time limit ends it. */
async function whenNothingIsLeft(): Promise<void> {
  for (;;) {
    const [left] = await database.query<{ queue: string; calls: string }>(
      `SELECT (SELECT count(*) FROM posthorn.queue) AS queue, (SELECT count(*) FROM posthorn.lane_call) AS calls`,
    );
    if (left?.queue === '0' && left.calls === '0') return;
    await delay(200);
  }
}

async function assertConsistent(load: StubbornLoad): Promise<void> {
  for (const [username, ids] of load.acknowledged) {
    const stored = await database.query<{ event_id: string }>(
      'SELECT event_id FROM posthorn.event WHERE username = $1',
      [username],
    );
    assert.deepEqual(stored.map((row) => row.event_id).sort(), ids.toSorted(), `events of ${username}`);
  }
  const [totals] = await database.query(
    `SELECT count(*)::integer AS deliveries, count(DISTINCT delivery_id)::integer AS ids,
       count(DISTINCT (username, event_id, endpoint_id))::integer AS targets,
       (count(*) FILTER (WHERE status = 'delivered'))::integer AS delivered
     FROM posthorn.delivery`,
  );
  const expected = load.count * ENDPOINTS;
  assert.deepEqual(totals, { deliveries: expected, ids: expected, targets: expected, delivered: expected });
  assert.deepEqual(
    await database.query(
      `SELECT d.delivery_id, d.attempts, a.* FROM posthorn.delivery d
       JOIN LATERAL (SELECT array_agg(number ORDER BY number) AS numbers,
                            array_agg(number) FILTER (WHERE outcome = 'success') AS successes
                     FROM posthorn.attempt WHERE username = d.username AND delivery_id = d.delivery_id) a ON true
       WHERE a.numbers IS DISTINCT FROM ARRAY(SELECT generate_series(1, d.attempts))
          OR a.successes IS DISTINCT FROM ARRAY[d.attempts]`,
    ),
    [],
    'attempts are numbered from 1 on, and the last alone is a success',
  );
  assert.deepEqual(
    await database.query(
      `SELECT (SELECT sum(count) FROM posthorn.stat WHERE outcome NOT LIKE 'dead:%') AS counted,
              (SELECT count(*) FROM posthorn.attempt) AS made`,
    ),
    await database.query('SELECT count(*)::numeric AS counted, count(*) AS made FROM posthorn.attempt'),
    'statistics count each attempt once',
  );
}

it(
  `two API nodes and three workers lose nothing and finish everything under ${LOAD_MS / 1_000} s of load and misfortune (seed ${SEED})`,
  TIME_LIMIT,
  async (t: TestContext) => {
    const startedAt = performance.now();
    const log = (text: string) =>
      t.diagnostic(`${((performance.now() - startedAt) / 1_000).toFixed(1)} s: ${text}`);
    const nodes = new Nodes(log, t.signal);
    await nodes.startAll();
    const [{ operator }] = nodes.apis as [FleetNode];
    for (const username of ACCOUNTS) {
      await operator.data('POST', '/v2/account', { body: { username } });
      for (let n = 0; n < ENDPOINTS; n++) {
        const body = { url: `${receiver.url}/${username}/${n}`, events: [LOAD_EVENT] };
        await operator.data('POST', '/v2/endpoint', { account: username, body });
      }
    }

    log('the load begins');
    const loadStartedAt = performance.now();
    const load = new StubbornLoad({
      nodes: () => nodes.apis.map((node) => node.operator),
      usernames: ACCOUNTS,
      publishers: PUBLISHERS,
      pauseMs: 20,
      idPrefix: `${SEED}-`,
    });
    t.after(() => load.abandon());
    const struck: Promise<void>[] = [];
    for (const misfortune of misfortunes(seeded(SEED))) {
      await delay(Math.max(0, misfortune.atMs - (performance.now() - loadStartedAt)));
      const strike = nodes.strike(misfortune);
      // Awaited below; until then it must not end the process.
      strike.catch(() => {});
      struck.push(strike);
    }
    await delay(Math.max(0, LOAD_MS - (performance.now() - loadStartedAt)));
    await Promise.all(struck);
    await load.stop();
    log(`${load.count} events acknowledged`);
    assert.deepEqual(load.failures, []);

    await whenNothingIsLeft();
    log('everything is delivered');
    assert.equal(nodes.present.length, ROLES.length);
    await assertConsistent(load);
    for (const node of nodes.present) node.kill('SIGTERM');
    assert.deepEqual(
      await Promise.all(nodes.present.map((node) => node.ended)),
      ROLES.map(() => 0),
    );

    const missing = [...load.acknowledged].flatMap(([username, ids]) =>
      ids.flatMap((eventId) =>
        Array.from({ length: ENDPOINTS }, (_, n) => `/hook/${username}/${n} ${eventId}`).filter(
          (key) => !arrivals.has(key),
        ),
      ),
    );
    assert.deepEqual(missing, [], 'acknowledged, but never arrived');

    const repeats = [...arrivals.values()].reduce(
      (sum, { arrived, refused }) => sum + arrived - refused - 1,
      0,
    );
    const stale = fleet.nodes.flatMap((node) => loggedLines(node, ({ next }) => next === 'stale')).length;
    const deaths = fleet.nodes.reduce((sum, node) => sum + loggedLines(node, isTakenForDead).length, 0);
    const longStalls = nodes.counts.get('long stall of worker') ?? 0;
    // A machine that is so busy that a node isn't heard for 10 s strikes it as well.
    const incidents = nodes.incidents + Math.max(0, deaths - longStalls);
    t.diagnostic([...nodes.counts].map(([what, count]) => `${what}: ${count}`).join(', '));
    t.diagnostic(
      `publishers: ${load.refusals} refused, ${load.unanswered} unanswered, ${load.repeats} acknowledged as repeats`,
    );
    t.diagnostic(
      `${load.count * ENDPOINTS} deliveries, ${repeats} arrived more than once; possible were ${incidents * MOST_HELD}: ` +
        `${incidents} times a worker was struck, with ${MOST_HELD} deliveries in hand at most`,
    );
    t.diagnostic(`${stale} settlements came too late and were refused; taken for dead: ${deaths}`);
    assert.ok(repeats <= incidents * MOST_HELD, `${repeats} deliveries arrived more than once`);
    assert.ok(longStalls > 0 && deaths > 0, 'a worker was stopped until the others took what it held');
  },
);
