/** `posthorn backup` beside a service that works, and `posthorn restore` in its place: real files, processes and signals. */
import assert from 'node:assert/strict';
import { createHash, randomBytes } from 'node:crypto';
import { once } from 'node:events';
import { existsSync, readdirSync, readFileSync, statSync, watch } from 'node:fs';
import { copyFile, cp, mkdir, open, readFile, rm, writeFile } from 'node:fs/promises';
import { join } from 'node:path';
import { after, before, describe, it, type TestContext } from 'node:test';
import { keyId } from '../src/secrets.ts';
import { openDatabase } from '../src/store/sqlite/database.ts';
import { callCli, type Outcome, type RunningService, runCli, startCli, startService } from './cli/harness.ts';
import { Client } from './support/client.ts';
import { Load, LOAD_EVENT } from './support/load.ts';
import { inTurn, neverAnswer, type Receiver, respond, startReceiver } from './support/receivers.ts';
import { type TempDir, tempDir } from './support/tempdir.ts';

const OPERATOR_KEY = 'backup-test-operator-key-'.padEnd(48, '0');
const SETTINGS = {
  POSTHORN_OPERATOR_KEY: OPERATOR_KEY,
  POSTHORN_ENDPOINT_POLICY: 'development',
  POSTHORN_RATE_LIMIT_POST: 'off',
  POSTHORN_TIMEOUT: '30s',
};
const USERNAME = 'alice';
/** Of the endpoint whose receiver answers nothing at first. */
const SLOW_EVENT = 'generated_script_success';

/** Where a service works: its data folder, and one for backups and keys. */
interface Site {
  data: string;
  safe: string;
  database: string;
  key: string;
}

let dir: TempDir;
let sites = 0;

async function newSite(): Promise<Site> {
  sites += 1;
  const data = join(dir.path, `data-${sites}`);
  const safe = join(dir.path, `safe-${sites}`);
  await mkdir(data, { mode: 0o700 });
  await mkdir(safe);
  return { data, safe, database: join(data, 'posthorn.db'), key: join(data, 'encryption.key') };
}

async function startAt(t: TestContext, { data, database }: Site, env: Record<string, string> = {}) {
  const service = await startService(data, {
    env: { ...SETTINGS, POSTHORN_DATABASE_URL: `sqlite:${database}`, ...env },
  });
  t.after(async () => {
    service.kill('SIGKILL');
    await service.ended;
  });
  return { service, operator: new Client(service.url, OPERATOR_KEY) };
}

async function stop(service: RunningService): Promise<void> {
  service.kill('SIGTERM');
  assert.equal(await service.ended, 0, service.stderr);
}

function command(name: 'backup' | 'restore', site: Site, args: string[], env: Record<string, string> = {}) {
  return callCli([name, ...args], { env: { POSTHORN_DATABASE_URL: `sqlite:${site.database}`, ...env } });
}

async function succeed<T = unknown>(outcome: Promise<Outcome>): Promise<T> {
  const { code, stdout, stderr } = await outcome;
  assert.equal(code, 0, stderr);
  return stdout.startsWith('{') ? (JSON.parse(stdout) as T) : (stdout as T);
}

async function fail(outcome: Promise<Outcome>, code: number, message: RegExp): Promise<void> {
  const { stdout, stderr, ...ended } = await outcome;
  assert.match(stderr, message);
  assert.equal(ended.code, code);
  assert.equal(stdout, '');
}

/** Names, modes and contents of a folder's files. What SQLite keeps of a lock or of readers says nothing. */
function picture(folder: string): Record<string, string> {
  const names = readdirSync(folder).filter((name) => !/\.lock(-journal)?$|-shm$/.test(name));
  return Object.fromEntries(
    names.toSorted().map((name) => {
      const path = join(folder, name);
      const hash = createHash('sha256').update(readFileSync(path)).digest('hex').slice(0, 12);
      return [name, `${(statSync(path).mode & 0o777).toString(8)} ${hash}`];
    }),
  );
}

async function addEndpoint(operator: Client, url: string, events: string[]): Promise<void> {
  await operator.data('POST', '/v2/endpoint', { account: USERNAME, body: { url, events } });
}

