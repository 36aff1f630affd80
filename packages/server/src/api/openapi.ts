/**
 * The OpenAPI 3.1 document, made from the route table and the catalogue.
 *
 * Made here rather than by `@fastify/swagger`: 3.1 takes the routes' JSON Schemas as they are (that plugin rewrites
 * `const`, `$ref` and `patternProperties` for 3.0), the `webhooks` section follows the catalogue while the service runs
 * (the plugin caches its document), and the aliases under other prefixes stay out of it.
 */
import type { TSchema } from './schema.ts';

import { ERROR_KINDS, type ErrorKind } from '../errors.ts';
import type { EventType } from '../model.ts';
import type { Access } from './auth.ts';
import type { ApiDeps } from './deps.ts';
import { SUCCESS_MESSAGE } from './envelope.ts';
import type { ApiRoute } from './route.ts';
import { Readiness } from './system.ts';

type Node = Record<string, unknown>;

const EXAMPLE_RID = 'req_01kas4h3bq0000w3r8y0e6a1kd';

const DESCRIPTION = `Posthorn stores events durably, works out who subscribed, signs them, delivers them at least once and shows what happened.

Every answer is an envelope: \`rid\` (the request id, also in the \`x-request-id\` header), \`code\` (0 on success), \`msg\` and \`data\`. Judge success by \`code\`.

Authenticate with the header \`x-api-key\`. An account's key acts for its account; an operator key acts for an account with the header \`x-account: <username>\`.

POST requests of an account's key are limited (20 a minute by default, over all routes together); \`x-ratelimit-limit\`, \`x-ratelimit-remaining\` and \`x-ratelimit-reset\` (seconds until the window ends) say where it stands.

Times are unix seconds; durations say their unit in their name. Unknown query parameters and body fields are refused.

Aliases for older clients: every \`/v2/…\` path is also at \`/open/v2/…\`. \`/v1/events\`, \`/v1/endpoints\`, \`/v1/endpoint\` and \`/v1/endpoint/{endpoint_id}\` work as in v2, \`/v1/webhook/…\` has the same four with bare arrays as \`data\` of the two lists; both repeat the endpoint's fields beside \`data\` when one is added or updated.`;

const TAGS: [name: string, description: string][] = [
  ['Who am I', 'The test of a key.'],
  ['Endpoints', 'Where an account wants its events, and which.'],
  ['Event types', 'The catalogue: names, schemas, examples.'],
  ['Publishing', 'Handing over events.'],
  ['Deliveries', 'What became of each event for each endpoint.'],
  ['Event log', 'Every published event and who got it.'],
  ['Replays', 'Sending again what was missed.'],
  ['Statistics', 'Counts and latencies over time.'],
  ['Accounts', 'The customers of the product; for operators.'],
  ['API keys', 'Keys of accounts and operators.'],
  ['Audit log', 'Who changed what, when and from where.'],
  ['Encryption keys', 'With what secrets are encrypted at rest; for operators.'],
  ['System', 'How the service itself is; for operators.'],
];

const ACCESS_SENTENCES: Record<Access, string> = {
  any: 'Any valid key.',
  account: "An account's key, or an operator key with `x-account`.",
  account_or_operator: "An account's key or an operator key.",
  publish: 'A key with scope `publish` or `operator`.',
  operator: 'An operator key.',
};

