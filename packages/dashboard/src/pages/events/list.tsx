/** The log of events: everything that was published, and who got it. */
import { keepPreviousData } from '@tanstack/react-query';
import { useNavigate, useSearch } from '@tanstack/react-router';

import type { EventSummary } from '../../api/types.ts';
import { useApiQuery } from '../../api/use-api.ts';
import { NeedsAccount } from '../../layout/needs-account.tsx';
import { Badge } from '../../ui/badge.tsx';
import { Button, TextLink } from '../../ui/button.tsx';
import { ErrorPanel } from '../../ui/error-panel.tsx';
import { EventIcon } from '../../ui/icons.tsx';
import { EmptyState, Id, PageHeader } from '../../ui/page.tsx';
import { Pager } from '../../ui/pager.tsx';
import { TableSkeleton } from '../../ui/skeleton.tsx';
import { type Column, DataTable } from '../../ui/table.tsx';
import { Age } from '../../ui/time.tsx';
import { EventTypeFilter, IdFilter, TimeRange } from '../deliveries/filters.tsx';
import { useEventTypes } from '../endpoints/queries.ts';
import { DeliveryCounts } from './counts.tsx';

interface EventPage {
  events: EventSummary[];
  next_cursor: string | null;
}

const COLUMNS: Column<EventSummary>[] = [
  {
    header: 'Event',
    lead: true,
    className: 'md:max-w-0 md:w-2/5',
    cell: (event) => (
      <TextLink
        to="/events/$eventId"
        params={{ eventId: event.event_id }}
        className="block truncate font-mono text-[0.8125rem] font-medium"
        title={event.event}
      >
        {event.event}
      </TextLink>
    ),
  },
  {
    header: 'Id',
    className: 'md:max-w-0 md:w-3/5',
    cell: (event) => <Id>{event.event_id}</Id>,
  },
  {
    header: 'Deliveries',
    className: 'md:min-w-56',
    cell: (event) => (
      <span className="flex flex-wrap items-center justify-end gap-1 md:justify-start">
        <DeliveryCounts deliveries={event.deliveries} />
        {event.note !== null && <Badge tone="warn">{event.note}</Badge>}
      </span>
    ),
  },
  {
    header: 'Published',
    align: 'right',
    className: 'w-0 md:min-w-24',
    cell: (event) => <Age at={event.created_at} />,
  },
];

export default function EventsPage() {
  return (
    <NeedsAccount title="Events" what="Events">
      <EventsOfAccount />
    </NeedsAccount>
  );
}

function EventsOfAccount() {
  const { account: _account, ...query } = useSearch({ from: '/app/events' });
  const navigate = useNavigate({ from: '/events' });
  const types = useEventTypes();
  const page = useApiQuery<EventPage>('/v2/event_log', { query, placeholderData: keepPreviousData });
  const narrow = (part: Partial<typeof query>) =>
    void navigate({ search: (old) => ({ ...old, ...part, cursor: undefined }), replace: true });
  const isNarrowed = Object.entries(query).some(([name, value]) => name !== 'cursor' && value !== undefined);
  const events = page.data?.events ?? [];
  return (
    <>
      <PageHeader title="Events">
        Everything that was published for this account, also what nobody subscribed to.
      </PageHeader>
      <div className="mb-2 grid gap-2 sm:grid-cols-2 lg:max-w-2xl">
        <EventTypeFilter
          types={types.data?.event_types ?? []}
          value={query.event}
          onChange={(event) => narrow({ event })}
        />
        <IdFilter label="Event id" value={query.event_id} onChange={(id) => narrow({ event_id: id })} />
      </div>
      <TimeRange since={query.since} until={query.until} onChange={narrow}>
        {isNarrowed && (
          <Button
            small
            kind="quiet"
            onClick={() => void navigate({ search: (old) => ({ account: old.account }), replace: true })}
          >
            Clear filters
          </Button>
        )}
      </TimeRange>
      {page.isError ? (
        <ErrorPanel
          error={page.error}
          title="The events can’t be shown"
          onRetry={() => void page.refetch()}
        />
      ) : page.isPending ? (
        <TableSkeleton />
      ) : events.length === 0 ? (
        <EmptyState
          icon={<EventIcon className="size-8" />}
          title={isNarrowed ? 'No event fits these filters' : 'No events yet'}
        >
          {isNarrowed
            ? 'Take a filter away, or choose a longer time.'
            : 'An event appears here as soon as the product publishes one for this account.'}
        </EmptyState>
      ) : (
        <DataTable
          label="Events"
          columns={COLUMNS}
          rows={events}
          rowKey={(event) => event.event_id}
          stale={page.isPlaceholderData}
        />
      )}
      <Pager
        cursor={query.cursor}
        next={page.data?.next_cursor ?? null}
        onGo={(cursor) => void navigate({ search: (old) => ({ ...old, cursor }) })}
      />
    </>
  );
}
