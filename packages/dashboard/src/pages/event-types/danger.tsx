/** Deprecating an event type, and deleting one of the operator's own. */
import { useNavigate } from '@tanstack/react-router';

import type { EventType } from '../../api/types.ts';
import { useApiMutation } from '../../api/use-api.ts';
import { Confirm } from '../../ui/dialog.tsx';
import { useToast } from '../../ui/toast.tsx';

interface TypeDialogProps {
  type: EventType;
  open: boolean;
  onClose(): void;
}

export function DeprecateDialog({ type, open, onClose }: TypeDialogProps) {
  const toast = useToast();
  const isDeprecating = !type.deprecated;
  const change = useApiMutation<void, EventType>(
    (api) =>
      api.send('PUT', `/v2/event_type/${encodeURIComponent(type.name)}`, {
        category: type.category,
        description: type.description,
        schema: type.schema,
        ...(type.example === null ? {} : { example: type.example }),
        deprecated: isDeprecating,
      }),
    () => {
      toast({ text: isDeprecating ? 'The type is deprecated.' : 'The type is no longer deprecated.' });
      onClose();
    },
  );
  return (
    <Confirm
      open={open}
      onClose={onClose}
      title={isDeprecating ? `Deprecate ${type.name}?` : `Take the deprecation of ${type.name} back?`}
      confirm={isDeprecating ? 'Deprecate' : 'Take it back'}
      kind="primary"
      busy={change.isPending}
      error={change.error}
      onConfirm={() => change.mutate()}
    >
      {isDeprecating ? (
        <ul className="list-disc space-y-1 pl-5">
          <li>It is marked as deprecated in this catalogue, and left out when somebody selects all types.</li>
          <li>Publishing it still works, and says so in its answer. Subscribers still get it.</li>
          <li>It can be taken back.</li>
        </ul>
      ) : (
        <p>It is shown as any other type again.</p>
      )}
    </Confirm>
  );
}

export function DeleteTypeDialog({ type, open, onClose }: TypeDialogProps) {
  const toast = useToast();
  const navigate = useNavigate();
  const remove = useApiMutation<void>(
    (api) => api.send('DELETE', `/v2/event_type/${encodeURIComponent(type.name)}`),
    () => {
      toast({ text: `${type.name} is deleted.` });
      onClose();
      return navigate({ to: '/event-types' });
    },
  );
  return (
    <Confirm
      open={open}
      onClose={onClose}
      title={`Delete ${type.name}?`}
      confirm="Delete event type"
      typed={type.name}
      busy={remove.isPending}
      error={remove.error}
      onConfirm={() => remove.mutate()}
    >
      <ul className="list-disc space-y-1 pl-5">
        <li>Publishing it is refused from then on.</li>
        <li>While an endpoint of any account subscribes to it, deleting is refused: deprecate it instead.</li>
        <li>Events of it that are stored stay in the log.</li>
        <li>This can’t be taken back.</li>
      </ul>
    </Confirm>
  );
}
