import type { Io } from './io.ts';

const FIRST_PAUSE_MS = 100;
const LONGEST_PAUSE_MS = 2000;

/**
 * Asks again and again, with growing pauses, until `done` says so or the time is over.
 *
 * @returns the last answer, and whether it was done
 */
export async function poll<T>(
  io: Pick<Io, 'monotonic' | 'sleep'>,
  timeoutMs: number,
  ask: () => Promise<T>,
  done: (answer: T) => boolean,
): Promise<{ answer: T; done: boolean }> {
  const deadline = io.monotonic() + timeoutMs;
  for (let pauseMs = FIRST_PAUSE_MS; ; pauseMs = Math.min(pauseMs * 1.5, LONGEST_PAUSE_MS)) {
    const answer = await ask();
    if (done(answer)) return { answer, done: true };
    const leftMs = deadline - io.monotonic();
    if (leftMs <= 0) return { answer, done: false };
    await io.sleep(Math.min(pauseMs, leftMs));
  }
}
