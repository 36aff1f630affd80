/**
 * What auto_explain says of a function's statements, shortened for readers: the beginning of each statement, its plan,
 * and nothing of parts that were never run.
 *
 * @param notices - auto_explain's messages, in order
 */
export function condensePlans(notices: readonly string[]): string {
  const parts: string[] = [];
  for (const notice of notices) {
    const duration = /^duration: ([\d.]+) ms/.exec(notice)?.[1];
    const lines = notice.split('\n');
    const planAt = lines.findIndex((line) => line.includes('(cost='));
    if (duration === undefined || planAt === -1) continue;
    const statement = lines
      .slice(1, planAt)
      .join(' ')
      .replace('Query Text:', '')
      .replaceAll(/\s+/g, ' ')
      .trim();
    // The parts of ids, once a delivery.
    if (statement.startsWith('SELECT substr(') || statement.startsWith('SELECT p_prefix')) continue;
    const plan = withoutUnused(lines.slice(planAt)).map((line) =>
      line.replace(/\(cost=[^)]*\) /, '').trimEnd(),
    );
    parts.push([`-- ${duration} ms: ${statement.slice(0, 110)} …`, ...plan].join('\n'));
  }
  return `${parts.join('\n\n')}\n`;
}

/** Leaves out each node that was never executed, with what is under it. */
function withoutUnused(lines: readonly string[]): string[] {
  const kept: string[] = [];
  let unusedDepth: number | null = null;
  for (const line of lines) {
    const depth = line.search(/\S/);
    if (unusedDepth !== null && depth > unusedDepth) continue;
    unusedDepth = line.includes('(never executed)') ? depth : null;
    if (unusedDepth === null) kept.push(line);
  }
  return kept;
}
