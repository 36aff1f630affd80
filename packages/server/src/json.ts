/**
 * Reading JSON that strangers sent. What is accepted here can be written again with `JSON.stringify` without any
 * value changing, because receivers sign the re-serialised text (wire contract, section 2).
 */
import { isUtf8 } from 'node:buffer';
import secureJson from 'secure-json-parse';
import { invalid, type PosthornError } from './errors.ts';
import { closingQuote, hasEscapedKey, readJson } from './json-read.ts';
import { escapePointerToken, shortPointer, traceJson } from './json-trace.ts';

/** Deeper bodies are refused: recursive code of receivers, schema validators and dashboards must survive them. */
export const MAX_JSON_DEPTH = 100;

/** Beyond it doubles skip integers. */
const MAX_EXACT_INTEGER = 2 ** 53;
/** From here on JavaScript writes integers with an exponent, as the approximations that they are. */
const FIRST_EXPONENT_INTEGER = 1e21;
/** Any decimal of at most 15 significant digits is the shortest one of its double. */
const LONGEST_SAFE_TOKEN = 15;
const PLAIN_INTEGER = /^-?\d+$/;

/**
 * Parses a request body.
 *
 * Refuses, as an `invalid_parameter` of field `body`: an empty body, a byte order mark, invalid UTF-8, text that
 * isn't JSON (with the position), more than {@link MAX_JSON_DEPTH} levels, the keys `__proto__` and
 * `constructor.prototype`, and numbers that JavaScript can't hold exactly (with their JSON pointer).
 *
 * @example
 * parseJson(Buffer.from('{"amount":9007199254740993}'));
 * // throws: the number at /amount can't be held exactly by a double: send it as a string
 */
export function parseJson(bytes: Buffer): unknown {
  const text = decode(bytes);
  // Before parsing, so that a few megabytes of brackets never become objects.
  const inexactNumberAt = scan(text);
  let value: unknown;
  try {
    value = mayHaveForbiddenKey(text) ? readGuarded(text) : JSON.parse(text);
  } catch (error) {
    throw parseProblem(text, error);
  }
  if (inexactNumberAt !== -1) throw inexact('body', traceJson(text, inexactNumberAt).pointer);
  return value;
}

/**
 * Whether a JSON number's text is a value that a double holds exactly enough to write it again: an integer within
 * ±2^53, or a decimal that equals the shortest decimal of its double.
 *
 * @example
 * isExactNumber('0.10'); // true
 * isExactNumber('0.1000000000000000055511151231257827'); // false
 */
export function isExactNumber(source: string): boolean {
  const value = Number(source);
  if (!isWritableNumber(value)) return false;
  const shortest = String(value);
  if (shortest === source) return true;
  if (Math.abs(value) > MAX_EXACT_INTEGER && PLAIN_INTEGER.test(source)) return false;
  return canonicalDecimal(source) === canonicalDecimal(shortest);
}

/**
 * Refuses a JavaScript value with a number that its JSON would alter or that {@link parseJson} would refuse: `NaN`,
 * the infinities, integers beyond ±2^53. For values that an embedding application hands over without JSON text.
 *
 * @throws PosthornError `invalid_parameter` of `field`, with the number's JSON pointer.
 */
export function refuseInexactNumbers(field: string, value: unknown): void {
  const path = findInexactNumber(value);
  if (path !== null) throw inexact(field, `/${[field, ...path].join('/')}`);
}

/** Without an escape and without the words themselves no key of the text is forbidden or misread. */
function mayHaveForbiddenKey(text: string): boolean {
  return text.includes('\\') || text.includes('"__proto__"') || text.includes('"constructor"');
}

function readGuarded(text: string): unknown {
  // The keys are judged as they are read: a misread one could hide "__proto__".
  return hasEscapedKey(text) ? secureJson.scan(readJson(text) as object) : secureJson.parse(text);
}

function decode(bytes: Buffer): string {
  if (bytes.length === 0) throw invalid('body', 'body is empty: send a JSON object');
  if (bytes[0] === 0xef && bytes[1] === 0xbb && bytes[2] === 0xbf) {
    throw invalid('body', 'body starts with a byte order mark: send UTF-8 without one');
  }
  if (!isUtf8(bytes)) throw invalid('body', 'body is not valid UTF-8');
  return bytes.toString('utf8');
}

