import { TELL_EVERY_MS } from '../circuit.ts';
import { ALL_ACCOUNTS, STAT_INTERVAL_MS, STAT_MINUTES_KEPT_MS, SUMMED_UNTIL } from '../statistics.ts';
import type { EngineContext, SyncStore } from './engine.ts';

const HOUR_MS = 3_600_000;
/** What of the history, by its time, goes in one step when it is too large, and the least. */
const CUT_PART = 64;
const CUT_LEAST_MS = 1_000;
/** The tables of an account by their keys, in an order in which nothing refers to what is gone. Deliveries take their attempts along. */
const ACCOUNT_TABLES: [table: string, key: string, deliveryId: 'delivery_id' | 'NULL'][] = [
  ['queue', 'delivery_id', 'delivery_id'],
  ['delivery', 'seq', 'delivery_id'],
  ['event', 'seq', 'NULL'],
  ['replay', 'replay_id', 'NULL'],
  ['lane', 'endpoint_id', 'NULL'],
  ['failing_endpoint', 'endpoint_id', 'NULL'],
  ['endpoint', 'endpoint_id', 'NULL'],
];

export function purgeOperations({
  db,
  now,
}: EngineContext): Pick<SyncStore, 'purge' | 'historyBytes' | 'historyCut'> {
  const deletedAccount = db.prepare<[], { username: string }>(
    `SELECT username FROM account WHERE status = 'deleted' LIMIT 1`,
  );
  const finished = db.prepare<[number], { seq: number; delivery_id: string; completed_at: number }>(
    'SELECT seq, delivery_id, completed_at FROM delivery ORDER BY seq LIMIT ? + 0',
  );
  const deleteDelivery = db.prepare<[number]>('DELETE FROM delivery WHERE seq = ?');
  const deleteAttempts = db.prepare<[string]>('DELETE FROM attempt WHERE delivery_id = ?');
  // The oldest events first; those with deliveries left stay.
  const oldEvents = db.prepare<[{ before: number; limit: number }], { seq: number }>(
    `SELECT seq FROM event WHERE created_at < @before
       AND NOT EXISTS (SELECT 1 FROM queue q WHERE q.event_seq = event.seq)
       AND NOT EXISTS (SELECT 1 FROM delivery d WHERE d.event_seq = event.seq)
       AND seq < (SELECT ifnull((SELECT min(seq) FROM event WHERE created_at >= @before), 9000000000000000))
     ORDER BY seq LIMIT @limit + 0`,
  );
  const deleteEvent = db.prepare<[number]>('DELETE FROM event WHERE seq = ?');

  /** One deleted account's rows, `limit` at most; the account itself when nothing is left. */
  function purgeAccount(username: string, limit: number): number {
    for (const [table, key, deliveryId] of ACCOUNT_TABLES) {
      // The plus keeps the planner from looking at all of the account for what its numbers find at once.
      const ofAccount = key === 'seq' ? '+username = ?' : 'username = ?';
      const rows = db
        .prepare<[string, string, number], { deliveryId: string | null }>(
          `DELETE FROM ${table} WHERE ${ofAccount} AND ${key} IN (SELECT ${key} FROM ${table} WHERE username = ? LIMIT ?)
           RETURNING ${deliveryId} AS deliveryId`,
        )
        .all(username, username, limit);
      for (const row of rows) if (row.deliveryId !== null) deleteAttempts.run(row.deliveryId);
      if (rows.length > 0) return rows.length;
    }
    const { changes } = db
      .prepare(
        `DELETE FROM stat WHERE username = ? AND at IN (SELECT DISTINCT at FROM stat WHERE username = ? ORDER BY at LIMIT 10)`,
      )
      .run(username, username);
    if (changes > 0) return changes;
    const summed = forgetSums(username);
    if (summed > 0) return summed;
    db.prepare('DELETE FROM account WHERE username = ?').run(username);
    return 1;
  }

  /** Some hours' sums of a deleted account, taken out of those over all accounts. */
  function forgetSums(username: string): number {
    const hours = `at IN (SELECT DISTINCT at FROM stat_sum WHERE username = @username ORDER BY at LIMIT 10)`;
    db.prepare(
      `UPDATE stat_sum SET count = stat_sum.count - own.count
       FROM (SELECT at, outcome, latency, count FROM stat_sum WHERE username = @username AND ${hours}) own
       WHERE stat_sum.username = '${ALL_ACCOUNTS}' AND stat_sum.at = own.at AND stat_sum.outcome = own.outcome
         AND stat_sum.latency = own.latency`,
    ).run({ username });
    return db.prepare(`DELETE FROM stat_sum WHERE username = @username AND ${hours}`).run({ username })
      .changes;
  }

  const summedUntil = db.prepare<[], { at: number }>(
    `SELECT CAST(value AS INTEGER) AS at FROM meta WHERE name = '${SUMMED_UNTIL}'`,
  );
  const setSummedUntil = db.prepare<[string]>(
    `INSERT INTO meta (name, value) VALUES ('${SUMMED_UNTIL}', ?) ON CONFLICT DO UPDATE SET value = excluded.value`,
  );

  /** Adds up the next whole hour of statistics that is old enough; answers whether there was one. */
  function sumHour(): boolean {
    const old = now() - STAT_MINUTES_KEPT_MS;
    const end = old - (old % HOUR_MS);
    const until = summedUntil.get()?.at ?? 0;
    if (until > end) {
      // The clock went back: what isn't old yet is still counted in stat alone.
      db.prepare('DELETE FROM stat_sum WHERE at >= ?').run(end);
      setSummedUntil.run(String(end));
      return false;
    }
    const next = db
      .prepare<[number, number], { at: number }>(
        'SELECT at FROM stat WHERE at >= ? AND at < ? ORDER BY at LIMIT 1',
      )
      .get(until, end);
    if (next === undefined) return false;
    const hour = next.at - (next.at % HOUR_MS);
    for (const [whose, group] of [
      ['username', 'username, '],
      [`'${ALL_ACCOUNTS}'`, ''],
    ] as const) {
      db.prepare(
        `INSERT INTO stat_sum SELECT ${whose}, ?, outcome, latency, sum(count) FROM stat
         WHERE at >= ? AND at < ? GROUP BY ${group}outcome, latency`,
      ).run(hour, hour, hour + HOUR_MS);
    }
    setSummedUntil.run(String(hour + HOUR_MS));
    return true;
  }

  /** Merges the oldest minute of statistics that is old enough into its hour; answers whether there was one. */
  function mergeMinute(): boolean {
    const oldest = db
      .prepare<[number], { at: number }>(
        `SELECT at FROM stat WHERE at < ? AND at % ${HOUR_MS} <> 0 ORDER BY at LIMIT 1`,
      )
      .get(now() - STAT_MINUTES_KEPT_MS);
    if (oldest === undefined) return false;
    const hour = oldest.at - (oldest.at % HOUR_MS);
    db.prepare(
      `INSERT INTO stat SELECT username, ?, endpoint_id, event, outcome, latency, sum(count) FROM stat
       WHERE at > ? AND at < ? GROUP BY username, endpoint_id, event, outcome, latency
       ON CONFLICT DO UPDATE SET count = count + excluded.count`,
    ).run(hour, hour, hour + HOUR_MS);
    db.prepare('DELETE FROM stat WHERE at > ? AND at < ?').run(hour, hour + HOUR_MS);
    return true;
  }

  const used = db.prepare<[], { bytes: number }>(
    `SELECT (p.page_count - f.freelist_count) * s.page_size AS bytes
     FROM pragma_page_count p, pragma_freelist_count f, pragma_page_size s`,
  );
  // Both by the order of acceptance and of ending: the first row is the oldest.
  const oldest = db.prepare<[], { at: number | null }>(
    `SELECT min(at) AS at FROM (
       SELECT (SELECT completed_at FROM delivery ORDER BY seq LIMIT 1) AS at
       UNION ALL SELECT (SELECT created_at FROM event ORDER BY seq LIMIT 1))`,
  );

  // What is free in the file is used again before it grows.
  const historyBytes = (): number => used.get()?.bytes ?? 0;

  return {
    historyBytes,

    historyCut(maxBytes, gone) {
      if (historyBytes() <= maxBytes) return null;
      const newest = now() - HOUR_MS;
      const from = gone ?? oldest.get()?.at ?? newest;
      const step = Math.max(CUT_LEAST_MS, Math.ceil((newest - from) / CUT_PART));
      return Math.min(newest, from + step);
    },

    purge(before, limit) {
      let deleted = 0;
      const gone = deletedAccount.get();
      if (gone !== undefined) {
        deleted += purgeAccount(gone.username, limit);
        if (deleted >= limit) return { deleted, more: true };
      }
      const rows = finished.all(limit - deleted).filter((row) => row.completed_at < before);
      for (const row of rows) {
        deleted += 1 + deleteAttempts.run(row.delivery_id).changes;
        deleteDelivery.run(row.seq);
      }
      if (deleted < limit) {
        for (const { seq } of oldEvents.all({ before, limit: limit - deleted })) {
          deleteEvent.run(seq);
          deleted += 1;
        }
      }
      if (deleted < limit) {
        const statBefore = before - (before % STAT_INTERVAL_MS) - HOUR_MS;
        deleted += db
          .prepare(
            'DELETE FROM stat WHERE at IN (SELECT DISTINCT at FROM stat WHERE at < ? ORDER BY at LIMIT 10)',
          )
          .run(statBefore).changes;
        deleted += db
          .prepare(
            'DELETE FROM stat_sum WHERE at IN (SELECT DISTINCT at FROM stat_sum WHERE at < ? ORDER BY at LIMIT 10)',
          )
          .run(statBefore).changes;
        deleted += db
          .prepare(`DELETE FROM replay WHERE created_at < ? AND status <> 'running'`)
          .run(before).changes;
        deleted += db
          .prepare(
            `DELETE FROM endpoint WHERE status = 'deleted' AND deleted_at < ?
               AND NOT EXISTS (SELECT 1 FROM queue q WHERE q.username = endpoint.username AND q.endpoint_id = endpoint.endpoint_id)
               AND NOT EXISTS (SELECT 1 FROM delivery d WHERE d.username = endpoint.username AND d.endpoint_id = endpoint.endpoint_id)`,
          )
          .run(before).changes;
        deleted += db
          .prepare(
            `UPDATE endpoint SET previous_secret = NULL, previous_secret_expires_at = NULL
             WHERE previous_secret_expires_at <= ?`,
          )
          .run(now()).changes;
        db.prepare(
          `DELETE FROM lane WHERE NOT EXISTS
             (SELECT 1 FROM endpoint e WHERE e.username = lane.username AND e.endpoint_id = lane.endpoint_id)`,
        ).run();
        // Those that have recovered: nothing that was told of them matters any more.
        deleted += db
          .prepare('DELETE FROM failing_endpoint WHERE failures = 0 AND ifnull(told_at, 0) <= ?')
          .run(now() - TELL_EVERY_MS).changes;
        if (mergeMinute()) deleted += 1;
        if (sumHour()) deleted += 1;
      }
      return { deleted, more: deleted > 0 };
    },
  };
}
