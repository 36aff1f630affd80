/** One account, as the operator sees it. */
import { useParams } from '@tanstack/react-router';
import { useState } from 'react';

import type { Account, ApiKey, Endpoint, EndpointHealth, Overview } from '../../api/types.ts';
import { useApiQuery } from '../../api/use-api.ts';
import { presentSeconds } from '../../lib/now.ts';
import { count } from '../../lib/text.ts';
import { BackLink } from '../../ui/back-link.tsx';
import { StatusBadge } from '../../ui/badge.tsx';
import { Button, ButtonLink, IconButton, TextLink } from '../../ui/button.tsx';
import { CodeBlock } from '../../ui/code.tsx';
import { ErrorPanel } from '../../ui/error-panel.tsx';
import { DotsIcon, EyeIcon } from '../../ui/icons.tsx';
import { Menu } from '../../ui/menu.tsx';
import { Card, Facts, Id, PageHeader } from '../../ui/page.tsx';
import { CardSkeleton, Skeleton } from '../../ui/skeleton.tsx';
import { Age, TimeAndAge } from '../../ui/time.tsx';
import { keyState } from '../api-keys/state.ts';
import { EndpointState } from '../endpoints/status.tsx';
import { MetadataDialog } from './create.tsx';
import { DeleteAccountDialog, SuspendDialog } from './danger.tsx';
import { PortalLinkDialog } from './portal-link.tsx';

export default function AccountPage() {
  const { username } = useParams({ from: '/app/accounts/$username' });
  const account = useApiQuery<Account>(`/v2/account/${encodeURIComponent(username)}`);
  if (account.isPending) return <CardSkeleton lines={8} />;
  if (account.data === undefined || account.error?.isNotFound === true) {
    return (
      <>
        <PageHeader title={username} back={<BackLink to="/accounts">Accounts</BackLink>} />
        {account.error !== null && (
          <ErrorPanel
            error={account.error}
            title="This account can’t be shown"
            onRetry={() => void account.refetch()}
          />
        )}
      </>
    );
  }
  return <AccountDetail account={account.data} />;
}

type OpenDialog = 'portal' | 'metadata' | 'suspend' | 'delete' | null;

function AccountDetail({ account }: { account: Account }) {
  const [dialog, setDialog] = useState<OpenDialog>(null);
  const close = () => setDialog(null);
  const { username } = account;
  const isActive = account.status === 'active';
  return (
    <>
      <PageHeader
        title={username}
        back={<BackLink to="/accounts">Accounts</BackLink>}
        beside={<StatusBadge status={account.status} />}
        actions={
          <>
            {!isActive && (
              <Button kind="primary" onClick={() => setDialog('suspend')}>
                Activate
              </Button>
            )}
            <ButtonLink to="/" search={{ account: username }} icon={<EyeIcon />}>
              Look as this account
            </ButtonLink>
            <Button onClick={() => setDialog('portal')} disabled={!isActive}>
              Portal link
            </Button>
            <Menu
              trigger={<IconButton label="More actions" kind="secondary" small={false} icon={<DotsIcon />} />}
              items={[
                { label: 'Change the metadata…', onSelect: () => setDialog('metadata') },
                { label: isActive ? 'Suspend…' : 'Activate…', onSelect: () => setDialog('suspend') },
                { label: 'Delete…', danger: true, onSelect: () => setDialog('delete') },
              ]}
            />
          </>
        }
      >
        {isActive
          ? undefined
          : 'Suspended: its keys are refused, and its deliveries wait until it is active again.'}
      </PageHeader>
      <div className="grid items-start gap-4 lg:grid-cols-[minmax(0,1fr)_minmax(0,22rem)]">
        <div className="min-w-0 space-y-4">
          <EndpointsOf username={username} />
          <KeysOf username={username} />
        </div>
        <div className="min-w-0 space-y-4">
          <AboutAccount account={account} />
          <Card
            title="Metadata"
            actions={
              <Button small onClick={() => setDialog('metadata')}>
                Change…
              </Button>
            }
          >
            {account.metadata === null ? (
              <p className="text-soft">
                None. Keep what helps you to know the customer: a plan, an id of your CRM.
              </p>
            ) : (
              <CodeBlock label="Metadata" text={JSON.stringify(account.metadata, null, 2)} wrap />
            )}
          </Card>
        </div>
      </div>
      <PortalLinkDialog username={username} open={dialog === 'portal'} onClose={close} />
      <MetadataDialog
        key={JSON.stringify(account.metadata)}
        account={account}
        open={dialog === 'metadata'}
        onClose={close}
      />
      <SuspendDialog account={account} open={dialog === 'suspend'} onClose={close} />
      <DeleteAccountDialog account={account} open={dialog === 'delete'} onClose={close} />
    </>
  );
}

