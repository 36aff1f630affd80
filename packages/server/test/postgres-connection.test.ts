import assert from 'node:assert/strict';
import { once } from 'node:events';
import { type AddressInfo, connect, createServer, type Server, type Socket } from 'node:net';
import { after, afterEach, before, beforeEach, describe, it } from 'node:test';
import { inspect } from 'node:util';
import pg from 'pg';
import { PosthornError } from '../src/errors.ts';
import { PostgresPool, type PostgresPoolOptions } from '../src/store/postgres/connection.ts';
import { openPostgresStore } from '../src/store/postgres/index.ts';
import { appliedSchema, knownSchemaVersion, migrateDatabase } from '../src/store/postgres/migrate.ts';
import type { Store } from '../src/store/store.ts';
import { assertRefused } from './store-suite/bench.ts';
import { ManualClock } from './support/manual-clock.ts';
import { createDatabase, type PostgresDatabase } from './support/postgres.ts';
import { Cable } from './support/postgres-cable.ts';

const PASSWORD = 'a-secret-nobody-may-read';

/** Passes on what comes until it is told to keep it: a server or a network that stands still without a word. */
class StallingProxy {
  readonly #server: Server;
  readonly #sockets = new Set<Socket>();
  #stalls = false;
  /** Resolves when a connection of a client is closed. */
  readonly clientGone = Promise.withResolvers<void>();

  private constructor(server: Server) {
    this.#server = server;
  }

