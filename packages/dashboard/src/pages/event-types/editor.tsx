/**
 * Adding and changing an event type of the operator's own. While one types, the server judges what it would be (a dry
 * run of the very call that saves): no rule is written twice.
 */
import { useNavigate } from '@tanstack/react-router';
import { type FormEvent, useEffect, useRef, useState } from 'react';

import { ApiError } from '../../api/error.ts';
import type { EventType } from '../../api/types.ts';
import { useApi, useApiMutation } from '../../api/use-api.ts';
import { useDraft } from '../../lib/draft.ts';
import { jsonObject, jsonText } from '../../lib/json.ts';
import { BackLink } from '../../ui/back-link.tsx';
import { Button } from '../../ui/button.tsx';
import { ErrorPanel, sentence } from '../../ui/error-panel.tsx';
import { Check, TextArea, TextField } from '../../ui/field.tsx';
import { CheckIcon, WarningIcon } from '../../ui/icons.tsx';
import { Card, PageHeader } from '../../ui/page.tsx';
import { useToast } from '../../ui/toast.tsx';
import { SchemaTable } from './schema-table.tsx';

const JUDGED_AFTER_MS = 350;
const FIELDS = ['name', 'category', 'description', 'schema', 'example'] as const;
type FieldName = (typeof FIELDS)[number];

interface Values {
  name: string;
  category: string;
  description: string;
  schema: string;
  example: string;
  deprecated: boolean;
}

interface TypeBody {
  category: string;
  description: string;
  schema?: Record<string, unknown>;
  example?: Record<string, unknown>;
  deprecated: boolean;
}

/** What a new one begins with: small, and it shows how. */
const STARTER: Values = {
  name: '',
  category: '',
  description: '',
  schema: JSON.stringify(
    {
      type: 'object',
      required: ['order_id'],
      properties: { order_id: { type: 'string', description: 'Id of the order.' } },
    },
    null,
    2,
  ),
  example: JSON.stringify({ order_id: 'o-17' }, null, 2),
  deprecated: false,
};

interface Finding {
  field: FieldName | null;
  message: string;
}

/** @throws Error that names the field whose text is no JSON object */
function bodyOf(values: Values): TypeBody {
  const schema = jsonObject('schema', values.schema);
  const example = jsonObject('example', values.example);
  return {
    category: values.category.trim(),
    description: values.description.trim(),
    ...(schema === null ? {} : { schema }),
    ...(example === null ? {} : { example }),
    deprecated: values.deprecated,
  };
}

function findingOf(error: unknown): Finding {
  if (error instanceof ApiError) {
    return { field: error.fieldAmong(FIELDS) as FieldName | null, message: error.message };
  }
  const { message } = error as Error;
  return { field: FIELDS.find((field) => message.startsWith(field)) ?? null, message };
}

/** What the server would say of it now; undefined while it is asked. */
function useJudgement(values: Values): Finding | null | undefined {
  const api = useApi();
  const [finding, setFinding] = useState<Finding | null | undefined>(undefined);
  const text = JSON.stringify(values);
  const asked = useRef(0);
  useEffect(() => {
    const mine = ++asked.current;
    setFinding(undefined);
    const settle = (found: Finding | null) => {
      if (asked.current === mine) setFinding(found);
    };
    const timer = setTimeout(() => {
      const present = JSON.parse(text) as Values;
      try {
        const body = bodyOf(present);
        // What isn't written yet is no mistake: the rest can be judged all the same.
        const name = encodeURIComponent(present.name.trim() || 'not_named_yet');
        body.category ||= 'none yet';
        body.description ||= 'none yet';
        api
          .send('PUT', `/v2/event_type/${name}?dry_run=true`, body)
          .then(() => settle(null))
          .catch((error: unknown) => settle(findingOf(error)));
      } catch (error) {
        settle(findingOf(error));
      }
    }, JUDGED_AFTER_MS);
    return () => clearTimeout(timer);
  }, [api, text]);
  return finding;
}

