/** Posthorn as it is published, built once a run into the run's folder: what is measured can't change under way. */
import { spawnSync } from 'node:child_process';
import { cp, mkdir, symlink } from 'node:fs/promises';
import { join } from 'node:path';
import type { Site } from '../system.ts';

const ROOT = join(import.meta.dirname, '../../..');
const SERVER = join(ROOT, 'packages/server');
const NOT_COMPILED = ['store/sqlite/migrations', 'store/postgres/migrations'];
const builds = new Map<string, Promise<string>>();

/**
 * The file that `npx posthorn` runs, of a build of the sources as they are at the first call of a run.
 */
export function builtPosthorn(site: Site): Promise<string> {
  let build = builds.get(site.folder);
  if (build === undefined) {
    build = buildPosthorn(join(site.folder, 'posthorn'));
    builds.set(site.folder, build);
  }
  return build;
}

async function buildPosthorn(folder: string): Promise<string> {
  await mkdir(folder);
  const compiler = join(ROOT, 'node_modules/typescript/bin/tsc');
  const { status, stdout } = spawnSync(
    process.execPath,
    [
      compiler,
      '-p',
      join(SERVER, 'tsconfig.build.json'),
      '--outDir',
      join(folder, 'dist'),
      '--noEmitOnError',
      'false',
    ],
    { cwd: ROOT, encoding: 'utf8' },
  );
  // Types don't run: somebody who measures a half-done change must be able to, and must be told.
  if (status !== 0)
    console.error(`Posthorn's sources don't type-check; measured all the same:\n${stdout.slice(0, 1000)}`);
  for (const part of NOT_COMPILED) {
    await cp(join(SERVER, 'src', part), join(folder, 'dist', part), { recursive: true });
  }
  for (const part of ['bin', 'package.json'])
    await cp(join(SERVER, part), join(folder, part), { recursive: true });
  await symlink(join(ROOT, 'node_modules'), join(folder, 'node_modules'));
  return join(folder, 'bin/posthorn.js');
}
