/**
 * How many single edits (insert, delete, replace, swap of neighbours) turn one text into the other. A swap counts
 * once because it is the commonest slip of the keyboard.
 */
function editDistance(a: string, b: string): number {
  let beforePrevious: number[] = [];
  let previous = Array.from({ length: b.length + 1 }, (_, j) => j);
  for (let i = 1; i <= a.length; i++) {
    const row = [i];
    for (let j = 1; j <= b.length; j++) {
      const replace = (previous[j - 1] as number) + (a[i - 1] === b[j - 1] ? 0 : 1);
      let best = Math.min(replace, (previous[j] as number) + 1, (row[j - 1] as number) + 1);
      if (i > 1 && j > 1 && a[i - 1] === b[j - 2] && a[i - 2] === b[j - 1]) {
        best = Math.min(best, (beforePrevious[j - 2] as number) + 1);
      }
      row.push(best);
    }
    beforePrevious = previous;
    previous = row;
  }
  return previous[b.length] as number;
}

/**
 * The candidate that somebody who wrote `name` most likely meant, or null when none is near: more than two edits in a
 * short name, or more than a third of a long one, is another word rather than a slip.
 *
 * @example
 * nearestName('retry_shedule', ['retention', 'retry_schedule']); // 'retry_schedule'
 */
export function nearestName(name: string, candidates: Iterable<string>): string | null {
  // Longer than any name of ours: comparing it would cost time and find nothing.
  if (name.length > 64) return null;
  const limit = Math.max(2, Math.floor(name.length / 3));
  let nearest: string | null = null;
  let smallest = limit + 1;
  for (const candidate of candidates) {
    const distance = editDistance(name.toLowerCase(), candidate.toLowerCase());
    if (distance < smallest && distance < candidate.length) {
      nearest = candidate;
      smallest = distance;
    }
  }
  return nearest;
}
