/**
 * Keeps the state that a release leaves in a database of each engine, for the tests of upgrades from it (docs/upgrades.md):
 *
 *   npm run release:fixture -- 0.1.0
 *
 * Run on the commit that is released. Refuses to replace a state that is kept already.
 */
import { existsSync, mkdirSync, readFileSync, rmSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { gzipSync } from 'node:zlib';
import { createDatabase } from '../packages/server/test/support/postgres.ts';
import { startReceiver } from '../packages/server/test/support/receivers.ts';
import { dumpPostgres, dumpSqlite } from '../packages/server/test/support/release-dump.ts';
import {
  behaveByPath,
  type Dump,
  ENGINES,
  type EngineName,
  type Expected,
  fill,
  migrationsOf,
  RELEASES,
  type Release,
  startOn,
  withReceiver,
} from '../packages/server/test/support/release-state.ts';
import { tempDir } from '../packages/server/test/support/tempdir.ts';

const PACKAGE = join(import.meta.dirname, '../packages/server/package.json');

await keep(process.argv[2]);

async function keep(version: string | undefined): Promise<void> {
  const { version: packaged } = JSON.parse(readFileSync(PACKAGE, 'utf8')) as { version: string };
  if (version !== packaged) {
    throw new Error(`give the version that is released; packages/server/package.json has ${packaged}`);
  }
  const folder = join(RELEASES, version);
  if (existsSync(folder)) throw new Error(`${folder} is there: what was released never changes`);
  const states = { sqlite: await stateOf('sqlite'), postgres: await stateOf('postgres') };
  const release: Release = {
    version,
    migrations: { sqlite: appliedBy('sqlite'), postgres: appliedBy('postgres') },
    expected: { sqlite: states.sqlite.expected, postgres: states.postgres.expected },
  };
  mkdirSync(folder, { recursive: true });
  try {
    for (const engine of ENGINES) {
      writeFileSync(
        join(folder, `${engine}.json.gz`),
        gzipSync(JSON.stringify(states[engine].dump), { level: 9 }),
      );
    }
    writeFileSync(join(folder, 'release.json'), `${JSON.stringify(release, null, 2)}\n`);
  } catch (error) {
    rmSync(folder, { recursive: true });
    throw error;
  }
  console.log(`Kept the state of ${version} in ${folder}: commit it with the release.`);
}

function appliedBy(engine: EngineName): { name: string; checksum: string }[] {
  return migrationsOf(engine).map(({ name, checksum }) => ({ name, checksum }));
}

async function stateOf(engine: EngineName): Promise<{ dump: Dump; expected: Expected }> {
  const dir = await tempDir();
  const database = engine === 'postgres' ? await createDatabase() : null;
  const receiver = await startReceiver(behaveByPath);
  const path = join(dir.path, 'posthorn.db');
  const service = await startOn(dir.path, database?.url ?? `sqlite:${path}`);
  try {
    // As upgrade.test.ts does it for the state of the first migration, and for the same reason.
    const endsAttempts = engine === 'postgres';
    const expected = await fill(service, receiver, { endsAttempts });
    service.kill(endsAttempts ? 'SIGTERM' : 'SIGKILL');
    await service.ended;
    const dump = database === null ? dumpSqlite(path) : await dumpPostgres(database);
    return withReceiver({ dump, expected }, 'mark', receiver.port);
  } finally {
    service.kill('SIGKILL');
    await service.ended;
    await receiver.close();
    await database?.drop();
    await dir.remove();
  }
}
