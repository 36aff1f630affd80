/** The thread that keeps the writer's log short: see {@link ./log-copy.ts}. It loads no more than that takes. */
import { type MessagePort, workerData } from 'node:worker_threads';
import { openDatabase } from './database.ts';
import { serveCopies } from './log-copy.ts';
import type { ThreadData } from './thread-data.ts';

function serve({ path, port, copies }: ThreadData): void {
  const db = openDatabase(path);
  serveCopies(db, copies as MessagePort);
  port.on('message', () => {
    db.close();
    port.postMessage('closed');
    port.close();
    copies?.close();
  });
  port.postMessage('open');
}

serve(workerData as ThreadData);
