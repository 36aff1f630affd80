/** Where the log of a process goes: to a file descriptor, with few system calls. */
import { type DestinationStream, pino } from 'pino';

/** Log lines that wait for a slow reader are dropped beyond this, rather than filling the memory. */
const MAX_WAITING_BYTES = 16 * 1024 * 1024;
/** How long a line waits for others: under load a turn of the event loop is shorter, and each write costs a switch of threads. */
const GATHER_MS = 5;
/** Lines are handed over earlier when they come to more than this. */
const MAX_GATHERED_CHARACTERS = 64 * 1024;

export interface LogDestination extends DestinationStream {
  /** Writes what waits at once, for a process that is about to be ended by force. pino calls it after a fatal line. */
  flushSync(): void;
  /** Resolves when all lines are written, in their order. Nothing may be written after it. */
  close(): Promise<void>;
}

/**
 * Gathers lines for some milliseconds and writes them together; what comes while a write is under way goes out in the
 * next. What was gathered is lost when the process is killed (SIGKILL), in no other case. A process that exits without
 * {@link LogDestination.close} may have its last lines out of order: a write that is under way then can't be waited for.
 */
export function openLogDestination(fd: number): LogDestination {
  const file = pino.destination({ dest: fd, sync: false, maxLength: MAX_WAITING_BYTES });
  let gathered = '';
  let timer: NodeJS.Timeout | null = null;

  function handOver(): void {
    if (timer !== null) clearTimeout(timer);
    timer = null;
    if (gathered === '') return;
    const lines = gathered;
    gathered = '';
    file.write(lines);
  }

  function flushSync(): void {
    handOver();
    file.flushSync();
  }

  // For whoever ends the process without a word, too: no timer fires after it.
  process.once('exit', flushSync);

  return {
    write(line) {
      gathered += line;
      timer ??= setTimeout(handOver, GATHER_MS);
      if (gathered.length > MAX_GATHERED_CHARACTERS) handOver();
    },
    flushSync,
    close() {
      handOver();
      process.off('exit', flushSync);
      return new Promise((resolve) => {
        file.once('close', resolve);
        file.end();
      });
    },
  };
}
