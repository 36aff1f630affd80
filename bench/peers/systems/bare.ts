/** The upper bound: a loop that signs and sends what it has in memory, and keeps nothing. */
import type { ChildProcess } from 'node:child_process';
import { once } from 'node:events';
import { writeFile } from 'node:fs/promises';
import { join } from 'node:path';
import { endProcess } from '../site.ts';
import type { Fleet, Running, Site, System } from '../system.ts';
import { BARE_SETTINGS, type PreparedEvents } from './bare-loop.ts';

const LOOP = join(import.meta.dirname, 'bare-loop.ts');

/** A new {@link System} for the bare loop. It has no ingest: only the drain can be measured. */
export function bare(): System {
  let site: Site | undefined;
  let fleet: Fleet = { accounts: [] };
  let child: ChildProcess | undefined;
  const end = async () => {
    if (child !== undefined) await endProcess(child, 'SIGKILL');
  };
  return {
    name: 'bare-undici',
    durability: 'none',
    family: 'bound',
    settings: BARE_SETTINGS,
    isAvailable: async () => true,
    async setUp(given, givenFleet) {
      site = given;
      fleet = givenFleet;
    },
    async prepare(events) {
      if (site === undefined) throw new Error('bare-undici: prepare before setUp');
      const byName = new Map(fleet.accounts.map((account) => [account.username, account.endpoints]));
      const prepared: PreparedEvents = events.map(({ username, eventId, data }) => ({
        eventId,
        data,
        endpoints: byName.get(username) ?? [],
      }));
      await writeFile(join(site.folder, 'bare.json'), JSON.stringify(prepared));
    },
    async start(mode): Promise<Running> {
      if (site === undefined) throw new Error('bare-undici: start before setUp');
      if (mode !== 'deliver')
        throw new Error('bare-undici accepts nothing: it only delivers what was prepared');
      child = site.spawn('bare-undici', LOOP, ['as-process', join(site.folder, 'bare.json')], {
        stdio: ['ignore', 'inherit', 'inherit', 'ipc'],
      });
      const [message] = (await Promise.race([
        once(child, 'message'),
        once(child, 'exit').then(([code]) => {
          throw new Error(`the bare loop ended with ${code} before it was ready`);
        }),
      ])) as [string];
      if (message !== 'ready') throw new Error(`the bare loop said ${JSON.stringify(message)}`);
      const { pid } = child;
      return {
        port: null,
        apiKey: '',
        pids: () => (pid === undefined ? [] : [pid]),
        stop: end,
        kill: end,
      };
    },
    async tearDown() {
      await end();
      site = undefined;
    },
  };
}