function AboutAccount({ account }: { account: Account }) {
  const { username } = account;
  const overview = useApiQuery<Overview>('/v2/overview', { account: username });
  const search = { account: username };
  return (
    <Card title="About">
      <Facts
        facts={[
          ['Made', <TimeAndAge key="made" at={account.created_at} />],
          ['Endpoints', count(account.endpoints)],
          [
            'Pending',
            overview.data === undefined ? (
              <Skeleton key="pending" className="h-4 w-10" />
            ) : (
              `${count(overview.data.pending)}${overview.data.pending_is_exact ? '' : '+'}`
            ),
          ],
        ]}
      />
      <div className="mt-4 flex flex-wrap gap-2">
        <ButtonLink small to="/deliveries" search={search}>
          Deliveries
        </ButtonLink>
        <ButtonLink small to="/events" search={search}>
          Events
        </ButtonLink>
        <ButtonLink small to="/audit" search={search}>
          What was changed
        </ButtonLink>
      </div>
    </Card>
  );
}

function EndpointsOf({ username }: { username: string }) {
  const endpoints = useApiQuery<{ endpoints: Endpoint[] }>('/v2/endpoints', { account: username });
  const health = useApiQuery<{ endpoints: EndpointHealth[] }>('/v2/endpoints/health', { account: username });
  const search = { account: username };
  return (
    <Card
      title="Endpoints"
      flush
      actions={
        <ButtonLink small to="/endpoints/new" search={search}>
          Add
        </ButtonLink>
      }
    >
      {endpoints.isError ? (
        <div className="p-4">
          <ErrorPanel error={endpoints.error} compact onRetry={() => void endpoints.refetch()} />
        </div>
      ) : (
        <ul className="divide-line mt-2 divide-y">
          {endpoints.isPending && <WaitingRow />}
          {endpoints.data?.endpoints.length === 0 && (
            <li className="text-soft px-4 pb-4">
              None yet. The customer adds them here by a portal link, or by the API.
            </li>
          )}
          {endpoints.data?.endpoints.map((endpoint) => (
            <li
              key={endpoint.endpoint_id}
              className="hover:bg-hover flex min-h-9 flex-wrap items-center gap-x-3 gap-y-1 px-4 py-1.5"
            >
              <TextLink
                to="/endpoints/$endpointId"
                params={{ endpointId: endpoint.endpoint_id }}
                search={search}
                className="min-w-0 flex-1 basis-48 truncate font-mono text-[0.8125rem]"
                title={endpoint.url}
              >
                {endpoint.url}
              </TextLink>
              <EndpointState
                endpoint={endpoint}
                health={health.data?.endpoints.find((entry) => entry.endpoint_id === endpoint.endpoint_id)}
              />
            </li>
          ))}
        </ul>
      )}
    </Card>
  );
}

function KeysOf({ username }: { username: string }) {
  const keys = useApiQuery<{ api_keys: ApiKey[] }>(`/v2/account/${encodeURIComponent(username)}/api_keys`);
  const search = { account: username };
  const usable = keys.data?.api_keys.filter((key) => keyState(key, presentSeconds()) === 'active');
  return (
    <Card
      title="API keys"
      flush
      actions={
        <>
          <ButtonLink small to="/api-keys" search={search}>
            Manage
          </ButtonLink>
          <ButtonLink small to="/api-keys" search={{ ...search, new: '1' }}>
            Create
          </ButtonLink>
        </>
      }
    >
      {keys.isError ? (
        <div className="p-4">
          <ErrorPanel error={keys.error} compact onRetry={() => void keys.refetch()} />
        </div>
      ) : (
        <ul className="divide-line mt-2 divide-y">
          {keys.isPending && <WaitingRow />}
          {usable?.length === 0 && (
            <li className="text-soft px-4 pb-4">
              No usable key. Its programs can’t call the API without one.
            </li>
          )}
          {usable?.map((key) => (
            <li key={key.key_id} className="flex min-h-9 flex-wrap items-center gap-x-3 gap-y-1 px-4 py-1.5">
              <span className="min-w-0 flex-1 truncate font-medium">{key.name}</span>
              <Id>{`${key.prefix}…`}</Id>
              <span className="text-soft text-[0.8125rem]">
                {key.last_used_at === null ? (
                  'never used'
                ) : (
                  <>
                    used <Age at={key.last_used_at} />
                  </>
                )}
              </span>
            </li>
          ))}
        </ul>
      )}
    </Card>
  );
}

function WaitingRow() {
  return (
    <li className="flex h-9 items-center px-4" role="status">
      <span className="sr-only">Loading…</span>
      <Skeleton className="h-3.5 w-1/2" />
    </li>
  );
}
