import { notFound } from '../../errors.ts';
import {
  type PortalLinkRow,
  portalLinkRefused,
  type SessionRow,
  toPortalLink,
  toSession,
} from '../session-rows.ts';
import type { EngineContext, Operations, Sql } from './engine.ts';

/** Nobody waits for what is over: it goes when something new comes, and is left to whoever is at it already. */
function clear(sql: Sql, table: 'session' | 'portal_link', key: string): Promise<unknown> {
  return sql.query(
    `DELETE FROM posthorn.${table} WHERE ${key} IN (
       SELECT ${key} FROM posthorn.${table} WHERE expires_at <= posthorn.now_ms() FOR UPDATE SKIP LOCKED)`,
  );
}

export function sessionOperations({
  query,
  transaction,
}: EngineContext): Operations<
  'openSession' | 'findSession' | 'endSession' | 'createPortalLink' | 'usePortalLink'
> {
  return {
    async openSession({ hash, keyHash, expiresAt }) {
      await clear({ query }, 'session', 'hash');
      await query(
        `INSERT INTO posthorn.session (hash, key_hash, created_at, expires_at)
         VALUES ($1, $2, posthorn.now_ms(), $3)`,
        [hash, keyHash, expiresAt],
      );
    },

    async findSession(hash) {
      // Equality on a unique index over SHA-256 values: how long it takes tells nothing about a session.
      const [row] = await query<SessionRow>(
        `SELECT s.key_hash, s.username, s.expires_at, a.status AS account_status, a.created_at AS account_created_at
         FROM posthorn.session s LEFT JOIN posthorn.account a ON a.username = s.username WHERE s.hash = $1`,
        [hash],
      );
      return row === undefined ? null : toSession(row);
    },

    async endSession(hash) {
      await query('DELETE FROM posthorn.session WHERE hash = $1', [hash]);
    },

    async createPortalLink({ linkId, hash, username, expiresAt }) {
      await clear({ query }, 'portal_link', 'link_id');
      // The account's row is held, so that its deletion either comes first or finds this link.
      const [made] = await query<PortalLinkRow>(
        `INSERT INTO posthorn.portal_link (link_id, hash, username, created_at, expires_at)
         SELECT $1, $2, a.username, posthorn.now_ms(), $4::bigint FROM posthorn.account a
         WHERE a.username = $3 AND a.status <> 'deleted' FOR SHARE
         RETURNING *`,
        [linkId, hash, username, expiresAt],
      );
      if (made === undefined) throw notFound('account', username);
      return toPortalLink(made);
    },

    usePortalLink: (linkHash, { hash, expiresAt }) =>
      transaction(async (sql) => {
        // Held: of two who open the link at once the second finds it used.
        const [row] = await sql.query<PortalLinkRow & { now: number }>(
          `SELECT l.*, posthorn.now_ms() AS now FROM posthorn.portal_link l WHERE l.hash = $1
           FOR NO KEY UPDATE OF l`,
          [linkHash],
        );
        const [account] =
          row === undefined
            ? []
            : await sql.query<{ status: string }>(
                `SELECT status FROM posthorn.account WHERE username = $1 AND status <> 'deleted' FOR SHARE`,
                [row.username],
              );
        const refused = portalLinkRefused(row, account?.status, row?.now ?? 0);
        if (refused !== null) throw refused;
        await sql.query(
          `WITH used AS (
             UPDATE posthorn.portal_link SET used_at = $1 WHERE link_id = $2 RETURNING username
           )
           INSERT INTO posthorn.session (hash, username, created_at, expires_at)
           SELECT $3, username, $1, $4::bigint FROM used`,
          [row?.now, row?.link_id, hash, expiresAt],
        );
        await clear(sql, 'session', 'hash');
        return toPortalLink({ ...(row as PortalLinkRow), used_at: row?.now ?? null });
      }),
  };
}
