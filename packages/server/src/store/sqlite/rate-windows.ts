import type { EngineContext, SyncStore } from './engine.ts';

/** Beyond it the windows that began first are forgotten, over or not. */
const MAX_WINDOWS = 100_000;

/** In memory: one process has the file open, and a restart takes longer than it would gain anybody. */
export function rateWindowOperations({ now }: EngineContext): Pick<SyncStore, 'countRequest'> {
  /** In the order of their beginning. */
  const windows = new Map<string, { count: number; beganAt: number }>();

  return {
    countRequest(name, windowMs) {
      const nowMs = now();
      let window = windows.get(name);
      // A clock that was set back by more than a window would make it last for ever.
      if (window === undefined || Math.abs(nowMs - window.beganAt) >= windowMs) {
        windows.delete(name);
        if (windows.size >= MAX_WINDOWS) windows.delete(windows.keys().next().value as string);
        window = { count: 0, beganAt: nowMs };
        windows.set(name, window);
      }
      window.count += 1;
      return { count: window.count, endsInMs: Math.min(windowMs, window.beganAt + windowMs - nowMs) };
    },
  };
}
