/** Why a delivery of a type that its endpoint no longer takes ended as `cancelled`. */
export const UNSUBSCRIBED_REASON = 'event type no longer subscribed';

/** Why a delivery ended as `cancelled`. */
export function cancelReason(endpointStatus: string | undefined): string {
  return endpointStatus === 'disabled' ? 'endpoint disabled' : 'endpoint deleted';
}
