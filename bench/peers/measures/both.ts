/** Accepting and delivering at once, and how long a delivery takes at a steady, moderate rate. */
import { latenciesMs, median, percentile, rateBetween, sortedArrivals } from '../figures.ts';
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

/**
 * Medians of {@link measureBoth} over the scale's repeats, from a system that is warm, and the most memory that it held; what was
 * acknowledged must have arrived.
 */
export async function repeatBoth(
  session: Session,
  running: Running,
  scale: Scale,
): Promise<{ rate: number; cpuPerThousand: number; memoryMiB: number }> {
  const memory = new MemoryWatch(running.pids());
  try {
    await warmUp(session, running, scale);
    const rates: number[] = [];
    const cpu: number[] = [];
    for (let repeat = 0; repeat < scale.repeats; repeat += 1) {
      const both = await measureBoth(session, running, scale.bothMs, scale.patienceMs);
      rates.push(both.rate);
      cpu.push(both.cpuPerThousand);
    }
    await assertKept(session);
    return { rate: median(rates), cpuPerThousand: median(cpu), memoryMiB: memory.end() };
  } finally {
    memory.end();
  }
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
        const { rate, cpuPerThousand, memoryMiB } = await repeatBoth(session, running, scale);
        return { accounts: rate, accounts_cpu: cpuPerThousand, accounts_memory: memoryMiB };
      } finally {
        await running.stop();
      }
    }),
};
