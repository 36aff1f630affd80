/** Graphile Worker on the run's PostgreSQL server. */
import { postgresPeer } from '../peer/postgres-system.ts';
import type { System } from '../system.ts';

/** A new {@link System} for Graphile Worker. */
export function graphileWorker(): System {
  return postgresPeer('graphile-worker', { both: 'apart', deliverers: 1 }, {});
}
