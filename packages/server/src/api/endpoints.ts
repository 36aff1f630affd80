/** Endpoints: where an account wants its events, which ones, and the secret that signs them. */
import { type Static, Type } from './schema.ts';

import { idFactory, toSeconds } from '../clock.ts';
import { checkEndpointUrl } from '../delivery/address-guard.ts';
import { createSecret } from '../delivery/sign.ts';
import { isTestReceiver } from '../delivery/test-receiver.ts';
import { invalid, notFound } from '../errors.ts';
import type { Endpoint, EndpointChanges } from '../model.ts';
import { type Vault, endpointHeadersContext, endpointSecretContext } from '../secrets.ts';
import { checkCustomHeaders } from './custom-headers.ts';
import type { ApiDeps } from './deps.ts';
import { type ApiRoute, pathParams, route } from './route.ts';
import { EventTypeName, Message, Metadata, NullableMetadata, UnixSeconds, checkMetadata } from './shapes.ts';
import { quoted } from './validate.ts';

const DEFAULT_OVERLAP_SECONDS = 86_400;
const MAX_OVERLAP_SECONDS = 604_800;

const StatusShape = Type.Enum(['enabled', 'disabled'], {
  description: 'A disabled endpoint gets nothing; what is published meanwhile comes only by a replay.',
});

const Headers = Type.Unsafe<Record<string, string>>({
  type: 'object',
  additionalProperties: { type: 'string' },
  description: 'Up to 20 headers of its own on each delivery.',
  examples: [{ 'x-team': 'video' }],
});

export const EndpointShape = Type.Object(
  {
    endpoint_id: Type.String({ examples: ['wh_01kas4h3bq0000w3r8y0e6a1kd'] }),
    url: Type.String({ description: 'Exactly as it was sent.', examples: ['https://example.com/webhooks'] }),
    secret: Type.String({
      description: 'Signs the deliveries: the whole text keys `x-webhook-signature`.',
      examples: ['whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw'],
    }),
    status: StatusShape,
    events: Type.Array(EventTypeName, { description: 'The event types it gets.' }),
    username: Type.String({ description: 'The account it belongs to.', examples: ['alice'] }),
    created_at: UnixSeconds('When it was added.'),
    description: Type.Optional(Type.String({ examples: ['production'] })),
    metadata: Type.Optional(Metadata),
    headers: Type.Optional(Headers),
    rate_limit_per_second: Type.Optional(Type.Number({ examples: [10] })),
    timeout_seconds: Type.Optional(Type.Integer({ examples: [10] })),
    disabled_reason: Type.Optional(
      Type.String({
        description: 'Why the service disabled it.',
        examples: ['the receiver answered 410 Gone'],
      }),
    ),
    previous_secret_expires_at: Type.Optional(
      UnixSeconds('Until then deliveries are signed with the previous secret, too.'),
    ),
  },
  { title: 'Endpoint' },
);

const endpointFields = {
  url: Type.String({
    minLength: 1,
    description: 'Absolute, `https` and publicly routable; at most 2048 bytes.',
  }),
  events: Type.Array(EventTypeName, {
    minItems: 1,
    description: 'Names of the catalogue; repeats count once.',
  }),
};

const AddEndpoint = Type.Object(
  {
    url: endpointFields.url,
    events: endpointFields.events,
    status: Type.Optional(StatusShape),
    description: Type.Optional(Type.String({ maxLength: 500 })),
    metadata: Type.Optional(Metadata),
    headers: Type.Optional(Headers),
    rate_limit_per_second: Type.Optional(
      Type.Number({ minimum: 0.01, maximum: 10_000, description: 'Attempts a second at most.' }),
    ),
    timeout_seconds: Type.Optional(
      Type.Integer({
        minimum: 1,
        maximum: 30,
        description: 'Time an attempt has in all; the default is the server’s.',
      }),
    ),
  },
  {
    additionalProperties: false,
    examples: [
      {
        url: 'https://example.com/webhooks',
        events: ['generated_video_success', 'generated_video_failed'],
        status: 'enabled',
      },
    ],
  },
);

