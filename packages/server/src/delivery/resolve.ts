import { Resolver, lookup as systemLookup } from 'node:dns/promises';
import { type Clock, systemClock } from '../clock.ts';
import type { EndpointPolicy } from './address-guard.ts';

/**
 * The addresses of a host name, in the order in which they are tried. Rejects with a system or DNS error whose `code`
 * says why there are none (`ENOTFOUND`, `ETIMEOUT`, …).
 */
export type Lookup = (hostname: string) => Promise<readonly string[]>;

export interface NameResolver {
  lookup: Lookup;
  /** Gives up open questions (they reject), which would otherwise keep the process alive for some seconds. */
  close(): void;
}

/** First repetition of an unanswered query, and how often; further tries wait twice as long each. */
const QUERY_TIMEOUT_MS = 1_000;
const QUERY_TRIES = 3;
/** How much longer than for the first kind of addresses the second kind is waited for. */
const OTHER_FAMILY_MS = 250;
/** More is no webhook's name, and each of them would be checked, kept and dialled. */
const MAX_ADDRESSES = 64;
/** The code of the error then. */
export const TOO_MANY_ADDRESSES = 'TOO_MANY_ADDRESSES';

/** However short a record's life is, a burst asks for it once in this time. */
const MIN_TTL_MS = 1_000;
/** However long it is, a changed record takes effect after this time. */
const MAX_TTL_MS = 60_000;
/** What the system answers has no life of its own. */
const SYSTEM_TTL_MS = 5_000;
/** A name or record that doesn't exist is asked for again after this time. */
const ABSENT_TTL_MS = 5_000;
/** A question that failed (no reply, an error of the servers) is asked again after this time. */
const FAILED_TTL_MS = 1_000;
const ABSENT = new Set(['ENOTFOUND', 'ENODATA', TOO_MANY_ADDRESSES]);
const MAX_NAMES = 10_000;

export interface ResolverOptions {
  /** Name servers to ask instead of the system's, as `address:port`. */
  servers?: readonly string[];
  /** Names that the system is asked for under `public-https` too: an operator's own, which only it may know. */
  isOwnName?: (hostname: string) => boolean;
  /** Names whose answers are kept; the oldest makes room. Default 10,000. */
  maxNames?: number;
  clock?: Pick<Clock, 'monotonic' | 'timer'>;
}

/**
 * How a policy finds addresses. Answers are kept for as long as their records live, 1 s to 60 s, and refusals for some
 * seconds, so that a burst of deliveries asks each name once. They are kept as they came: whoever dials checks them each
 * time.
 *
 * Under `public-https` it asks the name servers itself. The system's resolver runs on at most half of Node's four
 * pool threads, so two host names whose servers don't answer would hold up every other endpoint's lookup for seconds;
 * queries of our own wait side by side. What is lost with it (the hosts file, search domains, multicast DNS) concerns
 * private names only, which is why `development` asks the system.
 *
 * @example
 * const resolver = createResolver('public-https');
 * await resolver.lookup('hooks.example.com'); // ['93.184.215.14', '2606:2800:…']
 */
export function createResolver(policy: EndpointPolicy, options: ResolverOptions = {}): NameResolver {
  const { servers, isOwnName = () => false, maxNames = MAX_NAMES, clock = systemClock } = options;
  if (policy === 'development') {
    return { lookup: kept(askSystem, maxNames, clock), close: () => {} };
  }
  const resolver = new Resolver({ timeout: QUERY_TIMEOUT_MS, tries: QUERY_TRIES });
  if (servers !== undefined) resolver.setServers(servers);
  const ask = (hostname: string): Promise<Answer> =>
    isOwnName(hostname) ? askSystem(hostname) : askNameServers(resolver, hostname, clock);
  return { lookup: kept(ask, maxNames, clock), close: () => resolver.cancel() };
}

interface Answer {
  addresses: readonly string[];
  ttlMs: number;
}

async function askSystem(hostname: string): Promise<Answer> {
  const found = await systemLookup(hostname, { all: true, order: 'ipv4first' });
  return { addresses: found.map(({ address }) => address), ttlMs: SYSTEM_TTL_MS };
}

/** One kind of addresses; `error` says why there are none. */
interface Family {
  records: readonly { address: string; ttl: number }[];
  error: unknown;
}

