/** Moves real SQLite files to real PostgreSQL databases, and reads both sides through their stores. */
import assert from 'node:assert/strict';
import { createHash } from 'node:crypto';
import { EventEmitter, once } from 'node:events';
import { copyFile, readFile, writeFile } from 'node:fs/promises';
import { createServer, type IncomingHttpHeaders } from 'node:http';
import type { AddressInfo } from 'node:net';
import { join } from 'node:path';
import { text as textOf } from 'node:stream/consumers';
import { after, before, describe, it, type TestContext } from 'node:test';
import { setImmediate as nextTurn } from 'node:timers/promises';
import { Webhook } from 'standardwebhooks';
import type { Delivery } from '../src/model.ts';
import { moveToPostgres } from '../src/store/move/index.ts';
import { MOVED_TABLES } from '../src/store/move/tables.ts';
import { openPostgresStore } from '../src/store/postgres/index.ts';
import { openDatabase } from '../src/store/sqlite/database.ts';
import { openSqliteStore } from '../src/store/sqlite/index.ts';
import type { Lease, Store } from '../src/store/store.ts';
import { callCli, type RunningService, runCli, startCli, startService } from './cli/harness.ts';
import { assertRefused } from './store-suite/bench.ts';
import { makeSource, type SourceNames } from './support/move-source.ts';
import { createDatabase, type PostgresDatabase } from './support/postgres.ts';
import { Cable } from './support/postgres-cable.ts';
import { DAY_MS, deliveredAt, listAll, newEvent, VIDEO } from './support/store-fixtures.ts';
import { type TempDir, tempDir } from './support/tempdir.ts';

let dir: TempDir;
/** As a killed service left it. Never opened: tests work on copies. */
let original: string;
let names: SourceNames;
/** What the source answers. */
let expected: Picture;

before(async () => {
  dir = await tempDir();
  original = join(dir.path, 'original.db');
  names = await makeSource(join(dir.path, 'work.db'), original);
  const store = await openSqliteStore({ path: await copyOfSource() });
  try {
    expected = await pictureOf(store);
  } finally {
    await store.close();
  }
});
after(() => dir.remove());

let copies = 0;

async function copyOfSource(): Promise<string> {
  copies += 1;
  const path = join(dir.path, `copy-${copies}.db`);
  await copyFile(original, path);
  await copyFile(`${original}-wal`, `${path}-wal`);
  return path;
}

async function emptyTarget(t: TestContext): Promise<PostgresDatabase> {
  const database = await createDatabase();
  t.after(() => database.drop());
  return database;
}

async function readTarget<T>(target: PostgresDatabase, read: (store: Store) => Promise<T>): Promise<T> {
  const store = await openPostgresStore({ url: target.url });
  try {
    return await read(store);
  } finally {
    await store.close();
  }
}

async function isFinished(target: PostgresDatabase): Promise<boolean> {
  const [row] = await target.query<{ value: string }>(`SELECT value FROM posthorn.meta WHERE name = 'move'`);
  return (JSON.parse(row?.value ?? '{}') as { finishedAt?: number | null }).finishedAt != null;
}

async function fileHash(path: string): Promise<string> {
  return createHash('sha256')
    .update(await readFile(path))
    .digest('hex');
}

// ---------------------------------------------------------------- what a store answers

/** Of statistics; begins with an hour. */
const RANGE = { since: Date.UTC(2020, 0, 1), until: Date.UTC(2100, 0, 1) };

type Picture = Awaited<ReturnType<typeof pictureOf>>;

/** Everything that a store tells of its records, through its contract. */
async function pictureOf(store: Store) {
  const { accounts, replays, keys, endpoints } = names;
  const { since, until } = RANGE;
  const perAccount = async (username: string) => {
    const deliveries = await listAll((page) => store.listDeliveries(username, {}, page), 37);
    const events = await listAll((page) => store.listEvents(username, {}, page), 41);
    return {
      account: await store.getAccount(username),
      keys: await store.listKeys(username),
      endpoints: await store.listEndpoints(username),
      deliveries,
      details: await inTurn(deliveries, ({ deliveryId }) => store.getDelivery(username, deliveryId)),
      dead: await listAll((page) => store.listDeliveries(username, { status: 'dead' }, page)),
      ofMain: await listAll((page) => store.listDeliveries(username, { endpointId: endpoints.main }, page)),
      events,
      eventDetails: await inTurn(events, ({ eventId }) => store.getEvent(username, eventId)),
      stats: await inTurn([null, 'endpoint', 'event', 'status'] as const, (by) =>
        store.stats({ username, since, until, intervalMs: 60_000, by }),
      ),
    };
  };
  return {
    meta: await store.getMeta('encryption_key_id'),
    audit: await listAll((page) => store.listAudit({}, page)),
    accounts: await listAll((page) => store.listAccounts(page), 2),
    operatorKeys: await store.listKeys(null),
    identities: await inTurn(keys, (hash) => store.findKey(hash)),
    eventTypes: await store.listEventTypes(),
    perAccount: await inTurn(Object.values(accounts), perAccount),
    replays: await inTurn(Object.values(replays), (id) => store.getReplay(accounts.busy, id)),
    stats: await store.stats({ username: null, since, until, intervalMs: 3_600_000, by: 'status' }),
  };
}

