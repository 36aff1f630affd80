/** Sending an endpoint the example of an event type, to see whether its receiver works. */
import { Type } from './schema.ts';

import { idFactory } from '../clock.ts';
import { PosthornError, invalid, notFound } from '../errors.ts';
import { sealEvent } from '../publish.ts';
import type { ApiDeps } from './deps.ts';
import { published } from './publish.ts';
import { type ApiRoute, pathParams, route } from './route.ts';
import { EventTypeName } from './shapes.ts';

export function testEventRoutes({
  store,
  publisher,
  catalogue,
  clock,
  settings,
  tracing,
}: ApiDeps): ApiRoute[] {
  const makeId = idFactory();
  return [
    route({
      method: 'POST',
      path: '/endpoint/:endpoint_id/test',
      access: 'account',
      operationId: 'testEndpoint',
      tag: 'Endpoints',
      summary: 'Send a test event',
      description: "The event type's example under a fresh id, to this endpoint alone, subscribed or not.",
      params: pathParams('endpoint_id'),
      body: Type.Object(
        { event: EventTypeName },
        { additionalProperties: false, examples: [{ event: 'generated_video_success' }] },
      ),
      data: Type.Object(
        {
          event_id: Type.String({ examples: ['evt_01kas4h3bq0000w3r8y0e6a1kd'] }),
          delivery_id: Type.String({ examples: ['dlv_01kas4h3bq0001w3r8y0e6a1kd'] }),
        },
        { title: 'TestEvent' },
      ),
      errors: ['not_found'],
      async handle({ username, params: { endpoint_id: endpointId }, body, trace }) {
        // First, so that a foreign endpoint is not found whatever else is wrong.
        if ((await store.getEndpoint(username, endpointId)) === null) throw notFound('endpoint', endpointId);
        await catalogue.lookFor([body.event]);
        const type = catalogue.get(body.event);
        if (type === null) {
          throw invalid(
            'event',
            `event ${JSON.stringify(body.event)} is not a known event type; GET /v2/events lists them`,
          );
        }
        if (type.example === null) {
          throw invalid(
            'event',
            `event type ${type.name} has no example to send; PUT /v2/event_type/${type.name} can add one`,
          );
        }
        const sealed = sealEvent(
          { username, event: type.name, data: type.example },
          { nowMs: clock.now(), makeId, maxBodyBytes: settings.maxBodyBytes },
        );
        const [result] = await tracing.publish(
          trace,
          () =>
            publisher.publish([
              {
                ...sealed,
                onlyEndpointId: endpointId,
                ...(trace.context === null ? null : { trace: trace.context }),
              },
            ]),
          () => ({ events: 1, eventId: sealed.eventId, event: sealed.event }),
        );
        if (result?.outcome !== 'stored' || result.deliveryIds[0] === undefined) {
          if (result !== undefined) published(result);
          throw new PosthornError('internal', 'a test event was stored without a delivery');
        }
        return { event_id: result.eventId, delivery_id: result.deliveryIds[0] };
      },
    }),
  ];
}
