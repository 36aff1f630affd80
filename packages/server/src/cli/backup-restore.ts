import {
  chmodSync,
  constants,
  copyFileSync,
  existsSync,
  linkSync,
  renameSync,
  statfsSync,
  statSync,
} from 'node:fs';
import { dirname, resolve } from 'node:path';
import type { Command } from 'commander';
import { encryptionKeyFile, loadConfig, loadDatabaseLocation } from '../config.ts';
import { olderKeysFile } from '../key-file.ts';
import type { Database } from '../store/sqlite/database.ts';
import type { BackupMark } from './backup-copy.ts';
import { removeDatabase, syncFile, syncFolder } from './backup-files.ts';
import {
  chosenKeys,
  type Key,
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

interface RestoreOptions {
  from: string;
  key?: string;
  force?: boolean;
  config?: string;
  databaseUrl?: string;
  json?: boolean;
}

/** `posthorn restore`: puts a backup where the service looks for its database. */
export function restoreCommand(program: Command, io: Io): void {
  withExamples(
    program
      .command('restore')
      .description('put a backup in the place of the SQLite database, while the service is stopped')
      .requiredOption('--from <file>', 'the backup, which is only read')
      .option('--key <file>', 'the encryption key that belongs to it; default: the one that serve would use')
      .option('--force', 'set aside the database and the key that are there already')
      .option('--config <file>', 'the configuration file, as for serve (POSTHORN_CONFIG)')
      .option('--database-url <url>', 'the database, as for serve (POSTHORN_DATABASE_URL)')
      .option('--json', 'print what was done as JSON'),
    'posthorn restore --from /backups/posthorn.db --key /safe/posthorn.key',
    'posthorn restore --from /backups/posthorn.db --force',
  ).action(async (options: RestoreOptions) => {
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
        'restore is for SQLite. For PostgreSQL docs/backup.md has the way with pg_restore',
      );
    }
    await restore({ path: location.path, settings: loadConfig(sources), options }, io);
  });
}

interface Restoring {
  /** Where the service has its database. */
  path: string;
  settings: KeySettings;
  options: RestoreOptions;
}

/**
 * The order is what keeps a crash harmless: first the backup is copied beside the database and proved to be whole, known
 * and readable with a key that is there; then the key; last, by one rename, the database. Until then the old one stands.
 */
async function restore({ path, settings, options }: Restoring, io: Io): Promise<void> {
  const from = resolve(io.cwd, options.from);
  if (!existsSync(from) || !statSync(from).isFile()) {
    throw new CommandError('failed', `there is no backup ${from}`);
  }
  if (from === path) throw new CommandError('usage', `${from} is the database itself: give the backup`);
  // Loaded here, so that the other commands start without the database's code.
  const { lockDatabase } = await import('../store/sqlite/database.ts');
  // A service that runs has its files open and would never see the new ones.
  const lock = lockDatabase(path);
  const copy = `${path}.restoring`;
  try {
    const hasDatabase = existsSync(path);
    if (hasDatabase && options.force !== true) {
      throw new CommandError(
        'failed',
        `${path} is there already: with --force it is set aside under another name, and the backup takes its place`,
      );
    }
    // What a restore left that was killed.
    removeDatabase(copy);
    takeFile(from, copy);
    const { mark, needed } = await readBackup(copy, from);
    const suffix = `.before-restore-${new Date(io.now()).toISOString().slice(0, 19).replaceAll(':', '-')}Z`;
    const aside: string[] = [];
    const newKeys = keysToWrite(needed, { path, settings, options }, io.cwd);
    if (newKeys !== null) aside.push(...replaceKeys(encryptionKeyFile(path), newKeys, suffix));
    aside.push(...(await setAside(path, suffix)));
    renameSync(copy, path);
    syncFolder(dirname(path));
    print({ from, path, mark, needed, hasNewKeys: newKeys !== null, aside }, options, io);
  } catch (error) {
    // A folder that can't be written, a disk that is full.
    const { syscall, message } = error as NodeJS.ErrnoException;
    if (syscall === undefined) throw error;
    throw new CommandError('failed', `${from} can't be restored to ${path}: ${message}`, { cause: error });
  } finally {
    removeDatabase(copy);
    lock.unlock();
  }
}

/** A backup may lie where nothing can be written, so only this copy of it is opened. A log beside it belongs to it. */
function takeFile(from: string, to: string): void {
  const { size } = statSync(from);
  const { bavail, bsize } = statfsSync(dirname(to));
  if (bavail * bsize < size) {
    throw new CommandError(
      'failed',
      `${dirname(to)} has too little room: the backup has ${size} bytes, and ${bavail * bsize} are free`,
    );
  }
  for (const suffix of ['', '-wal']) {
    if (!existsSync(from + suffix)) continue;
    copyFileSync(from + suffix, to + suffix, constants.COPYFILE_EXCL);
    chmodSync(to + suffix, 0o600);
  }
}

/**
 * Proves that the copied backup can be used, takes the backup's mark off, and brings it to disk as one file.
 *
 * @throws CommandError `failed` when it is damaged, of a newer Posthorn, or no database of Posthorn's at all
 */
