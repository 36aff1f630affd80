/** How rows of endpoints that fail become records. Columns have the same names in both engines. */
import type { AttemptOutcome, EndpointHealth } from '../model.ts';
import type { FailingEndpoint } from './circuit.ts';

/** SQLite keeps booleans as 0 and 1. */
export interface FailingRow {
  username: string;
  endpoint_id: string;
  failures: number;
  since: number;
  oldest: number;
  probes: number;
  probe_at: number | null;
  told: boolean | number;
  told_at: number | null;
  last_at: number;
  last_outcome: AttemptOutcome;
  last_status: number | null;
  last_error: string | null;
}

export function toFailing(row: FailingRow): FailingEndpoint {
  return {
    failures: row.failures,
    since: row.since,
    oldest: row.oldest,
    probes: row.probes,
    probeAt: row.probe_at,
    told: Boolean(row.told),
    toldAt: row.told_at,
    last: {
      at: row.last_at,
      outcome: row.last_outcome,
      httpStatus: row.last_status,
      error: row.last_error,
    },
  };
}

/** An endpoint with what is kept of its failures; their columns are null for one that doesn't fail. */
export interface HealthRow {
  endpoint_id: string;
  status: 'enabled' | 'disabled';
  disabled_reason: string | null;
  disabled_at: number | null;
  missed_since: number | null;
  missed_until: number | null;
  last_success_at: number | null;
  failures: number | null;
  since: number | null;
  probe_at: number | null;
  last_at: number | null;
  last_outcome: AttemptOutcome | null;
  last_status: number | null;
  last_error: string | null;
}

/** Selects {@link HealthRow} but `last_success_at` from `endpoint e LEFT JOIN failing_endpoint f`. */
export const HEALTH_COLUMNS = `e.endpoint_id, e.status, e.disabled_reason, e.disabled_at, e.missed_since, e.missed_until,
  f.failures, f.since, f.probe_at, f.last_at, f.last_outcome, f.last_status, f.last_error`;

export function toHealth(row: HealthRow): EndpointHealth {
  const failures = row.failures ?? 0;
  const fails = failures > 0;
  const isEnabled = row.status === 'enabled';
  const isProbed = fails && isEnabled && row.probe_at !== null;
  return {
    endpointId: row.endpoint_id,
    state: !isEnabled ? 'disabled' : isProbed ? 'probing' : fails ? 'failing' : 'healthy',
    failingSince: fails ? row.since : null,
    consecutiveFailures: failures,
    nextProbeAt: isProbed ? row.probe_at : null,
    lastSuccessAt: row.last_success_at,
    lastFailure:
      fails && row.last_at !== null && row.last_outcome !== null
        ? {
            at: row.last_at,
            outcome: row.last_outcome,
            httpStatus: row.last_status,
            error: row.last_error,
          }
        : null,
    disabledReason: row.disabled_reason,
    disabledAt: row.disabled_at,
    missed: row.missed_since === null ? null : { since: row.missed_since, until: row.missed_until },
  };
}
