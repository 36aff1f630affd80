/**
 * Finding a place in JSON text: the walk that explains a refusal. It runs once something is wrong, so it is written
 * for clarity; acceptance is `JSON.parse`'s business alone.
 */

export interface Trace {
  /** Where the walk stopped: the first character that can't stand there, `until`, or the text's end. */
  offset: number;
  /** RFC 6901 pointer to the value that stands at `offset`; empty for the whole text. */
  pointer: string;
  /** Whether the whole text was walked and is JSON. */
  complete: boolean;
}

const LONGEST_POINTER = 200;
const WHITE_SPACE = /[\t\n\r ]*/y;
const ESCAPE = /\\(?:["\\/bfnrt]|u[0-9a-fA-F]{4})/y;
const LITERAL = /true|false|null|-?(?:0|[1-9]\d*)(?:\.\d+)?(?:[eE][+-]?\d+)?/y;

/** What may come next; `element` and `member` follow an opening bracket, where a closing one may stand too. */
type Expected = 'value' | 'element' | 'key' | 'member' | 'colon' | 'comma or end';

/**
 * Walks JSON text up to its first syntax error, or up to the offset `until`.
 *
 * @example
 * traceJson('{"a":[1,}').offset; // 8
 * traceJson('{"a":[1,22]}', 8).pointer; // '/a/1'
 */
export function traceJson(text: string, until = Infinity): Trace {
  /** The way down to here: an index for an open array, a key for an open object. */
  const path: (number | string)[] = [];
  let expected: Expected = 'value';
  let offset = 0;
  const stop = (at: number, complete = false): Trace => ({
    offset: at,
    pointer: path.map((step) => `/${escapePointerToken(String(step))}`).join(''),
    complete,
  });

  for (;;) {
    offset = skip(WHITE_SPACE, text, offset);
    const open = path.at(-1);
    if (expected === 'comma or end' && open === undefined) return stop(offset, offset === text.length);
    if (offset >= until || offset === text.length) return stop(offset);
    const char = text[offset];

    if ((expected === 'element' && char === ']') || (expected === 'member' && char === '}')) {
      path.pop();
      expected = 'comma or end';
      offset += 1;
    } else if (expected === 'value' || expected === 'element') {
      if (char === '{' || char === '[') {
        path.push(char === '{' ? '' : 0);
        expected = char === '{' ? 'member' : 'element';
        offset += 1;
      } else {
        const end = char === '"' ? endOfString(text, offset) : endOfLiteral(text, offset);
        if (end.wrongAt !== null) return stop(end.wrongAt);
        expected = 'comma or end';
        offset = end.offset;
      }
    } else if (expected === 'key' || expected === 'member') {
      if (char !== '"') return stop(offset);
      const end = endOfString(text, offset);
      if (end.wrongAt !== null) return stop(end.wrongAt);
      path[path.length - 1] = JSON.parse(text.slice(offset, end.offset)) as string;
      expected = 'colon';
      offset = end.offset;
    } else if (expected === 'colon') {
      if (char !== ':') return stop(offset);
      expected = 'value';
      offset += 1;
    } else if (char === ',') {
      if (typeof open === 'number') path[path.length - 1] = open + 1;
      expected = typeof open === 'number' ? 'value' : 'key';
      offset += 1;
    } else if (char === (typeof open === 'number' ? ']' : '}')) {
      path.pop();
      offset += 1;
    } else {
      return stop(offset);
    }
  }
}

/** One token of an RFC 6901 pointer. */
export function escapePointerToken(token: string): string {
  return token.replaceAll('~', '~0').replaceAll('/', '~1');
}

/** A pointer for a message: keys are the caller's and may be megabytes long. */
export function shortPointer(pointer: string): string {
  return pointer.length <= LONGEST_POINTER ? pointer : `${pointer.slice(0, LONGEST_POINTER)}…`;
}

interface TokenEnd {
  offset: number;
  wrongAt: number | null;
}

function endOfString(text: string, start: number): TokenEnd {
  for (let i = start + 1; i < text.length; i++) {
    const char = text[i] as string;
    if (char === '"') return { offset: i + 1, wrongAt: null };
    if (char < ' ') return { offset: i, wrongAt: i };
    if (char === '\\') {
      const end = skip(ESCAPE, text, i);
      if (end === i) return { offset: i, wrongAt: i };
      i = end - 1;
    }
  }
  return { offset: text.length, wrongAt: text.length };
}

function endOfLiteral(text: string, start: number): TokenEnd {
  const end = skip(LITERAL, text, start);
  return { offset: end, wrongAt: end === start ? start : null };
}

function skip(sticky: RegExp, text: string, offset: number): number {
  sticky.lastIndex = offset;
  return sticky.test(text) ? sticky.lastIndex : offset;
}
