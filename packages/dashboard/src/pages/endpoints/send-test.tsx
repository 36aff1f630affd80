/** Sending an endpoint the example of an event type. */
import { useNavigate } from '@tanstack/react-router';
import { useState } from 'react';

import type { Endpoint } from '../../api/types.ts';
import { useApiMutation } from '../../api/use-api.ts';
import { Button } from '../../ui/button.tsx';
import { CodeBlock } from '../../ui/code.tsx';
import { Dialog } from '../../ui/dialog.tsx';
import { ErrorPanel } from '../../ui/error-panel.tsx';
import { byCategory } from './event-picker.tsx';
import { SelectField } from '../../ui/field.tsx';
import { useEventTypes } from './queries.ts';

interface SendTestDialogProps {
  endpoint: Pick<Endpoint, 'endpoint_id' | 'url' | 'events'>;
  /** The type that is chosen at first; default: the first that the endpoint gets. */
  event?: string;
  open: boolean;
  onClose(): void;
}

/** Asks which type, sends its example, and leads to the delivery, where one sees what becomes of it. */
export function SendTestDialog({ endpoint, event, open, onClose }: SendTestDialogProps) {
  const types = useEventTypes();
  const navigate = useNavigate();
  const [chosen, setChosen] = useState(event ?? endpoint.events[0] ?? '');
  const send = useApiMutation<string, { event_id: string; delivery_id: string }>(
    (api, name) =>
      api.send('POST', `/v2/endpoint/${encodeURIComponent(endpoint.endpoint_id)}/test`, { event: name }),
    ({ delivery_id: deliveryId }) => {
      onClose();
      void navigate({ to: '/deliveries/$deliveryId', params: { deliveryId } });
    },
  );
  const example = types.data?.event_types.find(({ name }) => name === chosen)?.example;
  return (
    <Dialog
      open={open}
      onClose={onClose}
      title="Send a test event"
      footer={
        <>
          <Button onClick={onClose}>Cancel</Button>
          <Button
            kind="primary"
            busy={send.isPending}
            disabled={chosen === ''}
            onClick={() => send.mutate(chosen)}
          >
            Send
          </Button>
        </>
      }
    >
      <div className="space-y-4">
        <p className="text-soft">
          A real delivery, signed as any other, of the type’s example under a fresh id. It goes to this
          endpoint alone, subscribed or not:
          <span className="text-ink block font-mono text-[0.8125rem] break-all">{endpoint.url}</span>
        </p>
        <SelectField label="Event type" value={chosen} onChange={(change) => setChosen(change.target.value)}>
          {byCategory(types.data?.event_types ?? [], '').map(([category, group]) => (
            <optgroup key={category} label={category}>
              {group.map(({ name }) => (
                <option key={name}>{name}</option>
              ))}
            </optgroup>
          ))}
        </SelectField>
        {types.isError && <ErrorPanel error={types.error} compact onRetry={() => void types.refetch()} />}
        {example !== null && example !== undefined && (
          <CodeBlock label="Its data" text={JSON.stringify(example, null, 2)} wrap />
        )}
        {send.isError && <ErrorPanel error={send.error} compact />}
      </div>
    </Dialog>
  );
}
