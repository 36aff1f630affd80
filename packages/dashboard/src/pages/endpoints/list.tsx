/** An account's endpoints: how each one is, and the way to more. */
import { useNavigate, useSearch } from '@tanstack/react-router';

import type { Endpoint } from '../../api/types.ts';
import { NeedsAccount } from '../../layout/needs-account.tsx';
import { counted } from '../../lib/text.ts';
import { ButtonLink, TextLink } from '../../ui/button.tsx';
import { ErrorPanel } from '../../ui/error-panel.tsx';
import { SelectField, TextField } from '../../ui/field.tsx';
import { EndpointIcon, PlusIcon } from '../../ui/icons.tsx';
import { EmptyState, PageHeader } from '../../ui/page.tsx';
import { Skeleton, TableSkeleton } from '../../ui/skeleton.tsx';
import { type Column, DataTable } from '../../ui/table.tsx';
import { Age } from '../../ui/time.tsx';
import { dayOfHours, useDayByEndpoint, useEndpointHealth, useEndpoints } from './queries.ts';
import { Sparkline, hoursOf } from './sparkline.tsx';
import { EndpointState } from './status.tsx';

export default function EndpointsPage() {
  return (
    <NeedsAccount title="Endpoints" what="Endpoints">
      <EndpointsOfAccount />
    </NeedsAccount>
  );
}

function EndpointsOfAccount() {
  const search = useSearch({ from: '/app/endpoints' });
  const navigate = useNavigate({ from: '/endpoints' });
  const endpoints = useEndpoints();
  const health = useEndpointHealth();
  const day = useDayByEndpoint();
  const since = dayOfHours();

  const healthOf = (endpointId: string) =>
    health.data?.endpoints.find((entry) => entry.endpoint_id === endpointId);
  const wanted = (search.q ?? '').toLowerCase();
  const isShown = (endpoint: Endpoint): boolean => {
    const failing = endpoint.status === 'enabled' && Boolean(healthOf(endpoint.endpoint_id)?.failing_since);
    if (search.status === 'failing' ? !failing : search.status && endpoint.status !== search.status) {
      return false;
    }
    return [endpoint.url, endpoint.description ?? '', endpoint.endpoint_id, ...endpoint.events].some((text) =>
      text.toLowerCase().includes(wanted),
    );
  };

  const columns: Column<Endpoint>[] = [
    {
      header: 'Endpoint',
      lead: true,
      className: 'md:max-w-0 md:w-full',
      cell: (endpoint) => (
        <div className="min-w-0">
          <TextLink
            to="/endpoints/$endpointId"
            params={{ endpointId: endpoint.endpoint_id }}
            className="block truncate font-mono text-[0.8125rem] font-medium"
            title={endpoint.url}
          >
            {endpoint.url}
          </TextLink>
          {endpoint.description !== undefined && (
            <span className="text-soft block truncate text-[0.8125rem]">{endpoint.description}</span>
          )}
        </div>
      ),
    },
    {
      header: 'Status',
      className: 'md:min-w-40',
      cell: (endpoint) => <EndpointState endpoint={endpoint} health={healthOf(endpoint.endpoint_id)} />,
    },
    {
      header: 'Event types',
      align: 'right',
      cell: (endpoint) => <span title={endpoint.events.join('\n')}>{endpoint.events.length}</span>,
    },
    {
      header: 'Last 24 hours',
      cell: (endpoint) =>
        day.data === undefined ? (
          <Skeleton className="h-6 w-30" />
        ) : (
          <Sparkline hours={hoursOf(day.data.series, endpoint.endpoint_id, since)} />
        ),
    },
    { header: 'Added', align: 'right', cell: (endpoint) => <Age at={endpoint.created_at} /> },
  ];

  const all = endpoints.data?.endpoints ?? [];
  const shown = all.filter(isShown);
  return (
    <>
      <PageHeader
        title="Endpoints"
        actions={
          <ButtonLink to="/endpoints/new" kind="primary" icon={<PlusIcon />}>
            Add endpoint
          </ButtonLink>
        }
      >
        Where events go: a URL, the event types it gets, and the secret that signs them.
      </PageHeader>
      {endpoints.isError ? (
        <ErrorPanel
          error={endpoints.error}
          title="The endpoints can’t be shown"
          onRetry={() => void endpoints.refetch()}
        />
      ) : endpoints.isPending ? (
        <TableSkeleton rows={4} />
      ) : all.length === 0 ? (
        <EmptyState
          icon={<EndpointIcon className="size-8" />}
          title="No endpoints yet"
          action={
            <>
              <ButtonLink to="/endpoints/new" kind="primary">
                Add the first endpoint
              </ButtonLink>
              <ButtonLink to="/first-run">Take the first steps</ButtonLink>
            </>
          }
        >
          Give the URL of your receiver and choose what it should hear. No receiver yet? The first steps have
          one built in.
        </EmptyState>
      ) : (
        <>
          <div className="mb-3 grid gap-2 sm:grid-cols-[minmax(0,20rem)_11rem_1fr] sm:items-center">
            <TextField
              label="Search"
              hideLabel
              type="search"
              placeholder="URL, description, event type"
              value={search.q ?? ''}
              onChange={(event) =>
                void navigate({
                  search: (old) => ({ ...old, q: event.target.value || undefined }),
                  replace: true,
                })
              }
            />
            <SelectField
              label="Status"
              hideLabel
              value={search.status ?? ''}
              onChange={(event) =>
                void navigate({
                  search: (old) => ({ ...old, status: event.target.value || undefined }),
                  replace: true,
                })
              }
            >
              <option value="">Every status</option>
              <option value="enabled">Enabled</option>
              <option value="failing">Failing</option>
              <option value="disabled">Disabled</option>
            </SelectField>
            <p className="text-faint text-[0.8125rem] sm:text-right" aria-live="polite">
              {shown.length === all.length
                ? counted(all.length, 'endpoint')
                : `${shown.length} of ${counted(all.length, 'endpoint')}`}
            </p>
          </div>
          {shown.length === 0 ? (
            <EmptyState title="No endpoint fits the search" />
          ) : (
            <DataTable
              label="Endpoints"
              columns={columns}
              rows={shown}
              rowKey={(endpoint) => endpoint.endpoint_id}
            />
          )}
        </>
      )}
    </>
  );
}
