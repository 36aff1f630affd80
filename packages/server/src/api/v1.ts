/**
 * The v1 shapes, which published integrations still use (wire contract, section 1): the same routes and handlers as v2
 * under other prefixes, with two differences in the answers.
 */
import type { FastifyInstance } from 'fastify';

import type { ApiDeps } from './deps.ts';
import type { Envelope } from './envelope.ts';
import { type ApiRoute, mountRoutes } from './route.ts';
import { whoamiRoute } from './whoami.ts';

/** What v1 has, by operation. */
const V1_OPERATIONS = new Set([
  'listEventNames',
  'listEndpoints',
  'addEndpoint',
  'updateEndpoint',
  'deleteEndpoint',
]);

/** The lists that `/v1/webhook` answers as a bare array, with the field that holds it in v2. */
const LIST_FIELDS: Record<string, string> = { listEventNames: 'events', listEndpoints: 'endpoints' };

const TOP_LEVEL_OPERATIONS = new Set(['addEndpoint', 'updateEndpoint']);

/** One published client reads `endpoint_id` at the top level, others in `data`: both find it. */
function withTopLevelEndpoint(envelope: Envelope, route: ApiRoute): unknown {
  if (!TOP_LEVEL_OPERATIONS.has(route.operationId)) return envelope;
  return { ...(envelope.data as object), ...envelope };
}

function withBareLists(envelope: Envelope, route: ApiRoute): unknown {
  const field = LIST_FIELDS[route.operationId];
  if (field === undefined) return withTopLevelEndpoint(envelope, route);
  return { ...envelope, data: (envelope.data as Record<string, unknown>)[field] };
}

/** Mounts `/v1` and `/v1/webhook`; answers the one route that exists in v1 alone. */
export function mountV1(app: FastifyInstance, routes: readonly ApiRoute[], deps: ApiDeps): ApiRoute {
  const aliased = routes.filter((route) => V1_OPERATIONS.has(route.operationId));
  const whoami = whoamiRoute(deps, '/whoami', 'whoamiV1');
  mountRoutes(app, [...aliased, whoami], '/v1', withTopLevelEndpoint);
  mountRoutes(app, aliased, '/v1/webhook', withBareLists);
  return whoami;
}
