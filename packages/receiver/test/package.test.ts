/** The package as its users get it: built, in both module systems, with types, and small. */
import assert from 'node:assert/strict';
import { type SpawnSyncReturns, spawnSync } from 'node:child_process';
import { existsSync, mkdirSync, readFileSync, symlinkSync, writeFileSync } from 'node:fs';
import { createRequire } from 'node:module';
import { dirname, join } from 'node:path';
import { after, before, describe, it } from 'node:test';
import { fileURLToPath } from 'node:url';
import { gzipSync } from 'node:zlib';
import { type TempDir, tempDir } from '../../server/test/support/tempdir.ts';
import { skipsWithout } from '../../server/test/support/tools.ts';
import { findRuntime } from './support/runtimes.ts';

const PACKAGE = fileURLToPath(new URL('../', import.meta.url));
const TYPESCRIPT = join(PACKAGE, '../../node_modules/typescript/bin/tsc');
const CORE_LIMIT_BYTES = 4096;
const TIME_LIMIT = { timeout: 60_000 };

const manifest = JSON.parse(readFileSync(join(PACKAGE, 'package.json'), 'utf8')) as {
  exports: Record<string, unknown>;
  dependencies?: object;
};
const entries = Object.keys(manifest.exports)
  .filter((entry) => entry !== './package.json')
  .map((entry) => `@posthorn/receiver${entry.slice(1)}`);

let folder: TempDir;

before(async () => {
  // `npm test` has built it; whoever runs this file alone after a change has to.
  if (!existsSync(join(PACKAGE, 'dist/cjs/package.json'))) {
    const built = run(process.execPath, join(PACKAGE, 'scripts/build.ts'));
    assert.equal(built.status, 0, built.stdout + built.stderr);
  }
  folder = await tempDir();
  mkdirSync(join(folder.path, 'node_modules/@posthorn'), { recursive: true });
  symlinkSync(PACKAGE, join(folder.path, 'node_modules/@posthorn/receiver'));
});
after(() => folder.remove());

function run(command: string, ...args: string[]): SpawnSyncReturns<string> {
  return spawnSync(command, args, { encoding: 'utf8', cwd: folder?.path ?? PACKAGE });
}

function write(name: string, text: string): string {
  const path = join(folder.path, name);
  writeFileSync(path, text);
  return path;
}

/** Signs, verifies and refuses; the same program for every runtime and module system. */
const PROGRAM = `
const secret = 'whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw';
const body = JSON.stringify({ event_id: 'evt_1', event: 'order.paid', timestamp: 1, data: { id: 7 } });
(async () => {
  const headers = await core.sign(body, { secrets: secret });
  for (const scheme of ['standard', 'jogg', 'both']) {
    const event = await core.verify(new TextEncoder().encode(body), headers, { secrets: secret, scheme });
    if (event.data.id !== 7) throw new Error(scheme);
  }
  const forged = await core.safeVerify(body.replace('7', '8'), headers, { secrets: secret });
  if (forged.ok || forged.error.code !== 'signature_mismatch') throw new Error('forged');
  const handled = [];
  const receiver = root.createReceiver({ secrets: secret, on: { 'order.paid': (event) => handled.push(event) } });
  const answer = await receiver.receive({ method: 'POST', headers, body });
  if (answer.status !== 200 || handled.length !== 1) throw new Error('receiver');
  console.log('works');
})();`;

const ESM = `${entries.map((entry, n) => `import * as entry${n} from '${entry}';`).join('\n')}
const root = entry0;
import * as core from '@posthorn/receiver/core';
if ([${entries.map((_, n) => `entry${n}`).join(', ')}].some((entry) => Object.keys(entry).length === 0)) throw new Error('empty');
${PROGRAM}`;
const CJS = `const [root] = [${entries.map((entry) => `require('${entry}')`).join(', ')}];
const core = require('@posthorn/receiver/core');
${PROGRAM}`;

/** Node.js 20, the oldest that the package is for, where this machine has it. */
function oldestNode(): string | null {
  for (const candidate of (process.env.PATH ?? '').split(':').map((path) => join(path, 'node'))) {
    if (!existsSync(candidate)) continue;
    if (run(candidate, '--version').stdout.startsWith('v20.')) return candidate;
  }
  return null;
}

interface RunsOn {
  program: string;
  args?: string[];
  missing: string | null;
}

