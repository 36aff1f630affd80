/** The document is checked against the rules of OpenAPI 3.1, against the routes, and its examples against its schemas. */
import assert from 'node:assert/strict';
import { after, before, describe, it } from 'node:test';

import { Ajv2020 } from 'ajv/dist/2020.js';
import addFormats from 'ajv-formats';

import { type TestApp, testApp } from '../support/app.ts';

// biome-ignore format: one line reads better
type Json = any;

const METHODS = ['get', 'put', 'post', 'delete', 'patch'];
const OPERATION_FIELDS = new Set([
  'operationId',
  'tags',
  'summary',
  'description',
  'deprecated',
  'security',
  'parameters',
  'requestBody',
  'responses',
]);

function resolve(document: Json, ref: string): Json {
  assert.match(ref, /^#\//, ref);
  let node = document;
  for (const step of ref.slice(2).split('/')) {
    node = node?.[step.replaceAll('~1', '/').replaceAll('~0', '~')];
  }
  assert.ok(node !== undefined, `${ref} points nowhere`);
  return node;
}

function walk(node: Json, visit: (node: Json, path: string) => void, path = '#'): void {
  if (typeof node !== 'object' || node === null) return;
  visit(node, path);
  for (const [name, child] of Object.entries(node)) walk(child, visit, `${path}/${name}`);
}

describe('/openapi.json', () => {
  let api: TestApp;
  let document: Json;
  let operations: { path: string; method: string; operation: Json; webhook: boolean }[];
  before(async () => {
    api = await testApp();
    const response = await api.app.inject({ method: 'GET', url: '/openapi.json' });
    assert.equal(response.statusCode, 200);
    assert.match(String(response.headers['content-type']), /^application\/json/);
    document = response.json();
    operations = [];
    for (const [group, webhook] of [
      [document.paths, false],
      [document.webhooks, true],
    ] as const) {
      for (const [path, item] of Object.entries<Json>(group)) {
        for (const [method, operation] of Object.entries<Json>(item)) {
          assert.ok(METHODS.includes(method), `${path} has only methods, not ${method}`);
          operations.push({ path, method, operation, webhook });
        }
      }
    }
  });
  after(() => api.close());

  it('is OpenAPI 3.1 with title, version and licence', () => {
    assert.match(document.openapi, /^3\.1\.\d+$/);
    assert.equal(document.info.title, 'Posthorn');
    assert.equal(document.info.version, '0.0.0-test');
    assert.equal(document.info.license.identifier, 'Apache-2.0');
    assert.deepEqual(Object.keys(document), [
      'openapi',
      'info',
      'servers',
      'tags',
      'paths',
      'webhooks',
      'components',
    ]);
  });

  it('has references that all resolve, and components that are all used', () => {
    const used = new Set<string>();
    walk(document, (node, path) => {
      if (typeof node.$ref !== 'string' || path.includes('/example')) return;
      resolve(document, node.$ref);
      used.add(node.$ref);
    });
    for (const [kind, components] of Object.entries<Json>(document.components)) {
      if (kind === 'securitySchemes') continue;
      for (const name of Object.keys(components)) {
        assert.match(name, /^[a-zA-Z0-9._-]+$/);
        assert.ok(used.has(`#/components/${kind}/${name}`), `${kind}/${name} is not used`);
      }
    }
  });

  it('has every route of the app and no other', () => {
    const expected = api.routes.map(
      (route) => `${route.method.toLowerCase()} /v2${route.path.replaceAll(/:(\w+)/g, '{$1}')}`,
    );
    const listed = operations
      .filter(({ webhook }) => !webhook)
      .map(({ method, path }) => `${method} ${path}`);
    assert.deepEqual(listed.sort(), [...expected, 'get /v1/whoami', 'get /readyz'].sort());
  });

  it('describes each operation in full', () => {
    const ids = new Set<string>();
    const tags = new Set(document.tags.map((tag: Json) => tag.name));
    for (const { path, method, operation, webhook } of operations) {
      const where = `${method} ${path}`;
      for (const field of Object.keys(operation))
        assert.ok(OPERATION_FIELDS.has(field), `${where}: ${field}`);
      for (const field of ['operationId', 'summary', 'description']) {
        assert.ok(
          typeof operation[field] === 'string' && operation[field] !== '',
          `${where} has no ${field}`,
        );
      }
      assert.ok(!ids.has(operation.operationId), `${operation.operationId} twice`);
      ids.add(operation.operationId);
      assert.equal(operation.tags.length, 1);
      assert.ok(tags.has(operation.tags[0]), `${where}: tag ${operation.tags[0]}`);
      if (webhook) continue;
      if (path === '/readyz') {
        assert.deepEqual([operation.security, Object.keys(operation.responses)], [[], ['200', '503']]);
        continue;
      }
      assert.deepEqual(operation.security, [{ apiKey: [] }], where);
      for (const status of ['200', '401', '403', '429', '500', '503']) {
        assert.ok(operation.responses[status] !== undefined, `${where} has no ${status}`);
      }
      if (operation.requestBody !== undefined) {
        for (const status of ['400', '413', '415'])
          assert.ok(operation.responses[status], `${where} has no ${status}`);
      }
    }
    assert.equal(document.components.securitySchemes.apiKey.name, 'x-api-key');
  });

  it('declares each parameter of a path, and no parameter twice', () => {
    for (const { path, operation } of operations) {
      const parameters = (operation.parameters ?? []).map((parameter: Json) =>
        parameter.$ref === undefined ? parameter : resolve(document, parameter.$ref),
      );
      const seen = new Set<string>();
      for (const parameter of parameters) {
        assert.ok(['path', 'query', 'header'].includes(parameter.in));
        assert.ok(parameter.schema !== undefined, `${path} ${parameter.name}`);
        assert.equal(parameter.required === true || parameter.in !== 'path', true);
        const id = `${parameter.in}:${parameter.name}`;
        assert.ok(!seen.has(id), `${path} ${id}`);
        seen.add(id);
      }
      const templated = [...path.matchAll(/\{(\w+)\}/g)].map((match) => match[1]);
      const declared = parameters
        .filter((parameter: Json) => parameter.in === 'path')
        .map((parameter: Json) => parameter.name);
      assert.deepEqual(declared, templated, path);
    }
  });

  it('has schemas that are JSON Schema 2020-12, and examples that fit them', () => {
    const ajv = new Ajv2020({ strict: false, allErrors: true });
    (addFormats as unknown as (ajv: Ajv2020) => void)(ajv);
    ajv.addSchema({ $id: 'openapi', components: document.components });
    const absolute = (schema: Json): Json =>
      JSON.parse(JSON.stringify(schema).replaceAll('"$ref":"#/', '"$ref":"openapi#/'));
    let examples = 0;
    const check = (schema: Json, example: Json, where: string): void => {
      examples += 1;
      const validate = ajv.compile(absolute(schema));
      assert.ok(
        validate(example),
        `${where}: ${JSON.stringify(validate.errors)} in ${JSON.stringify(example)}`,
      );
    };
    for (const [name, schema] of Object.entries<Json>(document.components.schemas)) {
      assert.ok(ajv.validateSchema(schema), `${name}: ${JSON.stringify(ajv.errors)}`);
    }
    for (const { path, method, operation, webhook } of operations) {
      const where = `${method} ${path}`;
      const media = operation.requestBody?.content['application/json'];
      if (media !== undefined) {
        assert.ok(ajv.validateSchema(media.schema), where);
        assert.ok(media.example !== undefined, `${where} has no example of its body`);
        check(media.schema, media.example, `${where} body`);
      }
      for (const [status, ref] of Object.entries<Json>(operation.responses)) {
        const response = ref.$ref === undefined ? ref : resolve(document, ref.$ref);
        assert.ok(response.description.length > 0);
        if (webhook) continue;
        const stream = response.content['text/event-stream'];
        if (stream !== undefined) {
          assert.deepEqual([operation.operationId, status], ['listen', '200']);
          check(stream.schema, stream.example, `${where}: a message`);
          continue;
        }
        const content = response.content['application/json'];
        assert.ok(content.example !== undefined, `${where} ${status} has no example`);
        check(content.schema, content.example, `${where} ${status}`);
        assert.equal(content.example.code === 0, status === '200');
      }
      for (const parameter of operation.parameters ?? []) {
        for (const example of parameter.schema?.examples ?? [])
          check(parameter.schema, example, `${where} ${parameter.name}`);
      }
    }
    walk(document.components.schemas, (node, path) => {
      if (Array.isArray(node.examples) && !path.includes('/examples')) {
        for (const example of node.examples) check(node, example, path);
      }
    });
    assert.ok(examples > 200, `${examples} examples`);
  });

  it('has a webhook for each event type, with its headers, and follows the catalogue', async () => {
    const webhooks = operations.filter(({ webhook }) => webhook);
    assert.deepEqual(
      webhooks.map(({ path }) => path),
      api.catalogue.list().map(({ name }) => name),
    );
    for (const { operation } of webhooks) {
      const names = operation.parameters.map((parameter: Json) => parameter.name);
      for (const name of [
        'x-webhook-event',
        'x-webhook-signature',
        'webhook-id',
        'webhook-timestamp',
        'webhook-signature',
      ]) {
        assert.ok(names.includes(name), name);
      }
      assert.ok(operation.requestBody.content['application/json'].example !== undefined);
    }
    await api.request('PUT', '/v2/event_type/order.paid', {
      key: api.operatorKey,
      body: { category: 'Accounts', description: 'An order was paid', deprecated: true },
    });
    const changed = (await api.app.inject({ method: 'GET', url: '/openapi.json' })).json() as Json;
    assert.equal(changed.webhooks['order.paid'].post.deprecated, true);
    assert.equal(Object.keys(changed.webhooks).length, 27);
    assert.equal(new Set(changed.tags.map((tag: Json) => tag.name)).size, changed.tags.length);
  });
});
