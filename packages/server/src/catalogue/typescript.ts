/** The catalogue as TypeScript, for the code that receives events. */
import type { EventType, Json, JsonObject } from '../model.ts';

/** What is rendered of an event type. */
export type RenderedType = Pick<EventType, 'name' | 'description' | 'schema' | 'deprecated'>;

export interface TypeScriptOptions {
  /** Name of the interface that maps each event type to its `data`. Default `Events`. */
  eventsName?: string;
  /** A comment at the top, a line each. */
  header?: readonly string[];
}

const ANY_OBJECT = '{ [name: string]: unknown }';
const INDENT = '  ';
const IDENTIFIER = /^[A-Za-z_$][\w$]*$/;

/**
 * TypeScript source: an interface for the `data` of each type, and one that maps the types' names to them. The same types
 * give the same text, so that it can be checked in and compared. What TypeScript can't say of a schema (lengths, patterns,
 * recursion) is left out or `unknown`; more properties than the schema names may always come.
 *
 * @example
 * renderTypes(BUILT_IN_TYPES, { eventsName: 'JoggEvents' });
 */
export function renderTypes(types: readonly RenderedType[], options: TypeScriptOptions = {}): string {
  const { eventsName = 'Events', header = [] } = options;
  const taken = new Set([eventsName]);
  const named = types.map((type) => ({ type, name: interfaceName(type.name, taken) }));
  const sections = [
    ...(header.length > 0 ? [`/**\n${header.map((line) => ` * ${line}\n`).join('')} */\n`] : []),
    ...named.map(({ type, name }) => declaration(type, name)),
    `/** The event types with the \`data\` of each. */\nexport interface ${eventsName} {\n${named
      .map(({ type, name }) => `${INDENT}${propertyName(type.name)}: ${name};\n`)
      .join('')}}\n`,
  ];
  return sections.join('\n');
}

function declaration({ description, schema, deprecated }: RenderedType, name: string): string {
  const comment = docComment([description, ...(deprecated ? ['@deprecated'] : [])], '');
  const rendered = new Renderer(schema).type(schema, '');
  // One object, and not several that are combined: its last line is the only one that closes at the margin.
  const isObjectType = rendered.startsWith('{\n') && rendered.indexOf('\n}') === rendered.length - 2;
  if (isObjectType) return `${comment}export interface ${name} ${rendered}\n`;
  return `${comment}export type ${name} = ${rendered === 'unknown' ? ANY_OBJECT : rendered};\n`;
}

/** Renders one schema and what it refers to. */
class Renderer {
  readonly #root: JsonObject;
  /** References that are being rendered: another one to the same place would never end. */
  readonly #open = new Set<string>();

  constructor(root: JsonObject) {
    this.#root = root;
  }

  type(schema: Json | undefined, indent: string): string {
    if (schema === false) return 'never';
    if (!isObject(schema)) return 'unknown';
    const parts = [
      this.#reference(schema.$ref, indent),
      this.#union(schema.oneOf, indent),
      this.#union(schema.anyOf, indent),
      this.#own(schema, indent),
      ...(Array.isArray(schema.allOf) ? schema.allOf.map((part) => this.type(part, indent)) : []),
    ].filter((part) => part !== null && part !== 'unknown') as string[];
    const distinct = [...new Set(parts)];
    if (distinct.length <= 1) return distinct[0] ?? 'unknown';
    return distinct.map(bracketed).join(' & ');
  }

  /** What the schema says by itself, without the schemas that it combines. */
  #own(schema: JsonObject, indent: string): string | null {
    if ('const' in schema) return literal(schema.const);
    if (Array.isArray(schema.enum)) return union(schema.enum.map(literal));
    if (Array.isArray(schema.type)) {
      return union(schema.type.map((type) => this.#ofType(type, schema, indent)));
    }
    const type = schema.type ?? (isObject(schema.properties) ? 'object' : undefined);
    return type === undefined ? null : this.#ofType(type, schema, indent);
  }

  #ofType(type: Json, schema: JsonObject, indent: string): string {
    switch (type) {
      case 'string':
      case 'boolean':
      case 'null':
      case 'number':
        return type;
      case 'integer':
        return 'number';
      case 'array':
        return this.#array(schema, indent);
      case 'object':
        return this.#object(schema, indent);
      default:
        return 'unknown';
    }
  }

