/** The service inside a Node application: publishing, delivery and the API, without a port or a process of its own. */
import { type Logger, pino } from 'pino';
import { type Embedded, embed, type PosthornHandler } from './api/embed.ts';
import { attempt, published, typesOf } from './api/publish.ts';
import { withDeprecation } from './catalogue/index.ts';
import { type Clock, idFactory, systemClock } from './clock.ts';
import { type Config, loadOptions, optionName } from './config.ts';
import type { AttemptReport } from './delivery/dispatcher.ts';
import { invalid, PosthornError } from './errors.ts';
import { Listeners } from './listeners.ts';
import type { JsonObject, SealedEvent } from './model.ts';
import { nearestName } from './nearest.ts';
import type { Parts } from './parts.ts';
import { sealEvent } from './publish.ts';
import { publishBySql, type SqlClient } from './publish-by-sql.ts';
import { createParts } from './service.ts';
import type { PublishResult } from './store/store.ts';
import type { PublishTrace } from './tracing.ts';

export type { PosthornHandler, SqlClient };

/**
 * The settings of `posthorn serve` under camel-case names, in the same notations; see the README's table for what they
 * mean and their defaults. Nothing is read from the environment.
 */
export interface PosthornOptions {
  /** `postgres://user:password@host:5432/database`, or `sqlite:<path>`. */
  database: string;
  /** Connections to PostgreSQL at most, beside one that listens. */
  databasePool?: number;
  role?: Config['role'];
  operatorKey?: string;
  /** Base64 of 32 bytes. Required with PostgreSQL; on SQLite made at the first start, beside the file. */
  encryptionKey?: string;
  /** Keys that values may still be encrypted with, from before a rotation. */
  encryptionKeyOld?: string | readonly string[];
  endpointPolicy?: Config['endpointPolicy'];
  /** `http://user:password@proxy.example:3128` or `socks5://proxy.example:1080` */
  egressProxy?: string;
  /** Of your own networks: `10.20.0.0/16,billing.internal` or `['10.20.0.0/16', '*.hooks.internal']`. */
  allowPrivate?: string | readonly string[];
  /** `5s,5m,30m`, `['5s', '5m']`, `jogg-v1` or `off`. */
  retrySchedule?: string | readonly string[];
  /** `5s` */
  timeout?: string;
  probeAfter?: number;
  /** `10s,30s,1m,2m,5m`, or a list of them. */
  probePauses?: string | readonly string[];
  /** `5d` or `off`. */
  disableAfter?: string;
  /** An account's name, or `off`. */
  operationsAccount?: string;
  /** `30d` */
  retention?: string;
  /** `20GiB`, bytes, or `off`. */
  maxHistory?: string | number;
  /** `400d` */
  auditRetention?: string;
  /** `20/m` or `off`. */
  rateLimitPost?: string;
  maxEndpoints?: number;
  /** `256KiB`, or bytes. */
  maxBody?: string | number;
  /** `5MiB`, or bytes. */
  maxRequest?: string | number;
  /** `1GiB`, bytes, or `auto`. */
  maxMemory?: string | number;
  laneLimit?: number;
  inFlight?: number;
  /** `on` or `off`. */
  sendTraceparent?: 'on' | 'off';
  /** `64KiB`, or bytes. */
  responseCapture?: string | number;
  /** The address that customers have of the service, for links into their portal: with the prefix of the handler. */
  publicUrl?: string;
  /** `off`, a number of proxies, or their addresses. */
  trustProxy?: string | number | readonly string[];
  /** Of `pino`. Without one nothing is logged. */
  logger?: Logger;
}

/** Event types with the `data` of each; any, unless the application names its own. */
type AnyEvents = Record<string, object>;
type EventTypes<Types> = { [Name in keyof Types]: object };

/** What is published: one of the event types with its `data`. */
export type PosthornEvent<Types extends EventTypes<Types> = AnyEvents> = {
  [Name in keyof Types & string]: {
    /** The account that it is for. */
    username: string;
    event: Name;
    data: Types[Name];
    /** Makes publishing idempotent: the same id again with the same content changes nothing. Made when absent. */
    eventId?: string;
    /** Whole unix seconds. Default: now. Not possible with a client. */
    timestamp?: number;
  };
}[keyof Types & string];

export interface Published {
  eventId: string;
  /** To how many endpoints it goes; 0: the event log says why. */
  deliveries: number;
  /** It had been published before. */
  duplicate: boolean;
  /** The event type is deprecated. */
  deprecated?: true;
}

/** An event of a list that was refused. The others stand. */
export interface Refused {
  error: PosthornError;
}

/** Known before the commit: whom it goes to is decided then. */
export type PublishedInTransaction = Pick<Published, 'eventId'>;

/** What {@link Posthorn.on} tells, of this process. */
export interface PosthornEvents {
  /** An attempt was made, and what it led to is stored. */
  attempt: AttemptReport;
  /** The attempt that ended a delivery with success. */
  delivered: AttemptReport;
  /** The attempt after which a delivery is tried no more. */
  dead: AttemptReport;
  /** An event was stored, by {@link Posthorn.publish} without a client or over HTTP. */
  published: { username: string; eventId: string; event: string; deliveries: number };
}

