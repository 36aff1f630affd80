/** Labelled controls. The API's message about a field stands under it, and is read out with it. */
import {
  type InputHTMLAttributes,
  type ReactNode,
  type SelectHTMLAttributes,
  type TextareaHTMLAttributes,
  useId,
} from 'react';

import { cx } from '../lib/text.ts';
import { ChevronDownIcon } from './icons.tsx';

const BOX =
  'block w-full rounded-md border bg-surface text-ink px-2.5 disabled:opacity-60 disabled:bg-sunken placeholder:text-faint';

function border(hasError: boolean): string {
  return hasError ? 'border-bad' : 'border-line-strong/70 hover:border-line-strong';
}

interface Described {
  label: ReactNode;
  /** Only for who listens; the looks are clear without it, as in a row of filters. */
  hideLabel?: boolean;
  hint?: ReactNode;
  /** What is wrong with it, in the API's words; null or undefined when nothing is. */
  error?: string | null | undefined;
  /** Of the whole field. */
  className?: string;
}

interface FrameProps extends Described {
  id: string;
  children: ReactNode;
}

function Frame({ id, label, hideLabel, hint, error, className, children }: FrameProps) {
  return (
    <div className={className}>
      <label htmlFor={id} className={hideLabel ? 'sr-only' : 'mb-1 block font-medium'}>
        {label}
      </label>
      {children}
      {hint !== undefined && hint !== null && (
        <p id={`${id}-hint`} className="text-faint mt-1 text-[0.8125rem]">
          {hint}
        </p>
      )}
      <FieldError id={`${id}-error`} error={error} />
    </div>
  );
}

/** The message under a field; empty, it takes no room. */
export function FieldError({ id, error }: { id?: string; error: string | null | undefined }) {
  return (
    <div id={id} aria-live="polite">
      {error ? <p className="text-bad mt-1 text-[0.8125rem]">{error}</p> : null}
    </div>
  );
}

function describedBy(id: string, { hint, error }: Described): string | undefined {
  const ids = [hint === undefined || hint === null ? '' : `${id}-hint`, error ? `${id}-error` : ''];
  return ids.filter(Boolean).join(' ') || undefined;
}

type InputProps = Described &
  Omit<InputHTMLAttributes<HTMLInputElement>, 'className'> & {
    /** In the type of code: URLs, keys. */
    mono?: boolean;
  };

export function TextField({ label, hideLabel, hint, error, className, mono, ...input }: InputProps) {
  const id = useId();
  const described = { label, hint, error };
  return (
    <Frame
      id={id}
      label={label}
      hideLabel={hideLabel ?? false}
      hint={hint}
      error={error}
      className={className ?? ''}
    >
      <input
        {...input}
        id={id}
        aria-invalid={error ? true : undefined}
        aria-describedby={describedBy(id, described)}
        className={cx(BOX, 'h-8', border(Boolean(error)), mono && 'font-mono text-[0.8125rem]')}
      />
    </Frame>
  );
}

type AreaProps = Described &
  Omit<TextareaHTMLAttributes<HTMLTextAreaElement>, 'className'> & { mono?: boolean };

export function TextArea({ label, hideLabel, hint, error, className, mono, ...area }: AreaProps) {
  const id = useId();
  return (
    <Frame
      id={id}
      label={label}
      hideLabel={hideLabel ?? false}
      hint={hint}
      error={error}
      className={className ?? ''}
    >
      <textarea
        {...area}
        id={id}
        aria-invalid={error ? true : undefined}
        aria-describedby={describedBy(id, { label, hint, error })}
        className={cx(BOX, 'py-1.5', border(Boolean(error)), mono && 'font-mono text-[0.8125rem]')}
      />
    </Frame>
  );
}

type SelectProps = Described & Omit<SelectHTMLAttributes<HTMLSelectElement>, 'className'>;

/** The browser's own list: known to every keyboard, screen reader and phone. Options are its children. */
export function SelectField({ label, hideLabel, hint, error, className, children, ...select }: SelectProps) {
  const id = useId();
  return (
    <Frame
      id={id}
      label={label}
      hideLabel={hideLabel ?? false}
      hint={hint}
      error={error}
      className={className ?? ''}
    >
      <span className="relative block">
        <select
          {...select}
          id={id}
          aria-invalid={error ? true : undefined}
          aria-describedby={describedBy(id, { label, hint, error })}
          className={cx(BOX, 'h-8 appearance-none truncate pr-7', border(Boolean(error)))}
        >
          {children}
        </select>
        <ChevronDownIcon className="text-faint pointer-events-none absolute top-2 right-2 size-4" />
      </span>
    </Frame>
  );
}

type CheckProps = Omit<InputHTMLAttributes<HTMLInputElement>, 'className' | 'type'> & {
  label: ReactNode;
  hint?: ReactNode;
  type?: 'checkbox' | 'radio';
  className?: string;
};

export function Check({ label, hint, type = 'checkbox', className, ...input }: CheckProps) {
  const id = useId();
  return (
    <div className={cx('flex items-start gap-2', className)}>
      <input
        {...input}
        id={id}
        type={type}
        aria-describedby={hint === undefined ? undefined : `${id}-hint`}
        className="mt-0.5"
      />
      <div className="min-w-0">
        <label htmlFor={id}>{label}</label>
        {hint !== undefined && (
          <p id={`${id}-hint`} className="text-faint text-[0.8125rem]">
            {hint}
          </p>
        )}
      </div>
    </div>
  );
}
