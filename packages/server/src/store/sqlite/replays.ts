import { idFloor } from '../../clock.ts';
import { PosthornError } from '../../errors.ts';
import type { Replay } from '../../model.ts';
import { decodeCursor, pageOf } from '../cursor.ts';
import { type EventRow, type ReplayRow, toReplay } from '../rows.ts';
import { MAX_COUNTED_EVENTS, type Store } from '../store.ts';
import type { EngineContext, SyncStore } from './engine.ts';
import { laneBook } from './lanes.ts';
import { accountCheck, deliveryMoves, type FoundDeliveryRow, HISTORY_AS_DELIVERY } from './rows.ts';

type MatchRow = Pick<EventRow, 'seq' | 'event'>;

/** An event that this endpoint subscribes to now and that no endpoint was singled out for but this one. */
const SUBSCRIBED = `(only_endpoint_id IS NULL OR only_endpoint_id = @endpointId)
  AND EXISTS (SELECT 1 FROM subscription s
    WHERE s.username = event.username AND s.event = event.event AND s.endpoint_id = @endpointId)`;
const IN_QUEUE = `EXISTS (SELECT 1 FROM queue q
  WHERE q.event_seq = event.seq AND q.endpoint_id = @endpointId)`;
const IN_HISTORY = `EXISTS (SELECT 1 FROM delivery d
  WHERE d.event_seq = event.seq AND d.endpoint_id = @endpointId)`;

/** Which events a walk of `missing` or `all` takes. */
const EVENT_MATCH = {
  missing: `${SUBSCRIBED} AND NOT ${IN_QUEUE} AND NOT ${IN_HISTORY}`,
  all: `NOT ${IN_QUEUE} AND (${IN_HISTORY} OR (${SUBSCRIBED}))`,
};

type ReplayRequest = Parameters<Store['createReplay']>[0];

interface ReplayMatches {
  matched: number;
  /** Where it ends, unix ms: what is accepted after the count isn't part of it. */
  end: number;
}

/** Counting takes long over a long history, so the reader's thread does it before the writer stores the job. */
export interface ReplayCreation {
  findReplayMatches(request: ReplayRequest): ReplayMatches;
  createReplay(request: ReplayRequest, found?: ReplayMatches): Replay | null;
}

