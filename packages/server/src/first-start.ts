/** What the first start on a database makes, and what every start checks: the encryption key and the operator's key. */
import { type Clock, idFactory } from './clock.ts';
import { PosthornError } from './errors.ts';
import { makeKeyFile, readKeyFile, readOlderKeys } from './key-file.ts';
import type { AuditActor } from './model.ts';
import { createApiKey, hashApiKey, keyPrefix, parseEncryptionKey, Vault } from './secrets.ts';
import type { Store } from './store/store.ts';

const ENCRYPTION_KEY_META = 'encryption_key_id';
const FIRST_OPERATOR_KEY_NAME = 'first operator key';

export interface EncryptionKeySource {
  /** Base64; null: in `file`. */
  key: string | null;
  /** Base64: further keys to open values with. */
  older: readonly string[];
  /** Where the first start puts the key that it makes; null only beside a `key`. */
  file: string | null;
  /** How the configuration calls the settings. */
  setting: string;
  olderSetting: string;
  /** The database as it may be shown. */
  database: string;
}

/**
 * The vault of the database's secrets, by the keys of the configuration, or of the file that the first start makes. New
 * values are sealed with the key that the database names, until a rotation makes the configured one that.
 *
 * @throws PosthornError when a key is missing or damaged that the data was written with: that would show only at a
 *   delivery, when events have been accepted already
 */
export async function openVault(
  store: Pick<Store, 'getMeta' | 'announceEncryptionKeys'>,
  source: EncryptionKeySource,
): Promise<Vault> {
  const { key, older, file, setting, olderSetting, database } = source;
  const vault = new Vault(await readKey(store, source), {
    older: [
      ...older.map(parseEncryptionKey),
      ...(key === null && file !== null ? await readOlderKeys(file) : []),
    ],
  });
  const { activeId, olderIds } = await store.announceEncryptionKeys(vault.keyIds, vault.sealsWith);
  if (!vault.knows(activeId)) {
    throw new PosthornError(
      'invalid_parameter',
      `The data in ${database} was written with encryption key ${activeId}, but ` +
        `${key === null ? file : `the configuration (${setting})`} has key ${vault.keyId}: give the key that belongs to the data.`,
      { field: 'encryption_key' },
    );
  }
  const missing = olderIds.filter((id) => !vault.knows(id));
  if (missing.length > 0) {
    throw new PosthornError(
      'invalid_parameter',
      `Some of the data in ${database} is still encrypted with key ${missing.join(' and ')}, which isn't here: give it as ` +
        `${olderSetting} until posthorn secrets rotate-key says that nothing needs it any more.`,
      { field: 'encryption_key_old' },
    );
  }
  vault.sealWith(activeId);
  return vault;
}

async function readKey(store: Pick<Store, 'getMeta'>, source: EncryptionKeySource): Promise<Buffer> {
  const { key, file, setting, database } = source;
  if (key !== null) return parseEncryptionKey(key);
  if (file === null) {
    throw new PosthornError('invalid_parameter', `${setting} is required for ${database}.`, {
      field: 'encryption_key',
    });
  }
  const found = await readKeyFile(file);
  if (found !== null) return found;
  const expected = await store.getMeta(ENCRYPTION_KEY_META);
  if (expected !== null) {
    throw new PosthornError(
      'invalid_parameter',
      `The encryption key ${expected} is missing, with which the data in ${database} was written: restore ` +
        `${file} from your backup, or set ${setting} to that key.`,
      { field: 'encryption_key' },
    );
  }
  return makeKeyFile(file);
}

/** In whose name the service changes what nobody asked it to. */
export function serviceActor(via: string): AuditActor {
  return {
    kind: 'service',
    keyId: null,
    username: null,
    via,
    requestId: null,
    remoteAddress: null,
    through: null,
  };
}

/**
 * Makes the key by which everything else is set up, unless a usable one of that level is there. Of several nodes that
 * start at once on an empty database one makes it and gets it here; the others get null.
 */
export async function makeFirstOperatorKey(
  store: Pick<Store, 'as'>,
  clock: Pick<Clock, 'now'>,
): Promise<string | null> {
  const key = createApiKey();
  const isMade = await store.as(serviceActor('first start')).createFirstOperatorKey({
    keyId: idFactory()('key', clock.now()),
    name: FIRST_OPERATOR_KEY_NAME,
    scopes: ['operator'],
    prefix: keyPrefix(key),
    expiresAt: null,
    hash: hashApiKey(key),
  });
  return isMade ? key : null;
}
