/** The page's pure parts: what they make of the API's answers. */
import assert from 'node:assert/strict';
import { describe, it } from 'node:test';

import type { Overview, SystemHealth, TroubledEndpoint } from '../src/api/types.ts';
import { jsonObject } from '../src/lib/json.ts';
import { bytes, percent } from '../src/lib/text.ts';
import { keyState } from '../src/pages/api-keys/state.ts';
import { actionWords, changesOf } from '../src/pages/audit/changes.ts';
import { schemaRows } from '../src/pages/event-types/schema-rows.ts';
import { NOTHING_YET, type Seen, presentStep, stateOf } from '../src/pages/first-run/progress.ts';
import { troublesOf } from '../src/pages/overview/attention.ts';
import { RANGES, beginOf, columnsOf, rangeOf } from '../src/pages/overview/ranges.ts';
import { findingsOf } from '../src/pages/system/findings.ts';

describe('the overview’s ranges', () => {
  it('are whole intervals that end with the present one', () => {
    const now = 1_796_074_378;
    for (const range of RANGES) {
      const begin = beginOf(range, now);
      assert.equal(begin % range.intervalSeconds, 0, range.id);
      const end = begin + range.seconds;
      assert.ok(end - range.intervalSeconds <= now && now < end, range.id);
    }
    assert.equal(rangeOf('7d').id, '7d');
    assert.equal(rangeOf('1 year').id, '24h');
    assert.equal(rangeOf(undefined).id, '24h');
  });

  it('have a value an interval: nothing where nothing was attempted, and what lies outside left out', () => {
    const range = rangeOf('1h');
    const begin = beginOf(range, 1_796_074_378);
    const point = { delivered: 3, failed_attempts: 1, dead: 0, p50_ms: 12, p95_ms: 40 };
    const columns = columnsOf(
      [
        { at: begin - 60, ...point },
        { at: begin + 60, ...point },
        { at: begin + 3600, ...point },
      ],
      range,
      begin,
    );
    assert.equal(columns.at.length, 60);
    assert.deepEqual([columns.at[0], columns.at[59]], [begin, begin + 59 * 60]);
    assert.deepEqual(columns.delivered.slice(0, 3), [0, 3, 0]);
    assert.deepEqual(columns.failed.slice(0, 3), [0, 1, 0]);
    assert.deepEqual(columns.p50.slice(0, 3), [null, 12, null]);
    assert.equal(
      columns.delivered.reduce((sum, value) => sum + value, 0),
      3,
    );
  });
});

describe('what needs attention', () => {
  const endpoint: TroubledEndpoint = {
    username: 'alice',
    endpoint_id: 'wh_1',
    url: 'https://example.com/',
    status: 'enabled',
    disabled_reason: null,
    delivered: 9,
    failed_attempts: 1,
    dead: 0,
  };
  const overview = (part: Partial<Overview>): Overview => ({
    pending: 0,
    pending_is_exact: true,
    oldest_due_seconds: 0,
    endpoints: { enabled: 1, disabled: 0 },
    troubled: [],
    ...part,
  });

  it('is nothing while all is well', () => {
    assert.deepEqual(troublesOf(overview({ oldest_due_seconds: 59 })), []);
  });

  it('is an old queue first, then endpoints by what became of them', () => {
    const disabled = { ...endpoint, status: 'disabled' as const, disabled_reason: 'gone' };
    const kinds = troublesOf(
      overview({ oldest_due_seconds: 60, troubled: [disabled, { ...endpoint, dead: 2 }, endpoint] }),
    ).map(({ kind }) => kind);
    assert.deepEqual(kinds, ['old_queue', 'disabled', 'gave_up', 'failing']);
  });
});

describe('a schema as rows', () => {
  it('has each field with its path, type, rules and whether it must be there', () => {
    const rows = schemaRows({
      type: 'object',
      required: ['id', 'lines'],
      properties: {
        id: { type: 'string', description: 'Its id.', pattern: '^o-' },
        lines: {
          type: 'array',
          minItems: 1,
          items: { type: 'object', required: ['sku'], properties: { sku: { enum: ['a', 'b'] } } },
        },
        total: { type: ['number', 'null'], minimum: 0 },
        status: { const: 'paid' },
      },
    });
    assert.deepEqual(
      rows.map(({ path, depth, type, required, rules }) => [path, depth, type, required, rules]),
      [
        ['id', 0, 'string', true, ['matches ^o-']],
        ['lines', 0, 'array of object', true, ['at least 1 items']],
        ['lines[].sku', 1, 'string', true, ['one of "a", "b"']],
        ['total', 0, 'number or null', false, ['at least 0']],
        ['status', 0, 'string', false, ['always "paid"']],
      ],
    );
    assert.equal(rows[0]?.description, 'Its id.');
  });

  it('follows references within it, and ends where one leads to itself', () => {
    const rows = schemaRows({
      type: 'object',
      properties: {
        node: { $ref: '#/$defs/node' },
        odd: { $ref: '#/nowhere' },
        loop: { $ref: '#/properties/loop' },
      },
      $defs: { node: { type: 'object', properties: { next: { $ref: '#/$defs/node' } } } },
    });
    assert.deepEqual(
      rows.slice(0, 2).map(({ path, type }) => [path, type]),
      [
        ['node', 'object'],
        ['node.next', 'object'],
      ],
    );
    assert.ok(rows.length <= 200);
    assert.equal(rows.find(({ path }) => path === 'odd')?.type, '#/nowhere');
  });

  it('is empty for any object, and bounded for a huge one', () => {
    assert.deepEqual(schemaRows({ type: 'object' }), []);
    const properties = Object.fromEntries(
      Array.from({ length: 5000 }, (_, n) => [`f${n}`, { type: 'string' }]),
    );
    assert.equal(schemaRows({ type: 'object', properties }).length, 200);
  });
});

