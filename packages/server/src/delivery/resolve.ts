import { Resolver, lookup as systemLookup } from 'node:dns/promises';
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

/**
 * How a policy finds addresses. Questions about the same name that are open at the same time are asked once.
 *
 * Under `public-https` it asks the name servers itself. The system's resolver runs on at most half of Node's four
 * pool threads, so two host names whose servers don't answer would hold up every other endpoint's lookup for seconds;
 * queries of our own wait side by side. What is lost with it (the hosts file, search domains, multicast DNS) concerns
 * private names only, which is why `development` asks the system.
 *
 * @param servers name servers to ask instead of the system's, as `address:port`
 */
export function createResolver(policy: EndpointPolicy, servers?: readonly string[]): NameResolver {
  if (policy === 'development') return { lookup: coalesced(askSystem), close: () => {} };
  const resolver = new Resolver({ timeout: QUERY_TIMEOUT_MS, tries: QUERY_TRIES });
  if (servers !== undefined) resolver.setServers(servers);
  return {
    lookup: coalesced((hostname) => askNameServers(resolver, hostname)),
    close: () => resolver.cancel(),
  };
}

async function askSystem(hostname: string): Promise<string[]> {
  const found = await systemLookup(hostname, { all: true, order: 'ipv4first' });
  return found.map(({ address }) => address);
}

async function askNameServers(resolver: Resolver, hostname: string): Promise<string[]> {
  const [v4, v6] = await Promise.allSettled([resolver.resolve4(hostname), resolver.resolve6(hostname)]);
  if (v4.status === 'fulfilled' || v6.status === 'fulfilled') {
    // IPv4 first: where IPv6 is configured but doesn't work, the other order delays every new connection.
    return [...(v4.status === 'fulfilled' ? v4.value : []), ...(v6.status === 'fulfilled' ? v6.value : [])];
  }
  const { code } = v4.reason as { code?: string };
  // No name server is listening where we were told to ask: the system may know another way.
  if (code === 'ECONNREFUSED') return askSystem(hostname);
  // "No IPv4 address" says less than why there is no IPv6 address either.
  throw code === 'ENODATA' ? v6.reason : v4.reason;
}

function coalesced(lookup: Lookup): Lookup {
  const open = new Map<string, ReturnType<Lookup>>();
  return (hostname) => {
    let answer = open.get(hostname);
    if (answer === undefined) {
      answer = lookup(hostname).finally(() => open.delete(hostname));
      open.set(hostname, answer);
    }
    return answer;
  };
}
