import { idFloor } from '../../clock.ts';
import { PosthornError } from '../../errors.ts';
import { decodeCursor, pageOf } from '../cursor.ts';
import { type EventRow, type ReplayRow, toReplay } from '../rows.ts';
import { MAX_COUNTED_EVENTS, type ReplayCount, type Store } from '../store.ts';
import type { EngineContext, Operations, Sql } from './engine.ts';
import { ACCOUNT_EXISTS, ofEvent } from './rows.ts';

const DAY_MS = 86_400_000;

/** Class of the advisory locks under which one node at a time steps replays to an endpoint: "rply" in ASCII. */
const ENDPOINT_LOCK_CLASS = 0x72706c79;

/*
 * Fenced by OFFSET 0: each look-up is planned by itself and takes its index, whatever statistics say of the rest.
 */

/** An event that the endpoint $2 subscribes to now and that no endpoint was singled out for but this one. */
const SUBSCRIBED = `(v.only_endpoint_id IS NULL OR v.only_endpoint_id = $2)
  AND EXISTS (SELECT 1 FROM posthorn.subscription s
    WHERE s.username = v.username AND s.event = v.event AND s.endpoint_id = $2 OFFSET 0)`;
const V = {
  username: 'v.username',
  id: 'v.event_id',
  createdAt: 'v.created_at',
  seq: 'v.seq',
  head: 'v.head',
};
/** Their columns; LIMIT keeps the head from being worked out once more for each comparison. */
const EVENT_COLUMNS = `username, seq, created_at, event_id, event, only_endpoint_id,
  posthorn.delivery_head(created_at, seq) AS head`;
/** The fence is around the event's: with the endpoint's id the planner would read all that waits in its lane, for each event. */
const IN_QUEUE = `EXISTS (SELECT 1 FROM (SELECT q.endpoint_id FROM posthorn.queue q WHERE ${ofEvent('q', V)} OFFSET 0) q
  WHERE q.endpoint_id = $2)`;
/**
 * Of events from $3 until before $4. Each delivery is in the partition of its event's day, and those of other days are left
 * out as the statement is planned: to leave them out for each event took most of the time.
 */
const FINISHED_DELIVERY = `FROM posthorn.delivery d
  WHERE ${ofEvent('d', V)} AND d.event_at = v.created_at AND d.event_at >= $3 AND d.event_at < $4 AND d.endpoint_id = $2`;
const IN_HISTORY = `EXISTS (SELECT 1 ${FINISHED_DELIVERY} OFFSET 0)`;
const FINISHED = `(SELECT d.delivery_id ${FINISHED_DELIVERY} LIMIT 1)`;

/** Which events `v`, from $3 until before $4, a walk of `missing` or `all` takes. */
const EVENT_MATCH = {
  missing: `${SUBSCRIBED} AND NOT ${IN_QUEUE} AND NOT ${IN_HISTORY}`,
  all: `NOT ${IN_QUEUE} AND (${IN_HISTORY} OR (${SUBSCRIBED}))`,
};

/** More than an account has; as LIMIT takes it. */
const ALL_EVENTS = Number.MAX_SAFE_INTEGER;

interface WalkedEvent extends Pick<EventRow, 'seq' | 'created_at' | 'event_id'> {
  matches: boolean;
  /** Of its finished delivery to the endpoint, which is revived; null without one. */
  finished: string | null;
}

interface Step {
  made: number;
  position: string;
  ended: boolean;
}

/** `created_at:seq` of the last event looked at. */
function parsePosition(replay: ReplayRow): [createdAt: number, seq: number] {
  if (replay.position === '') return [replay.since, 0];
  const [createdAt = 0, seq = 0] = replay.position.split(':').map(Number);
  return [createdAt, seq];
}

/**
 * Makes finished deliveries of an endpoint pending and due: each leaves the history as it enters the queue. Their
 * schedule begins anew and their next attempt is manual.
 *
 * @param between - the times of their events, first and last, by which partitions are left out
 */
async function revive(
  sql: Sql,
  { username, endpoint_id: endpointId }: ReplayRow,
  deliveryIds: readonly string[],
  between: readonly [number, number],
): Promise<number> {
  const [row] = await sql.query<{ made: number }>(
    `WITH t AS MATERIALIZED (SELECT posthorn.now_ms() AS now), gone AS (
       DELETE FROM posthorn.delivery
       WHERE username = $1 AND endpoint_id = $2 AND delivery_id = ANY ($3) AND event_at BETWEEN $4 AND $5
       RETURNING *
     ), queued AS (
       INSERT INTO posthorn.queue (username, delivery_id, endpoint_id, event_id, event, event_at, event_seq, attempts,
                                   failures, manual, pinned, apart, created_at, due_at, leased)
       SELECT username, delivery_id, endpoint_id, event_id, event, event_at, event_seq, attempts, 0, true,
              coalesce((SELECT v.only_endpoint_id IS NOT NULL FROM posthorn.event v
                        WHERE v.username = $1 AND v.created_at = gone.event_at AND v.seq = gone.event_seq), false),
              apart, created_at, t.now, false
       FROM gone, t
       RETURNING 1
     )
     SELECT count(*)::integer AS made FROM queued`,
    [username, endpointId, deliveryIds, ...between],
  );
  return row?.made ?? 0;
}

