import assert from 'node:assert/strict';
import {
  chmodSync,
  closeSync,
  mkdirSync,
  mkdtempSync,
  openSync,
  readdirSync,
  rmSync,
  writeFileSync,
  writeSync,
} from 'node:fs';
import { once } from 'node:events';
import { type AddressInfo, createServer } from 'node:net';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { after, afterEach, before, beforeEach, describe, it } from 'node:test';
import { type Check, checkClock, checkNodeVersion } from '../../src/cli/doctor-checks.ts';
import { encryptionKeyFile } from '../../src/config.ts';
import { migrate, openDatabase } from '../../src/store/sqlite/database.ts';
import { callCli, FakeServer, refusal, runCli, success } from './harness.ts';

const NOW_MS = Date.UTC(2026, 0, 31, 12);

let unusedUrl: string;
let folder: string;
before(async () => {
  const server = createServer().listen(0, '127.0.0.1');
  await once(server, 'listening');
  unusedUrl = `http://127.0.0.1:${(server.address() as AddressInfo).port}`;
  server.close();
  await once(server, 'close');
});
beforeEach(() => {
  folder = mkdtempSync(join(tmpdir(), 'posthorn-doctor-'));
});
afterEach(() => rmSync(folder, { recursive: true }));

/** A data folder as the service leaves it. */
function installed(migratedAtMs = NOW_MS): string {
  const databasePath = join(folder, 'data', 'posthorn.db');
  const db = openDatabase(databasePath);
  migrate(db, migratedAtMs);
  db.close();
  writeFileSync(encryptionKeyFile(databasePath), 'x', { mode: 0o600 });
  return databasePath;
}

async function examine(databasePath: string, url = unusedUrl) {
  const args = ['doctor', '--json', '--url', url, '--database-url', `sqlite:${databasePath}`];
  const { code, stdout } = await callCli(args);
  const { ok, checks } = JSON.parse(stdout) as { ok: boolean; checks: Check[] };
  assert.equal(code, ok ? 0 : 1);
  const wrong = checks.filter(({ status }) => status === 'wrong');
  assert.equal(ok, wrong.length === 0);
  assert.ok(wrong.every(({ fix }) => fix !== null));
  return { ok, wrong, statusOf: (name: string) => checks.find(({ check }) => check === name)?.status };
}

