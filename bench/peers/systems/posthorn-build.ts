/** Posthorn as it is published, built once a run into the run's folder: what is measured can't change under way. */
import { execFileSync, spawnSync } from 'node:child_process';
import { cp, mkdir, symlink } from 'node:fs/promises';
import { join } from 'node:path';
import type { Site } from '../system.ts';

const ROOT = join(import.meta.dirname, '../../..');
const SERVER = 'packages/server';
/** What a build needs of the repository. */
const SOURCES = [
  'tsconfig.base.json',
  ...['src', 'bin', 'package.json', 'tsconfig.build.json'].map((part) => `${SERVER}/${part}`),
];
const NOT_COMPILED = ['store/sqlite/migrations', 'store/postgres/migrations'];
const builds = new Map<string, Promise<string>>();

/**
 * The file that `npx posthorn` runs, of a build of the sources as they are at the first call of a run, or of the run's
 * revision.
 *
 * @throws Error when git doesn't know the revision
 */
export function builtPosthorn(site: Site): Promise<string> {
  let build = builds.get(site.folder);
  if (build === undefined) {
    build = buildPosthorn(join(site.folder, 'posthorn'), site.revision);
    builds.set(site.folder, build);
  }
  return build;
}

async function buildPosthorn(folder: string, revision: string | null): Promise<string> {
  await mkdir(folder);
  if (revision === null) await copySources(folder);
  else takeSources(folder, revision);
  await symlink(join(ROOT, 'node_modules'), join(folder, 'node_modules'));
  const server = join(folder, SERVER);
  const compiler = join(ROOT, 'node_modules/typescript/bin/tsc');
  const { status, stdout } = spawnSync(
    process.execPath,
    [compiler, '-p', join(server, 'tsconfig.build.json'), '--noEmitOnError', 'false'],
    { cwd: folder, encoding: 'utf8' },
  );
  // Types don't run: somebody who measures a half-done change must be able to, and must be told.
  if (status !== 0) {
    console.error(`Posthorn's sources don't type-check; measured all the same:\n${stdout.slice(0, 1000)}`);
  }
  for (const part of NOT_COMPILED) {
    await cp(join(server, 'src', part), join(server, 'dist', part), { recursive: true });
  }
  return join(server, 'bin/posthorn.js');
}

async function copySources(folder: string): Promise<void> {
  for (const part of SOURCES) await cp(join(ROOT, part), join(folder, part), { recursive: true });
}

function takeSources(folder: string, revision: string): void {
  const archive = execFileSync('git', ['archive', '--format=tar', revision, '--', ...SOURCES], {
    cwd: ROOT,
    maxBuffer: 2 ** 28,
  });
  execFileSync('tar', ['-x', '-C', folder], { input: archive });
}
