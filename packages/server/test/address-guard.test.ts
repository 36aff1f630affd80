import assert from 'node:assert/strict';
import { describe, test } from 'node:test';
import fc from 'fast-check';
import ipaddr from 'ipaddr.js';
import { blockedAddress, checkEndpointUrl, type EndpointPolicy } from '../src/delivery/address-guard.ts';
import { PosthornError } from '../src/errors.ts';

function refusal(url: string, policy: EndpointPolicy = 'public-https'): string {
  try {
    checkEndpointUrl(url, policy);
  } catch (error) {
    assert.ok(error instanceof PosthornError, `a PosthornError, not ${String(error)}`);
    assert.equal(error.kind, 'invalid_parameter');
    assert.equal(error.field, 'url');
    assert.match(error.message, /^url must /);
    return error.message;
  }
  assert.fail(`${JSON.stringify(url)} was accepted under ${policy}`);
}

const longPath = (bytes: number): string => {
  const start = 'https://hooks.example.com/';
  return start + 'a'.repeat(bytes - start.length);
};

describe('an endpoint URL under public-https', () => {
  const accepted = [
    'https://hooks.example.com',
    'https://hooks.example.com/',
    'HTTPS://Hooks.Example.COM/Path?x=1&y=%20',
    'https://hooks.example.com:8443/a/b;c?d=e@f',
    'https://hooks.example.com/path@with-at',
    'https://hooks.example.com:65535/',
    'https://hooks.example.com./',
    'https://bücher.example.com/straße',
    'https://xn--bcher-kva.example.com/',
    'https://8.8.8.8/',
    'https://[2606:4700:4700::1111]/',
    'https://[::ffff:8.8.8.8]/',
    'https://notlocalhost.com/',
    'https://internal.example.com/',
    longPath(2048),
  ];
  for (const url of accepted) {
    test(`accepts ${url.length > 80 ? `${url.length} bytes` : url}`, () => {
      assert.ok(checkEndpointUrl(url, 'public-https') instanceof URL);
    });
  }

  const refused: [name: string, url: string, reason: RegExp][] = [
    ['http', 'http://hooks.example.com/', /must use https, not http$/],
    ['file', 'file:///etc/passwd', /must use https, not file$/],
    ['gopher', 'gopher://hooks.example.com/', /must use https, not gopher$/],
    ['javascript', 'javascript:alert(1)', /must use https, not javascript$/],
    ['data', 'data:text/plain,x', /must use https, not data$/],
    ['ftp', 'ftp://hooks.example.com/', /must use https, not ftp$/],
    ['ws', 'wss://hooks.example.com/', /must use https, not wss$/],
    ['an empty text', '', /absolute URL/],
    ['no scheme', 'hooks.example.com/jobs', /absolute URL/],
    ['a path alone', '/jobs', /absolute URL/],
    ['a scheme-relative URL', '//hooks.example.com/', /absolute URL/],
    ['no slashes', 'https:hooks.example.com', /exactly two slashes/],
    ['three slashes', 'https:///hooks.example.com', /exactly two slashes/],
    ['one slash', 'https:/hooks.example.com', /exactly two slashes/],
    ['no host', 'https://', /absolute URL/],
    ['no host but a path', 'https:///', /absolute URL/],
    ['user and password', 'https://user:secret@hooks.example.com/', /user name or password/],
    ['a user', 'https://user@hooks.example.com/', /user name or password/],
    ['an empty user', 'https://@hooks.example.com/', /user name or password/],
    ['a host before an @', 'https://example.com@127.0.0.1/', /user name or password/],
    ['a backslash in the path', 'https://hooks.example.com\\@127.0.0.1/', /backslash/],
    ['a backslash for slashes', 'https:\\\\hooks.example.com/', /backslash/],
    ['a tab', 'https://hooks.exa\tmple.com/', /control characters/],
    ['a CRLF', 'https://hooks.example.com/\r\nx-evil: 1', /control characters/],
    ['a line feed at the end', 'https://hooks.example.com/\n', /control characters/],
    ['a NUL', 'https://hooks.example.com/\0', /control characters/],
    ['a DEL', 'https://hooks.example.com/\x7f', /control characters/],
    ['a C1 control', 'https://hooks.example.com/\x85', /control characters/],
    ['a space before', ' https://hooks.example.com/', /spaces/],
    ['a space after', 'https://hooks.example.com/ ', /spaces/],
    ['a space inside', 'https://hooks.example.com/a b', /spaces/],
    ['a no-break space', 'https://hooks.example.com/\u00a0', /spaces/],
    ['a lone surrogate', 'https://hooks.example.com/\ud800', /Unicode/],
    ['port 0', 'https://hooks.example.com:0/', /port/],
    ['port 65536', 'https://hooks.example.com:65536/', /port/],
    ['a port that is no number', 'https://hooks.example.com:http/', /port/],
    ['a fragment', 'https://hooks.example.com/#top', /fragment/],
    ['an empty fragment', 'https://hooks.example.com/#', /fragment/],
    ['2049 bytes', longPath(2049), /2048 bytes/],
    ['2049 bytes in fewer characters', `${longPath(2047)}ü`, /2048 bytes/],
    ['an empty label', 'https://hooks..example.com/', /empty labels/],
    ['a leading dot', 'https://.example.com/', /empty labels/],
    ['two dots at the end', 'https://example.com../', /empty labels/],
    ['a single label', 'https://intrahost/', /full host name/],
    ['localhost', 'https://localhost/', /public host name/],
    ['LOCALHOST', 'https://LOCALHOST:8443/', /public host name/],
    ['localhost.', 'https://localhost./', /public host name/],
    ['a name under localhost', 'https://a.localhost/', /public host name/],
    ['*.internal', 'https://metadata.google.internal/', /names under \.internal/],
    ['*.local', 'https://printer.local/', /names under \.local /],
    ['*.local.', 'https://printer.local./', /names under \.local /],
    ['*.localdomain', 'https://db.localdomain/', /public host name/],
    ['*.home.arpa', 'https://nas.home.arpa/', /public host name/],
    ['*.lan', 'https://nas.lan/', /public host name/],
    ['*.corp', 'https://wiki.corp/', /public host name/],
    ['full-width localhost', 'https://ｌｏｃａｌｈｏｓｔ/', /public host name/],
    ['127.0.0.1', 'https://127.0.0.1/', /loopback/],
    ['127.0.0.1 with a dot', 'https://127.0.0.1./', /loopback/],
    ['a short IPv4 address', 'https://127.1/', /loopback/],
    ['a decimal IPv4 address', 'https://2130706433/', /loopback/],
    ['a hexadecimal IPv4 address', 'https://0x7f.1/', /loopback/],
    ['a hexadecimal number', 'https://0x7f000001/', /loopback/],
    ['an octal IPv4 address', 'https://0177.0.0.1/', /loopback/],
    ['circled digits', 'https://①②⑦.⓪.⓪.①/', /loopback/],
    ['full-width digits and dots', 'https://１２７。０。０。１/', /loopback/],
    ['a percent-encoded IPv4 address', 'https://%31%32%37.0.0.1/', /loopback/],
    ['0', 'https://0/', /unspecified/],
    ['0.0.0.0', 'https://0.0.0.0/', /unspecified/],
    ['an IPv4 address beyond 32 bits', 'https://4294967296/', /absolute URL/],
    ['the metadata address', 'https://169.254.169.254/latest/meta-data/', /metadata/],
    ['the metadata address as a number', 'https://2852039166/', /metadata/],
    ['::1', 'https://[::1]/', /loopback/],
    ['::', 'https://[::]/', /unspecified/],
    ['::1 written out', 'https://[0:0:0:0:0:0:0:1]/', /loopback/],
    ['IPv4-mapped loopback', 'https://[::ffff:127.0.0.1]/', /loopback/],
    ['IPv4-mapped loopback in hexadecimal', 'https://[::ffff:7f00:1]/', /loopback/],
    ['IPv4-compatible loopback', 'https://[::127.0.0.1]/', /IPv4-compatible/],
    ['an IPv6 zone', 'https://[fe80::1%25eth0]/', /absolute URL/],
  ];
  for (const [name, url, reason] of refused) {
    test(`refuses ${name}`, () => assert.match(refusal(url), reason));
  }

  test('never repeats a password in its message', () => {
    assert.doesNotMatch(refusal('https://user:hunter2@hooks.example.com/'), /hunter2/);
  });
});

