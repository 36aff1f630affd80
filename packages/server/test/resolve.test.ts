import assert from 'node:assert/strict';
import { describe, test, type TestContext } from 'node:test';
import { createResolver, type Lookup } from '../src/delivery/resolve.ts';
import { closedPort } from './support/receivers.ts';
import { type NameServer, startNameServer, type Zone } from './support/name-server.ts';

async function setUp(t: TestContext, zone: Zone): Promise<{ lookup: Lookup; server: NameServer }> {
  const server = await startNameServer(zone);
  const resolver = createResolver('public-https', [server.address]);
  t.after(() => resolver.close());
  t.after(() => server.close());
  return { lookup: resolver.lookup, server };
}

describe('a lookup under public-https', () => {
  test('answers all addresses, IPv4 before IPv6', async (t) => {
    const { lookup } = await setUp(t, {
      'both.example.com': { a: ['192.0.2.1', '192.0.2.2'], aaaa: ['2001:db8:0:0:0:0:0:1'] },
    });
    const addresses = await lookup('both.example.com');
    assert.deepEqual([...addresses].slice(0, 2).sort(), ['192.0.2.1', '192.0.2.2']);
    assert.deepEqual(addresses.slice(2), ['2001:db8::1']);
  });

  test('is content with one kind of address', async (t) => {
    const { lookup } = await setUp(t, {
      'four.example.com': { a: ['192.0.2.1'] },
      'six.example.com': { aaaa: ['2001:db8:0:0:0:0:0:1'] },
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

  test('asks once for what is asked twice at the same time, and again afterwards', async (t) => {
    const { lookup, server } = await setUp(t, { 'a.example.com': { a: ['192.0.2.1'] } });
    await Promise.all([lookup('a.example.com'), lookup('a.example.com'), lookup('a.example.com')]);
    assert.deepEqual(server.questions.toSorted(), ['A a.example.com', 'AAAA a.example.com']);
    await lookup('a.example.com');
    assert.equal(server.questions.length, 4);
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
  const resolver = createResolver('public-https', [server.address]);
  const answer = assert.rejects(resolver.lookup('silent.example.com'), { code: 'ECANCELLED' });
  await server.whenAsked('silent.example.com');
  resolver.close();
  await answer;
});

test('without a listening name server, the system is asked', async () => {
  const resolver = createResolver('public-https', [`127.0.0.1:${await closedPort()}`]);
  const addresses = await resolver.lookup('localhost');
  assert.ok(addresses.includes('127.0.0.1') || addresses.includes('::1'), String(addresses));
});

test('a lookup under development asks the system, which knows the local names', async () => {
  const addresses = await createResolver('development').lookup('localhost');
  assert.ok(addresses.includes('127.0.0.1') || addresses.includes('::1'), String(addresses));
});