export interface Posthorn<Types extends EventTypes<Types> = AnyEvents> {
  readonly firstStart: {
    /** The operator's API key when this call of {@link createPosthorn} has made it: keep it, only its hash is stored. */
    operatorKey: string | null;
  };
  /** The HTTP API for the application's own server. */
  readonly handler: PosthornHandler;

  /** Begins to deliver and to keep house, where the role is to. Publishing and the API work without it. */
  start(): Promise<void>;
  /**
   * Answers what is under way, stores what was accepted, lets attempts end and closes the database: within 10 s. What
   * an attempt didn't bring to an end is delivered by another node, or after the next start. Once more waits for the
   * same end.
   */
  stop(): Promise<void>;

  /**
   * Publishes one event: durable when it resolves, together with what is published at the same moment.
   *
   * With a client it is published by that client's connection, in the transaction that is open there: rolled back with
   * it, delivered within milliseconds after its commit. (Given a pool, it is a transaction of its own.)
   *
   * @throws PosthornError `invalid_parameter`, `too_large`, `not_found` (no such account), `conflict` (the id is taken by
   *   an event with other content), `unavailable` (nothing was stored: try again). Type and schema are checked before
   *   the database is asked; but what the database refuses ends the client's transaction.
   *
   * @example
   * await posthorn.publish({ username: 'alice', event: 'order.paid', data: { orderId: 'o-17' } }, { client });
   */
  publish(event: PosthornEvent<Types>, options?: { client?: undefined }): Promise<Published>;
  /** Each event of a list stands alone; one answer each, in order. */
  publish(
    events: readonly PosthornEvent<Types>[],
    options?: { client?: undefined },
  ): Promise<(Published | Refused)[]>;
  publish(event: PosthornEvent<Types>, options: { client: SqlClient }): Promise<PublishedInTransaction>;
  /** With a client all events of a list are published or none. */
  publish(
    events: readonly PosthornEvent<Types>[],
    options: { client: SqlClient },
  ): Promise<PublishedInTransaction[]>;

  /** Calls `listener` from now on; the answer ends that. What it throws is logged and harms nothing. */
  on<Name extends keyof PosthornEvents>(
    name: Name,
    listener: (event: PosthornEvents[Name]) => unknown,
  ): () => void;
  off<Name extends keyof PosthornEvents>(
    name: Name,
    listener: (event: PosthornEvents[Name]) => unknown,
  ): void;
}

/** Requests still under way after it are left to the host's server. */
const REQUESTS_GRACE_MS = 2_500;
const EVENT_FIELDS = ['username', 'event', 'data', 'eventId', 'timestamp'];

/**
 * Opens the database, brings its schema up to date and builds the service around it. It opens no port, prints nothing
 * and handles no signal: call {@link Posthorn.stop} before the process ends.
 *
 * @throws {ConfigError} with every mistake of the options; PosthornError when the database can't be used
 *
 * @example
 * interface Events {
 *   'order.paid': { orderId: string };
 * }
 * const posthorn = await createPosthorn<Events>({ database: process.env.DATABASE_URL, encryptionKey });
 * await posthorn.start();
 * await posthorn.publish({ username: 'alice', event: 'order.paid', data: { orderId: 'o-17' } });
 */
export async function createPosthorn<Types extends EventTypes<Types> = AnyEvents>(
  options: PosthornOptions,
): Promise<Posthorn<Types>> {
  const { logger = pino({ level: 'silent' }, { write() {} }), ...settings } = options;
  const config = loadOptions(settings);
  const clock = systemClock;
  const onError = (message: string, err: unknown): void => logger.error({ err }, message);
  const listeners = new Listeners<PosthornEvents>(onError);
  const parts = await createParts(config, {
    logger,
    clock,
    nameOf: optionName,
    onFatal: (err) => logger.fatal({ err }, 'the store has ended by itself; create Posthorn anew'),
    onAttempt: (report) => {
      listeners.emit('attempt', report);
      if (report.next === 'delivered' || report.next === 'dead') listeners.emit(report.next, report);
    },
    onPublished: ({ username, event }, result) => {
      if (result.outcome !== 'stored') return;
      const { eventId, deliveries } = result;
      listeners.emit('published', { username, eventId, event, deliveries });
    },
  });
  const { app, operatorKey, begin, endListening, end } = parts;
  const makeId = idFactory();
  let embedded: Embedded;
  try {
    await app.ready();
    embedded = embed({ app, clock, logger, makeRid: () => makeId('req', clock.now()) });
  } catch (error) {
    await end();
    throw error;
  }
  const publisher = new LibraryPublisher(config, parts, clock);
  let stopping: Promise<void> | null = null;

  return {
    firstStart: { operatorKey },
    handler: embedded.handler,
    start: begin,
    stop() {
      if (stopping === null) {
        endListening();
        stopping = embedded.drain(REQUESTS_GRACE_MS).then(end);
      }
      return stopping;
    },
    publish: ((events: PosthornEvent | readonly PosthornEvent[], { client }: { client?: SqlClient } = {}) =>
      client === undefined ? publisher.publish(events) : publisher.publishIn(client, events)) as never,
    on: (name, listener) => listeners.on(name, listener),
    off: (name, listener) => listeners.off(name, listener),
  };
}

