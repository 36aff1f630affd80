/**
 * The load generator, a process of its own: publishes over connections that each have one request under way. It speaks
 * HTTP by itself, on prebuilt bytes, because a client library would take as much of the machine as what is measured.
 */
import { once } from 'node:events';
import { connect, type Socket } from 'node:net';
import { setTimeout as sleep } from 'node:timers/promises';
import { PublishRequest, type RunName } from './events.ts';
import { MessageReader, responseStatus } from './http-bytes.ts';
import { answerOrders, preciseNow } from './wire.ts';

/** What to publish. Numbers are taken from `from` on, without gaps. */
export interface LoadPlan {
  port: number;
  apiKey: string;
  run: RunName;
  /** Number of the first event. */
  from: number;
  accounts: number;
  connections: number;
  /**
   * `flat-out`: as fast as answers come, until the time or the number of events is reached. `steady`: by the clock,
   * however slow the answers are; when no connection is free, the next one that is takes what waits.
   */
  pace:
    | { kind: 'flat-out'; forMs: number; atMost: number }
    | { kind: 'steady'; perSecond: number; forMs: number };
  /** Go on when the system dies under way: its broken connections are then no error. */
  mayDie: boolean;
}

export interface LoadResult {
  /** Unix ms of the answer to the event `from + index`; NaN where the answer was not 200 or never came. */
  answeredAt: Float64Array;
  sent: number;
  acknowledged: number;
  /** Answers other than 200, by status. */
  refused: Record<string, number>;
  firstRefusal: string | null;
  startedAt: number;
  endedAt: number;
}

export type LoadOrder = { do: 'load'; plan: LoadPlan };

const READ_BUFFER_BYTES = 16 * 1024;
const STEADY_STEP_MS = 1;
const GROWTH = 2;

/** Body of the process; import it to run it in one. */
export function runLoad(): void {
  answerOrders(({ plan }: LoadOrder) => load(plan));
}

export async function load(plan: LoadPlan): Promise<LoadResult> {
  const log = new AnswerLog();
  const { pace } = plan;
  const connections: Connection[] = [];
  for (let index = 0; index < plan.connections; index += 1) connections.push(new Connection(plan, log));
  try {
    await Promise.all(connections.map((connection) => connection.opened));
    log.startedAt = preciseNow();
    if (pace.kind === 'flat-out') {
      const endAt = log.startedAt + pace.forMs;
      await Promise.all(connections.map((connection) => connection.publishUntil(endAt, pace.atMost)));
    } else {
      await publishByTheClock(connections, pace, log);
    }
    return log.result();
  } finally {
    for (const connection of connections) connection.close();
  }
}

async function publishByTheClock(
  connections: readonly Connection[],
  pace: { perSecond: number; forMs: number },
  log: AnswerLog,
): Promise<void> {
  const total = Math.floor((pace.perSecond * pace.forMs) / 1000);
  const free = [...connections];
  const underWay = new Set<Promise<void>>();
  let failure: unknown;
  while (log.sent < total && failure === undefined) {
    const due = Math.min(total, Math.floor(((preciseNow() - log.startedAt) * pace.perSecond) / 1000) + 1);
    while (log.sent < due) {
      const connection = free.pop();
      if (connection === undefined) break;
      const done = connection
        .publishNext()
        .then(() => connection.isOpen && free.push(connection))
        .catch((error: unknown) => {
          failure = error;
        })
        .then(() => void underWay.delete(done));
      underWay.add(done);
    }
    if (free.length + underWay.size === 0) throw new Error('every connection is broken');
    await sleep(STEADY_STEP_MS);
  }
  if (failure === undefined) await Promise.all(underWay);
  if (failure !== undefined) throw failure;
}

/** What was sent and answered, by the event's number. */
class AnswerLog {
  startedAt = 0;
  sent = 0;
  acknowledged = 0;
  refused: Record<string, number> = {};
  firstRefusal: string | null = null;
  #answeredAt = new Float64Array(1 << 14).fill(Number.NaN);
  #endedAt = 0;

  takeNumber(): number {
    const index = this.sent;
    this.sent += 1;
    if (index >= this.#answeredAt.length) {
      const grown = new Float64Array(this.#answeredAt.length * GROWTH).fill(Number.NaN);
      grown.set(this.#answeredAt);
      this.#answeredAt = grown;
    }
    return index;
  }

  note(index: number, status: number, body: Buffer): void {
    const now = preciseNow();
    this.#endedAt = now;
    if (status === 200) {
      this.#answeredAt[index] = now;
      this.acknowledged += 1;
      return;
    }
    this.refused[status] = (this.refused[status] ?? 0) + 1;
    this.firstRefusal ??= `HTTP ${status} ${body.toString('utf8', 0, 300)}`;
  }

  result(): LoadResult {
    const { sent, acknowledged, refused, firstRefusal, startedAt } = this;
    const answeredAt = this.#answeredAt.slice(0, sent);
    return { answeredAt, sent, acknowledged, refused, firstRefusal, startedAt, endedAt: this.#endedAt };
  }
}

class Connection {
  readonly opened: Promise<void>;
  readonly #plan: LoadPlan;
  readonly #log: AnswerLog;
  readonly #socket: Socket;
  readonly #request: PublishRequest;
  #index = 0;
  #answered: PromiseWithResolvers<void> | undefined;
  #failure: Error | undefined;
  isOpen = true;

  constructor(plan: LoadPlan, log: AnswerLog) {
    this.#plan = plan;
    this.#log = log;
    this.#request = new PublishRequest(plan.run, plan.port, plan.apiKey);
    const reader = new MessageReader(({ head, body }) => {
      this.#log.note(this.#index, responseStatus(head), body);
      this.#answered?.resolve();
    });
    this.#socket = connect({
      host: '127.0.0.1',
      port: plan.port,
      noDelay: true,
      onread: {
        buffer: Buffer.allocUnsafe(READ_BUFFER_BYTES),
        callback: (length, buffer) => {
          try {
            reader.push((buffer as Buffer).subarray(0, length));
          } catch (error) {
            this.#socket.destroy(error as Error);
          }
          return true;
        },
      },
    });
    this.opened = once(this.#socket, 'connect').then(() => undefined);
    this.#socket.on('error', (error) => {
      this.#failure = error;
    });
    this.#socket.on('close', () => {
      this.isOpen = false;
      this.#answered?.reject(this.#failure ?? new Error('the system closed a connection during a request'));
    });
  }

  /** @throws Error when the connection breaks and the plan doesn't allow for it */
  async publishNext(): Promise<void> {
    this.#index = this.#log.takeNumber();
    const number = this.#plan.from + this.#index;
    this.#request.write(number % this.#plan.accounts, number);
    const answered = Promise.withResolvers<void>();
    this.#answered = answered;
    // The socket copies these bytes to the kernel or keeps them; they change only after the answer to them.
    this.#socket.write(this.#request.bytes);
    try {
      await answered.promise;
    } catch (error) {
      if (!this.#plan.mayDie) throw error;
    } finally {
      this.#answered = undefined;
    }
  }

  async publishUntil(endAt: number, atMost: number): Promise<void> {
    while (this.isOpen && this.#log.sent < atMost && preciseNow() < endAt) await this.publishNext();
  }

  close(): void {
    this.#answered = undefined;
    this.#socket.destroy();
  }
}

if (process.argv[2] === 'as-process') runLoad();
