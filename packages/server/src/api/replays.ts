/** Replays: sending an endpoint again what it missed. */
import { type Static, Type } from './schema.ts';

import { toSeconds } from '../clock.ts';
import { invalid, notFound } from '../errors.ts';
import type { Replay } from '../model.ts';
import type { ApiDeps } from './deps.ts';
import { type ApiRoute, pathParams, route } from './route.ts';
import { NextCursor, UnixSeconds, pageFields, pageOf } from './shapes.ts';

const ReplayInput = Type.Object(
  {
    status: Type.Enum(['failed', 'missing', 'all'], {
      description:
        '`failed`: dead and cancelled deliveries; `missing`: events of subscribed types that never had a delivery to this endpoint; `all`: both, and what was delivered already.',
    }),
    since: UnixSeconds('Events published at or after this time, unix seconds.'),
    until: Type.Optional(UnixSeconds('Events published before this time. Default: now.')),
    dry_run: Type.Optional(
      Type.Boolean({
        description: 'Only count: nothing is started, and there is no `replay_id`.',
        examples: [false],
      }),
    ),
  },
  { additionalProperties: false, examples: [{ status: 'failed', since: 1767225600 }] },
);

const replayId = Type.String({ examples: ['rpl_01kas4h3bq0000w3r8y0e6a1kd'] });
const matched = Type.Integer({
  minimum: 0,
  description: 'How many deliveries or events it found.',
  examples: [12],
});

const ReplayShape = Type.Object(
  {
    replay_id: replayId,
    status: Type.Enum(['running', 'done', 'cancelled']),
    matched,
    done: Type.Integer({
      minimum: 0,
      description: 'How many of them are on their way again.',
      examples: [3],
    }),
  },
  { title: 'Replay' },
);

const ListedReplay = Type.Object(
  {
    ...ReplayShape.properties,
    endpoint_id: Type.String({ examples: ['wh_01kas4h3bq0000w3r8y0e6a1kd'] }),
    kind: ReplayInput.properties.status,
    created_at: UnixSeconds('When it was started.'),
  },
  { title: 'ListedReplay' },
);

function replayShape(replay: Replay): Static<typeof ReplayShape> {
  const { status, matched, done } = replay;
  return { replay_id: replay.replayId, status, matched, done };
}

export function replayRoutes({ store, delivery, clock }: ApiDeps): ApiRoute[] {
  const params = pathParams('replay_id');
  return [
    route({
      method: 'POST',
      path: '/endpoint/:endpoint_id/replay',
      access: 'account',
      operationId: 'createReplay',
      tag: 'Replays',
      summary: 'Send an endpoint again what it missed',
      description:
        'Runs in the background, throttled so that fresh events still pass. Refused while the endpoint is disabled.',
      params: pathParams('endpoint_id'),
      body: ReplayInput,
      data: Type.Object({
        replay_id: Type.Optional(replayId),
        matched,
        matched_is_exact: Type.Optional(
          Type.Boolean({
            description:
              'False, with `dry_run`, when the range has too many events to look at all of them: then there may be more.',
            examples: [false],
          }),
        ),
      }),
      errors: ['not_found'],
      async handle({ username, params: { endpoint_id: endpointId }, body, by }) {
        const since = body.since * 1000;
        // The present second is over when the next one begins: what was published in it belongs to the past.
        const until = body.until === undefined ? clock.now() + 1 : body.until * 1000;
        if (since >= until) throw invalid('since', 'since must be earlier than until, and in the past');
        const request = { username, endpointId, kind: body.status, since, until };
        if (body.dry_run === true) {
          const found = await store.countReplay(request);
          if (found === null) throw notFound('endpoint', endpointId);
          return { matched: found.matched, ...(found.isExact ? {} : { matched_is_exact: false }) };
        }
        const replay = await store.as(by).createReplay(request);
        if (replay === null) throw notFound('endpoint', endpointId);
        delivery.wake();
        return { replay_id: replay.replayId, matched: replay.matched };
      },
    }),
    route({
      method: 'GET',
      path: '/replays',
      access: 'account',
      operationId: 'listReplays',
      tag: 'Replays',
      summary: 'List replays, newest first',
      query: Type.Object(
        {
          endpoint_id: Type.Optional(Type.String({ maxLength: 128, description: 'Only to this endpoint.' })),
          ...pageFields,
        },
        { additionalProperties: false },
      ),
      data: Type.Object({ replays: Type.Array(ListedReplay), next_cursor: NextCursor }),
      async handle({ username, query }) {
        const page = await store.listReplays(username, query.endpoint_id ?? null, pageOf(query));
        return {
          replays: page.items.map((replay) => ({
            ...replayShape(replay),
            endpoint_id: replay.endpointId,
            kind: replay.kind,
            created_at: toSeconds(replay.createdAt),
          })),
          next_cursor: page.nextCursor,
        };
      },
    }),
    route({
      method: 'GET',
      path: '/replay/:replay_id',
      access: 'account',
      operationId: 'getReplay',
      tag: 'Replays',
      summary: 'Show how far a replay is',
      params,
      data: ReplayShape,
      errors: ['not_found'],
      async handle({ username, params: { replay_id: id } }) {
        const replay = await store.getReplay(username, id);
        if (replay === null) throw notFound('replay', id);
        return replayShape(replay);
      },
    }),
    route({
      method: 'DELETE',
      path: '/replay/:replay_id',
      access: 'account',
      operationId: 'cancelReplay',
      tag: 'Replays',
      summary: 'Stop a replay',
      description: 'What it has set going already goes on.',
      params,
      data: ReplayShape,
      errors: ['not_found'],
      async handle({ username, params: { replay_id: id }, by }) {
        const replay = await store.as(by).cancelReplay(username, id);
        if (replay === null) throw notFound('replay', id);
        return replayShape(replay);
      },
    }),
  ];
}
