/**
 * What can be published: the built-in event types and the operator's own, with their schemas compiled when they are
 * first needed.
 */
import { isDeepStrictEqual } from 'node:util';
import { type Clock, systemClock } from '../clock.ts';
import { invalid, notFound } from '../errors.ts';
import type { EventType, JsonObject } from '../model.ts';
import { isOperational } from '../store/operational.ts';
import type { Store } from '../store/store.ts';
import { BUILT_IN_TYPES } from './built-in.ts';
import { checkTypeName } from './names.ts';
import { OPERATIONAL_TYPES } from './operational.ts';
import { checkSize, compileSchema, type DataCheck } from './schema.ts';

const LONGEST_CATEGORY = 64;
const LONGEST_DESCRIPTION = 1000;
/** Unknown names cost at most one look at the store in so long. */
const LOOK_INTERVAL_MS = 1_000;

/** What an operator says of an event type; absent and null parts take their defaults, or a built-in type's own. */
export interface EventTypeInput {
  name: string;
  /** 1 to 64 characters. */
  category: string;
  /** 1 to 1000 characters. */
  description: string;
  /** JSON Schema 2020-12 for `data`, at most 64 KiB; by default any object fits. */
  schema?: JsonObject | null;
  /** A `data` that fits the schema, at most 64 KiB. */
  example?: JsonObject | null;
  /** Default false. */
  deprecated?: boolean;
}

interface Entry {
  readonly type: EventType;
  /** Null until it is first needed. */
  check: DataCheck | null;
}

type TypeStore = Pick<Store, 'listEventTypes' | 'putEventType' | 'deleteEventType'>;

/**
 * One node's view of the catalogue. It answers from memory; {@link Catalogue.load} fills it and {@link Catalogue.refresh}
 * brings in what other nodes changed.
 *
 * @example
 * const catalogue = new Catalogue(store);
 * await catalogue.load();
 * catalogue.validateData('generated_video_success', data);
 */
export class Catalogue {
  readonly #store: TypeStore;
  #entries: Map<string, Entry>;
  /** Counts the writes of this node, so that a read begun before one can't undo it here. */
  #writes = 0;
  #readsBegun = 0;
  #lastReadApplied = 0;
  readonly #clock: Pick<Clock, 'monotonic'>;
  #lookedAt = Number.NEGATIVE_INFINITY;
  #looking: Promise<void> | null = null;

