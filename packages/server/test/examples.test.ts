/** Each example runs as its reader runs it: in a process of its own, on the built package. */
import assert from 'node:assert/strict';
import { spawn, spawnSync } from 'node:child_process';
import { once } from 'node:events';
import { existsSync, readFileSync } from 'node:fs';
import { text as textOf } from 'node:stream/consumers';
import { before, describe, it } from 'node:test';
import { fileURLToPath } from 'node:url';
import { createEncryptionKey } from '../src/secrets.ts';
import { createDatabase } from './support/postgres.ts';

const ROOT = new URL('../../../', import.meta.url);
const LONGEST_RUN_MS = 60_000;

interface Outcome {
  code: number | null;
  stdout: string;
  stderr: string;
}

async function run(example: string, env: Record<string, string>): Promise<Outcome> {
  const own = Object.entries(process.env).filter(([name]) => !/^(POSTHORN_|NODE_|DATABASE_URL)/.test(name));
  const child = spawn(process.execPath, [`examples/${example}/main.ts`], {
    cwd: fileURLToPath(ROOT),
    env: { ...Object.fromEntries(own), ...env },
    stdio: ['ignore', 'pipe', 'pipe'],
    timeout: LONGEST_RUN_MS,
    killSignal: 'SIGKILL',
  });
  const [stdout, stderr, [code]] = await Promise.all([
    textOf(child.stdout),
    textOf(child.stderr),
    once(child, 'close') as Promise<[number | null]>,
  ]);
  return { code, stdout, stderr };
}

function assertShown({ code, stdout, stderr }: Outcome, ...lines: RegExp[]): void {
  assert.deepEqual([stderr, code], ['', 0], stdout);
  for (const line of lines) assert.match(stdout, line);
}

describe('examples', { timeout: 4 * LONGEST_RUN_MS }, () => {
  before(() => {
    // `npm test` has built it; whoever runs this file alone after a change has to.
    if (existsSync(new URL('packages/server/dist/index.js', ROOT))) return;
    const built = spawnSync(process.execPath, ['scripts/build.ts'], {
      cwd: fileURLToPath(ROOT),
      encoding: 'utf8',
    });
    assert.equal(built.status, 0, `${built.stdout}${built.stderr}`);
  });

  async function withPostgres(example: string, judge: (outcome: Outcome) => void, runs = 1): Promise<void> {
    const database = await createDatabase();
    try {
      const env = { DATABASE_URL: database.url, POSTHORN_ENCRYPTION_KEY: createEncryptionKey() };
      for (let n = 0; n < runs; n++) judge(await run(example, env));
    } finally {
      await database.drop();
    }
  }

  const received =
    /the customer received \{"event_id":".+","event":"order\.paid","timestamp":\d+,"data":\{"order_id":".+"\}\}/;

  it('embed-fastify delivers, without anything else', async () => {
    assertShown(await run('embed-fastify', {}), received, /^delivered customer-\w+-o-17-paid in \d+ ms$/m);
  });

  it('embed-fastify delivers on PostgreSQL', () =>
    withPostgres('embed-fastify', (outcome) => assertShown(outcome, received)));

  it('publish-in-transaction delivers what was committed alone, and again in another run', () =>
    withPostgres(
      'publish-in-transaction',
      (outcome) =>
        assertShown(
          outcome,
          /^rolled back, with its event: the card was refused$/m,
          received,
          /^orders: \[\{"id":"paid-\w+"\}\], webhooks: 1$/m,
        ),
      2,
    ));

  it('publish-from-sql delivers what a trigger published', () =>
    withPostgres('publish-from-sql', (outcome) =>
      assertShown(
        outcome,
        /^rolled back: nobody hears of the first order$/m,
        received,
        /the shop can't read what others published: permission denied/,
      ),
    ));

  it('demo (`npm run demo`) comes to its end, and its closing figures are those of its table', async () => {
    const { scripts } = JSON.parse(readFileSync(new URL('package.json', ROOT), 'utf8')) as {
      scripts: { demo: string };
    };
    assert.equal(scripts.demo, 'node examples/demo/main.ts', 'what is run here');
    const outcome = await run('demo', {});
    assertShown(outcome, /^Publishing all 22 event types; /m);
    const closing =
      /^(\d+) events, (\d+) deliveries, (\d+) attempts: the receiver answered (\d+) with 500$/m.exec(
        outcome.stdout,
      );
    const [events, deliveries, attempts, refused] = (closing ?? []).slice(1).map(Number);
    const rows = [...outcome.stdout.matchAll(/^(\w+) +(\d+) +(\d+) {2}delivered +\d+ ms$/gm)];
    const sum = (column: number) => rows.reduce((total, row) => total + Number(row[column]), 0);
    assert.deepEqual([events, rows.length], [22, 22], outcome.stdout);
    assert.deepEqual([deliveries, attempts], [sum(2), sum(3)]);
    const subscribed = [...outcome.stdout.matchAll(/ subscribes to (\d+) event types$/gm)].map(([, n]) =>
      Number(n),
    );
    assert.equal(subscribed.length, 3);
    assert.equal(
      deliveries,
      subscribed.reduce((total, n) => total + n, 0),
    );
    // Which it refuses at first goes by the ids, which are the same in each run.
    assert.ok(Number(refused) > 0 && Number(attempts) - Number(deliveries) === refused, outcome.stdout);
  });

  it('those on PostgreSQL say what they need', async () => {
    const { code, stderr } = await run('publish-from-sql', {});
    assert.equal(code, 2);
    assert.match(stderr, /export DATABASE_URL=postgres:[^]*export POSTHORN_ENCRYPTION_KEY=/);
  });
});
