import assert from 'node:assert/strict';
import { describe } from 'node:test';
import { newEventType, SECOND_MS, VIDEO } from '../support/store-fixtures.ts';
import { assertRefused, type StoreTest } from './bench.ts';

export function catalogueTests(test: StoreTest): void {
  describe('event types', () => {
    test('types are listed whole, in the order of their making', async (bench) => {
      const types = [
        newEventType('zebra.done'),
        newEventType('apple.done', { example: null, deprecated: true, schema: {} }),
        newEventType('mango.done', { description: 'ä “quoted” 🥭\n', category: 'fruit' }),
      ];
      await bench.account();
      for (const type of types) {
        await bench.store.putEventType(type);
        await bench.advance(SECOND_MS);
      }
      assert.deepEqual(await bench.store.listEventTypes(), types);
    });

    test('putting a type again replaces it where it stands', async (bench) => {
      const first = newEventType('first.done');
      const second = newEventType('second.done');
      await bench.account();
      await bench.store.putEventType(first);
      await bench.advance(SECOND_MS);
      await bench.store.putEventType(second);
      await bench.advance(SECOND_MS);
      const changed = newEventType('first.done', { description: 'Changed', example: { id: 'y' } });
      await bench.store.putEventType(changed);
      assert.deepEqual(await bench.store.listEventTypes(), [changed, second]);
    });

    test('a built-in type that was deprecated is kept as such', async ({ store }) => {
      const type = newEventType(VIDEO, { builtIn: true, deprecated: true });
      await store.putEventType(type);
      assert.deepEqual(await store.listEventTypes(), [type]);
    });

    test('a type is deleted once', async ({ store }) => {
      await store.putEventType(newEventType('custom.done'));
      assert.equal(await store.deleteEventType('custom.done'), true);
      assert.equal(await store.deleteEventType('custom.done'), false);
      assert.deepEqual(await store.listEventTypes(), []);
    });

    for (const status of ['enabled', 'disabled'] as const) {
      test(`a type that an ${status} endpoint subscribes to can't be deleted until it doesn't`, async (bench) => {
        const type = newEventType('custom.done');
        await bench.store.putEventType(type);
        const { username, endpoint } = await bench.subscriber({ events: [VIDEO, 'custom.done'], status });
        await assertRefused('conflict', bench.store.deleteEventType('custom.done'));
        assert.deepEqual(await bench.store.listEventTypes(), [type]);
        await bench.store.updateEndpoint(username, endpoint.endpointId, { events: [VIDEO] });
        assert.equal(await bench.store.deleteEventType('custom.done'), true);
      });
    }

    test('a type is free again when its subscriber is deleted', async (bench) => {
      await bench.store.putEventType(newEventType('custom.done'));
      const { username, endpoint } = await bench.subscriber({ events: ['custom.done'] });
      await bench.store.deleteEndpoint(username, endpoint.endpointId);
      assert.equal(await bench.store.deleteEventType('custom.done'), true);
    });

    test('a name that is part of a subscribed name is not taken for it', async (bench) => {
      await bench.store.putEventType(newEventType('video'));
      await bench.subscriber({ events: ['video.done', 'my.video'] });
      assert.equal(await bench.store.deleteEventType('video'), true);
    });
  });
}
