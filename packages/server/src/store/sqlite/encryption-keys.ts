import { PosthornError } from '../../errors.ts';
import { decodeCursor, pageOf } from '../cursor.ts';
import {
  ACTIVE_KEY_META,
  anySealedWith,
  type EncryptionKeyRow,
  SEALED_COLUMNS,
  sealedWith,
  type SealedRow,
  toEncryptionKeys,
  toSealedValues,
} from '../encryption-keys.ts';
import type { EncryptionKeys, Resealing } from '../store.ts';
import type { EngineContext, SyncStore } from './engine.ts';

const ACTIVE_KEY = `(SELECT value FROM meta WHERE name = '${ACTIVE_KEY_META}')`;

/** Selects {@link EncryptionKeyRow}, oldest first. */
export const ENCRYPTION_KEYS = `SELECT key_id, key_id = ${ACTIVE_KEY} AS active FROM encryption_key ORDER BY since, key_id`;

/** One process has the file open, so what it tells of itself is known already. */
export function encryptionKeyOperations({
  db,
  now,
}: EngineContext): Pick<
  SyncStore,
  | 'announceEncryptionKeys'
  | 'activateEncryptionKey'
  | 'retireEncryptionKey'
  | 'countSealed'
  | 'listResealable'
  | 'reseal'
> {
  const all = db.prepare<[], EncryptionKeyRow>(ENCRYPTION_KEYS);
  const add = db.prepare<[string, number]>(
    'INSERT INTO encryption_key (key_id, since) VALUES (?, ?) ON CONFLICT DO NOTHING',
  );
  const initActive = db.prepare<[string]>(
    `INSERT INTO meta (name, value) VALUES ('${ACTIVE_KEY_META}', ?) ON CONFLICT DO NOTHING`,
  );
  const addActive = db.prepare<[number]>(
    `INSERT INTO encryption_key (key_id, since) SELECT value, ? FROM meta WHERE name = '${ACTIVE_KEY_META}'`,
  );
  const setActive = db.prepare<[string]>(`UPDATE meta SET value = ? WHERE name = '${ACTIVE_KEY_META}'`);
  const retire = db.prepare<[string]>(
    `DELETE FROM encryption_key WHERE key_id = ? AND key_id <> ${ACTIVE_KEY}`,
  );
  const isInUse = db.prepare<{ id: string }>(
    `SELECT 1 FROM endpoint WHERE ${anySealedWith('= @id')} LIMIT 1`,
  );
  // The table's key, in order: one pass over it, however many pages.
  const resealable = db.prepare<[string, string, number], SealedRow>(
    `SELECT username, endpoint_id, secret, previous_secret, headers FROM endpoint
     WHERE (username, endpoint_id) > (?, ?)
       AND ${anySealedWith(`<> ${ACTIVE_KEY}`)}
     ORDER BY username, endpoint_id LIMIT ?`,
  );
  const count = db.prepare<[], { key_id: string; n: number }>(
    `SELECT key_id, count(*) AS n FROM (${Object.values(SEALED_COLUMNS)
      .map(
        (column) =>
          `SELECT substr(${column}, 4, 8) AS key_id FROM endpoint WHERE ${sealedWith(column, "<> ''")}`,
      )
      .join(' UNION ALL ')}) GROUP BY key_id`,
  );

  function replaceStatement(field: Resealing['field']) {
    const column = SEALED_COLUMNS[field];
    return db.prepare<[string, string, string, string]>(
      `UPDATE endpoint SET ${column} = ? WHERE username = ? AND endpoint_id = ? AND ${column} = ?`,
    );
  }
  const replace = {
    secret: replaceStatement('secret'),
    previousSecret: replaceStatement('previousSecret'),
    headers: replaceStatement('headers'),
  };

  function read(): EncryptionKeys {
    return toEncryptionKeys(all.all());
  }

  return {
    announceEncryptionKeys([first]) {
      if (first === undefined) throw new PosthornError('internal', 'a process has an encryption key');
      if (all.all().length === 0) {
        initActive.run(first);
        addActive.run(now());
      }
      // Nobody shares the file.
      return { ...read(), reseals: true };
    },

    activateEncryptionKey(keyId) {
      add.run(keyId, now());
      setActive.run(keyId);
      return read();
    },

    retireEncryptionKey(keyId) {
      if (isInUse.get({ id: keyId }) !== undefined) return false;
      return retire.run(keyId).changes === 1;
    },

    countSealed: () => Object.fromEntries(count.all().map(({ key_id: keyId, n }) => [keyId, n])),

    listResealable({ limit, cursor }) {
      const [username, endpointId] =
        cursor === null
          ? ['', '']
          : (decodeCursor('resealable', cursor, ['string', 'string']) as [string, string]);
      const rows = resealable.all(username, endpointId, limit + 1);
      return pageOf('resealable', rows, limit, (row) => [row.username, row.endpoint_id], toSealedValues);
    },

    reseal(values) {
      let replaced = 0;
      for (const { username, endpointId, field, from, to } of values) {
        replaced += replace[field].run(to, username, endpointId, from).changes;
      }
      return replaced;
    },
  };
}
