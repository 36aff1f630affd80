import assert from 'node:assert/strict';
import { describe, test, type TestContext } from 'node:test';
import fc from 'fast-check';
import { blockedAddress, checkEndpointUrl } from '../src/delivery/address-guard.ts';
import { AllowList } from '../src/delivery/allow-list.ts';
import { createRequester, type RequestResult, type RequesterOptions } from '../src/delivery/request.ts';
import { TEST_CA, VALID_CERTIFICATE } from './support/certificates.ts';
import { type Receiver, respond, startReceiver } from './support/receivers.ts';

const policy = 'public-https';
const isSaved = (url: string, ...entries: string[]): boolean => {
  try {
    checkEndpointUrl(url, policy, AllowList.of(entries));
    return true;
  } catch {
    return false;
  }
};

describe('an opened range', () => {
  const open: [entry: string, ...urls: string[]][] = [
    ['10.20.0.0/16', 'https://10.20.0.0/', 'https://10.20.255.255:8443/hook', 'https://[::ffff:10.20.0.1]/'],
    ['10.1.2.3', 'https://10.1.2.3/', 'https://167838211/'],
    ['127.0.0.1/32', 'https://127.0.0.1/', 'https://127.1/'],
    ['172.16.0.0/12', 'https://172.31.255.255/'],
    ['192.168.0.0/16', 'https://192.168.1.1/'],
    ['100.64.0.0/10', 'https://100.64.0.1/'],
    ['::1', 'https://[::1]/'],
    ['fd12::/16', 'https://[fd12:3456::1]/'],
  ];
  for (const [entry, ...urls] of open) {
    for (const url of urls) test(`${entry} lets ${url} be saved`, () => assert.ok(isSaved(url, entry)));
  }

  const shut: [entry: string, ...urls: string[]][] = [
    [
      '10.20.0.0/16',
      'https://10.19.255.255/',
      'https://10.21.0.0/',
      'https://127.0.0.1/',
      'http://10.20.0.1/',
    ],
    ['10.1.2.3', 'https://10.1.2.2/', 'https://10.1.2.4/'],
    ['10.0.0.0/8', 'https://[::10.0.0.1]/', 'https://[64:ff9b::10.0.0.1]/', 'https://[2002:a00:1::]/'],
    ['10.0.0.0/8', 'https://receiver.internal/', 'https://receiver/', 'https://localhost/'],
    ['127.0.0.0/8', 'https://localhost/', 'https://[::1]/', 'https://0.0.0.0/'],
    ['100.64.0.0/10', 'https://100.100.100.200/'],
    ['fc00::/7', 'https://[fd00:ec2::254]/', 'https://[fe80::1]/', 'https://169.254.169.254/'],
  ];
  for (const [entry, ...urls] of shut) {
    for (const url of urls) test(`${entry} leaves ${url} refused`, () => assert.ok(!isSaved(url, entry)));
  }
});

describe('an opened name', () => {
  const open: [entry: string, ...urls: string[]][] = [
    ['billing.internal', 'https://billing.internal/', 'https://BILLING.internal.:8443/hook'],
    ['receiver', 'https://receiver/'],
    ['localhost', 'https://localhost/'],
    ['*.hooks.internal', 'https://a.hooks.internal/', 'https://a.b.hooks.internal/'],
    ['*.svc.cluster.local', 'https://receiver.shop.svc.cluster.local/'],
    ['Bücher.internal', 'https://xn--bcher-kva.internal/', 'https://bücher.internal/'],
  ];
  for (const [entry, ...urls] of open) {
    for (const url of urls) test(`${entry} lets ${url} be saved`, () => assert.ok(isSaved(url, entry)));
  }

  const shut: [entry: string, ...urls: string[]][] = [
    ['billing.internal', 'https://a.billing.internal/', 'https://evilbilling.internal/', 'https://10.0.0.1/'],
    ['billing.internal', 'http://billing.internal/', 'https://billing.internal..example/'],
    ['*.hooks.internal', 'https://hooks.internal/', 'https://evilhooks.internal/'],
    ['*.internal', 'https://metadata.google.internal/', 'https://instance-data.ec2.internal./'],
    ['localhost', 'https://127.0.0.1/', 'https://a.localhost/'],
  ];
  for (const [entry, ...urls] of shut) {
    for (const url of urls) test(`${entry} leaves ${url} refused`, () => assert.ok(!isSaved(url, entry)));
  }

  test('opens the private addresses behind it, and those of no other name', () => {
    const allow = AllowList.of(['billing.internal']);
    assert.equal(blockedAddress('10.1.2.3', policy, allow, 'billing.internal'), null);
    assert.match(blockedAddress('10.1.2.3', policy, allow, 'evil.example.com') ?? '', /private/);
    assert.match(blockedAddress('10.1.2.3', policy, allow) ?? '', /private/);
  });

  for (const address of [
    '169.254.169.254',
    '100.100.100.200',
    'fd00:ec2::254',
    '168.63.129.16',
    '0.0.0.0',
    '::',
    'fe80::1',
    '224.0.0.1',
    '64:ff9b::a00:1',
  ]) {
    test(`does not open ${address} behind it`, () => {
      assert.notEqual(
        blockedAddress(address, policy, AllowList.of(['billing.internal']), 'billing.internal'),
        null,
      );
    });
  }
});

