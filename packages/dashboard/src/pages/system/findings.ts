/** What an operator should do something about. Pure, so that it can be tested by itself. */
import type { SystemHealth } from '../../api/types.ts';
import { bytes, count } from '../../lib/text.ts';
import { milliseconds, span } from '../../lib/time.ts';

export interface Finding {
  tone: 'bad' | 'warn';
  what: string;
  /** The next step. */
  todo: string;
}

/** Deliveries that are due are attempted within milliseconds. */
const OLD_QUEUE_SECONDS = 60;
const SLOW_COMMIT_MS = 500;
/** With less room a backup, or the log of a busy hour, may not fit. */
const LEAST_FREE_BYTES = 1024 ** 3;

export function findingsOf({ queue, nodes, database }: SystemHealth): Finding[] {
  const findings: Finding[] = [];
  if (!nodes.some(({ delivers }) => delivers)) {
    findings.push({
      tone: 'bad',
      what: 'No process delivers.',
      todo: 'Start one with --role worker or all. What is published meanwhile waits.',
    });
  }
  if (queue.oldest_due_seconds >= OLD_QUEUE_SECONDS) {
    findings.push({
      tone: 'bad',
      what: `The oldest due delivery has waited for ${span(queue.oldest_due_seconds)}, ${count(queue.due)} are due.`,
      todo: 'Look for a slow endpoint in the overview. Else more is published than is delivered: raise --in-flight, or start another worker.',
    });
  }
  const { free_bytes: free, ping_ms: pingMs } = database;
  if (free !== null && free < LEAST_FREE_BYTES) {
    findings.push({
      tone: 'bad',
      what: `The database’s disk has ${bytes(free)} left.`,
      todo: 'Make room, or shorten --retention. When it is full, publishing is refused until there is room again.',
    });
  }
  if (pingMs >= SLOW_COMMIT_MS) {
    findings.push({
      tone: 'warn',
      what: `A commit took ${milliseconds(pingMs)}.`,
      todo: 'The disk or the database is slow or busy. Publishing waits for commits.',
    });
  }
  return findings;
}
