import assert from 'node:assert/strict';
import { describe, test, type TestContext } from 'node:test';
import { createResolver, type Lookup, type ResolverOptions } from '../src/delivery/resolve.ts';
import { ManualClock } from './support/manual-clock.ts';
import { closedPort } from './support/receivers.ts';
import { type NameServer, startNameServer, type Zone } from './support/name-server.ts';

async function setUp(
  t: TestContext,
  zone: Zone,
  options: ResolverOptions = {},
): Promise<{ lookup: Lookup; server: NameServer; clock: ManualClock }> {
  const clock = new ManualClock();
  const server = await startNameServer(zone);
  const resolver = createResolver('public-https', { servers: [server.address], clock, ...options });
  t.after(() => resolver.close());
  t.after(() => server.close());
  return { lookup: resolver.lookup, server, clock };
}

/** The lookups among the questions, each of which asks for both kinds of addresses. */
const lookups = ({ questions }: NameServer): string[] =>
  questions.filter((question) => question.startsWith('A ')).map((question) => question.slice(2));

describe('a lookup under public-https', () => {
  test('answers all addresses, IPv4 before IPv6', async (t) => {
    const { lookup } = await setUp(t, {
      'both.example.com': { a: ['192.0.2.1', '192.0.2.2'], aaaa: ['2001:db8::1'] },
    });
    const addresses = await lookup('both.example.com');
    assert.deepEqual([...addresses].slice(0, 2).sort(), ['192.0.2.1', '192.0.2.2']);
    assert.deepEqual(addresses.slice(2), ['2001:db8::1']);
  });

  test('is content with one kind of address', async (t) => {
    const { lookup } = await setUp(t, {
      'four.example.com': { a: ['192.0.2.1'] },
      'six.example.com': { aaaa: ['2001:db8::1'] },
    });
    assert.deepEqual(await lookup('four.example.com'), ['192.0.2.1']);
    assert.deepEqual(await lookup('six.example.com'), ['2001:db8::1']);
  });

  for (const [answer, code] of [
    ['no-such-name', 'ENOTFOUND'],
    ['failure', 'ESERVFAIL'],
    [{}, 'ENODATA'],
  ] as const) {
    test(`rejects with ${code} on ${JSON.stringify(answer)}`, async (t) => {
      const { lookup } = await setUp(t, { 'bad.example.com': answer });
      await assert.rejects(lookup('bad.example.com'), { code });
    });
  }

  test('asks once for what is asked many times at the same moment', async (t) => {
    const { lookup, server } = await setUp(t, { 'a.example.com': { a: ['192.0.2.1'] } });
    await Promise.all(Array.from({ length: 1_000 }, () => lookup('a.example.com')));
    assert.deepEqual(server.questions.toSorted(), ['A a.example.com', 'AAAA a.example.com']);
  });

  test('is not held up by names whose servers are silent', async (t) => {
    const silent = Array.from({ length: 50 }, (_, i) => `silent${i}.example.com`);
    const { lookup, server } = await setUp(t, {
      ...Object.fromEntries(silent.map((name) => [name, 'silence'] as const)),
      'well.example.com': { a: ['192.0.2.1'] },
    });
    let ended = 0;
    for (const name of silent) {
      lookup(name).then(
        () => ended++,
        () => ended++,
      );
    }
    await Promise.all(silent.map((name) => server.whenAsked(name)));
    assert.deepEqual(await lookup('well.example.com'), ['192.0.2.1']);
    assert.equal(ended, 0, 'every silent name was still waiting');
  });
});

test('a lookup that is given up rejects', async (t) => {
  const server = await startNameServer({ 'silent.example.com': 'silence' });
  t.after(() => server.close());
  const resolver = createResolver('public-https', { servers: [server.address] });
  const answer = assert.rejects(resolver.lookup('silent.example.com'), { code: 'ECANCELLED' });
  await server.whenAsked('silent.example.com');
  resolver.close();
  await answer;
});

test('without a listening name server, the system is asked', async () => {
  const resolver = createResolver('public-https', { servers: [`127.0.0.1:${await closedPort()}`] });
  const addresses = await resolver.lookup('localhost');
  assert.ok(addresses.includes('127.0.0.1') || addresses.includes('::1'), String(addresses));
});

test('a lookup under development asks the system, which knows the local names', async () => {
  const addresses = await createResolver('development').lookup('localhost');
  assert.ok(addresses.includes('127.0.0.1') || addresses.includes('::1'), String(addresses));
});

