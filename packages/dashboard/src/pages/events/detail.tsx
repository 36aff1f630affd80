/** One event: its data, and what became of it at each endpoint. */
import { useParams } from '@tanstack/react-router';

import type { EventDetail } from '../../api/types.ts';
import { useApiQuery } from '../../api/use-api.ts';
import { NeedsAccount } from '../../layout/needs-account.tsx';
import { BackLink } from '../../ui/back-link.tsx';
import { StatusBadge } from '../../ui/badge.tsx';
import { ButtonLink, TextLink } from '../../ui/button.tsx';
import { CodeBlock } from '../../ui/code.tsx';
import { CopyButton } from '../../ui/copy.tsx';
import { ErrorPanel, sentence } from '../../ui/error-panel.tsx';
import { Card, Facts, Id, PageHeader } from '../../ui/page.tsx';
import { CardSkeleton } from '../../ui/skeleton.tsx';
import { TimeAndAge } from '../../ui/time.tsx';
import { endpointName, useEndpoints } from '../endpoints/queries.ts';

export default function EventPage() {
  return (
    <NeedsAccount title="Event" what="Events">
      <EventInView />
    </NeedsAccount>
  );
}

function EventInView() {
  const { eventId } = useParams({ from: '/app/events/$eventId' });
  const event = useApiQuery<EventDetail>(`/v2/event_log/${encodeURIComponent(eventId)}`, {
    refetchInterval: (query) => ((query.state.data?.deliveries.pending ?? 0) > 0 ? 3000 : false),
  });
  if (event.isPending) return <CardSkeleton lines={10} />;
  if (event.data === undefined) {
    return (
      <>
        <PageHeader title="Event" back={<BackLink to="/events">Events</BackLink>} />
        <ErrorPanel
          error={event.error}
          title="This event can’t be shown"
          onRetry={() => void event.refetch()}
        />
      </>
    );
  }
  return <EventFacts event={event.data} />;
}

function EventFacts({ event }: { event: EventDetail }) {
  return (
    <>
      <PageHeader
        title={event.event}
        mono
        back={<BackLink to="/events">Events</BackLink>}
        actions={
          <ButtonLink to="/event-types/$name" params={{ name: event.event }}>
            About this type
          </ButtonLink>
        }
      />
      <div className="grid items-start gap-4 lg:grid-cols-[minmax(0,1fr)_minmax(0,22rem)]">
        <div className="min-w-0 space-y-4">
          <Card title="Endpoints" flush>
            <Targets event={event} />
          </Card>
          <CodeBlock label="Data" text={JSON.stringify(event.data, null, 2)} wrap />
        </div>
        <Card title="About">
          <Facts
            facts={[
              [
                'Id',
                <span key="id" className="flex items-center gap-1">
                  <Id>{event.event_id}</Id>
                  <CopyButton text={event.event_id} label="Copy the event’s id" />
                </span>,
              ],
              ['Published', <TimeAndAge key="published" at={event.created_at} />],
              ['Timestamp', <TimeAndAge key="timestamp" at={event.timestamp} />],
              ['Note', event.note === null ? undefined : sentence(event.note)],
            ]}
          />
        </Card>
      </div>
    </>
  );
}

function Targets({ event }: { event: EventDetail }) {
  const endpoints = useEndpoints().data?.endpoints;
  if (event.targets.length === 0) {
    return (
      <p className="text-soft px-4 pt-1 pb-4">
        Nobody got it: no endpoint subscribed to this type when it was published. An endpoint that does now
        can get it by a replay of what is missing.
      </p>
    );
  }
  return (
    <ul className="divide-line mt-2 divide-y">
      {event.targets.map((target) => {
        const { endpoint_id: endpointId, delivery_id: deliveryId } = target;
        const name = endpointName(endpoints, endpointId);
        return (
          <li
            key={endpointId}
            className="flex min-h-9 flex-wrap items-center gap-x-3 gap-y-1 px-4 py-1.5 md:flex-nowrap"
          >
            <span className="w-20 shrink-0">
              <StatusBadge status={target.status} />
            </span>
            <span className="min-w-0 flex-1">
              {deliveryId === undefined ? (
                <TextLink
                  to="/endpoints/$endpointId"
                  params={{ endpointId }}
                  className="block truncate font-mono text-[0.8125rem]"
                  title={name}
                >
                  {name}
                </TextLink>
              ) : (
                <TextLink
                  to="/deliveries/$deliveryId"
                  params={{ deliveryId }}
                  className="block truncate font-mono text-[0.8125rem]"
                  title={name}
                >
                  {name}
                </TextLink>
              )}
              {target.reason !== null && (
                <span className="text-soft block text-[0.8125rem] break-words">
                  {sentence(target.reason)}
                </span>
              )}
            </span>
          </li>
        );
      })}
    </ul>
  );
}
