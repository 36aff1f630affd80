/** Puts the parts of a service around its store: who is told of what, what is begun first, and what ends in which order. */
import { totalmem } from 'node:os';
import { join } from 'node:path';
import type { FastifyInstance } from 'fastify';
import type { Logger } from 'pino';
import { buildApp } from './api/app.ts';
import { AuditRetention } from './audit-retention.ts';
import { Catalogue } from './catalogue/index.ts';
import { ChangeWatch } from './change-watch.ts';
import { packageVersion } from './cli/version.ts';
import type { Clock } from './clock.ts';
import { type Config, encryptionKeyFile } from './config.ts';
import { formatDatabaseUrl } from './config-database.ts';
import { formatDuration } from './config-values.ts';
import { AllowList } from './delivery/allow-list.ts';
import { type AttemptReport, Dispatcher } from './delivery/dispatcher.ts';
import { Janitor } from './delivery/janitor.ts';
import { createRequester } from './delivery/request.ts';
import { withTestReceiver } from './delivery/test-receiver.ts';
import { makeFirstOperatorKey, openVault } from './first-start.ts';
import { KeyRotation } from './key-rotation.ts';
import { LiveEvents } from './live-events.ts';
import type { SealedEvent } from './model.ts';
import { Publisher } from './publish.ts';
import { endpointHeadersContext, endpointSecretContext, hashApiKey } from './secrets.ts';
import type { Notice } from './store/postgres/index.ts';
import type { CircuitPolicy, EndpointTurn, PublishResult, Store } from './store/store.ts';
import { createTelemetry } from './telemetry.ts';
import { createTracing, type Tracing } from './tracing.ts';

/** Requests still under way after it lose their connection. */
const REQUESTS_GRACE_MS = 2_500;
/** Attempts still under way after it are given up and made again by the next process. */
const ATTEMPTS_GRACE_MS = 5_000;
/** In days of UTC PostgreSQL drops its history as a whole; a part of one would be deleted row by row. */
const DAY_MS = 86_400_000;
/** SQLite has one writer, which a step of a purge holds up for as long as it takes: many small ones. */
const WRITER_PURGE_ROWS = 100;
const WRITER_PURGE_PAUSE_MS = 20;
/** Another node may have begun a replay. */
const REPLAY_POLL_MS = 1_000;
/**
 * A batch may wait for another's transaction that has published the same id: then others pass it. Batches that the
 * server works on follow each other, for each costs it a millisecond of CPU, however small (decision 0010).
 */
const SHARED_CONCURRENT_BATCHES = 4;
/** A batch that takes so long mostly waits, unless all do. */
const SHARED_JOIN_AFTER_MS = 10;
/** What the build makes of `packages/dashboard`: beside this file as it is published, or where a checkout has it. */
const PAGE_FOLDER = join(
  import.meta.dirname,
  import.meta.url.endsWith('.ts') ? '../dist/dashboard' : 'dashboard',
);
/** Where `posthorn.publish` finds the largest sealed body. */
const MAX_BODY_META = 'max_body_bytes';

/** Everything but the port: what {@link createService} listens with, and what the library puts into its host's server. */
export interface Parts {
  app: FastifyInstance;
  catalogue: Catalogue;
  publisher: Publisher;
  tracing: Tracing;
  /** See {@link Service.firstStart}. */
  operatorKey: string | null;
  /** Begins to deliver, where the role is to. From then on it is ready. */
  begin(): Promise<void>;
  /** Ends the streams of live events, which would otherwise hold up whoever waits for requests to end. */
  endListening(): void;
  /** See {@link Service.stop}. */
  end(): Promise<void>;
}

export interface PartsOptions {
  logger: Logger;
  clock: Clock;
  /** How the configuration calls a setting, for messages: `POSTHORN_ENCRYPTION_KEY`. */
  nameOf: (setting: { name: string }) => string;
  /** The store has ended by itself: nothing works any more. */
  onFatal: (error: Error) => void;
  /** Told of every attempt once the store has judged it. Must not throw. */
  onAttempt?: (report: AttemptReport) => void;
  /** Told of every event that this process was asked to store, when it is committed. Must not throw. */
  onPublished?: (event: SealedEvent, result: PublishResult) => void;
}

