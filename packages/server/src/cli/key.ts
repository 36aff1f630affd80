import type { Command } from 'commander';
import { type Client, createClient } from './client.ts';
import { CommandError } from './failure.ts';
import type { Io } from './io.ts';
import { type CommonOptions, durationArgument, withClientOptions, withExamples } from './options.ts';
import { formatTime, harmless, printFields, printJson, printLine, printTable } from './output.ts';
import type { KeyList, NewKeyData } from './wire.ts';

const TEN_YEARS_MS = 3650 * 86_400_000;

/** `posthorn key`: API keys of an account (`--account`, or an account's own key), or of operator level. */
export function keyCommand(program: Command, io: Io): void {
  const key = withExamples(
    program.command('key').description('create, list and revoke API keys'),
    'posthorn key create backend --account alice',
    'posthorn key list --account alice',
  );

  withExamples(
    withKeyOwner(withClientOptions(key.command('create').description('create an API key').argument('<name>')))
      .option('--scope <scope...>', 'publish or operator, for a key of operator level; account otherwise')
      .option(
        '--expires-in <duration>',
        'how long it is valid, such as 90d',
        durationArgument(1000, TEN_YEARS_MS),
      ),
    'posthorn key create backend --account alice',
    'posthorn key create my-product --scope publish --expires-in 90d',
  ).action(async (name: string, options: CommonOptions & { scope?: string[]; expiresIn?: number }) => {
    const client = createClient(options, io.env);
    const expiresAt =
      options.expiresIn === undefined ? undefined : Math.floor((io.now() + options.expiresIn) / 1000);
    const created = await client.request<NewKeyData>({
      method: 'POST',
      path: [...keyOwnerPath(options.account), 'api_key'],
      body: { name, scopes: options.scope, expires_at: expiresAt },
    });
    if (options.json) return printJson(io, created);
    printFields(io, [
      ['key id', created.key_id],
      ['name', created.name],
      ['scopes', created.scopes.join(', ')],
      ['expires', formatTime(created.expires_at) ?? 'never'],
      ['API key', created.api_key],
    ]);
    printLine(io.stderr, 'The API key is shown this once: keep it now.');
  });

  withExamples(
    withKeyOwner(withClientOptions(key.command('list').description('list API keys, newest first'))),
    'posthorn key list --account alice',
    'posthorn key list',
  ).action(async (options: CommonOptions) => {
    const list = await readKeys(createClient(options, io.env), options.account);
    if (options.json) return printJson(io, list);
    printTable(
      io,
      ['KEY ID', 'NAME', 'PREFIX', 'SCOPES', 'CREATED', 'EXPIRES', 'LAST USED', 'REVOKED'],
      list.api_keys.map((item) => [
        item.key_id,
        item.name,
        item.prefix,
        item.scopes.join(','),
        formatTime(item.created_at),
        formatTime(item.expires_at),
        formatTime(item.last_used_at),
        formatTime(item.revoked_at),
      ]),
    );
  });

  withExamples(
    withClientOptions(key.command('revoke').description('end an API key at once').argument('<key-id>')),
    'posthorn key revoke key_01kas4h3bq0000w3r8y0e6a1kd',
  ).action(async (keyId: string, options: CommonOptions) => {
    // The likeliest slip, and the key must not end in a URL and from there in logs.
    if (keyId.startsWith('ph_')) {
      throw new CommandError(
        'usage',
        'That is an API key, not its id (key_…): `posthorn key list` shows the ids',
      );
    }
    const answer = await createClient(options, io.env).request<object>({
      method: 'DELETE',
      path: ['api_key', keyId],
    });
    if (options.json) return printJson(io, answer);
    printLine(io.stdout, `Revoked key ${harmless(keyId)}.`);
  });
}

function withKeyOwner(command: Command): Command {
  return command.option(
    '--account <username>',
    "whose keys, with an operator's key; without it: the caller's own level",
  );
}

function keyOwnerPath(account: string | undefined): string[] {
  return account === undefined ? [] : ['account', account];
}

function readKeys(client: Client, account: string | undefined): Promise<KeyList> {
  return client.request<KeyList>({ method: 'GET', path: [...keyOwnerPath(account), 'api_keys'] });
}
