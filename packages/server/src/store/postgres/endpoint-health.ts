import { HEALTH_COLUMNS, type HealthRow, toHealth } from '../failing-rows.ts';
import type { EndpointStateCounts } from '../store.ts';
import type { EngineContext, Operations } from './engine.ts';
import { ACCOUNT_EXISTS } from './rows.ts';

export function endpointHealthOperations({
  query,
}: EngineContext): Operations<'listEndpointHealth' | 'countEndpointStates'> {
  return {
    async listEndpointHealth(username) {
      // delivery_endpoint gives an endpoint's deliveries from the newest on: the first one that was delivered.
      const rows = await query<HealthRow>(
        `SELECT ${HEALTH_COLUMNS},
           (SELECT d.completed_at FROM posthorn.delivery d
            WHERE d.username = e.username AND d.endpoint_id = e.endpoint_id AND d.status = 'delivered'
            ORDER BY d.delivery_id DESC LIMIT 1) AS last_success_at
         FROM posthorn.endpoint e
         LEFT JOIN posthorn.failing_endpoint f ON f.username = e.username AND f.endpoint_id = e.endpoint_id
         WHERE e.username = $1 AND e.status <> 'deleted' AND ${ACCOUNT_EXISTS}
         ORDER BY e.endpoint_id`,
        [username],
      );
      return rows.map(toHealth);
    },

    async countEndpointStates() {
      // The first two by the few rows of those that fail, the last by endpoint_disabled.
      const [row] = await query<EndpointStateCounts>(
        `SELECT count(*) FILTER (WHERE f.probe_at IS NULL) AS failing,
                count(*) FILTER (WHERE f.probe_at IS NOT NULL) AS probing,
                (SELECT count(*) FROM posthorn.endpoint
                 WHERE status = 'disabled' AND disabled_reason IS NOT NULL) AS disabled
         FROM posthorn.failing_endpoint f
         JOIN posthorn.endpoint e ON e.username = f.username AND e.endpoint_id = f.endpoint_id
         WHERE f.failures > 0 AND e.status = 'enabled'`,
      );
      return row ?? { failing: 0, probing: 0, disabled: 0 };
    },
  };
}
