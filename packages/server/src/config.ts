/**
 * The configuration: one table of settings, from which everything else follows: reading and checking (flags over
 * environment over file), the help of `posthorn serve`, the README's table and the redacted printout. Only
 * `service.ts` and the command line see a {@link Config}; inner rooms get plain values.
 */
import { readFileSync } from 'node:fs';
import { dirname, join, resolve } from 'node:path';
import { type DatabaseLocation, formatDatabaseUrl, parseDatabaseUrl } from './config-database.ts';
import { readConfigFile } from './config-file.ts';
import {
  formatAllowPrivate,
  formatBytes,
  formatDuration,
  formatEgressProxy,
  formatListen,
  formatRetrySchedule,
  formatTrustProxy,
  type ListenAddress,
  parseAllowPrivate,
  parseBytes,
  parseChoice,
  parseDurationMs,
  parseEgressProxy,
  parseEncryptionKeyText,
  parseEncryptionKeyTexts,
  parseInteger,
  parseListen,
  parseOperatorKey,
  parsePauses,
  parsePublicUrl,
  parseRatePerMinute,
  parseRetrySchedule,
  parseTrustProxy,
  parseUsername,
  type TrustProxy,
  ValueError,
} from './config-values.ts';
import type { EgressProxy } from './delivery/tunnel.ts';
import { nearestName } from './nearest.ts';

const ENDPOINT_POLICIES = ['public-https', 'development'] as const;
const SWITCH = ['on', 'off'] as const;
const ROLES = ['all', 'api', 'worker'] as const;
const LOG_LEVELS = ['trace', 'debug', 'info', 'warn', 'error', 'fatal', 'silent'] as const;
const LOG_FORMATS = ['auto', 'json', 'pretty'] as const;

/** Every setting, checked and in the unit that its name says. */
export interface Config {
  listen: ListenAddress;
  /** The path of an SQLite file is absolute. */
  database: DatabaseLocation;
  /** Connections to PostgreSQL at most, beside the one that listens. */
  databasePoolSize: number;
  /** `api` answers HTTP and delivers nothing, `worker` delivers and has no API; on SQLite always `all`. */
  role: (typeof ROLES)[number];
  /** Null: made at the first start. */
  operatorKey: string | null;
  /** Base64 of 32 bytes; null, on SQLite alone: made at the first start, in {@link encryptionKeyFile}. */
  encryptionKey: string | null;
  /** Base64 of 32 bytes each: keys that values may still be encrypted with, from before a rotation. */
  olderEncryptionKeys: string[];
  /** `development` also allows `http` and private addresses. */
  endpointPolicy: (typeof ENDPOINT_POLICIES)[number];
  /** Null: deliveries go out directly. */
  egressProxy: EgressProxy | null;
  /** Entries that {@link AllowList.of} takes. */
  allowPrivate: string[];
  /** The wait before each retry; empty: no retries. */
  retryScheduleMs: number[];
  timeoutMs: number;
  /** Failures in a row from which on an endpoint is probed. */
  probeAfter: number;
  /** The wait before each probe; the last one holds for all further. */
  probePausesMs: number[];
  /** Null: an endpoint that fails is never disabled. */
  disableAfterMs: number | null;
  /** The account whose endpoints hear of the endpoints of all accounts; null: none. */
  operationsUsername: string | null;
  retentionMs: number;
  /** What the history may take on disk; null: any amount. */
  maxHistoryBytes: number | null;
  auditRetentionMs: number;
  /** Null: no limit. */
  rateLimitPostPerMinute: number | null;
  maxEndpoints: number;
  /** Of one event's sealed body. */
  maxBodyBytes: number;
  maxRequestBytes: number;
  /** Resident memory beyond which requests with a body are refused; null: nine tenths of a container's, else none. */
  maxMemoryBytes: number | null;
  /** Attempts in flight to one endpoint. */
  laneLimit: number;
  /** Attempts in flight in all. */
  inFlightLimit: number;
  /** Receivers get a `traceparent`. */
  sendsTraceparent: boolean;
  /** Of a receiver's response, kept in the log. */
  responseCaptureBytes: number;
  trustProxy: TrustProxy;
  /** Without a slash at its end; null: as each request has it. */
  publicUrl: string | null;
  logLevel: (typeof LOG_LEVELS)[number];
  /** `auto`: `pretty` on a terminal, else `json`. */
  logFormat: (typeof LOG_FORMATS)[number];
}

