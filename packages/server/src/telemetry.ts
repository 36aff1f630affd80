/** What the service does, as Prometheus metrics. Knows no payload, no secret and no account: labels stay few. */
import { monitorEventLoopDelay } from 'node:perf_hooks';
import { Counter, Gauge, Histogram, Registry } from 'prom-client';
import type { RequestOutcome } from './api/deps.ts';
import type { AttemptReport } from './delivery/dispatcher.ts';
import type { BatchInfo } from './publish.ts';
import type { QueueDepth } from './store/store.ts';

/** What is asked at the moment somebody reads the metrics. */
export interface TelemetrySources {
  queueDepth(): Promise<QueueDepth>;
  /** Of the dispatcher of this process. */
  dispatcherDepth(): { inFlight: number; ready: number; settling: number };
  connections(): { open: number; idle: number };
}

export interface Telemetry {
  onAttempt(report: AttemptReport): void;
  onBatch(info: BatchInfo): void;
  onRequestDone(outcome: RequestOutcome): void;
  readonly contentType: string;
  /** The text that `GET /metrics` answers. Without the queue's depth while the store can't be read. */
  render(): Promise<string>;
  /** Ends the measurement of the event loop. */
  stop(): void;
}

const DURATION_BUCKETS_S = [0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1, 2.5, 5, 10, 30];
const COMMIT_BUCKETS_S = [0.0005, 0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 1, 5];
const BATCH_BUCKETS = [1, 2, 5, 10, 20, 50, 100, 200, 500, 1000];
const EVENT_LOOP_RESOLUTION_MS = 10;
const EVENT_LOOP_PERCENTILES = [50, 99];

/** Makes a registry of its own, so that two services in one process don't share their counts. */
export function createTelemetry(sources: TelemetrySources): Telemetry {
  const registry = new Registry();
  const registers = [registry];

  const attempts = new Counter({
    name: 'posthorn_attempts_total',
    help: 'Delivery attempts by how they ended.',
    labelNames: ['outcome'],
    registers,
  });
  const attemptDuration = new Histogram({
    name: 'posthorn_attempt_duration_seconds',
    help: 'How long delivery attempts took, DNS to the end of the response.',
    buckets: DURATION_BUCKETS_S,
    registers,
  });
  const deliveriesEnded = new Counter({
    name: 'posthorn_deliveries_ended_total',
    help: 'Deliveries that an attempt ended, by the state they came to.',
    labelNames: ['status'],
    registers,
  });
  const batchEvents = new Histogram({
    name: 'posthorn_publish_batch_events',
    help: 'Events that shared a commit.',
    buckets: BATCH_BUCKETS,
    registers,
  });
  const batchDuration = new Histogram({
    name: 'posthorn_publish_batch_duration_seconds',
    help: 'How long the commits of published events took.',
    buckets: COMMIT_BUCKETS_S,
    registers,
  });
  const batchFailures = new Counter({
    name: 'posthorn_publish_batch_failures_total',
    help: 'Commits of published events that failed; none of their events was acknowledged.',
    registers,
  });
  const requests = new Counter({
    name: 'posthorn_http_requests_total',
    help: 'Answered API requests.',
    labelNames: ['method', 'route', 'status'],
    registers,
  });
  const requestDuration = new Histogram({
    name: 'posthorn_http_request_duration_seconds',
    help: 'How long API requests took.',
    labelNames: ['method', 'route'],
    buckets: DURATION_BUCKETS_S,
    registers,
  });

  const queue = new Gauge({
    name: 'posthorn_queue_deliveries',
    help: 'Unfinished deliveries: scheduled for later, due, leased.',
    labelNames: ['state'],
    registers,
  });
  const oldestDue = new Gauge({
    name: 'posthorn_queue_oldest_due_seconds',
    help: 'How long the oldest due delivery has waited.',
    registers,
  });
  const dispatcher = new Gauge({
    name: 'posthorn_dispatcher_deliveries',
    help: 'Deliveries that this process holds: in flight, ready to start, waiting for their result to be written.',
    labelNames: ['state'],
    registers,
  });
  const connections = new Gauge({
    name: 'posthorn_connections',
    help: 'Connections to endpoints.',
    labelNames: ['state'],
    registers,
  });
  const loopDelay = new Gauge({
    name: 'posthorn_event_loop_delay_seconds',
    help: 'How late the event loop came to its timers since the last reading.',
    labelNames: ['quantile'],
    registers,
  });
  const memory = new Gauge({
    name: 'posthorn_resident_memory_bytes',
    help: 'Memory of this process.',
    registers,
  });

  const loop = monitorEventLoopDelay({ resolution: EVENT_LOOP_RESOLUTION_MS });
  loop.enable();
  // The histogram holds the time between two timers, of which the interval itself is no delay.
  const lateness = (nanoseconds: number) => Math.max(0, nanoseconds / 1e9 - EVENT_LOOP_RESOLUTION_MS / 1000);

  async function readQueue(): Promise<void> {
    try {
      const depth = await sources.queueDepth();
      queue.set({ state: 'scheduled' }, depth.scheduled);
      queue.set({ state: 'due' }, depth.due);
      queue.set({ state: 'leased' }, depth.leased);
      oldestDue.set(depth.oldestDueMs / 1000);
    } catch {
      // The other metrics are wanted most while the store doesn't answer; old numbers would be a lie.
      queue.reset();
      oldestDue.set(Number.NaN);
    }
  }

  return {
    onAttempt({ attempt, next }) {
      attempts.inc({ outcome: attempt.outcome });
      attemptDuration.observe(attempt.durationMs / 1000);
      if (next !== 'pending' && next !== 'stale') deliveriesEnded.inc({ status: next });
    },
    onBatch({ events, durationMs, stored }) {
      batchEvents.observe(events);
      batchDuration.observe(durationMs / 1000);
      if (!stored) batchFailures.inc();
    },
    onRequestDone({ method, route, httpStatus, durationMs }) {
      requests.inc({ method, route, status: String(httpStatus) });
      requestDuration.observe({ method, route }, durationMs / 1000);
    },
    contentType: registry.contentType,
    async render() {
      await readQueue();
      const { inFlight, ready, settling } = sources.dispatcherDepth();
      dispatcher.set({ state: 'in_flight' }, inFlight);
      dispatcher.set({ state: 'ready' }, ready);
      dispatcher.set({ state: 'settling' }, settling);
      const { open, idle } = sources.connections();
      connections.set({ state: 'busy' }, open - idle);
      connections.set({ state: 'idle' }, idle);
      for (const percentile of EVENT_LOOP_PERCENTILES) {
        loopDelay.set({ quantile: String(percentile / 100) }, lateness(loop.percentile(percentile)));
      }
      loopDelay.set({ quantile: '1' }, lateness(loop.max));
      loop.reset();
      memory.set(process.memoryUsage.rss());
      return await registry.metrics();
    },
    stop: () => void loop.disable(),
  };
}
