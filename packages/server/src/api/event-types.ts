/** The catalogue. */
import { Type } from './schema.ts';

import { notFound } from '../errors.ts';
import type { ApiDeps } from './deps.ts';
import { type ApiRoute, pathParams, route } from './route.ts';
import { EventTypeName, EventTypeShape, FreeObject, Message, eventTypeShape } from './shapes.ts';

const EventTypeInput = Type.Object(
  {
    category: Type.String({ description: '1 to 64 characters.' }),
    description: Type.String({ description: '1 to 1000 characters.' }),
    schema: Type.Optional(
      FreeObject(
        'JSON Schema 2020-12 of `data`, at most 64 KiB, without remote references. Default: any object.',
        {
          type: 'object',
        },
      ),
    ),
    example: Type.Optional(FreeObject('A `data` that fits the schema, at most 64 KiB.', {})),
    deprecated: Type.Optional(Type.Boolean({ default: false })),
  },
  {
    additionalProperties: false,
    examples: [
      {
        category: 'order',
        description: 'An order was paid',
        schema: { type: 'object', required: ['order_id'], properties: { order_id: { type: 'string' } } },
        example: { order_id: 'o-17' },
      },
    ],
  },
);

/** The two lists whose v1 form is a bare array. */
export const EventNames = Type.Object(
  {
    events: Type.Array(EventTypeName, {
      description: 'The 22 built-in names in their order, then the operator’s own.',
    }),
  },
  { title: 'EventNames' },
);

export function eventTypeRoutes({ store, catalogue }: ApiDeps): ApiRoute[] {
  const params = pathParams('name');
  return [
    route({
      method: 'GET',
      path: '/events',
      access: 'account_or_operator',
      operationId: 'listEventNames',
      tag: 'Event types',
      summary: 'List the names of the event types',
      data: EventNames,
      handle: () => ({ events: catalogue.names() }),
    }),
    route({
      method: 'GET',
      path: '/event_types',
      access: 'account_or_operator',
      operationId: 'listEventTypes',
      tag: 'Event types',
      summary: 'List the event types with schemas and examples',
      query: Type.Object(
        {
          category: Type.Optional(
            Type.String({ description: 'Only the types of this category.', examples: ['video'] }),
          ),
        },
        { additionalProperties: false },
      ),
      data: Type.Object({ event_types: Type.Array(EventTypeShape) }),
      handle: ({ query }) => ({ event_types: catalogue.list(query.category).map(eventTypeShape) }),
    }),
    route({
      method: 'GET',
      path: '/event_type/:name',
      access: 'account_or_operator',
      operationId: 'getEventType',
      tag: 'Event types',
      summary: 'Show an event type',
      params,
      data: EventTypeShape,
      errors: ['not_found'],
      handle({ params: { name } }) {
        const type = catalogue.get(name);
        if (type === null) throw notFound('event type', name);
        return eventTypeShape(type);
      },
    }),
    route({
      method: 'PUT',
      path: '/event_type/:name',
      access: 'operator',
      operationId: 'putEventType',
      tag: 'Event types',
      summary: 'Add or replace an event type of one’s own, or deprecate a built-in one',
      description:
        'Names are dotted or underscored lower case (`order.paid`). Of a built-in type only `deprecated` may change; its other fields must be as they are, or absent where they may be.',
      params,
      query: Type.Object(
        {
          dry_run: Type.Optional(
            Type.Enum(['true', 'false'], {
              description: '`true`: judge it, and answer what it would be, without storing anything.',
            }),
          ),
        },
        { additionalProperties: false },
      ),
      body: EventTypeInput,
      data: EventTypeShape,
      async handle({ params: { name }, query, body, by }) {
        const input = { name, ...body };
        if (query.dry_run === 'true') return eventTypeShape(catalogue.judge(input));
        return eventTypeShape(await catalogue.put(input, store.as(by)));
      },
    }),
    route({
      method: 'DELETE',
      path: '/event_type/:name',
      access: 'operator',
      operationId: 'deleteEventType',
      tag: 'Event types',
      summary: 'Delete an event type of one’s own',
      description: 'Refused while an endpoint subscribes to it; built-in types can’t be deleted.',
      params,
      data: Message,
      errors: ['not_found', 'conflict'],
      async handle({ params: { name }, by }) {
        await catalogue.remove(name, store.as(by));
        return { message: 'event type deleted' };
      },
    }),
  ];
}
