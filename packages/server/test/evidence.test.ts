/** Holds docs/security.md and docs/reliability.md: each case names a test that exists, and they are counted right. */
import assert from 'node:assert/strict';
import { execFile } from 'node:child_process';
import { before, describe, it } from 'node:test';
import { fileURLToPath } from 'node:url';
import { promisify } from 'node:util';

import { type Case, type Page, problemsOf, readPage } from './evidence/pages.ts';

const PAGES = ['security.md', 'reliability.md'];
const LIST = fileURLToPath(new URL('./evidence/list.ts', import.meta.url));
/** What the two pages have together, at the least. */
const LEAST_CASES = 150;

/** The names of all tests in these files, tables and suites for both engines included; none of them runs. */
async function listTests(files: readonly string[]): Promise<Map<string, string[]>> {
  const paths = files.map((file) => fileURLToPath(new URL(file, import.meta.url)));
  const { stdout } = await promisify(execFile)(process.execPath, [LIST, ...paths], { maxBuffer: 2 ** 26 });
  const listed = JSON.parse(stdout) as Record<string, string[]>;
  return new Map(files.map((file, i) => [file, listed[paths[i] as string] ?? []]));
}

describe('the pages of evidence', () => {
  let pages: Page[];
  let cases: Case[];
  let listed: Map<string, string[]>;

  before(async () => {
    pages = PAGES.map(readPage);
    cases = pages.flatMap((page) => page.cases);
    listed = await listTests([...new Set(cases.flatMap(({ files }) => files))]);
  });

  it('name tests that exist, each by a name that no other test of its file has', () => {
    assert.deepEqual(
      cases.flatMap((each) => problemsOf(each, listed)),
      [],
    );
  });

  it('say how many cases each class has, and how many there are', () => {
    for (const { cases: own, counts } of pages) {
      const expected = new Map<string, number>();
      for (const { kind } of own) expected.set(kind, (expected.get(kind) ?? 0) + 1);
      expected.set('all', own.length);
      assert.deepEqual([...counts], [...expected]);
    }
    assert.ok(cases.length >= LEAST_CASES, `${cases.length} cases`);
  });

  it('have no case twice', () => {
    const keys = cases.map(({ kind, what }) => `${kind}: ${what}`);
    assert.deepEqual(
      keys.filter((key, i) => keys.indexOf(key) !== i),
      [],
    );
  });

  it('would be found out with a test that is not there, or that could be one of two', () => {
    const wanted: Case = { kind: 'URLs', what: 'a case', files: ['sign.test.ts'], test: 'of no such name' };
    assert.equal(problemsOf(wanted, listed).length, 1);
    assert.equal(problemsOf({ ...wanted, test: 'refuses another body, id or timestamp' }, listed).length, 1);
    assert.deepEqual(problemsOf({ ...wanted, test: 'holds 24 to … bytes' }, listed), []);
  });
});