/** @param props.type - the one to change; null for a new one */
export function EventTypeEditor({ type, onClose }: { type: EventType | null; onClose(): void }) {
  const toast = useToast();
  const navigate = useNavigate();
  const initial: Values =
    type === null
      ? STARTER
      : {
          name: type.name,
          category: type.category,
          description: type.description,
          schema: jsonText(type.schema),
          example: jsonText(type.example),
          deprecated: type.deprecated,
        };
  const draft = useDraft<Values>(`event-type:${type?.name ?? ''}`, initial);
  const { value: values, set } = draft;
  const judgement = useJudgement(values);
  const [mistake, setMistake] = useState<Finding | null>(null);
  const save = useApiMutation<{ name: string; body: TypeBody }, EventType>(
    (api, { name, body }) => api.send('PUT', `/v2/event_type/${encodeURIComponent(name)}`, body),
    (saved) => {
      draft.forget();
      toast({ text: `${saved.name} is saved.` });
      onClose();
      return navigate({ to: '/event-types/$name', params: { name: saved.name } });
    },
  );
  const submit = (event: FormEvent) => {
    event.preventDefault();
    if (values.name.trim() === '') {
      setMistake({ field: 'name', message: 'name is missing: a new type needs one, such as order.paid' });
      return;
    }
    try {
      const body = bodyOf(values);
      setMistake(null);
      save.mutate({ name: values.name.trim(), body });
    } catch (error) {
      setMistake(findingOf(error));
    }
  };
  const refused = save.error === null ? null : findingOf(save.error);
  // What was refused first, then what is being typed.
  const errorAt = (field: FieldName): string | null => {
    const finding = [mistake, refused, judgement].find((entry) => entry?.field === field);
    return finding === undefined || finding === null ? null : sentence(finding.message);
  };
  const leave = () => {
    draft.forget();
    onClose();
  };
  return (
    <>
      <PageHeader
        title={type === null ? 'Add an event type' : `Change ${type.name}`}
        back={
          type === null ? (
            <BackLink to="/event-types" search={{}}>
              Event types
            </BackLink>
          ) : (
            <BackLink to="/event-types/$name" params={{ name: type.name }} search={{}}>
              {type.name}
            </BackLink>
          )
        }
      >
        {type === null
          ? 'Endpoints can subscribe to it as soon as it is saved. Publishing checks each event’s data against the schema.'
          : 'What is published from now on must fit the new schema. Events that are stored stay as they are.'}
      </PageHeader>
      <div className="grid items-start gap-4 lg:grid-cols-[minmax(0,1fr)_minmax(0,24rem)]">
        <form onSubmit={submit} noValidate className="min-w-0 space-y-4">
          {type === null && (
            <TextField
              label="Name"
              mono
              required
              autoFocus
              spellCheck={false}
              autoComplete="off"
              placeholder="order.paid"
              hint="Lower case, with dots or underscores. It can’t be changed later."
              value={values.name}
              error={errorAt('name')}
              onChange={(event) => set({ name: event.target.value })}
            />
          )}
          <div className="grid gap-4 sm:grid-cols-[12rem_minmax(0,1fr)]">
            <TextField
              label="Category"
              required
              placeholder="order"
              value={values.category}
              error={errorAt('category')}
              onChange={(event) => set({ category: event.target.value })}
            />
            <TextField
              label="Description"
              required
              placeholder="An order was paid"
              value={values.description}
              error={errorAt('description')}
              onChange={(event) => set({ description: event.target.value })}
            />
          </div>
          <TextArea
            label="Schema of data"
            mono
            rows={14}
            spellCheck={false}
            hint="JSON Schema 2020-12. Empty: any object fits."
            value={values.schema}
            error={errorAt('schema')}
            onChange={(event) => set({ schema: event.target.value })}
          />
          <TextArea
            label="Example of data"
            mono
            rows={8}
            spellCheck={false}
            hint="What a test event sends. Empty: there is none."
            value={values.example}
            error={errorAt('example')}
            onChange={(event) => set({ example: event.target.value })}
          />
          <Verdict finding={judgement} hasExample={values.example.trim() !== ''} />
          <Check
            label="Deprecated"
            hint="It is still published and delivered, but marked wherever it is shown."
            checked={values.deprecated}
            onChange={(event) => set({ deprecated: event.target.checked })}
          />
          {refused !== null && refused.field === null && save.error !== null && (
            <ErrorPanel error={save.error} compact />
          )}
          <div className="flex flex-wrap gap-2">
            <Button type="submit" kind="primary" busy={save.isPending}>
              {type === null ? 'Add event type' : 'Save'}
            </Button>
            <Button onClick={leave}>{draft.isChanged ? 'Discard' : 'Cancel'}</Button>
          </div>
        </form>
        <Preview schema={values.schema} />
      </div>
    </>
  );
}

/** What the server says of it while it is being written. */
function Verdict({ finding, hasExample }: { finding: Finding | null | undefined; hasExample: boolean }) {
  return (
    <p role="status" className="flex min-h-5 items-start gap-2">
      {finding === undefined ? (
        <span className="text-faint">Checking…</span>
      ) : finding === null ? (
        <>
          <CheckIcon className="text-ok mt-0.5 size-4" />
          {hasExample ? 'The schema is valid, and the example fits it.' : 'The schema is valid.'}
        </>
      ) : (
        <>
          <WarningIcon className="text-bad mt-0.5 size-4" />
          <span className="text-bad min-w-0 break-words">{sentence(finding.message)}</span>
        </>
      )}
    </p>
  );
}

/** The schema as readers of the catalogue will see it. */
function Preview({ schema }: { schema: string }) {
  let parsed: Record<string, unknown> | null;
  try {
    parsed = jsonObject('schema', schema) ?? {};
  } catch {
    parsed = null;
  }
  return (
    <Card title="As it will be shown" className="lg:sticky lg:top-6">
      {parsed === null ? (
        <p className="text-soft">The schema isn’t JSON yet.</p>
      ) : (
        // oxlint-disable-next-line jsx-a11y/no-noninteractive-tabindex -- what scrolls has to be reached by the keyboard
        <div
          tabIndex={0}
          role="region"
          aria-label="As it will be shown"
          className="max-h-[70dvh] overflow-y-auto"
        >
          <SchemaTable schema={parsed} />
        </div>
      )}
    </Card>
  );
}
