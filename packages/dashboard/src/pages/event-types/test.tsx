/** Sending a type's example to one of the account's endpoints. */
import { useNavigate } from '@tanstack/react-router';
import { useState } from 'react';

import type { Endpoint, EventType } from '../../api/types.ts';
import { useApiMutation } from '../../api/use-api.ts';
import { Button, ButtonLink } from '../../ui/button.tsx';
import { Dialog } from '../../ui/dialog.tsx';
import { ErrorPanel } from '../../ui/error-panel.tsx';
import { SelectField } from '../../ui/field.tsx';

interface TestTypeDialogProps {
  type: EventType;
  endpoints: readonly Endpoint[];
  open: boolean;
  onClose(): void;
}

export function TestTypeDialog({ type, endpoints, open, onClose }: TestTypeDialogProps) {
  const navigate = useNavigate();
  const enabled = endpoints.filter(({ status }) => status === 'enabled');
  const first = enabled.find(({ events }) => events.includes(type.name)) ?? enabled[0];
  const [chosen, setChosen] = useState<string | null>(null);
  const endpointId = chosen ?? first?.endpoint_id;
  const send = useApiMutation<string, { event_id: string; delivery_id: string }>(
    (api, id) => api.send('POST', `/v2/endpoint/${encodeURIComponent(id)}/test`, { event: type.name }),
    ({ delivery_id: deliveryId }) => {
      onClose();
      void navigate({ to: '/deliveries/$deliveryId', params: { deliveryId } });
    },
  );
  return (
    <Dialog
      open={open}
      onClose={onClose}
      title="Send a test event"
      footer={
        endpointId === undefined ? (
          <>
            <Button onClick={onClose}>Cancel</Button>
            <ButtonLink kind="primary" to="/endpoints/new" search={{ events: type.name }}>
              Add an endpoint
            </ButtonLink>
          </>
        ) : (
          <>
            <Button onClick={onClose}>Cancel</Button>
            <Button kind="primary" busy={send.isPending} onClick={() => send.mutate(endpointId)}>
              Send
            </Button>
          </>
        )
      }
    >
      {endpointId === undefined ? (
        <p>There is no enabled endpoint that it could go to. Add one first.</p>
      ) : (
        <div className="space-y-4">
          <p className="text-soft">
            The example of <span className="text-ink font-mono text-[0.8125rem] break-all">{type.name}</span>{' '}
            under a fresh id, signed as any other event, to this endpoint alone.
          </p>
          <SelectField label="To" value={endpointId} onChange={(event) => setChosen(event.target.value)}>
            {enabled.map(({ endpoint_id: id, url, events }) => (
              <option key={id} value={id}>
                {events.includes(type.name) ? url : `${url} (not subscribed)`}
              </option>
            ))}
          </SelectField>
          {send.isError && <ErrorPanel error={send.error} compact />}
        </div>
      )}
    </Dialog>
  );
}
