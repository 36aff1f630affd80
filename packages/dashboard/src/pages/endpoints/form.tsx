/** The form of an endpoint, for adding and for changing one. */
import { type FormEvent, type ReactNode, useState } from 'react';

import type { ApiError } from '../../api/error.ts';
import type { EventType } from '../../api/types.ts';
import { Button } from '../../ui/button.tsx';
import { ErrorPanel, sentence } from '../../ui/error-panel.tsx';
import { Check, TextArea, TextField } from '../../ui/field.tsx';
import { EventPicker } from './event-picker.tsx';
import {
  type EndpointBody,
  FIELDS,
  type FieldName,
  FieldMistake,
  type FormValues,
  bodyOf,
} from './form-values.ts';
import { HeaderFields } from './header-fields.tsx';

interface EndpointFormProps {
  initial: FormValues;
  types: readonly EventType[];
  submitLabel: string;
  busy: boolean;
  error: ApiError | null;
  onSubmit(body: EndpointBody): void;
  /** Beside the submit button. */
  children?: ReactNode;
}

export function EndpointForm(props: EndpointFormProps) {
  const { initial, types, submitLabel, busy, error, onSubmit, children } = props;
  const [values, setValues] = useState(initial);
  const [mistake, setMistake] = useState<FieldMistake | null>(null);
  const set = (part: Partial<FormValues>) => setValues((old) => ({ ...old, ...part }));

  const field = mistake?.field ?? (error?.fieldAmong(FIELDS) as FieldName | null | undefined) ?? null;
  const message = mistake?.message ?? error?.message ?? null;
  const errorAt = (name: FieldName) => (field === name && message !== null ? sentence(message) : null);

  const submit = (event: FormEvent) => {
    event.preventDefault();
    try {
      const body = bodyOf(values);
      setMistake(null);
      onSubmit(body);
    } catch (thrown) {
      if (!(thrown instanceof FieldMistake)) throw thrown;
      setMistake(thrown);
    }
  };

  return (
    // The API judges each field: the browser's own words would come first, and differ.
    <form onSubmit={submit} noValidate className="max-w-3xl space-y-5">
      <TextField
        label="URL"
        type="url"
        mono
        required
        autoFocus={initial.url === ''}
        spellCheck={false}
        placeholder="https://example.com/webhooks"
        hint="Gets a POST for each event. Absolute, https, reachable from the internet."
        value={values.url}
        error={errorAt('url')}
        onChange={(event) => set({ url: event.target.value })}
      />
      <TextField
        label="Description"
        hint="Helps you to tell it from others."
        value={values.description}
        error={errorAt('description')}
        onChange={(event) => set({ description: event.target.value })}
      />
      <EventPicker
        types={types}
        chosen={values.events}
        error={errorAt('events')}
        onChange={(events) => set({ events })}
      />
      <Check
        label="Enabled"
        hint="A disabled endpoint gets nothing; what is published meanwhile comes only by a replay."
        checked={values.status === 'enabled'}
        onChange={(event) => set({ status: event.target.checked ? 'enabled' : 'disabled' })}
      />
      <details
        className="border-line bg-surface group rounded-lg border"
        open={
          values.headers.length > 0 ||
          [values.rateLimit, values.timeout, values.metadata].some((text) => text !== '')
        }
      >
        <summary className="rounded-lg px-4 py-2.5 font-medium">Limits, headers, metadata</summary>
        <div className="space-y-5 px-4 pt-1 pb-4">
          <div className="grid gap-5 sm:grid-cols-2">
            <TextField
              label="Attempts a second, at most"
              inputMode="decimal"
              placeholder="no limit"
              value={values.rateLimit}
              error={errorAt('rate_limit_per_second')}
              onChange={(event) => set({ rateLimit: event.target.value })}
            />
            <TextField
              label="Time limit of an attempt, in seconds"
              inputMode="numeric"
              placeholder="the server’s default"
              hint="1 to 30; DNS, connection and answer all count."
              value={values.timeout}
              error={errorAt('timeout_seconds')}
              onChange={(event) => set({ timeout: event.target.value })}
            />
          </div>
          <HeaderFields
            rows={values.headers}
            error={errorAt('headers')}
            onChange={(headers) => set({ headers })}
          />
          <TextArea
            label="Metadata"
            mono
            rows={4}
            spellCheck={false}
            placeholder={'{ "team": "video" }'}
            hint="A JSON object that helps you to recognise it."
            value={values.metadata}
            error={errorAt('metadata')}
            onChange={(event) => set({ metadata: event.target.value })}
          />
        </div>
      </details>
      {error !== null && field === null && <ErrorPanel error={error} compact />}
      {field !== null && (
        <p className="sr-only" role="alert">
          {message}
        </p>
      )}
      <div className="flex flex-wrap gap-2">
        <Button type="submit" kind="primary" busy={busy}>
          {submitLabel}
        </Button>
        {children}
      </div>
    </form>
  );
}
