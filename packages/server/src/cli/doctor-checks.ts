/** What `posthorn doctor` looks at, one function a matter. None of them changes anything. */
import { constants } from 'node:fs';
import { access, stat, statfs } from 'node:fs/promises';
import { dirname } from 'node:path';
import { dataFolder, encryptionKeyFile } from '../config.ts';
import { formatBytes } from '../config-values.ts';
import { olderKeysFile } from '../key-file.ts';
import { appliedMigrations, knownSchemaVersion, openDatabase } from '../store/sqlite/database.ts';

export interface Check {
  /** What was looked at. */
  check: string;
  /** `warning`: it works, though not as well as it could; `skipped`: there is nothing to check yet. */
  status: 'ok' | 'warning' | 'wrong' | 'skipped';
  detail: string;
  /** What to do; null when there is nothing to be done. */
  fix: string | null;
}

const MIN_NODE = [22, 19] as const;

/** @param version - as in `process.versions.node` */
export function checkNodeVersion(version: string): Check {
  const [major = 0, minor = 0] = version.split('.').map(Number);
  const check = 'Node.js';
  if (major > MIN_NODE[0] || (major === MIN_NODE[0] && minor >= MIN_NODE[1])) {
    return { check, status: 'ok', detail: version, fix: null };
  }
  return {
    check,
    status: 'wrong',
    detail: `${version} is too old`,
    fix: `install Node.js ${MIN_NODE.join('.')} or newer`,
  };
}

/** A machine whose clock never was set starts in 1970 or at its making; signatures with such a time are refused. */
export function checkClock(nowMs: number): Check {
  const year = new Date(nowMs).getUTCFullYear();
  const check = 'clock';
  const detail = `${new Date(nowMs).toISOString().slice(0, 19)}Z`;
  if (year >= 2025 && year < 2100) return { check, status: 'ok', detail, fix: null };
  return {
    check,
    status: 'wrong',
    detail: `${detail} can't be right`,
    fix: 'set the clock (NTP): receivers refuse signatures of another time',
  };
}

/** The folder is there and writable, or can be made. */
export async function checkDataFolder(databasePath: string): Promise<Check> {
  const folder = dataFolder(databasePath);
  const check = 'data folder';
  const fix =
    'make it a folder that the user of posthorn serve may write, or choose another with POSTHORN_DATABASE_URL';
  const existing = await nearestExisting(folder);
  try {
    if (!(await stat(existing)).isDirectory()) {
      return { check, status: 'wrong', detail: `${existing} is not a folder`, fix };
    }
    await access(existing, constants.W_OK | constants.X_OK);
  } catch (error) {
    return { check, status: 'wrong', detail: `${existing} is not writable (${codeOf(error)})`, fix };
  }
  if (existing === folder) return { check, status: 'ok', detail: `${folder} is writable`, fix: null };
  return { check, status: 'ok', detail: `${folder} is made at the first start`, fix: null };
}

async function nearestExisting(folder: string): Promise<string> {
  for (let at = folder; ; at = dirname(at)) {
    try {
      await stat(at);
      return at;
    } catch (error) {
      if (codeOf(error) !== 'ENOENT' || at === dirname(at)) return at;
    }
  }
}

const MIN_FREE_BYTES = 256 * 1024 * 1024;

/** A full disk stops publishing. */
export async function checkDiskSpace(databasePath: string): Promise<Check> {
  const check = 'disk space';
  const folder = await nearestExisting(dataFolder(databasePath));
  try {
    const { bavail, bsize } = await statfs(folder);
    const free = Math.floor((bavail * bsize) / 1024 ** 2);
    if (bavail * bsize >= MIN_FREE_BYTES)
      return { check, status: 'ok', detail: `${free}MiB free`, fix: null };
    return {
      check,
      status: 'wrong',
      detail: `${free}MiB free at ${folder}, less than ${formatBytes(MIN_FREE_BYTES)}`,
      fix: 'free some space, or shorten POSTHORN_RETENTION',
    };
  } catch (error) {
    return { check, status: 'skipped', detail: `${folder} doesn't tell (${codeOf(error)})`, fix: null };
  }
}

/**
 * The key that secrets are encrypted with is there, and nobody else may read it.
 *
 * @param key - of the configuration
 */
