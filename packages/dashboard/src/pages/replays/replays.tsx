/** Replays: sending an endpoint again what it missed. The wizard's state is the URL, the progress the server's. */
import { useSearch } from '@tanstack/react-router';

import { NeedsAccount } from '../../layout/needs-account.tsx';
import { ButtonLink } from '../../ui/button.tsx';
import { ErrorPanel } from '../../ui/error-panel.tsx';
import { ReplayIcon } from '../../ui/icons.tsx';
import { EmptyState, PageHeader } from '../../ui/page.tsx';
import { CardSkeleton } from '../../ui/skeleton.tsx';
import { useEndpoints } from '../endpoints/queries.ts';
import { ReplayList } from './list.tsx';
import { ReplayWizard } from './wizard.tsx';

export default function ReplaysPage() {
  return (
    <NeedsAccount title="Replays" what="Replays">
      <ReplaysOfAccount />
    </NeedsAccount>
  );
}

function ReplaysOfAccount() {
  const search = useSearch({ from: '/app/replays' });
  const endpoints = useEndpoints();
  return (
    <>
      <PageHeader title="Replays">
        After a failure or a pause: send an endpoint again what failed, or what it never got.
      </PageHeader>
      {endpoints.isError ? (
        <ErrorPanel
          error={endpoints.error}
          title="The endpoints can’t be shown"
          onRetry={() => void endpoints.refetch()}
        />
      ) : endpoints.isPending ? (
        <CardSkeleton lines={8} />
      ) : endpoints.data.endpoints.length === 0 ? (
        <EmptyState
          icon={<ReplayIcon className="size-8" />}
          title="There is no endpoint to replay to"
          action={
            <ButtonLink to="/endpoints/new" kind="primary">
              Add an endpoint
            </ButtonLink>
          }
        >
          A new endpoint can get what was published before it was there: add it, then replay what is missing.
        </EmptyState>
      ) : (
        <div className="grid items-start gap-4 lg:grid-cols-2">
          <ReplayWizard endpoints={endpoints.data.endpoints} />
          <ReplayList
            endpoints={endpoints.data.endpoints}
            endpointId={search.endpoint_id}
            startedId={search.replay_id}
          />
        </div>
      )}
    </>
  );
}
