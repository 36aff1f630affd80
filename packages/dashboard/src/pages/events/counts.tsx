/** How an event's deliveries stand, those states that occur. */
import { DELIVERY_STATUSES, type EventSummary } from '../../api/types.ts';
import { count } from '../../lib/text.ts';
import { Badge, type Tone } from '../../ui/badge.tsx';

const TONES: Record<(typeof DELIVERY_STATUSES)[number], Tone> = {
  pending: 'info',
  delivered: 'ok',
  dead: 'bad',
  cancelled: 'plain',
};

export function DeliveryCounts({ deliveries }: { deliveries: EventSummary['deliveries'] }) {
  const states = DELIVERY_STATUSES.filter((status) => deliveries[status] > 0);
  if (states.length === 0) return <span className="text-faint">none</span>;
  return states.map((status) => (
    <Badge key={status} tone={TONES[status]}>
      {count(deliveries[status])} {status}
    </Badge>
  ));
}
