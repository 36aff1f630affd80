import assert from 'node:assert/strict';
import { describe } from 'node:test';
import type { Store } from '../../src/store/store.ts';
import {
  deadAt,
  MINUTE_MS,
  newEventType,
  newKey,
  SECOND_MS,
  unique,
  WIDE_OFFER,
} from '../support/store-fixtures.ts';
import { assertSameMembers, type StoreTest } from './bench.ts';

function firstKey(changes: Partial<Parameters<Store['createFirstOperatorKey']>[0]> = {}) {
  const { username: _, ...key } = newKey(null, changes);
  return key;
}

function countsOf(answers: readonly { count: number }[]): number[] {
  return answers.map(({ count }) => count).toSorted((a, b) => a - b);
}

/** What nodes agree on through the store; each test holds for a store that is alone as well. */
export function sharingTests(test: StoreTest): void {
  describe('a value that is set', () => {
    test('stands, whatever it was', async ({ store }) => {
      await store.setMeta('limit', '1');
      await store.setMeta('limit', '2');
      assert.equal(await store.getMeta('limit'), '2');
      assert.equal(await store.initMeta('limit', '3'), '2');
    });
  });

  describe('the first operator key', () => {
    test('is created once, of parallel callers by one', async ({ store }) => {
      const keys = Array.from({ length: 5 }, () => firstKey());
      const created = await Promise.all(keys.map((key) => store.createFirstOperatorKey(key)));
      assert.equal(created.filter(Boolean).length, 1);
      assert.equal(await store.createFirstOperatorKey(firstKey()), false);
      const listed = await store.listKeys(null);
      assert.deepEqual(
        listed.map(({ keyId, name, scopes, username }) => ({ keyId, name, scopes, username })),
        keys
          .filter((_, n) => created[n])
          .map(({ keyId, name, scopes }) => ({ keyId, name, scopes, username: null })),
      );
      const stored = keys.find((_, n) => created[n]);
      assert.deepEqual((await store.findKey(stored?.hash ?? ''))?.scopes, ['operator']);
    });

    test('is created again when those that are there are of no use', async (bench) => {
      const { store } = bench;
      await store.createKey(newKey(null, { scopes: ['publish'] }));
      await store.createKey(newKey(await bench.account()));
      const revoked = newKey(null, { scopes: ['publish', 'operator'] });
      await store.createKey(revoked);
      const expiring = newKey(null, { expiresAt: bench.now() + MINUTE_MS });
      await store.createKey(expiring);
      await store.revokeKey(revoked.keyId, null);
      assert.equal(await store.createFirstOperatorKey(firstKey()), false, 'one is usable');
      await bench.advance(2 * MINUTE_MS);
      assert.equal(await store.createFirstOperatorKey(firstKey()), true);
    });
  });

  describe('counting requests', () => {
    test('counts within a window that begins with the first, and anew after it', async (bench) => {
      const { store } = bench;
      const name = unique('window');
      assert.deepEqual(countsOf([await store.countRequest(name, MINUTE_MS)]), [1]);
      await bench.advance(20 * SECOND_MS);
      const second = await store.countRequest(name, MINUTE_MS);
      assert.equal(second.count, 2);
      assert.ok(second.endsInMs <= 40 * SECOND_MS && second.endsInMs > 30 * SECOND_MS, `${second.endsInMs}`);
      await bench.advance(40 * SECOND_MS);
      const third = await store.countRequest(name, MINUTE_MS);
      assert.equal(third.count, 1);
      assert.ok(third.endsInMs <= MINUTE_MS && third.endsInMs > 50 * SECOND_MS, `${third.endsInMs}`);
    });

    test('gives each of parallel requests a number of its own', async ({ store }) => {
      const name = unique('window');
      const answers = await Promise.all(
        Array.from({ length: 25 }, () => store.countRequest(name, MINUTE_MS)),
      );
      assert.deepEqual(
        countsOf(answers),
        Array.from({ length: 25 }, (_, n) => n + 1),
      );
    });

    test('keeps names apart', async ({ store }) => {
      const [one, other] = [unique('window'), unique('window')];
      await store.countRequest(one, MINUTE_MS);
      await store.countRequest(one, MINUTE_MS);
      assert.equal((await store.countRequest(other, MINUTE_MS)).count, 1);
      assert.equal((await store.countRequest(one, MINUTE_MS)).count, 3);
    });
  });

  describe('changes', () => {
    test('there are none where nothing changes', async (bench) => {
      const nothing = { catalogue: false, endpointIds: [] };
      await bench.subscriber();
      assert.deepEqual(await bench.store.takeChanges(), nothing);
      const { username } = await bench.subscriber();
      await bench.publish(username);
      await bench.claimOne();
      assert.deepEqual(await bench.store.takeChanges(), nothing);
    });
  });
}

