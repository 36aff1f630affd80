import { Client, type ClientConfig, Pool, type PoolClient, type QueryResult, types } from 'pg';
import { type Clock, systemClock } from '../../clock.ts';
import { invalid, PosthornError, unavailable } from '../../errors.ts';
import type { Sql } from './engine.ts';
import { endsSession, isDeadlockOrSerialization, toConnectionError, toPosthornError } from './failures.ts';
import { Reconnection } from './reconnection.ts';

const DEFAULT_POOL_SIZE = 10;
const DEFAULT_STATEMENT_TIMEOUT_MS = 10_000;
const CONNECT_TIMEOUT_MS = 5000;
/** How long a caller waits for one of the connections when all are busy. */
const BUSY_TIMEOUT_MS = 2 * CONNECT_TIMEOUT_MS;
/** A server that lives answers within the statement timeout and this; one that doesn't is given up. */
const ANSWER_GRACE_MS = 5000;
const CLOSE_TIMEOUT_MS = 1000;
/** Runs beside the first of what PostgreSQL gave up for another's sake. */
const MAX_RERUNS = 3;
const RERUN_DELAY_MS = 20;

const INT8 = 20;
const INT8_ARRAY = 1016;

export interface PostgresPoolOptions {
  /** `postgres://user:password@host:port/database?sslmode=…`; sslmode means what it means to psql, save that `allow` and `prefer` don't fall back to plain text. */
  url: string;
  /** Connections at most, beside the dedicated ones; default 10. */
  poolSize?: number;
  /** After which the server gives a statement up; default 10 s. */
  statementTimeoutMs?: number;
  clock?: Pick<Clock, 'monotonic' | 'random' | 'timer'>;
  /** Hears of the first sign of each outage; what follows from it is told to the callers alone. */
  onError?: (message: string, error: unknown) => void;
}

/** A transaction's handle. Its statements run one after another: await each before the next. */
export interface Transaction extends Sql {
  /** Calls `run` when the transaction has been committed; never when it is undone. */
  afterCommit(run: () => void): void;
}

/** A connection apart from the pool. */
export interface DedicatedConnection extends Sql {
  /** @param timeoutMs - without an answer for so long the connection is given up; default as in the pool */
  query<Row = Record<string, unknown>>(
    text: string,
    values?: readonly unknown[],
    timeoutMs?: number,
  ): Promise<Row[]>;
  onNotification(listener: (payload: string) => void): void;
  /** Resolves when the connection is gone, whoever ended it. */
  readonly ended: Promise<void>;
  close(): void;
}

export interface TransactionOptions {
  /** For statements that may take long, such as migrations. */
  statementTimeoutMs?: number;
}

/**
 * The store's way to PostgreSQL: a bounded pool whose calls end in time, whatever becomes of the server. Nothing is
 * connected before the first call.
 *
 * A statement without an answer within the statement timeout and 5 s rejects, and its connection is destroyed, with
 * those that are idle: what forgot one forgot the others. While the server is away calls are refused at once, and one
 * connection is tried now and then (see {@link Reconnection}).
 *
 * Works behind a proxy that pools transactions (PgBouncer): there is no startup parameter that it refuses, no named
 * statement, and nothing relies on the state of a session.
 *
 * @example
 * const pool = new PostgresPool({ url: 'postgres://posthorn:secret@db.example/posthorn?sslmode=verify-full' });
 * const [row] = await pool.query<{ now: number }>('SELECT posthorn.now_ms() AS now');
 * await pool.close();
 */
export class PostgresPool implements Sql {
  /** Where it leads, without user and password: `db.example:5432/posthorn`. */
  readonly server: string;
  readonly user: string;
  readonly #pool: Pool;
  readonly #poolSize: number;
  readonly #statementTimeoutMs: number;
  readonly #clock: Pick<Clock, 'monotonic' | 'random' | 'timer'>;
  readonly #reconnection: Reconnection;
  readonly #onError: (message: string, error: unknown) => void;
  readonly #sessions = new Set<Client>();
  /** Those of the pool that somebody uses right now, and those apart from it. */
  readonly #taken = new Set<Client>();
  readonly #newClient: () => Client;
  /** How many of them are apart from the pool. */
  #dedicated = 0;
  #isAway = false;
  #closing: Promise<void> | null = null;

