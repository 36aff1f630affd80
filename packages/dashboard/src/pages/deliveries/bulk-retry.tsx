/** Attempting many deliveries now. */
import { useState } from 'react';

import { useApiMutation } from '../../api/use-api.ts';
import { counted } from '../../lib/text.ts';
import { Button } from '../../ui/button.tsx';
import { Confirm } from '../../ui/dialog.tsx';
import { sentence } from '../../ui/error-panel.tsx';
import { ReplayIcon } from '../../ui/icons.tsx';
import { useToast } from '../../ui/toast.tsx';

interface RetryResult {
  delivery_id: string;
  code: number;
  msg: string;
}

/** The refusals among results, each message once with how often it came. */
export function refusals(results: readonly RetryResult[]): { message: string; times: number }[] {
  const times = new Map<string, number>();
  for (const { code, msg } of results) {
    if (code !== 0) times.set(msg, (times.get(msg) ?? 0) + 1);
  }
  return [...times].map(([message, many]) => ({ message, times: many }));
}

export function BulkRetry({ chosen, onDone }: { chosen: ReadonlySet<string>; onDone(): void }) {
  const [asking, setAsking] = useState(false);
  const toast = useToast();
  const retry = useApiMutation<void, { results: RetryResult[] }>(
    (api) => api.send('POST', '/v2/deliveries/retry', { delivery_ids: [...chosen] }),
    ({ results }) => {
      setAsking(false);
      onDone();
      const refused = refusals(results);
      const started = results.filter(({ code }) => code === 0).length;
      toast({
        tone: refused.length > 0 ? 'bad' : 'ok',
        text: (
          <>
            <p>{counted(started, 'delivery', 'deliveries')} on the way.</p>
            {refused.slice(0, 3).map(({ message, times }) => (
              <p key={message} className="break-words">
                {times} refused: {sentence(message)}
              </p>
            ))}
          </>
        ),
      });
    },
  );
  if (chosen.size === 0) return null;
  return (
    <div className="float-right">
      <Button small icon={<ReplayIcon />} onClick={() => setAsking(true)}>
        Retry {chosen.size}
      </Button>
      <Confirm
        open={asking}
        onClose={() => setAsking(false)}
        title={`Retry ${counted(chosen.size, 'delivery', 'deliveries')} now?`}
        confirm="Retry now"
        kind="primary"
        busy={retry.isPending}
        error={retry.error}
        onConfirm={() => retry.mutate()}
      >
        <ul className="list-disc space-y-1 pl-5">
          <li>What waits for its next attempt is attempted now.</li>
          <li>What has ended, delivered or not, is sent again; receivers see the same event_id.</li>
          <li>Deliveries to a disabled endpoint are refused.</li>
        </ul>
      </Confirm>
    </div>
  );
}
