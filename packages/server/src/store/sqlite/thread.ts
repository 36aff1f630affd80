/**
 * The store's thread. A writer gives all calls that have arrived one transaction and one fsync (group commit): nobody
 * waits for company, and the longer a commit takes the more share the next one. A reader answers the lists, so that
 * a slow one holds up no commit.
 */
import { receiveMessageOnPort, workerData } from 'node:worker_threads';
import { type PosthornError, unavailable } from '../../errors.ts';
import type { AuditActor } from '../../model.ts';
import { databaseGuard, openDatabase, toPosthornError } from './database.ts';
import { checkRoom } from './disk-room.ts';
import { createEngine, type SyncStore } from './engine.ts';
import { logKeeper } from './log-copy.ts';
import type { ThreadData } from './thread-data.ts';

export interface Call {
  id: number;
  /** The caller's clock at the call. */
  now: number;
  name: string;
  args: unknown[];
  /** Who asks for it, of a call that is audited. */
  by?: AuditActor;
}

export interface Reply {
  id: number;
  value?: unknown;
  error?: { kind: PosthornError['kind']; message: string; field?: string; retryAfterSeconds?: number };
}

/** More calls than these wait for the next commit, so that none waits long for an answer. */
const MAX_CALLS_A_COMMIT = 256;

/**
 * Operations under constant load that change nothing of what the engine remembers of accounts, endpoints and
 * subscriptions; a settlement that does says so.
 */
const KEEP_MEMORY = new Set([
  'ping',
  'publish',
  'claim',
  'settle',
  'release',
  'findKey',
  'touchKeys',
  'openSession',
  'findSession',
  'endSession',
  'createPortalLink',
  'usePortalLink',
  'countRequest',
  'getAccount',
  'getEndpoint',
  'takeChanges',
  'advanceReplays',
]);

function toReplyError(error: unknown): NonNullable<Reply['error']> {
  const { kind, message, field, retryAfterSeconds } = toPosthornError(error);
  return { kind, message, field, retryAfterSeconds };
}

function serve({ path, role, port, copies }: ThreadData): void {
  const readonly = role === 'reader';
  const db = openDatabase(path, { readonly });
  const committed = copies === null ? () => {} : logKeeper(db, copies);
  const checkPlace = databaseGuard(path);
  checkPlace();
  let nowMs = 0;
  const engine = createEngine(db, { now: () => nowMs });

  function run(call: Call): unknown {
    nowMs = call.now;
    if (call.name === 'ping') {
      checkRoom(path);
      return null;
    }
    try {
      if (call.by !== undefined) return engine.audited(call.by, call.name, call.args);
      const operation = engine[call.name as keyof SyncStore] as (...args: unknown[]) => unknown;
      return operation(...call.args);
    } finally {
      if (!KEEP_MEMORY.has(call.name)) engine.forget();
    }
  }

  function rollBack(): void {
    if (db.inTransaction) db.exec('ROLLBACK');
    engine.forget();
  }

  function runAlone(call: Call): Reply {
    try {
      return { id: call.id, value: run(call) };
    } catch (error) {
      return { id: call.id, error: toReplyError(error) };
    }
  }

  const begin = db.prepare('BEGIN IMMEDIATE');
  const end = db.prepare('COMMIT');

  /** One transaction for all, or null when a call failed: then nothing happened. */
  function commitTogether(calls: Call[]): Reply[] | null {
    begin.run();
    const replies: Reply[] = [];
    for (const call of calls) {
      const reply = runAlone(call);
      if (reply.error !== undefined) {
        rollBack();
        return null;
      }
      replies.push(reply);
    }
    if (calls.some(({ name }) => name === 'ping')) db.pragma('user_version = 0'); // makes the commit write
    end.run();
    return replies;
  }

  /** One transaction for all; a call that fails is undone alone. */
  function commitEach(calls: Call[]): Reply[] {
    begin.run();
    const replies = calls.map((call): Reply => {
      db.exec('SAVEPOINT call');
      const reply = runAlone(call);
      // A full disk may have ended the whole transaction: then none of these calls happened.
      if (!db.inTransaction) throw unavailable(reply.error?.message ?? 'the disk failed');
      if (reply.error !== undefined) {
        db.exec('ROLLBACK TO call');
        engine.forget();
      }
      db.exec('RELEASE call');
      return reply;
    });
    if (calls.some(({ name }) => name === 'ping')) db.pragma('user_version = 0');
    end.run();
    return replies;
  }

  /** Few calls fail, and a savepoint costs a copy of every page that is written after it: so the second way only then. */
  function commit(calls: Call[]): Reply[] {
    try {
      checkPlace();
      return commitTogether(calls) ?? commitEach(calls);
    } catch (error) {
      rollBack();
      const refused = toReplyError(error);
      return calls.map(({ id }) => ({ id, error: refused }));
    }
  }

  port.on('message', (first: Call | 'close') => {
    const calls: Call[] = [];
    let next: Call | 'close' | undefined = first;
    while (next !== undefined && next !== 'close') {
      calls.push(next);
      if (calls.length === MAX_CALLS_A_COMMIT) break;
      next = receiveMessageOnPort(port)?.message as Call | 'close' | undefined;
    }
    if (calls.length > 0) {
      port.postMessage(readonly ? calls.map(runAlone) : commit(calls));
      committed();
    }
    if (next === 'close') close();
  });
  port.postMessage('open');

  function close(): void {
    db.close();
    port.postMessage('closed');
    port.close();
    copies?.close();
  }
}

serve(workerData as ThreadData);
