/** How deliveries are: what needs attention, figures and plots over a range of time. Of an account, or for operators of all. */
import { keepPreviousData } from '@tanstack/react-query';
import { useNavigate, useSearch } from '@tanstack/react-router';
import { lazy, type ReactNode, Suspense, useMemo } from 'react';

import type { Overview, Stats } from '../../api/types.ts';
import { useApiQuery } from '../../api/use-api.ts';
import { useNow } from '../../lib/now.ts';
import { count, percent } from '../../lib/text.ts';
import { milliseconds, span } from '../../lib/time.ts';
import { useAccount } from '../../session/session.tsx';
import { ButtonLink, TextLink } from '../../ui/button.tsx';
import { ErrorPanel } from '../../ui/error-panel.tsx';
import { EndpointIcon } from '../../ui/icons.tsx';
import { Card, EmptyState, PageHeader } from '../../ui/page.tsx';
import { Segments } from '../../ui/segments.tsx';
import { Skeleton } from '../../ui/skeleton.tsx';
import { Attention } from './attention.tsx';
import { type Range, RANGES, beginOf, columnsOf, rangeOf } from './ranges.ts';

const Plot = lazy(() => import('../../ui/plot.tsx'));

const REFETCH_MS = 10_000;

export default function OverviewPage() {
  const search = useSearch({ from: '/app/' });
  const navigate = useNavigate({ from: '/' });
  const { account, isOperator } = useAccount();
  const range = rangeOf(search.range);
  const begin = useNow((now) => beginOf(range, now));
  const overview = useApiQuery<Overview>('/v2/overview', { refetchInterval: REFETCH_MS });
  const stats = useApiQuery<Stats>('/v2/stats', {
    query: { since: begin, interval: range.interval },
    refetchInterval: REFETCH_MS,
    placeholderData: keepPreviousData,
  });
  const failed = overview.error ?? stats.error;
  const isNew =
    overview.data !== undefined && overview.data.endpoints.enabled + overview.data.endpoints.disabled === 0;

  return (
    <>
      <PageHeader
        title="Overview"
        actions={
          <Segments
            label="Range of time"
            options={RANGES}
            value={range.id}
            onChange={(id) => void navigate({ search: (old) => ({ ...old, range: id }), replace: true })}
          />
        }
      >
        {isOperator && account === null
          ? 'All accounts together. Choose one at the left to see its own.'
          : `Deliveries of the ${range.words}.`}
      </PageHeader>
      {failed !== null && overview.data === undefined ? (
        <ErrorPanel
          error={failed}
          title="The overview can’t be shown"
          onRetry={() => {
            void overview.refetch();
            void stats.refetch();
          }}
        />
      ) : (
        <div className="space-y-4">
          {isNew ? <NothingYet /> : <Attention overview={overview.data} />}
          <Figures overview={overview.data} stats={stats.data} range={range} />
          <Plots stats={stats.data} range={range} begin={begin} />
        </div>
      )}
    </>
  );
}

function NothingYet() {
  const { isOperator, account } = useAccount();
  return (
    <EmptyState
      icon={<EndpointIcon className="size-8" />}
      title="Nothing can be delivered yet"
      action={
        <>
          <ButtonLink to="/first-run" kind="primary">
            Take the first steps
          </ButtonLink>
          {account === null ? (
            <ButtonLink to="/accounts">Accounts</ButtonLink>
          ) : (
            <ButtonLink to="/endpoints/new">Add an endpoint</ButtonLink>
          )}
        </>
      }
    >
      {isOperator
        ? 'There is no endpoint that events could go to. The first steps lead from here to a delivered webhook in under two minutes, with a receiver that is built in.'
        : 'Add the URL of your receiver, or take the first steps with the receiver that is built in.'}
    </EmptyState>
  );
}

