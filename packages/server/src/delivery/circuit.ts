/** When endpoints that keep failing are probed: what the dispatcher adds to the policy that the store goes by. */
import type { CircuitPolicy } from '../store/store.ts';

/**
 * The policy with each pause moved a little, as retries are: what failed together (a network that was away) is not probed
 * together for ever.
 *
 * @param jitter - how far a pause may stray, as a part of it: 0.1 is ±10 %
 * @param random - in [0, 1): where between the two ends this call's pauses lie
 *
 * @example
 * jittered({ ...policy, pausesMs: [10_000, 60_000] }, 0.1, 0.75).pausesMs; // [10_500, 63_000]
 */
export function jittered(policy: CircuitPolicy, jitter: number, random: number): CircuitPolicy {
  const factor = 1 + jitter * (2 * random - 1);
  return { ...policy, pausesMs: policy.pausesMs.map((pauseMs) => Math.round(pauseMs * factor)) };
}