const UpdateEndpoint = Type.Object(
  {
    url: Type.Optional(endpointFields.url),
    events: Type.Optional(endpointFields.events),
    status: Type.Optional(StatusShape),
    description: Type.Optional(Type.Unsafe<string | null>({ type: ['string', 'null'], maxLength: 500 })),
    metadata: Type.Optional(NullableMetadata),
    headers: Type.Optional(
      Type.Unsafe<Record<string, string> | null>({ ...Headers, type: ['object', 'null'] }),
    ),
    rate_limit_per_second: Type.Optional(
      Type.Unsafe<number | null>({ type: ['number', 'null'], minimum: 0.01, maximum: 10_000 }),
    ),
    timeout_seconds: Type.Optional(
      Type.Unsafe<number | null>({ type: ['integer', 'null'], minimum: 1, maximum: 30 }),
    ),
  },
  { additionalProperties: false, minProperties: 1, examples: [{ status: 'disabled' }] },
);

/** An endpoint as its owner sees it, secret and headers opened; what isn't set is absent. */
export function endpointShape(endpoint: Endpoint, vault: Vault): Static<typeof EndpointShape> {
  const { endpointId } = endpoint;
  const shape: Static<typeof EndpointShape> = {
    endpoint_id: endpointId,
    url: endpoint.url,
    secret: vault.open(endpoint.secret, endpointSecretContext(endpointId)),
    status: endpoint.status,
    events: endpoint.events,
    username: endpoint.username,
    created_at: toSeconds(endpoint.createdAt),
  };
  if (endpoint.description !== null) shape.description = endpoint.description;
  if (endpoint.metadata !== null) shape.metadata = endpoint.metadata;
  if (endpoint.headers !== null) {
    shape.headers = JSON.parse(vault.open(endpoint.headers, endpointHeadersContext(endpointId)));
  }
  if (endpoint.rateLimitPerSecond !== null) shape.rate_limit_per_second = endpoint.rateLimitPerSecond;
  if (endpoint.timeoutMs !== null) shape.timeout_seconds = endpoint.timeoutMs / 1000;
  if (endpoint.disabledReason !== null) shape.disabled_reason = endpoint.disabledReason;
  if (endpoint.previousSecretExpiresAt !== null) {
    shape.previous_secret_expires_at = toSeconds(endpoint.previousSecretExpiresAt);
  }
  return shape;
}

