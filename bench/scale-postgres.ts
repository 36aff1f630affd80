/**
 * What publish, claim and settle cost on PostgreSQL beside a large history and a large queue, and by which plans.
 *
 *   BENCH_POSTGRES_URL=postgres://… node bench/scale-postgres.ts [finished deliveries, 10000000 unless told]
 *     [pending deliveries, 1000000 unless told] [file for the plans]
 *
 * The database must be empty: the bench fills it and leaves it to you to drop. Needs about 1.5 KB of disk a finished
 * delivery. Measures once beside nothing and once beside everything, in one run; a superuser's connection also gets the
 * plans of the statements inside the functions (auto_explain).
 */
import { writeFile } from 'node:fs/promises';
import pg from 'pg';
import type { SealedEvent } from '../packages/server/src/model.ts';
import type { EngineContext, Sql } from '../packages/server/src/store/postgres/engine.ts';
import { openPostgresStore } from '../packages/server/src/store/postgres/index.ts';
import { publishOperations } from '../packages/server/src/store/postgres/publish.ts';
import { queueOperations } from '../packages/server/src/store/postgres/queue.ts';
import type { Lease, Settlement } from '../packages/server/src/store/store.ts';
import { condensePlans } from './plans.ts';
import { makeAccounts, measuredAttempt, measuredEvent } from './store-load.ts';
import { percentile } from './support.ts';

const URL_VARIABLE = 'BENCH_POSTGRES_URL';
const ROWS_A_COMMIT = 200_000;
const DAYS = 10;
const DAY_MS = 86_400_000;
/** Endpoints with pending deliveries and history, one an account. */
const LANES = 10_000;
/** Endpoints that the measured events go to. */
const MEASURED_LANES = 100;
const ROUNDS = 1000;
const OFFER = { limit: 500, laneLimit: 10, leaseMs: 90_000 };

const url = process.env[URL_VARIABLE];
if (url === undefined) throw new Error(`set ${URL_VARIABLE} to an empty database`);
const finished = Number(process.argv[2] ?? 10_000_000);
const pending = Number(process.argv[3] ?? 1_000_000);
const store = await openPostgresStore({ url });
const db = new pg.Client({ connectionString: url });
await db.connect();
try {
  await makeAccounts(db, LANES + MEASURED_LANES);
  await db.query('VACUUM ANALYZE');
  report('beside nothing', await measure());
  await fill();
  report(`beside ${finished} finished and ${pending} pending deliveries`, await measure());
  const plans = process.argv[4];
  if (plans !== undefined) await writeFile(plans, await explain());
} finally {
  await db.end();
  await store.close();
}

async function fill(): Promise<void> {
  const startedAt = performance.now();
  const today = Date.now() - (Date.now() % DAY_MS);
  for (let day = 0; day < DAYS; day += 1) {
    await db.query('SELECT posthorn.add_partitions($1)', [today - day * DAY_MS]);
  }
  const at = `(${today - (DAYS - 1) * DAY_MS} + ((n::numeric / ${finished}) * ${DAYS * DAY_MS - 60_000})::bigint)`;
  await db.query('SET synchronous_commit = off');
  for (let from = 1; from <= finished; from += ROWS_A_COMMIT) {
    const range = `generate_series(${from}, ${Math.min(from + ROWS_A_COMMIT - 1, finished)}) n`;
    const id = `lpad(n::text, 12, '0')`;
    const who = `'u' || 1 + n % ${LANES}`;
    await db.query(`WITH key AS (
        INSERT INTO posthorn.event_key SELECT ${who}, 'evt_' || ${id}, ${at}, n FROM ${range}
      ), event AS (
        INSERT INTO posthorn.event (seq, username, event_id, event, timestamp, created_at, body, deliveries)
        SELECT n, ${who}, 'evt_' || ${id}, 'measured', ${at} / 1000, ${at}, '{"event_id":"' || n || '"}', 1 FROM ${range}
      ), attempt AS (
        INSERT INTO posthorn.attempt (username, delivery_id, event_at, number, started_at, duration_ms, outcome,
          http_status, url, request_headers, response_truncated, manual)
        SELECT ${who}, 'dlv_0' || ${id}, ${at}, 1, ${at}, 12.5, 'success', 200, 'https://receiver.example/', '{}', false,
          false FROM ${range}
      )
      INSERT INTO posthorn.delivery (username, delivery_id, endpoint_id, event_id, event, event_at, event_seq, status,
        attempts, created_at, completed_at)
      SELECT ${who}, 'dlv_0' || ${id}, 'wh_' || 1 + n % ${LANES}, 'evt_' || ${id}, 'measured', ${at}, n, 'delivered', 1,
        ${at}, ${at} FROM ${range}`);
  }
  // Waiting for a retry within the coming day.
  for (let from = 1; from <= pending; from += ROWS_A_COMMIT) {
    await db.query(`INSERT INTO posthorn.queue (username, delivery_id, endpoint_id, event_id, event, event_at, event_seq,
        attempts, failures, manual, pinned, created_at, due_at, leased)
      SELECT 'u' || 1 + n % ${LANES}, 'dlv_1' || lpad(n::text, 12, '0'), 'wh_' || 1 + n % ${LANES},
        'evt_' || lpad(n::text, 12, '0'), 'measured', ${at}, n, 1, 1, false, false, ${at},
        posthorn.now_ms() + 3600000 + n % 80000000, false
      FROM generate_series(${from}, ${Math.min(from + ROWS_A_COMMIT - 1, pending)}) n`);
  }
  await db.query(`UPDATE posthorn.lane l SET next_at =
    (SELECT min(due_at) FROM posthorn.queue q WHERE q.username = l.username AND q.endpoint_id = l.endpoint_id)`);
  await db.query(`SELECT setval('posthorn.event_seq', ${finished + 1})`);
  await db.query('SET synchronous_commit = on');
  await db.query('VACUUM ANALYZE');
  const { rows } = await db.query('SELECT pg_size_pretty(pg_database_size(current_database())) AS size');
  console.log(
    `filled in ${((performance.now() - startedAt) / 1000).toFixed(0)} s, ${(rows[0] as { size: string }).size}`,
  );
}

