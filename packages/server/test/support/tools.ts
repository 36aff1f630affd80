/** Programs that npm doesn't bring. `.ci/run` installs them; on a machine without them a test says that it was skipped, and why. */
import { accessSync, constants } from 'node:fs';
import { delimiter, join } from 'node:path';
import type { TestContext } from 'node:test';

/** The path of a program that the shell would find; null without it. */
export function findProgram(name: string): string | null {
  for (const folder of (process.env.PATH ?? '').split(delimiter)) {
    const path = join(folder, name);
    try {
      accessSync(path, constants.X_OK);
      return path;
    } catch {
      // Not there.
    }
  }
  return null;
}

/**
 * Skips the test when it lacks something, and fails it where `POSTHORN_TEST_TOOLS` is `required`, as in CI: there a check
 * that quietly doesn't run is one that nobody has.
 *
 * @param missing - what the machine lacks and how to get it; null when nothing
 * @returns whether the test is skipped
 */
export function skipsWithout(t: TestContext, missing: string | null): boolean {
  if (missing === null) return false;
  if (process.env.POSTHORN_TEST_TOOLS === 'required') throw new Error(missing);
  t.skip(missing);
  return true;
}