describe('a line of the audit log', () => {
  it('is told value by value', () => {
    assert.deepEqual(
      changesOf({ status: 'active', metadata: { a: 1 } }, { status: 'suspended', metadata: null }),
      [
        { name: 'status', before: 'active', after: 'suspended' },
        { name: 'metadata', before: '{"a":1}', after: undefined },
      ],
    );
    assert.deepEqual(changesOf(null, { name: 'ci' }), [{ name: 'name', before: undefined, after: 'ci' }]);
    assert.deepEqual(changesOf(null, null), []);
    assert.equal(actionWords('endpoint.rotate_secret'), 'endpoint: rotate secret');
  });
});

describe('the first steps', () => {
  const seen: Seen = {
    hasAccount: true,
    hasEndpoint: true,
    firstDelivered: true,
    secondFailed: true,
    secondDelivered: true,
    replayDone: true,
  };
  const all = {
    key: 'made',
    endpointId: 'wh_1',
    startedAt: 1,
    firstEventId: 'evt_1',
    isBroken: true,
    secondEventId: 'evt_2',
    isFixed: true,
    isResent: true,
    replayId: 'rpl_1',
  } as const;

  it('stand at the first whose result isn’t there', () => {
    for (const [progress, facts, step] of [
      [NOTHING_YET, { ...seen, hasAccount: false }, 'account'],
      [NOTHING_YET, seen, 'key'],
      [{ ...NOTHING_YET, key: 'skipped' as const }, seen, 'endpoint'],
      [{ ...all, firstEventId: null }, seen, 'publish'],
      [all, { ...seen, firstDelivered: false }, 'publish'],
      [{ ...all, secondEventId: null }, seen, 'break'],
      [all, { ...seen, secondFailed: false, secondDelivered: false }, 'break'],
      [{ ...all, isFixed: false }, { ...seen, secondDelivered: false }, 'inspect'],
      [all, { ...seen, secondDelivered: false }, 'fix'],
      [all, { ...seen, replayDone: false }, 'replay'],
      [all, seen, 'done'],
    ] as const) {
      assert.equal(presentStep(progress, facts), step);
    }
  });

  it('go back to the endpoint when somebody has deleted it', () => {
    assert.equal(presentStep(all, { ...seen, hasEndpoint: false }), 'endpoint');
    assert.deepEqual(
      (['key', 'endpoint', 'publish'] as const).map((step) => stateOf(step, 'endpoint')),
      ['done', 'now', 'later'],
    );
    assert.equal(stateOf('replay', 'done'), 'done');
  });
});

describe('the system’s findings', () => {
  const well: SystemHealth = {
    version: '1.0.0',
    nodes: [{ name: 'a:1', started_at: 1, seen_at: 2, delivers: true, leases: 0, is_this: true }],
    queue: { scheduled: 5, due: 0, leased: 0, oldest_due_seconds: 0 },
    database: { engine: 'sqlite', version: 'SQLite 3', size_bytes: 1, free_bytes: 1e12, ping_ms: 2 },
  };

  it('are none while it is well, also where the room of the disk isn’t known', () => {
    assert.deepEqual(findingsOf(well), []);
    assert.deepEqual(findingsOf({ ...well, database: { ...well.database, free_bytes: null } }), []);
  });

  it('name each trouble with what to do', () => {
    const findings = findingsOf({
      ...well,
      nodes: well.nodes.map((node) => ({ ...node, delivers: false })),
      queue: { ...well.queue, due: 12, oldest_due_seconds: 125 },
      database: { ...well.database, free_bytes: 1024 ** 2, ping_ms: 900 },
    });
    assert.deepEqual(
      findings.map(({ what }) => what),
      [
        'No process delivers.',
        'The oldest due delivery has waited for 2 min 5 s, 12 are due.',
        'The database’s disk has 1.0 MB left.',
        'A commit took 900 ms.',
      ],
    );
    assert.ok(findings.every(({ todo }) => todo.length > 20));
  });
});

describe('texts', () => {
  it('say a share without rounding it to all or nothing', () => {
    assert.deepEqual(
      [
        percent(0, 0),
        percent(0, 5),
        percent(5, 5),
        percent(99_999, 100_000),
        percent(1, 100_000),
        percent(1, 3),
      ],
      ['–', '0 %', '100 %', '99.9 %', '0.1 %', '33.3 %'],
    );
    assert.equal(bytes(3 * 1024 ** 3), '3.0 GB');
  });

  it('of a form become objects, or say what is wrong with them', () => {
    assert.deepEqual(jsonObject('schema', '{"a":1}'), { a: 1 });
    assert.equal(jsonObject('schema', '  '), null);
    assert.throws(() => jsonObject('schema', '{'), /^Error: schema is not JSON/);
    assert.throws(() => jsonObject('example', '[1]'), /^Error: example must be a JSON object/);
  });

  it('tell a key’s state', () => {
    const key = { expires_at: null, revoked_at: null };
    assert.equal(keyState(key, 100), 'active');
    assert.equal(keyState({ ...key, expires_at: 101 }, 100), 'active');
    assert.equal(keyState({ ...key, expires_at: 100 }, 100), 'expired');
    assert.equal(keyState({ expires_at: 50, revoked_at: 60 }, 100), 'revoked');
  });
});
