/** How soon a system is ready: empty, and after a SIGKILL under load beside pending deliveries; and what the kill cost. */
import { setTimeout as sleep } from 'node:timers/promises';
import { Session } from '../stand.ts';
import type { Running } from '../system.ts';
import { preciseNow } from '../wire.ts';
import { assertKept } from './assert-kept.ts';
import { type Measure, needsIngest } from './measure.ts';

const ACCOUNTS = 10;
const LOAD_MS = 2500;
const KILL_AFTER_MS = 1500;
/** So many more events after the restart tell that it works when the kill left nothing over. */
const AFTERWARDS = { kind: 'steady' as const, perSecond: 20, forMs: 1000 };

async function timedStart(
  session: Session,
): Promise<{ running: Running; startedAt: number; readyAt: number }> {
  const startedAt = preciseNow();
  const running = await session.system.start('both');
  return { running, startedAt, readyAt: preciseNow() };
}

export const start: Measure = {
  name: 'start',
  says: 'time to ready: empty; after kill -9 under load beside 100 k pending (short form: 20 k); losses and duplicates',
  isKey: false,
  isOnce: false,
  fits: needsIngest,
  run: (stand, system, scale) =>
    Session.with(stand, system, { accounts: ACCOUNTS, endpointsEach: 1 }, async (session) => {
      const empty = await timedStart(session);
      await empty.running.stop();
      await system.fill?.({ finished: 0, pending: scale.pendingAtStart });
      const { running } = await timedStart(session);
      const pace = { kind: 'flat-out' as const, forMs: LOAD_MS, atMost: Number.MAX_SAFE_INTEGER };
      const published = session.publish(running, pace, true);
      await sleep(KILL_AFTER_MS);
      await running.kill();
      const { from, sent } = await published;
      const again = await timedStart(session);
      try {
        await session.publish(again.running, AFTERWARDS);
        await session.allAcknowledgedArrived(scale.patienceMs);
        const verdict = await assertKept(session);
        const { arrivedAt } = await session.report();
        let first = Number.POSITIVE_INFINITY;
        let last = 0;
        for (const [index, at] of arrivedAt.entries()) {
          if (at < again.startedAt) continue;
          first = Math.min(first, at);
          if (index >= from && index < from + sent) last = Math.max(last, at);
        }
        const seconds = (at: number) => Math.max(0, at - again.startedAt) / 1000;
        return {
          ready_empty: (empty.readyAt - empty.startedAt) / 1000,
          ready_killed: seconds(again.readyAt),
          first_delivery: seconds(first),
          recovered: seconds(last),
          killed_missing: verdict.missing,
          killed_duplicates: verdict.duplicates,
        };
      } finally {
        await again.running.stop();
      }
    }),
};
