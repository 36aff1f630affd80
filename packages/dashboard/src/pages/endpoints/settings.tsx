/** Changing an endpoint. */
import type { Endpoint } from '../../api/types.ts';
import { useApiMutation } from '../../api/use-api.ts';
import { ErrorPanel } from '../../ui/error-panel.tsx';
import { CardSkeleton } from '../../ui/skeleton.tsx';
import { useToast } from '../../ui/toast.tsx';
import { type EndpointBody, bodyOf, changesOf, valuesOf } from './form-values.ts';
import { EndpointForm } from './form.tsx';
import { useEventTypes } from './queries.ts';

export function EndpointSettings({ endpoint }: { endpoint: Endpoint }) {
  const toast = useToast();
  const types = useEventTypes();
  const save = useApiMutation<Partial<EndpointBody>, Endpoint>(
    (api, changes) => api.send('PUT', `/v2/endpoint/${encodeURIComponent(endpoint.endpoint_id)}`, changes),
    () => toast({ text: 'Saved. It holds for every attempt from now on.' }),
  );
  if (types.isError) {
    return (
      <ErrorPanel
        error={types.error}
        title="The event types can’t be shown"
        onRetry={() => void types.refetch()}
      />
    );
  }
  if (types.isPending) return <CardSkeleton lines={10} />;
  const initial = valuesOf(endpoint);
  return (
    <EndpointForm
      initial={initial}
      types={types.data.event_types}
      submitLabel="Save changes"
      busy={save.isPending}
      error={save.error}
      onSubmit={(body) => {
        const changes = changesOf(bodyOf(initial), body);
        if (Object.keys(changes).length === 0) toast({ text: 'There is nothing to save.' });
        else save.mutate(changes);
      }}
    />
  );
}
