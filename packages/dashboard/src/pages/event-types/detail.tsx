/** One event type: what it means, what is in it, who hears it. */
import { useNavigate, useParams, useSearch } from '@tanstack/react-router';
import { useState } from 'react';

import type { Endpoint, EventType } from '../../api/types.ts';
import { useApiQuery } from '../../api/use-api.ts';
import { useAccount } from '../../session/session.tsx';
import { BackLink } from '../../ui/back-link.tsx';
import { Badge } from '../../ui/badge.tsx';
import { Button, ButtonLink, IconButton, TextLink } from '../../ui/button.tsx';
import { CodeBlock } from '../../ui/code.tsx';
import { ErrorPanel } from '../../ui/error-panel.tsx';
import { DotsIcon } from '../../ui/icons.tsx';
import { Menu } from '../../ui/menu.tsx';
import { Card, Facts, PageHeader } from '../../ui/page.tsx';
import { CardSkeleton, Skeleton } from '../../ui/skeleton.tsx';
import { useEndpoints } from '../endpoints/queries.ts';
import { EndpointState } from '../endpoints/status.tsx';
import { DeleteTypeDialog, DeprecateDialog } from './danger.tsx';
import { EventTypeEditor } from './editor.tsx';
import { SchemaTable } from './schema-table.tsx';
import { TestTypeDialog } from './test.tsx';

export default function EventTypePage() {
  const { name } = useParams({ from: '/app/event-types/$name' });
  const { tab } = useSearch({ from: '/app/event-types/$name' });
  const navigate = useNavigate({ from: '/event-types/$name' });
  const { isOperator } = useAccount();
  const type = useApiQuery<EventType>(`/v2/event_type/${encodeURIComponent(name)}`);
  if (type.isPending) return <CardSkeleton lines={12} />;
  if (type.data === undefined || type.error?.isNotFound === true) {
    return (
      <>
        <PageHeader title={name} mono back={<BackLink to="/event-types">Event types</BackLink>} />
        {type.error !== null && (
          <ErrorPanel
            error={type.error}
            title="This event type can’t be shown"
            onRetry={() => void type.refetch()}
          />
        )}
      </>
    );
  }
  if (tab === 'edit' && isOperator && !type.data.built_in) {
    return (
      <EventTypeEditor
        key={name}
        type={type.data}
        onClose={() => void navigate({ search: (old) => ({ ...old, tab: undefined }), replace: true })}
      />
    );
  }
  return <EventTypeDetail type={type.data} />;
}

type OpenDialog = 'test' | 'deprecate' | 'delete' | null;

