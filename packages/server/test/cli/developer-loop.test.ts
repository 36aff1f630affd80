/** What developers use beside their own code, against answers that are told: types, trigger, deliveries tail. */
import assert from 'node:assert/strict';
import { mkdtempSync, readFileSync, rmSync, statSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { after, afterEach, before, beforeEach, describe, it } from 'node:test';
import { BUILT_IN_TYPES } from '../../src/catalogue/built-in.ts';
import { DeliveryChanges } from '../../src/cli/deliveries-tail.ts';
import { withSettings } from '../../src/cli/trigger-data.ts';
import type { DeliveryData } from '../../src/cli/wire.ts';
import { callCli, FakeServer, success } from './harness.ts';

let server: FakeServer;
let folder: string;
before(() => {
  folder = mkdtempSync(join(tmpdir(), 'posthorn-loop-'));
});
after(() => rmSync(folder, { recursive: true }));
beforeEach(async () => {
  server = await FakeServer.start();
});
afterEach(() => server.stop());

function call(...args: string[]) {
  return callCli(args, { env: { POSTHORN_URL: server.url, POSTHORN_API_KEY: 'ph_test' }, cwd: folder });
}

describe('posthorn types', () => {
  const listed = BUILT_IN_TYPES.slice(0, 3);

  it('writes the catalogue once, and leaves a file alone that says the same', async () => {
    server.answer('GET /v2/event_types', success({ event_types: listed }));
    const first = await call('types', '--ts', 'events.ts', '--name', 'Webhooks');
    assert.equal(first.code, 0, first.stderr);
    assert.equal(first.stdout, 'Wrote 3 event types to events.ts.\n');
    const path = join(folder, 'events.ts');
    const text = readFileSync(path, 'utf8');
    assert.match(text, /export interface Webhooks \{\n {2}generated_video_success: /);
    const writtenAt = statSync(path).mtimeMs;
    const again = await call('types', '--ts', 'events.ts', '--name', 'Webhooks');
    assert.equal(again.stdout, 'events.ts is up to date (3 event types).\n');
    assert.equal(statSync(path).mtimeMs, writtenAt);
    const onStdout = await call('types', '--ts', '-', '--name', 'Webhooks');
    assert.equal(onStdout.stdout, text);
  });

  it('fails a check of an old or absent file, and writes nothing', async () => {
    server.answer('GET /v2/event_types', success({ event_types: listed }));
    const path = join(folder, 'old.ts');
    writeFileSync(path, 'old');
    for (const file of ['old.ts', 'absent.ts']) {
      const { code, stderr } = await call('types', '--ts', file, '--check');
      assert.equal(code, 1);
      assert.match(stderr, new RegExp(`run \`posthorn types --ts ${file}\``));
    }
    assert.equal(readFileSync(path, 'utf8'), 'old');
    const { code, stderr } = await call('types', '--ts', 'no/such/folder.ts');
    assert.equal(code, 1);
    assert.match(stderr, /its folder isn't there/);
  });

  it('refuses a name that is none in TypeScript', async () => {
    const { code } = await call('types', '--ts', 'events.ts', '--name', 'x} export const evil = {');
    assert.equal(code, 2);
    assert.equal(server.seen.length, 0);
  });
});

describe('the data of posthorn trigger', () => {
  it('is the example with what was set, as JSON where it is JSON', () => {
    const example = { video_id: 'v1', duration: 3, error: { code: 1, message: 'no' } };
    const settings = [
      'video_id=v=7',
      'duration=12.5',
      'error.code=7',
      'extra.deep={"a":[1]}',
      'text="8"',
      'none=',
    ];
    assert.deepEqual(withSettings(example, settings), {
      video_id: 'v=7',
      duration: 12.5,
      error: { code: 7, message: 'no' },
      extra: { deep: { a: [1] } },
      text: '8',
      none: '',
    });
    assert.equal(example.video_id, 'v1', 'the example itself stays as it is');
  });

  it('is refused without a name, over a prototype, and with a number that would be rounded', () => {
    for (const setting of [
      'video_id',
      '=7',
      'a..b=1',
      '__proto__.x=1',
      'a=12345678901234567890',
      'a=1e999',
    ]) {
      assert.throws(() => withSettings({}, [setting]), { name: 'CommandError', reason: 'usage' }, setting);
    }
    assert.equal(({} as { x?: unknown }).x, undefined);
  });
});

describe('posthorn trigger', () => {
  const type = { name: 'order.paid', example: { order: 1 } };
  const attempt = (number: number, httpStatus: number | null, outcome: string) => ({
    number,
    started_at: 1_769_860_800,
    duration_ms: 12,
    outcome,
    http_status: httpStatus,
    error: httpStatus === null ? 'no answer \u001b[2J' : null,
    manual: false,
  });
  const event = (status: 'pending' | 'delivered') => ({
    event_id: 'evt_1',
    event: 'order.paid',
    deliveries: { pending: 0, delivered: 0, dead: 0, cancelled: 0, [status]: 1 },
    note: null,
    targets: [{ endpoint_id: 'wh_1', delivery_id: 'dlv_1', status, reason: null }],
  });

  it('publishes the example with what was set', async () => {
    server.answer('GET /v2/event_type/order.paid', success(type));
    server.answer('POST /v2/publish', success({ event_id: 'evt_1', deliveries: 2, duplicate: false }));
    const { code, stdout } = await call('trigger', 'order.paid', '--account', 'alice', '--data', 'order=7');
    assert.equal(code, 0);
    assert.equal(stdout, 'Published evt_1, 2 deliveries.\n');
    assert.deepEqual(JSON.parse(server.lastSeen.body), {
      username: 'alice',
      event: 'order.paid',
      data: { order: 7 },
    });
  });

  it('prints each attempt once until the end, and nothing that steers a terminal', async () => {
    server.answer('GET /v2/event_type/order.paid', success(type));
    server.answer('POST /v2/publish', success({ event_id: 'evt_1', deliveries: 1, duplicate: false }));
    server.answer(
      'GET /v2/event_log/evt_1',
      success(event('pending')),
      success(event('pending')),
      success(event('delivered')),
    );
    const failed = attempt(1, null, 'timeout');
    server.answer(
      'GET /v2/delivery/dlv_1',
      success({ attempt_log: [] }),
      success({ attempt_log: [failed] }),
      success({ attempt_log: [failed, attempt(2, 204, 'success')] }),
    );
    const { code, stdout } = await call('trigger', 'order.paid', '--account', 'alice', '--watch');
    assert.equal(code, 0);
    assert.deepEqual(stdout.split('\n').slice(0, 3), [
      'Published evt_1, 1 delivery.',
      'timeout  12 ms  attempt 1  to wh_1  (no answer \\x1b[2J)',
      'HTTP 204  12 ms  attempt 2  to wh_1',
    ]);
  });

  it('ends with 1 when a delivery has not ended within the time', async () => {
    server.answer('GET /v2/event_type/order.paid', success(type));
    server.answer('POST /v2/publish', success({ event_id: 'evt_1', deliveries: 1, duplicate: false }));
    server.answer('GET /v2/event_log/evt_1', success(event('pending')));
    server.answer('GET /v2/delivery/dlv_1', success({ attempt_log: [] }));
    const { code, stderr } = await call(
      'trigger',
      'order.paid',
      '--account',
      'alice',
      '--watch',
      '--wait-timeout',
      '2s',
    );
    assert.equal(code, 1);
    assert.match(stderr, /1 of 1 not delivered within 2s/);
  });
});

function delivery(id: number, changes: Partial<DeliveryData> = {}): DeliveryData {
  return {
    delivery_id: `dlv_${String(id).padStart(4, '0')}`,
    event_id: `evt_${id}`,
    event: 'order.paid',
    endpoint_id: 'wh_1',
    status: 'delivered',
    status_reason: null,
    attempts: 1,
    created_at: 1_769_860_800,
    next_attempt_at: null,
    completed_at: 1_769_860_801,
    ...changes,
  };
}

const pending = { status: 'pending', attempts: 0, completed_at: null, next_attempt_at: 1_769_860_805 };

describe('posthorn deliveries tail', () => {
  it('prints the last ones, then what is new or has changed, each once', async () => {
    server.answer(
      'GET /v2/deliveries',
      success({ deliveries: [delivery(3, pending), delivery(2), delivery(1)], next_cursor: null }),
      success({ deliveries: [delivery(4), delivery(3), delivery(2), delivery(1)], next_cursor: null }),
    );
    const { code, stdout } = await call(
      'deliveries',
      'tail',
      '--account',
      'alice',
      '--last',
      '2',
      '--for',
      '3s',
      '--json',
    );
    assert.equal(code, 0);
    const lines = stdout
      .trim()
      .split('\n')
      .map((line) => JSON.parse(line) as DeliveryData);
    assert.deepEqual(
      lines.map(({ delivery_id: id, status }) => `${id} ${status}`),
      ['dlv_0002 delivered', 'dlv_0003 pending', 'dlv_0003 delivered', 'dlv_0004 delivered'],
    );
    assert.equal(server.lastSeen.headers['x-account'], 'alice');
  });

  const page = (from: number, to: number) =>
    Array.from({ length: to - from + 1 }, (_, i) => delivery(to - i));
  const never = () => assert.fail('nothing was to be asked for');

  it('goes on with one that waits when newer ones have pushed it off the page, once it is due', async () => {
    const changes = new DeliveryChanges();
    await changes.take([delivery(200, pending), ...page(1, 199)], 1_769_860_800, never);
    const early = await changes.take(page(201, 400).with(199, delivery(199)), 1_769_860_804, never);
    assert.equal(early.missed, false);
    const due = await changes.take(page(202, 401), 1_769_860_805, async () => delivery(200));
    assert.deepEqual(
      due.changed.map(({ delivery_id: id }) => id),
      ['dlv_0200', 'dlv_0401'],
    );
  });

  it('says when more happened than one look can hold', async () => {
    const changes = new DeliveryChanges();
    assert.equal((await changes.take(page(1, 200), 0, never)).missed, false);
    assert.equal((await changes.take(page(150, 349), 0, never)).missed, false);
    assert.equal((await changes.take(page(350, 549), 0, never)).missed, true);
  });
});