/**
 * Builds everything around an open store; nothing is dialled, and no port is opened.
 *
 * @param hearNotices gets what is to be told of other nodes' notices
 * @throws PosthornError when the encryption key is missing or isn't the one that the data was written with
 */
export async function wire(
  store: Store,
  config: Config,
  { logger, clock, nameOf, onAttempt, onPublished }: PartsOptions,
  hearNotices: (onNotice: (notice: Notice) => void) => void,
): Promise<Parts> {
  const { database } = config;
  const hasApi = config.role !== 'worker';
  const delivers = config.role !== 'api';
  const isShared = database.engine === 'postgres';
  const keyFile = database.engine === 'sqlite' ? encryptionKeyFile(database.path) : null;
  const keySettings = {
    setting: nameOf({ name: 'encryption_key' }),
    olderSetting: nameOf({ name: 'encryption_key_old' }),
  };
  const vault = await openVault(store, {
    key: config.encryptionKey,
    older: config.olderEncryptionKeys,
    file: keyFile,
    ...keySettings,
    database: database.engine === 'sqlite' ? database.path : formatDatabaseUrl(database),
  });
  const operatorKey = config.operatorKey === null ? await makeFirstOperatorKey(store, clock) : null;
  if (hasApi) await keepMaxBody(store, config.maxBodyBytes);
  const onError = (message: string, err: unknown): void => logger.error({ err }, message);
  const keyRotation = new KeyRotation({
    store,
    vault,
    clock,
    file: config.encryptionKey === null ? keyFile : null,
    isShared,
    ...keySettings,
    onProgress: (values) => logger.info({ values }, 'secrets were encrypted anew'),
    onRetired: (keyId) => logger.info({ key_id: keyId }, 'nothing is encrypted with this key any more'),
    onError,
  });
  const auditRetention = new AuditRetention({
    store,
    clock,
    retentionMs: config.auditRetentionMs,
    onError,
  });
  const catalogue = new Catalogue(store, clock);
  const watch = new ChangeWatch({
    store,
    clock,
    onEndpoint: (endpointId) => dispatcher.endpointChanged(endpointId),
    onCatalogue: () => catalogue.refresh(),
    onError,
  });
  // Before the catalogue is read: what is changed in between is then read once more.
  if (isShared) await watch.start();
  await catalogue.load();

  const version = packageVersion();
  const tracing = await createTracing(version);
  const allow = AllowList.of(config.allowPrivate);
  const requester = withTestReceiver(
    createRequester({
      policy: config.endpointPolicy,
      allow,
      proxy: config.egressProxy,
      captureBytes: config.responseCaptureBytes,
      clock,
    }),
    clock,
  );
  const telemetry = createTelemetry(
    {
      queueDepth: () => store.queueDepth(),
      endpointStates: () => store.countEndpointStates(),
      historyBytes: () => store.historyBytes(),
      schema: () => store.schema(),
      ping: () => store.ping(),
      dispatcherDepth: () => dispatcher.depth,
      connections: () => requester.connections,
    },
    { version, role: config.role, engine: database.engine },
    clock,
  );
  const dispatcher = new Dispatcher({
    store,
    requester,
    open: {
      secret: (endpointId, sealed) => vault.open(sealed, endpointSecretContext(endpointId)),
      headers: (endpointId, sealed) => JSON.parse(vault.open(sealed, endpointHeadersContext(endpointId))),
    },
    clock,
    userAgent: `Posthorn-Webhook/${version}`,
    settings: {
      retryScheduleMs: config.retryScheduleMs,
      timeoutMs: config.timeoutMs,
      laneLimit: config.laneLimit,
      inFlightLimit: config.inFlightLimit,
      sharedStore: isShared,
      sendsTraceparent: config.sendsTraceparent,
      circuit: circuitPolicy(config),
    },
    tracing,
    onAttempt: (report) => {
      telemetry.onAttempt(report);
      logAttempt(logger, report);
      onAttempt?.(report);
    },
    onEndpointTurn: (turn) => {
      telemetry.onEndpointTurn(turn);
      logEndpointTurn(logger, turn);
    },
    onStoreCall: (call) => telemetry.onStoreCall(call),
    onLeasesExpired: (count) => telemetry.onLeasesExpired(count),
    onError,
  });
  const janitor = new Janitor({
    store,
    clock,
    retentionMs: config.retentionMs,
    maxHistoryBytes: config.maxHistoryBytes,
    ...(isShared
      ? { purgeStepMs: DAY_MS, replayPollMs: REPLAY_POLL_MS }
      : { purgeRows: WRITER_PURGE_ROWS, purgePauseMs: WRITER_PURGE_PAUSE_MS }),
    laneLimit: config.laneLimit,
    onDue: () => dispatcher.wake(),
    onClockJump: (jumpMs) =>
      logger.warn(
        { jump_ms: Math.round(jumpMs) },
        "the machine's clock was set, or the machine slept: retries come earlier or later than planned",
      ),
    onError,
  });

  let isReady = false;
  let delivering = false;
  let stopping: Promise<void> | null = null;
  const live = new LiveEvents({
    store,
    clock,
    sharedStore: isShared,
    retentionMs: config.retentionMs,
  });
  const publisher = new Publisher({
    store,
    // Before the dispatcher runs nothing may be leased; its first claim finds what was published until then.
    offer: () => (delivering ? dispatcher.offer() : null),
    onClaimed: (claimed, askedAtMs) => {
      if (delivering) dispatcher.accept(claimed, askedAtMs);
    },
    onStored: (event, result) => {
      if (result.outcome === 'stored') live.accepted(event.username);
      onPublished?.(event, result);
    },
    ...(isShared
      ? { limits: { maxConcurrentBatches: SHARED_CONCURRENT_BATCHES, joinAfterMs: SHARED_JOIN_AFTER_MS } }
      : {}),
    onBatch: (info) => {
      telemetry.onBatch(info);
      logger.debug(
        {
          requests: info.requests,
          events: info.events,
          bytes: info.bytes,
          duration_ms: Math.round(info.durationMs),
          stored: info.stored,
        },
        'batch',
      );
    },
    clock,
  });

  const app = await buildApp({
    store,
    publisher,
    catalogue,
    vault,
    keyRotation,
    delivery: {
      wake: () => {
        dispatcher.wake();
        if (delivering) janitor.wakeReplays();
      },
      endpointChanged: (endpointId) => dispatcher.endpointChanged(endpointId),
    },
    live,
    tracing,
    clock,
    logger,
    version,
    role: config.role,
    operatorKeyHash: config.operatorKey === null ? null : hashApiKey(config.operatorKey),
    settings: {
      endpointPolicy: config.endpointPolicy,
      allow,
      maxEndpoints: config.maxEndpoints,
      maxBodyBytes: config.maxBodyBytes,
      maxRequestBytes: config.maxRequestBytes,
      maxMemoryBytes: config.maxMemoryBytes ?? memoryOfContainer(),
      rateLimitPostPerMinute: config.rateLimitPostPerMinute,
      trustProxy: config.trustProxy,
      publicUrl: config.publicUrl,
    },
    metrics: { contentType: telemetry.contentType, render: () => telemetry.render() },
    ready: async () => {
      if (stopping !== null) throw new Error('the service is stopping');
      if (!isReady) throw new Error('the service is starting');
    },
    surface: hasApi ? 'all' : 'health',
    pageFolder: PAGE_FOLDER,
    onRequestDone: (outcome) => telemetry.onRequestDone(outcome),
  });

  hearNotices((notice) => {
    if (notice.kind === 'due') dispatcher.wake();
    else if (notice.kind === 'endpoint') dispatcher.endpointChanged(notice.endpointId);
    else catalogue.refresh().catch((err: unknown) => onError('the catalogue could not be read again', err));
  });

  async function closeApp(): Promise<void> {
    const cut = clock.timer(REQUESTS_GRACE_MS, () => app.server.closeAllConnections());
    try {
      await app.close();
    } finally {
      cut();
    }
  }

  async function stopInOrder(): Promise<void> {
    const steps: [what: string, end: () => unknown][] = [
      ['the HTTP server', closeApp],
      ['publishing', () => publisher.stop()],
      ['the look at other nodes', () => watch.stop()],
      ['delivery', () => dispatcher.stop(ATTEMPTS_GRACE_MS)],
      ['housekeeping', () => janitor.stop()],
      ['the rotation of the encryption key', () => keyRotation.stop()],
      ['the retention of the audit log', () => auditRetention.stop()],
      ['connections to endpoints', () => requester.close()],
      ['metrics', () => telemetry.stop()],
      ['the database', () => store.close()],
    ];
    const failures: unknown[] = [];
    for (const [what, end] of steps) {
      try {
        await end();
      } catch (err) {
        // One part that fails to end must not keep the database from being closed.
        logger.error({ err }, `${what} did not end in order`);
        failures.push(err);
      }
    }
    if (failures.length > 0) throw failures[0];
  }

  // Before it delivers, too: the other nodes wait for what each one tells of its keys.
  keyRotation.start();
  return {
    app,
    catalogue,
    publisher,
    tracing,
    operatorKey,

    async begin() {
      if (delivers) {
        const freed = await store.recover();
        if (freed > 0) logger.info({ deliveries: freed }, 'recovered what a former process had in flight');
        if (stopping !== null) return;
        delivering = true;
        dispatcher.start();
        janitor.start();
        auditRetention.start();
      }
      isReady = true;
    },

    endListening: () => live.close(),

    end() {
      stopping ??= stopInOrder();
      return stopping;
    },
  };
}

