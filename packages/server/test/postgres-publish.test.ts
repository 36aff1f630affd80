/** `posthorn.publish`: publishing from plain SQL, held against publishing over HTTP. */
import assert from 'node:assert/strict';
import { readFileSync } from 'node:fs';
import { after, before, describe, it, type TestContext } from 'node:test';
import fc from 'fast-check';
import pg from 'pg';
import { parseJson } from '../src/json.ts';
import type { JsonObject } from '../src/model.ts';
import { type SealContext, sealEvent } from '../src/publish.ts';
import { serviceActor } from '../src/first-start.ts';
import { grantPublish } from '../src/store/postgres/grants.ts';
import type { Store } from '../src/store/store.ts';
import { callCli } from './cli/harness.ts';
import { type ApiAnswer, type TestApp, testApp } from './support/app.ts';
import { PostgresEngine, type PostgresTestDatabase } from './support/postgres-store.ts';
import { newEndpoint, newEventType, unique, VIDEO, WIDE_OFFER } from './support/store-fixtures.ts';

/** A type of the operator's whose schema any object fits. */
const ANY = 'anything.happened';
const MAX_BODY_BYTES = 256 * 1024;
const MIGRATION = new URL('../src/store/postgres/migrations/0003_publish.sql', import.meta.url);
const GUIDE = new URL('../../../docs/publish-from-sql.md', import.meta.url);

const engine = new PostgresEngine();
let database: PostgresTestDatabase;
let store: Store;
/** The HTTP API on the same database, and the store that it would have had instead. */
let api: TestApp;
let unused: Store;

before(async () => {
  database = await engine.createDatabase();
  store = await database.open();
  await store.putEventType(newEventType(ANY, { schema: { type: 'object' }, example: null }));
  api = await testApp({
    wrapStore: (sqlite) => {
      unused = sqlite;
      return store;
    },
  });
});
after(async () => {
  await unused?.close();
  await api?.close();
  await database?.remove();
  await engine.dispose();
});

// ---------------------------------------------------------------- steps

interface Refusal {
  code: string;
  column: string | undefined;
  message: string;
}

interface SqlEvent {
  username: string;
  event?: string;
  /** JSON text. */
  data?: string | null;
  eventId?: string | null;
}

async function connect(t: TestContext, url = database.database.url): Promise<pg.Client> {
  const client = new pg.Client(url);
  await client.connect();
  t.after(() => client.end());
  return client;
}

/** Publishes by SQL as an application does; answers the event's id. */
async function publish(input: SqlEvent, client?: pg.Client): Promise<string> {
  const text = 'SELECT posthorn.publish($1, $2, $3::jsonb, $4) AS id';
  const { username, event = ANY, data = '{"a":1}', eventId = null } = input;
  const values = [username, event, data, eventId];
  const rows = client
    ? (await client.query<{ id: string }>(text, values)).rows
    : await database.database.query<{ id: string }>(text, values);
  return rows[0]?.id as string;
}

async function refusal(action: Promise<unknown>): Promise<Refusal> {
  const error = await action.then(
    () => assert.fail('it was not refused'),
    (reason: unknown) => reason,
  );
  assert.ok(error instanceof pg.DatabaseError, String(error));
  return { code: error.code ?? '', column: error.column, message: error.message };
}

/** Publishes over HTTP, with `data` as it is written. */
function publishByHttp(input: SqlEvent): Promise<ApiAnswer> {
  const { username, event = ANY, data = '{"a":1}', eventId } = input;
  const members = [
    `"username":${JSON.stringify(username)}`,
    `"event":${JSON.stringify(event)}`,
    ...(data === null ? [] : [`"data":${data}`]),
    ...(eventId === undefined || eventId === null ? [] : [`"event_id":${JSON.stringify(eventId)}`]),
  ];
  return api.request('POST', '/v2/publish', { key: api.operatorKey, body: `{${members.join(',')}}` });
}

/** An account with so many endpoints that subscribe to {@link ANY} and the video type. */
async function account(endpoints = 1): Promise<string> {
  const username = unique('sql');
  await store.createAccount({ username, metadata: null });
  for (let n = 0; n < endpoints; n += 1) {
    await store.addEndpoint(newEndpoint(username, { events: [ANY, VIDEO] }), 20);
  }
  return username;
}

async function bodyOf(username: string, eventId: string): Promise<string> {
  return (await store.getEvent(username, eventId))?.body ?? assert.fail(`no event ${eventId}`);
}

/** How many rows of an account there are in every table that publishing writes to. */
async function rowsOf(username: string): Promise<Record<string, number>> {
  const tables = ['event', 'event_key', 'queue', 'delivery', 'lane_call'];
  const counts = tables.map((table) => `(SELECT count(*)::int FROM posthorn.${table} WHERE username = $1)`);
  const [row] = await database.database.query<{ counts: number[] }>(
    `SELECT ARRAY[${counts.join(',')}] AS counts`,
    [username],
  );
  return Object.fromEntries(tables.map((table, n) => [table, row?.counts[n] ?? -1]));
}

const NOTHING = { event: 0, event_key: 0, queue: 0, delivery: 0, lane_call: 0 };

async function claimedEventIds(username: string): Promise<string[]> {
  const { leases } = await store.claim(WIDE_OFFER);
  await store.release(leases);
  return leases.filter((lease) => lease.username === username).map((lease) => lease.event.eventId);
}

// ---------------------------------------------------------------- sealing

/**
 * What HTTP makes of jsonb's own text: the sealed body, or the sentence of the refusal. `id` and `now` as SQL had them.
 */
function sealedByHttp(dataText: string, eventId?: string, nowMs = 0): string {
  const context: SealContext = { nowMs, makeId: () => 'evt_made', maxBodyBytes: MAX_BODY_BYTES };
  try {
    const { data } = parseJson(Buffer.from(`{"data":${dataText}}`)) as { data: JsonObject };
    return sealEvent(
      { username: 'u', event: ANY, data, ...(eventId === undefined ? {} : { event_id: eventId }) },
      context,
    ).body;
  } catch (error) {
    return (error as Error).message;
  }
}