/**
 * One pass over the text, valid JSON or not: throws when it is nested too deeply and answers where the first number
 * stands that a double can't hold exactly, or -1. Strings are skipped by `indexOf`, which makes this pass cost a third
 * of what `JSON.parse` costs; a reviver that sees every number's source costs six times as much as `JSON.parse`.
 */
function scan(text: string): number {
  let depth = 0;
  let inexactNumberAt = -1;
  for (let i = 0; i < text.length; i++) {
    const char = text.charCodeAt(i);
    if (char === 0x22) {
      i = closingQuote(text, i);
    } else if (char === 0x5b || char === 0x7b) {
      if (++depth > MAX_JSON_DEPTH) {
        throw invalid('body', `body is nested deeper than ${MAX_JSON_DEPTH} levels: flatten it`);
      }
    } else if (char === 0x5d || char === 0x7d) {
      depth -= 1;
    } else if (isDigit(char) || char === 0x2d) {
      const start = i;
      let exponent = false;
      for (i += 1; i < text.length; i++) {
        const next = text.charCodeAt(i);
        if (isDigit(next) || next === 0x2e) continue;
        if (next !== 0x65 && next !== 0x45 && next !== 0x2b && next !== 0x2d) break;
        exponent = true;
      }
      const suspicious = exponent || i - start > LONGEST_SAFE_TOKEN;
      if (suspicious && inexactNumberAt === -1 && !isExactNumber(text.slice(start, i))) {
        inexactNumberAt = start;
      }
      i -= 1;
    }
  }
  return inexactNumberAt;
}

function isDigit(char: number): boolean {
  return char >= 0x30 && char <= 0x39;
}

/** Why the text was refused. The engine's own message isn't used: it quotes the payload. */
function parseProblem(text: string, cause: unknown): PosthornError {
  const { offset, complete } = traceJson(text);
  if (complete) {
    return invalid('body', 'body must not contain the keys "__proto__" or "constructor.prototype"');
  }
  if (text.trim() === '') return invalid('body', 'body is empty: send a JSON object');
  if (!(cause instanceof SyntaxError)) throw cause;
  const before = text.slice(0, offset);
  const line = before.split('\n').length;
  const column = offset - before.lastIndexOf('\n');
  const where = `position ${offset} (line ${line}, column ${column})`;
  const found = text.codePointAt(offset);
  return invalid(
    'body',
    found === undefined
      ? `body is not valid JSON: it ends too early, at ${where}`
      : `body is not valid JSON: unexpected ${JSON.stringify(String.fromCodePoint(found))} at ${where}`,
  );
}

function inexact(field: string, pointer: string): PosthornError {
  const place = pointer === '' ? ` that is the ${field}` : ` at ${shortPointer(pointer)}`;
  return invalid(field, `the number${place} can't be held exactly by a double: send it as a string`);
}

/** Finite, and not an integer that `JSON.stringify` writes with digits it doesn't have. */
function isWritableNumber(value: number): boolean {
  const size = Math.abs(value);
  return size <= MAX_EXACT_INTEGER || (size >= FIRST_EXPONENT_INTEGER && size < Infinity);
}

function findInexactNumber(value: unknown): string[] | null {
  if (typeof value === 'number') return isWritableNumber(value) ? null : [];
  if (typeof value !== 'object' || value === null) return null;
  for (const key of Object.keys(value)) {
    const path = findInexactNumber((value as Record<string, unknown>)[key]);
    if (path !== null) return [escapePointerToken(key), ...path];
  }
  return null;
}

/** The same text for every spelling of one decimal value, whose sign is left out: 1.50, 15e-1 and 0.15e1 agree. */
function canonicalDecimal(decimal: string): string {
  const unsigned = decimal.startsWith('-') ? decimal.slice(1) : decimal;
  const [mantissa = '', power = '0'] = unsigned.toLowerCase().split('e');
  const [whole = '', fraction = ''] = mantissa.split('.');
  const digits = whole + fraction;
  // Loops, because a pattern such as /0+$/ takes quadratic time on a hostile literal.
  let start = 0;
  while (digits[start] === '0') start += 1;
  let end = digits.length;
  while (end > start && digits[end - 1] === '0') end -= 1;
  if (start === end) return '0';
  return `${digits.slice(start, end)}e${Number(power) - fraction.length + digits.length - end}`;
}
