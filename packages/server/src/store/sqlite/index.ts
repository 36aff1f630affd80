import { MessageChannel, type MessagePort, Worker } from 'node:worker_threads';
import { type Clock, systemClock } from '../../clock.ts';
import { PosthornError, unavailable } from '../../errors.ts';
import type { AuditActor, Replay } from '../../model.ts';
import { operationsOver } from '../audit.ts';
import type { Store } from '../store.ts';
import { lockDatabase, migrate, openDatabase } from './database.ts';
import type { OperationName } from './engine.ts';
import type { Call, Reply } from './thread.ts';
import type { ThreadData, ThreadRole } from './thread-data.ts';

export interface SqliteStoreOptions {
  /** The database file; its folder is made when missing. */
  path: string;
  clock?: Pick<Clock, 'now'>;
  /** A store's thread ended by itself: every further call rejects, and the process should end. */
  onFatal?: (error: Error) => void;
}

/** Operations that only read, and may take a while. What the hot path reads goes to the writer, which is never slow. */
const ON_READER = new Set<OperationName>([
  'listAccounts',
  'listKeys',
  'listEndpoints',
  'listDeliveries',
  'getDelivery',
  'listEvents',
  'getEvent',
  'recentEvents',
  'countReplay',
  'listReplays',
  'stats',
  'queueDepth',
  'state',
  'overview',
  'historyCut',
  'listEndpointHealth',
  'countEndpointStates',
  'countSealed',
  'listResealable',
  'listAudit',
]);

const OPERATIONS: Record<OperationName, true> = {
  recover: true,
  getMeta: true,
  initMeta: true,
  setMeta: true,
  takeChanges: true,
  countRequest: true,
  createAccount: true,
  getAccount: true,
  listAccounts: true,
  updateAccount: true,
  deleteAccount: true,
  createKey: true,
  createFirstOperatorKey: true,
  findKey: true,
  listKeys: true,
  revokeKey: true,
  touchKeys: true,
  openSession: true,
  findSession: true,
  endSession: true,
  createPortalLink: true,
  usePortalLink: true,
  listEventTypes: true,
  putEventType: true,
  deleteEventType: true,
  addEndpoint: true,
  getEndpoint: true,
  listEndpoints: true,
  updateEndpoint: true,
  deleteEndpoint: true,
  rotateSecret: true,
  publish: true,
  claim: true,
  settle: true,
  release: true,
  retryDelivery: true,
  createReplay: true,
  countReplay: true,
  getReplay: true,
  listReplays: true,
  cancelReplay: true,
  advanceReplays: true,
  listDeliveries: true,
  getDelivery: true,
  listEvents: true,
  getEvent: true,
  recentEvents: true,
  stats: true,
  queueDepth: true,
  historyBytes: true,
  state: true,
  schema: true,
  overview: true,
  listEndpointHealth: true,
  countEndpointStates: true,
  purge: true,
  historyCut: true,
  announceEncryptionKeys: true,
  activateEncryptionKey: true,
  retireEncryptionKey: true,
  countSealed: true,
  listResealable: true,
  reseal: true,
  listAudit: true,
  purgeAudit: true,
};

interface Waiter {
  resolve(value: unknown): void;
  reject(error: Error): void;
}

/** A thread with a connection of its own, called by messages. */
class StoreThread {
  readonly opened: Promise<void>;
  readonly #port: MessagePort;
  readonly #waiters = new Map<number, Waiter>();
  #lastId = 0;
  #ended: PosthornError | null = null;
  #closed: () => void = () => {};

