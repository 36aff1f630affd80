import assert from 'node:assert/strict';
import { describe } from 'node:test';
import { HOUR_MS, MINUTE_MS, unique } from '../support/store-fixtures.ts';
import { assertAbout, assertRefused, type Bench, type StoreTest } from './bench.ts';

async function linkOf(bench: Bench, username: string, lastsMs = 15 * MINUTE_MS): Promise<string> {
  const hash = unique('link');
  await bench.store.createPortalLink({
    linkId: unique('plk_'),
    username,
    hash,
    expiresAt: bench.now() + lastsMs,
  });
  return hash;
}

function newSession(bench: Bench) {
  return { hash: unique('session'), expiresAt: bench.now() + 12 * HOUR_MS };
}

export function sessionTests(test: StoreTest): void {
  describe('sessions', () => {
    test('a session of a key says with which key it was opened, and until when it holds', async (bench) => {
      const session = { ...newSession(bench), keyHash: 'a key' };
      await bench.store.openSession(session);
      assert.deepEqual(await bench.store.findSession(session.hash), {
        keyHash: 'a key',
        account: null,
        expiresAt: session.expiresAt,
      });
      assert.equal(await bench.store.findSession('another'), null);
    });

    test('an ended session is unknown, to every store on the data; the others stay', async (bench) => {
      const ended = newSession(bench);
      const other = newSession(bench);
      for (const session of [ended, other]) await bench.store.openSession({ ...session, keyHash: 'key' });
      await bench.store.endSession(ended.hash);
      await bench.store.endSession(ended.hash);
      assert.equal(await bench.store.findSession(ended.hash), null);
      assert.notEqual(await bench.store.findSession(other.hash), null);
    });

    test('a session that has expired goes when another is opened', async (bench) => {
      const session = { hash: unique('session'), keyHash: 'key', expiresAt: bench.now() + MINUTE_MS };
      await bench.store.openSession(session);
      await bench.advance(2 * MINUTE_MS);
      assert.equal((await bench.store.findSession(session.hash))?.expiresAt, session.expiresAt);
      await bench.store.openSession({ ...newSession(bench), keyHash: 'key' });
      assert.equal(await bench.store.findSession(session.hash), null);
    });
  });

  describe('portal links', () => {
    test('a link opens a session of its account, and says when it was used', async (bench) => {
      const username = await bench.account();
      const hash = await linkOf(bench, username);
      const session = newSession(bench);
      const link = await bench.store.usePortalLink(hash, session);
      assert.equal(link.username, username);
      assertAbout(link.usedAt as number, bench.now(), 'usedAt');
      const account = await bench.store.getAccount(username);
      assert.deepEqual(await bench.store.findSession(session.hash), {
        keyHash: null,
        account: { username, status: 'active', createdAt: account?.createdAt },
        expiresAt: session.expiresAt,
      });
    });

    test('a link opens one session, whoever comes first', async (bench) => {
      const hash = await linkOf(bench, await bench.account());
      const outcomes = await Promise.allSettled(
        Array.from({ length: 8 }, () => bench.store.usePortalLink(hash, newSession(bench))),
      );
      assert.equal(outcomes.filter(({ status }) => status === 'fulfilled').length, 1);
      await assertRefused('unauthorized', bench.store.usePortalLink(hash, newSession(bench)));
    });

    test('a link that has expired, or never was one, opens none', async (bench) => {
      const hash = await linkOf(bench, await bench.account(), MINUTE_MS);
      await bench.advance(2 * MINUTE_MS);
      const session = newSession(bench);
      await assertRefused('unauthorized', bench.store.usePortalLink(hash, session));
      await assertRefused('unauthorized', bench.store.usePortalLink('another', session));
      assert.equal(await bench.store.findSession(session.hash), null);
    });

    test('a suspended account’s link waits until the account is active', async (bench) => {
      const username = await bench.account();
      const hash = await linkOf(bench, username);
      await bench.store.updateAccount(username, { status: 'suspended' });
      await assertRefused('forbidden', bench.store.usePortalLink(hash, newSession(bench)));
      await bench.store.updateAccount(username, { status: 'active' });
      const session = newSession(bench);
      await bench.store.usePortalLink(hash, session);
      await bench.store.updateAccount(username, { status: 'suspended' });
      assert.equal((await bench.store.findSession(session.hash))?.account?.status, 'suspended');
    });

    test('a deleted account takes its sessions and links along', async (bench) => {
      const username = await bench.account();
      const other = await bench.account();
      const session = newSession(bench);
      await bench.store.usePortalLink(await linkOf(bench, username), session);
      const unused = await linkOf(bench, username);
      const kept = newSession(bench);
      await bench.store.usePortalLink(await linkOf(bench, other), kept);
      await bench.store.deleteAccount(username);
      assert.equal(await bench.store.findSession(session.hash), null);
      await assertRefused('unauthorized', bench.store.usePortalLink(unused, newSession(bench)));
      assert.notEqual(await bench.store.findSession(kept.hash), null);
    });

    test('there are links to accounts that are there, and to no others', async (bench) => {
      await assertRefused('not_found', linkOf(bench, 'nobody'));
      const username = await bench.account();
      await bench.store.deleteAccount(username);
      await assertRefused('not_found', linkOf(bench, username));
    });
  });
}