const NO_ADDRESS = Object.assign(new Error('no address'), { code: 'ENODATA' });
const SILENT: Family = { records: [], error: null };

async function askNameServers(
  resolver: Resolver,
  hostname: string,
  clock: Pick<Clock, 'timer'>,
): Promise<Answer> {
  const [v4, v6] = await bothFamilies(
    familyOf(resolver.resolve4(hostname, { ttl: true })),
    familyOf(resolver.resolve6(hostname, { ttl: true })),
    clock,
  );
  // IPv4 first: where IPv6 is configured but doesn't work, the other order delays every new connection.
  const records = [...v4.records, ...v6.records];
  if (records.length > 0) {
    const ttlMs = Math.min(...records.map(({ ttl }) => ttl)) * 1_000;
    return {
      addresses: records.map(({ address }) => address),
      ttlMs: Math.min(Math.max(ttlMs, MIN_TTL_MS), MAX_TTL_MS),
    };
  }
  const code = codeOf(v4.error);
  // No name server is listening where we were told to ask: the system may know another way.
  if (code === 'ECONNREFUSED') return askSystem(hostname);
  // "No IPv4 address" says less than why there is no IPv6 address either.
  throw code === 'ENODATA' ? v6.error : v4.error;
}

async function familyOf(answer: Promise<Family['records']>): Promise<Family> {
  try {
    const records = await answer;
    // An alias that leads nowhere is answered with an empty list.
    return { records, error: records.length > 0 ? null : NO_ADDRESS };
  } catch (error) {
    return { records: [], error };
  }
}

/** Waits for both, or, when one has addresses, a moment longer for the other: some servers never answer for IPv6. */
function bothFamilies(
  v4: Promise<Family>,
  v6: Promise<Family>,
  clock: Pick<Clock, 'timer'>,
): Promise<[Family, Family]> {
  return new Promise((resolve) => {
    const answers: [Family | null, Family | null] = [null, null];
    let cancel = (): void => {};
    const end = (): void => {
      cancel();
      resolve([answers[0] ?? SILENT, answers[1] ?? SILENT]);
    };
    [v4, v6].forEach((family, i) => {
      void family.then((answer) => {
        answers[i] = answer;
        if (answers[0] !== null && answers[1] !== null) end();
        else if (answer.records.length > 0) cancel = clock.timer(OTHER_FAMILY_MS, end);
      });
    });
  });
}

interface Kept {
  addresses: Promise<readonly string[]>;
  /** Monotonic ms; infinite while the question is open, so that it is asked once. */
  untilMs: number;
}

function kept(
  ask: (hostname: string) => Promise<Answer>,
  maxNames: number,
  clock: Pick<Clock, 'monotonic'>,
): Lookup {
  const names = new Map<string, Kept>();

  async function look(hostname: string, entry: Kept): Promise<readonly string[]> {
    try {
      const { addresses, ttlMs } = await ask(hostname);
      if (addresses.length > MAX_ADDRESSES) {
        throw Object.assign(new Error(`${addresses.length} addresses`), { code: TOO_MANY_ADDRESSES });
      }
      entry.untilMs = clock.monotonic() + ttlMs;
      return addresses;
    } catch (error) {
      const isAbsent = ABSENT.has(codeOf(error));
      entry.untilMs = clock.monotonic() + (isAbsent ? ABSENT_TTL_MS : FAILED_TTL_MS);
      throw error;
    }
  }

  return (hostname) => {
    const known = names.get(hostname);
    if (known !== undefined && clock.monotonic() < known.untilMs) return known.addresses;
    const entry: Kept = { addresses: NOT_ASKED, untilMs: Number.POSITIVE_INFINITY };
    entry.addresses = look(hostname, entry);
    // Anew at the end, where the youngest are.
    names.delete(hostname);
    names.set(hostname, entry);
    if (names.size > maxNames) {
      const oldest = names.keys().next();
      if (!oldest.done) names.delete(oldest.value);
    }
    return entry.addresses;
  };
}

const NOT_ASKED: Promise<readonly string[]> = Promise.resolve([]);

function codeOf(error: unknown): string {
  return (error as { code?: string } | null)?.code ?? '';
}
