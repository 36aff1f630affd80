import assert from 'node:assert/strict';
import { once } from 'node:events';
import { type AddressInfo, createServer } from 'node:net';
import { after, before, describe, it } from 'node:test';
import { checkEgress, type EgressToCheck } from '../../src/cli/doctor-egress.ts';
import { createResolver, type NameResolver } from '../../src/delivery/resolve.ts';
import { EXPIRED_CERTIFICATE, TEST_CA, VALID_CERTIFICATE } from '../support/certificates.ts';
import { startHttpProxy, startSocksProxy } from '../support/egress-proxies.ts';
import { type NameServer, startNameServer } from '../support/name-server.ts';
import { type Receiver, respond, startReceiver } from '../support/receivers.ts';

let names: NameServer;
let resolver: NameResolver;
let receivers: Receiver[];
let unusedPort: number;

before(async () => {
  names = await startNameServer({
    'receiver.test': { a: ['127.0.0.1'] },
    'gone.test': 'no-such-name',
    'broken.test': 'failure',
  });
  resolver = createResolver('public-https', { servers: [names.address] });
  receivers = await Promise.all([
    startReceiver(respond(200)),
    startReceiver(respond(200), { tls: VALID_CERTIFICATE }),
    startReceiver(respond(200), { tls: EXPIRED_CERTIFICATE }),
  ]);
  const server = createServer().listen(0, '127.0.0.1');
  await once(server, 'listening');
  unusedPort = (server.address() as AddressInfo).port;
  server.close();
  await once(server, 'close');
});
after(async () => {
  resolver.close();
  await names.close();
  await Promise.all(receivers.map((receiver) => receiver.close()));
});

async function examine(url: string | null, changes: Partial<EgressToCheck> = {}) {
  const options = { url, policy: 'development' as const, lookup: resolver.lookup, ca: TEST_CA, ...changes };
  const checks = await checkEgress(options);
  assert.deepEqual(
    checks.map(({ check }) => check),
    ['DNS', 'egress'],
  );
  for (const { status, fix } of checks) assert.equal(fix !== null, status === 'wrong');
  const [dns, egress] = checks as [(typeof checks)[0], (typeof checks)[0]];
  return { dns, egress };
}

describe('doctor’s look at DNS and egress', () => {
  it('finds a name as deliveries do and makes a connection, without a request', async () => {
    const [plain, tls] = receivers as [Receiver, Receiver, Receiver];
    const { dns, egress } = await examine(`http://receiver.test:${plain.port}/hook`);
    assert.match(dns.detail, /^receiver\.test is 127\.0\.0\.1, found within \d+ ms$/);
    assert.match(egress.detail, /^127\.0\.0\.1:\d+ \(receiver\.test\) accepts within \d+ ms$/);
    const secure = await examine(`https://127.0.0.1:${tls.port}/hook`);
    assert.equal(secure.dns.status, 'skipped');
    assert.match(secure.egress.detail, /speaks TLS/);
    assert.equal(plain.requests.length + tls.requests.length, 0);
  });

  it('has nothing to try without an endpoint', async () => {
    const { dns, egress } = await examine(null);
    assert.deepEqual([dns.status, egress.status], ['skipped', 'skipped']);
  });

  const troubles: [
    what: string,
    url: () => string,
    changes: Partial<EgressToCheck>,
    says: RegExp,
    fix: RegExp,
  ][] = [
    [
      'a name that doesn’t exist',
      () => 'http://gone.test/',
      {},
      /gone\.test is not found \(ENOTFOUND\)/,
      /name servers/,
    ],
    ['a name server that fails', () => 'http://broken.test/', {}, /\(ESERVFAIL\)/, /port 53/],
    [
      'a closed port',
      () => `http://receiver.test:${unusedPort}/`,
      {},
      /can't be reached: ECONNREFUSED/,
      /firewall/,
    ],
    [
      'an expired certificate',
      () => `https://127.0.0.1:${receivers[2]?.port}/`,
      {},
      /CERT_HAS_EXPIRED/,
      /certificate/,
    ],
    [
      'a name that leads inside',
      () => 'https://receiver.test/',
      { policy: 'public-https' },
      /receiver\.test leads to 127\.0\.0\.1/,
      /public addresses only/,
    ],
    [
      'a URL that no endpoint can have',
      () => 'ftp://receiver.test/',
      {},
      /url must use https or http, not ftp/,
      /--to/,
    ],
  ];
  for (const [what, url, changes, says, fix] of troubles) {
    it(`is wrong with ${what}, and says what to do`, async () => {
      const { dns, egress } = await examine(url(), changes);
      const wrong = [dns, egress].filter(({ status }) => status === 'wrong');
      assert.equal(wrong.length, 1);
      assert.match(wrong[0]?.detail ?? '', says);
      assert.match(wrong[0]?.fix ?? '', fix);
    });
  }

  it('opens a tunnel through the egress proxy, and asks no name server', async (t) => {
    const [plain] = receivers as [Receiver];
    for (const [kind, start] of [
      ['http', startHttpProxy],
      ['socks5', startSocksProxy],
    ] as const) {
      const running = await start();
      t.after(() => running.close());
      const proxy = { kind, host: '127.0.0.1', port: running.port, credentials: null };
      const { dns, egress } = await examine(`http://receiver.test:${plain.port}/hook`, { proxy });
      assert.equal(dns.detail, 'names are left to the egress proxy');
      assert.match(egress.detail, /^the egress proxy opens a tunnel to receiver\.test:\d+ within \d+ ms$/);
      assert.equal(running.asked[0]?.host, 'receiver.test');
    }
  });

  it('says what an egress proxy does instead of opening a tunnel', async (t) => {
    const refusing = await startHttpProxy({ credentials: 'me:right' });
    t.after(() => refusing.close());
    const proxy = { kind: 'http', host: '127.0.0.1', port: refusing.port, credentials: null } as const;
    const refused = await examine('http://receiver.test/', { proxy });
    assert.match(refused.egress.detail, /no tunnel to receiver\.test:80: .*unauthorized \(HTTP 407\)/);
    const absent = await examine('http://receiver.test/', { proxy: { ...proxy, port: unusedPort } });
    assert.match(absent.egress.detail, /ECONNREFUSED/);
    const silent = await startHttpProxy({ onConnection: () => {} });
    t.after(() => silent.close());
    const late = await examine('http://receiver.test/', {
      proxy: { ...proxy, port: silent.port },
      timeoutMs: 100,
    });
    assert.match(late.egress.detail, /no answer within 0\.1 s/);
    for (const { egress } of [refused, absent, late]) assert.match(egress.fix ?? '', /POSTHORN_EGRESS_PROXY/);
  });

  it('gives up on who accepts and says nothing', async (t) => {
    const silent = createServer(() => {}).listen(0, '127.0.0.1');
    await once(silent, 'listening');
    t.after(() => silent.close());
    const { port } = silent.address() as AddressInfo;
    const { egress } = await examine(`https://127.0.0.1:${port}/`, { timeoutMs: 100 });
    assert.match(egress.detail, /no answer within 0\.1 s/);
  });
});
