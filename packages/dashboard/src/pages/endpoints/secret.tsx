/** An endpoint's secret: hidden until somebody wants to see it. */
import { useState } from 'react';

import type { Endpoint } from '../../api/types.ts';
import { useNow } from '../../lib/now.ts';
import { Button, IconButton } from '../../ui/button.tsx';
import { CopyButton } from '../../ui/copy.tsx';
import { EyeIcon, EyeOffIcon } from '../../ui/icons.tsx';
import { Countdown } from '../../ui/time.tsx';

export function Secret({ endpoint, onRotate }: { endpoint: Endpoint; onRotate(): void }) {
  const [shown, setShown] = useState(false);
  const { secret, previous_secret_expires_at: until } = endpoint;
  const isOverlapping = useNow((now) => until !== undefined && until > now);
  return (
    <div className="space-y-3">
      <div className="border-line bg-sunken flex items-center gap-1 rounded-md border py-1 pr-1 pl-2.5">
        <code className="min-w-0 flex-1 font-mono text-[0.8125rem] break-all" data-testid="secret">
          {shown ? secret : `whsec_${'•'.repeat(16)}`}
        </code>
        <IconButton
          label={shown ? 'Hide the secret' : 'Reveal the secret'}
          aria-pressed={shown}
          icon={shown ? <EyeOffIcon /> : <EyeIcon />}
          onClick={() => setShown(!shown)}
        />
        <CopyButton text={secret} label="Copy the secret" />
      </div>
      {isOverlapping && until !== undefined && (
        <p className="text-soft text-[0.8125rem]">
          Rotated: the previous secret signs, too, and ends <Countdown to={until} passed="now" />.
        </p>
      )}
      <Button small onClick={onRotate}>
        Rotate…
      </Button>
    </div>
  );
}
