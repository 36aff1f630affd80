import type { Store } from '../store.ts';

/** Something that runs SQL: the pool (each statement a transaction of its own), or an open transaction. */
export interface Sql {
  /** bigint columns come as numbers. Rejects with a `PosthornError`: `unavailable` when trying again may help. */
  query<Row = Record<string, unknown>>(text: string, values?: readonly unknown[]): Promise<Row[]>;
}

/** What every file of SQL gets. */
export interface EngineContext extends Sql {
  /**
   * Runs statements in one transaction (READ COMMITTED), which is undone when `run` rejects. Run anew when PostgreSQL
   * gave it up for another's sake (deadlock), so `run` must have no effect outside of it.
   */
  transaction<T>(run: (sql: Sql) => Promise<T>): Promise<T>;
  /** This process as a holder of leases; registered in the table `node`. */
  nodeId(): number;
  /** Tells the other nodes after the present change; lost ones only cost time. */
  notify(sql: Sql, message: Notice): Promise<void>;
}

/** What nodes tell each other. */
export type Notice =
  /** Something is due that the teller doesn't hold. */
  { kind: 'due' } | { kind: 'endpoint'; endpointId: string } | { kind: 'catalogue' };

/** The part of the contract that one file implements. */
export type Operations<Names extends keyof Store> = Pick<Store, Names>;
