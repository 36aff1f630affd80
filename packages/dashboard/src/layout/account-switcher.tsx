/** Which account an operator looks at. The choice is `?account=` in the URL. */
import { useNavigate } from '@tanstack/react-router';
import { useState } from 'react';

import { useApiQuery } from '../api/use-api.ts';
import type { Account } from '../api/types.ts';
import { useAccount } from '../session/session.tsx';
import { Dialog } from '../ui/dialog.tsx';
import { ErrorPanel } from '../ui/error-panel.tsx';
import { TextField } from '../ui/field.tsx';
import { AccountIcon, ChevronDownIcon } from '../ui/icons.tsx';

export function AccountSwitcher() {
  const { account } = useAccount();
  const [open, setOpen] = useState(false);
  return (
    <div className="px-0.5">
      <button
        type="button"
        onClick={() => setOpen(true)}
        aria-haspopup="dialog"
        className="border-line-strong/60 hover:bg-hover flex h-9 w-full items-center gap-2 rounded-md border px-2 text-left"
      >
        <AccountIcon className="text-faint size-4" />
        <span className="sr-only">Account in view:</span>
        <span className="min-w-0 flex-1 truncate font-medium">{account ?? 'All accounts'}</span>
        <ChevronDownIcon className="text-faint size-4" />
      </button>
      <Dialog open={open} onClose={() => setOpen(false)} title="Which account?">
        <AccountChoice onChosen={() => setOpen(false)} offersAll />
      </Dialog>
    </div>
  );
}

interface AccountChoiceProps {
  onChosen?: () => void;
  /** Also offers to look at all accounts. */
  offersAll?: boolean;
}

/** A field for the name, and the newest accounts to choose from. */
export function AccountChoice({ onChosen, offersAll = false }: AccountChoiceProps) {
  const { account } = useAccount();
  const navigate = useNavigate();
  const [typed, setTyped] = useState('');
  const accounts = useApiQuery<{ accounts: Account[] }>('/v2/accounts', { query: { limit: 200 } });
  const name = typed.trim();
  // A name beyond the newest 200 is asked for by itself.
  const exact = useApiQuery<Account>(`/v2/account/${encodeURIComponent(name)}`, {
    enabled: /^[A-Za-z0-9._@+-]{1,64}$/.test(name) && !/^\.{1,2}$/.test(name),
    retry: false,
  });
  const choose = (username: string | undefined) => {
    onChosen?.();
    void navigate({
      to: '.',
      search: (search) => ({ ...search, account: username, cursor: undefined }),
    });
  };
  const listed = (accounts.data?.accounts ?? []).filter(({ username }) =>
    username.toLowerCase().includes(name.toLowerCase()),
  );
  const found =
    exact.data !== undefined && !listed.some(({ username }) => username === exact.data.username)
      ? [exact.data, ...listed]
      : listed;
  return (
    <div className="space-y-3">
      <form
        onSubmit={(event) => {
          event.preventDefault();
          const only = found.find(({ username }) => username === name) ?? found[0];
          if (only !== undefined) choose(only.username);
        }}
      >
        <TextField
          label="Find an account"
          hideLabel
          placeholder="Account name"
          value={typed}
          onChange={(event) => setTyped(event.target.value)}
          autoComplete="off"
          spellCheck={false}
          autoFocus
        />
      </form>
      {accounts.isError && (
        <ErrorPanel error={accounts.error} compact onRetry={() => void accounts.refetch()} />
      )}
      <ul className="border-line divide-line max-h-72 divide-y overflow-y-auto rounded-lg border">
        {offersAll && account !== null && name === '' && (
          <AccountRow label="All accounts" onChoose={() => choose(undefined)} />
        )}
        {found.slice(0, 100).map(({ username, status, endpoints }) => (
          <AccountRow
            key={username}
            label={username}
            note={status === 'suspended' ? 'suspended' : `${endpoints} endpoints`}
            current={username === account}
            onChoose={() => choose(username)}
          />
        ))}
        {accounts.isSuccess && found.length === 0 && (
          <li className="text-soft px-3 py-3">
            {name === '' ? 'There are no accounts yet.' : `No account is called “${name}”.`}
          </li>
        )}
      </ul>
    </div>
  );
}

function AccountRow({
  label,
  note,
  current = false,
  onChoose,
}: {
  label: string;
  note?: string;
  current?: boolean;
  onChoose(): void;
}) {
  return (
    <li>
      <button
        type="button"
        onClick={onChoose}
        aria-current={current || undefined}
        className="hover:bg-hover flex h-9 w-full items-center justify-between gap-3 px-3 text-left focus-visible:-outline-offset-2"
      >
        <span className="min-w-0 truncate font-medium">{label}</span>
        <span className="text-faint shrink-0 text-[0.8125rem]">{current ? 'in view' : note}</span>
      </button>
    </li>
  );
}