  static async start(target: string): Promise<StallingProxy> {
    const { hostname, port } = new URL(target);
    const server = createServer();
    const proxy = new StallingProxy(server);
    server.on('connection', (near) => {
      const far = connect(Number(port), hostname);
      proxy.#sockets.add(near).add(far);
      near.on('error', () => {}).on('close', () => proxy.clientGone.resolve());
      far.on('error', () => {});
      near.on('data', (data) => proxy.#stalls || far.write(data));
      far.on('data', (data) => proxy.#stalls || near.write(data));
    });
    server.listen(0, '127.0.0.1');
    await once(server, 'listening');
    return proxy;
  }

  url(target: string): string {
    return withPort(target, (this.#server.address() as AddressInfo).port);
  }

  stall(): void {
    this.#stalls = true;
  }

  async stop(): Promise<void> {
    for (const socket of this.#sockets) socket.destroy();
    this.#server.close();
    await once(this.#server, 'close');
  }
}

/** Counts who knocks, and hangs up. */
class ClosedDoor {
  readonly #server: Server;
  knocks = 0;

  private constructor(server: Server) {
    this.#server = server;
    server.on('connection', (socket) => {
      this.knocks += 1;
      socket.on('error', () => {}).destroy();
    });
  }

  static async start(): Promise<ClosedDoor> {
    const server = createServer();
    server.listen(0, '127.0.0.1');
    await once(server, 'listening');
    return new ClosedDoor(server);
  }

  get url(): string {
    const { port } = this.#server.address() as AddressInfo;
    return `postgres://posthorn:${PASSWORD}@127.0.0.1:${port}/posthorn`;
  }

  async stop(): Promise<void> {
    this.#server.close();
    await once(this.#server, 'close');
  }
}

function withPort(url: string, port: number): string {
  const changed = new URL(url);
  changed.hostname = '127.0.0.1';
  changed.port = String(port);
  return changed.href;
}

/** Everything that a log could show of an error. */
function shown(error: unknown): string {
  return inspect(error, { depth: 10, showHidden: false });
}

describe('the pool of connections to PostgreSQL', () => {
  let database: PostgresDatabase;
  let pool: PostgresPool;
  const opened: PostgresPool[] = [];

  before(async () => {
    database = await createDatabase();
    await database.query('CREATE TABLE note (id integer PRIMARY KEY, text text NOT NULL)');
    await database.query('CREATE SEQUENCE tries');
    await database.query(`CREATE FUNCTION fails_first(times integer, state text) RETURNS bigint LANGUAGE plpgsql AS $$
      DECLARE try bigint := nextval('tries');
      BEGIN
        IF try <= times THEN RAISE EXCEPTION 'not now' USING ERRCODE = state; END IF;
        RETURN try;
      END $$`);
  });

  after(() => database.drop());

  beforeEach(async () => {
    await database.query('TRUNCATE note');
    await database.query('ALTER SEQUENCE tries RESTART');
    pool = openPool();
  });

  afterEach(async () => {
    for (const each of opened.splice(0)) await each.close();
  });

  function openPool(options: Partial<PostgresPoolOptions> = {}): PostgresPool {
    const made = new PostgresPool({ url: database.url, ...options });
    opened.push(made);
    return made;
  }

  async function notes(): Promise<number[]> {
    return (await database.query<{ id: number }>('SELECT id FROM note ORDER BY id')).map(({ id }) => id);
  }

  it('gives bigint as numbers, alone and in arrays, and changes nothing for others in the process', async () => {
    const text =
      "SELECT 1750000000000::bigint AS one, ARRAY[1, NULL, 3]::bigint[] AS many, '{}'::bigint[] AS none";
    assert.deepEqual(await pool.query(text), [{ one: 1_750_000_000_000, many: [1, null, 3], none: [] }]);
    const other = new pg.Client({ connectionString: database.url });
    await other.connect();
    assert.equal((await other.query('SELECT 1::bigint AS one')).rows[0].one, '1');
    await other.end();
  });

  it('says who it is, bounds what a statement and a standing transaction may take, and leads to durable commits', async () => {
    await database.query(`ALTER DATABASE ${database.name} SET synchronous_commit = off`);
    const names = [
      'application_name',
      'statement_timeout',
      'idle_in_transaction_session_timeout',
      'synchronous_commit',
    ];
    const [row] = await openPool().query<{ settings: string[] }>(
      'SELECT array_agg(current_setting(name) ORDER BY n) AS settings FROM unnest($1::text[]) WITH ORDINALITY s(name, n)',
      [names],
    );
    assert.deepEqual(row?.settings, ['posthorn', '10s', '15s', 'on']);
    await database.query(`ALTER DATABASE ${database.name} RESET synchronous_commit`);
  });

  it('keeps what the operator chose where commits are more durable than asked for', async () => {
    await database.query(`ALTER DATABASE ${database.name} SET synchronous_commit = remote_apply`);
    const [row] = await openPool().query("SELECT current_setting('synchronous_commit') AS setting");
    assert.deepEqual(row, { setting: 'remote_apply' });
    await database.query(`ALTER DATABASE ${database.name} RESET synchronous_commit`);
  });

  it('sends no startup parameter that a pooling proxy refuses', async () => {
    const startup = Promise.withResolvers<string>();
    const server = createServer((socket) => {
      socket.on('error', () => {});
      socket.once('data', (data) => {
        startup.resolve(data.subarray(8).toString());
        socket.destroy();
      });
    });
    server.listen(0, '127.0.0.1');
    await once(server, 'listening');
    const { port } = server.address() as AddressInfo;
    const proxied = openPool({ url: withPort(database.url, port) });
    await assertRefused('unavailable', proxied.query('SELECT 1'));
    const names = (await startup.promise).split('\0').filter((_, n) => n % 2 === 0 && _ !== '');
    assert.deepEqual(names.sort(), ['application_name', 'client_encoding', 'database', 'user']);
    server.close();
  });

  it('gives a statement up that takes too long, and goes on with the connection', async () => {
    const impatient = openPool({ statementTimeoutMs: 50, poolSize: 1 });
    const [session] = await impatient.query('SELECT pg_backend_pid() AS pid');
    const refusal = await assertRefused('unavailable', impatient.query('SELECT pg_sleep(60)'));
    assert.match(refusal.message, /57014/);
    assert.deepEqual(await impatient.query('SELECT pg_backend_pid() AS pid'), [session]);
  });

  it('gives a statement up that gets no answer, and closes the connection', async () => {
    const proxy = await StallingProxy.start(database.url);
    const clock = new ManualClock();
    const proxied = openPool({ url: proxy.url(database.url), clock });
    await proxied.query('SELECT 1');
    proxy.stall();
    const call = proxied.query('SELECT 1');
    await clock.whenTimers(1);
    clock.advance(14_999);
    assert.equal(clock.timerCount, 1, 'the statement timeout and five seconds have not passed');
    clock.advance(1);
    const refusal = await assertRefused('unavailable', call);
    assert.match(String((refusal.cause as Error).message), /did not answer within 15000 ms/);
    await proxy.clientGone.promise;
    await proxy.stop();
  });

  it('tells the SQLSTATE of a refused statement, but none of its values', async () => {
    const refusal = await assertRefused(
      'internal',
      pool.query('INSERT INTO note (id, text) VALUES (1, $1), (1, $1)', [PASSWORD]),
    );
    assert.match(refusal.message, /23505/);
    const nulls = await assertRefused(
      'internal',
      pool.query('INSERT INTO note (id, text) SELECT NULL, $1', [PASSWORD]),
    );
    assert.match(nulls.message, /23502/);
    for (const error of [refusal, nulls]) assert.doesNotMatch(shown(error), new RegExp(PASSWORD));
  });

  it('refuses text that PostgreSQL can’t hold as the caller’s mistake', async () => {
    const refusal = await assertRefused(
      'invalid_parameter',
      pool.query('SELECT * FROM note WHERE text = $1', ['a\0b']),
    );
    assert.match(refusal.message, /U\+0000/);
  });

  it('refuses a statement on a read-only database as unavailable', async () => {
    await database.query(`ALTER DATABASE ${database.name} SET default_transaction_read_only = on`);
    const refusal = await assertRefused(
      'unavailable',
      openPool().query("INSERT INTO note VALUES (1, 'one')"),
    );
    assert.match(refusal.message, /read-only/);
    await database.query(`ALTER DATABASE ${database.name} RESET default_transaction_read_only`);
  });

  it('lets callers wait while all connections are busy, and never opens more than its size', async () => {
    const small = openPool({ poolSize: 2 });
    const pids = await Promise.all(
      Array.from({ length: 12 }, () => small.query<{ pid: number }>('SELECT pg_backend_pid() AS pid')),
    );
    assert.equal(new Set(pids.map(([row]) => row?.pid)).size, 2);
  });

  describe('transactions', () => {
    it('commit what their statements did together', async () => {
      const answer = await pool.transaction(async (sql) => {
        await sql.query("INSERT INTO note VALUES (1, 'one')");
        await sql.query("INSERT INTO note VALUES (2, 'two')");
        assert.deepEqual(await notes(), [], 'nobody sees it before the commit');
        return 'done';
      });
      assert.equal(answer, 'done');
      assert.deepEqual(await notes(), [1, 2]);
    });

    it('are undone when their work fails, and the connection is free for others', async () => {
      const small = openPool({ poolSize: 1 });
      const failure = new PosthornError('conflict', 'no');
      await assert.rejects(
        small.transaction(async (sql) => {
          await sql.query("INSERT INTO note VALUES (1, 'one')");
          throw failure;
        }),
        failure,
      );
      await assertRefused(
        'internal',
        small.transaction((sql) => sql.query('SELECT 1 / 0')),
      );
      assert.deepEqual(await small.query('SELECT count(*) AS n FROM note'), [{ n: 0 }]);
    });

    it('are not taken for committed when a failed statement was passed over', async () => {
      await assertRefused(
        'internal',
        pool.transaction(async (sql) => {
          await sql.query("INSERT INTO note VALUES (1, 'one')");
          await sql.query('SELECT 1 / 0').catch(() => {});
        }),
      );
      assert.deepEqual(await notes(), []);
    });

    it('take no statement after their end', async () => {
      let late: ((text: string) => Promise<unknown>) | undefined;
      await pool.transaction(async (sql) => {
        late = (text) => sql.query(text);
      });
      await assertRefused('internal', late?.("INSERT INTO note VALUES (1, 'one')") as Promise<unknown>);
      assert.deepEqual(await notes(), []);
    });

    it('are followed by what waits for their commit, and by nothing when they are undone', async () => {
      const followed: string[] = [];
      await pool.transaction(async (sql) => {
        sql.afterCommit(() => followed.push('committed'));
        await sql.query("INSERT INTO note VALUES (1, 'one')");
        assert.deepEqual(followed, []);
      });
      await assert.rejects(
        pool.transaction(async (sql) => {
          sql.afterCommit(() => followed.push('undone'));
          throw new Error('no');
        }),
      );
      assert.deepEqual(followed, ['committed']);
    });

    it('that stand in each other’s way both commit', async () => {
      await database.query("INSERT INTO note VALUES (1, ''), (2, '')");
      const arrivals = [Promise.withResolvers<void>(), Promise.withResolvers<void>()];
      const runs = [0, 0];
      const append = (own: 0 | 1, ids: [number, number]) =>
        pool.transaction(async (sql) => {
          runs[own] = (runs[own] ?? 0) + 1;
          await sql.query("UPDATE note SET text = text || 'x' WHERE id = $1", [ids[0]]);
          arrivals[own]?.resolve();
          await arrivals[1 - own]?.promise;
          await sql.query("UPDATE note SET text = text || 'x' WHERE id = $1", [ids[1]]);
        });
      await Promise.all([append(0, [1, 2]), append(1, [2, 1])]);
      assert.deepEqual(await database.query('SELECT text FROM note'), [{ text: 'xx' }, { text: 'xx' }]);
      assert.equal((runs[0] ?? 0) + (runs[1] ?? 0), 3, 'one of them ran again');
    });
  });

  for (const state of ['40001', '40P01']) {
    it(`runs a statement anew that was given up for another's sake (${state})`, async () => {
      assert.deepEqual(await pool.query('SELECT fails_first(3, $1) AS try', [state]), [{ try: 4 }]);
    });

    it(`is unavailable when that goes on (${state})`, async () => {
      const refusal = await assertRefused('unavailable', pool.query('SELECT fails_first(100, $1)', [state]));
      assert.match(refusal.message, new RegExp(state));
      assert.deepEqual(await pool.query("SELECT nextval('tries') AS next"), [{ next: 5 }]);
    });
  }

  it('rejects after it was closed, having waited for what was under way', async () => {
    const call = pool.query("INSERT INTO note SELECT 1, 'one' FROM pg_sleep(0.05)");
    await pool.close();
    await call;
    assert.deepEqual(await notes(), [1]);
    await assertRefused('unavailable', pool.query('SELECT 1'));
  });

  it('loses no process to a connection that dies in use or idle', async () => {
    const reported: string[] = [];
    const small = openPool({ poolSize: 1, onError: (message) => reported.push(message) });
    const kill = async () => {
      const [row] = await small.query<{ pid: number }>('SELECT pg_backend_pid() AS pid');
      await database.query('SELECT pg_terminate_backend($1, 5000)', [row?.pid]);
    };
    await kill();
    // The end of the idle connection may be known already, or show with this statement.
    await small.query('SELECT 1').catch((error: unknown) => {
      assert.ok(error instanceof PosthornError && error.kind === 'unavailable');
    });
    const refusal = await assertRefused(
      'unavailable',
      small.query('SELECT pg_terminate_backend(pg_backend_pid())'),
    );
    assert.match(refusal.message, /57P01/);
    assert.deepEqual(await small.query('SELECT 1 AS one'), [{ one: 1 }]);
    assert.ok(reported.length <= 1, 'one loss is told once');
  });
});

describe('a database that is away', () => {
  let door: ClosedDoor;
  let clock: ManualClock;
  let pool: PostgresPool;
  let reported: unknown[];

  beforeEach(async () => {
    door = await ClosedDoor.start();
    clock = new ManualClock();
    reported = [];
    pool = new PostgresPool({ url: door.url, clock, onError: (_, error) => reported.push(error) });
  });

  afterEach(async () => {
    await pool.close();
    await door.stop();
  });

  async function refusals(calls: number): Promise<PosthornError[]> {
    return Promise.all(
      Array.from({ length: calls }, () => assertRefused('unavailable', pool.query('SELECT 1'))),
    );
  }

  it('is not stormed, however many callers there are and however long it lasts', async () => {
    await refusals(500);
    assert.ok(door.knocks <= 10, `${door.knocks} connections at once, more than the pool's size`);

    const afterFirst = door.knocks;
    await refusals(500);
    assert.equal(door.knocks, afterFirst, 'nobody tries again at once');

    // Two minutes of callers, every 50 ms.
    const gaps: number[] = [];
    let last = clock.monotonic();
    let knocks = door.knocks;
    for (let passedMs = 0; passedMs < 120_000; passedMs += 50) {
      clock.advance(50);
      await refusals(passedMs < 10_000 ? 5 : 1);
      assert.ok(door.knocks <= knocks + 1, 'one caller tries, the others wait for what comes of it');
      if (door.knocks > knocks) {
        gaps.push(clock.monotonic() - last);
        last = clock.monotonic();
        knocks = door.knocks;
      }
    }
    assert.ok((gaps[0] as number) <= 200, `the first pause is short: ${gaps[0]} ms`);
    assert.ok(
      gaps.slice(8).every((gap) => gap >= 2_500 && gap <= 5_050),
      `then long: ${gaps.slice(8)} ms`,
    );
  });

  it('is told once, and to callers with a time to come back', async () => {
    const [first] = await refusals(1);
    assert.match(first?.message ?? '', /can't be reached/);
    for (let step = 0; step < 20; step++) {
      clock.advance(1_000);
      await refusals(3);
    }
    const [late] = await refusals(1);
    assert.ok((late?.retryAfterSeconds ?? 0) >= 1 && (late?.retryAfterSeconds ?? 99) <= 5);
    assert.equal(reported.length, 1);
    for (const error of [first, late, ...reported]) assert.doesNotMatch(shown(error), new RegExp(PASSWORD));
  });
});

describe('a database that comes back', () => {
  let database: PostgresDatabase;
  let cable: Cable;
  let clock: ManualClock;
  let pool: PostgresPool;
  let reported: string[];

  beforeEach(async () => {
    database = await createDatabase();
    cable = await Cable.lay(database.url);
    clock = new ManualClock();
    reported = [];
    pool = new PostgresPool({ url: cable.url, clock, onError: (message) => reported.push(message) });
  });

  afterEach(async () => {
    await pool.close();
    await cable.remove();
    await database.drop();
  });

  it('is used again by itself, and a second outage is told anew', async () => {
    for (const outages of [1, 2]) {
      await Promise.all(Array.from({ length: 5 }, () => pool.query('SELECT pg_sleep(0.01)')));
      const cut = assertRefused('unavailable', pool.query('SELECT pg_sleep(30)'));
      await new Promise((resolve) => setImmediate(resolve));
      cable.cut();
      await cut;
      for (let tries = 0; tries < 10; tries++) {
        await assertRefused('unavailable', pool.query('SELECT 1'));
        clock.advance(300);
      }
      assert.equal(reported.length, outages);
      cable.mend();
      clock.advance(5_000);
      assert.deepEqual(await pool.query('SELECT 1 AS one'), [{ one: 1 }]);
      assert.equal(reported.length, outages);
    }
  });

  it('is not waited for once a connection, when all of them were forgotten on the way', async () => {
    const connections = 5;
    const inParallel = (text: string) =>
      Promise.all(Array.from({ length: connections }, () => pool.query(text)));
    await inParallel('SELECT pg_sleep(0.05)');
    assert.equal(cable.openConnections, connections);
    // A firewall that restarts: it lets new connections through, and the old ones lead nowhere.
    cable.inflict({ kind: 'silence', toward: 'both' });
    cable.mend();
    const unanswered = assertRefused('unavailable', pool.query('SELECT 1'));
    await clock.whenTimers(1);
    clock.advance(15_000);
    await unanswered;
    await inParallel('SELECT 1');
    assert.equal(reported.length, 1);
  });

  it('leaves callers the connections that it still has while it grants no new ones', async () => {
    await database.query(`CREATE ROLE "${database.name}" LOGIN PASSWORD '${PASSWORD}' CONNECTION LIMIT 2`);
    const url = new URL(database.url);
    url.username = database.name;
    url.password = PASSWORD;
    const limited = new PostgresPool({ url: url.href, clock });
    try {
      await Promise.all([limited.query('SELECT pg_sleep(0.02)'), limited.query('SELECT pg_sleep(0.02)')]);
      const calls = () => Array.from({ length: 20 }, () => limited.query('SELECT pg_sleep(0.005)'));
      await Promise.all(calls());
      await Promise.all(calls());
    } finally {
      await limited.close();
      await database.query(`DROP ROLE "${database.name}"`);
    }
  });
});

describe('opening the store on PostgreSQL', () => {
  let database: PostgresDatabase;

  beforeEach(async () => {
    database = await createDatabase();
  });

  afterEach(() => database.drop());

  async function refusal(url: string): Promise<PosthornError> {
    const error = await assertRefused('unavailable', openPostgresStore({ url }));
    assert.doesNotMatch(shown(error), new RegExp(PASSWORD));
    return error;
  }

  function changed(change: (url: URL) => void): string {
    const url = new URL(database.url);
    change(url);
    return url.href;
  }

  it('migrates an empty database once, however many open it at the same time', async () => {
    const stores = await Promise.all(
      Array.from({ length: 5 }, () => openPostgresStore({ url: database.url })),
    );
    const applied = await database.query('SELECT version FROM posthorn.schema_migration');
    assert.equal(applied.length, knownSchemaVersion());
    await stores[0]?.createAccount({ username: 'ada', metadata: null });
    for (const store of stores) assert.equal((await store.getAccount('ada'))?.username, 'ada');
    const nodes = await database.query('SELECT node_id FROM posthorn.node');
    assert.equal(nodes.length, 5);
    await Promise.all(stores.map((store) => store.close()));
  });

  it('makes the partitions of today and the next two days', async () => {
    await (await openPostgresStore({ url: database.url })).close();
    const [row] = await database.query<{ days: string[]; expected: string[] }>(
      `SELECT (SELECT array_agg(relname::text ORDER BY relname) FROM pg_class
               WHERE relnamespace = 'posthorn'::regnamespace AND relname ~ '^event_[0-9]{8}$') AS days,
              (SELECT array_agg('event_' || to_char(now() AT TIME ZONE 'UTC' + d * interval '1 day', 'YYYYMMDD'))
               FROM generate_series(0, 2) d) AS expected`,
    );
    assert.deepEqual(row?.days, row?.expected);
  });

  it('tells that nobody answers, and where', async () => {
    const door = await ClosedDoor.start();
    const { port } = new URL(door.url);
    const error = await refusal(door.url);
    assert.match(error.message, new RegExp(`127\\.0\\.0\\.1:${port}/posthorn`));
    assert.match(error.message, /can't be reached/);
    await door.stop();
  });

  it('tells that the password is wrong', async () => {
    const error = await refusal(
      changed((url) => {
        url.password = PASSWORD;
      }),
    );
    assert.match(error.message, /user and password/);
  });

  it('tells that there is no such database', async () => {
    const error = await refusal(
      changed((url) => {
        url.pathname = '/not_there';
      }),
    );
    assert.match(error.message, /not_there can't be used: the database of this name does not exist/);
  });

  it('tells that the database has another encoding', async () => {
    const name = `${database.name}_ascii`;
    await database.query(`CREATE DATABASE ${name} ENCODING 'SQL_ASCII' LOCALE 'C' TEMPLATE template0`);
    const error = await refusal(
      changed((url) => {
        url.pathname = `/${name}`;
      }),
    );
    assert.match(error.message, /encoding SQL_ASCII: make the database with ENCODING 'UTF8'/);
    await database.query(`DROP DATABASE ${name} WITH (FORCE)`);
  });

  it('tells that the user may not set up the schema, and what to grant', async () => {
    await database.query(`CREATE ROLE "${database.name}" LOGIN PASSWORD '${PASSWORD}'`);
    const url = changed((target) => {
      target.username = database.name;
      target.password = PASSWORD;
    });
    const error = await refusal(url);
    assert.match(error.message, new RegExp(`user ${database.name} may not set up the schema`));
    assert.match(error.message, /grant it CREATE/);

    await database.query(`GRANT CREATE ON DATABASE ${database.name} TO "${database.name}"`);
    const store = await openPostgresStore({ url });
    await store.ping();
    await store.close();
    await database.query(`DROP OWNED BY "${database.name}"; DROP ROLE "${database.name}"`);
  });

  it('refuses a schema that a newer version has made', async () => {
    await migrateDatabase(database.url);
    await database.query(
      "INSERT INTO posthorn.schema_migration (version, name, checksum) VALUES ($1, 'later', 'x')",
      [knownSchemaVersion() + 1],
    );
    const error = await refusal(database.url);
    assert.match(
      error.message,
      new RegExp(`schema version ${knownSchemaVersion() + 1}.*start a newer Posthorn`),
    );
  });

  it('refuses a schema that another build has made', async () => {
    await migrateDatabase(database.url);
    await database.query("UPDATE posthorn.schema_migration SET checksum = 'x' WHERE version = 1");
    assert.match((await refusal(database.url)).message, /another build/);
  });

  it('undoes all of a migration that fails', async () => {
    await database.query('CREATE SCHEMA posthorn; CREATE TABLE posthorn.queue (mine integer)');
    await assertRefused('internal', migrateDatabase(database.url));
    assert.deepEqual(
      await database.query(
        "SELECT relname::text FROM pg_class WHERE relnamespace = 'posthorn'::regnamespace",
      ),
      [{ relname: 'queue' }],
    );
    assert.deepEqual(await appliedSchema(database.url), []);
  });

  it('reports what a migration did, and finds a migrated database up to date', async () => {
    assert.deepEqual(await appliedSchema(database.url), []);
    const first = await migrateDatabase(database.url);
    assert.deepEqual(
      [first.from, first.to, first.applied.length],
      [0, knownSchemaVersion(), knownSchemaVersion()],
    );
    assert.deepEqual(await migrateDatabase(database.url), { ...first, from: first.to, applied: [] });
    assert.equal((await appliedSchema(database.url)).length, knownSchemaVersion());
  });

  const wrongUrls: Record<string, [url: string, expected: RegExp]> = {
    'another scheme': [`mysql://posthorn:${PASSWORD}@localhost/posthorn`, /must look like postgres:/],
    'no URL at all': [`postgres://posthorn:${PASSWORD}@[::/posthorn`, /can't be used/],
    'an unknown sslmode': [`postgres://posthorn:${PASSWORD}@localhost/posthorn?sslmode=on`, /sslmode/],
    'a certificate to check by that isn’t named': [
      `postgres://posthorn:${PASSWORD}@localhost/posthorn?sslmode=verify-ca`,
      /needs sslrootcert/,
    ],
    'a certificate that isn’t there': [
      `postgres://posthorn:${PASSWORD}@localhost/posthorn?sslmode=verify-full&sslrootcert=/not/there.pem`,
      /\/not\/there\.pem can't be read \(ENOENT\)/,
    ],
  };
  for (const [what, [url, expected]] of Object.entries(wrongUrls)) {
    it(`refuses ${what} without repeating the URL`, async () => {
      const error = await assertRefused('invalid_parameter', openPostgresStore({ url }));
      assert.match(error.message, expected);
      assert.doesNotMatch(shown(error), new RegExp(PASSWORD));
    });
  }

  it('asks for TLS where the URL does, and says what to do when the server has none', async () => {
    const error = await refusal(
      changed((url) => {
        url.searchParams.set('sslmode', 'require');
      }),
    );
    assert.match(error.message, /speaks no TLS.*sslmode=disable/);
  });

  it('answers a ping only when it can commit', async () => {
    const store: Store = await openPostgresStore({ url: database.url });
    await store.ping();
    await database.query(`ALTER DATABASE ${database.name} SET default_transaction_read_only = on`);
    await database.query(
      `SELECT pg_terminate_backend(pid, 5000) FROM pg_stat_activity
       WHERE datname = current_database() AND application_name = 'posthorn'`,
    );
    const refusals: PosthornError[] = [];
    // The first may still hear that its connection was ended.
    for (let pings = 0; pings < 3; pings++) refusals.push(await assertRefused('unavailable', store.ping()));
    assert.match(refusals.at(-1)?.message ?? '', /read-only/);
    await store.close();
  });
});
