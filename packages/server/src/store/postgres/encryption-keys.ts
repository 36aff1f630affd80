import { PosthornError } from '../../errors.ts';
import { decodeCursor, pageOf } from '../cursor.ts';
import {
  ACTIVE_KEY_META,
  anySealedWith,
  type EncryptionKeyRow,
  SEALED_COLUMNS,
  sealedWith,
  type SealedRow,
  toEncryptionKeys,
  toSealedValues,
} from '../encryption-keys.ts';
import type { EncryptionKeys, Resealing } from '../store.ts';
import type { EngineContext, Operations, Sql } from './engine.ts';
import { NODE_IS_ALIVE } from './nodes.ts';

/** What a node that starts tells and what is activated come one after the other: none sees half of the other. */
export async function lockEncryptionKeys(sql: Sql): Promise<void> {
  await sql.query('LOCK TABLE posthorn.encryption_key IN SHARE ROW EXCLUSIVE MODE');
}

const ACTIVE_KEY = `(SELECT value FROM posthorn.meta WHERE name = '${ACTIVE_KEY_META}')`;

/** Oldest first. */
export async function readEncryptionKeys(sql: Sql): Promise<EncryptionKeyRow[]> {
  return sql.query<EncryptionKeyRow>(
    `SELECT key_id, key_id = ${ACTIVE_KEY} AS active FROM posthorn.encryption_key ORDER BY since, key_id`,
  );
}

export function encryptionKeyOperations({
  query,
  transaction,
  nodeId,
}: EngineContext): Operations<
  | 'announceEncryptionKeys'
  | 'activateEncryptionKey'
  | 'retireEncryptionKey'
  | 'countSealed'
  | 'listResealable'
  | 'reseal'