async function inTurn<T, U>(items: readonly T[], ask: (item: T) => Promise<U>): Promise<U[]> {
  const answers: U[] = [];
  for (const item of items) answers.push(await ask(item));
  return answers;
}

/** What a dispatcher would work on, without what is made anew at each claim. */
function workOf(leases: readonly Lease[]) {
  return leases
    .map(({ token: _token, leasedUntil: _until, ...work }) => work)
    .sort((a, b) => (a.deliveryId < b.deliveryId ? -1 : 1));
}

async function claimAll(store: Store): Promise<Lease[]> {
  const leases: Lease[] = [];
  for (;;) {
    const claimed = await store.claim({ limit: 500, laneLimit: 10_000, leaseMs: DAY_MS });
    if (claimed.leases.length === 0) return leases;
    leases.push(...claimed.leases);
  }
}

/** Runs all replays to their ends; answers what then is pending, by what it is for. */
async function pendingAfterReplays(store: Store): Promise<string[]> {
  for (let running = true; running; ) ({ running } = await store.advanceReplays(13, 100_000));
  const pending = await listAll((page) =>
    store.listDeliveries(names.accounts.busy, { status: 'pending' }, page),
  );
  return pending
    .map(({ eventId, endpointId, attempts }: Delivery) => `${eventId} ${endpointId} ${attempts}`)
    .sort();
}

// ---------------------------------------------------------------- tests

