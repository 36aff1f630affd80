/** A JSON Schema as rows of a table: each field with its type, whether it must be there, and its rules. */

export interface SchemaRow {
  /** `error.code`, `scripts[].script_style` */
  path: string;
  /** How deep it lies: 0 for the fields of the object itself. */
  depth: number;
  type: string;
  required: boolean;
  description: string | null;
  /** `at least 0`, `one of "a", "b"` */
  rules: string[];
}

type Schema = Record<string, unknown>;

/** A schema can refer to itself, and be as large as it likes. */
const MAX_DEPTH = 6;
const MAX_ROWS = 200;
const LONGEST_RULE = 120;

function asSchema(value: unknown): Schema | null {
  return typeof value === 'object' && value !== null && !Array.isArray(value) ? (value as Schema) : null;
}

/** Follows `#/$defs/…`; what leads elsewhere, or to itself, stays as it is. */
function resolved(schema: Schema, root: Schema): Schema {
  let present = schema;
  for (let steps = 0; steps < 10 && typeof present.$ref === 'string'; steps++) {
    if (!present.$ref.startsWith('#/')) return present;
    let target: unknown = root;
    for (const step of present.$ref.slice(2).split('/')) {
      target = asSchema(target)?.[step.replaceAll('~1', '/').replaceAll('~0', '~')];
    }
    const next = asSchema(target);
    if (next === null) return present;
    const { $ref: _, ...beside } = present;
    present = { ...next, ...beside };
  }
  return present;
}

function typeOf(schema: Schema, root: Schema): string {
  if (typeof schema.$ref === 'string') return schema.$ref;
  const { type } = schema;
  if (type === 'array') {
    const items = asSchema(schema.items);
    return items === null ? 'array' : `array of ${typeOf(resolved(items, root), root)}`;
  }
  if (typeof type === 'string') return type;
  if (Array.isArray(type)) return type.join(' or ');
  for (const word of ['oneOf', 'anyOf'] as const) {
    const choices = schema[word];
    if (!Array.isArray(choices)) continue;
    const types = choices.map((choice) => typeOf(resolved(asSchema(choice) ?? {}, root), root));
    return [...new Set(types)].join(' or ');
  }
  if ('const' in schema) return typeof schema.const;
  if (Array.isArray(schema.enum)) return [...new Set(schema.enum.map((value) => typeof value))].join(' or ');
  if (asSchema(schema.properties) !== null) return 'object';
  return 'any';
}

const RULES: readonly [keyword: string, words: (value: unknown) => string][] = [
  ['const', (value) => `always ${JSON.stringify(value)}`],
  ['enum', (value) => `one of ${(value as unknown[]).map((entry) => JSON.stringify(entry)).join(', ')}`],
  ['format', (value) => String(value)],
  ['pattern', (value) => `matches ${String(value)}`],
  ['minimum', (value) => `at least ${String(value)}`],
  ['exclusiveMinimum', (value) => `more than ${String(value)}`],
  ['maximum', (value) => `at most ${String(value)}`],
  ['exclusiveMaximum', (value) => `less than ${String(value)}`],
  ['multipleOf', (value) => `a multiple of ${String(value)}`],
  ['minLength', (value) => `at least ${String(value)} characters`],
  ['maxLength', (value) => `at most ${String(value)} characters`],
  ['minItems', (value) => `at least ${String(value)} items`],
  ['maxItems', (value) => `at most ${String(value)} items`],
];

function rulesOf(schema: Schema): string[] {
  return RULES.filter(
    ([keyword]) => keyword in schema && (keyword !== 'enum' || Array.isArray(schema.enum)),
  ).map(([keyword, words]) => {
    const text = words(schema[keyword]);
    return text.length > LONGEST_RULE ? `${text.slice(0, LONGEST_RULE)}…` : text;
  });
}

/**
 * @returns at most 200 rows, in the schema's order; none for a schema without properties
 * @example
 * schemaRows({ type: 'object', properties: { id: { type: 'string' } }, required: ['id'] });
 * // [{ path: 'id', depth: 0, type: 'string', required: true, description: null, rules: [] }]
 */
export function schemaRows(root: Schema): SchemaRow[] {
  const rows: SchemaRow[] = [];
  const walk = (schema: Schema, prefix: string, depth: number): void => {
    const properties = asSchema(schema.properties);
    if (properties === null || depth > MAX_DEPTH) return;
    const required = new Set(Array.isArray(schema.required) ? schema.required : []);
    for (const [name, value] of Object.entries(properties)) {
      if (rows.length >= MAX_ROWS) return;
      const field = resolved(asSchema(value) ?? {}, root);
      const path = prefix === '' ? name : `${prefix}.${name}`;
      rows.push({
        path,
        depth,
        type: typeOf(field, root),
        required: required.has(name),
        description: typeof field.description === 'string' ? field.description : null,
        rules: rulesOf(field),
      });
      const items = asSchema(field.items);
      if (items !== null) walk(resolved(items, root), `${path}[]`, depth + 1);
      else walk(field, path, depth + 1);
    }
  };
  walk(resolved(root, root), '', 0);
  return rows;
}
