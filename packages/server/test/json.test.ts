import assert from 'node:assert/strict';
import { describe, test } from 'node:test';
import fc from 'fast-check';
import { PosthornError } from '../src/errors.ts';
import { isExactNumber, MAX_JSON_DEPTH, parseJson, refuseInexactNumbers } from '../src/json.ts';
import { hasEscapedKey, readJson } from '../src/json-read.ts';
import { traceJson } from '../src/json-trace.ts';
import type { SealedEvent } from '../src/model.ts';
import { isRepeat } from '../src/store/repeat.ts';

function parse(text: string): unknown {
  return parseJson(Buffer.from(text));
}

/** The refusal of a body; fails the test when it is accepted. */
function refusal(body: string | Buffer): PosthornError {
  try {
    parseJson(Buffer.from(body as string));
  } catch (error) {
    assert.ok(error instanceof PosthornError, String(error));
    assert.equal(error.kind, 'invalid_parameter');
    assert.equal(error.field, 'body');
    return error;
  }
  return assert.fail('the body was accepted');
}

describe('a body that is no JSON text is refused with the reason', () => {
  const cases: [string, string | Buffer, RegExp][] = [
    ['nothing', '', /body is empty/],
    ['white space alone', ' \r\n\t', /body is empty/],
    ['a byte order mark', '\ufeff{}', /byte order mark/],
    ['UTF-16', Buffer.from('{}', 'utf16le'), /not valid JSON/],
    ['invalid UTF-8', Buffer.from([0x7b, 0x22, 0xff, 0x22, 0x3a, 0x31, 0x7d]), /not valid UTF-8/],
    ['a surrogate as UTF-8', Buffer.from([0x22, 0xed, 0xa0, 0x80, 0x22]), /not valid UTF-8/],
    ['an overlong NUL', Buffer.from([0x22, 0xc0, 0x80, 0x22]), /not valid UTF-8/],
    ['a missing value', '{"a":}', /unexpected "}" at position 5 \(line 1, column 6\)/],
    ['a bare word', '{"a":nope}', /unexpected "n" at position 5/],
    ['single quotes', "{'a':1}", /unexpected "'" at position 1/],
    ['a trailing comma', '[1,]', /unexpected "]" at position 3/],
    ['a second value', '{} {}', /unexpected "{" at position 3/],
    ['an unclosed object', '{"a":1', /ends too early, at position 6/],
    ['an unclosed string', '{"a":"b', /ends too early, at position 7/],
    ['a raw line break in a string', '{"a":\n"b\nc"}', /unexpected "\\n" at position 8 \(line 2, column 3\)/],
    ['an unknown escape', '["\\x41"]', /unexpected "\\\\" at position 2/],
    ['a leading zero', '[01]', /unexpected "1" at position 2/],
    ['a plus sign', '[+1]', /unexpected "\+" at position 1/],
    ['a bare point', '[1.]', /unexpected "\." at position 2/],
    ['NaN', '[NaN]', /unexpected "N" at position 1/],
    ['a comment', '{/*x*/}', /unexpected "\/" at position 1/],
    ['form-encoded text', 'a=1&b=2', /unexpected "a" at position 0/],
  ];
  for (const [name, body, message] of cases) {
    test(name, () => assert.match(refusal(body).message, message));
  }

  test('the message never quotes the payload', () => {
    assert.doesNotMatch(refusal('{"password":"hunter2",}').message, /hunter2|password/);
  });
});

describe('depth', () => {
  const nested = (levels: number): string => '['.repeat(levels) + ']'.repeat(levels);

  test(`${MAX_JSON_DEPTH} levels are accepted`, () =>
    assert.ok(Array.isArray(parse(nested(MAX_JSON_DEPTH)))));

  for (const [name, body] of [
    ['one level more', nested(MAX_JSON_DEPTH + 1)],
    ['10 000 levels of objects', '{"a":'.repeat(10_000) + '1' + '}'.repeat(10_000)],
    ['megabytes of unclosed brackets', '['.repeat(5_000_000)],
  ] as const) {
    test(`${name} is refused`, () => assert.match(refusal(body).message, /deeper than 100 levels/));
  }

  test('brackets side by side and brackets in strings are no depth', () => {
    assert.equal((parse(`[${'[],'.repeat(500)}[]]`) as unknown[]).length, 501);
    assert.equal((parse(`[${'[1],{"a":-2.5},'.repeat(250)}[]]`) as unknown[]).length, 501);
    assert.equal(parse(JSON.stringify('["\\'.repeat(500))), '["\\'.repeat(500));
  });
});

