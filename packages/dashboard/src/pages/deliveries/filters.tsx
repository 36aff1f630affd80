/** What a list of deliveries or events is narrowed by. It stands in the URL. */
import { type FormEvent, type ReactNode, useEffect, useState } from 'react';

import type { Endpoint, EventType } from '../../api/types.ts';
import { wholeNumber } from '../../lib/search.ts';
import { fromLocalInput, toLocalInput } from '../../lib/time.ts';
import { Button } from '../../ui/button.tsx';
import { SelectField, TextField } from '../../ui/field.tsx';
import { byCategory } from '../endpoints/event-picker.tsx';

interface FilterProps {
  value: string | undefined;
  onChange(value: string | undefined): void;
}

export function EventTypeFilter({ value, onChange, types }: FilterProps & { types: readonly EventType[] }) {
  const isKnown = value === undefined || types.some(({ name }) => name === value);
  return (
    <SelectField
      label="Event type"
      hideLabel
      value={value ?? ''}
      onChange={(event) => onChange(event.target.value || undefined)}
    >
      <option value="">Every event type</option>
      {!isKnown && <option value={value}>{value}</option>}
      {byCategory(types, '').map(([category, group]) => (
        <optgroup key={category} label={category}>
          {group.map(({ name }) => (
            <option key={name}>{name}</option>
          ))}
        </optgroup>
      ))}
    </SelectField>
  );
}

export function EndpointFilter({
  value,
  onChange,
  endpoints,
}: FilterProps & { endpoints: readonly Endpoint[] }) {
  const isKnown = value === undefined || endpoints.some((endpoint) => endpoint.endpoint_id === value);
  return (
    <SelectField
      label="Endpoint"
      hideLabel
      value={value ?? ''}
      onChange={(event) => onChange(event.target.value || undefined)}
    >
      <option value="">Every endpoint</option>
      {!isKnown && <option value={value}>{value}</option>}
      {endpoints.map(({ endpoint_id: id, url }) => (
        <option key={id} value={id}>
          {url}
        </option>
      ))}
    </SelectField>
  );
}

/** An id that is looked for when it is complete: on Enter, or when the field is left. */
export function IdFilter({ value, onChange, label }: FilterProps & { label: string }) {
  const [text, setText] = useState(value ?? '');
  useEffect(() => setText(value ?? ''), [value]);
  const commit = () => {
    const wanted = text.trim() || undefined;
    if (wanted !== value) onChange(wanted);
  };
  return (
    <form
      onSubmit={(event: FormEvent) => {
        event.preventDefault();
        commit();
      }}
    >
      <TextField
        label={label}
        hideLabel
        type="search"
        mono
        placeholder={label}
        spellCheck={false}
        value={text}
        onChange={(event) => setText(event.target.value)}
        onBlur={commit}
      />
    </form>
  );
}

/** A time of the URL (unix seconds) in a field of the viewer's zone. */
export function TimeFilter({ value, onChange, label }: FilterProps & { label: string }) {
  const seconds = wholeNumber(value);
  return (
    <TextField
      label={label}
      type="datetime-local"
      value={seconds === undefined ? '' : toLocalInput(seconds)}
      onChange={(event) => {
        const at = fromLocalInput(event.target.value);
        onChange(at === null ? undefined : String(at));
      }}
    />
  );
}

interface TimeRangeProps {
  since: string | undefined;
  until: string | undefined;
  onChange(range: { since: string | undefined; until: string | undefined }): void;
  /** At the end of the row. */
  children?: ReactNode;
}

/** From when to when; folded away until somebody wants it. */
export function TimeRange({ since, until, onChange, children }: TimeRangeProps) {
  const isSet = since !== undefined || until !== undefined;
  const [open, setOpen] = useState(isSet);
  return (
    <div className="mb-3 flex flex-wrap items-end gap-2">
      {open || isSet ? (
        <>
          <TimeFilter label="From" value={since} onChange={(from) => onChange({ since: from, until })} />
          <TimeFilter label="Until" value={until} onChange={(to) => onChange({ since, until: to })} />
          <Button
            kind="quiet"
            onClick={() => {
              setOpen(false);
              onChange({ since: undefined, until: undefined });
            }}
          >
            Any time
          </Button>
        </>
      ) : (
        <Button small onClick={() => setOpen(true)}>
          Choose a time range
        </Button>
      )}
      <div className="ml-auto flex items-center gap-2">{children}</div>
    </div>
  );
}
