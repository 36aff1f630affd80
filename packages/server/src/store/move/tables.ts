/**
 * What a move copies: every table of an SQLite file, its columns as PostgreSQL keeps them. Copying and checking read
 * the source by the same statements, so what one says the other holds the target to.
 */

import { MARK } from './mark.ts';

/**
 * `text` is copied as it is; `written` is what a person wrote, which PostgreSQL's engine keeps as a JSON string; `note`
 * is the service's own sentence, in which U+0000 becomes U+FFFD; `bytes` is text there and UTF-8 bytes here.
 */
export type ColumnKind = 'text' | 'written' | 'note' | 'bytes' | 'integer' | 'real' | 'boolean';

export interface Column {
  name: string;
  kind: ColumnKind;
  /** Its value in the source, where `t` is the table's row. */
  sql: string;
}

export interface MovedTable {
  /** Its name in the target. */
  name: string;
  /** The source's FROM. */
  from: string;
  /** The columns of `t` by which batches go: unique, and the table's own order. */
  key: readonly string[];
  /** The target's columns that tell a person which row it is. */
  id: readonly string[];
  columns: readonly Column[];
  /** The column by whose day the target's table is partitioned. */
  day?: string;
  /** Which of the target's rows the source speaks of; default: all. */
  where?: string;
}

type ColumnSpec = ColumnKind | { kind: ColumnKind; sql: string };

function columnsOf(specs: Record<string, ColumnSpec>): Column[] {
  return Object.entries(specs).map(([name, spec]) =>
    typeof spec === 'string' ? { name, kind: spec, sql: `t.${name}` } : { name, ...spec },
  );
}

/** The event of a delivery. One that is gone is replaced by the delivery's own time, so that it goes with its day. */
const EVENT_OF_T = 'LEFT JOIN event e ON e.seq = t.event_seq';
const EVENT_ID: ColumnSpec = { kind: 'text', sql: `ifnull(e.event_id, '')` };
const EVENT_AT: ColumnSpec = { kind: 'integer', sql: 'ifnull(e.created_at, t.created_at)' };
const EVENT_SEQ: ColumnSpec = { kind: 'integer', sql: 'ifnull(e.seq, 0)' };

/** When a delivery of `table` that an attempt belongs to was published. */
function eventAtOfAttempt(table: 'queue' | 'delivery'): string {
  return `(SELECT ifnull(e.created_at, d.created_at) FROM ${table} d
    LEFT JOIN event e ON e.seq = d.event_seq
    WHERE d.username = t.username AND d.delivery_id = t.delivery_id)`;
}

/**
 * A lease of the source holds for nobody: its delivery is due since its attempt was, and so stays where it was in its
 * lane.
 */
const DUE_AT = 'CASE WHEN t.leased = 1 THEN ifnull(t.leased_at, t.created_at) ELSE t.due_at END';

/** As {@link DUE_AT}, of the queue's first row of a lane. */
const NEXT_AT = `(SELECT min(first.due_at) FROM (
    SELECT min(q.due_at) AS due_at FROM queue q
    WHERE q.username = t.username AND q.endpoint_id = t.endpoint_id AND q.leased = 0
    UNION ALL
    SELECT min(ifnull(q.leased_at, q.created_at)) FROM queue q
    WHERE q.username = t.username AND q.endpoint_id = t.endpoint_id AND q.leased = 1
  ) first)`;

/**
 * Where a replay's walk over events stands: after `seq` there, after `created_at:seq` here. It goes on before the first
 * event that it hasn't looked at, or at its end without one; the other walks and ended replays stay as they are.
 */
const POSITION = `CASE WHEN t.kind = 'failed' OR t.status <> 'running' OR t.position = '' THEN t.position
    ELSE ifnull((SELECT e.created_at || ':' || (e.seq - 1) FROM event e
      WHERE e.username = t.username AND e.created_at >= t.since AND e.created_at < t.until
        AND e.seq > CAST(t.position AS INTEGER)
      ORDER BY e.created_at, e.seq LIMIT 1), t.until || ':0') END`;

