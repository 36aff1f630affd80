/** What the documentation shows is true: each block of TypeScript compiles, what can run runs, links lead somewhere. */
import assert from 'node:assert/strict';
import { spawn, spawnSync } from 'node:child_process';
import { existsSync, globSync, readFileSync, symlinkSync, writeFileSync } from 'node:fs';
import { basename, dirname, join } from 'node:path';
import { text as textOf } from 'node:stream/consumers';
import { after, before, describe, it, mock } from 'node:test';
import { fileURLToPath } from 'node:url';
import { Webhook } from 'svix';
import { createDatabase } from '../../server/test/support/postgres.ts';
import { type TempDir, tempDir } from '../../server/test/support/tempdir.ts';
import { ERROR_STATUSES, type Receiver, sign, verifySignature } from '../src/index.ts';
import { noRedis, startRedis, stopRedis } from './support/redis.ts';
import { OTHER_SECRET, SECRET } from './support/samples.ts';

const ROOT = fileURLToPath(new URL('../../../', import.meta.url));
const DOCS = join(ROOT, 'docs/receiving');
const PAGES = globSync(['*.md', 'docs/**/*.md', 'packages/*/README.md', 'examples/*/README.md'], {
  cwd: ROOT,
}).map((name) => join(ROOT, name));

/** What the text around a block has, by the block. */
const CONTEXT: Readonly<Record<string, string>> = {
  'README-1.ts': `declare const encryptionKey: string;
declare const client: import('pg').ClientBase;
declare const fastify: import('fastify').FastifyInstance;`,
  'library-2.ts': `declare const posthorn: import('posthorn').Posthorn;
declare const client: import('pg').ClientBase;`,
  'library-3.ts': `import { createServer, type IncomingMessage, type ServerResponse } from 'node:http';
import express from 'express';
declare const posthorn: import('posthorn').Posthorn;
declare const fastify: import('fastify').FastifyInstance;
declare const ours: (request: IncomingMessage, response: ServerResponse) => void;`,
};

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
    const name = page.startsWith(join(ROOT, 'packages'))
      ? basename(dirname(page))
      : basename(page).replace('.md', '');
    let n = 0;
    for (const [, file, code = ''] of readFileSync(page, 'utf8').matchAll(/```ts *(\S*)\n(.*?)```/gs)) {
      const unnamed = `${name}-${++n}.ts`;
      // A line of its own that says: and so on.
      const whole = code.replaceAll(/^…$/gm, '').replaceAll('../../../receiver.ts', './receiver.ts');
      programs.set(file || unnamed, `${CONTEXT[unnamed] ?? ''}\n${whole}`);
    }
  }
  for (const [name, code] of programs) writeFileSync(join(folder.path, name), code);
});
after(() => folder.remove());