describe('an endpoint URL under development', () => {
  for (const url of [
    'http://localhost:3000/hook',
    'http://127.0.0.1:3000/',
    'http://[::1]:3000/',
    'http://receiver:8080/',
    'http://printer.local/',
    'https://10.0.0.7/',
    'http://192.168.1.20/',
    'http://[fd12:3456:789a::1]/',
    'https://hooks.example.com/',
  ]) {
    test(`accepts ${url}`, () => assert.ok(checkEndpointUrl(url, 'development')));
  }
  for (const url of [
    'file:///etc/passwd',
    'ftp://localhost/',
    'http://user@localhost/',
    'http://localhost/#x',
    'http://localhost:0/',
    'http://localhost:65536/',
    'http://localhost/\t',
    'http:\\\\localhost/',
    'http:localhost',
    'http://169.254.169.254/',
    'http://100.100.100.200/',
    'http://[fd00:ec2::254]/',
    'http://[::127.0.0.1]/',
    'http://[64:ff9b::7f00:1]/',
    'http://224.0.0.1/',
    'http://255.255.255.255/',
  ]) {
    test(`refuses ${JSON.stringify(url)}`, () => void refusal(url, 'development'));
  }
});

describe('an address under public-https', () => {
  const blocked: [ip: string, reason: RegExp][] = [
    ['0.0.0.0', /unspecified/],
    ['0.255.255.255', /unspecified/],
    ['10.0.0.0', /private/],
    ['10.255.255.255', /private/],
    ['100.64.0.0', /carrier-grade/],
    ['100.127.255.255', /carrier-grade/],
    ['100.100.100.200', /metadata/],
    ['127.0.0.1', /loopback/],
    ['127.255.255.255', /loopback/],
    ['168.63.129.16', /cloud platform/],
    ['169.254.0.0', /link-local/],
    ['169.254.169.254', /metadata/],
    ['169.254.255.255', /link-local/],
    ['172.16.0.0', /private/],
    ['172.31.255.255', /private/],
    ['192.0.0.0', /protocol assignments/],
    ['192.0.0.192', /protocol assignments/],
    ['192.0.2.1', /documentation/],
    ['192.31.196.1', /special-purpose/],
    ['192.52.193.1', /special-purpose/],
    ['192.88.99.1', /6to4/],
    ['192.168.0.0', /private/],
    ['192.168.255.255', /private/],
    ['192.175.48.1', /special-purpose/],
    ['198.18.0.0', /benchmarking/],
    ['198.19.255.255', /benchmarking/],
    ['198.51.100.7', /documentation/],
    ['203.0.113.7', /documentation/],
    ['224.0.0.1', /multicast/],
    ['239.255.255.255', /multicast/],
    ['240.0.0.1', /reserved/],
    ['255.255.255.254', /reserved/],
    ['255.255.255.255', /broadcast/],
    ['::', /unspecified/],
    ['::1', /loopback/],
    ['::2', /IPv4-compatible/],
    ['::127.0.0.1', /IPv4-compatible/],
    ['::8.8.8.8', /IPv4-compatible/],
    ['::ffff:127.0.0.1', /loopback/],
    ['::ffff:7f00:1', /loopback/],
    ['::FFFF:169.254.169.254', /metadata/],
    ['::ffff:0:127.0.0.1', /IPv4-translated/],
    ['64:ff9b::8.8.8.8', /NAT64/],
    ['64:ff9b:1::a00:1', /NAT64/],
    ['100::1', /discard/],
    ['2001::1', /Teredo/],
    ['2001:2::1', /protocol assignments/],
    ['2001:20::1', /protocol assignments/],
    ['2001:db8::1', /documentation/],
    ['2002:7f00:1::', /6to4/],
    ['2002:808:808::1', /6to4/],
    ['2620:4f:8000::1', /special-purpose/],
    ['3fff::1', /documentation/],
    ['4000::1', /global unicast/],
    ['5f00::1', /segment-routing/],
    ['fc00::1', /unique local/],
    ['fd00:ec2::254', /metadata/],
    ['fdff:ffff::1', /unique local/],
    ['fe80::1', /link-local/],
    ['fe80::1%eth0', /link-local/],
    ['febf::1', /link-local/],
    ['fec0::1', /site-local/],
    ['ff02::1', /multicast/],
    ['2600::5efe:a00:1', /ISATAP/],
    ['2600::200:5efe:a00:1', /ISATAP/],
    ['', /unreadable/],
    ['localhost', /unreadable/],
    ['127.1', /unreadable/],
    ['0177.0.0.1', /unreadable/],
    ['2130706433', /unreadable/],
    ['8.8.8.8.8', /unreadable/],
    ['256.1.1.1', /unreadable/],
    ['[2606:4700::1]', /unreadable/],
  ];
  for (const [ip, reason] of blocked) {
    test(`${ip || 'an empty text'} is not dialled`, () => {
      assert.match(blockedAddress(ip, 'public-https') ?? 'not blocked', reason);
    });
    // What has no place in a URL can only come from a lookup.
    if (reason.source === 'unreadable' || ip.includes('%')) continue;
    test(`${ip} is refused in a URL`, () => {
      assert.match(refusal(`https://${ip.includes(':') ? `[${ip}]` : ip}/`), reason);
    });
  }

  for (const ip of [
    '1.1.1.1',
    '9.255.255.255',
    '11.0.0.0',
    '100.63.255.255',
    '100.128.0.0',
    '126.255.255.255',
    '128.0.0.1',
    '168.63.129.17',
    '169.253.255.255',
    '169.255.0.0',
    '172.15.255.255',
    '172.32.0.0',
    '192.167.255.255',
    '192.169.0.0',
    '198.17.255.255',
    '198.20.0.0',
    '223.255.255.255',
    '::ffff:8.8.8.8',
    '2000::1',
    '2001:200::1',
    '2606:4700:4700::1111',
    '2a00:1450:4001::200e',
  ]) {
    test(`${ip} is dialled`, () => assert.equal(blockedAddress(ip, 'public-https'), null));
  }
});