/** In the order in which they are copied. */
export const MOVED_TABLES: readonly MovedTable[] = [
  {
    name: 'meta',
    from: 'meta t',
    key: ['name'],
    id: ['name'],
    columns: columnsOf({ name: 'text', value: 'text' }),
    where: `name <> '${MARK}'`,
  },
  {
    name: 'encryption_key',
    from: 'encryption_key t',
    key: ['key_id'],
    id: ['key_id'],
    columns: columnsOf({ key_id: 'text', since: 'integer' }),
  },
  {
    name: 'account',
    from: 'account t',
    key: ['username'],
    id: ['username'],
    columns: columnsOf({ username: 'text', status: 'text', metadata: 'text', created_at: 'integer' }),
  },
  {
    name: 'api_key',
    from: 'api_key t',
    key: ['key_id'],
    id: ['key_id'],
    columns: columnsOf({
      key_id: 'text',
      hash: 'text',
      username: 'text',
      name: 'written',
      scopes: 'text',
      prefix: 'text',
      created_at: 'integer',
      expires_at: 'integer',
      last_used_at: 'integer',
      revoked_at: 'integer',
    }),
  },
  {
    name: 'session',
    from: 'session t',
    key: ['hash'],
    id: ['hash'],
    columns: columnsOf({
      hash: 'text',
      key_hash: 'text',
      username: 'text',
      created_at: 'integer',
      expires_at: 'integer',
    }),
  },
  {
    name: 'portal_link',
    from: 'portal_link t',
    key: ['link_id'],
    id: ['link_id'],
    columns: columnsOf({
      link_id: 'text',
      hash: 'text',
      username: 'text',
      created_at: 'integer',
      expires_at: 'integer',
      used_at: 'integer',
    }),
  },
  {
    name: 'event_type',
    from: 'event_type t',
    key: ['position'],
    id: ['name'],
    columns: columnsOf({
      position: 'integer',
      name: 'text',
      category: 'written',
      description: 'written',
      schema: 'text',
      example: 'text',
      deprecated: 'boolean',
      built_in: 'boolean',
    }),
  },
  {
    name: 'endpoint',
    from: 'endpoint t',
    key: ['username', 'endpoint_id'],
    id: ['username', 'endpoint_id'],
    columns: columnsOf({
      username: 'text',
      endpoint_id: 'text',
      url: 'text',
      events: 'text',
      status: 'text',
      disabled_reason: 'note',
      secret: 'text',
      previous_secret: 'text',
      previous_secret_expires_at: 'integer',
      description: 'written',
      metadata: 'text',
      headers: 'text',
      rate_limit_per_second: 'real',
      timeout_ms: 'integer',
      created_at: 'integer',
      deleted_at: 'integer',
      disabled_at: 'integer',
      missed_since: 'integer',
      missed_until: 'integer',
    }),
  },
  {
    name: 'failing_endpoint',
    from: 'failing_endpoint t',
    key: ['username', 'endpoint_id'],
    id: ['username', 'endpoint_id'],
    columns: columnsOf({
      username: 'text',
      endpoint_id: 'text',
      failures: 'integer',
      since: 'integer',
      oldest: 'integer',
      probes: 'integer',
      probe_at: 'integer',
      told: 'boolean',
      told_at: 'integer',
      last_at: 'integer',
      last_outcome: 'text',
      last_status: 'integer',
      last_error: 'note',
    }),
  },
  {
    name: 'subscription',
    from: 'subscription t',
    key: ['username', 'event', 'endpoint_id'],
    id: ['username', 'event', 'endpoint_id'],
    columns: columnsOf({ username: 'text', event: 'text', endpoint_id: 'text' }),
  },
  {
    name: 'lane',
    from: 'lane t',
    key: ['username', 'endpoint_id'],
    id: ['username', 'endpoint_id'],
    columns: columnsOf({
      username: 'text',
      endpoint_id: 'text',
      next_at: { kind: 'integer', sql: NEXT_AT },
      parked: 'boolean',
    }),
  },
  {
    name: 'queue',
    from: `queue t ${EVENT_OF_T}`,
    key: ['username', 'delivery_id'],
    id: ['username', 'delivery_id'],
    columns: columnsOf({
      username: 'text',
      delivery_id: 'text',
      endpoint_id: 'text',
      event_id: EVENT_ID,
      event: 'text',
      event_at: EVENT_AT,
      event_seq: EVENT_SEQ,
      attempts: 'integer',
      failures: 'integer',
      manual: 'boolean',
      pinned: { kind: 'boolean', sql: 'ifnull(e.only_endpoint_id = t.endpoint_id, 0)' },
      created_at: 'integer',
      due_at: { kind: 'integer', sql: DUE_AT },
      leased: { kind: 'boolean', sql: '0' },
    }),
  },
  {
    name: 'event',
    from: 'event t',
    key: ['seq'],
    id: ['username', 'event_id'],
    columns: columnsOf({
      seq: 'integer',
      username: 'text',
      event_id: 'text',
      event: 'text',
      timestamp: 'integer',
      created_at: 'integer',
      body: 'text',
      fingerprint: 'text',
      deliveries: 'integer',
      skipped: 'text',
      only_endpoint_id: 'text',
      trace: 'text',
    }),
    day: 'created_at',
  },
  {
    name: 'event_key',
    from: 'event t',
    key: ['seq'],
    id: ['username', 'event_id'],
    columns: columnsOf({ username: 'text', event_id: 'text', created_at: 'integer', seq: 'integer' }),
  },
  {
    name: 'delivery',
    from: `delivery t ${EVENT_OF_T}`,
    key: ['seq'],
    id: ['username', 'delivery_id'],
    columns: columnsOf({
      username: 'text',
      delivery_id: 'text',
      endpoint_id: 'text',
      event_id: EVENT_ID,
      event: 'text',
      event_at: EVENT_AT,
      event_seq: EVENT_SEQ,
      status: 'text',
      status_reason: 'note',
      attempts: 'integer',
      created_at: 'integer',
      completed_at: 'integer',
    }),
    day: 'event_at',
  },
  {
    name: 'attempt',
    from: 'attempt t',
    key: ['seq'],
    id: ['username', 'delivery_id', 'number'],
    columns: columnsOf({
      username: 'text',
      delivery_id: 'text',
      event_at: {
        kind: 'integer',
        sql: `coalesce(${eventAtOfAttempt('delivery')}, ${eventAtOfAttempt('queue')}, t.started_at)`,
      },
      number: 'integer',
      started_at: 'integer',
      duration_ms: 'real',
      outcome: 'text',
      http_status: 'integer',
      error: 'note',
      url: 'text',
      request_headers: 'text',
      response_headers: 'text',
      response_body: 'bytes',
      response_truncated: 'boolean',
      manual: 'boolean',
    }),
    day: 'event_at',
  },
  {
    name: 'stat',
    from: 'stat t',
    key: ['username', 'at', 'endpoint_id', 'event', 'outcome', 'latency'],
    id: ['username', 'at', 'endpoint_id', 'event', 'outcome', 'latency'],
    columns: columnsOf({
      username: 'text',
      at: 'integer',
      endpoint_id: 'text',
      event: 'text',
      outcome: 'text',
      latency: 'integer',
      // Nobody's: nodes are numbered from 1.
      node: { kind: 'integer', sql: '0' },
      count: 'integer',
    }),
  },
  {
    name: 'stat_sum',
    from: 'stat_sum t',
    key: ['username', 'at', 'outcome', 'latency'],
    id: ['username', 'at', 'outcome', 'latency'],
    columns: columnsOf({
      username: 'text',
      at: 'integer',
      outcome: 'text',
      latency: 'integer',
      count: 'integer',
    }),
  },
  {
    name: 'replay',
    from: 'replay t',
    key: ['username', 'replay_id'],
    id: ['username', 'replay_id'],
    columns: columnsOf({
      username: 'text',
      replay_id: 'text',
      endpoint_id: 'text',
      kind: 'text',
      status: 'text',
      since: 'integer',
      until: 'integer',
      matched: 'integer',
      done: 'integer',
      position: { kind: 'text', sql: POSITION },
      created_at: 'integer',
    }),
  },
  {
    name: 'audit',
    from: 'audit t',
    key: ['seq'],
    id: ['audit_id'],
    // Numbered anew, in their order.
    columns: columnsOf({
      audit_id: 'text',
      at: 'integer',
      actor: 'text',
      key_id: 'text',
      key_account: 'text',
      via: 'text',
      request_id: 'text',
      remote_address: 'text',
      action: 'text',
      target_type: 'text',
      target: 'text',
      account: 'text',
      before: 'text',
      after: 'text',
      through: 'text',
    }),
  },
];
