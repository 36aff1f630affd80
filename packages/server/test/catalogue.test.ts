import assert from 'node:assert/strict';
import { beforeEach, describe, test } from 'node:test';
import { Ajv2020 } from 'ajv/dist/2020.js';
import addFormats from 'ajv-formats';
import {
  BUILT_IN_TYPES,
  OPERATIONAL_TYPES,
  Catalogue,
  checkTypeName,
  type EventTypeInput,
  MAX_SCHEMA_BYTES,
  withDeprecation,
} from '../src/catalogue/index.ts';
import { PosthornError } from '../src/errors.ts';
import type { EventType, Json, JsonObject } from '../src/model.ts';
import { ManualClock } from './support/manual-clock.ts';

/** Wire contract, section 3: the order, categories and descriptions that clients see. */
const CONTRACT: [name: string, category: string, description: string][] = [
  ['generated_video_success', 'video', 'Video generation succeeded'],
  ['generated_video_failed', 'video', 'Video generation failed'],
  ['create_avatar_success', 'avatar', 'Avatar creation succeeded'],
  ['create_avatar_failed', 'avatar', 'Avatar creation failed'],
  ['generated_image_success', 'image', 'Image generation succeeded'],
  ['generated_image_failed', 'image', 'Image generation failed'],
  ['generated_motion_success', 'motion', 'Motion generation succeeded'],
  ['generated_motion_failed', 'motion', 'Motion generation failed'],
  ['generated_product_video_success', 'video', 'Product video generation succeeded'],
  ['generated_product_video_failed', 'video', 'Product video generation failed'],
  ['generated_avatar_video_success', 'video', 'Avatar video generation succeeded'],
  ['generated_avatar_video_failed', 'video', 'Avatar video generation failed'],
  ['generated_template_video_success', 'video', 'Template video generation succeeded'],
  ['generated_template_video_failed', 'video', 'Template video generation failed'],
  ['generated_translate_video_success', 'video', 'Video translation succeeded'],
  ['generated_translate_video_failed', 'video', 'Video translation failed'],
  ['generated_photo_avatar_success', 'avatar', 'Photo avatar creation succeeded'],
  ['generated_photo_avatar_failed', 'avatar', 'Photo avatar creation failed'],
  ['generated_product_avatar_success', 'avatar', 'Product avatar creation succeeded'],
  ['generated_product_avatar_failed', 'avatar', 'Product avatar creation failed'],
  ['generated_script_success', 'script', 'AI script generation succeeded'],
  ['generated_script_failed', 'script', 'AI script generation failed'],
];

const VIDEO = 'video_id project_id status video_url cover_url duration created_at';
const AVATAR = 'avatar_id name status preview_url cover_url';
/** Wire contract, section 4: all fields of `data`, each of them required. */
const FIELDS: Record<string, string> = {
  generated_video_success: VIDEO,
  generated_product_video_success: VIDEO,
  generated_avatar_video_success: VIDEO,
  generated_template_video_success: VIDEO,
  generated_translate_video_success: `${VIDEO} subtitle_url`,
  create_avatar_success: AVATAR,
  generated_product_avatar_success: AVATAR,
  generated_photo_avatar_success: 'photo_id status image_url_list',
  generated_script_success: 'task_id status scripts',
  generated_image_success: 'task_id status image_urls',
  generated_motion_success: 'motion_id avatar_id name status image_url motion_preview_url voice_id',
  generated_video_failed: 'video_id project_id status error',
  generated_product_video_failed: 'video_id project_id status error',
  generated_avatar_video_failed: 'video_id project_id status error',
  generated_template_video_failed: 'video_id project_id status error',
  generated_translate_video_failed: 'video_id project_id status error',
  create_avatar_failed: 'avatar_id status error',
  generated_product_avatar_failed: 'avatar_id status error',
  generated_photo_avatar_failed: 'photo_id status error',
  generated_script_failed: 'task_id status error',
  generated_image_failed: 'task_id status error',
  generated_motion_failed: 'motion_id status error',
};

