/** What the peer's API and its deliveries need of a queue: one file a queue implements it by that queue's own means. */

/** One event for one endpoint: the payload of one job. */
export interface Delivery {
  /** The endpoint's number in the fleet. */
  endpoint: number;
  eventId: string;
  eventType: string;
  /** The exact bytes that are signed, as text. */
  body: string;
}

/** What one POST of a delivery led to. */
export interface Outcome {
  /** HTTP status, or null when no answer came. */
  status: number | null;
  /** Why it counts as failed; null when the receiver answered 2xx. */
  failure: string | null;
  /** Unix milliseconds. */
  startedAt: number;
  durationMs: number;
  /** What was sent and answered, where the log of attempts keeps it. */
  exchange?: Exchange;
}

/** Of an attempt, what its receiver's owner may want to see. */
export interface Exchange {
  url: string;
  requestHeaders: Record<string, string>;
  responseHeaders: Record<string, string | string[] | undefined> | null;
  /** The first bytes. */
  responseBody: string | null;
}

/** An event as it was accepted, for whoever sends its id again. */
export interface AcceptedEvent {
  username: string;
  eventId: string;
  /** Of type and data. */
  fingerprint: string;
  body: string;
}

export interface Producer {
  /** Resolves when the jobs are as durable as the queue's storage makes them. */
  add(deliveries: Delivery[]): Promise<void>;
  /**
   * As {@link add}, once for each event id of an account, and keeps the event. Missing where a queue is measured without.
   */
  addOnce?(event: AcceptedEvent, deliveries: Delivery[]): Promise<'stored' | 'duplicate' | 'conflict'>;
  close(): Promise<void>;
}

export interface Consumer {
  /** Takes no more jobs and resolves when those in flight are settled. */
  close(): Promise<void>;
}

/** POSTs one delivery. Never rejects: a failure is an outcome. */
export type Deliver = (delivery: Delivery) => Promise<Outcome>;

/** How much `fill` stores, and of what. */
export interface Filling {
  /** Deliveries that ended long ago. */
  finished: number;
  /** Deliveries that failed once and are due again in an hour or later. */
  pending: number;
  /** Numbers of the endpoints that they are spread over, in turn. */
  endpoints: number[];
  eventType: string;
  /** The sealed body that each of them carries. */
  body: string;
}

/** A queue with its log of attempts, on a database that is running. */
export interface Queue {
  /** Makes tables and the like in an empty database. */
  setUp(): Promise<void>;
  produce(): Promise<Producer>;
  /** @param servingSince - Unix ms; what is locked from before it was locked by processes that are gone */
  consume(deliver: Deliver, servingSince: number): Promise<Consumer>;
  fill(filling: Filling): Promise<void>;
}

/** How often a delivery is tried before the queue gives it up: as often as Posthorn's default schedule says. */
export const MAX_ATTEMPTS = 10;

/** Fails a job, so that the queue tries it again after its back-off. */
export class DeliveryFailed extends Error {
  constructor(endpoint: number, reason: string) {
    super(`endpoint ${endpoint}: ${reason}`);
    this.name = 'DeliveryFailed';
  }
}
