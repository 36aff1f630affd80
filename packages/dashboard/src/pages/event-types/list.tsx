/** The catalogue: what can be heard, by category. */
import { useNavigate, useSearch } from '@tanstack/react-router';

import type { EventType } from '../../api/types.ts';
import { counted } from '../../lib/text.ts';
import { useAccount } from '../../session/session.tsx';
import { Badge } from '../../ui/badge.tsx';
import { Button, TextLink } from '../../ui/button.tsx';
import { ErrorPanel } from '../../ui/error-panel.tsx';
import { SelectField, TextField } from '../../ui/field.tsx';
import { PlusIcon } from '../../ui/icons.tsx';
import { Card, EmptyState, PageHeader } from '../../ui/page.tsx';
import { TableSkeleton } from '../../ui/skeleton.tsx';
import { byCategory } from '../endpoints/event-picker.tsx';
import { useEndpoints, useEventTypes } from '../endpoints/queries.ts';
import { EventTypeEditor } from './editor.tsx';

export default function EventTypesPage() {
  const search = useSearch({ from: '/app/event-types' });
  const navigate = useNavigate({ from: '/event-types' });
  const { account, isOperator } = useAccount();
  const types = useEventTypes();
  const endpoints = useEndpoints(account !== null);
  const set = (part: Partial<typeof search>) =>
    void navigate({ search: (old) => ({ ...old, ...part }), replace: true });
  if (isOperator && search.new !== undefined) {
    return <EventTypeEditor type={null} onClose={() => set({ new: undefined })} />;
  }

  const all = types.data?.event_types ?? [];
  const categories = [...new Set(all.map(({ category }) => category))];
  const groups = byCategory(
    all.filter(({ category }) => search.category === undefined || category === search.category),
    search.q ?? '',
  );
  const shown = groups.reduce((sum, [, group]) => sum + group.length, 0);
  const subscribersOf = (name: string) =>
    endpoints.data?.endpoints.filter(({ events }) => events.includes(name)).length;
  return (
    <>
      <PageHeader
        title="Event types"
        actions={
          isOperator && (
            <Button kind="primary" icon={<PlusIcon />} onClick={() => set({ new: '1' })}>
              Add event type
            </Button>
          )
        }
      >
        What an endpoint can subscribe to. Each type has a schema, and an example that you can send as a test.
      </PageHeader>
      {types.isError ? (
        <ErrorPanel
          error={types.error}
          title="The event types can’t be shown"
          onRetry={() => void types.refetch()}
        />
      ) : types.isPending ? (
        <TableSkeleton rows={12} />
      ) : (
        <>
          <Naming />
          <div className="mb-3 grid gap-2 sm:grid-cols-[minmax(0,20rem)_11rem_1fr] sm:items-center">
            <TextField
              label="Search"
              hideLabel
              type="search"
              placeholder="Name or description"
              value={search.q ?? ''}
              onChange={(event) => set({ q: event.target.value || undefined })}
            />
            <SelectField
              label="Category"
              hideLabel
              value={search.category ?? ''}
              onChange={(event) => set({ category: event.target.value || undefined })}
            >
              <option value="">Every category</option>
              {categories.map((category) => (
                <option key={category}>{category}</option>
              ))}
            </SelectField>
            <p className="text-faint text-[0.8125rem] sm:text-right" aria-live="polite">
              {shown === all.length
                ? counted(all.length, 'event type')
                : `${shown} of ${counted(all.length, 'event type')}`}
            </p>
          </div>
          {groups.length === 0 && (
            <EmptyState
              title="No event type fits the search"
              action={<Button onClick={() => set({ q: undefined, category: undefined })}>Show all</Button>}
            />
          )}
          <div className="space-y-4">
            {groups.map(([category, group]) => (
              <Category key={category} name={category} types={group} subscribersOf={subscribersOf} />
            ))}
          </div>
        </>
      )}
    </>
  );
}

/** How the built-in names are made. */
function Naming() {
  return (
    <details className="border-line bg-surface mb-4 rounded-lg border">
      <summary className="rounded-lg px-4 py-2.5 font-medium">How the names are made</summary>
      <div className="text-soft space-y-2 px-4 pb-4">
        <p>
          <code className="text-ink font-mono text-[0.8125rem]">
            generated_<em>resource</em>_<em>status</em>
          </code>{' '}
          or{' '}
          <code className="text-ink font-mono text-[0.8125rem]">
            create_<em>resource</em>_<em>status</em>
          </code>
          : the resource is what was made, such as <code className="font-mono">product_video</code>; the
          status is <code className="font-mono">success</code> or <code className="font-mono">failed</code>.
          Each job ends in one of the two, so subscribe to both.
        </p>
        <p>
          Types of the operator’s own have any dotted or underscored lower-case name, such as{' '}
          <code className="font-mono">order.paid</code>.
        </p>
      </div>
    </details>
  );
}

function Category({
  name,
  types,
  subscribersOf,
}: {
  name: string;
  types: readonly EventType[];
  subscribersOf(name: string): number | undefined;
}) {
  return (
    <Card title={name} flush>
      <ul className="divide-line mt-2 divide-y">
        {types.map((type) => {
          const subscribers = subscribersOf(type.name);
          return (
            <li
              key={type.name}
              className="hover:bg-hover flex flex-wrap items-center gap-x-4 gap-y-0.5 px-4 py-2"
            >
              <TextLink
                to="/event-types/$name"
                params={{ name: type.name }}
                className="min-w-0 basis-72 truncate font-mono text-[0.8125rem] font-medium"
                title={type.name}
              >
                {type.name}
              </TextLink>
              <span className="text-soft min-w-0 flex-1 basis-56 truncate" title={type.description}>
                {type.description}
              </span>
              <span className="flex items-center gap-2">
                {type.deprecated && <Badge tone="warn">deprecated</Badge>}
                {!type.built_in && <Badge tone="info">own</Badge>}
                {subscribers !== undefined && (
                  <span className="text-faint text-[0.8125rem]">
                    {subscribers === 0 ? 'not subscribed' : counted(subscribers, 'endpoint')}
                  </span>
                )}
              </span>
            </li>
          );
        })}
      </ul>
    </Card>
  );
}
