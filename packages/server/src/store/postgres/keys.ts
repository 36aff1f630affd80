import { notFound } from '../../errors.ts';
import { type IdentityRow, KEY_COLUMNS, type KeyRow, toIdentity, toKey } from '../account-rows.ts';
import type { EngineContext, Operations } from './engine.ts';
import { decodeText, encodeText } from './text.ts';

export function keyOperations({
  query,
}: EngineContext): Operations<'createKey' | 'findKey' | 'listKeys' | 'revokeKey' | 'touchKeys'> {
  return {
    async createKey(key) {
      // The account's row is held, so that its deletion either comes first or finds this key.
      const source =
        key.username === null
          ? ''
          : `FROM posthorn.account a WHERE a.username = $3 AND a.status <> 'deleted' FOR SHARE`;
      const [made] = await query<{ created_at: number }>(
        `INSERT INTO posthorn.api_key (key_id, hash, username, name, scopes, prefix, created_at, expires_at)
         SELECT $1, $2, $3::text, $4, $5, $6, posthorn.now_ms(), $7::bigint ${source} RETURNING created_at`,
        [
          key.keyId,
          key.hash,
          key.username,
          encodeText(key.name),
          key.scopes.join(' '),
          key.prefix,
          key.expiresAt,
        ],
      );
      if (made === undefined) throw notFound('account', key.username ?? '');
      const { hash: _, ...shown } = key;
      return { ...shown, createdAt: made.created_at, lastUsedAt: null, revokedAt: null };
    },

    async findKey(hash) {
      // Equality on a unique index over SHA-256 values: how long it takes tells nothing about a key.
      const [row] = await query<IdentityRow>(
        `SELECT k.key_id, k.username, k.scopes, k.created_at, k.expires_at,
                a.status AS account_status, a.created_at AS account_created_at
         FROM posthorn.api_key k LEFT JOIN posthorn.account a ON a.username = k.username
         WHERE k.hash = $1 AND k.revoked_at IS NULL`,
        [hash],
      );
      return row === undefined ? null : toIdentity(row);
    },

    async listKeys(username) {
      const rows = await query<KeyRow>(
        `SELECT ${KEY_COLUMNS} FROM posthorn.api_key
         WHERE username ${username === null ? 'IS NULL' : '= $1'} ORDER BY key_id DESC`,
        username === null ? [] : [username],
      );
      return rows.map((row) => toKey({ ...row, name: decodeText(row.name) }));
    },

    async revokeKey(keyId, username) {
      const revoked = await query(
        `UPDATE posthorn.api_key SET revoked_at = coalesce(revoked_at, posthorn.now_ms())
         WHERE key_id = $1 AND ($2::text IS NULL OR username = $2) RETURNING 1`,
        [keyId, username],
      );
      return revoked.length > 0;
    },

    async touchKeys(uses) {
      if (uses.length === 0) return;
      // Locked in the order of ids: nodes that note the same keys at once wait for each other, but not in a circle.
      await query(
        `UPDATE posthorn.api_key k SET last_used_at = greatest(k.last_used_at, h.at)
         FROM (
           SELECT held.key_id, used.at
           FROM (SELECT key_id, max(at) AS at FROM unnest($1::text[], $2::bigint[]) AS u(key_id, at)
                 GROUP BY key_id) used
           JOIN posthorn.api_key held ON held.key_id = used.key_id
           ORDER BY held.key_id FOR NO KEY UPDATE OF held
         ) h
         WHERE k.key_id = h.key_id`,
        [uses.map(({ keyId }) => keyId), uses.map(({ at }) => at)],
      );
    },
  };
}
