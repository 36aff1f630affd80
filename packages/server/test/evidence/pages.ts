/** The pages that say of each hostile or broken thing what comes of it and which test shows it. */
import { readFileSync } from 'node:fs';

export interface Case {
  /** The page's heading under which it stands. */
  kind: string;
  what: string;
  /** In `packages/server/test`; several when a suite runs on both engines. */
  files: string[];
  /** The test's name, with as many of its suites as it takes to be the only one; `…` stands for what differs from run to run. */
  test: string;
}

export interface Page {
  cases: Case[];
  /** As the page itself says it, by heading, with the sum as `all`. */
  counts: Map<string, number>;
}

const ROW = /^\| (?<what>.+?) \| (?:.+?) \| `(?<file>[^`]+)` `(?<test>[^`]+)` \|$/;
const COUNT = /^\| \[?(?<kind>[^\]|]+?)\]?(?:\([^)]*\))? \| (?<count>\d+) \|$/;

/**
 * Reads a page of `docs`.
 *
 * @throws Error for a line of a table of cases that isn't a case
 */
export function readPage(name: string): Page {
  const page: Page = { cases: [], counts: new Map() };
  let kind = '';
  let isTable = false;
  for (const line of readFileSync(new URL(`../../../../docs/${name}`, import.meta.url), 'utf8').split('\n')) {
    if (line.startsWith('## ')) kind = line.slice(3);
    if (!line.startsWith('|')) isTable = false;
    else if (line === '| case | expected | test |') isTable = true;
    else if (isTable && !/^\|[-|]+$/.test(line)) page.cases.push(caseOf(line, kind));
    const count = isTable ? undefined : COUNT.exec(line)?.groups;
    if (count !== undefined) page.counts.set(count.kind as string, Number(count.count));
  }
  return page;
}

function caseOf(line: string, kind: string): Case {
  const row = ROW.exec(line)?.groups as { what: string; file: string; test: string } | undefined;
  if (row === undefined) throw new Error(`not "| case | expected | \`file\` \`test\` |": ${line}`);
  const [, before = row.file, choices, after = ''] = /^(.*)\{(.*)\}(.*)$/.exec(row.file) ?? [];
  const files =
    choices === undefined ? [before] : choices.split(',').map((choice) => before + choice + after);
  return { kind, what: row.what, files, test: row.test };
}

/** As part of a regular expression that means this text. */
function literally(text: string): string {
  return text.replaceAll(/[^\w\s]/g, '\\$&');
}

/** What is wrong with the test that a case names, given all tests of each file; empty when it is there, once. */
export function problemsOf(
  { what, files, test }: Case,
  listed: ReadonlyMap<string, readonly string[]>,
): string[] {
  const pattern = new RegExp(`(^| > )${test.split('…').map(literally).join('.*')}$`);
  return files.flatMap((file) => {
    const found = (listed.get(file) ?? []).filter((name) => pattern.test(name)).length;
    return found === 1 ? [] : [`${what}: ${found} tests of ${file} are called ${test}`];
  });
}
