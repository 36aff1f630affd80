import { join } from 'node:path';
import { type Command, Option } from 'commander';
import {
  type Config,
  dataFolder,
  describeConfig,
  encryptionKeyFile,
  flagName,
  loadConfig,
  SETTINGS,
  variableName,
} from '../config.ts';
import { formatDatabaseUrl } from '../config-database.ts';
import { formatListen } from '../config-values.ts';
import { PosthornError } from '../errors.ts';
import type { Service } from '../service.ts';
import { CommandError } from './failure.ts';
import type { Io } from './io.ts';
import { createLogger, type ServiceLogger } from './logger.ts';
import { withExamples } from './options.ts';
import { printLine } from './output.ts';
import { dieLoudly, endByForceAfter, stopSignal } from './process-end.ts';
import { packageVersion } from './version.ts';

/** `posthorn serve`: API, delivery and database in this process, until a signal. */
export function serveCommand(program: Command, io: Io): void {
  const serve = program
    .command('serve')
    .description('run the service: API and delivery in this process')
    .option('--config <file>', 'read settings from a YAML file, such as "timeout: 5s" (POSTHORN_CONFIG)')
    // Unknown flags are reported together with all other mistakes of the configuration.
    .allowUnknownOption()
    .allowExcessArguments();
  for (const setting of SETTINGS) {
    const fallback = setting.default === null ? '' : `; default ${setting.default}`;
    const secret = setting.secret
      ? '; other users of this machine can see flags: better use the variable'
      : '';
    serve.addOption(
      new Option(
        `--${flagName(setting)} <value>`,
        `${setting.description} (${variableName(setting)}${fallback}${secret})`,
      ),
    );
  }
  withExamples(
    serve,
    'posthorn serve',
    'posthorn serve --listen 0.0.0.0:8080 --database-url sqlite:/var/lib/posthorn/posthorn.db',
    'POSTHORN_RETRY_SCHEDULE=jogg-v1 posthorn serve --config posthorn.yaml',
  ).action(async (options: Record<string, string>, command: Command) => {
    const config = loadConfig({
      flags: givenFlags(options, command),
      env: io.env,
      file: options.config,
      cwd: io.cwd,
    });
    await serveUntilSignal(config, io);
  });
}

function givenFlags(options: Record<string, string>, command: Command): Record<string, string> {
  const flags: Record<string, string> = {};
  for (const option of command.options) {
    const value = options[option.attributeName()];
    if (option.long !== '--config' && value !== undefined) flags[option.name()] = value;
  }
  const unknown = command.args.filter((argument) => argument.startsWith('-'));
  for (const flag of unknown) flags[flag.replace(/^-+/, '').replace(/=.*$/s, '')] = '';
  if (unknown.length === 0 && command.args.length > 0) {
    throw new CommandError('usage', 'serve takes settings as --name value, see `posthorn serve --help`');
  }
  return flags;
}

async function serveUntilSignal(config: Config, io: Io): Promise<void> {
  const log = createLogger(config, io);
  const signal = stopSignal(log);
  dieLoudly(log);
  log.logger.info({ version: packageVersion(), settings: describeConfig(config) }, 'starting');
  try {
    const service = await startService(config, log, io);
    await signal;
    await service.stop();
    log.logger.info('stopped');
  } finally {
    await log.close();
  }
}

async function startService(config: Config, log: ServiceLogger, io: Io): Promise<Service> {
  // Loaded here, so that the other commands start without the server's code.
  const { createService } = await import('../service.ts');
  let service: Service | undefined;
  try {
    service = await createService(config, { logger: log.logger });
    // Before start(), which may fail: the key is in the database now and can't be shown later.
    if (service.firstStart.operatorKey !== null) printFirstStart(io, config, service.firstStart.operatorKey);
    const { url } = await service.start();
    printLine(io.stderr, `Posthorn listens on ${url}; ${whatItDoes(config)}`);
    return service;
  } catch (error) {
    endByForceAfter(log);
    await service?.stop().catch((err: unknown) => log.logger.error({ err }, 'the stop failed'));
    throw explained(error, config);
  }
}

