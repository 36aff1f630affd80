/** Short messages that something was done. Read out, and gone after a while; errors stay until they are closed. */
import { createContext, type ReactNode, useCallback, useContext, useRef, useState } from 'react';

import { cx } from '../lib/text.ts';
import { IconButton } from './button.tsx';
import { CheckIcon, CloseIcon, WarningIcon } from './icons.tsx';

export interface ToastMessage {
  text: ReactNode;
  tone?: 'ok' | 'bad';
}

const SHOWN_MS = 5000;
const ToastContext = createContext<(message: ToastMessage) => void>(() => {});

/**
 * @example
 * const toast = useToast();
 * toast({ text: 'Endpoint deleted' });
 */
export function useToast(): (message: ToastMessage) => void {
  return useContext(ToastContext);
}

export function ToastProvider({ children }: { children: ReactNode }) {
  const [toasts, setToasts] = useState<(ToastMessage & { id: number })[]>([]);
  const nextId = useRef(1);
  const close = useCallback((id: number) => setToasts((all) => all.filter((toast) => toast.id !== id)), []);
  const show = useCallback(
    (message: ToastMessage) => {
      const id = nextId.current++;
      setToasts((all) => [...all.slice(-3), { ...message, id }]);
      if (message.tone !== 'bad') setTimeout(() => close(id), SHOWN_MS);
    },
    [close],
  );
  return (
    <ToastContext value={show}>
      {children}
      <div
        role="region"
        aria-label="Messages"
        aria-live="polite"
        className="pointer-events-none fixed right-4 bottom-4 left-4 z-50 flex flex-col items-end gap-2"
      >
        {toasts.map(({ id, text, tone = 'ok' }) => (
          <div
            key={id}
            className="bg-surface border-line shadow-float pointer-events-auto flex max-w-md items-start gap-2 rounded-lg border py-2 pr-2 pl-3"
          >
            {tone === 'ok' ? (
              <CheckIcon className="text-ok mt-1 size-4" />
            ) : (
              <WarningIcon className="text-bad mt-1 size-4" />
            )}
            <div className={cx('min-w-0 py-0.5 break-words')}>{text}</div>
            <IconButton
              label="Close message"
              icon={<CloseIcon className="size-3.5" />}
              onClick={() => close(id)}
            />
          </div>
        ))}
      </div>
    </ToastContext>
  );
}
