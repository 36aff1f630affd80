/** What follows an attempt: pure decisions on its result, the schedule and the receiver's wish. */
import type { Settlement } from '../store/store.ts';
import type { RequestResult } from './request.ts';

/** `retry-after` is honoured up to this time (wire contract, section 2). */
export const MAX_RETRY_AFTER_MS = 24 * 60 * 60 * 1000;

const GONE_REASON = 'endpoint answered 410 Gone';

/** RFC 9110's preferred form of a date; the two obsolete ones are not worth the code. */
const HTTP_DATE = /^(Mon|Tue|Wed|Thu|Fri|Sat|Sun), \d{2} [A-Z][a-z]{2} \d{4} \d{2}:\d{2}:\d{2} GMT$/;

export interface OutcomeInput {
  result: Pick<RequestResult, 'outcome' | 'httpStatus' | 'error' | 'retryAfter'>;
  /** Failures since the schedule began, before this attempt. */
  failures: number;
  /** Unix milliseconds at the attempt's end. */
  now: number;
  /** The delay before each retry, in milliseconds. */
  scheduleMs: readonly number[];
  /** How far a delay may stray, as a part of it: 0.1 is ±10 %. */
  jitter: number;
  /** In [0, 1): where between the two ends of the jitter this one lies. */
  random: number;
}

export interface Decision {
  next: Settlement['next'];
  /** Disable the endpoint, for this reason. */
  disableEndpoint?: string;
}

/**
 * What becomes of a delivery after an attempt (wire contract, section 2): any 2xx delivers it, 410 ends it and disables
 * its endpoint, everything else is retried by the schedule, later if a 429 or 503 asks for it, until the schedule ends.
 * An attempt that a dead idle connection cost isn't one of the schedule: the next is due at once (decision 0015).
 *
 * @example
 * decide({ result, failures: 0, now, scheduleMs: [5_000], jitter: 0.1, random: 0.5 }).next;
 * // { status: 'pending', dueAt: now + 5_000 }
 */
export function decide(input: OutcomeInput): Decision {
  const { result, failures, now, scheduleMs, jitter, random } = input;
  if (result.outcome === 'success') return { next: { status: 'delivered' } };
  if (result.httpStatus === 410) {
    return { next: { status: 'dead', reason: GONE_REASON }, disableEndpoint: GONE_REASON };
  }
  if (result.outcome === 'stale_connection') return { next: { status: 'pending', dueAt: now } };
  const scheduled = scheduleMs[failures];
  if (scheduled === undefined) {
    return { next: { status: 'dead', reason: exhausted(scheduleMs.length, result.error) } };
  }
  const delayMs = scheduled * (1 + jitter * (2 * random - 1));
  const asksForTime = result.httpStatus === 429 || result.httpStatus === 503;
  const wishedMs = asksForTime ? retryAfterMs(result.retryAfter, now) : 0;
  return { next: { status: 'pending', dueAt: now + Math.round(Math.max(0, delayMs, wishedMs)) } };
}

function exhausted(retries: number, error: string | null): string {
  const last = error ?? 'the attempt failed';
  if (retries === 0) return `the attempt failed and no retries are configured; last: ${last}`;
  return `all ${retries} retries failed; last: ${last}`;
}

/**
 * Reads `retry-after`, whole seconds or an HTTP date, as milliseconds from `now`, at most {@link MAX_RETRY_AFTER_MS}.
 * 0 for what lies in the past, is negative or is neither.
 *
 * @example
 * retryAfterMs('120', now); // 120_000
 */
export function retryAfterMs(header: string | null, now: number): number {
  const text = header?.trim() ?? '';
  let waitMs = 0;
  if (/^\d+$/.test(text)) waitMs = Number(text) * 1000;
  else if (HTTP_DATE.test(text)) waitMs = Date.parse(text) - now;
  return waitMs > 0 ? Math.min(waitMs, MAX_RETRY_AFTER_MS) : 0;
}
