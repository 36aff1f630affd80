/**
 * Builders of JSON Schemas that TypeScript understands: typebox's, as far as the API uses them, under its names and with
 * its types. Only the types are taken from it: to run, it loads 370 files, which was a quarter of a start
 * (docs/decisions/0017-what-a-start-loads.md).
 */
import type { Type as Typebox } from 'typebox';

export type { Static, TObject, TSchema } from 'typebox';

type Schema = Record<string, unknown>;

/** Schemas of properties that may be left out. */
const optional = new WeakSet<Schema>();

const ofType = (type: string) => (options?: Schema) => ({ type, ...options });

const builders = {
  Array: (items: Schema, options?: Schema) => ({ type: 'array', items, ...options }),
  Boolean: ofType('boolean'),
  Enum: (values: readonly unknown[], options?: Schema) => ({ enum: [...values], ...options }),
  Integer: ofType('integer'),
  Literal: (value: string | number | boolean, options?: Schema) => ({
    type: typeof value,
    const: value,
    ...options,
  }),
  Number: ofType('number'),
  Object: (properties: Record<string, Schema>, options?: Schema) => {
    const required = Object.keys(properties).filter((name) => !optional.has(properties[name] as Schema));
    return { type: 'object', ...(required.length > 0 && { required }), properties, ...options };
  },
  Optional: (schema: Schema) => {
    const copy = { ...schema };
    optional.add(copy);
    return copy;
  },
  /** Any name is taken: what `names` wants of them isn't looked at. */
  Record: (_names: Schema, values: Schema, options?: Schema) => ({
    type: 'object',
    patternProperties: { '^.*$': values },
    ...options,
  }),
  String: ofType('string'),
  Union: (anyOf: Schema[], options?: Schema) => ({ anyOf, ...options }),
  Unknown: (options?: Schema) => ({ ...options }),
  Unsafe: (schema: Schema) => schema,
};

/**
 * @example
 * const Body = Type.Object({ url: Type.String(), note: Type.Optional(Type.String({ maxLength: 100 })) });
 * type Body = Static<typeof Body>; // { url: string; note?: string }
 */
export const Type = builders as unknown as Pick<typeof Typebox, keyof typeof builders>;