describe('the built package', TIME_LIMIT, () => {
  const oldest = oldestNode();
  const runtimes: Record<string, RunsOn> = {
    'this Node.js': { program: process.execPath, missing: null },
    'Node.js 20': {
      program: oldest ?? '',
      missing: oldest === null ? 'no Node.js 20 on the PATH' : null,
    },
    'Node.js 22': findRuntime('node22'),
    Bun: findRuntime('bun'),
    Deno: { ...findRuntime('deno'), args: ['run', '-A', '--no-lock', '--node-modules-dir=manual'] },
  };
  for (const [name, { program, args = [], missing }] of Object.entries(runtimes)) {
    for (const [system, file, text] of [
      ['ECMAScript modules', 'use.mjs', ESM],
      ['CommonJS', 'use.cjs', CJS],
    ] as const) {
      it(`works on ${name} as ${system}, each entry of it`, (t) => {
        // CI has the Node.js that its machine brings: there is no package of the version that is past its end.
        if (name === 'Node.js 20' && missing !== null) return t.skip(missing);
        if (skipsWithout(t, missing)) return;
        const { status, stdout, stderr } = run(program, ...args, write(file, text));
        assert.deepEqual([status, stdout, stderr], [0, 'works\n', '']);
      });
    }
  }

  it('works by WebCrypto alone, as in a browser', () => {
    const text = `Reflect.deleteProperty(globalThis, 'process');\n${ESM}`;
    const { status, stdout, stderr } = run(process.execPath, write('browser.mjs', text));
    assert.deepEqual([status, stdout, stderr], [0, 'works\n', '']);
  });

  it('has types that fit both module systems and bundlers', () => {
    const imports = entries.map((entry, n) => `import * as entry${n} from '${entry}';`).join('\n');
    const use = `${imports}
import { createReceiver, verify, type JoggEvents } from '@posthorn/receiver';
createReceiver({ secrets: '', on: { generated_video_success: ({ data }) => data.video_url.length } });
export const url = async () => {
  const event = await verify<JoggEvents>('', {}, { secrets: '' });
  return event.event === 'generated_video_success' ? event.data.video_url : null;
};
// @ts-expect-error A wrong type is found: these are the real types.
createReceiver({ secrets: '', on: { generated_video_success: ({ data }) => data.no_such_field } });
export const all = [${entries.map((_, n) => `entry${n}`).join(', ')}];
`;
    const files = ['types.mts', 'types.cts'].map((name) => write(name, use));
    const types = ['--types', 'node', '--typeRoots', join(PACKAGE, '../../node_modules/@types')];
    const flags = ['--noEmit', '--strict', '--target', 'es2022', ...types];
    for (const module of [
      ['--module', 'nodenext'],
      ['--module', 'preserve', '--moduleResolution', 'bundler'],
    ]) {
      const { status, stdout } = run(process.execPath, TYPESCRIPT, ...flags, ...module, ...files);
      assert.deepEqual([status, stdout], [0, ''], module.join(' '));
    }
  });

  it('depends on nothing', () => {
    assert.equal(manifest.dependencies, undefined);
    const builtIn = createRequire(import.meta.url)('node:module').builtinModules as string[];
    for (const file of filesBehind('index.js')) {
      const text = readFileSync(file, 'utf8');
      for (const name of builtIn) assert.ok(!text.includes(`from 'node:${name}'`), `${file}: ${name}`);
    }
  });

  it(`has a core under ${CORE_LIMIT_BYTES} bytes, minified and gzipped`, async () => {
    const bytes = gzipSync(await bundle('core.js')).length;
    assert.ok(bytes > 1000 && bytes < CORE_LIMIT_BYTES, `${bytes} bytes`);
  });
});

/** An entry and all that it imports as one minified module, as bundlers make it. */
async function bundle(entry: string): Promise<string> {
  // The one minifier that is installed anyway.
  const { minify } = createRequire(import.meta.url)('next/dist/compiled/terser') as {
    minify(code: string, options: object): Promise<{ code: string }>;
  };
  const names: string[] = [];
  const modules = filesBehind(entry).map((file, n) => {
    const text = readFileSync(file, 'utf8');
    if (n === 0)
      names.push(...[...text.matchAll(/\{([^}]+)\} from/g)].flatMap(([, list = '']) => list.split(',')));
    return text.replaceAll(/^(import|export) .* from .*;$/gm, '').replaceAll(/^export /gm, '');
  });
  const source = `${modules.toReversed().join('\n')}\nexport {${names.join(',')}};`;
  return (await minify(source, { module: true })).code;
}

/** A file of the build and all that it imports. */
function filesBehind(entry: string, root = join(PACKAGE, 'dist/esm')): string[] {
  const found = new Set<string>();
  const visit = (file: string): void => {
    if (found.has(file)) return;
    found.add(file);
    for (const [, target = ''] of readFileSync(file, 'utf8').matchAll(/from '(\.[^']+)'/g)) {
      visit(join(dirname(file), target));
    }
  };
  visit(join(root, entry));
  return [...found];
}
