import { type Clock, systemClock } from '../../clock.ts';
import { unavailable } from '../../errors.ts';
import { operationsOver } from '../audit.ts';
import { refuseUnfinishedMove } from '../move/mark.ts';
import type { Store } from '../store.ts';
import { accountOperations } from './accounts.ts';
import { auditedCall, auditOperations } from './audit.ts';
import { changeOperations } from './changes.ts';
import { PostgresPool } from './connection.ts';
import { deliveryOperations } from './deliveries.ts';
import { encryptionKeyOperations } from './encryption-keys.ts';
import { endpointHealthOperations } from './endpoint-health.ts';
import { endpointOperations } from './endpoints.ts';
import type { EngineContext, Notice } from './engine.ts';
import { eventTypeOperations } from './event-types.ts';
import { eventOperations } from './events.ts';
import { withDiskMemory } from './full-disk.ts';
import { keyOperations } from './keys.ts';
import { withoutLostLeases } from './lost-leases.ts';
import { metaOperations } from './meta.ts';
import { migrate } from './migrate.ts';
import { NodeRegistration } from './nodes.ts';
import { Notices } from './notices.ts';
import { operatorKeyOperations } from './operator-key.ts';
import { overviewOperations } from './overview.ts';
import { publishOperations } from './publish.ts';
import { purgeOperations } from './purge.ts';
import { queueOperations } from './queue.ts';
import { rateWindowOperations } from './rate-windows.ts';
import { replayOperations } from './replays.ts';
import { sessionOperations } from './sessions.ts';
import { stateOperations } from './state.ts';
import { statsOperations } from './stats.ts';

export type { Notice } from './engine.ts';

export interface PostgresStoreOptions {
  /** See {@link PostgresPool}. */
  url: string;
  /** For timers alone: what is due and what has expired is judged by the database's clock. */
  clock?: Clock;
  /** Connections at most, beside one that listens; default 10. */
  poolSize?: number;
  /** Whether this process leases deliveries; default true. */
  delivers?: boolean;
  /** What other nodes tell: something is due, an endpoint or the catalogue was changed. Some may be lost. */
  onNotice?: (notice: Notice) => void;
  /** Troubles that no caller hears of otherwise. */
  onError?: (message: string, error: unknown) => void;
}

/**
 * Opens the store on PostgreSQL, which any number of processes may share: brings the schema up to date, registers this
 * process as a node and begins to listen to the others.
 *
 * @example
 * const store = await openPostgresStore({ url: 'postgres://posthorn:secret@db.example/posthorn' });
 * @throws PosthornError `unavailable` when the database can't be reached or used (a wrong password, missing rights, a
 *   server older than 15, another encoding than UTF8, a schema that is newer than this version, an unfinished move to
 *   it), `invalid_parameter` when the URL isn't one
 */
export async function openPostgresStore(options: PostgresStoreOptions): Promise<Store> {
  const {
    url,
    clock = systemClock,
    poolSize,
    delivers = true,
    onNotice = () => {},
    onError = () => {},
  } = options;
  const pool = new PostgresPool({ url, poolSize, clock, onError });
  const notices = new Notices({ pool, clock, nodeId: () => node.id, onNotice });
  const node = new NodeRegistration({
    lifeline: notices,
    pool,
    clock,
    delivers,
    onTakenForDead: () =>
      onError(
        'this node was taken for dead, and what it had in flight was given to others',
        unavailable('the node was not heard for 10 s: it was stopped, or cut off from the database'),
      ),
    onFreed() {
      onNotice({ kind: 'due' });
      void notices.notify(pool, { kind: 'due' });
    },
    onError,
  });
  try {
    await migrate(pool);
    await node.start();
  } catch (error) {
    await pool.close();
    throw error;
  }
  try {
    // After it has registered: a move that begins at this moment finds the node, or is found here.
    await refuseUnfinishedMove(pool);
  } catch (error) {
    await node.close().catch(() => {});
    await pool.close();
    throw error;
  }
  await notices.start();

  const context: EngineContext = {
    query: (text, values) => pool.query(text, values),
    transaction: (run) => pool.transaction(run),
    nodeId: () => node.id,
    notify: (sql, notice) => notices.notify(sql, notice),
  };
  const queue = queueOperations(context);
  const leasing = withoutLostLeases(
    { ...publishOperations(context), ...queue },
    {
      ...context,
      clock,
      onFreed: (count) =>
        onError(
          `${count} deliveries that were leased by calls without an answer are due again`,
          unavailable('connections to the database were lost while it answered'),
        ),
    },
  );
  const operations: Omit<Store, 'close' | 'as' | 'isSoleDeliverer'> & {
    audited: ReturnType<typeof auditedCall>;
  } = {
    ...metaOperations(context),
    ...accountOperations(context),
    ...keyOperations(context),
    ...operatorKeyOperations(context),
    ...sessionOperations(context),
    ...rateWindowOperations(context),
    ...changeOperations(context),
    ...eventTypeOperations(context),
    ...endpointOperations(context),
    ...endpointHealthOperations(context),
    ...queue,
    ...leasing,
    ...withDiskMemory({ ...leasing, ping: () => node.beat(pool) }, clock),
    ...replayOperations(context),
    ...deliveryOperations(context),
    ...eventOperations(context),
    ...statsOperations(context),
    ...stateOperations(context),
    ...overviewOperations(context),
    ...purgeOperations(context),
    ...encryptionKeyOperations(context),
    ...auditOperations(context),
    audited: auditedCall(context),
  };

  const {
    guarded: { audited, ...guarded },
    drain,
  } = guard(operations);
  async function closeInOrder(): Promise<void> {
    await drain();
    // Whatever fails here is found out by the other nodes in ten seconds.
    await node.close().catch(() => {});
    await notices.close();
    await pool.close();
  }
  let closing: Promise<void> | null = null;
  return {
    ...guarded,
    as: (by) => operationsOver((name, args) => audited(by, name, args)),
    isSoleDeliverer: () => node.isSoleDeliverer(),
    close() {
      closing ??= closeInOrder();
      return closing;
    },
  };
}

/** Refuses calls once `drain` was called, which waits for those that came before. */
function guard<Methods extends object>(methods: Methods): { guarded: Methods; drain(): Promise<void> } {
  const underWay = new Set<Promise<unknown>>();
  let isClosed = false;
  const guarded = Object.fromEntries(
    Object.entries(methods).map(([name, method]: [string, (...args: unknown[]) => Promise<unknown>]) => [
      name,
      (...args: unknown[]) => {
        if (isClosed) return Promise.reject(unavailable('the store is closed'));
        const call = method(...args);
        underWay.add(call);
        const ended = () => void underWay.delete(call);
        call.then(ended, ended);
        return call;
      },
    ]),
  ) as Methods;
  return {
    guarded,
    async drain() {
      isClosed = true;
      await Promise.allSettled(underWay);
    },
  };
}
