/** Buttons, and links that look like them. */
import { Link, type LinkComponent, createLink } from '@tanstack/react-router';
import type { AnchorHTMLAttributes, ButtonHTMLAttributes, ReactNode } from 'react';

import { cx } from '../lib/text.ts';

export type ButtonKind = 'primary' | 'secondary' | 'quiet' | 'danger';

const KINDS: Record<ButtonKind, string> = {
  primary: 'bg-solid text-on-solid border-transparent hover:bg-solid-hover',
  secondary: 'bg-surface text-ink border-line-strong/60 hover:bg-hover',
  quiet: 'bg-transparent text-soft border-transparent hover:bg-hover hover:text-ink',
  danger: 'bg-bad-solid text-[#fff] border-transparent hover:opacity-90',
};

function look(kind: ButtonKind, small: boolean, iconOnly: boolean): string {
  return cx(
    'inline-flex items-center justify-center gap-1.5 rounded-md border font-medium whitespace-nowrap select-none',
    small ? 'h-7 text-[0.8125rem]' : 'h-8',
    iconOnly ? (small ? 'w-7' : 'w-8') : small ? 'px-2' : 'px-3',
    KINDS[kind],
    'disabled:opacity-50 aria-disabled:opacity-50',
  );
}

export interface ButtonProps extends ButtonHTMLAttributes<HTMLButtonElement> {
  kind?: ButtonKind;
  small?: boolean;
  /** Shown before the words. */
  icon?: ReactNode;
  /** While what it started is under way: it can't be pressed again. */
  busy?: boolean;
}

export function Button({
  kind = 'secondary',
  small = false,
  icon,
  busy = false,
  className,
  children,
  type = 'button',
  disabled,
  ...rest
}: ButtonProps) {
  return (
    <button
      {...rest}
      type={type}
      disabled={disabled || busy}
      aria-busy={busy || undefined}
      className={cx(look(kind, small, false), className)}
    >
      {busy ? <Spinner /> : icon}
      {children}
    </button>
  );
}

export interface IconButtonProps extends Omit<ButtonHTMLAttributes<HTMLButtonElement>, 'children'> {
  /** What it does, for who can't see the icon, and as a tooltip. */
  label: string;
  icon: ReactNode;
  kind?: ButtonKind;
  small?: boolean;
}

export function IconButton({
  label,
  icon,
  kind = 'quiet',
  small = true,
  className,
  type = 'button',
  ...rest
}: IconButtonProps) {
  return (
    <button
      {...rest}
      type={type}
      aria-label={label}
      title={label}
      className={cx(look(kind, small, true), className)}
    >
      {icon}
    </button>
  );
}

interface ButtonAnchorProps extends AnchorHTMLAttributes<HTMLAnchorElement> {
  kind?: ButtonKind;
  small?: boolean;
  icon?: ReactNode;
}

function ButtonAnchor({
  kind = 'secondary',
  small = false,
  icon,
  className,
  children,
  ...rest
}: ButtonAnchorProps) {
  return (
    <a {...rest} className={cx(look(kind, small, false), className)}>
      {icon}
      {children}
    </a>
  );
}

/**
 * A link to another page that looks like a button.
 *
 * @example
 * <ButtonLink kind="primary" to="/endpoints/new">Add endpoint</ButtonLink>
 */
export const ButtonLink: LinkComponent<typeof ButtonAnchor> = createLink(ButtonAnchor);

/** A link in a text. */
export const TextLink: LinkComponent<'a'> = ((props: Parameters<LinkComponent<'a'>>[0]) => (
  <Link {...props} className={cx('text-link underline-offset-2 hover:underline', props.className)} />
)) as LinkComponent<'a'>;

export function Spinner({ className = 'size-3.5' }: { className?: string }) {
  return (
    <span
      className={cx(
        'inline-block shrink-0 animate-spin rounded-full border-2 border-current border-t-transparent',
        className,
      )}
      aria-hidden="true"
    />
  );
}
