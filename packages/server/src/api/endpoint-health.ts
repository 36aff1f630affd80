/** How an account's endpoints are: who fails since when, who is probed, who was disabled and what it missed. */
import { type Static, Type } from './schema.ts';

import { toSeconds } from '../clock.ts';
import { notFound } from '../errors.ts';
import { ATTEMPT_OUTCOMES, ENDPOINT_STATES, type EndpointHealth } from '../model.ts';
import type { ApiDeps } from './deps.ts';
import { type ApiRoute, pathParams, route } from './route.ts';
import { NullableSeconds, NullableText } from './shapes.ts';

const HealthShape = Type.Object(
  {
    endpoint_id: Type.String({ examples: ['wh_01kas4h3bq0000w3r8y0e6a1kd'] }),
    state: Type.Enum(ENDPOINT_STATES, {
      description:
        '`failing`: the last attempts failed, all that is due is still attempted. `probing`: one attempt at a time, with growing pauses, until one succeeds; what else is due waits and spends none of its attempts.',
    }),
    failing_since: NullableSeconds(
      'When the first attempt failed after the last success; null while it is well.',
    ),
    consecutive_failures: Type.Integer({
      minimum: 0,
      description: 'Over all its deliveries.',
      examples: [0],
    }),
    next_probe_at: NullableSeconds('When the next probe goes at the earliest, while it is probed.'),
    last_success_at: NullableSeconds(
      'When its newest delivered delivery ended; null without one in the history that is kept.',
    ),
    last_failure: Type.Unsafe<{
      at: number;
      outcome: string;
      http_status: number | null;
      error: string | null;
    } | null>({
      type: ['object', 'null'],
      description: 'The last attempt that failed since the last success.',
      properties: {
        at: { type: 'integer', minimum: 0, examples: [1767225600] },
        outcome: { type: 'string', enum: [...ATTEMPT_OUTCOMES] },
        http_status: { type: ['integer', 'null'], examples: [503] },
        error: { type: ['string', 'null'], examples: ['example.com answered HTTP 503'] },
      },
      required: ['at', 'outcome', 'http_status', 'error'],
      examples: [null],
    }),
    disabled_reason: NullableText('Why the service disabled it.', null),
    disabled_at: NullableSeconds('When it was disabled, by whomever; null while it is enabled.'),
    missed: Type.Unsafe<{ since: number; until: number | null } | null>({
      type: ['object', 'null'],
      description:
        'The time in which it may have missed events, as it failed or was disabled: replays of `failed` and of `missing` from `since` on bring them, once it is enabled. Null when there is none, or a replay of `missing` or `all` over it was begun.',
      properties: {
        since: { type: 'integer', minimum: 0, examples: [1767225600] },
        until: {
          type: ['integer', 'null'],
          minimum: 0,
          description: 'When it was enabled again; null while it is disabled.',
          examples: [1767657600],
        },
      },
      required: ['since', 'until'],
      examples: [null],
    }),
  },
  { title: 'EndpointHealth' },
);

function nullableSeconds(ms: number | null): number | null {
  return ms === null ? null : toSeconds(ms);
}

function healthShape(health: EndpointHealth): Static<typeof HealthShape> {
  const { lastFailure, missed } = health;
  return {
    endpoint_id: health.endpointId,
    state: health.state,
    failing_since: nullableSeconds(health.failingSince),
    consecutive_failures: health.consecutiveFailures,
    next_probe_at: nullableSeconds(health.nextProbeAt),
    last_success_at: nullableSeconds(health.lastSuccessAt),
    last_failure:
      lastFailure === null
        ? null
        : {
            at: toSeconds(lastFailure.at),
            outcome: lastFailure.outcome,
            http_status: lastFailure.httpStatus,
            error: lastFailure.error,
          },
    disabled_reason: health.disabledReason,
    disabled_at: nullableSeconds(health.disabledAt),
    missed: missed === null ? null : { since: toSeconds(missed.since), until: nullableSeconds(missed.until) },
  };
}

export function endpointHealthRoutes({ store }: ApiDeps): ApiRoute[] {
  return [
    route({
      method: 'GET',
      path: '/endpoints/health',
      access: 'account',
      operationId: 'listEndpointHealth',
      tag: 'Endpoints',
      summary: "Show how the account's endpoints are, oldest first",
      data: Type.Object({ endpoints: Type.Array(HealthShape) }),
      async handle({ username }) {
        return { endpoints: (await store.listEndpointHealth(username)).map(healthShape) };
      },
    }),
    route({
      method: 'GET',
      path: '/endpoint/:endpoint_id/health',
      access: 'account',
      operationId: 'getEndpointHealth',
      tag: 'Endpoints',
      summary: 'Show how an endpoint is',
      params: pathParams('endpoint_id'),
      data: HealthShape,
      errors: ['not_found'],
      async handle({ username, params: { endpoint_id: endpointId } }) {
        const all = await store.listEndpointHealth(username);
        const found = all.find((health) => health.endpointId === endpointId);
        if (found === undefined) throw notFound('endpoint', endpointId);
        return healthShape(found);
      },
    }),
  ];
}
