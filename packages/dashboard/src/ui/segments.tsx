/** A choice of few, side by side. */
import { cx } from '../lib/text.ts';

interface SegmentsProps {
  /** What is chosen, for who listens. */
  label: string;
  options: readonly { id: string; label: string }[];
  value: string;
  onChange(id: string): void;
}

export function Segments({ label, options, value, onChange }: SegmentsProps) {
  return (
    <div
      role="group"
      aria-label={label}
      className="border-line-strong/60 bg-surface inline-flex rounded-md border p-0.5"
    >
      {options.map(({ id, label: name }) => (
        <button
          key={id}
          type="button"
          aria-pressed={id === value}
          onClick={() => onChange(id)}
          className={cx(
            'h-6.5 rounded px-2.5 text-[0.8125rem] font-medium',
            id === value ? 'bg-solid text-on-solid' : 'text-soft hover:bg-hover hover:text-ink',
          )}
        >
          {name}
        </button>
      ))}
    </div>
  );
}