interface Timings {
  publish: number[];
  claim: number[];
  settle: number[];
}

/** A round: publish ten events, claim their deliveries, settle them. */
async function measure(): Promise<Timings> {
  const timings: Timings = { publish: [], claim: [], settle: [] };
  for (let round = 0; round < ROUNDS; round += 1) {
    const events = Array.from({ length: 10 }, (_, n) => newEvent(round * 10 + n));
    await timed(timings.publish, () => store.publish(events, null));
    const { leases } = await timed(timings.claim, () => store.claim(OFFER));
    if (leases.length !== 10) throw new Error(`a claim found ${leases.length} of 10 deliveries`);
    await timed(timings.settle, () => store.settle(leases.map(delivered), null));
  }
  return timings;
}

async function timed<T>(into: number[], run: () => Promise<T>): Promise<T> {
  const startedAt = performance.now();
  const answer = await run();
  into.push(performance.now() - startedAt);
  return answer;
}

function report(what: string, timings: Timings): void {
  console.log(what);
  for (const [name, values] of Object.entries(timings) as [keyof Timings, number[]][]) {
    values.sort((a, b) => a - b);
    const [p50, p99] = [percentile(values, 0.5), percentile(values, 0.99)];
    console.log(`  ${name} of 10: p50 ${p50.toFixed(2)} ms, p99 ${p99.toFixed(2)} ms`);
  }
}

function newEvent(n: number): SealedEvent {
  return measuredEvent(LANES + 1 + (n % MEASURED_LANES), `bench-${process.pid}-${performance.now()}-${n}`);
}

function delivered({ username, deliveryId, token }: Lease): Settlement {
  return { username, deliveryId, token, attempt: measuredAttempt(1), next: { status: 'delivered' } };
}

/** One round on a connection that reports the plan of each statement inside the functions. */
async function explain(): Promise<string> {
  const lines: string[] = [];
  const client = new pg.Client({ connectionString: url });
  client.on('notice', ({ message }) => lines.push(message ?? ''));
  await client.connect();
  await client.query(`LOAD 'auto_explain'`);
  for (const setting of ['log_analyze', 'log_buffers', 'log_nested_statements']) {
    await client.query(`SET auto_explain.${setting} = on`);
  }
  await client.query(`SET auto_explain.log_min_duration = 0`);
  await client.query(`SET client_min_messages = log`);
  const sql: Sql = {
    query: async <Row>(text: string, values: readonly unknown[] = []) =>
      (await client.query(text, [...values])).rows as Row[],
  };
  const context: EngineContext = {
    ...sql,
    transaction: (run) => run(sql),
    nodeId: () => 0,
    notify: async () => {},
  };
  const { publish } = publishOperations(context);
  const { claim, settle } = queueOperations(context);
  // Functions plan their statements anew the first five times; the plans that last come after.
  for (let round = 0; round < 7; round += 1) {
    lines.length = 0;
    const events = Array.from({ length: 10 }, (_, n) => newEvent(n));
    await publish(events, null);
    const { leases } = await claim(OFFER);
    await settle(leases.map(delivered), null);
  }
  await client.end();
  return condensePlans(lines);
}