async function publish(
  operator: Client,
  eventId: string,
  event = LOAD_EVENT,
): Promise<{ duplicate: boolean }> {
  const { example } = await operator.data<{ example: object }>('GET', `/v2/event_type/${event}`);
  const body = { username: USERNAME, event, event_id: eventId, data: example };
  return operator.data('POST', '/v2/publish', { body });
}

interface ListedDelivery {
  event_id: string;
  status: string;
  attempts: number;
}

function deliveries(operator: Client): Promise<ListedDelivery[]> {
  return operator.list('/v2/deliveries', 'deliveries', USERNAME);
}

function eventIdOf({ body }: { body: Buffer }): string {
  return (JSON.parse(body.toString()) as { event_id: string }).event_id;
}

async function receiverOf(t: TestContext, ...behaviours: Parameters<typeof inTurn>): Promise<Receiver> {
  const receiver = await startReceiver(inTurn(...behaviours));
  t.after(() => receiver.close());
  return receiver;
}

function addBallast({ database }: Site, mib: number): void {
  const db = openDatabase(database);
  db.exec('CREATE TABLE ballast (content BLOB)');
  db.prepare('INSERT INTO ballast VALUES (zeroblob(?))').run(mib * 1024 * 1024);
  db.close();
}

/** A database that a service has used and closed, with its key. */
let used: Site;

before(async () => {
  dir = await tempDir();
  used = await newSite();
  const service = await startService(used.data, {
    env: { ...SETTINGS, POSTHORN_DATABASE_URL: `sqlite:${used.database}` },
  });
  await new Client(service.url, OPERATOR_KEY).data('POST', '/v2/account', { body: { username: USERNAME } });
  await stop(service);
});
after(() => dir.remove());

async function copyOfUsed(): Promise<Site> {
  const site = await newSite();
  await cp(used.data, site.data, { recursive: true });
  return site;
}

// ---------------------------------------------------------------- with a service at work

describe('a backup that is taken while the service accepts and delivers', () => {
  it('holds every event that was acknowledged before it, each with its deliveries, and the service goes on', async (t) => {
    const site = await copyOfUsed();
    // Many steps long, so that much is written between the first and the last.
    addBallast(site, 64);
    const receiver = await receiverOf(t, respond(200));
    const { service, operator } = await startAt(t, site);
    for (const path of ['a', 'b']) await addEndpoint(operator, `${receiver.url}/${path}`, [LOAD_EVENT]);
    const load = new Load({
      client: operator,
      username: USERNAME,
      publishers: 4,
      pauseMs: 10,
      idPrefix: 'load-',
    });
    await load.when(() => load.acknowledged.length >= 50);

    const acknowledged = [...load.acknowledged];
    const backup = join(site.safe, 'backup.db');
    const key = join(site.safe, 'key');
    const args = ['backup', '--to', backup, '--key-to', key];
    // In a process of its own: it must not hold up the load.
    await succeed(runCli(args, { env: { POSTHORN_DATABASE_URL: `sqlite:${site.database}` } }));
    assert.ok(load.acknowledged.length > acknowledged.length, 'the service accepted meanwhile');
    await fail(
      command('restore', site, ['--from', backup, '--force']),
      1,
      /in use by another Posthorn process: stop it/,
    );
    const atItsEnd = load.acknowledged.length;
    await load.when(() => load.acknowledged.length >= atItsEnd + 50);
    await load.stop();
    await stop(service);
    assert.deepEqual(load.refusals, []);

    assert.deepEqual(readdirSync(site.safe).toSorted(), ['backup.db', 'key'], 'nothing else is left');
    for (const path of [backup, key]) assert.equal(statSync(path).mode & 0o777, 0o600, path);

    const elsewhere = await newSite();
    await succeed(command('restore', elsewhere, ['--from', backup, '--key', key]));
    const { operator: restored } = await startAt(t, elsewhere);
    const events = await restored.list<{ event_id: string }>('/v2/event_log', 'events', USERNAME);
    const held = new Set(events.map((event) => event.event_id));
    assert.deepEqual(
      acknowledged.filter((eventId) => !held.has(eventId)),
      [],
    );
    assert.equal((await deliveries(restored)).length, 2 * held.size, 'each event has both of its deliveries');
  });
});

