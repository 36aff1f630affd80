/** The figures of the report: their order, titles and units. */

export interface FigureName {
  key: string;
  title: string;
  unit: string;
  /** Digits behind the point. */
  digits: number;
}

export const FIGURES: readonly FigureName[] = [
  { key: 'ingest_1', title: 'ingest × 1', unit: 'events/s', digits: 0 },
  { key: 'ingest_10', title: 'ingest × 10', unit: 'events/s', digits: 0 },
  { key: 'drain', title: 'drain of a backlog', unit: 'deliveries/s', digits: 0 },
  { key: 'both', title: 'both at once × 1', unit: 'deliveries/s', digits: 0 },
  { key: 'latency_1_p50', title: 'latency at 200/s × 1, p50', unit: 'ms', digits: 1 },
  { key: 'latency_1_p99', title: 'latency at 200/s × 1, p99', unit: 'ms', digits: 1 },
  { key: 'latency_10_p50', title: 'latency at 200/s × 10, p50', unit: 'ms', digits: 1 },
  { key: 'latency_10_p99', title: 'latency at 200/s × 10, p99', unit: 'ms', digits: 1 },
  { key: 'isolation', title: 'one of ten hangs: healthy throughput', unit: 'of that without', digits: 2 },
  { key: 'stored', title: 'beside what is stored: both at once', unit: 'of that when empty', digits: 2 },
  { key: 'stored_full', title: 'beside what is stored', unit: 'deliveries/s', digits: 0 },
  { key: 'accounts', title: 'many accounts × 5 endpoints, both at once', unit: 'deliveries/s', digits: 0 },
  { key: 'ingest_1_cpu', title: 'CPU per 1,000 events, ingest × 1', unit: 's', digits: 3 },
  { key: 'ingest_10_cpu', title: 'CPU per 1,000 events, ingest × 10', unit: 's', digits: 3 },
  { key: 'drain_cpu', title: 'CPU per 1,000 deliveries, drain', unit: 's', digits: 3 },
  { key: 'both_cpu', title: 'CPU per 1,000 deliveries, both at once', unit: 's', digits: 3 },
  { key: 'stored_cpu', title: 'CPU per 1,000 deliveries, beside what is stored', unit: 's', digits: 3 },
  { key: 'accounts_cpu', title: 'CPU per 1,000 deliveries, many accounts', unit: 's', digits: 3 },
  { key: 'ingest_1_memory', title: 'peak memory, ingest × 1', unit: 'MiB PSS', digits: 0 },
  { key: 'ingest_10_memory', title: 'peak memory, ingest × 10', unit: 'MiB PSS', digits: 0 },
  { key: 'drain_memory', title: 'peak memory, drain', unit: 'MiB PSS', digits: 0 },
  { key: 'both_memory', title: 'peak memory, both at once', unit: 'MiB PSS', digits: 0 },
  { key: 'stored_memory', title: 'peak memory, beside what is stored', unit: 'MiB PSS', digits: 0 },
  { key: 'accounts_memory', title: 'peak memory, many accounts', unit: 'MiB PSS', digits: 0 },
  { key: 'ready_empty', title: 'ready after start, empty', unit: 's', digits: 2 },
  { key: 'ready_killed', title: 'ready after kill -9, beside pending', unit: 's', digits: 2 },
  { key: 'first_delivery', title: 'first delivery after kill -9', unit: 's', digits: 2 },
  { key: 'recovered', title: 'last delivery that the kill held up', unit: 's', digits: 1 },
  { key: 'killed_missing', title: 'lost by kill -9', unit: 'deliveries', digits: 0 },
  { key: 'killed_duplicates', title: 'delivered twice by kill -9', unit: 'deliveries', digits: 0 },
];
