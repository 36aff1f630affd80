import type pg from 'pg';
import type { Delivery, Filling, Outcome } from './queue.ts';

/** One POST of a job, as the table keeps it. */
export interface AttemptRow {
  jobId: string;
  delivery: Delivery;
  outcome: Outcome;
}

const INSERT = {
  name: 'attempts',
  text: `INSERT INTO attempt (job_id, endpoint, event_id, started_at, duration_ms, status, failure)
    SELECT * FROM unnest($1::text[], $2::int[], $3::text[], $4::timestamptz[], $5::int[], $6::int[], $7::text[])`,
};

/** Makes the log of attempts that the peers on PostgreSQL have in common, with the index that look-ups need. */
export async function createAttemptsTable(db: pg.Client | pg.Pool): Promise<void> {
  await db.query(`
    CREATE TABLE attempt (
      job_id text NOT NULL,
      endpoint int NOT NULL,
      event_id text NOT NULL,
      started_at timestamptz NOT NULL,
      duration_ms int NOT NULL,
      status int,
      failure text
    );
    CREATE INDEX attempt_job ON attempt (job_id)`);
}

/** Writes rows by one statement. */
export async function insertAttempts(db: pg.Pool, rows: AttemptRow[]): Promise<void> {
  await db.query({
    ...INSERT,
    values: [
      rows.map(({ jobId }) => jobId),
      rows.map(({ delivery }) => delivery.endpoint),
      rows.map(({ delivery }) => delivery.eventId),
      rows.map(({ outcome }) => new Date(outcome.startedAt).toISOString()),
      rows.map(({ outcome }) => outcome.durationMs),
      rows.map(({ outcome }) => outcome.status),
      rows.map(({ outcome }) => outcome.failure),
    ],
  });
}

/** Stores one successful attempt for each finished delivery of `filling`, and one failed for each pending. */
export async function fillAttempts(
  db: pg.Client | pg.Pool,
  { finished, pending, endpoints }: Filling,
): Promise<void> {
  await db.query(
    `INSERT INTO attempt
     SELECT 'filled_' || n, ($3::int[])[1 + n % cardinality($3::int[])], 'evt_filled_' || n, now() - interval '1 day', 3,
       CASE WHEN n <= $1 THEN 200 ELSE 503 END, CASE WHEN n > $1 THEN 'status 503' END
     FROM generate_series(1, $1::int + $2::int) AS n`,
    [finished, pending, endpoints],
  );
}
