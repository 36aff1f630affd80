/** The load generator and the receiver of a run, and what one system does between them. */
import { randomBytes } from 'node:crypto';
import { writeFile } from 'node:fs/promises';
import { join } from 'node:path';
import { makeFleet, type RunName } from './events.ts';
import type { LoadOrder, LoadPlan, LoadResult } from './load.ts';
import type { Behaviour, ReceiverOrder, ReceiverReport } from './receiver.ts';
import type { RunSite } from './site.ts';
import type { Fleet, Running, System } from './system.ts';
import { checkArrivals, type Segment, type Verdict } from './verdict.ts';
import { Orders } from './wire.ts';

/** Connections over which events are published (issue 4). */
export const CONNECTIONS = 50;

const LOAD = join(import.meta.dirname, 'load.ts');
const RECEIVER = join(import.meta.dirname, 'receiver.ts');

/** What all systems of a run share. */
export class Stand {
  readonly site: RunSite;
  readonly receiver: Orders<ReceiverOrder>;
  readonly load: Orders<LoadOrder>;
  readonly receiverPort: number;

  private constructor(site: RunSite, receiver: Orders<ReceiverOrder>, load: Orders<LoadOrder>, port: number) {
    this.site = site;
    this.receiver = receiver;
    this.load = load;
    this.receiverPort = port;
  }

  /** Starts both processes. */
  static async open(site: RunSite): Promise<Stand> {
    const options = {
      stdio: ['ignore' as const, 'inherit' as const, 'inherit' as const, 'ipc' as const],
      serialization: 'advanced' as const,
    };
    const receiver = new Orders<ReceiverOrder>(
      'the receiver',
      site.spawn('receiver', RECEIVER, ['as-process'], options),
    );
    const load = new Orders<LoadOrder>(
      'the load generator',
      site.spawn('load', LOAD, ['as-process'], options),
    );
    return new Stand(site, receiver, load, await receiver.ask<number>({ do: 'listen' }));
  }
}

/** One system with one fleet, from an empty database to its removal. */
export class Session {
  readonly stand: Stand;
  readonly system: System;
  readonly fleet: Fleet;
  readonly accounts: number;
  readonly endpointsEach: number;
  readonly run: RunName;
  readonly #segments: Segment[] = [];
  #published = 0;
  #acknowledged = 0;

  private constructor(stand: Stand, system: System, fleet: Fleet, endpointsEach: number) {
    this.stand = stand;
    this.system = system;
    this.fleet = fleet;
    this.accounts = fleet.accounts.length;
    this.endpointsEach = endpointsEach;
    this.run = randomBytes(3).toString('hex');
  }

  /** Sets the system up, uses it, and removes what it left, whatever happens. */
  static async with<T>(
    stand: Stand,
    system: System,
    size: { accounts: number; endpointsEach: number },
    use: (session: Session) => Promise<T>,
  ): Promise<T> {
    const fleet = makeFleet(size.accounts, size.endpointsEach, stand.receiverPort);
    await writeFile(stand.site.fleetFile, JSON.stringify(fleet), { mode: 0o600 });
    try {
      await system.setUp(stand.site, fleet);
      const session = new Session(stand, system, fleet, size.endpointsEach);
      const secrets = fleet.accounts.flatMap(({ endpoints }) => endpoints.map(({ secret }) => secret));
      const expectation = { run: session.run, ...size, secrets };
      await stand.receiver.ask({ do: 'expect', expectation });
      return await use(session);
    } finally {
      await system.tearDown();
    }
  }

  /** Pairs of event and endpoint that were acknowledged so far. */
  get deliveriesDue(): number {
    return this.#acknowledged * this.endpointsEach;
  }

  /** Number of the next event. */
  get nextNumber(): number {
    return this.#published;
  }

  /**
   * Publishes.
   *
   * @throws Error when the system refuses any of it, unless it may die under way
   */
  async publish(
    running: Running,
    pace: LoadPlan['pace'],
    mayDie = false,
  ): Promise<LoadResult & { from: number }> {
    if (running.port === null) throw new Error(`${this.system.name} accepts nothing`);
    const from = this.#published;
    const plan: LoadPlan = {
      port: running.port,
      apiKey: running.apiKey,
      run: this.run,
      from,
      accounts: this.accounts,
      connections: CONNECTIONS,
      pace,
      mayDie,
    };
    const result = await this.stand.load.ask<LoadResult>({ do: 'load', plan });
    this.note(result);
    if (!mayDie && result.acknowledged < result.sent) {
      throw new Error(
        `${this.system.name} refused ${result.sent - result.acknowledged} of ${result.sent} events: ${result.firstRefusal}`,
      );
    }
    return { ...result, from };
  }

  /** Counts events that came to the system in another way as acknowledged. */
  note({ answeredAt, sent, acknowledged }: Pick<LoadResult, 'answeredAt' | 'sent' | 'acknowledged'>): void {
    this.#segments.push({ from: this.#published, answeredAt });
    this.#published += sent;
    this.#acknowledged += acknowledged;
  }

  /** Waits until so many deliveries have arrived; answers how many had when it ended. */
  arrivals(count: number, patienceMs: number): Promise<number> {
    return this.stand.receiver.ask({ do: 'await', arrivals: count, patienceMs });
  }

  /** Waits until all that was acknowledged has arrived, or the patience ends. */
  async allArrived(patienceMs: number): Promise<boolean> {
    return (await this.arrivals(this.deliveriesDue, patienceMs)) >= this.deliveriesDue;
  }

  /**
   * As {@link allArrived} where the system was killed under load: then also events arrive that were never
   * acknowledged, so counting isn't enough.
   */
  async allAcknowledgedArrived(patienceMs: number): Promise<boolean> {
    const endAt = performance.now() + patienceMs;
    let isComplete = await this.allArrived(patienceMs);
    while (isComplete && (await this.check()).missing > 0) {
      const arrived = await this.arrivals(0, 0);
      await this.arrivals(arrived + 1, Math.min(200, endAt - performance.now()));
      isComplete = performance.now() < endAt;
    }
    return isComplete;
  }

  async behave(endpoints: number[], behaviour: Behaviour): Promise<void> {
    await this.stand.receiver.ask({ do: 'behave', endpoints, behaviour });
  }

  report(): Promise<ReceiverReport> {
    return this.stand.receiver.ask({ do: 'report' });
  }

  /** Compares what arrived with what was acknowledged. */
  async check(): Promise<Verdict> {
    return checkArrivals(this.#segments, this.endpointsEach, await this.report());
  }
}