/** A store of event types in memory; `listEventTypes` can be held back to let things happen meanwhile. */
class FakeStore {
  types = new Map<string, EventType>();
  subscribed = new Set<string>();
  reads = 0;
  hold: Promise<void> | null = null;
  failure: Error | null = null;

  async listEventTypes(): Promise<EventType[]> {
    this.reads += 1;
    if (this.failure) throw this.failure;
    const seen = structuredClone([...this.types.values()]);
    await this.hold;
    return seen;
  }

  async putEventType(type: EventType): Promise<void> {
    if (this.failure) throw this.failure;
    this.types.set(type.name, structuredClone(type));
  }

  async deleteEventType(name: string): Promise<boolean> {
    if (this.subscribed.has(name)) throw new PosthornError('conflict', 'an endpoint subscribes');
    return this.types.delete(name);
  }
}

const ORDER_PAID: EventTypeInput = {
  name: 'order.paid',
  category: 'shop',
  description: 'An order was paid',
  schema: {
    type: 'object',
    properties: { order: { type: 'integer' }, mail: { type: 'string', format: 'email' } },
    required: ['order'],
  },
  example: { order: 7, mail: 'ada@example.com' },
};

let store: FakeStore;
let catalogue: Catalogue;

beforeEach(async () => {
  store = new FakeStore();
  catalogue = new Catalogue(store);
  await catalogue.load();
});

function example(name: string): JsonObject {
  const type = catalogue.get(name);
  assert.ok(type?.example, name);
  return structuredClone(type.example);
}

/** What a function or promise is refused with. */
async function refusal(action: () => unknown): Promise<PosthornError> {
  try {
    await action();
  } catch (error) {
    assert.ok(error instanceof PosthornError, String(error));
    return error;
  }
  return assert.fail('it was accepted');
}

async function assertRefused(action: () => unknown, field: string, message: RegExp): Promise<void> {
  const error = await refusal(action);
  assert.equal(error.code, 40000);
  assert.equal(error.field, field);
  assert.match(error.message, message);
}

describe('the built-in types', () => {
  test('have the names, order, categories and descriptions of the wire contract', () => {
    assert.deepEqual(
      BUILT_IN_TYPES.map((type) => [type.name, type.category, type.description]),
      CONTRACT,
    );
    assert.deepEqual(
      catalogue.names(),
      CONTRACT.map(([name]) => name),
    );
    assert.ok(BUILT_IN_TYPES.every((type) => type.builtIn && !type.deprecated));
  });

  test('beside them are the operational ones: subscribed to, but not listed with the names, and published by nobody', async () => {
    for (const { name, category, schema, example } of OPERATIONAL_TYPES) {
      assert.ok(catalogue.has(name));
      assert.ok(!catalogue.names().includes(name));
      const strict = new Ajv2020({ strict: true, allowUnionTypes: true });
      addFormats.default(strict);
      const fits = strict.compile(schema);
      assert.ok(fits(example), JSON.stringify(fits.errors));
      assert.deepEqual(catalogue.list(category).length, OPERATIONAL_TYPES.length);
      await assertRefused(
        () => catalogue.validateData(name, example),
        'event',
        /is sent by Posthorn alone, and can't be published/,
      );
      await assertRefused(
        () => catalogue.put({ name, category: 'shop', description: 'mine' }),
        'category',
        /built-in/,
      );
    }
  });

  for (const type of BUILT_IN_TYPES) {
    test(`${type.name}: its schema is strict 2020-12, requires the contract's fields and fits its example`, () => {
      const strict = new Ajv2020({ strict: true, allErrors: true });
      addFormats.default(strict);
      const validate = strict.compile(type.schema);
      assert.ok(validate(type.example), JSON.stringify(validate.errors));
      const fields = FIELDS[type.name]?.split(' ');
      assert.deepEqual(Object.keys(type.schema.properties as JsonObject), fields);
      assert.deepEqual(type.schema.required, fields);
      assert.deepEqual(Object.keys(type.example as JsonObject), fields);
      assert.equal(type.schema.additionalProperties, true);
    });

    test(`${type.name}: without any one of its fields data is refused with the field's pointer`, async () => {
      for (const field of FIELDS[type.name]?.split(' ') ?? []) {
        const { [field]: _, ...rest } = example(type.name);
        await assertRefused(
          () => catalogue.validateData(type.name, rest),
          'data',
          new RegExp(`: /data/${field} is missing$`),
        );
      }
    });

    test(`${type.name}: every property has a description`, () => {
      const undescribed: string[] = [];
      const walk = (schema: JsonObject, path: string): void => {
        if (typeof schema.description !== 'string' || schema.description === '') undescribed.push(path);
        for (const [name, child] of Object.entries((schema.properties ?? {}) as JsonObject)) {
          walk(child as JsonObject, `${path}/${name}`);
        }
        if (schema.items) walk(schema.items as JsonObject, `${path}[]`);
      };
      walk(type.schema, type.name);
      assert.deepEqual(undescribed, []);
    });
  }
});