  /** @throws PosthornError `invalid_parameter` when the URL isn't one, or names certificates that can't be read */
  constructor(options: PostgresPoolOptions) {
    this.#poolSize = options.poolSize ?? DEFAULT_POOL_SIZE;
    this.#statementTimeoutMs = options.statementTimeoutMs ?? DEFAULT_STATEMENT_TIMEOUT_MS;
    this.#clock = options.clock ?? systemClock;
    this.#onError = options.onError ?? (() => {});
    this.#reconnection = new Reconnection(this.#clock);
    const config: ClientConfig = {
      connectionString: withLibpqMeaning(options.url),
      application_name: 'posthorn',
      keepAlive: true,
      keepAliveInitialDelayMillis: 10_000,
      connectionTimeoutMillis: CONNECT_TIMEOUT_MS,
      types: { getTypeParser: typeParser as typeof types.getTypeParser },
    };
    const open = (client: Client, connect: () => Promise<unknown>) => this.#open(client, connect);
    class Session extends Client {
      constructor() {
        super(config);
        // Whoever waits for an answer hears of it by that; an error event without a listener would end the process.
        this.on('error', () => {});
      }

      override connect(): Promise<Client>;
      override connect(callback: (error: Error) => void): void;
      override connect(callback?: (error: Error) => void): Promise<Client> | undefined {
        const opened = open(this, () => super.connect()).then((): Client => this);
        if (callback === undefined) return opened;
        opened.then(() => callback(null as unknown as Error), callback);
        return undefined;
      }
    }
    this.#newClient = () => new Session();
    const { host, port, database, user } = sample(this.#newClient);
    this.server = `${host}:${port}/${database ?? ''}`;
    this.user = user ?? '';
    this.#pool = new Pool({
      Client: Session,
      max: this.#poolSize,
      connectionTimeoutMillis: BUSY_TIMEOUT_MS,
      idleTimeoutMillis: 60_000,
      maxLifetimeSeconds: 3600,
    });
    this.#pool.on('acquire', (client) => void this.#taken.add(client as unknown as Client));
    this.#pool.on('release', (_, client) => void this.#taken.delete(client as unknown as Client));
    this.#pool.on('error', (error) => {
      delete (error as { client?: unknown }).client;
      this.#noteOutage(toConnectionError(error));
    });
  }

  /** @see Sql.query; run anew when PostgreSQL gave it up for another's sake */
  query<Row = Record<string, unknown>>(text: string, values?: readonly unknown[]): Promise<Row[]> {
    return this.#rerunning(async () => {
      const client = await this.#acquire();
      try {
        const { rows } = await this.#ask(client, text, values);
        client.release();
        return rows as Row[];
      } catch (error) {
        client.release(endsSession(error));
        throw toPosthornError(error);
      }
    });
  }

  /** @see EngineContext.transaction */
  async transaction<T>(run: (sql: Transaction) => Promise<T>, options: TransactionOptions = {}): Promise<T> {
    const { result, committed } = await this.#rerunning(() => this.#transactOnce(run, options));
    for (const then of committed) then();
    return result;
  }

  /**
   * A connection apart from the pool, which the caller closes.
   *
   * @throws PosthornError `unavailable`
   */
  async dedicated(): Promise<DedicatedConnection> {
    const client = this.#newClient();
    const ended = new Promise<void>((resolve) => client.on('end', resolve));
    await client.connect();
    this.#dedicated += 1;
    this.#taken.add(client);
    client.once('end', () => {
      this.#dedicated -= 1;
    });
    return {
      query: async <Row>(text: string, values?: readonly unknown[], timeoutMs?: number): Promise<Row[]> => {
        try {
          return (await this.#ask(client, text, values, undefined, timeoutMs)).rows as Row[];
        } catch (error) {
          if (endsSession(error)) client.connection.stream.destroy();
          throw toPosthornError(error);
        }
      },
      onNotification: (listener) =>
        void client.on('notification', ({ payload }: { payload?: string | undefined }) =>
          listener(payload ?? ''),
        ),
      ended,
      close: () => void client.end().catch(() => {}),
    };
  }

  /** Waits for the calls that are under way; later ones reject. */
  close(): Promise<void> {
    this.#closing ??= this.#close();
    return this.#closing;
  }

  async #close(): Promise<void> {
    await this.#pool.end();
    const sessions = [...this.#sessions];
    const ended = Promise.all(
      sessions.map((client) => new Promise<void>((resolve) => client.once('end', () => resolve()))),
    );
    if (sessions.length === 0) return;
    // A server that stands still never answers the goodbye.
    const { promise: late, resolve } = Promise.withResolvers<void>();
    const cancel = this.#clock.timer(CLOSE_TIMEOUT_MS, resolve);
    await Promise.race([ended, late]);
    cancel();
    for (const client of this.#sessions) client.connection.stream.destroy();
  }

  async #acquire(mayRetry = true): Promise<PoolClient> {
    if (this.#closing !== null) throw unavailable('the store is closed');
    this.#boundPool();
    if (this.#reconnection.waitMs() > 0 && this.#left === 0) throw this.#refusal();
    try {
      for (;;) {
        const client = await this.#pool.connect();
        if (!(client as PoolClient & Client).connection.stream.destroyed) return client;
        // Its end is known here and not yet to the pool.
        client.release(true);
      }
    } catch (error) {
      if (!(error instanceof PosthornError)) {
        throw unavailable(`all ${this.#poolSize} connections to the database are busy: try again`, error);
      }
      if (!mayRetry || this.#left === 0) throw error;
      return this.#acquire(false);
    }
  }

  /** Connections that the pool has, idle or in use. */
  get #left(): number {
    return this.#sessions.size - this.#dedicated;
  }

  /** While no new connection may be tried, callers wait for one of those that are left. */
  #boundPool(): void {
    this.#pool.options.max = this.#reconnection.waitMs() > 0 ? Math.max(1, this.#left) : this.#poolSize;
  }

  /** Connects a client when it is time for that. */
  async #open(client: Client, connect: () => Promise<unknown>): Promise<void> {
    const trial = this.#reconnection.begin();
    if (trial === null) throw this.#refusal();
    try {
      await connect();
      await this.#ask(client, SESSION_SETTINGS, this.#sessionSettings(), undefined, CONNECT_TIMEOUT_MS);
    } catch (error) {
      trial.failed();
      this.#boundPool();
      client.connection.stream.destroy();
      const failure = toConnectionError(error);
      this.#noteOutage(failure);
      throw failure;
    }
    trial.succeeded();
    this.#isAway = false;
    this.#sessions.add(client);
    client.once('end', () => {
      this.#sessions.delete(client);
      this.#taken.delete(client);
    });
  }

  /** Each of them would be found dead by a caller who waits in vain. If the server was merely slow, they are made anew. */
  #dropIdle(): void {
    for (const client of this.#sessions) if (!this.#taken.has(client)) client.connection.stream.destroy();
  }

  #refusal(): PosthornError {
    const seconds = Math.max(1, Math.ceil(this.#reconnection.waitMs() / 1000));
    return unavailable('the database is away: try again', undefined, seconds);
  }

  #sessionSettings(): string[] {
    const timeoutMs = Math.round(this.#statementTimeoutMs);
    return [String(timeoutMs), String(timeoutMs + ANSWER_GRACE_MS)];
  }

  async #ask(
    client: Client,
    text: string,
    values?: readonly unknown[],
    statementTimeoutMs = this.#statementTimeoutMs,
    answerTimeoutMs = statementTimeoutMs + ANSWER_GRACE_MS,
  ): Promise<QueryResult> {
    const { promise: unanswered, reject } = Promise.withResolvers<never>();
    const cancel = this.#clock.timer(answerTimeoutMs, () => {
      const silence = new Error(`the database did not answer within ${answerTimeoutMs} ms`);
      reject(silence);
      client.connection.stream.destroy();
      this.#dropIdle();
      this.#noteOutage(toConnectionError(silence));
    });
    try {
      return await Promise.race([client.query({ text, values: values as unknown[] }), unanswered]);
    } finally {
      cancel();
    }
  }

  async #transactOnce<T>(
    run: (sql: Transaction) => Promise<T>,
    { statementTimeoutMs }: TransactionOptions,
  ): Promise<{ result: T; committed: (() => void)[] }> {
    const client = await this.#acquire();
    const committed: (() => void)[] = [];
    let failure: unknown = null;
    let isOpen = true;
    const ask = async (text: string, values?: readonly unknown[]): Promise<QueryResult> => {
      try {
        return await this.#ask(client, text, values, statementTimeoutMs);
      } catch (error) {
        failure = error;
        throw toPosthornError(error);
      }
    };
    const sql: Transaction = {
      async query<Row>(text: string, values?: readonly unknown[]): Promise<Row[]> {
        if (!isOpen) throw new PosthornError('internal', 'a statement came after the end of its transaction');
        return (await ask(text, values)).rows as Row[];
      },
      afterCommit: (then) => void committed.push(then),
    };
    try {
      await ask('BEGIN ISOLATION LEVEL READ COMMITTED');
      if (statementTimeoutMs !== undefined) {
        await ask(`SET LOCAL statement_timeout = ${Math.round(statementTimeoutMs)}`);
      }
      const result = await run(sql);
      isOpen = false;
      const { command } = await ask('COMMIT');
      // What PostgreSQL answers when a statement had failed and `run` went on regardless.
      if (command !== 'COMMIT') {
        throw new PosthornError('internal', 'a transaction was undone because a statement had failed');
      }
      client.release();
      return { result, committed };
    } catch (error) {
      isOpen = false;
      await this.#undo(client, failure);
      throw error;
    }
  }

  /** @param failure - of a statement of the transaction; null when none failed */
  async #undo(client: PoolClient, failure: unknown): Promise<void> {
    if (failure !== null && endsSession(failure)) return client.release(true);
    try {
      await this.#ask(client, 'ROLLBACK');
      client.release();
    } catch {
      client.release(true); // ends the transaction too
    }
  }

  async #rerunning<T>(run: () => Promise<T>): Promise<T> {
    for (let reruns = 0; ; reruns++) {
      try {
        return await run();
      } catch (error) {
        if (reruns === MAX_RERUNS || !isDeadlockOrSerialization(error)) throw error;
      }
      const { promise: waited, resolve } = Promise.withResolvers<void>();
      this.#clock.timer(RERUN_DELAY_MS * 2 ** reruns * (0.5 + this.#clock.random()), resolve);
      await waited;
    }
  }

  #noteOutage(error: PosthornError): void {
    if (this.#isAway) return;
    this.#isAway = true;
    this.#onError('the database is away', error);
  }
}

