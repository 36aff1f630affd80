import type { EngineContext, Operations } from './engine.ts';
import { encodeText } from './text.ts';

/** Of nodes that start at once only one may look for a key and make it: "opkey" in ASCII. */
const OPERATOR_KEY_LOCK = '478560413049';

export function operatorKeyOperations({ transaction }: EngineContext): Operations<'createFirstOperatorKey'> {
  return {
    createFirstOperatorKey: ({ keyId, hash, name, scopes, prefix, expiresAt }) =>
      transaction(async (sql) => {
        await sql.query('SELECT pg_advisory_xact_lock($1)', [OPERATOR_KEY_LOCK]);
        const made = await sql.query(
          `INSERT INTO posthorn.api_key (key_id, hash, username, name, scopes, prefix, created_at, expires_at)
           SELECT $1, $2, NULL, $3, $4, $5, posthorn.now_ms(), $6::bigint
           WHERE NOT EXISTS (
             SELECT 1 FROM posthorn.api_key WHERE username IS NULL AND 'operator' = ANY (string_to_array(scopes, ' '))
               AND revoked_at IS NULL AND (expires_at IS NULL OR expires_at > posthorn.now_ms()))
           RETURNING 1`,
          [keyId, hash, encodeText(name), scopes.join(' '), prefix, expiresAt],
        );
        return made.length === 1;
      }),
  };
}
