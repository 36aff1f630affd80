/** The parts of a page: its head, its cards, lists of facts. */
import { type ReactNode, useEffect } from 'react';

import { cx } from '../lib/text.ts';

interface PageHeaderProps {
  title: string;
  /** Beside the title: a status. */
  beside?: ReactNode;
  /** What the page is for, in a sentence; or facts about the one thing that it shows. */
  children?: ReactNode;
  actions?: ReactNode;
  /** Over the title: the way back. */
  back?: ReactNode;
  /** The title is an id or URL. */
  mono?: boolean;
}

export function PageHeader({ title, beside, children, actions, back, mono = false }: PageHeaderProps) {
  useEffect(() => {
    document.title = `${title.length > 60 ? `${title.slice(0, 60)}…` : title} · Posthorn`;
  }, [title]);
  return (
    <header className="mb-5">
      {back !== undefined && <div className="mb-1.5">{back}</div>}
      <div className="flex flex-wrap items-start justify-between gap-x-4 gap-y-2">
        <div className="min-w-0 flex-auto basis-80">
          <div className="flex min-w-0 flex-wrap items-center gap-x-3 gap-y-1">
            <h1
              className={cx(
                'min-w-0 break-all',
                mono
                  ? 'line-clamp-3 font-mono text-base font-semibold'
                  : 'text-xl font-semibold tracking-tight',
              )}
              title={mono ? title : undefined}
            >
              {title}
            </h1>
            {beside}
          </div>
          {children !== undefined && <div className="text-soft mt-1 max-w-3xl break-words">{children}</div>}
        </div>
        {actions !== undefined && <div className="flex flex-wrap items-center gap-2">{actions}</div>}
      </div>
    </header>
  );
}

interface CardProps {
  title?: string;
  /** At the right of the title. */
  actions?: ReactNode;
  children: ReactNode;
  /** The contents reach to the edge: tables, lists with lines. */
  flush?: boolean;
  className?: string;
}

export function Card({ title, actions, children, flush = false, className }: CardProps) {
  return (
    <section className={cx('border-line bg-surface min-w-0 rounded-lg border', className)} aria-label={title}>
      {title !== undefined && (
        <div className="flex min-h-10 flex-wrap items-center justify-between gap-2 px-4 pt-2">
          <h2 className="font-semibold">{title}</h2>
          {actions !== undefined && <div className="flex items-center gap-2">{actions}</div>}
        </div>
      )}
      <div className={flush ? '' : 'px-4 pt-2 pb-4'}>{children}</div>
    </section>
  );
}

/** Facts, name by value. Values of undefined are left out. */
export function Facts({ facts }: { facts: readonly (readonly [string, ReactNode])[] }) {
  return (
    <dl className="grid grid-cols-[minmax(6.5rem,auto)_minmax(0,1fr)] gap-x-4 gap-y-1.5">
      {facts
        .filter(([, value]) => value !== undefined)
        .map(([name, value]) => (
          <div key={name} className="contents">
            <dt className="text-faint">{name}</dt>
            <dd className="min-w-0 break-words">{value}</dd>
          </div>
        ))}
    </dl>
  );
}

/** Nothing is here yet: what that means, and the next step. */
export function EmptyState({
  icon,
  title,
  children,
  action,
}: {
  icon?: ReactNode;
  title: string;
  children?: ReactNode;
  action?: ReactNode;
}) {
  return (
    <div className="border-line bg-surface flex flex-col items-center gap-2 rounded-lg border border-dashed px-6 py-12 text-center">
      {icon !== undefined && <div className="text-faint">{icon}</div>}
      <p className="font-semibold">{title}</p>
      {children !== undefined && <div className="text-soft max-w-md">{children}</div>}
      {action !== undefined && <div className="mt-2 flex flex-wrap justify-center gap-2">{action}</div>}
    </div>
  );
}

/** An id in the type of code; long ones are cut, the whole is on hover. */
export function Id({ children }: { children: string }) {
  return (
    <span
      className="inline-block max-w-full truncate align-bottom font-mono text-[0.8125rem]"
      title={children}
    >
      {children}
    </span>
  );
}
