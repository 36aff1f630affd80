/** Adding an endpoint. */
import { useNavigate, useSearch } from '@tanstack/react-router';

import type { Endpoint } from '../../api/types.ts';
import { useApiMutation } from '../../api/use-api.ts';
import { NeedsAccount } from '../../layout/needs-account.tsx';
import { ButtonLink } from '../../ui/button.tsx';
import { BackLink } from '../../ui/back-link.tsx';
import { ErrorPanel } from '../../ui/error-panel.tsx';
import { PageHeader } from '../../ui/page.tsx';
import { CardSkeleton } from '../../ui/skeleton.tsx';
import { useToast } from '../../ui/toast.tsx';
import { type EndpointBody, withoutEmpty } from './form-values.ts';
import { EndpointForm } from './form.tsx';
import { useEventTypes } from './queries.ts';

export default function NewEndpointPage() {
  return (
    <NeedsAccount title="Add endpoint" what="Endpoints">
      <NewEndpoint />
    </NeedsAccount>
  );
}

function NewEndpoint() {
  const search = useSearch({ from: '/app/endpoints/new' });
  const navigate = useNavigate();
  const toast = useToast();
  const types = useEventTypes();
  const add = useApiMutation<EndpointBody, Endpoint>(
    (api, body) => api.send('POST', '/v2/endpoint', withoutEmpty(body)),
    (endpoint) => {
      toast({ text: 'Endpoint added. Its secret is ready to copy.' });
      void navigate({
        to: '/endpoints/$endpointId',
        params: { endpointId: endpoint.endpoint_id },
        search: { tab: 'verify' },
      });
    },
  );
  const known = new Set(types.data?.event_types.map(({ name }) => name));
  return (
    <>
      <PageHeader title="Add endpoint" back={<BackLink to="/endpoints">Endpoints</BackLink>}>
        It begins to get events as soon as it is saved. Its secret is made for you.
      </PageHeader>
      {types.isError ? (
        <ErrorPanel
          error={types.error}
          title="The event types can’t be shown"
          onRetry={() => void types.refetch()}
        />
      ) : types.isPending ? (
        <CardSkeleton lines={10} />
      ) : (
        <EndpointForm
          initial={{
            url: search.url ?? '',
            description: '',
            events: (search.events ?? '').split(',').filter((name) => known.has(name)),
            status: 'enabled',
            rateLimit: '',
            timeout: '',
            headers: [],
            metadata: '',
          }}
          types={types.data.event_types}
          submitLabel="Add endpoint"
          busy={add.isPending}
          error={add.error}
          onSubmit={(body) => add.mutate(body)}
        >
          <ButtonLink to="/endpoints">Cancel</ButtonLink>
        </EndpointForm>
      )}
    </>
  );
}
