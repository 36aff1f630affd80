/** What becomes of a delivery, as it happens. */
import type { DeliveryDetail } from '../../api/types.ts';
import { milliseconds } from '../../lib/time.ts';
import { StatusBadge } from '../../ui/badge.tsx';
import { Spinner, TextLink } from '../../ui/button.tsx';
import { sentence } from '../../ui/error-panel.tsx';
import { Countdown } from '../../ui/time.tsx';

export function Arrival({ delivery, waiting }: { delivery: DeliveryDetail | undefined; waiting: string }) {
  const last = delivery?.attempt_log.at(-1);
  if (delivery === undefined || last === undefined) {
    return (
      <p role="status" className="text-soft flex items-center gap-2">
        <Spinner /> {waiting}
      </p>
    );
  }
  const isRetrying = delivery.status === 'pending';
  return (
    <div role="status" className="border-line bg-sunken space-y-1 rounded-lg border p-3">
      <p className="flex flex-wrap items-center gap-2">
        <StatusBadge status={isRetrying ? 'retrying' : delivery.status} />
        <TextLink
          to="/deliveries/$deliveryId"
          params={{ deliveryId: delivery.delivery_id }}
          className="min-w-0 truncate font-mono text-[0.8125rem]"
        >
          {delivery.event}
        </TextLink>
        <span className="text-soft">
          attempt {last.number}: {last.http_status ?? last.outcome} in {milliseconds(last.duration_ms)}
        </span>
      </p>
      {last.error !== null && <p className="text-bad break-words">{sentence(last.error)}</p>}
      {delivery.next_attempt_at !== null && (
        <p className="text-soft">
          Next attempt <Countdown to={delivery.next_attempt_at} passed="now" />.
        </p>
      )}
    </div>
  );
}
