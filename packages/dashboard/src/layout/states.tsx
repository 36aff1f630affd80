/** What stands in a page's place: while it loads, when it isn't there, when it broke. */
import { asApiError } from '../api/error.ts';
import { ButtonLink } from '../ui/button.tsx';
import { ErrorPanel } from '../ui/error-panel.tsx';
import { EmptyState } from '../ui/page.tsx';
import { Skeleton, TableSkeleton } from '../ui/skeleton.tsx';

export function PageLoading() {
  return (
    <div>
      <Skeleton className="mb-2 h-7 w-40" />
      <Skeleton className="mb-5 h-4 w-72" />
      <TableSkeleton />
    </div>
  );
}

export function NotFound() {
  return (
    <main className="mx-auto max-w-xl px-4 py-16">
      <h1 className="sr-only">Not found</h1>
      <EmptyState
        title="There is no page at this address"
        action={
          <ButtonLink to="/" kind="primary">
            To the overview
          </ButtonLink>
        }
      >
        It may have moved, or the link was cut short.
      </EmptyState>
    </main>
  );
}

export function PageError({ error, reset }: { error: unknown; reset(): void }) {
  return (
    <div className="mx-auto max-w-2xl px-4 py-10">
      <ErrorPanel error={asApiError(error)} title="This page broke" onRetry={reset}>
        <p className="text-soft">
          Nothing was changed by that. If a new version of the service was installed, load the page again.
        </p>
      </ErrorPanel>
    </div>
  );
}
