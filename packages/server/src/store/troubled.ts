/** Endpoints that somebody should look at, as SQL that both engines run. */
import type { EndpointStatus } from '../model.ts';
import { DEAD } from './statistics.ts';
import type { TroubledEndpoint } from './store.ts';

export interface TroubledRow {
  username: string;
  endpoint_id: string;
  url: string;
  status: EndpointStatus;
  disabled_reason: string | null;
  delivered: number;
  failed_attempts: number;
  dead: number;
}

interface Parts {
  /** What stands before a table's name. */
  schema: string;
  /** Placeholders of the beginning (unix ms) and of the most rows. */
  since: string;
  limit: string;
  /** A condition on `username`; empty for all accounts. */
  ofAccount: string;
  /** The range's statistics as `username, endpoint_id, at, outcome, count`, when the engine has a better way to them than `at`. */
  stats?: string;
}

/**
 * An endpoint fails whose newest attempts failed; within one minute, which statistics don't divide, when more failed than
 * didn't. One that gave deliveries up is troubled until none of them is left that way: a replay that was delivered mends
 * it. The statistics are summed up first, over the range's part of their index; each sum then finds its endpoint by its
 * key, and one with deaths looks for a dead delivery in the index of what failed.
 */
export function troubledSql({ schema, since, limit, ofAccount, stats }: Parts): string {
  const sum = (condition: string) => `coalesce(sum(count) FILTER (WHERE ${condition}), 0)`;
  return `WITH attempted AS (
      SELECT username, endpoint_id, ${sum(`outcome = 'success'`)} AS delivered,
             ${sum(`outcome <> 'success' AND outcome NOT LIKE '${DEAD}%'`)} AS failed_attempts,
             ${sum(`outcome LIKE '${DEAD}%'`)} AS dead,
             coalesce(max(CASE WHEN outcome = 'success' THEN at END), 0) AS delivered_at,
             coalesce(max(CASE WHEN outcome <> 'success' THEN at END), 0) AS failed_at
      FROM ${stats ?? `${schema}stat WHERE at >= ${since} ${ofAccount}`} GROUP BY username, endpoint_id
    ), judged AS (
      SELECT username, endpoint_id, url, status, disabled_reason, delivered_at, failed_at,
             coalesce(delivered, 0) AS delivered, coalesce(failed_attempts, 0) AS failed_attempts,
             CASE WHEN dead > 0 AND EXISTS (
               SELECT 1 FROM ${schema}delivery
               WHERE delivery.username = endpoint.username AND delivery.status = 'dead'
                 AND delivery.endpoint_id = endpoint.endpoint_id
             ) THEN dead ELSE 0 END AS dead
      FROM ${schema}endpoint LEFT JOIN attempted USING (username, endpoint_id)
      WHERE status <> 'deleted' ${ofAccount}
        AND username NOT IN (SELECT username FROM ${schema}account WHERE status = 'deleted')
    )
    SELECT username, endpoint_id, url, status, disabled_reason, delivered, failed_attempts, dead
    FROM judged
    WHERE disabled_reason IS NOT NULL OR status = 'enabled' AND (dead > 0 OR failed_at > delivered_at
        OR failed_at = delivered_at AND failed_attempts > delivered)
    ORDER BY disabled_reason IS NULL, dead DESC, failed_attempts DESC, endpoint_id LIMIT ${limit}`;
}

export function toTroubled(row: TroubledRow): TroubledEndpoint {
  return {
    username: row.username,
    endpointId: row.endpoint_id,
    url: row.url,
    status: row.status,
    disabledReason: row.disabled_reason,
    delivered: Number(row.delivered),
    failedAttempts: Number(row.failed_attempts),
    dead: Number(row.dead),
  };
}
