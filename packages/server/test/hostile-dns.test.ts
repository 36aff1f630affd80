/** Name servers that lie, flap and stall, asked for real: what becomes of a delivery to such a name. */
import assert from 'node:assert/strict';
import { describe, test, type TestContext } from 'node:test';
import { AllowList } from '../src/delivery/allow-list.ts';
import { createRequester, type RequestResult } from '../src/delivery/request.ts';
import { createResolver } from '../src/delivery/resolve.ts';
import { TEST_CA, VALID_CERTIFICATE } from './support/certificates.ts';
import { ManualClock } from './support/manual-clock.ts';
import { type Answer, type NameServer, startNameServer } from './support/name-server.ts';
import { type Receiver, respond, startReceiver } from './support/receivers.ts';

const NAME = 'hooks.example.com';
/** Where the receiver stands: the one address that is opened, in the place of a public one. */
const OUTSIDE = '127.0.0.1';

interface Running {
  receiver: Receiver;
  server: NameServer;
  clock: ManualClock;
  post(timeoutMs?: number): Promise<RequestResult>;
}

async function run(t: TestContext, answer: Answer | Answer[]): Promise<Running> {
  const clock = new ManualClock();
  const server = await startNameServer({ [NAME]: answer });
  const resolver = createResolver('public-https', { servers: [server.address], clock });
  // Each delivery needs a connection of its own, and so a lookup.
  const receiver = await startReceiver(respond(200, { headers: { connection: 'close' } }), {
    tls: VALID_CERTIFICATE,
  });
  const requester = createRequester({
    policy: 'public-https',
    allow: AllowList.of([OUTSIDE]),
    ca: TEST_CA,
    lookup: resolver.lookup,
    clock,
  });
  t.after(async () => {
    resolver.close();
    await requester.close();
    await Promise.all([receiver.close(), server.close()]);
  });
  const post = (timeoutMs = 30_000): Promise<RequestResult> =>
    requester.post({ url: receiver.urlFor(NAME), headers: {}, body: Buffer.from('{}'), timeoutMs });
  return { receiver, server, clock, post };
}

const lookups = ({ questions }: NameServer): number =>
  questions.filter((question) => question.startsWith('A ')).length;

test('a name that leads outside is dialled', async (t) => {
  const { post, receiver } = await run(t, { a: [OUTSIDE] });
  assert.equal((await post()).error, null);
  assert.equal(receiver.requests.length, 1);
});

describe('not dialled is a name that leads', () => {
  const rows: [where: string, answer: Answer][] = [
    ['to a private address', { a: ['10.1.2.3'] }],
    ['to another loopback address', { a: ['127.0.0.2'] }],
    ['to the metadata address', { a: ['169.254.169.254'] }],
    ['to the unspecified address', { a: ['0.0.0.0'] }],
    ['to ::1', { aaaa: ['::1'] }],
    ['to a unique local address', { aaaa: ['fd00::1'] }],
    ['to the IPv6 metadata address', { aaaa: ['fd00:ec2::254'] }],
    ['to a link-local IPv6 address', { aaaa: ['fe80::1'] }],
    ['to an IPv4-mapped private address', { aaaa: ['::ffff:10.1.2.3'] }],
    ['to an IPv4-compatible loopback address', { aaaa: ['::127.0.0.2'] }],
    ['to a NAT64 form of a private address', { aaaa: ['64:ff9b::a01:203'] }],
    ['to a 6to4 form of a private address', { aaaa: ['2002:a01:203::1'] }],
    ['outside first and inside second', { a: [OUTSIDE, '10.1.2.3'] }],
    ['inside first and outside second', { a: ['10.1.2.3', OUTSIDE] }],
    ['outside by IPv4 and inside by IPv6', { a: [OUTSIDE], aaaa: ['fd00::1'] }],
    ['outside by IPv4 and to a disguised inside by IPv6', { a: [OUTSIDE], aaaa: ['::ffff:169.254.169.254'] }],
    ['inside as the last of many', { a: [...Array.from({ length: 39 }, () => OUTSIDE), '10.0.0.1'] }],
    ['by an alias to a name inside', { a: ['10.1.2.3'], aliases: ['db.internal.example'] }],
    ['by an alias to localhost', { a: ['127.0.0.2'], aliases: ['localhost'] }],
    [
      'by a chain of aliases inside',
      { a: ['192.168.0.1'], aliases: ['a.example.net', 'b.example.net', 'c.example.net'] },
    ],
  ];
  for (const [where, answer] of rows) {
    test(where, async (t) => {
      const { post, receiver } = await run(t, answer);
      const result = await post();
      assert.equal(result.outcome, 'blocked_address', result.error ?? '');
      assert.match(result.error ?? '', /leads to (an?|the) .*, which Posthorn does not connect to$/);
      assert.equal(receiver.connectionsSeen, 0);
    });
  }
});

