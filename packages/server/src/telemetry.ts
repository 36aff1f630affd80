/**
 * What the service does, as Prometheus metrics (docs/monitoring.md). Knows no payload, no secret, no account, endpoint or
 * event: labels have a handful of values each. Series of the hot path are resolved once, here.
 */
import { monitorEventLoopDelay } from 'node:perf_hooks';
import type { RequestOutcome } from './api/deps.ts';
import type { Clock } from './clock.ts';
import type { AttemptReport, StoreCall } from './delivery/dispatcher.ts';
import { type Counter, type Histogram, METRICS_CONTENT_TYPE, Registry } from './metrics.ts';
import { ATTEMPT_OUTCOMES } from './model.ts';
import type { BatchInfo } from './publish.ts';
import type { EndpointStateCounts, EndpointTurn, QueueDepth } from './store/store.ts';

/** What is asked at the moment somebody reads the metrics. */
export interface TelemetrySources {
  queueDepth(): Promise<QueueDepth>;
  endpointStates(): Promise<EndpointStateCounts>;
  historyBytes(): Promise<number>;
  schema(): Promise<{ version: number; known: number }>;
  /** Resolves when the store can commit now. */
  ping(): Promise<void>;
  /** Of the dispatcher of this process. */
  dispatcherDepth(): { inFlight: number; ready: number; settling: number };
  connections(): { open: number; idle: number };
}

/** What a process says of itself. */
export interface TelemetryIdentity {
  version: string;
  role: 'all' | 'api' | 'worker';
  engine: 'sqlite' | 'postgres';
}

export interface Telemetry {
  onAttempt(report: AttemptReport): void;
  onBatch(info: BatchInfo): void;
  onStoreCall(call: StoreCall): void;
  onLeasesExpired(count: number): void;
  onEndpointTurn(turn: EndpointTurn): void;
  onRequestDone(outcome: RequestOutcome): void;
  readonly contentType: string;
  /** The text that `GET /metrics` answers. Without the queue's depth while the store can't be read. */
  render(): Promise<string>;
  /** Ends the measurement of the event loop. */
  stop(): void;
}

const REQUEST_BUCKETS_S = [0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1, 2.5, 5, 10, 30];
const WAIT_BUCKETS_S = [0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1, 2.5, 5, 15, 60, 300, 1800];
const COMMIT_BUCKETS_S = [0.0005, 0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 1, 5];
const BATCH_BUCKETS = [1, 2, 5, 10, 20, 50, 100, 200, 500, 1000];
const EVENT_LOOP_RESOLUTION_MS = 10;
const EVENT_LOOP_PERCENTILES = [50, 99];
/** A store that hangs must not make the scrape hang: the rest is wanted most then. */
const STORE_TIMEOUT_MS = 2_000;
/** The states that an attempt brings its delivery to for good. */
const END_STATES = ['delivered', 'dead', 'cancelled'] as const;
const LEASE_SOURCES = ['publish', 'claim', 'settle'] as const;
const ENDPOINT_TURNS = ['probing', 'open', 'disabled'] as const;
const STORE_OPERATIONS = ['publish', 'claim', 'settle', 'release'] as const;

