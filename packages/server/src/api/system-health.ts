/** How the service itself is, for operators: its processes, its queue, its database. */
import { Type } from './schema.ts';

import { toSeconds } from '../clock.ts';
import type { ApiDeps } from './deps.ts';
import { type ApiRoute, route } from './route.ts';
import { UnixSeconds } from './shapes.ts';

const Count = Type.Integer({ minimum: 0, examples: [3] });

export function systemHealthRoutes({ store, clock, version }: ApiDeps): ApiRoute[] {
  return [
    route({
      method: 'GET',
      path: '/system',
      access: 'operator',
      operationId: 'getSystem',
      tag: 'System',
      summary: 'Show how the service itself is',
      data: Type.Object(
        {
          version: Type.String({ examples: ['0.1.0'] }),
          nodes: Type.Array(
            Type.Object({
              name: Type.String({ description: 'Host and process id.', examples: ['web-1:4711'] }),
              started_at: UnixSeconds('When it started.'),
              seen_at: UnixSeconds('When it was last heard. After 10 s others take over what it held.'),
              delivers: Type.Boolean({ description: 'Whether it makes attempts.' }),
              leases: Type.Integer({
                minimum: 0,
                description: 'Deliveries that it has in hand.',
                examples: [3],
              }),
              is_this: Type.Boolean({ description: 'It has answered this request.' }),
            }),
            { description: 'Processes that were heard within the last minute.' },
          ),
          queue: Type.Object(
            {
              scheduled: Count,
              due: Count,
              leased: Count,
              oldest_due_seconds: Type.Number({ minimum: 0, examples: [0.2] }),
            },
            { description: 'Unfinished deliveries of all accounts: waiting for their time, due, in hand.' },
          ),
          database: Type.Object({
            engine: Type.Enum(['sqlite', 'postgres']),
            version: Type.String({ examples: ['PostgreSQL 18.1'] }),
            size_bytes: Type.Integer({ minimum: 0, examples: [52_428_800] }),
            free_bytes: Type.Unsafe<number | null>({
              type: ['integer', 'null'],
              minimum: 0,
              description: 'What its disk has left; null on PostgreSQL, whose own machine knows.',
              examples: [1_073_741_824],
            }),
            ping_ms: Type.Number({
              minimum: 0,
              description: 'How long a commit took just now.',
              examples: [2.1],
            }),
          }),
        },
        { title: 'System' },
      ),
      async handle() {
        const startedMs = clock.monotonic();
        await store.ping();
        const pingMs = clock.monotonic() - startedMs;
        const [state, depth] = await Promise.all([store.state(), store.queueDepth()]);
        return {
          version,
          nodes: state.nodes.map((node) => ({
            name: node.name,
            started_at: toSeconds(node.startedAt),
            seen_at: toSeconds(node.seenAt),
            delivers: node.delivers,
            leases: node.leases,
            is_this: node.isThis,
          })),
          queue: {
            scheduled: depth.scheduled,
            due: depth.due,
            leased: depth.leased,
            oldest_due_seconds: depth.oldestDueMs / 1000,
          },
          database: {
            engine: state.engine,
            version: state.version,
            size_bytes: state.sizeBytes,
            free_bytes: state.freeBytes,
            ping_ms: Math.round(pingMs * 100) / 100,
          },
        };
      },
    }),
  ];
}
