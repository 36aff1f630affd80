/** What the pages about endpoints read. */
import { useApiQuery } from '../../api/use-api.ts';
import type { Endpoint, EndpointHealth, EventType, Stats } from '../../api/types.ts';
import { presentSeconds } from '../../lib/now.ts';

const DAY_SECONDS = 86_400;
const HOUR_SECONDS = 3600;

export function useEndpoints(enabled = true) {
  return useApiQuery<{ endpoints: Endpoint[] }>('/v2/endpoints', { enabled });
}

export function useEndpoint(endpointId: string, enabled = true) {
  return useApiQuery<Endpoint>(`/v2/endpoint/${encodeURIComponent(endpointId)}`, { enabled });
}

/** The beginning of the hour a day ago: a fixed query for an hour, and 24 whole bars with the present one. */
export function dayOfHours(nowSeconds = presentSeconds()): number {
  return Math.floor(nowSeconds / HOUR_SECONDS) * HOUR_SECONDS - DAY_SECONDS + HOUR_SECONDS;
}

/** Each endpoint's last 24 hours, hour by hour. */
export function useDayByEndpoint() {
  return useApiQuery<Stats>('/v2/stats', {
    query: { by: 'endpoint', interval: '1h', since: dayOfHours() },
    refetchInterval: 30_000,
  });
}

export function useEndpointHealth() {
  return useApiQuery<{ endpoints: EndpointHealth[] }>('/v2/endpoints/health', { refetchInterval: 15_000 });
}

export function useEventTypes() {
  return useApiQuery<{ event_types: EventType[] }>('/v2/event_types', { staleTime: 60_000 });
}

/** `https://example.com/hooks` for humans: an endpoint of which only the id is known any more shows that. */
export function endpointName(endpoints: readonly Endpoint[] | undefined, endpointId: string): string {
  return endpoints?.find((endpoint) => endpoint.endpoint_id === endpointId)?.url ?? endpointId;
}
