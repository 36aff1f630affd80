/** The audit log: an operator sees all of it, an account what was done to its things. */
import { type Static, Type } from './schema.ts';

import { toSeconds } from '../clock.ts';
import { invalid } from '../errors.ts';
import { AUDIT_TARGETS, type AuditEntry, type JsonObject } from '../model.ts';
import type { AuditFilter } from '../store/store.ts';
import type { ApiDeps } from './deps.ts';
import { type ApiRoute, route } from './route.ts';
import { NextCursor, NullableText, UnixSeconds, pageFields, pageOf, rangeFields, rangeOf } from './shapes.ts';

const TargetType = Type.Enum([...AUDIT_TARGETS], { description: 'What kind of thing was changed.' });

function Facts(description: string, example: JsonObject) {
  return Type.Unsafe<JsonObject | null>({
    type: ['object', 'null'],
    additionalProperties: true,
    description,
    examples: [example],
  });
}

const AuditEntryShape = Type.Object(
  {
    audit_id: Type.String({ examples: ['aud_01kas4h3bq0000w3r8y0e6a1kd'] }),
    at: UnixSeconds('When it was done.'),
    actor: Type.Enum(['account', 'operator', 'command', 'service'], {
      description:
        'Whose doing it was: of an account’s key, of an operator’s, of a command on the database itself, or of the service by itself.',
    }),
    key_id: NullableText(
      'The key it was done with; `configured`: the operator’s key of the configuration. Null where there was none (as in a portal), and for an account where it was the operator.',
      'key_01kas4h3bq0000w3r8y0e6a1kd',
    ),
    key_account: NullableText('The account whose key it was.', 'alice'),
    via: Type.String({ description: 'The route or command.', examples: ['PUT /v2/endpoint/:endpoint_id'] }),
    request_id: NullableText('The `rid` of the request.', 'req_01kas4h3bq0000w3r8y0e6a1kd'),
    remote_address: NullableText('Where the request came from.', '203.0.113.9'),
    through: Type.Unsafe<'dashboard' | 'portal' | null>({
      type: ['string', 'null'],
      enum: ['dashboard', 'portal', null],
      description:
        'By which page a person did it: `dashboard`, signed in with the key, or `portal`, by a portal link. Null for programs.',
      examples: [null],
    }),
    action: Type.String({ description: '`<noun>.<verb>`.', examples: ['endpoint.update'] }),
    target_type: TargetType,
    target: Type.String({
      description: 'The id or name of what was changed.',
      examples: ['wh_01kas4h3bq0000w3r8y0e6a1kd'],
    }),
    account: NullableText('The account whose thing it is.', 'alice'),
    before: Facts('What was changed, as it was; null where there was nothing. Without secrets.', {
      status: 'enabled',
    }),
    after: Facts('What was changed, as it is; null where there is nothing any more. Without secrets.', {
      status: 'disabled',
    }),
  },
  { title: 'AuditEntry' },
);

function actorOf({ by }: AuditEntry): Static<typeof AuditEntryShape>['actor'] {
  if (by.kind !== 'key') return by.kind;
  return by.username === null ? 'operator' : 'account';
}

function entryShape(entry: AuditEntry): Static<typeof AuditEntryShape> {
  const { by } = entry;
  return {
    audit_id: entry.auditId,
    at: toSeconds(entry.at),
    actor: actorOf(entry),
    key_id: by.keyId,
    key_account: by.username,
    via: by.via,
    request_id: by.requestId,
    remote_address: by.remoteAddress,
    through: by.through,
    action: entry.action,
    target_type: entry.targetType,
    target: entry.target,
    account: entry.username,
    before: entry.before,
    after: entry.after,
  };
}

/** For an account: that it was the operator is its business, from where and with which key is not. */
function accountEntryShape(entry: AuditEntry): Static<typeof AuditEntryShape> {
  const shape = entryShape(entry);
  if (shape.actor === 'account') return shape;
  return { ...shape, key_id: null, request_id: null, remote_address: null };
}

export function auditRoutes({ store }: ApiDeps): ApiRoute[] {
  return [
    route({
      method: 'GET',
      path: '/audit',
      access: 'account_or_operator',
      operationId: 'listAudit',
      tag: 'Audit log',
      summary: 'List who changed what, newest first',
      description:
        'With an operator key: everything, or with `x-account` what that account sees. With an account’s key: what was done to its endpoints, keys, deliveries and replays, by whom ever. Publishing is not part of the log.',
      query: Type.Object(
        {
          key_id: Type.Optional(Type.String({ maxLength: 128, description: 'Only with this key.' })),
          account: Type.Optional(
            Type.String({ maxLength: 64, description: 'Only to things of this account; for operators.' }),
          ),
          action: Type.Optional(
            Type.String({ maxLength: 64, description: 'Only this action.', examples: ['endpoint.update'] }),
          ),
          target_type: Type.Optional(TargetType),
          target: Type.Optional(
            Type.String({ maxLength: 128, description: 'Only to the thing of this id or name.' }),
          ),
          ...rangeFields,
          ...pageFields,
        },
        { additionalProperties: false },
      ),
      data: Type.Object({ entries: Type.Array(AuditEntryShape), next_cursor: NextCursor }),
      async handle({ username, query }) {
        const { key_id: keyId, account, action, target_type: targetType, target } = query;
        const filter: AuditFilter = {
          ...(keyId === undefined ? {} : { keyId }),
          ...(account === undefined ? {} : { username: account }),
          ...(action === undefined ? {} : { action }),
          ...(targetType === undefined ? {} : { targetType }),
          ...(target === undefined ? {} : { target }),
          ...rangeOf(query),
        };
        if (username === null) {
          const page = await store.listAudit(filter, pageOf(query));
          return { entries: page.items.map(entryShape), next_cursor: page.nextCursor };
        }
        if (account !== undefined && account !== username) {
          throw invalid('account', 'account can only be given by an operator, without the x-account header');
        }
        // What another account of the same name has left, and what only operators see of an account, is not its own.
        const createdAt = (await store.getAccount(username))?.createdAt ?? Number.MAX_SAFE_INTEGER;
        const own: AuditFilter = {
          ...filter,
          username,
          withoutTargetType: 'account',
          since: Math.max(createdAt, filter.since ?? 0),
        };
        const page = await store.listAudit(own, pageOf(query));
        return { entries: page.items.map(accountEntryShape), next_cursor: page.nextCursor };
      },
    }),
  ];
}