/** What SQL makes of JSON text: jsonb's text of it, and its sealed form or the refusal. Null: jsonb can't hold it. */
async function sealedBySql(text: string): Promise<{ jsonb: string; sealed: string } | null> {
  let jsonb: string;
  try {
    const [row] = await database.database.query<{ text: string }>('SELECT $1::jsonb::text AS text', [text]);
    jsonb = row?.text as string;
  } catch (error) {
    // A number of more digits than numeric has.
    assert.equal((error as pg.DatabaseError).code, '22003');
    return null;
  }
  try {
    const [row] = await database.database.query<{ data: string }>(
      'SELECT posthorn.seal_data($1::jsonb) AS data',
      [text],
    );
    return { jsonb, sealed: `{"event_id":"evt_made","event":"${ANY}","timestamp":0,"data":${row?.data}}` };
  } catch (error) {
    assert.match(String((error as pg.DatabaseError).code), /^PH00[1-4]$/, String(error));
    return { jsonb, sealed: (error as Error).message };
  }
}

async function assertSealedAlike(text: string): Promise<string> {
  const bySql = await sealedBySql(text);
  if (bySql === null) return '';
  assert.equal(bySql.sealed, sealedByHttp(bySql.jsonb), bySql.jsonb);
  return bySql.sealed;
}

const AWKWARD = [
  '__proto__',
  'constructor',
  'prototype',
  'toJSON',
  ...['0', '7', '10', '007', '-1', '1e3', '4294967294', '4294967295', '99999999999'],
  ...['', ' ', '"', ': ', ', ', '{', '}', 'a": 1, "b', '\n\t', '\u0001', '\u0002', '\u007f', '\u2028'],
  ...['é', '\ue000', '\uffff', '\u{10000}', '😀'],
];
/** What jsonb can hold: no U+0000, no half of a surrogate pair. */
const anyString = fc
  .oneof(
    fc.constantFrom(...AWKWARD, '\\', '\\"', '\\u0000'),
    fc.string({ maxLength: 12 }),
    fc.string({ unit: 'grapheme', maxLength: 8 }),
    fc.string({ unit: 'binary', maxLength: 8 }),
  )
  .filter((text) => !text.includes('\0') && text.isWellFormed());
/**
 * No backslash: where V8 has once parsed a key that is one, it may take other keys that are one escaped character for
 * it (https://github.com/nodejs/node/issues/63785), and SQL doesn't.
 */
const anyKey = anyString.filter((text) => !text.includes('\\'));

function escapedWhole(text: string): string {
  const units = Array.from({ length: text.length }, (_, i) =>
    text.charCodeAt(i).toString(16).padStart(4, '0'),
  );
  return `"${units.map((unit) => `\\u${unit}`).join('')}"`;
}

/** JSON text of a string, in either spelling. */
function written(strings: fc.Arbitrary<string>): fc.Arbitrary<string> {
  return fc
    .tuple(strings, fc.boolean())
    .map(([text, escaped]) => (escaped ? escapedWhole(text) : JSON.stringify(text)));
}

function digits(maxLength: number): fc.Arbitrary<string> {
  return fc.string({ unit: fc.constantFrom(...'0123456789'), minLength: 1, maxLength });
}

const someDouble = { noNaN: true, noDefaultInfinity: true };
const anyNumber = fc.oneof(
  fc.integer().map(String),
  fc.maxSafeInteger().map(String),
  fc.double(someDouble).map((value) => JSON.stringify(value)),
  fc.double({ ...someDouble, min: -1e-5, max: 1e-5 }).map((value) => JSON.stringify(value)),
  fc.double({ ...someDouble, min: -1e6, max: 1e6 }).map((value) => value.toFixed(4)),
  fc
    .tuple(
      fc.constantFrom('', '-'),
      fc.constantFrom('0', '1', '12', '123456789012', '9007199254740992'),
      fc.option(digits(18)),
      fc.option(fc.integer({ min: -330, max: 310 })),
    )
    .map(
      ([sign, whole, fraction, exponent]) =>
        sign + whole + (fraction === null ? '' : `.${fraction}`) + (exponent === null ? '' : `e${exponent}`),
    ),
  // Large integers that aren't written as such are approximations, and may be sent.
  fc
    .tuple(fc.bigInt({ min: 1n, max: 10n ** 17n }), fc.integer({ min: 4, max: 30 }))
    .map(([head, zeros]) => `${head}${'0'.repeat(zeros)}.0`),
);

const { anyValue } = fc.letrec<{ anyValue: string; list: string; object: string }>((tie) => ({
  anyValue: fc.oneof(
    { depthSize: 'small' },
    fc.constantFrom('null', 'true', 'false'),
    anyNumber,
    written(anyString),
    tie('list'),
    tie('object'),
  ),
  list: fc.array(tie('anyValue'), { maxLength: 5 }).map((items) => `[${items.join(' ,')}]`),
  object: objectOf(tie('anyValue')),
}));

function objectOf(value: fc.Arbitrary<string>): fc.Arbitrary<string> {
  return fc
    .array(fc.tuple(written(anyKey), value), { maxLength: 6 })
    .map((members) => `{${members.map(([key, text]) => `${key}: ${text}`).join(',\n')}}`);
}

