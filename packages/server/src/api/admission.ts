/**
 * What is refused before it takes memory: requests beyond so many under way, bodies beyond so many bytes, and everything
 * while the process has too little memory or its event loop doesn't keep up. Each is answered with `retry-after`.
 */
import type { IncomingMessage, ServerResponse } from 'node:http';

import type { Clock } from '../clock.ts';
import { PosthornError, unavailable } from '../errors.ts';
import { FairShares } from '../fair-shares.ts';

/** Who watches a saturated service must not be turned away by it. */
const ALWAYS = new Set(['/healthz', '/readyz', '/metrics']);
/** Smaller bodies are bounded by the number of requests. */
const SMALL_BODY_BYTES = 16 * 1024;
const MIB = 1024 * 1024;
const SAMPLE_EVERY_MS = 500;
/** A loop that is late by so much, so many samples in a row, has more to do than it can. */
const LATE_MS = 1_000;
const LATE_SAMPLES = 4;

export interface AdmissionLimits {
  maxRequests: number;
  /** Of all bodies that are being received or worked on. */
  maxBodyBytes: number;
  /** Of the process (resident); null: no limit. */
  maxMemoryBytes: number | null;
}

/** @param maxRequestBytes of one request */
export function defaultLimits(maxRequestBytes: number): Omit<AdmissionLimits, 'maxMemoryBytes'> {
  return { maxRequests: 5_000, maxBodyBytes: Math.max(128 * MIB, 16 * maxRequestBytes) };
}

export interface AdmissionOptions extends AdmissionLimits {
  /** What a body without a length counts as. */
  maxRequestBytes: number;
  clock: Pick<Clock, 'monotonic' | 'timer'>;
  /** Resident bytes of the process. */
  memory?: () => number;
}

export class Admission {
  readonly #options: AdmissionOptions;
  readonly #bodies: FairShares;
  readonly #memory: () => number;
  #underWay = 0;
  #memoryBytes = 0;
  #lateSamples = 0;
  #cancelTimer: (() => void) | null = null;

  constructor(options: AdmissionOptions) {
    this.#options = options;
    this.#bodies = new FairShares(options.maxBodyBytes);
    this.#memory = options.memory ?? (() => process.memoryUsage.rss());
    this.#sample();
  }

  /** Takes a request in until its answer has left, and answers null; or says why it is refused. */
  admit(request: IncomingMessage, response: ServerResponse): PosthornError | null {
    if (ALWAYS.has(request.url as string)) return null;
    const { maxRequests, maxRequestBytes } = this.#options;
    if (this.#underWay >= maxRequests) {
      return unavailable(`${maxRequests} requests are under way, which is the limit: try again`);
    }
    const { headers } = request;
    const bytes =
      headers['transfer-encoding'] === undefined ? Number(headers['content-length'] ?? 0) : maxRequestBytes;
    if (bytes > 0) {
      const pressed = this.#pressure();
      if (pressed !== null) return pressed;
    }
    if (bytes <= SMALL_BODY_BYTES || bytes > maxRequestBytes) {
      // One that is too large is refused by its header, unread.
      this.#underWay += 1;
      response.once('close', () => {
        this.#underWay -= 1;
      });
      return null;
    }
    const owner = ownerOf(request);
    const refused = this.#bodies.refusal(owner, bytes);
    if (refused === 'full') {
      return unavailable('too many bytes of requests are being received: try again, with less at once');
    }
    if (refused === 'share') {
      return new PosthornError(
        'rate_limited',
        'too many bytes of requests with this key are being received, the rest is kept for others: try again',
        { retryAfterSeconds: 1 },
      );
    }
    this.#underWay += 1;
    this.#bodies.take(owner, bytes);
    response.once('close', () => {
      this.#underWay -= 1;
      this.#bodies.give(owner, bytes);
    });
    return null;
  }

  stop(): void {
    this.#cancelTimer?.();
    this.#cancelTimer = null;
  }

  #pressure(): PosthornError | null {
    const { maxMemoryBytes } = this.#options;
    if (maxMemoryBytes !== null && this.#memoryBytes > maxMemoryBytes) {
      const mib = (bytes: number): string => (bytes / MIB).toFixed(0);
      return unavailable(
        `the process uses ${mib(this.#memoryBytes)} MiB of memory, its limit is ${mib(maxMemoryBytes)}: try again`,
      );
    }
    return this.#lateSamples >= LATE_SAMPLES
      ? unavailable('the process does not keep up with its work: try again')
      : null;
  }

  #sample(): void {
    const askedAtMs = this.#options.clock.monotonic();
    this.#cancelTimer = this.#options.clock.timer(SAMPLE_EVERY_MS, () => {
      const lateMs = this.#options.clock.monotonic() - askedAtMs - SAMPLE_EVERY_MS;
      this.#lateSamples = lateMs > LATE_MS ? this.#lateSamples + 1 : 0;
      this.#memoryBytes = this.#memory();
      this.#sample();
    });
  }
}

/** By the key that it shows; whether that holds is seen before the body is read. */
function ownerOf({ headers, socket }: IncomingMessage): string {
  const key = headers['x-api-key'];
  return typeof key === 'string' ? key : (socket.remoteAddress ?? '');
}
