/**
 * From every released state to the present schema, with data, by the service itself. As long as nothing is released, the
 * oldest state is the schema of each engine's first migration, with what of the present rows fits into it.
 */
import assert from 'node:assert/strict';
import { join } from 'node:path';
import { after, before, describe, it, type TestContext } from 'node:test';
import { runCli } from './cli/harness.ts';
import { createDatabase } from './support/postgres.ts';
import { type Receiver, startReceiver } from './support/receivers.ts';
import { dumpPostgres, dumpSqlite, loadPostgres, loadSqlite } from './support/release-dump.ts';
import {
  assertSigned,
  assertStillSays,
  behaveByPath,
  type Dump,
  ENGINES,
  type EngineName,
  type Expected,
  fill,
  firstAt,
  migrationsOf,
  operatorOf,
  pictureOf,
  readDump,
  readReleases,
  startOn,
  withReceiver,
} from './support/release-state.ts';
import { type TempDir, tempDir } from './support/tempdir.ts';

/** A database of its own, whose rows can be taken out and put in. */
interface Place {
  url: string;
  load(dump: Dump, versions: number, whole: boolean): void | Promise<void>;
  dump(): Dump | Promise<Dump>;
}

let dir: TempDir;
before(async () => {
  dir = await tempDir();
});
after(() => dir.remove());

let places = 0;

async function newPlace(t: TestContext, engine: EngineName): Promise<Place> {
  const migrations = (versions: number) => migrationsOf(engine).slice(0, versions);
  if (engine === 'sqlite') {
    places += 1;
    const path = join(dir.path, `${places}.db`);
    return {
      url: `sqlite:${path}`,
      load: (dump, versions, whole) => loadSqlite(path, dump, { migrations: migrations(versions), whole }),
      dump: () => dumpSqlite(path),
    };
  }
  const database = await createDatabase();
  t.after(() => database.drop());
  return {
    url: database.url,
    load: (dump, versions, whole) =>
      loadPostgres(database, dump, { migrations: migrations(versions), whole }),
    dump: () => dumpPostgres(database),
  };
}

async function receiverOf(t: TestContext): Promise<Receiver> {
  const receiver = await startReceiver(behaveByPath);
  t.after(() => receiver.close());
  return receiver;
}

async function serviceOn(t: TestContext, { url }: Place) {
  const service = await startOn(dir.path, url);
  t.after(async () => {
    service.kill('SIGKILL');
    await service.ended;
  });
  return service;
}

interface State {
  versions: number;
  whole: boolean;
  dump: Dump;
  expected: Expected;
}

/** What this version leaves behind, in as much of the first schema as there was. */
async function firstState(t: TestContext, engine: EngineName): Promise<State> {
  const place = await newPlace(t, engine);
  const receiver = await receiverOf(t);
  const service = await serviceOn(t, place);
  // A killed process leaves leases. On PostgreSQL they are freed when it has been missed for a while: not waited for here.
  const endsAttempts = engine === 'postgres';
  const expected = await fill(service, receiver, { endsAttempts });
  service.kill(endsAttempts ? 'SIGTERM' : 'SIGKILL');
  await service.ended;
  const state = { versions: 1, whole: false, dump: await place.dump(), expected };
  return withReceiver(state, 'mark', receiver.port);
}

async function upgrade(t: TestContext, engine: EngineName, kept: State): Promise<void> {
  const receiver = await receiverOf(t);
  const { versions, whole, dump, expected } = withReceiver(kept, receiver.port);
  const place = await newPlace(t, engine);
  await place.load(dump, versions, whole);

  const service = await serviceOn(t, place);
  const operator = operatorOf(service);
  assertStillSays(await pictureOf(operator), expected.picture);

  // The account's own key, the secrets and the ids of before hold.
  await operator.data('GET', '/v2/user/whoami', { key: expected.accountKey });
  const { duplicate } = await operator.data<{ duplicate: boolean }>('POST', '/v2/publish', {
    body: { username: 'alice', event: 'generated_video_success', ...expected.published },
  });
  assert.equal(duplicate, true);
  for (const deliveryId of expected.retrying) {
    await operator.data('POST', `/v2/delivery/${deliveryId}/retry`, { account: 'alice' });
  }
  assertSigned(await firstAt(receiver, '/waiting'), expected.endpointSecret);
  await firstAt(receiver, '/broken');
  await operator.data('POST', '/v2/publish', {
    body: { username: 'alice', event: 'generated_video_success', ...expected.published, event_id: 'after' },
  });
  await service.logged((line) => line.event_id === 'after' && line.outcome === 'success');

  // In order it would wait for the attempt that is never answered.
  service.kill('SIGKILL');
  await service.ended;
  const { code, stdout, stderr } = await runCli(['migrate', '--json', '--database-url', place.url]);
  assert.equal(code, 0, stderr);
  const { to, applied } = JSON.parse(stdout) as { to: number; applied: string[] };
  assert.deepEqual([to, applied], [migrationsOf(engine).length, []], 'nothing is left to migrate');
}

const releases = readReleases();

for (const engine of ENGINES) {
  describe(`an upgrade on ${engine}`, () => {
    if (releases.length === 0) {
      it('takes the state of the first migration to the present one, and goes on with its work', async (t) => {
        await upgrade(t, engine, await firstState(t, engine));
      });
    }

    for (const release of releases) {
      it(`takes the state of ${release.version} to the present one, and goes on with its work`, async (t) => {
        await upgrade(t, engine, {
          versions: release.migrations[engine].length,
          whole: true,
          dump: readDump(release, engine),
          expected: release.expected[engine],
        });
      });

      it(`finds every migration of ${release.version} as it was released`, () => {
        const known = migrationsOf(engine).map(({ name, checksum }) => ({ name, checksum }));
        assert.deepEqual(
          known.slice(0, release.migrations[engine].length),
          release.migrations[engine],
          'a released migration never changes: databases that have it would be refused. Add another one',
        );
      });
    }
  });
}