export function replayOperations(
  context: EngineContext,
): Pick<SyncStore, 'countReplay' | 'getReplay' | 'listReplays' | 'cancelReplay' | 'advanceReplays'> &
  ReplayCreation {
  const { db, now, nextId, failing } = context;
  const lanes = laneBook(context);
  const moves = deliveryMoves(context);
  const accountExists = accountCheck(context);
  const endpointStatus = db.prepare<[string, string], { status: string }>(
    'SELECT status FROM endpoint WHERE username = ? AND endpoint_id = ?',
  );
  const insert = db.prepare(
    `INSERT INTO replay (username, replay_id, endpoint_id, kind, status, since, until, matched, done, position, created_at)
     VALUES (?, ?, ?, ?, 'running', ?, ?, ?, 0, '', ?)`,
  );
  const madeUp = db.prepare(
    `UPDATE endpoint SET missed_since = NULL, missed_until = NULL
     WHERE username = ? AND endpoint_id = ? AND missed_since >= ?`,
  );
  const select = db.prepare<[string, string], ReplayRow>(
    'SELECT * FROM replay WHERE username = ? AND replay_id = ?',
  );
  const running = db.prepare<[], ReplayRow>(`SELECT * FROM replay WHERE status = 'running'`);
  const update = db.prepare(
    'UPDATE replay SET status = ?, done = ?, position = ? WHERE username = ? AND replay_id = ?',
  );
  // `failed` walks delivery_endpoint by delivery id.
  const failed = db.prepare<[string, string, string, string, number], FoundDeliveryRow>(
    `SELECT ${HISTORY_AS_DELIVERY} FROM delivery
     WHERE username = ? AND endpoint_id = ? AND delivery_id > ? AND delivery_id < ? AND status <> 'delivered'
     ORDER BY delivery_id LIMIT ?`,
  );
  // Within the index.
  const countFailed = db.prepare<[string, string, string, string], { n: number }>(
    `SELECT count(*) AS n FROM delivery
     WHERE username = ? AND endpoint_id = ? AND delivery_id >= ? AND delivery_id < ? AND status <> 'delivered'`,
  );
  const finishedFor = db.prepare<[number, string], FoundDeliveryRow>(
    `SELECT ${HISTORY_AS_DELIVERY} FROM delivery WHERE event_seq = ? AND endpoint_id = ?`,
  );

  /** `missing` and `all` look at events in the order of acceptance, `scan` of them a step, and take those that match. */
  function eventStep(
    replay: ReplayRow,
    scan: number,
  ): { events: MatchRow[]; position: string; ended: boolean } {
    const after = replay.position === '' ? 0 : Number(replay.position);
    const window = db
      .prepare<
        [string, number, number, number, number],
        { first: number | null; last: number | null; n: number }
      >(
        `SELECT min(seq) AS first, max(seq) AS last, count(*) AS n FROM
           (SELECT seq FROM event WHERE username = ? AND created_at >= ? AND created_at < ? AND seq > ?
            ORDER BY created_at, seq LIMIT ?)`,
      )
      .get(replay.username, replay.since, replay.until, after, scan);
    if (window === undefined || window.last === null)
      return { events: [], position: replay.position, ended: true };
    const events = db
      .prepare<unknown[], MatchRow>(
        `SELECT seq, event FROM event
         WHERE seq > @after AND seq <= @last AND username = @username AND created_at >= @since AND created_at < @until
           AND ${EVENT_MATCH[replay.kind as 'missing' | 'all']} ORDER BY seq`,
      )
      .all({
        after,
        last: window.last,
        username: replay.username,
        since: replay.since,
        until: replay.until,
        endpointId: replay.endpoint_id,
      });
    return { events, position: String(window.last), ended: window.n < scan };
  }

  /** One step of a replay; answers how many deliveries it made due. */
  function step(replay: ReplayRow, limit: number): number {
    const { username, endpoint_id: endpointId } = replay;
    let made = 0;
    let position = replay.position;
    let ended = false;
    if (replay.kind === 'failed') {
      const from = position === '' ? idFloor('dlv', replay.since) : position;
      const rows = failed.all(username, endpointId, from, idFloor('dlv', replay.until), limit);
      for (const row of rows) moves.revive(row);
      made = rows.length;
      position = rows.at(-1)?.delivery_id ?? position;
      ended = rows.length < limit;
    } else {
      const walked = eventStep(replay, limit);
      ({ position, ended } = walked);
      for (const event of walked.events) {
        const row = finishedFor.get(event.seq, endpointId);
        if (row !== undefined) {
          moves.revive(row);
        } else {
          moves.enqueue(
            { username, deliveryId: nextId('dlv'), endpointId, eventSeq: event.seq, event: event.event },
            true,
            null,
          );
        }
      }
      made = walked.events.length;
    }
    if (made > 0) lanes.lookBy(username, endpointId, now());
    update.run(ended ? 'done' : 'running', replay.done + made, position, username, replay.replay_id);
    return made;
  }

  /** Of the range's events the first `most` are looked at. */
  function countMatches(
    { username, endpointId, kind, since, until }: ReplayRequest,
    most = Number.MAX_SAFE_INTEGER,
  ): ReplayMatches & { isExact: boolean } {
    // What is accepted from now on isn't part of it.
    const end = Math.min(until, now() + 1);
    if (kind === 'failed') {
      const found = countFailed.get(username, endpointId, idFloor('dlv', since), idFloor('dlv', end));
      return { end, matched: found?.n ?? 0, isExact: true };
    }
    const { n = 0, looked = 0 } =
      db
        .prepare<unknown[], { n: number; looked: number }>(
          `SELECT count(*) FILTER (WHERE ${EVENT_MATCH[kind]}) AS n, count(*) AS looked FROM
             (SELECT seq, username, event, only_endpoint_id FROM event
              WHERE username = @username AND created_at >= @since AND created_at < @end
              ORDER BY created_at, seq LIMIT @most) event`,
        )
        .get({ username, since, end, endpointId, most }) ?? {};
    return { end, matched: n, isExact: looked < most };
  }

  /** False when there is no such endpoint. */
  function canReplay({ username, endpointId }: ReplayRequest): boolean {
    const status = endpointStatus.get(username, endpointId)?.status;
    if (status === undefined || status === 'deleted') return false;
    if (status === 'enabled') return true;
    throw new PosthornError(
      'invalid_parameter',
      `endpoint ${endpointId} is disabled: enable it before replaying to it`,
    );
  }

  return {
    findReplayMatches: (request) => countMatches(request),

    countReplay(request) {
      if (!canReplay(request)) return null;
      const { matched, isExact } = countMatches(request, MAX_COUNTED_EVENTS);
      return { matched, isExact };
    },

    createReplay(request, found = countMatches(request)) {
      if (!canReplay(request)) return null;
      const { username, endpointId, kind, since } = request;
      const { end, matched } = found;
      const replayId = nextId('rpl');
      insert.run(username, replayId, endpointId, kind, since, end, matched, now());
      // The offer of a replay is over when one is made that brings what never was sent.
      if (kind !== 'failed') madeUp.run(username, endpointId, since);
      return toReplay(select.get(username, replayId) as ReplayRow);
    },

    getReplay(username, replayId) {
      const row = select.get(username, replayId);
      return row === undefined || !accountExists(username) ? null : toReplay(row);
    },

    listReplays(username, endpointId, { limit, cursor }) {
      const [before] = cursor === null ? ['~'] : decodeCursor('replays', cursor, ['string']);
      // The key's own order, newest first.
      const rows = accountExists(username)
        ? db
            .prepare<unknown[], ReplayRow>(
              `SELECT * FROM replay WHERE username = ? AND replay_id < ? AND (? IS NULL OR endpoint_id = ?)
               ORDER BY replay_id DESC LIMIT ?`,
            )
            .all(username, before, endpointId, endpointId, limit + 1)
        : [];
      return pageOf('replays', rows, limit, (row) => [row.replay_id], toReplay);
    },

    cancelReplay(username, replayId) {
      const row = select.get(username, replayId);
      if (row === undefined || !accountExists(username)) return null;
      if (row.status === 'running') update.run('cancelled', row.done, row.position, username, replayId);
      return toReplay(select.get(username, replayId) as ReplayRow);
    },

    advanceReplays(limit, laneBacklog) {
      let made = 0;
      for (const replay of running.all()) {
        const { username, endpoint_id: endpointId } = replay;
        if (endpointStatus.get(username, endpointId)?.status !== 'enabled') {
          update.run('cancelled', replay.done, replay.position, username, replay.replay_id);
          continue;
        }
        const isProbed = (failing.get(username, endpointId)?.probeAt ?? null) !== null;
        const backlog = isProbed ? 1 : laneBacklog;
        if (lanes.dueWaiting(username, endpointId, backlog) >= backlog) continue;
        made += step(replay, isProbed ? 1 : limit);
      }
      return { made, running: running.get() !== undefined };
    },
  };
}
