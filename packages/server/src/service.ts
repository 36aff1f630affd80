/** A running service: opens its store, loads the rest of the code meanwhile, and listens. */
import type { AddressInfo } from 'node:net';
import type { Logger } from 'pino';
import { type Clock, systemClock } from './clock.ts';
import { type Config, variableName } from './config.ts';
import { formatListen } from './config-values.ts';
import type { Parts, PartsOptions } from './parts.ts';
import type { Notice } from './store/postgres/index.ts';
import type { Store } from './store/store.ts';

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

/**
 * Opens the database and builds everything around it; nothing is dialled and no port is opened before
 * {@link Service.start}.
 *
 * @throws PosthornError when the database can't be opened (an SQLite file that another process has open, a PostgreSQL
 *   that can't be reached), and when the encryption key is missing or isn't the one that the data was written with
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
  const { app, operatorKey, begin, end } = await createParts(config, {
    logger,
    clock,
    nameOf: variableName,
    // Whoever runs the process notices: `serve` logs it and ends, and the next start recovers.
    onFatal: (error) => {
      process.nextTick(() => {
        throw error;
      });
    },
  });
  return {
    firstStart: { operatorKey },

    async start() {
      await app.listen({ host: config.listen.host, port: config.listen.port });
      await begin();
      const { port } = app.server.address() as AddressInfo;
      const url = `http://${formatListen({ host: config.listen.host, port })}`;
      logger.info({ url, role: config.role }, 'listening');
      return { url };
    },

    stop: end,
  };
}

/** @throws PosthornError as {@link createService} does. */
export async function createParts(config: Config, options: PartsOptions): Promise<Parts> {
  const { logger } = options;
  // Nothing that hears of notices is there yet when the store is opened.
  let onNotice: (notice: Notice) => void = () => {};
  const openStore = await engineOf(config, options, (notice) => onNotice(notice));
  const opening = openStore();
  // SQLite's threads start on another core meanwhile: this is most of a start's code (decision 0017).
  const loading = import('./parts.ts');
  const [opened, loaded] = await Promise.allSettled([opening, loading]);
  if (opened.status === 'rejected') throw opened.reason;
  const store = opened.value;
  try {
    if (loaded.status === 'rejected') throw loaded.reason;
    return await loaded.value.wire(store, config, options, (hear) => {
      onNotice = hear;
    });
  } catch (error) {
    await store.close().catch((err: unknown) => logger.error({ err }, 'the database did not close'));
    throw error;
  }
}

/** What opens the store. The engine's code is loaded here: nobody needs both. */
async function engineOf(
  { database, databasePoolSize: poolSize, role }: Config,
  { logger, clock, onFatal }: PartsOptions,
  onNotice: (notice: Notice) => void,
): Promise<() => Promise<Store>> {
  if (database.engine === 'sqlite') {
    const { openSqliteStore } = await import('./store/sqlite/index.ts');
    return () => openSqliteStore({ path: database.path, clock, onFatal });
  }
  const { openPostgresStore } = await import('./store/postgres/index.ts');
  return () =>
    openPostgresStore({
      url: database.url,
      poolSize,
      clock,
      delivers: role !== 'api',
      onNotice,
      onError: (message, err) => logger.error({ err }, message),
    });
}