interface Setting<Field extends keyof Config> {
  field: Field;
  /** Lower snake case, as in the file; the names of variable and flag are made of it. */
  name: string;
  /** In the notation that a person writes; null where the service makes the value. */
  default: string | null;
  /** One line, for the help and the README. */
  description: string;
  /** Never shown: not in messages, not in printouts. */
  secret: boolean;
  /** @throws {ValueError} */
  parse(text: string): Config[Field];
  format(value: Config[Field]): string;
}

type AnySetting = { [Field in keyof Config]: Setting<Field> }[keyof Config];

const HOUR_MS = 3_600_000;
const MIB = 1024 * 1024;

/** Every setting there is, in the order of the help and the README. */
export const SETTINGS: readonly AnySetting[] = [
  {
    field: 'listen',
    name: 'listen',
    default: '127.0.0.1:8080',
    description: 'address and port of the HTTP server; port 0 takes a free one',
    secret: false,
    parse: parseListen,
    format: formatListen,
  },
  {
    field: 'database',
    name: 'database_url',
    default: 'sqlite:./posthorn-data/posthorn.db',
    description:
      'where the data lives: sqlite:<path>, relative to the working directory, or postgres://user:password@host:5432/database',
    secret: false,
    parse: parseDatabaseUrl,
    format: formatDatabaseUrl,
  },
  {
    field: 'databasePoolSize',
    name: 'database_pool',
    default: '10',
    description: 'connections to PostgreSQL of this process, beside one that listens (2 to 100)',
    secret: false,
    parse: (text) => parseInteger(text, { min: 2, max: 100 }),
    format: String,
  },
  {
    field: 'role',
    name: 'role',
    default: 'all',
    description:
      'what this process does: all; api answers HTTP and delivers nothing; worker delivers and has no API (needs PostgreSQL)',
    secret: false,
    parse: (text) => parseChoice(text, ROLES),
    format: String,
  },
  {
    field: 'operatorKey',
    name: 'operator_key',
    default: null,
    description: 'API key of the operator, at least 32 characters; made and printed once at the first start',
    secret: true,
    parse: parseOperatorKey,
    format: redacted,
  },
  {
    field: 'encryptionKey',
    name: 'encryption_key',
    default: null,
    description:
      'encrypts secrets at rest, base64 of 32 bytes; made at the first start beside an SQLite file, required with PostgreSQL',
    secret: true,
    parse: parseEncryptionKeyText,
    format: redacted,
  },
  {
    field: 'olderEncryptionKeys',
    name: 'encryption_key_old',
    default: 'none',
    description:
      'keys that secrets may still be encrypted with, separated by commas, until posthorn secrets rotate-key has replaced them',
    secret: true,
    parse: parseEncryptionKeyTexts,
    format: (keys) => (keys.length === 0 ? 'none' : '[redacted]'),
  },
  {
    field: 'endpointPolicy',
    name: 'endpoint_policy',
    default: 'public-https',
    description:
      'which endpoint URLs are possible: public-https; development also allows http and private addresses',
    secret: false,
    parse: (text) => parseChoice(text, ENDPOINT_POLICIES),
    format: String,
  },
  {
    field: 'allowPrivate',
    name: 'allow_private',
    default: 'none',
    description:
      'addresses, ranges and host names of your own networks that endpoints may have too, separated by commas: 10.20.0.0/16,billing.internal,*.hooks.internal',
    secret: false,
    parse: parseAllowPrivate,
    format: formatAllowPrivate,
  },
  {
    field: 'egressProxy',
    name: 'egress_proxy',
    default: 'none',
    description:
      'the proxy through which all deliveries go out: http://user:password@proxy.example:3128 or socks5://proxy.example:1080; it then looks up names',
    secret: false,
    parse: parseEgressProxy,
    format: formatEgressProxy,
  },
  {
    field: 'retryScheduleMs',
    name: 'retry_schedule',
    default: '5s,5m,30m,2h,5h,10h,14h,20h,24h',
    description: 'waits before each retry (up to 50, each up to 30d), jogg-v1 (5s,5s,5s), or off',
    secret: false,
    parse: parseRetrySchedule,
    format: formatRetrySchedule,
  },
  {
    field: 'timeoutMs',
    name: 'timeout',
    default: '5s',
    description:
      'total time of one delivery attempt (100ms to 30s), where the endpoint has no time limit of its own',
    secret: false,
    parse: (text) => parseDurationMs(text, { minMs: 100, maxMs: 30_000 }),
    format: formatDuration,
  },
  {
    field: 'probeAfter',
    name: 'probe_after',
    default: '10',
    description:
      'failed attempts in a row after which an endpoint gets one probe at a time, until one succeeds (1 to 1000000)',
    secret: false,
    parse: (text) => parseInteger(text, { min: 1, max: 1_000_000 }),
    format: String,
  },
  {
    field: 'probePausesMs',
    name: 'probe_pauses',
    default: '10s,30s,1m,2m,5m',
    description:
      'waits before each probe, the last one for all further (up to 50, each 1s to 1d, none shorter than before)',
    secret: false,
    parse: parsePauses,
    format: (pausesMs) => pausesMs.map(formatDuration).join(','),
  },
  {
    field: 'disableAfterMs',
    name: 'disable_after',
    default: '5d',
    description: 'how long an endpoint may fail without a success before it is disabled (1m to 365d), or off',
    secret: false,
    parse: (text) =>
      text === 'off' ? null : parseDurationMs(text, { minMs: 60_000, maxMs: 365 * 24 * HOUR_MS }),
    format: (ms) => (ms === null ? 'off' : formatDuration(ms)),
  },
  {
    field: 'operationsUsername',
    name: 'operations_account',
    default: 'off',
    description:
      'the account whose endpoints are told of the endpoints and dead deliveries of all accounts, where they subscribe to it; or off',
    secret: false,
    parse: parseUsername,
    format: (username) => username ?? 'off',
  },
  {
    field: 'retentionMs',
    name: 'retention',
    default: '30d',
    description: 'how long events and finished deliveries are kept (1h to 3650d)',
    secret: false,
    parse: (text) => parseDurationMs(text, { minMs: HOUR_MS, maxMs: 3650 * 24 * HOUR_MS }),
    format: formatDuration,
  },
  {
    field: 'maxHistoryBytes',
    name: 'max_history',
    default: 'off',
    description:
      'what events and finished deliveries may take on disk (64MiB to 1048576GiB), or off: beyond it the oldest go before their time',
    secret: false,
    parse: (text) =>
      text.toLowerCase() === 'off'
        ? null
        : parseBytes(text, { minBytes: 64 * MIB, maxBytes: 1024 * 1024 * 1024 * MIB }),
    format: (bytes) => (bytes === null ? 'off' : formatBytes(bytes)),
  },
  {
    field: 'auditRetentionMs',
    name: 'audit_retention',
    default: '400d',
    description: 'how long the audit log is kept (1d to 3650d)',
    secret: false,
    parse: (text) => parseDurationMs(text, { minMs: 24 * HOUR_MS, maxMs: 3650 * 24 * HOUR_MS }),
    format: formatDuration,
  },
  {
    field: 'rateLimitPostPerMinute',
    name: 'rate_limit_post',
    default: '20/m',
    description: 'POST requests a minute and account key, or off',
    secret: false,
    parse: parseRatePerMinute,
    format: (perMinute) => (perMinute === null ? 'off' : `${perMinute}/m`),
  },
  {
    field: 'maxEndpoints',
    name: 'max_endpoints',
    default: '20',
    description: 'endpoints an account (1 to 10000)',
    secret: false,
    parse: (text) => parseInteger(text, { min: 1, max: 10_000 }),
    format: String,
  },
  {
    field: 'maxBodyBytes',
    name: 'max_body',
    default: '256KiB',
    description: "size of one event's sealed body (1KiB to 16MiB)",
    secret: false,
    parse: (text) => parseBytes(text, { minBytes: 1024, maxBytes: 16 * MIB }),
    format: formatBytes,
  },
  {
    field: 'maxRequestBytes',
    name: 'max_request',
    default: '5MiB',
    description: 'size of one API request (1KiB to 64MiB)',
    secret: false,
    parse: (text) => parseBytes(text, { minBytes: 1024, maxBytes: 64 * MIB }),
    format: formatBytes,
  },
  {
    field: 'maxMemoryBytes',
    name: 'max_memory',
    default: 'auto',
    description:
      "memory of the process beyond which it refuses new work (128MiB to 1024GiB); auto: nine tenths of the container's limit, if there is one",
    secret: false,
    parse: (text) =>
      text.toLowerCase() === 'auto'
        ? null
        : parseBytes(text, { minBytes: 128 * MIB, maxBytes: 1024 * 1024 * MIB }),
    format: (bytes) => (bytes === null ? 'auto' : formatBytes(bytes)),
  },
  {
    field: 'laneLimit',
    name: 'lane_limit',
    default: '10',
    description: 'delivery attempts in flight to one endpoint (1 to 1000)',
    secret: false,
    parse: (text) => parseInteger(text, { min: 1, max: 1000 }),
    format: String,
  },
  {
    field: 'inFlightLimit',
    name: 'in_flight',
    default: '500',
    description: 'delivery attempts in flight in all (1 to 10000)',
    secret: false,
    parse: (text) => parseInteger(text, { min: 1, max: 10_000 }),
    format: String,
  },
  {
    field: 'responseCaptureBytes',
    name: 'response_capture',
    default: '64KiB',
    description: "first bytes of a receiver's response that are read and kept (0 to 1MiB)",
    secret: false,
    parse: (text) => parseBytes(text, { maxBytes: MIB }),
    format: formatBytes,
  },
  {
    field: 'sendsTraceparent',
    name: 'send_traceparent',
    default: 'off',
    description: 'whether receivers get a traceparent header of attempts that belong to a trace: on or off',
    secret: false,
    parse: (text) => parseChoice(text, SWITCH) === 'on',
    format: (sends) => (sends ? 'on' : 'off'),
  },
  {
    field: 'trustProxy',
    name: 'trust_proxy',
    default: 'off',
    description: 'whose x-forwarded-for is believed: off, the number of proxies in front, or their addresses',
    secret: false,
    parse: parseTrustProxy,
    format: formatTrustProxy,
  },
  {
    field: 'publicUrl',
    name: 'public_url',
    default: 'auto',
    description:
      'address that customers have of this service, for links into their portal; auto: the one of the request that asks for a link',
    secret: false,
    parse: (text) => (text === 'auto' ? null : parsePublicUrl(text)),
    format: (url) => url ?? 'auto',
  },
  {
    field: 'logLevel',
    name: 'log_level',
    default: 'info',
    description: `the least severe log lines to write: ${LOG_LEVELS.join(', ')}`,
    secret: false,
    parse: (text) => parseChoice(text, LOG_LEVELS),
    format: String,
  },
  {
    field: 'logFormat',
    name: 'log_format',
    default: 'auto',
    description: 'json, pretty, or auto: pretty on a terminal, else json',
    secret: false,
    parse: (text) => parseChoice(text, LOG_FORMATS),
    format: String,
  },
];

