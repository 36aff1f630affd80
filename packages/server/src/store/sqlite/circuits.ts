import type { Attempt } from '../../model.ts';
import { type Attempted, type FailingEndpoint, failureOf, judge } from '../circuit.ts';
import { type FailingRow, toFailing } from '../failing-rows.ts';
import type { CircuitPolicy, EndpointTurn } from '../store.ts';
import type { Database } from './database.ts';
import type { EngineContext } from './engine.ts';
import { operationalEvents } from './operational-events.ts';
import type { QueueRow } from './rows.ts';

/** The endpoints that fail, remembered between calls: of a healthy one nothing is read. */
export interface FailingEndpoints {
  /** Null: nothing is kept of it. */
  get(username: string, endpointId: string): FailingEndpoint | null;
  /** Keeps it, or null: nothing any more. */
  set(username: string, endpointId: string, row: FailingEndpoint | null): void;
  /** To be called when a change of them may have been undone, or was made by another way. */
  forget(): void;
}

/** For a connection that alone writes to its database. */
export function rememberFailing(db: Database): FailingEndpoints {
  const all = db.prepare<[], FailingRow>('SELECT * FROM failing_endpoint');
  const put = db.prepare(
    `INSERT INTO failing_endpoint (username, endpoint_id, failures, since, oldest, probes, probe_at, told, told_at,
                                   last_at, last_outcome, last_status, last_error)
     VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?)
     ON CONFLICT DO UPDATE SET failures = excluded.failures, since = excluded.since, oldest = excluded.oldest,
       probes = excluded.probes, probe_at = excluded.probe_at, told = excluded.told, told_at = excluded.told_at,
       last_at = excluded.last_at, last_outcome = excluded.last_outcome, last_status = excluded.last_status,
       last_error = excluded.last_error`,
  );
  const remove = db.prepare('DELETE FROM failing_endpoint WHERE username = ? AND endpoint_id = ?');
  let known: Map<string, FailingEndpoint> | null = null;

  function load(): Map<string, FailingEndpoint> {
    known ??= new Map(all.all().map((row) => [`${row.username} ${row.endpoint_id}`, toFailing(row)]));
    return known;
  }

  return {
    get: (username, endpointId) => load().get(`${username} ${endpointId}`) ?? null,

    set(username, endpointId, row) {
      const rows = load();
      if (row === null) {
        if (rows.delete(`${username} ${endpointId}`)) remove.run(username, endpointId);
        return;
      }
      rows.set(`${username} ${endpointId}`, row);
      put.run(
        username,
        endpointId,
        row.failures,
        row.since,
        row.oldest,
        row.probes,
        row.probeAt,
        row.told ? 1 : 0,
        row.toldAt,
        row.last.at,
        row.last.outcome,
        row.last.httpStatus,
        row.last.error,
      );
    },

    forget() {
      known = null;
    },
  };
}

/** Ends an endpoint by the service: with its reason, its time and since when it has missed events. */
export function endpointEnder({ db, now, failing, subscribers }: EngineContext) {
  const disable = db.prepare(
    `UPDATE endpoint SET status = 'disabled', disabled_reason = ?, disabled_at = ?,
       missed_since = min(ifnull(missed_since, ?), ?), missed_until = NULL
     WHERE username = ? AND endpoint_id = ? AND status = 'enabled'`,
  );
  /**
   * @param oldest - when a delivery was made that has failed just now, unix ms
   * @returns whether it was enabled
   */
  return (username: string, endpointId: string, reason: string | null, oldest = now()): boolean => {
    const row = failing.get(username, endpointId);
    const missedSince = row !== null && row.failures > 0 ? Math.min(row.oldest, oldest) : oldest;
    const { changes } = disable.run(reason, now(), missedSince, missedSince, username, endpointId);
    subscribers.forget();
    return changes > 0;
  };
}

/** What the attempts of one call say of their endpoints, judged together when all are settled. */
export interface CircuitTally {
  add(row: QueueRow, attempt: Attempt, endpointFailed: boolean): void;
  /** Judges, and answers what became of endpoints. `disabled` runs for each that was disabled. */
  judge(disabled: (username: string, endpointId: string) => void): EndpointTurn[];
}

/** Makes a fresh tally for each call. */
export function circuitTally(context: EngineContext): (policy: CircuitPolicy) => CircuitTally {
  const { db, now, failing } = context;
  const tell = operationalEvents(context);
  const end = endpointEnder(context);
  const stateOf = db.prepare<[string, string], { status: string; url: string }>(
    'SELECT status, url FROM endpoint WHERE username = ? AND endpoint_id = ?',
  );
  return (policy) => {
    const tally = new Map<string, { username: string; endpointId: string } & Attempted>();
    return {
      add({ username, endpoint_id: endpointId, created_at: createdAt }, attempt, endpointFailed) {
        const succeeded = attempt.outcome === 'success';
        const isNews = succeeded
          ? tally.has(endpointId) || (failing.get(username, endpointId)?.failures ?? 0) > 0
          : endpointFailed;
        if (!isNews) return;
        let entry = tally.get(endpointId);
        if (entry === undefined) {
          entry = { username, endpointId, succeeded: false, failures: 0, last: null, oldest: null };
          tally.set(endpointId, entry);
        }
        if (succeeded) {
          Object.assign(entry, { succeeded: true, failures: 0, last: null, oldest: null });
        } else {
          entry.failures += 1;
          entry.last = failureOf(attempt);
          entry.oldest = Math.min(entry.oldest ?? createdAt, createdAt);
        }
      },

      judge(disabled) {
        const turns: EndpointTurn[] = [];
        for (const { username, endpointId, ...attempted } of tally.values()) {
          const endpoint = stateOf.get(username, endpointId);
          // What was under way when it ended says nothing of what it will be like when it is enabled again.
          if (endpoint?.status !== 'enabled') continue;
          const subject = { username, endpointId, url: endpoint.url };
          const {
            row,
            lane,
            tell: told,
            disable,
          } = judge(failing.get(username, endpointId), attempted, policy, now());
          failing.set(username, endpointId, row);
          if (lane !== null) turns.push({ username, endpointId, to: lane, reason: null });
          if (told.recovered !== null) tell.recovered(subject, told.recovered, policy);
          if (told.failing && row !== null) tell.failing(subject, row, policy);
          if (disable === null || !end(username, endpointId, disable)) continue;
          turns.push({ username, endpointId, to: 'disabled', reason: disable });
          tell.disabled(subject, disable, policy);
          disabled(username, endpointId);
        }
        return turns;
      },
    };
  };
}
