/** Accepting and delivering at once, and how long a delivery takes at a steady, moderate rate. */
import { latenciesMs, percentile, rateBetween, sortedArrivals } from '../figures.ts';
import { cpuSeconds, MemoryWatch } from '../processes.ts';
import { Session } from '../stand.ts';
import type { Running } from '../system.ts';
import { assertKept } from './assert-kept.ts';
import { type Figures, type Measure, needsIngest, type Scale } from './measure.ts';

const ACCOUNTS = 10;
const EVENTS_PER_SECOND = 200;
/** The first second of a steady load is not counted. */
const LATENCY_SKIPPED_EVENTS = 200;
const NO_LIMIT = Number.MAX_SAFE_INTEGER;
const SETTLING_MS = 300;

/**
 * Deliveries a second while as many events as the system accepts are published, until all of them have arrived; so what
 * is accepted faster than it is delivered counts for nothing.
 */
export async function measureBoth(
  session: Session,
  running: Running,
  forMs: number,
  patienceMs: number,
): Promise<{ rate: number; cpuPerThousand: number }> {
  const cpuBefore = cpuSeconds(running.pids());
  const dueBefore = session.deliveriesDue;
  const published = await session.publish(running, { kind: 'flat-out', forMs, atMost: NO_LIMIT });
  await session.allArrived(patienceMs);
  await new Promise((resolve) => setTimeout(resolve, SETTLING_MS));
  const cpu = cpuSeconds(running.pids()) - cpuBefore;
  const { arrivedAt } = await session.report();
  const sorted = sortedArrivals(arrivedAt, session.endpointsEach, published.from, session.nextNumber);
  const rate = rateBetween(Float64Array.from([published.startedAt, ...sorted]), 0, 0.99);
  return { rate, cpuPerThousand: (cpu / (session.deliveriesDue - dueBefore)) * 1000 };
}

/** Lets everything be compiled and every connection be open before anything counts. */
export async function warmUp(session: Session, running: Running, scale: Scale): Promise<void> {
  await session.publish(running, { kind: 'flat-out', forMs: scale.warmUpMs, atMost: NO_LIMIT });
  await session.allArrived(scale.patienceMs);
}

async function measureLatency(session: Session, running: Running, scale: Scale): Promise<Float64Array> {
  const forMs = scale.latencyMs + (LATENCY_SKIPPED_EVENTS / EVENTS_PER_SECOND) * 1000;
  const { answeredAt, from } = await session.publish(running, {
    kind: 'steady',
    perSecond: EVENTS_PER_SECOND,
    forMs,
  });
  await session.allArrived(scale.patienceMs);
  const { arrivedAt } = await session.report();
  return latenciesMs(answeredAt, arrivedAt, session.endpointsEach, from, LATENCY_SKIPPED_EVENTS);
}

export const bothAndLatency: Measure = {
  name: 'both',
  says: 'accepting and delivering at once × 1, with CPU time and memory; then latency at 200 events/s × 1',
  isKey: true,
  isOnce: false,
  fits: needsIngest,
  run: (stand, system, scale) =>
    Session.with(
      stand,
      system,
      { accounts: ACCOUNTS, endpointsEach: 1 },
      async (session): Promise<Figures> => {
        const running = await system.start('both');
        const memory = new MemoryWatch(running.pids());
        try {
          await warmUp(session, running, scale);
          const both = await measureBoth(session, running, scale.bothMs, scale.patienceMs);
          const latencies = await measureLatency(session, running, scale);
          const verdict = await assertKept(session);
          return {
            both: both.rate,
            both_cpu: both.cpuPerThousand,
            both_memory: memory.end(),
            latency_1_p50: percentile(latencies, 0.5),
            latency_1_p99: percentile(latencies, 0.99),
            both_duplicates: verdict.duplicates,
          };
        } finally {
          memory.end();
          await running.stop();
        }
      },
    ),
};

export const latencyTen: Measure = {
  name: 'latency10',
  says: 'latency at 200 events/s × 10',
  isKey: false,
  isOnce: false,
  fits: needsIngest,
  run: (stand, system, scale) =>
    Session.with(stand, system, { accounts: ACCOUNTS, endpointsEach: 10 }, async (session) => {
      const running = await system.start('both');
      try {
        const latencies = await measureLatency(session, running, scale);
        await assertKept(session);
        return {
          latency_10_p50: percentile(latencies, 0.5),
          latency_10_p99: percentile(latencies, 0.99),
        };
      } finally {
        await running.stop();
      }
    }),
};

export const manyAccounts: Measure = {
  name: 'accounts',
  says: 'accepting and delivering at once with 10,000 accounts × 5 endpoints (short form: 1,000 × 5)',
  isKey: false,
  isOnce: true,
  fits: needsIngest,
  run: (stand, system, scale) =>
    Session.with(stand, system, { accounts: scale.accounts, endpointsEach: 5 }, async (session) => {
      const running = await system.start('both');
      try {
        await warmUp(session, running, scale);
        const { rate } = await measureBoth(session, running, scale.bothMs, scale.patienceMs);
        await assertKept(session);
        return { accounts: rate };
      } finally {
        await running.stop();
      }
    }),
};
