/** Where the log of a process goes: to a file descriptor, with few system calls. */
import { type DestinationStream, pino } from 'pino';

/** Log lines that wait for a slow reader are dropped beyond this, rather than filling the memory. */
const MAX_WAITING_BYTES = 16 * 1024 * 1024;
/** A turn of the event loop that writes more than this goes out in parts. */
const MAX_GATHERED_CHARACTERS = 64 * 1024;

export interface LogDestination extends DestinationStream {
  /** Writes what waits at once, for a process that is about to be ended by force. pino calls it after a fatal line. */
  flushSync(): void;
  /** Resolves when all lines are written, in their order. Nothing may be written after it. */
  close(): Promise<void>;
}

/**
 * Gathers the lines of a turn of the event loop and writes them together; what comes while a write is under way goes out
 * in the next. The lines of a turn are lost when the process is killed in it (SIGKILL), in no other case.
 */
export function openLogDestination(fd: number): LogDestination {
  const file = pino.destination({ dest: fd, sync: false, maxLength: MAX_WAITING_BYTES });
  let gathered = '';
  let turnEnd: NodeJS.Immediate | null = null;

  function handOver(): void {
    if (turnEnd !== null) clearImmediate(turnEnd);
    turnEnd = null;
    if (gathered === '') return;
    const lines = gathered;
    gathered = '';
    file.write(lines);
  }

  function flushSync(): void {
    handOver();
    file.flushSync();
  }

  // Whoever ends the process without a word, too: no turn ends after it.
  process.once('exit', flushSync);

  return {
    write(line) {
      gathered += line;
      turnEnd ??= setImmediate(handOver);
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
