/**
 * Checks a part of a request against its TypeBox schema. Nothing is coerced but integers in the query, nothing is
 * removed, nothing is defaulted; what doesn't fit is refused with a sentence that names the field.
 */
import type { Ajv2020, ErrorObject, ValidateFunction } from 'ajv/dist/2020.js';
import { loadAjv } from '../ajv.ts';
import { invalid, type PosthornError } from '../errors.ts';
import type { Static, TSchema } from './schema.ts';

export type RequestPart = 'body' | 'query' | 'path';

export type Check<S extends TSchema> = (value: unknown) => Static<S>;

/** The schema keyword that words what a `pattern` wants: "name must be <this>". */
export const EXPECTED = 'x-expected';

let compiler: Ajv2020 | undefined;
const compiled = new WeakMap<TSchema, ValidateFunction>();

const SHOWN_NAME_CHARACTERS = 80;

/** A name that the caller chose, quoted and cut: it goes into a message. */
export function quoted(name: string): string {
  return JSON.stringify(
    name.length > SHOWN_NAME_CHARACTERS ? `${name.slice(0, SHOWN_NAME_CHARACTERS)}…` : name,
  );
}

/** `/events/3` → `events[3]`, `/headers/x-a` → `headers.x-a`. */
function fieldOf(instancePath: string): string {
  return instancePath
    .split('/')
    .slice(1)
    .map((step) => step.replaceAll('~1', '/').replaceAll('~0', '~'))
    .map((step, i) => (/^\d+$/.test(step) ? `[${step}]` : i === 0 ? step : `.${step}`))
    .join('');
}

function plural(count: number, noun: string): string {
  return `${count} ${noun}${count === 1 ? '' : 's'}`;
}

const ARTICLES: Record<string, string> = {
  string: 'a string',
  integer: 'an integer',
  number: 'a number',
  boolean: 'true or false',
  object: 'an object',
  array: 'an array',
  null: 'null',
};

function typeSentence(type: string | string[]): string {
  return [type]
    .flat()
    .map((name) => ARTICLES[name] ?? name)
    .join(' or ');
}

const PART_NOUNS: Record<RequestPart, { whole: string; field: string; missing: string }> = {
  body: { whole: 'the body', field: 'field', missing: 'a JSON body is required' },
  query: { whole: 'the query', field: 'query parameter', missing: '' },
  path: { whole: 'the path', field: 'path parameter', missing: '' },
};

function knownFields(error: ErrorObject): string {
  const properties = (error.parentSchema as { properties?: Record<string, unknown> }).properties;
  const names = Object.keys(properties ?? {});
  return names.length === 0 ? 'none is taken here' : `known here: ${names.join(', ')}`;
}

function explain(error: ErrorObject, part: RequestPart): PosthornError {
  const nouns = PART_NOUNS[part];
  const path = fieldOf(error.instancePath);
  const inside = (name: string): string => (path === '' ? name : `${path}.${name}`);
  const subject = path === '' ? nouns.whole : path;
  const field = path === '' ? part : path;
  const params = error.params as Record<string, unknown>;
  const limit = params.limit as number;
  switch (error.keyword) {
    case 'required': {
      const missing = inside(params.missingProperty as string);
      return invalid(missing, `${missing} is required`);
    }
    case 'additionalProperties': {
      const name = params.additionalProperty as string;
      const where = path === '' ? '' : ` in ${path}`;
      return invalid(inside(name), `unknown ${nouns.field} ${quoted(name)}${where}; ${knownFields(error)}`);
    }
    case 'type':
      if (path === '' && error.data === undefined) return invalid(part, nouns.missing);
      return invalid(field, `${subject} must be ${typeSentence(params.type as string | string[])}`);
    case 'enum':
      return invalid(field, `${subject} must be one of: ${(params.allowedValues as unknown[]).join(', ')}`);
    case 'pattern': {
      const { [EXPECTED]: expected } = error.parentSchema as { [EXPECTED]?: string };
      return invalid(field, `${subject} must be ${expected ?? `text that fits ${String(params.pattern)}`}`);
    }
    case 'minLength':
      return invalid(field, `${subject} must have at least ${plural(limit, 'character')}`);
    case 'maxLength':
      return invalid(field, `${subject} must have at most ${plural(limit, 'character')}`);
    case 'minItems':
      return invalid(field, `${subject} must have at least ${plural(limit, 'item')}`);
    case 'maxItems':
      return invalid(field, `${subject} must have at most ${plural(limit, 'item')}`);
    case 'minProperties':
      return invalid(field, `${subject} must have at least ${plural(limit, 'field')}; ${knownFields(error)}`);
    case 'maxProperties':
      return invalid(field, `${subject} must have at most ${plural(limit, 'field')}`);
    case 'minimum':
      return invalid(field, `${subject} must be ${limit} or more`);
    case 'maximum':
      return invalid(field, `${subject} must be ${limit} or less`);
    default:
      return invalid(field, `${subject} ${error.message ?? 'is not valid'}`);
  }
}

/** Whole numbers as they are written in decimal; `0x10`, ` 5` and `1e3` stay texts and are refused. */
const INTEGER = /^-?\d{1,15}$/;

function withIntegers(value: unknown, schema: TSchema): unknown {
  const properties = (schema as { properties?: Record<string, { type?: string }> }).properties ?? {};
  // Without a prototype, so that a parameter named __proto__ is a name like any other, and refused like any other.
  const out: Record<string, unknown> = Object.create(null);
  for (const [name, text] of Object.entries(value as Record<string, unknown>)) {
    const wantsInteger = Object.hasOwn(properties, name) && properties[name]?.type === 'integer';
    out[name] = wantsInteger && typeof text === 'string' && INTEGER.test(text) ? Number(text) : text;
  }
  return out;
}

/** No id, name or cursor holds U+0000, and PostgreSQL takes none in a text: said here, with the parameter's name. */
function refuseNul(parameters: Record<string, unknown>): void {
  for (const [name, value] of Object.entries(parameters)) {
    if (typeof value === 'string' && value.includes('\0'))
      throw invalid(name, `${name} must not hold U+0000`);
  }
}

function compile(schema: TSchema): ValidateFunction {
  let check = compiled.get(schema);
  if (check === undefined) {
    // The schemas are our own, and a test holds them to the metaschema: compiling that one would take longer than all of them.
    compiler ??= new (loadAjv().Ajv2020)({
      strict: false,
      verbose: true,
      validateFormats: false,
      meta: false,
      validateSchema: false,
    });
    check = compiler.compile(schema);
    compiled.set(schema, check);
  }
  return check;
}

/**
 * Makes a schema into a check that returns the typed value. It is compiled at its first use, so that a start waits for none.
 *
 * @returns a function that throws PosthornError `invalid_parameter`, the offending field named as the caller knows it
 *   (`events[3]`, `headers.x-team`).
 */
export function compileCheck<S extends TSchema>(schema: S, part: RequestPart): Check<S> {
  let check: ValidateFunction | undefined;
  return (value) => {
    check ??= compile(schema);
    const candidate = part === 'query' ? withIntegers(value, schema) : value;
    if (check(candidate)) {
      if (part !== 'body') refuseNul(candidate as Record<string, unknown>);
      return candidate as Static<S>;
    }
    throw explain(check.errors?.[0] as ErrorObject, part);
  };
}
