import type { Account } from '../../model.ts';
import { type AccountRow, toAccount, usernameTaken } from '../account-rows.ts';
import { stringifyOrNull } from '../columns.ts';
import { decodeCursor, pageOf } from '../cursor.ts';
import type { EngineContext, Operations, Sql } from './engine.ts';

const SELECT = `SELECT a.username, a.status, a.metadata, a.created_at,
    (SELECT count(*) FROM posthorn.endpoint e WHERE e.username = a.username AND e.status <> 'deleted') AS endpoints
  FROM posthorn.account a`;

async function find(sql: Sql, username: string): Promise<Account | null> {
  const [row] = await sql.query<AccountRow>(`${SELECT} WHERE a.username = $1 AND a.status <> 'deleted'`, [
    username,
  ]);
  return row === undefined ? null : toAccount(row);
}

export function accountOperations({
  query,
  transaction,
  notify,
}: EngineContext): Operations<
  'createAccount' | 'getAccount' | 'listAccounts' | 'updateAccount' | 'deleteAccount'
> {
  return {
    async createAccount({ username, metadata }) {
      const [made] = await query<{ created_at: number }>(
        `INSERT INTO posthorn.account (username, status, metadata, created_at)
         VALUES ($1, 'active', $2, posthorn.now_ms()) ON CONFLICT DO NOTHING RETURNING created_at`,
        [username, stringifyOrNull(metadata)],
      );
      if (made !== undefined) {
        return { username, status: 'active', metadata, endpoints: 0, createdAt: made.created_at };
      }
      const [taken] = await query<Pick<AccountRow, 'status'>>(
        'SELECT status FROM posthorn.account WHERE username = $1',
        [username],
      );
      throw usernameTaken(username, taken?.status);
    },

    getAccount: (username) => find({ query }, username),

    async listAccounts({ limit, cursor }, search = '') {
      const [createdAt, username] =
        cursor === null
          ? [Number.MAX_SAFE_INTEGER, '']
          : (decodeCursor('accounts', cursor, ['number', 'string']) as [number, string]);
      // Newest first by the index on (created_at, username).
      const rows = await query<AccountRow>(
        `${SELECT} WHERE (a.created_at, a.username) < ($1, $2) AND a.status <> 'deleted'
           AND strpos(lower(a.username), lower($3)) > 0
         ORDER BY a.created_at DESC, a.username DESC LIMIT $4`,
        [createdAt, username, search, limit + 1],
      );
      return pageOf('accounts', rows, limit, (row) => [row.created_at, row.username], toAccount);
    },

    updateAccount: (username, { status, metadata }) =>
      transaction(async (sql) => {
        // Who adds an endpoint holds this row's lock until its lane is there, parked or not.
        const [held] = await sql.query(
          `SELECT 1 FROM posthorn.account WHERE username = $1 AND status <> 'deleted' FOR NO KEY UPDATE`,
          [username],
        );
        if (held === undefined) return null;
        if (metadata !== undefined) {
          await sql.query('UPDATE posthorn.account SET metadata = $2 WHERE username = $1', [
            username,
            stringifyOrNull(metadata),
          ]);
        }
        if (status !== undefined) {
          await sql.query('UPDATE posthorn.account SET status = $2 WHERE username = $1', [username, status]);
          // A parked lane's calls are taken up all the same, so that activation needs no look at the queue.
          await sql.query(
            'UPDATE posthorn.lane SET parked = $2 WHERE username = $1 AND parked IS DISTINCT FROM $2',
            [username, status === 'suspended'],
          );
          if (status === 'active') await notify(sql, { kind: 'due' });
        }
        return find(sql, username);
      }),

    deleteAccount: (username) =>
      transaction(async (sql) => {
        // What publishes at this moment may still see the account: the purge takes its last rows when all
        // transactions that are older than this one have ended.
        const [deleted] = await sql.query(
          `UPDATE posthorn.account SET status = 'deleted', deleted_xid = pg_current_xact_id()
           WHERE username = $1 AND status <> 'deleted' RETURNING 1`,
          [username],
        );
        if (deleted === undefined) return false;
        await sql.query('UPDATE posthorn.lane SET parked = true WHERE username = $1 AND NOT parked', [
          username,
        ]);
        // Few rows: at most the keys, sessions and endpoints of one account. The rest goes by purge.
        await sql.query('DELETE FROM posthorn.api_key WHERE username = $1', [username]);
        await sql.query('DELETE FROM posthorn.session WHERE username = $1', [username]);
        await sql.query('DELETE FROM posthorn.portal_link WHERE username = $1', [username]);
        await sql.query(
          `UPDATE posthorn.endpoint SET status = 'deleted', deleted_at = posthorn.now_ms(), secret = '',
             previous_secret = NULL, previous_secret_expires_at = NULL, headers = NULL
           WHERE username = $1 AND status <> 'deleted'`,
          [username],
        );
        // After the endpoints, for who changes one holds its row's lock until its subscriptions are written.
        await sql.query('DELETE FROM posthorn.subscription WHERE username = $1', [username]);
        return true;
      }),
  };
}
