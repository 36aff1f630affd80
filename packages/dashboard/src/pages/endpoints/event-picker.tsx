/** Choosing event types by category. */
import { useEffect, useId, useRef, useState } from 'react';

import type { EventType } from '../../api/types.ts';
import { Badge } from '../../ui/badge.tsx';
import { Button } from '../../ui/button.tsx';
import { FieldError, TextField } from '../../ui/field.tsx';

interface EventPickerProps {
  types: readonly EventType[];
  chosen: readonly string[];
  onChange(chosen: string[]): void;
  error?: string | null;
}

/** The types that fit the search, category by category in the catalogue's order. */
export function byCategory(types: readonly EventType[], search: string): [string, EventType[]][] {
  const wanted = search.trim().toLowerCase();
  const groups = new Map<string, EventType[]>();
  for (const type of types) {
    const text = `${type.name} ${type.category} ${type.description}`.toLowerCase();
    if (!text.includes(wanted)) continue;
    const group = groups.get(type.category);
    if (group === undefined) groups.set(type.category, [type]);
    else group.push(type);
  }
  return [...groups];
}

export function EventPicker({ types, chosen, onChange, error }: EventPickerProps) {
  const [search, setSearch] = useState('');
  const id = useId();
  const isChosen = new Set(chosen);
  const groups = byCategory(types, search);
  const visible = groups.flatMap(([, group]) => group);

  /** In the catalogue's order, whatever the order of the clicks. */
  const set = (names: readonly string[], on: boolean) => {
    const next = new Set(chosen);
    for (const name of names) {
      if (on) next.add(name);
      else next.delete(name);
    }
    const order = types.map(({ name }) => name);
    onChange([
      ...order.filter((name) => next.has(name)),
      ...[...next].filter((name) => !order.includes(name)),
    ]);
  };

  return (
    <fieldset aria-describedby={error ? `${id}-error` : undefined}>
      <legend className="mb-1 font-medium">
        Event types <span className="text-faint font-normal">· {chosen.length} chosen</span>
      </legend>
      <div className="border-line-strong/70 rounded-md border">
        <div className="border-line flex flex-wrap items-center gap-2 border-b p-2">
          <TextField
            label="Search event types"
            hideLabel
            type="search"
            placeholder="Search event types"
            className="min-w-40 flex-1"
            value={search}
            onChange={(event) => setSearch(event.target.value)}
          />
          <Button
            small
            onClick={() =>
              set(
                visible.filter(({ deprecated }) => !deprecated).map(({ name }) => name),
                true,
              )
            }
          >
            Select all
          </Button>
          <Button
            small
            onClick={() =>
              set(
                visible.map(({ name }) => name),
                false,
              )
            }
          >
            Clear
          </Button>
        </div>
        {/* A list that scrolls has to be reached by the keyboard; its boxes do that. */}
        <div className="max-h-96 overflow-y-auto">
          {groups.map(([category, group]) => (
            <Category key={category} category={category} types={group} isChosen={isChosen} onSet={set} />
          ))}
          {groups.length === 0 && <p className="text-soft p-3">No event type fits “{search}”.</p>}
        </div>
      </div>
      <FieldError id={`${id}-error`} error={error} />
    </fieldset>
  );
}

function Category({
  category,
  types,
  isChosen,
  onSet,
}: {
  category: string;
  types: readonly EventType[];
  isChosen: ReadonlySet<string>;
  onSet(names: readonly string[], on: boolean): void;
}) {
  const id = useId();
  const box = useRef<HTMLInputElement>(null);
  const names = types.map(({ name }) => name);
  const on = names.filter((name) => isChosen.has(name)).length;
  useEffect(() => {
    if (box.current !== null) box.current.indeterminate = on > 0 && on < names.length;
  }, [on, names.length]);
  return (
    <div role="group" aria-labelledby={id} className="border-line border-b px-3 py-2 last:border-b-0">
      <div className="mb-1 flex items-center gap-2">
        <input
          ref={box}
          type="checkbox"
          id={`${id}-all`}
          checked={on === names.length}
          onChange={(event) => onSet(names, event.target.checked)}
        />
        <label htmlFor={`${id}-all`} id={id} className="font-medium">
          {category}
          <span className="sr-only">, all</span>
        </label>
        <span className="text-faint text-[0.8125rem]">
          {on} of {names.length}
        </span>
      </div>
      <ul className="grid gap-x-6 gap-y-1 pl-6 lg:grid-cols-2">
        {types.map((type) => (
          <li key={type.name} className="flex min-w-0 items-start gap-2">
            <input
              type="checkbox"
              id={`${id}-${type.name}`}
              className="mt-0.5"
              checked={isChosen.has(type.name)}
              onChange={(event) => onSet([type.name], event.target.checked)}
            />
            <label htmlFor={`${id}-${type.name}`} className="min-w-0">
              <span className="font-mono text-[0.8125rem] break-all">{type.name}</span>{' '}
              {type.deprecated && <Badge tone="warn">deprecated</Badge>}
              <span className="text-faint block text-[0.8125rem] break-words">{type.description}</span>
            </label>
          </li>
        ))}
      </ul>
    </div>
  );
}
