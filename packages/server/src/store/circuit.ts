/**
 * When an endpoint is probed instead of served, told of and given up: pure, what the engines hold to. SQLite runs this;
 * PostgreSQL's `posthorn.judge_endpoints` is its twin in the database, and one suite holds both to the same.
 */
import type { Attempt, AttemptOutcome } from '../model.ts';
import type { CircuitPolicy } from './store.ts';

/** `endpoint.failing` is told of one endpoint at most once in so long, and `endpoint.recovered` as often. */
export const TELL_EVERY_MS = 600_000;

/** What is kept of an endpoint that fails, or did a short while ago. */
export interface FailingEndpoint {
  /** In a row, over all its deliveries; 0: it has recovered since. */
  failures: number;
  /** Unix ms: the first of them. */
  since: number;
  /** Unix ms: when the oldest delivery was made that failed since. */
  oldest: number;
  /** How many probes have failed. */
  probes: number;
  /** The next probe's time at the earliest; null: the lane is open. */
  probeAt: number | null;
  /** Whether `endpoint.failing` was sent for this time. */
  told: boolean;
  toldAt: number | null;
  last: LastFailure;
}

export interface LastFailure {
  at: number;
  outcome: AttemptOutcome;
  httpStatus: number | null;
  error: string | null;
}

/** What the attempts of one endpoint that are settled together say of it. */
export interface Attempted {
  /** Whether one of them succeeded. */
  succeeded: boolean;
  /** Failures that count against it, after the last success. */
  failures: number;
  /** The last of them, and when the oldest of their deliveries was made; null without one. */
  last: LastFailure | null;
  oldest: number | null;
}

export interface Judgement {
  /** What is to be kept of it; null: nothing. */
  row: FailingEndpoint | null;
  /** Its lane shrank to probes, or opened again. */
  lane: 'probing' | 'open' | null;
  tell: { recovered: FailingEndpoint | null; failing: boolean };
  /** It is to be disabled, for this reason. */
  disable: string | null;
}

export function failureOf({ startedAt, outcome, httpStatus, error }: Attempt): LastFailure {
  return { at: startedAt, outcome, httpStatus, error };
}

/** The pause after the given number of failed probes, in ms. */
function pauseMs({ pausesMs }: CircuitPolicy, probes: number): number {
  return pausesMs[Math.min(probes, pausesMs.length - 1)] ?? 0;
}

/**
 * Judges an endpoint by attempts that ended. A success opens its lane and begins its count anew. Failures in a row shrink
 * it to probes; a failure before the next probe is due is one of an attempt that was under way already, or that a person
 * asked for, and lengthens no pause.
 *
 * @param before - what was kept of it; null: nothing
 */
export function judge(
  before: FailingEndpoint | null,
  attempted: Attempted,
  policy: CircuitPolicy,
  now: number,
): Judgement {
  let row = before;
  const judgement: Judgement = {
    row: before,
    lane: null,
    tell: { recovered: null, failing: false },
    disable: null,
  };
  if (attempted.succeeded && row !== null && row.failures > 0) {
    if (row.probeAt !== null) judgement.lane = 'open';
    if (row.told) judgement.tell.recovered = row;
    row = { ...row, failures: 0, probes: 0, probeAt: null, told: false };
    judgement.row = row.toldAt !== null && now - row.toldAt < TELL_EVERY_MS ? row : null;
  }
  if (attempted.failures === 0 || attempted.last === null || attempted.oldest === null) return judgement;

  const { last, oldest } = attempted;
  row =
    row !== null && row.failures > 0
      ? { ...row, failures: row.failures + attempted.failures, oldest: Math.min(row.oldest, oldest), last }
      : {
          failures: attempted.failures,
          since: now,
          oldest,
          probes: 0,
          probeAt: null,
          told: false,
          toldAt: row?.toldAt ?? null,
          last,
        };
  if (row.probeAt === null) {
    if (row.failures >= policy.probeAfter) {
      row.probeAt = now + pauseMs(policy, 0);
      judgement.lane = 'probing';
    }
  } else if (now >= row.probeAt) {
    row.probes += 1;
    row.probeAt = now + pauseMs(policy, row.probes);
  }
  if (row.probeAt !== null) {
    if (!row.told && (row.toldAt === null || now - row.toldAt >= TELL_EVERY_MS)) {
      row.told = true;
      row.toldAt = now;
      judgement.tell.failing = true;
    }
    if (policy.disableAfterMs !== null && now - row.since >= policy.disableAfterMs) {
      judgement.disable = withLastError(policy.disableReason, last);
    }
  }
  judgement.row = row;
  return judgement;
}

function withLastError(reason: string, { error, outcome }: LastFailure): string {
  return `${reason}; last: ${error ?? outcome}`;
}
