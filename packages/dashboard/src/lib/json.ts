/** JSON as somebody types it into a form. */

/**
 * @returns the object; null when the text is empty
 * @throws Error that names the field, when it is no JSON or no object
 */
export function jsonObject(field: string, text: string): Record<string, unknown> | null {
  if (text.trim() === '') return null;
  let value: unknown;
  try {
    value = JSON.parse(text);
  } catch (error) {
    throw new Error(`${field} is not JSON: ${(error as Error).message}`);
  }
  if (typeof value !== 'object' || value === null || Array.isArray(value)) {
    throw new Error(`${field} must be a JSON object, as in { "team": "video" }`);
  }
  return value as Record<string, unknown>;
}

/** As a form shows it; empty for null. */
export function jsonText(value: Record<string, unknown> | null): string {
  return value === null ? '' : JSON.stringify(value, null, 2);
}
