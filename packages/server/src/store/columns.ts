import { readJson } from '../json-read.ts';
import type { JsonObject } from '../model.ts';

/** JSON objects are kept as text. */
export function parseObject(text: string | null): JsonObject | null {
  return text === null ? null : (readJson(text) as JsonObject);
}

export function stringifyOrNull(value: unknown): string | null {
  return value === null || value === undefined ? null : JSON.stringify(value);
}
