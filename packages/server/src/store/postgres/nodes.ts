import { hostname } from 'node:os';
import type { Clock } from '../../clock.ts';
import { PosthornError } from '../../errors.ts';
import type { Sql } from './engine.ts';

const BEAT_MS = 1000;
/**
 * For how long after a beat was sent this node goes by what it said about others: a beat and the time that it may take.
 * So a node that joins is known here two seconds later at most, and a node that can't beat takes itself for one of many.
 */
const BELIEVE_MS = 2000;
/** A condition on a row of `node`: it was heard lately, see `free_dead_nodes`. */
export const NODE_IS_ALIVE = `seen_at >= clock_timestamp() - interval '10 seconds'`;
const OTHER_DELIVERS = `EXISTS (SELECT 1 FROM posthorn.node o WHERE o.node_id <> $1 AND o.delivers AND o.${NODE_IS_ALIVE})`;
/** Leases of dead nodes are looked for at every so many beats. */
const BEATS_A_SWEEP = 5;
/**
 * A node judges others only when it has itself been heard for so long without a gap: when the database comes back after
 * an outage all nodes seem dead until they have reconnected.
 */
const STEADY_BEATS = 15;

export interface NodeRegistrationOptions {
  /** For short statements that must not wait behind other work. */
  lifeline: Sql;
  /** For the rest. */
  pool: Sql;
  clock: Pick<Clock, 'monotonic' | 'timer'>;
  /** Whether this process leases deliveries. */
  delivers: boolean;
  /** The others took this process for dead and freed what it held: it was stopped, or cut off, for ten seconds. */
  onTakenForDead: () => void;
  /** Leases of nodes that died were freed, so something is due. */
  onFreed: (leases: number) => void;
  onError: (message: string, error: unknown) => void;
}

/**
 * This process in the table `node`: what proves to the others that whoever holds its leases is alive. A process that
 * was taken for dead goes on under a new id.
 */
export class NodeRegistration {
  readonly #options: NodeRegistrationOptions;
  #id = 0;
  #registering: Promise<void> | null = null;
  #steadyBeats = 0;
  /** Monotonic ms. */
  #soleUntil = Number.NEGATIVE_INFINITY;
  #round: Promise<void> = Promise.resolve();
  #cancelTimer: () => void = () => {};
  #isClosed = false;

  constructor(options: NodeRegistrationOptions) {
    this.#options = options;
  }

  get id(): number {
    return this.#id;
  }

  /** Whether no other living node leases deliveries, as far as this one has heard in the last two seconds. */
  isSoleDeliverer(): boolean {
    return this.#options.clock.monotonic() < this.#soleUntil;
  }

  /** Registers and begins to tell of itself. */
  async start(): Promise<void> {
    await this.#register(this.#options.pool);
    this.#schedule();
  }

  /** Tells once that this process is alive: a write that commits. */
  async beat(sql: Sql): Promise<void> {
    const id = this.#id;
    const sentAt = this.#options.clock.monotonic();
    const [seen] = await sql.query<{ shared: boolean }>(
      `UPDATE posthorn.node SET seen_at = clock_timestamp() WHERE node_id = $1 RETURNING ${OTHER_DELIVERS} AS shared`,
      [id],
    );
    if (seen !== undefined) {
      this.#soleUntil = seen.shared ? Number.NEGATIVE_INFINITY : sentAt + BELIEVE_MS;
      return;
    }
    // Two beats may find the row gone: one registers for both.
    if (id !== this.#id) return;
    await (this.#registering ??= this.#register(sql).finally(() => {
      this.#registering = null;
    }));
  }

  /** Stops telling, and lets the others free at once what is still held. */
  async close(): Promise<void> {
    this.#isClosed = true;
    this.#cancelTimer();
    await this.#round;
    await this.#options.lifeline.query(`UPDATE posthorn.node SET seen_at = '-infinity' WHERE node_id = $1`, [
      this.#id,
    ]);
  }

  async #register(sql: Sql): Promise<void> {
    const [row] = await sql.query<{ node_id: number }>(
      'INSERT INTO posthorn.node (name, delivers) VALUES ($1, $2) RETURNING node_id',
      [`${hostname()}:${process.pid}`, this.#options.delivers],
    );
    const isFirst = this.#id === 0;
    this.#id = row?.node_id ?? 0;
    if (!isFirst) this.#options.onTakenForDead();
  }

  #schedule(): void {
    if (this.#isClosed) return;
    this.#cancelTimer = this.#options.clock.timer(BEAT_MS, () => {
      this.#round = this.#beatAndSweep().finally(() => this.#schedule());
    });
  }

  async #beatAndSweep(): Promise<void> {
    const { lifeline, pool, onFreed, onError } = this.#options;
    try {
      await this.beat(lifeline);
      this.#steadyBeats += 1;
      if (this.#steadyBeats < STEADY_BEATS || this.#steadyBeats % BEATS_A_SWEEP !== 0) return;
      const [row] = await pool.query<{ freed: number }>('SELECT posthorn.free_dead_nodes() AS freed');
      if (row !== undefined && row.freed > 0) onFreed(row.freed);
    } catch (error) {
      this.#steadyBeats = 0;
      // That the database is away is told by the pool.
      if (error instanceof PosthornError && error.kind === 'unavailable') return;
      onError('this node could not tell the others that it is alive', error);
    }
  }
}
