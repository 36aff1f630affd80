/**
 * Preloaded into a service (`node --import`), it counts what a clock can't tell on a busy machine: messages between
 * threads, what the store's writer runs on SQLite, what is allocated. It changes nothing that the service does, and
 * answers each message of the process's IPC channel with its counts.
 */
import { syncBuiltinESMExports } from 'node:module';
import { PerformanceObserver } from 'node:perf_hooks';
import { getHeapStatistics } from 'node:v8';
import threads, { MessagePort, type WorkerOptions } from 'node:worker_threads';

/** All from the process's start on. */
export interface InnerCounts {
  /** Messages to the store's threads, and those of the writer. */
  messages: number;
  /** Statements that the store's writer ran on SQLite, `BEGIN` and `COMMIT` among them. */
  statements: number;
  commits: number;
  /** Bytes in use on the event loop's heap: the difference of two is what was allocated, unless something was collected. */
  heapBytes: number;
  /** Collections of garbage on the event loop's thread. */
  collections: number;
}

const SHARED = 'posthorn-test-counts';
const WRITER = 'store-writer';
const MESSAGES = 0;
const STATEMENTS = 1;
const COMMITS = 2;
const SLOTS = 3;

function countOnEventLoop(): void {
  const counts = new Int32Array(new SharedArrayBuffer(SLOTS * Int32Array.BYTES_PER_ELEMENT));
  threads.setEnvironmentData(SHARED, counts.buffer);
  countMessages(counts);
  let collections = 0;
  new PerformanceObserver((list) => {
    collections += list.getEntries().length;
  }).observe({ entryTypes: ['gc'] });
  // The service starts its threads without what was preloaded for itself; its writer is to be counted all the same.
  const { Worker } = threads;
  threads.Worker = class extends Worker {
    constructor(file: string | URL, options: WorkerOptions) {
      super(
        file,
        options.name === WRITER ? { ...options, execArgv: ['--import', import.meta.url] } : options,
      );
    }
  };
  syncBuiltinESMExports();
  process.on('message', () => {
    process.send?.({
      messages: Atomics.load(counts, MESSAGES),
      statements: Atomics.load(counts, STATEMENTS),
      commits: Atomics.load(counts, COMMITS),
      heapBytes: getHeapStatistics().used_heap_size,
      collections,
    } satisfies InnerCounts);
  });
  process.channel?.unref();
}

async function countInWriter(): Promise<void> {
  const counts = new Int32Array(threads.getEnvironmentData(SHARED) as SharedArrayBuffer);
  countMessages(counts);
  const { default: Sqlite } = await import('better-sqlite3');
  const db = new Sqlite(':memory:');
  const statement = Object.getPrototypeOf(db.prepare('SELECT 1')) as Record<string, Runs>;
  db.close();
  for (const name of ['run', 'get', 'all', 'iterate']) {
    const runs = statement[name] as Runs;
    statement[name] = function counted(this: { source: string }, ...values) {
      Atomics.add(counts, STATEMENTS, 1);
      if (this.source === 'COMMIT') Atomics.add(counts, COMMITS, 1);
      return runs.apply(this, values);
    };
  }
}

type Runs = (this: { source: string }, ...values: unknown[]) => unknown;

function countMessages(counts: Int32Array): void {
  const { postMessage } = MessagePort.prototype;
  MessagePort.prototype.postMessage = function counted(
    this: MessagePort,
    ...args: Parameters<typeof postMessage>
  ) {
    Atomics.add(counts, MESSAGES, 1);
    postMessage.apply(this, args);
  } as typeof postMessage;
}

if (threads.isMainThread) countOnEventLoop();
else await countInWriter();
