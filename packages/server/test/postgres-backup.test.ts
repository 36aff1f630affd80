/** docs/backup.md, PostgreSQL: a dump of nodes at work, restored on another server, by PostgreSQL's own programs and the documented SQL. */
import assert from 'node:assert/strict';
import { execFile } from 'node:child_process';
import { existsSync, globSync, readFileSync, realpathSync } from 'node:fs';
import { dirname, join } from 'node:path';
import { after, before, it } from 'node:test';
import { promisify } from 'node:util';
import type { RunningService } from './cli/harness.ts';
import { Load, LOAD_EVENT } from './support/load.ts';
import { createDatabase } from './support/postgres.ts';
import { PostgresCluster } from './support/postgres-cluster.ts';
import { type Receiver, startReceiver } from './support/receivers.ts';
import {
  assertStillSays,
  behaveByPath,
  fill,
  operatorOf,
  pictureOf,
  startOn,
} from './support/release-state.ts';
import { findProgram, skipsWithout } from './support/tools.ts';
import { type TempDir, tempDir } from './support/tempdir.ts';

const NEEDED = ['initdb', 'postgres', 'pg_dump', 'pg_restore'];
const PATIENCE_MS = 60_000;

/**
 * A server with its own pg_dump, which must not be older than the server: the embedded binaries come without. Debian's
 * packages have both in one folder.
 */
function binariesWithDump(): string | null {
  const onPath = findProgram('pg_dump');
  const folders = [
    process.env.POSTHORN_TEST_POSTGRES_BIN,
    ...globSync('/usr/lib/postgresql/*/bin').toSorted().reverse(),
    onPath === null ? undefined : dirname(realpathSync(onPath)),
  ].filter((folder) => folder !== undefined);
  return folders.find((folder) => NEEDED.every((name) => existsSync(join(folder, name)))) ?? null;
}

let dir: TempDir;
let receiver: Receiver;
const services: RunningService[] = [];
const clusters: PostgresCluster[] = [];

before(async () => {
  dir = await tempDir();
  receiver = await startReceiver(behaveByPath);
});

after(async () => {
  for (const service of services) {
    service.kill('SIGKILL');
    await service.ended;
  }
  await receiver.close();
  for (const cluster of clusters) await cluster.remove();
  await dir.remove();
});

async function start(url: string): Promise<RunningService> {
  const service = await startOn(dir.path, url);
  services.push(service);
  return service;
}

async function newDatabase(binaries: string) {
  const cluster = await PostgresCluster.start({ binaries });
  clusters.push(cluster);
  return createDatabase({ cluster });
}

/** The address for a role that may log in with this password. */
function asRole(url: string, role: string, password: string): string {
  const changed = new URL(url);
  changed.username = role;
  changed.password = password;
  return changed.href;
}

it('restores what pg_dump saw of a service at work on another server: nothing missing, no lease left, the same secrets', async (t) => {
  const binaries = binariesWithDump();
  const lack = `no folder has ${NEEDED.join(', ')}: on Debian, apt-get install postgresql`;
  if (skipsWithout(t, binaries === null ? lack : null)) return;
  const run = (name: string, args: string[]) =>
    promisify(execFile)(join(binaries as string, name), args, { timeout: PATIENCE_MS });

  const source = await newDatabase(binaries as string);
  // More transactions than the other server will have seen, as after years.
  await source.query(
    'DO $$ BEGIN FOR i IN 1..5000 LOOP PERFORM pg_current_xact_id(); COMMIT; END LOOP; END $$',
  );
  const service = await start(source.url);
  const operator = operatorOf(service);
  const { picture, accountKey } = await fill(service, receiver);
  await operator.data('POST', '/v2/account', { body: { username: 'gone' } });
  await operator.data('DELETE', '/v2/account/gone');

  // Events of an account of its own, so that they don't change the picture.
  await operator.data('POST', '/v2/account', { body: { username: 'busy' } });
  const url = `http://127.0.0.1:${receiver.port}/good`;
  await operator.data('POST', '/v2/endpoint', { account: 'busy', body: { url, events: [LOAD_EVENT] } });
  const load = new Load({
    client: operator,
    username: 'busy',
    publishers: 4,
    pauseMs: 10,
    idPrefix: 'load-',
  });
  await load.when(() => load.acknowledged.length >= 50);
  const acknowledged = [...load.acknowledged];
  const dump = join(dir.path, 'posthorn.dump');
  await run('pg_dump', ['--format=custom', '--schema=posthorn', `--file=${dump}`, source.url]);
  await load.when(() => load.acknowledged.length > acknowledged.length);
  await load.stop();
  service.kill('SIGKILL');
  await service.ended;
  assert.deepEqual(load.refusals, []);

  const target = await newDatabase(binaries as string);
  await target.query(`CREATE ROLE posthorn LOGIN PASSWORD 'chosen'`);
  await target.query(`ALTER DATABASE ${target.name} OWNER TO posthorn`);
  await run('pg_restore', [
    ...['--exit-on-error', '--no-owner', '--role=posthorn'],
    ...[`--dbname=${target.url}`, dump],
  ]);
  const isGoneForEver = () =>
    target.query<{ is: boolean }>(
      `SELECT deleted_xid > pg_current_xact_id() AS is FROM posthorn.account WHERE username = 'gone'`,
    );
  assert.deepEqual(await isGoneForEver(), [{ is: true }], 'what the last statement is for');
  await target.query('SET ROLE posthorn');
  await target.query(documentedSql());
  assert.deepEqual(await isGoneForEver(), [{ is: false }]);
  const leased = await target.query<{ count: number }>(
    'SELECT count(*)::integer AS count FROM posthorn.queue WHERE leased',
  );
  assert.deepEqual(leased, [{ count: 0 }]);

  const before = receiver.requests.length;
  const restoredUrl = asRole(target.url, 'posthorn', 'chosen');
  const restored = await start(restoredUrl);
  const restoredOperator = operatorOf(restored);
  assertStillSays(await pictureOf(restoredOperator), picture);
  await restoredOperator.data('GET', '/v2/user/whoami', { key: accountKey });
  const events = await restoredOperator.list<{ event_id: string }>('/v2/event_log', 'events', 'busy');
  const held = new Set(events.map((event) => event.event_id));
  assert.deepEqual(
    acknowledged.filter((eventId) => !held.has(eventId)),
    [],
  );
  const deliveries = await restoredOperator.list('/v2/deliveries', 'deliveries', 'busy');
  assert.equal(deliveries.length, held.size, 'each event has its delivery');
  for (let count = before + 1; ; count++) {
    await receiver.whenRequests(count);
    if (receiver.requests.slice(before).some(({ target: path }) => path === '/waiting')) break;
  }
});

/** The statements that docs/backup.md tells to run after a restore. */
function documentedSql(): string {
  const page = readFileSync(join(import.meta.dirname, '../../../docs/backup.md'), 'utf8');
  const sql = /<!-- after-restore:[^>]*-->\n```sql\n(.*?)```/s.exec(page)?.[1];
  assert.ok(sql !== undefined);
  return sql;
}
