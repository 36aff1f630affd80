/** How far the guide is, for one account. Kept over a reload; what it says is checked against the server. */

export interface Progress {
  key: 'open' | 'made' | 'skipped';
  endpointId: string | null;
  /** Unix seconds: what was published from then on is replayed at the end. */
  startedAt: number | null;
  /** The event that arrives. */
  firstEventId: string | null;
  isBroken: boolean;
  /** The event that fails at first. */
  secondEventId: string | null;
  isFixed: boolean;
  isResent: boolean;
  replayId: string | null;
}

export const NOTHING_YET: Progress = {
  key: 'open',
  endpointId: null,
  startedAt: null,
  firstEventId: null,
  isBroken: false,
  secondEventId: null,
  isFixed: false,
  isResent: false,
  replayId: null,
};

export const STEPS = ['account', 'key', 'endpoint', 'publish', 'break', 'inspect', 'fix', 'replay'] as const;
export type StepName = (typeof STEPS)[number] | 'done';

export interface Seen {
  /** An account is in view. */
  hasAccount: boolean;
  /** The endpoint that the guide made is still there. */
  hasEndpoint: boolean;
  firstDelivered: boolean;
  secondFailed: boolean;
  secondDelivered: boolean;
  replayDone: boolean;
}

/** The present step: the first whose result isn't there. */
export function presentStep(progress: Progress, seen: Seen): StepName {
  if (!seen.hasAccount) return 'account';
  if (progress.key === 'open') return 'key';
  if (progress.endpointId === null || !seen.hasEndpoint) return 'endpoint';
  if (progress.firstEventId === null || !seen.firstDelivered) return 'publish';
  if (progress.secondEventId === null || !(seen.secondFailed || seen.secondDelivered)) return 'break';
  if (!progress.isFixed) return 'inspect';
  if (!seen.secondDelivered) return 'fix';
  return seen.replayDone ? 'done' : 'replay';
}

/** Whether a step lies before, at or after the present one. */
export function stateOf(step: (typeof STEPS)[number], present: StepName): 'done' | 'now' | 'later' {
  if (present === step) return 'now';
  if (present === 'done') return 'done';
  return STEPS.indexOf(step) < STEPS.indexOf(present) ? 'done' : 'later';
}
