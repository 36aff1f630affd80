/**
 * What a million deliveries leave behind in PostgreSQL's hot tables: their sizes, dead rows, and how many updates stayed
 * within their page. Run through the store alone, as fast as one node can, with some failures on the way.
 *
 *   BENCH_POSTGRES_URL=postgres://… node bench/bloat-postgres.ts [deliveries, 1000000 unless told]
 *
 * The database must be empty: the bench leaves it to you to drop. Vacuum is left to the server, as in production.
 */
import pg from 'pg';
import type { Attempt, SealedEvent } from '../packages/server/src/model.ts';
import { openPostgresStore } from '../packages/server/src/store/postgres/index.ts';
import type { Lease, Settlement } from '../packages/server/src/store/store.ts';

const URL_VARIABLE = 'BENCH_POSTGRES_URL';
const ACCOUNTS = 1000;
const BATCH = 200;
/** Of these one attempt fails and is made again at once. */
const FAILS_ONE_OF = 20;
const REPORTS = 4;
const OFFER = { limit: 500, laneLimit: 10, leaseMs: 90_000 };
const HOT_TABLES = ['queue', 'lane', 'lane_call', 'stat', 'event_key', 'node'];

const url = process.env[URL_VARIABLE];
if (url === undefined) throw new Error(`set ${URL_VARIABLE} to an empty database`);
const total = Number(process.argv[2] ?? 1_000_000);
let attempts = 0;
const store = await openPostgresStore({ url });
const db = new pg.Client({ connectionString: url });
await db.connect();
try {
  await makeAccounts();
  const startedAt = performance.now();
  let published = 0;
  let settled = 0;
  let reported = 0;
  while (settled < total) {
    const events = Array.from({ length: BATCH }, (_, n) => newEvent(published + n));
    let { leases } = await store.publish(events, OFFER);
    published += BATCH;
    while (leases.length > 0) {
      const ends = leases.map(settlement);
      settled += ends.filter(({ next }) => next.status === 'delivered').length;
      ({ leases } = await store.settle(ends, OFFER));
    }
    if (settled >= ((reported + 1) * total) / REPORTS) {
      reported += 1;
      const seconds = (performance.now() - startedAt) / 1000;
      console.log(
        `${settled} delivered in ${seconds.toFixed(0)} s, ${(settled / seconds).toFixed(0)} a second`,
      );
      await report();
    }
  }
} finally {
  await db.end();
  await store.close();
}

async function makeAccounts(): Promise<void> {
  await db.query(`INSERT INTO posthorn.account (username, status, created_at)
    SELECT 'u' || n, 'active', posthorn.now_ms() FROM generate_series(0, ${ACCOUNTS - 1}) n`);
  await db.query(`INSERT INTO posthorn.endpoint (username, endpoint_id, url, events, status, secret, created_at)
    SELECT 'u' || n, 'wh_' || n, 'https://receiver.example/', '["measured"]', 'enabled', 'sealed', posthorn.now_ms()
    FROM generate_series(0, ${ACCOUNTS - 1}) n`);
  await db.query(`INSERT INTO posthorn.subscription (username, event, endpoint_id)
    SELECT 'u' || n, 'measured', 'wh_' || n FROM generate_series(0, ${ACCOUNTS - 1}) n`);
  await db.query(`INSERT INTO posthorn.lane (username, endpoint_id)
    SELECT 'u' || n, 'wh_' || n FROM generate_series(0, ${ACCOUNTS - 1}) n`);
}

async function report(): Promise<void> {
  const { rows } = await db.query<Record<string, string>>(
    `SELECT s.relname AS name, pg_size_pretty(pg_relation_size(s.relid)) AS heap,
            pg_size_pretty(pg_indexes_size(s.relid)) AS indexes, s.n_live_tup AS live, s.n_dead_tup AS dead,
            s.n_tup_upd AS updates, s.n_tup_hot_upd AS hot, s.autovacuum_count AS vacuums
     FROM pg_stat_user_tables s WHERE s.schemaname = 'posthorn' AND s.relname = ANY ($1) ORDER BY s.relname`,
    [HOT_TABLES],
  );
  console.table(rows);
}

function newEvent(n: number): SealedEvent {
  const eventId = `bloat-${process.pid}-${n}`;
  const data = { text: 'x'.repeat(900) };
  return {
    username: `u${n % ACCOUNTS}`,
    eventId,
    event: 'measured',
    timestamp: 1,
    body: JSON.stringify({ event_id: eventId, event: 'measured', timestamp: 1, data }),
    fingerprint: eventId,
    timestampGiven: false,
  };
}

function settlement({ username, deliveryId, token, attempts: made }: Lease): Settlement {
  attempts += 1;
  const failed = attempts % FAILS_ONE_OF === 0;
  const attempt: Attempt = {
    number: made + 1,
    startedAt: Date.now(),
    durationMs: 12.5,
    outcome: failed ? 'http_error' : 'success',
    httpStatus: failed ? 500 : 200,
    error: failed ? 'the receiver answered 500' : null,
    url: 'https://receiver.example/',
    requestHeaders: { 'content-type': 'application/json' },
    responseHeaders: { 'content-length': '2' },
    responseBody: 'ok',
    responseTruncated: false,
    manual: false,
  };
  const next: Settlement['next'] = failed
    ? { status: 'pending', dueAt: Date.now() }
    : { status: 'delivered' };
  return { username, deliveryId, token, attempt, next };
}