describe('moving from SQLite to PostgreSQL', () => {
  it('brings every record over, as the source tells it, and leaves the source as it is', async (t) => {
    const path = await copyOfSource();
    const target = await emptyTarget(t);
    const before = [await fileHash(path), await fileHash(`${path}-wal`)];
    const report = await moveToPostgres({ from: path, to: target.url });
    assert.deepEqual([await fileHash(path), await fileHash(`${path}-wal`)], before);
    assert.equal(report.outcome, 'moved');
    assert.ok(report.tables.every(({ same }) => same));
    const counts = new Map(report.tables.map(({ table, targetRows }) => [table, targetRows]));
    for (const [table, rows] of counts) assert.ok(rows > 0, `the source has no ${table}`);
    const picture = await readTarget(target, pictureOf);
    assert.deepEqual(picture, expected);
    const statuses = new Set(
      picture.perAccount.flatMap(({ deliveries }) => deliveries.map(({ status }) => status)),
    );
    assert.deepEqual([...statuses].sort(), ['cancelled', 'dead', 'delivered', 'pending']);
  });

  it('goes on where the source stopped: the same deliveries are claimed, replays end with the same', async (t) => {
    const path = await copyOfSource();
    const target = await emptyTarget(t);
    await moveToPostgres({ from: path, to: target.url });

    const source = await openSqliteStore({ path });
    t.after(() => source.close());
    assert.ok((await source.recover()) > 0, 'the source has leases');
    const store = await openPostgresStore({ url: target.url });
    t.after(() => store.close());
    assert.equal(await store.recover(), 0, 'no lease came over');
    const { due, scheduled } = await source.queueDepth();
    const depth = await store.queueDepth();
    assert.deepEqual([depth.due, depth.scheduled, depth.leased], [due, scheduled, 0]);
    assert.ok(due > 0 && scheduled > 0);

    const [here, there] = [await claimAll(source), await claimAll(store)];
    assert.deepEqual(workOf(there), workOf(here));
    assert.ok(here.length > 10);
    assert.ok(here.every(({ username }) => username !== names.accounts.suspended));
    const deliver = (lease: Lease) => deliveredAt(lease, Date.now());
    await source.settle(here.map(deliver), null);
    await store.settle(there.map(deliver), null);
    // What a replay has made and was delivered since must not be made once more.
    const pending = await pendingAfterReplays(source);
    assert.deepEqual(await pendingAfterReplays(store), pending);
    assert.ok(pending.length > 10);

    await source.updateAccount(names.accounts.suspended, { status: 'active' });
    await store.updateAccount(names.accounts.suspended, { status: 'active' });
    const ofSleeper = (leases: Lease[]) =>
      workOf(leases.filter(({ username }) => username === names.accounts.suspended));
    const woken = ofSleeper(await claimAll(store));
    assert.ok(woken.length > 0, 'a suspended account wakes up with what it had');
    assert.deepEqual(woken, ofSleeper(await claimAll(source)));
  });

  it('keeps what clients hold: repeats are known, cursors go on, new records come after the old ones', async (t) => {
    const path = await copyOfSource();
    const target = await emptyTarget(t);
    await moveToPostgres({ from: path, to: target.url });
    const source = await openSqliteStore({ path });
    t.after(() => source.close());
    const store = await openPostgresStore({ url: target.url });
    t.after(() => store.close());
    const { busy } = names.accounts;

    const repeat = newEvent(busy, { eventId: names.repeated, data: { b: 2, a: 1 } });
    const other = newEvent(busy, { eventId: names.repeated, data: { b: 3 } });
    const outcomes = async (on: Store) => (await on.publish([repeat, other], null)).results;
    assert.deepEqual(await outcomes(store), await outcomes(source));

    const { nextCursor: events } = await source.listEvents(busy, {}, { limit: 7, cursor: null });
    const { nextCursor: deliveries } = await source.listDeliveries(busy, {}, { limit: 7, cursor: null });
    assert.deepEqual(
      await store.listEvents(busy, {}, { limit: 9, cursor: events }),
      await source.listEvents(busy, {}, { limit: 9, cursor: events }),
    );
    assert.deepEqual(
      await store.listDeliveries(busy, {}, { limit: 9, cursor: deliveries }),
      await source.listDeliveries(busy, {}, { limit: 9, cursor: deliveries }),
    );

    const [published] = (await store.publish([newEvent(busy, { event: VIDEO })], null)).results;
    assert.equal(published?.outcome, 'stored');
    const { items } = await store.listEvents(busy, {}, { limit: 1, cursor: null });
    assert.equal(items[0]?.eventId, published.eventId);
    const seqs = await target.query('SELECT seq FROM posthorn.event GROUP BY seq HAVING count(*) > 1');
    assert.deepEqual(seqs, []);
    await store.putEventType({ ...(expected.eventTypes[0] as never as object), name: 'order.new' } as never);
    assert.equal((await store.listEventTypes()).at(-1)?.name, 'order.new');
  });

  it('puts the history into partitions of its days, which the purge later drops', async (t) => {
    const target = await emptyTarget(t);
    await moveToPostgres({ from: await copyOfSource(), to: target.url });
    for (const table of ['event', 'delivery', 'attempt']) {
      const [strays] = await target.query<{ n: string }>(
        `SELECT count(*) AS n FROM posthorn.${table}_default`,
      );
      assert.equal(strays?.n, '0', `${table}_default`);
    }
    await readTarget(target, async (store) => {
      const everything = Date.now() + DAY_MS;
      for (let more = true; more; ) ({ more } = await store.purge(everything, 10_000));
      assert.deepEqual(await listAll((page) => store.listEvents(names.accounts.quiet, {}, page)), []);
      await assertRefused(
        'conflict',
        store.createAccount({ username: names.accounts.quiet, metadata: null }),
      );
      // The deleted account is gone for good: its name is free.
      await store.createAccount({ username: names.accounts.deleted, metadata: null });
    });
  });

  for (const seed of [1, 2]) {
    it(`goes on after its connection was cut at random moments (seed ${seed})`, async (t) => {
      const random = randomOf(seed);
      const path = await copyOfSource();
      const target = await emptyTarget(t);
      const cable = await Cable.lay(target.url);
      t.after(() => cable.remove());
      let cuts = 0;
      let report: Awaited<ReturnType<typeof moveToPostgres>> | null = null;
      while (report === null) {
        assert.ok(cuts < 200, 'no run gets any further');
        let stepsLeft = 1 + Math.floor(random() * 80);
        const cut = async () => {
          const ports = cable.cut();
          // The server hears of a dead client when it next writes to it.
          await target.query(
            `SELECT pg_terminate_backend(pid, 5000) FROM pg_stat_activity
             WHERE datname = current_database() AND client_port = ANY ($1)`,
            [ports],
          );
        };
        const cutting: Promise<void>[] = [];
        try {
          report = await moveToPostgres({
            from: path,
            to: cable.url,
            limits: { rows: 1 + Math.floor(random() * 9), chars: 20_000 },
            onProgress() {
              stepsLeft -= 1;
              if (stepsLeft !== 0) return;
              // The next batch is on its way by then, or just about to be sent.
              cutting.push(random() < 0.5 ? cut() : nextTurn().then(cut));
            },
          });
        } catch (error) {
          assert.ok(cutting.length > 0, `failed without a cut: ${String(error)}`);
          await assertRefused('unavailable', Promise.reject(error));
          await Promise.all(cutting);
          // The very last commit may have been made, only its answer got lost.
          if (!(await isFinished(target))) {
            const refusal = await assertRefused('unavailable', openPostgresStore({ url: target.url }));
            assert.match(refusal.message, /unfinished move/);
          }
        }
        await Promise.all(cutting);
        cuts += cutting.length;
        cable.mend();
      }
      assert.ok(cuts >= 3, `only ${cuts} cuts`);
      assert.match(report.outcome, /^(moved|already_moved)$/);
      assert.deepEqual(await readTarget(target, pictureOf), expected);
    });
  }
});

