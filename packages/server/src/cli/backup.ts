import { existsSync, realpathSync, statSync } from 'node:fs';
import { basename, dirname, join, resolve } from 'node:path';
import type { Command } from 'commander';
import { encryptionKeyFile, loadConfig, loadDatabaseLocation } from '../config.ts';
import { olderKeysFile } from '../key-file.ts';
import type { CopyReport } from './backup-copy.ts';
import {
  chosenKeys,
  type FoundKeys,
  type KeySettings,
  missingKeyIds,
  namedKeys,
  neededKeyIds,
  readKeys,
  serviceKeys,
  writeKeys,
} from './backup-key.ts';
import { CommandError } from './failure.ts';
import type { Io } from './io.ts';
import { withExamples } from './options.ts';
import { printJson, printLine } from './output.ts';
import { packageVersion } from './version.ts';

interface BackupOptions {
  to: string;
  keyTo?: string;
  /** False with `--no-key`. */
  key: boolean;
  force?: boolean;
  config?: string;
  databaseUrl?: string;
  json?: boolean;
}

const REDRAW_INTERVAL_MS = 100;

/** `posthorn backup`: one moment of an SQLite database as a file, while the service runs and delivers. */
export function backupCommand(program: Command, io: Io): void {
  withExamples(
    program
      .command('backup')
      .description('copy the SQLite database to a file, while the service runs and delivers')
      .requiredOption('--to <file>', 'the backup to write; its folder must be there')
      .option(
        '--key-to <file>',
        'also copy the encryption key there, to those it holds: keep it apart from the backup',
      )
      .option(
        '--no-key',
        "don't look for the encryption key: you have it, and know that it is lost without it",
      )
      .option('--force', 'replace a backup that is there already')
      .option('--config <file>', 'the configuration file, as for serve (POSTHORN_CONFIG)')
      .option('--database-url <url>', 'the database, as for serve (POSTHORN_DATABASE_URL)')
      .option('--json', 'print what was done as JSON'),
    'posthorn backup --to /backups/posthorn.db --key-to /safe/posthorn.key',
    'posthorn backup --to "/backups/posthorn-$(date +%F).db" --key-to /safe/posthorn.key --json',
    'POSTHORN_ENCRYPTION_KEY=… posthorn backup --to /backups/posthorn.db --force',
  ).action(async (options: BackupOptions) => {
    const sources = {
      flags: { 'database-url': options.databaseUrl },
      env: io.env,
      file: options.config,
      cwd: io.cwd,
    };
    const location = loadDatabaseLocation(sources);
    if (location.engine === 'postgres') {
      throw new CommandError(
        'usage',
        'backup is for SQLite. PostgreSQL has its own: pg_dump --format=custom --schema=posthorn --file=posthorn.dump ' +
          '<url>, or point-in-time recovery; and keep POSTHORN_ENCRYPTION_KEY. docs/backup.md has both ways back',
      );
    }
    await backUp({ from: location.path, settings: loadConfig(sources), options }, io);
  });
}

interface Backup {
  from: string;
  settings: KeySettings;
  options: BackupOptions;
}

async function backUp({ from, settings, options }: Backup, io: Io): Promise<void> {
  const to = resolve(io.cwd, options.to);
  const keyTo = options.keyTo === undefined ? null : resolve(io.cwd, options.keyTo);
  const force = options.force === true;
  checkPlaces({ from, to, keyTo, force, wantsKey: options.key });
  // Loaded here, so that the other commands start without the database's code.
  const { copyDatabase } = await import('./backup-copy.ts');
  let needed: string[] = [];
  let keys: FoundKeys | null = null;
  let earlier: FoundKeys | null = null;
  const progress = progressLine(io);
  let report: CopyReport;
  try {
    report = await copyDatabase(
      {
        from,
        to,
        version: packageVersion(),
        inspect: (db) => {
          needed = neededKeyIds(db);
          if (needed.length === 0 || !options.key) return;
          keys = proven(needed, serviceKeys(settings, from), from);
          if (keyTo !== null) earlier = readKeys(keyTo);
          else if (settings.encryptionKey === null) throw undecided(needed, keys);
        },
        onProgress: progress.show,
      },
      io,
    );
  } finally {
    progress.end();
  }
  // TypeScript doesn't see what `inspect` assigned.
  const found = keys as FoundKeys | null;
  if (found !== null && keyTo !== null) {
    // Older backups may need the keys from before a rotation.
    const others = ((earlier as FoundKeys | null)?.keys ?? []).filter(({ id }) => !needed.includes(id));
    writeKeys(keyTo, [...chosenKeys(needed, found), ...others]);
  }
  print({ from, to, keyTo: found === null ? null : keyTo, report, needed, keys: found }, options, io);
}

interface Places {
  from: string;
  to: string;
  keyTo: string | null;
  force: boolean;
  wantsKey: boolean;
}

