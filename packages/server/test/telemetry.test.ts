import assert from 'node:assert/strict';
import { afterEach, describe, it } from 'node:test';
import type { AttemptReport } from '../src/delivery/dispatcher.ts';
import type { AttemptOutcome } from '../src/model.ts';
import { createTelemetry, type Telemetry, type TelemetrySources } from '../src/telemetry.ts';
import { ManualClock } from './support/manual-clock.ts';

const clock = new ManualClock();
let telemetry: Telemetry;
afterEach(() => telemetry.stop());

function create(sources: Partial<TelemetrySources> = {}): Telemetry {
  telemetry = createTelemetry(
    {
      queueDepth: () => Promise.resolve({ scheduled: 5, due: 3, leased: 2, oldestDueMs: 1_500 }),
      endpointStates: () => Promise.resolve({ failing: 4, probing: 2, disabled: 1 }),
      historyBytes: () => Promise.resolve(1_048_576),
      schema: () => Promise.resolve({ version: 12, known: 11 }),
      ping: () => Promise.resolve(),
      dispatcherDepth: () => ({ inFlight: 1, ready: 2, settling: 3 }),
      connections: () => ({ open: 7, idle: 4 }),
      ...sources,
    },
    { version: '1.2.3', role: 'all', engine: 'sqlite' },
    clock,
  );
  return telemetry;
}

function report(
  outcome: AttemptOutcome,
  next: AttemptReport['next'],
  waitedMs: number | null,
): AttemptReport {
  const attempt = { outcome, durationMs: 30 } as AttemptReport['attempt'];
  return { attempt, next, waitedMs } as AttemptReport;
}

async function lines(): Promise<string[]> {
  return (await telemetry.render()).split('\n');
}

async function assertHas(...wanted: string[]): Promise<void> {
  const text = await lines();
  for (const one of wanted) assert.ok(text.includes(one), `${one} is not in\n${text.join('\n')}`);
}