  constructor(
    path: string,
    role: ThreadRole,
    { copies, onFatal }: { copies: MessagePort | null; onFatal: (error: Error) => void },
  ) {
    const { port1, port2 } = new MessageChannel();
    this.#port = port1;
    const opened = Promise.withResolvers<void>();
    this.opened = opened.promise;
    const file = `./${role === 'copier' ? 'copier' : 'thread'}${import.meta.url.endsWith('.ts') ? '.ts' : '.js'}`;
    const data: ThreadData = { path, role, port: port2, copies };
    const worker = new Worker(new URL(file, import.meta.url), {
      workerData: data,
      transferList: copies === null ? [port2] : [port2, copies],
      name: `store-${role}`,
      // What an embedding application gives its own threads (loaders, instrumentation) is not for this one.
      execArgv: [],
    });
    port1.on('message', (message: Reply[] | 'open' | 'closed') => {
      if (message === 'open') opened.resolve();
      else if (message === 'closed') this.#closed();
      else for (const reply of message) this.#settle(reply);
    });
    const end = (error: Error) => {
      const wasClosed = this.#ended !== null;
      this.#fail(unavailable('the store has stopped', error));
      opened.reject(this.#ended as PosthornError);
      this.#closed();
      port1.close();
      if (!wasClosed) onFatal(error);
    };
    worker.on('error', end);
    worker.on('exit', (code) => end(new Error(`the store's thread ended with code ${code}`)));
    // Nobody may be waiting for it when a thread ends later.
    opened.promise.catch(() => {});
  }

  call(name: string, args: unknown[], now: number, by?: AuditActor): Promise<unknown> {
    if (this.#ended !== null) return Promise.reject(this.#ended);
    const id = ++this.#lastId;
    return new Promise((resolve, reject) => {
      this.#waiters.set(id, { resolve, reject });
      const call: Call = { id, now, name, args, ...(by === undefined ? {} : { by }) };
      this.#port.postMessage(call);
    });
  }

  /** Lets what was called before it end. */
  close(): Promise<void> {
    if (this.#ended !== null) return Promise.resolve();
    this.#ended = unavailable('the store is closed');
    return new Promise((resolve) => {
      this.#closed = resolve;
      this.#port.postMessage('close');
    });
  }

  #settle({ id, value, error }: Reply): void {
    const waiter = this.#waiters.get(id);
    this.#waiters.delete(id);
    if (error === undefined) waiter?.resolve(value);
    else waiter?.reject(new PosthornError(error.kind, error.message, error));
  }

  #fail(error: PosthornError): void {
    this.#ended ??= error;
    for (const { reject } of this.#waiters.values()) reject(error);
    this.#waiters.clear();
  }
}

/**
 * Opens the embedded store: locks the file for this process, brings its schema up to date and starts its threads: one
 * writes, one reads, one keeps the log short.
 *
 * @example
 * const store = await openSqliteStore({ path: './posthorn-data/posthorn.db' });
 * @throws PosthornError `unavailable` when another process has the file, it can't be written, or it is newer than
 * this version
 */
export async function openSqliteStore(options: SqliteStoreOptions): Promise<Store> {
  const { path, clock = systemClock, onFatal = () => {} } = options;
  const lock = lockDatabase(path);
  try {
    const db = openDatabase(path);
    const { port1: toCopier, port2: toWriter } = new MessageChannel();
    const threads: StoreThread[] = [];
    const startThread = (role: ThreadRole, copies: MessagePort | null): StoreThread => {
      const thread = new StoreThread(path, role, { copies, onFatal });
      threads.push(thread);
      return thread;
    };
    let writer: StoreThread;
    let reader: StoreThread;
    try {
      migrate(db, clock.now());
      writer = startThread('writer', toCopier);
      reader = startThread('reader', null);
      await Promise.all([writer.opened, reader.opened]);
    } catch (error) {
      await Promise.all(threads.map((thread) => thread.close()));
      throw error;
    } finally {
      // Not before: a reader finds the log that this connection keeps open.
      db.close();
    }
    // Nobody waits for it: what the writer asks of it until it is there, it does then.
    const copier = startThread('copier', toWriter);
    const call = (name: string, args: unknown[]) =>
      (ON_READER.has(name as OperationName) ? reader : writer).call(name, args, clock.now());
    const operations = Object.fromEntries(
      Object.keys(OPERATIONS).map((name) => [name, (...args: unknown[]) => call(name, args)]),
    ) as unknown as Omit<Store, 'as' | 'ping' | 'close' | 'isSoleDeliverer'>;
    const createReplay = async (request: unknown, by?: AuditActor): Promise<Replay | null> => {
      const found = await reader.call('findReplayMatches', [request], clock.now());
      return (await writer.call('createReplay', [request, found], clock.now(), by)) as Replay | null;
    };
    return {
      ...operations,
      createReplay: (request) => createReplay(request),
      as: (by) =>
        operationsOver((name, args) =>
          name === 'createReplay' ? createReplay(args[0], by) : writer.call(name, args, clock.now(), by),
        ),
      // The lock on the file keeps others out.
      isSoleDeliverer: () => true,
      ping: async () => void (await call('ping', [])),
      async close() {
        await Promise.all([reader.close(), copier.close()]);
        // Last: whoever closes last copies the log to its end.
        await writer.close();
        lock.unlock();
      },
    };
  } catch (error) {
    lock.unlock();
    throw error;
  }
}
