/** Files of backups: on disk before anybody relies on them. */
import { closeSync, fsyncSync, openSync, rmSync, statSync } from 'node:fs';

/** `12MiB`, rounded up. */
export function inMiB(bytes: number): string {
  return `${Math.ceil(bytes / 1024 ** 2)}MiB`;
}

/** Brings a file to disk; answers its size in bytes. */
export function syncFile(path: string): number {
  const fd = openSync(path, 'r+');
  try {
    fsyncSync(fd);
  } finally {
    closeSync(fd);
  }
  return statSync(path).size;
}

/** Brings the names in a folder to disk. */
export function syncFolder(path: string): void {
  // Windows can't open folders, and needs no such sync.
  if (process.platform === 'win32') return;
  const fd = openSync(path, 'r');
  try {
    fsyncSync(fd);
  } finally {
    closeSync(fd);
  }
}

/** Removes a database's file and those that SQLite keeps beside it. */
export function removeDatabase(path: string): void {
  for (const suffix of ['', '-journal', '-wal', '-shm']) rmSync(path + suffix, { force: true });
}