describe('an address under development', () => {
  for (const ip of ['127.0.0.1', '10.1.2.3', '172.17.0.2', '192.168.1.1', '100.64.0.1', '::1', 'fd12::1']) {
    test(`${ip} is dialled`, () => assert.equal(blockedAddress(ip, 'development'), null));
  }
  test('an IPv4-mapped loopback address is dialled', () => {
    assert.equal(blockedAddress('::ffff:127.0.0.1', 'development'), null);
  });
  for (const ip of [
    '0.0.0.0',
    '169.254.169.254',
    '100.100.100.200',
    'fd00:ec2::254',
    '224.0.0.1',
    '240.0.0.1',
  ]) {
    test(`${ip} is not dialled`, () => assert.notEqual(blockedAddress(ip, 'development'), null));
  }
  for (const ip of ['::127.0.0.1', '64:ff9b::10.0.0.1', '2002:a00:1::', 'fe80::1']) {
    test(`${ip} is not dialled`, () => assert.notEqual(blockedAddress(ip, 'development'), null));
  }
});

// ---------------------------------------------------------------- properties

type Quad = [number, number, number, number];

const octet = fc.integer({ min: 0, max: 255 });
const insideIPv4: fc.Arbitrary<Quad> = fc.oneof(
  fc.tuple(fc.constant(0), octet, octet, octet),
  fc.tuple(fc.constant(10), octet, octet, octet),
  fc.tuple(fc.constant(100), fc.integer({ min: 64, max: 127 }), octet, octet),
  fc.tuple(fc.constant(127), octet, octet, octet),
  fc.tuple(fc.constant(169), fc.constant(254), octet, octet),
  fc.tuple(fc.constant(172), fc.integer({ min: 16, max: 31 }), octet, octet),
  fc.tuple(fc.constant(192), fc.constant(168), octet, octet),
  fc.tuple(fc.constant(198), fc.integer({ min: 18, max: 19 }), octet, octet),
  fc.tuple(fc.integer({ min: 224, max: 255 }), octet, octet, octet),
);

