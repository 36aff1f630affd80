/** The commands in the documentation, typed as a reader types them: in a shell, one after another, with a real Posthorn. */
import assert from 'node:assert/strict';
import { type ChildProcess, spawn } from 'node:child_process';
import { once } from 'node:events';
import { chmodSync, mkdirSync, readFileSync, writeFileSync } from 'node:fs';
import { delimiter, join } from 'node:path';
import { createInterface } from 'node:readline';
import { text as textOf } from 'node:stream/consumers';
import { after, before, describe, it } from 'node:test';
import { fileURLToPath } from 'node:url';
import { type RunningService, startService } from './cli/harness.ts';
import { createEncryptionKey } from '../src/secrets.ts';
import { Client } from './support/client.ts';
import { createDatabase } from './support/postgres.ts';
import { closedPort } from './support/receivers.ts';
import { type TempDir, tempDir } from './support/tempdir.ts';

const ROOT = fileURLToPath(new URL('../../../', import.meta.url));
const CLI = join(ROOT, 'packages/server/src/cli/main.ts');
/** For machines that have much else to do. */
const LONGEST_RUN_MS = 400_000;

let folder: TempDir;
let service: RunningService;
let receiver: Program;
let receiverUrl: string;

/** What the shell of the reader has exported. */
const shell: Record<string, string> = {};

before(async () => {
  folder = await tempDir();
  // What `npm install` would put on the PATH.
  const posthorn = join(folder.path, 'posthorn');
  writeFileSync(posthorn, `#!/bin/sh\nexec '${process.execPath}' '${CLI}' "$@"\n`);
  chmodSync(posthorn, 0o755);
  service = await startService(folder.path, {
    env: { POSTHORN_ENDPOINT_POLICY: 'development' },
    longestRunMs: LONGEST_RUN_MS,
  });
  receiverUrl = `http://127.0.0.1:${await closedPort()}`;
});
after(async () => {
  receiver?.child.kill();
  service.kill('SIGTERM');
  await service.ended;
  await folder.remove();
});

/** The blocks of a page in one language, without its fences. */
function blocks(page: string, language: string): string[] {
  const text = readFileSync(join(ROOT, page), 'utf8');
  return [...text.matchAll(new RegExp(`\`\`\`${language}\\b[^\\n]*\\n(.*?)\`\`\``, 'gs'))].map(
    ([, code = '']) => code,
  );
}

/** With the addresses of this run. */
function here(code: string): string {
  return code
    .replaceAll('http://127.0.0.1:8080', service.url)
    .replaceAll('https://webhooks.example.com', service.url)
    .replaceAll(/http:\/\/(127\.0\.0\.1:9000|localhost:3000)/g, receiverUrl);
}

function environment(): NodeJS.ProcessEnv {
  const own = Object.entries(process.env).filter(([name]) => !/^(POSTHORN_|NODE_)/.test(name));
  const PATH = [folder.path, process.env.PATH].join(delimiter);
  return { ...Object.fromEntries(own), ...shell, PATH };
}

interface Program {
  child: ChildProcess;
  /** Resolves with the first line, printed already or still to come, that matches; rejects when there will be none. */
  line(matching: RegExp): Promise<string>;
}

function start(command: string, args: readonly string[]): Program {
  const child = spawn(command, args, {
    cwd: folder.path,
    env: environment(),
    stdio: ['ignore', 'pipe', 'pipe'],
    timeout: LONGEST_RUN_MS,
  });
  const lines: string[] = [];
  let changed = (): void => {};
  let hasEnded = false;
  for (const stream of [child.stdout, child.stderr]) {
    createInterface({ input: stream }).on('line', (line) => {
      lines.push(line);
      changed();
    });
  }
  child.once('close', () => {
    hasEnded = true;
    changed();
  });
  return {
    child,
    async line(matching) {
      for (;;) {
        const found = lines.find((line) => matching.test(line));
        if (found !== undefined) return found;
        if (hasEnded) throw new Error(`${args.join(' ')} never printed ${matching}:\n${lines.join('\n')}`);
        await new Promise<void>((resolve) => (changed = resolve));
      }
    },
  };
}

/** Runs one command to its end; answers what it printed. */
async function run(command: string): Promise<string> {
  const child = spawn('bash', ['-ec', command], {
    cwd: folder.path,
    env: environment(),
    stdio: ['ignore', 'pipe', 'pipe'],
    timeout: LONGEST_RUN_MS,
  });
  const [stdout, stderr, [code]] = await Promise.all([
    textOf(child.stdout),
    textOf(child.stderr),
    once(child, 'close') as Promise<[number | null]>,
  ]);
  assert.equal(code, 0, `${command}\n${stdout}${stderr}`);
  return stdout;
}

