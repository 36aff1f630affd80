/** Builds `packages/server/dist`: the compiled sources, the migrations, which the compiler knows nothing of, and the dashboard's page. */
import { spawnSync } from 'node:child_process';
import { cpSync, existsSync, readdirSync, readFileSync, rmSync, writeFileSync } from 'node:fs';
import { extname, join } from 'node:path';
import { brotliCompressSync, constants, gzipSync } from 'node:zlib';

const root = join(import.meta.dirname, '..');
const server = join(root, 'packages/server');
const migrations = ['store/sqlite/migrations', 'store/postgres/migrations'];

// A file that has been renamed in src must not live on in dist.
rmSync(join(server, 'dist'), { recursive: true, force: true });

const compiler = join(root, 'node_modules/typescript/bin/tsc');
const compiled = spawnSync(process.execPath, [compiler, '-p', join(server, 'tsconfig.build.json')], {
  cwd: root,
  stdio: 'inherit',
});
if (compiled.error !== undefined) throw compiled.error;
if (compiled.status !== 0) process.exit(compiled.status ?? 1);

for (const folder of migrations) {
  const from = join(server, 'src', folder);
  if (!existsSync(from)) {
    throw new Error(`No migrations in ${from}: the built service could not make a database.`);
  }
  cpSync(from, join(server, 'dist', folder), { recursive: true });
}

// In a process of its own: its plugins are the page's dependencies, and it takes the page's folder for the current one.
const dashboard = join(root, 'packages/dashboard');
const page = spawnSync(
  process.execPath,
  [join(root, 'node_modules/vite/bin/vite.js'), 'build', '--logLevel', 'warn'],
  { cwd: dashboard, stdio: 'inherit' },
);
if (page.error !== undefined) throw page.error;
if (page.status !== 0) process.exit(page.status ?? 1);

// Once here, rather than for each browser that loads the page: `api/page.ts` sends what lies beside a file.
const LEAST_BYTES = 1024;
const built = join(server, 'dist/dashboard');
for (const name of readdirSync(built, { recursive: true, encoding: 'utf8' })) {
  if (!['.css', '.js', '.svg'].includes(extname(name))) continue;
  const path = join(built, name);
  const content = readFileSync(path);
  if (content.length < LEAST_BYTES) continue;
  writeFileSync(`${path}.gz`, gzipSync(content, { level: 9 }));
  const params = {
    [constants.BROTLI_PARAM_MODE]: constants.BROTLI_MODE_TEXT,
    [constants.BROTLI_PARAM_SIZE_HINT]: content.length,
  };
  writeFileSync(`${path}.br`, brotliCompressSync(content, { params }));
}
