/** What a long history and a long queue of retries take from what is new. */
import { Session, type Stand } from '../stand.ts';
import type { System } from '../system.ts';
import { repeatBoth } from './both.ts';
import { type Measure, needsIngest, type Scale } from './measure.ts';

const ACCOUNTS = 10;

async function throughput(
  stand: Stand,
  system: System,
  scale: Scale,
  isFull: boolean,
): ReturnType<typeof repeatBoth> {
  return await Session.with(stand, system, { accounts: ACCOUNTS, endpointsEach: 1 }, async (session) => {
    if (isFull) await system.fill?.(scale.stored);
    const running = await system.start('both');
    try {
      return await repeatBoth(session, running, scale);
    } finally {
      await running.stop();
    }
  });
}

export const stored: Measure = {
  name: 'stored',
  says: 'both at once beside 1 M finished and 1 M pending deliveries (short form: 100 k each), against empty',
  isKey: false,
  isOnce: true,
  fits(system) {
    if (system.fill === undefined) return 'it can’t be filled in bulk';
    return needsIngest(system);
  },
  async run(stand, system, scale) {
    const empty = await throughput(stand, system, scale, false);
    const full = await throughput(stand, system, scale, true);
    return {
      stored: full.rate / empty.rate,
      stored_full: full.rate,
      stored_empty: empty.rate,
      stored_cpu: full.cpuPerThousand,
      stored_memory: full.memoryMiB,
    };
  },
};