describe('data', () => {
  test('with unknown fields fits', () => {
    const data = {
      ...example('generated_video_failed'),
      trace: { id: 1 },
      error: { code: 1, message: 'x', hint: 'y' },
    };
    catalogue.validateData('generated_video_failed', data);
  });

  const wrong: [type: string, change: (data: JsonObject) => unknown, pointer: RegExp][] = [
    ['generated_video_success', (data) => (data.video_url = 7), /: \/data\/video_url must be string$/],
    [
      'generated_video_success',
      (data) => (data.video_url = 'not a url'),
      /\/data\/video_url must match format "uri"/,
    ],
    ['generated_video_success', (data) => (data.duration = '31.4'), /\/data\/duration must be number/],
    ['generated_video_success', (data) => (data.duration = -1), /\/data\/duration must be >= 0/],
    [
      'generated_video_success',
      (data) => (data.created_at = 1767225600.5),
      /\/data\/created_at must be integer/,
    ],
    ['generated_video_success', (data) => (data.status = 'failed'), /\/data\/status must be "completed"/],
    ['generated_video_failed', (data) => (data.status = 'completed'), /\/data\/status must be "failed"/],
    ['generated_video_failed', (data) => (data.error = 'no'), /\/data\/error must be object/],
    [
      'generated_video_failed',
      (data) => (data.error = { code: '1', message: 'x' }),
      /\/data\/error\/code must be integer/,
    ],
    ['generated_video_failed', (data) => (data.error = { code: 1 }), /\/data\/error\/message is missing/],
    ['create_avatar_success', (data) => (data.avatar_id = '10482'), /\/data\/avatar_id must be integer/],
    ['generated_motion_success', (data) => (data.avatar_id = 1.5), /\/data\/avatar_id must be integer/],
    [
      'generated_photo_avatar_success',
      (data) => (data.image_url_list = ['x']),
      /\/data\/image_url_list\/0 must match/,
    ],
    [
      'generated_script_success',
      (data) => (data.scripts = [{ script_style: 'x', script_paragraphs: ['a', 1] }] as Json),
      /\/data\/scripts\/0\/script_paragraphs\/1 must be string/,
    ],
  ];
  for (const [type, change, message] of wrong) {
    test(`of ${type} is refused: ${message.source}`, async () => {
      const data = example(type);
      change(data);
      await assertRefused(() => catalogue.validateData(type, data), 'data', message);
    });
  }

  for (const data of [null, [], 'x', 1]) {
    test(`that is ${JSON.stringify(data)} is refused`, () =>
      assertRefused(
        () => catalogue.validateData('generated_video_failed', data),
        'data',
        /\/data must be object/,
      ));
  }

  test('of an unknown type is refused by the name of the type', async () => {
    await assertRefused(
      () => catalogue.validateData('nope', {}),
      'event',
      /event "nope" is not a known event type/,
    );
    await assertRefused(() => catalogue.validateData('__proto__', {}), 'event', /not a known/);
    const error = await refusal(() => catalogue.validateData('x'.repeat(100_000), {}));
    assert.ok(error.message.length < 300);
  });
});