/** What only a store tells that others share. */
export function changeTests(test: StoreTest): void {
  describe('changes at another node', () => {
    test('of an endpoint are told, whatever changes it, and each once', async (bench) => {
      const other = await bench.addNode();
      const { username, endpoint } = await bench.subscriber();
      const { endpointId } = endpoint;
      const neighbour = await bench.endpoint(username);
      await bench.publish(username);
      const lease = (await other.claim(WIDE_OFFER)).leases.find(
        (one) => one.endpoint.endpointId === endpointId,
      );
      assert.ok(lease);
      await bench.store.takeChanges();

      const changes: Record<string, () => Promise<unknown>> = {
        updated: () => other.updateEndpoint(username, endpointId, { url: 'https://moved.example/' }),
        'given other events': () =>
          other.updateEndpoint(username, endpointId, { events: ['create_avatar_success'] }),
        'given a new secret': () => other.rotateSecret(username, endpointId, 'sealed', null),
        'disabled by its receiver': () =>
          other.settle([{ ...deadAt(lease, bench.now()), disableEndpoint: '410 Gone' }], null),
        enabled: () => other.updateEndpoint(username, endpointId, { status: 'enabled' }),
        suspended: () => other.updateAccount(username, { status: 'suspended' }),
        deleted: () => other.deleteEndpoint(username, endpointId),
      };
      for (const [how, change] of Object.entries(changes)) {
        await change();
        const { endpointIds } = await bench.store.takeChanges();
        assertSameMembers(
          endpointIds,
          how === 'suspended' ? [endpointId, neighbour.endpointId] : [endpointId],
          how,
        );
        assert.deepEqual(await bench.store.takeChanges(), { catalogue: false, endpointIds: [] }, how);
      }
      await other.deleteAccount(username);
      assert.deepEqual((await bench.store.takeChanges()).endpointIds, [neighbour.endpointId]);
    });

    test('of the catalogue are told', async (bench) => {
      const other = await bench.addNode();
      await bench.store.takeChanges();
      const type = newEventType('order.paid');
      for (const change of [
        () => other.putEventType(type),
        () => other.putEventType({ ...type, deprecated: true }),
        () => other.deleteEventType(type.name),
      ]) {
        await change();
        assert.deepEqual(await bench.store.takeChanges(), { catalogue: true, endpointIds: [] });
        assert.deepEqual(await bench.store.takeChanges(), { catalogue: false, endpointIds: [] });
      }
    });

    test('that are under way while somebody looks are told by the next look', async (bench) => {
      const other = await bench.addNode();
      const { username, endpoint } = await bench.subscriber();
      await bench.store.takeChanges();
      let isDone = false;
      const told: string[] = [];
      const changing = (async () => {
        for (let n = 0; n < 20; n++)
          await other.rotateSecret(username, endpoint.endpointId, `sealed ${n}`, null);
        isDone = true;
      })();
      while (!isDone) told.push(...(await bench.store.takeChanges()).endpointIds);
      await changing;
      told.push(...(await bench.store.takeChanges()).endpointIds);
      assert.ok(told.length > 0);
      const before = told.length;
      await other.rotateSecret(username, endpoint.endpointId, 'the last', null);
      told.push(...(await bench.store.takeChanges()).endpointIds);
      assert.equal(told.length, before + 1);
    });

    test('and requests counted there count here, and a first operator key is made once', async (bench) => {
      const other = await bench.addNode();
      const name = unique('window');
      const nodes = Array.from({ length: 20 }, (_, n) => (n % 2 === 0 ? bench.store : other));
      const answers = await Promise.all(nodes.map((node) => node.countRequest(name, MINUTE_MS)));
      assert.deepEqual(
        countsOf(answers),
        nodes.map((_, n) => n + 1),
      );
      const made = await Promise.all(nodes.map((node) => node.createFirstOperatorKey(firstKey())));
      assert.equal(made.filter(Boolean).length, 1);
    });
  });
}
