/** Creating a key, and showing it once. */
import { type FormEvent, useState } from 'react';

import type { NewApiKey, Scope } from '../../api/types.ts';
import { useApiMutation } from '../../api/use-api.ts';
import { presentSeconds } from '../../lib/now.ts';
import { fromLocalInput, toLocalInput } from '../../lib/time.ts';
import { useAccount } from '../../session/session.tsx';
import { Button } from '../../ui/button.tsx';
import { CodeBlock } from '../../ui/code.tsx';
import { CopyButton } from '../../ui/copy.tsx';
import { Dialog } from '../../ui/dialog.tsx';
import { ErrorPanel, sentence } from '../../ui/error-panel.tsx';
import { Check, FieldError, SelectField, TextField } from '../../ui/field.tsx';
import { Time } from '../../ui/time.tsx';

const DAY_SECONDS = 86_400;
const FIELDS = ['name', 'scopes', 'expires_at'];

const EXPIRIES = [
  { id: 'never', label: 'Never', seconds: null },
  { id: '30d', label: 'In 30 days', seconds: 30 * DAY_SECONDS },
  { id: '90d', label: 'In 90 days', seconds: 90 * DAY_SECONDS },
  { id: '365d', label: 'In a year', seconds: 365 * DAY_SECONDS },
] as const;

interface KeyWish {
  name: string;
  scopes?: Scope[];
  expires_at: number | null;
}

export function CreateKeyDialog({ open, onClose }: { open: boolean; onClose(): void }) {
  const [made, setMade] = useState<NewApiKey | null>(null);
  const close = () => {
    setMade(null);
    onClose();
  };
  return (
    <Dialog
      open={open}
      // It can't be shown again: a stray click or Escape must not take it away.
      onClose={made === null ? close : () => {}}
      title={made === null ? 'Create a key' : 'Your new key'}
      footer={
        made === null ? undefined : (
          <Button kind="primary" onClick={close}>
            I have stored it
          </Button>
        )
      }
    >
      {made === null ? <CreateKeyForm onMade={setMade} onCancel={close} /> : <MadeKey made={made} />}
    </Dialog>
  );
}

function CreateKeyForm({ onMade, onCancel }: { onMade(key: NewApiKey): void; onCancel(): void }) {
  const { account } = useAccount();
  const isOperatorLevel = account === null;
  const [name, setName] = useState('');
  const [scopes, setScopes] = useState<Scope[]>(['publish']);
  const [expiry, setExpiry] = useState('never');
  const [date, setDate] = useState(() => toLocalInput(presentSeconds() + 30 * DAY_SECONDS));
  const create = useApiMutation<KeyWish, NewApiKey>(
    (api, wish) => api.send('POST', '/v2/api_key', wish),
    onMade,
  );
  const field = create.error?.fieldAmong(FIELDS) ?? null;
  const errorAt = (wanted: string) =>
    field === wanted && create.error !== null ? sentence(create.error.message) : null;

  const submit = (event: FormEvent) => {
    event.preventDefault();
    const after = EXPIRIES.find(({ id }) => id === expiry);
    const expiresAt =
      after === undefined
        ? fromLocalInput(date)
        : after.seconds === null
          ? null
          : presentSeconds() + after.seconds;
    create.mutate({
      name: name.trim(),
      ...(isOperatorLevel ? { scopes } : {}),
      expires_at: expiresAt,
    });
  };
  const choose = (scope: Scope, on: boolean) =>
    setScopes((old) => (on ? [...old, scope] : old.filter((entry) => entry !== scope)));
  return (
    <form onSubmit={submit} noValidate className="space-y-4">
      <TextField
        label="Name"
        hint="What it is for: you recognise it by this."
        placeholder="production"
        required
        autoFocus
        autoComplete="off"
        value={name}
        error={errorAt('name')}
        onChange={(event) => setName(event.target.value)}
      />
      {isOperatorLevel ? (
        <fieldset className="space-y-2">
          <legend className="mb-1 font-medium">It may</legend>
          <Check
            label="Publish events"
            hint="For your product. It can publish for every account, and read nothing."
            checked={scopes.includes('publish')}
            onChange={(event) => choose('publish', event.target.checked)}
          />
          <Check
            label="Operate the service"
            hint="For people and tools that may do everything, with every account."
            checked={scopes.includes('operator')}
            onChange={(event) => choose('operator', event.target.checked)}
          />
          <FieldError error={errorAt('scopes')} />
        </fieldset>
      ) : (
        <p className="text-soft">
          It acts for <strong className="text-ink font-medium break-all">{account}</strong>: endpoints,
          deliveries, events and replays of this account, and nothing else.
        </p>
      )}
      <SelectField
        label="Expires"
        value={expiry}
        error={expiry === 'date' ? null : errorAt('expires_at')}
        onChange={(event) => setExpiry(event.target.value)}
      >
        {EXPIRIES.map(({ id, label }) => (
          <option key={id} value={id}>
            {label}
          </option>
        ))}
        <option value="date">At a time of my choice</option>
      </SelectField>
      {expiry === 'date' && (
        <TextField
          label="Expires at"
          type="datetime-local"
          value={date}
          error={errorAt('expires_at')}
          onChange={(event) => setDate(event.target.value)}
        />
      )}
      {create.isError && field === null && <ErrorPanel error={create.error} compact />}
      <div className="flex justify-end gap-2 pt-1">
        <Button onClick={onCancel}>Cancel</Button>
        <Button type="submit" kind="primary" busy={create.isPending}>
          Create key
        </Button>
      </div>
    </form>
  );
}

/** A key, in the one moment in which it is known. */
export function MadeKey({ made }: { made: NewApiKey }) {
  const isAccounts = made.scopes.includes('account');
  return (
    <div className="space-y-4">
      <p>
        Copy <strong className="font-medium">{made.name}</strong> now and keep it where secrets are kept. It
        is stored here as a fingerprint only, and{' '}
        <strong className="font-medium">can’t be shown again</strong>.
      </p>
      <div className="border-line bg-sunken flex items-center gap-2 rounded-md border py-1.5 pr-1.5 pl-2.5">
        <code className="min-w-0 flex-1 font-mono text-[0.8125rem] break-all" data-testid="new-key">
          {made.api_key}
        </code>
        <CopyButton text={made.api_key} label="Copy the key" words="Copy" />
      </div>
      <p className="text-soft">
        {made.expires_at === null ? (
          'It holds until it is revoked.'
        ) : (
          <>
            It expires at <Time at={made.expires_at} />.
          </>
        )}
      </p>
      {isAccounts && (
        <CodeBlock
          label="Try it"
          wrap
          text={`curl ${window.location.origin}/v2/user/whoami -H "x-api-key: ${made.api_key}"`}
        />
      )}
    </div>
  );
}
