/** Finished deliveries for benches on SQLite, past the service and so faster than it could make them. */
import { idFactory } from '../packages/server/src/clock.ts';
import { openDatabase } from '../packages/server/src/store/sqlite/database.ts';
import { ACCOUNTS, EVENT, usernameOf } from './support.ts';

const ROWS_A_COMMIT = 20_000;

/**
 * Writes events with one delivery and attempt each, oldest first, into a file that the service has migrated and isn't
 * serving; returns the seconds it took.
 *
 * @param endpointIds - of the bench's accounts, in their order
 * @param text - the same in each event's data
 * @param timeOf - when the event of a number, from 0, was accepted, in unix ms
 */
export function writeHistory(
  path: string,
  count: number,
  endpointIds: readonly string[],
  text: string,
  timeOf: (number: number) => number,
): number {
  const started = performance.now();
  const nextId = idFactory();
  const db = openDatabase(path);
  try {
    // A bench's file may be lost in a power cut.
    db.pragma('synchronous = OFF');
    const event = db.prepare(
      `INSERT INTO event (username, event_id, event, timestamp, created_at, body, fingerprint, deliveries)
       VALUES (?, ?, ?, ?, ?, ?, NULL, 1)`,
    );
    const delivery = db.prepare(
      `INSERT INTO delivery (username, delivery_id, endpoint_id, event_seq, event, status, attempts, created_at,
                             completed_at)
       VALUES (?, ?, ?, ?, ?, 'delivered', 1, ?, ?)`,
    );
    const attempt = db.prepare(
      `INSERT INTO attempt (username, delivery_id, number, started_at, duration_ms, outcome, http_status, url,
                            request_headers, response_headers, response_body, response_truncated, manual)
       VALUES (?, ?, 1, ?, 3.5, 'success', 204, ?, ?, '{}', '', 0, 0)`,
    );
    const write = db.transaction((from: number, to: number) => {
      for (let number = from; number < to; number += 1) {
        const atMs = timeOf(number);
        const seconds = Math.floor(atMs / 1000);
        const username = usernameOf(number);
        const eventId = nextId('evt', atMs);
        const deliveryId = nextId('dlv', atMs);
        const data = { number, text };
        const body = JSON.stringify({ event_id: eventId, event: EVENT, timestamp: seconds, data });
        const headers = JSON.stringify({ 'content-type': 'application/json', 'webhook-id': eventId });
        const { lastInsertRowid: seq } = event.run(username, eventId, EVENT, seconds, atMs, body);
        delivery.run(username, deliveryId, endpointIds[number % ACCOUNTS], seq, EVENT, atMs, atMs + 5);
        attempt.run(username, deliveryId, atMs, `http://127.0.0.1/${number % ACCOUNTS}`, headers);
      }
    });
    for (let from = 0; from < count; from += ROWS_A_COMMIT)
      write(from, Math.min(count, from + ROWS_A_COMMIT));
    db.pragma('wal_checkpoint(TRUNCATE)');
  } finally {
    db.close();
  }
  return (performance.now() - started) / 1000;
}
