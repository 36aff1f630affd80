/** The audit log: who changed what. */
import { keepPreviousData } from '@tanstack/react-query';
import { useNavigate, useSearch } from '@tanstack/react-router';
import { useState } from 'react';

import type { AuditEntry } from '../../api/types.ts';
import { useApiQuery } from '../../api/use-api.ts';
import { cx } from '../../lib/text.ts';
import { useAccount } from '../../session/session.tsx';
import { Badge, type Tone } from '../../ui/badge.tsx';
import { Button } from '../../ui/button.tsx';
import { ErrorPanel } from '../../ui/error-panel.tsx';
import { SelectField } from '../../ui/field.tsx';
import { AuditIcon, ChevronRightIcon } from '../../ui/icons.tsx';
import { EmptyState, Facts, Id, PageHeader } from '../../ui/page.tsx';
import { Pager } from '../../ui/pager.tsx';
import { TableSkeleton } from '../../ui/skeleton.tsx';
import { Age, Time } from '../../ui/time.tsx';
import { IdFilter, TimeRange } from '../deliveries/filters.tsx';
import { actionWords, changesOf } from './changes.ts';

/** The actions of docs/audit.md, by what they are of. */
const ACTIONS: Record<string, readonly string[]> = {
  account: ['account.create', 'account.update', 'account.delete'],
  api_key: ['api_key.create', 'api_key.revoke'],
  endpoint: ['endpoint.create', 'endpoint.update', 'endpoint.rotate_secret', 'endpoint.delete'],
  event_type: ['event_type.put', 'event_type.delete'],
  delivery: ['delivery.retry'],
  replay: ['replay.create', 'replay.cancel'],
  portal_link: ['portal_link.create'],
  encryption_key: ['encryption_key.activate', 'encryption_key.retire'],
  database: ['database.grant_publish'],
};

const ACTOR_WORDS: Record<AuditEntry['actor'], string> = {
  account: 'the account',
  operator: 'an operator',
  command: 'a command',
  service: 'the service',
};

export default function AuditPage() {
  const { account: _account, ...query } = useSearch({ from: '/app/audit' });
  const navigate = useNavigate({ from: '/audit' });
  const { account, isOperator } = useAccount();
  const page = useApiQuery<{ entries: AuditEntry[]; next_cursor: string | null }>('/v2/audit', {
    query,
    placeholderData: keepPreviousData,
  });
  const narrow = (part: Partial<typeof query>) =>
    void navigate({ search: (old) => ({ ...old, ...part, cursor: undefined }), replace: true });
  const isNarrowed = Object.entries(query).some(([name, value]) => name !== 'cursor' && value !== undefined);
  const entries = page.data?.entries ?? [];
  const isKnown = query.action === undefined || Object.values(ACTIONS).flat().includes(query.action);
  return (
    <>
      <PageHeader title="Audit log">
        {account === null
          ? 'Every change that operators and accounts made, newest first: who, what, when and from where.'
          : `What was changed of ${isOperator ? account : 'your account'}, by whomever, newest first.`}
      </PageHeader>
      <div className="mb-2 grid gap-2 sm:grid-cols-2 lg:grid-cols-4">
        <SelectField
          label="Action"
          hideLabel
          value={query.action ?? ''}
          onChange={(event) => narrow({ action: event.target.value || undefined })}
        >
          <option value="">Every action</option>
          {!isKnown && <option value={query.action}>{query.action}</option>}
          {Object.entries(ACTIONS).map(([noun, actions]) => (
            <optgroup key={noun} label={noun.replaceAll('_', ' ')}>
              {actions.map((action) => (
                <option key={action} value={action}>
                  {actionWords(action)}
                </option>
              ))}
            </optgroup>
          ))}
        </SelectField>
        <IdFilter label="Id or name" value={query.target} onChange={(target) => narrow({ target })} />
        {isOperator && (
          <IdFilter
            label="Id of the key"
            value={query.key_id}
            onChange={(keyId) => narrow({ key_id: keyId })}
          />
        )}
      </div>
      <TimeRange since={query.since} until={query.until} onChange={narrow}>
        {isNarrowed && (
          <Button
            small
            kind="quiet"
            onClick={() => void navigate({ search: (old) => ({ account: old.account }), replace: true })}
          >
            Clear filters
          </Button>
        )}
      </TimeRange>
      {page.isError ? (
        <ErrorPanel
          error={page.error}
          title="The audit log can’t be shown"
          onRetry={() => void page.refetch()}
        />
      ) : page.isPending ? (
        <TableSkeleton />
      ) : entries.length === 0 ? (
        <EmptyState
          icon={<AuditIcon className="size-8" />}
          title={isNarrowed ? 'No change fits these filters' : 'Nothing was changed yet'}
        >
          {isNarrowed
            ? 'Take a filter away, or choose a longer time.'
            : 'Each change of an account, a key, an endpoint or the catalogue has its line here, from the first on.'}
        </EmptyState>
      ) : (
        <ul
          aria-label="Changes"
          className={cx(
            'border-line divide-line bg-surface divide-y rounded-lg border',
            page.isPlaceholderData && 'opacity-60',
          )}
        >
          {entries.map((entry) => (
            <EntryRow
              key={entry.audit_id}
              entry={entry}
              showsAccount={account === null}
              onTarget={() => narrow({ target: entry.target })}
            />
          ))}
        </ul>
      )}
      <Pager
        cursor={query.cursor}
        next={page.data?.next_cursor ?? null}
        onGo={(cursor) => void navigate({ search: (old) => ({ ...old, cursor }) })}
      />
    </>
  );
}