describe('what a move refuses', () => {
  it('a second move of a copy of the same file at the same time: one goes on', async (t) => {
    const target = await emptyTarget(t);
    const [first, second] = [await copyOfSource(), await copyOfSource()];
    const limits = { rows: 3, chars: 100_000 };
    let rival: Promise<PromiseSettledResult<unknown>[]> | undefined;
    const move = moveToPostgres({
      from: first,
      to: target.url,
      limits,
      onProgress() {
        rival ??= Promise.allSettled([moveToPostgres({ from: second, to: target.url, limits })]);
      },
    });
    const outcomes = [...(await Promise.allSettled([move])), ...((await rival) ?? [])];
    const failures = outcomes.flatMap((outcome) => (outcome.status === 'rejected' ? [outcome.reason] : []));
    assert.equal(failures.length, 1);
    const refusal = await assertRefused('conflict', Promise.reject(failures[0]));
    assert.match(refusal.message, /gone on meanwhile without this process/);
    assert.deepEqual(await readTarget(target, pictureOf), expected);
  });

  it('a target with data of another service, which stays as it is', async (t) => {
    const target = await emptyTarget(t);
    await readTarget(target, (store) => store.createAccount({ username: 'somebody', metadata: null }));
    await target.query(`UPDATE posthorn.node SET seen_at = '-infinity'`);
    const refusal = await assertRefused(
      'conflict',
      moveToPostgres({ from: await copyOfSource(), to: target.url }),
    );
    assert.match(
      refusal.message,
      /holds data of another service already \(account\).*DROP SCHEMA posthorn CASCADE/,
    );
    assert.doesNotMatch(refusal.message, /posthorn_test:/, 'no password');
    await readTarget(target, async (store) => {
      assert.deepEqual(
        (await listAll((page) => store.listAccounts(page))).map((a) => a.username),
        ['somebody'],
      );
    });
  });

  it('a target that a service has open', async (t) => {
    const target = await emptyTarget(t);
    const from = await copyOfSource();
    await readTarget(target, async () => {
      const refusal = await assertRefused('conflict', moveToPostgres({ from, to: target.url }));
      assert.match(refusal.message, /a Posthorn service .* open: stop it/);
    });
    assert.equal((await moveToPostgres({ from, to: target.url })).outcome, 'moved');
  });

  it('a service on a target whose move is unfinished; when it is finished, one with another key is found out', async (t) => {
    const target = await emptyTarget(t);
    const from = await copyOfSource();
    const stopped = new Error('stopped');
    await assert.rejects(
      moveToPostgres({
        from,
        to: target.url,
        onProgress: () => {
          throw stopped;
        },
      }),
      stopped,
    );
    const refusal = await assertRefused('unavailable', openPostgresStore({ url: target.url }));
    assert.match(refusal.message, /unfinished move from sqlite:.*goes on where it stopped/);
    const comparison = moveToPostgres({ from, to: target.url, verifyOnly: true });
    assert.match((await assertRefused('conflict', comparison)).message, /no finished move/);
    assert.equal((await moveToPostgres({ from, to: target.url })).outcome, 'moved');
    assert.equal(
      await readTarget(target, (store) => store.initMeta('encryption_key_id', 'other')),
      'a1b2c3d4',
    );
  });

  it('another source, and one that has changed since, on a target that holds a move', async (t) => {
    const target = await emptyTarget(t);
    const from = await copyOfSource();
    assert.equal((await moveToPostgres({ from, to: target.url })).outcome, 'moved');
    const again = await moveToPostgres({ from, to: target.url });
    assert.deepEqual([again.outcome, again.copiedRows, again.tables], ['already_moved', 0, []]);

    const other = await openSqliteStore({ path: join(dir.path, `other-${copies}.db`) });
    await other.initMeta('encryption_key_id', 'ffffffff');
    await other.close();
    const foreign = moveToPostgres({ from: join(dir.path, `other-${copies}.db`), to: target.url });
    assert.match((await assertRefused('conflict', foreign)).message, /a finished move.* of another database/);

    const used = await openSqliteStore({ path: from });
    await used.recover();
    await used.close();
    const changed = moveToPostgres({ from, to: target.url });
    assert.match((await assertRefused('conflict', changed)).message, /has changed since it was moved/);
  });

  it('a source that a service has open, that is none, or that has another schema', async (t) => {
    const target = await emptyTarget(t);
    const to = target.url;
    const from = await copyOfSource();
    const service = await openSqliteStore({ path: from });
    const inUse = await assertRefused('unavailable', moveToPostgres({ from, to }));
    await service.close();
    assert.match(inUse.message, /in use by another Posthorn process/);

    const absent = join(dir.path, 'absent', 'posthorn.db');
    assert.match(
      (await assertRefused('unavailable', moveToPostgres({ from: absent, to }))).message,
      /no file/,
    );
    const text = join(dir.path, 'text.db');
    await writeFile(
      text,
      'not a database, but long enough to look like one to somebody who only counts bytes',
    );
    await assertRefused('unavailable', moveToPostgres({ from: text, to }));
    const empty = join(dir.path, 'empty.db');
    openDatabase(empty).close();
    assert.match(
      (await assertRefused('unavailable', moveToPostgres({ from: empty, to }))).message,
      /no data of Posthorn/,
    );

    const db = openDatabase(from);
    db.prepare(
      `INSERT INTO schema_migration SELECT max(version) + 1, 'x', 'x', 0 FROM schema_migration`,
    ).run();
    db.close();
    const newer = await assertRefused('unavailable', moveToPostgres({ from, to }));
    assert.match(newer.message, /\.db: the database has schema version \d+.*start a newer Posthorn/);
    assert.deepEqual(
      await target.query(`SELECT FROM pg_namespace WHERE nspname = 'posthorn'`),
      [],
      'untouched',
    );
  });

  it('a target with a newer schema', async (t) => {
    const target = await emptyTarget(t);
    await readTarget(target, async () => {});
    await target.query(
      `INSERT INTO posthorn.schema_migration (version, name, checksum)
       SELECT max(version) + 1, 'of_tomorrow.sql', 'none' FROM posthorn.schema_migration`,
    );
    for (const verifyOnly of [false, true]) {
      const refused = moveToPostgres({ from: await copyOfSource(), to: target.url, verifyOnly });
      assert.match(
        (await assertRefused('unavailable', refused)).message,
        /target.*schema version.*newer Posthorn/,
      );
    }
  });

  it('text that PostgreSQL cannot keep and nobody may change, by its place', async (t) => {
    const from = await copyOfSource();
    const db = openDatabase(from);
    db.prepare(`UPDATE account SET metadata = '{"a":' || char(0) || '}' WHERE username = 'busy'`).run();
    db.close();
    const target = await emptyTarget(t);
    const refusal = await assertRefused('invalid_parameter', moveToPostgres({ from, to: target.url }));
    assert.match(refusal.message, /metadata of account busy holds U\+0000/);
  });
});