describe('what is published by SQL is sealed as over HTTP', () => {
  it('property: the body is what HTTP makes of the text of jsonb, or refused with the same sentence', async () => {
    let refused = 0;
    let runs = 0;
    await fc.assert(
      fc.asyncProperty(objectOf(anyValue), async (text) => {
        runs += 1;
        if (!(await assertSealedAlike(text)).startsWith('{')) refused += 1;
      }),
      { numRuns: 1_000 },
    );
    assert.ok(refused < runs * 0.8, 'most of what is tried should not be refused');
  });

  it('property: each number is written as JavaScript writes it, or refused as by HTTP', async () => {
    await fc.assert(
      fc.asyncProperty(fc.array(anyNumber, { minLength: 1, maxLength: 3 }), async (numbers) => {
        await assertSealedAlike(`{"n":[${numbers.join(',')}]}`);
      }),
      { numRuns: 1_000 },
    );
  });

  const numbers = `
    0 -0 -0.0 0e0 0e999 1 -1 1.0 1.50 -2.500 0.10 100 100.0 1e2 1e21 120e-1 10.05 0.000001 0.0000010 0.0000001
    -1.5e-7 123456789012345.6 0.30000000000000004 9007199254740992 -9007199254740992 9007199254740991.0
    9007199254740993 9007199254740992.5 9007199254740994.0 12345678901234567890 1e20 1e17
    999999999999999999999 1000000000000000000000 1000000000000000000000.0 1e22
    100000000000000000000000.0 99999999999999990000000.0 123456789012345670000000.00 1234567890123456700000000.5
    17976931348623157${'0'.repeat(292)}.0 17976931348623158${'0'.repeat(292)}.0 1.7976931348623157e308 1e309 1e400
    5e-324 4.9e-324 2.5e-324 2e-324 1e-400 2.2250738585072014e-308 2.2250738585072011e-308 1.234e-320
    0.1000000000000000055511151231257827 3.14159265358979323846 3.141592653589793 52.520008 13.404954
  `
    .trim()
    .split(/\s+/);
  for (const number of numbers) {
    const name = number.length <= 40 ? number : `${number.slice(0, 20)}… of ${number.length} characters`;
    it(`the number ${name}`, () =>
      assertSealedAlike(`{"a":[${number}],"b":{"c~/":${number}}}`).then(() => {}));
  }

  const bodies: [name: string, data: string, sealed: string][] = [
    ['nothing', '{}', '{}'],
    ['empty lists and objects', '{"a": [], "b": {}, "c": [[], {}]}', '{"a":[],"b":{},"c":[[],{}]}'],
    ['keys in jsonb’s order', '{"bb":1,"a":2,"é":3,"c":4}', '{"a":2,"c":4,"bb":1,"é":3}'],
    ['the last of equal keys', '{"a":1,"a":2}', '{"a":2}'],
    [
      'array indices first, by size',
      '{"a":1,"10":2,"9":{"b":1,"0":2},"4294967294":3,"4294967295":4,"01":5}',
      '{"9":{"0":2,"b":1},"10":2,"4294967294":3,"a":1,"01":5,"4294967295":4}',
    ],
    [
      'separators within strings',
      '{"a, b: c": ", : \\", \\\\", "d": ["{ : , [", "\\\\\\"x: 1.50, "]}',
      '{"d":["{ : , [","\\\\\\"x: 1.50, "],"a, b: c":", : \\", \\\\"}',
    ],
    ['numbers within strings', '{"a":"1.50, 12345678901234567890"}', '{"a":"1.50, 12345678901234567890"}'],
    ['a backslash as a key', '{"\\\\": 1, "\\"": 2, "\\n": 3}', '{"\\n":3,"\\"":2,"\\\\":1}'],
    ['escapes', '{"a":"\\u0041\\u00e9\\/\\b\\u001f\\u007f\\u2028"}', '{"a":"Aé/\\b\\u001f\u007f\u2028"}'],
    [
      'keys that only look forbidden',
      '{"x\\"__proto__":1,"a":"__proto__"}',
      '{"a":"__proto__","x\\"__proto__":1}',
    ],
    ['a harmless constructor', '{"constructor":[{"prototype":1}]}', '{"constructor":[{"prototype":1}]}'],
  ];
  for (const [name, data, sealed] of bodies) {
    it(name, async () => {
      const bySql = await sealedBySql(data);
      assert.equal(bySql?.sealed, `{"event_id":"evt_made","event":"${ANY}","timestamp":0,"data":${sealed}}`);
    });
  }

  it('the setting of a session by which floats are printed changes nothing', async (t) => {
    const client = await connect(t);
    await client.query('SET extra_float_digits = -15');
    const { rows } = await client.query(
      `SELECT posthorn.seal_data('{"a":0.30000000000000004,"b":1e-7}') AS data`,
    );
    assert.equal(rows[0].data, '{"a":0.30000000000000004,"b":1e-7}');
  });

  it('the stored body is the sealed one, with its id and the second in which it was published', async () => {
    const username = await account();
    const data = '{"z": 1.50, "ä": "\\u00e4", "list": [1, {"b": null}]}';
    for (const eventId of [null, 'given-1']) {
      const id = await publish({ username, data, eventId });
      assert.match(id, eventId === null ? /^evt_[0-9a-z]{26}$/ : /^given-1$/);
      const body = await bodyOf(username, id);
      const { timestamp } = JSON.parse(body) as { timestamp: number };
      assert.ok(Math.abs(timestamp * 1000 - (await database.now())) < 60_000);
      const expected = sealedByHttp('{"z": 1.50, "ä": "ä", "list": [1, {"b": null}]}', id, timestamp * 1000);
      assert.equal(body, expected);
    }
  });
});

// ---------------------------------------------------------------- storing

