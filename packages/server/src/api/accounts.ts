/** Accounts: the customers of the operator's product. All of it needs an operator key. */
import { type Static, Type } from './schema.ts';

import { toSeconds } from '../clock.ts';
import { notFound } from '../errors.ts';
import type { Account } from '../model.ts';
import type { Authenticator } from './auth.ts';
import type { ApiDeps } from './deps.ts';
import { type ApiRoute, pathParams, route } from './route.ts';
import {
  Message,
  Metadata,
  NextCursor,
  NullableMetadata,
  UnixSeconds,
  Username,
  checkMetadata,
  pageFields,
  pageOf,
} from './shapes.ts';

const AccountStatusShape = Type.Enum(['active', 'suspended'], {
  description: "Suspended: its keys are refused with 18025 and its deliveries wait until it's active again.",
});

const AccountShape = Type.Object(
  {
    username: Username,
    status: AccountStatusShape,
    metadata: NullableMetadata,
    endpoints: Type.Integer({ minimum: 0, description: 'How many endpoints it has.', examples: [2] }),
    created_at: UnixSeconds('When it was made.'),
  },
  { title: 'Account' },
);

const AccountInput = Type.Object(
  { username: Username, metadata: Type.Optional(Metadata) },
  { additionalProperties: false, examples: [{ username: 'alice', metadata: { plan: 'pro' } }] },
);

const AccountChanges = Type.Object(
  { status: Type.Optional(AccountStatusShape), metadata: Type.Optional(NullableMetadata) },
  { additionalProperties: false, minProperties: 1, examples: [{ status: 'suspended' }] },
);

const AccountPage = Type.Object({ accounts: Type.Array(AccountShape), next_cursor: NextCursor });

function accountShape(account: Account): Static<typeof AccountShape> {
  return {
    username: account.username,
    status: account.status,
    metadata: account.metadata,
    endpoints: account.endpoints,
    created_at: toSeconds(account.createdAt),
  };
}

export function accountRoutes({ store, delivery }: ApiDeps, auth: Authenticator): ApiRoute[] {
  const params = pathParams('username');

  /** What the dispatcher holds for these endpoints was taken before the change; it has to look again. */
  function tellDelivery(endpoints: readonly { endpointId: string }[]): void {
    for (const { endpointId } of endpoints) delivery.endpointChanged(endpointId);
  }

  return [
    route({
      method: 'POST',
      path: '/account',
      access: 'operator',
      operationId: 'createAccount',
      tag: 'Accounts',
      summary: 'Create an account',
      body: AccountInput,
      data: AccountShape,
      errors: ['conflict'],
      async handle({ body, by }) {
        checkMetadata(body.metadata);
        return accountShape(
          await store.as(by).createAccount({ username: body.username, metadata: body.metadata ?? null }),
        );
      },
    }),
    route({
      method: 'GET',
      path: '/accounts',
      access: 'operator',
      operationId: 'listAccounts',
      tag: 'Accounts',
      summary: 'List accounts, newest first',
      query: Type.Object(
        {
          search: Type.Optional(
            Type.String({
              maxLength: 64,
              description: 'Only accounts whose name contains this, in either case.',
            }),
          ),
          ...pageFields,
        },
        { additionalProperties: false },
      ),
      data: AccountPage,
      async handle({ query }) {
        const page = await store.listAccounts(pageOf(query), query.search);
        return { accounts: page.items.map(accountShape), next_cursor: page.nextCursor };
      },
    }),
    route({
      method: 'GET',
      path: '/account/:username',
      access: 'operator',
      operationId: 'getAccount',
      tag: 'Accounts',
      summary: 'Show an account',
      params,
      data: AccountShape,
      errors: ['not_found'],
      async handle({ params: { username } }) {
        const account = await store.getAccount(username);
        if (account === null) throw notFound('account', username);
        return accountShape(account);
      },
    }),
    route({
      method: 'PATCH',
      path: '/account/:username',
      access: 'operator',
      operationId: 'updateAccount',
      tag: 'Accounts',
      summary: 'Suspend, activate or annotate an account',
      description:
        'Suspending holds from the next request on: the account’s keys are refused with code 18025 and its deliveries wait. Activating lets them go on.',
      params,
      body: AccountChanges,
      data: AccountShape,
      errors: ['not_found'],
      async handle({ params: { username }, body, by }) {
        checkMetadata(body.metadata);
        const account = await store.as(by).updateAccount(username, body);
        if (account === null) throw notFound('account', username);
        if (body.status !== undefined) auth.forgetKeys();
        if (body.status === 'suspended') tellDelivery(await store.listEndpoints(username));
        if (body.status === 'active') delivery.wake();
        return accountShape(account);
      },
    }),
    route({
      method: 'DELETE',
      path: '/account/:username',
      access: 'operator',
      operationId: 'deleteAccount',
      tag: 'Accounts',
      summary: 'Delete an account with everything of it',
      description:
        'Its keys, endpoints, events and deliveries are out of reach from the answer on; their rows go in the background. The name can be taken again when they are gone.',
      params,
      data: Message,
      errors: ['not_found'],
      async handle({ params: { username }, by }) {
        const endpoints = await store.listEndpoints(username);
        if (!(await store.as(by).deleteAccount(username))) throw notFound('account', username);
        auth.forgetKeys();
        tellDelivery(endpoints);
        return { message: 'account deleted' };
      },
    }),
  ];
}