describe('the comparison of a move', () => {
  it('finds what was changed, lost or added on the other side, and names it without its values', async (t) => {
    const target = await emptyTarget(t);
    const from = await copyOfSource();
    await moveToPostgres({ from, to: target.url });
    const verify = () => moveToPostgres({ from, to: target.url, verifyOnly: true });
    assert.equal((await verify()).outcome, 'verified');

    await target.query(`UPDATE posthorn.attempt SET response_body = 'other' WHERE ctid = (SELECT min(ctid) FROM posthorn.attempt)
                          AND tableoid = (SELECT min(tableoid) FROM posthorn.attempt)`);
    await target.query(`DELETE FROM posthorn.event WHERE event_id = '${names.repeated}'`);
    await target.query(
      `UPDATE posthorn.endpoint SET secret = 'stolen', timeout_ms = 1 WHERE endpoint_id = $1`,
      [names.endpoints.main],
    );
    await target.query(`INSERT INTO posthorn.subscription VALUES ('busy', 'extra', 'wh_extra')`);
    const report = await verify();
    assert.equal(report.outcome, 'differs');
    const differing = report.tables.filter(({ same }) => !same);
    assert.deepEqual(
      differing.map(({ table }) => table),
      ['endpoint', 'subscription', 'event', 'attempt'],
    );
    const lines = differing.flatMap(({ differences }) => differences);
    assert.equal(lines[0], `endpoint busy ${names.endpoints.main}: other secret, timeout_ms`);
    assert.equal(lines[1], 'subscription busy extra wh_extra: only in the target');
    assert.equal(lines[2], `event busy ${names.repeated}: missing in the target`);
    assert.match(lines[3] ?? '', /^attempt \S+ dlv_\S+ \d+: other response_body$/);
    assert.equal(lines.length, 4);
  });

  it('leaves the move unfinished when the sides differ', async (t) => {
    const target = await emptyTarget(t);
    const from = await copyOfSource();
    const report = await moveToPostgres({
      from,
      to: target.url,
      onProgress({ phase }) {
        if (phase === 'verify') tampered ??= target.query(`DELETE FROM posthorn.stat`);
      },
    });
    await tampered;
    assert.equal(report.outcome, 'differs');
    assert.equal(report.finishedAt, null);
    await assertRefused('unavailable', openPostgresStore({ url: target.url }));
  });
  let tampered: Promise<unknown> | undefined;

  it('speaks of every table and column of both schemas', async (t) => {
    const db = openDatabase(await copyOfSource(), { readonly: true });
    t.after(() => db.close());
    const tables = db
      .prepare<[], { name: string }>(
        `SELECT name FROM sqlite_schema WHERE type = 'table' AND name NOT LIKE 'sqlite_%'`,
      )
      .all();
    const moved = new Map(MOVED_TABLES.map((table) => [table.name, table]));
    assert.deepEqual(
      tables.map(({ name }) => name).filter((name) => !moved.has(name)),
      ['schema_migration'],
    );
    // Order within a table that the other side doesn't keep, and leases, which end.
    const dropped = new Set(['delivery.seq', 'attempt.seq', 'audit.seq', 'queue.leased_at', 'queue.token']);
    for (const { name } of tables) {
      if (name === 'schema_migration') continue;
      const columns = db.prepare<[], { name: string }>(`SELECT name FROM pragma_table_info('${name}')`).all();
      const written = moved.get(name)?.columns.map((column) => column.name);
      for (const column of columns) {
        if (dropped.has(`${name}.${column.name}`)) continue;
        assert.ok(written?.includes(column.name), `${name}.${column.name} is moved`);
      }
    }
    const target = await emptyTarget(t);
    await readTarget(target, async () => {});
    // Of leases, of how the target finds an event's deliveries, and of deletions by transactions of the target.
    const own = new Set([
      ...[
        'leased_at',
        'leased_until',
        'token',
        'holder',
        'leased_due',
        'leased_seq',
        'floor_due',
        'floor_seq',
      ],
      ...['keeper', 'kept_until', 'apart', 'deleted_xid'],
    ]);
    for (const { name, columns } of MOVED_TABLES) {
      const found = await target.query<{ name: string }>(
        `SELECT attname AS name FROM pg_attribute
         WHERE attrelid = 'posthorn.${name}'::regclass AND attnum > 0 AND NOT attisdropped`,
      );
      const written = columns.map((column) => column.name);
      const left = found.map((column) => column.name).filter((column) => !written.includes(column));
      assert.deepEqual(
        left.filter((column) => !own.has(column) && !dropped.has(`${name}.${column}`)),
        [],
        name,
      );
    }
  });
});

