/** Pieces of schemas that several nouns share. A `title` makes a schema a named component of the OpenAPI document. */
import { type Static, Type } from './schema.ts';

import { invalid } from '../errors.ts';
import { type EventType, type JsonObject } from '../model.ts';
import type { PageRequest } from '../store/store.ts';
import { USERNAME_PATTERN } from './auth.ts';
import { EXPECTED } from './validate.ts';

/** 9999-12-31T23:59:59Z: a larger number is milliseconds taken for seconds. */
const LAST_SECOND = 253_402_300_799;

export const MAX_METADATA_BYTES = 16 * 1024;
const DEFAULT_PAGE = 50;
const MAX_PAGE = 200;

/** A time in unix seconds. */
export function UnixSeconds(description: string) {
  return Type.Integer({ minimum: 0, maximum: LAST_SECOND, description, examples: [1767225600] });
}

/** A time in unix seconds, or null. */
export function NullableSeconds(description: string) {
  return Type.Unsafe<number | null>({
    type: ['integer', 'null'],
    minimum: 0,
    maximum: LAST_SECOND,
    description,
    examples: [1767225600],
  });
}

export function NullableText(description: string, example: string | null) {
  return Type.Unsafe<string | null>({ type: ['string', 'null'], description, examples: [example] });
}

/** A JSON object whose fields aren't ours to judge. */
export function FreeObject(description: string, example: JsonObject) {
  return Type.Unsafe<JsonObject>({
    type: 'object',
    additionalProperties: true,
    description,
    examples: [example],
  });
}

export const Metadata = FreeObject('Anything that helps you to recognise it; at most 16 KiB as JSON.', {
  team: 'video',
});

export const NullableMetadata = Type.Unsafe<JsonObject | null>({
  ...Metadata,
  type: ['object', 'null'],
});

/** @throws PosthornError `invalid_parameter` when it is too large to be kept beside its record. */
export function checkMetadata(metadata: JsonObject | null | undefined): void {
  if (metadata === undefined || metadata === null) return;
  const bytes = Buffer.byteLength(JSON.stringify(metadata));
  if (bytes > MAX_METADATA_BYTES) {
    throw invalid('metadata', `metadata has ${bytes} bytes as JSON, the limit is ${MAX_METADATA_BYTES}`);
  }
}

export const Username = Type.String({
  pattern: USERNAME_PATTERN,
  [EXPECTED]: '1 to 64 of letters, digits and . _ - @ +',
  description: 'The account: 1 to 64 of letters, digits and `. _ - @ +`.',
  examples: ['alice'],
});

export const EventTypeName = Type.String({
  maxLength: 128,
  description: 'The name of an event type in the catalogue.',
  examples: ['generated_video_success'],
});

/** A confirmation without content. */
export const Message = Type.Object(
  { message: Type.String({ description: 'What was done.', examples: ['account deleted'] }) },
  { title: 'Message' },
);

/** The query parameters of every list. */
export const pageFields = {
  limit: Type.Optional(
    Type.Integer({
      minimum: 1,
      maximum: MAX_PAGE,
      default: DEFAULT_PAGE,
      description: 'How many items a page has.',
      examples: [50],
    }),
  ),
  cursor: Type.Optional(
    Type.String({
      maxLength: 1024,
      description: 'The `next_cursor` of the page before; absent for the first page.',
      examples: ['WyJkZWxpdmVyaWVzIl0'],
    }),
  ),
};

export const NextCursor = NullableText('Pass it as `cursor` for the next page; null at the end.', null);

export function pageOf(query: { limit?: number; cursor?: string }): PageRequest {
  return { limit: query.limit ?? DEFAULT_PAGE, cursor: query.cursor ?? null };
}

/** The query parameters of a time range, for lists. */
export const rangeFields = {
  since: Type.Optional(UnixSeconds('Made at or after this time, unix seconds.')),
  until: Type.Optional(UnixSeconds('Made before this time, unix seconds.')),
};

/** The filter fields of a time range in milliseconds, those that were given. */
export function rangeOf(query: { since?: number; until?: number }): { since?: number; until?: number } {
  const { since, until } = query;
  if (since !== undefined && until !== undefined && since >= until) {
    throw invalid('until', 'until must be later than since');
  }
  return {
    ...(since === undefined ? {} : { since: since * 1000 }),
    ...(until === undefined ? {} : { until: until * 1000 }),
  };
}

export const EventTypeShape = Type.Object(
  {
    name: EventTypeName,
    category: Type.String({ examples: ['video'] }),
    description: Type.String({ examples: ['Video generation succeeded'] }),
    schema: FreeObject('JSON Schema 2020-12 of `data`.', { type: 'object' }),
    example: Type.Unsafe<JsonObject | null>({
      type: ['object', 'null'],
      additionalProperties: true,
      description: 'A `data` that fits the schema.',
      examples: [null],
    }),
    deprecated: Type.Boolean({ description: 'It still works; new code should use another.' }),
    built_in: Type.Boolean({ description: 'Shipped with Posthorn: can only be deprecated.' }),
  },
  { title: 'EventType' },
);

export function eventTypeShape(type: EventType): Static<typeof EventTypeShape> {
  return {
    name: type.name,
    category: type.category,
    description: type.description,
    schema: type.schema,
    example: type.example,
    deprecated: type.deprecated,
    built_in: type.builtIn,
  };
}
