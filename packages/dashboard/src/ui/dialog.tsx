/**
 * Dialogs on the browser's own <dialog>: it keeps the focus inside, ends on Escape and gives the focus back by itself.
 * (Radix's dialog puts a <style> element into the page, which the content security policy refuses.)
 */
import { type ReactNode, useEffect, useId, useRef, useState } from 'react';

import type { ApiError } from '../api/error.ts';
import { cx } from '../lib/text.ts';
import { Button, type ButtonKind, IconButton } from './button.tsx';
import { ErrorPanel } from './error-panel.tsx';
import { CloseIcon } from './icons.tsx';

const FIRST = ['input:enabled', 'select:enabled', 'textarea:enabled', '[data-harmless]'].join(', ');

export interface DialogProps {
  open: boolean;
  /** It wants to be closed: Escape, a click beside it, the cross. */
  onClose(): void;
  title: ReactNode;
  children: ReactNode;
  /** The buttons at its foot. */
  footer?: ReactNode;
  wide?: boolean;
}

export function Dialog({ open, onClose, title, children, footer, wide = false }: DialogProps) {
  const ref = useRef<HTMLDialogElement>(null);
  const titleId = useId();
  useEffect(() => {
    const dialog = ref.current;
    if (dialog === null) return;
    if (open && !dialog.open) {
      dialog.showModal();
      // The browser would choose the cross: the first field is what somebody came for, else the harmless button.
      dialog.querySelector<HTMLElement>(FIRST)?.focus();
    }
    if (!open && dialog.open) dialog.close();
  }, [open]);
  return (
    // The click is beside the dialog when it meets the element itself: its contents cover it wholly. Escape does the same.
    // oxlint-disable-next-line jsx-a11y/click-events-have-key-events, jsx-a11y/no-noninteractive-element-interactions
    <dialog
      ref={ref}
      aria-labelledby={titleId}
      onCancel={(event) => {
        event.preventDefault();
        onClose();
      }}
      onClick={(event) => {
        if (event.target === event.currentTarget) onClose();
      }}
      className={cx(
        'bg-surface text-ink shadow-float border-line m-auto max-h-[calc(100dvh-2rem)] w-[calc(100vw-2rem)] rounded-lg border p-0',
        wide ? 'max-w-3xl' : 'max-w-lg',
      )}
    >
      {open && (
        <div className="flex max-h-[calc(100dvh-2rem)] flex-col">
          <div className="flex items-start justify-between gap-4 px-5 pt-4 pb-2">
            <h2 id={titleId} className="text-base font-semibold">
              {title}
            </h2>
            <IconButton label="Close" icon={<CloseIcon />} onClick={onClose} />
          </div>
          <div className="min-h-0 overflow-y-auto px-5 pb-4">{children}</div>
          {footer !== undefined && (
            <div className="border-line bg-paper flex flex-wrap justify-end gap-2 rounded-b-lg border-t px-5 py-3">
              {footer}
            </div>
          )}
        </div>
      )}
    </dialog>
  );
}

export interface ConfirmProps {
  open: boolean;
  onClose(): void;
  title: string;
  /** What will happen: consequences, with figures. */
  children: ReactNode;
  /** The verb of the button: `Delete endpoint`. */
  confirm: string;
  kind?: ButtonKind;
  busy?: boolean;
  error?: ApiError | null;
  /** When given, this text has to be typed before the button can be pressed. */
  typed?: string;
  onConfirm(): void;
}

/** Asks before something that can't be taken back. The harmless button has the focus. */
export function Confirm({
  open,
  onClose,
  title,
  children,
  confirm,
  kind = 'danger',
  busy = false,
  error = null,
  typed,
  onConfirm,
}: ConfirmProps) {
  const [text, setText] = useState('');
  const id = useId();
  useEffect(() => {
    if (!open) setText('');
  }, [open]);
  return (
    <Dialog
      open={open}
      onClose={onClose}
      title={title}
      footer={
        <>
          <Button onClick={onClose} data-harmless>
            Cancel
          </Button>
          <Button
            kind={kind}
            busy={busy}
            disabled={typed !== undefined && text !== typed}
            onClick={onConfirm}
          >
            {confirm}
          </Button>
        </>
      }
    >
      <div className="space-y-3">
        {children}
        {typed !== undefined && (
          <div>
            <label htmlFor={id} className="mb-1 block">
              To confirm, type <strong className="font-mono break-all">{typed}</strong>
            </label>
            <input
              id={id}
              value={text}
              onChange={(event) => setText(event.target.value)}
              autoComplete="off"
              className="border-line-strong bg-surface block h-8 w-full rounded-md border px-2.5 font-mono"
            />
          </div>
        )}
        {error !== null && <ErrorPanel error={error} compact />}
      </div>
    </Dialog>
  );
}
