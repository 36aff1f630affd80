/** Making an account, and writing on it. */
import { useNavigate } from '@tanstack/react-router';
import { type FormEvent, useId, useState } from 'react';

import type { Account } from '../../api/types.ts';
import { useApiMutation } from '../../api/use-api.ts';
import { jsonObject, jsonText } from '../../lib/json.ts';
import { Button } from '../../ui/button.tsx';
import { Dialog } from '../../ui/dialog.tsx';
import { ErrorPanel, sentence } from '../../ui/error-panel.tsx';
import { TextArea, TextField } from '../../ui/field.tsx';
import { useToast } from '../../ui/toast.tsx';

const FIELDS = ['username', 'metadata'];

interface DialogProps {
  open: boolean;
  onClose(): void;
}

export function CreateAccountDialog({ open, onClose }: DialogProps) {
  const form = useId();
  const toast = useToast();
  const navigate = useNavigate();
  const [username, setUsername] = useState('');
  const [metadata, setMetadata] = useState('');
  const [mistake, setMistake] = useState<string | null>(null);
  const create = useApiMutation<Pick<Account, 'username' | 'metadata'>, Account>(
    (api, { username: name, metadata: object }) =>
      api.send('POST', '/v2/account', { username: name, ...(object === null ? {} : { metadata: object }) }),
    (account) => {
      toast({ text: `The account ${account.username} is there.` });
      return navigate({ to: '/accounts/$username', params: { username: account.username } });
    },
  );
  const field = create.error?.fieldAmong(FIELDS) ?? null;
  const submit = (event: FormEvent) => {
    event.preventDefault();
    try {
      const object = jsonObject('metadata', metadata);
      setMistake(null);
      create.mutate({ username: username.trim(), metadata: object });
    } catch (error) {
      setMistake((error as Error).message);
    }
  };
  return (
    <Dialog
      open={open}
      onClose={onClose}
      title="Create an account"
      footer={
        <>
          <Button onClick={onClose}>Cancel</Button>
          <Button type="submit" form={form} kind="primary" busy={create.isPending}>
            Create account
          </Button>
        </>
      }
    >
      <form id={form} onSubmit={submit} noValidate className="space-y-4">
        <TextField
          label="Name"
          hint="As your product knows the customer: letters, digits and . _ - @ +. It can’t be changed later."
          required
          autoComplete="off"
          spellCheck={false}
          value={username}
          error={field === 'username' && create.error !== null ? sentence(create.error.message) : null}
          onChange={(event) => setUsername(event.target.value)}
        />
        <MetadataArea
          value={metadata}
          onChange={setMetadata}
          error={mistake ?? (field === 'metadata' ? (create.error?.message ?? null) : null)}
        />
        {create.isError && field === null && <ErrorPanel error={create.error} compact />}
      </form>
    </Dialog>
  );
}

export function MetadataDialog({ account, open, onClose }: DialogProps & { account: Account }) {
  const form = useId();
  const toast = useToast();
  const [text, setText] = useState(() => jsonText(account.metadata));
  const [mistake, setMistake] = useState<string | null>(null);
  const change = useApiMutation<Account['metadata'], Account>(
    (api, metadata) => api.send('PATCH', `/v2/account/${encodeURIComponent(account.username)}`, { metadata }),
    () => {
      toast({ text: 'The metadata is saved.' });
      onClose();
    },
  );
  const submit = (event: FormEvent) => {
    event.preventDefault();
    try {
      const object = jsonObject('metadata', text);
      setMistake(null);
      change.mutate(object);
    } catch (error) {
      setMistake((error as Error).message);
    }
  };
  return (
    <Dialog
      open={open}
      onClose={onClose}
      title={`Metadata of ${account.username}`}
      footer={
        <>
          <Button onClick={onClose}>Cancel</Button>
          <Button type="submit" form={form} kind="primary" busy={change.isPending}>
            Save
          </Button>
        </>
      }
    >
      <form id={form} onSubmit={submit} noValidate className="space-y-4">
        <MetadataArea value={text} onChange={setText} error={mistake} />
        {change.isError && <ErrorPanel error={change.error} compact />}
      </form>
    </Dialog>
  );
}

function MetadataArea({
  value,
  onChange,
  error,
}: {
  value: string;
  onChange(text: string): void;
  error: string | null;
}) {
  return (
    <TextArea
      label="Metadata"
      mono
      rows={5}
      spellCheck={false}
      placeholder={'{ "plan": "pro" }'}
      hint="A JSON object of your own, or nothing. Only operators see it."
      value={value}
      error={error === null ? null : sentence(error)}
      onChange={(event) => onChange(event.target.value)}
    />
  );
}
