/** The attempts of a delivery, newest first, each with how long it took and what came back. */
import { useState } from 'react';

import type { Attempt } from '../../api/types.ts';
import { cx } from '../../lib/text.ts';
import { milliseconds } from '../../lib/time.ts';
import { Badge } from '../../ui/badge.tsx';
import { BodyBlock, HeaderList } from '../../ui/code.tsx';
import { sentence } from '../../ui/error-panel.tsx';
import { ChevronRightIcon } from '../../ui/icons.tsx';
import { Age, Time } from '../../ui/time.tsx';
import { OUTCOME_WORDS } from './parts.tsx';

/** The bars' whole width stands for at least this, so that a fast answer looks fast. */
const SCALE_MS = 1000;

export function AttemptList({ attempts }: { attempts: readonly Attempt[] }) {
  const longestMs = Math.max(SCALE_MS, ...attempts.map(({ duration_ms: ms }) => ms));
  const newest = attempts.at(-1)?.number;
  if (attempts.length === 0) return <p className="text-soft px-4 pt-1 pb-4">No attempt was made yet.</p>;
  return (
    <ol className="divide-line mt-2 divide-y">
      {attempts.toReversed().map((attempt) => (
        <AttemptRow
          key={attempt.number}
          attempt={attempt}
          longestMs={longestMs}
          initiallyOpen={attempt.number === newest}
        />
      ))}
    </ol>
  );
}

function AttemptRow({
  attempt,
  longestMs,
  initiallyOpen,
}: {
  attempt: Attempt;
  longestMs: number;
  initiallyOpen: boolean;
}) {
  const [open, setOpen] = useState(initiallyOpen);
  const { number, outcome, http_status: httpStatus, duration_ms: durationMs } = attempt;
  const succeeded = outcome === 'success';
  const panelId = `attempt-${number}`;
  return (
    <li>
      <button
        type="button"
        aria-expanded={open}
        aria-controls={panelId}
        onClick={() => setOpen(!open)}
        className="hover:bg-hover flex w-full flex-wrap items-center gap-x-3 gap-y-1 px-4 py-2 text-left focus-visible:-outline-offset-2"
      >
        <ChevronRightIcon className={cx('text-faint size-3.5 transition-transform', open && 'rotate-90')} />
        <span className="text-soft w-6 tabular-nums">#{number}</span>
        <Badge tone={succeeded ? 'ok' : 'bad'}>{httpStatus ?? outcome.replaceAll('_', ' ')}</Badge>
        <span className="min-w-0 grow basis-40 truncate">
          {OUTCOME_WORDS[outcome] ?? outcome}
          {attempt.manual && <span className="text-faint"> · asked for by hand</span>}
        </span>
        <TimingBar durationMs={durationMs} longestMs={longestMs} succeeded={succeeded} />
        <span className="text-faint w-20 text-right text-[0.8125rem]">
          <Age at={attempt.started_at} />
        </span>
      </button>
      {open && (
        <div id={panelId} className="space-y-3 px-4 pt-1 pb-4">
          <p className="text-soft text-[0.8125rem]">
            Started <Time at={attempt.started_at} />
          </p>
          {attempt.error !== null && <p className="text-bad break-words">{sentence(attempt.error)}</p>}
          {attempt.response === null ? (
            <p className="text-soft">Nothing came back.</p>
          ) : (
            <>
              <HeaderList headers={attempt.response.headers} empty="The answer has no headers." />
              {attempt.response.body === null || attempt.response.body === '' ? (
                <p className="text-soft">The answer has no body.</p>
              ) : (
                <BodyBlock label="Response body" text={attempt.response.body} />
              )}
              {attempt.response.truncated && (
                <p className="text-soft text-[0.8125rem]">
                  The answer was longer than what is kept of it. Its status counts all the same.
                </p>
              )}
            </>
          )}
        </div>
      )}
    </li>
  );
}

function TimingBar({
  durationMs,
  longestMs,
  succeeded,
}: {
  durationMs: number;
  longestMs: number;
  succeeded: boolean;
}) {
  return (
    <span className="flex items-center gap-2">
      <span className="bg-sunken hidden h-1.5 w-28 overflow-hidden rounded-full sm:block" aria-hidden="true">
        <span
          className={cx('block h-full rounded-full', succeeded ? 'bg-ok' : 'bg-bad')}
          style={{ width: `${Math.max(2, (durationMs / longestMs) * 100)}%` }}
        />
      </span>
      <span className="text-soft w-14 text-right text-[0.8125rem] tabular-nums">
        {milliseconds(durationMs)}
      </span>
    </span>
  );
}
