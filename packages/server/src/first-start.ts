/** What the first start on a database makes, and what every start checks: the encryption key and the operator's key. */
import { open, readFile, rename } from 'node:fs/promises';
import { dirname } from 'node:path';
import { type Clock, idFactory } from './clock.ts';
import { PosthornError } from './errors.ts';
import {
  createApiKey,
  createEncryptionKey,
  hashApiKey,
  keyPrefix,
  parseEncryptionKey,
  Vault,
} from './secrets.ts';
import type { Store } from './store/store.ts';

const ENCRYPTION_KEY_META = 'encryption_key_id';
const FIRST_OPERATOR_KEY_NAME = 'first operator key';

export interface EncryptionKeySource {
  /** Base64; null: in `file`. */
  key: string | null;
  /** Where the first start puts the key that it makes; null only beside a `key`. */
  file: string | null;
  /** How the configuration calls the setting. */
  setting: string;
  /** The database as it may be shown. */
  database: string;
}

/**
 * The vault of the database's secrets, by the key of the configuration, or of the file that the first start makes.
 *
 * @throws PosthornError when the key is missing or damaged, or isn't the one that the data was written with: that would
 *   show only at the first delivery, when events have been accepted already
 */
export async function openVault(
  store: Pick<Store, 'getMeta' | 'initMeta'>,
  source: EncryptionKeySource,
): Promise<Vault> {
  const vault = new Vault(await readKey(store, source));
  const expected = await store.initMeta(ENCRYPTION_KEY_META, vault.keyId);
  if (expected === vault.keyId) return vault;
  const { key, file, setting, database } = source;
  throw new PosthornError(
    'invalid_parameter',
    `The data in ${database} was written with encryption key ${expected}, but ` +
      `${key === null ? file : `the configuration (${setting})`} has key ${vault.keyId}: give the key that belongs to the data.`,
    { field: 'encryption_key' },
  );
}

async function readKey(store: Pick<Store, 'getMeta'>, source: EncryptionKeySource): Promise<Buffer> {
  const { key, file, setting, database } = source;
  if (key !== null) return parseEncryptionKey(key);
  if (file === null) {
    throw new PosthornError('invalid_parameter', `${setting} is required for ${database}.`, {
      field: 'encryption_key',
    });
  }
  let text: string;
  try {
    text = await readFile(file, 'utf8');
  } catch (error) {
    if ((error as NodeJS.ErrnoException).code !== 'ENOENT') throw error;
    const expected = await store.getMeta(ENCRYPTION_KEY_META);
    if (expected !== null) {
      throw new PosthornError(
        'invalid_parameter',
        `The encryption key ${expected} is missing, with which the data in ${database} was written: restore ` +
          `${file} from your backup, or set ${setting} to that key.`,
        { field: 'encryption_key' },
      );
    }
    text = createEncryptionKey();
    await writeKeyFile(file, text);
  }
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

/** Readable by this user alone, and on disk before anything is encrypted with it. */
async function writeKeyFile(file: string, key: string): Promise<void> {
  // Renamed when it is whole: a crash in between would leave half a key that no later start replaces.
  const unfinished = `${file}.new`;
  const handle = await open(unfinished, 'w', 0o600);
  try {
    await handle.chmod(0o600);
    await handle.writeFile(`${key}\n`);
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

/**
 * Makes the key by which everything else is set up, unless a usable one of that level is there. Of several nodes that
 * start at once on an empty database one makes it and gets it here; the others get null.
 */
export async function makeFirstOperatorKey(
  store: Pick<Store, 'createFirstOperatorKey'>,
  clock: Pick<Clock, 'now'>,
): Promise<string | null> {
  const key = createApiKey();
  const isMade = await store.createFirstOperatorKey({
    keyId: idFactory()('key', clock.now()),
    name: FIRST_OPERATOR_KEY_NAME,
    scopes: ['operator'],
    prefix: keyPrefix(key),
    expiresAt: null,
    hash: hashApiKey(key),
  });
  return isMade ? key : null;
}
