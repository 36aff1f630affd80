import assert from 'node:assert/strict';
import { describe } from 'node:test';
import type { EncryptionKeys, Resealing, Store } from '../../src/store/store.ts';
import { DAY_MS, listAll, newEndpoint } from '../support/store-fixtures.ts';
import { assertRefused, type Bench, type StoreTest } from './bench.ts';

const OLD = '0aaaaaaa';
const NEW = '1bbbbbbb';
const BOTH = [OLD, NEW];

/** In the form of the vault; nobody opens it here. */
function sealed(keyId: string, text: string): string {
  return `v1.${keyId}.nonce.${text}.tag`;
}

async function endpointWith(bench: Bench, username: string, keyId: string, text: string) {
  return bench.endpoint(username, {
    secret: sealed(keyId, text),
    headers: sealed(keyId, `${text}-headers`),
  });
}

/** What a process is told of the keys. */
async function told(store: Store, keyIds: string[], sealsWith: string): Promise<EncryptionKeys> {
  const { activeId, olderIds } = await store.announceEncryptionKeys(keyIds, sealsWith);
  return { activeId, olderIds };
}

function change(
  { username, endpointId }: { username: string; endpointId: string },
  field: Resealing['field'],
  from: string,
  to: string,
): Resealing {
  return { username, endpointId, field, from, to };
}

