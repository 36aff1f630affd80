/** What two API nodes and three workers, each a process of its own, hold to together: limits, ids, and the way of an event. */
import assert from 'node:assert/strict';
import type { Socket } from 'node:net';
import { after, before, describe, it, type TestContext } from 'node:test';
import { setTimeout as delay } from 'node:timers/promises';
import { Fleet, type FleetNode } from './support/fleet.ts';
import { createDatabase, type PostgresDatabase } from './support/postgres.ts';
import { type Behaviour, type Receiver, respond, startReceiver } from './support/receivers.ts';

const EVENT = 'generated_image_success';
const LANE_LIMIT = 4;
/** How often a worker looks for deliveries that nobody told it of. */
const POLL_MS = 1_000;
/** For a machine with other work. */
const SLACK_MS = 3_000;
/** Far more than anything here takes. */
const TIME_LIMIT = { timeout: 90_000 };

let database: PostgresDatabase;
let fleet: Fleet;
let apis: [FleetNode, FleetNode];
let accounts = 0;

before(async () => {
  database = await createDatabase();
  fleet = await Fleet.gather({
    databaseUrl: database.url,
    env: { POSTHORN_LANE_LIMIT: String(LANE_LIMIT), POSTHORN_RATE_LIMIT_POST: '20/m' },
    longestRunMs: 300_000,
  });
  const [one, other] = await Promise.all([
    ...Array.from({ length: 2 }, () => fleet.start('api')),
    ...Array.from({ length: 3 }, () => fleet.start('worker')),
  ]);
  apis = [one as FleetNode, other as FleetNode];
});

after(async () => {
  await fleet.disband();
  await database.drop();
});

async function newAccount(): Promise<string> {
  const username = `account-${(accounts += 1)}`;
  await apis[0].operator.data('POST', '/v2/account', { body: { username } });
  return username;
}

async function receiver(t: TestContext, behaviour: Behaviour): Promise<Receiver> {
  const started = await startReceiver(behaviour);
  t.after(() => started.close());
  return started;
}

/** An account with one endpoint that leads there. */
async function subscriber(url: string, more: object = {}): Promise<string> {
  const username = await newAccount();
  const body = { url, events: [EVENT], ...more };
  await apis[0].operator.data('POST', '/v2/endpoint', { account: username, body });
  return username;
}

function eventOf(username: string, eventId?: string) {
  const data = { task_id: 'task', status: 'completed', image_urls: [] };
  return { username, event: EVENT, data, ...(eventId === undefined ? {} : { event_id: eventId }) };
}

/** Half of them over each API node, at the same time. */
async function publishMany(username: string, count: number): Promise<void> {
  await Promise.all(
    apis.map(({ operator }) =>
      operator.data('POST', '/v2/publish', {
        body: { events: Array.from({ length: count / 2 }, () => eventOf(username)) },
      }),
    ),
  );
}

/** The middle one, and the largest. */
function summary(values: readonly number[]): { p50: number; most: number } {
  const sorted = values.toSorted((a, b) => a - b);
  return { p50: sorted[sorted.length >> 1] as number, most: sorted.at(-1) as number };
}

/** By publishing `count` events one after another: ms from each answer to the arrival. */
async function answerToArrival(t: TestContext, count: number): Promise<{ p50: number; most: number }> {
  const arrivedAt = new Map<string, PromiseWithResolvers<number>>();
  const arrival = (eventId: string): PromiseWithResolvers<number> => {
    const known = arrivedAt.get(eventId) ?? Promise.withResolvers<number>();
    arrivedAt.set(eventId, known);
    return known;
  };
  const target = await receiver(t, (socket, request) => {
    arrival(String(request.headers['webhook-id'])).resolve(performance.now());
    respond(200)(socket, request);
  });
  const username = await subscriber(target.url);
  const took: number[] = [];
  for (let n = 0; n < count; n++) {
    const eventId = `${username}-${n}`;
    await apis[n % 2 === 0 ? 0 : 1].operator.data('POST', '/v2/publish', {
      body: eventOf(username, eventId),
    });
    const answeredAt = performance.now();
    took.push(Math.max(0, (await arrival(eventId).promise) - answeredAt));
  }
  return summary(took);
}

