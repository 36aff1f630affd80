/** The nodes of one database, each a process of its own: `posthorn serve` in any role, on PostgreSQL. */
import { createEncryptionKey } from '../../src/secrets.ts';
import { type LogLine, type RunningService, startService } from '../cli/harness.ts';
import { Client } from './client.ts';
import { type TempDir, tempDir } from './tempdir.ts';

const OPERATOR_KEY = 'fleet-test-operator-key-'.padEnd(48, '0');

export type Role = 'api' | 'worker' | 'all';

export interface FleetNode extends RunningService {
  role: Role;
  operator: Client;
}

export interface FleetOptions {
  databaseUrl: string;
  /** `POSTHORN_…` variables of all nodes. */
  env?: Record<string, string>;
  /** After which a node is killed, whatever it does; default a minute. */
  longestRunMs?: number;
}

/**
 * @example
 * const fleet = await Fleet.gather({ databaseUrl: database.url });
 * t.after(() => fleet.disband());
 * const [api, worker] = await Promise.all([fleet.start('api'), fleet.start('worker')]);
 * worker.kill('SIGKILL');
 */
export class Fleet {
  /** All that were ever started, in the order of their starts. */
  readonly nodes: FleetNode[] = [];
  readonly #options: FleetOptions;
  readonly #folder: TempDir;
  readonly #env: Record<string, string>;

  static async gather(options: FleetOptions): Promise<Fleet> {
    return new Fleet(options, await tempDir());
  }

  private constructor(options: FleetOptions, folder: TempDir) {
    this.#options = options;
    this.#folder = folder;
    this.#env = {
      POSTHORN_DATABASE_URL: options.databaseUrl,
      POSTHORN_DATABASE_POOL: '5',
      POSTHORN_OPERATOR_KEY: OPERATOR_KEY,
      POSTHORN_ENCRYPTION_KEY: createEncryptionKey(),
      POSTHORN_ENDPOINT_POLICY: 'development',
      POSTHORN_RATE_LIMIT_POST: 'off',
      ...options.env,
    };
  }

  /** Resolves when the node listens; an empty variable counts as absent. */
  async start(role: Role, env: Record<string, string> = {}): Promise<FleetNode> {
    const { longestRunMs } = this.#options;
    const service = await startService(this.#folder.path, {
      env: { ...this.#env, POSTHORN_ROLE: role, ...env },
      ...(longestRunMs === undefined ? {} : { longestRunMs }),
    });
    // In place, so that what it reads later is seen.
    const node = Object.assign(service, { role, operator: new Client(service.url, OPERATOR_KEY) });
    this.nodes.push(node);
    return node;
  }

  /** Kills what still runs, stopped processes too. */
  async disband(): Promise<void> {
    for (const node of this.nodes) node.kill('SIGKILL');
    await Promise.all(this.nodes.map((node) => node.ended));
    await this.#folder.remove();
  }
}

/** Every line that a node has logged so far and that `matches`. */
export function loggedLines(node: RunningService, matches: (line: LogLine) => boolean): LogLine[] {
  return node.stdout
    .split('\n')
    .slice(0, -1)
    .map((line) => JSON.parse(line) as LogLine)
    .filter(matches);
}
