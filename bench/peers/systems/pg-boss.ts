/** pg-boss on the run's PostgreSQL server. */
import { postgresPeer } from '../peer/postgres-system.ts';
import type { System } from '../system.ts';

/** A new {@link System} for pg-boss. */
export function pgBoss(): System {
  return postgresPeer('pg-boss', { both: 'apart', deliverers: 1 }, {});
}
