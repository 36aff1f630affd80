import type { Attempt } from '../../model.ts';
import { stringifyOrNull } from '../columns.ts';
import { type AttemptRow, toAttempt } from '../rows.ts';
import type { EngineContext } from './engine.ts';

/** Appends an attempt of a delivery. */
export function attemptWriter({ db }: EngineContext) {
  const insert = db.prepare(
    `INSERT INTO attempt (username, delivery_id, number, started_at, duration_ms, outcome, http_status, error, url,
                          request_headers, response_headers, response_body, response_truncated, manual)
     VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?)`,
  );
  return (username: string, deliveryId: string, attempt: Attempt): void => {
    insert.run(
      username,
      deliveryId,
      attempt.number,
      attempt.startedAt,
      attempt.durationMs,
      attempt.outcome,
      attempt.httpStatus,
      attempt.error,
      attempt.url,
      JSON.stringify(attempt.requestHeaders),
      stringifyOrNull(attempt.responseHeaders),
      attempt.responseBody,
      attempt.responseTruncated ? 1 : 0,
      attempt.manual ? 1 : 0,
    );
  };
}

/** Reads the attempts of a delivery, first to last. */
export function attemptReader({ db }: EngineContext) {
  const select = db.prepare<[string], AttemptRow>(
    'SELECT * FROM attempt WHERE delivery_id = ? ORDER BY number, seq',
  );
  return (deliveryId: string): Attempt[] => select.all(deliveryId).map(toAttempt);
}
