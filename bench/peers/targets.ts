/** The targets of issue 4 as ratios within one run, and whether they are met. Pure. */
import { type SystemResult, valueOf } from './results.ts';

type Judged = 'posthorn-sqlite' | 'posthorn-postgres';

interface Target {
  title: string;
  /** A ratio to compare, or a figure of Posthorn's own; NaN when something for it wasn't measured. */
  value(own: SystemResult, all: readonly SystemResult[]): number;
  /** `atLeast` or `atMost`, by engine. */
  bound: 'atLeast' | 'atMost';
  limit: Record<Judged, number>;
  unit?: string;
}

export interface Judgement {
  title: string;
  system: string;
  value: number;
  limit: string;
  /** Null when it wasn't measured. */
  isMet: boolean | null;
}

const isPeer = ({ family }: SystemResult) => family.endsWith('-peer');

function best(of: readonly SystemResult[], key: string, pick: (...values: number[]) => number): number {
  const values = of.map((result) => valueOf(result, key)).filter((value) => !Number.isNaN(value));
  return values.length === 0 ? Number.NaN : pick(...values);
}

function againstBestPeer(key: string): Target['value'] {
  return (own, all) => valueOf(own, key) / best(all.filter(isPeer), key, Math.max);
}

/** SQLite's ingest is held against every durable peer, PostgreSQL's against those on PostgreSQL. */
function againstDurablePeer(key: string): Target['value'] {
  return (own, all) => {
    const peers = all.filter((other) =>
      own.family === 'posthorn-postgres'
        ? other.family === 'postgres-peer'
        : isPeer(other) && other.durability === 'durable',
    );
    return valueOf(own, key) / best(peers, key, Math.max);
  };
}

function own(key: string): Target['value'] {
  return (result) => valueOf(result, key);
}

function limits(sqlite: number, postgres: number): Target['limit'] {
  return { 'posthorn-sqlite': sqlite, 'posthorn-postgres': postgres };
}

const TARGETS: readonly Target[] = [
  {
    title: 'ingest × 1, against the best durable peer (PostgreSQL: the best peer on it)',
    value: againstDurablePeer('ingest_1'),
    bound: 'atLeast',
    limit: limits(3, 4),
  },
  {
    title: 'ingest × 10, likewise',
    value: againstDurablePeer('ingest_10'),
    bound: 'atLeast',
    limit: limits(2.5, 3),
  },
  {
    title: 'drain, against the bare loop',
    value: (result, all) =>
      valueOf(result, 'drain') /
      best(
        all.filter(({ family }) => family === 'bound'),
        'drain',
        Math.max,
      ),
    bound: 'atLeast',
    limit: limits(0.7, 0.5),
  },
  {
    title: 'drain, against the best peer',
    value: againstBestPeer('drain'),
    bound: 'atLeast',
    limit: limits(2, 1.5),
  },
  {
    title: 'both at once, against the best peer',
    value: againstBestPeer('both'),
    bound: 'atLeast',
    limit: limits(2, 1.5),
  },
  {
    title: 'p99 at 200/s × 1',
    value: own('latency_1_p99'),
    bound: 'atMost',
    limit: limits(10, 15),
    unit: 'ms',
  },
  {
    title: 'p99 at 200/s × 10',
    value: own('latency_10_p99'),
    bound: 'atMost',
    limit: limits(40, 50),
    unit: 'ms',
  },
  {
    title: 'isolation, without tuning',
    value: own('isolation'),
    bound: 'atLeast',
    limit: limits(0.98, 0.98),
  },
  {
    title: 'CPU per 1,000 deliveries (drain), against the best peer',
    value: (result, all) => valueOf(result, 'drain_cpu') / best(all.filter(isPeer), 'drain_cpu', Math.min),
    bound: 'atMost',
    limit: limits(0.5, 2 / 3),
  },
  {
    title: 'CPU per 1,000 deliveries (both at once), against the best peer',
    value: (result, all) => valueOf(result, 'both_cpu') / best(all.filter(isPeer), 'both_cpu', Math.min),
    bound: 'atMost',
    limit: limits(0.5, 2 / 3),
  },
  {
    title: 'beside what is stored, against empty',
    value: own('stored'),
    bound: 'atLeast',
    limit: limits(0.95, 0.9),
  },
  {
    title: 'ready after start, empty',
    value: own('ready_empty'),
    bound: 'atMost',
    limit: limits(0.5, 1),
    unit: 's',
  },
  {
    title: 'ready after kill -9 beside pending',
    value: own('ready_killed'),
    bound: 'atMost',
    limit: limits(2, 3),
    unit: 's',
  },
];

/** What is compared with the peer that does the same work. */
const SAME_WORK: readonly { key: string; title: string }[] = [
  { key: 'ingest_1', title: 'ingest × 1' },
  { key: 'ingest_10', title: 'ingest × 10' },
  { key: 'drain', title: 'drain' },
  { key: 'both', title: 'both at once' },
  { key: 'ingest_1_cpu', title: 'CPU per 1,000 events, ingest × 1' },
  { key: 'drain_cpu', title: 'CPU per 1,000 deliveries, drain' },
  { key: 'both_cpu', title: 'CPU per 1,000 deliveries, both at once' },
];

export interface SameWork {
  title: string;
  system: string;
  /** Posthorn's figure as a part of the peer's. */
  ratio: number;
}

/** Posthorn against the best peer that was built to do the same work; empty when none was measured. */
export function besideSameWork(all: readonly SystemResult[]): SameWork[] {
  const peers = all.filter(({ family }) => family === 'same-work');
  return SAME_WORK.flatMap(({ key, title }) =>
    all
      .filter(({ family }) => family === 'posthorn-sqlite' || family === 'posthorn-postgres')
      .map((own) => {
        const pick = key.endsWith('_cpu') ? Math.min : Math.max;
        return { title, system: own.name, ratio: valueOf(own, key) / best(peers, key, pick) };
      })
      .filter(({ ratio }) => !Number.isNaN(ratio)),
  );
}

/** Each target for each of Posthorn's systems that was measured. */
export function judge(all: readonly SystemResult[]): Judgement[] {
  return TARGETS.flatMap((target) =>
    all.flatMap((result): Judgement[] => {
      const { family } = result;
      if (family !== 'posthorn-sqlite' && family !== 'posthorn-postgres') return [];
      const value = target.value(result, all);
      const limit = target.limit[family];
      const isMet = Number.isNaN(value) ? null : target.bound === 'atLeast' ? value >= limit : value <= limit;
      const sign = target.bound === 'atLeast' ? '≥' : '≤';
      const shown = `${sign} ${Number(limit.toFixed(2))}${target.unit === undefined ? '' : ` ${target.unit}`}`;
      return [{ title: target.title, system: result.name, value, limit: shown, isMet }];
    }),
  );
}
