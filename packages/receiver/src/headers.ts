import { WebhookError } from './errors.ts';

/** Request headers of any runtime: `Headers`, Node's `request.headers`, a `Map` or a plain object; names in any case. */
export type RequestHeaders =
  | { get(name: string): string | null | undefined }
  | { readonly [name: string]: string | readonly string[] | undefined };

/**
 * One header's value, null when it is absent or empty.
 *
 * @throws WebhookError `header_repeated`: with two values there is no telling which one the sender meant.
 */
export function readHeader(headers: RequestHeaders, name: string): string | null {
  if (typeof headers.get === 'function') return headers.get(name) || null;
  const byName = headers as Readonly<Record<string, string | readonly string[] | undefined>>;
  const value = Object.hasOwn(byName, name) ? byName[name] : inOtherCase(byName, name);
  if (typeof value !== 'object') return value || null;
  if (value.length > 1) {
    throw new WebhookError('header_repeated', `${name} has ${value.length} values; send it once`);
  }
  return value[0] || null;
}

/** Gateways hand over names as they were sent. */
function inOtherCase(headers: object, name: string): string | readonly string[] | undefined {
  return Object.entries(headers).find(([given]) => given.toLowerCase() === name)?.[1];
}
