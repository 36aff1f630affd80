/** What a start loads, counted in modules: the time that it takes can't be tested on a machine that others use. */
import assert from 'node:assert/strict';
import { readFileSync } from 'node:fs';
import { createRequire } from 'node:module';
import { join } from 'node:path';
import { it } from 'node:test';
import { startService } from './cli/harness.ts';
import { tempDir } from './support/tempdir.ts';

/** Files, in all threads; 473 are usual. A package that is loaded for what few ask for would be seen. */
const MOST_MODULES = 510;

it('a start loads what it needs, and the rest when it is asked for', async (t) => {
  const dir = await tempDir();
  const notes = join(dir.path, 'modules');
  const service = await startService(dir.path, {
    env: {
      POSTHORN_OPERATOR_KEY: 'operator-key-of-the-start-0123456789abcdef',
      NODE_OPTIONS: `--import=${import.meta.resolve('./support/note-modules.ts')}`,
      NOTE_MODULES_IN: notes,
    },
  });
  t.after(async () => {
    service.kill('SIGKILL');
    await service.ended;
    await dir.remove();
  });
  const noted = () => readFileSync(notes, 'utf8').split('\n');
  const loaded = () => noted().filter((url) => url.startsWith('file:'));
  const packages = () =>
    new Set(loaded().flatMap((url) => /.*\/node_modules\/((?:@[^/]+\/)?[^/]+)\//.exec(url)?.[1] ?? []));

  const atStart = packages();
  assert.ok(atStart.has('fastify') && atStart.has('better-sqlite3'), 'modules are noted');
  for (const name of [
    'typebox',
    'yaml',
    '@fastify/swagger-ui',
    '@fastify/static',
    '@fastify/ajv-compiler',
    'ajv',
    'ajv-formats',
    'pg',
    '@opentelemetry/api',
  ]) {
    assert.ok(!atStart.has(name), `${name} is loaded`);
  }
  t.diagnostic(`${loaded().length} modules of ${atStart.size} packages`);
  assert.ok(loaded().length < MOST_MODULES, `${loaded().length} modules`);

  assert.equal((await fetch(`${service.url}/docs`)).status, 200);
  assert.ok(packages().has('@fastify/swagger-ui'), 'loaded with its first page');

  service.kill('SIGTERM');
  await service.ended;
  assert.ok(noted().includes('NativeModule http'), "Node's own modules are noted");
  // `import 'node:http'` reads all that the module exports, so that it brings fetch and WebSocket along.
  assert.ok(!noted().includes('NativeModule internal/deps/undici/undici'), "Node's own fetch is loaded");
});

it("the client that attempts are made by is the one that undici's door exports", () => {
  const require = createRequire(import.meta.resolve('posthorn'));
  assert.equal(require('undici/lib/dispatcher/client.js'), require('undici').Client);
});
