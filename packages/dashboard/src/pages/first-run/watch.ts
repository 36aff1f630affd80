/** What the guide watches: looked at each second until it has ended. */
import type { Delivery, DeliveryDetail, Replay } from '../../api/types.ts';
import { useApiQuery } from '../../api/use-api.ts';

const WATCH_MS = 1000;

/** The delivery of an event to an endpoint, with its attempts; undefined until it is known. */
export function useDeliveryOf(eventId: string | null, endpointId: string | null): DeliveryDetail | undefined {
  const listed = useApiQuery<{ deliveries: Delivery[] }>('/v2/deliveries', {
    query: { event_id: eventId, endpoint_id: endpointId, limit: 1 },
    enabled: eventId !== null && endpointId !== null,
    refetchInterval: (query) => (query.state.data?.deliveries.length === 0 ? WATCH_MS : false),
  });
  const deliveryId = eventId === null ? undefined : listed.data?.deliveries[0]?.delivery_id;
  const detail = useApiQuery<DeliveryDetail>(`/v2/delivery/${encodeURIComponent(deliveryId ?? '')}`, {
    enabled: deliveryId !== undefined,
    refetchInterval: (query) => (query.state.data?.status === 'pending' ? WATCH_MS : false),
  });
  return deliveryId === undefined ? undefined : detail.data;
}

export function useReplayOf(replayId: string | null): Replay | undefined {
  const replay = useApiQuery<Replay>(`/v2/replay/${encodeURIComponent(replayId ?? '')}`, {
    enabled: replayId !== null,
    refetchInterval: (query) => (query.state.data?.status === 'running' ? WATCH_MS : false),
  });
  return replayId === null ? undefined : replay.data;
}
