/** Suspending, activating and deleting an account, with what that means. */
import { useNavigate } from '@tanstack/react-router';

import type { Account, Overview } from '../../api/types.ts';
import { useApiMutation, useApiQuery } from '../../api/use-api.ts';
import { counted } from '../../lib/text.ts';
import { Confirm } from '../../ui/dialog.tsx';
import { useToast } from '../../ui/toast.tsx';

interface AccountDialogProps {
  account: Account;
  open: boolean;
  onClose(): void;
}

/** `3 deliveries`, of those that wait. */
function useWaiting(username: string, enabled: boolean): string {
  const overview = useApiQuery<Overview>('/v2/overview', { account: username, enabled, staleTime: 0 });
  if (overview.data === undefined) return 'deliveries';
  const { pending, pending_is_exact: isExact } = overview.data;
  return `${isExact ? '' : 'more than '}${counted(pending, 'delivery', 'deliveries')}`;
}

export function SuspendDialog({ account, open, onClose }: AccountDialogProps) {
  const toast = useToast();
  const isSuspending = account.status === 'active';
  const waiting = useWaiting(account.username, open);
  const change = useApiMutation<Account['status'], Account>(
    (api, status) => api.send('PATCH', `/v2/account/${encodeURIComponent(account.username)}`, { status }),
    () => {
      toast({ text: isSuspending ? 'The account is suspended.' : 'The account is active again.' });
      onClose();
    },
  );
  return (
    <Confirm
      open={open}
      onClose={onClose}
      title={isSuspending ? `Suspend ${account.username}?` : `Activate ${account.username}?`}
      confirm={isSuspending ? 'Suspend account' : 'Activate account'}
      kind={isSuspending ? 'danger' : 'primary'}
      busy={change.isPending}
      error={change.error}
      onConfirm={() => change.mutate(isSuspending ? 'suspended' : 'active')}
    >
      {isSuspending ? (
        <ul className="list-disc space-y-1 pl-5">
          <li>Its keys and its sessions of this page are refused from the next call on.</li>
          <li>
            Nothing is sent to its endpoints: {waiting} waiting now, and what is published meanwhile, wait.
          </li>
          <li>Nothing is lost. When it is active again, they are delivered.</li>
        </ul>
      ) : (
        <ul className="list-disc space-y-1 pl-5">
          <li>Its keys hold again.</li>
          <li>What waited is delivered now: {waiting}.</li>
        </ul>
      )}
    </Confirm>
  );
}

export function DeleteAccountDialog({ account, open, onClose }: AccountDialogProps) {
  const { username } = account;
  const toast = useToast();
  const navigate = useNavigate();
  const waiting = useWaiting(username, open);
  const remove = useApiMutation<void>(
    (api) => api.send('DELETE', `/v2/account/${encodeURIComponent(username)}`),
    () => {
      toast({ text: `The account ${username} is deleted.` });
      onClose();
      return navigate({
        to: '/accounts',
        search: (old) => ({ ...old, account: old.account === username ? undefined : old.account }),
      });
    },
  );
  return (
    <Confirm
      open={open}
      onClose={onClose}
      title={`Delete ${username}?`}
      confirm="Delete account"
      typed={username}
      busy={remove.isPending}
      error={remove.error}
      onConfirm={() => remove.mutate()}
    >
      <ul className="list-disc space-y-1 pl-5">
        <li>
          Its {counted(account.endpoints, 'endpoint')} with their secrets, its keys and all its events and
          deliveries are gone for good.
        </li>
        <li>Waiting now: {waiting}. They are never sent.</li>
        <li>Publishing for it is refused from now on.</li>
        <li>The name can be taken again when everything of it is removed, which may take some minutes.</li>
        <li>This can’t be taken back. To stop it for a while, suspend it instead.</li>
      </ul>
    </Confirm>
  );
}
