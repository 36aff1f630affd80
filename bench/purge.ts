/**
 * What retention costs those who publish meanwhile: how long events take from their sending to their arrival while a long
 * history is being deleted, beside the same service with a retention that deletes nothing.
 *
 *   node bench/purge.ts [--engine sqlite|postgres] [--deliveries 1000000] [--seconds 30] [--rate 100]
 *
 * The history lies 31 to 33 days back, one event, delivery and attempt each. On SQLite it goes row by row, in batches; on
 * PostgreSQL three days go as a whole, and only the events' keys row by row. Each phase is a fresh start of the service,
 * whose purge begins at once. Needs about 1.6 GB in the temporary folder for a million.
 */
import { randomBytes } from 'node:crypto';
import { mkdir } from 'node:fs/promises';
import { join } from 'node:path';
import { parseArgs } from 'node:util';
import Sqlite from 'better-sqlite3';
import pg from 'pg';
import { PostgresCluster } from '../packages/server/test/support/postgres-cluster.ts';
import { writeHistory } from './sqlite-history.ts';
import {
  ACCOUNTS,
  arrivalKeyOf,
  createAccounts,
  EVENT,
  inMs,
  latenciesOf,
  onSite,
  percentile,
  preciseNow,
  publishSteadily,
  runReceiver,
  type Site,
  startReceiver,
  startService,
  stopAll,
  until,
  usernameOf,
} from './support.ts';

const DAY_MS = 86_400_000;
const OLDEST_DAY = 33;
const DAYS = 3;
const WARM_UP_MS = 2_000;
const DRAIN_MS = 30_000;
/** What is told of a phase, and how long it keeps history. */
const PHASES = [
  ['nothing is deleted', '3650d'],
  ['history is deleted', '30d'],
] as const;
const TEXT = 'x'.repeat(900);

interface Options {
  engine: 'sqlite' | 'postgres';
  deliveries: number;
  seconds: number;
  rate: number;
}

/** The database past the service. */
interface History {
  fill(count: number, endpointIds: readonly string[]): Promise<void>;
  /** How many rows of it are left, attempts not counted. */
  left(): Promise<number>;
}

function sqliteHistory(path: string, before: number): History {
  return {
    async fill(count, endpointIds) {
      writeHistory(path, count, endpointIds, TEXT, (number) => {
        return before - (OLDEST_DAY - 30 + 1) * DAY_MS + Math.floor((number * DAYS * DAY_MS) / count);
      });
    },
    async left() {
      const db = new Sqlite(path, { readonly: true });
      const count = db
        .prepare<[number, number], number>(
          `SELECT (SELECT count(*) FROM event WHERE created_at < ?) + (SELECT count(*) FROM delivery WHERE completed_at < ?)`,
        )
        .pluck()
        .get(before, before);
      db.close();
      return count ?? 0;
    },
  };
}

function postgresHistory(url: string, before: number): History {
  const withClient = async <T>(run: (db: pg.Client) => Promise<T>): Promise<T> => {
    const db = new pg.Client({ connectionString: url });
    await db.connect();
    try {
      return await run(db);
    } finally {
      await db.end();
    }
  };
  return {
    fill: (count, endpointIds) =>
      withClient(async (db) => {
        const today = Date.now() - (Date.now() % DAY_MS);
        const each = Math.ceil(count / DAYS);
        for (let day = 0; day < DAYS; day += 1) {
          const from = today - (OLDEST_DAY + 1 - day) * DAY_MS;
          await db.query('SELECT posthorn.add_partitions($1)', [from]);
          const n = `generate_series(${day * each}, ${(day + 1) * each - 1}) n`;
          const at = `(${from} + (n % ${each}) * ${Math.floor(DAY_MS / each)})::bigint`;
          const who = `'bench-' || n % ${ACCOUNTS}`;
          const endpoint = `(ARRAY['${endpointIds.join("','")}'])[1 + n % ${ACCOUNTS}]`;
          await db.query(
            `INSERT INTO posthorn.event_key SELECT ${who}, 'old_' || n, ${at}, -1 - n FROM ${n}`,
          );
          await db.query(`INSERT INTO posthorn.event (seq, username, event_id, event, timestamp, created_at, body, deliveries)
            SELECT -1 - n, ${who}, 'old_' || n, '${EVENT}', ${at} / 1000, ${at}, '${TEXT}', 1 FROM ${n}`);
          await db.query(`INSERT INTO posthorn.delivery (username, delivery_id, endpoint_id, event_id, event, event_at,
              event_seq, status, attempts, created_at, completed_at)
            SELECT ${who}, 'dlv_old_' || n, ${endpoint}, 'old_' || n, '${EVENT}', ${at}, -1 - n, 'delivered', 1, ${at}, ${at} + 5
            FROM ${n}`);
          await db.query(`INSERT INTO posthorn.attempt (username, delivery_id, event_at, number, started_at, duration_ms,
              outcome, http_status, url, request_headers, response_headers, response_body, response_truncated, manual)
            SELECT ${who}, 'dlv_old_' || n, ${at}, 1, ${at}, 3.5, 'success', 204, 'http://127.0.0.1/', '{}', '{}', '', false,
              false FROM ${n}`);
        }
        await db.query('VACUUM ANALYZE');
        await db.query('CHECKPOINT');
      }),
    left: () =>
      withClient(async (db) => {
        const { rows } = await db.query<{ n: string }>(
          `SELECT (SELECT count(*) FROM posthorn.event_key WHERE created_at < $1)
                + (SELECT count(*) FROM posthorn.delivery WHERE event_at < $1) AS n`,
          [before],
        );
        return Number(rows[0]?.n);
      }),
  };
}

