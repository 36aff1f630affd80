import { WebhookError } from './errors.ts';
import { readHeader, type RequestHeaders } from './headers.ts';

/** A delivery's body as it is on the wire (wire contract, section 2). */
export interface WebhookEvent<Name extends string = string, Data = Record<string, unknown>> {
  /** The same in every retry and replay: the key by which duplicates are told. */
  event_id: string;
  /** The event type. */
  event: Name;
  /** When it happened, in unix seconds; not when it was sent. */
  timestamp: number;
  data: Data;
}

/** Event types with the `data` of each, as an interface or a type. */
export type EventTypes<Events> = { [Name in keyof Events]: object };

/** An event of one of these types; `event.event` tells which. */
export type EventOf<Events> = {
  [Name in keyof Events & string]: WebhookEvent<Name, Events[Name]>;
}[keyof Events & string];

/** Event types of which nothing is known. */
export type AnyEvents = Record<string, Record<string, unknown>>;

/**
 * Reads a body whose signature was found right.
 *
 * @throws WebhookError `body_malformed`; `header_mismatch` when an unsigned header says something else than the body
 */
export function readEvent(body: Uint8Array, headers: RequestHeaders): WebhookEvent {
  let event: Partial<WebhookEvent> | null;
  try {
    event = JSON.parse(
      new TextDecoder('utf-8', { fatal: true }).decode(body),
    ) as Partial<WebhookEvent> | null;
  } catch (cause) {
    throw new WebhookError('body_malformed', 'The body is signed, but it is not JSON in UTF-8', { cause });
  }
  if (
    typeof event !== 'object' ||
    event === null ||
    typeof event.event_id !== 'string' ||
    event.event_id === '' ||
    typeof event.event !== 'string' ||
    typeof event.timestamp !== 'number' ||
    typeof event.data !== 'object' ||
    event.data === null
  ) {
    throw new WebhookError(
      'body_malformed',
      'The body is signed, but it is not an event with event_id, event, timestamp and data: for other bodies use verifySignature',
    );
  }
  // Code in front of the verification may have routed by these headers, which `jogg` doesn't sign.
  for (const [name, said] of [
    ['webhook-id', event.event_id],
    ['x-webhook-event', event.event],
  ] as const) {
    const given = readHeader(headers, name);
    if (given !== null && given !== said) {
      throw new WebhookError('header_mismatch', `${name} is not what the signed body says`);
    }
  }
  return event as WebhookEvent;
}