/** Variables that belong to the command line rather than to the service. */
const OTHER_VARIABLES = ['POSTHORN_CONFIG', 'POSTHORN_URL', 'POSTHORN_API_KEY', 'POSTHORN_DEBUG'];

function redacted(value: string | null): string {
  return value === null ? 'made at the first start' : '[redacted]';
}

/** The environment variable of a setting: `POSTHORN_RETRY_SCHEDULE`. */
export function variableName(setting: { name: string }): string {
  return `POSTHORN_${setting.name.toUpperCase()}`;
}

/** The flag of a setting without its dashes: `retry-schedule`. */
export function flagName(setting: { name: string }): string {
  return setting.name.replaceAll('_', '-');
}

/** The library's option of a setting: `retrySchedule`. */
export function optionName(setting: { name: string }): string {
  if (setting.name === 'database_url') return 'database';
  return setting.name.replace(/_(.)/g, (_, letter: string) => letter.toUpperCase());
}

/** Everything that is wrong with the configuration, found at once. Its sentences hold no secret. */
export class ConfigError extends Error {
  override readonly name = 'ConfigError';
  readonly mistakes: readonly string[];

  constructor(mistakes: readonly string[]) {
    const heading =
      mistakes.length === 1
        ? 'The configuration has a mistake:'
        : `The configuration has ${mistakes.length} mistakes:`;
    super([heading, ...mistakes.map((mistake) => `  - ${mistake}`)].join('\n'));
    this.mistakes = mistakes;
  }
}

