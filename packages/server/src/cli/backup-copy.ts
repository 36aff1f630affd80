/** A copy of an SQLite database that others go on writing: one moment of it, whole, checked and on disk before it gets its name. */
import { closeSync, constants, fdatasyncSync, openSync, renameSync, statfsSync, statSync } from 'node:fs';
import { dirname } from 'node:path';
import { formatBytes } from '../config-values.ts';
import { PosthornError } from '../errors.ts';
import { type Database, openDatabase } from '../store/sqlite/database.ts';
import { inMiB, removeDatabase, syncFile, syncFolder } from './backup-files.ts';
import { CommandError } from './failure.ts';
import type { Io } from './io.ts';

/** The name under which a backup tells, in the table `meta`, when and by what it was made. */
export const BACKUP_MARK = 'backup';

export interface BackupMark {
  /** Unix ms of the moment that the backup holds. */
  madeAt: number;
  /** Of the Posthorn that made it. */
  version: string;
}

export interface CopyReport {
  /** Unix ms of the moment that the copy holds: what was committed by then is in it, nothing later is. */
  asOf: number;
  bytes: number;
  copyMs: number;
  checkMs: number;
}

export interface CopyOptions {
  /** The database, whether or not a service has it open. */
  from: string;
  /** Replaced when it is there. */
  to: string;
  version: string;
  /** Looks at the copied moment before anything is written; throws when it isn't worth a copy. */
  inspect(db: Database): void;
  /** Told after each step; shares from 0 to 1. */
  onProgress?: (share: number) => void;
}

/** 2 MiB of pages of 4 KiB: a commit of the service that comes in between waits for the disk to take no more than these. */
const PAGES_A_STEP = 512;
/** Rests for so many times what a step took, so that disk and processor are mostly the service's. */
const RESTS_A_STEP = 2;
/** Left on the disk that the database itself is on: a backup must not be what makes the service answer 503. */
const ROOM_TO_LEAVE_BYTES = 256 * 1024 * 1024;

/**
 * Copies a database while others write it. All of it is read in one read transaction, so the copy is one moment of the
 * database; writers don't wait for it, and only the write-ahead log grows meanwhile. The copy is checked and synced under
 * another name and then renamed; however it fails, nothing of it stays and what stood at `to` is as it was. It is one
 * file, readable by its owner alone.
 *
 * @throws CommandError when there is no room, or the copy is damaged; PosthornError when the database can't be read
 */
export async function copyDatabase(
  options: CopyOptions,
  io: Pick<Io, 'now' | 'monotonic'>,
): Promise<CopyReport> {
  const { from, to, version, inspect, onProgress = () => {} } = options;
  const unfinished = `${to}.${process.pid}.partial`;
  const stopWatching = removeOnSignal(unfinished);
  try {
    const beganAt = io.monotonic();
    const source = openDatabase(from, { readonly: true });
    let asOf: number;
    try {
      source.exec('BEGIN');
      // The first read is what fixes the moment.
      source.pragma('schema_version');
      asOf = io.now();
      checkOwn(source, from);
      inspect(source);
      checkRoom(from, to, sizeOf(source));
      await copyPages(source, unfinished, onProgress, io);
    } finally {
      source.close();
    }
    const copiedAt = io.monotonic();
    finish(unfinished, { madeAt: asOf, version });
    const bytes = syncFile(unfinished);
    renameSync(unfinished, to);
    syncFolder(dirname(to));
    return { asOf, bytes, copyMs: copiedAt - beganAt, checkMs: io.monotonic() - copiedAt };
  } catch (error) {
    throw explained(error, options);
  } finally {
    stopWatching();
    removeDatabase(unfinished);
  }
}

/** The sentence for what SQLite or the file system refused; other errors stay as they are. */
function explained(error: unknown, { from, to }: CopyOptions): unknown {
  const { code, message } = error as { code?: unknown; message: string };
  if (error instanceof CommandError || error instanceof PosthornError || typeof code !== 'string')
    return error;
  const sentence = code.startsWith('SQLITE_')
    ? `${from} can't be copied (${code}: ${message}): look at it with \`posthorn doctor\``
    : `${to} can't be written (${message})`;
  return new CommandError('failed', sentence, { cause: error });
}

