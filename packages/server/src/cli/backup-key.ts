/**
 * The encryption key of a backup. Without it the secrets in a backup are lost, so `backup` wants to see it while it is
 * still there, and `restore` before anything is changed.
 */
import { closeSync, fsyncSync, openSync, readFileSync, renameSync, rmSync, writeSync } from 'node:fs';
import { dirname } from 'node:path';
import { keyId, parseEncryptionKey } from '../secrets.ts';
import type { Database } from '../store/sqlite/database.ts';
import { syncFolder } from './backup-files.ts';
import { CommandError } from './failure.ts';

/** The keys of one place. There is more than one while secrets are being re-encrypted. */
export interface FoundKeys {
  ids: string[];
  /** Base64, one a line. A secret. */
  text: string;
  /** Where they were found: a path, or the name of the setting. */
  place: string;
}

interface Id {
  id: string;
}

/** The ids of the keys that the database's secrets may be encrypted with; none before a service has opened it. */
export function neededKeyIds(db: Database): string[] {
  // The first schema knew one key, by its name in `meta`.
  const before = db.prepare<[], Id>(`SELECT value AS id FROM meta WHERE name = 'encryption_key_id'`).all();
  const hasTable =
    db.prepare(`SELECT 1 FROM sqlite_master WHERE name = 'encryption_key'`).get() !== undefined;
  const now = hasTable
    ? db.prepare<[], Id>('SELECT key_id AS id FROM encryption_key ORDER BY since, key_id').all()
    : [];
  return [...new Set([...before, ...now].map(({ id }) => id))];
}

/**
 * Reads the keys of a file, one a line.
 *
 * @returns null when there is no such file
 * @throws CommandError `failed` when it can't be read or holds anything else. The message doesn't repeat the text.
 */
export function readKeyFile(path: string): FoundKeys | null {
  let text: string;
  try {
    text = readFileSync(path, 'utf8');
  } catch (error) {
    const { code } = error as NodeJS.ErrnoException;
    if (code === 'ENOENT') return null;
    throw new CommandError(
      'failed',
      `the encryption key in ${path} can't be read (${code ?? 'unknown error'})`,
      {
        cause: error,
      },
    );
  }
  try {
    return keysOf(text.split('\n'), path);
  } catch (cause) {
    throw new CommandError('failed', `${path} holds no encryption key (base64 of exactly 32 bytes)`, {
      cause,
    });
  }
}

/** The keys that the configuration gives, which have been checked to be keys; null when it gives none. */
export function configuredKeys(texts: readonly string[]): FoundKeys | null {
  return texts.length === 0 ? null : keysOf(texts, 'POSTHORN_ENCRYPTION_KEY');
}

function keysOf(texts: readonly string[], place: string): FoundKeys {
  const keys = texts.map((text) => text.trim()).filter((text) => text !== '');
  if (keys.length === 0) throw new Error('there is no key');
  return { ids: keys.map((text) => keyId(parseEncryptionKey(text))), text: keys.join('\n'), place };
}

/** The ids that `needed` has and `found` hasn't. */
export function missingKeyIds(needed: readonly string[], found: FoundKeys | null): string[] {
  return needed.filter((id) => found === null || !found.ids.includes(id));
}

/** `key 1a2b3c4d`, `keys 1a2b3c4d and 5e6f7a8b`. */
export function namedKeys(ids: readonly string[]): string {
  return `${ids.length === 1 ? 'key' : 'keys'} ${ids.join(' and ')}`;
}

/**
 * Writes keys for its owner alone, whole or not at all, and brings it to disk.
 *
 * @throws Error of the file system
 */
export function writeKeys(path: string, text: string): void {
  const unfinished = `${path}.${process.pid}.partial`;
  try {
    const fd = openSync(unfinished, 'wx', 0o600);
    try {
      writeSync(fd, `${text}\n`);
      fsyncSync(fd);
    } finally {
      closeSync(fd);
    }
    renameSync(unfinished, path);
  } finally {
    rmSync(unfinished, { force: true });
  }
  syncFolder(dirname(path));
}
