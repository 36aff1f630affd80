import assert from 'node:assert/strict';
import { spawn } from 'node:child_process';
import { once } from 'node:events';
import { chmodSync, mkdtempSync, readdirSync, rmSync } from 'node:fs';
import { connect as connectSocket } from 'node:net';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { text as textOf } from 'node:stream/consumers';
import { describe, it, type TestContext } from 'node:test';
import pg from 'pg';
import { clearRecords, createDatabase, type PostgresDatabase } from './postgres.ts';
import { Cable } from './postgres-cable.ts';
import { clockOf, steerClock } from './postgres-clock.ts';
import { PostgresCluster } from './postgres-cluster.ts';

const HOUR_MS = 3_600_000;
const urlOf = (name: string) => new URL(name, import.meta.url).href;

async function database(t: TestContext): Promise<PostgresDatabase> {
  const created = await createDatabase();
  t.after(() => created.drop());
  return created;
}

/** The least that the clock and the clearing rely on. */
async function withSchema(target: PostgresDatabase): Promise<PostgresDatabase> {
  await target.query(`
    CREATE SCHEMA posthorn;
    CREATE FUNCTION posthorn.now_ms() RETURNS bigint LANGUAGE sql VOLATILE
      AS $$ SELECT floor(extract(epoch FROM clock_timestamp()) * 1000)::bigint $$;
    CREATE TABLE posthorn.schema_migration (version int);
    INSERT INTO posthorn.schema_migration VALUES (1);
    CREATE TABLE posthorn.event (at bigint) PARTITION BY RANGE (at);
    CREATE TABLE posthorn.event_default PARTITION OF posthorn.event DEFAULT;`);
  return target;
}

async function connect(t: TestContext, url: string): Promise<pg.Client> {
  const client = new pg.Client(url);
  client.on('error', () => {});
  await client.connect();
  t.after(() => client.end());
  return client;
}

/** Resolves when the connection is gone, however it ended. */
function endOf(client: pg.Client): Promise<void> {
  return new Promise((resolve) => client.once('end', () => resolve()));
}

interface Outcome {
  code: number | null;
  stderr: string;
  /** What it left in its temporary folder. */
  files: string[];
  /** Whether the server whose URL it printed still answers. */
  serverRuns: boolean;
}

/** Runs a program that prints its server's URL, in a process with a temporary folder of its own. */
async function runProgram(t: TestContext, program: string, end: 'by itself' | 'SIGKILL'): Promise<Outcome> {
  const folder = mkdtempSync(join(tmpdir(), 'posthorn-test-harness-'));
  t.after(() => rmSync(folder, { recursive: true, force: true }));
  // The server may run as another user, who has to get through.
  chmodSync(folder, 0o755);
  const { POSTHORN_TEST_POSTGRES_URL: _shared, NODE_TEST_CONTEXT: _context, ...env } = process.env;
  const child = spawn(process.execPath, ['--input-type=module-typescript', '--eval', program], {
    env: { ...env, TMPDIR: folder },
    stdio: ['ignore', 'pipe', 'pipe'],
  });
  const ended = once(child, 'exit') as Promise<[number | null, string | null]>;
  // The keeper has this pipe too: it closes when the keeper has ended.
  const stderr = textOf(child.stderr);
  const [url] = (await once(child.stdout, 'data')) as [Buffer];
  if (end === 'SIGKILL') child.kill('SIGKILL');
  const [code] = await ended;
  return { code, stderr: await stderr, files: readdirSync(folder), serverRuns: await answers(String(url)) };
}

async function answers(url: string): Promise<boolean> {
  const { hostname, port } = new URL(url);
  const socket = connectSocket(Number(port), hostname);
  try {
    await once(socket, 'connect');
    return true;
  } catch {
    return false;
  } finally {
    socket.destroy();
  }
}

describe('a PostgreSQL for the tests', () => {
  it('a new database is empty, in UTF-8, and nobody else sees it', async (t) => {
    const [one, other] = await Promise.all([database(t), database(t)]);
    await one.query('CREATE TABLE mine (id int)');
    assert.deepEqual(await other.query(`SELECT to_regclass('mine') AS found`), [{ found: null }]);
    assert.deepEqual(await one.query('SHOW server_encoding'), [{ server_encoding: 'UTF8' }]);
  });

  it('a copy of a database has what it had, and its clock', async (t) => {
    const template = await withSchema(await database(t));
    await (await steerClock(template)).advance(HOUR_MS);
    const copy = await createDatabase({ template });
    t.after(() => copy.drop());
    assert.ok((await clockOf(copy).now()) >= Date.now() + HOUR_MS - 5_000);
  });

  it('a dropped database is gone, with whoever was connected', async (t) => {
    const doomed = await createDatabase();
    const client = await connect(t, doomed.url);
    const ended = endOf(client);
    await doomed.drop();
    await doomed.drop();
    await ended;
    await assert.rejects(connect(t, doomed.url), { code: '3D000' });
  });

  it('a server that is away is a failure that says where to look', async (t) => {
    const given = process.env.POSTHORN_TEST_POSTGRES_URL;
    t.after(() => {
      if (given === undefined) delete process.env.POSTHORN_TEST_POSTGRES_URL;
      else process.env.POSTHORN_TEST_POSTGRES_URL = given;
    });
    process.env.POSTHORN_TEST_POSTGRES_URL = 'postgres://tester:hidden@127.0.0.1:1/postgres';
    await assert.rejects(createDatabase(), (error: Error) => {
      assert.match(error.message, /on 127\.0\.0\.1:1: .*ECONNREFUSED.*POSTHORN_TEST_POSTGRES_URL/);
      assert.doesNotMatch(error.message, /hidden/);
      return true;
    });
  });

  it('records are cleared, the schema stays', async (t) => {
    const target = await withSchema(await database(t));
    await target.query('INSERT INTO posthorn.event VALUES (1), (2)');
    await clearRecords(target);
    assert.deepEqual(await target.query('SELECT * FROM posthorn.event'), []);
    assert.deepEqual(await target.query('SELECT version FROM posthorn.schema_migration'), [{ version: 1 }]);
  });

  it('all connections see the clock move at once, within open transactions too', async (t) => {
    const target = await withSchema(await database(t));
    const clock = await steerClock(target);
    const client = await connect(t, target.url);
    await client.query('BEGIN ISOLATION LEVEL REPEATABLE READ');
    const time = async () => Number((await client.query('SELECT posthorn.now_ms() AS now')).rows[0].now);
    const before = await time();
    await clock.advance(HOUR_MS);
    await clock.advance(HOUR_MS);
    assert.ok((await clock.now()) - before >= 2 * HOUR_MS);
    assert.ok((await time()) - before >= 2 * HOUR_MS);
  });
});

