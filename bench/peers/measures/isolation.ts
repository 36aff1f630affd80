/** What one hanging endpoint of ten takes from the nine others. */
import { sortedArrivals } from '../figures.ts';
import { Session } from '../stand.ts';
import type { Stand } from '../stand.ts';
import type { System } from '../system.ts';
import { type Measure, needsIngest, type Scale } from './measure.ts';

const ACCOUNTS = 10;
const HANGING = 0;
/** Shorter than the time-out of 5 s, so that the hanging endpoint's first requests are held all through it or end within it. */
const SETTLING_MS = 2000;

/** Arrivals a second at the nine while all ten are published to flat out. */
async function healthyPerSecond(stand: Stand, system: System, scale: Scale, hangs: boolean): Promise<number> {
  return await Session.with(stand, system, { accounts: ACCOUNTS, endpointsEach: 1 }, async (session) => {
    if (hangs) await session.behave([HANGING], 'hang');
    const running = await system.start('both');
    try {
      const forMs = scale.isolationMs + SETTLING_MS;
      const pace = { kind: 'flat-out' as const, forMs, atMost: Number.MAX_SAFE_INTEGER };
      const { startedAt } = await session.publish(running, pace);
      const { arrivedAt } = await session.report();
      const healthy = arrivedAt.map((at, number) => (number % ACCOUNTS === HANGING ? 0 : at));
      const [from, to] = [startedAt + SETTLING_MS, startedAt + forMs];
      const within = sortedArrivals(healthy, 1, 0, session.nextNumber).filter((at) => at >= from && at < to);
      return within.length / (scale.isolationMs / 1000);
    } finally {
      // What hangs would hold up a stop in order.
      await running.kill();
    }
  });
}

export const isolation: Measure = {
  name: 'isolation',
  says: 'ten endpoints flat out, one of them hanging: throughput of the nine against none hanging',
  isKey: false,
  isOnce: false,
  fits: needsIngest,
  async run(stand, system, scale) {
    const alone = await healthyPerSecond(stand, system, scale, false);
    const beside = await healthyPerSecond(stand, system, scale, true);
    return { isolation: beside / alone };
  },
};
