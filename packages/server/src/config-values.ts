/**
 * The notations in which a person writes settings, each as a parser that throws a {@link ValueError} saying what it
 * expects, and the way back for printouts. Also used by the command line for its own durations.
 */
import { isIP } from 'node:net';
import { AllowList } from './delivery/allow-list.ts';
import type { EgressProxy } from './delivery/tunnel.ts';
import { parseEncryptionKey } from './secrets.ts';

/** What is wrong with one value, as the end of a sentence that starts with the setting's name. */
export class ValueError extends Error {
  override readonly name = 'ValueError';
}

/** A value as it may be shown in a message: quoted and cut. */
export function quoted(text: string): string {
  return JSON.stringify(text.length > 60 ? `${text.slice(0, 57)}...` : text);
}

const DURATION_UNITS = { d: 86_400_000, h: 3_600_000, m: 60_000, s: 1000, ms: 1 } as const;

/**
 * Milliseconds of `250ms`, `5s`, `5m`, `2h` or `30d`: a whole number and one unit.
 *
 * @throws {ValueError} for another notation, or outside of the limits (in ms, inclusive).
 */
export function parseDurationMs(text: string, limits: { minMs?: number; maxMs?: number } = {}): number {
  const match = /^(\d{1,15})(ms|s|m|h|d)$/.exec(text);
  if (match === null) {
    const missingUnit = /^\d+$/.test(text) ? ' has no unit' : ' is not a duration';
    throw new ValueError(
      `${quoted(text)}${missingUnit}; write a whole number and ms, s, m, h or d, such as 5s`,
    );
  }
  const ms = Number(match[1]) * DURATION_UNITS[match[2] as keyof typeof DURATION_UNITS];
  const { minMs = 0, maxMs = Number.MAX_SAFE_INTEGER } = limits;
  if (ms < minMs || ms > maxMs) {
    throw new ValueError(
      `${quoted(text)} is out of range; it must lie between ${formatDuration(minMs)} and ${formatDuration(maxMs)}`,
    );
  }
  return ms;
}

/** The shortest exact notation: `formatDuration(300_000)` is `5m`. */
export function formatDuration(ms: number): string {
  for (const [unit, size] of Object.entries(DURATION_UNITS)) {
    if (ms >= size && ms % size === 0) return `${ms / size}${unit}`;
  }
  return `${ms}ms`;
}

const SIZE_UNITS = { gib: 1024 ** 3, mib: 1024 ** 2, kib: 1024 } as const;
const SIZE_UNIT_NAMES = { gib: 'GiB', mib: 'MiB', kib: 'KiB' } as const;

/**
 * Bytes of `1000`, `256KiB`, `5MiB` or `1GiB`. Decimal units (`KB`) are refused rather than guessed at.
 *
 * @throws {ValueError} for another notation, or outside of the limits (in bytes, inclusive).
 */
export function parseBytes(text: string, limits: { minBytes?: number; maxBytes?: number } = {}): number {
  const match = /^(\d{1,15})(kib|mib|gib)?$/i.exec(text);
  if (match === null) {
    throw new ValueError(
      `${quoted(text)} is not a size; write a whole number of bytes, or one with KiB, MiB or GiB, such as 256KiB`,
    );
  }
  const unit = match[2]?.toLowerCase() as keyof typeof SIZE_UNITS | undefined;
  const bytes = Number(match[1]) * (unit === undefined ? 1 : SIZE_UNITS[unit]);
  const { minBytes = 0, maxBytes = Number.MAX_SAFE_INTEGER } = limits;
  if (bytes < minBytes || bytes > maxBytes) {
    throw new ValueError(
      `${quoted(text)} is out of range; it must lie between ${formatBytes(minBytes)} and ${formatBytes(maxBytes)}`,
    );
  }
  return bytes;
}

/** The shortest exact notation: `formatBytes(262_144)` is `256KiB`. */
export function formatBytes(bytes: number): string {
  for (const unit of ['gib', 'mib', 'kib'] as const) {
    const size = SIZE_UNITS[unit];
    if (bytes >= size && bytes % size === 0) return `${bytes / size}${SIZE_UNIT_NAMES[unit]}`;
  }
  return String(bytes);
}

