/** Grey shapes of what is coming, as large as it will be, so that nothing jumps when it is there. */
import { cx } from '../lib/text.ts';

export function Skeleton({ className }: { className?: string }) {
  return <span className={cx('bg-sunken block animate-pulse rounded', className)} aria-hidden="true" />;
}

/** A table that is being loaded. */
export function TableSkeleton({ rows = 8 }: { rows?: number }) {
  return (
    <div className="border-line bg-surface rounded-lg border" role="status">
      <span className="sr-only">Loading…</span>
      <div className="border-line h-8 border-b" />
      {Array.from({ length: rows }, (_, row) => (
        <div
          key={row}
          className="border-line flex h-[2.3125rem] items-center gap-4 border-b px-3 last:border-b-0"
        >
          <Skeleton className="h-3.5 w-1/4" />
          <Skeleton className="h-3.5 w-1/3" />
          <Skeleton className="ml-auto h-3.5 w-1/6" />
        </div>
      ))}
    </div>
  );
}

/** Cards that are being loaded. */
export function CardSkeleton({ lines = 4 }: { lines?: number }) {
  return (
    <div className="border-line bg-surface space-y-3 rounded-lg border p-4" role="status">
      <span className="sr-only">Loading…</span>
      {Array.from({ length: lines }, (_, line) => (
        <Skeleton key={line} className={cx('h-3.5', line % 2 === 0 ? 'w-2/3' : 'w-1/2')} />
      ))}
    </div>
  );
}
