/**
 * hostile-inputs.md, "database gone, read-only, disk full": refuses with 503, acknowledges nothing that isn't stored,
 * recovers by itself.
 */
import assert from 'node:assert/strict';
import { execFileSync } from 'node:child_process';
import { renameSync, rmSync, statSync } from 'node:fs';
import { join } from 'node:path';
import { afterEach, beforeEach, describe, it } from 'node:test';
import Sqlite from 'better-sqlite3';
import { type RunningService, startService } from './cli/harness.ts';
import { Client } from './support/client.ts';
import { Load, LOAD_EVENT } from './support/load.ts';
import { type Receiver, respond, startReceiver } from './support/receivers.ts';
import { type TempDir, tempDir } from './support/tempdir.ts';

const OPERATOR_KEY = 'database-test-operator-key-'.padEnd(48, '0');
const PUBLISHERS = 4;
/** Requests and attempts are under way when the trouble begins and when it ends. */
const ACKNOWLEDGED_EACH_TIME = 20;
const REFUSALS = 20;
/** Far more than it takes: a service that refuses nothing would be asked for ever. */
const TIME_LIMIT = { timeout: 60_000 };

let folder: TempDir;
let dataFolder: string;
let receiver: Receiver;
let service: RunningService;
let operator: Client;

beforeEach(async () => {
  folder = await tempDir();
  dataFolder = join(folder.path, 'posthorn-data');
  receiver = await startReceiver(respond(200));
  await start();
  await operator.data('POST', '/v2/account', { body: { username: 'alice' } });
  await operator.data('POST', '/v2/endpoint', {
    account: 'alice',
    body: { url: receiver.url, events: [LOAD_EVENT] },
  });
});

afterEach(async () => {
  await kill();
  await receiver.close();
  await folder.remove();
});

async function start(): Promise<void> {
  service = await startService(folder.path, {
    env: {
      POSTHORN_OPERATOR_KEY: OPERATOR_KEY,
      POSTHORN_ENDPOINT_POLICY: 'development',
      POSTHORN_RATE_LIMIT_POST: 'off',
    },
  });
  operator = new Client(service.url, OPERATOR_KEY);
}

async function kill(): Promise<void> {
  // There is none when it could not be started.
  service?.kill('SIGKILL');
  await service?.ended;
}

/** The largest size to which a file of the service may grow; a write beyond it fails as on a full disk. */
function limitFiles(bytes: number | 'unlimited'): void {
  execFileSync('prlimit', ['--pid', String(service.pid), `--fsize=${bytes}:`]);
}

async function storedEvents(): Promise<string[]> {
  const events = await operator.list<{ event_id: string }>('/v2/event_log', 'events', 'alice');
  return events.map((event) => event.event_id).sort();
}

async function assertRefused(load: Load): Promise<void> {
  for (const { status, code, retryAfter, text } of load.refusals) {
    assert.deepEqual([status, code], [503, 50000], text);
    assert.ok(Number(retryAfter) >= 1, `retry-after is ${retryAfter}: ${text}`);
    assert.doesNotMatch(text, /\n? {4}at |x{20}/, 'neither a stack trace nor the payload');
  }
}

interface Trouble {
  name: string;
  begin: () => void;
  end: () => void;
  /** Nothing at all can be written: not even a readiness check finds room. */
  total: boolean;
  /** Made with a tool of Linux. */
  byLimit?: true;
  /** SQLite waits for seconds before it gives up: only in the slow run. */
  slow?: true;
}

let lock: Sqlite.Database;

const troubles: Trouble[] = [
  {
    name: 'whose disk is full',
    begin: () => limitFiles(statSync(join(dataFolder, 'posthorn.db-wal')).size + 200_000),
    end: () => limitFiles('unlimited'),
    total: false,
    byLimit: true,
  },
  {
    name: 'that has become read-only',
    begin: () => limitFiles(0),
    end: () => limitFiles('unlimited'),
    total: true,
    byLimit: true,
  },
  {
    name: 'whose folder was moved away',
    begin: () => renameSync(dataFolder, `${dataFolder}-away`),
    end: () => renameSync(`${dataFolder}-away`, dataFolder),
    total: true,
  },
  {
    name: 'that another program has locked',
    begin: () => {
      lock = new Sqlite(join(dataFolder, 'posthorn.db'));
      lock.exec('BEGIN IMMEDIATE');
    },
    end: () => lock.close(),
    total: true,
    slow: true,
  },
];

describe('a database', () => {
  for (const { name, begin, end, total, byLimit, slow } of troubles) {
    it(
      `${name} under load costs nothing that was acknowledged, and is used again when it is back`,
      TIME_LIMIT,
      async (t) => {
        if (slow && process.env.POSTHORN_TEST_SLOW === undefined) return t.skip('npm run test:slow has it');
        if (byLimit && process.platform !== 'linux') return t.skip('prlimit is a tool of Linux');
        if (process.platform === 'win32') return t.skip('Windows moves no files that are open');
        const load = new Load({
          client: operator,
          username: 'alice',
          publishers: PUBLISHERS,
          idPrefix: 'evt-',
          fillerLength: 10_000,
        });
        await load.when(() => load.acknowledged.length >= ACKNOWLEDGED_EACH_TIME);
        begin();
        await load.when(() => load.refusals.length >= (slow ? PUBLISHERS : REFUSALS));
        if (total) {
          const ready = await operator.ask('GET', '/readyz');
          assert.deepEqual([ready.status, ready.code], [503, 50000]);
        }
        end();
        const before = load.acknowledged.length;
        await load.when(() => load.acknowledged.length >= before + ACKNOWLEDGED_EACH_TIME);
        assert.equal((await operator.ask('GET', '/readyz')).status, 200);
        await load.stop();
        await assertRefused(load);

        const acknowledged = load.acknowledged.toSorted();
        assert.deepEqual(await storedEvents(), acknowledged, 'what was refused was not stored');
        const unfinished = new Set(acknowledged);
        await service.logged((line) => {
          if (line.next === 'delivered') unfinished.delete(String(line.event_id));
          return unfinished.size === 0;
        });
        assert.deepEqual(
          receiver.requests.map(({ headers }) => String(headers['webhook-id'])).toSorted(),
          acknowledged,
          'each arrived, and once',
        );

        await kill();
        await start();
        assert.deepEqual(await storedEvents(), acknowledged);
        const deliveries = await operator.list<{ status: string }>('/v2/deliveries', 'deliveries', 'alice');
        assert.deepEqual(
          deliveries.map(({ status }) => status),
          acknowledged.map(() => 'delivered'),
        );
      },
    );
  }

  it('that was deleted takes nothing more, and says so', TIME_LIMIT, async (t) => {
    if (process.platform === 'win32') return t.skip('Windows deletes no files that are open');
    const load = new Load({ client: operator, username: 'alice', publishers: PUBLISHERS, idPrefix: 'evt-' });
    await load.when(() => load.acknowledged.length >= ACKNOWLEDGED_EACH_TIME);
    rmSync(dataFolder, { recursive: true });
    await load.when(() => load.refusals.length >= REFUSALS);
    const acknowledged = load.acknowledged.length;
    await load.when(() => load.refusals.length >= 2 * REFUSALS);
    assert.equal(load.acknowledged.length, acknowledged, 'nothing was accepted into files without a name');
    await load.stop();
    await assertRefused(load);
    assert.match(load.refusals[0]?.msg ?? '', /was moved, deleted or replaced/);
  });
});