/** @throws {ValueError} for anything but a whole number within the limits (inclusive). */
export function parseInteger(text: string, limits: { min: number; max: number }): number {
  const value = /^\d{1,15}$/.test(text) ? Number(text) : Number.NaN;
  if (!(value >= limits.min && value <= limits.max)) {
    throw new ValueError(
      `${quoted(text)} is not possible; write a whole number between ${limits.min} and ${limits.max}`,
    );
  }
  return value;
}

/** @throws {ValueError} for a text that isn't one of the choices. */
export function parseChoice<T extends string>(text: string, choices: readonly T[]): T {
  const found = choices.find((choice) => choice === text);
  if (found === undefined) throw new ValueError(`${quoted(text)} is not one of ${choices.join(', ')}`);
  return found;
}

/**
 * Requests a minute of `20/m`, or null of `off`.
 *
 * @throws {ValueError}
 */
export function parseRatePerMinute(text: string): number | null {
  if (text === 'off') return null;
  const match = /^(\d{1,7})\/m$/.exec(text);
  const perMinute = match === null ? 0 : Number(match[1]);
  if (perMinute < 1 || perMinute > 1_000_000) {
    throw new ValueError(
      `${quoted(text)} is not a rate; write requests a minute such as 20/m (1 to 1000000), or off`,
    );
  }
  return perMinute;
}

export interface ListenAddress {
  host: string;
  /** 0: any free port. */
  port: number;
}

/**
 * `host:port`; an IPv6 address stands in brackets.
 *
 * @example
 * parseListen('[::1]:8080'); // { host: '::1', port: 8080 }
 * @throws {ValueError}
 */
export function parseListen(text: string): ListenAddress {
  const match = /^(?:\[([^\]]+)\]|([^:[\]\s/]+)):(\d{1,5})$/.exec(text);
  if (match === null) {
    throw new ValueError(
      `${quoted(text)} is not host:port; write 127.0.0.1:8080, [::1]:8080, or 0.0.0.0:8080 for every interface`,
    );
  }
  const [, bracketed, bare] = match;
  if (bracketed !== undefined && isIP(bracketed) !== 6) {
    throw new ValueError(`${quoted(text)} has no IPv6 address in its brackets; write [::1]:8080`);
  }
  const port = Number(match[3]);
  if (port > 65_535) throw new ValueError(`${quoted(text)} has a port above 65535`);
  return { host: (bracketed ?? bare) as string, port };
}

/** The way back of {@link parseListen}. */
export function formatListen({ host, port }: ListenAddress): string {
  return `${isIP(host) === 6 ? `[${host}]` : host}:${port}`;
}

const MAX_RETRIES = 50;
const MAX_RETRY_DELAY_MS = 30 * DURATION_UNITS.d;

/** Retry schedules with a name. `jogg-v1`: 3 retries, 5 s apart (wire contract, section 2). */
const NAMED_SCHEDULES: Record<string, readonly number[]> = { 'jogg-v1': [5000, 5000, 5000] };

/**
 * The waits before each retry in ms: `5s,5m,30m`, a schedule's name, or `off` for no retry at all.
 *
 * @throws {ValueError} for a wait that isn't a duration or is over 30 days, and for more than 50 of them.
 */
export function parseRetrySchedule(text: string): number[] {
  if (text === 'off') return [];
  const named = NAMED_SCHEDULES[text];
  if (named !== undefined) return [...named];
  const steps = text.split(',').map((step) => step.trim());
  if (steps.length > MAX_RETRIES) {
    throw new ValueError(`has ${steps.length} retries; at most ${MAX_RETRIES} are possible`);
  }
  return steps.map((step, index) => {
    try {
      return parseDurationMs(step, { minMs: 1, maxMs: MAX_RETRY_DELAY_MS });
    } catch (error) {
      if (!(error instanceof ValueError)) throw error;
      const names = ['off', ...Object.keys(NAMED_SCHEDULES)].join(' or ');
      const hint = steps.length === 1 ? ` (a list such as 5s,5m,30m, or ${names})` : '';
      throw new ValueError(`retry ${index + 1}: ${error.message}${hint}`);
    }
  });
}

/**
 * The waits before probes of an endpoint that fails, in milliseconds: `10s,1m,5m`.
 *
 * @throws {ValueError}
 */