/** @throws CommandError `failed` for a database that no Posthorn has made */
export function checkOwn(db: Database, what: string): void {
  const found = db.prepare(`SELECT 1 FROM sqlite_master WHERE name = 'schema_migration'`).get();
  if (found === undefined) throw new CommandError('failed', `${what} is no database of Posthorn's`);
}

/** Holds the thread: the engine asks for the next step without waiting for promises. */
function rest(ms: number): void {
  Atomics.wait(new Int32Array(new SharedArrayBuffer(4)), 0, 0, ms);
}

async function copyPages(
  source: Database,
  to: string,
  onProgress: (share: number) => void,
  io: Pick<Io, 'monotonic'>,
): Promise<void> {
  // Made here for its mode: SQLite would let everybody read it.
  const fd = openSync(to, constants.O_CREAT | constants.O_EXCL | constants.O_RDWR, 0o600);
  try {
    let beganAt = io.monotonic();
    await source.backup(to, {
      progress: ({ totalPages, remainingPages }) => {
        // Step by step: one large sync at the end would hold up the service's own, which each commit waits for.
        fdatasyncSync(fd);
        rest(RESTS_A_STEP * (io.monotonic() - beganAt));
        onProgress(totalPages === 0 ? 0 : 1 - remainingPages / totalPages);
        beganAt = io.monotonic();
        return PAGES_A_STEP;
      },
    });
  } finally {
    closeSync(fd);
  }
}

/** Marks the copy, makes it one file that needs no log beside it, and reads every page of it. */
function finish(path: string, mark: BackupMark): void {
  const db = openDatabase(path);
  try {
    db.prepare(
      'INSERT INTO meta (name, value) VALUES (?, ?) ON CONFLICT (name) DO UPDATE SET value = excluded.value',
    ).run(BACKUP_MARK, JSON.stringify(mark));
    db.pragma('journal_mode = DELETE');
    checkWhole(db, 'the copy', 'check the disk that the database is on with `posthorn doctor`');
  } finally {
    db.close();
  }
}

/**
 * Reads the whole database.
 *
 * @throws CommandError `failed` when a page of it is damaged
 */
export function checkWhole(db: Database, what: string, advice: string): void {
  const findings = (db.pragma('quick_check(3)') as { quick_check: string }[]).map((row) => row.quick_check);
  if (findings.length === 1 && findings[0] === 'ok') return;
  const told = findings.join('; ').replaceAll('\n', ' ');
  throw new CommandError('failed', `${what} is damaged (${told}): ${advice}`);
}

/** What a backup tells of itself; null for a copy that was made in another way. */
export function readMark(db: Database): BackupMark | null {
  const row = db
    .prepare<[string], { value: string }>('SELECT value FROM meta WHERE name = ?')
    .get(BACKUP_MARK);
  return row === undefined ? null : (JSON.parse(row.value) as BackupMark);
}

function sizeOf(db: Database): number {
  return Number(db.pragma('page_count', { simple: true })) * Number(db.pragma('page_size', { simple: true }));
}

function checkRoom(from: string, to: string, bytes: number): void {
  const folder = dirname(to);
  const { bavail, bsize } = statfsSync(folder);
  const isSameDisk = statSync(folder).dev === statSync(dirname(from)).dev;
  const needed = bytes + (isSameDisk ? ROOM_TO_LEAVE_BYTES : 0);
  if (bavail * bsize >= needed) return;
  throw new CommandError(
    'failed',
    `${folder} has ${inMiB(bavail * bsize)} free, and the backup needs ${inMiB(needed)}` +
      `${isSameDisk ? ` with ${formatBytes(ROOM_TO_LEAVE_BYTES)} left for the service on the same disk` : ''}: ` +
      'free some space or choose another disk',
  );
}

/** A signal ends the process at once, but leaves no half copy; call what it answers when the copy has its name. */
function removeOnSignal(path: string): () => void {
  const onSignal = (signal: NodeJS.Signals): void => {
    removeDatabase(path);
    // As a shell tells of a process that a signal ended.
    process.exit(signal === 'SIGINT' ? 130 : 143);
  };
  process.on('SIGINT', onSignal).on('SIGTERM', onSignal);
  return () => void process.off('SIGINT', onSignal).off('SIGTERM', onSignal);
}
