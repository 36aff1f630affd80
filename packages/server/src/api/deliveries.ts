/** Deliveries: what became of each event for each endpoint. */
import { type Static, Type } from './schema.ts';

import { toSeconds } from '../clock.ts';
import { PosthornError, notFound } from '../errors.ts';
import { ATTEMPT_OUTCOMES, type Attempt, type Delivery, type DeliveryDetail } from '../model.ts';
import type { ApiDeps } from './deps.ts';
import { PartialFailure, SUCCESS_MESSAGE } from './envelope.ts';
import { eventFilterFields, eventFilterOf } from './event-filter.ts';
import { type ApiRoute, pathParams, route } from './route.ts';
import {
  EventTypeName,
  NextCursor,
  NullableSeconds,
  NullableText,
  UnixSeconds,
  pageFields,
  pageOf,
} from './shapes.ts';

/** A page of the list. */
const MAX_RETRIES = 200;

const DeliveryStatusShape = Type.Enum(['pending', 'delivered', 'dead', 'cancelled']);

const HeaderMap = Type.Unsafe<Record<string, string>>({
  type: 'object',
  additionalProperties: { type: 'string' },
  examples: [{ 'content-type': 'application/json' }],
});

const deliveryFields = {
  delivery_id: Type.String({ examples: ['dlv_01kas4h3bq0001w3r8y0e6a1kd'] }),
  event_id: Type.String({ examples: ['evt_01kas4h3bq0000w3r8y0e6a1kd'] }),
  event: EventTypeName,
  endpoint_id: Type.String({ examples: ['wh_01kas4h3bq0000w3r8y0e6a1kd'] }),
  status: DeliveryStatusShape,
  status_reason: NullableText('Why it is what it is, where there is something to say.', 'endpoint deleted'),
  attempts: Type.Integer({ minimum: 0, description: 'Attempts made so far.', examples: [1] }),
  created_at: UnixSeconds('When it was made.'),
  next_attempt_at: NullableSeconds('When the next attempt is due; null when it is finished.'),
  completed_at: NullableSeconds('When it was finished; null while it is pending.'),
};

export const DeliveryShape = Type.Object(deliveryFields, { title: 'Delivery' });

const AttemptShape = Type.Object(
  {
    number: Type.Integer({ minimum: 1, examples: [1] }),
    started_at: UnixSeconds('When it started.'),
    duration_ms: Type.Integer({ minimum: 0, examples: [84] }),
    outcome: Type.Enum([...ATTEMPT_OUTCOMES]),
    http_status: Type.Unsafe<number | null>({ type: ['integer', 'null'], examples: [200] }),
    error: NullableText('What failed, in a sentence; null on success.', null),
    response: Type.Unsafe<{
      headers: Record<string, string>;
      body: string | null;
      truncated: boolean;
    } | null>({
      type: ['object', 'null'],
      description:
        'What the receiver answered; null when nothing came. `truncated`: it was longer than what is kept.',
      properties: {
        headers: HeaderMap,
        body: { type: ['string', 'null'] },
        truncated: { type: 'boolean' },
      },
      required: ['headers', 'body', 'truncated'],
      examples: [{ headers: { 'content-type': 'text/plain' }, body: 'ok', truncated: false }],
    }),
    manual: Type.Boolean({ description: 'Asked for by a person (retry, replay, test).' }),
  },
  { title: 'Attempt' },
);

const DeliveryDetailShape = Type.Object(
  {
    ...deliveryFields,
    url: Type.String({ examples: ['https://example.com/webhooks'] }),
    request: Type.Object({
      headers: Type.Unsafe<Record<string, string>>({
        ...HeaderMap,
        description: 'As the last attempt sent them, secrets masked; empty before the first.',
      }),
      body: Type.String({
        description: 'The exact text that is signed and sent.',
        examples: [
          '{"event_id":"evt_01kas4h3bq0000w3r8y0e6a1kd","event":"order.paid","timestamp":1767225600,"data":{}}',
        ],
      }),
    }),
    attempt_log: Type.Array(AttemptShape, { description: 'Oldest first.' }),
  },
  { title: 'DeliveryDetail' },
);

function nullableSeconds(ms: number | null): number | null {
  return ms === null ? null : toSeconds(ms);
}

export function deliveryShape(delivery: Delivery): Static<typeof DeliveryShape> {
  return {
    delivery_id: delivery.deliveryId,
    event_id: delivery.eventId,
    event: delivery.event,
    endpoint_id: delivery.endpointId,
    status: delivery.status,
    status_reason: delivery.statusReason,
    attempts: delivery.attempts,
    created_at: toSeconds(delivery.createdAt),
    next_attempt_at: nullableSeconds(delivery.nextAttemptAt),
    completed_at: nullableSeconds(delivery.completedAt),
  };
}

