import type { EngineContext, Operations } from './engine.ts';
import { knownSchemaVersion } from './migrate.ts';

interface NodeRow {
  node_id: number;
  name: string;
  started_at: number;
  seen_at: number;
  delivers: boolean;
  leases: number;
}

export function stateOperations({ query, nodeId }: EngineContext): Operations<'state' | 'schema'> {
  const known = knownSchemaVersion();
  return {
    async schema() {
      const [newest] = await query<{ version: number }>(
        'SELECT coalesce(max(version), 0) AS version FROM posthorn.schema_migration',
      );
      return { version: newest?.version ?? 0, known };
    },

    async state() {
      const [database] = await query<{ version: string; size: number }>(
        `SELECT current_setting('server_version') AS version, pg_database_size(current_database()) AS size`,
      );
      // What is leased is bounded by what nodes have in flight; the queue's lanes lead to it.
      const nodes = await query<NodeRow>(
        `SELECT n.node_id, n.name, n.delivers,
                floor(extract(epoch FROM n.started_at) * 1000)::bigint AS started_at,
                floor(extract(epoch FROM n.seen_at) * 1000)::bigint AS seen_at,
                (SELECT count(*) FROM posthorn.queue q
                 WHERE q.leased AND q.holder = n.node_id AND q.leased_until > posthorn.now_ms()) AS leases
         FROM posthorn.node n WHERE n.seen_at > clock_timestamp() - interval '1 minute'
         ORDER BY n.started_at, n.node_id`,
      );
      return {
        engine: 'postgres',
        version: `PostgreSQL ${database?.version ?? ''}`,
        sizeBytes: database?.size ?? 0,
        freeBytes: null,
        nodes: nodes.map((row) => ({
          name: row.name,
          startedAt: row.started_at,
          seenAt: row.seen_at,
          delivers: row.delivers,
          leases: row.leases,
          isThis: row.node_id === nodeId(),
        })),
      };
    },
  };
}
