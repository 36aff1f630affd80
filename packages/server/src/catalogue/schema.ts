/**
 * JSON Schema 2020-12 as far as the catalogue needs it: judging an operator's schema, and turning a validator's
 * findings into sentences.
 */
import type { Ajv2020, ErrorObject, ValidateFunction } from 'ajv/dist/2020.js';
import { loadAjv, loadAjvFormats } from '../ajv.ts';
import { invalid } from '../errors.ts';
import { escapePointerToken, shortPointer } from '../json-trace.ts';
import type { JsonObject } from '../model.ts';

/** Largest schema or example of an event type, in bytes of its JSON. */
export const MAX_SCHEMA_BYTES = 64 * 1024;

const DIALECT = 'https://json-schema.org/draft/2020-12/schema';
const LONGEST_ALLOWED_VALUES = 200;

/**
 * Says what is wrong with a value, with its JSON pointer below `/{root}`; null when it fits.
 *
 * @example
 * check({ video_url: 7 }, 'data'); // '/data/video_url must be string'
 */
export type DataCheck = (value: unknown, root: 'data' | 'example') => string | null;

/**
 * Compiles a schema for `data`.
 *
 * @throws PosthornError `invalid_parameter` of field `schema`: too large, of another dialect, not a schema, asynchronous,
 * or with a reference that leads out of it.
 */
export function compileSchema(schema: JsonObject): DataCheck {
  checkSize('schema', schema);
  const dialect = schema.$schema;
  if (dialect !== undefined && dialect !== DIALECT && dialect !== `${DIALECT}#`) {
    throw invalid('schema', `schema must be JSON Schema 2020-12: leave $schema out or set it to ${DIALECT}`);
  }
  const { $schema: _, ...body } = schema;
  const validate = compile(body);
  if ('$async' in validate) throw invalid('schema', 'schema must not be asynchronous: remove $async');
  return (value, root) => {
    try {
      if (validate(value)) return null;
    } catch (error) {
      // `{"$ref":"#"}` and its kin are valid schemas whose validation never ends.
      if (error instanceof RangeError)
        return `/${root} can't be checked: the schema refers to itself without end`;
      throw error;
    }
    const [first] = validate.errors ?? [];
    return first === undefined ? `/${root} does not fit the schema` : describe(first, `/${root}`);
  };
}

/** @throws PosthornError `invalid_parameter` of `field` when its JSON is over {@link MAX_SCHEMA_BYTES}. */
export function checkSize(field: 'schema' | 'example', value: JsonObject): void {
  const bytes = Buffer.byteLength(JSON.stringify(value));
  if (bytes > MAX_SCHEMA_BYTES) {
    throw invalid(field, `${field} has ${bytes} bytes of JSON, the limit is ${MAX_SCHEMA_BYTES}`);
  }
}

function compile(schema: JsonObject): ValidateFunction {
  const judge = schemaJudge();
  if (judge.validateSchema(schema) !== true) {
    const [first] = judge.errors ?? [];
    const finding = first === undefined ? '/schema is malformed' : describe(first, '/schema');
    throw invalid('schema', `schema is not a JSON Schema 2020-12: ${finding}`);
  }
  // A compiler of its own for each schema: the `$id`s of one type must neither clash with nor be reachable from another.
  const ajv = loadAjv();
  const compiler = new ajv.Ajv2020({
    strict: false,
    logger: false,
    meta: false,
    validateSchema: false,
    // Inlining one large definition at a thousand places would turn 64 KiB of schema into megabytes of code.
    inlineRefs: false,
  });
  loadAjvFormats()(compiler);
  try {
    return compiler.compile(schema);
  } catch (error) {
    if (error instanceof ajv.MissingRefError) {
      const target = shortPointer(error.missingRef);
      throw invalid(
        'schema',
        `schema refers to ${JSON.stringify(target)}, which isn't part of it: define it under $defs and refer to "#/$defs/…"`,
      );
    }
    const reason = error instanceof Error ? error.message : String(error);
    throw invalid('schema', `schema can't be compiled: ${reason}`);
  }
}

let judge: Ajv2020 | undefined;

/** Holds the 2020-12 meta-schema, whose compilation takes tens of milliseconds: once a process, at the first use. */
function schemaJudge(): Ajv2020 {
  judge ??= new (loadAjv().Ajv2020)({ strict: false, logger: false });
  return judge;
}

function describe(error: ErrorObject, root: string): string {
  const pointer = root + error.instancePath;
  const params = error.params as Record<string, unknown>;
  const child = (name: unknown): string => shortPointer(`${pointer}/${escapePointerToken(String(name))}`);
  switch (error.keyword) {
    case 'required':
      return `${child(params.missingProperty)} is missing`;
    case 'additionalProperties':
      return `${child(params.additionalProperty)} is not a property of the schema`;
    case 'const':
      return `${shortPointer(pointer)} must be ${shortValue(params.allowedValue)}`;
    case 'enum':
      return `${shortPointer(pointer)} must be one of ${shortValue(params.allowedValues)}`;
    default:
      return `${shortPointer(pointer)} ${error.message ?? 'does not fit the schema'}`;
  }
}

function shortValue(value: unknown): string {
  const json = JSON.stringify(value);
  return json.length <= LONGEST_ALLOWED_VALUES ? json : `${json.slice(0, LONGEST_ALLOWED_VALUES)}…`;
}
