import type { Account } from '../../model.ts';
import { type AccountRow, toAccount, usernameTaken } from '../account-rows.ts';
import { stringifyOrNull } from '../columns.ts';
import { decodeCursor, pageOf } from '../cursor.ts';
import type { EngineContext, SyncStore } from './engine.ts';

const COLUMNS = `username, status, metadata, created_at,
  (SELECT count(*) FROM endpoint e WHERE e.username = account.username AND e.status <> 'deleted') AS endpoints`;

export function accountOperations({
  db,
  now,
}: EngineContext): Pick<
  SyncStore,
  'createAccount' | 'getAccount' | 'listAccounts' | 'updateAccount' | 'deleteAccount'
> {
  const select = db.prepare<[string], AccountRow>(`SELECT ${COLUMNS} FROM account WHERE username = ?`);
  const insert = db.prepare<[string, string | null, number]>(
    `INSERT INTO account (username, status, metadata, created_at) VALUES (?, 'active', ?, ?)`,
  );
  // Newest first by the index on (created_at, username).
  const page = db.prepare<[number, string, string, number], AccountRow>(
    `SELECT ${COLUMNS} FROM account
     WHERE (created_at, username) < (?, ?) AND status <> 'deleted' AND instr(lower(username), lower(?)) > 0
     ORDER BY created_at DESC, username DESC LIMIT ?`,
  );
  const setStatus = db.prepare<[string, string]>('UPDATE account SET status = ? WHERE username = ?');
  const setMetadata = db.prepare<[string | null, string]>(
    'UPDATE account SET metadata = ? WHERE username = ?',
  );
  const park = db.prepare<[number, string]>('UPDATE lane SET parked = ? WHERE username = ?');

  function find(username: string): Account | null {
    const row = select.get(username);
    return row === undefined || row.status === 'deleted' ? null : toAccount(row);
  }

  return {
    createAccount({ username, metadata }) {
      const taken = select.get(username);
      if (taken !== undefined) throw usernameTaken(username, taken.status);
      insert.run(username, stringifyOrNull(metadata), now());
      return { username, status: 'active', metadata, endpoints: 0, createdAt: now() };
    },

    getAccount: find,

    listAccounts({ limit, cursor }, search = '') {
      const [createdAt, username] =
        cursor === null
          ? [Number.MAX_SAFE_INTEGER, '']
          : (decodeCursor('accounts', cursor, ['number', 'string']) as [number, string]);
      const rows = page.all(createdAt, username, search, limit + 1);
      return pageOf('accounts', rows, limit, (row) => [row.created_at, row.username], toAccount);
    },

    updateAccount(username, changes) {
      if (find(username) === null) return null;
      if (changes.metadata !== undefined) setMetadata.run(stringifyOrNull(changes.metadata), username);
      if (changes.status !== undefined) {
        setStatus.run(changes.status, username);
        // A parked lane keeps its next_at up to date, so that activation is one update.
        park.run(changes.status === 'suspended' ? 1 : 0, username);
      }
      return find(username);
    },

    deleteAccount(username) {
      if (find(username) === null) return false;
      setStatus.run('deleted', username);
      park.run(1, username);
      // Few rows: at most the keys, sessions and endpoints of one account. The rest goes by purge.
      db.prepare('DELETE FROM api_key WHERE username = ?').run(username);
      db.prepare('DELETE FROM session WHERE username = ?').run(username);
      db.prepare('DELETE FROM portal_link WHERE username = ?').run(username);
      db.prepare('DELETE FROM subscription WHERE username = ?').run(username);
      db.prepare(
        `UPDATE endpoint SET status = 'deleted', deleted_at = ?, secret = '', previous_secret = NULL, headers = NULL
         WHERE username = ? AND status <> 'deleted'`,
      ).run(now(), username);
      return true;
    },
  };
}
