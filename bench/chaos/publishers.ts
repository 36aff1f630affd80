/** A load by plan that takes no for no answer: each event is sent, over any node, until its publish is acknowledged. */
import { setTimeout as sleep } from 'node:timers/promises';
import { type Api, call, EVENT, preciseNow } from '../support.ts';
import { ACCOUNTS, eventIdOf, type Ledger, usernameOf } from './ledger.ts';

/** Requests under way at most, over all nodes. */
const PUBLISHERS = 64;
const RETRY_AFTER_MS = 250;
const FILLER = 'x'.repeat(900);

export class Publishers {
  /** Events that were begun so far; after {@link ended} all of them are acknowledged. */
  published = 0;
  /** Answers 503, and requests that got no answer. */
  refused = 0;
  unanswered = 0;
  /** Events that were stored already when they were sent again. */
  duplicates = 0;
  /** Answers that are neither success nor 503: defects. */
  readonly defects: string[] = [];
  /** When the last publish was acknowledged, unix ms. */
  lastAckAt = 0;
  readonly ended: Promise<unknown>;
  readonly #ledger: Ledger;
  readonly #nodes: () => readonly Api[];
  readonly #perSecond: number;
  readonly #events: number;
  readonly #startedAt = preciseNow();
  #turns = 0;

  /** @param nodes those that may be asked at the moment */
  constructor(ledger: Ledger, nodes: () => readonly Api[], perSecond: number, events: number) {
    this.#ledger = ledger;
    this.#nodes = nodes;
    this.#perSecond = perSecond;
    this.#events = events;
    this.ended = Promise.all(Array.from({ length: PUBLISHERS }, () => this.#publishInTurn()));
  }

  async #publishInTurn(): Promise<void> {
    // A machine that can't hold the rate makes fewer events, not a longer run.
    const endsAt = this.#startedAt + (this.#events * 1000) / this.#perSecond;
    while (this.published < this.#events && preciseNow() < endsAt) {
      const event = this.published++;
      // Against the plan, not the last event: what an outage held up is caught up with after it.
      const waitMs = this.#startedAt + (event * 1000) / this.#perSecond - preciseNow();
      if (waitMs > 0) await sleep(waitMs);
      while (!(await this.#publish(event))) await sleep(RETRY_AFTER_MS * (0.5 + Math.random()));
    }
  }

  /** Whether it was acknowledged. */
  async #publish(event: number): Promise<boolean> {
    const nodes = this.#nodes();
    const node = nodes[this.#turns++ % nodes.length];
    if (node === undefined) return false;
    const body = {
      username: usernameOf(event % ACCOUNTS),
      event: EVENT,
      event_id: eventIdOf(event),
      data: { number: event, text: FILLER },
    };
    let answer: { status: number; text: string };
    try {
      answer = await call(node, 'POST', '/v2/publish', body);
    } catch {
      this.unanswered += 1;
      return false;
    }
    if (answer.status === 200) {
      this.lastAckAt = preciseNow();
      this.#ledger.acknowledge(event, this.lastAckAt);
      if (answer.text.includes('"duplicate":true')) this.duplicates += 1;
      return true;
    }
    if (answer.status === 503) this.refused += 1;
    else this.defects.push(`HTTP ${answer.status} ${answer.text.slice(0, 300)}`);
    return false;
  }
}