test('a name below which a metadata service stands does not open that service', () => {
  const allow = AllowList.of(['*.internal', '*.goog']);
  for (const name of ['metadata.google.internal', 'metadata.google.internal.', 'metadata.goog']) {
    assert.equal(allow.hasHost(name), false, name);
    assert.notEqual(blockedAddress('10.1.2.3', policy, allow, name), null);
  }
});

test('metadata services are refused by name under development too', () => {
  for (const url of [
    'http://metadata.google.internal/',
    'http://metadata/',
    'http://instance-data/latest/',
  ]) {
    assert.throws(() => checkEndpointUrl(url, 'development'), /cloud metadata service/);
  }
});

test('whatever is opened, what is refused under development stays refused', () => {
  const allow = AllowList.of([
    '127.0.0.0/8',
    '10.0.0.0/8',
    '172.16.0.0/12',
    '192.168.0.0/16',
    '100.64.0.0/10',
    '::1',
    'fc00::/7',
    'billing.internal',
  ]);
  const octet = fc.integer({ min: 0, max: 255 });
  const addresses = fc.oneof(
    fc.tuple(octet, octet, octet, octet).map((quad) => quad.join('.')),
    fc.constantFrom('169.254.169.254', '100.100.100.200', '0.0.0.0', '168.63.129.16', '192.0.0.192'),
    fc.ipV6(),
  );
  fc.assert(
    fc.property(addresses, (ip) => {
      const opened = blockedAddress(ip, policy, allow, 'billing.internal');
      assert.equal(opened === null, blockedAddress(ip, 'development') === null, ip);
    }),
    { numRuns: 2_000 },
  );
});

describe('a delivery to one’s own network', () => {
  async function setUp(
    t: TestContext,
    entries: string[],
    options: Partial<RequesterOptions> = {},
  ): Promise<{ receiver: Receiver; post: (host: string) => Promise<RequestResult> }> {
    const receiver = await startReceiver(respond(200), { tls: VALID_CERTIFICATE });
    const requester = createRequester({ policy, ca: TEST_CA, allow: AllowList.of(entries), ...options });
    t.after(async () => {
      await requester.close();
      await receiver.close();
    });
    const post = (host: string): Promise<RequestResult> =>
      requester.post({ url: receiver.urlFor(host), headers: {}, body: Buffer.from('{}'), timeoutMs: 5_000 });
    return { receiver, post };
  }
  const answering =
    (...addresses: string[]) =>
    async (): Promise<string[]> =>
      addresses;

  test('reaches an opened address', async (t) => {
    const { post } = await setUp(t, ['127.0.0.1']);
    assert.equal((await post('127.0.0.1')).error, null);
  });

  test('reaches an opened range by whatever name leads there', async (t) => {
    const { post } = await setUp(t, ['127.0.0.0/8'], { lookup: answering('127.0.0.1') });
    assert.equal((await post('hooks.example.com')).error, null);
  });

  test('reaches an opened name, which the system is asked for', async (t) => {
    const { post } = await setUp(t, ['localhost']);
    assert.equal((await post('localhost')).error, null);
  });

  for (const [name, entries, host, addresses] of [
    ['an address that is not opened', ['10.0.0.0/8'], '127.0.0.1', []],
    ['a name that is not opened', ['billing.internal'], 'hooks.example.com', ['127.0.0.1']],
    [
      'an opened name with the metadata address among its own',
      ['billing.internal'],
      'billing.internal',
      ['127.0.0.1', '169.254.169.254'],
    ],
    [
      'an opened range with another address beside it',
      ['127.0.0.1'],
      'hooks.example.com',
      ['127.0.0.1', '127.0.0.2'],
    ],
    ['the metadata address behind an opened name', ['*.internal'], 'a.internal', ['169.254.169.254']],
  ] as const) {
    test(`does not reach ${name}`, async (t) => {
      const { receiver, post } = await setUp(t, [...entries], { lookup: answering(...addresses) });
      const result = await post(host);
      assert.equal(result.outcome, 'blocked_address');
      assert.equal(receiver.connectionsSeen, 0);
    });
  }
});
