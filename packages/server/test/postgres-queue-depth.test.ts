/** How PostgreSQL's store looks at a queue that is too long to be counted at every scrape of the metrics. */
import assert from 'node:assert/strict';
import { after, describe, it } from 'node:test';
import { PostgresEngine } from './support/postgres-store.ts';
import { HOUR_MS, MINUTE_MS, newEndpoint, SECOND_MS, unique, VIDEO } from './support/store-fixtures.ts';

const engine = new PostgresEngine();
after(() => engine.dispose());

const LONG = 120_000;

function assertWithin5Percent(actual: number, expected: number, what: string): void {
  assert.ok(Math.abs(actual - expected) <= 0.05 * expected, `${what}: ${actual}, expected ${expected}`);
}

describe('store: PostgreSQL, a long queue', () => {
  it('is estimated within 5 %, the age of its oldest due delivery exactly, and alike at each look', async (t) => {
    const database = await engine.createDatabase();
    const store = await database.open();
    t.after(async () => {
      await store.close();
      await database.remove();
    });
    const username = unique('user');
    await store.createAccount({ username, metadata: null });
    const { endpointId } = await store.addEndpoint(newEndpoint(username), 20);
    // Of each eight one is leased, two are due, and five wait for their time.
    await database.database.query(
      `WITH t AS MATERIALIZED (SELECT posthorn.now_ms() AS now)
       INSERT INTO posthorn.queue (username, delivery_id, endpoint_id, event_id, event, event_at, event_seq, attempts,
                                   failures, manual, pinned, created_at, due_at, leased, leased_until)
       SELECT $1, 'dlv_' || lpad(n::text, 12, '0'), $2, 'evt_' || n, '${VIDEO}', t.now, n, 0, 0, false, false, t.now,
              CASE WHEN n % 8 < 2 THEN t.now - ${MINUTE_MS} WHEN n % 8 = 7 THEN t.now ELSE t.now + ${HOUR_MS} END,
              n % 8 = 7, CASE WHEN n % 8 = 7 THEN t.now + ${HOUR_MS} END
       FROM t, generate_series(1, $3::integer) n`,
      [username, endpointId, LONG],
    );
    await database.database.query(
      `UPDATE posthorn.queue SET due_at = due_at - ${HOUR_MS} WHERE username = $1 AND delivery_id = $2`,
      [username, `dlv_${'65537'.padStart(12, '0')}`],
    );
    await database.database.query('UPDATE posthorn.lane SET next_at = posthorn.now_ms()');

    const depth = await store.queueDepth();
    assertWithin5Percent(depth.scheduled, (LONG * 5) / 8, 'scheduled');
    assertWithin5Percent(depth.due, (LONG * 2) / 8, 'due');
    assertWithin5Percent(depth.leased, LONG / 8, 'leased');
    const oldest = HOUR_MS + MINUTE_MS;
    assert.ok(
      depth.oldestDueMs >= oldest && depth.oldestDueMs < oldest + 30 * SECOND_MS,
      `the oldest has been due for ${depth.oldestDueMs} ms`,
    );
    const { oldestDueMs: _oldest, ...counts } = await store.queueDepth();
    assert.deepEqual(counts, { scheduled: depth.scheduled, due: depth.due, leased: depth.leased });
  });
});
