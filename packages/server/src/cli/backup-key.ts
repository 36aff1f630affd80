/**
 * The encryption key of a backup. Without it the secrets in a backup are lost, so `backup` wants to see it while it is
 * still there, and `restore` before anything is changed.
 */
import { closeSync, fsyncSync, openSync, readFileSync, renameSync, rmSync, writeSync } from 'node:fs';
import { dirname } from 'node:path';
import { type Config, encryptionKeyFile } from '../config.ts';
import { olderKeysFile } from '../key-file.ts';
import { keyId, parseEncryptionKey } from '../secrets.ts';
import type { Database } from '../store/sqlite/database.ts';
import { syncFolder } from './backup-files.ts';
import { CommandError } from './failure.ts';

export interface Key {
  id: string;
  /** Base64. A secret. */
  text: string;
}

/** The keys of one place. There is more than one while secrets are being re-encrypted. */
export interface FoundKeys {
  keys: Key[];
  /** A path, or the name of the setting. */
  place: string;
}

/** What of the configuration says which keys a service would use. */
export type KeySettings = Pick<Config, 'encryptionKey' | 'olderEncryptionKeys'>;

/** The ids of the keys that the database's secrets may be encrypted with; none before a service has opened it. */
export function neededKeyIds(db: Database): string[] {
  const ids = (sql: string) =>
    db
      .prepare<[], { id: string }>(sql)
      .all()
      .map(({ id }) => id);
  const hasTable = ids(`SELECT name AS id FROM sqlite_master WHERE name = 'encryption_key'`).length > 0;
  const now = hasTable ? ids('SELECT key_id AS id FROM encryption_key ORDER BY key_id') : [];
  // The one for new secrets comes first; the first schema knew no other.
  const before = ids(`SELECT value AS id FROM meta WHERE name = 'encryption_key_id'`);
  return [...new Set([...before, ...now])];
}

/**
 * The keys that a service on this database would use: those of the configuration, else those in the files beside it.
 *
 * @returns null when there are none
 * @throws CommandError as {@link readKeys} does
 */
export function serviceKeys(
  { encryptionKey, olderEncryptionKeys }: KeySettings,
  databasePath: string,
): FoundKeys | null {
  const older = olderEncryptionKeys.map(keyOf);
  if (encryptionKey !== null) {
    return { keys: [keyOf(encryptionKey), ...older], place: 'POSTHORN_ENCRYPTION_KEY' };
  }
  const file = encryptionKeyFile(databasePath);
  const inFiles = [readKeys(file), readKeys(olderKeysFile(file))].flatMap((found) => found?.keys ?? []);
  const keys = [...inFiles, ...older];
  return keys.length === 0 ? null : { keys, place: file };
}

/**
 * Reads the keys of a file, one a line; empty lines and those that begin with `#` mean nothing.
 *
 * @returns null when there is no such file
 * @throws CommandError `failed` when it can't be read or holds anything else. The message doesn't repeat the text.
 */
export function readKeys(path: string): FoundKeys | null {
  let text: string;
  try {
    text = readFileSync(path, 'utf8');
  } catch (cause) {
    const { code } = cause as NodeJS.ErrnoException;
    if (code === 'ENOENT') return null;
    const reason = `can't be read (${code ?? 'unknown error'})`;
    throw new CommandError('failed', `the encryption key in ${path} ${reason}`, { cause });
  }
  const lines = text.split('\n').filter((line) => line.trim() !== '' && !line.startsWith('#'));
  try {
    if (lines.length > 0) return { keys: lines.map(keyOf), place: path };
  } catch {
    // Below: its message would be about one line of it.
  }
  throw new CommandError('failed', `${path} holds no encryption key (base64 of exactly 32 bytes)`);
}

function keyOf(text: string): Key {
  return { id: keyId(parseEncryptionKey(text)), text: text.trim() };
}

/** Those that `needed` names, in its order. */
export function chosenKeys(needed: readonly string[], found: FoundKeys): Key[] {
  return needed.flatMap((id) => found.keys.find((key) => key.id === id) ?? []);
}

/** The ids that `needed` has and `found` hasn't. */
export function missingKeyIds(needed: readonly string[], found: FoundKeys | null): string[] {
  return needed.filter((id) => found === null || !found.keys.some((key) => key.id === id));
}

/** `key 1a2b3c4d`, `keys 1a2b3c4d and 5e6f7a8b`. */
export function namedKeys(ids: readonly string[]): string {
  return `${ids.length === 1 ? 'key' : 'keys'} ${ids.join(' and ')}`;
}

/**
 * Writes keys, one a line, for their owner alone, whole or not at all, and brings it to disk.
 *
 * @throws Error of the file system
 */
export function writeKeys(path: string, keys: readonly Key[]): void {
  const unfinished = `${path}.${process.pid}.partial`;
  try {
    const fd = openSync(unfinished, 'wx', 0o600);
    try {
      writeSync(fd, keys.map(({ text }) => `${text}\n`).join(''));
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
