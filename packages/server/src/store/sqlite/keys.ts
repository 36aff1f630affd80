import { notFound } from '../../errors.ts';
import type { AccountStatus, ApiKey, Scope } from '../../model.ts';
import type { EngineContext, SyncStore } from './engine.ts';

interface KeyRow {
  key_id: string;
  username: string | null;
  name: string;
  scopes: string;
  prefix: string;
  created_at: number;
  expires_at: number | null;
  last_used_at: number | null;
  revoked_at: number | null;
}

interface IdentityRow {
  key_id: string;
  username: string | null;
  scopes: string;
  created_at: number;
  expires_at: number | null;
  account_status: AccountStatus | 'deleted' | null;
  account_created_at: number | null;
}

const COLUMNS = 'key_id, username, name, scopes, prefix, created_at, expires_at, last_used_at, revoked_at';

function parseScopes(text: string): Scope[] {
  return text.split(' ') as Scope[];
}

function toKey(row: KeyRow): ApiKey {
  return {
    keyId: row.key_id,
    username: row.username,
    name: row.name,
    scopes: parseScopes(row.scopes),
    prefix: row.prefix,
    createdAt: row.created_at,
    expiresAt: row.expires_at,
    lastUsedAt: row.last_used_at,
    revokedAt: row.revoked_at,
  };
}

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
    `SELECT ${COLUMNS} FROM api_key WHERE username IS ? ORDER BY key_id DESC`,
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
      if (row === undefined || row.account_status === 'deleted') return null;
      return {
        keyId: row.key_id,
        username: row.username,
        scopes: parseScopes(row.scopes),
        expiresAt: row.expires_at,
        createdAt: row.created_at,
        account:
          row.account_status === null || row.account_created_at === null
            ? null
            : { status: row.account_status, createdAt: row.account_created_at },
      };
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
