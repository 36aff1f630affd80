/** Deliveries in rows that can be chosen. */
import { useEffect, useRef } from 'react';

import type { Delivery, Endpoint } from '../../api/types.ts';
import { TextLink } from '../../ui/button.tsx';
import { type Column, DataTable } from '../../ui/table.tsx';
import { Age } from '../../ui/time.tsx';
import { endpointName } from '../endpoints/queries.ts';
import { DeliveryState, DeliveryWhen } from './parts.tsx';

interface DeliveryTableProps {
  deliveries: readonly Delivery[];
  /** To show URLs; until they are there, ids stand in their place. */
  endpoints: readonly Endpoint[] | undefined;
  chosen: ReadonlySet<string>;
  onChoose(chosen: ReadonlySet<string>): void;
  stale: boolean;
  isFresh(delivery: Delivery): boolean;
}

export function DeliveryTable(props: DeliveryTableProps) {
  const { deliveries, endpoints, chosen, onChoose, stale, isFresh } = props;
  const ids = deliveries.map(({ delivery_id: id }) => id);
  const choose = (of: readonly string[], on: boolean) => {
    const next = new Set(chosen);
    for (const id of of) {
      if (on) next.add(id);
      else next.delete(id);
    }
    onChoose(next);
  };
  const columns: Column<Delivery>[] = [
    {
      header: 'Choose',
      hideHeader: true,
      className: 'w-0 pr-0!',
      cell: (delivery) => (
        <input
          type="checkbox"
          className="block"
          aria-label={`Choose ${delivery.event} of ${new Date(delivery.created_at * 1000).toISOString()}`}
          checked={chosen.has(delivery.delivery_id)}
          onChange={(event) => choose([delivery.delivery_id], event.target.checked)}
        />
      ),
    },
    { header: 'Status', className: 'w-0', cell: (delivery) => <DeliveryState delivery={delivery} /> },
    {
      header: 'Event',
      className: 'md:max-w-0 md:w-1/2',
      cell: (delivery) => (
        <TextLink
          to="/deliveries/$deliveryId"
          params={{ deliveryId: delivery.delivery_id }}
          className="block truncate font-mono text-[0.8125rem] font-medium"
          title={delivery.event}
        >
          {delivery.event}
        </TextLink>
      ),
    },
    {
      header: 'Endpoint',
      className: 'md:max-w-0 md:w-1/2',
      cell: (delivery) => (
        <span
          className="text-soft block truncate font-mono text-[0.8125rem]"
          title={endpointName(endpoints, delivery.endpoint_id)}
        >
          {endpointName(endpoints, delivery.endpoint_id)}
        </span>
      ),
    },
    { header: 'Attempts', align: 'right', className: 'w-0', cell: (delivery) => delivery.attempts },
    {
      header: 'Ended or due',
      align: 'right',
      className: 'w-0 md:min-w-32',
      cell: (delivery) => <DeliveryWhen delivery={delivery} />,
    },
    {
      header: 'Made',
      align: 'right',
      className: 'w-0 md:min-w-24',
      cell: (delivery) => <Age at={delivery.created_at} />,
    },
  ];
  return (
    <>
      <ChooseAll
        chosen={ids.filter((id) => chosen.has(id)).length}
        of={ids.length}
        onChoose={(on) => choose(ids, on)}
      />
      <DataTable
        label="Deliveries"
        columns={columns}
        rows={deliveries}
        rowKey={({ delivery_id: id }) => id}
        stale={stale}
        isFresh={isFresh}
      />
    </>
  );
}

function ChooseAll({ chosen, of, onChoose }: { chosen: number; of: number; onChoose(on: boolean): void }) {
  const box = useRef<HTMLInputElement>(null);
  useEffect(() => {
    if (box.current !== null) box.current.indeterminate = chosen > 0 && chosen < of;
  }, [chosen, of]);
  return (
    <label className="text-soft mb-2 ml-3 inline-flex items-center gap-3 text-[0.8125rem]">
      <input
        ref={box}
        type="checkbox"
        checked={chosen === of}
        onChange={(event) => onChoose(event.target.checked)}
      />
      {chosen === 0 ? 'Choose all on this page' : `${chosen} of ${of} on this page chosen`}
    </label>
  );
}