describe('publishing by SQL', () => {
  it('makes deliveries that a node claims, with the sealed body', async () => {
    const username = await account(2);
    const eventId = await publish({ username });
    const { leases } = await store.claim(WIDE_OFFER);
    const own = leases.filter((lease) => lease.username === username);
    assert.deepEqual(
      own.map((lease) => [lease.event.eventId, lease.event.event, lease.event.body]),
      Array.from({ length: 2 }, () => [
        eventId,
        ANY,
        sealedByHttp('{"a":1}', eventId, timestampOf(own[0]) * 1000),
      ]),
    );
    await store.release(leases);
  });

  it('takes named and default parameters, in a statement over many rows too', async () => {
    const username = await account();
    const rows = await database.database.query<{ id: string }>(
      `SELECT posthorn.publish(username => $1, event => '${ANY}', data => jsonb_build_object('n', n)) AS id
       FROM generate_series(1, 50) n`,
      [username],
    );
    assert.equal(new Set(rows.map(({ id }) => id)).size, 50);
    assert.deepEqual(await rowsOf(username), {
      event: 50,
      event_key: 50,
      queue: 50,
      delivery: 0,
      lane_call: 50,
    });
  });

  it('keeps the event of a suspended account, as over HTTP', async () => {
    const username = await account();
    await store.updateAccount(username, { status: 'suspended' });
    await publish({ username });
    assert.equal((await rowsOf(username)).queue, 1);
  });

  it('a transaction that is rolled back, or back to a savepoint, leaves nothing', async (t) => {
    const username = await account();
    const client = await connect(t);
    await client.query('BEGIN');
    await publish({ username, eventId: 'undone' }, client);
    assert.equal(
      (await client.query('SELECT FROM posthorn.queue WHERE username = $1', [username])).rowCount,
      1,
    );
    await client.query('ROLLBACK');
    assert.deepEqual(await rowsOf(username), NOTHING);

    await client.query('BEGIN');
    await client.query('SAVEPOINT here');
    await publish({ username, eventId: 'undone' }, client);
    await client.query('ROLLBACK TO SAVEPOINT here');
    await publish({ username, data: '{"kept":true}', eventId: 'undone' }, client);
    await client.query('COMMIT');
    assert.match(await bodyOf(username, 'undone'), /"kept":true/);
    assert.deepEqual(await rowsOf(username), { event: 1, event_key: 1, queue: 1, delivery: 0, lane_call: 1 });
  });

  it('keeps the trace that its transaction names, and none that is malformed', async (t) => {
    const username = await account();
    const client = await connect(t);
    const trace = '00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01';
    const cases: [parent: string, state: string, kept: string | null][] = [
      [trace, '', trace],
      [trace, 'vendor=1', `${trace} vendor=1`],
      [trace, 'vendor=ü', trace],
      [`${trace}-00`, '', null],
      [`00-${'0'.repeat(32)}-00f067aa0ba902b7-01`, '', null],
      ['', 'vendor=1', null],
    ];
    for (const [n, [parent, state]] of cases.entries()) {
      await client.query('BEGIN');
      await client.query(`SELECT set_config('posthorn.traceparent', $1, true)`, [parent]);
      await client.query(`SELECT set_config('posthorn.tracestate', $1, true)`, [state]);
      await publish({ username, eventId: `traced-${n}` }, client);
      await client.query('COMMIT');
    }
    await publish({ username, eventId: 'untraced' }, client);
    const rows = await database.database.query<{ trace: string | null }>(
      'SELECT trace FROM posthorn.event WHERE username = $1 ORDER BY seq',
      [username],
    );
    assert.deepEqual(
      rows.map((row) => row.trace),
      [...cases.map(([, , kept]) => kept), null],
    );
  });

  it('wakes the nodes once, at the commit, and only when there is something to deliver', async (t) => {
    const [username, lonely] = [await account(), await account(0)];
    const [listener, client] = [await connect(t), await connect(t)];
    const heard: string[] = [];
    let onHeard = () => {};
    listener.on('notification', ({ payload = '' }) => {
      // The store of this test speaks, too, and says who speaks.
      if ('node' in JSON.parse(payload)) return;
      heard.push(payload);
      onHeard();
    });
    await listener.query('LISTEN posthorn');
    await client.query('BEGIN');
    await publish({ username }, client);
    await client.query('ROLLBACK');
    await publish({ username: lonely }, client);
    await client.query('BEGIN');
    for (let n = 0; n < 3; n += 1) await publish({ username }, client);
    await client.query(`NOTIFY posthorn, '{"kind":"last"}'`);
    const { promise, resolve } = Promise.withResolvers<void>();
    onHeard = () => heard.length >= 2 && resolve();
    await client.query('COMMIT');
    await promise;
    assert.deepEqual(heard, ['{"kind":"due"}', '{"kind":"last"}']);
  });

  it('a transaction that stays open delays neither other publishes to the endpoint nor claims', async (t) => {
    const username = await account();
    const [idle, busy] = [await connect(t), await connect(t)];
    await busy.query(`SET lock_timeout = '5s'`);
    await idle.query('BEGIN');
    const late = await publish({ username, eventId: 'late' }, idle);

    const first = await publish({ username }, busy);
    assert.equal((await publishByHttp({ username, eventId: 'by-http' })).code, 0);
    assert.deepEqual((await claimedEventIds(username)).toSorted(), ['by-http', first].toSorted());
    await idle.query('COMMIT');
    assert.ok((await claimedEventIds(username)).includes(late));
  });
});

function timestampOf(lease: { event: { body: string } } | undefined): number {
  return (JSON.parse(lease?.event.body ?? '{}') as { timestamp: number }).timestamp;
}

// ---------------------------------------------------------------- repeats