  #array({ prefixItems, items }: JsonObject, indent: string): string {
    if (!Array.isArray(prefixItems)) return `${bracketed(this.type(items, indent))}[]`;
    const first = prefixItems.map((item) => `${bracketed(this.type(item, indent))}?`);
    const rest = items === false ? [] : [`...${bracketed(this.type(items, indent))}[]`];
    return `[${[...first, ...rest].join(', ')}]`;
  }

  #object({ properties, required, additionalProperties }: JsonObject, indent: string): string {
    if (!isObject(properties) || Object.keys(properties).length === 0) {
      const values = this.type(additionalProperties, indent);
      return values === 'never' ? 'Record<never, never>' : `{ [name: string]: ${values} }`;
    }
    const inner = indent + INDENT;
    const lines = Object.entries(properties).map(([name, schema]) => {
      const optional = Array.isArray(required) && required.includes(name) ? '' : '?';
      const description =
        isObject(schema) && typeof schema.description === 'string' ? schema.description : '';
      const deprecated = isObject(schema) && schema.deprecated === true ? ['@deprecated'] : [];
      const comment = docComment([description, ...deprecated], inner);
      return `${comment}${inner}${propertyName(name)}${optional}: ${this.type(schema, inner)};\n`;
    });
    return `{\n${lines.join('')}${indent}}`;
  }

  #union(schemas: Json | undefined, indent: string): string | null {
    if (!Array.isArray(schemas)) return null;
    const members = schemas.map((schema) => this.type(schema, indent));
    return members.includes('unknown') ? 'unknown' : union(members);
  }

  #reference(reference: Json | undefined, indent: string): string | null {
    if (typeof reference !== 'string') return null;
    if (this.#open.has(reference)) return 'unknown';
    this.#open.add(reference);
    const rendered = this.type(this.#target(reference), indent);
    this.#open.delete(reference);
    return rendered;
  }

  /** Of a JSON pointer; other references (`$anchor`, `$id`) are rare, and nothing is said of them. */
  #target(reference: string): Json | undefined {
    if (!/^#(\/|$)/.test(reference)) return undefined;
    let target: Json | undefined = this.#root;
    for (const step of reference.split('/').slice(1)) {
      const name = decodeURIComponent(step).replaceAll('~1', '/').replaceAll('~0', '~');
      target =
        typeof target === 'object' && target !== null && Object.hasOwn(target, name)
          ? (target as JsonObject)[name]
          : undefined;
    }
    return target;
  }
}

function isObject(json: Json | undefined): json is JsonObject {
  return typeof json === 'object' && json !== null && !Array.isArray(json);
}

function union(members: readonly string[]): string {
  const distinct = [...new Set(members)];
  return distinct.length === 0
    ? 'never'
    : distinct.map((one) => (/ & /.test(one) ? `(${one})` : one)).join(' | ');
}

/** So that what stands beside a type belongs to the whole of it. */
function bracketed(type: string): string {
  return / [|&] /.test(type) ? `(${type})` : type;
}

function literal(value: Json | undefined): string {
  if (typeof value === 'string') return quoted(value);
  return typeof value === 'object' && value !== null ? 'unknown' : JSON.stringify(value);
}

function quoted(text: string): string {
  const json = JSON.stringify(text).replaceAll('\u2028', '\\u2028').replaceAll('\u2029', '\\u2029');
  return text.includes("'") ? json : `'${json.slice(1, -1).replaceAll('\\"', '"')}'`;
}

function propertyName(name: string): string {
  return IDENTIFIER.test(name) ? name : quoted(name);
}

/** `order.paid` → `OrderPaid`; a name that is taken gets a number. */
function interfaceName(type: string, taken: Set<string>): string {
  const words = type.split(/[^A-Za-z0-9]+/).filter((word) => word !== '');
  const camel = words.map((word) => word.charAt(0).toUpperCase() + word.slice(1)).join('');
  const base = /^[A-Za-z]/.test(camel) ? camel : `Type${camel}`;
  let name = base;
  for (let n = 2; taken.has(name); n++) name = `${base}${n}`;
  taken.add(name);
  return name;
}

function docComment(paragraphs: readonly string[], indent: string): string {
  const lines = paragraphs
    .flatMap((text) => text.split(/\r\n|[\n\r\u2028\u2029]/))
    .map((line) => line.trim().replaceAll('*/', '*\\/'))
    .filter((line) => line !== '');
  if (lines.length === 0) return '';
  if (lines.length === 1) return `${indent}/** ${lines[0]} */\n`;
  return `${indent}/**\n${lines.map((line) => `${indent} * ${line}\n`).join('')}${indent} */\n`;
}
