/** Giving an endpoint a new secret, with a time in which the old one still signs. */
import { useState } from 'react';

import type { Endpoint } from '../../api/types.ts';
import { useApiMutation } from '../../api/use-api.ts';
import { Button } from '../../ui/button.tsx';
import { Dialog } from '../../ui/dialog.tsx';
import { ErrorPanel } from '../../ui/error-panel.tsx';
import { SelectField } from '../../ui/field.tsx';
import { useToast } from '../../ui/toast.tsx';

const OVERLAPS = [
  { seconds: 3600, label: '1 hour' },
  { seconds: 86_400, label: '1 day' },
  { seconds: 259_200, label: '3 days' },
  { seconds: 604_800, label: '7 days' },
  { seconds: 0, label: 'None: the old secret ends now' },
];

interface RotateDialogProps {
  endpoint: Endpoint;
  open: boolean;
  onClose(): void;
}

export function RotateDialog({ endpoint, open, onClose }: RotateDialogProps) {
  const [overlapSeconds, setOverlapSeconds] = useState(86_400);
  const toast = useToast();
  const rotate = useApiMutation<number, Endpoint>(
    (api, seconds) =>
      api.send('POST', `/v2/endpoint/${encodeURIComponent(endpoint.endpoint_id)}/rotate_secret`, {
        overlap_seconds: seconds,
      }),
    () => {
      toast({ text: 'The new secret signs from now on. Give it to your receiver.' });
      onClose();
    },
  );
  return (
    <Dialog
      open={open}
      onClose={onClose}
      title="Rotate the secret"
      footer={
        <>
          <Button onClick={onClose}>Cancel</Button>
          <Button kind="primary" busy={rotate.isPending} onClick={() => rotate.mutate(overlapSeconds)}>
            Rotate the secret
          </Button>
        </>
      }
    >
      <div className="space-y-4">
        <SelectField
          label="The old secret still signs for"
          value={overlapSeconds}
          onChange={(event) => setOverlapSeconds(Number(event.target.value))}
        >
          {OVERLAPS.map(({ seconds, label }) => (
            <option key={seconds} value={seconds}>
              {label}
            </option>
          ))}
        </SelectField>
        <ul className="text-soft list-disc space-y-1 pl-5">
          <li>
            <code className="font-mono text-[0.8125rem]">webhook-signature</code> carries both signatures for
            that time: receivers change over when it suits them.
          </li>
          <li>
            <code className="font-mono text-[0.8125rem]">x-webhook-signature</code> has room for one and
            carries the new secret’s at once: receivers that check it fail until they know the new secret.
            What failed comes again.
          </li>
          {endpoint.previous_secret_expires_at !== undefined && (
            <li>A rotation is under way already: the secret before the present one ends now.</li>
          )}
        </ul>
        {rotate.isError && <ErrorPanel error={rotate.error} compact />}
      </div>
    </Dialog>
  );
}
