/** Posthorn on SQLite: one process, one file. */
import { mkdir, rm } from 'node:fs/promises';
import { join } from 'node:path';
import type { Fleet, Mode, Running, Site, System } from '../system.ts';
import { PosthornApi } from './posthorn-api.ts';
import { fillPosthorn } from './posthorn-fill.ts';
import { openSqliteCopier } from './posthorn-fill-sqlite.ts';
import {
  endAll,
  makeOperatorKey,
  pidsOf,
  POSTHORN_SETTINGS_SHOWN,
  startPosthorn,
} from './posthorn-process.ts';

const NAME = 'posthorn-sqlite';

interface State {
  site: Site;
  folder: string;
  file: string;
  fleet: Fleet;
  key: string;
  env: Record<string, string>;
}

/** A new {@link System} for Posthorn on SQLite. */
export function posthornSqlite(): System {
  let state: State | undefined;
  let running: Running | undefined;

  async function start(mode: Mode, settings: Readonly<Record<string, string>> = {}): Promise<Running> {
    if (state === undefined) throw new Error(`${NAME}: start before setUp`);
    const { site, key, env } = state;
    const role: Record<string, string> = mode === 'ingest' ? { POSTHORN_ROLE: 'api' } : {};
    const processes = [await startPosthorn(site, NAME, key, { ...env, ...role, ...settings })];
    running = {
      port: processes[0]?.port ?? null,
      apiKey: key,
      pids: () => pidsOf(processes),
      stop: () => endAll(processes, 'SIGTERM'),
      kill: () => endAll(processes, 'SIGKILL'),
    };
    return running;
  }

  return {
    name: NAME,
    durability: 'durable',
    family: 'posthorn-sqlite',
    settings: {
      ...POSTHORN_SETTINGS_SHOWN,
      database: 'SQLite, WAL, synchronous=FULL',
      processes: 'one; for ingest alone with POSTHORN_ROLE=api',
    },
    isAvailable: async () => true,
    async setUp(site: Site, fleet: Fleet) {
      const folder = join(site.folder, NAME);
      await rm(folder, { recursive: true, force: true });
      await mkdir(folder);
      const key = makeOperatorKey();
      const file = join(folder, 'posthorn.db');
      state = { site, folder, file, fleet, key, env: { POSTHORN_DATABASE_URL: `sqlite:${file}` } };
      const { port, stop } = await start('both');
      const api = new PosthornApi(port ?? 0, key);
      await api.createFleet(fleet).finally(() => api.close());
      await stop();
    },
    start: (mode) => start(mode),
    async fill(counts) {
      if (state === undefined) throw new Error(`${NAME}: fill before setUp`);
      const { fleet, file } = state;
      await fillPosthorn(
        counts,
        fleet,
        (settings) => start('both', settings),
        () => openSqliteCopier(file),
      );
    },
    async tearDown() {
      await running?.kill();
      running = undefined;
      if (state !== undefined) await rm(state.folder, { recursive: true, force: true });
      state = undefined;
    },
  };
}