describe('a restored backup', () => {
  it('frees the leases it holds, delivers again what ended since, and takes again what was accepted since', async (t) => {
    const site = await newSite();
    // The attempt that is under way at the backup is never answered; the ones after it are.
    const slow = await receiverOf(t, neverAnswer, respond(200));
    const quick = await receiverOf(t, respond(503), respond(200));
    const { service, operator } = await startAt(t, site, { POSTHORN_RETRY_SCHEDULE: '1s,1s,1s' });
    await operator.data('POST', '/v2/account', { body: { username: USERNAME } });
    await addEndpoint(operator, slow.url, [SLOW_EVENT]);
    await addEndpoint(operator, quick.url, [LOAD_EVENT]);
    await publish(operator, 'in-flight', SLOW_EVENT);
    await slow.whenRequests(1);
    await publish(operator, 'retrying');
    await service.logged((line) => line.msg === 'attempt' && line.event_id === 'retrying');

    const backup = join(site.safe, 'backup.db');
    await succeed(command('backup', site, ['--to', backup, '--key-to', join(site.safe, 'key')]));
    await service.logged((line) => line.event_id === 'retrying' && line.outcome === 'success');
    await publish(operator, 'after');
    await service.logged((line) => line.event_id === 'after' && line.outcome === 'success');
    service.kill('SIGKILL');
    await service.ended;

    const text = await succeed<string>(
      command('restore', site, ['--from', backup, '--key', join(site.safe, 'key'), '--force']),
    );
    assert.match(text, /due again/);
    const before = quick.requests.length;
    const { service: again, operator: restored } = await startAt(t, site);
    await Promise.all([
      again.logged((line) => line.event_id === 'in-flight' && line.outcome === 'success'),
      again.logged((line) => line.event_id === 'retrying' && line.outcome === 'success'),
    ]);
    assert.deepEqual(quick.requests.slice(before).map(eventIdOf), ['retrying'], 'delivered once more');
    assert.deepEqual((await deliveries(restored)).map((delivery) => delivery.event_id).toSorted(), [
      'in-flight',
      'retrying',
    ]);
    assert.equal((await publish(restored, 'after')).duplicate, false, 'its publisher can repeat it');
    assert.equal((await publish(restored, 'retrying')).duplicate, true);
  });

  it('takes the place of a killed service with its log, whose database can still be started from where it was set aside', async (t) => {
    const site = await newSite();
    const receiver = await receiverOf(t, respond(200));
    const { service, operator } = await startAt(t, site);
    await operator.data('POST', '/v2/account', { body: { username: USERNAME } });
    await addEndpoint(operator, receiver.url, [LOAD_EVENT]);
    await publish(operator, 'first');
    await service.logged((line) => line.event_id === 'first' && line.msg === 'attempt');
    const backup = join(site.safe, 'backup.db');
    await succeed(command('backup', site, ['--to', backup, '--no-key']));
    await publish(operator, 'second');
    await service.logged((line) => line.event_id === 'second' && line.msg === 'attempt');
    service.kill('SIGKILL');
    await service.ended;
    assert.ok(statSync(`${site.database}-wal`).size > 0, 'what was committed last is in the log alone');

    const { set_aside: aside } = await succeed<{ set_aside: string[] }>(
      command('restore', site, ['--from', backup, '--force', '--json']),
    );
    assert.equal(aside.length, 1);
    const restored = await startAt(t, site);
    assert.equal((await deliveries(restored.operator)).length, 1);
    await stop(restored.service);

    const old = await newSite();
    await copyFile(aside[0] as string, old.database);
    await copyFile(site.key, old.key);
    const oldService = await startAt(t, old);
    assert.equal((await deliveries(oldService.operator)).length, 2);
  });
});

// ---------------------------------------------------------------- what is refused

