/** `serve`, `migrate` and `doctor` on PostgreSQL URLs. */
import assert from 'node:assert/strict';
import { afterEach, beforeEach, describe, it } from 'node:test';
import type { Check } from '../../src/cli/doctor-checks.ts';
import { createEncryptionKey, keyId, parseEncryptionKey } from '../../src/secrets.ts';
import { createDatabase, type PostgresDatabase } from '../support/postgres.ts';
import { type TempDir, tempDir } from '../support/tempdir.ts';
import { callCli, type RunningService, runCli, startService } from './harness.ts';

const ENCRYPTION_KEY = createEncryptionKey();
/** Nobody listens on the port of "discard". */
const NOWHERE = 'http://127.0.0.1:9';

let database: PostgresDatabase;
let folder: TempDir;
let running: RunningService[];
let roles: string[];

beforeEach(async () => {
  database = await createDatabase();
  folder = await tempDir();
  running = [];
  roles = [];
});
afterEach(async () => {
  for (const service of running) service.kill('SIGKILL');
  await Promise.all(running.map(({ ended }) => ended));
  for (const role of roles) await database.query(`DROP OWNED BY ${role}`);
  for (const role of roles) await database.query(`REVOKE ALL ON DATABASE ${database.name} FROM ${role}`);
  for (const role of roles) await database.query(`DROP ROLE ${role}`);
  await database.drop();
  await folder.remove();
});

function env(changes: Record<string, string> = {}): Record<string, string> {
  return { POSTHORN_DATABASE_URL: database.url, POSTHORN_ENCRYPTION_KEY: ENCRYPTION_KEY, ...changes };
}

function hasPassword(text: string): boolean {
  return text.includes(new URL(database.url).password);
}

/** A user of the server, who may at first do nothing here but connect. */
async function user(): Promise<{ role: string; url: string }> {
  const role = `${database.name}_${roles.length}`;
  await database.query(`CREATE ROLE ${role} LOGIN PASSWORD 'secret-of-a-role'`);
  roles.push(role);
  const url = new URL(database.url);
  url.username = role;
  url.password = 'secret-of-a-role';
  return { role, url: url.href };
}

async function examine(changes: Record<string, string> = {}) {
  const { code, stdout, stderr } = await callCli(['doctor', '--json', '--url', NOWHERE], {
    env: env(changes),
  });
  assert.ok(!hasPassword(`${stdout}${stderr}`) && !`${stdout}${stderr}`.includes('secret-of-a-role'));
  const { ok, checks } = JSON.parse(stdout) as { ok: boolean; checks: Check[] };
  assert.equal(code, ok ? 0 : 1);
  for (const { status, fix } of checks)
    assert.equal(fix !== null, status === 'wrong' || status === 'warning');
  const found = (name: string) => checks.find(({ check }) => check === name);
  return {
    ok,
    wrong: checks.filter(({ status }) => status === 'wrong').map(({ check }) => check),
    statusOf: (name: string) => found(name)?.status,
    detailOf: (name: string) => `${found(name)?.detail} ${found(name)?.fix}`,
  };
}

async function migrate(): Promise<void> {
  assert.equal((await callCli(['migrate'], { env: env() })).code, 0);
}

describe('migrate on PostgreSQL', () => {
  it('makes the schema, says what it did, and does nothing the second time', async () => {
    // Without the encryption key, which whoever migrates needn't have.
    const first = await callCli(['migrate', '--database-url', database.url]);
    assert.deepEqual([first.code, first.stderr], [0, '']);
    assert.match(first.stdout, /^postgres:\/\/\S+ went from schema version 0 to \d+: \d+ migrations\.$/m);
    assert.ok(first.stdout.includes(`:***@`) && !hasPassword(first.stdout));
    const second = await callCli(['migrate', '--json'], { env: env() });
    const report = JSON.parse(second.stdout) as { from: number; to: number; applied: string[] };
    assert.equal(report.from, report.to);
    assert.deepEqual(report.applied, []);
  });

  it('refuses a schema of a newer Posthorn', async () => {
    await migrate();
    await database.query(`INSERT INTO posthorn.schema_migration VALUES (9999, '9999_later.sql', 'x')`);
    const { code, stderr } = await callCli(['migrate'], { env: env() });
    assert.equal(code, 1);
    assert.match(stderr, /start a newer Posthorn/);
    const served = await runCli(['serve'], { env: env() });
    assert.equal(served.code, 1);
    assert.match(served.stderr, /^posthorn: the database has schema version \d+.*start a newer Posthorn\n$/);
  });
});

