import ipaddr from 'ipaddr.js';

type Range = [ipaddr.IPv4 | ipaddr.IPv6, number];

/**
 * What an operator may open to deliveries beyond the public internet: addresses of one's own networks. Everything else
 * that is special (link-local and metadata addresses, multicast, disguises of IPv4 …) stays shut whatever a list says.
 */
export const OPENABLE_RANGES = [
  '127.0.0.0/8',
  '10.0.0.0/8',
  '172.16.0.0/12',
  '192.168.0.0/16',
  '100.64.0.0/10',
  '::1/128',
  'fc00::/7',
] as const;

const OPENABLE: readonly Range[] = OPENABLE_RANGES.map((range) => ipaddr.parseCIDR(range));

/** Host names of cloud metadata services, which no list opens: the addresses behind them are refused as well. */
const METADATA_NAMES = new Set([
  'metadata',
  'metadata.google.internal',
  'metadata.goog',
  'instance-data',
  'instance-data.ec2.internal',
]);

/** A host name in ASCII and lower case, without a final dot. */
const HOST_NAME =
  /^(?=.{1,253}$)[a-z0-9_]([a-z0-9_-]{0,61}[a-z0-9_])?(\.[a-z0-9_]([a-z0-9_-]{0,61}[a-z0-9_])?)*$/;

export function isMetadataName(hostname: string): boolean {
  return METADATA_NAMES.has(withoutFinalDot(hostname));
}

/**
 * Addresses and names of one's own networks that an operator has opened to deliveries.
 *
 * A range opens its addresses to every endpoint, whatever name leads there. A name opens itself alone: its URL may be
 * saved, though it looks private, and the addresses behind it may be any of {@link OPENABLE_RANGES}.
 *
 * @example
 * const allow = AllowList.of(['10.20.0.0/16', 'billing.internal', '*.hooks.internal']);
 * allow.hasHost('a.hooks.internal'); // true
 */
export class AllowList {
  readonly #ranges: readonly Range[];
  readonly #names: ReadonlySet<string>;
  /** Of `*.name`, `.name`. */
  readonly #suffixes: readonly string[];

  private constructor(ranges: readonly Range[], names: readonly string[]) {
    this.#ranges = ranges;
    this.#names = new Set(names.filter((name) => !name.startsWith('*')));
    this.#suffixes = names.filter((name) => name.startsWith('*')).map((name) => name.slice(1));
  }

  /**
   * @param entries ranges (`10.20.0.0/16`), addresses, host names and `*.` with a host name
   * @throws Error whose message completes a sentence that begins with the entry: "is not …"
   */
  static of(entries: readonly string[]): AllowList {
    const ranges: Range[] = [];
    const names: string[] = [];
    for (const entry of entries) {
      if (/[:/]/.test(entry) || /^[\d.]+$/.test(entry)) ranges.push(rangeOf(entry));
      else names.push(nameOf(entry));
    }
    return new AllowList(ranges, names);
  }

  /** For names as URLs have them: lower case, ASCII. */
  hasHost(hostname: string): boolean {
    const name = withoutFinalDot(hostname);
    if (METADATA_NAMES.has(name)) return false;
    return this.#names.has(name) || this.#suffixes.some((suffix) => name.endsWith(suffix));
  }

  hasAddress(address: ipaddr.IPv4 | ipaddr.IPv6): boolean {
    return this.#ranges.some((range) => isWithin(address, range));
  }
}

export const NOTHING_ALLOWED = AllowList.of([]);

export function isWithin(address: ipaddr.IPv4 | ipaddr.IPv6, [net, bits]: Range): boolean {
  if (address instanceof ipaddr.IPv4) return net instanceof ipaddr.IPv4 && address.match(net, bits);
  return net instanceof ipaddr.IPv6 && address.match(net, bits);
}

function rangeOf(entry: string): Range {
  const [address = '', prefix, ...rest] = entry.split('/');
  const isReadable = ipaddr.IPv4.isValidFourPartDecimal(address) || ipaddr.IPv6.isValid(address);
  if (!isReadable || rest.length > 0 || (prefix !== undefined && !/^\d{1,3}$/.test(prefix))) {
    throw new Error('is not an address or range such as 10.20.0.0/16');
  }
  const net = ipaddr.parse(address);
  const most = net.kind() === 'ipv4' ? 32 : 128;
  const bits = prefix === undefined ? most : Number(prefix);
  if (bits > most) throw new Error(`has a prefix longer than ${most} bits`);
  const first =
    net instanceof ipaddr.IPv4
      ? ipaddr.IPv4.networkAddressFromCIDR(`${address}/${bits}`)
      : ipaddr.IPv6.networkAddressFromCIDR(`${address}/${bits}`);
  if (first.toString() !== net.toString()) {
    throw new Error(`is not where a range begins; write ${first.toString()}/${bits}`);
  }
  if (!OPENABLE.some((openable) => bits >= openable[1] && isWithin(net, openable))) {
    throw new Error(`is not within a range that can be opened; these are ${OPENABLE_RANGES.join(', ')}`);
  }
  return [net, bits];
}

function nameOf(entry: string): string {
  const isWide = entry.startsWith('*.');
  const name = withoutFinalDot(asciiName(isWide ? entry.slice(2) : entry));
  if (!HOST_NAME.test(name) || ipaddr.IPv4.isValidFourPartDecimal(name)) {
    throw new Error(
      'is not a host name such as billing.internal, or *.hooks.internal for all names under one',
    );
  }
  if (METADATA_NAMES.has(name)) throw new Error('is a cloud metadata service, which stays refused');
  return isWide ? `*.${name}` : name;
}

/** As a URL has it; empty for what no URL takes. */
function asciiName(name: string): string {
  if (/[^\p{L}\p{N}\p{M}._-]/u.test(name)) return '';
  return URL.parse(`http://${name}/`)?.hostname ?? '';
}

function withoutFinalDot(name: string): string {
  return name.endsWith('.') ? name.slice(0, -1) : name;
}
