/** Whether a system kept its word: everything that was acknowledged arrived, rightly signed. Pure. */
import type { ReceiverReport } from './receiver.ts';

/** Events that were published together, numbered from `from` on. */
export interface Segment {
  from: number;
  /** By index; NaN where there was no 200. */
  answeredAt: Float64Array;
}

export interface Verdict {
  acknowledgedDeliveries: number;
  missing: number;
  /** Numbers of the first events that are missing somewhere. */
  firstMissing: number[];
  duplicates: number;
  signaturesChecked: number;
  wrongSignatures: number;
  strays: number;
  firstStray: string | null;
}

const SHOWN = 5;

export function checkArrivals(
  segments: readonly Segment[],
  endpointsEach: number,
  report: ReceiverReport,
): Verdict {
  let acknowledgedDeliveries = 0;
  let missing = 0;
  const firstMissing: number[] = [];
  for (const { from, answeredAt } of segments) {
    for (let index = 0; index < answeredAt.length; index += 1) {
      if (Number.isNaN(answeredAt[index])) continue;
      acknowledgedDeliveries += endpointsEach;
      const number = from + index;
      for (let endpoint = 0; endpoint < endpointsEach; endpoint += 1) {
        if ((report.arrivedAt[number * endpointsEach + endpoint] ?? 0) !== 0) continue;
        missing += 1;
        if (firstMissing.length < SHOWN && firstMissing.at(-1) !== number) firstMissing.push(number);
      }
    }
  }
  const { duplicates, signaturesChecked, wrongSignatures, strays, firstStray } = report;
  return {
    acknowledgedDeliveries,
    missing,
    firstMissing,
    duplicates,
    signaturesChecked,
    wrongSignatures,
    strays,
    firstStray,
  };
}

/** What is wrong, as sentences; empty when nothing is. Duplicates are no fault: delivery is at least once. */
export function faultsOf(verdict: Verdict): string[] {
  const faults: string[] = [];
  if (verdict.missing > 0) {
    faults.push(
      `${verdict.missing} of ${verdict.acknowledgedDeliveries} acknowledged deliveries never arrived (events ${verdict.firstMissing.join(', ')} …)`,
    );
  }
  if (verdict.wrongSignatures > 0) {
    faults.push(
      `${verdict.wrongSignatures} of ${verdict.signaturesChecked} signatures that were checked are wrong`,
    );
  }
  if (verdict.acknowledgedDeliveries > 1000 && verdict.signaturesChecked === 0) {
    faults.push('no signature was checked');
  }
  if (verdict.strays > 0) {
    faults.push(
      `${verdict.strays} requests were none of the run's deliveries, such as ${verdict.firstStray}`,
    );
  }
  return faults;
}
