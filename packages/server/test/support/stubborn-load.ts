/** Publishers that take no for no answer: as a product does that must not lose an event. */
import { setTimeout as delay } from 'node:timers/promises';
import type { Answer, Client } from './client.ts';
import { LOAD_EVENT } from './load.ts';

export interface StubbornLoadOptions {
  /** The API nodes of the moment; publishers take turns with them. */
  nodes: () => readonly Client[];
  /** For whom the events are, in turn. */
  usernames: readonly string[];
  publishers: number;
  /** Between two events of a publisher. */
  pauseMs: number;
  idPrefix: string;
}

/** A node that doesn't answer for so long is given up: it may be stopped. */
const ANSWER_TIMEOUT_MS = 3_000;
const RETRY_AFTER_MS = 100;

/**
 * Publishes event after event, and each again, with the same id and over the next node, until it is acknowledged.
 *
 * @example
 * const load = new StubbornLoad({ nodes: () => clients, usernames: ['alice'], publishers: 4, pauseMs: 10, idPrefix: 'e-' });
 * await load.stop();
 */
export class StubbornLoad {
  /** Event ids by username. */
  readonly acknowledged = new Map<string, string[]>();
  /** Neither success nor 503: defects. Each ends its publisher. */
  readonly failures: Answer<unknown>[] = [];
  /** Answers 503. */
  refusals = 0;
  /** Requests whose connection broke, that nobody took, or that got no answer. */
  unanswered = 0;
  /** Events that were stored when their publisher didn't know yet, and tried again. */
  repeats = 0;
  readonly #options: StubbornLoadOptions;
  readonly #ended: Promise<unknown>;
  #sent = 0;
  #turns = 0;
  #isStopped = false;
  #isAbandoned = false;

  constructor(options: StubbornLoadOptions) {
    this.#options = options;
    for (const username of options.usernames) this.acknowledged.set(username, []);
    this.#ended = Promise.all(Array.from({ length: options.publishers }, () => this.#publish()));
  }

  get count(): number {
    return [...this.acknowledged.values()].reduce((sum, ids) => sum + ids.length, 0);
  }

  /** Begins no event any more; resolves when those that were begun are acknowledged. */
  async stop(): Promise<void> {
    this.#isStopped = true;
    await this.#ended;
  }

  /** Gives up whatever isn't acknowledged yet. */
  abandon(): Promise<void> {
    this.#isAbandoned = true;
    return this.stop();
  }

  async #publish(): Promise<void> {
    const { usernames, idPrefix, pauseMs } = this.#options;
    while (!this.#isStopped) {
      const n = this.#sent++;
      const username = usernames[n % usernames.length] as string;
      const eventId = `${idPrefix}${n}`;
      if (!(await this.#publishOne(username, eventId))) return;
      this.acknowledged.get(username)?.push(eventId);
      await delay(pauseMs);
    }
  }

  async #publishOne(username: string, eventId: string): Promise<boolean> {
    const data = { task_id: eventId, status: 'completed', image_urls: ['https://example.com/a.png'] };
    const body = { username, event: LOAD_EVENT, event_id: eventId, data };
    while (!this.#isAbandoned) {
      const nodes = this.#options.nodes();
      const node = nodes[this.#turns++ % nodes.length];
      try {
        const answer = await node?.ask<{ duplicate: boolean }>('POST', '/v2/publish', {
          body,
          timeoutMs: ANSWER_TIMEOUT_MS,
        });
        if (answer?.code === 0) {
          if (answer.data.duplicate) this.repeats += 1;
          return true;
        }
        if (answer?.status === 503) {
          this.refusals += 1;
        } else if (answer !== undefined) {
          this.failures.push(answer);
          return false;
        }
      } catch {
        this.unanswered += 1;
      }
      await delay(RETRY_AFTER_MS);
    }
    return false;
  }
}
