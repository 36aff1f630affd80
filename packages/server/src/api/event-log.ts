/** The event log: every event that was published, and who got it. */
import { type Static, Type } from './schema.ts';

import { toSeconds } from '../clock.ts';
import { notFound } from '../errors.ts';
import { readJson } from '../json-read.ts';
import type { EventDetail, EventSummary, JsonObject } from '../model.ts';
import type { ApiDeps } from './deps.ts';
import { eventFilterFields, eventFilterOf } from './event-filter.ts';
import { type ApiRoute, pathParams, route } from './route.ts';
import {
  EventTypeName,
  FreeObject,
  NextCursor,
  NullableText,
  UnixSeconds,
  pageFields,
  pageOf,
} from './shapes.ts';

function Count(description: string) {
  return Type.Integer({ minimum: 0, description, examples: [1] });
}

const eventFields = {
  event_id: Type.String({ examples: ['evt_01kas4h3bq0000w3r8y0e6a1kd'] }),
  event: EventTypeName,
  timestamp: UnixSeconds('As it stands in the body.'),
  created_at: UnixSeconds('When it was published.'),
  deliveries: Type.Object({
    pending: Count('Still to be delivered.'),
    delivered: Count('Accepted by the receiver.'),
    dead: Count('Given up after the last retry.'),
    cancelled: Count('Ended because the endpoint was disabled or deleted.'),
  }),
  note: NullableText('Why nobody, or not everybody, got it.', 'no endpoint subscribed'),
};

const EventShape = Type.Object(eventFields, { title: 'Event' });

const TargetShape = Type.Object(
  {
    endpoint_id: Type.String({ examples: ['wh_01kas4h3bq0000w3r8y0e6a1kd'] }),
    delivery_id: Type.Optional(
      Type.String({
        description: 'Absent when the endpoint was skipped.',
        examples: ['dlv_01kas4h3bq0001w3r8y0e6a1kd'],
      }),
    ),
    status: Type.Enum(['pending', 'delivered', 'dead', 'cancelled', 'skipped']),
    reason: NullableText('Why.', null),
  },
  { title: 'EventTarget' },
);

const EventDetailShape = Type.Object(
  {
    ...eventFields,
    data: FreeObject("The event's `data`.", { order_id: 'o-17' }),
    targets: Type.Array(TargetShape),
  },
  { title: 'EventDetail' },
);

function eventShape(event: EventSummary): Static<typeof EventShape> {
  const { pending, delivered, dead, cancelled } = event.deliveries;
  return {
    event_id: event.eventId,
    event: event.event,
    timestamp: event.timestamp,
    created_at: toSeconds(event.createdAt),
    deliveries: { pending, delivered, dead, cancelled },
    note: event.note,
  };
}

function detailShape(event: EventDetail): Static<typeof EventDetailShape> {
  return {
    ...eventShape(event),
    data: (readJson(event.body) as { data: JsonObject }).data,
    targets: event.targets.map((target) => ({
      endpoint_id: target.endpointId,
      ...(target.deliveryId === null ? {} : { delivery_id: target.deliveryId }),
      status: target.status,
      reason: target.reason,
    })),
  };
}

export function eventLogRoutes({ store }: ApiDeps): ApiRoute[] {
  return [
    route({
      method: 'GET',
      path: '/event_log',
      access: 'account',
      operationId: 'listEvents',
      tag: 'Event log',
      summary: 'List published events, newest first',
      query: Type.Object({ ...eventFilterFields, ...pageFields }, { additionalProperties: false }),
      data: Type.Object({ events: Type.Array(EventShape), next_cursor: NextCursor }),
      async handle({ username, query }) {
        const page = await store.listEvents(username, eventFilterOf(query), pageOf(query));
        return { events: page.items.map(eventShape), next_cursor: page.nextCursor };
      },
    }),
    route({
      method: 'GET',
      path: '/event_log/:event_id',
      access: 'account',
      operationId: 'getEvent',
      tag: 'Event log',
      summary: 'Show an event, its data and its targets',
      params: pathParams('event_id'),
      data: EventDetailShape,
      errors: ['not_found'],
      async handle({ username, params: { event_id: eventId } }) {
        const event = await store.getEvent(username, eventId);
        if (event === null) throw notFound('event', eventId);
        return detailShape(event);
      },
    }),
  ];
}