export function encryptionKeyTests(test: StoreTest): void {
  describe('encryption keys', () => {
    test('the first that is told is active, and stays so whatever is told later', async ({ store }) => {
      const first = { activeId: OLD, olderIds: [] };
      assert.deepEqual(await told(store, [OLD], OLD), first);
      assert.deepEqual(await told(store, [NEW, OLD], OLD), first);
      assert.equal(await store.getMeta('encryption_key_id'), OLD);
    });

    test('of parallel processes on empty data the keys of one are taken', async ({ store }) => {
      const answers = await Promise.all(
        Array.from({ length: 8 }, (_, n) =>
          store.announceEncryptionKeys([`0000000${n}`, ...BOTH], `0000000${n}`),
        ),
      );
      assert.equal(new Set(answers.map(({ activeId }) => activeId)).size, 1);
      assert.deepEqual(answers[0]?.olderIds, []);
    });

    test('an activated key takes the place of the former one, which stays usable', async ({ store }) => {
      await store.announceEncryptionKeys(BOTH, OLD);
      const keys = { activeId: NEW, olderIds: [OLD] };
      assert.deepEqual(await store.activateEncryptionKey(NEW), keys);
      assert.deepEqual(await store.activateEncryptionKey(NEW), keys, 'once more changes nothing');
      assert.deepEqual(await told(store, BOTH, NEW), keys);
      assert.deepEqual(await store.activateEncryptionKey(OLD), { activeId: OLD, olderIds: [NEW] });
    });

    test('values are counted by their keys', async (bench) => {
      const { store } = bench;
      await store.announceEncryptionKeys(BOTH, OLD);
      await store.activateEncryptionKey(NEW);
      const username = await bench.account();
      const { endpointId } = await endpointWith(bench, username, OLD, 'a');
      await bench.endpoint(username, { secret: sealed(NEW, 'b') });
      await store.rotateSecret(username, endpointId, sealed(NEW, 'c'), bench.now() + DAY_MS);
      assert.deepEqual(await store.countSealed(), { [OLD]: 2, [NEW]: 2 });
    });

    test('what is sealed with an older key is listed page by page, the rest is not', async (bench) => {
      const { store } = bench;
      await store.announceEncryptionKeys(BOTH, OLD);
      await store.activateEncryptionKey(NEW);
      const expected: string[] = [];
      for (let n = 0; n < 5; n++) {
        const username = await bench.account();
        expected.push((await endpointWith(bench, username, OLD, `old-${n}`)).endpointId);
        await endpointWith(bench, username, NEW, `new-${n}`);
      }
      const username = await bench.account();
      const mixed = await bench.endpoint(username, {
        secret: sealed(NEW, 'x'),
        headers: sealed(OLD, 'y'),
      });
      const listed = await listAll((page) => store.listResealable(page), 2);
      assert.deepEqual(
        listed.map(({ endpointId }) => endpointId).sort(),
        [...expected, mixed.endpointId].sort(),
      );
      assert.deepEqual(
        listed.find(({ endpointId }) => endpointId === mixed.endpointId),
        {
          username,
          endpointId: mixed.endpointId,
          secret: sealed(NEW, 'x'),
          previousSecret: null,
          headers: sealed(OLD, 'y'),
        },
      );
    });

    test('a deleted endpoint has nothing to be sealed anew', async (bench) => {
      const { store } = bench;
      await store.announceEncryptionKeys(BOTH, OLD);
      const username = await bench.account();
      const { endpointId } = await endpointWith(bench, username, OLD, 'a');
      await store.deleteEndpoint(username, endpointId);
      await store.activateEncryptionKey(NEW);
      assert.deepEqual((await store.listResealable({ limit: 10, cursor: null })).items, []);
      assert.deepEqual(await store.countSealed(), {});
    });

    test('values are replaced that are as they were read, and no others', async (bench) => {
      const { store } = bench;
      await store.announceEncryptionKeys(BOTH, OLD);
      const username = await bench.account();
      const first = await endpointWith(bench, username, OLD, 'first');
      const second = await endpointWith(bench, username, OLD, 'second');
      await store.activateEncryptionKey(NEW);
      // Rotated after it was read.
      await store.rotateSecret(username, second.endpointId, sealed(NEW, 'rotated'), bench.now() + DAY_MS);
      const replaced = await store.reseal([
        change(first, 'secret', sealed(OLD, 'first'), sealed(NEW, 'first')),
        change(first, 'headers', sealed(OLD, 'first-headers'), sealed(NEW, 'first-headers')),
        change(second, 'secret', sealed(OLD, 'second'), sealed(NEW, 'second')),
        change({ username: 'nobody', endpointId: 'wh_x' }, 'secret', sealed(OLD, 'a'), sealed(NEW, 'a')),
      ]);
      assert.equal(replaced, 2);
      const found = await store.getEndpoint(username, first.endpointId);
      assert.equal(found?.secret, sealed(NEW, 'first'));
      assert.equal(found?.headers, sealed(NEW, 'first-headers'));
      const rotated = await store.getEndpoint(username, second.endpointId);
      assert.equal(rotated?.secret, sealed(NEW, 'rotated'));
      assert.equal(rotated?.previousSecret, sealed(OLD, 'second'));
      assert.equal(
        await store.reseal([change(second, 'previousSecret', sealed(OLD, 'second'), sealed(NEW, 'second'))]),
        1,
      );
    });

    test('a key is retired when nothing is sealed with it, and never the active one', async (bench) => {
      const { store } = bench;
      await store.announceEncryptionKeys(BOTH, OLD);
      const username = await bench.account();
      const endpoint = await endpointWith(bench, username, OLD, 'a');
      assert.equal(await store.retireEncryptionKey(OLD), false, 'active');
      await store.activateEncryptionKey(NEW);
      await store.announceEncryptionKeys(BOTH, NEW);
      assert.equal(await store.retireEncryptionKey(OLD), false, 'in use');
      await store.reseal([
        change(endpoint, 'secret', sealed(OLD, 'a'), sealed(NEW, 'a')),
        change(endpoint, 'headers', sealed(OLD, 'a-headers'), sealed(NEW, 'a-headers')),
      ]);
      assert.equal(await store.retireEncryptionKey(OLD), true);
      assert.equal(await store.retireEncryptionKey(OLD), false, 'once');
      assert.deepEqual(await told(store, BOTH, NEW), { activeId: NEW, olderIds: [] });
      assert.equal(await store.retireEncryptionKey(NEW), false, 'active');
    });

    test('a value that is sealed with a retired key is refused, so that none is left that nobody opens', async (bench) => {
      const { store } = bench;
      await store.announceEncryptionKeys(BOTH, OLD);
      const username = await bench.account();
      const { endpointId } = await endpointWith(bench, username, OLD, 'a');
      await store.activateEncryptionKey(NEW);
      await store.announceEncryptionKeys(BOTH, NEW);
      await store.updateEndpoint(username, endpointId, { headers: sealed(OLD, 'still fine') });
      await store.updateEndpoint(username, endpointId, { headers: null });
      await store.rotateSecret(username, endpointId, sealed(NEW, 'b'), null);
      assert.equal(await store.retireEncryptionKey(OLD), true);
      const late = newEndpoint(username, { secret: sealed(OLD, 'late') });
      await assertRefused('unavailable', store.addEndpoint(late, 20));
      await assertRefused('unavailable', store.rotateSecret(username, endpointId, sealed(OLD, 'c'), null));
      await assertRefused(
        'unavailable',
        store.updateEndpoint(username, endpointId, { headers: sealed(OLD, 'd') }),
      );
      assert.equal((await store.getEndpoint(username, endpointId))?.secret, sealed(NEW, 'b'));
      assert.deepEqual(await store.countSealed(), { [NEW]: 1 });
    });
  });
}

