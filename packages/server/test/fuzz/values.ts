/**
 * Values for a fuzzer, made from JSON Schemas: ones that fit, ones that nearly fit, and ones that nobody should send.
 */

/** Numbers from 0 (included) to 1. */
export type Random = () => number;

export type SchemaNode = {
  $ref?: string;
  type?: string | string[];
  const?: unknown;
  enum?: unknown[];
  examples?: unknown[];
  anyOf?: SchemaNode[];
  oneOf?: SchemaNode[];
  properties?: Record<string, SchemaNode>;
  required?: string[];
  items?: SchemaNode;
  minItems?: number;
  maxItems?: number;
  minimum?: number;
  maximum?: number;
  minLength?: number;
  maxLength?: number;
};

/** One of them. */
export function pick<T>(random: Random, from: readonly T[]): T {
  return from[Math.floor(random() * from.length)] as T;
}

/** A whole number from `low` to `high`, both included. */
export function whole(random: Random, low: number, high: number): number {
  return low + Math.floor(random() * (high - low + 1));
}

/** Texts that have broken services: control characters, halves of characters, syntax of what lies behind, length. */
export const HOSTILE_TEXTS: readonly string[] = [
  '',
  ' ',
  '\u0000',
  'a\u0000b',
  '\ud800',
  'x\udfffy',
  '\r\nx-injected: yes',
  '\u202egpj.exe',
  '../../etc/passwd',
  '..%2f..%2f',
  '%00',
  '%',
  "' OR '1'='1",
  "'; DROP TABLE account; --",
  '\\',
  '"',
  '$1',
  '${7*7}',
  '<script>alert(1)</script>',
  '__proto__',
  'constructor',
  'toString',
  'null',
  'undefined',
  'NaN',
  '-1',
  '0',
  '1e309',
  '9007199254740993',
  '١٢٣',
  'ａｂｃ',
  '👾'.repeat(40),
  'https://[::1]:0/',
  'https://user:pass@example.com/',
  'javascript:alert(1)',
  'x'.repeat(300),
  'x'.repeat(5000),
];

const HOSTILE_NUMBERS: readonly number[] = [
  0,
  -1,
  -0,
  1,
  0.5,
  201,
  4_294_967_296,
  253_402_300_800,
  1_767_225_600_000,
  Number.MAX_SAFE_INTEGER,
  -Number.MAX_SAFE_INTEGER,
  1e21,
  1e-9,
  -1e300,
];

function deep(levels: number): unknown {
  let value: unknown = 1;
  for (let level = 0; level < levels; level += 1) value = level % 2 === 0 ? [value] : { a: value };
  return value;
}

/** A value of any type. */
export function hostileValue(random: Random): unknown {
  switch (whole(random, 0, 8)) {
    case 0:
      return null;
    case 1:
      return random() < 0.5;
    case 2:
      return pick(random, HOSTILE_NUMBERS);
    case 3:
    case 4:
      return pick(random, HOSTILE_TEXTS);
    case 5:
      return Array.from({ length: whole(random, 0, 4) }, () => hostileValue(random));
    case 6:
      // As a text of JSON: an object literal would set the prototype.
      return JSON.parse(`{"__proto__":{"isOperator":true},"constructor":{"prototype":1}}`) as unknown;
    case 7:
      return deep(pick(random, [3, 40, 200]));
    default:
      return { [pick(random, HOSTILE_TEXTS)]: pick(random, HOSTILE_TEXTS) };
  }
}

/** Looks up what a `$ref` of the document stands for. */
export type Resolve = (ref: string) => SchemaNode;

/**
 * A value that fits the schema as far as a schema can say it; `known` may have a better one for a field's name.
 *
 * @example
 * fitting(random, { type: 'integer', minimum: 1, maximum: 30 }, resolve, () => undefined); // 17
 */
