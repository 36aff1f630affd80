import type { JsonObject } from '../model.ts';

/** JSON objects are kept as text. */
export function parseObject(text: string | null): JsonObject | null {
  return text === null ? null : (JSON.parse(text) as JsonObject);
}

export function stringifyOrNull(value: unknown): string | null {
  return value === null || value === undefined ? null : JSON.stringify(value);
}
