/** How an endpoint is, at a glance. */
import type { Endpoint, EndpointHealth } from '../../api/types.ts';
import { useNow } from '../../lib/now.ts';
import { roughSpan } from '../../lib/time.ts';
import { StatusBadge } from '../../ui/badge.tsx';

type Listed = Pick<Endpoint, 'status' | 'disabled_reason'>;

export function EndpointState({
  endpoint,
  health,
}: {
  endpoint: Listed;
  health?: EndpointHealth | undefined;
}) {
  if (endpoint.status === 'disabled') {
    return (
      <span className="inline-flex min-w-0 flex-wrap items-center gap-x-2 gap-y-1">
        <StatusBadge status="disabled" />
        {endpoint.disabled_reason !== undefined && (
          <span className="text-soft text-[0.8125rem] break-words">{endpoint.disabled_reason}</span>
        )}
      </span>
    );
  }
  if (health === undefined || health.failing_since === null) return <StatusBadge status="enabled" />;
  return (
    <span className="inline-flex flex-wrap items-center gap-x-2 gap-y-1">
      <StatusBadge status={health.state === 'probing' ? 'probing' : 'failing'} />
      <FailingFor since={health.failing_since} />
    </span>
  );
}

function FailingFor({ since }: { since: number }) {
  const text = useNow((now) => `for ${roughSpan(now - since)}`);
  return <span className="text-soft text-[0.8125rem] whitespace-nowrap">{text}</span>;
}
