/**
 * Drives every operation of the served OpenAPI document with requests that fit, nearly fit and don't fit at all, and
 * judges each answer. What it knows of the API it reads from that document: a route that is added is driven by itself.
 */
import assert from 'node:assert/strict';
import type { InjectOptions } from 'fastify';

import { checkEnvelope, type TestApp } from '../support/app.ts';
import {
  bodyBytes,
  fitting,
  HOSTILE_TEXTS,
  hostileValue,
  mutated,
  pick,
  type Random,
  type SchemaNode,
  whole,
} from './values.ts';

interface Parameter {
  name: string;
  in: 'path' | 'query' | 'header';
  required: boolean;
  schema: SchemaNode;
}

interface Operation {
  operationId: string;
  method: string;
  path: string;
  parameters: Parameter[];
  body: SchemaNode | null;
  statuses: ReadonlySet<number>;
  isStream: boolean;
}

interface Document {
  paths: Record<string, Record<string, RawOperation>>;
  components: { schemas: Record<string, SchemaNode>; parameters: Record<string, Parameter> };
}

interface RawOperation {
  operationId: string;
  parameters?: (Parameter | { $ref: string })[];
  requestBody?: { content: Record<string, { schema: SchemaNode }> };
  responses: Record<string, { content?: Record<string, unknown> }>;
}

/** Who sends: their keys, and what they know of ids. */
export interface Sender {
  /** One is picked a request; null sends none. */
  keys: readonly (string | null)[];
  /** Names for `x-account`, and how often one is sent (0 to 1). */
  accounts: readonly string[];
  accountShare: number;
  /** Ids by the name of their field that are somebody else's: named in a third of the places for one. */
  foreignIds: Readonly<Record<string, string>>;
  /** Texts that no answer to this sender may contain. */
  forbidden: readonly string[];
  /** Sent with every request, such as the cookie of a session. */
  headers?: Readonly<Record<string, string>>;
  /** Ids of these keys: never named, or the sender would soon have revoked what it sends with. */
  keyIds: readonly string[];
}

/** What came of a run. */
export interface Tally {
  requests: number;
  /** Requests by HTTP status. */
  statuses: Map<number, number>;
  /** By operation, how often it was driven and how often it succeeded. */
  operations: Map<string, { driven: number; succeeded: number }>;
}

const MAX_IDS = 60;
/** The document names an example of a type; most of the time a real one is sent. */
const REAL_TYPES = ['generated_video_success', 'generated_script_success', 'order.paid', 'wildly.unknown'];

/**
 * A fuzzer of one app. The same seed sends the same requests to the same answers.
 *
 * @example
 * const fuzzer = await Fuzzer.of(api, seeded(7));
 * await fuzzer.drive(500, { keys: [alice.key], accounts: [], forbidden: [bob.key] });
 */
export class Fuzzer {
  readonly tally: Tally = { requests: 0, statuses: new Map(), operations: new Map() };
  readonly operations: readonly Operation[];
  readonly #api: TestApp;
  readonly #random: Random;
  readonly #schemas: Record<string, SchemaNode>;
  /** Values that answers have shown, by the name of their field: ids, cursors. */
  readonly #seen = new Map<string, string[]>();
  #foreignIds: Sender['foreignIds'] = {};
  #turn = 0;

  private constructor(api: TestApp, random: Random, document: Document) {
    this.#api = api;
    this.#random = random;
    this.#schemas = document.components.schemas;
    this.operations = operationsOf(document);
  }

  static async of(api: TestApp, random: Random): Promise<Fuzzer> {
    const answer = await api.app.inject({ url: '/openapi.json' });
    return new Fuzzer(api, random, answer.json<Document>());
  }

  /** Adds what a sender may know or guess: values for the fields and parameters of that name. */
  learn(name: string, ...values: string[]): void {
    const known = this.#seen.get(name) ?? [];
    for (const value of values) if (!known.includes(value)) known.push(value);
    this.#seen.set(name, known.slice(-MAX_IDS));
  }

