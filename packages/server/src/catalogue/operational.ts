/**
 * The event types of what Posthorn sends of itself: endpoints that fail, recover and are disabled, deliveries that are
 * dead. They are subscribed to as any other, published by nobody else, and not among the names of `GET /v2/events`: a
 * client that subscribes to all that stands there asks for its product's events (docs/decisions/0016-failing-endpoints.md).
 */
import { ATTEMPT_OUTCOMES, type EventType, type JsonObject } from '../model.ts';
import {
  DELIVERY_DEAD,
  ENDPOINT_DISABLED,
  ENDPOINT_FAILING,
  ENDPOINT_RECOVERED,
  type OperationalName,
} from '../store/operational.ts';
import { type Field, type Fields, integer, moment, object, text } from './fields.ts';

const CATEGORY = 'operational';

const ENDPOINT: Fields = {
  username: text('The account whose endpoint it is.', 'alice'),
  endpoint_id: text('Id of the endpoint.', 'wh_01kas4h3bq0000w3r8y0e6a1kd'),
};
const URL: Fields = { url: text('Where it receives.', 'https://example.com/webhooks') };
const FAILING: Fields = {
  failing_since: moment('When the first attempt failed after its last success, unix seconds.', 1767225600),
};
const FAILURES: Fields = {
  consecutive_failures: integer('Attempts that failed in a row, over all its deliveries.', 10),
};

function orNull(field: Field, example = field.example): Field {
  return { schema: { ...field.schema, type: [field.schema.type as string, 'null'] }, example };
}

const TYPES: Record<OperationalName, { description: string; fields: Fields }> = {
  [ENDPOINT_FAILING]: {
    description: 'An endpoint failed so often in a row that it is probed from now on',
    fields: {
      ...ENDPOINT,
      ...URL,
      ...FAILING,
      ...FAILURES,
      next_probe_at: moment('When the next probe goes at the earliest, unix seconds.', 1767225610),
      last_failure: object('The last attempt that failed.', {
        at: moment('When it began, unix seconds.', 1767225600),
        outcome: {
          schema: { type: 'string', enum: [...ATTEMPT_OUTCOMES], description: 'How it ended.' },
          example: 'http_error',
        },
        http_status: orNull(integer('What was answered; null without an answer.', 503)),
        error: orNull(text('The failure in a sentence.', 'example.com answered HTTP 503')),
      }),
    },
  },
  [ENDPOINT_RECOVERED]: {
    description: 'An endpoint that was probed has taken a delivery: its lane is open again',
    fields: {
      ...ENDPOINT,
      ...URL,
      ...FAILING,
      recovered_at: moment('When the attempt that succeeded was written, unix seconds.', 1767229200),
      ...FAILURES,
    },
  },
  [ENDPOINT_DISABLED]: {
    description: 'An endpoint was disabled by the service',
    fields: {
      ...ENDPOINT,
      ...URL,
      reason: text('Why.', 'no attempt has succeeded for 5d; last: example.com answered HTTP 503'),
      disabled_at: moment('Unix seconds.', 1767657600),
      missed_since: moment(
        'A replay from this time on brings what it has missed, when it is enabled again; unix seconds.',
        1767225599,
      ),
    },
  },
  [DELIVERY_DEAD]: {
    description: 'A delivery was given up: its schedule has ended, or its endpoint answered 410',
    fields: {
      ...ENDPOINT,
      delivery_id: text('Id of the delivery.', 'dlv_01kas4h3bq0000w3r8y0e6a1kd'),
      event_id: text('Id of the event that was to be delivered.', 'evt_01kas4h3bq0000w3r8y0e6a1kd'),
      event: text('Its type.', 'generated_video_success'),
      attempts: integer('Attempts that were made.', 10),
      reason: text('Why it was given up.', 'all 9 retries failed; last: example.com answered HTTP 503'),
      created_at: moment('When the delivery was made, unix seconds.', 1767225600),
    },
  },
};

/** In the order in which they are listed. */
export const OPERATIONAL_TYPES: readonly EventType[] = Object.entries(TYPES).map(
  ([name, { description, fields }]) => {
    const data = object(description, fields);
    return {
      name,
      category: CATEGORY,
      description,
      schema: data.schema,
      example: data.example as JsonObject,
      deprecated: false,
      builtIn: true,
    };
  },
);