describe('a cable to the database', () => {
  it('cut, it ends connections and lets none through until it is mended', async (t) => {
    const target = await database(t);
    const cable = await Cable.lay(target.url);
    t.after(() => cable.remove());
    const client = await connect(t, cable.url);
    const [row] = (
      await client.query('SELECT client_port FROM pg_stat_activity WHERE pid = pg_backend_pid()')
    ).rows;
    const ended = endOf(client);
    assert.deepEqual(cable.cut(), [row.client_port]);
    await ended;
    await assert.rejects(connect(t, cable.url));
    cable.mend();
    await connect(t, cable.url);
  });
});

describe('a PostgreSQL cluster of a test', () => {
  it('comes back where it was with what was committed, after a stop and after a crash', async (t) => {
    const cluster = await PostgresCluster.start();
    t.after(() => cluster.remove());
    const target = await createDatabase({ cluster });
    await target.query('CREATE TABLE kept (id int)');
    const client = await connect(t, target.url);
    const ended = endOf(client);
    await cluster.stopServer();
    await ended;
    await assert.rejects(connect(t, target.url), { code: 'ECONNREFUSED' });
    await cluster.startServer();
    await target.query('INSERT INTO kept VALUES (1)');
    await cluster.crashServer();
    await cluster.startServer();
    await target.query('INSERT INTO kept VALUES (2)');
    await cluster.restart();
    assert.deepEqual(await target.query('SELECT id FROM kept ORDER BY id'), [{ id: 1 }, { id: 2 }]);
  });

  it('has room for 200 connections and runs by its own settings', async (t) => {
    const cluster = await PostgresCluster.start({ settings: { work_mem: '5MB' } });
    t.after(() => cluster.remove());
    const target = await createDatabase({ cluster });
    assert.deepEqual(await target.query('SHOW max_connections'), [{ max_connections: '200' }]);
    assert.deepEqual(await target.query('SHOW work_mem'), [{ work_mem: '5MB' }]);
  });

  it('without binaries it fails with a sentence that says what to do', async () => {
    await assert.rejects(
      PostgresCluster.start({ binaries: '/nowhere' }),
      /can't be started for the tests: \/nowhere\/postgres.*ENOENT[^]*npm ci[^]*POSTHORN_TEST_POSTGRES_URL/,
    );
  });

  it('a server that refuses its settings is quoted', async () => {
    await assert.rejects(
      PostgresCluster.start({ settings: { work_mem: 'plenty' } }),
      /invalid value.*work_mem/,
    );
  });
});

describe('what a process leaves behind', () => {
  const useDatabase = `
    import { createDatabase } from '${urlOf('postgres.ts')}';
    const database = await createDatabase();
    await database.query('CREATE TABLE kept (id int)');
    console.log(database.url);`;
  const nothing = { stderr: '', files: [], serverRuns: false };

  it('nothing runs or lies about when it ends by itself, also with a database in use', async (t) => {
    assert.deepEqual(await runProgram(t, useDatabase, 'by itself'), { code: 0, ...nothing });
  });

  it('nor when it fails', async (t) => {
    const outcome = await runProgram(t, `${useDatabase} throw new Error('defect')`, 'by itself');
    assert.match(outcome.stderr, /Error: defect/);
    assert.deepEqual({ ...outcome, stderr: '' }, { code: 1, ...nothing });
  });

  it('nor when it is killed', async (t) => {
    const outcome = await runProgram(t, `${useDatabase} setInterval(() => {}, 1000)`, 'SIGKILL');
    assert.deepEqual(outcome, { code: null, ...nothing });
  });

  it('nor after a whole run of the suites', async (t) => {
    const run = `
      import { globalSetup, globalTeardown } from '${urlOf('whole-run.ts')}';
      await globalSetup();
      console.log(process.env.POSTHORN_TEST_POSTGRES_URL);
      await globalTeardown();`;
    assert.deepEqual(await runProgram(t, run, 'by itself'), { code: 0, ...nothing });
  });
});
