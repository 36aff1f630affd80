/** What lists of deliveries and the page of one have in common. */
import type { Delivery, Outcome } from '../../api/types.ts';
import { StatusBadge } from '../../ui/badge.tsx';
import { Age, Countdown } from '../../ui/time.tsx';

/** The outcomes of an attempt in words. */
export const OUTCOME_WORDS: Record<Outcome, string> = {
  success: 'accepted',
  http_error: 'refused by its status',
  timeout: 'no answer in time',
  dns_error: 'name not found',
  connect_error: 'no connection',
  tls_error: 'TLS failed',
  reset: 'connection broken off',
  protocol_error: 'answer isn’t HTTP',
  blocked_address: 'address not allowed',
  proxy_error: 'egress proxy failed',
  stale_connection: 'kept connection was closed, sent again',
};

/** `pending` after a failure is waiting for another attempt: that is what people look for. */
export function DeliveryState({ delivery }: { delivery: Delivery }) {
  const isRetrying = delivery.status === 'pending' && delivery.attempts > 0;
  return (
    <StatusBadge
      status={isRetrying ? 'retrying' : delivery.status}
      {...(delivery.status_reason === null ? {} : { title: delivery.status_reason })}
    />
  );
}

/** When the next attempt is, or when it ended. */
export function DeliveryWhen({ delivery }: { delivery: Delivery }) {
  if (delivery.next_attempt_at !== null) {
    return (
      <span className="text-soft">
        {delivery.attempts > 0 ? 'next ' : ''}
        <Countdown to={delivery.next_attempt_at} />
      </span>
    );
  }
  return <Age at={delivery.completed_at ?? delivery.created_at} />;
}
