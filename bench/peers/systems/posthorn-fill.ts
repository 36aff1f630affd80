/**
 * A long history and a long queue for Posthorn, faster than it could make them itself: a thousand real deliveries of each
 * kind are made through the service, and their rows copied inside the database. So nothing here repeats the schema but
 * the names of the columns that say whose row it is.
 */
import { once } from 'node:events';
import { createServer, type ServerResponse } from 'node:http';
import type { AddressInfo } from 'node:net';
import { makeData } from '../events.ts';
import { EVENT_TYPE, type Fleet, type Running } from '../system.ts';
import { PosthornApi } from './posthorn-api.ts';

/** So many real deliveries are made of each kind; a request to publish takes no more. */
const SEEDS = 1000;
const SEEDING_PATIENCE_MS = 30_000;
/** The accounts of the real ones. Both names stay in the database. */
const DONE = 'seed-done';
const LATER = 'seed-later';

/** An endpoint that fails a thousand times in a row would get probes instead. */
const SEEDING_SETTINGS: Readonly<Record<string, string>> = { POSTHORN_PROBE_AFTER: '1000000' };

/** A table whose rows have an account and one of these columns holds rows of events or deliveries. */
export const OF_EVENTS: readonly string[] = ['event_id', 'event_seq', 'delivery_id'];

/** An endpoint that gets copies. */
interface Target {
  username: string;
  endpointId: string;
}

/** How an engine copies rows. */
export interface RowCopier {
  /** The tables that hold rows of events or deliveries, with their columns that have to be written. */
  tables(): Promise<{ name: string; columns: string[] }[]>;
  /** Runs statements in one transaction; parameters don't occur. */
  run(statements: readonly string[]): Promise<void>;
  /** Leaves the database as after a quiet night: statistics fresh, nothing left to flush. */
  settle(): Promise<void>;
  close(): Promise<void>;
}

/**
 * Fills a Posthorn that isn't running.
 *
 * @param start - starts it, with API and delivery, and these settings besides its own
 * @param openCopier - opens its database once it has stopped
 */
export async function fillPosthorn(
  counts: { finished: number; pending: number },
  fleet: Fleet,
  start: (settings: Readonly<Record<string, string>>) => Promise<Running>,
  openCopier: () => Promise<RowCopier>,
): Promise<void> {
  const targets = await makeSeeds(fleet, () => start(SEEDING_SETTINGS));
  const copier = await openCopier();
  try {
    const tables = await copier.tables();
    for (const [seed, count] of [
      [DONE, counts.finished],
      [LATER, counts.pending],
    ] as const) {
      const copies = Math.ceil(count / SEEDS);
      for (let copy = 1; copy <= copies; copy += 1) {
        const target = targets[copy % targets.length];
        if (target === undefined) throw new Error('the fleet has no endpoints to fill');
        await copier.run(tables.map((table) => copyStatement(table, seed, target, copy)));
      }
    }
    await copier.settle();
  } finally {
    await copier.close();
  }
}

/** Makes the real deliveries, and stops the service when they are what they should be; answers who gets copies. */
async function makeSeeds(fleet: Fleet, start: () => Promise<Running>): Promise<Target[]> {
  const { port, apiKey, stop, kill } = await start();
  const api = new PosthornApi(port ?? 0, apiKey);
  try {
    await seed(api, DONE, (answer) => answer.writeHead(204).end());
    await seed(api, LATER, (answer) => answer.writeHead(503, { 'retry-after': '86400' }).end());
    const targets: Target[] = [];
    for (const { username } of fleet.accounts) {
      const { data } = await api.must('GET', '/v2/endpoints', undefined, { 'x-account': username });
      const { endpoints } = data as { endpoints: { endpoint_id: string }[] };
      targets.push(...endpoints.map(({ endpoint_id: endpointId }) => ({ username, endpointId })));
    }
    await stop();
    return targets;
  } catch (error) {
    await kill();
    throw error;
  } finally {
    api.close();
  }
}

async function seed(
  api: PosthornApi,
  username: string,
  answerBy: (answer: ServerResponse) => void,
): Promise<void> {
  const all = Promise.withResolvers<void>();
  let requests = 0;
  const server = createServer((incoming, answer) => {
    incoming.resume().once('end', () => {
      answerBy(answer);
      requests += 1;
      if (requests >= SEEDS) all.resolve();
    });
  });
  server.listen(0, '127.0.0.1');
  await once(server, 'listening');
  const patience = setTimeout(
    () => all.reject(new Error(`only ${requests} of ${SEEDS} deliveries to ${username} came in 30 s`)),
    SEEDING_PATIENCE_MS,
  );
  try {
    const { port } = server.address() as AddressInfo;
    const account = { 'x-account': username };
    await api.must('POST', '/v2/account', { username });
    const endpoint = { url: `http://127.0.0.1:${port}/`, events: [EVENT_TYPE] };
    await api.must('POST', '/v2/endpoint', endpoint, account);
    const data = makeData();
    const events = Array.from({ length: SEEDS }, (_, number) => ({
      username,
      event: EVENT_TYPE,
      event_id: `${username}-${number}`,
      data,
    }));
    await api.must('POST', '/v2/publish', { events });
    await all.promise;
  } finally {
    clearTimeout(patience);
    server.closeAllConnections();
    server.close();
  }
}

/** Copies a seed's rows of one table to an endpoint, under ids of their own. */
export function copyStatement(
  { name, columns }: { name: string; columns: readonly string[] },
  seedAccount: string,
  { username, endpointId }: Target,
  copy: number,
): string {
  const suffix = `-${copy}`;
  const values = columns.map((column) => {
    switch (column) {
      case 'username':
        return `'${username}'`;
      case 'endpoint_id':
        return `'${endpointId}'`;
      case 'event_id':
      case 'delivery_id':
        return `${column} || '${suffix}'`;
      case 'seq':
      case 'event_seq':
        // A number of its own, before all that the service gives itself.
        return `${column} - ${copy} * 1000000`;
      case 'body':
        return `replace(body, '"event_id":"' || event_id || '"', '"event_id":"' || event_id || '${suffix}"')`;
      default:
        return column;
    }
  });
  // Copies have numbers below 0: without this each would be looked at again, where no index leads with the account.
  const seeds = `username = '${seedAccount}'${columns.includes('seq') ? ' AND seq > 0' : ''}`;
  return `INSERT INTO ${name} (${columns.join(', ')}) SELECT ${values.join(', ')} FROM ${name} WHERE ${seeds}`;
}
