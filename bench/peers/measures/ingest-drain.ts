/** How fast events are accepted while nothing is delivered, and how fast the backlog that this makes is delivered. */
import { rateBetween, sortedArrivals } from '../figures.ts';
import { eventId, makeData, usernameOf } from '../events.ts';
import type { LoadResult } from '../load.ts';
import { cpuSeconds, MemoryWatch } from '../processes.ts';
import { Session } from '../stand.ts';
import { assertKept } from './assert-kept.ts';
import { type Figures, type Measure, needsIngest, type Scale } from './measure.ts';

const ACCOUNTS = 10;
/** CPU time counts from the arrival of this share on: the start of a process is not the cost of a delivery. */
const CPU_FROM_SHARE = 0.1;
/** The drain's rate is that of these shares of the arrivals. */
const RATE_SHARES = { from: 0.1, to: 0.99 };
/** What was delivered may still be waiting for its record, which is part of the cost. */
const SETTLING_MS = 300;

/** Events a second between the first and the last answer. */
export function acceptedPerSecond({ acknowledged, startedAt, endedAt }: LoadResult): number {
  return acknowledged / ((endedAt - startedAt) / 1000);
}

/** @param key - of the figures: the rate, and with `_cpu` and `_memory` what it took */
async function ingest(session: Session, scale: Scale, key: 'ingest_1' | 'ingest_10'): Promise<Figures> {
  const running = await session.system.start('ingest');
  const memory = new MemoryWatch(running.pids());
  try {
    await session.publish(running, { kind: 'flat-out', forMs: scale.warmUpMs, atMost: 5000 });
    const atMost = scale.backlogEvents - session.nextNumber;
    const cpuBefore = cpuSeconds(running.pids());
    const measured = await session.publish(running, { kind: 'flat-out', forMs: scale.ingestMs, atMost });
    const cpu = cpuSeconds(running.pids()) - cpuBefore;
    return {
      [key]: acceptedPerSecond(measured),
      [`${key}_cpu`]: (cpu / measured.acknowledged) * 1000,
      [`${key}_memory`]: memory.end(),
    };
  } finally {
    memory.end();
    await running.stop();
  }
}

/** Gives a system without ingest its backlog. */
async function prepare(session: Session, scale: Scale): Promise<void> {
  const data = makeData();
  const events = Array.from({ length: scale.backlogEvents }, (_, number) => ({
    username: usernameOf(number % session.accounts),
    eventId: eventId(session.run, number),
    data,
  }));
  await session.system.prepare?.(events);
  const answeredAt = new Float64Array(events.length);
  session.note({ answeredAt, sent: events.length, acknowledged: events.length });
}

async function drain(session: Session, scale: Scale): Promise<Figures> {
  const due = session.deliveriesDue;
  const running = await session.system.start('deliver');
  const memory = new MemoryWatch(running.pids());
  try {
    const arrivedBefore = await session.arrivals(Math.floor(due * CPU_FROM_SHARE), scale.patienceMs);
    const cpuBefore = cpuSeconds(running.pids());
    await session.allArrived(scale.patienceMs);
    await new Promise((resolve) => setTimeout(resolve, SETTLING_MS));
    const cpu = cpuSeconds(running.pids()) - cpuBefore;
    await assertKept(session);
    const { arrivedAt } = await session.report();
    const sorted = sortedArrivals(arrivedAt, session.endpointsEach, 0, session.nextNumber);
    return {
      drain: rateBetween(sorted, RATE_SHARES.from, RATE_SHARES.to),
      drain_cpu: (cpu / (due - arrivedBefore)) * 1000,
      drain_memory: memory.end(),
    };
  } finally {
    memory.end();
    await running.stop();
  }
}

export const ingestAndDrain: Measure = {
  name: 'drain',
  says: 'ingest × 1 without delivery, then the drain of that backlog, with CPU time and memory',
  isKey: true,
  isOnce: false,
  fits: () => true,
  run: (stand, system, scale) =>
    Session.with(stand, system, { accounts: ACCOUNTS, endpointsEach: 1 }, async (session) => {
      if (system.prepare !== undefined) {
        await prepare(session, scale);
        return await drain(session, scale);
      }
      return { ...(await ingest(session, scale, 'ingest_1')), ...(await drain(session, scale)) };
    }),
};

export const ingestTen: Measure = {
  name: 'ingest10',
  says: 'ingest × 10 without delivery',
  isKey: false,
  isOnce: false,
  fits: needsIngest,
  run: (stand, system, scale) =>
    Session.with(stand, system, { accounts: ACCOUNTS, endpointsEach: 10 }, (session) =>
      ingest(session, scale, 'ingest_10'),
    ),
};