const RESPONSE_TEXTS: Record<string, { kind: ErrorKind; description: string; msg: string }> = {
  BadRequest: {
    kind: 'invalid_parameter',
    description: 'A parameter is missing, malformed or out of range; `msg` names it.',
    msg: 'url is required',
  },
  Unauthorized: {
    kind: 'unauthorized',
    description: 'No API key, or one that does not hold.',
    msg: 'the API key in the x-api-key header is not valid',
  },
  Forbidden: {
    kind: 'forbidden',
    description: 'The key may not call this: wrong scope, or a suspended account.',
    msg: 'this account is suspended; ask whoever runs this service',
  },
  NotFound: {
    kind: 'not_found',
    description: 'No such record, or one of another account: the two are indistinguishable.',
    msg: 'endpoint "wh_01kas4h3bq0000w3r8y0e6a1kd" not found',
  },
  Conflict: {
    kind: 'conflict',
    description: 'The request contradicts what is stored.',
    msg: 'username "alice" is taken',
  },
  TooLarge: {
    kind: 'too_large',
    description: 'The body, or an event in it, is over a size limit.',
    msg: 'the request body is larger than 5242880 bytes; send less at once',
  },
  UnsupportedMediaType: {
    kind: 'unsupported_media_type',
    description: 'The body isn’t JSON by its content type.',
    msg: 'the content-type header must be application/json: send the body as JSON in UTF-8',
  },
  TooManyRequests: {
    kind: 'rate_limited',
    description: 'Too many requests; `retry-after` says in how many seconds to come back.',
    msg: 'more than 20 POST requests in a minute; try again in 41 s',
  },
  InternalError: {
    kind: 'internal',
    description: 'A defect; the server’s log has the cause under the request id.',
    msg: `internal error; the server's log has the cause under request id ${EXAMPLE_RID}`,
  },
  Unavailable: {
    kind: 'unavailable',
    description: 'Nothing was stored; send it again after `retry-after` seconds.',
    msg: 'the store can’t be written at the moment',
  },
};

const ERROR_RESPONSES: Record<ApiRoute['errors'][number], string> = {
  not_found: 'NotFound',
  conflict: 'Conflict',
  too_large: 'TooLarge',
};

/** Moves schemas with a `title` into `components.schemas` and leaves references. */
class Components {
  readonly schemas: Record<string, Node> = {};
  readonly #sources = new Map<string, string>();

  add(name: string, schema: Node): Node {
    this.schemas[name] = schema;
    return { $ref: `#/components/schemas/${name}` };
  }

  refer(schema: unknown): unknown {
    if (Array.isArray(schema)) return schema.map((item) => this.refer(item));
    if (typeof schema !== 'object' || schema === null) return schema;
    const { title } = schema as { title?: string };
    if (title === undefined) return this.#inside(schema);
    const source = JSON.stringify(schema);
    const known = this.#sources.get(title);
    if (known === undefined) {
      this.#sources.set(title, source);
      this.schemas[title] = this.#inside(schema);
    } else if (known !== source) {
      throw new Error(`two different schemas have the title ${title}`);
    }
    return { $ref: `#/components/schemas/${title}` };
  }

  #inside(schema: object): Node {
    return Object.fromEntries(
      Object.entries(schema).map(([name, value]) => [
        name,
        // Examples are data, not schemas: a `title` in them means nothing.
        name === 'examples' ? value : name === 'properties' ? this.#properties(value) : this.refer(value),
      ]),
    );
  }

  /** A property may be called `title`. */
  #properties(properties: Record<string, unknown>): Node {
    return Object.fromEntries(Object.entries(properties).map(([name, schema]) => [name, this.refer(schema)]));
  }
}

/**
 * An example made of a schema's `examples`, down to its leaves; undefined when something required has none.
 */
export function exampleOf(schema: unknown): unknown {
  const node = schema as {
    examples?: unknown[];
    const?: unknown;
    enum?: unknown[];
    type?: string | string[];
    properties?: Record<string, unknown>;
    required?: string[];
    items?: unknown;
    anyOf?: unknown[];
  };
  if (node.examples !== undefined) return node.examples[0];
  if (node.const !== undefined) return node.const;
  if (node.enum !== undefined) return node.enum[0];
  if (node.anyOf !== undefined) return exampleOf(node.anyOf[0]);
  if (node.type === 'object') {
    const entries = (node.required ?? []).map((name) => [name, exampleOf(node.properties?.[name])] as const);
    return entries.some(([, value]) => value === undefined) ? undefined : Object.fromEntries(entries);
  }
  if (node.type === 'array') {
    const item = exampleOf(node.items);
    return item === undefined ? [] : [item];
  }
  if (node.type === 'boolean') return false;
  return undefined;
}