export function fitting(
  random: Random,
  schema: SchemaNode,
  resolve: Resolve,
  known: (name: string) => unknown,
  name = '',
): unknown {
  if (schema.$ref !== undefined) return fitting(random, resolve(schema.$ref), resolve, known, name);
  const better = known(name);
  if (better !== undefined) return better;
  if (schema.const !== undefined) return schema.const;
  if (schema.enum !== undefined) return pick(random, schema.enum);
  const choices = schema.anyOf ?? schema.oneOf;
  if (choices !== undefined) return fitting(random, pick(random, choices), resolve, known, name);
  if (schema.examples !== undefined && random() < 0.6) return pick(random, schema.examples);
  const type = Array.isArray(schema.type) ? pick(random, schema.type) : schema.type;
  switch (type) {
    case 'object':
      return fittingObject(random, schema, resolve, known);
    case 'array': {
      const least = schema.minItems ?? 0;
      const length = whole(random, least, Math.max(least, Math.min(schema.maxItems ?? 3, 3)));
      return Array.from({ length }, () => fitting(random, schema.items ?? {}, resolve, known, name));
    }
    case 'integer':
    case 'number': {
      const { minimum: low = 0, maximum: high = 1_000_000 } = schema;
      return pick(random, [low, high, whole(random, low, high)]);
    }
    case 'boolean':
      return random() < 0.5;
    case 'null':
      return null;
    case 'string':
      if (schema.examples !== undefined) return pick(random, schema.examples);
      return 'x'.repeat(whole(random, schema.minLength ?? 1, Math.min(schema.maxLength ?? 20, 20)));
    default:
      return hostileValue(random);
  }
}

function fittingObject(
  random: Random,
  { properties = {}, required = [], examples }: SchemaNode,
  resolve: Resolve,
  known: (name: string) => unknown,
): unknown {
  if (Object.keys(properties).length === 0) return pick(random, examples ?? [{}]);
  const out: Record<string, unknown> = {};
  for (const [name, schema] of Object.entries(properties)) {
    if (!required.includes(name) && random() < 0.5) continue;
    out[name] = fitting(random, schema, resolve, known, name);
  }
  return out;
}

/** The value with one thing wrong: a field left out, of another type, out of its bounds, unknown, or all of it replaced. */
export function mutated(random: Random, value: unknown): unknown {
  if (typeof value !== 'object' || value === null || random() < 0.1) return hostileValue(random);
  if (Array.isArray(value)) {
    if (value.length === 0) return [hostileValue(random)];
    const copy = [...(value as unknown[])];
    const at = whole(random, 0, copy.length - 1);
    if (random() < 0.2) return Array.from({ length: 1200 }, () => copy[at]);
    copy[at] = mutated(random, copy[at]);
    return copy;
  }
  const entries = Object.entries(value);
  if (entries.length === 0 || random() < 0.15) {
    return Object.fromEntries([...entries, [pick(random, HOSTILE_TEXTS), hostileValue(random)]]);
  }
  const at = whole(random, 0, entries.length - 1);
  if (random() < 0.25) return Object.fromEntries(entries.toSpliced(at, 1));
  const [name, inner] = entries[at] as [string, unknown];
  return Object.fromEntries(entries.with(at, [name, mutated(random, inner)]));
}

/** A body on its way: mostly the value's JSON, sometimes bytes that are none. */
export function bodyBytes(random: Random, value: unknown): Buffer {
  const text = JSON.stringify(value) ?? '';
  if (random() > 0.06) return Buffer.from(text);
  switch (whole(random, 0, 6)) {
    case 0:
      return Buffer.from(text.slice(0, Math.floor(text.length / 2)));
    case 1:
      return Buffer.concat([Buffer.from(text.slice(0, -1)), Buffer.from([0xff, 0xfe, 0xc0])]);
    case 2:
      return Buffer.from(`\ufeff${text}`, 'utf16le');
    case 3:
      return Buffer.from('['.repeat(10_000));
    case 4:
      return Buffer.from(text.replace(/[0-9]+/, '12345678901234567890'));
    case 5:
      return Buffer.from('{"events":{"length":1e9},"events":[]}');
    default:
      return Buffer.from(Array.from({ length: 200 }, () => whole(random, 0, 255)));
  }
}
