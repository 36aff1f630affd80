/** The accounts: the customers of the product that publishes. */
import { keepPreviousData } from '@tanstack/react-query';
import { useNavigate, useSearch } from '@tanstack/react-router';
import { useDeferredValue } from 'react';

import type { Account } from '../../api/types.ts';
import { useApiQuery } from '../../api/use-api.ts';
import { StatusBadge } from '../../ui/badge.tsx';
import { Button, ButtonLink, TextLink } from '../../ui/button.tsx';
import { ErrorPanel } from '../../ui/error-panel.tsx';
import { TextField } from '../../ui/field.tsx';
import { AccountIcon, PlusIcon } from '../../ui/icons.tsx';
import { EmptyState, PageHeader } from '../../ui/page.tsx';
import { Pager } from '../../ui/pager.tsx';
import { TableSkeleton } from '../../ui/skeleton.tsx';
import { type Column, DataTable } from '../../ui/table.tsx';
import { Age } from '../../ui/time.tsx';
import { CreateAccountDialog } from './create.tsx';

const COLUMNS: Column<Account>[] = [
  {
    header: 'Account',
    lead: true,
    className: 'md:max-w-0 md:w-full',
    cell: ({ username }) => (
      <TextLink
        to="/accounts/$username"
        params={{ username }}
        className="block truncate font-medium"
        title={username}
      >
        {username}
      </TextLink>
    ),
  },
  { header: 'Status', cell: ({ status }) => <StatusBadge status={status} /> },
  { header: 'Endpoints', align: 'right', cell: ({ endpoints }) => endpoints },
  {
    header: 'Made',
    align: 'right',
    className: 'md:min-w-24',
    cell: ({ created_at: at }) => <Age at={at} />,
  },
  {
    header: 'Look',
    hideHeader: true,
    align: 'right',
    className: 'w-0',
    cell: ({ username }) => (
      <ButtonLink small to="/" search={{ account: username }} aria-label={`Look as it: ${username}`}>
        Look as it
      </ButtonLink>
    ),
  },
];

export default function AccountsPage() {
  const search = useSearch({ from: '/app/accounts' });
  const navigate = useNavigate({ from: '/accounts' });
  const wanted = useDeferredValue(search.q?.trim());
  const page = useApiQuery<{ accounts: Account[]; next_cursor: string | null }>('/v2/accounts', {
    query: { search: wanted, cursor: search.cursor },
    placeholderData: keepPreviousData,
  });
  const create = () => void navigate({ search: (old) => ({ ...old, new: '1' }), replace: true });
  const accounts = page.data?.accounts ?? [];
  const isEmpty = accounts.length === 0 && search.q === undefined && search.cursor === undefined;
  return (
    <>
      <PageHeader
        title="Accounts"
        actions={
          <Button kind="primary" icon={<PlusIcon />} onClick={create}>
            Create account
          </Button>
        }
      >
        The customers of your product. Each has endpoints, keys and a log of its own, and sees nothing of
        others.
      </PageHeader>
      {page.isError ? (
        <ErrorPanel
          error={page.error}
          title="The accounts can’t be shown"
          onRetry={() => void page.refetch()}
        />
      ) : page.isPending ? (
        <TableSkeleton />
      ) : isEmpty ? (
        <EmptyState
          icon={<AccountIcon className="size-8" />}
          title="No accounts yet"
          action={
            <>
              <Button kind="primary" onClick={create}>
                Create the first account
              </Button>
              <ButtonLink to="/first-run">Take the first steps</ButtonLink>
            </>
          }
        >
          Your product makes one for each customer, by <code className="font-mono">POST /v2/account</code>.
          Make one by hand to try it.
        </EmptyState>
      ) : (
        <>
          <TextField
            label="Search"
            hideLabel
            type="search"
            placeholder="A part of the name"
            className="mb-3 max-w-xs"
            spellCheck={false}
            value={search.q ?? ''}
            onChange={(event) =>
              void navigate({
                search: (old) => ({ ...old, q: event.target.value || undefined, cursor: undefined }),
                replace: true,
              })
            }
          />
          {accounts.length === 0 ? (
            <EmptyState title={`No account’s name contains “${search.q ?? ''}”`}>
              Look for a shorter part of it.
            </EmptyState>
          ) : (
            <DataTable
              label="Accounts"
              columns={COLUMNS}
              rows={accounts}
              rowKey={({ username }) => username}
              stale={page.isPlaceholderData}
            />
          )}
        </>
      )}
      <Pager
        cursor={search.cursor}
        next={page.data?.next_cursor ?? null}
        onGo={(cursor) => void navigate({ search: (old) => ({ ...old, cursor }) })}
      />
      <CreateAccountDialog
        open={search.new !== undefined}
        onClose={() => void navigate({ search: (old) => ({ ...old, new: undefined }), replace: true })}
      />
    </>
  );
}
