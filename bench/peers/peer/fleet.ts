import { readFile } from 'node:fs/promises';
import type { Fleet } from '../system.ts';

/** Where a delivery goes. */
export interface Target {
  origin: string;
  hostname: string;
  path: string;
  /** The whole `whsec_…` string: the key of the signature (wire contract, section 2). */
  secret: string;
}

/** The fleet in memory, which spares the peer every query for an account or an endpoint. */
export interface Directory {
  /** Numbers of an account's endpoints by its username. */
  endpointsByAccount: Map<string, number[]>;
  targets: Map<number, Target>;
}

/** Reads the file that `Site.fleetFile` names. */
export async function readDirectory(fleetFile: string): Promise<Directory> {
  const fleet = JSON.parse(await readFile(fleetFile, 'utf8')) as Fleet;
  const directory: Directory = { endpointsByAccount: new Map(), targets: new Map() };
  for (const { username, endpoints } of fleet.accounts) {
    directory.endpointsByAccount.set(
      username,
      endpoints.map(({ number }) => number),
    );
    for (const { number, url, secret } of endpoints) {
      const { origin, hostname, pathname, search } = new URL(url);
      directory.targets.set(number, { origin, hostname, path: pathname + search, secret });
    }
  }
  return directory;
}
