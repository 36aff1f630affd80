/** Disabling, enabling and deleting an endpoint, with what that means for what waits. */
import { useNavigate } from '@tanstack/react-router';

import type { Delivery, Endpoint, EndpointStatus } from '../../api/types.ts';
import { useApiMutation, useApiQuery } from '../../api/use-api.ts';
import { counted } from '../../lib/text.ts';
import { Confirm } from '../../ui/dialog.tsx';
import { useToast } from '../../ui/toast.tsx';

interface EndpointDialogProps {
  endpoint: Endpoint;
  open: boolean;
  onClose(): void;
}

const COUNTED_UP_TO = 200;

/** `3 deliveries wait`, in words; up to what one page of the list can tell. */
function useWaiting(endpointId: string, enabled: boolean): string {
  const waiting = useApiQuery<{ deliveries: Delivery[]; next_cursor: string | null }>('/v2/deliveries', {
    query: { endpoint_id: endpointId, status: 'pending', limit: COUNTED_UP_TO },
    enabled,
    staleTime: 0,
  });
  if (waiting.isError) return 'Deliveries that wait for it';
  if (waiting.data === undefined) return 'Deliveries that wait (being counted…)';
  const { deliveries, next_cursor: next } = waiting.data;
  if (next !== null) return `More than ${COUNTED_UP_TO} deliveries that wait`;
  if (deliveries.length === 0) return 'No delivery waits now. What would wait';
  return `${counted(deliveries.length, 'delivery', 'deliveries')} that ${deliveries.length === 1 ? 'waits' : 'wait'} now`;
}

export function ChangeStatusDialog({ endpoint, open, onClose }: EndpointDialogProps) {
  const toast = useToast();
  const next: EndpointStatus = endpoint.status === 'enabled' ? 'disabled' : 'enabled';
  const isDisabling = next === 'disabled';
  const waiting = useWaiting(endpoint.endpoint_id, open && isDisabling);
  const change = useApiMutation<EndpointStatus, Endpoint>(
    (api, status) => api.send('PUT', `/v2/endpoint/${encodeURIComponent(endpoint.endpoint_id)}`, { status }),
    () => {
      toast({ text: isDisabling ? 'The endpoint is disabled.' : 'The endpoint is enabled again.' });
      onClose();
    },
  );
  return (
    <Confirm
      open={open}
      onClose={onClose}
      title={isDisabling ? 'Disable this endpoint?' : 'Enable this endpoint?'}
      confirm={isDisabling ? 'Disable endpoint' : 'Enable endpoint'}
      kind={isDisabling ? 'danger' : 'primary'}
      busy={change.isPending}
      error={change.error}
      onConfirm={() => change.mutate(next)}
    >
      <p className="font-mono text-[0.8125rem] break-all">{endpoint.url}</p>
      {isDisabling ? (
        <ul className="list-disc space-y-1 pl-5">
          <li>{waiting} will end as cancelled.</li>
          <li>What is published while it is disabled isn’t delivered.</li>
          <li>Nothing is lost: after enabling it again, a replay delivers both.</li>
        </ul>
      ) : (
        <ul className="list-disc space-y-1 pl-5">
          <li>It gets what is published from now on.</li>
          <li>What it missed comes only by a replay: you can start one afterwards.</li>
        </ul>
      )}
    </Confirm>
  );
}

export function DeleteDialog({ endpoint, open, onClose }: EndpointDialogProps) {
  const toast = useToast();
  const navigate = useNavigate();
  const waiting = useWaiting(endpoint.endpoint_id, open);
  const remove = useApiMutation<void>(
    (api) => api.send('DELETE', `/v2/endpoint/${encodeURIComponent(endpoint.endpoint_id)}`),
    () => {
      toast({ text: 'The endpoint is deleted.' });
      onClose();
      return navigate({ to: '/endpoints' });
    },
  );
  return (
    <Confirm
      open={open}
      onClose={onClose}
      title="Delete this endpoint?"
      confirm="Delete endpoint"
      typed="delete"
      busy={remove.isPending}
      error={remove.error}
      onConfirm={() => remove.mutate()}
    >
      <p className="font-mono text-[0.8125rem] break-all">{endpoint.url}</p>
      <ul className="list-disc space-y-1 pl-5">
        <li>{waiting} will end as cancelled, for good.</li>
        <li>Its secret is gone: an endpoint added anew gets another one.</li>
        <li>Its deliveries stay in the log until they are old enough to be removed.</li>
        <li>This can’t be taken back. To pause it, disable it instead.</li>
      </ul>
    </Confirm>
  );
}
