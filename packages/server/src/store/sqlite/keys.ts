import { notFound } from '../../errors.ts';
import { type IdentityRow, KEY_COLUMNS, type KeyRow, toIdentity, toKey } from '../account-rows.ts';
import type { EngineContext, SyncStore } from './engine.ts';

export function keyOperations({
  db,
  now,
}: EngineContext): Pick<SyncStore, 'createKey' | 'findKey' | 'listKeys' | 'revokeKey' | 'touchKeys'> {
  const activeAccount = db.prepare<[string]>(
    `SELECT 1 FROM account WHERE username = ? AND status <> 'deleted'`,
  );
  const insert = db.prepare(
    `INSERT INTO api_key (key_id, hash, username, name, scopes, prefix, created_at, expires_at)
     VALUES (?, ?, ?, ?, ?, ?, ?, ?)`,
  );
  // Equality on a unique index over SHA-256 values: how long it takes tells nothing about a key.
  const byHash = db.prepare<[string], IdentityRow>(
    `SELECT k.key_id, k.username, k.scopes, k.created_at, k.expires_at,
            a.status AS account_status, a.created_at AS account_created_at
     FROM api_key k LEFT JOIN account a ON a.username = k.username
     WHERE k.hash = ? AND k.revoked_at IS NULL`,
  );
  const list = db.prepare<[string | null], KeyRow>(
    `SELECT ${KEY_COLUMNS} FROM api_key WHERE username IS ? ORDER BY key_id DESC`,
  );
  const revoke = db.prepare(
    `UPDATE api_key SET revoked_at = ?
     WHERE key_id = ? AND (? IS NULL OR username = ?) AND revoked_at IS NULL`,
  );
  const exists = db.prepare(`SELECT 1 FROM api_key WHERE key_id = ? AND (? IS NULL OR username = ?)`);
  const touch = db.prepare(
    'UPDATE api_key SET last_used_at = max(ifnull(last_used_at, 0), ?) WHERE key_id = ?',
  );

  return {
    createKey(key) {
      if (key.username !== null && activeAccount.get(key.username) === undefined) {
        throw notFound('account', key.username);
      }
      insert.run(
        key.keyId,
        key.hash,
        key.username,
        key.name,
        key.scopes.join(' '),
        key.prefix,
        now(),
        key.expiresAt,
      );
      const { hash: _, ...shown } = key;
      return { ...shown, createdAt: now(), lastUsedAt: null, revokedAt: null };
    },

    findKey(hash) {
      const row = byHash.get(hash);
      return row === undefined ? null : toIdentity(row);
    },

    listKeys: (username) => list.all(username).map(toKey),

    revokeKey(keyId, username) {
      if (exists.get(keyId, username, username) === undefined) return false;
      revoke.run(now(), keyId, username, username);
      return true;
    },

    touchKeys(uses) {
      for (const { keyId, at } of uses) touch.run(at, keyId);
    },
  };
}
