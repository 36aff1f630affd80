/** `/readyz` on a full disk, where a readiness check's own small write would still find room. */
import assert from 'node:assert/strict';
import { type ChildProcess, spawn } from 'node:child_process';
import { once } from 'node:events';
import { rm, stat, truncate, writeFile } from 'node:fs/promises';
import { join } from 'node:path';
import { describe, it } from 'node:test';
import { DatabaseError } from 'pg';
import { unavailable } from '../src/errors.ts';
import { withDiskMemory } from '../src/store/postgres/full-disk.ts';
import { NEEDED_BYTES, shortage } from '../src/store/sqlite/disk-room.ts';
import type { Store } from '../src/store/store.ts';
import { Client } from './support/client.ts';
import { ManualClock } from './support/manual-clock.ts';
import { tempDir } from './support/tempdir.ts';
import { findProgram, skipsWithout } from './support/tools.ts';

const MIB = 1024 * 1024;
const OPERATOR_KEY = 'full-disk-test-operator-key-'.padEnd(48, '0');
const MAIN = join(import.meta.dirname, '../src/cli/main.ts');
const LACKS_MOUNT =
  process.platform === 'linux' && process.getuid?.() === 0 && findProgram('unshare')
    ? null
    : 'only root on Linux, with unshare (util-linux), can give a process a small disk';
/** A file system of its own for one process, that ends with it. */
const ON_SMALL_DISK = 'mount -t tmpfs -o size=64m,mode=700 tmpfs "$1"; cd "$1"; shift; exec "$@"';

async function listening(child: ChildProcess): Promise<string> {
  child.stdout?.resume();
  let stderr = '';
  for await (const chunk of child.stderr ?? []) {
    stderr += String(chunk);
    const [, url] = /Posthorn listens on (\S+);/.exec(stderr) ?? [];
    if (url !== undefined) return url;
  }
  throw new Error(`it ended before it listened: ${stderr}`);
}

describe("SQLite's disk", () => {
  it('is full when the largest request would not fit, by what the user of the process may have of it', () => {
    const disk = { blocks: 1_000_000, bavail: 10, bfree: NEEDED_BYTES / 4096, bsize: 4096 };
    assert.equal(shortage(disk, true), null);
    assert.equal(shortage({ ...disk, bfree: disk.bfree - 1 }, true), NEEDED_BYTES - 4096);
    assert.equal(shortage(disk, false), 40_960);
    assert.equal(shortage({ blocks: 0, bavail: 0, bfree: 0, bsize: 4096 }, false), null, 'it does not say');
  });

  it('takes the service out of readiness while it is full, and gives it back by itself', {
    timeout: 60_000,
  }, async (t) => {
    if (skipsWithout(t, LACKS_MOUNT)) return;
    const folder = await tempDir();
    const child = spawn(
      'unshare',
      [
        '--mount',
        '--propagation',
        'private',
        'sh',
        '-euc',
        ON_SMALL_DISK,
        'sh',
        folder.path,
        process.execPath,
        MAIN,
        'serve',
        '--listen',
        '127.0.0.1:0',
      ],
      { env: { PATH: process.env.PATH, POSTHORN_OPERATOR_KEY: OPERATOR_KEY } },
    );
    const ended = once(child, 'close');
    t.after(async () => {
      child.kill('SIGKILL');
      await ended;
      await folder.remove();
    });
    const url = await listening(child);
    const operator = new Client(url, OPERATOR_KEY);
    assert.equal((await operator.ask('GET', '/readyz')).status, 200);

    const ballast = join(`/proc/${child.pid}/root`, folder.path, 'ballast');
    // A file of 64 MiB has no room: what fits of it is written, to the last byte.
    await assert.rejects(writeFile(ballast, Buffer.alloc(64 * MIB)), /ENOSPC/);
    assert.equal((await operator.ask('GET', '/readyz')).status, 503);
    // Room for thousands of readiness checks.
    await truncate(ballast, (await stat(ballast)).size - 4 * MIB);
    const { status, code, msg } = await operator.ask('GET', '/readyz');
    assert.deepEqual([status, code], [503, 50000]);
    assert.match(
      msg,
      /not ready: the database's disk is full: 4\.0 MiB are free, at least 8 are needed; make room/,
    );
    const metrics = await (await fetch(`${url}/metrics`)).text();
    assert.match(metrics, /^posthorn_store_up 0$/m);
    assert.equal((await operator.ask('GET', '/healthz')).status, 200, 'no restart would help');

    await rm(ballast);
    assert.equal((await operator.ask('GET', '/readyz')).status, 200);
  });
});

describe("PostgreSQL's disk", () => {
  const clock = new ManualClock();
  const full = unavailable(
    "the database's disk is full (SQLSTATE 53100): try again",
    Object.assign(new DatabaseError('could not extend file', 21, 'error'), { code: '53100' }),
  );
  const away = unavailable("the database can't be reached: try again");
  const nothing = { results: [], leases: [], nextDueAt: null };
  let failure: Error | null = null;
  const answer = () => (failure === null ? Promise.resolve(nothing) : Promise.reject(failure));
  const create = (): Pick<Store, 'publish' | 'settle' | 'ping'> => {
    failure = null;
    return withDiskMemory({ publish: answer, settle: answer, ping: () => Promise.resolve() }, clock);
  };

  it('is full for a readiness check from an event that found no room to one that did', async () => {
    const store = create();
    failure = full;
    await assert.rejects(store.publish([], null), full);
    await assert.rejects(store.ping(), full);
    failure = null;
    await store.settle([], null);
    await assert.rejects(store.ping(), full, 'an attempt may fit where an event does not');
    await store.publish([], null);
    await store.ping();
  });

  it('is believed to have room again after 10 s in which nobody tried', async () => {
    const store = create();
    failure = full;
    await assert.rejects(store.settle([], null), full);
    clock.advance(9_999);
    await assert.rejects(store.ping(), full);
    clock.advance(1);
    await store.ping();
  });

  it('is not blamed for other failures: those a check meets itself', async () => {
    const store = create();
    failure = away;
    await assert.rejects(store.publish([], null), away);
    await store.ping();
  });
});
