/** API keys: an account's own, or for operators those of operator level and, with an account in view, that account's. */
import { useNavigate, useSearch } from '@tanstack/react-router';
import { useState } from 'react';

import type { ApiKey } from '../../api/types.ts';
import { useApiMutation, useApiQuery } from '../../api/use-api.ts';
import { presentSeconds, useNow } from '../../lib/now.ts';
import { counted } from '../../lib/text.ts';
import { useAccount } from '../../session/session.tsx';
import { Badge, StatusBadge } from '../../ui/badge.tsx';
import { Button } from '../../ui/button.tsx';
import { Confirm } from '../../ui/dialog.tsx';
import { ErrorPanel } from '../../ui/error-panel.tsx';
import { Check } from '../../ui/field.tsx';
import { KeyIcon, PlusIcon } from '../../ui/icons.tsx';
import { EmptyState, Id, PageHeader } from '../../ui/page.tsx';
import { TableSkeleton } from '../../ui/skeleton.tsx';
import { type Column, DataTable } from '../../ui/table.tsx';
import { Age } from '../../ui/time.tsx';
import { useToast } from '../../ui/toast.tsx';
import { CreateKeyDialog } from './create.tsx';
import { keyState } from './state.ts';

export default function ApiKeysPage() {
  const search = useSearch({ from: '/app/api-keys' });
  const navigate = useNavigate({ from: '/api-keys' });
  const { account, isOperator } = useAccount();
  const keys = useApiQuery<{ api_keys: ApiKey[] }>('/v2/api_keys');
  const [revoking, setRevoking] = useState<ApiKey | null>(null);
  const set = (part: Partial<typeof search>) =>
    void navigate({ search: (old) => ({ ...old, ...part }), replace: true });

  const all = keys.data?.api_keys ?? [];
  const now = presentSeconds();
  const usable = all.filter((key) => keyState(key, now) === 'active');
  const showsAll = search.show === 'all';
  const shown = showsAll ? all : usable;
  const columns: Column<ApiKey>[] = [
    {
      header: 'Name',
      lead: true,
      className: 'md:max-w-0 md:w-full',
      cell: ({ name }) => (
        <span className="block truncate font-medium" title={name}>
          {name}
        </span>
      ),
    },
    { header: 'Begins with', cell: ({ prefix }) => <Id>{`${prefix}…`}</Id> },
    {
      header: 'May',
      className: 'md:whitespace-nowrap',
      cell: ({ scopes }) => (
        <span className="inline-flex flex-wrap justify-end gap-1">
          {scopes.map((scope) => (
            <Badge key={scope} tone={scope === 'operator' ? 'warn' : 'plain'}>
              {scope}
            </Badge>
          ))}
        </span>
      ),
    },
    {
      header: 'Last used',
      align: 'right',
      cell: ({ last_used_at: at }) =>
        at === null ? <span className="text-faint">never</span> : <Age at={at} />,
    },
    {
      header: 'Expires',
      align: 'right',
      cell: ({ expires_at: at }) =>
        at === null ? <span className="text-faint">never</span> : <Age at={at} />,
    },
    { header: 'Made', align: 'right', cell: ({ created_at: at }) => <Age at={at} /> },
    {
      header: 'Revoke',
      hideHeader: true,
      align: 'right',
      className: 'w-0',
      cell: (key) => <RevokeOrState apiKey={key} onRevoke={() => setRevoking(key)} />,
    },
  ];
  return (
    <>
      <PageHeader
        title="API keys"
        actions={
          <Button kind="primary" icon={<PlusIcon />} onClick={() => set({ new: '1' })}>
            Create key
          </Button>
        }
      >
        {account === null
          ? 'Keys of operator level: to operate this service, or for your product to publish with. Choose an account at the left to see its keys.'
          : isOperator
            ? `Keys that act for ${account}.`
            : 'Keys that act for your account: send one as x-api-key with each call.'}
      </PageHeader>
      {keys.isError ? (
        <ErrorPanel error={keys.error} title="The keys can’t be shown" onRetry={() => void keys.refetch()} />
      ) : keys.isPending ? (
        <TableSkeleton rows={3} />
      ) : (
        <>
          {all.length > usable.length && (
            <div className="mb-3 flex flex-wrap items-center justify-between gap-2">
              <Check
                label="Also those that were revoked or have expired"
                checked={showsAll}
                onChange={(event) => set({ show: event.target.checked ? 'all' : undefined })}
              />
              <p className="text-faint text-[0.8125rem]">{counted(usable.length, 'usable key')}</p>
            </div>
          )}
          {shown.length === 0 ? (
            <EmptyState
              icon={<KeyIcon className="size-8" />}
              title={all.length === 0 ? 'No keys yet' : 'No usable key'}
              action={
                <Button kind="primary" onClick={() => set({ new: '1' })}>
                  Create key
                </Button>
              }
            >
              {account === null
                ? 'Give your product a key of its own that may only publish: then nobody needs the operator’s.'
                : 'With a key a program can do what this page does: add endpoints, look at deliveries, replay.'}
            </EmptyState>
          ) : (
            <DataTable label="API keys" columns={columns} rows={shown} rowKey={({ key_id: id }) => id} />
          )}
        </>
      )}
      <CreateKeyDialog open={search.new !== undefined} onClose={() => set({ new: undefined })} />
      <RevokeDialog apiKey={revoking} onClose={() => setRevoking(null)} />
    </>
  );
}

function RevokeOrState({ apiKey, onRevoke }: { apiKey: ApiKey; onRevoke(): void }) {
  const state = useNow((now) => keyState(apiKey, now));
  if (state !== 'active') return <StatusBadge status={state} />;
  return (
    <Button small onClick={onRevoke} aria-label={`Revoke ${apiKey.name}`}>
      Revoke…
    </Button>
  );
}

function RevokeDialog({ apiKey, onClose }: { apiKey: ApiKey | null; onClose(): void }) {
  const toast = useToast();
  const revoke = useApiMutation<string>(
    (api, keyId) => api.send('DELETE', `/v2/api_key/${encodeURIComponent(keyId)}`),
    () => {
      toast({ text: 'The key is revoked.' });
      onClose();
    },
  );
  return (
    <Confirm
      open={apiKey !== null}
      onClose={() => {
        revoke.reset();
        onClose();
      }}
      title={`Revoke “${apiKey?.name ?? ''}”?`}
      confirm="Revoke key"
      busy={revoke.isPending}
      error={revoke.error}
      onConfirm={() => apiKey !== null && revoke.mutate(apiKey.key_id)}
    >
      <p>
        <Id>{`${apiKey?.prefix ?? ''}…`}</Id>{' '}
        {apiKey?.last_used_at == null ? (
          'was never used.'
        ) : (
          <>
            was last used <Age at={apiKey.last_used_at} />.
          </>
        )}
      </p>
      <ul className="list-disc space-y-1 pl-5">
        <li>Every program that uses it is refused from its next call on, within a second.</li>
        <li>Sessions of this page that were opened with it end.</li>
        <li>Endpoints and deliveries stay as they are.</li>
        <li>This can’t be taken back. Create another key first where a program still needs one.</li>
      </ul>
    </Confirm>
  );
}