  constructor(store: TypeStore, clock: Pick<Clock, 'monotonic'> = systemClock) {
    this.#store = store;
    this.#clock = clock;
    this.#entries = new Map(
      [...BUILT_IN_TYPES, ...OPERATIONAL_TYPES].map((type) => [type.name, { type, check: null }]),
    );
  }

  /** Reads the operator's types. Call it once before the first request. Rejects as the store does. */
  load(): Promise<void> {
    return this.refresh();
  }

  /**
   * Reads the operator's types again: one query, and no schema that is unchanged is compiled anew. Rejects as the store
   * does, and then keeps what it has.
   */
  async refresh(): Promise<void> {
    this.#readsBegun += 1;
    const read = this.#readsBegun;
    let stored: EventType[];
    let writes: number;
    do {
      writes = this.#writes;
      stored = await this.#store.listEventTypes();
    } while (writes !== this.#writes);
    // Two reads at a time may end in either order; the older one must not win.
    if (read < this.#lastReadApplied) return;
    this.#lastReadApplied = read;
    this.#replaceAll(stored);
  }

  /**
   * To be awaited before names that come from outside are judged: one that is unknown here may have been added on
   * another node a moment ago. Looks at most once a second, and not at all when all names are known. Rejects as the
   * store does.
   */
  async lookFor(names: Iterable<string>): Promise<void> {
    if ([...names].every((name) => this.#entries.has(name))) return;
    if (this.#clock.monotonic() - this.#lookedAt < LOOK_INTERVAL_MS) return;
    this.#looking ??= this.#look().finally(() => {
      this.#looking = null;
    });
    await this.#looking;
  }

  async #look(): Promise<void> {
    const at = this.#clock.monotonic();
    await this.refresh();
    this.#lookedAt = at;
  }

  /**
   * The 22 built-in names in the wire contract's order, then the operator's own in the order of their making. Without
   * those of operational events: whoever subscribes to all of these wants the product's events.
   */
  names(): string[] {
    return [...this.#entries.keys()].filter((name) => !isOperational(name));
  }

  /** All types in the order of {@link Catalogue.names} and then those of operational events, or those of one category. */
  list(category?: string): EventType[] {
    const all = Array.from(this.#entries.values(), (entry) => entry.type);
    const types = [
      ...all.filter(({ name }) => !isOperational(name)),
      ...all.filter(({ name }) => isOperational(name)),
    ];
    return category === undefined ? types : types.filter((type) => type.category === category);
  }

  get(name: string): EventType | null {
    return this.#entries.get(name)?.type ?? null;
  }

  has(name: string): boolean {
    return this.#entries.has(name);
  }

  /**
   * Adds or replaces an operator's own type, or marks a built-in one as deprecated (or no longer so). Resolves when it
   * is stored.
   *
   * @param store - that writes it, in somebody's name
   * @throws PosthornError `invalid_parameter` that names the field: a malformed name, category, description or schema, an
   * example that doesn't fit, or any other change of a built-in type. Rejects as the store does.
   */
  async put(input: EventTypeInput, store: Pick<TypeStore, 'putEventType'> = this.#store): Promise<EventType> {
    const entry = this.#entryOf(input);
    await store.putEventType(entry.type);
    this.#writes += 1;
    this.#entries.set(entry.type.name, entry);
    return entry.type;
  }

  /**
   * What {@link Catalogue.put} would store, without storing it.
   *
   * @throws PosthornError as `put` does
   */
  judge(input: EventTypeInput): EventType {
    return this.#entryOf(input).type;
  }

  #entryOf(input: EventTypeInput): Entry {
    const known = this.#entries.get(input.name);
    return known?.type.builtIn ? changedBuiltIn(known, input) : ownEntry(input);
  }

  /**
   * Deletes an operator's own type.
   *
   * @param store - that deletes it, in somebody's name
   * @throws PosthornError `invalid_parameter` for a built-in type, `not_found` when there is none, `conflict` (of the
   * store) while an endpoint subscribes to it.
   */
  async remove(name: string, store: Pick<TypeStore, 'deleteEventType'> = this.#store): Promise<void> {
    if (this.get(name)?.builtIn) {
      throw invalid('name', `${name} is built in and can't be deleted: deprecate it instead`);
    }
    const existed = await store.deleteEventType(name);
    this.#writes += 1;
    this.#entries.delete(name);
    if (!existed) throw notFound('event type', name);
  }

  /**
   * Checks an event's `data` against its type's schema; a deprecated type's still counts.
   *
   * @throws PosthornError `invalid_parameter` of field `event` for an unknown type and for one that Posthorn alone sends, of
   * field `data` with the JSON pointer when it doesn't fit.
   */
  validateData(name: string, data: unknown): void {
    const entry = this.#entries.get(name);
    if (entry === undefined) {
      throw invalid('event', `event ${shortName(name)} is not a known event type: GET /v2/events lists them`);
    }
    if (isOperational(name)) {
      throw invalid('event', `event ${shortName(name)} is sent by Posthorn alone, and can't be published`);
    }
    entry.check ??= compileSchema(entry.type.schema);
    const problem = entry.check(data, 'data');
    if (problem !== null) throw invalid('data', `data does not fit the schema of ${name}: ${problem}`);
  }

  #replaceAll(stored: EventType[]): void {
    const storedByName = new Map(stored.map((type) => [type.name, type]));
    const entries = new Map<string, Entry>();
    for (const type of [...BUILT_IN_TYPES, ...OPERATIONAL_TYPES]) {
      const check = this.#entries.get(type.name)?.check ?? null;
      const deprecated = storedByName.get(type.name)?.deprecated ?? false;
      entries.set(type.name, { type: { ...type, deprecated }, check });
      storedByName.delete(type.name);
    }
    for (const type of storedByName.values()) {
      const before = this.#entries.get(type.name);
      const sameSchema = before !== undefined && isDeepStrictEqual(before.type.schema, type.schema);
      entries.set(type.name, { type: { ...type, builtIn: false }, check: sameSchema ? before.check : null });
    }
    this.#entries = entries;
  }
}

/**
 * A publish result that says so when its event type is deprecated; otherwise the result as it is.
 *
 * @example
 * withDeprecation({ event_id, deliveries, duplicate }, catalogue.get(event)); // { …, deprecated: true }
 */
export function withDeprecation<Result extends object>(
  result: Result,
  type: Pick<EventType, 'deprecated'> | null,
): Result & { deprecated?: true } {
  return type?.deprecated ? { ...result, deprecated: true } : result;
}

function ownEntry(input: EventTypeInput): Entry {
  checkTypeName(input.name);
  checkText('category', input.category, LONGEST_CATEGORY);
  checkText('description', input.description, LONGEST_DESCRIPTION);
  const schema = input.schema ?? { type: 'object' };
  checkObject('schema', schema);
  const check = compileSchema(schema);
  const example = input.example ?? null;
  if (example !== null) {
    checkObject('example', example);
    checkSize('example', example);
    const problem = check(example, 'example');
    if (problem !== null) throw invalid('example', `example does not fit the schema: ${problem}`);
  }
  const { name, category, description, deprecated = false } = input;
  return { type: { name, category, description, schema, example, deprecated, builtIn: false }, check };
}

function changedBuiltIn(known: Entry, input: EventTypeInput): Entry {
  for (const field of ['category', 'description', 'schema', 'example'] as const) {
    const wanted = input[field] ?? known.type[field];
    if (!isDeepStrictEqual(wanted, known.type[field])) {
      throw invalid(
        field,
        `${field} of ${input.name} can't be changed: a built-in type can only be deprecated`,
      );
    }
  }
  return { type: { ...known.type, deprecated: input.deprecated ?? false }, check: known.check };
}

function checkText(field: string, value: unknown, longest: number): void {
  if (typeof value !== 'string' || value.trim() === '' || value.length > longest) {
    throw invalid(field, `${field} must be a text of 1 to ${longest} characters`);
  }
}

function checkObject(field: string, value: unknown): void {
  if (typeof value !== 'object' || value === null || Array.isArray(value)) {
    throw invalid(field, `${field} must be a JSON object`);
  }
}

function shortName(name: string): string {
  return JSON.stringify(name.length <= 128 ? name : `${name.slice(0, 128)}…`);
}