describe('keys that could poison a prototype are refused, however they are spelled', () => {
  for (const body of [
    '{"__proto__":{"admin":true}}',
    '{"a":[{"__proto__":1}]}',
    '{"\\u005f_proto__":1}',
    '{"constructor":{"prototype":{}}}',
    '{"a":{"constructor":{"prototype":1}}}',
  ]) {
    test(body, () => assert.match(refusal(body).message, /__proto__/));
  }

  test('the same words as values, and a harmless constructor, are accepted', () => {
    const body = '{"a":"__proto__","constructor":"Acme Ltd","prototype":1}';
    assert.equal(JSON.stringify(parse(body)), body);
  });
});

describe('a key means what is written, whatever was parsed before', () => {
  // Each first document makes the engine expect its second key in the next one; see json-read.ts.
  const cases: [string, before: string, text: string, second: string][] = [
    ['a line break', String.raw`{"a":1,"\\":2}`, String.raw`{"a":1,"\n":3}`, '\n'],
    ['a quote', String.raw`{"b":1,"\\":2}`, String.raw`{"b":1,"\"":3}`, '"'],
    ['a letter by its number', String.raw`{"c":1,"\\u00":2}`, String.raw`{"c":1,"\u0041bcd":3}`, 'Abcd'],
    ['a later escape', String.raw`{"d":1,"x\\":2}`, String.raw`{"d":1,"x\t":3}`, 'x\t'],
  ];
  for (const [name, before, text, second] of cases) {
    test(name, () => {
      for (const read of [parse, readJson]) {
        read(before);
        assert.deepEqual(Object.keys(read(text) as object), [text.charAt(2), second]);
        read(`[${before}]`);
        assert.deepEqual(Object.keys((read(`{"deep":[ ${text} ]}`) as { deep: object[] }).deep[0] ?? {}), [
          text.charAt(2),
          second,
        ]);
      }
    });
  }

  test('a key that could poison a prototype is refused, though the engine reads another one', () => {
    const spelled = String.raw`\u005f_proto__`;
    JSON.parse(JSON.stringify({ e: 1, [spelled.slice(0, '__proto__'.length)]: 2 }));
    assert.match(refusal(`{"e":1,"${spelled}":{}}`).message, /__proto__/);
  });

  test('stored bodies that differ in such a key are no repeats of each other', () => {
    const body = (key: string) => JSON.stringify({ data: { f: 1, [key]: 2 } });
    const event = { event: 'x', timestamp: 1, timestampGiven: false, fingerprint: null };
    const sealed = { ...event, body: body('\\') } as unknown as SealedEvent;
    assert.equal(isRepeat(sealed, { ...event, body: body('\n') }), false);
    assert.equal(isRepeat(sealed, { ...event, body: body('\\') }), true);
  });

  test('what is no JSON is refused as ever', () => {
    const text = String.raw`{"a\n":[1,"\\",}`;
    assert.throws(() => readJson(text), SyntaxError);
    assert.match(refusal(text).message, /unexpected "}" at position 15/);
  });

  test('megabytes of escapes are read in linear time', () => {
    const key = '\\"'.repeat(1_000_000);
    assert.deepEqual(Object.keys(parse(`{"${key}":["${key}"]}`) as object), ['"'.repeat(1_000_000)]);
  });

  test('as deep as the text is', () => {
    const text = `{"\\n":${'['.repeat(50_000)}${']'.repeat(50_000)}}`;
    let value = (readJson(text) as { '\n': unknown })['\n'];
    let depth = 0;
    for (; Array.isArray(value); depth++) value = value[0];
    assert.equal(depth, 50_000);
  });
});