describe('telemetry', () => {
  it('counts attempts by their class, ends by their state, and lost leases by what lost them', async () => {
    create();
    telemetry.onAttempt(report('success', 'delivered', 40));
    telemetry.onAttempt(report('timeout', 'pending', null));
    telemetry.onAttempt(report('timeout', 'stale', null));
    telemetry.onLeasesExpired(4);
    await assertHas(
      'posthorn_attempts_total{outcome="success"} 1',
      'posthorn_attempts_total{outcome="timeout"} 2',
      'posthorn_attempts_total{outcome="dns_error"} 0',
      'posthorn_attempt_duration_seconds_count 3',
      'posthorn_publish_to_attempt_seconds_bucket{le="0.05"} 1',
      'posthorn_publish_to_attempt_seconds_count 1',
      'posthorn_deliveries_ended_total{status="delivered"} 1',
      'posthorn_deliveries_ended_total{status="dead"} 0',
      'posthorn_leases_lost_total{reason="stale"} 1',
      'posthorn_leases_lost_total{reason="expired"} 4',
    );
  });

  it("tells of the store's calls what they moved, how long they took and which failed", async () => {
    create();
    const batch = { requests: 2, bytes: 900, durationMs: 2, waitingEvents: 6, waitingBytes: 70 };
    telemetry.onBatch({ ...batch, events: 20, leases: 9, stored: true });
    telemetry.onBatch({ ...batch, events: 20, leases: 0, stored: false });
    telemetry.onStoreCall({ operation: 'settle', items: 50, leases: 8, durationMs: 4, done: true });
    telemetry.onStoreCall({ operation: 'claim', items: 0, leases: 7, durationMs: 1, done: true });
    telemetry.onStoreCall({ operation: 'claim', items: 0, leases: 0, durationMs: 1, done: false });
    telemetry.onStoreCall({ operation: 'release', items: 3, leases: 0, durationMs: 1, done: false });
    await assertHas(
      'posthorn_publish_batch_events_sum 40',
      'posthorn_publish_batch_failures_total 1',
      'posthorn_publish_waiting_events 6',
      'posthorn_publish_waiting_bytes 70',
      'posthorn_settle_batch_attempts_sum 50',
      'posthorn_settle_batch_duration_seconds_bucket{le="0.005"} 1',
      'posthorn_claim_duration_seconds_count 2',
      'posthorn_leases_total{source="publish"} 9',
      'posthorn_leases_total{source="settle"} 8',
      'posthorn_leases_total{source="claim"} 7',
      'posthorn_store_failures_total{operation="publish"} 1',
      'posthorn_store_failures_total{operation="settle"} 0',
      'posthorn_store_failures_total{operation="claim"} 1',
      'posthorn_store_failures_total{operation="release"} 1',
    );
  });

  it('counts requests by route, method and status', async () => {
    create();
    const request = { method: 'POST', route: '/v2/publish', durationMs: 3 };
    telemetry.onRequestDone({ ...request, httpStatus: 200 });
    telemetry.onRequestDone({ ...request, httpStatus: 200 });
    telemetry.onRequestDone({ ...request, httpStatus: 503 });
    await assertHas(
      'posthorn_http_requests_total{method="POST",route="/v2/publish",status="200"} 2',
      'posthorn_http_requests_total{method="POST",route="/v2/publish",status="503"} 1',
      'posthorn_http_request_duration_seconds_bucket{method="POST",route="/v2/publish",le="0.005"} 3',
    );
  });

  it('reads queue, dispatcher, connections and process when it is asked', async () => {
    create();
    await assertHas(
      'posthorn_queue_deliveries{state="scheduled"} 5',
      'posthorn_queue_deliveries{state="due"} 3',
      'posthorn_queue_deliveries{state="leased"} 2',
      'posthorn_queue_oldest_due_seconds 1.5',
      'posthorn_store_up 1',
      'posthorn_unknown_migrations 1',
      'posthorn_dispatcher_deliveries{state="settling"} 3',
      'posthorn_connections{state="busy"} 3',
      'posthorn_info{version="1.2.3",role="all",engine="sqlite"} 1',
    );
    const text = await lines();
    const value = (name: string) => Number(text.find((one) => one.startsWith(`${name} `))?.split(' ')[1]);
    assert.ok(Math.abs(value('posthorn_start_time_seconds') * 1000 - performance.timeOrigin) < 1);
    assert.ok(value('posthorn_cpu_seconds_total') > 0);
    assert.ok(value('posthorn_resident_memory_bytes') > 1e7);
  });

  it('goes on without the queue while the store refuses, and says that it is away', async () => {
    let isAway = false;
    create({
      queueDepth: () =>
        isAway
          ? Promise.reject(new Error('away'))
          : Promise.resolve({ scheduled: 1, due: 1, leased: 1, oldestDueMs: 1 }),
      schema: () =>
        isAway ? Promise.reject(new Error('away')) : Promise.resolve({ version: 12, known: 11 }),
      ping: () => (isAway ? Promise.reject(new Error('away')) : Promise.resolve()),
    });
    await assertHas('posthorn_store_up 1');
    isAway = true;
    await assertHas('posthorn_store_up 0', 'posthorn_queue_oldest_due_seconds NaN');
    const text = await lines();
    for (const name of ['posthorn_queue_deliveries{', 'posthorn_unknown_migrations ']) {
      assert.ok(!text.some((one) => one.startsWith(name)), `an old number of ${name}`);
    }
  });

  it('waits 2 s for a store that hangs', async () => {
    create({ queueDepth: () => new Promise(() => {}), ping: () => new Promise(() => {}) });
    const timers = clock.timerCount;
    const asked = assertHas('posthorn_store_up 0', 'posthorn_attempts_total{outcome="success"} 0');
    await clock.whenTimers(timers + 3);
    clock.advance(2_000);
    await asked;
  });
});
