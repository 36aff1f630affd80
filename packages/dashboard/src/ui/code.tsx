/** Code and bodies, always as text. Huge ones are shown in part, so that the page stays quick; the copy is whole. */
import { useMemo, useState } from 'react';

import { bytes, cx } from '../lib/text.ts';
import { Button } from './button.tsx';
import { CopyButton } from './copy.tsx';

/** So much is laid out at once: more makes a browser slow that has to wrap it. */
const SHOWN_CHARACTERS = 20_000;
const MORE_CHARACTERS = 200_000;

interface CodeBlockProps {
  text: string;
  /** What it is: the heading of the block, and `Copy <label>`. */
  label: string;
  /** Lines break where they don't fit; else the block scrolls sideways. */
  wrap?: boolean;
  className?: string;
}

export function CodeBlock({ text, label, wrap = false, className }: CodeBlockProps) {
  const [shown, setShown] = useState(SHOWN_CHARACTERS);
  const isCut = text.length > shown;
  return (
    <div className={cx('border-line bg-sunken min-w-0 overflow-hidden rounded-lg border', className)}>
      <div className="border-line text-soft flex h-9 items-center justify-between gap-2 border-b pr-1 pl-3 text-[0.8125rem]">
        <span className="min-w-0 truncate">
          {label}
          <span className="text-faint"> · {bytes(new Blob([text]).size)}</span>
        </span>
        <CopyButton text={text} label={`Copy ${label.toLowerCase()}`} />
      </div>
      {/* A region that scrolls has to be reached by the keyboard. */}
      {/* oxlint-disable-next-line jsx-a11y/no-noninteractive-tabindex */}
      <pre
        tabIndex={0}
        aria-label={label}
        className={cx(
          'max-h-[28rem] overflow-auto p-3 font-mono text-[0.8125rem] leading-relaxed',
          wrap ? 'break-all whitespace-pre-wrap' : 'whitespace-pre',
        )}
      >
        {isCut ? text.slice(0, shown) : text}
      </pre>
      {isCut && (
        <div className="border-line flex items-center justify-between gap-2 border-t px-3 py-2">
          <span className="text-faint">The first {bytes(shown)} are shown. The copy has everything.</span>
          <Button small onClick={() => setShown(shown + MORE_CHARACTERS)}>
            Show more
          </Button>
        </div>
      )}
    </div>
  );
}

/** JSON with indents when it is JSON, else as it is. Numbers beyond a double keep their digits only unparsed. */
export function prettyJson(text: string): string {
  if (text.length > MORE_CHARACTERS) return text;
  try {
    const value: unknown = JSON.parse(text);
    // Where a round trip changes it (1.0, duplicate names, numbers beyond a double), the text itself is the truth.
    return JSON.stringify(value) === text ? JSON.stringify(value, null, 2) : text;
  } catch {
    return text;
  }
}

/** A body as it was sent or answered: with indents by default, byte for byte on request. */
export function BodyBlock({ text, label }: { text: string; label: string }) {
  const pretty = useMemo(() => prettyJson(text), [text]);
  const [raw, setRaw] = useState(false);
  return (
    <div>
      <CodeBlock text={raw ? text : pretty} label={label} wrap />
      {pretty !== text && (
        <Button small kind="quiet" className="mt-1" aria-pressed={raw} onClick={() => setRaw(!raw)}>
          {raw ? 'Show with indents' : 'Show the exact bytes'}
        </Button>
      )}
    </div>
  );
}

/** Header names and values. */
export function HeaderList({ headers, empty }: { headers: Record<string, string>; empty: string }) {
  const entries = Object.entries(headers);
  if (entries.length === 0) return <p className="text-faint">{empty}</p>;
  return (
    <dl className="border-line bg-sunken grid gap-x-4 gap-y-1 rounded-lg border p-3 font-mono text-[0.8125rem] sm:grid-cols-[minmax(8rem,auto)_1fr]">
      {entries.map(([name, value]) => (
        <div key={name} className="contents">
          <dt className="text-soft break-all">{name}</dt>
          <dd className="max-h-40 overflow-auto break-all">{value}</dd>
        </div>
      ))}
    </dl>
  );
}