function attemptShape(attempt: Attempt): Static<typeof AttemptShape> {
  const { httpStatus, responseHeaders, responseBody } = attempt;
  const answered = httpStatus !== null || responseHeaders !== null || responseBody !== null;
  return {
    number: attempt.number,
    started_at: toSeconds(attempt.startedAt),
    duration_ms: Math.round(attempt.durationMs),
    outcome: attempt.outcome,
    http_status: httpStatus,
    error: attempt.error,
    response: answered
      ? { headers: responseHeaders ?? {}, body: responseBody, truncated: attempt.responseTruncated }
      : null,
    manual: attempt.manual,
  };
}

function detailShape(delivery: DeliveryDetail): Static<typeof DeliveryDetailShape> {
  return {
    ...deliveryShape(delivery),
    url: delivery.url,
    request: { headers: delivery.attemptLog.at(-1)?.requestHeaders ?? {}, body: delivery.body },
    attempt_log: delivery.attemptLog.map(attemptShape),
  };
}

export function deliveryRoutes({ store, delivery: dispatcher }: ApiDeps): ApiRoute[] {
  const params = pathParams('delivery_id');
  return [
    route({
      method: 'GET',
      path: '/deliveries',
      access: 'account',
      operationId: 'listDeliveries',
      tag: 'Deliveries',
      summary: 'List deliveries, newest first',
      query: Type.Object(
        {
          status: Type.Optional(DeliveryStatusShape),
          endpoint_id: Type.Optional(Type.String({ maxLength: 128, description: 'Only to this endpoint.' })),
          ...eventFilterFields,
          ...pageFields,
        },
        { additionalProperties: false },
      ),
      data: Type.Object({ deliveries: Type.Array(DeliveryShape), next_cursor: NextCursor }),
      async handle({ username, query }) {
        const { status, endpoint_id: endpointId } = query;
        const filter = { status, endpointId, ...eventFilterOf(query) };
        const page = await store.listDeliveries(username, filter, pageOf(query));
        return { deliveries: page.items.map(deliveryShape), next_cursor: page.nextCursor };
      },
    }),
    route({
      method: 'GET',
      path: '/delivery/:delivery_id',
      access: 'account',
      operationId: 'getDelivery',
      tag: 'Deliveries',
      summary: 'Show a delivery with its attempts',
      params,
      data: DeliveryDetailShape,
      errors: ['not_found'],
      async handle({ username, params: { delivery_id: deliveryId } }) {
        const delivery = await store.getDelivery(username, deliveryId);
        if (delivery === null) throw notFound('delivery', deliveryId);
        return detailShape(delivery);
      },
    }),
    route({
      method: 'POST',
      path: '/delivery/:delivery_id/retry',
      access: 'account',
      operationId: 'retryDelivery',
      tag: 'Deliveries',
      summary: 'Attempt a delivery now',
      description:
        'Also while it waits for its next attempt. A finished one begins its schedule anew; the receiver sees the same event_id again. Refused while the endpoint is disabled.',
      params,
      data: DeliveryShape,
      errors: ['not_found'],
      async handle({ username, params: { delivery_id: deliveryId }, by }) {
        const delivery = await store.as(by).retryDelivery(username, deliveryId);
        if (delivery === null) throw notFound('delivery', deliveryId);
        dispatcher.wake();
        return deliveryShape(delivery);
      },
    }),
    route({
      method: 'POST',
      path: '/deliveries/retry',
      access: 'account',
      operationId: 'retryDeliveries',
      tag: 'Deliveries',
      summary: 'Attempt many deliveries now',
      description:
        'Each as `POST /v2/delivery/{delivery_id}/retry` does, and each stands alone: what is refused of some is said beside them.',
      body: Type.Object(
        {
          delivery_ids: Type.Array(Type.String({ maxLength: 128 }), {
            minItems: 1,
            maxItems: MAX_RETRIES,
            examples: [['dlv_01kas4h3bq0001w3r8y0e6a1kd']],
          }),
        },
        { additionalProperties: false },
      ),
      data: Type.Object({
        results: Type.Array(
          Type.Object({
            delivery_id: Type.String({ examples: ['dlv_01kas4h3bq0001w3r8y0e6a1kd'] }),
            code: Type.Integer({
              description: '0, or as the envelope’s where it was refused.',
              examples: [0],
            }),
            msg: Type.String({ examples: ['Success'] }),
          }),
          { description: 'In the order of `delivery_ids`.' },
        ),
      }),
      async handle({ username, body, by }) {
        const ids = [...new Set(body.delivery_ids)];
        const as = store.as(by);
        const results = await Promise.all(
          ids.map(async (id) => {
            try {
              if ((await as.retryDelivery(username, id)) === null) throw notFound('delivery', id);
              return { delivery_id: id, code: 0, msg: SUCCESS_MESSAGE };
            } catch (error) {
              if (!(error instanceof PosthornError) || error.httpStatus >= 500) throw error;
              return { delivery_id: id, code: error.code, msg: error.message };
            }
          }),
        );
        dispatcher.wake();
        const refused = results.filter(({ code }) => code !== 0).length;
        if (refused === 0) return { results };
        return new PartialFailure(
          { results },
          40000,
          `${refused} of ${results.length} deliveries were refused; data.results says which and why`,
        );
      },
    }),
  ];
}