export interface ConfigSources {
  /** Values by flag name (`retry-schedule`); undefined is the same as absent. */
  flags?: Record<string, string | undefined>;
  /** Variables that don't start with `POSTHORN_` are ignored; an empty one counts as absent. */
  env?: Record<string, string | undefined>;
  /** A YAML file whose keys are setting names; default: `POSTHORN_CONFIG` of `env`, else none. */
  file?: string | undefined;
  /** What relative paths are relative to; default: the process's working directory. */
  cwd?: string;
}

/**
 * Reads the configuration: flags over environment over file over defaults. Reads nothing but its arguments and the
 * file that it is told to read.
 *
 * @throws {ConfigError} with every mistake of all three sources.
 * @example
 * const config = loadConfig({ env: process.env });
 * config.timeoutMs; // 5000
 */
export function loadConfig(sources: ConfigSources = {}): Config {
  const mistakes: string[] = [];
  const config = readSources(sources, mistakes);
  checkTogether(config, variableName, mistakes);
  if (mistakes.length > 0) throw new ConfigError(mistakes);
  return config;
}

/**
 * The database alone, for commands that need no other setting: `posthorn migrate` runs without the encryption key.
 *
 * @throws {ConfigError} with every mistake all the same.
 */
export function loadDatabaseLocation(sources: ConfigSources = {}): DatabaseLocation {
  const mistakes: string[] = [];
  const { database } = readSources(sources, mistakes);
  if (mistakes.length > 0) throw new ConfigError(mistakes);
  return database;
}

