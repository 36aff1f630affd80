/** API keys. The key itself is in one answer only; the store keeps its hash. */
import { type Static, Type } from './schema.ts';

import { idFactory, toSeconds } from '../clock.ts';
import { invalid, notFound } from '../errors.ts';
import type { ApiKey, AuditActor, Scope } from '../model.ts';
import { createApiKey, hashApiKey, keyPrefix } from '../secrets.ts';
import type { Authenticator } from './auth.ts';
import type { ApiDeps } from './deps.ts';
import { type ApiRoute, pathParams, route } from './route.ts';
import { Message, NullableSeconds, UnixSeconds } from './shapes.ts';

const ScopeShape = Type.Enum(['account', 'publish', 'operator'], {
  description: '`account` acts for one account; `publish` and `operator` belong to operator-level keys.',
});

const KeyInput = Type.Object(
  {
    name: Type.String({ minLength: 1, maxLength: 100, description: 'What the key is for.' }),
    scopes: Type.Optional(
      Type.Array(ScopeShape, {
        minItems: 1,
        maxItems: 3,
        description:
          "An account's key has `account` (the default). An operator-level key has `publish`, `operator` or both, and they must be given.",
      }),
    ),
    expires_at: Type.Optional(NullableSeconds('From then on the key is refused; null or absent: never.')),
  },
  { additionalProperties: false, examples: [{ name: 'production' }] },
);

const keyFields = {
  key_id: Type.String({ examples: ['key_01kas4h3bq0000w3r8y0e6a1kd'] }),
  name: Type.String({ examples: ['production'] }),
  scopes: Type.Array(ScopeShape),
  prefix: Type.String({
    description: "The key's first characters, to recognise it.",
    examples: ['ph_4f1c9a02'],
  }),
  created_at: UnixSeconds('When it was made.'),
  expires_at: NullableSeconds('From when on it is refused.'),
};

const NewKey = Type.Object(
  {
    key_id: keyFields.key_id,
    api_key: Type.String({ description: 'The key. It is shown here and never again.', examples: ['ph_…'] }),
    name: keyFields.name,
    scopes: keyFields.scopes,
    prefix: keyFields.prefix,
    created_at: keyFields.created_at,
    expires_at: keyFields.expires_at,
  },
  { title: 'NewApiKey' },
);

const KeyShape = Type.Object(
  {
    ...keyFields,
    last_used_at: NullableSeconds('When it was last used, to a few seconds.'),
    revoked_at: NullableSeconds('When it was revoked.'),
  },
  { title: 'ApiKey' },
);

const KeyList = Type.Object({ api_keys: Type.Array(KeyShape, { description: 'Newest first.' }) });

function nullableSeconds(ms: number | null): number | null {
  return ms === null ? null : toSeconds(ms);
}

function keyShape(key: ApiKey): Static<typeof KeyShape> {
  return {
    key_id: key.keyId,
    name: key.name,
    scopes: key.scopes,
    prefix: key.prefix,
    created_at: toSeconds(key.createdAt),
    expires_at: nullableSeconds(key.expiresAt),
    last_used_at: nullableSeconds(key.lastUsedAt),
    revoked_at: nullableSeconds(key.revokedAt),
  };
}

/** The scopes of a new key: an account's key never reaches beyond the account, an operator-level one says how far. */
function scopesFor(username: string | null, asked: Scope[] | undefined): Scope[] {
  if (username !== null) {
    if (asked?.some((scope) => scope !== 'account')) {
      throw invalid('scopes', "scopes of an account's key can only be: account");
    }
    return ['account'];
  }
  if (asked === undefined || asked.includes('account')) {
    throw invalid(
      'scopes',
      'scopes of an operator-level key must be given: publish, operator or both (for a key of an account, ' +
        'send its username in the x-account header)',
    );
  }
  return [...new Set(asked)];
}

export function keyRoutes({ store, clock }: ApiDeps, auth: Authenticator): ApiRoute[] {
  const makeId = idFactory();

  async function create(
    username: string | null,
    input: Static<typeof KeyInput>,
    by: AuditActor,
  ): Promise<Static<typeof NewKey>> {
    const now = clock.now();
    const scopes = scopesFor(username, input.scopes);
    const expiresAt =
      input.expires_at === undefined || input.expires_at === null ? null : input.expires_at * 1000;
    if (expiresAt !== null && expiresAt <= now) {
      throw invalid('expires_at', 'expires_at must be a time in the future, in unix seconds');
    }
    const apiKey = createApiKey();
    const key = await store.as(by).createKey({
      keyId: makeId('key', now),
      username,
      name: input.name,
      scopes,
      prefix: keyPrefix(apiKey),
      expiresAt,
      hash: hashApiKey(apiKey),
    });
    const { last_used_at: _, revoked_at: __, ...shown } = keyShape(key);
    return { ...shown, api_key: apiKey };
  }

  return [
    route({
      method: 'POST',
      path: '/account/:username/api_key',
      access: 'operator',
      operationId: 'createAccountKey',
      tag: 'API keys',
      summary: 'Create a key for an account',
      params: pathParams('username'),
      body: KeyInput,
      data: NewKey,
      errors: ['not_found'],
      handle: ({ params, body, by }) => create(params.username, body, by),
    }),
    route({
      method: 'POST',
      path: '/api_key',
      access: 'account_or_operator',
      operationId: 'createKey',
      tag: 'API keys',
      summary: 'Create a key for oneself',
      description:
        'With an account’s key: one more key of that account. With an operator key: an operator-level key, or with `x-account` a key of that account.',
      body: KeyInput,
      data: NewKey,
      handle: ({ username, body, by }) => create(username, body, by),
    }),
    route({
      method: 'GET',
      path: '/account/:username/api_keys',
      access: 'operator',
      operationId: 'listAccountKeys',
      tag: 'API keys',
      summary: "List an account's keys",
      params: pathParams('username'),
      data: KeyList,
      errors: ['not_found'],
      async handle({ params: { username } }) {
        if ((await store.getAccount(username)) === null) throw notFound('account', username);
        return { api_keys: (await store.listKeys(username)).map(keyShape) };
      },
    }),
    route({
      method: 'GET',
      path: '/api_keys',
      access: 'account_or_operator',
      operationId: 'listKeys',
      tag: 'API keys',
      summary: 'List own keys',
      description:
        'With an operator key: the operator-level keys, or with `x-account` those of that account.',
      data: KeyList,
      async handle({ username }) {
        return { api_keys: (await store.listKeys(username)).map(keyShape) };
      },
    }),
    route({
      method: 'DELETE',
      path: '/api_key/:key_id',
      access: 'account_or_operator',
      operationId: 'revokeKey',
      tag: 'API keys',
      summary: 'Revoke a key',
      description:
        'Refused from the next request on, on every node within a second. An account can revoke its own keys, an operator any.',
      params: pathParams('key_id'),
      data: Message,
      errors: ['not_found'],
      async handle({ params, username, by }) {
        if (!(await store.as(by).revokeKey(params.key_id, username)))
          throw notFound('API key', params.key_id);
        auth.forgetKeys();
        return { message: 'API key revoked' };
      },
    }),
  ];
}