function whatItDoes({ database, role }: Config): string {
  if (database.engine === 'sqlite') return `data in ${dataFolder(database.path)}`;
  const work = {
    all: 'API and delivery',
    api: 'the API alone',
    worker: 'delivery alone, with health and metrics',
  };
  return `data in ${formatDatabaseUrl(database)}; ${work[role]}`;
}

function printFirstStart(io: Io, { database, encryptionKey }: Config, operatorKey: string): void {
  const made = [
    `  database        ${database.engine === 'sqlite' ? database.path : formatDatabaseUrl(database)}`,
  ];
  if (database.engine === 'sqlite' && encryptionKey === null) {
    const file = encryptionKeyFile(database.path);
    made.push(`  encryption key  ${file} (without it the database's secrets can't be read: back up both)`);
  }
  // On stderr: stdout is the log, which no secret may enter.
  printLine(
    io.stderr,
    [
      'First start. Made:',
      ...made,
      '',
      "The operator's API key, shown this once:",
      '',
      `  ${operatorKey}`,
      '',
      'Keep it: it signs you in to the dashboard, and the other commands take it as POSTHORN_OPERATOR_KEY.',
      '',
    ].join('\n'),
  );
}

/** The sentence for a start that failed for a reason outside of the program; other errors stay as they are. */
function explained(error: unknown, { database, listen }: Config): unknown {
  const { code, syscall } = rootCause(error);
  // The way to the database has its own sentences; only the port's errors come as they are.
  if (database.engine === 'postgres' && error instanceof PosthornError) return error;
  if (syscall === 'listen' || syscall === 'bind' || syscall === 'getaddrinfo') {
    const reasons: Record<string, string> = {
      EADDRINUSE: 'another program listens there',
      EACCES: 'this user may not (ports below 1024 need a privilege)',
      EADDRNOTAVAIL: 'this machine has no such address',
      ENOTFOUND: 'the host name is unknown',
    };
    return new CommandError(
      'failed',
      `Can't listen on ${formatListen(listen)}: ${reasons[code] ?? code}. Choose another address with --listen ` +
        'or POSTHORN_LISTEN.',
      { cause: error },
    );
  }
  if (database.engine === 'postgres') return error;
  const { path } = database;
  if (code === 'EISDIR') {
    return new CommandError(
      'failed',
      `${path} is a folder: name a file in it with --database-url or POSTHORN_DATABASE_URL, such as ` +
        `sqlite:${join(path, 'posthorn.db')}.`,
      { cause: error },
    );
  }
  if (code === 'SQLITE_NOTADB' || code === 'SQLITE_CORRUPT') {
    return new CommandError(
      'failed',
      `${path} is damaged or no SQLite database (${code}): restore it from your backup, or choose ` +
        'another with --database-url or POSTHORN_DATABASE_URL.',
      { cause: error },
    );
  }
  if (/^(EACCES|EPERM|EROFS|ENOTDIR|EEXIST|SQLITE_CANTOPEN.*|SQLITE_READONLY.*)$/.test(code)) {
    return new CommandError(
      'failed',
      `Can't write to the data folder ${dataFolder(path)} (${code}): make it a folder that this user may write, or ` +
        'choose another with --database-url or POSTHORN_DATABASE_URL.',
      { cause: error },
    );
  }
  return error;
}

/** The innermost error that has a code: rooms wrap what the system said. */
function rootCause(error: unknown): { code: string; syscall: string | undefined } {
  let found: { code: string; syscall: string | undefined } = { code: '', syscall: undefined };
  for (let at = error; at instanceof Error; at = at.cause) {
    const { code, syscall } = at as NodeJS.ErrnoException;
    if (typeof code === 'string' && !(at instanceof PosthornError)) found = { code, syscall };
  }
  return found;
}