describe('serve on PostgreSQL', () => {
  it('tells its role, the database without the password, and the key of the first node alone', async () => {
    const start = async (role: string) => {
      const service = await startService(folder.path, { env: env({ POSTHORN_ROLE: role }) });
      running.push(service);
      return service;
    };
    const nodes = await Promise.all(['all', 'api', 'worker'].map(start));
    assert.equal(nodes.filter(({ printedKey }) => printedKey !== null).length, 1);
    const words = ['API and delivery', 'the API alone', 'delivery alone, with health and metrics'];
    for (const [n, { stdout, stderr }] of nodes.entries()) {
      assert.ok(stderr.includes(`:***@`) && stderr.includes(words[n] as string), stderr);
      assert.ok(!hasPassword(`${stdout}${stderr}`), 'the password is shown');
    }
  });

  it('demands the encryption key, with exit code 2', async () => {
    const { code, stderr } = await callCli(['serve'], { env: { POSTHORN_DATABASE_URL: database.url } });
    assert.equal(code, 2);
    assert.match(stderr, /POSTHORN_ENCRYPTION_KEY is required with PostgreSQL/);
    assert.ok(!hasPassword(stderr));
  });
});

describe('doctor on PostgreSQL', () => {
  it('finds nothing wrong before the first start, and changes nothing', async () => {
    const { ok, statusOf } = await examine();
    assert.ok(ok);
    for (const check of [
      'database',
      'PostgreSQL',
      'encoding',
      'rights',
      'database clock',
      'notices',
      'connections',
    ]) {
      assert.equal(statusOf(check), 'ok', check);
    }
    assert.equal(statusOf('schema'), 'skipped');
    assert.deepEqual(await database.query(`SELECT FROM pg_namespace WHERE nspname = 'posthorn'`), []);
  });

  it('finds nothing wrong in a good installation, and prints a line for each check', async () => {
    await migrate();
    assert.equal((await examine()).statusOf('schema'), 'ok');
    const { code, stdout, stderr } = await callCli(['doctor', '--url', NOWHERE], { env: env() });
    assert.deepEqual([code, stderr], [0, '']);
    assert.match(stdout, /^✓ database +postgres:\/\/\S+:\*\*\*@\S+ answers within \d+ ms$/m);
    assert.match(stdout, /^✓ PostgreSQL +\d+\.\d+/m);
    assert.match(stdout, /^✓ schema +version \d+, up to date$/m);
    assert.match(stdout, /^✓ notices +arrive within \d+ ms$/m);
    assert.match(
      stdout,
      /^✓ connections +this node takes up to 11; the server has \d+, of which \d+ are in use now$/m,
    );
  });

  it('finds a database that can’t be reached, a wrong password and a database that is not there', async () => {
    const at = async (change: (url: URL) => void) => {
      const url = new URL(database.url);
      change(url);
      const { wrong, detailOf } = await examine({ POSTHORN_DATABASE_URL: url.href });
      assert.deepEqual(wrong, ['database']);
      return detailOf('database');
    };
    assert.match(await at((url) => (url.port = '9')), /ECONNREFUSED.*POSTHORN_DATABASE_URL/);
    assert.match(await at((url) => (url.password = 'secret-of-a-role')), /check user and password/);
    assert.match(await at((url) => (url.pathname = '/nowhere')), /does not exist/);
  });

  it('finds another encryption key than the data was written with', async () => {
    const service = await startService(folder.path, { env: env() });
    running.push(service);
    assert.ok((await examine()).ok);
    const { wrong, detailOf } = await examine({ POSTHORN_ENCRYPTION_KEY: createEncryptionKey() });
    assert.deepEqual(wrong, ['encryption key']);
    assert.match(detailOf('encryption key'), /is [0-9a-f]{8}, but the data was written with [0-9a-f]{8}/);
  });

  it('knows the older keys, warns of a key that isn’t in use yet, and finds one that is still needed', async () => {
    const service = await startService(folder.path, { env: env() });
    running.push(service);
    const next = createEncryptionKey();
    const rotating = {
      POSTHORN_ENCRYPTION_KEY: next,
      POSTHORN_ENCRYPTION_KEY_OLD: env().POSTHORN_ENCRYPTION_KEY as string,
    };
    const early = await examine(rotating);
    assert.ok(early.ok);
    assert.equal(early.statusOf('encryption key'), 'warning');
    assert.match(early.detailOf('encryption key'), /is configured, but \w{8} is in use run posthorn secrets/);
    // As in the middle of a rotation.
    const nextId = keyId(parseEncryptionKey(next));
    await database.query(`INSERT INTO posthorn.encryption_key VALUES ($1, 1)`, [nextId]);
    await database.query(`UPDATE posthorn.meta SET value = $1 WHERE name = 'encryption_key_id'`, [nextId]);
    assert.equal((await examine(rotating)).statusOf('encryption key'), 'ok');
    const late = await examine({ POSTHORN_ENCRYPTION_KEY: next });
    assert.match(
      late.detailOf('encryption key'),
      /still encrypted with \w{8} give it as POSTHORN_ENCRYPTION_KEY_OLD/,
    );
  });

  it('finds a schema that is older than the program, newer, or of another build', async () => {
    await migrate();
    const schema = async () => (await examine()).detailOf('schema');
    await database.query(`INSERT INTO posthorn.schema_migration VALUES (9999, '9999_later.sql', 'x')`);
    assert.match(await schema(), /start a newer Posthorn/);
    await database.query('DELETE FROM posthorn.schema_migration WHERE version > 1');
    assert.match(await schema(), /version 1, and this Posthorn wants \d+ run posthorn migrate/);
    await database.query(`UPDATE posthorn.schema_migration SET checksum = 'x'`);
    assert.match(await schema(), /made by another build of Posthorn/);
  });

  it('finds a user who may not make the schema, or doesn’t own it', async () => {
    const { role, url } = await user();
    const examineAsUser = () => examine({ POSTHORN_DATABASE_URL: url });
    assert.match(
      (await examineAsUser()).detailOf('rights'),
      /may not make the schema posthorn GRANT CREATE ON DATABASE/,
    );
    await database.query(`GRANT CREATE ON DATABASE ${database.name} TO ${role}`);
    assert.ok((await examineAsUser()).ok);

    await migrate();
    assert.match((await examineAsUser()).detailOf('schema'), /may not read it.*as the owner/);
    await database.query(
      `GRANT USAGE ON SCHEMA posthorn TO ${role}; GRANT SELECT ON posthorn.schema_migration TO ${role}`,
    );
    assert.match((await examineAsUser()).detailOf('rights'), /may not change the schema's tables/);
    await database.query(`GRANT ALL ON ALL TABLES IN SCHEMA posthorn TO ${role}`);
    assert.match((await examineAsUser()).detailOf('rights'), /doesn't own the schema's tables/);
  });

  it('warns of notices that don’t arrive, which is no failure', async () => {
    await database.query(`
      CREATE SCHEMA deaf;
      CREATE FUNCTION deaf.pg_notify(text, text) RETURNS void LANGUAGE sql AS $$ SELECT NULL::void $$;
      ALTER DATABASE ${database.name} SET search_path = deaf, pg_catalog, public;`);
    const { ok, statusOf, detailOf } = await examine();
    assert.ok(ok);
    assert.equal(statusOf('notices'), 'warning');
    assert.match(detailOf('notices'), /they look every second/);
  });

  it('finds a pool that is larger than the server', async () => {
    const [row] = await database.query<{ most: number }>(
      `SELECT current_setting('max_connections')::int AS most`,
    );
    const { statusOf } = await examine({ POSTHORN_DATABASE_POOL: '100' });
    assert.equal(statusOf('connections') === 'wrong', (row?.most ?? 0) < 104);
  });
});