describe("an operator's own type", () => {
  test('is stored, listed after the built-in ones and checked from then on', async () => {
    const stored = await catalogue.put(ORDER_PAID);
    assert.deepEqual(stored, { ...ORDER_PAID, deprecated: false, builtIn: false });
    assert.deepEqual(store.types.get('order.paid'), stored);
    await catalogue.put({ ...ORDER_PAID, name: 'order.lost' });
    assert.deepEqual(catalogue.names().slice(22), ['order.paid', 'order.lost']);
    assert.equal(catalogue.names().length, 24);
    assert.deepEqual(
      catalogue.list('shop').map((type) => type.name),
      ['order.paid', 'order.lost'],
    );
    assert.deepEqual(
      catalogue.list().map(({ name }) => name),
      [...catalogue.names(), ...OPERATIONAL_TYPES.map(({ name }) => name)],
    );
    assert.deepEqual(catalogue.list('nothing'), []);
    catalogue.validateData('order.paid', { order: 1 });
    await assertRefused(
      () => catalogue.validateData('order.paid', { order: 'a' }),
      'data',
      /\/data\/order must be/,
    );
    await assertRefused(
      () => catalogue.validateData('order.paid', { order: 1, mail: '@' }),
      'data',
      /\/data\/mail/,
    );
  });

  test('without schema and example takes any object', async () => {
    const type = await catalogue.put({ name: 'a', category: 'c', description: 'd' });
    assert.deepEqual(type.schema, { type: 'object' });
    assert.equal(type.example, null);
    catalogue.validateData('a', { anything: [1] });
    await assertRefused(() => catalogue.validateData('a', []), 'data', /must be object/);
  });

  test('that is replaced keeps its place and is checked by the new schema at once', async () => {
    await catalogue.put(ORDER_PAID);
    await catalogue.put({ ...ORDER_PAID, name: 'order.lost' });
    catalogue.validateData('order.paid', { order: 1 });
    await catalogue.put({ ...ORDER_PAID, schema: { required: ['total'] }, example: { total: 1 } });
    assert.deepEqual(catalogue.names().slice(22), ['order.paid', 'order.lost']);
    await assertRefused(
      () => catalogue.validateData('order.paid', { order: 1 }),
      'data',
      /\/data\/total is missing/,
    );
  });

  test('is gone when it was removed; there is nothing to remove twice', async () => {
    await catalogue.put(ORDER_PAID);
    await catalogue.remove('order.paid');
    assert.equal(catalogue.has('order.paid'), false);
    assert.equal(catalogue.get('order.paid'), null);
    assert.equal((await refusal(() => catalogue.remove('order.paid'))).kind, 'not_found');
  });

  test('that an endpoint subscribes to stays', async () => {
    await catalogue.put(ORDER_PAID);
    store.subscribed.add('order.paid');
    assert.equal((await refusal(() => catalogue.remove('order.paid'))).kind, 'conflict');
    assert.ok(catalogue.has('order.paid'));
  });

  test('that could not be stored is not in the catalogue', async () => {
    store.failure = new PosthornError('unavailable', 'disk full');
    assert.equal((await refusal(() => catalogue.put(ORDER_PAID))).kind, 'unavailable');
    assert.equal(catalogue.has('order.paid'), false);
  });

  test('that is deprecated still works and says so', async () => {
    const type = await catalogue.put({ ...ORDER_PAID, deprecated: true });
    assert.equal(type.deprecated, true);
    catalogue.validateData('order.paid', { order: 1 });
    const result = { event_id: 'evt_1', deliveries: 0, duplicate: false };
    assert.deepEqual(withDeprecation(result, type), { ...result, deprecated: true });
    assert.deepEqual(withDeprecation(result, catalogue.get('generated_video_failed')), result);
    assert.deepEqual(withDeprecation(result, null), result);
  });

  const objects: [string, Partial<EventTypeInput>, string, RegExp][] = [
    ['an empty category', { category: ' ' }, 'category', /1 to 64/],
    ['a long category', { category: 'c'.repeat(65) }, 'category', /1 to 64/],
    ['no description', { description: '' }, 'description', /1 to 1000/],
    ['a schema that is a list', { schema: [] as unknown as JsonObject }, 'schema', /JSON object/],
    ['an unknown type keyword', { schema: { type: 'objct' } }, 'schema', /\/schema\/type must be/],
    [
      'properties that are a list',
      { schema: { properties: [] } },
      'schema',
      /\/schema\/properties must be object/,
    ],
    ['a broken pattern', { schema: { pattern: '(' } }, 'schema', /Invalid regular expression/],
    ['a dangling reference', { schema: { $ref: '#/$defs/no' } }, 'schema', /#\/\$defs\/no.*isn't part of it/],
    [
      'a remote reference',
      { schema: { $ref: 'https://example.com/s.json' } },
      'schema',
      /example\.com.*isn't part/,
    ],
    [
      'a remote reference by a base',
      { schema: { $id: 'https://example.com/a', properties: { x: { $ref: 'b' } } } },
      'schema',
      /example\.com\/b.*isn't part of it/,
    ],
    [
      'a file reference',
      { schema: { properties: { x: { $ref: 'file:///etc/passwd' } } } },
      'schema',
      /isn't part/,
    ],
    [
      'another dialect',
      { schema: { $schema: 'http://json-schema.org/draft-07/schema#' } },
      'schema',
      /2020-12/,
    ],
    ['an asynchronous schema', { schema: { $async: true, type: 'object' } }, 'schema', /asynchronous/],
    [
      'a nested asynchronous schema',
      { schema: { properties: { a: { $async: true, type: 'string' } } } },
      'schema',
      /async/,
    ],
    [
      'a schema over the limit',
      { schema: { description: 'x'.repeat(MAX_SCHEMA_BYTES) } },
      'schema',
      /has 65554 bytes of JSON, the limit is 65536/,
    ],
    [
      'an example over the limit',
      { example: { order: 1, text: 'ä'.repeat(MAX_SCHEMA_BYTES / 2) } },
      'example',
      /the limit is 65536/,
    ],
    ['an example that is a list', { example: [] as unknown as JsonObject }, 'example', /JSON object/],
    [
      'an example that does not fit',
      { example: { order: 'seven' } },
      'example',
      /\/example\/order must be integer/,
    ],
    ['an endless schema', { schema: { $ref: '#' } }, 'example', /refers to itself without end/],
  ];
  for (const [name, change, field, message] of objects) {
    test(`with ${name} is refused and not stored`, async () => {
      await assertRefused(() => catalogue.put({ ...ORDER_PAID, ...change }), field, message);
      assert.equal(store.types.size, 0);
      assert.equal(catalogue.has('order.paid'), false);
    });
  }

  test('may refer to its own parts, by $defs, $id and $anchor, and name its dialect', async () => {
    await catalogue.put({
      ...ORDER_PAID,
      schema: {
        $schema: 'https://json-schema.org/draft/2020-12/schema',
        $id: 'https://example.com/order',
        type: 'object',
        properties: { order: { $ref: '#/$defs/id' }, mail: { $ref: 'https://example.com/order#mail' } },
        $defs: { id: { type: 'integer' }, mail: { $anchor: 'mail', type: 'string' } },
      },
    });
    await assertRefused(
      () => catalogue.validateData('order.paid', { order: 1, mail: 2 }),
      'data',
      /\/data\/mail/,
    );
  });

  test("does not see another type's parts: the same $id in two types never clashes nor leaks", async () => {
    const withId = { ...ORDER_PAID, schema: { $id: 'https://example.com/x', type: 'object' } };
    await catalogue.put(withId);
    await catalogue.put({ ...withId, name: 'order.lost' });
    const leak = { ...ORDER_PAID, name: 'order.leak', schema: { $ref: 'https://example.com/x' } };
    await assertRefused(() => catalogue.put(leak), 'schema', /isn't part of it/);
  });

  test('with one large definition used a thousand times compiles without exhausting memory', async () => {
    const uses = Array.from({ length: 1_000 }, (_, i) => [`p${i}`, { $ref: '#/$defs/big' }]);
    const parts = Array.from({ length: 700 }, (_, i) => [`f${i}`, { type: 'string' }]);
    await catalogue.put({
      ...ORDER_PAID,
      schema: {
        type: 'object',
        properties: Object.fromEntries(uses),
        $defs: { big: { type: 'object', properties: Object.fromEntries(parts) } },
      },
      example: { p999: { f0: 'x' } },
    });
    const wrong = { p0: { f699: 1 } };
    await assertRefused(
      () => catalogue.validateData('order.paid', wrong),
      'data',
      /\/data\/p0\/f699 must be string/,
    );
  });

  test('with thousands of allowed values is refused with a short message', async () => {
    const values = Array.from({ length: 2_000 }, (_, i) => `value ${i}`);
    await catalogue.put({ ...ORDER_PAID, schema: { properties: { p: { enum: values } } }, example: null });
    const error = await refusal(() => catalogue.validateData('order.paid', { p: 'no' }));
    assert.match(error.message, /\/data\/p must be one of \["value 0","value 1"/);
    assert.ok(error.message.length < 400);
  });
});

describe('a built-in type', () => {
  test('can be deprecated and restored, with or without repeating what it is', async () => {
    const type = catalogue.get('generated_video_failed') as EventType;
    const { builtIn: _, ...whole } = type;
    await catalogue.put({ ...whole, deprecated: true });
    assert.deepEqual(catalogue.get(type.name), { ...type, deprecated: true });
    assert.deepEqual(store.types.get(type.name), { ...type, deprecated: true });
    catalogue.validateData(type.name, example(type.name));
    const { name, category, description } = type;
    await catalogue.put({ name, category, description });
    assert.deepEqual(catalogue.get(name), type);
    assert.equal(catalogue.names().indexOf(name), 1);
  });

  for (const [field, value] of [
    ['category', 'film'],
    ['description', 'Something else'],
    ['schema', { type: 'object' }],
    ['example', { video_id: 'x' }],
  ] as const) {
    test(`can't get another ${field}`, async () => {
      const type = catalogue.get('generated_video_failed') as EventType;
      await assertRefused(() => catalogue.put({ ...type, [field]: value }), field, /can only be deprecated/);
      assert.equal(store.types.size, 0);
    });
  }

  test("can't be removed", () =>
    assertRefused(() => catalogue.remove('generated_video_failed'), 'name', /built in/));

  test('is what it was in this version, whatever an older one stored', async () => {
    const type = catalogue.get('generated_video_failed') as EventType;
    store.types.set(type.name, { ...type, description: 'old words', schema: {}, deprecated: true });
    await catalogue.refresh();
    assert.deepEqual(catalogue.get(type.name), { ...type, deprecated: true });
  });
});

describe('names of own types', () => {
  for (const name of ['a', 'order.paid', 'order_paid', 'a1.b2_c3', 'a'.repeat(128)]) {
    test(`${name.slice(0, 20)} is accepted`, () => checkTypeName(name));
  }
  for (const name of [
    '',
    'Order',
    'order-paid',
    '1a',
    '.a',
    '_a',
    'a b',
    'ä',
    'a\n',
    'a/b',
    'a'.repeat(129),
  ]) {
    test(`${JSON.stringify(name.slice(0, 20))} is refused`, () =>
      assertRefused(() => checkTypeName(name), 'name', /lower-case letters/));
  }
  test('a malformed one is not stored', async () => {
    await assertRefused(() => catalogue.put({ ...ORDER_PAID, name: 'Order' }), 'name', /lower-case/);
    assert.equal(store.types.size, 0);
  });
});

describe('refresh', () => {
  test('brings in what another node changed', async () => {
    const other = new Catalogue(store);
    await other.load();
    await other.put(ORDER_PAID);
    await other.put({ ...(other.get('create_avatar_failed') as EventType), deprecated: true });
    assert.equal(catalogue.has('order.paid'), false);
    await catalogue.refresh();
    assert.deepEqual(catalogue.list(), other.list());
    catalogue.validateData('order.paid', { order: 1 });

    await other.put({ ...ORDER_PAID, schema: { required: ['total'] }, example: null });
    await catalogue.refresh();
    await assertRefused(() => catalogue.validateData('order.paid', { order: 1 }), 'data', /total/);

    await other.remove('order.paid');
    await catalogue.refresh();
    assert.equal(catalogue.has('order.paid'), false);
  });

  test('is one read', async () => {
    const before = store.reads;
    await catalogue.refresh();
    assert.equal(store.reads, before + 1);
  });

  test('never undoes a change that this node made while it was reading', async () => {
    const gate = Promise.withResolvers<void>();
    store.hold = gate.promise;
    const refreshed = catalogue.refresh();
    await catalogue.put(ORDER_PAID);
    gate.resolve();
    await refreshed;
    assert.ok(catalogue.has('order.paid'));
  });

  test('an older read that ends late does not replace a newer one', async () => {
    const gate = Promise.withResolvers<void>();
    store.hold = gate.promise;
    const older = catalogue.refresh();
    store.hold = null;
    store.types.set('order.paid', { ...(ORDER_PAID as EventType), deprecated: false, builtIn: false });
    await catalogue.refresh();
    gate.resolve();
    await older;
    assert.ok(catalogue.has('order.paid'));
  });

  test('that fails keeps what there is', async () => {
    await catalogue.put(ORDER_PAID);
    store.failure = new PosthornError('unavailable', 'database gone');
    assert.equal((await refusal(() => catalogue.refresh())).kind, 'unavailable');
    assert.ok(catalogue.has('order.paid'));
  });
});

describe('a look for unknown names', () => {
  const clock = new ManualClock();
  let own: Catalogue;

  beforeEach(async () => {
    own = new Catalogue(store, clock);
    await own.load();
  });

  test('finds what another node added, in one read for all who ask at once', async () => {
    const other = new Catalogue(store);
    await other.put(ORDER_PAID);
    const before = store.reads;
    await Promise.all([own.lookFor(['order.paid']), own.lookFor(['order.lost', 'generated_video_failed'])]);
    assert.equal(store.reads, before + 1);
    assert.ok(own.has('order.paid'));
  });

  test('reads nothing when all names are known', async () => {
    const before = store.reads;
    await own.lookFor(['generated_video_failed', 'generated_video_success']);
    await own.lookFor([]);
    assert.equal(store.reads, before);
  });

  test('is made once a second at most, whatever is asked', async () => {
    const before = store.reads;
    for (let n = 0; n < 10; n++) await own.lookFor([`unknown.${n}`]);
    assert.equal(store.reads, before + 1);
    clock.advance(1_000);
    await own.lookFor(['unknown.0']);
    assert.equal(store.reads, before + 2);
  });

  test('that fails says so, and the next one looks again', async () => {
    store.failure = new PosthornError('unavailable', 'database gone');
    assert.equal((await refusal(() => own.lookFor(['order.paid']))).kind, 'unavailable');
    store.failure = null;
    await new Catalogue(store).put(ORDER_PAID);
    await own.lookFor(['order.paid']);
    assert.ok(own.has('order.paid'));
  });
});
