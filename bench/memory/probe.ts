/**
 * Loaded into a process that is measured (`node --expose-gc --import probe.ts …`), and by it into each of its worker
 * threads. Asked over IPC, every thread collects its garbage and tells its heap; the main one writes heap snapshots.
 */
import { createRequire, syncBuiltinESMExports } from 'node:module';
import { getHeapStatistics, writeHeapSnapshot } from 'node:v8';
import { BroadcastChannel, isMainThread, threadId, Worker, type WorkerOptions } from 'node:worker_threads';

/** What a thread holds after its garbage was collected, in bytes. */
export interface ThreadHeap {
  thread: number;
  used: number;
  /** What its heap has of the process's memory. */
  physical: number;
  external: number;
  arrayBuffers: number;
}

export type ProbeOrder = { kind: 'collect' } | { kind: 'snapshot'; path: string };

const ANSWER_WITHIN_MS = 3_000;

function heapOfThisThread(): ThreadHeap {
  const collect = (globalThis as { gc?: () => void }).gc;
  if (collect === undefined) throw new Error('the measured process needs --expose-gc');
  // The first frees what finalizers hold, the second what they let go.
  collect();
  collect();
  const { used_heap_size: used, total_physical_size: physical } = getHeapStatistics();
  const { external, arrayBuffers } = process.memoryUsage();
  return { thread: threadId, used, physical, external, arrayBuffers };
}

if (isMainThread) {
  // The store gives its threads no options of the process, this module among them.
  const threads = createRequire(import.meta.url)('node:worker_threads') as { Worker: typeof Worker };
  threads.Worker = class extends Worker {
    constructor(file: string | URL, options: WorkerOptions) {
      super(file, { ...options, execArgv: ['--import', import.meta.url] });
    }
  };
  syncBuiltinESMExports();
}

const channel = new BroadcastChannel('posthorn-memory-probe');
channel.unref();

if (isMainThread && process.send !== undefined) {
  let heaps: ThreadHeap[] = [];
  channel.onmessage = (event) => {
    const { data } = event as { data: unknown };
    if (typeof data === 'object') heaps.push(data as ThreadHeap);
  };
  process.on('message', (order: ProbeOrder) => {
    if (order.kind === 'snapshot') {
      writeHeapSnapshot(order.path);
      process.send?.([]);
      return;
    }
    heaps = [heapOfThisThread()];
    channel.postMessage('collect');
    setTimeout(() => process.send?.(heaps), ANSWER_WITHIN_MS).unref();
  });
  process.channel?.unref();
} else if (!isMainThread) {
  channel.onmessage = (event) => {
    const { data } = event as { data: unknown };
    if (data === 'collect') channel.postMessage(heapOfThisThread());
  };
}
