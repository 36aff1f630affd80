/** How commands print: one JSON document, or text that lines up and can't steer the terminal. */
import type { Io, Output } from './io.ts';

/**
 * Text of unknown origin (a receiver's response, an account's name) made harmless for a terminal: control characters,
 * among them the escape that starts a command to it, and those that turn the direction of writing, become `\xNN`
 * and `\uNNNN`.
 */
export function harmless(text: string): string {
  return text.replace(/[\p{Cc}\u202a-\u202e\u2066-\u2069]/gu, (character) => {
    const code = character.charCodeAt(0);
    return code < 0x100 ? `\\x${code.toString(16).padStart(2, '0')}` : `\\u${code.toString(16)}`;
  });
}

export function printLine(output: Output, text: string): void {
  output.write(`${text}\n`);
}

/** The API's `data` as it came, as one document. */
export function printJson(io: Io, data: unknown): void {
  printLine(io.stdout, JSON.stringify(data, null, 2));
}

/** What a table's cell may hold; null and undefined print as `-`. */
export type Cell = string | number | null | undefined;

function cellText(cell: Cell): string {
  return cell === null || cell === undefined || cell === '' ? '-' : harmless(String(cell));
}

/**
 * Lines with aligned columns, without trailing spaces; numbers stand to the right.
 *
 * @example
 * formatTable(['TYPE', 'N'], [['a', 1]]); // ['TYPE  N', 'a     1']
 */
export function formatTable(headings: readonly string[], rows: readonly (readonly Cell[])[]): string[] {
  const texts = [headings, ...rows].map((row) => row.map(cellText));
  const widths = headings.map((_, column) =>
    Math.max(...texts.map((row) => [...(row[column] ?? '')].length)),
  );
  const numeric = headings.map(
    (_, column) => rows.length > 0 && rows.every((row) => typeof row[column] === 'number'),
  );
  return texts.map((row) =>
    row
      .map((text, column) => {
        const padding = ' '.repeat((widths[column] as number) - [...text].length);
        return numeric[column] ? padding + text : text + padding;
      })
      .join('  ')
      .trimEnd(),
  );
}

export function printTable(io: Io, headings: readonly string[], rows: readonly (readonly Cell[])[]): void {
  for (const line of formatTable(headings, rows)) printLine(io.stdout, line);
}

/** Names and values, one a line, the values aligned. */
export function printFields(io: Io, fields: readonly (readonly [name: string, value: Cell])[]): void {
  const width = Math.max(...fields.map(([name]) => name.length)) + 2;
  for (const [name, value] of fields) printLine(io.stdout, name.padEnd(width) + cellText(value));
}

/** Says on stderr how to go on when a list has more than what was printed. */
export function printMore(io: Io, nextCursor: string | null): void {
  if (nextCursor !== null) printLine(io.stderr, `There is more: add --cursor ${harmless(nextCursor)}`);
}

/** Unix seconds as `2026-01-31 12:00:00Z`; null stays null. */
export function formatTime(seconds: number | null | undefined): string | null {
  if (seconds === null || seconds === undefined) return null;
  const date = new Date(seconds * 1000);
  if (Number.isNaN(date.getTime())) return String(seconds);
  return `${date.toISOString().slice(0, 19).replace('T', ' ')}Z`;
}

/** `1 delivery`, `2 deliveries`. */
export function counted(count: number, one: string, many = `${one}s`): string {
  return `${count} ${count === 1 ? one : many}`;
}
