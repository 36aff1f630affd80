/**
 * Keeps SQLite's write-ahead log short without a pause for those who commit. What commits have appended is copied into
 * the database by a thread of its own ({@link serveCopies}); the writer itself copies only the little that came in
 * meanwhile, when the log has grown so long that it should begin anew: that takes a moment without a frame that isn't
 * copied, which a log that is appended to all the time never has by itself.
 */
import type { MessagePort } from 'node:worker_threads';
import type { Database } from './database.ts';

/** Commits between two looks at the log; a look takes some microseconds. */
const COMMITS_A_LOOK = 8;
/** Frames (pages of 4 KiB) to copy, from which on the other thread is asked to. */
const FRAMES_A_COPY = 2_000;
/** 32 MiB: from here on the log should begin anew. */
const LONG_LOG_FRAMES = 8_000;
/** So few frames the writer copies in between: some milliseconds. */
const FEW_FRAMES = 1_000;
/** 128 MiB: the other thread doesn't keep up, or has failed. The writer copies, however long it takes. */
const OVERLONG_LOG_FRAMES = 32_000;

interface LogState {
  /** Frames in the log. */
  log: number;
  /** How many of them are copied. */
  checkpointed: number;
}

/**
 * The writer's side.
 *
 * @param copier the port to {@link serveCopies} in another thread
 * @returns to be called after each commit, when its callers have their answers
 */
export function logKeeper(db: Database, copier: MessagePort): () => void {
  db.pragma('wal_autocheckpoint = 0');
  let commits = 0;
  let copying = false;
  copier.on('message', () => {
    copying = false;
  });
  // It alone keeps no thread alive.
  copier.unref();
  return () => {
    commits += 1;
    if (commits % COMMITS_A_LOOK !== 0) return;
    const [state] = db.pragma('wal_checkpoint(NOOP)') as [LogState];
    const left = state.log - state.checkpointed;
    const isShort = state.log < LONG_LOG_FRAMES;
    if (state.log >= OVERLONG_LOG_FRAMES || (!isShort && !copying && left <= FEW_FRAMES)) {
      copyLog(db);
    } else if (!copying && left >= FRAMES_A_COPY) {
      copying = true;
      copier.postMessage('copy');
    }
  };
}

/** The other thread's side: copies when it is asked to, and says when it has. */
export function serveCopies(db: Database, writer: MessagePort): void {
  writer.on('message', () => {
    copyLog(db);
    writer.postMessage('copied');
  });
}

/** Copies what no reader is in the way of. A disk that is full or fails will fail the commits too, which say so. */
function copyLog(db: Database): void {
  try {
    db.pragma('wal_checkpoint(PASSIVE)');
  } catch {
    // The frames stay in the log, and the next look tries again.
  }
}