function header(description: string, type: 'integer' | 'string'): Node {
  return { description, schema: { type } };
}

function parametersOf(route: ApiRoute, components: Components): Node[] {
  const part = (schema: TSchema | null, where: 'path' | 'query'): Node[] => {
    const { properties = {}, required = [] } = (schema ?? {}) as {
      properties?: Record<string, Node>;
      required?: string[];
    };
    return Object.entries(properties).map(([name, value]) => {
      const { description, ...rest } = value;
      return {
        name,
        in: where,
        required: where === 'path' || required.includes(name),
        ...(description === undefined ? {} : { description }),
        schema: components.refer(rest) as Node,
      };
    });
  };
  const headers = Object.entries(route.headers ?? {}).map(([name, description]) => ({
    name,
    in: 'header',
    required: false,
    description,
    schema: { type: 'string' },
  }));
  const account = { $ref: '#/components/parameters/Account' };
  const takesAccount = route.access === 'account' || route.access === 'account_or_operator';
  return [
    ...part(route.params, 'path'),
    ...part(route.query, 'query'),
    ...headers,
    ...(takesAccount ? [account] : []),
  ];
}

function errorNames(route: ApiRoute): string[] {
  const names = ['BadRequest', 'Unauthorized', 'Forbidden'];
  for (const error of route.errors) names.push(ERROR_RESPONSES[error]);
  // An operator may name an account that isn't there.
  if (route.access.startsWith('account')) names.push('NotFound');
  if (route.body !== null) names.push('TooLarge', 'UnsupportedMediaType');
  // Also what an address gets that fails to authenticate again and again.
  names.push('TooManyRequests', 'InternalError', 'Unavailable');
  return [...new Set(names)];
}

/** A success with this `data`, and its example where there is one. */
function enveloped(data: Node, example: unknown): Node {
  return {
    schema: {
      type: 'object',
      required: ['rid', 'code', 'msg', 'data'],
      properties: {
        rid: { type: 'string' },
        code: { type: 'integer', description: '0 on success.' },
        msg: { type: 'string' },
        data,
      },
    },
    ...(example === undefined
      ? {}
      : { example: { rid: EXAMPLE_RID, code: 0, msg: SUCCESS_MESSAGE, data: example } }),
  };
}

function operationOf(route: ApiRoute, components: Components): Node {
  const data = components.refer(route.data) as Node;
  const example = exampleOf(route.data);
  const isStream = route.stream !== undefined;
  const responses: Node = {
    '200': {
      description: isStream ? 'A stream; this is the `data` of a `webhook` message.' : 'Done.',
      headers: { 'x-request-id': { $ref: '#/components/headers/RequestId' } },
      content: isStream
        ? { 'text/event-stream': { schema: data, ...(example === undefined ? {} : { example }) } }
        : { 'application/json': enveloped(data, example) },
    },
  };
  for (const name of errorNames(route)) {
    const status = ERROR_KINDS[(RESPONSE_TEXTS[name] as { kind: ErrorKind }).kind].httpStatus;
    responses[status] = { $ref: `#/components/responses/${name}` };
  }
  const parameters = parametersOf(route, components);
  const bodyExample = route.body === null ? undefined : exampleOf(route.body);
  return {
    operationId: route.operationId,
    tags: [route.tag],
    summary: route.summary,
    description: [route.description, ACCESS_SENTENCES[route.access]]
      .filter((text) => text !== null)
      .join('\n\n'),
    security: [{ apiKey: [] }],
    ...(parameters.length === 0 ? {} : { parameters }),
    ...(route.body === null
      ? {}
      : {
          requestBody: {
            required: !route.bodyOptional,
            content: {
              'application/json': {
                schema: components.refer(route.body),
                ...(bodyExample === undefined ? {} : { example: bodyExample }),
              },
            },
          },
        }),
    responses,
  };
}

