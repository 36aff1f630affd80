import type { Store } from '../../src/store/store.ts';

/** What an engine brings to be tested by the suite. */
export interface StoreEngine {
  /** As the report calls it. */
  name: string;
  /** Whether several stores ("nodes") may have one database open at once; the tests of nodes run only then. */
  severalNodes: boolean;
  /** A new, empty database with its schema, apart from every other one. */
  createDatabase(): Promise<TestDatabase>;
}

/** A database under test. The suite closes the stores that it opens, except those that it crashes. */
export interface TestDatabase {
  /** Opens a store on the data that is there, as a starting process does. */
  open(): Promise<Store>;
  /**
   * Ends a store as `kill -9` ends its process: it gets no chance to put anything in order. All that it has answered
   * must be found by the next {@link open}, and what it had leased stays leased.
   */
  crash(store: Store): Promise<void>;
  /** The time by which its stores judge leases and due times, unix ms. */
  now(): Promise<number>;
  /**
   * Moves that time on, for all of its stores and for good. It may pass by itself besides: the suite measures times
   * with `DRIFT_MS` to spare.
   */
  advance(ms: number): Promise<void>;
  /** Removes every record. Open stores stay usable, and the time stays where it is. */
  clear(): Promise<void>;
  /** Removes the database. No store has it open. */
  remove(): Promise<void>;
}
