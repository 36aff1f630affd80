/** Figures from times. Pure. */

/** Times of the arrivals of the events from `from` on, sorted; 0 (never arrived) is left out. */
export function sortedArrivals(
  arrivedAt: Float64Array,
  endpointsEach: number,
  from: number,
  to: number,
): Float64Array {
  return arrivedAt
    .slice(from * endpointsEach, to * endpointsEach)
    .filter((at) => at > 0)
    .sort();
}

/**
 * A second's worth of arrivals between two shares of them, such as from the first tenth to the last hundredth: how a
 * process warms up, and a single late retry, are not its throughput.
 */
export function rateBetween(sorted: Float64Array, fromShare: number, toShare: number): number {
  const first = Math.floor((sorted.length - 1) * fromShare);
  const last = Math.floor((sorted.length - 1) * toShare);
  const seconds = ((sorted[last] ?? 0) - (sorted[first] ?? 0)) / 1000;
  return seconds > 0 ? (last - first) / seconds : Number.NaN;
}

/**
 * How long after its publish answer each delivery arrived, in milliseconds, sorted. One that overtook its answer took 0:
 * nobody waited for it.
 *
 * @param skip - so many first events are left out
 */
export function latenciesMs(
  answeredAt: Float64Array,
  arrivedAt: Float64Array,
  endpointsEach: number,
  from: number,
  skip: number,
): Float64Array {
  const latencies: number[] = [];
  for (let index = skip; index < answeredAt.length; index += 1) {
    const answered = answeredAt[index] ?? Number.NaN;
    for (let endpoint = 0; endpoint < endpointsEach; endpoint += 1) {
      const arrived = arrivedAt[(from + index) * endpointsEach + endpoint] ?? 0;
      if (arrived > 0 && !Number.isNaN(answered)) latencies.push(Math.max(0, arrived - answered));
    }
  }
  return Float64Array.from(latencies).sort();
}

/** The value below which `share` of the sorted ones lie; NaN without any. */
export function percentile(sorted: Float64Array, share: number): number {
  return sorted[Math.min(sorted.length - 1, Math.floor(sorted.length * share))] ?? Number.NaN;
}

/** The middle value, or the mean of the two middle ones; NaN without any. */
export function median(values: readonly number[]): number {
  const sorted = values.filter((value) => !Number.isNaN(value)).sort((a, b) => a - b);
  const middle = sorted.length / 2;
  const upper = sorted[Math.floor(middle)];
  const lower = sorted[Math.ceil(middle) - 1];
  return upper === undefined || lower === undefined ? Number.NaN : (upper + lower) / 2;
}
