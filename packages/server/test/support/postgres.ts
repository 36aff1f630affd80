/**
 * Real PostgreSQL for tests: `POSTHORN_TEST_POSTGRES_URL` when it is set (in a whole run of the suites the global
 * set-up sets it), else a cluster that this process starts when it first needs one and that ends with it.
 */
import { randomBytes } from 'node:crypto';
import pg from 'pg';
import { PostgresCluster } from './postgres-cluster.ts';

export interface PostgresDatabase {
  /** For the server's superuser. */
  readonly url: string;
  readonly name: string;
  /** Runs a statement as the superuser on a connection of the tests' own; bigint comes as text. */
  query<Row = Record<string, unknown>>(text: string, values?: readonly unknown[]): Promise<Row[]>;
  /** Ends the tests' own connection; the next query opens another. */
  disconnect(): Promise<void>;
  /** Removes it, also while others are connected; once more does nothing. It goes with a cluster of the test's own. */
  drop(): Promise<void>;
}

export interface NewDatabase {
  /** A cluster of the test's own; default: the server that all tests share. */
  cluster?: PostgresCluster;
  /** A database of the same server, without other connections, to start as a copy of; default: an empty one. */
  template?: PostgresDatabase;
}

let ownCluster: Promise<PostgresCluster> | undefined;

/** Ends with this process: in order when nothing is left to do, and by its keeper when the process is killed. */
async function startOwnCluster(): Promise<PostgresCluster> {
  const cluster = await PostgresCluster.start();
  process.once('beforeExit', () => void cluster.remove());
  return cluster;
}

async function sharedServerUrl(): Promise<string> {
  const given = process.env.POSTHORN_TEST_POSTGRES_URL;
  if (given) return given;
  ownCluster ??= startOwnCluster();
  return (await ownCluster).url();
}

/** With what its types leave out. */
type Client = pg.Client & { ref(): void; unref(): void };

/**
 * A connection for the tests' own statements: opened when it is needed, again after the server was away, and no
 * reason for the process to stay alive.
 */
class Connection {
  readonly #url: string;
  #client: Promise<Client> | undefined;
  #queries = 0;

  constructor(url: string) {
    this.#url = url;
  }

  async query<Row>(text: string, values: readonly unknown[] = []): Promise<Row[]> {
    const client = await (this.#client ??= this.#connect());
    this.#queries += 1;
    client.ref();
    try {
      return (await client.query(text, [...values])).rows as Row[];
    } finally {
      this.#queries -= 1;
      if (this.#queries === 0) client.unref();
    }
  }

  async end(): Promise<void> {
    const client = await this.#client?.catch(() => undefined);
    this.#client = undefined;
    client?.ref();
    await client?.end();
  }

  async #connect(): Promise<Client> {
    const client = new pg.Client({
      connectionString: this.#url,
      application_name: 'posthorn tests',
    }) as Client;
    const forget = () => {
      this.#client = undefined;
    };
    client.on('error', forget);
    try {
      await client.connect();
    } catch (error) {
      forget();
      throw error;
    }
    return client;
  }
}

async function withConnection<T>(url: string, run: (connection: Connection) => Promise<T>): Promise<T> {
  const connection = new Connection(url);
  try {
    return await run(connection);
  } finally {
    await connection.end();
  }
}

/**
 * Creates a database that nobody else uses; 20 ms.
 *
 * @example
 * const database = await createDatabase();
 * t.after(() => database.drop());
 * const store = await openPostgresStore({ url: database.url });
 */
export async function createDatabase({ cluster, template }: NewDatabase = {}): Promise<PostgresDatabase> {
  const serverUrl = cluster?.url() ?? (await sharedServerUrl());
  const name = `posthorn_test_${randomBytes(8).toString('hex')}`;
  await template?.disconnect();
  const source = template === undefined ? '' : ` TEMPLATE ${template.name}`;
  try {
    await withConnection(serverUrl, (server) => server.query(`CREATE DATABASE ${name}${source}`));
  } catch (cause) {
    const { host } = new URL(serverUrl);
    throw new Error(
      `no database for the tests on ${host}: ${(cause as Error).message}. ` +
        'If POSTHORN_TEST_POSTGRES_URL is set, it has to lead to a server that runs, as a superuser.',
      { cause },
    );
  }
  const url = new URL(serverUrl);
  url.pathname = `/${name}`;
  const connection = new Connection(url.href);
  let isDropped = false;
  return {
    url: url.href,
    name,
    query: (text, values) => connection.query(text, values),
    disconnect: () => connection.end(),
    drop: async () => {
      await connection.end();
      if (isDropped) return;
      isDropped = true;
      await withConnection(serverUrl, (server) => server.query(`DROP DATABASE ${name} WITH (FORCE)`));
    },
  };
}

/**
 * Deletes every record of Posthorn's and leaves what describes the schema and the nodes that are running. Quicker than
 * TRUNCATE, which makes new files for every table and index.
 */
export async function clearRecords(database: PostgresDatabase): Promise<void> {
  const tables = await database.query<{ name: string }>(
    `SELECT oid::regclass::text AS name FROM pg_class
     WHERE relnamespace = 'posthorn'::regnamespace AND relkind IN ('r', 'p') AND NOT relispartition
       AND relname NOT IN ('schema_migration', 'builtin_event_type', 'node')`,
  );
  // The audit log is append-only by a trigger; nothing else wants to hear of this either.
  const quietly = `PERFORM set_config('session_replication_role', 'replica', true);`;
  const deletions = tables.map(({ name }) => `DELETE FROM ${name};`).join(' ');
  await database.query(`DO $$ BEGIN ${quietly} ${deletions} END $$`);
}