/** Nine tenths of what a container gives the process; null outside of one. */
function memoryOfContainer(): number | null {
  const limit = process.constrainedMemory();
  return limit > 0 && limit < totalmem() ? Math.floor(limit * 0.9) : null;
}

/** What publishes by SQL is held to the API's limit; without need nothing is written. */
async function keepMaxBody(store: Store, maxBodyBytes: number): Promise<void> {
  const value = String(maxBodyBytes);
  if ((await store.getMeta(MAX_BODY_META)) !== value) await store.setMeta(MAX_BODY_META, value);
}

function circuitPolicy(config: Config): CircuitPolicy {
  const { disableAfterMs } = config;
  return {
    probeAfter: config.probeAfter,
    pausesMs: config.probePausesMs,
    disableAfterMs,
    disableReason: `no attempt has succeeded for ${disableAfterMs === null ? 'long' : formatDuration(disableAfterMs)}`,
    operationsUsername: config.operationsUsername,
  };
}

/** What happens to an endpoint is for its owner to mend; that it is disabled, for the operator to know. */
function logEndpointTurn(logger: Logger, { username, endpointId, to, reason }: EndpointTurn): void {
  const line = { username, endpoint_id: endpointId, to, reason };
  if (to === 'open') logger.info(line, 'endpoint');
  else logger.warn(line, 'endpoint');
}

/** One line for each attempt, with what finds it again and without what was sent. */
function logAttempt(logger: Logger, report: AttemptReport): void {
  const { attempt } = report;
  logger.info(
    {
      username: report.username,
      event_id: report.eventId,
      event: report.event,
      delivery_id: report.deliveryId,
      endpoint_id: report.endpointId,
      attempt: attempt.number,
      manual: attempt.manual,
      outcome: attempt.outcome,
      status: attempt.httpStatus,
      duration_ms: Math.round(attempt.durationMs),
      error: attempt.error,
      next: report.next,
      next_attempt_at: report.nextAttemptAt,
      ...(report.traceId === null ? null : { trace_id: report.traceId }),
    },
    'attempt',
  );
}