describe('posthorn backup', () => {
  it('wants to be told where the key is kept, before it writes anything', async () => {
    const site = await copyOfUsed();
    const to = join(site.safe, 'backup.db');
    await fail(command('backup', site, ['--to', to]), 2, /--key-to <file>.* or say with --no-key/);
    assert.deepEqual(readdirSync(site.safe), []);
  });

  it('refuses when the key that the data needs is missing or another one', async () => {
    const site = await copyOfUsed();
    const to = join(site.safe, 'backup.db');
    const keyTo = join(site.safe, 'key');
    const otherKey = randomBytes(32).toString('base64');
    await fail(
      command('backup', site, ['--to', to], { POSTHORN_ENCRYPTION_KEY: otherKey }),
      1,
      /need encryption key [0-9a-f]{8}, and POSTHORN_ENCRYPTION_KEY has key [0-9a-f]{8}: a backup could not be used/,
    );
    await writeFile(site.key, otherKey);
    await fail(command('backup', site, ['--to', to, '--key-to', keyTo]), 1, /a backup could not be used/);
    await writeFile(site.key, 'no key at all');
    await fail(command('backup', site, ['--to', to, '--key-to', keyTo]), 1, /holds no encryption key/);
    await rm(site.key);
    await fail(
      command('backup', site, ['--to', to, '--key-to', keyTo]),
      1,
      /there is none in .*encryption\.key/,
    );
    assert.deepEqual(readdirSync(site.safe), []);

    await succeed(command('backup', site, ['--to', to, '--no-key']));
    assert.deepEqual(readdirSync(site.safe), ['backup.db']);
  });

  it('needs to be told nothing when the configuration gives the key, and shows it nowhere', async () => {
    const site = await copyOfUsed();
    const key = readFileSync(site.key, 'utf8').trim();
    const args = ['--to', join(site.safe, 'backup.db'), '--json'];
    const { code, stdout, stderr } = await command('backup', site, args, { POSTHORN_ENCRYPTION_KEY: key });
    assert.equal(code, 0, stderr);
    assert.ok(!(stdout + stderr).includes(key));
    assert.match(stdout, /"encryption_key_file": null/);
  });

  it('keeps an older file unless it is told to replace it', async () => {
    const site = await copyOfUsed();
    const to = join(site.safe, 'backup.db');
    const keyTo = join(site.safe, 'key');
    const daily = ['--to', to, '--key-to', keyTo];
    await writeFile(to, 'an older backup');
    await fail(command('backup', site, daily), 1, /is there already: .* --force/);
    assert.equal(await readFile(to, 'utf8'), 'an older backup');
    await succeed(command('backup', site, [...daily, '--force']));
    await succeed(command('backup', site, ['--to', `${to}.2`, '--key-to', keyTo]));

    await writeFile(keyTo, 'what somebody else keeps there');
    const before = picture(site.safe);
    await fail(
      command('backup', site, ['--to', `${to}.3`, '--key-to', keyTo]),
      1,
      /key holds no encryption key/,
    );
    assert.deepEqual(picture(site.safe), before);
  });

  it('keeps the keys that older backups need, and restore finds the right one among them', async () => {
    const site = await copyOfUsed();
    const [to, keyTo] = [join(site.safe, 'backup.db'), join(site.safe, 'key')];
    const older = randomBytes(32).toString('base64');
    await writeFile(keyTo, `# before the rotation\n${older}\n`);
    await succeed(command('backup', site, ['--to', to, '--key-to', keyTo]));
    const own = readFileSync(site.key, 'utf8').trim();
    assert.equal(readFileSync(keyTo, 'utf8'), `${own}\n${older}\n`);
    const elsewhere = await newSite();
    await succeed(command('restore', elsewhere, ['--from', to, '--key', keyTo]));
    assert.equal(readFileSync(elsewhere.key, 'utf8').trim(), own);
  });

  it('wants all keys of data that is being re-encrypted, and restore puts them where a service looks', async () => {
    const site = await copyOfUsed();
    const [to, keyTo] = [join(site.safe, 'backup.db'), join(site.safe, 'key')];
    const own = readFileSync(site.key, 'utf8').trim();
    const older = randomBytes(32).toString('base64');
    const db = openDatabase(site.database);
    db.prepare('INSERT INTO encryption_key (key_id, since) VALUES (?, 0)').run(
      keyId(Buffer.from(older, 'base64')),
    );
    db.close();
    await fail(
      command('backup', site, ['--to', to, '--key-to', keyTo]),
      1,
      /need encryption key [0-9a-f]{8}, and/,
    );
    await writeFile(`${site.key}.old`, `# until today\n${older}\n`);
    await succeed(command('backup', site, ['--to', to, '--key-to', keyTo]));
    const elsewhere = await newSite();
    await succeed(command('restore', elsewhere, ['--from', to, '--key', keyTo]));
    assert.equal(readFileSync(elsewhere.key, 'utf8').trim(), own);
    assert.equal(readFileSync(`${elsewhere.key}.old`, 'utf8').trim(), older);
    const configured = { POSTHORN_ENCRYPTION_KEY: own, POSTHORN_ENCRYPTION_KEY_OLD: older };
    await succeed(command('restore', await newSite(), ['--from', to], configured));
  });

  it('never writes over a file of the service', async () => {
    const site = await copyOfUsed();
    const before = picture(site.data);
    for (const name of ['posthorn.db', 'posthorn.db-wal', 'encryption.key', 'posthorn.db.lock']) {
      const to = join(site.data, name);
      await fail(
        command('backup', site, ['--to', to, '--no-key', '--force']),
        2,
        /is a file of the service itself/,
      );
    }
    const safe = join(site.safe, 'x');
    await fail(command('backup', site, ['--to', safe, '--key-to', site.key]), 2, /is a file of the service/);
    await fail(command('backup', site, ['--to', safe, '--key-to', safe]), 2, /name the same file/);
    assert.deepEqual(picture(site.data), before);
  });

  it('finds a damaged page, and leaves nothing behind', async () => {
    const site = await copyOfUsed();
    addBallast(site, 4);
    const damaged = await open(site.database, 'r+');
    const { size } = await damaged.stat();
    // Within the ballast: whatever reads only what it needs goes on as before.
    const page = Math.floor(size / 4096 - 100) * 4096;
    await damaged.write(Buffer.alloc(16, 0x77), 0, 16, page);
    await damaged.close();
    await fail(
      command('backup', site, ['--to', join(site.safe, 'b.db'), '--no-key']),
      1,
      /the copy is damaged \(.*check the disk/,
    );
    assert.deepEqual(readdirSync(site.safe), []);
  });

  it('leaves nothing behind when a signal ends it', async () => {
    const site = await copyOfUsed();
    addBallast(site, 100);
    const watcher = watch(site.safe);
    const child = startCli(['backup', '--to', join(site.safe, 'b.db'), '--no-key'], {
      env: { POSTHORN_DATABASE_URL: `sqlite:${site.database}` },
    });
    const ended = once(child, 'close');
    await Promise.race([once(watcher, 'change'), ended]);
    child.kill('SIGTERM');
    watcher.close();
    assert.deepEqual(await ended, [143, null]);
    assert.deepEqual(readdirSync(site.safe), []);
  });

  it('says what is wrong with its arguments', async () => {
    const site = await copyOfUsed();
    const none = { ...site, database: join(site.data, 'none.db') };
    await fail(
      command('backup', none, ['--to', join(site.safe, 'b')]),
      1,
      /there is no database at .*none\.db/,
    );
    await fail(command('backup', site, ['--to', join(site.safe, 'no/b')]), 2, /there is no folder/);
    await fail(command('backup', site, ['--to', site.safe]), 2, /is no file/);
    const strange = { ...site, database: join(site.safe, 'strange.db') };
    const recipes = openDatabase(strange.database);
    recipes.exec('CREATE TABLE recipe (name TEXT)');
    recipes.close();
    await fail(command('backup', strange, ['--to', join(site.safe, 'b')]), 1, /is no database of Posthorn's/);
    const both = ['--to', join(site.safe, 'b'), '--key-to', join(site.safe, 'k'), '--no-key'];
    await fail(command('backup', site, both), 2, /not both/);
    assert.ok(!existsSync(none.database), 'looking makes no database');
  });

  it('leads to pg_dump on PostgreSQL, without the password', async () => {
    const env = { POSTHORN_DATABASE_URL: 'postgres://posthorn:hunter2@127.0.0.1/posthorn' };
    for (const args of [
      ['backup', '--to', 'x'],
      ['restore', '--from', 'x'],
    ]) {
      const { code, stderr } = await callCli(args, { env });
      assert.equal(code, 2);
      assert.match(stderr, /pg_(dump|restore)/);
      assert.ok(!stderr.includes('hunter2'));
    }
  });
});

describe('posthorn restore', () => {
  let backup: string;
  let key: string;
  before(async () => {
    const site = await copyOfUsed();
    backup = join(site.safe, 'backup.db');
    key = join(site.safe, 'key');
    await succeed(command('backup', site, ['--to', backup, '--key-to', key]));
  });

  async function refused(site: Site, args: string[], message: RegExp, env = {}): Promise<void> {
    const before = picture(site.data);
    await fail(command('restore', site, args, env), 1, message);
    assert.deepEqual(picture(site.data), before, 'nothing was changed');
  }

  it('puts database and key into an empty place, readable by their owner alone', async () => {
    const site = await newSite();
    const report = await succeed<{ as_of: string; made_by: string; set_aside: string[] }>(
      command('restore', site, ['--from', backup, '--key', key, '--json']),
    );
    assert.deepEqual(report.set_aside, []);
    assert.ok(!Number.isNaN(Date.parse(report.as_of)));
    assert.equal(readFileSync(site.key, 'utf8'), readFileSync(used.key, 'utf8'));
    for (const path of [site.database, site.key]) assert.equal(statSync(path).mode & 0o777, 0o600, path);
    const db = openDatabase(site.database);
    assert.equal(db.prepare(`SELECT count(*) AS n FROM meta WHERE name = 'backup'`).pluck().get(), 0);
    db.close();
  });

  it('leaves the key alone when the configuration gives it', async () => {
    const site = await newSite();
    const env = { POSTHORN_ENCRYPTION_KEY: readFileSync(key, 'utf8').trim() };
    await succeed(command('restore', site, ['--from', backup], env));
    assert.ok(!existsSync(site.key));
  });

  it('refuses without the key that belongs to the backup', async () => {
    const site = await newSite();
    await refused(site, ['--from', backup], /need encryption key [0-9a-f]{8}, and there is none in/);
    const other = join(site.safe, 'other');
    await writeFile(other, randomBytes(32).toString('base64'));
    await refused(site, ['--from', backup, '--key', other], /has key [0-9a-f]{8}: nothing was changed/);
    await refused(site, ['--from', backup, '--key', `${other}.none`], /there is no key/);
    const env = { POSTHORN_ENCRYPTION_KEY: randomBytes(32).toString('base64') };
    await refused(site, ['--from', backup, '--key', key], /POSTHORN_ENCRYPTION_KEY has key/, env);
  });

  it('refuses to replace a database unasked, and sets it aside with its key when asked', async () => {
    const site = await copyOfUsed();
    const otherKey = randomBytes(32).toString('base64');
    await writeFile(site.key, otherKey);
    await refused(site, ['--from', backup, '--key', key], /is there already: with --force it is set aside/);
    const { set_aside: aside } = await succeed<{ set_aside: string[] }>(
      command('restore', site, ['--from', backup, '--key', key, '--force', '--json']),
    );
    const [oldKey, oldDatabase] = aside;
    assert.equal(readFileSync(oldKey as string, 'utf8'), otherKey);
    assert.match(oldDatabase ?? '', /posthorn\.db\.before-restore-2026-01-31T12-00-00Z$/);
    assert.ok(existsSync(oldDatabase as string));
    assert.equal(readFileSync(site.key, 'utf8'), readFileSync(key, 'utf8'));
  });

  it('refuses what is damaged, of a newer Posthorn, or of somebody else', async () => {
    const site = await copyOfUsed();
    const at = (name: string) => join(site.safe, name);
    await writeFile(at('text'), 'not a database, but long enough to be one. '.repeat(200));
    const force = ['--key', key, '--force'];
    await refused(site, ['--from', at('text'), ...force], /text can't be restored/);
    await refused(site, ['--from', at('missing'), ...force], /there is no backup/);

    const strange = openDatabase(at('strange.db'));
    strange.exec('CREATE TABLE recipe (name TEXT)');
    strange.close();
    await refused(site, ['--from', at('strange.db'), ...force], /is no database of Posthorn's/);

    await copyFile(backup, at('newer.db'));
    const newer = openDatabase(at('newer.db'));
    newer.exec(`INSERT INTO schema_migration VALUES (999, 'of tomorrow', 'x', 0)`);
    newer.close();
    await refused(
      site,
      ['--from', at('newer.db'), ...force],
      /schema version 999, this version .* start a newer/,
    );
  });

  it('puts aside the log of a database that is gone, which would be played into the restored one', async () => {
    const site = await newSite();
    await writeFile(`${site.database}-wal`, 'a log that nobody needs');
    const { set_aside: aside } = await succeed<{ set_aside: string[] }>(
      command('restore', site, ['--from', backup, '--key', key, '--json']),
    );
    assert.deepEqual(
      aside.map((path) => path.slice(-4)),
      ['-wal'],
    );
    assert.ok(!existsSync(`${site.database}-wal`));
  });
});
