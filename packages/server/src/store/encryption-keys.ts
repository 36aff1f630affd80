/** What both engines know of sealed values and the keys that they were sealed with. Neither can open one. */
import { PosthornError } from '../errors.ts';
import type { EncryptionKeys, Resealing, SealedValues } from './store.ts';

/** How `endpoint` calls what is sealed of it. */
export const SEALED_COLUMNS = {
  secret: 'secret',
  previousSecret: 'previous_secret',
  headers: 'headers',
} as const satisfies Record<Resealing['field'], string>;

/** A sealed value begins with this and the 8 characters of its key's id. */
const SEALED_PREFIX = 'v1.';

export interface SealedRow {
  username: string;
  endpoint_id: string;
  secret: string;
  previous_secret: string | null;
  headers: string | null;
}

/** Deleted endpoints have an empty secret. */
export function toSealedValues(row: SealedRow): SealedValues {
  const value = (text: string | null) => (text?.startsWith(SEALED_PREFIX) ? text : null);
  return {
    username: row.username,
    endpointId: row.endpoint_id,
    secret: value(row.secret),
    previousSecret: value(row.previous_secret),
    headers: value(row.headers),
  };
}

/** SQL that holds for a column which is sealed with a key for which `condition` holds, of its id. */
export function sealedWith(column: string, condition: string): string {
  return `(${column} LIKE '${SEALED_PREFIX}%' AND substr(${column}, 4, 8) ${condition})`;
}

/** As {@link sealedWith}, of any column of an endpoint. */
export function anySealedWith(condition: string): string {
  return `(${Object.values(SEALED_COLUMNS)
    .map((column) => sealedWith(column, condition))
    .join(' OR ')})`;
}

/** Where in the table `meta` it stands with which key new values are sealed. */
export const ACTIVE_KEY_META = 'encryption_key_id';

export interface EncryptionKeyRow {
  key_id: string;
  /** SQLite keeps booleans as 0 and 1. */
  active: boolean | number;
}

/** @param rows - oldest first, one of them active */
export function toEncryptionKeys(rows: readonly EncryptionKeyRow[]): EncryptionKeys {
  const activeId = rows.find(({ active }) => Boolean(active))?.key_id;
  if (activeId === undefined) throw new PosthornError('internal', 'no encryption key is active');
  return { activeId, olderIds: rows.filter(({ active }) => !active).map((row) => row.key_id) };
}