export function parsePauses(text: string): number[] {
  const steps = text.split(',').map((step) => step.trim());
  if (steps.length > MAX_RETRIES) {
    throw new ValueError(`has ${steps.length} pauses; at most ${MAX_RETRIES} are possible`);
  }
  return steps.reduce<number[]>((pausesMs, step, index) => {
    const before = pausesMs.at(-1) ?? 0;
    let pauseMs: number;
    try {
      pauseMs = parseDurationMs(step, { minMs: 1_000, maxMs: 86_400_000 });
    } catch (error) {
      if (!(error instanceof ValueError)) throw error;
      throw new ValueError(`pause ${index + 1}: ${error.message}`);
    }
    if (pauseMs < before) {
      throw new ValueError(`pause ${index + 1} (${step}) is shorter than the one before; they may only grow`);
    }
    return [...pausesMs, pauseMs];
  }, []);
}

/**
 * An account's name; null for `off`.
 *
 * @throws {ValueError}
 */
export function parseUsername(text: string): string | null {
  if (text === 'off') return null;
  if (!/^[A-Za-z0-9._@+-]{1,64}$/.test(text) || text === '.' || text === '..') {
    throw new ValueError('must be the name of an account (1 to 64 of letters, digits and . _ - @ +), or off');
  }
  return text;
}

/** The way back of {@link parseRetrySchedule}, names spelled out. */
export function formatRetrySchedule(delaysMs: readonly number[]): string {
  return delaysMs.length === 0 ? 'off' : delaysMs.map(formatDuration).join(',');
}

/**
 * Whose `x-forwarded-for` is believed: nobody's (false), that of so many proxies in a row before this server, or that
 * of the proxies at these addresses and ranges.
 */
export type TrustProxy = false | number | string[];

/** Ranges with a name: loopback, link-local and private addresses. */
const PROXY_RANGES = ['loopback', 'linklocal', 'uniquelocal'];

function isAddressOrRange(text: string): boolean {
  if (PROXY_RANGES.includes(text)) return true;
  const [address = '', prefix, ...rest] = text.split('/');
  const version = isIP(address);
  if (version === 0 || rest.length > 0) return false;
  return prefix === undefined || (/^\d{1,3}$/.test(prefix) && Number(prefix) <= (version === 4 ? 32 : 128));
}

/**
 * The service's address as others have it, without a slash at its end.
 *
 * @throws {ValueError}
 * @example
 * parsePublicUrl('https://hooks.example.com/'); // 'https://hooks.example.com'
 */
export function parsePublicUrl(text: string): string {
  const url = URL.canParse(text) ? new URL(text) : null;
  if (url === null || !/^https?:$/.test(url.protocol)) {
    throw new ValueError('must be an http or https URL such as https://hooks.example.com');
  }
  if (url.username !== '' || url.password !== '' || url.search !== '' || url.hash !== '') {
    throw new ValueError('must have no user name, query or fragment');
  }
  return url.href.replace(/\/+$/, '');
}

/**
 * `off`, a number of proxies, or a list of addresses and ranges (`10.0.0.0/8,::1`, `loopback`).
 *
 * @throws {ValueError}
 */
export function parseTrustProxy(text: string): TrustProxy {
  if (text === 'off') return false;
  if (/^\d+$/.test(text)) return parseInteger(text, { min: 1, max: 20 });
  const proxies = text.split(',').map((proxy) => proxy.trim());
  const wrong = proxies.find((proxy) => !isAddressOrRange(proxy));
  if (wrong !== undefined) {
    throw new ValueError(
      `${quoted(wrong)} is not an address; write off, the number of proxies before this server (1 to 20), or their ` +
        `addresses such as 10.0.0.0/8,::1`,
    );
  }
  return proxies;
}

/** The way back of {@link parseTrustProxy}. */
export function formatTrustProxy(value: TrustProxy): string {
  if (value === false) return 'off';
  return Array.isArray(value) ? value.join(',') : String(value);
}

/**
 * `none`, or a list of ranges, addresses and host names that {@link AllowList} takes.
 *
 * @throws {ValueError}
 */
export function parseAllowPrivate(text: string): string[] {
  if (text === 'none') return [];
  const entries = text.split(',').map((entry) => entry.trim());
  for (const entry of entries) {
    try {
      AllowList.of([entry]);
    } catch (error) {
      throw new ValueError(`has ${quoted(entry)}, which ${(error as Error).message}`);
    }
  }
  return entries;
}

