/** What needs attention, each with the next step. */
import type { Overview, TroubledEndpoint } from '../../api/types.ts';
import { presentSeconds } from '../../lib/now.ts';
import { count, counted } from '../../lib/text.ts';
import { span } from '../../lib/time.ts';
import { useAccount } from '../../session/session.tsx';
import { StatusBadge } from '../../ui/badge.tsx';
import { ButtonLink, TextLink } from '../../ui/button.tsx';
import { sentence } from '../../ui/error-panel.tsx';
import { CheckIcon } from '../../ui/icons.tsx';
import { Card } from '../../ui/page.tsx';
import { Skeleton } from '../../ui/skeleton.tsx';
import { type Trouble, troublesOf } from './attention.ts';

const DAY_SECONDS = 86_400;

export function Attention({ overview }: { overview: Overview | undefined }) {
  if (overview === undefined) {
    return (
      <Card title="Needs attention" flush>
        <div className="px-4 pt-2 pb-4" role="status">
          <span className="sr-only">Loading…</span>
          <Skeleton className="h-5 w-2/3" />
        </div>
      </Card>
    );
  }
  const troubles = troublesOf(overview);
  return (
    <Card title="Needs attention" flush>
      {troubles.length === 0 ? (
        <p className="text-soft flex items-center gap-2 px-4 pt-1 pb-4">
          <CheckIcon className="text-ok size-4" />
          Nothing. Every endpoint that was called answers, and nothing waits for long.
        </p>
      ) : (
        <ul className="divide-line mt-2 divide-y">
          {troubles.map((trouble) => (
            <li
              key={trouble.kind === 'old_queue' ? trouble.kind : trouble.endpoint.endpoint_id}
              className="flex flex-wrap items-center justify-between gap-x-4 gap-y-2 px-4 py-3"
            >
              {trouble.kind === 'old_queue' ? (
                <OldQueue seconds={trouble.seconds} />
              ) : (
                <EndpointTrouble kind={trouble.kind} endpoint={trouble.endpoint} />
              )}
            </li>
          ))}
        </ul>
      )}
    </Card>
  );
}

function OldQueue({ seconds }: { seconds: number }) {
  const { isOperator } = useAccount();
  return (
    <>
      <p className="min-w-0 flex-1 basis-72">
        A due delivery has waited for <strong className="font-medium">{span(seconds)}</strong>.{' '}
        <span className="text-soft">
          {isOperator
            ? 'An endpoint may be slow or limited in its rate, or too little is delivered at once.'
            : 'An endpoint may be slow, or limited in its rate.'}
        </span>
      </p>
      <div className="flex flex-wrap gap-2">
        <ButtonLink small to="/deliveries" search={{ status: 'pending' }}>
          See what waits
        </ButtonLink>
        {isOperator && (
          <ButtonLink small to="/system">
            System
          </ButtonLink>
        )}
      </div>
    </>
  );
}

/** What happened, in a sentence. */
function whatOf(kind: Trouble['kind'], endpoint: TroubledEndpoint): string {
  const { delivered, failed_attempts: failed, dead, disabled_reason: reason } = endpoint;
  if (kind === 'disabled') return `Disabled by the service: ${sentence(reason ?? 'no reason is known')}`;
  const share = `${count(failed)} of ${counted(failed + delivered, 'attempt')} failed in the last 24 hours`;
  return kind === 'gave_up'
    ? `${counted(dead, 'delivery was', 'deliveries were')} given up. ${share}.`
    : `${share}. They are tried again by themselves.`;
}

function EndpointTrouble({
  kind,
  endpoint,
}: {
  kind: 'disabled' | 'gave_up' | 'failing';
  endpoint: TroubledEndpoint;
}) {
  const { account } = useAccount();
  const { endpoint_id: endpointId, username, url } = endpoint;
  // An operator who looks at all accounts comes to this one's.
  const search = account === null ? { account: username } : {};
  const since = String(presentSeconds() - DAY_SECONDS);
  return (
    <>
      <div className="min-w-0 flex-1 basis-72">
        <p className="flex min-w-0 items-center gap-2">
          <StatusBadge status={kind === 'disabled' ? 'disabled' : kind === 'gave_up' ? 'dead' : 'failing'} />
          <TextLink
            to="/endpoints/$endpointId"
            params={{ endpointId }}
            search={search}
            className="min-w-0 truncate font-mono text-[0.8125rem] font-medium"
            title={url}
          >
            {url}
          </TextLink>
          {account === null && <span className="text-faint shrink-0 truncate">{username}</span>}
        </p>
        <p className="text-soft mt-1 break-words">{whatOf(kind, endpoint)}</p>
      </div>
      <div className="flex flex-wrap gap-2">
        {kind === 'disabled' && (
          <ButtonLink small to="/endpoints/$endpointId" params={{ endpointId }} search={search}>
            Enable it again
          </ButtonLink>
        )}
        {kind !== 'disabled' && (
          <ButtonLink
            small
            to="/deliveries"
            search={{
              ...search,
              endpoint_id: endpointId,
              status: kind === 'gave_up' ? 'dead' : 'pending',
            }}
          >
            See why
          </ButtonLink>
        )}
        {kind === 'gave_up' && (
          <ButtonLink
            small
            to="/replays"
            search={{ ...search, endpoint_id: endpointId, status: 'failed', since }}
          >
            Replay
          </ButtonLink>
        )}
      </div>
    </>
  );
}
