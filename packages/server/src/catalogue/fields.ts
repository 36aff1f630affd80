/**
 * The pieces that the built-in event types are made of. A field carries its schema and a fitting example together, so
 * that neither can be forgotten or drift from the other.
 */
import type { Json, JsonObject } from '../model.ts';

export interface Field {
  schema: JsonObject;
  example: Json;
}

/** Fields in the order in which documentation and examples show them; all of them are required. */
export type Fields = Record<string, Field>;

export function text(description: string, example: string): Field {
  return { schema: { type: 'string', description }, example };
}

export function integer(description: string, example: number): Field {
  return { schema: { type: 'integer', description }, example };
}

/** A length of time in seconds, fractions allowed. */
export function seconds(description: string, example: number): Field {
  return { schema: { type: 'number', minimum: 0, description }, example };
}

/** A moment in whole unix seconds. */
export function moment(description: string, example: number): Field {
  return { schema: { type: 'integer', minimum: 0, description }, example };
}

export function url(description: string, example: string): Field {
  return { schema: { type: 'string', format: 'uri', description }, example };
}

export function constant(description: string, value: string): Field {
  return { schema: { type: 'string', const: value, description }, example: value };
}

export function list(description: string, items: Field[]): Field {
  const [first] = items;
  if (first === undefined) throw new Error('a list needs an example item');
  return {
    schema: { type: 'array', items: first.schema, description },
    example: items.map((item) => item.example),
  };
}

/** An object whose fields are all required; a producer may add others, a receiver ignores what it doesn't know. */
export function object(description: string, fields: Fields): Field {
  const entries = Object.entries(fields);
  return {
    schema: {
      type: 'object',
      description,
      properties: Object.fromEntries(entries.map(([name, field]) => [name, field.schema])),
      required: entries.map(([name]) => name),
      additionalProperties: true,
    },
    example: Object.fromEntries(entries.map(([name, field]) => [name, field.example])),
  };
}
