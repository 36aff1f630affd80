import assert from 'node:assert/strict';
import { execFileSync, spawnSync } from 'node:child_process';
import { once } from 'node:events';
import { existsSync, mkdtempSync, rmSync, statSync, writeFileSync } from 'node:fs';
import { type AddressInfo, createServer, type Server } from 'node:net';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { after, afterEach, before, beforeEach, describe, it } from 'node:test';
import { fileURLToPath } from 'node:url';
import { encryptionKeyFile } from '../../src/config.ts';
import { lockDatabase } from '../../src/store/sqlite/database.ts';
import { callCli, type RunningService, runCli, startService } from './harness.ts';

let folder: string;
const running: RunningService[] = [];
beforeEach(() => {
  folder = mkdtempSync(join(tmpdir(), 'posthorn-serve-'));
});
afterEach(async () => {
  for (const service of running.splice(0)) {
    service.kill('SIGKILL');
    await service.ended;
  }
  rmSync(folder, { recursive: true });
});

async function start(env: Record<string, string> = {}): Promise<RunningService> {
  const service = await startService(folder, { env });
  running.push(service);
  return service;
}

function logLines(service: RunningService): { level: string; msg: string }[] {
  return service.stdout
    .trimEnd()
    .split('\n')
    .map((line) => JSON.parse(line));
}

describe('serve', () => {
  it('makes folder, database and keys at its first start, and shows the operator’s key once', async () => {
    const first = await start();
    assert.ok(first.printedKey, first.stderr);
    const databasePath = join(folder, 'posthorn-data', 'posthorn.db');
    assert.ok(existsSync(databasePath));
    // By the files' own modes: the folder may be one that others can read.
    for (const file of [databasePath, `${databasePath}-wal`, encryptionKeyFile(databasePath)]) {
      assert.equal(statSync(file).mode & 0o777, 0o600, file);
    }
    assert.ok(first.stderr.includes(databasePath) && first.stderr.includes(encryptionKeyFile(databasePath)));
    first.kill('SIGTERM');
    assert.equal(await first.ended, 0);
    assert.ok(!first.stdout.includes(first.printedKey), 'the key is in the log');

    const second = await start();
    assert.equal(second.printedKey, null);
    const list = ['account', 'list', '--json', '--url', second.url, '--key', first.printedKey];
    assert.equal((await callCli(list)).code, 0);
  });

  it('takes the operator’s key from the environment and prints none', async () => {
    const key = 'k'.repeat(40);
    const service = await start({ POSTHORN_OPERATOR_KEY: key });
    assert.equal(service.printedKey, null);
    assert.equal((await callCli(['account', 'list', '--url', service.url, '--key', key])).code, 0);
    service.kill('SIGTERM');
    assert.equal(await service.ended, 0);
    assert.ok(!`${service.stdout}${service.stderr}`.includes(key));
  });

  for (const signal of ['SIGTERM', 'SIGINT'] as const) {
    it(`ends in order on ${signal}, having logged JSON lines and nothing else`, async () => {
      const service = await start();
      service.kill(signal);
      assert.equal(await service.ended, 0);
      const messages = logLines(service).map(({ msg }) => msg);
      assert.ok(messages.includes('stopping'), service.stdout);
      assert.equal(messages.at(-1), 'stopped');
    });
  }

  it('refuses a database that another Posthorn serves', async () => {
    await start();
    const { code, stderr } = await runCli(['serve', '--listen', '127.0.0.1:0'], { cwd: folder });
    assert.match(stderr, /^posthorn: .*posthorn\.db is in use by another Posthorn process: stop it/);
    assert.equal(stderr.trimEnd().split('\n').length, 1);
    assert.equal(code, 1);
  });

  it('lists every mistake of flags, environment and file with exit code 2, and makes nothing', async () => {
    writeFileSync(join(folder, 'posthorn.yaml'), 'lane_limitt: 3\n');
    const { code, stdout, stderr } = await runCli(
      ['serve', '--config', 'posthorn.yaml', '--timout', '5s', '--max-endpoints=0'],
      { cwd: folder, env: { POSTHORN_RETENTION: 'forever' } },
    );
    assert.equal(code, 2);
    assert.match(stderr, /^posthorn: The configuration has 4 mistakes:$/m);
    assert.match(stderr, /^ {2}- --timout is no setting; did you mean --timeout\?$/m);
    assert.match(stderr, /^ {2}- --max-endpoints "0"/m);
    assert.match(stderr, /^ {2}- POSTHORN_RETENTION "forever"/m);
    assert.match(stderr, /^ {2}- posthorn\.yaml: lane_limitt is no setting; did you mean lane_limit\?$/m);
    assert.equal(stdout, '');
    assert.ok(!existsSync(join(folder, 'posthorn-data')));
  });

  it('takes no argument', async () => {
    const { code, stderr } = await callCli(['serve', 'now']);
    assert.match(stderr, /takes settings as --name value/);
    assert.equal(code, 2);
  });

  it('says in one sentence that its database is a folder or something else', async () => {
    const serve = (path: string): Promise<{ code: number | null; stderr: string }> =>
      runCli(['serve', '--listen', '127.0.0.1:0', '--database-url', `sqlite:${path}`], { cwd: folder });
    const aFolder = await serve(folder);
    assert.equal(
      aFolder.stderr,
      `posthorn: ${folder} is a folder: name a file in it with --database-url or POSTHORN_DATABASE_URL, such as ` +
        `sqlite:${join(folder, 'posthorn.db')}.\n`,
    );
    assert.equal(aFolder.code, 1);
    writeFileSync(join(folder, 'letter.txt'), 'Dear Sir or Madam, '.repeat(100));
    const aLetter = await serve('letter.txt');
    assert.match(
      aLetter.stderr,
      /^posthorn: .*letter\.txt is damaged or no SQLite database .*POSTHORN_DATABASE_URL\.\n$/,
    );
    assert.equal(aLetter.code, 1);
  });

  it('says in one sentence that its data folder can’t be made', async () => {
    writeFileSync(join(folder, 'posthorn-data'), '');
    const { code, stderr } = await runCli(['serve', '--listen', '127.0.0.1:0'], { cwd: folder });
    assert.match(
      stderr,
      /^posthorn: Can't write to the data folder .*posthorn-data \(\w+\): .* POSTHORN_DATABASE_URL\.\n$/,
    );
    assert.equal(code, 1);
  });
});