describe('doctor', () => {
  it('finds nothing wrong before the first start', async () => {
    const { ok, statusOf } = await examine(join(folder, 'not', 'yet', 'posthorn.db'));
    assert.ok(ok);
    assert.equal(statusOf('data folder'), 'ok');
    assert.equal(statusOf('database'), 'skipped');
    assert.equal(statusOf('encryption key'), 'skipped');
    assert.equal(statusOf('server'), 'skipped');
  });

  it('finds nothing wrong in a good installation, and prints a line for each check', async () => {
    const databasePath = installed();
    assert.ok((await examine(databasePath)).ok);
    const { code, stdout, stderr } = await runCli(['doctor', '--url', unusedUrl], {
      env: { POSTHORN_DATABASE_URL: `sqlite:${databasePath}` },
    });
    assert.match(stdout, /^✓ Node\.js +\d/m);
    assert.match(stdout, /^✓ database +.*posthorn\.db is whole$/m);
    assert.match(stdout, /^✓ schema +version \d+, up to date$/m);
    assert.match(stdout, /^– server +nobody answers/m);
    assert.equal(stderr, '');
    assert.equal(code, 0);
  });

  it('reads the database while another process writes to it', async () => {
    const databasePath = installed();
    const writer = openDatabase(databasePath);
    try {
      writer.exec('BEGIN IMMEDIATE');
      assert.ok((await examine(databasePath)).ok);
    } finally {
      writer.close();
    }
  });

  it('finds an encryption key that others can read, and how to hide it', async () => {
    const databasePath = installed();
    chmodSync(encryptionKeyFile(databasePath), 0o644);
    const { wrong } = await examine(databasePath);
    assert.equal(wrong.length, 1);
    assert.match(wrong[0]?.detail ?? '', /has mode 644: others can read it/);
    assert.match(wrong[0]?.fix ?? '', /^chmod 600 .*encryption\.key$/);
  });

  it('finds older encryption keys that others can read', async () => {
    const databasePath = installed();
    const older = `${encryptionKeyFile(databasePath)}.old`;
    writeFileSync(older, '# none\n', { mode: 0o600 });
    assert.ok((await examine(databasePath)).ok);
    chmodSync(older, 0o640);
    const { wrong } = await examine(databasePath);
    assert.match(wrong[0]?.fix ?? '', /^chmod 600 .*encryption\.key\.old$/);
  });

  it('finds a lost encryption key', async () => {
    const databasePath = installed();
    rmSync(encryptionKeyFile(databasePath));
    const { wrong } = await examine(databasePath);
    assert.match(wrong[0]?.detail ?? '', /isn't there, but the database is/);
  });

  it('finds a schema that is older than the program, and one that is newer', async () => {
    const databasePath = installed();
    const db = openDatabase(databasePath);
    db.exec(`INSERT INTO schema_migration VALUES (9999, '9999_later.sql', 'x', ${NOW_MS})`);
    assert.match((await examine(databasePath)).wrong[0]?.fix ?? '', /newer Posthorn/);
    db.exec('DELETE FROM schema_migration');
    db.close();
    assert.match((await examine(databasePath)).wrong[0]?.fix ?? '', /posthorn migrate/);
  });

  it('finds a file that is no database', async () => {
    const databasePath = installed();
    writeFileSync(databasePath, 'not a database, but long enough to be looked at'.repeat(100));
    const { wrong } = await examine(databasePath);
    assert.match(wrong[0]?.detail ?? '', /can't be read: .*not a database/);
  });

  it('finds a damaged database', async () => {
    const databasePath = installed();
    const db = openDatabase(databasePath);
    db.exec('CREATE TABLE filler (text TEXT)');
    db.exec(`INSERT INTO filler VALUES (hex(randomblob(100000)))`);
    const { root } = db
      .prepare<[], { root: number }>("SELECT rootpage AS root FROM sqlite_master WHERE name = 'account'")
      .get() ?? { root: 0 };
    const pageBytes = db.pragma('page_size', { simple: true }) as number;
    db.close();
    const file = openSync(databasePath, 'r+');
    writeSync(file, Buffer.alloc(pageBytes, 0xff), 0, pageBytes, (root - 1) * pageBytes);
    closeSync(file);
    const { wrong } = await examine(databasePath);
    assert.match(wrong[0]?.detail ?? '', /damaged|malformed/);
    assert.match(wrong[0]?.fix ?? '', /backup/);
  });

  it('finds a clock that has gone back', async () => {
    const { wrong } = await examine(installed(NOW_MS + 3_600_000));
    assert.equal(wrong[0]?.check, 'clock');
    assert.match(wrong[0]?.detail ?? '', /still to come/);
  });

  it('finds a file where the data folder should be', async () => {
    writeFileSync(join(folder, 'data'), '');
    const { wrong } = await examine(join(folder, 'data', 'posthorn.db'));
    assert.match(wrong[0]?.detail ?? '', /is not a folder/);
  });

  it('finds a data folder that it may not write', {
    skip: process.getuid?.() === 0 && 'root may write anywhere',
  }, async () => {
    mkdirSync(join(folder, 'data'), { mode: 0o500 });
    const { wrong } = await examine(join(folder, 'data', 'posthorn.db'));
    assert.match(wrong[0]?.detail ?? '', /not writable \(EACCES\)/);
  });

  it('reports every mistake of the configuration', async () => {
    const env = { POSTHORN_TIMEOUT: '5', POSTHORN_RETENSION: '3d' };
    const { code, stdout, stderr } = await callCli(['doctor'], { env });
    assert.match(stdout, /^✗ configuration +POSTHORN_TIMEOUT "5" has no unit/m);
    assert.match(
      stdout,
      /^✗ configuration +POSTHORN_RETENSION is no setting; did you mean POSTHORN_RETENTION\?/m,
    );
    assert.match(stderr, /^posthorn: 2 checks found something wrong$/m);
    assert.equal(code, 1);
  });

  it('changes nothing', async () => {
    await examine(join(folder, 'data', 'posthorn.db'));
    assert.deepEqual(readdirSync(folder), []);
  });
});

describe('doctor of the server', () => {
  let server: FakeServer;
  before(async () => {
    server = await FakeServer.start();
  });
  after(() => server.stop());

  it('is content with one that is ready', async () => {
    server.answer('GET /readyz', success({ status: 'ready' }));
    assert.equal((await examine(installed(), server.url)).statusOf('server'), 'ok');
  });

  it('repeats why one is not ready', async () => {
    server.answer('GET /readyz', refusal(503, 50000, 'the disk is full'));
    const { wrong } = await examine(installed(), server.url);
    assert.match(wrong[0]?.detail ?? '', /is not ready: HTTP 503, the disk is full/);
  });

  it('tells when something else answers there', async () => {
    server.answer('GET /readyz', { status: 404, body: '<h1>nginx</h1>' });
    const { wrong } = await examine(installed(), server.url);
    assert.match(wrong[0]?.fix ?? '', /another program answers there/);
  });
});

describe('the oldest Node.js', () => {
  const rows: [version: string, status: Check['status']][] = [
    ['20.20.2', 'wrong'],
    ['22.18.0', 'wrong'],
    ['22.19.0', 'ok'],
    ['24.0.0', 'ok'],
    ['100.1.0', 'ok'],
  ];
  for (const [version, status] of rows) {
    it(`${version} is ${status}`, () => assert.equal(checkNodeVersion(version).status, status));
  }
});

describe('the clock', () => {
  it('is wrong before this program was made', () => {
    assert.equal(checkClock(0).status, 'wrong');
    assert.equal(checkClock(NOW_MS).status, 'ok');
  });
});