/** The commands of a block: a line each, unless it goes on in the next. */
function commandsOf(block: string): string[] {
  const commands: string[] = [];
  let command = '';
  for (const line of block.split('\n')) {
    command += `${line}\n`;
    const quotes = command.replaceAll(/\s#.*$/gm, '').match(/'/g) ?? [];
    const isOpen = line.endsWith('\\') || quotes.length % 2 === 1;
    if (isOpen) continue;
    if (command.trim() !== '') commands.push(command.trim());
    command = '';
  }
  return commands;
}

/** Types a block. `<name from the answer>` is what an answer before had as `name`. */
async function type(block: string): Promise<string> {
  let output = '';
  for (const command of commandsOf(here(block))) {
    const filled = command.replaceAll(/<(\w+)[^>]*>/g, (placeholder, name: string) => {
      if (placeholder === '<the key it printed>') return service.printedKey ?? '';
      const found = [...output.matchAll(new RegExp(`"${name}":"([^"]+)"`, 'g'))].at(-1)?.[1];
      assert.ok(found, `${placeholder} is in no answer: ${output}`);
      return found;
    });
    const exported = /^export (.+?)(?: +#.*)?$/.exec(filled)?.[1];
    if (exported === undefined) {
      const printed = await run(filled);
      if (filled.startsWith('curl ')) assert.match(printed, /"code":0/, `${filled}\n${printed}`);
      output += printed;
    } else {
      for (const [, name = '', value = ''] of exported.matchAll(/(\w+)=(\S+)/g)) shell[name] = value;
    }
  }
  return output;
}

describe('the documentation’s commands', { timeout: LONGEST_RUN_MS }, () => {
  it('of the README lead from nothing to a verified webhook', async () => {
    const [, , account = '', endpoint = '', publish = '', look = ''] = blocks('README.md', 'sh');
    await type(account);
    const added = await type(endpoint);
    shell.ENDPOINT = /"endpoint_id":"([^"]+)"/.exec(added)?.[1] ?? '';

    const [program = ''] = blocks('README.md', 'js');
    writeFileSync(join(folder.path, 'receiver.mjs'), program.replace('9000', new URL(receiverUrl).port));
    receiver = start(process.execPath, ['receiver.mjs']);

    assert.match(await type(publish), /"event_id":"video-7-done","deliveries":1/);
    assert.match(await receiver.line(/video-7-done/), /^verified \{"event_id":"video-7-done",/);
    assert.match(await type(look), /"attempt_log":\[/);
  });

  it('of local development hand an event to a receiver, make one, follow it and write its types', async () => {
    const [listen = '', trigger = '', tail = '', types = ''] = blocks('docs/local-development.md', 'sh');
    const [settings = '', command = ''] = commandsOf(here(listen));
    await type(settings.replace('ph_…', shell.KEY ?? ''));
    const listener = start('bash', ['-c', `exec ${command} --count 1`]);
    await listener.line(/^Listening/);

    shell.POSTHORN_API_KEY = shell.OPERATOR ?? '';
    assert.match(await type(trigger), /HTTP 204/);
    // Signed with a secret that this receiver doesn't have.
    assert.match(await listener.line(/HTTP \d/), /generated_video_success {2}evt_\w+ {2}HTTP 401 {2}\d+ ms/);
    assert.match(await type(tail.trim() + ' --for 1ms'), /generated_video_success/);
    mkdirSync(join(folder.path, 'src'));
    await type(types);
    assert.match(readFileSync(join(folder.path, 'src/webhook-events.ts'), 'utf8'), /generated_script_failed/);
  });

  it('of rotating a secret and of going to production are taken', async () => {
    const [test = ''] = blocks('docs/receiving/production.md', 'sh');
    assert.match(await type(test), /"event":"generated_video_success"/);
    const [rotate = ''] = blocks('docs/receiving/rotating-secrets.md', 'sh');
    assert.match(await type(rotate), /"previous_secret_expires_at":\d+/);
  });

  it('of a migration bring customers over, once', async () => {
    const [program = ''] = blocks('docs/migrating.md', 'ts import-customers.ts');
    writeFileSync(join(folder.path, 'import-customers.ts'), program);
    const customers = ['bob', 'carol'].map((username) => ({
      username,
      url: `${receiverUrl}/${username}`,
      events: ['generated_video_success'],
    }));
    writeFileSync(join(folder.path, 'customers.json'), JSON.stringify(customers));
    const first = await run(`'${process.execPath}' import-customers.ts`);
    assert.match(first, /^bob wh_\w+ http\S+\/bob\ncarol wh_\w+ http\S+\/carol\n$/);
    assert.equal(
      await run(`'${process.execPath}' import-customers.ts`),
      '',
      'a second run has nothing to do',
    );
  });

  it('of publishing from SQL grant that right and commit an order with its event', async () => {
    const database = await createDatabase();
    const role = `${database.name}_app`;
    const ours = (text = ''): string => text.replaceAll('app_backend', role);
    const env = { POSTHORN_DATABASE_URL: database.url, POSTHORN_ENCRYPTION_KEY: createEncryptionKey() };
    const onPostgres = await startService(folder.path, { env, longestRunMs: LONGEST_RUN_MS });
    try {
      const operator = new Client(onPostgres.url, onPostgres.printedKey ?? '');
      await operator.data('POST', '/v2/account', { body: { username: 'alice' } });
      await operator.data('PUT', '/v2/event_type/order.paid', {
        body: { category: 'order', description: 'An order was paid' },
      });
      await database.query('CREATE TABLE orders (id bigint PRIMARY KEY, paid boolean NOT NULL)');
      await database.query('INSERT INTO orders VALUES (17, false)');
      await database.query(`CREATE ROLE ${role}`);
      await database.query(`GRANT SELECT, UPDATE ON orders TO ${role}`);

      const page = 'docs/publish-from-sql.md';
      const [publish, grants] = blocks(page, 'sql');
      Object.assign(shell, env);
      await run(ours(blocks(page, 'sh')[0]));
      await database.query(ours(grants));
      await database.query(`SET ROLE ${role}`);
      await database.query(publish ?? '');
      await database.query('RESET ROLE');
      const { events } = await operator.data<{ events: { event_id: string }[] }>('GET', '/v2/event_log', {
        account: 'alice',
      });
      assert.deepEqual(
        events.map(({ event_id }) => event_id),
        ['order-17-paid'],
      );
    } finally {
      for (const name of Object.keys(env)) delete shell[name];
      onPostgres.kill('SIGTERM');
      await onPostgres.ended;
      await database.query(`DROP OWNED BY ${role}`);
      await database.query(`DROP ROLE ${role}`);
      await database.drop();
    }
  });
});
