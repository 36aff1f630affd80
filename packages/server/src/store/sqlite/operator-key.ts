import type { EngineContext, SyncStore } from './engine.ts';

export function operatorKeyOperations({ db, now }: EngineContext): Pick<SyncStore, 'createFirstOperatorKey'> {
  const insert = db.prepare(
    `INSERT INTO api_key (key_id, hash, username, name, scopes, prefix, created_at, expires_at)
     SELECT @keyId, @hash, NULL, @name, @scopes, @prefix, @now, @expiresAt
     WHERE NOT EXISTS (
       SELECT 1 FROM api_key WHERE username IS NULL AND ' ' || scopes || ' ' LIKE '% operator %'
         AND revoked_at IS NULL AND (expires_at IS NULL OR expires_at > @now))`,
  );
  return {
    createFirstOperatorKey: ({ keyId, hash, name, scopes, prefix, expiresAt }) =>
      insert.run({ keyId, hash, name, scopes: scopes.join(' '), prefix, now: now(), expiresAt }).changes ===
      1,
  };
}