export async function checkEncryptionKey(databasePath: string, key: string | null): Promise<Check> {
  const check = 'encryption key';
  const file = encryptionKeyFile(databasePath);
  if (key !== null) return { check, status: 'ok', detail: 'from the configuration', fix: null };
  let mode: number;
  try {
    mode = (await stat(file)).mode;
  } catch (error) {
    if (codeOf(error) !== 'ENOENT') {
      return {
        check,
        status: 'wrong',
        detail: `${file} can't be looked at (${codeOf(error)})`,
        fix: 'run doctor as the user of posthorn serve',
      };
    }
    if ((await fileState(databasePath)) !== 'absent') {
      return {
        check,
        status: 'wrong',
        detail: `${file} isn't there, but the database is`,
        fix: 'restore it from a backup, or give the key as POSTHORN_ENCRYPTION_KEY: without it endpoint secrets are lost',
      };
    }
    return { check, status: 'skipped', detail: `${file} is made at the first start`, fix: null };
  }
  for (const [path, bits] of [
    [file, mode],
    [olderKeysFile(file), await modeOf(olderKeysFile(file))],
  ] as const) {
    if ((bits & 0o077) === 0 || process.platform === 'win32') continue;
    const shown = (bits & 0o777).toString(8);
    return {
      check,
      status: 'wrong',
      detail: `${path} has mode ${shown}: others can read it`,
      fix: `chmod 600 ${path}`,
    };
  }
  return { check, status: 'ok', detail: `${file}, for its owner alone`, fix: null };
}

/** 0 for a file that isn't there. */
async function modeOf(path: string): Promise<number> {
  try {
    return (await stat(path)).mode;
  } catch {
    return 0;
  }
}

const CLOCK_TOLERANCE_MS = 5 * 60_000;

/** Opens the file read-only, beside a running server if there is one. */
export async function checkDatabase(path: string, nowMs: number): Promise<Check[]> {
  const state = await fileState(path);
  const check = 'database';
  if (state === 'absent') {
    return [{ check, status: 'skipped', detail: `${path} is made at the first start`, fix: null }];
  }
  try {
    if (state !== 'file') throw new Error(`it is ${state}`);
    const db = openDatabase(path, { readonly: true });
    try {
      return [checkIntegrity(db.pragma('quick_check(3)', { simple: false })), ...checkSchema(db, nowMs)];
    } finally {
      db.close();
    }
  } catch (error) {
    return [
      {
        check,
        status: 'wrong',
        detail: `${path} can't be read: ${(error as Error).message}`,
        fix: 'run doctor as the user of posthorn serve; if the file is damaged, restore a backup',
      },
    ];
  }

  function checkIntegrity(findings: unknown): Check {
    const texts = (findings as { quick_check: string }[]).map((row) => row.quick_check);
    if (texts.length === 1 && texts[0] === 'ok') {
      return { check, status: 'ok', detail: `${path} is whole`, fix: null };
    }
    return {
      check,
      status: 'wrong',
      detail: `${path} is damaged: ${texts.join('; ')}`,
      fix: 'stop the service and restore a backup',
    };
  }
}

/** The URL to which deliveries went last that may be tried; null where there is none, or where it can't be read. */
export function newestEndpoint(path: string): string | null {
  try {
    const db = openDatabase(path, { readonly: true });
    try {
      return db.prepare<[], { url: string }>(NEWEST_ENDPOINT('')).get()?.url ?? null;
    } finally {
      db.close();
    }
  } catch {
    // The checks of the database have said why.
    return null;
  }
}

/** @param schema with a dot, or empty */
export const NEWEST_ENDPOINT = (schema: string): string =>
  `SELECT url FROM ${schema}endpoint WHERE status = 'enabled' ORDER BY created_at DESC LIMIT 1`;

function checkSchema(db: ReturnType<typeof openDatabase>, nowMs: number): Check[] {
  const known = knownSchemaVersion();
  const version = appliedMigrations(db).at(-1)?.version ?? 0;
  const check = 'schema';
  if (version > known) {
    return [
      {
        check,
        status: 'wrong',
        detail: `version ${version}, and this Posthorn knows ${known}`,
        fix: 'run a newer Posthorn on this database',
      },
    ];
  }
  if (version < known) {
    return [
      {
        check,
        status: 'wrong',
        detail: `version ${version}, and this Posthorn wants ${known}`,
        fix: 'run posthorn migrate, or start posthorn serve, which does the same',
      },
    ];
  }
  const checks: Check[] = [{ check, status: 'ok', detail: `version ${version}, up to date`, fix: null }];
  const migratedAt = db
    .prepare<[], { at: number }>('SELECT max(applied_at) AS at FROM schema_migration')
    .get()?.at;
  if (migratedAt !== undefined && migratedAt > nowMs + CLOCK_TOLERANCE_MS) {
    checks.push({
      check: 'clock',
      status: 'wrong',
      detail: `the database was migrated at ${new Date(migratedAt).toISOString()}, which is still to come`,
      fix: 'set the clock (NTP): it has gone back',
    });
  }
  return checks;
}

async function fileState(path: string): Promise<'absent' | 'file' | 'no file'> {
  try {
    return (await stat(path)).isFile() ? 'file' : 'no file';
  } catch (error) {
    // Out of sight is not absent: opening it says why.
    return codeOf(error) === 'ENOENT' ? 'absent' : 'file';
  }
}

function codeOf(error: unknown): string {
  return (error as NodeJS.ErrnoException).code ?? 'unknown error';
}
