import type { PostgresDatabase } from './postgres.ts';

/** The time by which everything in a database happens, for all of its connections at once. */
export interface DatabaseClock {
  /** Unix milliseconds. */
  now(): Promise<number>;
  /** Moves it on; it also runs by itself. */
  advance(ms: number): Promise<void>;
}

/**
 * Gives a database that has Posthorn's schema a clock that tests can move: replaces `posthorn.now_ms()`, through which
 * alone the engine reads time. A copy of the database keeps it.
 *
 * The offset is kept by a sequence, whose value is outside of transactions: one that began before the clock was moved
 * sees the new time too, as with a real clock.
 */
export async function steerClock(database: PostgresDatabase): Promise<DatabaseClock> {
  await database.query(`
    CREATE SCHEMA IF NOT EXISTS posthorn_test;
    CREATE SEQUENCE IF NOT EXISTS posthorn_test.clock_offset_ms MINVALUE 0 START 0;
    GRANT USAGE ON SCHEMA posthorn_test TO PUBLIC;
    GRANT SELECT ON posthorn_test.clock_offset_ms TO PUBLIC;
    CREATE OR REPLACE FUNCTION posthorn.now_ms() RETURNS bigint
      LANGUAGE sql VOLATILE PARALLEL SAFE
      AS $$
        SELECT floor(extract(epoch FROM clock_timestamp()) * 1000)::bigint + last_value
        FROM posthorn_test.clock_offset_ms
      $$;`);
  return clockOf(database);
}

/** The clock of a copy of a database whose clock is steered. */
export function clockOf(database: PostgresDatabase): DatabaseClock {
  return {
    async now() {
      const [row] = await database.query<{ now: string }>('SELECT posthorn.now_ms() AS now');
      return Number(row?.now);
    },
    async advance(ms) {
      await database.query(
        `SELECT setval('posthorn_test.clock_offset_ms', last_value + $1::bigint)
         FROM posthorn_test.clock_offset_ms`,
        [ms],
      );
    },
  };
}