function EventTypeDetail({ type }: { type: EventType }) {
  const [dialog, setDialog] = useState<OpenDialog>(null);
  const close = () => setDialog(null);
  const { account, isOperator } = useAccount();
  const navigate = useNavigate({ from: '/event-types/$name' });
  const endpoints = useEndpoints(account !== null);
  const { name, example } = type;
  const edit = () => void navigate({ search: (old) => ({ ...old, tab: 'edit' }) });
  return (
    <>
      <PageHeader
        title={name}
        mono
        back={<BackLink to="/event-types">Event types</BackLink>}
        beside={
          <>
            <Badge>{type.category}</Badge>
            {type.deprecated && <Badge tone="warn">deprecated</Badge>}
            {!type.built_in && <Badge tone="info">own</Badge>}
          </>
        }
        actions={
          <>
            {account !== null && (
              <>
                <Button onClick={() => setDialog('test')} disabled={example === null || !endpoints.isSuccess}>
                  Send a test
                </Button>
                <ButtonLink to="/endpoints/new" search={{ events: name }}>
                  Subscribe
                </ButtonLink>
              </>
            )}
            {isOperator && (
              <Menu
                trigger={
                  <IconButton label="More actions" kind="secondary" small={false} icon={<DotsIcon />} />
                }
                items={[
                  ...(type.built_in ? [] : [{ label: 'Change…', onSelect: edit }]),
                  {
                    label: type.deprecated ? 'Take the deprecation back…' : 'Deprecate…',
                    onSelect: () => setDialog('deprecate'),
                  },
                  ...(type.built_in
                    ? []
                    : [{ label: 'Delete…', danger: true, onSelect: () => setDialog('delete') }]),
                ]}
              />
            )}
          </>
        }
      >
        {type.description}
        {/[.!?]$/.test(type.description) ? '' : '.'}
      </PageHeader>
      <div className="grid items-start gap-4 lg:grid-cols-[minmax(0,1fr)_minmax(0,24rem)]">
        <div className="min-w-0 space-y-4">
          <Card title="What is in data">
            <SchemaTable schema={type.schema} />
          </Card>
        </div>
        <div className="min-w-0 space-y-4">
          <Card title="Example">
            {example === null ? (
              <p className="text-soft">
                There is none, so no test can be sent.
                {isOperator && !type.built_in && ' Add one: subscribers build against it.'}
              </p>
            ) : (
              <CodeBlock
                label="As it is delivered"
                wrap
                text={JSON.stringify(
                  { event_id: 'evt_…', event: name, timestamp: 1767225600, data: example },
                  null,
                  2,
                )}
              />
            )}
          </Card>
          <Subscribers
            name={name}
            endpoints={endpoints.data?.endpoints}
            error={endpoints.isError ? <ErrorPanel error={endpoints.error} compact /> : null}
          />
          <Card title="About">
            <Facts
              facts={[
                ['Category', type.category],
                ['Kind', type.built_in ? 'built in' : 'the operator’s own'],
                ['Deprecated', type.deprecated ? 'yes: it may go away. Don’t build on it.' : 'no'],
              ]}
            />
            {account !== null && (
              <div className="mt-4 flex flex-wrap gap-2">
                <ButtonLink small to="/deliveries" search={{ event: name }}>
                  Deliveries of it
                </ButtonLink>
                <ButtonLink small to="/events" search={{ event: name }}>
                  Events of it
                </ButtonLink>
              </div>
            )}
          </Card>
        </div>
      </div>
      <TestTypeDialog
        type={type}
        endpoints={endpoints.data?.endpoints ?? []}
        open={dialog === 'test'}
        onClose={close}
      />
      <DeprecateDialog type={type} open={dialog === 'deprecate'} onClose={close} />
      <DeleteTypeDialog type={type} open={dialog === 'delete'} onClose={close} />
    </>
  );
}

function Subscribers({
  name,
  endpoints,
  error,
}: {
  name: string;
  endpoints: readonly Endpoint[] | undefined;
  error: React.ReactNode;
}) {
  const { account } = useAccount();
  const subscribed = endpoints?.filter(({ events }) => events.includes(name));
  return (
    <Card title="Who gets it" flush>
      {account === null ? (
        <p className="text-soft px-4 pt-1 pb-4">
          Choose an account at the left to see which of its endpoints do.
        </p>
      ) : error !== null ? (
        <div className="p-4">{error}</div>
      ) : subscribed === undefined ? (
        <div className="px-4 pt-2 pb-4">
          <Skeleton className="h-3.5 w-2/3" />
        </div>
      ) : subscribed.length === 0 ? (
        <p className="text-soft px-4 pt-1 pb-4">No endpoint of {account} subscribes to it.</p>
      ) : (
        <ul className="divide-line mt-2 divide-y">
          {subscribed.map((endpoint) => (
            <li key={endpoint.endpoint_id} className="space-y-1 px-4 py-2">
              <TextLink
                to="/endpoints/$endpointId"
                params={{ endpointId: endpoint.endpoint_id }}
                className="block truncate font-mono text-[0.8125rem]"
                title={endpoint.url}
              >
                {endpoint.url}
              </TextLink>
              <EndpointState endpoint={endpoint} />
            </li>
          ))}
        </ul>
      )}
    </Card>
  );
}
