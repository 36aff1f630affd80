import { setTimeout as delay } from 'node:timers/promises';
import type { Readable } from 'node:stream';

/** What a command sees of the world around it. */
export interface Io {
  stdin: Readable;
  stdout: Output;
  stderr: Output;
  env: Record<string, string | undefined>;
  /** What relative paths are relative to. */
  cwd: string;
  /** Unix ms. */
  now(): number;
  /** Milliseconds that never go backwards. */
  monotonic(): number;
  sleep(ms: number): Promise<void>;
}

export interface Output {
  write(text: string): unknown;
  /** True on a terminal. */
  readonly isTTY?: boolean;
}

/** The world of this process. */
export function processIo(): Io {
  return {
    stdin: process.stdin,
    stdout: process.stdout,
    stderr: process.stderr,
    env: process.env,
    cwd: process.cwd(),
    now: () => Date.now(),
    monotonic: () => performance.now(),
    sleep: (ms) => delay(ms),
  };
}
