/** What a replay reads of PostgreSQL's tables, counted in pages: what waits for its endpoint must not make it slow. */
import assert from 'node:assert/strict';
import { after, it } from 'node:test';
import { PostgresEngine } from './support/postgres-store.ts';
import { newEndpoint, newEvent, unique } from './support/store-fixtures.ts';

const engine = new PostgresEngine();
after(() => engine.dispose());

const WAITING = 2_000;

it('looks for an event in the queue by its own key, not among all that waits for the endpoint', async (t) => {
  const database = await engine.createDatabase();
  t.after(() => database.remove());
  const username = unique('user');
  const store = await database.open();
  await store.createAccount({ username, metadata: null });
  const { endpointId } = await store.addEndpoint(newEndpoint(username), 20);
  await store.publish(
    Array.from({ length: WAITING }, () => newEvent(username)),
    null,
  );
  await store.close();
  // Each due at its own time, as in the lane of an endpoint that fails.
  await database.database.query('UPDATE posthorn.queue SET due_at = due_at + event_seq');

  /** The server counts them when a session ends. */
  const read = async (index: string): Promise<number> => {
    const [row] = await database.database.query<{ n: string }>(
      'SELECT sum(idx_blks_hit + idx_blks_read) AS n FROM pg_statio_user_indexes WHERE indexrelname = $1',
      [index],
    );
    return Number(row?.n);
  };
  const before = await read('queue_lane');
  const other = await database.open();
  const until = (await database.now()) + 1;
  for (const kind of ['missing', 'all'] as const) {
    assert.deepEqual(await other.countReplay({ username, endpointId, kind, since: 0, until }), {
      matched: 0,
      isExact: true,
    });
  }
  await other.close();
  const pages = (await read('queue_lane')) - before;
  t.diagnostic(`${pages} pages, before ${before}`);
  assert.ok(pages <= 2 * WAITING, `${pages} pages of the lane for ${WAITING} events, twice`);
});