  /**
   * Sends requests one after another and judges every answer.
   *
   * @throws AssertionError that quotes the request
   */
  async drive(requests: number, sender: Sender): Promise<void> {
    const { operations } = this;
    this.#foreignIds = sender.foreignIds;
    for (let i = 0; i < requests; ) {
      // In turns, so that each is driven however few there are.
      const operation = operations[this.#turn++ % operations.length] as Operation;
      // Less often, or nothing would be left to speak of.
      if (operation.method === 'delete' && this.#turn > operations.length && this.#random() < 0.8) continue;
      await this.#one(operation, sender);
      i += 1;
    }
  }

  async #one(operation: Operation, sender: Sender): Promise<void> {
    const request = this.#request(operation, sender);
    const said = `${request.method} ${request.url} ${JSON.stringify(request.headers)} ${String(request.payload)}`;
    try {
      await this.#send(operation, request, sender);
    } catch (error) {
      throw new Error(`${operation.operationId}, request ${this.tally.requests}: ${said.slice(0, 3000)}`, {
        cause: error,
      });
    }
  }

  async #send(operation: Operation, request: InjectOptions, sender: Sender): Promise<void> {
    const { tally } = this;
    tally.requests += 1;
    const counts = tally.operations.get(operation.operationId) ?? { driven: 0, succeeded: 0 };
    counts.driven += 1;
    tally.operations.set(operation.operationId, counts);

    const answer = await this.#api.app.inject({ ...request, payloadAsStream: true });
    const { statusCode: status, headers } = answer;
    tally.statuses.set(status, (tally.statuses.get(status) ?? 0) + 1);
    if (status === 200) counts.succeeded += 1;
    const path = String(request.url).split('?', 1)[0] as string;
    const named = Object.values(sender.foreignIds).find((id) => path.includes(id));
    assert.ok(named === undefined || status !== 200, `answers for ${named}, which isn't the sender's`);
    assert.ok(status < 500, `HTTP ${status}`);
    const stream = answer.stream();
    if (String(headers['content-type']).startsWith('text/event-stream')) {
      assert.ok(operation.isStream);
      stream.destroy();
      return;
    }
    const chunks: Buffer[] = [];
    for await (const chunk of stream) chunks.push(chunk as Buffer);
    const text = Buffer.concat(chunks).toString();
    const { code, msg, data } = checkEnvelope(text, headers as Record<string, string>);

    assert.ok(operation.statuses.has(status) || isOfTheTransport(status), `HTTP ${status} isn't documented`);
    assert.ok(code === 0 ? status === 200 : data !== null || status >= 400, text);
    if (code === 40000 && status === 400)
      assert.match(msg, this.#parts(operation, request), 'names what was wrong');
    if (status === 429 || status === 503) assert.match(String(headers['retry-after']), /^\d+$/);
    for (const secret of sender.forbidden) assert.ok(!text.includes(secret), `shows ${secret}: ${text}`);
    if (data !== null) this.#remember(data, sender);
  }

  /** What a refusal may name: a parameter of the operation, a field of its body, or a part of the request. */
  #parts(operation: Operation, request: InjectOptions): RegExp {
    const names = operation.parameters.map(({ name }) => name);
    const fields = operation.body === null ? [] : this.#fields(operation.body);
    const sent = Object.keys(request.headers ?? {});
    const parts = [
      ...names,
      ...fields,
      ...sent,
      'body',
      'query',
      'path',
      'JSON',
      'UTF-8',
      'cursor',
      'events were refused',
      'POSTHORN_',
      'endpoint',
      'built in',
      'at /',
    ];
    return new RegExp(parts.map((part) => part.replaceAll(/[^\w-]/g, '.')).join('|'));
  }

  #fields(schema: SchemaNode): string[] {
    if (schema.$ref !== undefined) return this.#fields(this.#resolve(schema.$ref));
    return [
      ...Object.keys(schema.properties ?? {}),
      ...(schema.anyOf ?? schema.oneOf ?? []).flatMap((choice) => this.#fields(choice)),
    ];
  }

