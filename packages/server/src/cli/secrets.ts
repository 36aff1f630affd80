import type { Command } from 'commander';
import { type Client, createClient } from './client.ts';
import type { Io } from './io.ts';
import { type CommonOptions, withClientOptions, withExamples } from './options.ts';
import { counted, harmless, printJson, printLine, printTable } from './output.ts';
import type { EncryptionKeysData } from './wire.ts';

const POLL_MS = 500;

interface RotateOptions extends CommonOptions {
  dryRun?: boolean;
  wait: boolean;
}

/** `posthorn secrets`: the key that endpoint secrets and custom headers are encrypted with at rest. */
export function secretsCommand(program: Command, io: Io): void {
  const secrets = withExamples(
    program.command('secrets').description('show and rotate the key that secrets are encrypted with at rest'),
    'posthorn secrets status',
    'posthorn secrets rotate-key',
  );

  withExamples(
    withClientOptions(
      secrets.command('status').description('show the keys that are in use, by their ids, and for how much'),
    ),
    'posthorn secrets status --json',
  ).action(async (options: CommonOptions) => {
    const status = await read(createClient(options, io.env));
    if (options.json) return printJson(io, status);
    printStatus(io, status);
  });

  withExamples(
    withClientOptions(
      secrets
        .command('rotate-key')
        .description('encrypt all secrets with a new key, while the service runs')
        .option('--dry-run', 'say what would be done, and change nothing')
        .option('--no-wait', 'begin, and leave the rest to the service'),
    ),
    'posthorn secrets rotate-key --dry-run',
    'posthorn secrets rotate-key',
  ).action(async (options: RotateOptions) => {
    const client = createClient(options, io.env);
    const before = await read(client);
    if (options.dryRun) {
      if (options.json) return printJson(io, before);
      return printLine(io.stdout, plan(before));
    }
    const begun = await client.request<EncryptionKeysData>({
      method: 'POST',
      path: ['encryption_keys', 'rotate'],
    });
    const ended = options.wait ? await untilDone(client, begun, io) : begun;
    if (options.json) return printJson(io, ended);
    printLine(io.stdout, result(ended));
  });
}

function read(client: Client): Promise<EncryptionKeysData> {
  return client.request<EncryptionKeysData>({ method: 'GET', path: ['encryption_keys'] });
}

function total({ keys }: EncryptionKeysData): number {
  return keys.reduce((sum, { values }) => sum + values, 0);
}

function olderOf({ keys }: EncryptionKeysData): string {
  return keys
    .filter(({ active }) => !active)
    .map(({ key_id }) => harmless(key_id))
    .join(', ');
}

function plan(status: EncryptionKeysData): string {
  const { state, active_key_id, next_key_id, makes_key, remaining } = status;
  const active = harmless(active_key_id);
  if (next_key_id !== null) {
    return `Would make ${harmless(next_key_id)} the active key instead of ${active}, and encrypt ${counted(total(status), 'value')} with it.`;
  }
  if (state === 'running') {
    return `A rotation to ${active} is under way: ${counted(remaining, 'value')} left to encrypt with it.`;
  }
  if (makes_key) {
    return `Would make a new key, keep ${active} in the file of older keys, and encrypt ${counted(total(status), 'value')} with the new one.`;
  }
  return (
    `Nothing to do: the configured key ${active} is the active one. To rotate, start every node with the new key as ` +
    'POSTHORN_ENCRYPTION_KEY and the present one as POSTHORN_ENCRYPTION_KEY_OLD first.'
  );
}

function result(status: EncryptionKeysData): string {
  const active = harmless(status.active_key_id);
  if (status.state === 'running') {
    return `The active key is ${active}; the service goes on encrypting what ${olderOf(status)} has encrypted.`;
  }
  return `Done: all ${counted(total(status), 'value')} encrypted with ${active}, and nothing needs an older key any more.`;
}

/** Tells on stderr how far it is, whenever that has changed. */
async function untilDone(client: Client, begun: EncryptionKeysData, io: Io): Promise<EncryptionKeysData> {
  let told = -1;
  for (let status = begun; ; status = await read(client)) {
    if (status.state === 'idle') return status;
    const done = total(status) - status.remaining;
    if (done !== told) {
      const waiting = status.remaining === 0 ? '; waiting for every node to seal with the new key' : '';
      printLine(
        io.stderr,
        `${done} of ${counted(total(status), 'value')} encrypted with the new key${waiting}`,
      );
      told = done;
    }
    await io.sleep(POLL_MS);
  }
}

function printStatus(io: Io, status: EncryptionKeysData): void {
  printTable(
    io,
    ['KEY ID', 'USE', 'VALUES'],
    status.keys.map(({ key_id, active, values }) => [key_id, active ? 'active' : 'older', values]),
  );
  if (status.state === 'running') {
    printLine(io.stderr, `A rotation is under way: ${counted(status.remaining, 'value')} left.`);
  } else if (status.next_key_id !== null) {
    printLine(
      io.stderr,
      `The configured key ${harmless(status.next_key_id)} isn't in use yet: posthorn secrets rotate-key makes it the active one.`,
    );
  }
}
