/** One clock for every age on the page, so that a thousand of them cost one timer, and none while the page is hidden. */
import { useSyncExternalStore } from 'react';

const listeners = new Set<() => void>();
let nowSeconds = Math.floor(Date.now() / 1000);
let timer: ReturnType<typeof setInterval> | undefined;

function tick(): void {
  if (document.hidden) return;
  nowSeconds = Math.floor(Date.now() / 1000);
  for (const listener of listeners) listener();
}

function subscribe(listener: () => void): () => void {
  if (listeners.size === 0) {
    nowSeconds = Math.floor(Date.now() / 1000);
    timer = setInterval(tick, 1000);
    document.addEventListener('visibilitychange', tick);
  }
  listeners.add(listener);
  return () => {
    listeners.delete(listener);
    if (listeners.size > 0) return;
    clearInterval(timer);
    document.removeEventListener('visibilitychange', tick);
  };
}

/**
 * The present in unix seconds; the component renders again when what it made of it changes.
 *
 * @param view - what the component shows of it, so that `3 min ago` renders once a minute
 * @example
 * const text = useNow((now) => age(event.created_at, now));
 */
export function useNow<T extends string | number | boolean>(view: (nowSeconds: number) => T): T {
  return useSyncExternalStore(subscribe, () => view(nowSeconds));
}

/** The present in unix seconds, once. */
export function presentSeconds(): number {
  return Math.floor(Date.now() / 1000);
}