describe('numbers', () => {
  const exact = `
    0 -0 -0.0 0e0 0e999 1 -1 1.0 1.50 0.1 100 1e2 1E+2 120e-1 9007199254740992 -9007199254740992
    9007199254740991.0 0.30000000000000004 123456789012345.6 1e300 1.7976931348623157e308 5e-324
    1e21 -2.5e-7 0.000001 1767225600123 1e23
  `
    .trim()
    .split(/\s+/);
  const inexact = `
    9007199254740993 -9007199254740993 9007199254740994 12345678901234567890 1e20 1e17
    1000000000000000000000000 9007199254740993e0 90071992547409931e-1 9007199254740992.5
    0.1000000000000000055511151231257827 0.10000000000000001 3.14159265358979323846 1e400 -1e400
    1e-400 1e99999999999999999999 1e-99999999999999999999 2.5e-324 1.8e308
  `
    .trim()
    .split(/\s+/);

  for (const source of exact) {
    test(`${source} is exact`, () => {
      assert.equal(isExactNumber(source), true);
      assert.deepEqual(parse(`{"a":[${source}]}`), { a: [Number(source)] });
    });
  }
  for (const source of inexact) {
    test(`${source} is refused with its pointer`, () => {
      assert.equal(isExactNumber(source), false);
      const { message } = refusal(`{"user":"x","data":{"list":[1,{"a/b~c": ${source} }]}}`);
      assert.match(
        message,
        /number at \/data\/list\/1\/a~1b~0c can't be held exactly .* send it as a string/,
      );
    });
  }

  test('a number alone is refused without a pointer', () => {
    assert.match(refusal('1e400').message, /the number that is the body can't be held/);
  });

  test('digits in strings and keys are no numbers', () => {
    const body = '{"12345678901234567890":"1e400, \\"9007199254740993","b\\\\":"\\\\","c":[" 1e999"]}';
    assert.equal(JSON.stringify(parse(body)), body);
  });

  test('a literal of megabytes is judged in linear time', () => {
    const zeros = '0'.repeat(2_000_000);
    assert.equal(isExactNumber(`1.${zeros}`), true);
    assert.equal(isExactNumber(`0.${zeros}1e2000001`), true);
    assert.equal(isExactNumber(`1.${zeros}1`), false);
  });

  test('a key of megabytes before an inexact number makes a short message', () => {
    assert.ok(refusal(`{"${'k'.repeat(1_000_000)}":1e400}`).message.length < 400);
  });

  test('values without text are judged by what JSON.stringify would make of them', () => {
    const accepted = { a: [1, 2 ** 53, -(2 ** 53), 1e21, 0.1, -0], b: null, c: 'x', d: true };
    assert.equal(refuseInexactNumbers('data', accepted), undefined);
    for (const value of [NaN, Infinity, -Infinity, 2 ** 53 + 2, 1e20]) {
      assert.throws(
        () => refuseInexactNumbers('data', { list: [0, { 'a/b': value }] }),
        (error: PosthornError) => error.field === 'data' && error.message.includes('/data/list/1/a~1b'),
      );
    }
  });
});

// ---------------------------------------------------------------- properties

/** A decimal literal as an exact fraction of integers: an independent judge of equality. */
function toFraction(literal: string): { numerator: bigint; denominator: bigint } {
  const [, sign, whole, fraction = '', power = '0'] =
    /^(-?)(\d+)(?:\.(\d+))?(?:[eE]([+-]?\d+))?$/.exec(literal) ?? assert.fail(literal);
  const digits = BigInt(`${whole}${fraction}`) * (sign === '-' ? -1n : 1n);
  const exponent = Number(power) - fraction.length;
  return exponent >= 0
    ? { numerator: digits * 10n ** BigInt(exponent), denominator: 1n }
    : { numerator: digits, denominator: 10n ** BigInt(-exponent) };
}

function sameDecimal(a: string, b: string): boolean {
  const [x, y] = [toFraction(a), toFraction(b)];
  return x.numerator * y.denominator === y.numerator * x.denominator;
}

const digits = (min: number, max: number) =>
  fc.string({ unit: fc.constantFrom(...'0123456789'), minLength: min, maxLength: max });
const numberLiteral = fc
  .record({
    sign: fc.constantFrom('', '-'),
    whole: fc.oneof(digits(0, 4), digits(14, 24)).map((text) => text.replace(/^0+/, '') || '0'),
    fraction: fc.option(fc.oneof(digits(1, 4), digits(12, 20)), { nil: null }),
    power: fc.option(fc.oneof(fc.integer({ min: -30, max: 30 }), fc.integer({ min: -400, max: 400 })), {
      nil: null,
    }),
  })
  .map(
    ({ sign, whole, fraction, power }) =>
      sign + whole + (fraction === null ? '' : `.${fraction}`) + (power === null ? '' : `e${power}`),
  );
const anyNumberLiteral = fc.oneof(
  numberLiteral,
  fc.double({ noNaN: true, noDefaultInfinity: true }).map(String),
);

test('property: an accepted number is written again with the same decimal value, and accepted again', () => {
  fc.assert(
    fc.property(anyNumberLiteral, (literal) => {
      const written = JSON.stringify(Number(literal));
      if (!isExactNumber(literal)) return;
      assert.ok(sameDecimal(literal, written), `${literal} became ${written}`);
      assert.ok(isExactNumber(written), `${written} (from ${literal}) is refused`);
    }),
    { numRuns: 2_000 },
  );
});

test('property: a refused number would have been altered, or is an integer beyond 2^53', () => {
  fc.assert(
    fc.property(anyNumberLiteral, (literal) => {
      if (isExactNumber(literal)) return;
      const value = Number(literal);
      const altered = !Number.isFinite(value) || !sameDecimal(literal, JSON.stringify(value));
      assert.ok(altered || Math.abs(value) > 2 ** 53, literal);
    }),
    { numRuns: 2_000 },
  );
});

test('property: whatever is accepted means what was written and survives being written again', () => {
  const value = fc.jsonValue({ maxDepth: 5 });
  const indent = fc.constantFrom(0, 1, '\t');
  fc.assert(
    fc.property(value, indent, (json, space) => {
      const text = JSON.stringify(json, null, space);
      let parsed: unknown;
      try {
        parsed = parse(text);
      } catch (error) {
        const { message } = error as PosthornError;
        const unsafe = /-?\d{16,}/.test(text) || /__proto__|constructor/.test(text);
        assert.ok(unsafe, `${text} was refused: ${message}`);
        return;
      }
      assert.equal(JSON.stringify(parsed), JSON.stringify(json));
      assert.equal(JSON.stringify(parse(JSON.stringify(parsed))), JSON.stringify(parsed));
    }),
    { numRuns: 500 },
  );
});

/** JSON text with what it means, known without a parser: each character of a string is spelled in one of its ways. */
interface Spelled {
  text: string;
  value: unknown;
  /** Documents after which V8 misreads this one's keys. */
  traps: string[];
}

/** An object that is alike up to its first escaped key, in whose place it has the key that V8 takes that for. */
function trapOf(keys: readonly Spelled[]): string[] {
  const at = keys.findIndex(({ text }) => text.includes('\\'));
  if (at === -1) return [];
  const { text, value } = keys[at] as Spelled;
  const expected = JSON.stringify(text.slice(1, 1 + (value as string).length));
  return [`{${[...keys.slice(0, at).map((key) => key.text), expected].map((key) => `${key}:0`).join(',')}}`];
}

function spelled(text: string, value: unknown, traps: string[] = []): Spelled {
  return { text, value, traps };
}

const SHORT_ESCAPES: Record<string, string> = {
  '"': '\\"',
  '\\': '\\\\',
  '/': '\\/',
  '\b': '\\b',
  '\f': '\\f',
  '\n': '\\n',
  '\r': '\\r',
  '\t': '\\t',
};
const codeUnit = fc.oneof(
  { weight: 4, arbitrary: fc.constantFrom('\\', '"', '/', '\b', '\f', '\n', '\r', '\t', '\0', '\x1f') },
  { weight: 4, arbitrary: fc.constantFrom('a', 'b', 'u', 'n', '0', '{', '}', ':', ',', ' ', '1') },
  { weight: 1, arbitrary: fc.nat({ max: 0xffff }).map((unit) => String.fromCharCode(unit)) },
);
const spelledUnit = fc.tuple(codeUnit, fc.nat({ max: 3 })).map(([unit, way]) => {
  const hex = `\\u${unit.charCodeAt(0).toString(16).padStart(4, '0')}`;
  // A half of a surrogate pair has no UTF-8.
  const mustEscape = unit < ' ' || unit === '"' || unit === '\\' || /[\ud800-\udfff]/.test(unit);
  if (way === 0) return spelled(hex, unit);
  if (way === 1) return spelled(hex.slice(0, 2) + hex.slice(2).toUpperCase(), unit);
  if (mustEscape || way === 2) return spelled(SHORT_ESCAPES[unit] ?? (mustEscape ? hex : unit), unit);
  return spelled(unit, unit);
});
const spelledString = fc
  .array(spelledUnit, { maxLength: 4 })
  .map((units) =>
    spelled(`"${units.map(({ text }) => text).join('')}"`, units.map(({ value }) => value).join('')),
  );
// Few first keys, so that objects of many documents begin alike.
const spelledKey = fc.oneof(
  fc.constantFrom('a', 'b').map((key) => spelled(`"${key}"`, key)),
  spelledString,
);
const space = fc.constantFrom('', '', '', ' ', '\n\t', '\r\n ');
const leaf = fc.oneof(
  spelledString,
  fc.constantFrom('0', '-0', '12', '-1.50', '2e3').map((text) => spelled(text, Number(text))),
  fc.constantFrom(spelled('true', true), spelled('false', false), spelled('null', null)),
);
const { document } = fc.letrec<{ document: Spelled }>((tie) => ({
  document: fc.oneof(
    { maxDepth: 4, withCrossShrink: true },
    leaf,
    fc.array(fc.tuple(tie('document'), space), { maxLength: 4 }).map((members) =>
      spelled(
        `[${members.map(([{ text }, gap]) => gap + text + gap).join(',')}]`,
        members.map(([{ value }]) => value),
        members.flatMap(([{ traps }]) => traps),
      ),
    ),
    fc
      .array(fc.tuple(spelledKey, tie('document'), space), { maxLength: 5 })
      .map((members) =>
        spelled(
          `{${members.map(([key, { text }, gap]) => `${gap}${key.text}${gap}:${text}${gap}`).join(',')}}`,
          Object.fromEntries(members.map(([key, { value }]) => [key.value, value])),
          [...trapOf(members.map(([key]) => key)), ...members.flatMap(([, { traps }]) => traps)],
        ),
      ),
  ),
}));

test('property: every spelling of a document is read as what it means, whatever was parsed before', () => {
  let escaped = 0;
  fc.assert(
    fc.property(document, ({ text, value, traps }) => {
      for (const trap of traps) JSON.parse(trap);
      if (hasEscapedKey(text)) escaped += 1;
      assert.equal(hasEscapedKey(text), traps.length > 0);
      assert.deepEqual(readJson(text), value);
      assert.deepEqual(parse(text), value);
      // The order of keys, too.
      assert.equal(JSON.stringify(parse(text)), JSON.stringify(value));
    }),
    { numRuns: 3_000 },
  );
  assert.ok(escaped > 500, `${escaped} documents with an escaped key`);
});

test('property: an inexact number is found and named wherever it stands', () => {
  const key = fc.string({ maxLength: 5 }).filter((text) => text !== '__proto__');
  const path = fc.array(fc.oneof(key, fc.nat({ max: 3 })), { maxLength: 8 });
  fc.assert(
    fc.property(path, fc.jsonValue({ maxDepth: 1 }), (steps, neighbour) => {
      const before = JSON.stringify(neighbour);
      fc.pre(!/\d{16}|__proto__/.test(before));
      let text = '1e400';
      for (const step of steps.toReversed()) {
        text =
          typeof step === 'number'
            ? `[${`${before},`.repeat(step)} ${text}]`
            : `{${JSON.stringify(`${step}x`)}:${before},${JSON.stringify(step)} : ${text} }`;
      }
      const pointer = steps
        .map((step) => `/${String(step).replace(/~/g, '~0').replace(/\//g, '~1')}`)
        .join('');
      const place = pointer === '' ? ' that is the body' : ` at ${pointer}`;
      assert.equal(
        refusal(text).message,
        `the number${place} can't be held exactly by a double: send it as a string`,
      );
    }),
    { numRuns: 300 },
  );
});

test('property: the walk that explains refusals agrees with JSON.parse on what is JSON', () => {
  const damaged = fc
    .tuple(
      fc.json({ maxDepth: 3 }),
      fc.nat(),
      fc.nat({ max: 2 }),
      fc.constantFrom(...'{}[]:,"\\ 0-1.eEtu\n', ''),
    )
    .map(([text, at, removed, put]) => {
      const offset = at % (text.length + 1);
      return text.slice(0, offset) + put + text.slice(offset + removed);
    });
  fc.assert(
    fc.property(fc.oneof(damaged, fc.string()), (text) => {
      let valid = true;
      try {
        JSON.parse(text);
      } catch {
        valid = false;
      }
      const trace = traceJson(text);
      assert.equal(trace.complete, valid, text);
      assert.ok(trace.offset >= 0 && trace.offset <= text.length);
    }),
    { numRuns: 3_000 },
  );
});

test('property: no bytes make it fail in another way than by a refusal', () => {
  fc.assert(
    fc.property(fc.uint8Array({ maxLength: 60 }), (bytes) => {
      try {
        parseJson(Buffer.from(bytes));
      } catch (error) {
        assert.ok(error instanceof PosthornError, String(error));
      }
    }),
    { numRuns: 1_000 },
  );
});
