/** Small words with a colour. The word says it; the colour helps. */
import type { ReactNode } from 'react';

import { cx } from '../lib/text.ts';

export type Tone = 'ok' | 'warn' | 'bad' | 'info' | 'plain';

const TONES: Record<Tone, string> = {
  ok: 'bg-ok-ground text-ok',
  warn: 'bg-warn-ground text-warn',
  bad: 'bg-bad-ground text-bad',
  info: 'bg-link-ground text-link',
  plain: 'bg-sunken text-soft',
};

export function Badge({
  tone = 'plain',
  children,
  title,
}: {
  tone?: Tone;
  children: ReactNode;
  title?: string;
}) {
  return (
    <span
      title={title}
      className={cx(
        'inline-flex h-5 max-w-full shrink-0 items-center gap-1 truncate rounded px-1.5 text-xs font-medium',
        TONES[tone],
      )}
    >
      {children}
    </span>
  );
}

const STATUS_TONES: Record<string, Tone> = {
  delivered: 'ok',
  success: 'ok',
  enabled: 'ok',
  active: 'ok',
  done: 'ok',
  pending: 'info',
  running: 'info',
  retrying: 'warn',
  failing: 'bad',
  probing: 'bad',
  dead: 'bad',
  suspended: 'bad',
  revoked: 'bad',
  expired: 'warn',
  disabled: 'plain',
  cancelled: 'plain',
  skipped: 'plain',
};

/** A status of a delivery, endpoint, account, replay, key or target, in its colour; unknown ones are plain. */
export function StatusBadge({ status, title }: { status: string; title?: string }) {
  return (
    <Badge tone={STATUS_TONES[status] ?? 'plain'} {...(title === undefined ? {} : { title })}>
      {status}
    </Badge>
  );
}
