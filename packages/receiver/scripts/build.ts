/** Builds `dist/esm` and `dist/cjs`: the same sources as ECMAScript and as CommonJS modules, each with its types. */
import { spawnSync } from 'node:child_process';
import { rmSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';

const receiver = join(import.meta.dirname, '..');
const compiler = join(receiver, '../../node_modules/typescript/bin/tsc');

// A file that has been renamed in src must not live on in dist.
rmSync(join(receiver, 'dist'), { recursive: true, force: true });

for (const project of ['tsconfig.build.json', 'tsconfig.cjs.json']) {
  const compiled = spawnSync(process.execPath, [compiler, '-p', join(receiver, project)], {
    stdio: 'inherit',
  });
  if (compiled.error !== undefined) throw compiled.error;
  if (compiled.status !== 0) process.exit(compiled.status ?? 1);
}
// The package is of type module; what lies under this folder isn't.
writeFileSync(join(receiver, 'dist/cjs/package.json'), '{ "type": "commonjs" }\n');