> {
  async function isToldAlready(keyIds: readonly string[], sealsWith: string): Promise<boolean> {
    const told = await query(
      `SELECT 1 FROM posthorn.node WHERE node_id = $1 AND encryption_keys = $2 AND sealing_key = $3`,
      [nodeId(), keyIds, sealsWith],
    );
    return told.length > 0;
  }

  async function isFirstNode(): Promise<boolean> {
    const [row] = await query<{ first: number | null }>(
      `SELECT min(node_id) AS first FROM posthorn.node WHERE ${NODE_IS_ALIVE}`,
    );
    return row?.first === nodeId();
  }

  async function add(sql: Sql, keyId: string): Promise<void> {
    await sql.query(
      'INSERT INTO posthorn.encryption_key (key_id, since) VALUES ($1, posthorn.now_ms()) ON CONFLICT DO NOTHING',
      [keyId],
    );
  }

  return {
    async announceEncryptionKeys(keyIds, sealsWith) {
      const rows = await readEncryptionKeys({ query });
      if (rows.length > 0 && (await isToldAlready(keyIds, sealsWith))) {
        return { ...toEncryptionKeys(rows), reseals: rows.length > 1 && (await isFirstNode()) };
      }
      const keys = await transaction(async (sql) => {
        await lockEncryptionKeys(sql);
        await sql.query(
          'UPDATE posthorn.node SET encryption_keys = $2, sealing_key = $3 WHERE node_id = $1',
          [nodeId(), keyIds, sealsWith],
        );
        const present = await readEncryptionKeys(sql);
        if (present.length > 0) return toEncryptionKeys(present);
        await sql.query(
          `INSERT INTO posthorn.meta (name, value) VALUES ('${ACTIVE_KEY_META}', $1) ON CONFLICT DO NOTHING`,
          [keyIds[0]],
        );
        await sql.query(
          `INSERT INTO posthorn.encryption_key (key_id, since)
           SELECT value, posthorn.now_ms() FROM posthorn.meta WHERE name = '${ACTIVE_KEY_META}'`,
        );
        return toEncryptionKeys(await readEncryptionKeys(sql));
      });
      return { ...keys, reseals: keys.olderIds.length > 0 && (await isFirstNode()) };
    },

    activateEncryptionKey: (keyId) =>
      transaction(async (sql): Promise<EncryptionKeys> => {
        await lockEncryptionKeys(sql);
        const present = toEncryptionKeys(await readEncryptionKeys(sql));
        if (present.activeId === keyId) return present;
        const lacking = await sql.query<{ name: string }>(
          `SELECT name FROM posthorn.node WHERE ${NODE_IS_ALIVE} AND NOT coalesce($1 = ANY (encryption_keys), false)
           ORDER BY name`,
          [keyId],
        );
        if (lacking.length > 0) {
          throw new PosthornError(
            'conflict',
            `encryption key ${keyId} is not known to ${lacking.map(({ name }) => name).join(', ')}: restart every node ` +
              'with it beside the present one first',
          );
        }
        await add(sql, keyId);
        await sql.query(`UPDATE posthorn.meta SET value = $1 WHERE name = '${ACTIVE_KEY_META}'`, [keyId]);
        return toEncryptionKeys(await readEncryptionKeys(sql));
      }),

    async retireEncryptionKey(keyId) {
      const sealing = await query(
        `SELECT 1 FROM posthorn.node WHERE ${NODE_IS_ALIVE} AND sealing_key = $1 LIMIT 1`,
        [keyId],
      );
      if (sealing.length > 0) return false;
      return transaction(async (sql) => {
        // Waits for values that are being sealed with it. Who comes later waits for this, and is refused then
        // (`check_sealing`).
        const held = await sql.query(
          `SELECT 1 FROM posthorn.encryption_key WHERE key_id = $1 AND key_id <> ${ACTIVE_KEY} FOR UPDATE`,
          [keyId],
        );
        if (held.length === 0) return false;
        const left = await sql.query(
          `SELECT 1 FROM posthorn.endpoint WHERE ${anySealedWith('= $1')} LIMIT 1`,
          [keyId],
        );
        if (left.length > 0) return false;
        await sql.query('DELETE FROM posthorn.encryption_key WHERE key_id = $1', [keyId]);
        return true;
      });
    },

    async countSealed() {
      const rows = await query<{ key_id: string; n: number }>(
        `SELECT key_id, count(*) AS n FROM (${Object.values(SEALED_COLUMNS)
          .map(
            (column) =>
              `SELECT substr(${column}, 4, 8) AS key_id FROM posthorn.endpoint WHERE ${sealedWith(column, `<> ''`)}`,
          )
          .join(' UNION ALL ')}) sealed GROUP BY key_id`,
      );
      return Object.fromEntries(rows.map((row) => [row.key_id, row.n]));
    },

    async listResealable({ limit, cursor }) {
      const [username, endpointId] =
        cursor === null
          ? ['', '']
          : (decodeCursor('resealable', cursor, ['string', 'string']) as [string, string]);
      // The table's key, in order: one pass over it, however many pages.
      const rows = await query<SealedRow>(
        `SELECT username, endpoint_id, secret, previous_secret, headers FROM posthorn.endpoint
         WHERE (username, endpoint_id) > ($1, $2)
           AND ${anySealedWith(`<> ${ACTIVE_KEY}`)}
         ORDER BY username, endpoint_id LIMIT $3`,
        [username, endpointId, limit + 1],
      );
      return pageOf('resealable', rows, limit, (row) => [row.username, row.endpoint_id], toSealedValues);
    },

    reseal: (values) =>
      transaction(async (sql) => {
        // No news to other nodes: what they hold opens to the same.
        await sql.query(`SELECT set_config('posthorn.resealing', 'on', true)`);
        let replaced = 0;
        for (const [field, column] of Object.entries(SEALED_COLUMNS)) {
          const changes = values
            .filter((value) => value.field === (field as Resealing['field']))
            .toSorted((a, b) => compare(a.username, b.username) || compare(a.endpointId, b.endpointId));
          if (changes.length === 0) continue;
          const rows = await sql.query(
            `UPDATE posthorn.endpoint e SET ${column} = c.sealed
             FROM (
               SELECT held.username, held.endpoint_id, given.sealed
               FROM unnest($1::text[], $2::text[], $3::text[], $4::text[]) AS given(username, endpoint_id, present, sealed)
               JOIN posthorn.endpoint held
                 ON held.username = given.username AND held.endpoint_id = given.endpoint_id AND held.${column} = given.present
               ORDER BY held.username, held.endpoint_id FOR NO KEY UPDATE OF held
             ) c
             WHERE e.username = c.username AND e.endpoint_id = c.endpoint_id
             RETURNING 1`,
            [
              changes.map(({ username }) => username),
              changes.map(({ endpointId }) => endpointId),
              changes.map(({ from }) => from),
              changes.map(({ to }) => to),
            ],
          );
          replaced += rows.length;
        }
        return replaced;
      }),
  };
}

function compare(a: string, b: string): number {
  return a < b ? -1 : a > b ? 1 : 0;
}