describe('posthorn migrate --from --to', () => {
  it('moves, says what it did and what to do next, and compares by --verify-only', async (t) => {
    const target = await emptyTarget(t);
    const from = await copyOfSource();
    const args = ['migrate', '--from', `sqlite:${from}`, '--to', target.url];
    const moved = await callCli(args);
    assert.equal(moved.code, 0, moved.stderr);
    assert.match(
      moved.stdout,
      /^TABLE +SOURCE ROWS +TARGET ROWS +SOURCE CHECKSUM +TARGET CHECKSUM +RESULT$/m,
    );
    assert.match(moved.stdout, /^event +\d+ +\d+ +[0-9a-f]{16} +[0-9a-f]{16} +same$/m);
    assert.match(moved.stdout, /Set POSTHORN_DATABASE_URL to postgres:\/\/posthorn_test:\*\*\*@/);
    assert.match(moved.stdout, /POSTHORN_ENCRYPTION_KEY/);
    assert.match(moved.stderr, /^copied attempt: [\d,]+ rows/m);

    const again = await callCli(args);
    assert.equal(again.code, 0);
    assert.match(again.stdout, /moved .* already.*nothing to do/);

    const compared = await callCli([...args, '--verify-only', '--json']);
    assert.equal(compared.code, 0);
    const json = JSON.parse(compared.stdout) as { outcome: string; to: string; tables: { same: boolean }[] };
    assert.equal(json.outcome, 'verified');
    assert.match(json.to, /:\*\*\*@/);
    assert.equal(json.tables.length, MOVED_TABLES.length);

    await target.query('DELETE FROM posthorn.replay');
    const differs = await callCli([...args, '--verify-only']);
    assert.equal(differs.code, 1);
    assert.match(differs.stdout, /^replay .*DIFFERS$/m);
    assert.match(differs.stdout, /^replay busy rpl_\S+: missing in the target$/m);
    assert.match(differs.stderr, /the two sides differ/);
  });

  it('wants both sides, each of its kind', async () => {
    for (const args of [
      ['--from', 'sqlite:a.db'],
      ['--to', 'postgres://a/b'],
      ['--verify-only'],
      ['--from', 'postgres://a/b', '--to', 'sqlite:a.db'],
      ['--from', 'a.db', '--to', 'postgres://a/b'],
      ['--from', 'sqlite:a.db', '--to', 'postgres://a/b', '--database-url', 'sqlite:b.db'],
    ]) {
      const { code, stderr } = await callCli(['migrate', ...args]);
      assert.equal(code, 2, args.join(' '));
      assert.match(stderr, /--from|--to/);
    }
  });

  it('goes on after SIGKILL', async (t) => {
    const target = await emptyTarget(t);
    const from = await copyOfSource();
    growHistory(from, 12_000);
    const args = ['migrate', '--from', `sqlite:${from}`, '--to', target.url];
    const child = startCli(args);
    child.stdin.end();
    let seen = '';
    for await (const text of child.stderr.setEncoding('utf8')) {
      seen += text as string;
      if (/^copied event_key/m.test(seen)) child.kill('SIGKILL');
    }
    const again = await runCli(args);
    assert.equal(again.code, 0, again.stderr);
    assert.match(again.stdout, /after [\d,]+ of an earlier run.*they hold the same/);
    assert.doesNotMatch(again.stderr, /^copied event:/m, 'what was copied is not copied again');
    const [row] = await target.query<{ n: string }>('SELECT count(*) AS n FROM posthorn.delivery');
    assert.ok(Number(row?.n) > 12_000);
  });
});