describe('the documentation', { timeout: 300_000 }, () => {
  it('shows code that compiles', () => {
    assert.ok(programs.size >= 28, `${programs.size} blocks`);
    const compiler = join(ROOT, 'node_modules/typescript/bin/tsc');
    const check = spawnSync(process.execPath, [compiler, '-p', folder.path], { encoding: 'utf8' });
    assert.deepEqual([check.status, check.stdout], [0, '']);
  });

  /** A program of the pages, on the sources. */
  function onSources(name: string): string {
    const path = join(folder.path, `run-${name}`);
    const source = new URL('../src/index.ts', import.meta.url).href;
    writeFileSync(path, (programs.get(name) ?? '').replace('@posthorn/receiver', source));
    return path;
  }

  it('shows a test that passes', () => {
    const run = spawnSync(process.execPath, [onSources('testing-1.ts')], { encoding: 'utf8' });
    assert.deepEqual([run.status, run.stderr], [0, '']);
  });

  it('shows a job that its event ends, or the sweep, or whichever comes first', async () => {
    process.env.WEBHOOK_SECRET = SECRET;
    const { receiver, started, end, sweep } = (await import(onSources('from-polling-1.ts'))) as {
      receiver: Receiver;
      started(id: string): void;
      end(id: string, state: string, result: string): Promise<void>;
      sweep(ask: (id: string) => Promise<{ done: boolean; url: string }>): Promise<void>;
    };
    const deliver = async (event_id: string) => {
      const data = { video_id: 'v7', video_url: 'https://cdn.example.com/v7.mp4' };
      const body = JSON.stringify({ event_id, event: 'generated_video_success', timestamp: 1, data });
      const headers = await sign(body, { secrets: SECRET });
      return (await receiver.receive({ method: 'POST', headers, body })).status;
    };
    mock.method(console, 'error', () => {});
    assert.equal(await deliver('evt_1'), 500, 'it overtook the job');
    mock.restoreAll();
    started('v7');
    assert.equal(await deliver('evt_1'), 200);
    await end('v7', 'failed', 'nobody changes what has ended');
    await sweep(() => assert.fail('nothing is overdue'));
    started('v8');
    mock.timers.enable({ apis: ['Date'], now: Date.now() + 3_600_000 });
    const asked: string[] = [];
    await sweep(async (id) => ({ done: asked.push(id) > 0, url: 'https://cdn.example.com/v8.mp4' }));
    mock.timers.reset();
    assert.deepEqual(asked, ['v8']);
  });

  describe('shows in once.md what handles each event once', () => {
    /** Sends one event twice to the receiver of a block, and ends when its handler has run and both were answered. */
    const TWICE = `
import { sign } from '@posthorn/receiver';
let print: (line: unknown) => void = () => {};
const handled = new Promise((resolve) => (print = resolve));
const lines: unknown[] = [];
console.log = (line) => print(lines.push(line));
const body = JSON.stringify({ event_id: 'evt_1', event: 'generated_video_success', timestamp: 1, data: { video_url: 'v7' } });
const headers = await sign(body, { secrets: process.env.WEBHOOK_SECRET ?? '' });
const statuses = [];
for (const _ of [1, 2]) statuses.push((await receiver.receive({ method: 'POST', headers, body })).status);
await handled;
process.stdout.write(JSON.stringify({ statuses, lines }), () => process.exit());
`;
    async function answers(name: string, env: Record<string, string> = {}, port = 0): Promise<unknown> {
      const path = join(folder.path, `run-${name}`);
      writeFileSync(
        path,
        (programs.get(name) ?? '').replace('listen(3000)', 'listen(0)').replace('6379', `${port}`) + TWICE,
      );
      const child = spawn(process.execPath, [path], {
        env: { ...process.env, WEBHOOK_SECRET: SECRET, ...env, NODE_TEST_CONTEXT: undefined },
        timeout: 200_000,
      });
      const [stdout, stderr] = await Promise.all([textOf(child.stdout), textOf(child.stderr)]);
      assert.notEqual(stdout, '', stderr);
      return JSON.parse(stdout);
    }

    it('in Redis, and by BullMQ', { skip: noRedis() }, async () => {
      const redis = await startRedis();
      try {
        const env = { REDIS_URL: `redis://127.0.0.1:${redis.port}` };
        assert.deepEqual(await answers('once-1.ts', env), { statuses: [200, 200], lines: ['v7'] });
        assert.deepEqual(await answers('once-4.ts', {}, redis.port), { statuses: [202, 202], lines: ['v7'] });
      } finally {
        await stopRedis(redis);
      }
    });

    it('in PostgreSQL, and by pg-boss', async () => {
      const database = await createDatabase();
      try {
        const env = { DATABASE_URL: database.url };
        assert.deepEqual(await answers('once-2.ts', env), { statuses: [200, 200], lines: ['v7'] });
        assert.deepEqual(await answers('once-5.ts', env), { statuses: [202, 202], lines: ['v7'] });
      } finally {
        await database.drop();
      }
    });

    it('in the process', async () => {
      assert.deepEqual(await answers('once-3.ts'), { statuses: [202, 202], lines: ['v7'] });
    });
  });

  it('shows a receiver of both Svix and Posthorn', async () => {
    Object.assign(process.env, { SVIX_SECRET: OTHER_SECRET, WEBHOOK_SECRET: SECRET });
    const { receive } = (await import(onSources('receive-both.ts'))) as {
      receive(request: Request): Promise<unknown>;
    };
    const payload = JSON.stringify({ order_id: 'o-17' });
    const now = new Date();
    const svix = {
      'svix-id': 'msg_1',
      'svix-timestamp': String(Math.floor(now.getTime() / 1000)),
      'svix-signature': new Webhook(OTHER_SECRET).sign('msg_1', now, payload),
    };
    const body = JSON.stringify({
      event_id: 'evt_1',
      event: 'order.paid',
      timestamp: 1,
      data: { order_id: 'o-17' },
    });
    const posthorn = await sign(body, { secrets: SECRET });
    for (const [headers, sent] of [
      [svix, payload],
      [posthorn, body],
    ] as const) {
      const request = new Request('http://x/', { method: 'POST', headers, body: sent });
      assert.deepEqual(await receive(request), { order_id: 'o-17' });
    }
    // And what the page says of receivers that stay as they are.
    new Webhook(SECRET).verify(body, posthorn);
    await verifySignature(body, posthorn, { secrets: SECRET });
  });

  it('shows for each framework the program in examples/receive', () => {
    const page = readFileSync(join(DOCS, 'frameworks.md'), 'utf8');
    const shown = [...page.matchAll(/```ts\n(.*?)```/gs)].map(([, code = '']) => code);
    const examples = globSync('examples/receive/**/*.ts', {
      cwd: ROOT,
      exclude: (path) => /node_modules|\.next|workers|next-env/.test(String(path)),
    })
      .filter((path) => !path.endsWith('receive/receiver.ts'))
      .map((path) => readFileSync(join(ROOT, path), 'utf8'));
    const withoutExample = shown.filter((code) => !examples.includes(code));
    assert.deepEqual(
      withoutExample.map((code) => /workersHandler/.test(code)),
      [true],
      withoutExample.join('\n---\n'),
    );
    assert.deepEqual(
      examples.filter((code) => !shown.includes(code)),
      [],
    );
  });

  it('lists each error code with its status', () => {
    const text = readFileSync(join(DOCS, 'errors.md'), 'utf8');
    const listed = [...text.matchAll(/^\| `(\w+)` \| (\d+) \|/gm)].map(([, code, status]) => [
      code,
      Number(status),
    ]);
    assert.deepEqual(listed, Object.entries(ERROR_STATUSES));
  });

  it('leads to pages and headings that there are', () => {
    for (const page of PAGES) {
      const text = readFileSync(page, 'utf8').replaceAll(/```.*?```/gs, '');
      for (const [, target = '', heading] of text.matchAll(
        /\]\((?!https?:|mailto:)([^)#\s]*)(?:#([^)]+))?\)/g,
      )) {
        const path = target === '' ? page : join(page, '..', target);
        assert.ok(existsSync(path), `${page}: ${target}`);
        if (heading === undefined) continue;
        const anchors = [...readFileSync(path, 'utf8').matchAll(/^#+ (.+)$/gm)].map(([, title = '']) =>
          title
            .toLowerCase()
            .replaceAll(/[^\p{L}\p{N}\- _]/gu, '')
            .replaceAll(' ', '-'),
        );
        assert.ok(anchors.includes(heading), `${page}: ${target}#${heading}`);
      }
    }
  });

  it('is led to as a whole by docs/README.md', () => {
    const index = readFileSync(join(ROOT, 'docs/README.md'), 'utf8');
    const receiving = readFileSync(join(DOCS, 'README.md'), 'utf8');
    for (const name of globSync('*.md', { cwd: join(ROOT, 'docs') })) {
      if (name !== 'README.md') assert.ok(index.includes(`(${name})`), `lead to ${name} from there`);
    }
    for (const name of globSync('*.md', { cwd: DOCS })) {
      if (name !== 'README.md') assert.ok(receiving.includes(`(${name})`), name);
    }
  });
});