async function readBackup(
  copy: string,
  from: string,
): Promise<{ mark: BackupMark | null; needed: string[] }> {
  const { missingMigrations, openDatabase } = await import('../store/sqlite/database.ts');
  const { BACKUP_MARK, checkOwn, checkWhole, readMark } = await import('./backup-copy.ts');
  let db: Database | undefined;
  let found: { mark: BackupMark | null; needed: string[] };
  try {
    db = openDatabase(copy);
    checkWhole(db, from, 'take an older backup');
    checkOwn(db, from);
    // Refuses what a newer Posthorn made; what is missing is migrated by the next start.
    missingMigrations(db);
    found = { mark: readMark(db), needed: neededKeyIds(db) };
    db.prepare('DELETE FROM meta WHERE name = ?').run(BACKUP_MARK);
    db.pragma('journal_mode = DELETE');
  } catch (error) {
    if (error instanceof CommandError) throw error;
    throw new CommandError('failed', `${from} can't be restored: ${(error as Error).message}`, {
      cause: error,
    });
  } finally {
    db?.close();
  }
  syncFile(copy);
  return found;
}

/**
 * The keys that have to be put beside the database; null when the service has what it needs: in its configuration, which
 * it would take whatever stands in the files, or there already.
 *
 * @throws CommandError `failed` when the keys that belong to the backup aren't at hand: nothing has been changed yet
 */
function keysToWrite(
  needed: readonly string[],
  { path, settings, options }: Restoring,
  cwd: string,
): Key[] | null {
  const own = serviceKeys(settings, path);
  const given = options.key === undefined ? null : readKeys(resolve(cwd, options.key));
  if (options.key !== undefined && given === null) {
    throw new CommandError('failed', `there is no key ${options.key}`);
  }
  if (needed.length === 0 || missingKeyIds(needed, own).length === 0) return null;
  const isGiven = given !== null && settings.encryptionKey === null;
  const found = isGiven ? given : own;
  const missing = missingKeyIds(needed, found);
  if (isGiven && missing.length === 0) return chosenKeys(needed, given);
  const place =
    found === null
      ? `there is none in ${encryptionKeyFile(path)}`
      : `${found.place} has ${namedKeys(found.keys.map(({ id }) => id))}`;
  throw new CommandError(
    'failed',
    `the backup's secrets need encryption ${namedKeys(missing)}, and ${place}: nothing was changed. Give the key that ` +
      'belongs to the backup with --key <file>, or as POSTHORN_ENCRYPTION_KEY',
  );
}

/** @returns the names under which the keys that were there stay */
function replaceKeys(file: string, [present, ...older]: Key[], suffix: string): string[] {
  const aside = [file, olderKeysFile(file)]
    .filter((path) => existsSync(path))
    .map((path) => linkAside(path, suffix));
  if (older.length > 0) writeKeys(olderKeysFile(file), older);
  if (present !== undefined) writeKeys(file, [present]);
  return aside;
}

/**
 * Gives the old database a second name, under which it stays when the backup takes the first. Never deleted: who
 * restores may have chosen the wrong backup.
 *
 * @returns the new names
 */
async function setAside(path: string, suffix: string): Promise<string[]> {
  const { openDatabase } = await import('../store/sqlite/database.ts');
  const aside: string[] = [];
  if (existsSync(path)) {
    try {
      // What a killed service left in the log goes into the file, so that the file alone is the whole of it.
      const db = openDatabase(path);
      db.pragma('journal_mode = DELETE');
      db.close();
    } catch {
      // Damaged, which may be why somebody restores: then its log is set aside as it is.
    }
    aside.push(linkAside(path, suffix));
  }
  // Left there, a log of the old database would be played into the new one.
  for (const log of ['-wal', '-shm', '-journal']) {
    if (!existsSync(path + log)) continue;
    renameSync(path + log, path + suffix + log);
    aside.push(path + suffix + log);
  }
  return aside;
}

/** A second name instead of a rename: at no moment the file is gone, for then `serve` would make a new one. */
function linkAside(path: string, suffix: string): string {
  try {
    linkSync(path, path + suffix);
  } catch (error) {
    // Some file systems know no links.
    if ((error as NodeJS.ErrnoException).code === 'EEXIST') throw error;
    copyFileSync(path, path + suffix, constants.COPYFILE_EXCL);
  }
  return path + suffix;
}

interface Done {
  from: string;
  path: string;
  mark: BackupMark | null;
  needed: string[];
  /** Keys were put beside the database. */
  hasNewKeys: boolean;
  aside: string[];
}

function print(
  { from, path, mark, needed, hasNewKeys, aside }: Done,
  { json }: RestoreOptions,
  io: Io,
): void {
  const asOf = mark === null ? null : new Date(mark.madeAt).toISOString();
  if (json) {
    printJson(io, {
      from,
      database: path,
      as_of: asOf,
      made_by: mark?.version ?? null,
      encryption_key_ids: needed,
      encryption_key_file: hasNewKeys ? encryptionKeyFile(path) : null,
      set_aside: aside,
    });
    return;
  }
  const say = (text: string) => printLine(io.stdout, text);
  say(`${path} is now what ${from} held${asOf === null ? '' : ` as of ${asOf}`}.`);
  if (hasNewKeys) say(`Its encryption ${namedKeys(needed)} is in ${encryptionKeyFile(path)}.`);
  for (const file of aside) say(`What was there is now ${file}.`);
  say('');
  say('What was done since then is unknown to it:');
  say(
    '- Deliveries that ended since are due again when the service starts. Receivers drop them by event_id.',
  );
  say(
    '- Events accepted since are gone, unless their publishers repeat them: with the same event_id that is safe.',
  );
  say(
    '- Keys revoked, secrets rotated and endpoints changed since are as they were. Revoke and rotate them again.',
  );
}
