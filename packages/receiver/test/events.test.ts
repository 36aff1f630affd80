/** The types of events: as the catalogue has them, and as the compiler sees them. */
import assert from 'node:assert/strict';
import { spawnSync } from 'node:child_process';
import { readFileSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { describe, it } from 'node:test';
import { fileURLToPath } from 'node:url';
import { BUILT_IN_TYPES } from '../../server/src/catalogue/built-in.ts';
import { type RenderedType, renderTypes } from '../../server/src/catalogue/typescript.ts';
import type { JsonObject } from '../../server/src/model.ts';
import { tempDir } from '../../server/test/support/tempdir.ts';
import { joggEvents } from '../scripts/generate-events.ts';

const ROOT = fileURLToPath(new URL('../../../', import.meta.url));

function type(name: string, schema: JsonObject, more: Partial<RenderedType> = {}): RenderedType {
  return { name, schema, description: `About ${name}`, deprecated: false, ...more };
}

/** The part of the source that declares one type, without its comment. */
function rendered(schema: JsonObject): string {
  const source = renderTypes([type('a', schema)]);
  return source.slice(source.indexOf('export '), source.indexOf('\n\n/** The event types'));
}

describe('the types of the 22 events', () => {
  it('are those of the catalogue: run packages/receiver/scripts/generate-events.ts after a change', () => {
    const checkedIn = readFileSync(new URL('../src/jogg-events.ts', import.meta.url), 'utf8');
    assert.equal(checkedIn, joggEvents());
    for (const { name } of BUILT_IN_TYPES) assert.match(checkedIn, new RegExp(`^  ${name}: \\w+;$`, 'm'));
  });
});

describe('a catalogue as TypeScript', () => {
  it('is the same text for the same types', () => {
    assert.equal(renderTypes(BUILT_IN_TYPES), renderTypes(structuredClone([...BUILT_IN_TYPES])));
  });

  const property = (schema: JsonObject): string =>
    rendered({ type: 'object', properties: { x: schema } })
      .split('\n')[1]
      ?.trim() ?? '';
  for (const [schema, expected] of [
    [{ type: 'string' }, 'x?: string;'],
    [{ type: 'integer' }, 'x?: number;'],
    [{ type: ['string', 'null'] }, 'x?: string | null;'],
    [{ const: "it's" }, `x?: "it's";`],
    [{ enum: ['a', 'b', 1, null] }, "x?: 'a' | 'b' | 1 | null;"],
    [{ type: 'array', items: { enum: ['a', 'b'] } }, "x?: ('a' | 'b')[];"],
    [{ type: 'array' }, 'x?: unknown[];'],
    [{ type: 'array', prefixItems: [{ type: 'string' }], items: false }, 'x?: [string?];'],
    [{ type: 'object', additionalProperties: { type: 'number' } }, 'x?: { [name: string]: number };'],
    [{ anyOf: [{ type: 'string' }, { type: 'number' }] }, 'x?: string | number;'],
    [{ $ref: '#/$defs/nowhere' }, 'x?: unknown;'],
    [{}, 'x?: unknown;'],
  ] as [JsonObject, string][]) {
    it(`says ${expected} of ${JSON.stringify(schema)}`, () => assert.equal(property(schema), expected));
  }

  it('follows references, and ends where a schema refers to itself', () => {
    const source = rendered({
      type: 'object',
      properties: { tree: { $ref: '#/$defs/node' } },
      $defs: { node: { type: 'object', properties: { child: { $ref: '#/$defs/node' } } } },
    });
    assert.match(source, /tree\?: \{\n {4}child\?: unknown;\n {2}\};/);
  });

  it('is TypeScript whatever the names and descriptions are', async () => {
    const odd = 'Ends */ the comment\nand ${goes} on \u2028 here';
    const source = renderTypes([
      ...BUILT_IN_TYPES,
      type('order.paid', { type: 'object', properties: { 'a b': {}, "it's": {}, __proto__x: {} } }),
      type('order_paid', true as never, { description: odd, deprecated: true }),
      type('9lives', { type: 'object', description: odd, properties: { x: { description: odd } } }),
      type('events', { allOf: [{ type: 'object', properties: { a: {} } }, { properties: { b: {} } }] }),
      type('either', { oneOf: [{ properties: { a: {} } }, { properties: { b: { const: 'x | y' } } }] }),
      type('list', { properties: { of: { type: 'array', items: { anyOf: [{ type: 'null' }, true] } } } }),
    ]);
    assert.match(source, /'order.paid': OrderPaid;\n {2}order_paid: OrderPaid2;\n {2}'9lives': Type9lives;/);
    assert.match(source, /events: Events2;/);
    assert.match(source, /@deprecated/);
    const folder = await tempDir();
    try {
      const use = `import type { Events } from './types.ts';
export const either: Events['either'][] = [{ a: 1 }, { b: 'x | y' }];
export const both: Events['events'] = { a: 1, b: 2 };
`;
      writeFileSync(join(folder.path, 'types.ts'), source);
      writeFileSync(join(folder.path, 'use.ts'), use);
      const flags = ['--noEmit', '--strict', '--allowImportingTsExtensions', '--module', 'nodenext'];
      const compiler = join(ROOT, 'node_modules/typescript/bin/tsc');
      const check = spawnSync(process.execPath, [compiler, ...flags, join(folder.path, 'use.ts')], {
        cwd: folder.path,
        encoding: 'utf8',
      });
      assert.deepEqual([check.status, check.stdout], [0, '']);
    } finally {
      await folder.remove();
    }
  });
});