/** Walks delivery ids, which sort by the time at which they were made. */
async function stepThroughFailed(sql: Sql, replay: ReplayRow, limit: number): Promise<Step> {
  const { username, endpoint_id: endpointId } = replay;
  const from = replay.position === '' ? idFloor('dlv', replay.since) : replay.position;
  const found = await sql.query<{ delivery_id: string; event_at: number }>(
    `SELECT delivery_id, event_at FROM posthorn.delivery
     WHERE username = $1 AND endpoint_id = $2 AND delivery_id > $3 AND delivery_id < $4 AND status <> 'delivered'
     ORDER BY delivery_id LIMIT $5`,
    [username, endpointId, from, idFloor('dlv', replay.until), limit],
  );
  const times = found.map((row) => row.event_at);
  const ids = found.map((row) => row.delivery_id);
  const made =
    ids.length === 0 ? 0 : await revive(sql, replay, ids, [Math.min(...times), Math.max(...times)]);
  return { made, position: ids.at(-1) ?? replay.position, ended: found.length < limit };
}

/** Looks at `limit` events in the order of their times and takes those that match. */
async function stepThroughEvents(
  sql: Sql,
  replay: ReplayRow,
  kind: keyof typeof EVENT_MATCH,
  limit: number,
): Promise<Step> {
  const { username, endpoint_id: endpointId } = replay;
  const walked = await sql.query<WalkedEvent>(
    `SELECT v.seq, v.created_at, v.event_id, ${EVENT_MATCH[kind]} AS matches, ${FINISHED} AS finished
     FROM (
       SELECT ${EVENT_COLUMNS} FROM posthorn.event
       WHERE username = $1 AND created_at >= $3 AND created_at < $4 AND (created_at, seq) > ($3, $5)
       ORDER BY created_at, seq LIMIT $6
     ) v
     ORDER BY v.created_at, v.seq`,
    [username, endpointId, parsePosition(replay)[0], replay.until, parsePosition(replay)[1], limit],
  );
  const first = walked[0];
  const last = walked.at(-1);
  if (first === undefined || last === undefined) return { made: 0, position: replay.position, ended: true };
  const matching = walked.filter((event) => event.matches);
  const revived = matching.map((event) => event.finished).filter((id) => id !== null);
  const missing = matching.filter((event) => event.finished === null).map((event) => event.seq);
  const between = [first.created_at, last.created_at] as const;
  let made = 0;
  if (revived.length > 0) made += await revive(sql, replay, revived, between);
  if (missing.length > 0) {
    // The events are held until the deliveries are committed, so that no purge takes them for undelivered meanwhile.
    const queued = await sql.query(
      `WITH t AS MATERIALIZED (SELECT posthorn.now_ms() AS now), missed AS MATERIALIZED (
         SELECT event_id, event, created_at, seq, only_endpoint_id FROM posthorn.event
         WHERE username = $1 AND created_at BETWEEN $4 AND $5 AND seq = ANY ($3)
         ORDER BY created_at, seq FOR KEY SHARE
       )
       INSERT INTO posthorn.queue (username, delivery_id, endpoint_id, event_id, event, event_at, event_seq, attempts,
                                   failures, manual, pinned, created_at, due_at, leased)
       SELECT $1, posthorn.new_id('dlv', t.now), $2, event_id, event, created_at, seq, 0, 0, true,
              only_endpoint_id IS NOT NULL, t.now, t.now, false
       FROM missed, t
       RETURNING 1`,
      [username, endpointId, missing, ...between],
    );
    made += queued.length;
  }
  return { made, position: `${last.created_at}:${last.seq}`, ended: walked.length < limit };
}