/** Makes a registry of its own, so that two services in one process don't share their counts. */
export function createTelemetry(
  sources: TelemetrySources,
  identity: TelemetryIdentity,
  clock: Pick<Clock, 'timer'>,
): Telemetry {
  const registry = new Registry();

  /** A series for each of a few values, there from the start: a rate needs a first zero. */
  function countersBy<Value extends string>(
    name: string,
    help: string,
    label: string,
    values: readonly Value[],
  ): Record<Value, Counter> {
    const family = registry.counters(name, help);
    return Object.fromEntries(values.map((value) => [value, family.with({ [label]: value })])) as Record<
      Value,
      Counter
    >;
  }
  const histogram = (name: string, help: string, bounds: readonly number[]): Histogram =>
    registry.histograms(name, help, bounds).with({});

  // ------------------------------------------------------------ delivery

  const attempts = countersBy(
    'posthorn_attempts_total',
    'Delivery attempts by how they ended.',
    'outcome',
    ATTEMPT_OUTCOMES,
  );
  const attemptDuration = histogram(
    'posthorn_attempt_duration_seconds',
    'How long delivery attempts took, DNS to the end of the response.',
    REQUEST_BUCKETS_S,
  );
  const attemptWait = histogram(
    'posthorn_publish_to_attempt_seconds',
    'From a delivery being handed to the database to the start of its first attempt, commit included.',
    WAIT_BUCKETS_S,
  );
  const deliveriesEnded = countersBy(
    'posthorn_deliveries_ended_total',
    'Deliveries that an attempt ended, by the state they came to.',
    'status',
    END_STATES,
  );
  const leases = countersBy(
    'posthorn_leases_total',
    'Leases that this process was given, by the call that brought them.',
    'source',
    LEASE_SOURCES,
  );
  const leasesLost = countersBy(
    'posthorn_leases_lost_total',
    'Leases lost: stale, another owned the delivery when the attempt was written; expired, too little was left to begin.',
    'reason',
    ['stale', 'expired'],
  );

  const endpointTurns = countersBy(
    'posthorn_endpoint_turns_total',
    'Endpoints that attempts of this process turned: to probes only, to an open lane again, to disabled.',
    'state',
    ENDPOINT_TURNS,
  );

  // ------------------------------------------------------------ the store's calls

  const batchEvents = histogram(
    'posthorn_publish_batch_events',
    'Events that shared a commit.',
    BATCH_BUCKETS,
  );
  const batchDuration = histogram(
    'posthorn_publish_batch_duration_seconds',
    'How long the commits of published events took.',
    COMMIT_BUCKETS_S,
  );
  const batchFailures = registry
    .counters(
      'posthorn_publish_batch_failures_total',
      'Commits of published events that failed; none of their events was acknowledged.',
    )
    .with({});
  const waitingEvents = registry
    .gauges(
      'posthorn_publish_waiting_events',
      'Events that waited for the next commit when the last one ended.',
    )
    .with({});
  const waitingBytes = registry
    .gauges(
      'posthorn_publish_waiting_bytes',
      'Bytes of bodies that waited for the next commit when the last one ended.',
    )
    .with({});
  const settleAttempts = histogram(
    'posthorn_settle_batch_attempts',
    'Ended attempts that were written together.',
    BATCH_BUCKETS,
  );
  const settleDuration = histogram(
    'posthorn_settle_batch_duration_seconds',
    'How long writing ended attempts took.',
    COMMIT_BUCKETS_S,
  );
  const claimDuration = histogram(
    'posthorn_claim_duration_seconds',
    'How long claims of due deliveries took.',
    COMMIT_BUCKETS_S,
  );
  const storeFailures = countersBy(
    'posthorn_store_failures_total',
    'Calls of the database that failed, by what they were to do.',
    'operation',
    STORE_OPERATIONS,
  );

  // ------------------------------------------------------------ requests

  const requests = registry.counters('posthorn_http_requests_total', 'Answered API requests.');
  const requestDuration = registry.histograms(
    'posthorn_http_request_duration_seconds',
    'How long API requests took.',
    REQUEST_BUCKETS_S,
  );
  const routes = new Map<string, Map<string, RouteSeries>>();

  function seriesOf(method: string, route: string): RouteSeries {
    let methods = routes.get(route);
    if (methods === undefined) routes.set(route, (methods = new Map()));
    let series = methods.get(method);
    if (series === undefined) {
      series = { duration: requestDuration.with({ method, route }), byStatus: new Map() };
      methods.set(method, series);
    }
    return series;
  }

  // ------------------------------------------------------------ read when asked

  const queue = registry.gauges(
    'posthorn_queue_deliveries',
    'Unfinished deliveries in the database, of all nodes: scheduled for later, due, leased.',
  );
  const oldestDue = registry
    .gauges(
      'posthorn_queue_oldest_due_seconds',
      'How long the oldest due delivery has waited, over all nodes.',
    )
    .with({});
  const endpoints = registry.gauges(
    'posthorn_endpoints',
    'Endpoints that are not well, of all accounts: failing, probing (one attempt at a time), disabled by the service.',
  );
  const history = registry.gauges(
    'posthorn_history_bytes',
    'What events, deliveries and attempts take on disk, of all nodes; on SQLite with all else that the file has in use.',
  );
  const unknownMigrations = registry.gauges(
    'posthorn_unknown_migrations',
    'Changes of the schema that a later Posthorn has made under this process: with any it would not start any more.',
  );
  const storeUp = registry
    .gauges('posthorn_store_up', '1 when the database could commit at this reading, else 0.')
    .with({});
  const dispatcher = registry.gauges(
    'posthorn_dispatcher_deliveries',
    'Deliveries that this process holds: in flight, ready to start, waiting for their result to be written.',
  );
  const connections = registry.gauges('posthorn_connections', 'Connections to endpoints.');
  const loopDelay = registry.gauges(
    'posthorn_event_loop_delay_seconds',
    'How late the event loop came to its timers since the last reading.',
  );
  const memory = registry.gauges('posthorn_resident_memory_bytes', 'Memory of this process.').with({});
  const cpu = registry
    .counters('posthorn_cpu_seconds_total', 'CPU time of this process, all its threads together.')
    .with({});
  registry
    .gauges('posthorn_start_time_seconds', 'When this process started, unix seconds.')
    .with({})
    .set(performance.timeOrigin / 1000);
  registry
    .gauges(
      'posthorn_info',
      'Always 1; the labels tell the version, the role and the database of this process.',
    )
    .with({ ...identity })
    .set(1);

  const loop = monitorEventLoopDelay({ resolution: EVENT_LOOP_RESOLUTION_MS });
  loop.enable();
  // The histogram holds the time between two timers, of which the interval itself is no delay.
  const lateness = (nanoseconds: number) => Math.max(0, nanoseconds / 1e9 - EVENT_LOOP_RESOLUTION_MS / 1000);

  function inTime<Value>(asked: Promise<Value>): Promise<Value> {
    const { promise, reject } = Promise.withResolvers<never>();
    const cancel = clock.timer(STORE_TIMEOUT_MS, () => reject(new Error('the store did not answer in time')));
    return Promise.race([asked, promise]).finally(cancel);
  }

  async function readQueue(): Promise<void> {
    try {
      const depth = await inTime(sources.queueDepth());
      queue.with({ state: 'scheduled' }).set(depth.scheduled);
      queue.with({ state: 'due' }).set(depth.due);
      queue.with({ state: 'leased' }).set(depth.leased);
      oldestDue.set(depth.oldestDueMs / 1000);
    } catch {
      // The other metrics are wanted most while the store doesn't answer; old numbers would be a lie.
      queue.clear();
      oldestDue.set(Number.NaN);
    }
  }

  async function readEndpoints(): Promise<void> {
    try {
      const counts = await inTime(sources.endpointStates());
      for (const state of ['failing', 'probing', 'disabled'] as const)
        endpoints.with({ state }).set(counts[state]);
    } catch {
      endpoints.clear();
    }
  }

  async function readHistory(): Promise<void> {
    try {
      history.with({}).set(await inTime(sources.historyBytes()));
    } catch {
      history.clear();
    }
  }

  async function readSchema(): Promise<void> {
    try {
      const { version, known } = await inTime(sources.schema());
      unknownMigrations.with({}).set(Math.max(0, version - known));
    } catch {
      unknownMigrations.clear();
    }
  }

  async function readStore(): Promise<void> {
    const isUp = await inTime(sources.ping()).then(
      () => true,
      () => false,
    );
    storeUp.set(isUp ? 1 : 0);
  }

  return {
    onAttempt({ attempt, next, waitedMs }) {
      attempts[attempt.outcome].inc();
      attemptDuration.observe(attempt.durationMs / 1000);
      if (waitedMs !== null) attemptWait.observe(waitedMs / 1000);
      if (next === 'stale') leasesLost.stale.inc();
      else if (next !== 'pending') deliveriesEnded[next].inc();
    },
    onBatch({ events, durationMs, stored, leases: given, ...waiting }) {
      batchEvents.observe(events);
      batchDuration.observe(durationMs / 1000);
      leases.publish.inc(given);
      waitingEvents.set(waiting.waitingEvents);
      waitingBytes.set(waiting.waitingBytes);
      if (stored) return;
      batchFailures.inc();
      storeFailures.publish.inc();
    },
    onStoreCall({ operation, items, leases: given, durationMs, done }) {
      if (!done) storeFailures[operation].inc();
      if (operation === 'release') return;
      leases[operation].inc(given);
      if (operation === 'claim') {
        claimDuration.observe(durationMs / 1000);
      } else {
        settleAttempts.observe(items);
        settleDuration.observe(durationMs / 1000);
      }
    },
    onLeasesExpired: (count) => leasesLost.expired.inc(count),
    onEndpointTurn: ({ to }) => endpointTurns[to].inc(),
    onRequestDone({ method, route, httpStatus, durationMs }) {
      const { duration, byStatus } = seriesOf(method, route);
      let answered = byStatus.get(httpStatus);
      if (answered === undefined) {
        answered = requests.with({ method, route, status: String(httpStatus) });
        byStatus.set(httpStatus, answered);
      }
      answered.inc();
      duration.observe(durationMs / 1000);
    },
    contentType: METRICS_CONTENT_TYPE,
    async render() {
      await Promise.all([readQueue(), readEndpoints(), readHistory(), readSchema(), readStore()]);
      const { inFlight, ready, settling } = sources.dispatcherDepth();
      dispatcher.with({ state: 'in_flight' }).set(inFlight);
      dispatcher.with({ state: 'ready' }).set(ready);
      dispatcher.with({ state: 'settling' }).set(settling);
      const { open, idle } = sources.connections();
      connections.with({ state: 'busy' }).set(open - idle);
      connections.with({ state: 'idle' }).set(idle);
      for (const percentile of EVENT_LOOP_PERCENTILES) {
        loopDelay.with({ percentile: String(percentile) }).set(lateness(loop.percentile(percentile)));
      }
      loopDelay.with({ percentile: '100' }).set(lateness(loop.max));
      loop.reset();
      memory.set(process.memoryUsage.rss());
      const { user, system } = process.cpuUsage();
      cpu.value = (user + system) / 1e6;
      return registry.render();
    },
    stop: () => void loop.disable(),
  };
}

/** What one route's answers are counted in. */
interface RouteSeries {
  duration: Histogram;
  byStatus: Map<number, Counter>;
}