/** The way back of {@link parseAllowPrivate}. */
export function formatAllowPrivate(entries: readonly string[]): string {
  return entries.length === 0 ? 'none' : entries.join(',');
}

const PROXY_EXAMPLES = 'http://user:password@proxy.example:3128 or socks5://proxy.example:1080';
const DEFAULT_PROXY_PORTS = { http: 80, socks5: 1080 } as const;

/**
 * `none`, or the URL of a proxy. Messages never repeat it, for it may hold a password.
 *
 * @throws {ValueError}
 */
export function parseEgressProxy(text: string): EgressProxy | null {
  if (text === 'none') return null;
  const kind = /^(http|socks5):\/\/[^/]/i.exec(text)?.[1]?.toLowerCase() as EgressProxy['kind'] | undefined;
  if (kind === undefined) throw new ValueError(`is not the URL of a proxy; write none, ${PROXY_EXAMPLES}`);
  // Read as http, whose hosts are checked and normalised; a URL of another scheme keeps its host as it is.
  const url = URL.parse(`http${text.slice(kind.length)}`);
  if (url === null || url.pathname !== '/' || url.search !== '' || url.hash !== '') {
    throw new ValueError(`is not a scheme, host and port alone; write ${PROXY_EXAMPLES}`);
  }
  if (url.port === '0') throw new ValueError('has port 0; write one from 1 to 65535');
  const credentials = proxyCredentials(url);
  // The default port of http isn't in the parsed URL; that of socks5 is another.
  const givenPort = /:(\d+)\/?$/.exec(text.slice(text.lastIndexOf('@') + 1))?.[1];
  return {
    kind,
    host: url.hostname.replace(/^\[(.*)\]$/, '$1'),
    port: givenPort === undefined ? DEFAULT_PROXY_PORTS[kind] : Number(givenPort),
    credentials,
  };
}

function proxyCredentials(url: URL): EgressProxy['credentials'] {
  if (url.username === '' && url.password === '') return null;
  let username: string;
  let password: string;
  try {
    username = decodeURIComponent(url.username);
    password = decodeURIComponent(url.password);
  } catch {
    throw new ValueError('has a % in its user name or password that begins no code; write it as %25');
  }
  const isShort = (part: string): boolean => Buffer.byteLength(part) <= 255;
  // RFC 7617: the first colon ends the name. RFC 1929: neither is longer than a byte can count, nor empty.
  if (username === '' || username.includes(':') || !isShort(username) || !isShort(password)) {
    throw new ValueError(
      'must have a user name of 1 to 255 bytes without a colon, and a password of up to 255 bytes',
    );
  }
  return { username, password };
}

/** The way back of {@link parseEgressProxy}, without the credentials. */
export function formatEgressProxy(proxy: EgressProxy | null): string {
  if (proxy === null) return 'none';
  const host = proxy.host.includes(':') ? `[${proxy.host}]` : proxy.host;
  return `${proxy.kind}://${proxy.credentials === null ? '' : '***@'}${host}:${proxy.port}`;
}

/**
 * A key that a person chose for the operator. Messages never repeat it.
 *
 * @throws {ValueError}
 */
export function parseOperatorKey(text: string): string {
  if (!/^[\x21-\x7e]{32,512}$/.test(text)) {
    throw new ValueError(
      'must have 32 to 512 characters, letters, digits and signs without spaces; `openssl rand -hex 32` makes a good one',
    );
  }
  return text;
}

/**
 * Checks that the vault would take the text as its key, and gives it back as it is. Messages never repeat it.
 *
 * @throws {ValueError}
 */
export function parseEncryptionKeyText(text: string): string {
  try {
    parseEncryptionKey(text);
  } catch (error) {
    throw new ValueError('must be base64 of exactly 32 bytes; `openssl rand -base64 32` makes one', {
      cause: error,
    });
  }
  return text;
}

/**
 * Such keys separated by commas, or `none`. Messages never repeat them.
 *
 * @throws {ValueError}
 */
export function parseEncryptionKeyTexts(text: string): string[] {
  if (text === 'none') return [];
  return text
    .split(',')
    .map((key) => key.trim())
    .map((key, index) => {
      try {
        return parseEncryptionKeyText(key);
      } catch (error) {
        if (!(error instanceof ValueError)) throw error;
        throw new ValueError(
          `must be keys separated by commas, or none; number ${index + 1} ${error.message}`,
        );
      }
    });
}
