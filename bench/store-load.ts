/** What the benches of the store alone feed it with: accounts of one endpoint each, events of 1 KB, and attempts. */
import type { Client } from 'pg';
import type { Attempt, SealedEvent } from '../packages/server/src/model.ts';

/** Makes accounts `u1` to `u<count>`, each with one endpoint that subscribes to the event type `measured`. */
export async function makeAccounts(db: Client, count: number): Promise<void> {
  const numbers = `generate_series(1, ${count}) n`;
  await db.query(`INSERT INTO posthorn.account (username, status, created_at)
    SELECT 'u' || n, 'active', posthorn.now_ms() FROM ${numbers}`);
  await db.query(`INSERT INTO posthorn.endpoint (username, endpoint_id, url, events, status, secret, created_at)
    SELECT 'u' || n, 'wh_' || n, 'https://receiver.example/', '["measured"]', 'enabled', 'sealed', posthorn.now_ms()
    FROM ${numbers}`);
  await db.query(`INSERT INTO posthorn.subscription (username, event, endpoint_id)
    SELECT 'u' || n, 'measured', 'wh_' || n FROM ${numbers}`);
  await db.query(
    `INSERT INTO posthorn.lane (username, endpoint_id) SELECT 'u' || n, 'wh_' || n FROM ${numbers}`,
  );
}

/** An event of about 1 KB for account `u<account>`. */
export function measuredEvent(account: number, eventId: string): SealedEvent {
  const data = { text: 'x'.repeat(900) };
  return {
    username: `u${account}`,
    eventId,
    event: 'measured',
    timestamp: 1,
    body: JSON.stringify({ event_id: eventId, event: 'measured', timestamp: 1, data }),
    fingerprint: eventId,
    timestampGiven: false,
  };
}

/** An attempt that the receiver took, or answered with 500. */
export function measuredAttempt(number: number, failed = false): Attempt {
  return {
    number,
    startedAt: Date.now(),
    durationMs: 12.5,
    outcome: failed ? 'http_error' : 'success',
    httpStatus: failed ? 500 : 200,
    error: failed ? 'the receiver answered 500' : null,
    url: 'https://receiver.example/',
    requestHeaders: { 'content-type': 'application/json' },
    responseHeaders: { 'content-length': '2' },
    responseBody: 'ok',
    responseTruncated: false,
    manual: false,
  };
}
