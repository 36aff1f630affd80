/** What needs somebody's attention, the most urgent first. Pure, so that it can be tested by itself. */
import type { Overview, TroubledEndpoint } from '../../api/types.ts';

/** Deliveries that are due are attempted within milliseconds; so long a wait means that something holds them up. */
const OLD_QUEUE_SECONDS = 60;

export type Trouble =
  | { kind: 'disabled' | 'gave_up' | 'failing'; endpoint: TroubledEndpoint }
  | { kind: 'old_queue'; seconds: number };

export function troublesOf({ oldest_due_seconds: oldest, troubled }: Overview): Trouble[] {
  const kindOf = ({ status, dead }: TroubledEndpoint) =>
    status === 'disabled' ? 'disabled' : dead > 0 ? 'gave_up' : 'failing';
  return [
    ...(oldest >= OLD_QUEUE_SECONDS ? [{ kind: 'old_queue', seconds: oldest } as const] : []),
    ...troubled.map((endpoint) => ({ kind: kindOf(endpoint), endpoint }) as const),
  ];
}