describe('an event_id stands for one event, whichever door it comes through', () => {
  const AS_SQL_KEEPS_IT =
    '{"b": [1.50, {"y": null, "x": "ä"}], "aa": {"10": 1, "9": 2}, "\\uffff": 1, "\\ud800\\udc00": 2}';
  const SAME = '{"\\ud800\\udc00":2,"\\uffff":1,"aa":{"9":2,"10":1},"b":[15e-1,{"x":"\\u00e4","y":null}]}';
  const OTHER = '{"\\ud800\\udc00":2,"\\uffff":1,"aa":{"9":2,"10":1},"b":[{"x":"\\u00e4","y":null},15e-1]}';

  /** Publishes through a door: `stored` and `duplicate`, or `conflict`; the event's id beside it. */
  const doors = {
    SQL: async (input: SqlEvent): Promise<string> => {
      try {
        const before = await rowsOf(input.username);
        const id = await publish(input);
        const after = await rowsOf(input.username);
        assert.ok(input.eventId === undefined || id === input.eventId);
        return after.event === before.event ? 'duplicate' : 'stored';
      } catch (error) {
        assert.equal((error as pg.DatabaseError).code, 'PH008');
        assert.equal((error as pg.DatabaseError).column, 'event_id');
        return (error as Error).message;
      }
    },
    HTTP: async (input: SqlEvent): Promise<string> => {
      const answer = await publishByHttp(input);
      if (answer.status === 409) return answer.msg;
      return answer.data.duplicate ? 'duplicate' : 'stored';
    },
  };
  const conflict = (id: string) =>
    `event_id "${id}" is taken by an event with other content; an id stands for one event`;

  for (const first of ['SQL', 'HTTP'] as const) {
    for (const second of ['SQL', 'HTTP'] as const) {
      it(`first by ${first}, then by ${second}`, async () => {
        const username = await account();
        const eventId = 'order-17:paid';
        assert.equal(await doors[first]({ username, data: AS_SQL_KEEPS_IT, eventId }), 'stored');
        const rows = await rowsOf(username);
        assert.equal(await doors[second]({ username, data: AS_SQL_KEEPS_IT, eventId }), 'duplicate');
        assert.equal(await doors[second]({ username, data: SAME, eventId }), 'duplicate');
        assert.equal(await doors[second]({ username, data: OTHER, eventId }), conflict(eventId));
        assert.equal(
          await doors[second]({ username, event: VIDEO, data: VIDEO_DATA, eventId }),
          conflict(eventId),
        );
        assert.deepEqual(await rowsOf(username), rows);
        assert.equal(await doors[second]({ username: await account(), data: OTHER, eventId }), 'stored');
      });

      it(`first by ${first} without an id, then by ${second} with the one that was made`, async () => {
        const username = await account();
        const eventId =
          first === 'SQL'
            ? await publish({ username, data: AS_SQL_KEEPS_IT })
            : ((await publishByHttp({ username, data: AS_SQL_KEEPS_IT })).data.event_id as string);
        assert.equal(await doors[second]({ username, data: SAME, eventId }), 'duplicate');
        assert.equal(await doors[second]({ username, data: OTHER, eventId }), conflict(eventId));
      });
    }
  }

  it('what jsonb can’t hold is other content', async () => {
    const username = await account();
    for (const data of ['{"a":"\\u0000"}', '{"a":"\\ud800"}', '{"a":"\\\\u0000"}']) {
      const eventId = (await publishByHttp({ username, data })).data.event_id as string;
      assert.equal(await doors.SQL({ username, data: '{"a":"x"}', eventId }), conflict(eventId), data);
    }
    const eventId = (await publishByHttp({ username, data: '{"a":"\\\\ud800"}' })).data.event_id as string;
    assert.equal(await doors.SQL({ username, data: '{"a":"\\\\ud800"}', eventId }), 'duplicate');
  });

  it('property: both doors make the same fingerprint', async () => {
    await fc.assert(
      fc.asyncProperty(objectOf(anyValue), async (text) => {
        const bySql = await sealedBySql(text);
        if (bySql === null || !bySql.sealed.startsWith('{')) return;
        const { data } = parseJson(Buffer.from(`{"data":${bySql.jsonb}}`)) as { data: JsonObject };
        const context: SealContext = { nowMs: 0, makeId: () => 'x', maxBodyBytes: MAX_BODY_BYTES };
        const { fingerprint } = sealEvent({ username: 'u', event: ANY, data, event_id: 'x' }, context);
        const [row] = await database.database.query<{ fingerprint: string }>(
          `SELECT posthorn.fingerprint($1, posthorn.seal_data($2::jsonb)) AS fingerprint`,
          [ANY, text],
        );
        assert.equal(row?.fingerprint, fingerprint, bySql.jsonb);
      }),
      { numRuns: 300 },
    );
  });

  it('a repeat within the same transaction stores nothing more', async (t) => {
    const username = await account();
    const client = await connect(t);
    await client.query('BEGIN');
    assert.equal(await publish({ username, eventId: 'twice' }, client), 'twice');
    assert.equal(await publish({ username, eventId: 'twice' }, client), 'twice');
    await client.query('COMMIT');
    assert.deepEqual(await rowsOf(username), { event: 1, event_key: 1, queue: 1, delivery: 0, lane_call: 1 });
  });

  it('of 20 transactions at once that publish the same, one stores it and all are answered', async (t) => {
    const username = await account();
    const clients = await Promise.all(Array.from({ length: 20 }, () => connect(t)));
    const ids = await Promise.all(
      clients.map(async (client) => {
        await client.query('BEGIN');
        const id = await publish({ username, eventId: 'at-once' }, client);
        await client.query('COMMIT');
        return id;
      }),
    );
    assert.deepEqual(new Set(ids), new Set(['at-once']));
    assert.deepEqual(await rowsOf(username), { event: 1, event_key: 1, queue: 1, delivery: 0, lane_call: 1 });
  });

  it('of 20 transactions at once with other content each, one is stored and the rest refused', async (t) => {
    const username = await account();
    const clients = await Promise.all(Array.from({ length: 20 }, () => connect(t)));
    const codes = await Promise.all(
      clients.map((client, n) =>
        publish({ username, data: `{"n":${n}}`, eventId: 'at-once' }, client).then(
          () => 'stored',
          (error: pg.DatabaseError) => error.code,
        ),
      ),
    );
    assert.equal(codes.filter((code) => code === 'stored').length, 1);
    assert.equal(codes.filter((code) => code === 'PH008').length, 19);
  });

  it('a repeat waits for the transaction that has published first, and takes its place when that is undone', async (t) => {
    const username = await account();
    const [first, second] = [await connect(t), await connect(t)];
    await first.query('BEGIN');
    await publish({ username, data: '{"n":1}', eventId: 'disputed' }, first);
    const repeat = publish({ username, data: '{"n":2}', eventId: 'disputed' }, second);
    await first.query('ROLLBACK');
    assert.equal(await repeat, 'disputed');
    assert.match(await bodyOf(username, 'disputed'), /"n":2/);
  });

  it('in a transaction with one snapshot it is refused as every write there, to be tried again', async (t) => {
    const username = await account();
    const client = await connect(t);
    await client.query('BEGIN ISOLATION LEVEL REPEATABLE READ');
    await client.query('SELECT 1');
    await publish({ username, eventId: 'unseen' });
    assert.equal((await refusal(publish({ username, eventId: 'unseen' }, client))).code, '40001');
    await client.query('ROLLBACK');
    assert.equal(await publish({ username, eventId: 'unseen' }, client), 'unseen');
  });
});

