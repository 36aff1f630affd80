import { mkdtemp, rm } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';

export interface TempDir {
  /** Absolute, empty at first, of its maker alone (mode 700). */
  readonly path: string;
  /** Removes it with all that is in it; once more does nothing. */
  remove(): Promise<void>;
}

/**
 * A new folder for one test.
 *
 * @example
 * const dir = await tempDir();
 * t.after(() => dir.remove());
 */
export async function tempDir(): Promise<TempDir> {
  const path = await mkdtemp(join(tmpdir(), 'posthorn-test-'));
  return {
    path,
    // Windows and busy disks may hold a file for a moment after it was closed.
    remove: () => rm(path, { recursive: true, force: true, maxRetries: 5, retryDelay: 50 }),
  };
}
