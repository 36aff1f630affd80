/** Posthorn on PostgreSQL: as one process, and with API and delivery as two. */
import { randomBytes } from 'node:crypto';
import type { Fleet, Mode, Postgres, Running, Site, System } from '../system.ts';
import { PosthornApi } from './posthorn-api.ts';
import { fillPosthorn } from './posthorn-fill.ts';
import { openPostgresCopier } from './posthorn-fill-postgres.ts';
import {
  endAll,
  makeOperatorKey,
  pidsOf,
  POSTHORN_SETTINGS_SHOWN,
  type PosthornProcess,
  startPosthorn,
} from './posthorn-process.ts';

/** The roles of the processes of each mode; the first one that has an API takes the events. */
type Roles = Record<Mode, readonly ('all' | 'api' | 'worker')[]>;

const ONE_PROCESS: Roles = { ingest: ['api'], deliver: ['worker'], both: ['all'] };
const TWO_PROCESSES: Roles = { ingest: ['api'], deliver: ['worker'], both: ['api', 'worker'] };

interface State {
  site: Site;
  postgres: Postgres;
  url: string;
  fleet: Fleet;
  key: string;
  env: Record<string, string>;
}

/** A new {@link System} for Posthorn on PostgreSQL in one process. */
export function posthornPostgres(): System {
  return onPostgres('posthorn-postgres', ONE_PROCESS, 'one, which does all when both are measured');
}

/** A new {@link System} for Posthorn on PostgreSQL with API and delivery in two processes. */
export function posthornPostgresSplit(): System {
  return onPostgres('posthorn-postgres-split', TWO_PROCESSES, 'POSTHORN_ROLE=api and POSTHORN_ROLE=worker');
}

function onPostgres(name: string, roles: Roles, processes: string): System {
  const database = name.replaceAll('-', '_');
  let state: State | undefined;
  let started: PosthornProcess[] = [];

  async function start(mode: Mode, settings: Readonly<Record<string, string>> = {}): Promise<Running> {
    if (state === undefined) throw new Error(`${name}: start before setUp`);
    const { site, postgres, key, env } = state;
    const starting = roles[mode].map((role) =>
      startPosthorn(site, `${name}-${role}`, key, { ...env, POSTHORN_ROLE: role, ...settings }),
    );
    const settled = await Promise.allSettled(starting);
    started = settled.flatMap((result) => (result.status === 'fulfilled' ? [result.value] : []));
    const failed = settled.find((result) => result.status === 'rejected');
    if (failed !== undefined) throw failed.reason;
    const current = started;
    return {
      port: mode === 'deliver' ? null : (current[0]?.port ?? null),
      apiKey: key,
      pids: () => [...pidsOf(current), postgres.pid],
      stop: () => endAll(current, 'SIGTERM'),
      kill: () => endAll(current, 'SIGKILL'),
    };
  }

  return {
    name,
    durability: 'durable',
    family: 'posthorn-postgres',
    settings: { ...POSTHORN_SETTINGS_SHOWN, processes },
    isAvailable: async () => true,
    async setUp(site: Site, fleet: Fleet) {
      const postgres = await site.postgres();
      const key = makeOperatorKey();
      const url = await postgres.createDatabase(database);
      const env = {
        POSTHORN_DATABASE_URL: url,
        POSTHORN_ENCRYPTION_KEY: randomBytes(32).toString('base64'),
      };
      state = { site, postgres, url, fleet, key, env };
      const { port, stop } = await start('ingest');
      const api = new PosthornApi(port ?? 0, key);
      await api.createFleet(fleet).finally(() => api.close());
      await stop();
    },
    start: (mode) => start(mode),
    async fill(counts) {
      if (state === undefined) throw new Error(`${name}: fill before setUp`);
      const { fleet, url } = state;
      await fillPosthorn(
        counts,
        fleet,
        (settings) => start('both', settings),
        () => openPostgresCopier(url),
      );
    },
    async tearDown() {
      await endAll(started, 'SIGKILL');
      started = [];
      await state?.postgres.dropDatabase(database);
      state = undefined;
    },
  };
}
