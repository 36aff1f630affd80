/** Wires the parts to a running service, starts them and stops them in order. The only room that sees the configuration. */
import { open, readFile, rename } from 'node:fs/promises';
import type { AddressInfo } from 'node:net';
import type { Logger } from 'pino';
import { buildApp } from './api/app.ts';
import { Catalogue } from './catalogue/index.ts';
import { packageVersion } from './cli/version.ts';
import { type Clock, idFactory, systemClock } from './clock.ts';
import { type Config, dataFolder, encryptionKeyFile } from './config.ts';
import { formatListen } from './config-values.ts';
import { type AttemptReport, Dispatcher } from './delivery/dispatcher.ts';
import { Janitor } from './delivery/janitor.ts';
import { createRequester } from './delivery/request.ts';
import { PosthornError } from './errors.ts';
import { Publisher } from './publish.ts';
import {
  createApiKey,
  createEncryptionKey,
  endpointHeadersContext,
  endpointSecretContext,
  hashApiKey,
  keyPrefix,
  parseEncryptionKey,
  Vault,
} from './secrets.ts';
import { openSqliteStore } from './store/sqlite/index.ts';
import type { Store } from './store/store.ts';
import { createTelemetry } from './telemetry.ts';

export interface Service {
  firstStart: {
    /** The operator's API key when this process has made it: show it now, only its hash is kept. */
    operatorKey: string | null;
  };
  /** Opens the port, then begins to deliver. Rejects when the address can't be had; {@link Service.stop} is due then too. */
  start(): Promise<{ url: string }>;
  /**
   * Answers the requests in flight, stores what they accepted, lets attempts end, closes the database: within 10 s. What
   * an attempt didn't bring to an end is delivered after the next start. Calling it again waits for the same end.
   */
  stop(): Promise<void>;
}

export interface ServiceOptions {
  logger: Logger;
  clock?: Clock;
}

/** Requests still under way after it lose their connection. */
const REQUESTS_GRACE_MS = 2_500;
/** Attempts still under way after it are given up and made again by the next process. */
const ATTEMPTS_GRACE_MS = 5_000;
const FIRST_OPERATOR_KEY_NAME = 'first operator key';

/**
 * Opens the database (no other process may have it open) and builds everything around it; nothing is dialled and no port
 * is opened before {@link Service.start}.
 *
 * @throws PosthornError when the database is in use or can't be opened, and when the encryption key is missing or
 *   isn't the one that the data was written with
 *
 * @example
 * const service = await createService(loadConfig({ env: process.env }), { logger: pino() });
 * const { url } = await service.start();
 * await service.stop();
 */
export async function createService(
  config: Config,
  { logger, clock = systemClock }: ServiceOptions,
): Promise<Service> {
  const store = await openSqliteStore({
    path: config.databasePath,
    clock,
    // Whoever runs the process notices: `serve` logs it and ends, and the next start recovers.
    onFatal: (error) => {
      process.nextTick(() => {
        throw error;
      });
    },
  });
  try {
    return await wire(store, config, logger, clock);
  } catch (error) {
    await store.close().catch((err: unknown) => logger.error({ err }, 'the database did not close'));
    throw error;
  }
}

async function wire(store: Store, config: Config, logger: Logger, clock: Clock): Promise<Service> {
  const vault = new Vault(await readEncryptionKey(store, config));
  await checkEncryptionKey(store, vault, config);
  const operatorKey = config.operatorKey === null ? await makeFirstOperatorKey(store, clock) : null;
  const catalogue = new Catalogue(store);
  await catalogue.load();

  const version = packageVersion();
  const requester = createRequester({
    policy: config.endpointPolicy,
    captureBytes: config.responseCaptureBytes,
    clock,
  });
  const telemetry = createTelemetry({
    queueDepth: () => store.queueDepth(),
    dispatcherDepth: () => dispatcher.depth,
    connections: () => requester.connections,
  });
  const onError = (message: string, err: unknown): void => logger.error({ err }, message);
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
    },
    onAttempt: (report) => {
      telemetry.onAttempt(report);
      logAttempt(logger, report);
    },
    onError,
  });
  const janitor = new Janitor({
    store,
    clock,
    retentionMs: config.retentionMs,
    laneLimit: config.laneLimit,
    onDue: () => dispatcher.wake(),
    onClockJump: (jumpMs) =>
      logger.warn(
        { jump_ms: Math.round(jumpMs) },
        "the machine's clock was set, or the machine slept: retries come earlier or later than planned",
      ),
    onError,
  });

  let delivering = false;
  let stopping: Promise<void> | null = null;
  const publisher = new Publisher({
    store,
    // Before the dispatcher runs nothing may be leased; its first claim finds what was published until then.
    offer: () => (delivering ? dispatcher.offer() : null),
    onClaimed: (claimed) => {
      if (delivering) dispatcher.accept(claimed);
    },
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
    delivery: {
      wake: () => {
        dispatcher.wake();
        if (delivering) janitor.wakeReplays();
      },
      endpointChanged: (endpointId) => dispatcher.endpointChanged(endpointId),
    },
    clock,
    logger,
    version,
    operatorKeyHash: config.operatorKey === null ? null : hashApiKey(config.operatorKey),
    settings: {
      endpointPolicy: config.endpointPolicy,
      maxEndpoints: config.maxEndpoints,
      maxBodyBytes: config.maxBodyBytes,
      maxRequestBytes: config.maxRequestBytes,
      rateLimitPostPerMinute: config.rateLimitPostPerMinute,
      trustProxy: config.trustProxy,
    },
    metrics: { contentType: telemetry.contentType, render: () => telemetry.render() },
    ready: async () => {
      if (stopping !== null) throw new Error('the service is stopping');
      if (!delivering) throw new Error('the service is starting');
    },
    onRequestDone: (outcome) => telemetry.onRequestDone(outcome),
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
      ['delivery', () => dispatcher.stop(ATTEMPTS_GRACE_MS)],
      ['housekeeping', () => janitor.stop()],
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

  return {
    firstStart: { operatorKey },

    async start() {
      const freed = await store.recover();
      if (freed > 0) logger.info({ deliveries: freed }, 'recovered what a former process had in flight');
      await app.listen({ host: config.listen.host, port: config.listen.port });
      delivering = true;
      dispatcher.start();
      janitor.start();
      const { port } = app.server.address() as AddressInfo;
      const url = `http://${formatListen({ host: config.listen.host, port })}`;
      logger.info({ url }, 'listening');
      return { url };
    },

    stop() {
      stopping ??= stopInOrder();
      return stopping;
    },
  };
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
    },
    'attempt',
  );
}

