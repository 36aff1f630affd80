/** What somebody has typed, kept over a reload of the tab until it is saved or thrown away. */
import { useCallback, useState } from 'react';

const PREFIX = 'posthorn-draft:';

function read<T>(key: string): T | null {
  try {
    const text = sessionStorage.getItem(PREFIX + key);
    return text === null ? null : (JSON.parse(text) as T);
  } catch {
    // Storage is switched off, or holds something else: there is no draft.
    return null;
  }
}

export interface Draft<T> {
  value: T;
  set(part: Partial<T>): void;
  /** It is saved, or not wanted any more. */
  forget(): void;
  /** It differs from what it began with. */
  isChanged: boolean;
}

/**
 * @param key - what is being written
 * @param initial - what it begins with when there is no draft of it
 */
export function useDraft<T extends object>(key: string, initial: T): Draft<T> {
  const [value, setValue] = useState<T>(() => read<T>(key) ?? initial);
  const set = useCallback(
    (part: Partial<T>) =>
      setValue((old) => {
        const next = { ...old, ...part };
        try {
          sessionStorage.setItem(PREFIX + key, JSON.stringify(next));
        } catch {
          // Then it lives as long as the page.
        }
        return next;
      }),
    [key],
  );
  const forget = useCallback(() => {
    try {
      sessionStorage.removeItem(PREFIX + key);
    } catch {
      // Nothing was kept.
    }
  }, [key]);
  return { value, set, forget, isChanged: JSON.stringify(value) !== JSON.stringify(initial) };
}