// By statement, for a proxy may refuse startup parameters that it doesn't know. A node that stalls within a transaction
// must not hold its locks for ever. And what was acknowledged must be on disk, whatever the database's default is.
const SESSION_SETTINGS = `SELECT set_config('statement_timeout', $1, false),
  set_config('idle_in_transaction_session_timeout', $2, false),
  CASE WHEN current_setting('synchronous_commit') = 'off' THEN set_config('synchronous_commit', 'on', false) END`;

function typeParser(oid: number, format?: 'text' | 'binary'): (text: string) => unknown {
  if (oid === INT8) return Number;
  if (oid === INT8_ARRAY) {
    const parse = types.getTypeParser(INT8_ARRAY as never, 'text') as (text: string) => (string | null)[];
    return (text) => parse(text).map((member) => (member === null ? null : Number(member)));
  }
  return types.getTypeParser(oid as never, format as 'text') as (text: string) => unknown;
}

/** The driver's own reading of `sslmode=require` is changing; psql's is what people know. */
function withLibpqMeaning(url: string): string {
  if (!/^postgres(ql)?:\/\//.test(url)) {
    throw invalid(
      'database_url',
      'the database URL must look like postgres://user:password@host:5432/database',
    );
  }
  const mode = /[?&]sslmode=([^&#]*)/.exec(url)?.[1];
  if (mode === undefined || url.includes('uselibpqcompat=')) return url;
  if (!/^(disable|allow|prefer|require|verify-ca|verify-full)$/.test(mode)) {
    throw invalid(
      'database_url',
      'sslmode of the database URL must be disable, require, verify-ca or verify-full',
    );
  }
  if (mode === 'verify-ca' && !url.includes('sslrootcert=')) {
    throw invalid('database_url', 'sslmode=verify-ca of the database URL needs sslrootcert=<file>');
  }
  return `${url.replace(/([?&]sslmode=)allow/, '$1prefer')}&uselibpqcompat=true`;
}

/** A client that is never connected, to see at once what is wrong with a URL. */
function sample(newClient: () => Client): Client {
  try {
    return newClient();
  } catch (error) {
    const { code, path } = error as { code?: unknown; path?: unknown };
    const file = typeof path === 'string' ? `: ${path} can't be read (${String(code)})` : '';
    throw invalid('database_url', `the database URL can't be used${file}`);
  }
}
