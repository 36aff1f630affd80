import { type StatsFs, statfsSync } from 'node:fs';
import { dirname } from 'node:path';
import { unavailable } from '../../errors.ts';

const MIB = 1024 * 1024;
/**
 * With less room the store counts as unable to commit, although a small write, such as a readiness check's, still finds
 * place in the write-ahead log: the largest request (5 MiB by default), with its deliveries and indexes, doesn't.
 */
export const NEEDED_BYTES = 8 * MIB;

/**
 * The bytes that are free where that is too few; null where there is enough, and where the file system doesn't say how
 * large it is, as some do that lie on a network.
 *
 * @param isRoot root may use what a file system keeps back
 */
export function shortage(
  { blocks, bavail, bfree, bsize }: Pick<StatsFs, 'blocks' | 'bavail' | 'bfree' | 'bsize'>,
  isRoot: boolean,
): number | null {
  if (blocks === 0) return null;
  const freeBytes = (isRoot ? bfree : bavail) * bsize;
  return freeBytes < NEEDED_BYTES ? freeBytes : null;
}

/**
 * Costs one call of `statfs`, some microseconds.
 *
 * @param path the database file
 * @throws PosthornError `unavailable` when its disk has too little room
 */
export function checkRoom(path: string): void {
  const freeBytes = shortage(statfsSync(dirname(path)), process.getuid?.() === 0);
  if (freeBytes === null) return;
  throw unavailable(
    `the database's disk is full: ${(freeBytes / MIB).toFixed(1)} MiB are free, at least ${NEEDED_BYTES / MIB} are needed; ` +
      'make room, or move the database to a larger disk',
  );
}
