import type { AttemptOutcome } from '../../model.ts';
import {
  ALL_ACCOUNTS,
  DEAD,
  KEY_COLUMN,
  latencyClass,
  STAT_INTERVAL_MS,
  SUMMED_UNTIL,
  type StatRow,
  summariseAll,
} from '../statistics.ts';
import type { StatsQuery } from '../store.ts';
import type { EngineContext, SyncStore } from './engine.ts';

/** Counts of one call, added up before they are written: a batch mostly counts the same few things. */
export interface StatTally {
  /** Counts an attempt, and with `died` the death of its delivery. */
  add(
    username: string,
    endpointId: string,
    event: string,
    outcome: AttemptOutcome,
    atMs: number,
    durationMs: number,
    died: boolean,
  ): void;
  /** Writes what was counted. */
  write(): void;
}

type StatKey = [
  username: string,
  at: number,
  endpointId: string,
  event: string,
  outcome: string,
  latency: number,
];

/**
 * All accounts' statistics, to be narrowed by `AND at …`: account by account along the key, where the index on `at` would
 * look up each row in another place.
 */
export const STATS_OF_ALL = `SELECT stat.* FROM account CROSS JOIN stat ON stat.username = account.username WHERE true`;

/** Makes a fresh tally for each call. */
export function statTally({ db }: EngineContext): () => StatTally {
  const write = db.prepare<[...StatKey, number]>(
    `INSERT INTO stat (username, at, endpoint_id, event, outcome, latency, count) VALUES (?, ?, ?, ?, ?, ?, ?)
     ON CONFLICT DO UPDATE SET count = count + excluded.count`,
  );
  return () => {
    const counts = new Map<string, { key: StatKey; count: number }>();
    const addOne = (...key: StatKey): void => {
      // None of its parts holds a space.
      const text = key.join(' ');
      const known = counts.get(text);
      if (known === undefined) counts.set(text, { key, count: 1 });
      else known.count += 1;
    };
    return {
      add(username, endpointId, event, outcome, atMs, durationMs, died) {
        const at = atMs - (atMs % STAT_INTERVAL_MS);
        addOne(username, at, endpointId, event, outcome, latencyClass(durationMs));
        if (died) addOne(username, at, endpointId, event, DEAD + outcome, 0);
      },
      write() {
        for (const { key, count } of counts.values()) write.run(...key, count);
      },
    };
  };
}

export function statsOperations({ db, now }: EngineContext): Pick<SyncStore, 'stats' | 'queueDepth'> {
  return {
    stats({ username, since, until, intervalMs, by }: StatsQuery) {
      const key = by === null ? 'NULL' : KEY_COLUMN[by];
      const from = since - (since % STAT_INTERVAL_MS);
      const source = username === null ? STATS_OF_ALL : 'SELECT * FROM stat WHERE username = @username';
      // What tells endpoints and types apart isn't summed.
      const isSummed = by === null || by === 'status';
      const summed = isSummed
        ? `ifnull((SELECT CAST(value AS INTEGER) FROM meta WHERE name = '${SUMMED_UNTIL}'), 0)`
        : '0';
      // The keys (username, at, …) give the ranges. A minute counts to where it begins.
      const rows = db
        .prepare<unknown[], StatRow>(
          `WITH summed AS MATERIALIZED (SELECT ${summed} AS until), counted AS (
             SELECT at, NULL AS endpoint_id, NULL AS event, outcome, latency, count FROM stat_sum
             WHERE username = @summedOf AND at >= @from AND at < min(@until, (SELECT until FROM summed))
             UNION ALL
             SELECT at, endpoint_id, event, outcome, latency, count FROM
               (${source} AND at >= max(@from, (SELECT until FROM summed)) AND at < @until)
           )
           SELECT at - at % @intervalMs AS at, ${key} AS key, outcome, latency, sum(count) AS count FROM counted
           GROUP BY 1, 2, outcome, latency ORDER BY 1, 2`,
        )
        .all({
          from,
          until,
          intervalMs,
          summedOf: username ?? ALL_ACCOUNTS,
          ...(username === null ? {} : { username }),
        });
      return summariseAll(rows, since, by);
    },

    queueDepth() {
      const isAnyProbed =
        db.prepare('SELECT 1 FROM failing_endpoint WHERE probe_at IS NOT NULL').get() !== undefined;
      // What nobody asked for is due with the next probe, of an endpoint that is probed.
      const queued = !isAnyProbed
        ? 'queue'
        : `(SELECT leased, CASE WHEN leased = 1 OR manual = 1 THEN due_at ELSE max(due_at, ifnull(f.probe_at, 0)) END AS due_at
            FROM queue q LEFT JOIN failing_endpoint f ON f.username = q.username AND f.endpoint_id = q.endpoint_id)`;
      const row = db
        .prepare<
          [number, number, number, number],
          Record<'scheduled' | 'due' | 'leased', number> & { oldest: number | null }
        >(
          `SELECT count(*) FILTER (WHERE leased = 0 AND due_at > ?) AS scheduled,
                  count(*) FILTER (WHERE due_at <= ?) AS due,
                  count(*) FILTER (WHERE leased = 1 AND due_at > ?) AS leased,
                  min(due_at) FILTER (WHERE due_at <= ?) AS oldest FROM ${queued}`,
        )
        .get(now(), now(), now(), now());
      const { scheduled = 0, due = 0, leased = 0, oldest = null } = row ?? {};
      return { scheduled, due, leased, oldestDueMs: oldest === null ? 0 : now() - oldest };
    },
  };
}
