import { type Command, Option } from 'commander';
import { AUDIT_TARGETS } from '../model.ts';
import { createClient } from './client.ts';
import type { Io } from './io.ts';
import {
  type CommonOptions,
  momentArgument,
  withClientOptions,
  withExamples,
  withPageOptions,
} from './options.ts';
import { formatTime, harmless, printJson, printLine, printMore } from './output.ts';
import type { AuditEntryData, AuditPage } from './wire.ts';

interface AuditOptions extends CommonOptions {
  account?: string;
  keyId?: string;
  action?: string;
  targetType?: string;
  target?: string;
  since?: number;
  until?: number;
  limit: number;
  cursor?: string;
}

/** `posthorn audit`: who changed what, newest first. */
export function auditCommand(program: Command, io: Io): void {
  withExamples(
    withPageOptions(
      withClientOptions(program.command('audit').description('show who changed what, newest first'))
        .option('--account <username>', 'only what belongs to this account')
        .option('--key-id <key-id>', 'only what was done with this key (key_…)')
        .option('--action <action>', 'only this, such as endpoint.update')
        .addOption(new Option('--target-type <type>', 'only things of this kind').choices([...AUDIT_TARGETS]))
        .option('--target <id>', 'only the thing of this id or name')
        .option('--since <time>', 'from this time on: 2h, 2026-01-31T12:00:00Z', momentArgument(io))
        .option('--until <time>', 'before this time', momentArgument(io)),
    ),
    'posthorn audit --since 1d',
    'posthorn audit --account alice --action endpoint.rotate_secret',
    'posthorn audit --key-id key_01kas4h3bq0000w3r8y0e6a1kd --json',
  ).action(async (options: AuditOptions) => {
    const { account, keyId, action, targetType, target, since, until, limit, cursor } = options;
    const page = await createClient(options, io.env).request<AuditPage>({
      method: 'GET',
      path: ['audit'],
      query: {
        account,
        key_id: keyId,
        action,
        target_type: targetType,
        target,
        since,
        until,
        limit,
        cursor,
      },
    });
    if (options.json) return printJson(io, page);
    for (const entry of page.entries) printEntry(io, entry);
    printMore(io, page.next_cursor);
  });
}

function whoOf({ actor, key_id, key_account }: AuditEntryData): string {
  const names = [key_account, key_id].filter((name) => name !== null);
  return names.length === 0 ? actor : `${actor} ${names.join(' ')}`;
}

/** A line for the change, and one for each value that differs. */
function printEntry(io: Io, entry: AuditEntryData): void {
  const { at, action, target_type, target, account, via, remote_address, through, before, after } = entry;
  const owner = account === null || account === target ? '' : ` of ${account}`;
  const from = remote_address === null ? '' : ` from ${remote_address}`;
  printLine(
    io.stdout,
    harmless(
      `${formatTime(at)}  ${action}  ${target_type} ${target}${owner}  by ${whoOf(entry)}${from} (${via}${through === null ? '' : `, ${through}`})`,
    ),
  );
  for (const name of Object.keys({ ...before, ...after })) {
    const was = before === null ? '' : `${JSON.stringify(before[name] ?? null)} → `;
    const is = after === null ? 'gone' : JSON.stringify(after[name] ?? null);
    printLine(io.stdout, harmless(`    ${name}: ${was}${is}`));
  }
}