  #resolve = (ref: string): SchemaNode => {
    const name = ref.split('/').at(-1) as string;
    return this.#schemas[name] as SchemaNode;
  };

  #known = (name: string): unknown => {
    const foreign = this.#foreignIds[name];
    if (foreign !== undefined && this.#random() < 0.33) return foreign;
    if (name === 'event' || name === 'events') {
      const type = pick(this.#random, REAL_TYPES);
      return name === 'event' ? type : undefined;
    }
    const values = this.#seen.get(name === 'endpoint_ids' ? 'endpoint_id' : name);
    return values === undefined || this.#random() < 0.15 ? undefined : pick(this.#random, values);
  };

  #request(operation: Operation, sender: Sender): InjectOptions {
    const random = this.#random;
    const key =
      random() < 0.03 ? pick(random, ['', 'ph_x', 'ключ', 'x'.repeat(600)]) : pick(random, sender.keys);
    const headers: Record<string, string> = { ...sender.headers };
    if (key !== null) headers['x-api-key'] = Buffer.from(key).toString('latin1');
    if (random() < sender.accountShare) headers['x-account'] = pick(random, sender.accounts);

    let path = operation.path;
    const query: string[] = [];
    for (const parameter of operation.parameters) {
      if (parameter.in === 'path') path = path.replace(`{${parameter.name}}`, this.#pathValue(parameter));
      else if (parameter.in === 'query' && (parameter.required || random() < 0.4)) {
        query.push(...this.#queryValues(parameter));
      } else if (parameter.in === 'header' && random() < (parameter.name === 'x-account' ? 0.02 : 0.3)) {
        headers[parameter.name] = pick(random, HOSTILE_TEXTS)
          .replaceAll(/[^\x20-\x7e]/g, '?')
          .slice(0, 300);
      }
    }
    if (random() < 0.03) query.push(`${encode(pick(random, HOSTILE_TEXTS))}=1`);
    if (random() < 0.05) path = path.replace('/v2/', '/open/v2/');

    const request: InjectOptions = {
      method: operation.method.toUpperCase() as NonNullable<InjectOptions['method']>,
      url: query.length === 0 ? path : `${path}?${query.join('&')}`,
      headers,
      // Failed authentications are counted by address, which isn't what this is about.
      remoteAddress: `127.${whole(random, 0, 255)}.${whole(random, 0, 255)}.${whole(random, 1, 254)}`,
    };
    if (operation.body !== null && random() > 0.02) {
      headers['content-type'] = random() < 0.02 ? 'text/plain' : 'application/json';
      request.payload = bodyBytes(random, this.#body(operation.body));
    }
    return request;
  }

  #body(schema: SchemaNode): unknown {
    const random = this.#random;
    const kind = random();
    if (kind < 0.05) return hostileValue(random);
    const value = fitting(random, schema, this.#resolve, this.#known);
    if (kind < 0.5) return value;
    const once = mutated(random, value);
    return kind < 0.9 ? once : mutated(random, once);
  }

  #pathValue({ name, schema }: Parameter): string {
    const random = this.#random;
    if (random() < 0.12) return encode(pick(random, HOSTILE_TEXTS)) || '%20';
    if (random() < 0.01) return '%ff%';
    return (
      encode(String(this.#known(name) ?? fitting(random, schema, this.#resolve, this.#known, name))) || 'x'
    );
  }

  #queryValues({ name, schema }: Parameter): string[] {
    const random = this.#random;
    const kind = random();
    if (kind < 0.2) return [`${name}=${encode(pick(random, HOSTILE_TEXTS))}`];
    const value = `${name}=${encode(String(fitting(random, schema, this.#resolve, this.#known, name)))}`;
    return kind < 0.25 ? [value, value] : [value];
  }

  #remember(data: unknown, sender: Sender): void {
    if (Array.isArray(data)) for (const item of data.slice(0, 5)) this.#remember(item, sender);
    if (typeof data !== 'object' || data === null) return;
    for (const [name, value] of Object.entries(data)) {
      if (typeof value === 'string' && /_id$|^next_cursor$/.test(name)) {
        if (!sender.keyIds.includes(value)) this.learn(name === 'next_cursor' ? 'cursor' : name, value);
      } else if (typeof value === 'object') this.#remember(value, sender);
    }
  }
}

/** What a server or its framework may always answer: a path that can't be read, headers that are too large. */
function isOfTheTransport(status: number): boolean {
  return status === 404 || status === 414 || status === 431;
}

function encode(text: string): string {
  return encodeURIComponent(text.toWellFormed());
}

function operationsOf(document: Document): Operation[] {
  const operations: Operation[] = [];
  for (const [path, methods] of Object.entries(document.paths)) {
    for (const [method, raw] of Object.entries(methods)) {
      const content = Object.keys(raw.responses['200']?.content ?? {});
      operations.push({
        operationId: raw.operationId,
        method,
        path,
        parameters: (raw.parameters ?? []).map((parameter) =>
          '$ref' in parameter
            ? (document.components.parameters[parameter.$ref.split('/').at(-1) as string] as Parameter)
            : parameter,
        ),
        body: raw.requestBody?.content['application/json']?.schema ?? null,
        statuses: new Set(Object.keys(raw.responses).map(Number)),
        isStream: content.includes('text/event-stream'),
      });
    }
  }
  return operations;
}