/** What load balancers and deployments ask, at the root and without a key. */
function readinessOperation(components: Components): Node {
  return {
    operationId: 'getReadiness',
    tags: ['System'],
    summary: 'Ask whether requests may be sent to this process',
    description:
      'Ready is a process that neither starts nor stops and whose database takes a commit. No key is needed.',
    security: [],
    responses: {
      '200': {
        description: 'Send it requests.',
        headers: { 'x-request-id': { $ref: '#/components/headers/RequestId' } },
        content: {
          'application/json': enveloped(components.refer(Readiness) as Node, exampleOf(Readiness)),
        },
      },
      '503': { $ref: '#/components/responses/Unavailable' },
    },
  };
}

const WEBHOOK_HEADERS: [name: string, description: string][] = [
  ['x-webhook-event', 'The event type.'],
  [
    'x-webhook-signature',
    'Lower-case hex HMAC-SHA256 of the raw body, keyed with the whole secret (`whsec_…`) as UTF-8 bytes.',
  ],
  ['webhook-id', 'The `event_id`: the same for every attempt and endpoint; drop what you have seen.'],
  ['webhook-timestamp', 'Unix seconds of this attempt.'],
  [
    'webhook-signature',
    'Standard Webhooks: `v1,<base64>` of HMAC-SHA256 over `id.timestamp.body`, keyed with the base64-decoded part of the secret; two of them, separated by a space, while a rotated secret overlaps.',
  ],
  ['user-agent', 'Names Posthorn and its version.'],
];

function webhookOf(type: EventType): Node {
  const body = {
    type: 'object',
    required: ['event_id', 'event', 'timestamp', 'data'],
    properties: {
      event_id: { type: 'string', description: 'The same for every endpoint, retry and replay.' },
      event: { type: 'string', const: type.name },
      timestamp: { type: 'integer', description: 'When it happened, unix seconds.' },
      data: type.schema,
    },
  };
  return {
    post: {
      operationId: `on_${type.name}`,
      tags: [type.category],
      summary: type.description,
      // What receivers check are the signatures; generators and linters ask for the absence of keys to be said.
      security: [],
      description: `Delivered to endpoints that subscribe to \`${type.name}\`. Verify a signature over the raw body before you trust it.`,
      ...(type.deprecated ? { deprecated: true } : {}),
      parameters: WEBHOOK_HEADERS.map(([name, description]) => ({
        name,
        in: 'header',
        required: true,
        description,
        schema: { type: 'string' },
      })),
      requestBody: {
        required: true,
        content: {
          'application/json': {
            schema: body,
            ...(type.example === null
              ? {}
              : {
                  example: {
                    event_id: 'evt_01kas4h3bq0000w3r8y0e6a1kd',
                    event: type.name,
                    timestamp: 1767225600,
                    data: type.example,
                  },
                }),
          },
        },
      },
      responses: {
        '2XX': { description: 'Received. Anything else is tried again on the retry schedule.' },
        '410': { description: 'Disables the endpoint: nothing is sent any more.' },
      },
    },
  };
}

function errorResponse(name: string): Node {
  const { kind, description, msg } = RESPONSE_TEXTS[name] as (typeof RESPONSE_TEXTS)[string];
  const waits = kind === 'rate_limited' || kind === 'unavailable';
  return {
    description,
    headers: {
      'x-request-id': { $ref: '#/components/headers/RequestId' },
      ...(waits ? { 'retry-after': { $ref: '#/components/headers/RetryAfter' } } : {}),
    },
    content: {
      'application/json': {
        schema: { $ref: '#/components/schemas/Error' },
        example: { rid: EXAMPLE_RID, code: ERROR_KINDS[kind].code, msg, data: null },
      },
    },
  };
}

