/**
 * The encryption key beside an SQLite database: `encryption.key` holds the key of now, and `encryption.key.old` those
 * of before, one a line, which open what a backup of before holds. Both are readable by their owner alone.
 */
import { open, readFile, rename } from 'node:fs/promises';
import { dirname } from 'node:path';
import { PosthornError } from './errors.ts';
import { createEncryptionKey, keyId, parseEncryptionKey } from './secrets.ts';

/** Where the keys of before are kept, beside the one of now. */
export function olderKeysFile(file: string): string {
  return `${file}.old`;
}

/**
 * The key of a file; null when there is none.
 *
 * @throws PosthornError `invalid_parameter` when the file holds none. The message doesn't repeat what it holds.
 */
export async function readKeyFile(file: string): Promise<Buffer | null> {
  const text = await textOf(file);
  return text === null ? null : parsed(text, file);
}

/**
 * The keys of before, that of `file` aside; none when there is no such file. Empty lines and those that begin with `#`
 * mean nothing.
 *
 * @throws PosthornError `invalid_parameter` when a line holds something else
 */
export async function readOlderKeys(file: string): Promise<Buffer[]> {
  const text = await textOf(olderKeysFile(file));
  if (text === null) return [];
  const lines = text.split('\n').map((line) => line.trim());
  return lines
    .filter((line) => line !== '' && !line.startsWith('#'))
    .map((line) => parsed(line, olderKeysFile(file)));
}

/** Makes a key and writes it where none is. On disk when it resolves, before anything is encrypted with it. */
export async function makeKeyFile(file: string): Promise<Buffer> {
  const text = createEncryptionKey();
  await writeWhole(file, `${text}\n`);
  return parseEncryptionKey(text);
}

/**
 * Makes a key for the file, and puts the one that is there to those of before: first, so that no crash loses it.
 *
 * @param nowMs - for the note beside the key of before
 */
export async function replaceKeyFile(file: string, nowMs: number): Promise<Buffer> {
  const present = await readKeyFile(file);
  if (present !== null) {
    const older = (await textOf(olderKeysFile(file))) ?? '';
    const line = present.toString('base64');
    if (!older.split('\n').includes(line)) {
      const note = `# ${keyId(present)}, until ${new Date(nowMs).toISOString()}: only what was backed up before needs it`;
      const before = older === '' || older.endsWith('\n') ? older : `${older}\n`;
      await writeWhole(olderKeysFile(file), `${before}${note}\n${line}\n`);
    }
  }
  return makeKeyFile(file);
}

async function textOf(file: string): Promise<string | null> {
  try {
    return await readFile(file, 'utf8');
  } catch (error) {
    if ((error as NodeJS.ErrnoException).code === 'ENOENT') return null;
    throw error;
  }
}

function parsed(text: string, file: string): Buffer {
  try {
    return parseEncryptionKey(text);
  } catch (cause) {
    throw new PosthornError(
      'invalid_parameter',
      `${file} doesn't hold an encryption key (base64 of exactly 32 bytes): restore it from your backup.`,
      { field: 'encryption_key', cause },
    );
  }
}

/** Readable by this user alone, and whole or not there at all: half a key is one that no later start replaces. */
async function writeWhole(file: string, text: string): Promise<void> {
  const unfinished = `${file}.new`;
  const handle = await open(unfinished, 'w', 0o600);
  try {
    await handle.chmod(0o600);
    await handle.writeFile(text);
    await handle.sync();
  } finally {
    await handle.close();
  }
  await rename(unfinished, file);
  // Windows can't open folders, and needs no such sync.
  if (process.platform === 'win32') return;
  const parent = await open(dirname(file), 'r');
  try {
    await parent.sync();
  } finally {
    await parent.close();
  }
}
