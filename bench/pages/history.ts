/**
 * The history of the bench of the pages: how many deliveries, of whom, and how they ended. Both engines write it by SQL into a database
 * that the service has migrated, with statistics as settlements and the janitor would have left them.
 */
import Database from 'better-sqlite3';
import pg from 'pg';
import { idFactory } from '../../packages/server/src/clock.ts';
import { openPostgresStore } from '../../packages/server/src/store/postgres/index.ts';
import { openSqliteStore } from '../../packages/server/src/store/sqlite/index.ts';
import {
  latencyClass,
  STAT_INTERVAL_MS,
  STAT_MINUTES_KEPT_MS,
} from '../../packages/server/src/store/statistics.ts';

const HOUR_MS = 3_600_000;
const DAY_MS = 24 * HOUR_MS;
const HISTORY_DAYS = 30;
const ROWS_A_COMMIT = 20_000;
/** A retry long after the bench. */
const RETRY_IN_MS = DAY_MS;
/** Every fiftieth delivery waits for a retry, every twentieth was given up. */
const PENDING_EVERY = 50;
const DEAD_EVERY = 20;

/** Who gets deliveries: an account with its endpoints. The first account gets half of all. */
export interface Target {
  username: string;
  endpointIds: string[];
}

interface Row {
  seq: number;
  username: string;
  endpointId: string;
  eventId: string;
  deliveryId: string;
  event: string;
  at: number;
  status: 'pending' | 'delivered' | 'dead';
  durationMs: number;
}

/** What an engine takes: rows in the order of their times, and then their statistics. */
interface Writer {
  begin(days: number[]): Promise<void>;
  write(rows: Row[]): Promise<void>;
  writeStats(stats: StatEntry[]): Promise<void>;
  /** Leaves the database as after a quiet night. */
  end(): Promise<void>;
}

type StatEntry = [
  username: string,
  at: number,
  endpointId: string,
  event: string,
  outcome: string,
  latency: number,
  count: number,
];

/** Writes `count` deliveries of the last 30 days; answers the id of an event of the first account, from their middle. */
export async function fill(
  databaseUrl: string,
  count: number,
  targets: readonly Target[],
  eventTypes: readonly string[],
): Promise<string> {
  const writer = databaseUrl.startsWith('sqlite:')
    ? sqliteWriter(databaseUrl.slice('sqlite:'.length))
    : await postgresWriter(databaseUrl);
  const now = Date.now();
  const begin = now - HISTORY_DAYS * DAY_MS + HOUR_MS;
  const nextId = idFactory();
  const stats = new Map<string, StatEntry>();
  const minutesSince = now - STAT_MINUTES_KEPT_MS;
  const note = (row: Row, outcome: string, latency: number) => {
    const unit = row.at >= minutesSince ? STAT_INTERVAL_MS : HOUR_MS;
    const at = row.at - (row.at % unit);
    const key = `${row.username} ${at} ${row.endpointId} ${row.event} ${outcome} ${latency}`;
    const known = stats.get(key);
    if (known === undefined) {
      stats.set(key, [row.username, at, row.endpointId, row.event, outcome, latency, 1]);
    } else known[6] += 1;
  };
  await writer.begin(Array.from({ length: HISTORY_DAYS + 1 }, (_, day) => now - day * DAY_MS));
  let sample: string | undefined;
  let rows: Row[] = [];
  for (let number = 0; number < count; number += 1) {
    const at = begin + Math.floor((number * (now - begin - STAT_INTERVAL_MS)) / count);
    const turn = Math.floor(number / 2);
    const target = targets[number % 2 === 0 ? 0 : 1 + (turn % (targets.length - 1))] as Target;
    const row: Row = {
      seq: number + 1,
      username: target.username,
      endpointId: target.endpointIds[Math.floor(number / 7) % target.endpointIds.length] as string,
      eventId: nextId('evt', at),
      deliveryId: nextId('dlv', at),
      event: eventTypes[Math.floor(number / 3) % eventTypes.length] as string,
      at,
      // Odd distances, so that each account and endpoint has some of each.
      status:
        number % (PENDING_EVERY + 1) === 0
          ? 'pending'
          : number % (DEAD_EVERY + 1) === 0
            ? 'dead'
            : 'delivered',
      durationMs: 20 * 1.1 ** ((number * 7919) % 40),
    };
    rows.push(row);
    const outcome = row.status === 'delivered' ? 'success' : 'http_error';
    note(row, outcome, latencyClass(row.durationMs));
    if (row.status === 'dead') note(row, 'dead:http_error', 0);
    if (number > count / 2 && target === targets[0]) sample ??= row.eventId;
    if (rows.length === ROWS_A_COMMIT || number === count - 1) {
      await writer.write(rows);
      rows = [];
    }
  }
  await writer.writeStats([...stats.values()]);
  await writer.end();
  const store = await (databaseUrl.startsWith('sqlite:')
    ? openSqliteStore({ path: databaseUrl.slice('sqlite:'.length) })
    : openPostgresStore({ url: databaseUrl }));
  // What the janitor does from hour to hour.
  while ((await store.purge(now - HISTORY_DAYS * DAY_MS, ROWS_A_COMMIT)).more);
  await store.close();
  if (sample === undefined) throw new Error('too few deliveries to look at one of them');
  return sample;
}

