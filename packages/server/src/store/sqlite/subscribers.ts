import { LEASED_ENDPOINT_COLUMNS, type LeasedEndpointRow, toLeasedEndpoint } from '../rows.ts';
import type { LeasedEndpoint } from '../store.ts';
import type { Database } from './database.ts';

/** An endpoint that subscribes, as a row and as leases carry it. */
export interface Target {
  row: LeasedEndpointRow;
  endpoint: LeasedEndpoint;
}

/** Who gets an account's events, remembered between publishes. */
export interface Subscribers {
  /** The account's status; undefined when there is none. */
  statusOf(username: string): string | undefined;
  /** The endpoints that subscribe to a type, whether they are enabled or not. */
  of(username: string, type: string): readonly Target[];
  /** To be called when an account, an endpoint or a subscription has changed, or such a change was undone. */
  forget(): void;
}

/** Remembered pairs of account and type, beyond which all are forgotten. */
const MAX_REMEMBERED = 20_000;

/**
 * Reads subscribers for a connection that alone writes to its database: what it has read holds until it writes.
 *
 * @example
 * const subscribers = rememberSubscribers(db);
 * for (const { row, endpoint } of subscribers.of('alice', 'order.paid')) …
 */
export function rememberSubscribers(db: Database): Subscribers {
  const status = db.prepare<[string], { status: string }>('SELECT status FROM account WHERE username = ?');
  // The subscription's key (username, event, …) gives the endpoints, the endpoint's key each row.
  const subscribed = db.prepare<[string, string], LeasedEndpointRow>(
    `SELECT ${LEASED_ENDPOINT_COLUMNS} FROM subscription s
     JOIN endpoint e ON e.username = s.username AND e.endpoint_id = s.endpoint_id
     WHERE s.username = ? AND s.event = ?`,
  );
  const statuses = new Map<string, string | undefined>();
  const targets = new Map<string, readonly Target[]>();

  function forget(): void {
    statuses.clear();
    targets.clear();
  }

  return {
    forget,

    statusOf(username) {
      let known = statuses.get(username);
      if (known === undefined) {
        known = status.get(username)?.status;
        if (statuses.size >= MAX_REMEMBERED) forget();
        if (known !== undefined) statuses.set(username, known);
      }
      return known;
    },

    of(username, type) {
      const key = `${username} ${type}`;
      let known = targets.get(key);
      if (known === undefined) {
        known = subscribed.all(username, type).map((row) => ({ row, endpoint: toLeasedEndpoint(row) }));
        if (targets.size >= MAX_REMEMBERED) forget();
        targets.set(key, known);
      }
      return known;
    },
  };
}