type Parts = [number, number, number, number, number, number, number, number];
const word = fc.integer({ min: 0, max: 0xffff });

/** Every known way to hold an IPv4 address in an IPv6 one, with free bits free. */
function disguises(high: number, low: number): fc.Arbitrary<Parts> {
  return fc.oneof(
    fc.constant<Parts>([0, 0, 0, 0, 0, 0xffff, high, low]),
    fc.constant<Parts>([0, 0, 0, 0, 0, 0, high, low]),
    fc.constant<Parts>([0, 0, 0, 0, 0xffff, 0, high, low]),
    fc.constant<Parts>([0x64, 0xff9b, 0, 0, 0, 0, high, low]),
    fc.tuple(word, word, word).map<Parts>(([a, b, c]) => [0x64, 0xff9b, 1, a, b, c, high, low]),
    fc
      .tuple(word, word, word, word, word)
      .map<Parts>(([a, b, c, d, e]) => [0x2002, high, low, a, b, c, d, e]),
    fc
      .tuple(word, word, word, word)
      .map<Parts>(([a, b, c, d]) => [0x2001, 0, a, b, c, d, high ^ 0xffff, low ^ 0xffff]),
    fc
      .tuple(fc.integer({ min: 0x2000, max: 0x3fff }), word, word, word, fc.constantFrom(0, 0x200))
      .map<Parts>(([a, b, c, d, flag]) => [a, b, c, d, flag, 0x5efe, high, low]),
  );
}