/** @throws CommandError for what shows before the database is looked at */
function checkPlaces({ from, to, keyTo, force, wantsKey }: Places): void {
  if (keyTo !== null && !wantsKey) throw new CommandError('usage', 'give --key-to or --no-key, not both');
  if (!existsSync(from)) {
    throw new CommandError(
      'failed',
      `there is no database at ${from}: give the one of posthorn serve with --database-url or POSTHORN_DATABASE_URL`,
    );
  }
  const own = ['', '-wal', '-shm', '-journal', '.lock'].map((suffix) => real(from) + suffix);
  own.push(real(encryptionKeyFile(from)), real(olderKeysFile(encryptionKeyFile(from))));
  for (const [option, place] of [
    ['--to', to],
    ['--key-to', keyTo],
  ] as const) {
    if (place === null) continue;
    if (own.includes(real(place))) {
      throw new CommandError('usage', `${option} ${place} is a file of the service itself: choose another`);
    }
    if (!existsSync(dirname(place)) || !statSync(dirname(place)).isDirectory()) {
      throw new CommandError(
        'usage',
        `${option} ${place}: there is no folder ${dirname(place)}; make it first`,
      );
    }
    if (existsSync(place) && !statSync(place).isFile()) {
      throw new CommandError('usage', `${option} ${place} is no file: name one`);
    }
  }
  if (keyTo !== null && real(keyTo) === real(to)) {
    throw new CommandError('usage', '--to and --key-to name the same file: the key has to be kept apart');
  }
  if (existsSync(to) && !force) {
    throw new CommandError(
      'failed',
      `${to} is there already: choose another name, or replace it with --force`,
    );
  }
}

/** The path without links, as far as it is there. */
function real(path: string): string {
  if (existsSync(path)) return realpathSync(path);
  const folder = dirname(path);
  return existsSync(folder) ? join(realpathSync(folder), basename(path)) : path;
}

/** @throws CommandError when the service's own keys are missing or aren't those that the data was written with */
function proven(needed: readonly string[], found: FoundKeys | null, from: string): FoundKeys {
  const missing = missingKeyIds(needed, found);
  if (found !== null && missing.length === 0) return found;
  const place =
    found === null
      ? `there is none in ${encryptionKeyFile(from)}`
      : `${found.place} has ${namedKeys(found.keys.map(({ id }) => id))}`;
  throw new CommandError(
    'failed',
    `the secrets in ${from} need encryption ${namedKeys(missing)}, and ${place}: a backup could not be used without it. ` +
      'Give the right one as POSTHORN_ENCRYPTION_KEY, or back up with --no-key if you have it elsewhere',
  );
}

function undecided(needed: readonly string[], keys: FoundKeys): CommandError {
  return new CommandError(
    'usage',
    `the secrets in the database can't be read without encryption ${namedKeys(needed)}, in ${keys.place} and not in ` +
      'the backup: copy it with --key-to <file>, to be kept apart from the backup, or say with --no-key that you have it',
  );
}

interface Done {
  from: string;
  to: string;
  keyTo: string | null;
  report: CopyReport;
  needed: string[];
  keys: FoundKeys | null;
}

function print({ from, to, keyTo, report, needed, keys }: Done, { json }: BackupOptions, io: Io): void {
  const { asOf, bytes, copyMs, checkMs } = report;
  const asOfIso = new Date(asOf).toISOString();
  if (json) {
    printJson(io, {
      from,
      to,
      as_of: asOfIso,
      bytes,
      copy_seconds: copyMs / 1000,
      check_seconds: checkMs / 1000,
      encryption_key_ids: needed,
      encryption_key_file: keyTo,
    });
    return;
  }
  const seconds = (ms: number) => `${(ms / 1000).toFixed(1)} s`;
  printLine(io.stdout, `${to} is a backup of ${from} as of ${asOfIso}.`);
  printLine(
    io.stdout,
    `${(bytes / 1024 ** 2).toFixed(1)} MiB, copied in ${seconds(copyMs)}, checked and on disk in ${seconds(checkMs)}.`,
  );
  if (needed.length === 0) {
    printLine(io.stdout, 'No service has used the database yet, so it needs no encryption key.');
    return;
  }
  const place = keys === null ? 'which was not looked for' : `in ${keyTo ?? keys.place}`;
  printLine(io.stdout, `It needs encryption ${namedKeys(needed)}, ${place}: keep it apart from the backup.`);
}

/** On a terminal a line that is written over; nothing elsewhere. */
function progressLine(io: Io): { show(share: number): void; end(): void } {
  if (io.stderr.isTTY !== true) return { show: () => {}, end: () => {} };
  let shownAt = Number.NEGATIVE_INFINITY;
  return {
    show(share) {
      const now = io.monotonic();
      if (now - shownAt < REDRAW_INTERVAL_MS) return;
      shownAt = now;
      io.stderr.write(`\r${`copied ${Math.floor(share * 100)} %`.padEnd(20)}`);
    },
    end: () => void io.stderr.write(`\r${' '.repeat(20)}\r`),
  };
}