describe('a service that is moved', () => {
  it('delivers on PostgreSQL what was pending, with the keys, secrets and times of before', async (t) => {
    const target = await emptyTarget(t);
    const folder = await tempDir();
    t.after(() => folder.remove());
    const receiver = new Receiver();
    t.after(() => receiver.stop());
    await receiver.start();
    const settings = { POSTHORN_ENDPOINT_POLICY: 'development', POSTHORN_RETRY_SCHEDULE: '2s,2s,2s,2s,2s' };

    const old = await startService(folder.path, { env: settings });
    t.after(() => old.kill('SIGKILL'));
    const operator = old.printedKey ?? '';
    const call = async (
      service: RunningService,
      method: string,
      path: string,
      key: string,
      body?: object,
    ) => {
      const response = await fetch(`${service.url}${path}`, {
        method,
        headers: { 'x-api-key': key, ...(body && { 'content-type': 'application/json' }) },
        ...(body && { body: JSON.stringify(body) }),
      });
      return ((await response.json()) as { data: Record<string, unknown> }).data;
    };
    const cli = (...args: string[]) =>
      runCli([...args, '--json', '--url', old.url, '--key', operator]).then(({ stdout }) =>
        JSON.parse(stdout),
      );
    await cli('account', 'create', 'alice');
    const { api_key: key } = (await cli('key', 'create', 'backend', '--account', 'alice')) as {
      api_key: string;
    };
    const endpoint = await call(old, 'POST', '/v2/endpoint', key, { url: receiver.url, events: [VIDEO] });
    receiver.status = 503;
    await cli('publish', VIDEO, '--account', 'alice', '--example', '--event-id', 'evt_pending');
    await old.logged((line) => line.msg === 'attempt');
    old.kill('SIGKILL');
    await old.ended;
    receiver.status = 200;

    const file = join(folder.path, 'posthorn-data', 'posthorn.db');
    const moved = await runCli(['migrate', '--from', `sqlite:${file}`, '--to', target.url]);
    assert.equal(moved.code, 0, moved.stderr);
    const keyFile = join(folder.path, 'posthorn-data', 'encryption.key');
    assert.ok(moved.stdout.includes(`the key in ${keyFile}`), moved.stdout);
    const encryptionKey = (await readFile(keyFile, 'utf8')).trim();
    assert.ok(!moved.stdout.includes(encryptionKey) && !moved.stderr.includes(encryptionKey));

    const env = { ...settings, POSTHORN_DATABASE_URL: target.url, POSTHORN_ENCRYPTION_KEY: encryptionKey };
    await assert.rejects(
      startService(folder.path, {
        env: { ...env, POSTHORN_ENCRYPTION_KEY: Buffer.alloc(32).toString('base64') },
      }),
      /was written with encryption key \w+.*give the key that belongs to the data/,
    );
    const arrived = receiver.next();
    const service = await startService(folder.path, { env });
    t.after(() => service.kill('SIGKILL'));
    assert.equal(service.printedKey, null, 'the operator key of before holds');
    const { body, headers } = await arrived;
    assert.equal((JSON.parse(body) as { event_id: string }).event_id, 'evt_pending');
    new Webhook(String(endpoint.secret)).verify(body, headers as Record<string, string>);
    const { attempt } = await service.logged((line) => line.msg === 'attempt');
    assert.ok((attempt as number) >= 2, 'its attempts go on counting');
    assert.deepEqual((await call(service, 'GET', '/v2/endpoints', key)).endpoints, [endpoint]);
    service.kill('SIGTERM');
    assert.equal(await service.ended, 0);
  });
});

