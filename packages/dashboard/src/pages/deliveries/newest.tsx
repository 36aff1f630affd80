/** The newest deliveries of something, as part of its page. */
import type { ReactNode } from 'react';

import type { Query } from '../../api/request.ts';
import type { Delivery } from '../../api/types.ts';
import { useApiQuery } from '../../api/use-api.ts';
import { TextLink } from '../../ui/button.tsx';
import { ErrorPanel } from '../../ui/error-panel.tsx';
import { Card } from '../../ui/page.tsx';
import { Skeleton } from '../../ui/skeleton.tsx';
import { DeliveryState, DeliveryWhen } from './parts.tsx';

const SHOWN = 8;

interface NewestDeliveriesProps {
  title: string;
  /** The list's filters. */
  query: Query;
  /** What to say when there are none. */
  empty: string;
  actions?: ReactNode;
}

export function NewestDeliveries({ title, query, empty, actions }: NewestDeliveriesProps) {
  const deliveries = useApiQuery<{ deliveries: Delivery[] }>('/v2/deliveries', {
    query: { ...query, limit: SHOWN },
    refetchInterval: 5000,
  });
  return (
    <Card title={title} actions={actions} flush>
      {deliveries.isError ? (
        <div className="p-4">
          <ErrorPanel error={deliveries.error} compact onRetry={() => void deliveries.refetch()} />
        </div>
      ) : (
        <ul className="divide-line mt-2 divide-y">
          {deliveries.isPending &&
            Array.from({ length: 4 }, (_, row) => (
              <li key={row} className="flex h-9 items-center px-4">
                <Skeleton className="h-3.5 w-1/2" />
              </li>
            ))}
          {deliveries.data?.deliveries.length === 0 && <li className="text-soft px-4 pb-4">{empty}</li>}
          {deliveries.data?.deliveries.map((delivery) => (
            <li
              key={delivery.delivery_id}
              className="hover:bg-hover flex min-h-9 flex-wrap items-center gap-x-3 gap-y-1 px-4 py-1.5"
            >
              <span className="w-20 shrink-0">
                <DeliveryState delivery={delivery} />
              </span>
              <TextLink
                to="/deliveries/$deliveryId"
                params={{ deliveryId: delivery.delivery_id }}
                className="min-w-0 flex-1 truncate font-mono text-[0.8125rem]"
              >
                {delivery.event}
              </TextLink>
              <span className="text-faint text-[0.8125rem]">
                <DeliveryWhen delivery={delivery} />
              </span>
            </li>
          ))}
        </ul>
      )}
    </Card>
  );
}
