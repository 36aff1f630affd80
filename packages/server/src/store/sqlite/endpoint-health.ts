import { HEALTH_COLUMNS, type HealthRow, toHealth } from '../failing-rows.ts';
import type { EndpointStateCounts } from '../store.ts';
import type { EngineContext, SyncStore } from './engine.ts';

export function endpointHealthOperations({
  db,
}: EngineContext): Pick<SyncStore, 'listEndpointHealth' | 'countEndpointStates'> {
  // delivery_endpoint gives an endpoint's deliveries from the newest on: the first one that was delivered.
  const list = db.prepare<[string], HealthRow>(
    `SELECT ${HEALTH_COLUMNS},
       (SELECT d.completed_at FROM delivery d
        WHERE d.username = e.username AND d.endpoint_id = e.endpoint_id AND d.status = 'delivered'
        ORDER BY d.delivery_id DESC LIMIT 1) AS last_success_at
     FROM endpoint e
     LEFT JOIN failing_endpoint f ON f.username = e.username AND f.endpoint_id = e.endpoint_id
     WHERE e.username = ? AND e.status <> 'deleted' ORDER BY e.endpoint_id`,
  );
  const failing = db.prepare<[], Pick<EndpointStateCounts, 'failing' | 'probing'>>(
    `SELECT count(*) FILTER (WHERE f.probe_at IS NULL) AS failing,
            count(*) FILTER (WHERE f.probe_at IS NOT NULL) AS probing
     FROM failing_endpoint f JOIN endpoint e ON e.username = f.username AND e.endpoint_id = f.endpoint_id
     WHERE f.failures > 0 AND e.status = 'enabled'`,
  );
  // endpoint_disabled.
  const disabled = db.prepare<[], { n: number }>(
    `SELECT count(*) AS n FROM endpoint WHERE status = 'disabled' AND disabled_reason IS NOT NULL`,
  );
  return {
    listEndpointHealth: (username) => list.all(username).map(toHealth),
    countEndpointStates: () => ({
      failing: failing.get()?.failing ?? 0,
      probing: failing.get()?.probing ?? 0,
      disabled: disabled.get()?.n ?? 0,
    }),
  };
}