export function endpointRoutes(deps: ApiDeps): ApiRoute[] {
  const { store, catalogue, vault, delivery, clock, settings } = deps;
  const makeId = idFactory();
  const params = pathParams('endpoint_id');

  async function knownEvents(events: readonly string[]): Promise<string[]> {
    await catalogue.lookFor(events);
    for (const [i, event] of events.entries()) {
      if (!catalogue.has(event)) {
        throw invalid(
          'events',
          `events[${i}] ${quoted(event)} is not a known event type; GET /v2/events lists them`,
        );
      }
    }
    return [...new Set(events)];
  }

  function checkUrl(url: string): void {
    if (!isTestReceiver(url)) checkEndpointUrl(url, settings.endpointPolicy, settings.allow);
  }

  function sealHeaders(headers: Record<string, string>, endpointId: string): string | null {
    checkCustomHeaders(headers);
    if (Object.keys(headers).length === 0) return null;
    return vault.seal(JSON.stringify(headers), endpointHeadersContext(endpointId));
  }

  return [
    route({
      method: 'GET',
      path: '/endpoints',
      access: 'account',
      operationId: 'listEndpoints',
      tag: 'Endpoints',
      summary: "List the account's endpoints, oldest first",
      data: Type.Object({ endpoints: Type.Array(EndpointShape) }),
      async handle({ username }) {
        const endpoints = await store.listEndpoints(username);
        return { endpoints: endpoints.map((endpoint) => endpointShape(endpoint, vault)) };
      },
    }),
    route({
      method: 'POST',
      path: '/endpoint',
      access: 'account',
      operationId: 'addEndpoint',
      tag: 'Endpoints',
      summary: 'Add an endpoint',
      description:
        'The secret is made by Posthorn. An account has at most 20 endpoints, unless the operator set another limit.',
      body: AddEndpoint,
      data: EndpointShape,
      async handle({ username, body, by }) {
        checkUrl(body.url);
        const events = await knownEvents(body.events);
        checkMetadata(body.metadata);
        const endpointId = makeId('wh', clock.now());
        const endpoint = await store.as(by).addEndpoint(
          {
            endpointId,
            username,
            url: body.url,
            events,
            status: body.status ?? 'enabled',
            secret: vault.seal(createSecret(), endpointSecretContext(endpointId)),
            description: body.description ?? null,
            metadata: body.metadata ?? null,
            headers: body.headers === undefined ? null : sealHeaders(body.headers, endpointId),
            rateLimitPerSecond: body.rate_limit_per_second ?? null,
            timeoutMs: body.timeout_seconds === undefined ? null : body.timeout_seconds * 1000,
          },
          settings.maxEndpoints,
        );
        return endpointShape(endpoint, vault);
      },
    }),
    route({
      method: 'GET',
      path: '/endpoint/:endpoint_id',
      access: 'account',
      operationId: 'getEndpoint',
      tag: 'Endpoints',
      summary: 'Show an endpoint',
      params,
      data: EndpointShape,
      errors: ['not_found'],
      async handle({ username, params: { endpoint_id: endpointId } }) {
        const endpoint = await store.getEndpoint(username, endpointId);
        if (endpoint === null) throw notFound('endpoint', endpointId);
        return endpointShape(endpoint, vault);
      },
    }),
    route({
      method: 'PUT',
      path: '/endpoint/:endpoint_id',
      access: 'account',
      operationId: 'updateEndpoint',
      tag: 'Endpoints',
      summary: 'Update an endpoint',
      description:
        'What is present replaces the stored value; null takes an optional one away. It holds for every attempt that starts after the answer. The secret is changed by rotate_secret only.',
      params,
      body: UpdateEndpoint,
      data: EndpointShape,
      errors: ['not_found'],
      async handle({ username, params: { endpoint_id: endpointId }, body, by }) {
        const changes: EndpointChanges = {};
        if (body.url !== undefined) {
          checkUrl(body.url);
          changes.url = body.url;
        }
        if (body.events !== undefined) changes.events = await knownEvents(body.events);
        if (body.status !== undefined) changes.status = body.status;
        if (body.description !== undefined) changes.description = body.description;
        if (body.metadata !== undefined) {
          checkMetadata(body.metadata);
          changes.metadata = body.metadata;
        }
        if (body.headers !== undefined) {
          changes.headers = body.headers === null ? null : sealHeaders(body.headers, endpointId);
        }
        if (body.rate_limit_per_second !== undefined) changes.rateLimitPerSecond = body.rate_limit_per_second;
        if (body.timeout_seconds !== undefined) {
          changes.timeoutMs = body.timeout_seconds === null ? null : body.timeout_seconds * 1000;
        }
        const endpoint = await store.as(by).updateEndpoint(username, endpointId, changes);
        if (endpoint === null) throw notFound('endpoint', endpointId);
        delivery.endpointChanged(endpointId);
        return endpointShape(endpoint, vault);
      },
    }),
    route({
      method: 'DELETE',
      path: '/endpoint/:endpoint_id',
      access: 'account',
      operationId: 'deleteEndpoint',
      tag: 'Endpoints',
      summary: 'Delete an endpoint',
      description: 'No attempt starts after the answer; what waited for it ends as cancelled.',
      params,
      data: Message,
      errors: ['not_found'],
      async handle({ username, params: { endpoint_id: endpointId }, by }) {
        if (!(await store.as(by).deleteEndpoint(username, endpointId)))
          throw notFound('endpoint', endpointId);
        delivery.endpointChanged(endpointId);
        return { message: 'webhook deleted' };
      },
    }),
    route({
      method: 'POST',
      path: '/endpoint/:endpoint_id/rotate_secret',
      access: 'account',
      operationId: 'rotateSecret',
      tag: 'Endpoints',
      summary: 'Give an endpoint a new secret',
      description:
        'During the overlap `webhook-signature` carries both secrets’ signatures, `x-webhook-signature` the new one’s.',
      params,
      body: Type.Object(
        {
          overlap_seconds: Type.Optional(
            Type.Integer({ minimum: 0, maximum: MAX_OVERLAP_SECONDS, default: DEFAULT_OVERLAP_SECONDS }),
          ),
        },
        { additionalProperties: false, examples: [{ overlap_seconds: DEFAULT_OVERLAP_SECONDS }] },
      ),
      bodyOptional: true,
      data: EndpointShape,
      errors: ['not_found'],
      async handle({ username, params: { endpoint_id: endpointId }, body, by }) {
        const overlapMs = (body.overlap_seconds ?? DEFAULT_OVERLAP_SECONDS) * 1000;
        const endpoint = await store
          .as(by)
          .rotateSecret(
            username,
            endpointId,
            vault.seal(createSecret(), endpointSecretContext(endpointId)),
            overlapMs === 0 ? null : clock.now() + overlapMs,
          );
        if (endpoint === null) throw notFound('endpoint', endpointId);
        delivery.endpointChanged(endpointId);
        return endpointShape(endpoint, vault);
      },
    }),
  ];
}
