/** The look of a step of the guide: its number or a tick, its title, and what is to do while it is the present one. */
import type { ReactNode } from 'react';

import { cx } from '../../lib/text.ts';
import { CheckIcon } from '../../ui/icons.tsx';

export type StepState = 'done' | 'now' | 'later';

interface StepProps {
  number: number;
  title: string;
  state: StepState;
  /** What came of it, in a line, once it is done. */
  result?: ReactNode;
  /** What is to do. Shown while it is the present step. */
  children: ReactNode;
}

const STATE_WORDS: Record<StepState, string> = { done: 'done', now: 'now', later: 'later' };

export function Step({ number, title, state, result, children }: StepProps) {
  return (
    <li
      aria-current={state === 'now' ? 'step' : undefined}
      className={cx(
        'border-line rounded-lg border',
        state === 'later' ? 'bg-transparent' : 'bg-surface',
        state === 'now' && 'border-line-strong',
      )}
    >
      <div className="flex items-start gap-3 px-4 py-3">
        <span
          aria-hidden="true"
          className={cx(
            'mt-px flex size-5.5 shrink-0 items-center justify-center rounded-full text-xs font-semibold tabular-nums',
            state === 'done' && 'bg-ok-ground text-ok',
            state === 'now' && 'bg-solid text-on-solid',
            state === 'later' && 'bg-sunken text-soft',
          )}
        >
          {state === 'done' ? <CheckIcon className="size-3.5" /> : number}
        </span>
        <div className="min-w-0 flex-1">
          <h2 className={cx('font-semibold', state === 'later' && 'text-soft font-medium')}>
            {title}
            <span className="sr-only"> ({STATE_WORDS[state]})</span>
          </h2>
          {state === 'done' && result !== undefined && (
            <div className="text-soft mt-0.5 min-w-0 break-words">{result}</div>
          )}
          {state === 'now' && <div className="mt-2 space-y-3">{children}</div>}
        </div>
      </div>
    </li>
  );
}
