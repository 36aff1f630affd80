import assert from 'node:assert/strict';
import { describe } from 'node:test';
import {
  listAll,
  MINUTE_MS,
  newEndpoint,
  newEvent,
  newKey,
  SECOND_MS,
  storedKey,
  VIDEO,
  WIDE_OFFER,
} from '../support/store-fixtures.ts';
import { assertAbout, assertRefused, idsOf, type StoreTest } from './bench.ts';

export function accountTests(test: StoreTest): void {
  describe('accounts', () => {
    test('a new account is active, has no endpoints and keeps its metadata', async ({ store }) => {
      const metadata = { plan: 'pro', seats: 3, tags: ['a', null, { deep: true }] };
      const account = await store.createAccount({ username: 'ada.l-1_2@x+y', metadata });
      assert.deepEqual(account, {
        username: 'ada.l-1_2@x+y',
        status: 'active',
        metadata,
        endpoints: 0,
        createdAt: account.createdAt,
      });
      assert.deepEqual(await store.getAccount('ada.l-1_2@x+y'), account);
    });

    test('an account that was never made is null', async ({ store }) => {
      assert.equal(await store.getAccount('nobody'), null);
    });

    test('a taken name is a conflict and leaves the first account as it was', async ({ store }) => {
      const first = await store.createAccount({ username: 'ada', metadata: { first: true } });
      await assertRefused('conflict', store.createAccount({ username: 'ada', metadata: null }));
      assert.deepEqual(await store.getAccount('ada'), first);
    });

    test('of parallel creations of one name, one wins', async ({ store }) => {
      const outcomes = await Promise.allSettled(
        Array.from({ length: 10 }, (_, n) => store.createAccount({ username: 'ada', metadata: { n } })),
      );
      const made = outcomes.filter((outcome) => outcome.status === 'fulfilled');
      assert.equal(made.length, 1);
      for (const outcome of outcomes) {
        if (outcome.status === 'rejected')
          await assertRefused('conflict', Promise.reject<unknown>(outcome.reason));
      }
      assert.deepEqual(await store.getAccount('ada'), made[0]?.value);
    });

    test('an account counts its endpoints', async (bench) => {
      const username = await bench.account();
      const first = await bench.endpoint(username);
      await bench.endpoint(username, { status: 'disabled' });
      assert.equal((await bench.store.getAccount(username))?.endpoints, 2);
      await bench.store.deleteEndpoint(username, first.endpointId);
      assert.equal((await bench.store.getAccount(username))?.endpoints, 1);
      const listed = await bench.store.listAccounts({ limit: 10, cursor: null });
      assert.equal(listed.items[0]?.endpoints, 1);
    });

    test('accounts are listed newest first, page by page', async (bench) => {
      const names: string[] = [];
      for (let n = 0; n < 7; n++) {
        names.unshift(await bench.account());
        await bench.advance(SECOND_MS);
      }
      const list = bench.store.listAccounts.bind(bench.store);
      assert.deepEqual(
        (await listAll(list, 3)).map((account) => account.username),
        names,
      );
      const first = await list({ limit: 7, cursor: null });
      assert.equal(first.nextCursor, null, 'a page that ends the list has no cursor');
    });

    test('accounts are found by a part of their name, in either case, page by page', async (bench) => {
      for (const name of ['Ada.Studio', 'bob', 'studio-2', 'a_b', 'a%b']) {
        await bench.account(name);
        await bench.advance(SECOND_MS);
      }
      const found = async (search: string) =>
        (await listAll((page) => bench.store.listAccounts(page, search), 1)).map(({ username }) => username);
      assert.deepEqual(await found('STUDIO'), ['studio-2', 'Ada.Studio']);
      assert.deepEqual(await found('_'), ['a_b']);
      assert.deepEqual(await found('%'), ['a%b']);
      assert.deepEqual(await found('nobody'), []);
      assert.equal((await found('')).length, 5);
    });

    test('accounts made in one moment are each listed once', async (bench) => {
      const names = await Promise.all(Array.from({ length: 9 }, () => bench.account()));
      const listed = await listAll(bench.store.listAccounts.bind(bench.store), 2);
      assert.deepEqual(listed.map((account) => account.username).sort(), names.sort());
    });

    test('an update replaces only what is present', async ({ store }) => {
      const account = await store.createAccount({ username: 'ada', metadata: { a: 1 } });
      assert.deepEqual(await store.updateAccount('ada', { status: 'suspended' }), {
        ...account,
        status: 'suspended',
      });
      assert.deepEqual(await store.updateAccount('ada', { metadata: { b: 2 } }), {
        ...account,
        status: 'suspended',
        metadata: { b: 2 },
      });
      assert.deepEqual(await store.updateAccount('ada', { status: 'active', metadata: null }), {
        ...account,
        metadata: null,
      });
      assert.deepEqual(await store.getAccount('ada'), { ...account, metadata: null });
    });

    test('an update of an unknown account is null', async ({ store }) => {
      assert.equal(await store.updateAccount('nobody', { status: 'suspended' }), null);
    });

    test('a deleted account, its keys and its endpoints exist for no operation any more', async (bench) => {
      const { username, endpoint } = await bench.subscriber();
      const { eventId, deliveryIds } = await bench.publish(username);
      const deliveryId = deliveryIds[0] as string;
      const key = newKey(username);
      await bench.store.createKey(key);
      const replay = await bench.store.createReplay({
        username,
        endpointId: endpoint.endpointId,
        kind: 'all',
        since: 0,
        until: bench.now() + MINUTE_MS,
      });
      const event = newEvent(username);

      const { store } = bench;
      assert.equal(await store.deleteAccount(username), true);

      assert.equal(await store.deleteAccount(username), false);
      assert.equal(await store.getAccount(username), null);
      assert.equal(await store.updateAccount(username, { status: 'active' }), null);
      assert.deepEqual((await store.listAccounts({ limit: 10, cursor: null })).items, []);
      assert.equal(await store.findKey(key.hash), null);
      assert.deepEqual(await store.listKeys(username), []);
      assert.equal(await store.revokeKey(key.keyId, username), false);
      await assertRefused('not_found', store.createKey(newKey(username)));
      assert.equal(await store.getEndpoint(username, endpoint.endpointId), null);
      assert.deepEqual(await store.listEndpoints(username), []);
      assert.equal(
        await store.updateEndpoint(username, endpoint.endpointId, { url: 'https://b.example' }),
        null,
      );
      assert.equal(await store.deleteEndpoint(username, endpoint.endpointId), false);
      assert.equal(await store.rotateSecret(username, endpoint.endpointId, 'sealed', null), null);
      await assertRefused('not_found', store.addEndpoint(newEndpoint(username), 20));
      assert.deepEqual((await store.publish([event], WIDE_OFFER)).results, [
        { outcome: 'unknown_account', username },
      ]);
      assert.deepEqual((await store.claim(WIDE_OFFER)).leases, []);
      assert.equal(await store.retryDelivery(username, deliveryId), null);
      assert.equal(await store.getDelivery(username, deliveryId), null);
      assert.deepEqual(await bench.deliveries(username), []);
      assert.equal(await store.getEvent(username, eventId), null);
      assert.deepEqual(await bench.events(username), []);
      assert.equal(await store.getReplay(username, replay?.replayId as string), null);
      assert.equal(await store.cancelReplay(username, replay?.replayId as string), null);
      const range = { since: 0, until: bench.now() + MINUTE_MS };
      assert.equal(
        await store.createReplay({ username, endpointId: endpoint.endpointId, kind: 'all', ...range }),
        null,
      );
    });

    test('an event type is free for deletion when its only subscriber was deleted with its account', async (bench) => {
      const { username } = await bench.subscriber({ events: ['custom.done'] });
      await bench.store.putEventType({
        name: 'custom.done',
        category: 'custom',
        description: 'Done',
        schema: {},
        example: null,
        deprecated: false,
        builtIn: false,
      });
      await bench.store.deleteAccount(username);
      assert.equal(await bench.store.deleteEventType('custom.done'), true);
    });

    test('deleting one account leaves the others alone', async (bench) => {
      const gone = await bench.subscriber();
      const stays = await bench.subscriber();
      await bench.publish(gone.username);
      const { deliveryIds } = await bench.publish(stays.username);
      await bench.store.deleteAccount(gone.username);
      await bench.purgeAll(bench.now());
      assert.equal((await bench.store.getAccount(stays.username))?.endpoints, 1);
      assert.deepEqual(idsOf(await bench.claim()), deliveryIds);
    });

    test('an unknown account is not deleted', async ({ store }) => {
      assert.equal(await store.deleteAccount('nobody'), false);
    });
  });

  describe('API keys', () => {
    test('a key is stored without use or revocation, and given back without its hash', async (bench) => {
      const username = await bench.account();
      const key = newKey(username, { expiresAt: 1_900_000_000_000 });
      const made = await bench.store.createKey(key);
      assertAbout(made.createdAt, bench.now(), 'createdAt');
      assert.deepEqual(made, storedKey(key, made.createdAt));
      assert.deepEqual(await bench.store.listKeys(username), [made]);
    });

    test('a key for an unknown account is not found', async ({ store }) => {
      await assertRefused('not_found', store.createKey(newKey('nobody')));
    });

    test('a hash leads to the key, its scopes and its account in one read', async (bench) => {
      const username = await bench.account();
      const key = newKey(username);
      const { createdAt } = await bench.store.createKey(key);
      await bench.store.updateAccount(username, { status: 'suspended' });
      const account = await bench.store.getAccount(username);
      assert.deepEqual(await bench.store.findKey(key.hash), {
        keyId: key.keyId,
        username,
        scopes: ['account'],
        expiresAt: null,
        account: { status: 'suspended', createdAt: account?.createdAt },
        createdAt,
      });
    });

    test('an operator-level key has no account', async ({ store }) => {
      const key = newKey(null, { scopes: ['publish', 'operator'] });
      const { createdAt } = await store.createKey(key);
      assert.deepEqual(await store.findKey(key.hash), {
        keyId: key.keyId,
        username: null,
        scopes: ['publish', 'operator'],
        expiresAt: null,
        account: null,
        createdAt,
      });
    });

    test('an unknown hash finds nothing', async (bench) => {
      const username = await bench.account();
      const key = newKey(username);
      await bench.store.createKey(key);
      assert.equal(await bench.store.findKey('f'.repeat(64)), null);
      assert.equal(await bench.store.findKey(key.keyId), null, 'an id is no hash');
    });

    test('expiry passes through: the caller judges it', async (bench) => {
      const username = await bench.account();
      const expiresAt = bench.now() + MINUTE_MS;
      const key = newKey(username, { expiresAt });
      await bench.store.createKey(key);
      await bench.advance(2 * MINUTE_MS);
      assert.equal((await bench.store.findKey(key.hash))?.expiresAt, expiresAt);
    });

    test('keys are listed newest first: an account’s apart from the operator’s', async (bench) => {
      const username = await bench.account();
      const other = await bench.account();
      const own: string[] = [];
      const operators: string[] = [];
      for (let n = 0; n < 3; n++) {
        own.unshift((await bench.store.createKey(newKey(username))).keyId);
        operators.unshift((await bench.store.createKey(newKey(null))).keyId);
        await bench.advance(SECOND_MS);
      }
      await bench.store.createKey(newKey(other));
      assert.deepEqual(
        (await bench.store.listKeys(username)).map((key) => key.keyId),
        own,
      );
      assert.deepEqual(
        (await bench.store.listKeys(null)).map((key) => key.keyId),
        operators,
      );
    });

    test('a revoked key is not found by its hash but stays listed with the time', async (bench) => {
      const username = await bench.account();
      const key = newKey(username);
      await bench.store.createKey(key);
      await bench.advance(MINUTE_MS);
      assert.equal(await bench.store.revokeKey(key.keyId, username), true);
      assert.equal(await bench.store.findKey(key.hash), null);
      const [listed] = await bench.store.listKeys(username);
      assertAbout(listed?.revokedAt ?? null, bench.now(), 'revokedAt');
    });

    test('an account revokes neither another’s key nor an operator’s', async (bench) => {
      const username = await bench.account();
      const other = await bench.account();
      const key = newKey(other);
      const operatorKey = newKey(null);
      await bench.store.createKey(key);
      await bench.store.createKey(operatorKey);
      assert.equal(await bench.store.revokeKey(key.keyId, username), false);
      assert.equal(await bench.store.revokeKey(operatorKey.keyId, username), false);
      assert.equal(await bench.store.revokeKey('key_unknown', username), false);
      assert.ok(await bench.store.findKey(key.hash));
      assert.ok(await bench.store.findKey(operatorKey.hash));
    });

    test('without a username any key is revoked', async (bench) => {
      const username = await bench.account();
      const key = newKey(username);
      const operatorKey = newKey(null);
      await bench.store.createKey(key);
      await bench.store.createKey(operatorKey);
      assert.equal(await bench.store.revokeKey(key.keyId, null), true);
      assert.equal(await bench.store.revokeKey(operatorKey.keyId, null), true);
      assert.equal(await bench.store.revokeKey('key_unknown', null), false);
      assert.equal(await bench.store.findKey(key.hash), null);
      assert.equal(await bench.store.findKey(operatorKey.hash), null);
    });

    test('the last use moves forwards only, within a call and between calls', async (bench) => {
      const username = await bench.account();
      const key = newKey(username);
      await bench.store.createKey(key);
      const { keyId } = key;
      const lastUsedAt = async () => (await bench.store.listKeys(username))[0]?.lastUsedAt;
      await bench.store.touchKeys([{ keyId, at: 2_000 }]);
      assert.equal(await lastUsedAt(), 2_000);
      await bench.store.touchKeys([
        { keyId, at: 4_000 },
        { keyId, at: 3_000 },
      ]);
      assert.equal(await lastUsedAt(), 4_000);
      await bench.store.touchKeys([{ keyId, at: 1_000 }]);
      assert.equal(await lastUsedAt(), 4_000);
      await bench.store.touchKeys([
        { keyId: 'key_unknown', at: 9_000 },
        { keyId, at: 5_000 },
      ]);
      assert.equal(await lastUsedAt(), 5_000);
      await bench.store.touchKeys([]);
    });
  });

  describe('tenancy', () => {
    test('another account’s ids are not found, and nothing of it changes', async (bench) => {
      const owner = await bench.subscriber();
      const stranger = await bench.subscriber();
      const { eventId, deliveryIds } = await bench.publish(owner.username, { event: VIDEO });
      const deliveryId = deliveryIds[0] as string;
      const endpointId = owner.endpoint.endpointId;
      const range = { since: 0, until: bench.now() + MINUTE_MS };
      const replay = await bench.store.createReplay({
        username: owner.username,
        endpointId,
        kind: 'all',
        ...range,
      });
      const replayId = replay?.replayId as string;
      const { store } = bench;
      const seenByOwner = async () => ({
        endpoints: await store.listEndpoints(owner.username),
        delivery: await store.getDelivery(owner.username, deliveryId),
        event: await store.getEvent(owner.username, eventId),
        replay: await store.getReplay(owner.username, replayId),
      });
      const before = await seenByOwner();

      const { username } = stranger;
      assert.equal(await store.getEndpoint(username, endpointId), null);
      assert.equal(await store.updateEndpoint(username, endpointId, { status: 'disabled' }), null);
      assert.equal(await store.deleteEndpoint(username, endpointId), false);
      assert.equal(await store.rotateSecret(username, endpointId, 'sealed', null), null);
      assert.equal(await store.getDelivery(username, deliveryId), null);
      assert.equal(await store.retryDelivery(username, deliveryId), null);
      assert.equal(await store.getEvent(username, eventId), null);
      assert.equal(await store.createReplay({ username, endpointId, kind: 'all', ...range }), null);
      assert.equal(await store.getReplay(username, replayId), null);
      assert.equal(await store.cancelReplay(username, replayId), null);
      assert.deepEqual(await bench.deliveries(username), []);
      assert.deepEqual(await bench.deliveries(username, { endpointId }), []);
      assert.deepEqual(await bench.deliveries(username, { eventId }), []);
      assert.deepEqual(await bench.events(username), []);
      assert.deepEqual(await bench.events(username, { eventId }), []);
      assert.deepEqual(
        (await store.publish([newEvent(username, { onlyEndpointId: endpointId })], null)).results,
        [{ outcome: 'unknown_endpoint', endpointId }],
      );

      assert.deepEqual(await seenByOwner(), before);
    });

    test('one event id in two accounts is two events', async (bench) => {
      const one = await bench.subscriber();
      const two = await bench.subscriber();
      await bench.publish(one.username, { eventId: 'evt_shared', data: { of: 'one' } });
      await bench.publish(two.username, { eventId: 'evt_shared', data: { of: 'two' } });
      assert.match((await bench.event(one.username, 'evt_shared')).body, /"of":"one"/);
      assert.match((await bench.event(two.username, 'evt_shared')).body, /"of":"two"/);
    });

    test('an event reaches no endpoint of another account', async (bench) => {
      const one = await bench.subscriber();
      await bench.subscriber();
      await bench.publish(one.username);
      const lease = await bench.claimOne();
      assert.equal(lease.endpoint.endpointId, one.endpoint.endpointId);
      assert.equal(lease.username, one.username);
    });
  });
}
