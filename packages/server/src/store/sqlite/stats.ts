import type { AttemptOutcome, StatsDimension, StatsPoint } from '../../model.ts';
import type { StatsQuery } from '../store.ts';
import type { EngineContext, SyncStore } from './engine.ts';

/** Counts are kept by the minute. */
export const STAT_INTERVAL_MS = 60_000;

/** Each class of duration is this much wider than the one before: its middle is within 5 % of all that is in it. */
const CLASS_GROWTH = 1.1;
const LOG_GROWTH = Math.log(CLASS_GROWTH);
/** The first class begins at 0.1 ms. */
const CLASS_ZERO_MS = 0.1;

function latencyClass(durationMs: number): number {
  return durationMs <= CLASS_ZERO_MS ? 0 : Math.floor(Math.log(durationMs / CLASS_ZERO_MS) / LOG_GROWTH);
}

function middleOfClass(latency: number): number {
  return Math.round(CLASS_ZERO_MS * CLASS_GROWTH ** (latency + 0.5) * 100) / 100;
}

/** A delivery's death is counted under its last attempt's outcome with this before it. */
const DEAD = 'dead:';

/** Counts an attempt, and with `died` the death of its delivery. */
export function statCounter({ db }: EngineContext) {
  const add = db.prepare(
    `INSERT INTO stat (username, at, endpoint_id, event, outcome, latency, count) VALUES (?, ?, ?, ?, ?, ?, 1)
     ON CONFLICT DO UPDATE SET count = count + 1`,
  );
  return (
    username: string,
    endpointId: string,
    event: string,
    outcome: AttemptOutcome,
    atMs: number,
    durationMs: number,
    died: boolean,
  ): void => {
    const at = atMs - (atMs % STAT_INTERVAL_MS);
    add.run(username, at, endpointId, event, outcome, latencyClass(durationMs));
    if (died) add.run(username, at, endpointId, event, DEAD + outcome, 0);
  };
}

interface StatRow {
  at: number;
  key: string | null;
  outcome: string;
  latency: number;
  count: number;
}

/** Sums up rows of one interval and key. */
function summarise(at: number, key: string | null, rows: StatRow[]): StatsPoint {
  const byLatency = new Map<number, number>();
  const point = { at, key, delivered: 0, failedAttempts: 0, dead: 0 };
  let attempts = 0;
  for (const { outcome, latency, count } of rows) {
    if (outcome.startsWith(DEAD)) {
      point.dead += count;
      continue;
    }
    if (outcome === 'success') point.delivered += count;
    else point.failedAttempts += count;
    attempts += count;
    byLatency.set(latency, (byLatency.get(latency) ?? 0) + count);
  }
  const classes = [...byLatency].sort(([a], [b]) => a - b);
  const percentile = (share: number): number | null => {
    let seen = 0;
    for (const [latency, count] of classes) {
      seen += count;
      if (seen >= share * attempts) return middleOfClass(latency);
    }
    return null;
  };
  return { ...point, p50Ms: percentile(0.5), p95Ms: percentile(0.95) };
}

function groupBy(rows: StatRow[], keyOf: (row: StatRow) => string): StatRow[][] {
  const groups = new Map<string, StatRow[]>();
  for (const row of rows) {
    const key = keyOf(row);
    const group = groups.get(key);
    if (group === undefined) groups.set(key, [row]);
    else group.push(row);
  }
  return [...groups.values()];
}

const KEY_COLUMN: Record<StatsDimension, string> = {
  endpoint: 'endpoint_id',
  event: 'event',
  status: `replace(outcome, '${DEAD}', '')`,
};

export function statsOperations({ db, now }: EngineContext): Pick<SyncStore, 'stats' | 'queueDepth'> {
  return {
    stats({ username, since, until, intervalMs, by }: StatsQuery) {
      const key = by === null ? 'NULL' : KEY_COLUMN[by];
      // The key (username, at, …) gives the range. A minute counts to where it begins.
      const rows = db
        .prepare<[number, number, number, number, string | null, string | null], StatRow>(
          `SELECT at - at % ? AS at, ${key} AS key, outcome, latency, sum(count) AS count FROM stat
           WHERE at >= ? - ? % ${STAT_INTERVAL_MS} AND at < ? AND (${username === null ? '? IS NULL AND ? IS NULL' : 'username = ? AND ? IS NOT NULL'})
           GROUP BY 1, 2, outcome, latency ORDER BY 1, 2`,
        )
        .all(intervalMs, since, since, until, username, username);
      const series = groupBy(rows, (row) => `${row.at} ${row.key ?? ''}`).map((group) =>
        summarise((group[0] as StatRow).at, (group[0] as StatRow).key, group),
      );
      const totals =
        by === null
          ? [summarise(since, null, rows)]
          : groupBy(rows, (row) => row.key ?? '').map((group) =>
              summarise(since, (group[0] as StatRow).key, group),
            );
      return { series, totals };
    },

    queueDepth() {
      const row = db
        .prepare<
          [number, number, number, number],
          Record<'scheduled' | 'due' | 'leased', number> & { oldest: number | null }
        >(
          `SELECT count(*) FILTER (WHERE leased = 0 AND due_at > ?) AS scheduled,
                  count(*) FILTER (WHERE due_at <= ?) AS due,
                  count(*) FILTER (WHERE leased = 1 AND due_at > ?) AS leased,
                  min(due_at) FILTER (WHERE due_at <= ?) AS oldest FROM queue`,
        )
        .get(now(), now(), now(), now());
      const { scheduled = 0, due = 0, leased = 0, oldest = null } = row ?? {};
      return { scheduled, due, leased, oldestDueMs: oldest === null ? 0 : now() - oldest };
    },
  };
}