/** For engines whose data several processes share. */
export function sharedEncryptionKeyTests(test: StoreTest): void {
  describe('encryption keys of several nodes', () => {
    test('a key is not activated before every node that is alive can open values with it', async (bench) => {
      const { store } = bench;
      const other = await bench.addNode();
      await store.announceEncryptionKeys(BOTH, OLD);
      const untold = await assertRefused('conflict', store.activateEncryptionKey(NEW));
      assert.match(untold.message, /restart every node with it/);
      await other.announceEncryptionKeys([OLD], OLD);
      await assertRefused('conflict', store.activateEncryptionKey(NEW));
      assert.deepEqual(await told(store, BOTH, OLD), { activeId: OLD, olderIds: [] });
      await other.announceEncryptionKeys([NEW, OLD], OLD);
      assert.deepEqual(await store.activateEncryptionKey(NEW), { activeId: NEW, olderIds: [OLD] });
    });

    test('a node that has ended is not asked', async (bench) => {
      const other = await bench.addNode();
      await bench.store.announceEncryptionKeys(BOTH, OLD);
      await other.announceEncryptionKeys([OLD], OLD);
      await bench.closeNode(other);
      assert.equal((await bench.store.activateEncryptionKey(NEW)).activeId, NEW);
    });

    test('a key is not retired while a node that is alive seals with it', async (bench) => {
      const { store } = bench;
      const other = await bench.addNode();
      await store.announceEncryptionKeys(BOTH, OLD);
      await other.announceEncryptionKeys(BOTH, OLD);
      await store.activateEncryptionKey(NEW);
      await store.announceEncryptionKeys(BOTH, NEW);
      assert.equal(await store.retireEncryptionKey(OLD), false);
      await other.announceEncryptionKeys(BOTH, NEW);
      assert.equal(await store.retireEncryptionKey(OLD), true);
    });

    test('a value that is being sealed when its key is retired is either found or refused', async (bench) => {
      const { store } = bench;
      const other = await bench.addNode();
      const username = await bench.account();
      for (let round = 0; round < 9; round++) {
        const [older, newer] = [`a000000${round}`, `a000000${round + 1}`];
        await Promise.all([store, other].map((node) => node.announceEncryptionKeys([older, newer], older)));
        await store.activateEncryptionKey(newer);
        await Promise.all([store, other].map((node) => node.announceEncryptionKeys([older, newer], newer)));
        const endpoint = newEndpoint(username, { secret: sealed(older, 'a') });
        const [added, retired] = await Promise.allSettled([
          other.addEndpoint(endpoint, 1_000),
          store.retireEncryptionKey(older),
        ]);
        assert.equal(retired.status, 'fulfilled');
        const isRetired = retired.status === 'fulfilled' && retired.value;
        assert.equal(isRetired, added.status === 'rejected', `round ${round}`);
        if (isRetired) continue;
        await store.reseal([change(endpoint, 'secret', sealed(older, 'a'), sealed(newer, 'a'))]);
        assert.equal(await store.retireEncryptionKey(older), true);
        // The next round's key is this one's new one: nothing may be left that needs it.
        await store.deleteEndpoint(username, endpoint.endpointId);
      }
    });

    test('of the nodes that are alive one seals anew, and another when that one has ended', async (bench) => {
      const { store } = bench;
      const other = await bench.addNode();
      await store.announceEncryptionKeys(BOTH, OLD);
      await other.announceEncryptionKeys(BOTH, OLD);
      await store.activateEncryptionKey(NEW);
      const reseals = async () =>
        Promise.all(
          [store, other].map(async (node) => (await node.announceEncryptionKeys(BOTH, NEW)).reseals),
        );
      assert.deepEqual(await reseals(), [true, false]);
      await bench.close();
      assert.equal((await other.announceEncryptionKeys(BOTH, NEW)).reseals, true);
    });

    test('sealing anew is no news to other nodes', async (bench) => {
      const { store } = bench;
      const other = await bench.addNode();
      await store.announceEncryptionKeys(BOTH, OLD);
      const username = await bench.account();
      const endpoint = await endpointWith(bench, username, OLD, 'a');
      await other.takeChanges();
      await store.reseal([change(endpoint, 'secret', sealed(OLD, 'a'), sealed(OLD, 'b'))]);
      assert.deepEqual((await other.takeChanges()).endpointIds, []);
      await store.updateEndpoint(username, endpoint.endpointId, { url: 'https://b.example' });
      assert.deepEqual((await other.takeChanges()).endpointIds, [endpoint.endpointId]);
    });
  });
}
