/** What both engines' statistics mean: counts by interval, and durations in logarithmic classes. */
import type { StatsDimension, StatsPoint } from '../model.ts';
import type { StatsResult } from './store.ts';

/** Counts are kept by the minute. */
export const STAT_INTERVAL_MS = 60_000;

/** Statistics by the minute older than this become statistics by the hour. */
export const STAT_MINUTES_KEPT_MS = 26 * 3_600_000;

/** The entry of meta that says before which hour (unix ms) all statistics are added up in `stat_sum`. */
export const SUMMED_UNTIL = 'statistics_summed_until';

/** Whose sums those over all accounts are: no account's. */
export const ALL_ACCOUNTS = '';

/** Each class of duration is this much wider than the one before: its middle is within 5 % of all that is in it. */
const CLASS_GROWTH = 1.1;
const LOG_GROWTH = Math.log(CLASS_GROWTH);
/** The first class begins at 0.1 ms. */
const CLASS_ZERO_MS = 0.1;

/** The class in which an attempt's duration (ms) is counted: 0 for the shortest. */
export function latencyClass(durationMs: number): number {
  return durationMs <= CLASS_ZERO_MS ? 0 : Math.floor(Math.log(durationMs / CLASS_ZERO_MS) / LOG_GROWTH);
}

function middleOfClass(latency: number): number {
  return Math.round(CLASS_ZERO_MS * CLASS_GROWTH ** (latency + 0.5) * 100) / 100;
}

/** A delivery's death is counted under its last attempt's outcome with this before it. */
export const DEAD = 'dead:';

/** SQL for the key of a point when statistics are asked by a dimension. */
export const KEY_COLUMN: Record<StatsDimension, string> = {
  endpoint: 'endpoint_id',
  event: 'event',
  status: `replace(outcome, '${DEAD}', '')`,
};

/** A sum of counts of one interval. */
export interface StatRow {
  /** Start of the interval. */
  at: number;
  key: string | null;
  outcome: string;
  latency: number;
  count: number;
}

/** Sums up rows of one interval and key. */
function summarise(at: number, key: string | null, rows: readonly StatRow[]): StatsPoint {
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

function groupBy(rows: readonly StatRow[], keyOf: (row: StatRow) => string): StatRow[][] {
  const groups = new Map<string, StatRow[]>();
  for (const row of rows) {
    const key = keyOf(row);
    const group = groups.get(key);
    if (group === undefined) groups.set(key, [row]);
    else group.push(row);
  }
  return [...groups.values()];
}

/**
 * Points by interval and key, and their totals.
 *
 * @param rows - ordered by interval, then key
 * @param since - start of the range, unix ms
 * @param by - null: one total over all, also when there are no rows
 */
export function summariseAll(
  rows: readonly StatRow[],
  since: number,
  by: StatsDimension | null,
): StatsResult {
  // What a dead idle connection cost says nothing about the receiver: neither its failure nor its latency.
  const telling = rows.filter(({ outcome }) => outcome !== 'stale_connection');
  const series = groupBy(telling, (row) => `${row.at} ${row.key ?? ''}`).map((group) =>
    summarise((group[0] as StatRow).at, (group[0] as StatRow).key, group),
  );
  const totals =
    by === null
      ? [summarise(since, null, telling)]
      : groupBy(telling, (row) => row.key ?? '').map((group) =>
          summarise(since, (group[0] as StatRow).key, group),
        );
  return { series, totals };
}
