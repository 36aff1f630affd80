import { notFound } from '../../errors.ts';
import {
  type PortalLinkRow,
  portalLinkRefused,
  type SessionRow,
  toPortalLink,
  toSession,
} from '../session-rows.ts';
import type { EngineContext, SyncStore } from './engine.ts';

export function sessionOperations({
  db,
  now,
}: EngineContext): Pick<
  SyncStore,
  'openSession' | 'findSession' | 'endSession' | 'createPortalLink' | 'usePortalLink'
> {
  const insert = db.prepare(
    'INSERT INTO session (hash, key_hash, username, created_at, expires_at) VALUES (?, ?, ?, ?, ?)',
  );
  // Equality on a unique index over SHA-256 values: how long it takes tells nothing about a session.
  const byHash = db.prepare<[string], SessionRow>(
    `SELECT s.key_hash, s.username, s.expires_at, a.status AS account_status, a.created_at AS account_created_at
     FROM session s LEFT JOIN account a ON a.username = s.username WHERE s.hash = ?`,
  );
  const end = db.prepare('DELETE FROM session WHERE hash = ?');
  const account = db.prepare<[string], { status: string }>(
    `SELECT status FROM account WHERE username = ? AND status <> 'deleted'`,
  );
  const insertLink = db.prepare(
    'INSERT INTO portal_link (link_id, hash, username, created_at, expires_at) VALUES (?, ?, ?, ?, ?)',
  );
  const link = db.prepare<[string], PortalLinkRow>('SELECT * FROM portal_link WHERE hash = ?');
  const use = db.prepare('UPDATE portal_link SET used_at = ? WHERE link_id = ?');

  /** Nobody waits for what is over: it goes when something new comes. */
  function clear(table: 'session' | 'portal_link'): void {
    db.prepare(`DELETE FROM ${table} WHERE expires_at <= ?`).run(now());
  }

  return {
    openSession({ hash, keyHash, expiresAt }) {
      clear('session');
      insert.run(hash, keyHash, null, now(), expiresAt);
    },

    findSession(hash) {
      const row = byHash.get(hash);
      return row === undefined ? null : toSession(row);
    },

    endSession(hash) {
      end.run(hash);
    },

    createPortalLink({ linkId, hash, username, expiresAt }) {
      if (account.get(username) === undefined) throw notFound('account', username);
      clear('portal_link');
      insertLink.run(linkId, hash, username, now(), expiresAt);
      return { linkId, username, createdAt: now(), expiresAt, usedAt: null };
    },

    usePortalLink(linkHash, { hash, expiresAt }) {
      const row = link.get(linkHash);
      const status = row === undefined ? undefined : account.get(row.username)?.status;
      const refused = portalLinkRefused(row, status, now());
      if (refused !== null) throw refused;
      const { link_id: linkId, username } = row as PortalLinkRow;
      use.run(now(), linkId);
      clear('session');
      insert.run(hash, null, username, now(), expiresAt);
      return toPortalLink({ ...(row as PortalLinkRow), used_at: now() });
    },
  };
}
