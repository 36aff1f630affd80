/** What a list may be asked to go on from: only what it gave out itself, and never into another account. */
import assert from 'node:assert/strict';
import { after, before, describe, it } from 'node:test';
import fc from 'fast-check';

import { type TestApp, testApp } from '../support/app.ts';
import { PostgresEngine } from '../support/postgres-store.ts';

const EVENTS = 5;
const LISTS = [
  ['/v2/deliveries', 'deliveries', 'delivery_id'],
  ['/v2/event_log', 'events', 'event_id'],
  ['/v2/audit', 'entries', 'audit_id'],
] as const;

type Row = Record<string, unknown>;
interface Page {
  status: number;
  code: number;
  msg: string;
  rows: Row[];
  next: string | null;
}

/** As a list would write it. */
function forged(list: string, key: readonly unknown[]): string {
  return Buffer.from(JSON.stringify([list, ...key])).toString('base64url');
}

function suite(engine: string, open: () => Promise<TestApp>): void {
  describe(`a cursor on ${engine}`, () => {
    let api: TestApp;
    let alice: { key: string };
    let mallory: { key: string };

    before(async () => {
      api = await open();
      [alice, mallory] = [await api.createAccount(), await api.createAccount()];
      for (const [name, { key }] of Object.entries({ alice, mallory })) {
        const body = { url: `https://example.com/${name}`, events: ['generated_video_success'] };
        const endpoint = await api.request('POST', '/v2/endpoint', { key, body });
        for (let n = 0; n < EVENTS; n += 1) {
          const path = `/v2/endpoint/${endpoint.data.endpoint_id}/test`;
          const test = await api.request('POST', path, { key, body: { event: 'generated_video_success' } });
          assert.equal(test.code, 0, test.text);
          // For the audit log.
          await api.request('POST', '/v2/api_key', { key, body: { name: `spare ${n}` } });
        }
      }
    });
    after(() => api.close());

    async function page(list: (typeof LISTS)[number], key: string, query: string): Promise<Page> {
      const { status, code, msg, data } = await api.request('GET', `${list[0]}?${query}`, { key });
      return { status, code, msg, rows: data?.[list[1]] ?? [], next: data?.next_cursor ?? null };
    }

    /** Everything of an account, as one page. */
    async function whole(list: (typeof LISTS)[number], key: string): Promise<string[]> {
      return (await page(list, key, 'limit=200')).rows.map((row) => JSON.stringify(row));
    }

    it('of the audit log is refused by the event log, whose cursors are made of the same', async () => {
      const [, events, audit] = LISTS;
      const { next } = await page(audit, alice.key, 'limit=1');
      const { status, code, msg } = await page(events, alice.key, `cursor=${next}`);
      assert.deepEqual([status, code], [400, 40000]);
      assert.match(msg, /cursor is not one of this list/);
    });

    for (const list of LISTS) {
      it(`that nobody gave out is refused by ${list[0]}, or leads to rows of the own account alone`, async () => {
        const own = new Set(await whole(list, alice.key));
        const { next } = await page(list, alice.key, 'limit=1');
        assert.ok(next !== null && own.size > 1);
        const [name, ...parts] = JSON.parse(Buffer.from(next, 'base64url').toString()) as [
          string,
          ...unknown[],
        ];
        const part = fc.oneof(
          fc.string(),
          fc.integer(),
          fc.double(),
          fc.maxSafeInteger(),
          fc.constantFrom(...parts, null, true, [], {}, '', '\u0000', "'", -1, 2 ** 53, 1e300),
        );
        const sized = fc.array(part, { minLength: parts.length, maxLength: parts.length });
        const encoded = fc.oneof(sized, fc.array(part, { maxLength: 4 })).map((key) => forged(name, key));
        const mutated = fc
          .tuple(fc.nat(next.length - 1), fc.string({ maxLength: 3 }))
          .map(([at, put]) => next.slice(0, at) + put + next.slice(at + 1));
        let accepted = 0;
        await fc.assert(
          fc.asyncProperty(fc.oneof(encoded, mutated, fc.string(), fc.base64String()), async (cursor) => {
            fc.pre(cursor.isWellFormed());
            const answer = await page(list, alice.key, `cursor=${encodeURIComponent(cursor)}`);
            if (answer.code !== 0) {
              assert.deepEqual([answer.status, answer.code], [400, 40000], answer.msg);
              assert.match(answer.msg, /cursor/);
              return;
            }
            accepted += 1;
            for (const row of answer.rows) assert.ok(own.has(JSON.stringify(row)), JSON.stringify(row));
          }),
          {
            numRuns: 150,
            examples: [
              [
                forged(
                  name,
                  parts.map(() => 'a\0'),
                ),
              ],
              [
                forged(
                  name,
                  parts.map(() => 1e300),
                ),
              ],
            ],
          },
        );
        assert.ok(accepted > 0, 'some of them are well formed');
      });

      it(`of another account leads ${list[0]} to rows of the own account alone`, async () => {
        const own = await whole(list, mallory.key);
        const stolen = (await page(list, alice.key, 'limit=2')).next;
        const { code, rows } = await page(list, mallory.key, `cursor=${stolen}`);
        assert.equal(code, 0);
        for (const row of rows) assert.ok(own.includes(JSON.stringify(row)), JSON.stringify(row));
      });
    }
  });
}

suite('SQLite', () => testApp());

const postgres = new PostgresEngine();
after(() => postgres.dispose());
suite('PostgreSQL', async () => {
  const database = await postgres.createDatabase();
  return testApp({ openStore: () => database.open() });
});
