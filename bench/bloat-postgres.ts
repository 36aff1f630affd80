/**
 * What a million deliveries leave behind in PostgreSQL's hot tables: their sizes, dead rows, and how many updates stayed
 * within their page. Run through the store alone, as fast as one node can, with some failures on the way.
 *
 *   BENCH_POSTGRES_URL=postgres://… node bench/bloat-postgres.ts [deliveries, 1000000 unless told]
 *
 * The database must be empty: the bench leaves it to you to drop. Vacuum is left to the server, as in production.
 */
import pg from 'pg';
import { openPostgresStore } from '../packages/server/src/store/postgres/index.ts';
import type { Lease, Settlement } from '../packages/server/src/store/store.ts';
import { makeAccounts, measuredAttempt, measuredEvent } from './store-load.ts';

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
  await makeAccounts(db, ACCOUNTS);
  const startedAt = performance.now();
  let published = 0;
  let settled = 0;
  let reported = 0;
  while (settled < total) {
    const events = Array.from({ length: BATCH }, (_, n) =>
      measuredEvent(1 + ((published + n) % ACCOUNTS), `bloat-${process.pid}-${published + n}`),
    );
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

function settlement({ username, deliveryId, token, attempts: made }: Lease): Settlement {
  attempts += 1;
  const failed = attempts % FAILS_ONE_OF === 0;
  const attempt = measuredAttempt(made + 1, failed);
  const next: Settlement['next'] = failed
    ? { status: 'pending', dueAt: Date.now() }
    : { status: 'delivered' };
  return { username, deliveryId, token, attempt, next };
}