function Figures({
  overview,
  stats,
  range,
}: {
  overview: Overview | undefined;
  stats: Stats | undefined;
  range: Range;
}) {
  const { account } = useAccount();
  const totals = stats?.totals;
  const attempts = totals === undefined ? 0 : totals.delivered + totals.failed_attempts;
  const pending = overview === undefined ? undefined : pendingText(overview, account);
  const age = overview?.oldest_due_seconds;
  return (
    <dl className="grid grid-cols-2 gap-3 sm:grid-cols-4">
      <Figure name="Delivered" note={range.words} value={totals && count(totals.delivered)} />
      <Figure name="Failed attempts" note={range.words} value={totals && count(totals.failed_attempts)} />
      <Figure
        name="Success rate"
        note="of all attempts"
        value={totals && percent(totals.delivered, attempts)}
      />
      <Figure
        name="Given up"
        note={range.words}
        tone={totals !== undefined && totals.dead > 0 ? 'bad' : undefined}
        value={
          totals &&
          (totals.dead > 0 && account !== null ? (
            <TextLink to="/deliveries" search={{ status: 'dead' }}>
              {count(totals.dead)}
            </TextLink>
          ) : (
            count(totals.dead)
          ))
        }
      />
      <Figure
        name="Pending"
        note="now"
        value={
          pending !== undefined && account !== null ? (
            <TextLink to="/deliveries" search={{ status: 'pending' }}>
              {pending}
            </TextLink>
          ) : (
            pending
          )
        }
      />
      <Figure
        name="Queue age"
        note="of the oldest due delivery"
        value={age === undefined ? undefined : age < 1 ? '0 s' : span(age)}
      />
      <Figure name="Median time" note="of an attempt" value={totals && milliseconds(totals.p50_ms)} />
      <Figure name="95 % within" note="of attempts" value={totals && milliseconds(totals.p95_ms)} />
    </dl>
  );
}

/** `12`; of a long queue `20,000+` for an account, `≈ 1,200,000` for all. */
function pendingText({ pending, pending_is_exact: isExact }: Overview, account: string | null): string {
  if (isExact) return count(pending);
  return account === null ? `≈ ${count(pending)}` : `${count(pending)}+`;
}

function Figure({
  name,
  note,
  value,
  tone,
}: {
  name: string;
  note: string;
  /** Undefined while it is loading. */
  value: ReactNode;
  tone?: 'bad' | undefined;
}) {
  return (
    <div className="border-line bg-surface min-w-0 rounded-lg border px-4 py-3">
      <dt className="text-soft text-[0.8125rem]">{name}</dt>
      <dd>
        <span
          className={`block h-7 truncate text-xl font-semibold tracking-tight tabular-nums ${tone === 'bad' ? 'text-bad' : ''}`}
        >
          {value === undefined ? <Skeleton className="mt-1 h-5 w-16" /> : value}
        </span>
        <span className="text-faint block text-xs">{note}</span>
      </dd>
    </div>
  );
}

const PLOT_ROOM = 'h-[14.5rem]';

function Plots({ stats, range, begin }: { stats: Stats | undefined; range: Range; begin: number }) {
  const columns = useMemo(
    () => (stats === undefined ? undefined : columnsOf(stats.series, range, begin)),
    [stats, range, begin],
  );
  const attempts = useMemo(
    () =>
      columns && [
        { label: 'Delivered', colour: 'ok' as const, values: columns.delivered },
        { label: 'Failed attempts', colour: 'bad' as const, values: columns.failed },
      ],
    [columns],
  );
  const times = useMemo(
    () =>
      columns && [
        { label: 'Median', colour: 'link' as const, values: columns.p50 },
        { label: '95 % within', colour: 'warn' as const, values: columns.p95 },
      ],
    [columns],
  );
  const waiting = <Skeleton className={PLOT_ROOM} />;
  return (
    <div className="grid gap-4 lg:grid-cols-2">
      <Card title="Attempts">
        {columns === undefined || attempts === undefined ? (
          waiting
        ) : (
          <Suspense fallback={waiting}>
            <Plot
              label="Attempts"
              at={columns.at}
              rangeSeconds={range.seconds}
              series={attempts}
              kind="stack"
              format={count}
            />
          </Suspense>
        )}
      </Card>
      <Card title="Time of an attempt">
        {columns === undefined || times === undefined ? (
          waiting
        ) : (
          <Suspense fallback={waiting}>
            <Plot
              label="Time of an attempt"
              at={columns.at}
              rangeSeconds={range.seconds}
              series={times}
              kind="lines"
              format={milliseconds}
            />
          </Suspense>
        )}
      </Card>
    </div>
  );
}