/** Answers every POST with a status of the test's choice. */
class Receiver {
  status = 200;
  url = '';
  readonly #server = createServer(async (request, response) => {
    const body = await textOf(request);
    response.writeHead(this.status).end();
    if (this.status === 200) this.#arrivals.emit('arrived', { body, headers: request.headers });
  });
  readonly #arrivals = new EventEmitter();

  async start(): Promise<void> {
    this.#server.listen(0, '127.0.0.1');
    await once(this.#server, 'listening');
    this.url = `http://127.0.0.1:${(this.#server.address() as AddressInfo).port}/hook`;
  }

  /** The next POST that is answered with 200. */
  async next(): Promise<{ body: string; headers: IncomingHttpHeaders }> {
    const [arrival] = await once(this.#arrivals, 'arrived', { signal: AbortSignal.timeout(30_000) });
    return arrival as { body: string; headers: IncomingHttpHeaders };
  }

  stop(): void {
    this.#server.close();
    this.#server.closeAllConnections();
  }
}

/** Adds finished deliveries, so that a move takes a moment. */
function growHistory(path: string, count: number): void {
  const db = openDatabase(path);
  try {
    db.pragma('synchronous = OFF');
    db.prepare(
      `WITH RECURSIVE n(i) AS (SELECT 1 UNION ALL SELECT i + 1 FROM n WHERE i < ?)
       INSERT INTO delivery (username, delivery_id, endpoint_id, event_seq, event, status, attempts, created_at, completed_at)
       SELECT 'busy', 'dlv_' || i, 'wh_x', (SELECT seq FROM event WHERE event_id = ?), '${VIDEO}', 'delivered', 1, 1750000000000, 1750000000000 FROM n`,
    ).run(count, names.repeated);
  } finally {
    db.close();
  }
}

/** Numbers in [0, 1) that a seed repeats (mulberry32). */
function randomOf(seed: number): () => number {
  let state = seed;
  return () => {
    state = (state + 0x6d2b79f5) | 0;
    let mixed = Math.imul(state ^ (state >>> 15), 1 | state);
    mixed = (mixed + Math.imul(mixed ^ (mixed >>> 7), 61 | mixed)) ^ mixed;
    return ((mixed ^ (mixed >>> 14)) >>> 0) / 2 ** 32;
  };
}
