/** Starts a peer's processes and makes one {@link Running} of them. */
import type { ChildProcess } from 'node:child_process';
import { randomBytes } from 'node:crypto';
import { closeSync, openSync } from 'node:fs';
import { join } from 'node:path';
import { endProcess } from '../site.ts';
import type { Mode, Running, Site } from '../system.ts';
import type { FillOrder, Plan, QueueName, Ready } from './plan.ts';

const MAIN = join(import.meta.dirname, 'main.ts');
const READY_PATIENCE_MS = 30_000;
const FILL_PATIENCE_MS = 30 * 60_000;

/** Where a peer's processes run, and on what. */
export interface PeerSite {
  site: Site;
  /** Names the processes' logs. */
  name: string;
  queue: QueueName;
  /** As {@link Plan} has it; default false. */
  keepsPromises?: boolean;
  databaseUrl: string;
  /** The root of the database's process tree. */
  databasePid: number;
}

/** How many processes share the work in mode `both`. */
export interface Layout {
  /** `together`: the API's process delivers as well. `apart`: the API has a process of its own. */
  both: 'together' | 'apart';
  /** Processes that deliver, where these are apart. */
  deliverers: number;
}

/**
 * Starts what the mode asks for.
 *
 * @throws Error when a process ends or isn't ready within 30 s; the end of its log is in the message
 */
export async function startPeer(at: PeerSite, layout: Layout, mode: Mode): Promise<Running> {
  const { site, queue, databaseUrl, databasePid, keepsPromises = false } = at;
  const port = mode === 'deliver' ? null : await site.freePort();
  const apiKey = randomBytes(24).toString('hex');
  const serve = {
    task: 'serve',
    queue,
    databaseUrl,
    keepsPromises,
    fleetFile: site.fleetFile,
    servingSince: Date.now(),
  } as const;
  const isTogether = mode === 'both' && layout.both === 'together';
  const plans: Plan[] = [];
  if (port !== null) plans.push({ ...serve, api: { port, apiKey }, delivers: isTogether });
  if (mode !== 'ingest' && !isTogether) {
    for (let n = 0; n < layout.deliverers; n += 1) plans.push({ ...serve, api: null, delivers: true });
  }
  const children: ChildProcess[] = [];
  const endAll = async (signal: 'SIGTERM' | 'SIGKILL'): Promise<void> => {
    await Promise.all(children.map((child) => endProcess(child, signal)));
  };
  try {
    const starts = plans.map((plan) => startProcess(at, plan));
    children.push(...starts.map(({ child }) => child));
    await Promise.all(starts.map(({ ready }) => ready));
  } catch (error) {
    await endAll('SIGKILL');
    throw error;
  }
  const pids = children.flatMap(({ pid }) => (pid === undefined ? [] : [pid]));
  return {
    port,
    apiKey,
    pids: () => [...pids, databasePid],
    stop: () => endAll('SIGTERM'),
    kill: () => endAll('SIGKILL'),
  };
}

/** Makes the queue's tables. */
export async function setUpPeer(at: PeerSite): Promise<void> {
  const { queue, databaseUrl, site } = at;
  const plan: Plan = { task: 'setUp', queue, databaseUrl, fleetFile: site.fleetFile, keepsPromises: false };
  await finish(startProcess(at, plan));
}

/** Stores deliveries in bulk, as {@link FillOrder} says. */
export async function fillPeer(at: PeerSite, counts: Pick<FillOrder, 'finished' | 'pending'>): Promise<void> {
  const { queue, databaseUrl, site } = at;
  const { fleetFile } = site;
  const plan: Plan = { task: 'fill', queue, databaseUrl, fleetFile, keepsPromises: false, ...counts };
  await finish(startProcess(at, plan, FILL_PATIENCE_MS));
}

async function finish({ child, ready }: Started): Promise<void> {
  try {
    await ready;
  } finally {
    await endProcess(child, 'SIGTERM');
  }
}

interface Started {
  child: ChildProcess;
  ready: Promise<void>;
}

function startProcess({ site, name }: PeerSite, plan: Plan, patienceMs = READY_PATIENCE_MS): Started {
  const log = openSync(join(site.folder, `${name}.log`), 'a', 0o600);
  try {
    const child = site.spawn(name, MAIN, [], { stdio: ['ignore', log, log, 'ipc'] });
    child.send(plan);
    const ready = whenReady(child, patienceMs).catch(async (error: unknown) => {
      throw new Error(`${name}: its process for ${plan.task} ${String(error)}\n${await site.logTail(name)}`);
    });
    return { child, ready };
  } finally {
    closeSync(log);
  }
}

/** Rejects with what happened instead, as the end of a sentence. */
function whenReady(child: ChildProcess, patienceMs: number): Promise<void> {
  const { promise, resolve, reject } = Promise.withResolvers<void>();
  const patience = setTimeout(() => reject(`was not ready within ${patienceMs / 1000} s`), patienceMs);
  child.once('message', (message: Ready) => message.ready && resolve());
  child.once('error', (error) => reject(`could not be started: ${error.message}`));
  child.once('exit', (code, signal) => reject(`ended with ${signal ?? code}`));
  return promise.finally(() => clearTimeout(patience));
}
