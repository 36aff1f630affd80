/** Asking for a replay: to which endpoint, what, since when; counted before it starts. */
import { useNavigate, useSearch } from '@tanstack/react-router';

import type { Endpoint, ReplayKind } from '../../api/types.ts';
import { presentSeconds } from '../../lib/now.ts';
import { wholeNumber } from '../../lib/search.ts';
import { count, counted } from '../../lib/text.ts';
import { fromLocalInput, localTime, toLocalInput } from '../../lib/time.ts';
import { Button } from '../../ui/button.tsx';
import { ErrorPanel } from '../../ui/error-panel.tsx';
import { Check, SelectField, TextField } from '../../ui/field.tsx';
import { Card } from '../../ui/page.tsx';
import { useToast } from '../../ui/toast.tsx';
import { useEndpointHealth } from '../endpoints/queries.ts';
import { type ReplayWish, isSameWish, useDryRun, useStartReplay } from './queries.ts';

const KINDS: readonly { kind: ReplayKind; label: string; hint: string }[] = [
  {
    kind: 'failed',
    label: 'What failed',
    hint: 'Deliveries that were given up or cancelled.',
  },
  {
    kind: 'missing',
    label: 'What is missing',
    hint: 'Events of its types that it never got: published while it was disabled, or before it subscribed.',
  },
  {
    kind: 'all',
    label: 'Everything',
    hint: 'Both, and also what was delivered. Receivers see the same event_id again.',
  },
];

const PRESETS = [
  { label: 'last hour', seconds: 3600 },
  { label: 'last day', seconds: 86_400 },
  { label: 'last 7 days', seconds: 604_800 },
];

export function ReplayWizard({ endpoints }: { endpoints: readonly Endpoint[] }) {
  const search = useSearch({ from: '/app/replays' });
  const navigate = useNavigate({ from: '/replays' });
  const toast = useToast();
  const health = useEndpointHealth();
  const set = (part: Partial<typeof search>) =>
    void navigate({ search: (old) => ({ ...old, ...part }), replace: true });

  const endpoint = endpoints.find(({ endpoint_id: id }) => id === search.endpoint_id);
  const kind = KINDS.find((entry) => entry.kind === search.status)?.kind ?? 'failed';
  const since = wholeNumber(search.since);
  const until = wholeNumber(search.until) ?? null;
  const failingSince = health.data?.endpoints.find(
    (entry) => entry.endpoint_id === search.endpoint_id,
  )?.failing_since;
  const wish: ReplayWish | null =
    endpoint === undefined || since === undefined
      ? null
      : { endpointId: endpoint.endpoint_id, status: kind, since, until };

  const dryRun = useDryRun();
  const start = useStartReplay((replayId) => {
    dryRun.reset();
    set({ replay_id: replayId });
    toast({ text: 'The replay has started.' });
  });
  const found = isSameWish(dryRun.variables, wish) ? dryRun.data : undefined;
  const matched = found?.matched;
  // Too long a range to look at all of it: there may be more.
  const isAtLeast = found?.matched_is_exact === false;
  const error = isSameWish(start.variables, wish) && start.error !== null ? start.error : dryRun.error;

  return (
    <Card title="Start a replay">
      <form
        className="space-y-5"
        onSubmit={(event) => {
          event.preventDefault();
          start.reset();
          if (wish !== null) dryRun.mutate(wish);
        }}
      >
        <SelectField
          label="To which endpoint"
          value={endpoint?.endpoint_id ?? ''}
          hint={endpoint?.status === 'disabled' ? 'It is disabled: enable it first, then replay.' : undefined}
          onChange={(event) => set({ endpoint_id: event.target.value || undefined })}
        >
          <option value="">Choose an endpoint</option>
          {endpoints.map(({ endpoint_id: id, url, status }) => (
            <option key={id} value={id}>
              {status === 'disabled' ? `${url} (disabled)` : url}
            </option>
          ))}
        </SelectField>
        <fieldset className="space-y-2">
          <legend className="mb-1 font-medium">What</legend>
          {KINDS.map(({ kind: choice, label, hint }) => (
            <Check
              key={choice}
              type="radio"
              name="kind"
              label={label}
              hint={hint}
              checked={kind === choice}
              onChange={() => set({ status: choice })}
            />
          ))}
        </fieldset>
        <div>
          <div className="grid gap-3 sm:grid-cols-2">
            <TextField
              label="Published since"
              type="datetime-local"
              value={since === undefined ? '' : toLocalInput(since)}
              onChange={(event) => {
                const at = fromLocalInput(event.target.value);
                set({ since: at === null ? undefined : String(at) });
              }}
            />
            <TextField
              label="Until"
              type="datetime-local"
              hint="Empty: until it starts."
              value={until === null ? '' : toLocalInput(until)}
              onChange={(event) => {
                const at = fromLocalInput(event.target.value);
                set({ until: at === null ? undefined : String(at) });
              }}
            />
          </div>
          <div className="mt-2 flex flex-wrap gap-2">
            {PRESETS.map(({ label, seconds }) => (
              <Button
                key={label}
                small
                onClick={() => set({ since: String(presentSeconds() - seconds), until: undefined })}
              >
                {label}
              </Button>
            ))}
            {failingSince && (
              <Button small onClick={() => set({ since: String(failingSince), until: undefined })}>
                since it began to fail
              </Button>
            )}
          </div>
        </div>
        {error !== null && <ErrorPanel error={error} compact />}
        {matched !== undefined && wish !== null ? (
          <div className="border-line bg-sunken space-y-3 rounded-lg border p-3" role="status">
            <p>
              {isAtLeast ? (
                <>
                  This is a long range: <strong>{count(matched)}</strong> of its first events fit, and there
                  may be more. How many are sent to{' '}
                  <span className="font-mono text-[0.8125rem] break-all">{endpoint?.url}</span> is counted as
                  it starts. Fresh events still pass, and you can stop it.
                </>
              ) : matched === 0 ? (
                <>Nothing fits: there is nothing to send again since {localTime(wish.since)}.</>
              ) : (
                <>
                  <strong>{counted(matched, 'delivery', 'deliveries')}</strong> will be sent to{' '}
                  <span className="font-mono text-[0.8125rem] break-all">{endpoint?.url}</span>. Fresh events
                  still pass, and you can stop it.
                </>
              )}
            </p>
            <div className="flex flex-wrap gap-2">
              {(matched > 0 || isAtLeast) && (
                <Button kind="primary" busy={start.isPending} onClick={() => start.mutate(wish)}>
                  {isAtLeast ? 'Send all of them again' : `Send ${count(matched)} again`}
                </Button>
              )}
              <Button onClick={() => dryRun.reset()}>Change it</Button>
            </div>
          </div>
        ) : (
          <Button type="submit" kind="primary" disabled={wish === null} busy={dryRun.isPending}>
            Count what will be sent
          </Button>
        )}
      </form>
    </Card>
  );
}
