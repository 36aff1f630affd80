/** What the pages in docs/receiving and the package's README show is true: each block compiles, and the testing page runs. */
import assert from 'node:assert/strict';
import { spawnSync } from 'node:child_process';
import { readdirSync, readFileSync, symlinkSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { after, before, describe, it } from 'node:test';
import { fileURLToPath } from 'node:url';
import { type TempDir, tempDir } from '../../server/test/support/tempdir.ts';
import { ERROR_STATUSES } from '../src/index.ts';

const ROOT = fileURLToPath(new URL('../../../', import.meta.url));
const DOCS = join(ROOT, 'docs/receiving');
const PAGES = [
  join(ROOT, 'packages/receiver/README.md'),
  ...readdirSync(DOCS).map((name) => join(DOCS, name)),
];

/** Like the root's, and with the decorators that Nest is written with. */
const CONFIG = {
  compilerOptions: {
    target: 'es2024',
    module: 'nodenext',
    types: ['node'],
    strict: true,
    noEmit: true,
    skipLibCheck: true,
    experimentalDecorators: true,
    allowImportingTsExtensions: true,
    esModuleInterop: true,
    paths: {
      '@posthorn/receiver': ['./packages/receiver/src/index.ts'],
      '@posthorn/receiver/idempotency': ['./packages/receiver/src/idempotency/index.ts'],
      '@posthorn/receiver/*': ['./packages/receiver/src/adapters/*.ts'],
    },
  },
  include: ['*.ts'],
};

let folder: TempDir;
const programs = new Map<string, string>();

before(async () => {
  folder = await tempDir();
  symlinkSync(join(ROOT, 'packages'), join(folder.path, 'packages'));
  symlinkSync(join(ROOT, 'node_modules'), join(folder.path, 'node_modules'));
  writeFileSync(join(folder.path, 'package.json'), '{ "type": "module" }');
  writeFileSync(join(folder.path, 'tsconfig.json'), JSON.stringify(CONFIG));
  for (const page of PAGES) {
    const name = page.includes('packages') ? 'package' : (page.split('/').at(-1) ?? '').replace('.md', '');
    let n = 0;
    for (const [, file, code = ''] of readFileSync(page, 'utf8').matchAll(/```ts *(\S*)\n(.*?)```/gs)) {
      programs.set(file || `${name}-${++n}.ts`, code);
    }
  }
  for (const [name, code] of programs) writeFileSync(join(folder.path, name), code);
});
after(() => folder.remove());

describe('the pages about receiving', { timeout: 60_000 }, () => {
  it('show code that compiles', () => {
    assert.ok(programs.size >= 18, `${programs.size} blocks`);
    const compiler = join(ROOT, 'node_modules/typescript/bin/tsc');
    const check = spawnSync(process.execPath, [compiler, '-p', folder.path], { encoding: 'utf8' });
    assert.deepEqual([check.status, check.stdout], [0, '']);
  });

  it('show a test that passes', async () => {
    const code = programs.get('testing-1.ts') ?? '';
    const path = join(folder.path, 'run-testing.ts');
    const source = new URL('../src/index.ts', import.meta.url).href;
    writeFileSync(path, code.replace('@posthorn/receiver', source));
    const run = spawnSync(process.execPath, [path], { encoding: 'utf8' });
    assert.deepEqual([run.status, run.stderr], [0, '']);
  });

  it('list each error code with its status', () => {
    const text = readFileSync(join(DOCS, 'errors.md'), 'utf8');
    const listed = [...text.matchAll(/^\| `(\w+)` \| (\d+) \|/gm)].map(([, code, status]) => [
      code,
      Number(status),
    ]);
    assert.deepEqual(listed, Object.entries(ERROR_STATUSES));
  });

  it('name pages that there are', () => {
    for (const page of PAGES) {
      for (const [, target = ''] of readFileSync(page, 'utf8').matchAll(/\]\((?!https?:)([^)#]+)/g)) {
        assert.ok(readFileSync(join(page, '..', target)).length > 0, `${page}: ${target}`);
      }
    }
  });
});
