import type { AuditActor } from '../../model.ts';
import { type EventTypeRow, KEY_COLUMNS, type KeyRow, toEventType, toKey } from '../account-rows.ts';
import {
  AUDIT_COLUMNS,
  type AuditedThings,
  type AuditRow,
  auditConditions,
  auditCursorKey,
  auditLine,
  auditValues,
  type NewAuditEntry,
  ruleOf,
  type Subject,
  toAuditEntry,
} from '../audit.ts';
import { decodeCursor, pageOf } from '../cursor.ts';
import { toEncryptionKeys } from '../encryption-keys.ts';
import { type PortalLinkRow, toPortalLink } from '../session-rows.ts';
import type { AuditedOperations } from '../store.ts';
import { accountOperations } from './accounts.ts';
import { deliveryOperations } from './deliveries.ts';
import { encryptionKeyOperations, lockEncryptionKeys, readEncryptionKeys } from './encryption-keys.ts';
import { endpointOperations } from './endpoints.ts';
import type { EngineContext, Operations, Sql } from './engine.ts';
import { eventTypeOperations } from './event-types.ts';
import { keyOperations } from './keys.ts';
import { operatorKeyOperations } from './operator-key.ts';
import { queueOperations } from './queue.ts';
import { replayOperations } from './replays.ts';
import { sessionOperations } from './sessions.ts';
import { decodeText } from './text.ts';

/** Writes a line in the transaction that made its change. */
export async function writeAuditLine(sql: Sql, line: NewAuditEntry): Promise<void> {
  await sql.query(
    `WITH t AS MATERIALIZED (SELECT posthorn.now_ms() AS now)
     INSERT INTO posthorn.audit (audit_id, at, ${AUDIT_COLUMNS})
     SELECT posthorn.new_id('aud', t.now), t.now, $1, $2, $3, $4, $5, $6, $7, $8, $9, $10, $11, $12, $13 FROM t`,
    auditValues(line),
  );
}

export function auditOperations({ query }: EngineContext): Operations<'listAudit' | 'purgeAudit'> {
  return {
    async listAudit(filter, { limit, cursor }) {
      const conditions = auditConditions(filter);
      const key =
        cursor === null ? [Number.MAX_SAFE_INTEGER, 0] : decodeCursor('audit', cursor, ['number', 'number']);
      const where = conditions.map(([sql], n) => ` AND ${sql} $${n + 4}`).join('');
      const rows = await query<AuditRow>(
        `SELECT * FROM posthorn.audit WHERE (at, seq) < ($1, $2)${where} ORDER BY at DESC, seq DESC LIMIT $3`,
        [...key, limit + 1, ...conditions.map(([, value]) => value)],
      );
      return pageOf('audit', rows, limit, auditCursorKey, toAuditEntry);
    },

    async purgeAudit(before, limit) {
      const [row] = await query<{ deleted: number }>('SELECT posthorn.purge_audit($1, $2) AS deleted', [
        before,
        limit,
      ]);
      return row?.deleted ?? 0;
    },
  };
}

/** Held until the end of the transaction, so that what is read is what the operation changes. */
const LOCKED: Partial<Record<Subject['type'], string>> = {
  account: 'SELECT 1 FROM posthorn.account WHERE username = $1 FOR NO KEY UPDATE',
  api_key: 'SELECT 1 FROM posthorn.api_key WHERE key_id = $1 FOR NO KEY UPDATE',
  event_type: 'SELECT 1 FROM posthorn.event_type WHERE name = $1 FOR UPDATE',
  endpoint: 'SELECT 1 FROM posthorn.endpoint WHERE username = $2 AND endpoint_id = $1 FOR NO KEY UPDATE',
  replay: 'SELECT 1 FROM posthorn.replay WHERE username = $2 AND replay_id = $1 FOR NO KEY UPDATE',
};

async function hold(sql: Sql, { type, id, username }: Subject): Promise<void> {
  if (type === 'encryption_key') return lockEncryptionKeys(sql);
  const text = LOCKED[type];
  if (text !== undefined) await sql.query(text, text.includes('$2') ? [id, username] : [id]);
}

/** The engine's operations as parts of one transaction. */
function operationsIn(context: EngineContext, sql: Sql) {
  const inner: EngineContext = {
    ...context,
    // With what tells a transaction's handle from the pool, so that notices wait for the commit.
    ...sql,
    query: (text, values) => sql.query(text, values),
    transaction: (run) => run(sql),
  };
  return {
    ...accountOperations(inner),
    ...keyOperations(inner),
    ...operatorKeyOperations(inner),
    ...sessionOperations(inner),
    ...eventTypeOperations(inner),
    ...endpointOperations(inner),
    ...queueOperations(inner),
    ...replayOperations(inner),
    ...deliveryOperations(inner),
    ...encryptionKeyOperations(inner),
  };
}

async function read(
  sql: Sql,
  operations: ReturnType<typeof operationsIn>,
  { type, id, username }: Subject,
): Promise<AuditedThings[Subject['type']] | null> {
  switch (type) {
    case 'account':
      return operations.getAccount(id);
    case 'api_key': {
      const [row] = await sql.query<KeyRow>(`SELECT ${KEY_COLUMNS} FROM posthorn.api_key WHERE key_id = $1`, [
        id,
      ]);
      return row === undefined ? null : toKey({ ...row, name: decodeText(row.name) });
    }
    case 'portal_link': {
      const [row] = await sql.query<PortalLinkRow>('SELECT * FROM posthorn.portal_link WHERE link_id = $1', [
        id,
      ]);
      return row === undefined ? null : toPortalLink(row);
    }
    case 'event_type': {
      const [row] = await sql.query<EventTypeRow>('SELECT * FROM posthorn.event_type WHERE name = $1', [id]);
      if (row === undefined) return null;
      const { category, description } = row;
      return toEventType({
        ...row,
        category: decodeText(category),
        description: decodeText(description),
      });
    }
    case 'endpoint':
      return operations.getEndpoint(username ?? '', id);
    case 'delivery':
      return operations.getDelivery(username ?? '', id);
    case 'replay':
      return operations.getReplay(username ?? '', id);
    case 'encryption_key': {
      const rows = await readEncryptionKeys(sql);
      return toEncryptionKeys(rows);
    }
  }
}

/** Runs one of the audited operations by its name, with its line, in one transaction. */
export function auditedCall(context: EngineContext) {
  return (by: AuditActor, name: keyof AuditedOperations, args: unknown[]): Promise<unknown> =>
    context.transaction(async (sql) => {
      const operations = operationsIn(context, sql);
      const { action, subject: subjectOf, made } = ruleOf(name);
      const known = subjectOf(...args);
      if (known !== null) await hold(sql, known);
      const before = known === null ? null : await read(sql, operations, known);
      const operation = operations[name] as (...args: unknown[]) => Promise<unknown>;
      const result = await operation(...args);
      const subject = known ?? made?.(result) ?? null;
      if (subject === null) return result;
      const line = auditLine(by, action, subject, before, await read(sql, operations, subject));
      if (line !== null) await writeAuditLine(sql, line);
      return result;
    });
}
