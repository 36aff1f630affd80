/** Replays that run and that ran: how far they are, and a way to stop them. */
import type { Endpoint, Replay } from '../../api/types.ts';
import { cx, count } from '../../lib/text.ts';
import { StatusBadge } from '../../ui/badge.tsx';
import { Button } from '../../ui/button.tsx';
import { ErrorPanel, sentence } from '../../ui/error-panel.tsx';
import { Card } from '../../ui/page.tsx';
import { Skeleton } from '../../ui/skeleton.tsx';
import { Age } from '../../ui/time.tsx';
import { useToast } from '../../ui/toast.tsx';
import { endpointName } from '../endpoints/queries.ts';
import { useReplays, useStopReplay } from './queries.ts';

interface ReplayListProps {
  endpoints: readonly Endpoint[];
  /** Only this endpoint's; undefined for all. */
  endpointId: string | undefined;
  /** The one that was just started: it stands out. */
  startedId: string | undefined;
}

export function ReplayList({ endpoints, endpointId, startedId }: ReplayListProps) {
  const replays = useReplays(endpointId);
  return (
    <Card title="Replays" flush>
      {replays.isError ? (
        <div className="p-4">
          <ErrorPanel error={replays.error} compact onRetry={() => void replays.refetch()} />
        </div>
      ) : (
        <ul className="divide-line mt-2 divide-y">
          {replays.isPending && (
            <li className="px-4 py-3">
              <Skeleton className="h-3.5 w-1/2" />
            </li>
          )}
          {replays.data?.replays.length === 0 && (
            <li className="text-soft px-4 pb-4">
              None yet. When a receiver was away for a while, a replay sends it what it missed.
            </li>
          )}
          {replays.data?.replays.map((replay) => (
            <ReplayRow
              key={replay.replay_id}
              replay={replay}
              name={endpointName(endpoints, replay.endpoint_id ?? '')}
              isStarted={replay.replay_id === startedId}
            />
          ))}
        </ul>
      )}
    </Card>
  );
}

function ReplayRow({ replay, name, isStarted }: { replay: Replay; name: string; isStarted: boolean }) {
  const stop = useStopReplay();
  const toast = useToast();
  const { status, matched, done } = replay;
  const share = matched === 0 ? 1 : Math.min(1, done / matched);
  return (
    <li className={cx('space-y-2 px-4 py-3', isStarted && 'bg-link-ground')}>
      <div className="flex flex-wrap items-center gap-x-3 gap-y-1">
        <StatusBadge status={status} />
        <span className="min-w-0 flex-1 truncate font-mono text-[0.8125rem]" title={name}>
          {name}
        </span>
        {replay.created_at !== undefined && (
          <span className="text-soft text-[0.8125rem]">
            <Age at={replay.created_at} />
          </span>
        )}
      </div>
      <div className="flex items-center gap-3">
        <div
          role="progressbar"
          aria-label={`Replay to ${name}`}
          aria-valuemin={0}
          aria-valuemax={100}
          aria-valuenow={Math.round(share * 100)}
          className="bg-sunken h-1.5 flex-1 overflow-hidden rounded-full"
        >
          <div
            className={cx('h-full rounded-full', status === 'cancelled' ? 'bg-line-strong' : 'bg-ok')}
            style={{ width: `${share * 100}%` }}
          />
        </div>
        <span className="text-soft text-[0.8125rem] tabular-nums">
          {count(done)} of {count(matched)}
        </span>
        {status === 'running' && (
          <Button
            small
            busy={stop.isPending}
            onClick={() =>
              stop.mutate(replay.replay_id, {
                onSuccess: () => toast({ text: 'Stopped. What was on its way already goes on.' }),
                onError: (error) => toast({ tone: 'bad', text: sentence(error.message) }),
              })
            }
          >
            Stop
          </Button>
        )}
      </div>
    </li>
  );
}
