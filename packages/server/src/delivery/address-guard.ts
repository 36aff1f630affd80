import ipaddr from 'ipaddr.js';
import { invalid } from '../errors.ts';
import { type AllowList, isMetadataName, isWithin, NOTHING_ALLOWED } from './allow-list.ts';

/**
 * Where deliveries may go: `public-https` allows only `https` and publicly routable addresses; `development` also
 * allows `http`, loopback and private networks.
 */
export type EndpointPolicy = 'public-https' | 'development';

/** The longest endpoint URL, in bytes of UTF-8. */
export const MAX_URL_BYTES = 2048;

interface SpecialRange {
  cidr: string;
  /** Completes the sentence "url must not point to …". */
  reason: string;
  /** Of one's own networks: dialled under the `development` policy, and where an {@link AllowList} opens it. */
  own?: true;
}

/**
 * Addresses that are no business of a webhook, by the IANA special-purpose registries and the providers' documents.
 * The first match names the reason, so an exception stands before the range that holds it. What is in no row is still
 * refused unless it is global unicast: see {@link blockedAddress}.
 */
const SPECIAL_RANGES: readonly SpecialRange[] = [
  { cidr: '0.0.0.0/8', reason: 'an unspecified address (0.0.0.0/8)' },
  { cidr: '127.0.0.0/8', reason: 'a loopback address (127.0.0.0/8)', own: true },
  { cidr: '10.0.0.0/8', reason: 'a private address (10.0.0.0/8)', own: true },
  { cidr: '172.16.0.0/12', reason: 'a private address (172.16.0.0/12)', own: true },
  { cidr: '192.168.0.0/16', reason: 'a private address (192.168.0.0/16)', own: true },
  // Alibaba Cloud keeps its metadata service here.
  { cidr: '100.100.100.200/32', reason: 'a cloud metadata address' },
  { cidr: '100.64.0.0/10', reason: 'a carrier-grade NAT address (100.64.0.0/10)', own: true },
  { cidr: '169.254.0.0/16', reason: 'a link-local or cloud metadata address (169.254.0.0/16)' },
  { cidr: '192.0.0.0/24', reason: 'an address of IETF protocol assignments (192.0.0.0/24)' },
  { cidr: '192.0.2.0/24', reason: 'a documentation address (192.0.2.0/24)' },
  { cidr: '198.51.100.0/24', reason: 'a documentation address (198.51.100.0/24)' },
  { cidr: '203.0.113.0/24', reason: 'a documentation address (203.0.113.0/24)' },
  { cidr: '192.88.99.0/24', reason: 'a 6to4 relay address (192.88.99.0/24)' },
  { cidr: '198.18.0.0/15', reason: 'a benchmarking address (198.18.0.0/15)' },
  { cidr: '224.0.0.0/4', reason: 'a multicast address (224.0.0.0/4)' },
  { cidr: '255.255.255.255/32', reason: 'the broadcast address' },
  { cidr: '240.0.0.0/4', reason: 'a reserved address (240.0.0.0/4)' },
  // Azure's platform service answers here, inside every virtual machine, on an address that looks public.
  { cidr: '168.63.129.16/32', reason: 'a cloud platform address' },

  { cidr: '::/128', reason: 'the unspecified address (::)' },
  { cidr: '::1/128', reason: 'the loopback address (::1)', own: true },
  { cidr: '::/96', reason: 'an IPv4-compatible address (::/96)' },
  { cidr: '::ffff:0:0:0/96', reason: 'an IPv4-translated address (::ffff:0:0:0/96)' },
  { cidr: '64:ff9b::/96', reason: 'a NAT64 address (64:ff9b::/96)' },
  { cidr: '64:ff9b:1::/48', reason: 'a NAT64 address (64:ff9b:1::/48)' },
  { cidr: '100::/64', reason: 'a discard-only address (100::/64)' },
  { cidr: '2001::/32', reason: 'a Teredo address (2001::/32)' },
  { cidr: '2001::/23', reason: 'an address of IETF protocol assignments (2001::/23)' },
  { cidr: '2001:db8::/32', reason: 'a documentation address (2001:db8::/32)' },
  { cidr: '2002::/16', reason: 'a 6to4 address (2002::/16)' },
  { cidr: '3fff::/20', reason: 'a documentation address (3fff::/20)' },
  { cidr: '5f00::/16', reason: 'a segment-routing address (5f00::/16)' },
  { cidr: 'fd00:ec2::/32', reason: 'a cloud metadata address (fd00:ec2::/32)' },
  { cidr: 'fc00::/7', reason: 'a unique local address (fc00::/7)', own: true },
  { cidr: 'fe80::/10', reason: 'a link-local address (fe80::/10)' },
  { cidr: 'fec0::/10', reason: 'a site-local address (fec0::/10)' },
  { cidr: 'ff00::/8', reason: 'a multicast address (ff00::/8)' },
];

