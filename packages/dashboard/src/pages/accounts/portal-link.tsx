/** A link that signs the account's people in, for a while. */
import { useState } from 'react';

import type { PortalLink } from '../../api/types.ts';
import { useApiMutation } from '../../api/use-api.ts';
import { Button } from '../../ui/button.tsx';
import { CopyButton } from '../../ui/copy.tsx';
import { Dialog } from '../../ui/dialog.tsx';
import { ErrorPanel } from '../../ui/error-panel.tsx';
import { SelectField } from '../../ui/field.tsx';
import { Countdown, Time } from '../../ui/time.tsx';

const LIFETIMES = [
  { seconds: 900, label: '15 minutes' },
  { seconds: 3600, label: 'an hour' },
  { seconds: 86_400, label: 'a day' },
];

export function PortalLinkDialog({
  username,
  open,
  onClose,
}: {
  username: string;
  open: boolean;
  onClose(): void;
}) {
  const [seconds, setSeconds] = useState(900);
  const make = useApiMutation<number, PortalLink>((api, lifetime) =>
    api.send('POST', `/v2/account/${encodeURIComponent(username)}/portal_link`, {
      expires_in_seconds: lifetime,
    }),
  );
  const close = () => {
    make.reset();
    onClose();
  };
  return (
    <Dialog
      open={open}
      onClose={close}
      title={`Portal link for ${username}`}
      footer={
        make.data === undefined ? (
          <>
            <Button onClick={close}>Cancel</Button>
            <Button kind="primary" busy={make.isPending} onClick={() => make.mutate(seconds)}>
              Make link
            </Button>
          </>
        ) : (
          <Button kind="primary" onClick={close}>
            Done
          </Button>
        )
      }
    >
      <div className="space-y-4">
        <p className="text-soft">
          Whoever opens the link sees this account’s endpoints and deliveries here, and may do what its keys
          may. Your product makes such links by{' '}
          <code className="font-mono text-[0.8125rem]">POST …/portal_link</code>.
        </p>
        {make.data === undefined ? (
          <SelectField
            label="It can be opened for"
            value={seconds}
            onChange={(event) => setSeconds(Number(event.target.value))}
          >
            {LIFETIMES.map(({ seconds: value, label }) => (
              <option key={value} value={value}>
                {label}
              </option>
            ))}
          </SelectField>
        ) : (
          <>
            <div className="border-line bg-sunken flex items-center gap-2 rounded-md border py-1.5 pr-1.5 pl-2.5">
              <code className="min-w-0 flex-1 font-mono text-[0.8125rem] break-all" data-testid="portal-link">
                {make.data.url}
              </code>
              <CopyButton text={make.data.url} label="Copy the link" words="Copy" />
            </div>
            <p className="text-soft">
              It ends <Countdown to={make.data.expires_at} passed="now" />, at{' '}
              <Time at={make.data.expires_at} />. Send it to nobody but this customer.
            </p>
          </>
        )}
        {make.isError && <ErrorPanel error={make.error} compact />}
      </div>
    </Dialog>
  );
}
