/** A menu behind a button. Not modal: a modal one puts a <style> element into the page, which the policy refuses. */
import { DropdownMenu } from 'radix-ui';
import type { ReactNode } from 'react';

import { cx } from '../lib/text.ts';

export interface MenuItem {
  label: string;
  icon?: ReactNode;
  onSelect(): void;
  danger?: boolean;
  /** It is the present choice. */
  checked?: boolean;
  disabled?: boolean;
}

/** @param props.trigger - the button; exactly one element */
export function Menu({ trigger, items }: { trigger: ReactNode; items: readonly MenuItem[] }) {
  return (
    <DropdownMenu.Root modal={false}>
      <DropdownMenu.Trigger asChild>{trigger}</DropdownMenu.Trigger>
      <DropdownMenu.Portal>
        <DropdownMenu.Content
          align="end"
          sideOffset={4}
          collisionPadding={8}
          className="bg-surface border-line shadow-float z-40 min-w-44 rounded-lg border p-1"
        >
          {items.map((item) => (
            <DropdownMenu.Item
              key={item.label}
              disabled={item.disabled ?? false}
              onSelect={item.onSelect}
              className={cx(
                'data-[highlighted]:bg-hover flex h-8 cursor-pointer items-center gap-2 rounded px-2 outline-none data-[disabled]:opacity-50',
                item.danger && 'text-bad',
              )}
            >
              {item.icon}
              <span className="flex-1">{item.label}</span>
              {item.checked === true && <span aria-label="chosen">✓</span>}
            </DropdownMenu.Item>
          ))}
        </DropdownMenu.Content>
      </DropdownMenu.Portal>
    </DropdownMenu.Root>
  );
}
