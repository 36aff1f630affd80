/** How rows of sessions and portal links become records of the model, and how a link is refused. The same in both engines. */
import { PosthornError } from '../errors.ts';
import type { AccountStatus, PortalLink, SessionIdentity } from '../model.ts';

export interface SessionRow {
  key_hash: string | null;
  username: string | null;
  expires_at: number;
  account_status: AccountStatus | 'deleted' | null;
  account_created_at: number | null;
}

/** Null when the account whose portal it is doesn't exist any more. */
export function toSession(row: SessionRow): SessionIdentity | null {
  const { key_hash: keyHash, username, expires_at: expiresAt } = row;
  if (keyHash !== null) return { expiresAt, keyHash, account: null };
  if (username === null || row.account_created_at === null) return null;
  if (row.account_status === null || row.account_status === 'deleted') return null;
  return {
    expiresAt,
    keyHash: null,
    account: { username, status: row.account_status, createdAt: row.account_created_at },
  };
}

export interface PortalLinkRow {
  link_id: string;
  username: string;
  created_at: number;
  expires_at: number;
  used_at: number | null;
}

export function toPortalLink(row: PortalLinkRow): PortalLink {
  return {
    linkId: row.link_id,
    username: row.username,
    createdAt: row.created_at,
    expiresAt: row.expires_at,
    usedAt: row.used_at,
  };
}

/**
 * Why a link opens no session; null when it does.
 *
 * @param status - of its account; undefined when there is none any more
 */
export function portalLinkRefused(
  link: PortalLinkRow | undefined,
  status: string | undefined,
  now: number,
): PosthornError | null {
  if (link === undefined || status === undefined || link.expires_at <= now) {
    return new PosthornError(
      'unauthorized',
      'this portal link has expired, or never was one; ask for a new one',
      {
        field: 'portal_token',
      },
    );
  }
  if (link.used_at !== null) {
    return new PosthornError(
      'unauthorized',
      'this portal link was used already: each opens one session; ask for a new one',
      { field: 'portal_token' },
    );
  }
  if (status === 'suspended') {
    return new PosthornError('forbidden', 'this account is suspended; ask whoever runs this service');
  }
  return null;
}
