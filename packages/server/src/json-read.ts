/**
 * Reading JSON whose keys strangers chose. V8 from Node 24 on may misread a key that is spelled with an escape: where an
 * object of the same first keys was parsed before, it compares what it expects next with the key's raw text instead of
 * its meaning. After `{"a":1,"\\":2}` it reads the line break that is the second key of `{"a":1,"\n":3}` as a backslash,
 * so that one document renames the keys of another (nodejs/node#63785). Keys without an escape, and values, are read
 * right: their raw text is their meaning, or nothing is expected of them.
 */

const COLON = 0x3a;
const QUOTE = 0x22;
const BACKSLASH = 0x5c;
const SCALAR = /[^\t\n\r ,\]}]+/y;

/**
 * `JSON.parse`, but for keys that are always read as they are written.
 *
 * @throws SyntaxError as `JSON.parse` does
 * @example
 * readJson('{"a":1,"\\n":3}'); // { a: 1, '\n': 3 }, whatever was parsed before
 */
export function readJson(text: string): unknown {
  const value: unknown = JSON.parse(text);
  return hasEscapedKey(text) ? readTokens(text) : value;
}

/** Whether a key of valid JSON is spelled with an escape. Costs one `indexOf` where there is no backslash at all. */
export function hasEscapedKey(text: string): boolean {
  for (let at = text.indexOf('\\'); at !== -1; at = text.indexOf('\\', at)) {
    // A backslash only stands in a string, and what precedes this one is no backslash.
    at = closingQuote(text, at - 1) + 1;
    while (isSpace(text.charCodeAt(at))) at += 1;
    if (text.charCodeAt(at) === COLON) return true;
  }
  return false;
}

/** The offset of the quote that ends the string begun at `start`; the text's end when there is none. */
export function closingQuote(text: string, start: number): number {
  for (let end = text.indexOf('"', start + 1); end !== -1; end = text.indexOf('"', end + 1)) {
    let unescaped = end - 1;
    while (text.charCodeAt(unescaped) === BACKSLASH) unescaped -= 1;
    if ((end - unescaped) % 2 === 1) return end;
  }
  return text.length;
}

type Container = unknown[] | Record<string, unknown>;

/** Reads valid JSON with nothing but `JSON.parse` of single strings, numbers and words. As deep as the text is. */
function readTokens(text: string): unknown {
  const root: unknown[] = [];
  const outer: Container[] = [];
  let open: Container = root;
  let key: string | null = null;
  for (let at = 0; at < text.length; at++) {
    const char = text.charCodeAt(at);
    // The text is valid: commas and colons tell nothing that the order of the tokens doesn't.
    if (isSpace(char) || char === COLON || char === 0x2c) continue;
    if (char === 0x7d || char === 0x5d) {
      open = outer.pop() as Container;
      continue;
    }
    let value: unknown;
    if (char === QUOTE) {
      const end = closingQuote(text, at);
      const string = JSON.parse(text.slice(at, end + 1)) as string;
      at = end;
      if (key === null && !Array.isArray(open)) {
        key = string;
        continue;
      }
      value = string;
    } else if (char === 0x7b || char === 0x5b) {
      value = char === 0x7b ? {} : [];
    } else {
      SCALAR.lastIndex = at;
      const [scalar] = SCALAR.exec(text) as RegExpExecArray;
      value = JSON.parse(scalar);
      at += scalar.length - 1;
    }
    put(open, key, value);
    key = null;
    if (typeof value === 'object' && value !== null) {
      outer.push(open);
      open = value as Container;
    }
  }
  return root[0];
}

function put(container: Container, key: string | null, value: unknown): void {
  if (Array.isArray(container)) container.push(value);
  // An assignment would set the object's prototype.
  else if (key === '__proto__') {
    Object.defineProperty(container, key, { value, enumerable: true, configurable: true, writable: true });
  } else container[key as string] = value;
}

function isSpace(char: number): boolean {
  return char === 0x20 || char === 0x0a || char === 0x0d || char === 0x09;
}