/** Spellings of one IPv6 address: padded or not, either case, the last two words dotted or not. */
function spell(parts: Parts, padded: boolean, upper: boolean, dotted: boolean): string {
  const words = parts.map((part) => part.toString(16).padStart(padded ? 4 : 1, '0'));
  if (dotted) {
    const [high, low] = [parts[6], parts[7]];
    words.splice(6, 2, `${high >> 8}.${high & 255}.${low >> 8}.${low & 255}`);
  }
  return upper ? words.join(':').toUpperCase() : words.join(':');
}

const disguised = insideIPv4
  .chain(([a, b, c, d]) => disguises((a << 8) | b, (c << 8) | d))
  .chain((parts) =>
    fc.tuple(fc.constant(parts), fc.boolean(), fc.boolean(), fc.boolean()).map((args) => spell(...args)),
  );

test('an inside IPv4 address is not dialled in any IPv6 disguise and spelling', () => {
  fc.assert(
    fc.property(disguised, (ip) => blockedAddress(ip, 'public-https') !== null),
    { numRuns: 2000 },
  );
});

test('an inside IPv4 address is refused in a URL in any IPv6 disguise and spelling', () => {
  fc.assert(
    fc.property(disguised, (ip) => {
      assert.match(refusal(`https://[${ip}]/`), /^url must not point to /);
    }),
  );
});

test('an inside IPv4 address is refused in a URL in any spelling of its numbers', () => {
  const radix = (value: number, style: number): string =>
    style === 0 ? String(value) : style === 1 ? `0x${value.toString(16)}` : `0${value.toString(8)}`;
  const style = fc.integer({ min: 0, max: 2 });
  const spelled = fc
    .tuple(insideIPv4, fc.integer({ min: 1, max: 4 }), style, style, style, style)
    .map(([[a, b, c, d], count, ...styles]) => {
      const tail = [((a * 256 + b) * 256 + c) * 256 + d, (b * 256 + c) * 256 + d, c * 256 + d, d];
      const numbers = [...[a, b, c].slice(0, count - 1), tail[count - 1] as number];
      return numbers.map((number, i) => radix(number, styles[i] as number)).join('.');
    });
  fc.assert(
    fc.property(spelled, (host) => {
      assert.match(refusal(`https://${host}/`), /^url must not point to /);
    }),
  );
});

/** The texts that WHATWG parsing reads as this IPv4 address: 1 to 4 numbers, any radix, other scripts' digits, escapes. */
function spellings(address: number): fc.Arbitrary<string> {
  const octets = [24, 16, 8, 0].map((shift) => (address >>> shift) & 255);
  const radix = fc.constantFrom(
    (value: number) => String(value),
    (value: number) => `0x${value.toString(16)}`,
    (value: number) => `0X${value.toString(16).toUpperCase().padStart(10, '0')}`,
    (value: number) => `0${value.toString(8)}`,
    (value: number) => `000${value.toString(8)}`,
  );
  const script = fc.constantFrom(
    (text: string) => text,
    (text: string) => text.replace(/[0-9a-fA-FxX]/g, (c) => String.fromCodePoint(c.codePointAt(0)! + 0xfee0)),
    (text: string) => text.replace(/[1-9]/g, (c) => String.fromCodePoint(0x2460 + Number(c) - 1)),
    (text: string) => text.replace(/[0-9]/g, (c) => String.fromCodePoint(0x1d7ce + Number(c))),
    (text: string) => text.replace(/[0-9]/g, (c) => `%3${c}`),
  );
  const dot = fc.constantFrom('.', '。', '．', '｡', '%2e');
  return fc
    .tuple(
      fc.integer({ min: 1, max: 4 }),
      fc.array(radix, { minLength: 4, maxLength: 4 }),
      script,
      dot,
      fc.boolean(),
    )
    .map(([count, radixes, write, point, ends]) => {
      const last = octets.slice(count - 1).reduce((sum, part) => sum * 256 + part, 0);
      const numbers = [...octets.slice(0, count - 1), last];
      return numbers.map((value, i) => write(radixes[i]!(value))).join(point) + (ends ? point : '');
    });
}

