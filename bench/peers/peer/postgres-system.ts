/** The frame that the peers on PostgreSQL have in common. */
import type { Postgres, Running, System } from '../system.ts';
import { fillPeer, type Layout, type PeerSite, setUpPeer, startPeer } from './processes.ts';
import { PEER_SETTINGS } from './settings.ts';

/** A {@link System} whose queue lives in a database of the run's PostgreSQL server. */
export function postgresPeer(
  name: 'pg-boss' | 'graphile-worker',
  layout: Layout,
  settings: Record<string, string>,
): System {
  const database = name.replace('-', '_');
  let postgres: Postgres | undefined;
  let peer: PeerSite | undefined;
  let running: Running | undefined;

  return {
    name,
    durability: 'durable',
    family: 'postgres-peer',
    settings: { ...PEER_SETTINGS, ...settings },
    isAvailable: async () => true,
    async setUp(site) {
      await running?.kill();
      postgres = await site.postgres();
      const databaseUrl = await postgres.createDatabase(database);
      peer = { site, name, queue: name, databaseUrl, databasePid: postgres.pid };
      await setUpPeer(peer);
    },
    async start(mode) {
      if (peer === undefined) throw new Error(`${name}: start before setUp`);
      running = await startPeer(peer, layout, mode);
      return running;
    },
    async fill(counts) {
      if (peer === undefined) throw new Error(`${name}: fill before setUp`);
      await fillPeer(peer, counts);
    },
    async tearDown() {
      await running?.kill();
      running = undefined;
      peer = undefined;
      await postgres?.dropDatabase(database);
      postgres = undefined;
    },
  };
}