function toneOf(action: string): Tone {
  if (/\.(delete|revoke|retire|cancel)$/.test(action)) return 'bad';
  return /\.(create|activate)$/.test(action) ? 'ok' : 'info';
}

interface EntryRowProps {
  entry: AuditEntry;
  showsAccount: boolean;
  /** Shows only what was done to the same thing. */
  onTarget(): void;
}

function EntryRow({ entry, showsAccount, onTarget }: EntryRowProps) {
  const [open, setOpen] = useState(false);
  const changes = changesOf(entry.before, entry.after);
  const panel = `changes-${entry.audit_id}`;
  return (
    <li>
      <button
        type="button"
        aria-expanded={open}
        aria-controls={panel}
        onClick={() => setOpen(!open)}
        className="hover:bg-hover flex w-full flex-wrap items-center gap-x-3 gap-y-1 px-3 py-2 text-left focus-visible:-outline-offset-2"
      >
        <ChevronRightIcon className={cx('text-faint size-3.5 transition-transform', open && 'rotate-90')} />
        <span className="w-44 shrink-0">
          <Badge tone={toneOf(entry.action)}>{actionWords(entry.action)}</Badge>
        </span>
        <span className="min-w-0 flex-1 basis-56 truncate">
          <span className="font-mono text-[0.8125rem]">{entry.target}</span>
          {showsAccount && entry.account !== null && entry.account !== entry.target && (
            <span className="text-soft"> of {entry.account}</span>
          )}
        </span>
        <span className="text-soft text-[0.8125rem]">by {ACTOR_WORDS[entry.actor]}</span>
        <span className="text-faint w-24 text-right text-[0.8125rem]">
          <Age at={entry.at} />
        </span>
      </button>
      {open && (
        <div id={panel} className="grid gap-4 px-4 pt-1 pb-4 lg:grid-cols-[minmax(0,1fr)_minmax(0,22rem)]">
          <ChangeTable changes={changes} />
          <div className="min-w-0 space-y-3">
            <Facts
              facts={[
                ['When', <Time key="when" at={entry.at} />],
                [
                  'By',
                  ACTOR_WORDS[entry.actor] + (entry.key_account === null ? '' : ` ${entry.key_account}`),
                ],
                ['With key', entry.key_id === null ? undefined : <Id key="key">{entry.key_id}</Id>],
                [
                  'Through',
                  <code key="via" className="font-mono text-[0.8125rem] break-all">
                    {entry.via}
                  </code>,
                ],
                ['From', entry.remote_address ?? undefined],
                ['Request', entry.request_id === null ? undefined : <Id key="rid">{entry.request_id}</Id>],
                ['Account', entry.account ?? undefined],
                [
                  'What',
                  <span key="target" className="font-mono text-[0.8125rem] break-all">
                    {entry.target}
                  </span>,
                ],
              ]}
            />
            <Button small onClick={onTarget}>
              Everything about this one
            </Button>
          </div>
        </div>
      )}
    </li>
  );
}

function ChangeTable({ changes }: { changes: ReturnType<typeof changesOf> }) {
  if (changes.length === 0) return <p className="text-soft">It was done; no value stands beside it.</p>;
  return (
    <dl className="border-line divide-line min-w-0 divide-y self-start rounded-lg border">
      {changes.map(({ name, before, after }) => (
        <div key={name} className="px-3 py-2 sm:grid sm:grid-cols-[8rem_minmax(0,1fr)] sm:gap-3">
          <dt className="text-faint break-words">{name.replaceAll('_', ' ')}</dt>
          <dd className="min-w-0 space-y-1 font-mono text-[0.8125rem] break-all">
            {before !== undefined && (
              <div className="bg-bad-ground text-bad rounded px-1.5 py-0.5 whitespace-pre-wrap">
                <span aria-hidden="true">− </span>
                <span className="sr-only">before: </span>
                {before}
              </div>
            )}
            {after !== undefined && (
              <div className="bg-ok-ground text-ok rounded px-1.5 py-0.5 whitespace-pre-wrap">
                <span aria-hidden="true">+ </span>
                <span className="sr-only">after: </span>
                {after}
              </div>
            )}
            {before === undefined && after === undefined && <span className="text-faint">nothing</span>}
          </dd>
        </div>
      ))}
    </dl>
  );
}
