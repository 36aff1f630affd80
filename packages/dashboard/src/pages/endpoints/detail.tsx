/** One endpoint: how it is, its settings, how to verify what it sends. */
import { useNavigate, useParams, useSearch } from '@tanstack/react-router';
import { useState } from 'react';

import type { Endpoint } from '../../api/types.ts';
import { NeedsAccount } from '../../layout/needs-account.tsx';
import { BackLink } from '../../ui/back-link.tsx';
import { Button, ButtonLink, IconButton } from '../../ui/button.tsx';
import { ErrorPanel } from '../../ui/error-panel.tsx';
import { DotsIcon } from '../../ui/icons.tsx';
import { Menu } from '../../ui/menu.tsx';
import { PageHeader } from '../../ui/page.tsx';
import { CardSkeleton } from '../../ui/skeleton.tsx';
import { Tabs } from '../../ui/tabs.tsx';
import { ChangeStatusDialog, DeleteDialog } from './danger.tsx';
import { EndpointSettings } from './settings.tsx';
import { EndpointSummary } from './summary.tsx';
import { useEndpoint, useEndpointHealth } from './queries.ts';
import { RotateDialog } from './rotate.tsx';
import { SendTestDialog } from './send-test.tsx';
import { EndpointState } from './status.tsx';
import { EndpointTrouble } from './trouble.tsx';
import { VerifyGuide } from './verify-guide.tsx';

export default function EndpointPage() {
  return (
    <NeedsAccount title="Endpoint" what="Endpoints">
      <EndpointInView />
    </NeedsAccount>
  );
}

function EndpointInView() {
  const { endpointId } = useParams({ from: '/app/endpoints/$endpointId' });
  const endpoint = useEndpoint(endpointId);
  if (endpoint.isPending) return <CardSkeleton lines={8} />;
  // What is shown already stays when a later look fails, unless the endpoint is gone.
  if (endpoint.isError && (endpoint.data === undefined || endpoint.error.isNotFound)) {
    return (
      <>
        <PageHeader title="Endpoint" back={<BackLink to="/endpoints">Endpoints</BackLink>} />
        <ErrorPanel
          error={endpoint.error}
          title="This endpoint can’t be shown"
          onRetry={() => void endpoint.refetch()}
        />
      </>
    );
  }
  return <EndpointDetail endpoint={endpoint.data as Endpoint} />;
}

type OpenDialog = 'test' | 'rotate' | 'status' | 'delete' | null;

function EndpointDetail({ endpoint }: { endpoint: Endpoint }) {
  const { tab = 'summary' } = useSearch({ from: '/app/endpoints/$endpointId' });
  const navigate = useNavigate({ from: '/endpoints/$endpointId' });
  const health = useEndpointHealth();
  const [dialog, setDialog] = useState<OpenDialog>(null);
  const close = () => setDialog(null);
  const isEnabled = endpoint.status === 'enabled';
  const { endpoint_id: endpointId } = endpoint;
  return (
    <>
      <PageHeader
        title={endpoint.url}
        mono
        back={<BackLink to="/endpoints">Endpoints</BackLink>}
        beside={
          <EndpointState
            endpoint={endpoint}
            health={health.data?.endpoints.find((entry) => entry.endpoint_id === endpointId)}
          />
        }
        actions={
          <>
            {!isEnabled && (
              <Button kind="primary" onClick={() => setDialog('status')}>
                Enable
              </Button>
            )}
            <Button onClick={() => setDialog('test')} disabled={!isEnabled}>
              Send a test
            </Button>
            <ButtonLink to="/replays" search={{ endpoint_id: endpointId }}>
              Replay
            </ButtonLink>
            <Menu
              trigger={<IconButton label="More actions" kind="secondary" small={false} icon={<DotsIcon />} />}
              items={[
                { label: 'Rotate the secret…', onSelect: () => setDialog('rotate') },
                {
                  label: isEnabled ? 'Disable…' : 'Enable…',
                  onSelect: () => setDialog('status'),
                },
                { label: 'Delete…', danger: true, onSelect: () => setDialog('delete') },
              ]}
            />
          </>
        }
      >
        {endpoint.description}
      </PageHeader>
      <EndpointTrouble
        endpoint={endpoint}
        health={health.data?.endpoints.find((entry) => entry.endpoint_id === endpointId)}
        onEnable={() => setDialog('status')}
      />
      <Tabs
        label="Endpoint"
        value={tab}
        onChange={(id) => void navigate({ search: (old) => ({ ...old, tab: id }), replace: true })}
        tabs={[
          {
            id: 'summary',
            label: 'Summary',
            content: <EndpointSummary endpoint={endpoint} onRotate={() => setDialog('rotate')} />,
          },
          // Anew for each version, so that the form begins with what is stored.
          {
            id: 'settings',
            label: 'Settings',
            content: <EndpointSettings key={JSON.stringify(endpoint)} endpoint={endpoint} />,
          },
          { id: 'verify', label: 'Verify signatures', content: <VerifyGuide endpoint={endpoint} /> },
        ]}
      />
      <SendTestDialog open={dialog === 'test'} onClose={close} endpoint={endpoint} />
      <RotateDialog open={dialog === 'rotate'} onClose={close} endpoint={endpoint} />
      <ChangeStatusDialog open={dialog === 'status'} onClose={close} endpoint={endpoint} />
      <DeleteDialog open={dialog === 'delete'} onClose={close} endpoint={endpoint} />
    </>
  );
}
