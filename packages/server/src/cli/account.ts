import type { Command } from 'commander';
import { createClient } from './client.ts';
import { CommandError } from './failure.ts';
import type { Io } from './io.ts';
import {
  type CommonOptions,
  durationArgument,
  readJsonObject,
  withClientOptions,
  withExamples,
  withPageOptions,
} from './options.ts';
import { formatTime, harmless, printFields, printJson, printLine, printMore, printTable } from './output.ts';
import type { AccountData, AccountPage, PortalLinkData } from './wire.ts';

/** `posthorn account`: the customers of the operator's product. All of it needs an operator's key. */
export function accountCommand(program: Command, io: Io): void {
  const account = withExamples(
    program.command('account').description('create, list, suspend and delete accounts'),
    'posthorn account create alice',
    'posthorn account list',
  );

  withExamples(
    withClientOptions(
      account.command('create').description('create an account').argument('<username>'),
    ).option('--metadata <json>', 'anything to keep with it: a JSON object, @file, or - for stdin'),
    'posthorn account create alice',
    'posthorn account create alice --metadata \'{"plan":"pro"}\'',
  ).action(async (username: string, options: CommonOptions & { metadata?: string }) => {
    const client = createClient(options, io.env);
    const metadata =
      options.metadata === undefined ? undefined : await readJsonObject('--metadata', options.metadata, io);
    const name = JSON.stringify(username);
    const created = await client.request<AccountData>({
      method: 'POST',
      path: ['account'],
      body: metadata === undefined ? `{"username":${name}}` : `{"username":${name},"metadata":${metadata}}`,
    });
    if (options.json) return printJson(io, created);
    printLine(io.stdout, `Created account ${harmless(created.username)}.`);
  });

  withExamples(
    withPageOptions(withClientOptions(account.command('list').description('list accounts, newest first'))),
    'posthorn account list --limit 200',
  ).action(async (options: CommonOptions & { limit: number; cursor?: string }) => {
    const { limit, cursor } = options;
    const page = await createClient(options, io.env).request<AccountPage>({
      method: 'GET',
      path: ['accounts'],
      query: { limit, cursor },
    });
    if (options.json) return printJson(io, page);
    printTable(
      io,
      ['USERNAME', 'STATUS', 'ENDPOINTS', 'CREATED'],
      page.accounts.map(({ username, status, endpoints, created_at }) => [
        username,
        status,
        endpoints,
        formatTime(created_at),
      ]),
    );
    printMore(io, page.next_cursor);
  });

  withExamples(
    withClientOptions(account.command('show').description('show one account').argument('<username>')),
    'posthorn account show alice',
  ).action(async (username: string, options: CommonOptions) => {
    const found = await createClient(options, io.env).request<AccountData>({
      method: 'GET',
      path: ['account', username],
    });
    if (options.json) return printJson(io, found);
    printAccount(io, found);
  });

  withExamples(
    withClientOptions(
      account
        .command('portal-link')
        .description("make a link that signs a customer in to the account's portal, once")
        .argument('<username>'),
    ).option(
      '--expires-in <duration>',
      'how long it can be opened, 1m to 24h',
      durationArgument(60_000, 86_400_000),
      900_000,
    ),
    'posthorn account portal-link alice',
    'posthorn account portal-link alice --expires-in 1h',
  ).action(async (username: string, options: CommonOptions & { expiresIn: number }) => {
    const link = await createClient(options, io.env).request<PortalLinkData>({
      method: 'POST',
      path: ['account', username, 'portal_link'],
      body: { expires_in_seconds: Math.floor(options.expiresIn / 1000) },
    });
    if (options.json) return printJson(io, link);
    printLine(io.stdout, harmless(link.url));
    printLine(
      io.stderr,
      `Whoever opens it is signed in as ${harmless(username)}: once, until ${formatTime(link.expires_at)}.`,
    );
  });

  for (const { name, status, description, past } of [
    {
      name: 'suspend',
      status: 'suspended',
      description: 'refuse its keys and hold its deliveries until it is activated',
      past: 'Suspended',
    },
    {
      name: 'activate',
      status: 'active',
      description: 'end a suspension; what waited is delivered',
      past: 'Activated',
    },
  ] as const) {
    withExamples(
      withClientOptions(account.command(name).description(description).argument('<username>')),
      `posthorn account ${name} alice`,
    ).action(async (username: string, options: CommonOptions) => {
      const changed = await createClient(options, io.env).request<AccountData>({
        method: 'PATCH',
        path: ['account', username],
        body: { status },
      });
      if (options.json) return printJson(io, changed);
      printLine(io.stdout, `${past} account ${harmless(changed.username)}.`);
    });
  }

  withExamples(
    withClientOptions(
      account
        .command('delete')
        .description('delete an account with its keys, endpoints, events and deliveries')
        .argument('<username>'),
    ).option('--yes', 'really delete it; nothing brings it back'),
    'posthorn account delete alice --yes',
  ).action(async (username: string, options: CommonOptions & { yes?: boolean }) => {
    const client = createClient(options, io.env);
    if (options.yes !== true) {
      throw new CommandError(
        'usage',
        `This would delete account ${harmless(username)} with all its keys, endpoints and history: add --yes if you mean it`,
      );
    }
    const answer = await client.request<object>({ method: 'DELETE', path: ['account', username] });
    if (options.json) return printJson(io, answer);
    printLine(io.stdout, `Deleted account ${harmless(username)}.`);
  });
}

function printAccount(io: Io, account: AccountData): void {
  printFields(io, [
    ['username', account.username],
    ['status', account.status],
    ['endpoints', account.endpoints],
    ['created', formatTime(account.created_at)],
    ['metadata', account.metadata === null ? null : JSON.stringify(account.metadata)],
  ]);
}