describe('a dns_error is a name', () => {
  const rows: [what: string, answer: Answer, error: RegExp][] = [
    ['that does not exist', 'no-such-name', /does not exist in DNS$/],
    ['without an address', {}, /has no address in DNS$/],
    ['whose aliases lead in a circle', { aliases: ['a.example.net', NAME] }, /has no address in DNS$/],
    ['whose servers fail', 'failure', /the name servers gave no address .*\(ESERVFAIL\)$/],
    ['whose servers answer garbage', 'garbage', /the name servers gave no address/],
    [
      'with more addresses than anybody needs',
      { a: Array.from({ length: 65 }, () => OUTSIDE) },
      /too many addresses in DNS$/,
    ],
  ];
  for (const [what, answer, error] of rows) {
    test(what, async (t) => {
      const { post, receiver } = await run(t, answer);
      const result = await post();
      assert.equal(result.outcome, 'dns_error');
      assert.match(result.error ?? '', error);
      assert.equal(receiver.connectionsSeen, 0);
    });
  }
});

test('a name whose servers are silent is a timeout that says so', async (t) => {
  const { post, server, clock } = await run(t, 'silence');
  const result = post(5_000);
  await server.whenAsked(NAME);
  clock.advance(5_000);
  assert.equal((await result).outcome, 'timeout');
  assert.match((await result).error ?? '', /the name servers gave no address for .* within 5 s$/);
});

test('a name whose servers are silent about IPv6 is dialled', async (t) => {
  const { post, clock } = await run(t, { a: [OUTSIDE], silentAbout: 'AAAA' });
  const result = post();
  // Beside the attempt's own time limit.
  await clock.whenTimers(2);
  clock.advance(250);
  assert.equal((await result).error, null);
});

describe('a name that changes its mind', () => {
  test('from outside to inside is not dialled again when its record has died', async (t) => {
    const { post, clock, receiver } = await run(t, [
      { a: [OUTSIDE], ttl: 5 },
      { a: ['10.1.2.3'], ttl: 5 },
    ]);
    assert.equal((await post()).outcome, 'success');
    clock.advance(5_000);
    assert.equal((await post()).outcome, 'blocked_address');
    assert.equal(receiver.connectionsSeen, 1);
  });

  test('at each question, with no life at all, is dialled where it was checked', async (t) => {
    const { post, server, receiver } = await run(t, [
      { a: [OUTSIDE], ttl: 0 },
      { a: ['169.254.169.254'], ttl: 0 },
    ]);
    for (let i = 0; i < 5; i++) assert.equal((await post()).outcome, 'success');
    assert.equal(lookups(server), 1);
    assert.equal(receiver.connectionsSeen, 5);
  });

  test('from inside to outside is dialled then', async (t) => {
    const { post, clock } = await run(t, [
      { a: ['10.1.2.3'], ttl: 1 },
      { a: [OUTSIDE], ttl: 1 },
    ]);
    assert.equal((await post()).outcome, 'blocked_address');
    clock.advance(1_000);
    assert.equal((await post()).outcome, 'success');
  });

  test('from failing to working is dialled a second later', async (t) => {
    const zone: Answer[] = ['failure'];
    const { post, clock } = await run(t, zone);
    assert.equal((await post()).outcome, 'dns_error');
    zone[0] = { a: [OUTSIDE] };
    clock.advance(1_000);
    assert.equal((await post()).outcome, 'success');
  });
});

test('a kept answer is checked at every connection: inside stays refused without another question', async (t) => {
  const { post, server } = await run(t, { a: ['10.1.2.3'], ttl: 60 });
  for (let i = 0; i < 5; i++) assert.equal((await post()).outcome, 'blocked_address');
  assert.equal(lookups(server), 1);
});

test('a burst of deliveries asks its name once', async (t) => {
  const { post, server, receiver } = await run(t, { a: [OUTSIDE], ttl: 60 });
  const results = await Promise.all(Array.from({ length: 30 }, () => post()));
  assert.ok(results.every(({ outcome }) => outcome === 'success'));
  assert.equal(receiver.connectionsSeen, 30);
  assert.equal(lookups(server), 1);
});

test('a burst of deliveries to a name that does not exist asks once', async (t) => {
  const { post, server } = await run(t, 'no-such-name');
  await Promise.all(Array.from({ length: 100 }, () => post()));
  for (let i = 0; i < 5; i++) await post();
  assert.equal(lookups(server), 1);
});