describe('serve on an address that it can’t have', () => {
  let occupant: Server;
  before(async () => {
    occupant = createServer().listen(0, '127.0.0.1');
    await once(occupant, 'listening');
  });
  after(() => occupant.close());

  it('says which, and that another program listens there', async () => {
    const listen = `127.0.0.1:${(occupant.address() as AddressInfo).port}`;
    const { code, stderr } = await runCli(['serve', '--listen', listen], { cwd: folder });
    assert.match(
      stderr,
      new RegExp(`posthorn: Can't listen on ${listen}: another program listens there\\. Choose`),
    );
    assert.doesNotMatch(stderr, /\n {4}at /);
    assert.equal(code, 1);
  });

  it('still shows the operator’s key that it has just made', async () => {
    const listen = `127.0.0.1:${(occupant.address() as AddressInfo).port}`;
    const { stderr } = await runCli(['serve', '--listen', listen], { cwd: folder });
    assert.match(stderr, /^ {2}ph_\S+$/m);
  });

  it('says that this machine has no such address', async () => {
    const { code, stderr } = await runCli(['serve', '--listen', '192.0.2.1:0'], { cwd: folder });
    assert.match(stderr, /Can't listen on 192\.0\.2\.1:0: this machine has no such address/);
    assert.equal(code, 1);
  });
});

describe('migrate', () => {
  it('brings an empty database up to date and then has nothing to do', async () => {
    const first = await runCli(['migrate'], { cwd: folder });
    assert.match(first.stdout, /posthorn\.db went from schema version 0 to \d+: \d+ migrations?\.$/m);
    assert.equal(first.code, 0);
    const second = await callCli(['migrate', '--json'], { cwd: folder });
    const { from, to, applied, database } = JSON.parse(second.stdout);
    assert.ok(from === to && to > 0);
    assert.deepEqual(applied, []);
    assert.equal(database, join(folder, 'posthorn-data', 'posthorn.db'));
  });

  it('refuses a database that a service has in use', async () => {
    const databasePath = join(folder, 'posthorn-data', 'posthorn.db');
    const lock = lockDatabase(databasePath);
    const { code, stderr } = await runCli(['migrate'], { cwd: folder });
    lock.unlock();
    assert.match(stderr, /^posthorn: .*posthorn\.db is in use by another Posthorn process: stop it.*\n$/);
    assert.equal(code, 1);
    assert.ok(!existsSync(databasePath));
  });

  it('refuses a database that it can’t open with one sentence', async () => {
    const { code, stderr } = await callCli(['migrate', '--database-url', `sqlite:${folder}`], {
      cwd: folder,
    });
    assert.match(stderr, /^posthorn: .*\n$/);
    assert.equal(code, 1);
  });
});

describe('the program that npm installs', () => {
  const BIN = fileURLToPath(new URL('../../bin/posthorn.js', import.meta.url));

  it('says what to do on a Node.js that is too old, before it loads anything', () => {
    const preload = fileURLToPath(new URL('./fixtures/old-node.cjs', import.meta.url));
    const { status, stderr } = spawnSync(process.execPath, ['--require', preload, BIN, 'serve'], {
      encoding: 'utf8',
    });
    assert.match(stderr, /^posthorn: Node\.js 20\.20\.2 is too old\. Install Node\.js 22\.19 or newer .*\n$/);
    assert.equal(status, 2);
  });

  it('may be run as a file', () => {
    assert.ok((statSync(BIN).mode & 0o111) !== 0);
    execFileSync(process.execPath, ['--check', BIN]);
  });
});