test('any IPv4 address is judged the same in every spelling that a URL parser takes', () => {
  const anyAddress = fc.oneof(
    fc.integer({ min: 0, max: 0xffff_ffff }),
    insideIPv4.map(([a, b, c, d]) => ((a << 24) | (b << 16) | (c << 8) | d) >>> 0),
  );
  const spelled = anyAddress.chain((address) => fc.tuple(fc.constant(address), spellings(address)));
  const judgement = (url: string): string => {
    try {
      checkEndpointUrl(url, 'public-https');
      return 'accepted';
    } catch (error) {
      return (error as Error).message;
    }
  };
  let accepted = 0;
  fc.assert(
    fc.property(spelled, ([address, host]) => {
      const quad = [24, 16, 8, 0].map((shift) => (address >>> shift) & 255).join('.');
      const plain = judgement(`https://${quad}/`);
      assert.equal(judgement(`https://${host}/`), plain, `${host} is ${quad}`);
      const reason = blockedAddress(quad, 'public-https');
      assert.equal(plain, reason === null ? 'accepted' : `url must not point to ${reason}`);
      if (reason === null) accepted += 1;
    }),
    { numRuns: 2000 },
  );
  assert.ok(accepted > 100, 'public ones too');
});

test('no address of any range that is not unicast is dialled, whatever its host bits', () => {
  const withHostBits = (net: ipaddr.IPv4 | ipaddr.IPv6, bits: number) =>
    fc
      .uint8Array({ minLength: net.toByteArray().length, maxLength: net.toByteArray().length })
      .map((random) =>
        net.toByteArray().map((byte, i) => {
          const free = Math.min(8, Math.max(0, (i + 1) * 8 - bits));
          const mask = (1 << free) - 1;
          return (byte & ~mask) | (random[i]! & mask);
        }),
      )
      .map((bytes) => ipaddr.fromByteArray(bytes).toString());
  const tables = [ipaddr.IPv4.prototype, ipaddr.IPv6.prototype] as unknown as {
    SpecialRanges: Record<
      string,
      [ipaddr.IPv4 | ipaddr.IPv6, number] | [ipaddr.IPv4 | ipaddr.IPv6, number][]
    >;
  }[];
  let ranges = 0;
  for (const { SpecialRanges } of tables) {
    for (const [name, listed] of Object.entries(SpecialRanges)) {
      // IPv4-mapped addresses are judged as what they hold.
      if (name === 'ipv4Mapped') continue;
      for (const [net, bits] of (Array.isArray(listed[0]) ? listed : [listed]) as [ipaddr.IPv4, number][]) {
        ranges += 1;
        fc.assert(
          fc.property(withHostBits(net, bits), (ip) => {
            assert.notEqual(blockedAddress(ip, 'public-https'), null, `${ip} of ${name}`);
          }),
          { numRuns: 50 },
        );
      }
    }
  }
  assert.ok(ranges > 30, `${ranges} ranges`);
});

test('whatever the text, a URL is either refused with a message that names url or leads to a host', () => {
  fc.assert(
    fc.property(fc.oneof(fc.string(), fc.webUrl(), fc.string({ unit: 'binary' })), (text) => {
      for (const policy of ['public-https', 'development'] as const) {
        try {
          assert.notEqual(checkEndpointUrl(text, policy).hostname, '');
        } catch (error) {
          assert.ok(error instanceof PosthornError && error.field === 'url');
        }
      }
    }),
  );
});

test('every IPv4 address that development refuses is refused under public-https too', () => {
  fc.assert(
    fc.property(octet, octet, octet, octet, (...quad) => {
      const ip = quad.join('.');
      return blockedAddress(ip, 'development') === null || blockedAddress(ip, 'public-https') !== null;
    }),
  );
});
