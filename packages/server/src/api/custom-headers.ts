/** The headers that an endpoint's owner may add to its deliveries. */
import { invalid } from '../errors.ts';
import { quoted } from './validate.ts';

export const MAX_CUSTOM_HEADERS = 20;
const MAX_NAME_CHARACTERS = 128;
const MAX_VALUE_CHARACTERS = 4096;

/** RFC 9110, section 5.6.2: what a field name may consist of. */
const TOKEN = /^[!#$%&'*+\-.^_`|~0-9A-Za-z]+$/;
/**
 * Tab, visible ASCII, space and Latin-1: what HTTP/1.1 can carry. Line ends would begin another header or the body.
 */
const VALUE = /^[\t\x20-\x7e\x80-\xff]*$/;

/** What the connection, the body or the signature decides. */
const RESERVED = new Set([
  'accept-encoding',
  'connection',
  'date',
  'expect',
  'host',
  'http2-settings',
  'keep-alive',
  'te',
  'trailer',
  'transfer-encoding',
  'upgrade',
  'user-agent',
  'via',
]);
const RESERVED_PREFIXES = ['content-', 'proxy-', 'sec-', 'webhook-', 'x-webhook-'];

/**
 * Checks custom headers: at most 20, valid names that nothing else sets, values that can't break out of their line.
 *
 * @throws PosthornError `invalid_parameter` naming the header.
 * @example
 * checkCustomHeaders({ authorization: 'Bearer abc' }); // fine
 * checkCustomHeaders({ host: 'example.com' }); // throws: headers.host is set by Posthorn …
 */
export function checkCustomHeaders(headers: Record<string, string>): void {
  const names = Object.keys(headers);
  if (names.length > MAX_CUSTOM_HEADERS) {
    throw invalid('headers', `headers must be at most ${MAX_CUSTOM_HEADERS}, not ${names.length}`);
  }
  const seen = new Set<string>();
  for (const name of names) {
    const field = `headers[${quoted(name)}]`;
    const lower = name.toLowerCase();
    if (!TOKEN.test(name) || name.length > MAX_NAME_CHARACTERS) {
      throw invalid('headers', `${field} is not a valid header name`);
    }
    if (RESERVED.has(lower) || RESERVED_PREFIXES.some((prefix) => lower.startsWith(prefix))) {
      throw invalid(
        'headers',
        `${field} can't be set: it belongs to the connection, the body or the signature`,
      );
    }
    if (seen.has(lower))
      throw invalid('headers', `${field} is given twice; names ignore upper and lower case`);
    seen.add(lower);
    const value = headers[name] as string;
    if (!VALUE.test(value)) {
      throw invalid('headers', `${field} has a value with line breaks, control or non-Latin-1 characters`);
    }
    if (value.length > MAX_VALUE_CHARACTERS) {
      throw invalid('headers', `${field} has a value longer than ${MAX_VALUE_CHARACTERS} characters`);
    }
  }
}
