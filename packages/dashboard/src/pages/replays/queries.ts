/** What the page about replays reads and asks. */
import type { Replay, ReplayKind } from '../../api/types.ts';
import { useApiMutation, useApiQuery } from '../../api/use-api.ts';

/** What a replay is to send. Times in unix seconds. */
export interface ReplayWish {
  endpointId: string;
  status: ReplayKind;
  since: number;
  /** Null: everything until it starts. */
  until: number | null;
}

function bodyOf({ status, since, until }: ReplayWish): object {
  return { status, since, ...(until === null ? {} : { until }) };
}

function pathOf(wish: ReplayWish): string {
  return `/v2/endpoint/${encodeURIComponent(wish.endpointId)}/replay`;
}

/** Two wishes for the same. */
export function isSameWish(one: ReplayWish | undefined, other: ReplayWish | null): boolean {
  return JSON.stringify(one) === JSON.stringify(other);
}

/** Counts what a replay would send, and starts nothing. */
export function useDryRun() {
  return useApiMutation<ReplayWish, { matched: number; matched_is_exact?: false }>((api, wish) =>
    api.send('POST', pathOf(wish), { ...bodyOf(wish), dry_run: true }),
  );
}

export function useStartReplay(onStarted: (replayId: string) => void) {
  return useApiMutation<ReplayWish, { replay_id: string; matched: number }>(
    (api, wish) => api.send('POST', pathOf(wish), bodyOf(wish)),
    ({ replay_id: replayId }) => onStarted(replayId),
  );
}

export function useStopReplay() {
  return useApiMutation<string, Replay>((api, replayId) =>
    api.send('DELETE', `/v2/replay/${encodeURIComponent(replayId)}`),
  );
}

/** The account's replays, newest first; looked at often while one runs. */
export function useReplays(endpointId: string | undefined) {
  return useApiQuery<{ replays: Replay[] }>('/v2/replays', {
    query: { endpoint_id: endpointId },
    refetchInterval: (query) =>
      query.state.data?.replays.some(({ status }) => status === 'running') ? 1000 : 15_000,
  });
}
