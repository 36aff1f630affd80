/** Publishing: check, seal, and hand a whole request to the publisher at once. */
import type { FastifyBaseLogger } from 'fastify';
import { type Static, Type } from './schema.ts';

import { withDeprecation } from '../catalogue/index.ts';
import { idFactory } from '../clock.ts';
import { PosthornError, invalid, notFound } from '../errors.ts';
import type { SealedEvent } from '../model.ts';
import { sealEvent } from '../publish.ts';
import type { PublishFacts, PublishTrace } from '../tracing.ts';
import type { PublishResult } from '../store/store.ts';
import type { ApiDeps } from './deps.ts';
import { PartialFailure } from './envelope.ts';
import { type ApiRoute, route } from './route.ts';
import { EventTypeName, FreeObject, UnixSeconds, Username } from './shapes.ts';
import { EXPECTED, compileCheck } from './validate.ts';

const MAX_BATCH = 1000;

const PublishItem = Type.Object(
  {
    username: Username,
    event: EventTypeName,
    data: FreeObject(
      'What happened; it must fit the schema of the event type. Numbers that a double can’t hold exactly are refused: send them as strings.',
      { order_id: 'o-17' },
    ),
    event_id: Type.Optional(
      Type.String({
        pattern: '^[A-Za-z0-9_\\-:.]{1,128}$',
        [EXPECTED]: '1 to 128 of letters, digits, "_", "-", ":" and "."',
        description:
          'Makes publishing idempotent: the same id again with the same content is answered with `duplicate: true`, with other content refused with HTTP 409. Made (`evt_…`) when absent.',
        examples: ['order-17-paid'],
      }),
    ),
    timestamp: Type.Optional(UnixSeconds('When it happened, unix seconds. Default: now.')),
  },
  { additionalProperties: false, title: 'PublishItem' },
);

const PublishBatch = Type.Object(
  {
    events: Type.Array(PublishItem, {
      minItems: 1,
      maxItems: MAX_BATCH,
      description: 'Each stands alone: what is wrong with one changes nothing for the others.',
    }),
  },
  { additionalProperties: false, title: 'PublishBatch' },
);

const SINGLE_EXAMPLE = {
  username: 'alice',
  event: 'generated_script_success',
  data: {
    task_id: 'task_17',
    status: 'completed',
    scripts: [{ script_style: 'Storytelling', script_paragraphs: ['Once upon a time …'] }],
  },
  event_id: 'script-17',
};

const PublishBody = Type.Union([PublishItem, PublishBatch], { examples: [SINGLE_EXAMPLE] });

const Published = Type.Object(
  {
    event_id: Type.String({ examples: ['script-17'] }),
    deliveries: Type.Integer({
      minimum: 0,
      description: 'To how many endpoints it goes. 0: the event log says why.',
      examples: [1],
    }),
    duplicate: Type.Boolean({ description: 'True when this event was stored by an earlier request.' }),
    deprecated: Type.Optional(
      Type.Literal(true, { description: 'Present when the event type is deprecated: publish another one.' }),
    ),
  },
  { title: 'Published' },
);

const Refused = Type.Object(
  {
    code: Type.Integer({ examples: [40000] }),
    msg: Type.String({ examples: ['data does not fit the schema: /data/video_url must be string'] }),
  },
  { title: 'RefusedItem' },
);

const PublishData = Type.Union([
  Published,
  Type.Object(
    {
      results: Type.Array(Type.Union([Published, Refused]), { description: 'In the order of `events`.' }),
    },
    { title: 'PublishResults' },
  ),
]);

type ItemResult = Static<typeof Published>;

/**
 * A result of the store as a result on the wire.
 *
 * @throws PosthornError for every outcome but `stored` and `duplicate`.
 */
export function published(result: PublishResult): ItemResult {
  switch (result.outcome) {
    case 'stored':
    case 'duplicate':
      return {
        event_id: result.eventId,
        deliveries: result.deliveries,
        duplicate: result.outcome === 'duplicate',
      };
    case 'conflict':
      throw new PosthornError(
        'conflict',
        `event_id ${JSON.stringify(result.eventId)} is taken by an event with other content; an id stands for one event`,
        { field: 'event_id' },
      );
    case 'unknown_account':
      throw notFound('account', result.username);
    case 'unknown_endpoint':
      throw notFound('endpoint', result.endpointId);
    case 'disabled_endpoint':
      throw invalid('endpoint_id', `endpoint ${result.endpointId} is disabled; enable it first`);
  }
}

/**
 * Publishes what a request's body holds, one event or a batch.
 *
 * @param log of this request; asked for only when there is something to say
 * @param trace what the request says of its trace; what is kept of it afterwards
 * @throws PosthornError for one event that is refused; of a batch's events each has its refusal in the results.
 */
export type Publish = (
  body: unknown,
  log: () => Pick<FastifyBaseLogger, 'warn'>,
  trace: PublishTrace,
) => Promise<Static<typeof PublishData> | PartialFailure<Static<typeof PublishData>>>;

