import type { AuditActor } from '../../model.ts';
import { type KeyRow, KEY_COLUMNS, toEventType, toKey, type EventTypeRow } from '../account-rows.ts';
import {
  AUDIT_COLUMNS,
  type AuditedThings,
  type AuditRow,
  auditConditions,
  auditCursorKey,
  auditLine,
  auditValues,
  ruleOf,
  type Subject,
  toAuditEntry,
} from '../audit.ts';
import { decodeCursor, pageOf } from '../cursor.ts';
import { type EncryptionKeyRow, toEncryptionKeys } from '../encryption-keys.ts';
import { type PortalLinkRow, toPortalLink } from '../session-rows.ts';
import { ENCRYPTION_KEYS } from './encryption-keys.ts';
import type { EngineContext, SyncStore } from './engine.ts';

const MAX_INTEGER = Number.MAX_SAFE_INTEGER;
/** Whatever a configuration says, a day of the log stays. */
const KEPT_AT_LEAST_MS = 86_400_000;

export function auditOperations({ db, now }: EngineContext): Pick<SyncStore, 'listAudit' | 'purgeAudit'> {
  const remove = db.prepare<[number, number]>(
    'DELETE FROM audit WHERE seq IN (SELECT seq FROM audit WHERE at < ? ORDER BY at, seq LIMIT ?)',
  );

  return {
    listAudit(filter, { limit, cursor }) {
      const conditions = auditConditions(filter);
      const key = cursor === null ? [MAX_INTEGER, 0] : decodeCursor('audit', cursor, ['number', 'number']);
      const where = ['(at, seq) < (?, ?)', ...conditions.map(([sql]) => `${sql} ?`)];
      const rows = db
        .prepare<unknown[], AuditRow>(
          `SELECT * FROM audit WHERE ${where.join(' AND ')} ORDER BY at DESC, seq DESC LIMIT ?`,
        )
        .all(...key, ...conditions.map(([, value]) => value), limit + 1);
      return pageOf('audit', rows, limit, auditCursorKey, toAuditEntry);
    },

    purgeAudit: (before, limit) => remove.run(Math.min(before, now() - KEPT_AT_LEAST_MS), limit).changes,
  };
}

/** Runs one of the audited operations, with its line. */
export type AuditedCall = (by: AuditActor, name: string, args: unknown[]) => unknown;

/** @param operations - of the same context */
export function auditedCall({ db, now, nextId }: EngineContext, operations: SyncStore): AuditedCall {
  const insert = db.prepare(
    `INSERT INTO audit (audit_id, at, ${AUDIT_COLUMNS}) VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?)`,
  );
  const keyById = db.prepare<[string], KeyRow>(`SELECT ${KEY_COLUMNS} FROM api_key WHERE key_id = ?`);
  const linkById = db.prepare<[string], PortalLinkRow>('SELECT * FROM portal_link WHERE link_id = ?');
  const typeByName = db.prepare<[string], EventTypeRow>('SELECT * FROM event_type WHERE name = ?');
  const encryptionKeys = db.prepare<[], EncryptionKeyRow>(ENCRYPTION_KEYS);

  function read({ type, id, username }: Subject): AuditedThings[Subject['type']] | null {
    switch (type) {
      case 'account':
        return operations.getAccount(id);
      case 'api_key': {
        const row = keyById.get(id);
        return row === undefined ? null : toKey(row);
      }
      case 'portal_link': {
        const row = linkById.get(id);
        return row === undefined ? null : toPortalLink(row);
      }
      case 'event_type': {
        const row = typeByName.get(id);
        return row === undefined ? null : toEventType(row);
      }
      case 'endpoint':
        return operations.getEndpoint(username ?? '', id);
      case 'delivery':
        return operations.getDelivery(username ?? '', id);
      case 'replay':
        return operations.getReplay(username ?? '', id);
      case 'encryption_key':
        return toEncryptionKeys(encryptionKeys.all());
    }
  }

  return (by, name, args) => {
    const { action, subject: subjectOf, made } = ruleOf(name);
    const known = subjectOf(...args);
    const before = known === null ? null : read(known);
    const operation = operations[name as keyof SyncStore] as (...args: unknown[]) => unknown;
    const result = operation(...args);
    const subject = known ?? made?.(result) ?? null;
    if (subject === null) return result;
    const line = auditLine(by, action, subject, before, read(subject));
    if (line !== null) insert.run(nextId('aud'), now(), ...auditValues(line));
    return result;
  };
}
