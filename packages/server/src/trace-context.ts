/**
 * W3C trace context as it is kept with an event: `traceparent`, and behind a space `tracestate` where there is one. One
 * text, so that it costs one column and nothing where nobody traces.
 */

/** The fields of version 00, with which later versions promise to begin. */
const TRACEPARENT = /^([0-9a-f]{2})-([0-9a-f]{32})-([0-9a-f]{16})-([0-9a-f]{2})(-.*)?$/;
const TRACESTATE = /^[\x20-\x7e]{1,512}$/;
const NO_TRACE = '0'.repeat(32);
const NO_SPAN = '0'.repeat(16);
const TRACEPARENT_LENGTH = 55;

type Header = string | string[] | undefined;

/**
 * What a publisher's headers say; null without a valid `traceparent`, which is no reason to refuse anything.
 *
 * @example
 * traceContextOf('00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01', undefined);
 */
export function traceContextOf(traceparent: Header, tracestate: Header): string | null {
  if (typeof traceparent !== 'string') return null;
  const match = TRACEPARENT.exec(traceparent);
  if (match === null) return null;
  const [, version, traceId, spanId, flags, further] = match;
  if (version === 'ff' || (version === '00' && further !== undefined)) return null;
  if (traceId === NO_TRACE || spanId === NO_SPAN) return null;
  const parent = `00-${traceId}-${spanId}-${flags}`;
  return typeof tracestate === 'string' && TRACESTATE.test(tracestate) ? `${parent} ${tracestate}` : parent;
}

/** `traceparent` of a kept trace context. */
export function traceparentOf(trace: string): string {
  return trace.slice(0, TRACEPARENT_LENGTH);
}

/** Null where there was none. */
export function tracestateOf(trace: string): string | null {
  return trace.length > TRACEPARENT_LENGTH ? trace.slice(TRACEPARENT_LENGTH + 1) : null;
}

/** 32 hex digits, by which log lines and traces find each other. */
export function traceIdOf(trace: string | null): string | null {
  return trace === null ? null : trace.slice(3, 35);
}