/** Makes the function behind `POST /v2/publish`, however the request came. */
export function publishing({
  catalogue,
  publisher,
  clock,
  settings,
  tracing,
}: Pick<ApiDeps, 'catalogue' | 'publisher' | 'clock' | 'settings' | 'tracing'>): Publish {
  const makeId = idFactory();
  const checkItem = compileCheck(PublishItem, 'body');
  // Only the frame: an item that is wrong must not fail its neighbours.
  const checkFrame = compileCheck(
    Type.Object(
      { events: Type.Array(Type.Unknown(), { minItems: 1, maxItems: MAX_BATCH }) },
      { additionalProperties: false },
    ),
    'body',
  );

  function seal(value: unknown, trace: PublishTrace): SealedEvent {
    const item = checkItem(value);
    catalogue.validateData(item.event, item.data);
    const event = sealEvent(item, { nowMs: clock.now(), makeId, maxBodyBytes: settings.maxBodyBytes });
    if (trace.context !== null) event.trace = trace.context;
    return event;
  }

  async function publishOne(
    value: unknown,
    log: Parameters<Publish>[1],
    trace: PublishTrace,
  ): Promise<ItemResult> {
    const named = typesOf([value]);
    if (!named.every((name) => catalogue.has(name))) await catalogue.lookFor(named);
    const event = seal(value, trace);
    const [result] = await publisher.publish([event]);
    noteDeprecated([event], log);
    return withDeprecation(published(result as PublishResult), catalogue.get(event.event));
  }

  async function publishBatch(values: unknown[], log: Parameters<Publish>[1], trace: PublishTrace) {
    await catalogue.lookFor(typesOf(values));
    const sealed = values.map((value) => attempt(() => seal(value, trace)));
    const events = sealed.filter((event): event is SealedEvent => !(event instanceof PosthornError));
    const stored = events.length === 0 ? [] : await publisher.publish(events);
    noteDeprecated(events, log);
    let next = 0;
    const results = sealed.map((event) => {
      const result =
        event instanceof PosthornError
          ? event
          : attempt(() => {
              const done = published(stored[next++] as PublishResult);
              return withDeprecation(done, catalogue.get(event.event));
            });
      return result instanceof PosthornError ? { code: result.code, msg: result.message } : result;
    });
    const failed = results.filter((result) => 'code' in result).length;
    if (failed === 0) return { results };
    return new PartialFailure(
      { results },
      40000,
      `${failed} of ${results.length} events were refused; data.results says which and why`,
    );
  }

  function noteDeprecated(events: readonly SealedEvent[], log: Parameters<Publish>[1]): void {
    const deprecated = events.filter(({ event }) => catalogue.get(event)?.deprecated);
    if (deprecated.length === 0) return;
    const names = new Set(deprecated.map(({ event }) => event));
    log().warn({ events: [...names] }, 'deprecated event types were published');
  }

  return (body, log, trace) =>
    tracing.publish(
      trace,
      async () => {
        const isBatch = typeof body === 'object' && body !== null && Object.hasOwn(body, 'events');
        return isBatch
          ? await publishBatch(checkFrame(body).events, log, trace)
          : await publishOne(body, log, trace);
      },
      (result) => factsOf(body, result),
    );
}

function factsOf(body: unknown, result: Awaited<ReturnType<Publish>>): PublishFacts {
  const data = result instanceof PartialFailure ? result.data : result;
  if ('results' in data) return { events: data.results.length, eventId: null, event: null };
  return { events: 1, eventId: data.event_id, event: (body as { event: string }).event };
}

/** @param publish also serves the requests that don't come by this route, see {@link ./direct-publish.ts} */
export function publishRoutes(publish: Publish): ApiRoute[] {
  return [
    route({
      method: 'POST',
      path: '/publish',
      access: 'publish',
      operationId: 'publish',
      tag: 'Publishing',
      summary: 'Publish one event, or a batch of up to 1000',
      description:
        'Answered only after the events and all their deliveries are committed to disk. One event: `data` is its result. ' +
        'A batch (`events`): HTTP 200 when it was read, `data.results` in order, each a result or `{ code, msg }`; ' +
        '`code` is 0 when all succeeded, else 40000. A `traceparent` header (W3C Trace Context) is kept with the events. After a 503 nothing was stored: send it again after `retry-after` seconds.',
      body: PublishBody,
      bodyUnchecked: true,
      data: PublishData,
      errors: ['not_found', 'conflict', 'too_large'],
      handle: ({ body, log, trace }) => publish(body, () => log, trace),
    }),
  ];
}

/** The types named by items that may be malformed. */
export function typesOf(items: readonly unknown[]): string[] {
  return items
    .map((item) => (item as { event?: unknown } | null | undefined)?.event)
    .filter((name): name is string => typeof name === 'string');
}

/** A refusal as a value. Anything else that is thrown is a defect and goes its way. */
export function attempt<T>(action: () => T): T | PosthornError {
  try {
    return action();
  } catch (error) {
    if (error instanceof PosthornError && error.kind !== 'internal') return error;
    throw error;
  }
}