type Given = PosthornEvent | readonly PosthornEvent[];

/** Checks and seals as the API does, and hands over to the database. */
class LibraryPublisher {
  readonly #config: Config;
  readonly #parts: Pick<Parts, 'catalogue' | 'publisher' | 'tracing'>;
  readonly #clock: Clock;
  readonly #makeId = idFactory();

  constructor(config: Config, parts: Pick<Parts, 'catalogue' | 'publisher' | 'tracing'>, clock: Clock) {
    this.#config = config;
    this.#parts = parts;
    this.#clock = clock;
  }

  async publish(given: Given): Promise<Published | (Published | Refused)[]> {
    const { catalogue } = this.#parts;
    const isList = Array.isArray(given);
    const events = (isList ? given : [given]) as PosthornEvent[];
    await catalogue.lookFor(typesOf(events));
    const sealed = events.map((event) => attempt(() => this.#seal(event)));
    if (!isList && sealed[0] instanceof PosthornError) throw sealed[0];
    const good = sealed.filter((event): event is SealedEvent => !(event instanceof PosthornError));
    const stored = await this.#store(good);
    let next = 0;
    const answers = sealed.map((event) =>
      event instanceof PosthornError
        ? event
        : attempt(() => this.#published(event.event, stored[next++] as PublishResult)),
    );
    if (isList)
      return answers.map((answer) => (answer instanceof PosthornError ? { error: answer } : answer));
    const [answer] = answers as [Published | PosthornError];
    if (answer instanceof PosthornError) throw answer;
    return answer;
  }

  #store(events: readonly SealedEvent[]): Promise<PublishResult[]> {
    const { publisher, tracing } = this.#parts;
    const [first] = events;
    const trace: PublishTrace = { context: null };
    return tracing.publish(
      trace,
      () =>
        publisher.publish(
          trace.context === null
            ? events
            : events.map((event) => ({ ...event, trace: trace.context as string })),
        ),
      () => ({
        events: events.length,
        eventId: events.length === 1 && first !== undefined ? first.eventId : null,
        event: events.length === 1 && first !== undefined ? first.event : null,
      }),
    );
  }

  async publishIn(
    client: SqlClient,
    given: Given,
  ): Promise<PublishedInTransaction | PublishedInTransaction[]> {
    if (this.#config.database.engine !== 'postgres') {
      throw invalid(
        'client',
        'client needs Posthorn on PostgreSQL, in the database that the client is connected to',
      );
    }
    const isList = Array.isArray(given);
    const events = (isList ? given : [given]) as PosthornEvent[];
    await this.#parts.catalogue.lookFor(typesOf(events));
    // Before the database is asked: what it refuses ends the caller's transaction.
    for (const event of events) {
      this.#seal(event);
      if (event.timestamp !== undefined) {
        throw invalid(
          'timestamp',
          'timestamp is not possible with a client: the event gets the time of publishing',
        );
      }
    }
    const ids = await publishBySql(
      client,
      events.map(({ username, event, data, eventId = null }) => ({
        username,
        event,
        data: data as JsonObject,
        eventId,
      })),
      this.#parts.tracing.active(),
    );
    const answers = ids.map((eventId) => ({ eventId }));
    return isList ? answers : (answers[0] as PublishedInTransaction);
  }

  #seal(given: PosthornEvent): SealedEvent {
    if (typeof given !== 'object' || given === null) throw invalid('event', 'an event must be an object');
    const unknown = Object.keys(given).find((name) => !EVENT_FIELDS.includes(name));
    if (unknown !== undefined) {
      const nearest = nearestName(unknown, EVENT_FIELDS);
      throw invalid(
        unknown,
        `${unknown} is no field of an event; ${nearest === null ? `there are ${EVENT_FIELDS.join(', ')}` : `did you mean ${nearest}?`}`,
      );
    }
    const { username, event, data, eventId, timestamp } = given;
    if (typeof username !== 'string') throw invalid('username', 'username must be a text');
    if (typeof event !== 'string') throw invalid('event', 'event must be a text');
    this.#parts.catalogue.validateData(event, data);
    return sealEvent(
      {
        username,
        event,
        data: data as JsonObject,
        ...(eventId === undefined ? {} : { event_id: eventId }),
        ...(timestamp === undefined ? {} : { timestamp }),
      },
      { nowMs: this.#clock.now(), makeId: this.#makeId, maxBodyBytes: this.#config.maxBodyBytes },
    );
  }

  #published(event: string, result: PublishResult): Published {
    const { event_id: eventId, ...rest } = withDeprecation(
      published(result),
      this.#parts.catalogue.get(event),
    );
    return { eventId, ...rest };
  }
}
