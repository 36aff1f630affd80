/** Publishers that go on until they are stopped, and remember what they were answered. */
import { setTimeout as delay } from 'node:timers/promises';
import type { Answer, Client } from './client.ts';

export interface LoadOptions {
  client: Client;
  /** Whom the events are for; a success of {@link LOAD_EVENT} each. */
  username: string;
  /** How many requests are under way at any time, but for the pauses. */
  publishers: number;
  /** Of a publisher between two events; default none: as fast as it is answered. */
  pauseMs?: number;
  /** Ids are this and a number. */
  idPrefix: string;
  /** Characters of `data` beside the usual ones. */
  fillerLength?: number;
}

/** The event type of every event of a {@link Load}. */
export const LOAD_EVENT = 'generated_image_success';

/**
 * @example
 * const load = new Load({ client, username: 'alice', publishers: 8, idPrefix: 'evt-' });
 * await load.when(() => load.acknowledged.length >= 100);
 * await load.stop();
 */
export class Load {
  /** Event ids that were answered with success, in order of the answers. */
  readonly acknowledged: string[] = [];
  readonly refusals: Answer<unknown>[] = [];
  /** Requests that got no answer, since nobody listened or the connection broke. Each ends its publisher. */
  unanswered = 0;
  /** Resolves when all publishers have ended: after {@link stop}, or when the service is gone. */
  readonly ended: Promise<void>;
  readonly #options: LoadOptions;
  readonly #waiting = new Set<() => void>();
  #sent = 0;
  #stopped = false;

  constructor(options: LoadOptions) {
    this.#options = options;
    const publishers = Array.from({ length: options.publishers }, () => this.#publish());
    this.ended = Promise.all(publishers).then(() => this.#changed());
  }

  /** Resolves as soon as an answer makes `ready` true; rejects when the load ends before. */
  async when(ready: () => boolean): Promise<void> {
    let over = false;
    void this.ended.then(() => {
      over = true;
    });
    while (!ready()) {
      if (over) throw new Error(`the load ended too early: ${this.#summary()}`);
      await new Promise<void>((resolve) => this.#waiting.add(resolve));
    }
  }

  /** Sends nothing more; resolves when what is under way has its answers. */
  stop(): Promise<void> {
    this.#stopped = true;
    return this.ended;
  }

  async #publish(): Promise<void> {
    const { client, username, idPrefix, fillerLength = 0, pauseMs = 0 } = this.#options;
    while (!this.#stopped) {
      const eventId = `${idPrefix}${this.#sent++}`;
      const data = {
        task_id: eventId,
        status: 'completed',
        image_urls: ['https://example.com/a.png'],
        filler: 'x'.repeat(fillerLength),
      };
      try {
        const body = { username, event: LOAD_EVENT, event_id: eventId, data };
        const answer = await client.ask('POST', '/v2/publish', { body });
        if (answer.code === 0) this.acknowledged.push(eventId);
        else this.refusals.push(answer);
      } catch {
        this.unanswered += 1;
        return;
      } finally {
        this.#changed();
      }
      if (pauseMs > 0) await delay(pauseMs);
    }
  }

  #changed(): void {
    for (const resolve of this.#waiting) resolve();
    this.#waiting.clear();
  }

  #summary(): string {
    const { acknowledged, refusals, unanswered } = this;
    return `${acknowledged.length} acknowledged, ${refusals.length} refused (${refusals.at(-1)?.msg}), ${unanswered} unanswered`;
  }
}
