/** What went wrong, in the API's words, and what to do now. */
import type { ReactNode } from 'react';

import type { ApiError } from '../api/error.ts';
import { span } from '../lib/time.ts';
import { Button } from './button.tsx';
import { WarningIcon } from './icons.tsx';

/** What to do about a refusal, where the API's message doesn't say it itself. */
export function adviceFor(error: ApiError): string | null {
  if (error.code === 429 || error.retryAfterSeconds !== null) {
    return `Try again in ${span(error.retryAfterSeconds ?? 1)}.`;
  }
  if (error.isNotFound) return 'It may have been deleted, or belong to another account. Check the address.';
  if (error.code === 18025)
    return 'Your session may not do this. Sign in with a key that may, or ask the operator.';
  if (error.status >= 500)
    return 'Nothing was changed. Try again; if it stays, the operator finds the cause by the request id.';
  return null;
}

interface ErrorPanelProps {
  error: ApiError;
  /** What couldn't be done: `The endpoints can’t be shown`. */
  title?: string;
  onRetry?: () => void;
  /** Without a title, inside a form or dialog. */
  compact?: boolean;
  children?: ReactNode;
}

export function ErrorPanel({ error, title, onRetry, compact = false, children }: ErrorPanelProps) {
  const advice = adviceFor(error);
  return (
    <div role="alert" className="border-bad/40 bg-bad-ground text-ink flex gap-3 rounded-lg border p-3">
      <WarningIcon className="text-bad mt-0.5 size-4" />
      <div className="min-w-0 flex-1 space-y-1">
        {!compact && <p className="font-semibold">{title ?? 'That didn’t work'}</p>}
        <p className="break-words">{sentence(error.message)}</p>
        {advice !== null && <p className="text-soft">{advice}</p>}
        {error.requestId !== null && (error.status >= 500 || !compact) && (
          <p className="text-soft font-mono text-xs">request id {error.requestId}</p>
        )}
        {children}
        {onRetry !== undefined && (
          <Button small onClick={onRetry} className="mt-1">
            Try again
          </Button>
        )}
      </div>
    </div>
  );
}

/** The API's messages begin in lower case; here they stand alone. A host or a field's name that one begins with stays as it is. */
export function sentence(message: string): string {
  const beginsWithWord = /^[a-z]+(?:[ ,:;’]|$)/.test(message);
  const text = beginsWithWord ? message.charAt(0).toUpperCase() + message.slice(1) : message;
  return /[.!?]$/.test(text) ? text : `${text}.`;
}