function readSources(sources: ConfigSources, mistakes: string[]): Config {
  const { flags = {}, env = {}, cwd = process.cwd() } = sources;
  const file = sources.file ?? (env.POSTHORN_CONFIG || undefined);
  const layers = [
    readFlags(flags, mistakes),
    readEnvironment(env, mistakes),
    file === undefined ? new Map<string, Given>() : readFile(resolve(cwd, file), file, mistakes),
  ];
  return withDefaults(layers, cwd, mistakes);
}

/** Settings that an embedding application decides by itself: it has its own server and its own logger. */
const NOT_FOR_LIBRARY: readonly (keyof Config)[] = ['listen', 'logLevel', 'logFormat'];

/** The settings that {@link loadOptions} takes. */
export function librarySettings(): readonly AnySetting[] {
  return SETTINGS.filter(({ field }) => !NOT_FOR_LIBRARY.includes(field));
}

/**
 * Reads the configuration from the options of the library: the settings under their {@link optionName}, in the same
 * notations, numbers and lists also as such. Reads nothing else.
 *
 * @throws {ConfigError} with every mistake.
 * @example
 * loadOptions({ database: 'sqlite:./data/posthorn.db', retrySchedule: ['5s', '5m'], laneLimit: 20 });
 */
export function loadOptions(options: object, cwd = process.cwd()): Config {
  const mistakes: string[] = [];
  const given = new Map<string, Given>();
  const byOption = new Map(librarySettings().map((setting) => [optionName(setting), setting]));
  for (const [name, value] of Object.entries(options)) {
    if (value === undefined) continue;
    const setting = byOption.get(name);
    if (setting === undefined) {
      const nearest = nearestName(name, [...byOption.keys()]);
      mistakes.push(
        `${name} is no option; ${nearest === null ? `there are ${[...byOption.keys()].join(', ')}` : `did you mean ${nearest}?`}`,
      );
      continue;
    }
    const parts: unknown[] = Array.isArray(value) ? value : [value];
    const texts = parts.filter((part) => typeof part === 'string' || typeof part === 'number');
    if (texts.length < parts.length) mistakes.push(`${name} must be a text, a number or a list of texts`);
    else given.set(setting.name, { text: texts.join(',').trim(), origin: name });
  }
  if (!given.has('database_url')) {
    mistakes.push('database is missing; write postgres://user:password@host:5432/database or sqlite:<path>');
  }
  const config = withDefaults([given], cwd, mistakes);
  checkTogether(config, optionName, mistakes);
  if (mistakes.length > 0) throw new ConfigError(mistakes);
  return config;
}

