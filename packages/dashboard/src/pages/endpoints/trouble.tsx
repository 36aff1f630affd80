/** What is wrong with an endpoint, and the next step; nothing while it is well. */
import type { ReactNode } from 'react';

import type { Endpoint, EndpointHealth } from '../../api/types.ts';
import { counted } from '../../lib/text.ts';
import { Button, ButtonLink } from '../../ui/button.tsx';
import { sentence } from '../../ui/error-panel.tsx';
import { WarningIcon } from '../../ui/icons.tsx';
import { Age, Countdown, Time } from '../../ui/time.tsx';

interface EndpointTroubleProps {
  endpoint: Endpoint;
  health: EndpointHealth | undefined;
  onEnable(): void;
}

export function EndpointTrouble({ endpoint, health, onEnable }: EndpointTroubleProps) {
  const { endpoint_id: endpointId, disabled_reason: reason } = endpoint;
  const isDisabled = endpoint.status === 'disabled';
  const missed = health?.missed ?? null;
  const failures = (
    <ButtonLink small to="/deliveries" search={{ endpoint_id: endpointId, status: 'pending' }}>
      See what waits
    </ButtonLink>
  );
  const replay = missed !== null && (
    <ButtonLink
      small
      to="/replays"
      search={{
        endpoint_id: endpointId,
        status: 'missing',
        since: String(missed.since),
        ...(missed.until === null ? {} : { until: String(missed.until) }),
      }}
    >
      Replay what it missed
    </ButtonLink>
  );
  if (isDisabled) {
    if (reason === undefined && missed === null) return null;
    return (
      <Notice
        actions={
          <Button small onClick={onEnable}>
            Enable…
          </Button>
        }
      >
        {reason === undefined ? 'It is disabled.' : `The service disabled it: ${sentence(reason)}`}{' '}
        {health?.disabled_at != null && (
          <span className="text-soft">
            That was <Age at={health.disabled_at} />.{' '}
          </span>
        )}
        Repair the receiver, enable it, then replay what it missed.
      </Notice>
    );
  }
  if (health?.state === 'probing') {
    return (
      <Notice actions={failures}>
        It failed {counted(health.consecutive_failures, 'time')} in a row, so it is only probed: the next
        attempt goes{' '}
        {health.next_probe_at === null ? 'soon' : <Countdown to={health.next_probe_at} passed="now" />}. What
        else is due waits, spends none of its attempts, and goes as soon as one succeeds.
      </Notice>
    );
  }
  if (missed === null) return null;
  return (
    <Notice actions={replay}>
      It may have missed events since <Time at={missed.since} />
      {missed.until !== null && (
        <>
          {' '}
          until <Time at={missed.until} />
        </>
      )}
      .
    </Notice>
  );
}

function Notice({ children, actions }: { children: ReactNode; actions: ReactNode }) {
  return (
    <div className="border-warn/40 bg-warn-ground mb-4 flex flex-wrap items-center gap-x-4 gap-y-2 rounded-lg border p-3">
      <WarningIcon className="text-warn size-4" />
      <p className="min-w-0 flex-1 basis-72 break-words">{children}</p>
      <div className="flex flex-wrap gap-2">{actions}</div>
    </div>
  );
}
