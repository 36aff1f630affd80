/** All systems under test. */
import type { System } from '../system.ts';
import { bare } from './bare.ts';
import { posthornPostgres, posthornPostgresSplit } from './posthorn-postgres.ts';
import { posthornSqlite } from './posthorn-sqlite.ts';

/** Loaded when they are asked for, so that one system's mistake doesn't take the others along. */
const LOADERS: Readonly<Record<string, () => System | Promise<System>>> = {
  'posthorn-sqlite': posthornSqlite,
  'posthorn-postgres': posthornPostgres,
  'posthorn-postgres-split': posthornPostgresSplit,
  'bullmq-always': async () => (await import('./bullmq.ts')).bullmq('always'),
  'bullmq-everysec': async () => (await import('./bullmq.ts')).bullmq('everysec'),
  'bullmq-always-same-work': async () => (await import('./bullmq.ts')).bullmq('always', true),
  'pg-boss': async () => (await import('./pg-boss.ts')).pgBoss(),
  'graphile-worker': async () => (await import('./graphile-worker.ts')).graphileWorker(),
  'bare-undici': bare,
};

export const SYSTEM_NAMES: readonly string[] = Object.keys(LOADERS);

/** Those that are measured when none are chosen and the time is short. */
export const SHORT_FORM_SYSTEMS: readonly string[] = SYSTEM_NAMES.filter(
  (name) => name !== 'bullmq-always-same-work',
);

/** Those that need `npm ci` in `bench/peers`. */
export const PEER_NAMES: readonly string[] = [
  'bullmq-always',
  'bullmq-everysec',
  'bullmq-always-same-work',
  'pg-boss',
  'graphile-worker',
];

/** @throws Error for an unknown name */
export async function loadSystem(name: string): Promise<System> {
  const load = LOADERS[name];
  if (load === undefined) throw new Error(`no system is called ${name}`);
  return await load();
}