/** `/endpoint/:endpoint_id` → `/endpoint/{endpoint_id}`. */
function templated(path: string): string {
  return path.replaceAll(/:(\w+)/g, '{$1}');
}

/**
 * Answers the document of the service as it is now, and builds it anew only when the catalogue has changed: it takes
 * milliseconds and everybody may ask for it.
 */
export function openApiDocument(
  deps: Pick<ApiDeps, 'catalogue' | 'version'>,
  listed: { routes: readonly ApiRoute[]; v1: readonly ApiRoute[] },
): () => { document: object; text: string } {
  let builtFrom: EventType[] = [];
  let built: { document: object; text: string } | null = null;
  return () => {
    const types = deps.catalogue.list();
    const same = types.length === builtFrom.length && types.every((type, i) => type === builtFrom[i]);
    if (built === null || !same) {
      const document = buildOpenApi(deps, listed);
      built = { document, text: JSON.stringify(document) };
      builtFrom = types;
    }
    return built;
  };
}

/**
 * The document of the service as it is now: the routes of `/v2` and those of v1 that v2 doesn't have, and one webhook
 * an event type of the catalogue.
 */
export function buildOpenApi(
  { catalogue, version }: Pick<ApiDeps, 'catalogue' | 'version'>,
  listed: { routes: readonly ApiRoute[]; v1: readonly ApiRoute[] },
): Node {
  const components = new Components();
  const paths: Record<string, Node> = {};
  for (const [prefix, routes] of [
    ['/v2', listed.routes],
    ['/v1', listed.v1],
  ] as const) {
    for (const route of routes) {
      const path = prefix + templated(route.path);
      paths[path] ??= {};
      (paths[path] as Node)[route.method.toLowerCase()] = operationOf(route, components);
    }
  }
  paths['/readyz'] = { get: readinessOperation(components) };
  components.add('Error', {
    type: 'object',
    required: ['rid', 'code', 'msg', 'data'],
    properties: {
      rid: { type: 'string' },
      code: {
        type: 'integer',
        description:
          '10104 not found, 10105 invalid API key, 18025 not allowed, 40000 parameter error, 429 rate limit, 50000 system error.',
      },
      msg: { type: 'string', description: 'What was wrong, where, and what to do.' },
      data: { type: 'null' },
    },
  });
  const types = catalogue.list();
  const categories = [...new Set(types.map((type) => type.category))];
  const tagged = new Set(TAGS.map(([name]) => name));
  return {
    openapi: '3.1.1',
    info: {
      title: 'Posthorn',
      version,
      description: DESCRIPTION,
      license: { name: 'Apache-2.0', identifier: 'Apache-2.0' },
    },
    servers: [{ url: '/', description: 'This server.' }],
    tags: [
      ...TAGS.map(([name, description]) => ({ name, description })),
      ...categories
        .filter((name) => !tagged.has(name))
        .map((name) => ({ name, description: `Webhooks of the category ${name}.` })),
    ],
    paths,
    webhooks: Object.fromEntries(types.map((type) => [type.name, webhookOf(type)])),
    components: {
      schemas: components.schemas,
      securitySchemes: {
        apiKey: { type: 'apiKey', in: 'header', name: 'x-api-key', description: 'An API key, `ph_…`.' },
      },
      parameters: {
        Account: {
          name: 'x-account',
          in: 'header',
          required: false,
          description: 'For operator keys: the username of the account to act for.',
          schema: { type: 'string' },
        },
      },
      headers: {
        RequestId: header('The request id, as in `rid`.', 'string'),
        RetryAfter: header('In how many seconds to try again.', 'integer'),
      },
      responses: Object.fromEntries(Object.keys(RESPONSE_TEXTS).map((name) => [name, errorResponse(name)])),
    },
  };
}