const RESPONSE = 'Internal error: the receiver could not store the event.';

function bodyOf({ eventId, event, at }: Row): string {
  const data = { task_id: eventId, status: 'completed', text: 'x'.repeat(300) };
  return JSON.stringify({ event_id: eventId, event, timestamp: Math.floor(at / 1000), data });
}

function headersOf({ eventId }: Row): string {
  return JSON.stringify({ 'content-type': 'application/json', 'webhook-id': eventId });
}

function sqliteWriter(file: string): Writer {
  const db = new Database(file, { fileMustExist: true });
  // A file of the bench may be lost in a power cut while it is being filled.
  db.pragma('synchronous = OFF');
  db.pragma('cache_size = -262144');
  const event = db.prepare(
    `INSERT INTO event (seq, username, event_id, event, timestamp, created_at, body, deliveries) VALUES (?, ?, ?, ?, ?, ?, ?, 1)`,
  );
  const delivery = db.prepare(
    `INSERT INTO delivery (username, delivery_id, endpoint_id, event_seq, event, status, status_reason, attempts, created_at, completed_at)
     VALUES (?, ?, ?, ?, ?, ?, ?, 1, ?, ?)`,
  );
  const queue = db.prepare(
    `INSERT INTO queue (username, delivery_id, endpoint_id, event_seq, event, attempts, failures, manual, created_at, due_at, leased)
     VALUES (?, ?, ?, ?, ?, 1, 1, 0, ?, ?, 0)`,
  );
  const attempt = db.prepare(
    `INSERT INTO attempt (username, delivery_id, number, started_at, duration_ms, outcome, http_status, url,
                          request_headers, response_headers, response_body, response_truncated, manual)
     VALUES (?, ?, 1, ?, ?, ?, ?, 'https://receiver.example/', ?, '{}', ?, 0, 0)`,
  );
  const stat = db.prepare(
    'INSERT INTO stat (username, at, endpoint_id, event, outcome, latency, count) VALUES (?, ?, ?, ?, ?, ?, ?)',
  );
  return {
    async begin() {},
    async write(rows) {
      db.transaction(() => {
        for (const row of rows) {
          const { seq, username, eventId, deliveryId, endpointId, at, status } = row;
          const isDelivered = status === 'delivered';
          event.run(seq, username, eventId, row.event, Math.floor(at / 1000), at, bodyOf(row));
          if (status === 'pending') {
            queue.run(username, deliveryId, endpointId, seq, row.event, at, Date.now() + RETRY_IN_MS);
          } else {
            const reason = isDelivered ? null : 'retries exhausted';
            delivery.run(username, deliveryId, endpointId, seq, row.event, status, reason, at, at + 500);
          }
          const [outcome, code, text] = isDelivered ? ['success', 200, 'ok'] : ['http_error', 500, RESPONSE];
          attempt.run(username, deliveryId, at, row.durationMs, outcome, code, headersOf(row), text);
        }
      })();
    },
    async writeStats(stats) {
      db.transaction(() => {
        for (const entry of stats) stat.run(...entry);
      })();
    },
    async end() {
      db.exec(`UPDATE lane SET next_at = (SELECT min(due_at) FROM queue q
        WHERE q.username = lane.username AND q.endpoint_id = lane.endpoint_id)`);
      db.pragma('synchronous = FULL');
      db.pragma('wal_checkpoint(TRUNCATE)');
      db.close();
    },
  };
}

