import { invalid } from '../errors.ts';

/**
 * A list's cursor: the sort key of the last row that was given out, as opaque text. It names its list, so that a
 * cursor of another list is refused instead of giving a page that makes no sense.
 */
export function encodeCursor(list: string, key: readonly (string | number)[]): string {
  return Buffer.from(JSON.stringify([list, ...key])).toString('base64url');
}

/** @throws PosthornError `invalid_parameter` naming `cursor` */
export function decodeCursor(
  list: string,
  cursor: string,
  types: readonly ('string' | 'number')[],
): (string | number)[] {
  let parts: unknown;
  try {
    parts = JSON.parse(Buffer.from(cursor, 'base64url').toString('utf8'));
  } catch {
    parts = null;
  }
  const key = Array.isArray(parts) && parts[0] === list ? parts.slice(1) : null;
  // Whole numbers and texts that both engines can hold: no list has given out another.
  const fits = (part: unknown, i: number) =>
    typeof part === types[i] &&
    (typeof part === 'number' ? Number.isSafeInteger(part) : !String(part).includes('\0'));
  if (key === null || key.length !== types.length || !key.every(fits)) {
    throw invalid(
      'cursor',
      'cursor is not one of this list: pass a next_cursor as it was given, or leave it out',
    );
  }
  return key;
}

/** Cuts the extra row that was fetched to see whether there are more, and makes the cursor of the next page. */
export function pageOf<Row, Item>(
  list: string,
  rows: Row[],
  limit: number,
  keyOf: (row: Row) => (string | number)[],
  toItem: (row: Row) => Item,
): { items: Item[]; nextCursor: string | null } {
  const more = rows.length > limit;
  const kept = more ? rows.slice(0, limit) : rows;
  const last = kept.at(-1);
  return {
    items: kept.map(toItem),
    nextCursor: more && last !== undefined ? encodeCursor(list, keyOf(last)) : null,
  };
}
