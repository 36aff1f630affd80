import type { Session } from '../stand.ts';
import { faultsOf, type Verdict } from '../verdict.ts';

/**
 * Compares what arrived with what was acknowledged.
 *
 * @throws Error when anything is missing or wrongly signed: figures of a system that loses events mean nothing
 */
export async function assertKept(session: Session): Promise<Verdict> {
  const verdict = await session.check();
  const faults = faultsOf(verdict);
  if (faults.length > 0) throw new Error(`${session.system.name}: ${faults.join('; ')}`);
  return verdict;
}