/** One step of a replay; answers how many deliveries it made due. Leaves alone what another node is stepping. */
async function step(
  sql: Sql,
  { username, replay_id: replayId }: Pick<ReplayRow, 'username' | 'replay_id'>,
  limit: number,
  laneBacklog: number,
): Promise<number> {
  const [replay] = await sql.query<ReplayRow>(
    `SELECT * FROM posthorn.replay WHERE username = $1 AND replay_id = $2 AND status = 'running'
     FOR UPDATE SKIP LOCKED`,
    [username, replayId],
  );
  if (replay === undefined) return 0;
  const { endpoint_id: endpointId } = replay;
  const update = (status: ReplayRow['status'], done: number, position: string) =>
    sql.query(
      'UPDATE posthorn.replay SET status = $3, done = $4, position = $5 WHERE username = $1 AND replay_id = $2',
      [username, replayId, status, done, position],
    );
  // Held, so that who disables the endpoint finds in the queue all that was made for it.
  const [endpoint] = await sql.query<{ status: string }>(
    'SELECT status FROM posthorn.endpoint WHERE username = $1 AND endpoint_id = $2 FOR SHARE',
    [username, endpointId],
  );
  if (endpoint?.status !== 'enabled') {
    await update('cancelled', replay.done, replay.position);
    return 0;
  }
  // Two replays to one endpoint must not both find that an event is missing.
  const [lock] = await sql.query<{ held: boolean }>(
    `SELECT pg_try_advisory_xact_lock(${ENDPOINT_LOCK_CLASS}, hashtext($1 || ' ' || $2)) AS held`,
    [username, endpointId],
  );
  if (lock?.held !== true) return 0;
  const [begun] = await sql.query<{ at: number }>('SELECT posthorn.now_ms() AS at');
  const [probed] = await sql.query(
    `SELECT 1 FROM posthorn.failing_endpoint
     WHERE username = $1 AND endpoint_id = $2 AND probe_at IS NOT NULL`,
    [username, endpointId],
  );
  const backlog = probed === undefined ? laneBacklog : 1;
  const waiting = await sql.query(
    `WITH t AS MATERIALIZED (SELECT posthorn.now_ms() AS now)
     SELECT 1 FROM posthorn.queue q
     WHERE q.username = $1 AND q.endpoint_id = $2 AND q.due_at <= (SELECT now FROM t) AND NOT q.leased LIMIT $3`,
    [username, endpointId, backlog],
  );
  if (waiting.length >= backlog) return 0;
  const most = probed === undefined ? limit : 1;
  const { made, position, ended } =
    replay.kind === 'failed'
      ? await stepThroughFailed(sql, replay, most)
      : await stepThroughEvents(sql, replay, replay.kind, most);
  if (made > 0) {
    // By the time before the first of them was made: a call's time is never after what it speaks of.
    await sql.query('INSERT INTO posthorn.lane_call (username, endpoint_id, at) VALUES ($1, $2, $3)', [
      username,
      endpointId,
      begun?.at,
    ]);
  }
  await update(ended ? 'done' : 'running', replay.done + made, position);
  return made;
}

export function replayOperations({
  query,
  transaction,
  notify,
}: EngineContext): Operations<
  'createReplay' | 'countReplay' | 'getReplay' | 'listReplays' | 'cancelReplay' | 'advanceReplays'