describe('two API nodes and three workers', TIME_LIMIT, () => {
  it(`make at most ${LANE_LIMIT} attempts of one endpoint at once (POSTHORN_LANE_LIMIT)`, async (t) => {
    let open = 0;
    let most = 0;
    const target = await receiver(t, (socket: Socket, request) => {
      open += 1;
      most = Math.max(most, open);
      setTimeout(() => {
        open -= 1;
        respond(200)(socket, request);
      }, 50);
    });
    const username = await subscriber(target.url);
    // One by one, so that each worker gets some of them; then more than they can take.
    for (let n = 0; n < 40; n++) await publishMany(username, 2);
    await publishMany(username, 120);
    await target.whenRequests(200);
    t.diagnostic(`200 attempts, at most ${most} at once`);
    assert.ok(most <= LANE_LIMIT, `${most} attempts at once`);
    assert.equal(most, LANE_LIMIT, 'and no fewer');
    assert.equal(target.requests.length, 200);
  });

  it('keep the rate of an endpoint together, within a tenth in both directions while enough is due', async (t) => {
    const rate = 20;
    const events = 200;
    const arrivals: number[] = [];
    const target = await receiver(t, (socket, request) => {
      arrivals.push(performance.now());
      respond(200)(socket, request);
    });
    const username = await subscriber(target.url, { rate_limit_per_second: rate });
    await publishMany(username, events);
    await target.whenRequests(events);
    const tookMs = (arrivals.at(-1) as number) - (arrivals[0] as number);
    const measured = ((events - 1) * 1000) / tookMs;
    t.diagnostic(`${measured.toFixed(1)} attempts a second where ${rate} are allowed`);
    assert.ok(measured <= rate * 1.1, `${measured} attempts a second`);
    assert.ok(measured >= rate * 0.9, `only ${measured} attempts a second: a node doesn't get on`);
  });

  it('take 20 POST requests a minute of an account key, however many come at once', async () => {
    const username = await newAccount();
    const { api_key: key } = await apis[0].operator.data<{ api_key: string }>(
      'POST',
      `/v2/account/${username}/api_key`,
      { body: { name: 'first' } },
    );
    const answers = await Promise.all(
      Array.from({ length: 60 }, (_, n) =>
        apis[n % 2 === 0 ? 0 : 1].operator.ask('POST', '/v2/endpoint', { key, body: {} }),
      ),
    );
    const codes = answers.map(({ code }) => code);
    assert.equal(codes.filter((code) => code === 40000).length, 20);
    assert.equal(codes.filter((code) => code === 429).length, 40);
    for (const { code, status, headers, retryAfter } of answers) {
      if (code !== 429) continue;
      assert.deepEqual(
        [status, headers.get('x-ratelimit-limit'), headers.get('x-ratelimit-remaining')],
        [429, '20', '0'],
      );
      assert.ok(Number(retryAfter) >= 1 && Number(retryAfter) <= 60, `retry-after is ${retryAfter}`);
    }
  });

  it('store 20 endpoints of an account at most, however many come at once', async () => {
    const username = await newAccount();
    const answers = await Promise.all(
      Array.from({ length: 40 }, (_, n) =>
        apis[n % 2 === 0 ? 0 : 1].operator.ask('POST', '/v2/endpoint', {
          account: username,
          body: { url: `http://127.0.0.1:9/${n}`, events: [EVENT] },
        }),
      ),
    );
    assert.equal(answers.filter(({ code }) => code === 0).length, 20);
    for (const { code, status, msg } of answers) {
      if (code !== 0) assert.deepEqual([status, code, /20/.test(msg)], [400, 40000, true], msg);
    }
    const { endpoints } = await apis[1].operator.data<{ endpoints: unknown[] }>('GET', '/v2/endpoints', {
      account: username,
    });
    assert.equal(endpoints.length, 20);
  });

  it('store an event once that comes a hundred times at once', async (t) => {
    const target = await receiver(t, respond(200));
    const username = await subscriber(target.url);
    const answers = await Promise.all(
      Array.from({ length: 100 }, (_, n) =>
        apis[n % 2 === 0 ? 0 : 1].operator.data<{ duplicate: boolean; deliveries: number }>(
          'POST',
          '/v2/publish',
          { body: eventOf(username, 'the-one') },
        ),
      ),
    );
    assert.equal(answers.filter(({ duplicate }) => !duplicate).length, 1);
    assert.ok(answers.every(({ deliveries }) => deliveries === 1));
    // What is published after it arrives after it, at the latest.
    await apis[0].operator.data('POST', '/v2/publish', { body: eventOf(username, 'another') });
    await target.whenRequests(2);
    assert.deepEqual(target.requests.map(({ headers }) => String(headers['webhook-id'])).sort(), [
      'another',
      'the-one',
    ]);
  });

  it('bring an event from the answer of one to its receiver by another at once, told by a notice', async (t) => {
    const { p50, most } = await answerToArrival(t, 40);
    t.diagnostic(
      `from publish's answer to the arrival: p50 ${p50.toFixed(1)} ms, at most ${most.toFixed(1)} ms`,
    );
    assert.ok(p50 < 300, `p50 is ${p50} ms: a poll, not a notice`);
  });

  it('go on while those who listen lose their connections again and again', async (t) => {
    // Its last statement was this one or the beat that goes over the same connection.
    const endListeners = `SELECT pg_terminate_backend(pid) FROM pg_stat_activity
                          WHERE datname = current_database() AND query ~ '^(LISTEN|UPDATE posthorn.node)'`;
    let ended = 0;
    let isOver = false;
    const cutting = (async () => {
      while (!isOver) ended += (await database.query(endListeners)).length;
    })();
    t.after(() => {
      isOver = true;
    });
    const { p50, most } = await answerToArrival(t, 10);
    isOver = true;
    await cutting;
    t.diagnostic(`${ended} listeners ended; p50 ${p50.toFixed(1)} ms, at most ${most.toFixed(1)} ms`);
    assert.ok(ended > 0);
    assert.ok(most < POLL_MS + SLACK_MS, `${most} ms`);
  });

  it('need about a second where all notices are lost, as with a proxy that pools transactions', async (t) => {
    await database.query(`
      CREATE SCHEMA deaf;
      CREATE FUNCTION deaf.pg_notify(text, text) RETURNS void LANGUAGE sql AS $$ SELECT NULL::void $$;
      ALTER DATABASE ${database.name} SET search_path = deaf, pg_catalog, public;`);
    await database.query(`SELECT pg_terminate_backend(pid, 5000) FROM pg_stat_activity
                          WHERE datname = current_database() AND pid <> pg_backend_pid()`);
    for (const { operator } of fleet.nodes) {
      while ((await operator.ask('GET', '/readyz')).status !== 200) await delay(50);
    }
    const { p50, most } = await answerToArrival(t, 8);
    t.diagnostic(`p50 ${p50.toFixed(0)} ms, at most ${most.toFixed(0)} ms`);
    assert.ok(most < POLL_MS + SLACK_MS, `${most} ms`);
  });
});
