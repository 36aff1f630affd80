import type { Clock } from '../../clock.ts';
import type { DedicatedConnection, PostgresPool, Transaction } from './connection.ts';
import type { Notice, Sql } from './engine.ts';
import { pauseMs } from './reconnection.ts';

const CHANNEL = 'posthorn';
const SEND = `SELECT pg_notify('${CHANNEL}', $1)`;
/** Nodes hear at most once in so long that something is due: one claim finds all of it. */
const DUE_INTERVAL_MS = 5;
/** On the listener's connection every answer comes at once; without one it is given up and made anew. */
const ANSWER_TIMEOUT_MS = 3000;

export interface NoticesOptions {
  pool: PostgresPool;
  clock: Pick<Clock, 'random' | 'timer'>;
  /** Under which this process speaks: what it says itself is no news to it. */
  nodeId: () => number;
  onNotice: (notice: Notice) => void;
}

/**
 * What nodes tell each other, over LISTEN and NOTIFY. Notices only save time: one that is lost, because the listener
 * was away or a proxy dropped it, costs a node the wait until it looks by itself.
 */
export class Notices {
  readonly #options: NoticesOptions;
  #connection: DedicatedConnection | null = null;
  #listening: Promise<void> | null = null;
  #isClosed = false;
  #endPause: () => void = () => {};
  #due: 'said' | 'saying' | 'again' = 'said';
  #saying: Promise<void> = Promise.resolve();
  #endInterval: () => void = () => {};

  constructor(options: NoticesOptions) {
    this.#options = options;
  }

  /**
   * Begins to listen, and goes on until {@link close} whatever becomes of the connection. Resolves when it listens, or
   * couldn't yet.
   */
  async start(): Promise<void> {
    const { promise: tried, resolve } = Promise.withResolvers<void>();
    this.#listening = this.#listen(resolve);
    await tried;
  }

  /**
   * Tells the other nodes. That something is due is said after the present transaction, for a NOTIFY makes commits wait
   * for each other; of anything else they hear exactly when the change is committed.
   */
  async notify(sql: Sql, notice: Notice): Promise<void> {
    if (notice.kind !== 'due') {
      await sql.query(SEND, [this.#text(notice)]);
    } else if (isTransaction(sql)) {
      sql.afterCommit(() => this.#sayDue());
    } else {
      this.#sayDue();
    }
  }

  /** Runs a short statement on the listener's connection, past all that waits for the pool; on the pool without one. */
  query<Row = Record<string, unknown>>(text: string, values?: readonly unknown[]): Promise<Row[]> {
    return this.#connection === null
      ? this.#options.pool.query<Row>(text, values)
      : this.#connection.query<Row>(text, values, ANSWER_TIMEOUT_MS);
  }

  async close(): Promise<void> {
    this.#isClosed = true;
    this.#endPause();
    this.#endInterval();
    this.#connection?.close();
    await Promise.all([this.#listening, this.#saying]);
  }

  async #listen(onTried: () => void): Promise<void> {
    const { pool, clock, onNotice } = this.#options;
    let wasAway = false;
    for (let failures = 0; !this.#isClosed; ) {
      try {
        const connection = await pool.dedicated();
        connection.onNotification((text) => this.#hear(text));
        await connection.query(`LISTEN ${CHANNEL}`, [], ANSWER_TIMEOUT_MS);
        failures = 0;
        this.#connection = connection;
        if (this.#isClosed) connection.close();
        onTried();
        // What was said meanwhile is lost.
        if (wasAway) for (const kind of ['due', 'catalogue'] as const) onNotice({ kind });
        await connection.ended;
      } catch {
        // The pool tells of outages.
      }
      this.#connection = null;
      onTried();
      wasAway = true;
      failures += 1;
      if (!this.#isClosed) await this.#pause(pauseMs(failures, clock));
    }
  }

  #pause(ms: number): Promise<void> {
    const { promise, resolve } = Promise.withResolvers<void>();
    const cancel = this.#options.clock.timer(ms, resolve);
    this.#endPause = () => {
      cancel();
      resolve();
    };
    return promise;
  }

  #sayDue(): void {
    if (this.#due === 'said') {
      this.#saying = this.#sayDueNow();
    } else {
      this.#due = 'again';
    }
  }

  async #sayDueNow(): Promise<void> {
    const { pool, clock } = this.#options;
    do {
      this.#due = 'saying';
      const { promise: interval, resolve } = Promise.withResolvers<void>();
      this.#endInterval = resolve;
      clock.timer(DUE_INTERVAL_MS, resolve);
      await pool.query(SEND, [this.#text({ kind: 'due' })]).catch(() => {});
      await interval;
    } while ((this.#due as string) === 'again' && !this.#isClosed);
    this.#due = 'said';
  }

  #text(notice: Notice): string {
    return JSON.stringify({ ...notice, node: this.#options.nodeId() });
  }

  #hear(text: string): void {
    const notice = parse(text);
    if (notice === null || notice.node === this.#options.nodeId()) return;
    const { node: _, ...told } = notice;
    this.#options.onNotice(told);
  }
}

function isTransaction(sql: Sql): sql is Transaction {
  return 'afterCommit' in sql;
}

/** Null for what another version may say, or whoever else may write to the channel. */
function parse(text: string): (Notice & { node?: unknown }) | null {
  let value: unknown;
  try {
    value = JSON.parse(text);
  } catch {
    return null;
  }
  if (typeof value !== 'object' || value === null) return null;
  const { kind, endpointId, node } = value as Record<string, unknown>;
  if (kind === 'due' || kind === 'catalogue') return { kind, node };
  return kind === 'endpoint' && typeof endpointId === 'string' ? { kind, endpointId, node } : null;
}
