import { createHash } from 'node:crypto';
import { readdirSync, readFileSync } from 'node:fs';
import { PosthornError } from '../errors.ts';

export interface Migration {
  version: number;
  name: string;
  sql: string;
  /** SHA-256 of the file: an applied migration must never change. */
  checksum: string;
}

export interface AppliedMigration {
  version: number;
  checksum: string;
}

export interface MigrationReport {
  /** Schema version before and after; 0 is an empty database. */
  from: number;
  to: number;
  applied: string[];
}

/**
 * Reads the numbered migrations (`0001_initial.sql`, …) of an engine, in order.
 *
 * @param directory - a file URL ending in a slash
 * @throws Error when the numbers have a gap: a packaging defect, not a user's mistake
 */
export function readMigrations(directory: URL): Migration[] {
  const files = readdirSync(directory)
    .filter((name) => name.endsWith('.sql'))
    .sort();
  return files.map((name, index) => {
    const version = Number.parseInt(name, 10);
    if (version !== index + 1) throw new Error(`migration ${name} should be number ${index + 1}`);
    const sql = readFileSync(new URL(name, directory), 'utf8');
    return { version, name, sql, checksum: createHash('sha256').update(sql).digest('hex') };
  });
}

/**
 * Decides what is left to apply.
 *
 * @throws PosthornError `unavailable` when the database is newer than this binary, or an applied migration is not the
 * one that this binary knows
 */
export function pendingMigrations(
  known: readonly Migration[],
  applied: readonly AppliedMigration[],
): Migration[] {
  const newest = applied.at(-1)?.version ?? 0;
  if (newest > known.length) {
    throw new PosthornError(
      'unavailable',
      `the database has schema version ${newest}, this version of Posthorn knows ${known.length}: start a newer Posthorn`,
    );
  }
  for (const [index, { version, checksum }] of applied.entries()) {
    if (version !== index + 1 || known[index]?.checksum !== checksum) {
      throw new PosthornError(
        'unavailable',
        `migration ${version} of the database differs from this version's ${known[index]?.name ?? '(none)'}: it was made by another build of Posthorn`,
      );
    }
  }
  return known.slice(newest);
}