async function runBench({ engine, deliveries, seconds, rate }: Options): Promise<void> {
  await onSite(async (site) => {
    const cluster = engine === 'postgres' ? await PostgresCluster.start() : null;
    try {
      const folder = join(site.folder, 'data');
      await mkdir(folder);
      const path = join(folder, 'posthorn.db');
      const before = Date.now() - 30 * DAY_MS;
      const history = cluster === null ? sqliteHistory(path, before) : postgresHistory(cluster.url(), before);
      const arrivals = new Map<string, number>();
      const port = await startReceiver(site, import.meta.url, 'receiver', arrivals);
      const settings = {
        POSTHORN_DATABASE_URL: cluster?.url() ?? `sqlite:${path}`,
        POSTHORN_ENCRYPTION_KEY: randomBytes(32).toString('base64'),
      };
      const first: Site = { folder, children: [] };
      const endpointIds = await createAccounts(await startService(first, settings), port);
      await stopAll(first.children);
      await history.fill(deliveries, endpointIds);
      console.log(
        `${engine}: ${await history.left()} old events and deliveries, ${rate} events/s for ${seconds} s a phase, send → arrival`,
      );

      // In turns: a machine's other work tells on both.
      for (const [phaseNumber, [name, retention]] of [...PHASES, ...PHASES].entries()) {
        const phase: Site = { folder, children: [] };
        try {
          const api = await startService(phase, { ...settings, POSTHORN_RETENTION: retention });
          const load = (forMs: number, part: string, onSend?: (id: string, atMs: number) => void) =>
            publishSteadily(api, {
              perSecond: rate,
              forMs,
              name: `phase${phaseNumber}-${part}`,
              usernameOf,
              ...(onSend === undefined ? {} : { onSend }),
            });
          await load(WARM_UP_MS, 'warm');
          const atStart = await history.left();
          const startedAt = preciseNow();
          const sent: [key: string, atMs: number][] = [];
          await load(seconds * 1000, 'measured', (id, atMs) => sent.push([arrivalKeyOf(id), atMs]));
          const tookS = (preciseNow() - startedAt) / 1000;
          const atEnd = await history.left();
          const arrived = await until(() => sent.every(([key]) => arrivals.has(key)), DRAIN_MS);
          const latencies = latenciesOf(sent, arrivals);
          console.log(
            `${name}: p50 ${inMs(percentile(latencies, 0.5))}, p99 ${inMs(percentile(latencies, 0.99))}, most ${inMs(latencies.at(-1) ?? Number.NaN)}; ` +
              `of the old rows before ${atStart}, after ${atEnd} (${((atStart - atEnd) / tookS).toFixed(0)} a second)${arrived ? '' : '; NOT ALL ARRIVED'}`,
          );
        } finally {
          await stopAll(phase.children);
        }
      }
    } finally {
      await stopAll(site.children);
      await cluster?.remove();
    }
  });
  process.exit();
}

if (process.argv[2] === 'receiver') {
  await runReceiver();
} else {
  const { values } = parseArgs({
    options: {
      engine: { type: 'string', default: 'sqlite' },
      deliveries: { type: 'string', default: '1000000' },
      seconds: { type: 'string', default: '30' },
      rate: { type: 'string', default: '100' },
    },
  });
  if (values.engine !== 'sqlite' && values.engine !== 'postgres')
    throw new Error('--engine is sqlite or postgres');
  await runBench({
    engine: values.engine,
    deliveries: Number(values.deliveries),
    seconds: Number(values.seconds),
    rate: Number(values.rate),
  });
}
