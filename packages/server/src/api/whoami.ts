/** The credential test of every client. */
import { Type } from './schema.ts';

import { toSeconds } from '../clock.ts';
import type { ApiDeps } from './deps.ts';
import { type ApiRoute, route } from './route.ts';
import { NullableSeconds, NullableText } from './shapes.ts';

const Identity = Type.Object(
  {
    username: NullableText('The account; null for an operator-level key.', 'alice'),
    created_at: NullableSeconds(
      'When the account was made, or an operator-level key; null for the configured one.',
    ),
    scopes: Type.Array(Type.Enum(['account', 'publish', 'operator'])),
  },
  { title: 'Identity' },
);

/** `path` is `/user/whoami` in v2 and `/whoami` in v1. */
export function whoamiRoute({ store }: ApiDeps, path: string, operationId: string): ApiRoute {
  return route({
    method: 'GET',
    path,
    access: 'any',
    operationId,
    tag: 'Who am I',
    summary: 'Whose key is this, and what may it do',
    data: Identity,
    async handle({ caller, username }) {
      // An operator that names an account wants to see that account.
      const actingFor =
        caller.username === null && username !== null ? await store.getAccount(username) : null;
      const createdAt = actingFor?.createdAt ?? caller.createdAt;
      return {
        username,
        created_at: createdAt === null ? null : toSeconds(createdAt),
        scopes: caller.scopes,
      };
    },
  });
}