/** The strongest layer first. A setting whose value is wrong is left undefined; its mistake is noted. */
function withDefaults(layers: readonly Map<string, Given>[], cwd: string, mistakes: string[]): Config {
  const values: Partial<Record<keyof Config, unknown>> = {};
  for (const setting of SETTINGS) {
    // A wrong value is reported even where a stronger source hides it: it would bite when that one goes.
    for (const layer of layers.toReversed()) {
      const given = layer.get(setting.name);
      if (given !== undefined) values[setting.field] = parsed(setting, given, mistakes);
    }
    if (!(setting.field in values)) {
      values[setting.field] = setting.default === null ? null : setting.parse(setting.default);
    }
  }
  const config = values as unknown as Config;
  if (config.database?.engine !== 'sqlite') return config;
  return { ...config, database: { engine: 'sqlite', path: resolve(cwd, config.database.path) } };
}

/** What is wrong with settings that are right by themselves. Those that aren't are undefined here. */
function checkTogether(
  config: Config,
  nameOf: (setting: { name: string }) => string,
  mistakes: string[],
): void {
  const { database, role, encryptionKey, maxBodyBytes, maxRequestBytes } = config;
  const named = (name: string) => nameOf({ name });
  if (maxBodyBytes > maxRequestBytes) {
    mistakes.push(
      `${named('max_body')} (${formatBytes(maxBodyBytes)}) is over ${named('max_request')} ` +
        `(${formatBytes(maxRequestBytes)}), so the largest events could not be published; raise one or lower the other`,
    );
  }
  if (database?.engine === 'postgres' && encryptionKey === null) {
    mistakes.push(
      `${named('encryption_key')} is required with PostgreSQL, and every node needs the same; \`openssl rand -base64 32\` ` +
        `makes one: keep it, for without it the database's secrets can't be read`,
    );
  }
  if (database?.engine === 'sqlite' && role === 'worker') {
    mistakes.push(
      `${named('role')} is worker, but on SQLite one process does all, and nobody else could give it work; leave it out, ` +
        'or use PostgreSQL for several nodes',
    );
  }
}

/** A value as it was found, and where: the start of a sentence about it. */
interface Given {
  text: string;
  origin: string;
}

function parsed(setting: AnySetting, given: Given, mistakes: string[]): unknown {
  try {
    return setting.parse(given.text);
  } catch (error) {
    if (!(error instanceof ValueError)) throw error;
    mistakes.push(`${given.origin} ${error.message}`);
    return undefined;
  }
}

function unknownName(what: string, name: string, known: readonly string[]): string {
  const nearest = nearestName(name, known);
  const advice =
    nearest === null ? '`posthorn serve --help` lists every setting' : `did you mean ${nearest}?`;
  return `${what} is no setting; ${advice}`;
}

