import type { EngineContext, Operations } from './engine.ts';

export function rateWindowOperations({ query }: EngineContext): Operations<'countRequest'> {
  return {
    async countRequest(name, windowMs) {
      // The time is read before the row's lock is had, so it may lie before a window that began meanwhile. A window
      // that begins in a distant future is left by a clock that was set back.
      const [row] = await query<{ count: number; left_ms: number }>(
        `INSERT INTO posthorn.rate_window AS w (name, began_at, count) VALUES ($1, posthorn.now_ms(), 1)
         ON CONFLICT (name) DO UPDATE SET
           began_at = CASE WHEN abs(excluded.began_at - w.began_at) < $2::bigint THEN w.began_at ELSE excluded.began_at END,
           count = CASE WHEN abs(excluded.began_at - w.began_at) < $2::bigint THEN w.count + 1 ELSE 1 END
         RETURNING count, began_at + $2::bigint - posthorn.now_ms() AS left_ms`,
        [name, windowMs],
      );
      const { count = 1, left_ms: leftMs = windowMs } = row ?? {};
      return { count, endsInMs: Math.min(windowMs, Math.max(0, leftMs)) };
    },
  };
}
