import assert from 'node:assert/strict';
import { describe, it } from 'node:test';

import { Type } from '../../src/api/schema.ts';

import { EXPECTED, compileCheck } from '../../src/api/validate.ts';
import { PosthornError } from '../../src/errors.ts';

const Body = Type.Object(
  {
    url: Type.String({ minLength: 1, maxLength: 5 }),
    events: Type.Optional(Type.Array(Type.String(), { minItems: 1, maxItems: 2 })),
    status: Type.Optional(Type.Enum(['enabled', 'disabled'])),
    name: Type.Optional(Type.String({ pattern: '^[a-z]+$', [EXPECTED]: 'lower-case letters' })),
    count: Type.Optional(Type.Integer({ minimum: 1, maximum: 3 })),
    headers: Type.Optional(Type.Unsafe<object>({ type: 'object', additionalProperties: { type: 'string' } })),
  },
  { additionalProperties: false },
);

describe('a body that does not fit its schema', () => {
  const check = compileCheck(Body, 'body');
  const rows: [string, unknown, string, RegExp][] = [
    ['nothing', undefined, 'body', /^a JSON body is required$/],
    ['null', null, 'body', /^the body must be an object$/],
    ['an array', [], 'body', /^the body must be an object$/],
    ['a missing field', {}, 'url', /^url is required$/],
    ['a wrong type', { url: 1 }, 'url', /^url must be a string$/],
    ['a number as text', { url: 'a', count: '1' }, 'count', /^count must be an integer$/],
    ['a fraction', { url: 'a', count: 1.5 }, 'count', /^count must be an integer$/],
    ['an empty text', { url: '' }, 'url', /at least 1 character$/],
    ['a long text', { url: 'abcdef' }, 'url', /at most 5 characters$/],
    ['an unknown value', { url: 'a', status: 'on' }, 'status', /one of: enabled, disabled$/],
    ['no items', { url: 'a', events: [] }, 'events', /at least 1 item$/],
    ['too many items', { url: 'a', events: ['a', 'b', 'c'] }, 'events', /at most 2 items$/],
    ['a wrong item', { url: 'a', events: ['a', 7] }, 'events[1]', /^events\[1\] must be a string$/],
    [
      'a wrong value inside',
      { url: 'a', headers: { 'x-a': 1 } },
      'headers.x-a',
      /^headers\.x-a must be a string$/,
    ],
    ['a pattern', { url: 'a', name: 'A' }, 'name', /^name must be lower-case letters$/],
    ['a small number', { url: 'a', count: 0 }, 'count', /^count must be 1 or more$/],
    ['a large number', { url: 'a', count: 4 }, 'count', /^count must be 3 or less$/],
    [
      'an unknown field',
      { url: 'a', secret: 'x' },
      'secret',
      /^unknown field "secret"; known here: url, events/,
    ],
  ];
  for (const [name, value, field, message] of rows) {
    it(`is refused with the field's name: ${name}`, () => {
      assert.throws(
        () => check(value),
        (error: unknown) => {
          assert.ok(error instanceof PosthornError);
          assert.equal(error.kind, 'invalid_parameter');
          assert.equal(error.field, field);
          assert.match(error.message, message);
          return true;
        },
      );
    });
  }

  it('does not repeat a long name of the caller in full', () => {
    assert.throws(
      () => check({ url: 'a', ['x'.repeat(5000)]: 1 }),
      (error: unknown) => error instanceof PosthornError && error.message.length < 300,
    );
  });

  it('leaves a fitting value as it is', () => {
    const value = { url: 'a', events: ['a', 'a'], count: 2 };
    assert.equal(check(value), value);
  });
});

describe('a query', () => {
  const check = compileCheck(
    Type.Object(
      {
        limit: Type.Optional(Type.Integer({ minimum: 1, maximum: 200 })),
        cursor: Type.Optional(Type.String()),
      },
      { additionalProperties: false },
    ),
    'query',
  );

  it('has its integers read, and its texts left', () => {
    assert.deepEqual({ ...check({ limit: '20', cursor: '20' }) }, { limit: 20, cursor: '20' });
  });

  for (const text of ['', ' 5', '5 ', '0x10', '1e2', '5.0', 'five', '0', '201', '-1', '9'.repeat(30)]) {
    it(`is refused with limit ${JSON.stringify(text)}`, () => {
      assert.throws(() => check({ limit: text }), { kind: 'invalid_parameter', field: 'limit' });
    });
  }

  it('is refused with a parameter that was given twice', () => {
    assert.throws(() => check({ limit: ['1', '2'] }), { field: 'limit' });
    assert.throws(() => check({ cursor: ['a', 'b'] }), { field: 'cursor' });
  });

  it('is refused with an unknown parameter, however it is called', () => {
    const hostile = Object.assign(Object.create(null), JSON.parse('{"__proto__":"1"}'));
    hostile.__proto__ = '1';
    for (const query of [{ api_key: 'ph_x' }, hostile]) {
      assert.throws(() => check(query), /unknown query parameter .*known here: limit, cursor/);
    }
  });
});