const PARSED_RANGES = SPECIAL_RANGES.map((range) => ({ ...range, net: ipaddr.parseCIDR(range.cidr) }));

/** ipaddr.js 2.5.0 reads `::8.8.8.8` as `::ffff:8.8.8.8`, a public address; written out it is read as the system does. */
const BARE_IPV4_COMPATIBLE = /^::(?=\d+\.)/;

const GLOBAL_UNICAST_V6 = ipaddr.IPv6.parseCIDR('2000::/3');

/**
 * Why an address is not dialled, as the end of a sentence ("a loopback address (127.0.0.0/8)"), or null when it may
 * be. IPv4-mapped IPv6 addresses are judged as the IPv4 address they hold; every other form that carries an IPv4
 * address inside is refused whatever it carries.
 *
 * @param ip an address as resolvers give it: dotted quad, or IPv6 without brackets. Anything else is refused.
 * @param allow what the operator has opened beyond the policy
 * @param hostname the name that led to the address, if any: it may be one that the operator has opened
 *
 * @example
 * blockedAddress('::ffff:10.0.0.1', 'public-https'); // 'a private address (10.0.0.0/8)'
 * blockedAddress('8.8.8.8', 'public-https'); // null
 */
export function blockedAddress(
  ip: string,
  policy: EndpointPolicy,
  allow: AllowList = NOTHING_ALLOWED,
  hostname: string | null = null,
): string | null {
  // ipaddr.js also reads `127.1` and octal digits; what no resolver answers is not for us to interpret.
  if (!ipaddr.IPv4.isValidFourPartDecimal(ip) && !ipaddr.IPv6.isValid(ip)) return 'an unreadable address';
  const address = ipaddr.process(ip.replace(BARE_IPV4_COMPATIBLE, '0:0:0:0:0:0:'));
  for (const range of PARSED_RANGES) {
    if (!isWithin(address, range.net)) continue;
    const isOpen =
      policy === 'development' || allow.hasAddress(address) || (hostname !== null && allow.hasHost(hostname));
    return range.own && isOpen ? null : range.reason;
  }
  if (address instanceof ipaddr.IPv6) {
    if (!address.match(GLOBAL_UNICAST_V6)) return 'an address outside of global unicast (2000::/3)';
    if (isIsatap(address)) return 'an ISATAP address';
  }
  // The library's own list may learn of ranges that the table above doesn't know yet.
  const range = address.range();
  return range === 'unicast' ? null : `a special-purpose address (${range})`;
}

/** `…:0:5efe:a.b.c.d` (RFC 5214) holds an IPv4 address below any prefix; the other form sets the "global" bit. */
function isIsatap(address: ipaddr.IPv6): boolean {
  const [, , , , high, low] = address.parts;
  return low === 0x5efe && (high === 0 || high === 0x0200);
}

/** Top-level names that private networks use and public DNS never serves (RFC 6761, 6762, 8375, ICANN's reservations). */
const PRIVATE_SUFFIXES = [
  'localhost',
  'localdomain',
  'local',
  'internal',
  'intranet',
  'private',
  'corp',
  'home',
  'lan',
  'home.arpa',
];

/**
 * Reads an endpoint's URL as a request would, and refuses what must never be dialled. Addresses behind a name are
 * checked when a connection is made ({@link blockedAddress}); this is the early answer for its author.
 *
 * @returns the parsed URL. Store the text as it was sent, not this: clients compare it by string equality.
 * @throws PosthornError `invalid_parameter` that names `url` and says what to change.
 *
 * @example
 * checkEndpointUrl('https://hooks.example.com/jobs', 'public-https').host; // 'hooks.example.com'
 * checkEndpointUrl('https://2130706433/', 'public-https'); // throws: that is 127.0.0.1
 */
