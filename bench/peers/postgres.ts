/** The PostgreSQL server of a run: real, with fsync on, and set as on a small machine of one's own. */
import pg from 'pg';
import { PostgresCluster } from '../../packages/server/test/support/postgres-cluster.ts';
import type { Postgres } from './system.ts';

/**
 * What a good engineer sets on a machine of a few GB that other things run on too. Nothing here weakens durability:
 * `fsync`, `synchronous_commit` and `full_page_writes` are named because the tests' servers have them off.
 */
const SETTINGS: Readonly<Record<string, string>> = {
  fsync: 'on',
  synchronous_commit: 'on',
  full_page_writes: 'on',
  shared_buffers: '512MB',
  effective_cache_size: '2GB',
  work_mem: '16MB',
  maintenance_work_mem: '128MB',
  max_wal_size: '4GB',
  checkpoint_timeout: '15min',
  random_page_cost: '1.1',
  effective_io_concurrency: '200',
  max_connections: '200',
  jit: 'off',
  timezone: 'UTC',
};

export class PostgresServer implements Postgres {
  readonly settings = { ...SETTINGS };
  readonly pid: number;
  readonly #cluster: PostgresCluster;

  private constructor(cluster: PostgresCluster, pid: number) {
    this.#cluster = cluster;
    this.pid = pid;
  }

  /** @throws Error with a sentence that says what is missing */
  static async start(): Promise<PostgresServer> {
    const cluster = await PostgresCluster.start({ settings: { ...SETTINGS } });
    try {
      const pid = await withClient(cluster.url(), async (client) => {
        const { rows } = await client.query(
          `SELECT split_part(pg_read_file('postmaster.pid'), E'\\n', 1) AS pid`,
        );
        return Number((rows as { pid: string }[])[0]?.pid);
      });
      return new PostgresServer(cluster, pid);
    } catch (error) {
      await cluster.remove();
      throw error;
    }
  }

  async createDatabase(name: string): Promise<string> {
    await this.dropDatabase(name);
    await withClient(this.#cluster.url(), (client) =>
      client.query(`CREATE DATABASE ${pg.escapeIdentifier(name)}`),
    );
    return this.#cluster.url(name);
  }

  /** Also settles what the database left to write, which would otherwise be paid by whoever is measured next. */
  async dropDatabase(name: string): Promise<void> {
    await withClient(this.#cluster.url(), async (client) => {
      await client.query(`DROP DATABASE IF EXISTS ${pg.escapeIdentifier(name)} WITH (FORCE)`);
      await client.query('CHECKPOINT');
    });
  }

  async remove(): Promise<void> {
    await this.#cluster.remove();
  }
}

async function withClient<T>(url: string, use: (client: pg.Client) => Promise<T>): Promise<T> {
  const client = new pg.Client({ connectionString: url, application_name: 'bench' });
  await client.connect();
  try {
    return await use(client);
  } finally {
    await client.end();
  }
}
