/** Copying: a button that says that it did. */
import { useEffect, useState } from 'react';

import { Button, IconButton } from './button.tsx';
import { CheckIcon, CopyIcon } from './icons.tsx';
import { useToast } from './toast.tsx';

interface CopyProps {
  /** What is copied; a function when it is costly to make. */
  text: string | (() => string);
  /** What it copies, for who can't see where it stands: `Copy secret`. */
  label: string;
  /** With words, not only an icon. */
  words?: string;
}

/** @returns whether the clipboard took it */
async function copy(text: string): Promise<boolean> {
  try {
    await navigator.clipboard.writeText(text);
    return true;
  } catch {
    // Over plain http the clipboard's API is missing: the old way, through a field of text.
    const field = document.createElement('textarea');
    field.value = text;
    field.setAttribute('readonly', '');
    field.style.position = 'fixed';
    field.style.opacity = '0';
    // Inside an open dialog, where alone the focus may go.
    (document.querySelector('dialog[open]') ?? document.body).append(field);
    field.select();
    const done = document.execCommand('copy');
    field.remove();
    return done;
  }
}

export function CopyButton({ text, label, words }: CopyProps) {
  const [copied, setCopied] = useState(false);
  const toast = useToast();
  useEffect(() => {
    if (!copied) return undefined;
    const timer = setTimeout(() => setCopied(false), 1500);
    return () => clearTimeout(timer);
  }, [copied]);
  const onClick = () => {
    void copy(typeof text === 'string' ? text : text()).then((done) => {
      setCopied(done);
      if (!done)
        toast({ tone: 'bad', text: 'The browser refused to copy. Select the text and copy it yourself.' });
    });
  };
  const icon = copied ? <CheckIcon className="text-ok size-4" /> : <CopyIcon />;
  return (
    <>
      {words === undefined ? (
        <IconButton label={label} icon={icon} onClick={onClick} />
      ) : (
        <Button small icon={icon} onClick={onClick} aria-label={label}>
          {words}
        </Button>
      )}
      <span className="sr-only" aria-live="polite">
        {copied ? 'Copied' : ''}
      </span>
    </>
  );
}
