import { randomBytes, randomInt } from 'node:crypto';

/**
 * Time and chance, the only source of both outside of `crypto` keys. Production has one {@link systemClock};
 * tests drive a manual one, so that nothing sleeps to see whether something happens.
 */
export interface Clock {
  /** Unix time in milliseconds. May jump when the machine's clock is set: never measure a duration with it. */
  now(): number;
  /** Milliseconds from an arbitrary start; never goes backwards. */
  monotonic(): number;
  /** A number in [0, 1), for jitter. */
  random(): number;
  /** Calls `fire` once after `delayMs`; the returned function cancels it. A timer never keeps the process alive. */
  timer(delayMs: number, fire: () => void): () => void;
}

/** The longest delay Node's timers take (2^31 - 1 ms); longer ones are cut to it and must be set again. */
export const MAX_TIMER_MS = 2_147_483_647;

export const systemClock: Clock = {
  now: () => Date.now(),
  monotonic: () => performance.now(),
  random: () => randomInt(2 ** 32) / 2 ** 32,
  timer(delayMs, fire) {
    const handle = setTimeout(fire, Math.min(Math.max(0, delayMs), MAX_TIMER_MS));
    handle.unref();
    return () => clearTimeout(handle);
  },
};

/** Unix seconds, as every time on the wire. */
export function toSeconds(ms: number): number {
  return Math.floor(ms / 1000);
}

const ALPHABET = '0123456789abcdefghjkmnpqrstvwxyz';
const SEQUENCE_LENGTH = 4;
const SEQUENCE_SPACE = 32 ** SEQUENCE_LENGTH;

function base32(value: number, length: number): string {
  let text = '';
  for (let rest = value, i = 0; i < length; i++) {
    text = ALPHABET[rest % 32] + text;
    rest = Math.floor(rest / 32);
  }
  return text;
}

export type IdPrefix = 'evt' | 'dlv' | 'wh' | 'key' | 'rpl' | 'req' | 'aud' | 'plk';

/**
 * Makes ids that sort by the time they were made: prefix, 10 characters of milliseconds, 4 of a counter (so that
 * ids of one process never sort against their order) and 12 random ones (60 bits, so that they can't be guessed).
 *
 * @example
 * const nextId = idFactory();
 * nextId('evt', Date.now()); // 'evt_01kas4h3bq0000w3r8y0e6a1kd'
 */
export function idFactory(): (prefix: IdPrefix, nowMs: number) => string {
  let lastMs = 0;
  let sequence = 0;
  let pool = Buffer.alloc(0);
  let used = 0;
  return (prefix, nowMs) => {
    // A clock that was set back must not make a newer id sort before an older one.
    if (nowMs > lastMs) {
      lastMs = nowMs;
      sequence = 0;
    } else if (++sequence === SEQUENCE_SPACE) {
      lastMs += 1;
      sequence = 0;
    }
    if (used + 12 > pool.length) {
      pool = randomBytes(3072);
      used = 0;
    }
    let random = '';
    for (let i = 0; i < 12; i++) random += ALPHABET[(pool[used + i] as number) & 31];
    used += 12;
    return `${prefix}_${base32(lastMs, 10)}${base32(sequence, SEQUENCE_LENGTH)}${random}`;
  };
}

/** The smallest id of a prefix that could have been made at `ms`: a bound for range scans over ids. */
export function idFloor(prefix: IdPrefix, ms: number): string {
  return `${prefix}_${base32(Math.max(0, ms), 10)}`;
}

/**
 * When an id was made, unix ms by the clock of who made it: see {@link idFactory}.
 *
 * @example
 * idTimeMs('dlv_01kas4h3bq0000w3r8y0e6a1kd'); // 1763897576311
 */
export function idTimeMs(id: string): number {
  const from = id.indexOf('_') + 1;
  let ms = 0;
  for (let i = from; i < from + 10; i++) ms = ms * 32 + ALPHABET.indexOf(id[i] as string);
  return ms;
}