async function postgresWriter(url: string): Promise<Writer> {
  const client = new pg.Client({ connectionString: url, application_name: 'bench fill' });
  await client.connect();
  await client.query('SET synchronous_commit = off');
  const asArrays = (columns: readonly (readonly unknown[])[]) => columns.map((column) => [...column]);
  return {
    async begin(days) {
      for (const day of days) await client.query('SELECT posthorn.add_partitions($1)', [Math.floor(day)]);
    },
    async write(rows) {
      await client.query(
        `WITH r AS MATERIALIZED (
           SELECT seq, username, event_id, endpoint_id, event, at, status, duration_ms, body, headers,
                  posthorn.delivery_head(at, seq) || 'filled000000' AS delivery_id
           FROM unnest($1::bigint[], $2::text[], $3::text[], $4::text[], $5::text[], $6::bigint[], $7::text[],
                       $8::double precision[], $9::text[], $10::text[])
             AS v(seq, username, event_id, endpoint_id, event, at, status, duration_ms, body, headers)
         ), key AS (
           INSERT INTO posthorn.event_key SELECT username, event_id, at, seq FROM r
         ), event AS (
           INSERT INTO posthorn.event (seq, username, event_id, event, timestamp, created_at, body, deliveries)
           SELECT seq, username, event_id, event, at / 1000, at, body, 1 FROM r
         ), attempt AS (
           INSERT INTO posthorn.attempt (username, delivery_id, event_at, number, started_at, duration_ms, outcome, http_status,
                                         url, request_headers, response_headers, response_body, response_truncated, manual)
           SELECT username, delivery_id, at, 1, at, duration_ms, CASE status WHEN 'delivered' THEN 'success' ELSE 'http_error' END,
                  CASE status WHEN 'delivered' THEN 200 ELSE 500 END, 'https://receiver.example/', headers, '{}',
                  convert_to(CASE status WHEN 'delivered' THEN 'ok' ELSE '${RESPONSE}' END, 'UTF8'), false, false FROM r
         ), queued AS (
           INSERT INTO posthorn.queue (username, delivery_id, endpoint_id, event_id, event, event_at, event_seq, attempts, failures,
                                       manual, pinned, apart, created_at, due_at, leased)
           SELECT username, delivery_id, endpoint_id, event_id, event, at, seq, 1, 1, false, false, false, at,
                  posthorn.now_ms() + ${RETRY_IN_MS}, false FROM r WHERE status = 'pending'
         )
         INSERT INTO posthorn.delivery (username, delivery_id, endpoint_id, event_id, event, event_at, event_seq, status,
                                        status_reason, attempts, created_at, completed_at, apart)
         SELECT username, delivery_id, endpoint_id, event_id, event, at, seq, status,
                CASE status WHEN 'dead' THEN 'retries exhausted' END, 1, at, at + 500, false
         FROM r WHERE status <> 'pending'`,
        asArrays([
          rows.map(({ seq }) => seq),
          rows.map(({ username }) => username),
          rows.map(({ eventId }) => eventId),
          rows.map(({ endpointId }) => endpointId),
          rows.map(({ event }) => event),
          rows.map(({ at }) => at),
          rows.map(({ status }) => status),
          rows.map(({ durationMs }) => durationMs),
          rows.map(bodyOf),
          rows.map(headersOf),
        ]),
      );
    },
    async writeStats(stats) {
      for (let from = 0; from < stats.length; from += ROWS_A_COMMIT) {
        const part = stats.slice(from, from + ROWS_A_COMMIT);
        await client.query(
          `INSERT INTO posthorn.stat (username, at, endpoint_id, event, outcome, latency, count, node)
           SELECT v.*, 0 FROM unnest($1::text[], $2::bigint[], $3::text[], $4::text[], $5::text[], $6::integer[], $7::bigint[]) v`,
          [0, 1, 2, 3, 4, 5, 6].map((column) => part.map((entry) => entry[column as 0])),
        );
      }
    },
    async end() {
      await client.query(`UPDATE posthorn.lane l SET next_at =
        (SELECT min(due_at) FROM posthorn.queue q WHERE q.username = l.username AND q.endpoint_id = l.endpoint_id)`);
      await client.query(`SELECT setval('posthorn.event_seq', (SELECT max(seq) + 1 FROM posthorn.event))`);
      await client.query('VACUUM (ANALYZE)');
      await client.query('CHECKPOINT');
      await client.end();
    },
  };
}
