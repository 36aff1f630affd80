/** An endpoint's own headers, name and value in rows. */
import { useId } from 'react';

import { Button, IconButton } from '../../ui/button.tsx';
import { FieldError } from '../../ui/field.tsx';
import { CloseIcon, PlusIcon } from '../../ui/icons.tsx';

export interface HeaderRow {
  id: number;
  name: string;
  value: string;
}

const BOX =
  'bg-surface text-ink border-line-strong/70 placeholder:text-faint block h-8 w-full rounded-md border px-2.5 font-mono text-[0.8125rem]';

export function toRows(headers: Record<string, string> = {}): HeaderRow[] {
  return Object.entries(headers).map(([name, value], id) => ({ id, name, value }));
}

/** What the API takes; rows without name and value are left out. */
export function toHeaders(rows: readonly HeaderRow[]): Record<string, string> {
  return Object.fromEntries(
    rows
      .filter(({ name, value }) => name.trim() !== '' || value !== '')
      .map(({ name, value }) => [name.trim(), value]),
  );
}

interface HeaderFieldsProps {
  rows: readonly HeaderRow[];
  onChange(rows: HeaderRow[]): void;
  error?: string | null;
}

export function HeaderFields({ rows, onChange, error }: HeaderFieldsProps) {
  const id = useId();
  const change = (rowId: number, part: Partial<HeaderRow>) =>
    onChange(rows.map((row) => (row.id === rowId ? { ...row, ...part } : row)));
  return (
    <fieldset aria-describedby={`${id}-hint`}>
      <legend className="mb-1 font-medium">Headers of its own</legend>
      <div className="space-y-2">
        {rows.map((row, index) => (
          <div key={row.id} className="grid grid-cols-[minmax(0,2fr)_minmax(0,3fr)_auto] items-center gap-2">
            <input
              aria-label={`Name of header ${index + 1}`}
              placeholder="x-team"
              className={BOX}
              value={row.name}
              spellCheck={false}
              onChange={(event) => change(row.id, { name: event.target.value })}
            />
            <input
              aria-label={`Value of header ${index + 1}`}
              placeholder="value"
              className={BOX}
              value={row.value}
              spellCheck={false}
              autoComplete="off"
              onChange={(event) => change(row.id, { value: event.target.value })}
            />
            <IconButton
              label={`Remove header ${index + 1}`}
              icon={<CloseIcon />}
              onClick={() => onChange(rows.filter(({ id: other }) => other !== row.id))}
            />
          </div>
        ))}
        <Button
          small
          icon={<PlusIcon />}
          onClick={() =>
            onChange([...rows, { id: Math.max(-1, ...rows.map((row) => row.id)) + 1, name: '', value: '' }])
          }
        >
          Add header
        </Button>
      </div>
      <p id={`${id}-hint`} className="text-faint mt-1 text-[0.8125rem]">
        Sent with each delivery, for instance to pass a gateway. Values are stored encrypted.
      </p>
      <FieldError error={error} />
    </fieldset>
  );
}