const VIDEO_DATA = JSON.stringify({
  video_id: 'v7',
  project_id: 'v7',
  status: 'completed',
  duration: 12.5,
  created_at: 1_760_000_000,
  video_url: 'https://cdn.example.com/v7.mp4',
  cover_url: 'https://cdn.example.com/v7.jpg',
});

// ---------------------------------------------------------------- refusals

describe('what HTTP refuses is refused by SQL, with its sentence', () => {
  const nested = (levels: number) => '{"a":'.repeat(levels) + '1' + '}'.repeat(levels);
  const long = 'k'.repeat(300);
  const refusals: [name: string, input: Partial<SqlEvent>, code: string, column: string][] = [
    ['an unknown account', { username: 'nobody' }, 'PH007', 'username'],
    ['a malformed username', { username: 'a b' }, 'PH001', 'username'],
    ['a username that is a folder', { username: '..' }, 'PH001', 'username'],
    ['an empty username', { username: '' }, 'PH001', 'username'],
    ['an unknown type', { event: 'nope' }, 'PH006', 'event'],
    ['a type with quotes and line breaks', { event: 'a"},\n{"' }, 'PH006', 'event'],
    ['a type that is too long', { event: 'é'.repeat(129) }, 'PH001', 'event'],
    ['no data', { data: null }, 'PH001', 'data'],
    ['data that is null', { data: 'null' }, 'PH001', 'data'],
    ['data that is a list', { data: '[1]' }, 'PH001', 'data'],
    ['data that is a text', { data: '"{}"' }, 'PH001', 'data'],
    ['an empty id', { eventId: '' }, 'PH001', 'event_id'],
    ['a long id', { eventId: 'a'.repeat(129) }, 'PH001', 'event_id'],
    ['an id with a slash', { eventId: 'a/b' }, 'PH001', 'event_id'],
    ['an id with a line break', { eventId: 'a\n' }, 'PH001', 'event_id'],
    ['one level too many', { data: nested(100) }, 'PH002', 'data'],
    ['a thousand levels', { data: `{"a":${'['.repeat(1000)}${']'.repeat(1000)}}` }, 'PH002', 'data'],
    ['__proto__', { data: '{"a":[{"\\u005f_proto__":1}]}' }, 'PH003', 'data'],
    ['constructor.prototype', { data: '{"a":{"constructor":{"b":1,"prototype":{}}}}' }, 'PH003', 'data'],
    ['an integer beyond 2^53', { data: '{"a":[{"b~/c":9007199254740993}]}' }, 'PH004', 'data'],
    [
      'the first of two such numbers',
      { data: '{"a":[1,0.1234567890123456789],"bb":1e400}' },
      'PH004',
      'data',
    ],
    ['such a number far away', { data: `{"${long}":1e400}` }, 'PH004', 'data'],
    ['too large a body', { data: JSON.stringify({ a: 'é'.repeat(MAX_BODY_BYTES / 2) }) }, 'PH005', 'data'],
  ];
  for (const [name, input, code, column] of refusals) {
    it(name, async () => {
      const username = input.username ?? (await account());
      const bySql = await refusal(publish({ eventId: 'x', ...input, username }));
      const byHttp = await publishByHttp({ eventId: 'x', ...input, username });
      assert.notEqual(byHttp.code, 0, 'HTTP refuses it, too');
      // The body around data is another one there, and so is its size.
      const comparable = (text: string) => text.replace(/ has \d+ bytes/, ' has so many bytes');
      assert.deepEqual(
        { ...bySql, message: comparable(bySql.message) },
        { code, column, message: comparable(byHttp.msg) },
      );
      assert.deepEqual(await rowsOf(username), NOTHING);
    });
  }

  it('what is missing', async () => {
    for (const [column, values] of [
      ['username', [null, ANY]],
      ['event', ['nobody', null]],
    ] as const) {
      const answer = refusal(database.database.query(`SELECT posthorn.publish($1, $2, '{}')`, values));
      assert.deepEqual(await answer, { code: 'PH001', column, message: `${column} is required` });
    }
  });

  it('99 levels of data, which are 100 with the body, are published with and without an id', async () => {
    const username = await account();
    for (const data of [
      nested(99),
      `{"a":${'['.repeat(98)}${']'.repeat(98)}}`,
      nested(99).replaceAll('a', '7'),
    ]) {
      const id = await publish({ username, data });
      assert.equal((JSON.parse(await bodyOf(username, id)) as { event: string }).event, ANY);
      await publish({ username, data, eventId: unique('deep') });
    }
    const wide = JSON.stringify({ a: Array.from({ length: 500 }, () => [{}]) });
    await publish({ username, data: wide });
  });

  it('a deleted account is unknown', async () => {
    const username = await account();
    await store.deleteAccount(username);
    assert.equal((await refusal(publish({ username }))).code, 'PH007');
  });

  it('the limit of a body is the one that the nodes have set', async (t) => {
    const username = await account();
    t.after(() => store.setMeta('max_body_bytes', String(MAX_BODY_BYTES)));
    const body = await bodyOf(username, await publish({ username, eventId: 'sized' }));
    await store.setMeta('max_body_bytes', String(Buffer.byteLength(body)));
    assert.equal(await publish({ username, eventId: 'fits-' }), 'fits-');
    const { message } = await refusal(publish({ username, eventId: 'larger' }));
    assert.match(
      message,
      new RegExp(`has ${Buffer.byteLength(body) + 1} bytes.*limit is ${Buffer.byteLength(body)}:`),
    );
  });

  it('nothing is published into a database that is being moved to', async (t) => {
    const username = await account();
    t.after(() => database.database.query(`DELETE FROM posthorn.meta WHERE name = 'move'`));
    const mark = (finishedAt: number | null) =>
      store.setMeta('move', JSON.stringify({ rows: 1, finishedAt }));
    await mark(null);
    assert.equal((await refusal(publish({ username }))).code, 'PH009');
    await mark(1);
    await publish({ username });
  });

  it('every SQLSTATE of the migration is in the guide’s table, and no other', () => {
    const inSql = new Set(readFileSync(MIGRATION, 'utf8').match(/PH\d{3}(?=')/g));
    const inGuide = new Set(
      Array.from(readFileSync(GUIDE, 'utf8').matchAll(/^\| `(PH\d{3})`/gm), ([, code]) => code),
    );
    assert.ok(inSql.size >= 9);
    assert.deepEqual(inGuide, inSql);
  });
});

// ---------------------------------------------------------------- rights

describe('a role that may publish', () => {
  let role: string;
  let url: string;

  before(async () => {
    role = `Posthorn "test" ${process.pid}`;
    const quoted = pg.escapeIdentifier(role);
    await database.database.query(`CREATE ROLE ${quoted} LOGIN PASSWORD 'publisher'`);
    await database.database.query(`GRANT CREATE ON DATABASE ${database.database.name} TO ${quoted}`);
    await grantPublish(database.database.url, role, serviceActor('a test'));
    const own = new URL(database.database.url);
    own.username = encodeURIComponent(role);
    own.password = 'publisher';
    url = own.href;
  });
  after(async () => {
    const quoted = pg.escapeIdentifier(role);
    await database.database.query(`DROP OWNED BY ${quoted} CASCADE`);
    await database.database.query(`DROP ROLE ${quoted}`);
  });

  it('publishes', async (t) => {
    const username = await account();
    const id = await publish({ username, eventId: 'by-role' }, await connect(t, url));
    assert.match(await bodyOf(username, id), /"event_id":"by-role"/);
  });

  it('may call no other function, read no table, and take no number of a sequence', async (t) => {
    const client = await connect(t, url);
    const { rows: callable } = await client.query<{ name: string }>(
      `SELECT oid::regprocedure::text AS name FROM pg_proc
       WHERE pronamespace = 'posthorn'::regnamespace AND has_function_privilege(oid, 'EXECUTE')`,
    );
    assert.deepEqual(
      callable.map(({ name }) => name),
      ['posthorn.publish(text,text,jsonb,text)'],
    );
    const { rows: relations } = await client.query<{ name: string; kind: string }>(
      `SELECT oid::regclass::text AS name, relkind AS kind FROM pg_class
       WHERE relnamespace = 'posthorn'::regnamespace AND relkind IN ('r', 'p', 'S', 'v', 'm')`,
    );
    assert.ok(relations.length > 20);
    for (const { name, kind } of relations) {
      for (const statement of [
        `SELECT * FROM ${name}`,
        ...(kind === 'S' ? [`SELECT nextval('${name}')`] : [`DELETE FROM ${name}`, `TRUNCATE ${name}`]),
      ]) {
        assert.equal((await refusal(client.query(statement))).code, '42501', statement);
      }
    }
    for (const statement of [
      `SELECT posthorn.publish_batch('{}', '{}', '{}', '{}', '{}', '{}', '{}', 0, 0, 0, 0)`,
      `SELECT posthorn.claim(0, 1, 1, 1)`,
      `SELECT posthorn.seal_data('{}')`,
      'CREATE TABLE posthorn.mine (id int)',
      `ALTER FUNCTION posthorn.publish(text, text, jsonb, text) RESET ALL`,
      `CREATE OR REPLACE FUNCTION posthorn.publish(username text, event text, data jsonb, event_id text DEFAULT NULL)
         RETURNS text LANGUAGE sql AS 'SELECT NULL'`,
      `GRANT EXECUTE ON FUNCTION posthorn.now_ms() TO PUBLIC`,
    ]) {
      assert.equal((await refusal(client.query(statement))).code, '42501', statement);
    }
  });

  it('a role without the grant may not even publish', async (t) => {
    const other = pg.escapeIdentifier(`${role} other`);
    await database.database.query(`CREATE ROLE ${other} LOGIN PASSWORD 'publisher'`);
    t.after(() => database.database.query(`DROP ROLE ${other}`));
    const own = new URL(url);
    own.username = encodeURIComponent(`${role} other`);
    const client = new pg.Client(own.href);
    await client.connect();
    try {
      assert.equal((await refusal(publish({ username: 'alice' }, client))).code, '42501');
    } finally {
      await client.end();
    }
  });

  it('can’t slip in functions, operators, types or tables of its own', async (t) => {
    const username = await account();
    const client = await connect(t, url);
    await client.query('CREATE SCHEMA trap');
    // What would run in the place of each function and operator that publishing uses, with the rights of its owner.
    const { rows: used } = await database.database
      .query<{ name: string; arguments: string; result: string; kind: string }>(
        `SELECT quote_ident(p.proname) AS name, pg_get_function_identity_arguments(p.oid) AS arguments,
           pg_get_function_result(p.oid) AS result, p.prokind AS kind
         FROM pg_proc p WHERE p.pronamespace = 'pg_catalog'::regnamespace AND p.prokind = 'f' AND NOT p.proretset
           AND p.provariadic = 0
           AND p.proname IN ('length', 'strpos', 'replace', 'translate', 'octet_length', 'to_json', 'left', 'ltrim', 'rtrim',
             'split_part', 'trunc', 'abs', 'encode', 'sha256', 'convert_to', 'pg_notify', 'floor', 'extract', 'jsonb_typeof',
             'clock_timestamp', 'substr', 'gen_random_uuid', 'uuid_send', 'nextval', 'random', 'to_char', 'date_part')`,
      )
      .then((rows) => ({ rows }));
    assert.ok(used.length > 25);
    for (const { name, arguments: parameters, result } of used) {
      await client.query(
        `CREATE FUNCTION trap.${name}(${parameters}) RETURNS ${result} LANGUAGE plpgsql AS
         $$ BEGIN RAISE EXCEPTION 'trapped % in ${name}', current_user; END $$`,
      );
    }
    for (const [left, operator, right, result] of [
      ['text', '||', 'text', 'text'],
      ['text', '=', 'text', 'boolean'],
      ['text', '<>', 'text', 'boolean'],
      ['text', '!~', 'text', 'boolean'],
      ['text', '~', 'text', 'boolean'],
      ['bigint', '/', 'integer', 'bigint'],
      ['bigint', '>>', 'integer', 'bigint'],
      ['json', '#>>', 'text[]', 'text'],
      ['json', '->>', 'integer', 'text'],
      ['integer', '>', 'integer', 'boolean'],
      ['integer', '>', 'bigint', 'boolean'],
    ]) {
      const name = unique('operator_');
      await client.query(
        `CREATE FUNCTION trap.${name}(${left}, ${right}) RETURNS ${result} LANGUAGE plpgsql AS
         $$ BEGIN RAISE EXCEPTION 'trapped %', current_user; END $$`,
      );
      await client.query(
        `CREATE OPERATOR trap.${operator} (FUNCTION = trap.${name}, LEFTARG = ${left}, RIGHTARG = ${right})`,
      );
    }
    await client.query(`
      CREATE DOMAIN trap.text AS pg_catalog.text CHECK (VALUE IS NULL);
      CREATE DOMAIN pg_temp.bigint AS pg_catalog.int8 CHECK (VALUE IS NULL);
      CREATE TEMP TABLE event_type (name pg_catalog.text);
      INSERT INTO event_type VALUES ('smuggled');
      CREATE TEMP TABLE account AS SELECT 'smuggled'::pg_catalog.text AS username, 'active'::pg_catalog.text AS status;
      CREATE TEMP TABLE meta AS SELECT 'max_body_bytes'::pg_catalog.text AS name, '1'::pg_catalog.text AS value;
      SET search_path = trap, pg_temp, pg_catalog`);
    await refusal(client.query(`SELECT length('a'::pg_catalog.text)`)).then(({ message }) =>
      assert.match(message, /^trapped/, 'the traps work'),
    );
    await client.query(`SET extra_float_digits = -15`);
    await client.query(`SET standard_conforming_strings = off`).catch(() => {}); // gone in newer servers
    await client.query(`SET backslash_quote = on`);
    const data = '{"a": 0.30000000000000004, "b\\\\": "\\"x", "7": [1.50, 9007199254740991]}';
    const call = (values: string[]) =>
      client.query({ text: 'SELECT posthorn.publish($1, $2, $3, $4) AS id', values });
    const { rows } = await call([username, ANY, data, 'trapped-1']);
    assert.equal(rows[0].id, 'trapped-1');
    assert.match(
      await bodyOf(username, 'trapped-1'),
      /"data":\{"7":\[1\.5,9007199254740991\],"a":0\.30000000000000004,"b\\\\":"\\"x"\}\}$/,
    );
    assert.equal((await call([username, ANY, data, 'trapped-1'])).rows[0].id, 'trapped-1');
    assert.equal((await refusal(call([username, 'smuggled', '{}', 'a']))).code, 'PH006');
    assert.equal((await refusal(call(['smuggled', ANY, '{}', 'a']))).code, 'PH007');
    assert.equal((await refusal(call([username, ANY, '{"a":1e400}', 'a']))).code, 'PH004');
    assert.equal((await refusal(call([username, ANY, '{"__proto__":1}', 'a']))).code, 'PH003');
  });

  it('gets nowhere with crafted names', async (t) => {
    const username = await account();
    const client = await connect(t, url);
    const crafted = [
      `'; DROP TABLE posthorn.event; --`,
      `$$ || current_user || $$`,
      `"}],"x":[{"`,
      `\\'; SELECT 1; --`,
    ];
    for (const text of crafted) {
      assert.equal((await refusal(publish({ username: text }, client))).code, 'PH001');
      assert.equal((await refusal(publish({ username, event: text }, client))).code, 'PH006');
      assert.equal((await refusal(publish({ username, eventId: text }, client))).code, 'PH001');
      const id = await publish({ username, data: JSON.stringify({ [text]: text }) }, client);
      assert.deepEqual((JSON.parse(await bodyOf(username, id)) as { data: object }).data, { [text]: text });
    }
  });

  it('is made by posthorn migrate --grant-publish', async (t) => {
    const granted = `${role} granted`;
    const quoted = pg.escapeIdentifier(granted);
    const run = (...args: string[]) =>
      callCli(['migrate', '--database-url', database.database.url, '--grant-publish', granted, ...args]);
    const missing = await run();
    assert.equal(missing.code, 1);
    assert.match(missing.stderr, /there is no role .* granted.*: create it first/);
    await database.database.query(`CREATE ROLE ${quoted}`);
    t.after(async () => {
      await database.database.query(`DROP OWNED BY ${quoted}`);
      await database.database.query(`DROP ROLE ${quoted}`);
    });
    const done = await run();
    assert.deepEqual([done.code, done.stderr], [0, '']);
    assert.ok(done.stdout.endsWith(`The role ${granted} may publish by SQL.\n`), done.stdout);
    const again = await run('--json');
    assert.equal((JSON.parse(again.stdout) as { granted_publish: string }).granted_publish, granted);
    const [row] = await database.database.query<{ may: boolean }>(
      `SELECT has_function_privilege($1, 'posthorn.publish(text, text, jsonb, text)', 'EXECUTE') AS may`,
      [granted],
    );
    assert.equal(row?.may, true);
  });

  it('is refused on SQLite', async () => {
    const outcome = await callCli([
      'migrate',
      '--database-url',
      'sqlite:./none.db',
      '--grant-publish',
      'app',
    ]);
    assert.equal(outcome.code, 2);
    assert.match(outcome.stderr, /--grant-publish is for PostgreSQL/);
  });
});

it('nothing of the schema is open to everybody', async () => {
  const rows = await database.database.query<{ name: string }>(
    `SELECT p.oid::regprocedure::text AS name FROM pg_proc p, aclexplode(coalesce(p.proacl, acldefault('f', p.proowner))) a
     WHERE p.pronamespace = 'posthorn'::regnamespace AND a.grantee = 0
     UNION ALL
     SELECT c.oid::regclass::text FROM pg_class c, aclexplode(c.relacl) a
     WHERE c.relnamespace = 'posthorn'::regnamespace AND a.grantee = 0
     UNION ALL
     SELECT nspname FROM pg_namespace n, aclexplode(n.nspacl) a WHERE nspname = 'posthorn' AND a.grantee = 0`,
  );
  assert.deepEqual(rows, []);
});
