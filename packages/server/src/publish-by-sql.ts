/** Publishing within a caller's own PostgreSQL transaction, by the function that migration 0003 makes. */
import { type ErrorKind, PosthornError } from './errors.ts';
import type { JsonObject } from './model.ts';
import { traceparentOf, tracestateOf } from './trace-context.ts';

/** A client, a client of a pool, or a pool of `pg`, or whatever queries as they do. */
export interface SqlClient {
  query(text: string, values: unknown[]): Promise<{ rows: unknown[] }>;
}

export interface SqlEvent {
  username: string;
  event: string;
  data: JsonObject;
  eventId: string | null;
}

const PUBLISH = `SELECT posthorn.publish(e.username, e.event, e.data, e.event_id) AS event_id
  FROM ROWS FROM (json_to_recordset($1::json) AS (username text, event text, data jsonb, event_id text))
    WITH ORDINALITY AS e(username, event, data, event_id, ord)
  ORDER BY e.ord`;

/** The same in a trace, which `posthorn.publish` finds as settings of the transaction. */
const PUBLISH_IN_TRACE = `WITH trace AS MATERIALIZED (
    SELECT set_config('posthorn.traceparent', $2, true), set_config('posthorn.tracestate', $3, true)
  ) ${PUBLISH.replace('FROM ROWS', 'FROM trace, ROWS')}`;

/** The refusals of `posthorn.publish`, as those of `publish.ts`. */
const KINDS: Record<string, ErrorKind> = {
  PH001: 'invalid_parameter',
  PH002: 'invalid_parameter',
  PH003: 'invalid_parameter',
  PH004: 'invalid_parameter',
  PH005: 'too_large',
  PH006: 'invalid_parameter',
  PH007: 'not_found',
  PH008: 'conflict',
  PH009: 'unavailable',
};

/**
 * Publishes events in the client's transaction, all of them or none; answers their ids in order. They are delivered
 * when the transaction commits, and never were when it doesn't.
 *
 * @param trace the trace they belong to, see `trace-context.ts`
 * @throws PosthornError as `posthorn.publish` refuses; the client's own errors otherwise. Either way PostgreSQL takes
 * nothing more in that transaction but its rollback.
 */
export async function publishBySql(
  client: SqlClient,
  events: readonly SqlEvent[],
  trace: string | null = null,
): Promise<string[]> {
  if (events.length === 0) return [];
  const rows = events.map(({ username, event, data, eventId }) => ({
    username,
    event,
    data,
    event_id: eventId,
  }));
  try {
    const values = [JSON.stringify(rows)];
    const result =
      trace === null
        ? await client.query(PUBLISH, values)
        : await client.query(PUBLISH_IN_TRACE, [...values, traceparentOf(trace), tracestateOf(trace) ?? '']);
    return (result.rows as { event_id: string }[]).map((row) => row.event_id);
  } catch (error) {
    throw refusalOf(error);
  }
}

function refusalOf(error: unknown): unknown {
  const { code, column, message } = error as { code?: unknown; column?: unknown; message?: unknown };
  const kind = KINDS[String(code)];
  const because = (field: string, sentence: string) =>
    new PosthornError('invalid_parameter', sentence, { field, cause: error });
  if (kind !== undefined) {
    const field = typeof column === 'string' ? { field: column } : {};
    return new PosthornError(kind, String(message), { ...field, cause: error });
  }
  switch (code) {
    case '22P05':
      return because('data', "text in data must not hold U+0000: PostgreSQL's jsonb can't keep it");
    case '3F000':
    case '42883':
      return because(
        'client',
        "the client's database has no posthorn.publish: give a client of Posthorn's own database",
      );
    case '42501':
      return because(
        'client',
        "the client's user may not publish: run `posthorn migrate --grant-publish <user>` as the owner of the schema",
      );
    default:
      return error;
  }
}