function readFlags(flags: Record<string, string | undefined>, mistakes: string[]): Map<string, Given> {
  const given = new Map<string, Given>();
  const byFlag = new Map<string, AnySetting>(SETTINGS.map((setting) => [flagName(setting), setting]));
  for (const [flag, text] of Object.entries(flags)) {
    if (text === undefined) continue;
    const setting = byFlag.get(flag);
    if (setting !== undefined) given.set(setting.name, { text: text.trim(), origin: `--${flag}` });
    else
      mistakes.push(
        unknownName(`--${flag}`, `--${flag}`, ['--config', ...[...byFlag.keys()].map((name) => `--${name}`)]),
      );
  }
  return given;
}

function readEnvironment(env: Record<string, string | undefined>, mistakes: string[]): Map<string, Given> {
  const given = new Map<string, Given>();
  const byVariable = new Map<string, AnySetting>(SETTINGS.map((setting) => [variableName(setting), setting]));
  for (const [variable, text] of Object.entries(env)) {
    if (!variable.startsWith('POSTHORN_') || OTHER_VARIABLES.includes(variable)) continue;
    const setting = byVariable.get(variable);
    if (setting === undefined) {
      mistakes.push(unknownName(variable, variable, [...byVariable.keys(), ...OTHER_VARIABLES]));
    } else if (text !== undefined && text.trim() !== '') {
      // Compose files and unit files can't unset a variable, only empty it.
      given.set(setting.name, { text: text.trim(), origin: variable });
    }
  }
  return given;
}

function readFile(path: string, shownPath: string, mistakes: string[]): Map<string, Given> {
  const given = new Map<string, Given>();
  let source: string;
  try {
    source = readFileSync(path, 'utf8');
  } catch (error) {
    const { code } = error as NodeJS.ErrnoException;
    const reason = code === 'ENOENT' ? "isn't there" : `can't be read (${code ?? 'unknown error'})`;
    mistakes.push(`the configuration file ${shownPath} ${reason}; check --config or POSTHORN_CONFIG`);
    return given;
  }

  const file = readConfigFile(source);
  if (typeof file === 'string') {
    mistakes.push(`${shownPath}${file}`);
    return given;
  }
  const byName = new Map<string, AnySetting>(SETTINGS.map((setting) => [setting.name, setting]));
  for (const { name, text } of file) {
    const origin = `${shownPath}: ${name}`;
    if (!byName.has(name)) mistakes.push(unknownName(origin, name, [...byName.keys()]));
    else if (text === null) mistakes.push(`${origin} must be a single value, not a mapping`);
    else if (text !== '') given.set(name, { text, origin });
  }
  return given;
}

/** The folder of an SQLite database and of what the first start makes beside it. */
export function dataFolder(databasePath: string): string {
  return dirname(databasePath);
}

/** Where the first start on an SQLite database keeps the encryption key that it makes, when the configuration gives none. */
export function encryptionKeyFile(databasePath: string): string {
  return join(dataFolder(databasePath), 'encryption.key');
}

/**
 * The configuration by setting name, in the notation of the file, secrets redacted: fit for logs.
 *
 * @example
 * describeConfig(loadConfig()).timeout; // '5s'
 */
export function describeConfig(config: Config): Record<string, string> {
  return Object.fromEntries(SETTINGS.map((setting) => [setting.name, formatted(setting, config)]));
}

function formatted<Field extends keyof Config>(setting: Setting<Field>, config: Config): string {
  return setting.format(config[setting.field]);
}

/** The settings as a Markdown table, for the README. */
export function settingsTable(): string {
  const rows = SETTINGS.map((setting) => {
    const fallback = setting.default === null ? '–' : `\`${setting.default}\``;
    return `| \`${variableName(setting)}\` | ${fallback} | ${setting.description} |`;
  });
  return ['| setting | default | meaning |', '|---|---|---|', ...rows, ''].join('\n');
}