describe('what was looked up', () => {
  for (const [ttl, seconds] of [
    [0, 1],
    [1, 1],
    [30, 30],
    [60, 60],
    [86_400, 60],
    [2_147_483_647, 60],
  ] as const) {
    test(`with a life of ${ttl} s is asked for once in ${seconds} s`, async (t) => {
      const { lookup, server, clock } = await setUp(t, { 'a.example.com': { a: ['192.0.2.1'], ttl } });
      await lookup('a.example.com');
      clock.advance(seconds * 1_000 - 1);
      await lookup('a.example.com');
      assert.equal(lookups(server).length, 1);
      clock.advance(1);
      await lookup('a.example.com');
      assert.equal(lookups(server).length, 2);
    });
  }

  test('lives as long as the shortest of its records', async (t) => {
    const { lookup, server, clock } = await setUp(t, {
      'a.example.com': [
        { a: ['192.0.2.1'], ttl: 50 },
        { a: ['192.0.2.2'], ttl: 50 },
      ],
      'b.example.com': { a: ['192.0.2.1'], aaaa: ['2001:db8::1'], aliases: ['c.example.com'], ttl: 5 },
    });
    await Promise.all([lookup('a.example.com'), lookup('b.example.com')]);
    clock.advance(5_000);
    await Promise.all([lookup('a.example.com'), lookup('b.example.com')]);
    assert.deepEqual(lookups(server).toSorted(), ['a.example.com', 'b.example.com', 'b.example.com']);
  });

  for (const [answer, code, seconds] of [
    ['no-such-name', 'ENOTFOUND', 5],
    [{}, 'ENODATA', 5],
    ['failure', 'ESERVFAIL', 1],
  ] as const) {
    test(`in vain (${code}) is asked for once in ${seconds} s`, async (t) => {
      const { lookup, server, clock } = await setUp(t, { 'bad.example.com': answer });
      await assert.rejects(lookup('bad.example.com'), { code });
      clock.advance(seconds * 1_000 - 1);
      const { length } = lookups(server);
      await assert.rejects(lookup('bad.example.com'), { code });
      assert.equal(lookups(server).length, length);
      clock.advance(1);
      await assert.rejects(lookup('bad.example.com'), { code });
      assert.ok(lookups(server).length > length);
    });
  }

  test('is bounded: the name that was looked up longest ago makes room', async (t) => {
    const { lookup, server } = await setUp(
      t,
      Object.fromEntries(['a', 'b', 'c'].map((name) => [name, { a: ['192.0.2.1'], ttl: 60 }])),
      { maxNames: 2 },
    );
    for (const name of ['a', 'b', 'c', 'b', 'c', 'a']) await lookup(name);
    assert.deepEqual(lookups(server), ['a', 'b', 'c', 'a']);
  });
});

describe('a name server that', () => {
  test('leads through a chain of aliases is followed to the end of it', async (t) => {
    const aliases = ['a.example.net', 'b.example.net', 'inside.example.net'];
    const { lookup } = await setUp(t, { 'hooks.example.com': { a: ['10.0.0.1'], aliases } });
    assert.deepEqual(await lookup('hooks.example.com'), ['10.0.0.1']);
  });

  test('leads to an alias and no further has no address', async (t) => {
    const { lookup } = await setUp(t, {
      'hooks.example.com': { aliases: ['loop.example.net', 'hooks.example.com'] },
    });
    await assert.rejects(lookup('hooks.example.com'), { code: 'ENODATA' });
  });

  test('answers for IPv4 and never for IPv6 is not waited for', async (t) => {
    const { lookup, clock } = await setUp(t, { 'a.example.com': { a: ['192.0.2.1'], silentAbout: 'AAAA' } });
    const addresses = lookup('a.example.com');
    await clock.whenTimers(1);
    clock.advance(250);
    assert.deepEqual(await addresses, ['192.0.2.1']);
  });

  test('answers for IPv6 and never for IPv4 is not waited for either', async (t) => {
    const { lookup, clock } = await setUp(t, {
      'a.example.com': { aaaa: ['2001:db8::1'], silentAbout: 'A' },
    });
    const addresses = lookup('a.example.com');
    await clock.whenTimers(1);
    clock.advance(250);
    assert.deepEqual(await addresses, ['2001:db8::1']);
  });

  test('fails once is asked again a second later', async (t) => {
    const zone: Zone = { 'flaps.example.com': 'failure' };
    const { lookup, clock } = await setUp(t, zone);
    await assert.rejects(lookup('flaps.example.com'), { code: 'ESERVFAIL' });
    zone['flaps.example.com'] = { a: ['192.0.2.1'] };
    await assert.rejects(lookup('flaps.example.com'), { code: 'ESERVFAIL' });
    clock.advance(1_000);
    assert.deepEqual(await lookup('flaps.example.com'), ['192.0.2.1']);
  });

  test('loses a question is asked once more', async (t) => {
    const { lookup } = await setUp(t, { 'lossy.example.com': ['silence', { a: ['192.0.2.1'], aaaa: [] }] });
    assert.deepEqual(await lookup('lossy.example.com'), ['192.0.2.1']);
  });

  test('has more than 64 addresses for a name has none for us', async (t) => {
    const many = (count: number): string[] => Array.from({ length: count }, (_, i) => `192.0.2.${i}`);
    const { lookup } = await setUp(t, { 'a.example.com': { a: many(64) }, 'b.example.com': { a: many(65) } });
    assert.equal((await lookup('a.example.com')).length, 64);
    await assert.rejects(lookup('b.example.com'), { code: 'TOO_MANY_ADDRESSES' });
  });

  for (const answer of ['wrong-id', 'garbage'] as const) {
    test(`replies with ${answer === 'garbage' ? 'garbage' : 'the id of another question'} is not believed`, async (t) => {
      const { lookup } = await setUp(t, { 'forged.example.com': [answer, 'no-such-name'] });
      await assert.rejects(lookup('forged.example.com'));
    });
  }

  test('fails for one name answers for others', async (t) => {
    const { lookup } = await setUp(t, {
      'bad.example.com': 'failure',
      'a.example.com': { a: ['192.0.2.1'] },
    });
    await assert.rejects(lookup('bad.example.com'));
    assert.deepEqual(await lookup('a.example.com'), ['192.0.2.1']);
  });
});

test('an operator’s own name is asked of the system, others are not', async (t) => {
  const { lookup, server } = await setUp(
    t,
    { 'a.example.com': { a: ['192.0.2.1'] } },
    { isOwnName: (name) => name === 'localhost' },
  );
  const addresses = await lookup('localhost');
  assert.ok(addresses.includes('127.0.0.1') || addresses.includes('::1'), String(addresses));
  await lookup('a.example.com');
  assert.deepEqual(lookups(server), ['a.example.com']);
});