export function checkEndpointUrl(
  url: string,
  policy: EndpointPolicy,
  allow: AllowList = NOTHING_ALLOWED,
): URL {
  checkText(url);
  const parsed = parse(url, policy);
  checkAuthority(url, parsed);
  const reason = blockedHost(parsed.hostname, policy, allow);
  if (reason !== null) throw invalid('url', `url must ${reason}`);
  return parsed;
}

/**
 * Why a URL's host is refused before anything is looked up, as the end of the sentence "url must …"; null when it isn't.
 * {@link checkEndpointUrl} asks it, and whoever hands names to a proxy instead of looking them up.
 *
 * @param hostname as a parsed URL has it
 */
export function blockedHost(
  hostname: string,
  policy: EndpointPolicy,
  allow: AllowList = NOTHING_ALLOWED,
): string | null {
  const literal = hostname.startsWith('[') ? hostname.slice(1, -1) : hostname;
  // Every IPv4 spelling is a dotted quad by now: the parser has decoded hex, octal, short and full-width forms.
  if (ipaddr.IPv4.isValidFourPartDecimal(literal) || ipaddr.IPv6.isValid(literal)) {
    const reason = blockedAddress(literal, policy, allow);
    return reason === null ? null : `not point to ${reason}`;
  }
  // `name.` is the same host as `name`.
  const name = hostname.endsWith('.') ? hostname.slice(0, -1) : hostname;
  if (name.split('.').includes('')) return 'have a host name without empty labels';
  const suffix = PRIVATE_SUFFIXES.find((private_) => name === private_ || name.endsWith(`.${private_}`));
  const isOpen = policy === 'development' || allow.hasHost(name);
  if (!isOpen && suffix !== undefined) {
    return `have a public host name: names under .${suffix} exist in private networks only`;
  }
  if (isMetadataName(name)) return 'not point to a cloud metadata service';
  if (!isOpen && !name.includes('.')) {
    return `have a full host name such as hooks.example.com, not ${name}`;
  }
  return null;
}

// The parser drops tabs and line ends, trims spaces and reads `\` as `/`: the stored text would then not be what is
// requested, so the raw text is checked before it.
function checkText(url: string): void {
  if (Buffer.byteLength(url) > MAX_URL_BYTES) {
    throw invalid('url', `url must not be longer than ${MAX_URL_BYTES} bytes`);
  }
  if (/\p{Cc}/u.test(url)) {
    throw invalid('url', 'url must not contain tabs, line breaks or other control characters');
  }
  if (/\s/.test(url)) throw invalid('url', 'url must not contain spaces; write %20 inside a path');
  if (url.includes('\\')) throw invalid('url', 'url must not contain a backslash; use / or %5C');
  if (!url.isWellFormed()) throw invalid('url', 'url must be valid Unicode text');
}

function parse(url: string, policy: EndpointPolicy): URL {
  const example = 'such as https://hooks.example.com/posthorn';
  const parsed = URL.parse(url);
  if (parsed === null) {
    throw invalid('url', `url must be an absolute URL with a valid host and port, ${example}`);
  }
  if (policy === 'public-https' && parsed.protocol !== 'https:') {
    throw invalid('url', `url must use https, not ${parsed.protocol.slice(0, -1)}`);
  }
  if (parsed.protocol !== 'https:' && parsed.protocol !== 'http:') {
    throw invalid('url', `url must use https or http, not ${parsed.protocol.slice(0, -1)}`);
  }
  // The parser also accepts `https:host` and `https:///host`, which other software reads otherwise.
  if (!/^https?:\/\/[^/?#]/i.test(url)) {
    throw invalid('url', `url must name its host after exactly two slashes, ${example}`);
  }
  return parsed;
}

function checkAuthority(url: string, parsed: URL): void {
  const authority = /^[^/]*\/\/([^/?#]*)/.exec(url)?.[1] ?? '';
  if (authority.includes('@')) {
    throw invalid('url', 'url must not contain a user name or password; use custom headers instead');
  }
  if (url.includes('#')) {
    throw invalid('url', 'url must not contain a fragment (#…): it is never sent to a server');
  }
  if (parsed.port === '0') throw invalid('url', 'url must have a port from 1 to 65535');
}
