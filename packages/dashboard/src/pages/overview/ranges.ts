/** The ranges of time that the overview shows, and what its plots are made of. Pure, so that it can be tested by itself. */
import type { Stats } from '../../api/types.ts';

export interface Range {
  id: string;
  /** On its button. */
  label: string;
  /** In a sentence: `in the last hour`. */
  words: string;
  seconds: number;
  intervalSeconds: number;
  /** As the API takes it. */
  interval: string;
}

const HOUR = 3600;
const DAY = 24 * HOUR;

export const RANGES: readonly Range[] = [
  { id: '1h', label: '1 h', words: 'last hour', seconds: HOUR, intervalSeconds: 60, interval: '1m' },
  { id: '6h', label: '6 h', words: 'last 6 hours', seconds: 6 * HOUR, intervalSeconds: 300, interval: '5m' },
  { id: '24h', label: '24 h', words: 'last 24 hours', seconds: DAY, intervalSeconds: 900, interval: '15m' },
  {
    id: '7d',
    label: '7 d',
    words: 'last 7 days',
    seconds: 7 * DAY,
    intervalSeconds: 2 * HOUR,
    interval: '2h',
  },
  {
    id: '30d',
    label: '30 d',
    words: 'last 30 days',
    seconds: 30 * DAY,
    intervalSeconds: 12 * HOUR,
    interval: '12h',
  },
];

const DEFAULT_RANGE = RANGES[2] as Range;

/** The range of the URL; a day when it is absent or none of them. */
export function rangeOf(id: string | undefined): Range {
  return RANGES.find((range) => range.id === id) ?? DEFAULT_RANGE;
}

/** The beginning of the first interval: whole intervals, the last of which is the present one. */
export function beginOf({ seconds, intervalSeconds }: Range, nowSeconds: number): number {
  return Math.floor(nowSeconds / intervalSeconds) * intervalSeconds - seconds + intervalSeconds;
}

/** One value an interval, oldest first. */
export interface Columns {
  at: number[];
  delivered: number[];
  failed: number[];
  p50: (number | null)[];
  p95: (number | null)[];
}

/** The series with its gaps filled: nothing was attempted there, so nothing took any time. */
export function columnsOf(series: Stats['series'], range: Range, begin: number): Columns {
  const length = range.seconds / range.intervalSeconds;
  const columns: Columns = {
    at: Array.from({ length }, (_, i) => begin + i * range.intervalSeconds),
    delivered: Array.from({ length }, () => 0),
    failed: Array.from({ length }, () => 0),
    p50: Array.from({ length }, () => null),
    p95: Array.from({ length }, () => null),
  };
  for (const point of series) {
    const i = Math.floor((point.at - begin) / range.intervalSeconds);
    if (i < 0 || i >= length) continue;
    columns.delivered[i] = point.delivered;
    columns.failed[i] = point.failed_attempts;
    columns.p50[i] = point.p50_ms;
    columns.p95[i] = point.p95_ms;
  }
  return columns;
}
