/** The log of deliveries. */
import { useNavigate, useSearch } from '@tanstack/react-router';
import { keepPreviousData } from '@tanstack/react-query';
import { useRef, useState } from 'react';

import { DELIVERY_STATUSES, type Delivery } from '../../api/types.ts';
import { useApiQuery } from '../../api/use-api.ts';
import { NeedsAccount } from '../../layout/needs-account.tsx';
import { Button } from '../../ui/button.tsx';
import { ErrorPanel } from '../../ui/error-panel.tsx';
import { SelectField } from '../../ui/field.tsx';
import { DeliveryIcon, PauseIcon, PlayIcon } from '../../ui/icons.tsx';
import { EmptyState, PageHeader } from '../../ui/page.tsx';
import { Pager } from '../../ui/pager.tsx';
import { TableSkeleton } from '../../ui/skeleton.tsx';
import { useEndpoints, useEventTypes } from '../endpoints/queries.ts';
import { BulkRetry } from './bulk-retry.tsx';
import { EndpointFilter, EventTypeFilter, IdFilter, TimeRange } from './filters.tsx';
import { DeliveryTable } from './table.tsx';

const LIVE_MS = 2000;

interface DeliveryPage {
  deliveries: Delivery[];
  next_cursor: string | null;
}

export default function DeliveriesPage() {
  return (
    <NeedsAccount title="Deliveries" what="Deliveries">
      <DeliveriesOfAccount />
    </NeedsAccount>
  );
}

function DeliveriesOfAccount() {
  const { live, account: _account, ...query } = useSearch({ from: '/app/deliveries' });
  const navigate = useNavigate({ from: '/deliveries' });
  const isLive = live !== undefined && query.cursor === undefined;
  const types = useEventTypes();
  const endpoints = useEndpoints();
  const [chosen, setChosen] = useState<ReadonlySet<string>>(new Set());
  const page = useApiQuery<DeliveryPage>('/v2/deliveries', {
    query,
    placeholderData: keepPreviousData,
    // Only while the page is looked at: React Query rests when it is hidden.
    refetchInterval: isLive ? LIVE_MS : false,
  });
  // What was there when the tail began isn't news.
  const known = useRef<Set<string> | null>(null);
  if (!isLive) known.current = null;
  else if (known.current === null && page.data !== undefined) {
    known.current = new Set(page.data.deliveries.map(({ delivery_id: id }) => id));
  }

  /** A filter changes: from the newest on, nothing chosen. */
  const narrow = (part: Partial<typeof query>) => {
    setChosen(new Set());
    void navigate({ search: (old) => ({ ...old, ...part, cursor: undefined }), replace: true });
  };
  const isNarrowed = Object.entries(query).some(([name, value]) => name !== 'cursor' && value !== undefined);
  const deliveries = page.data?.deliveries ?? [];

  return (
    <>
      <PageHeader
        title="Deliveries"
        actions={
          <Button
            icon={isLive ? <PauseIcon /> : <PlayIcon />}
            aria-pressed={isLive}
            onClick={() =>
              void navigate({
                search: (old) => ({ ...old, live: isLive ? undefined : '1', cursor: undefined }),
                replace: true,
              })
            }
          >
            {isLive ? 'Live' : 'Go live'}
          </Button>
        }
      >
        Each event for each endpoint, newest first: what became of it, and when it is tried again.
      </PageHeader>
      <div className="mb-2 grid gap-2 sm:grid-cols-2 lg:grid-cols-4">
        <SelectField
          label="Status"
          hideLabel
          value={query.status ?? ''}
          onChange={(event) => narrow({ status: event.target.value || undefined })}
        >
          <option value="">Every status</option>
          {DELIVERY_STATUSES.map((status) => (
            <option key={status}>{status}</option>
          ))}
        </SelectField>
        <EventTypeFilter
          types={types.data?.event_types ?? []}
          value={query.event}
          onChange={(event) => narrow({ event })}
        />
        <EndpointFilter
          endpoints={endpoints.data?.endpoints ?? []}
          value={query.endpoint_id}
          onChange={(endpointId) => narrow({ endpoint_id: endpointId })}
        />
        <IdFilter label="Event id" value={query.event_id} onChange={(id) => narrow({ event_id: id })} />
      </div>
      <TimeRange since={query.since} until={query.until} onChange={narrow}>
        {isNarrowed && (
          <Button
            small
            kind="quiet"
            onClick={() =>
              void navigate({ search: (old) => ({ account: old.account, live: old.live }), replace: true })
            }
          >
            Clear filters
          </Button>
        )}
      </TimeRange>
      {page.isError ? (
        <ErrorPanel
          error={page.error}
          title="The deliveries can’t be shown"
          onRetry={() => void page.refetch()}
        />
      ) : page.isPending ? (
        <TableSkeleton />
      ) : deliveries.length === 0 ? (
        <EmptyState
          icon={<DeliveryIcon className="size-8" />}
          title={isNarrowed ? 'No delivery fits these filters' : 'No deliveries yet'}
        >
          {isNarrowed
            ? 'Take a filter away, or choose a longer time.'
            : 'When an event is published to which an endpoint subscribes, its delivery appears here. Send an endpoint a test to see one.'}
        </EmptyState>
      ) : (
        <>
          <BulkRetry chosen={chosen} onDone={() => setChosen(new Set())} />
          <DeliveryTable
            deliveries={deliveries}
            endpoints={endpoints.data?.endpoints}
            chosen={chosen}
            onChoose={setChosen}
            stale={page.isPlaceholderData}
            isFresh={({ delivery_id: id }) => known.current !== null && !known.current.has(id)}
          />
        </>
      )}
      <Pager
        cursor={query.cursor}
        next={page.data?.next_cursor ?? null}
        onGo={(cursor) => {
          setChosen(new Set());
          void navigate({ search: (old) => ({ ...old, cursor, live: undefined }) });
        }}
      />
    </>
  );
}