> {
  /** Day by day, so that no statement takes long however long the history is, until `most` were looked at. */
  async function countEvents(
    username: string,
    endpointId: string,
    kind: keyof typeof EVENT_MATCH,
    since: number,
    end: number,
    most: number,
  ): Promise<ReplayCount> {
    const [range] = await query<{ first: number | null; last: number | null }>(
      `SELECT min(created_at) AS first, max(created_at) AS last FROM posthorn.event
       WHERE username = $1 AND created_at >= $2 AND created_at < $3`,
      [username, since, end],
    );
    let matched = 0;
    let left = most;
    if (range?.first == null || range.last === null) return { matched, isExact: true };
    for (let day = range.first - (range.first % DAY_MS); day <= range.last && left > 0; day += DAY_MS) {
      const [row] = await query<{ n: number; looked: number }>(
        `SELECT count(*) FILTER (WHERE ${EVENT_MATCH[kind]}) AS n, count(*) AS looked FROM (
           SELECT ${EVENT_COLUMNS} FROM posthorn.event
           WHERE username = $1 AND created_at >= $3 AND created_at < $4 ORDER BY created_at, seq LIMIT $5
         ) v`,
        [username, endpointId, Math.max(since, day), Math.min(end, day + DAY_MS), left],
      );
      matched += row?.n ?? 0;
      left -= row?.looked ?? 0;
    }
    return { matched, isExact: left > 0 };
  }

  async function countFailed(
    username: string,
    endpointId: string,
    since: number,
    end: number,
  ): Promise<number> {
    const [row] = await query<{ n: number }>(
      `SELECT count(*) AS n FROM posthorn.delivery
       WHERE username = $1 AND endpoint_id = $2 AND delivery_id >= $3 AND delivery_id < $4 AND status <> 'delivered'`,
      [username, endpointId, idFloor('dlv', since), idFloor('dlv', end)],
    );
    return row?.n ?? 0;
  }

  async function find(sql: Sql, username: string, replayId: string): Promise<ReplayRow | undefined> {
    const [row] = await sql.query<ReplayRow>(
      `SELECT * FROM posthorn.replay WHERE username = $1 AND replay_id = $2 AND ${ACCOUNT_EXISTS}`,
      [username, replayId],
    );
    return row;
  }

  /** Null when there is no such endpoint. */
  async function findMatches(
    { username, endpointId, kind, since, until }: Parameters<Store['createReplay']>[0],
    most: number,
  ): Promise<(ReplayCount & { end: number }) | null> {
    const [endpoint] = await query<{ status: string; now: number }>(
      `SELECT status, posthorn.now_ms() AS now FROM posthorn.endpoint
       WHERE username = $1 AND endpoint_id = $2 AND ${ACCOUNT_EXISTS}`,
      [username, endpointId],
    );
    if (endpoint === undefined || endpoint.status === 'deleted') return null;
    if (endpoint.status === 'disabled') {
      throw new PosthornError(
        'invalid_parameter',
        `endpoint ${endpointId} is disabled: enable it before replaying to it`,
      );
    }
    // What is accepted from now on isn't part of it.
    const end = Math.min(until, endpoint.now + 1);
    const counted =
      kind === 'failed'
        ? { matched: await countFailed(username, endpointId, since, end), isExact: true }
        : await countEvents(username, endpointId, kind, since, end, most);
    return { ...counted, end };
  }

  return {
    async countReplay(request) {
      const found = await findMatches(request, MAX_COUNTED_EVENTS);
      return found === null ? null : { matched: found.matched, isExact: found.isExact };
    },

    async createReplay(request) {
      const found = await findMatches(request, ALL_EVENTS);
      if (found === null) return null;
      const { username, endpointId, kind, since } = request;
      const { matched, end } = found;
      const [row] = await query<ReplayRow>(
        `WITH t AS MATERIALIZED (SELECT posthorn.now_ms() AS now)
         INSERT INTO posthorn.replay (username, replay_id, endpoint_id, kind, status, since, until, matched, done,
                                      position, created_at)
         SELECT username, posthorn.new_id('rpl', t.now), $2, $3, 'running', $4, $5, $6, 0, '', t.now
         FROM posthorn.account, t WHERE username = $1 AND status <> 'deleted'
         -- Its last rows go by purge: none may come after.
         FOR KEY SHARE OF account
         RETURNING *`,
        [username, endpointId, kind, since, end, matched],
      );
      if (row !== undefined && kind !== 'failed') {
        // The offer of a replay is over when one is made that brings what never was sent.
        await query(
          `UPDATE posthorn.endpoint SET missed_since = NULL, missed_until = NULL
           WHERE username = $1 AND endpoint_id = $2 AND missed_since >= $3`,
          [username, endpointId, since],
        );
      }
      return row === undefined ? null : toReplay(row);
    },

    async getReplay(username, replayId) {
      const row = await find({ query }, username, replayId);
      return row === undefined ? null : toReplay(row);
    },

    async listReplays(username, endpointId, { limit, cursor }) {
      const [before] = cursor === null ? ['~'] : decodeCursor('replays', cursor, ['string']);
      // The key's own order, newest first.
      const rows = await query<ReplayRow>(
        `SELECT * FROM posthorn.replay
         WHERE username = $1 AND replay_id < $2 AND ($3::text IS NULL OR endpoint_id = $3) AND ${ACCOUNT_EXISTS}
         ORDER BY replay_id DESC LIMIT $4`,
        [username, before, endpointId, limit + 1],
      );
      return pageOf('replays', rows, limit, (row) => [row.replay_id], toReplay);
    },

    async cancelReplay(username, replayId) {
      await query(
        `UPDATE posthorn.replay SET status = 'cancelled'
         WHERE username = $1 AND replay_id = $2 AND status = 'running' AND ${ACCOUNT_EXISTS}`,
        [username, replayId],
      );
      const row = await find({ query }, username, replayId);
      return row === undefined ? null : toReplay(row);
    },

    async advanceReplays(limit, laneBacklog) {
      const running = await query<Pick<ReplayRow, 'username' | 'replay_id'>>(
        `SELECT username, replay_id FROM posthorn.replay WHERE status = 'running' ORDER BY replay_id`,
      );
      let made = 0;
      for (const replay of running) {
        made += await transaction((sql) => step(sql, replay, limit, laneBacklog));
      }
      if (made > 0) await notify({ query }, { kind: 'due' });
      const left = await query(`SELECT 1 FROM posthorn.replay WHERE status = 'running' LIMIT 1`);
      return { made, running: left.length > 0 };
    },
  };
}