// ---------------------------------------------------------------- keys

const ENCRYPTION_KEY_META = 'encryption_key_id';

/** The key of the configuration, or of the file beside the database, which the first start makes. */
async function readEncryptionKey(store: Store, config: Config): Promise<Buffer> {
  if (config.encryptionKey !== null) return parseEncryptionKey(config.encryptionKey);
  const file = encryptionKeyFile(config);
  let text: string;
  try {
    text = await readFile(file, 'utf8');
  } catch (error) {
    if ((error as NodeJS.ErrnoException).code !== 'ENOENT') throw error;
    const expected = await store.getMeta(ENCRYPTION_KEY_META);
    if (expected !== null) {
      throw new PosthornError(
        'invalid_parameter',
        `The encryption key ${expected} is missing, with which the data in ${config.databasePath} was written: restore ` +
          `${file} from your backup, or set POSTHORN_ENCRYPTION_KEY to that key.`,
        { field: 'encryption_key' },
      );
    }
    text = createEncryptionKey();
    await writeKeyFile(file, text, dataFolder(config));
  }
  try {
    return parseEncryptionKey(text);
  } catch (cause) {
    throw new PosthornError(
      'invalid_parameter',
      `${file} doesn't hold an encryption key (base64 of exactly 32 bytes): restore it from your backup.`,
      { field: 'encryption_key', cause },
    );
  }
}

/** Readable by this user alone, and on disk before anything is encrypted with it. */
async function writeKeyFile(file: string, key: string, folder: string): Promise<void> {
  // Renamed when it is whole: a crash in between would leave half a key that no later start replaces.
  const unfinished = `${file}.new`;
  const handle = await open(unfinished, 'w', 0o600);
  try {
    await handle.chmod(0o600);
    await handle.writeFile(`${key}\n`);
    await handle.sync();
  } finally {
    await handle.close();
  }
  await rename(unfinished, file);
  // Windows can't open folders, and needs no such sync.
  if (process.platform === 'win32') return;
  const parent = await open(folder, 'r');
  try {
    await parent.sync();
  } finally {
    await parent.close();
  }
}

/** A wrong key would show only at the first delivery, when events have been accepted already. */
async function checkEncryptionKey(store: Store, vault: Vault, config: Config): Promise<void> {
  const expected = await store.initMeta(ENCRYPTION_KEY_META, vault.keyId);
  if (expected === vault.keyId) return;
  const source =
    config.encryptionKey === null ? encryptionKeyFile(config) : 'the configuration (POSTHORN_ENCRYPTION_KEY)';
  throw new PosthornError(
    'invalid_parameter',
    `The data in ${config.databasePath} was written with encryption key ${expected}, but ${source} has key ` +
      `${vault.keyId}: give the key that belongs to the data.`,
    { field: 'encryption_key' },
  );
}

/** The key by which everything else is set up, unless a key of that level is there already. */
async function makeFirstOperatorKey(store: Store, clock: Clock): Promise<string | null> {
  const now = clock.now();
  const usable = (await store.listKeys(null)).some(
    (key) =>
      key.scopes.includes('operator') &&
      key.revokedAt === null &&
      (key.expiresAt === null || key.expiresAt > now),
  );
  if (usable) return null;
  const key = createApiKey();
  await store.createKey({
    keyId: idFactory()('key', now),
    username: null,
    name: FIRST_OPERATOR_KEY_NAME,
    scopes: ['operator'],
    prefix: keyPrefix(key),
    expiresAt: null,
    hash: hashApiKey(key),
  });
  return key;
}
