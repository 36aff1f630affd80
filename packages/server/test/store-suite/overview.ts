import assert from 'node:assert/strict';
import { describe } from 'node:test';
import { DAY_MS, deadAt, deliveredAt, HOUR_MS, MINUTE_MS, retryingAt } from '../support/store-fixtures.ts';
import { type Bench, DRIFT_MS, type StoreTest } from './bench.ts';

const LIMIT = 10;

/** Attempts what is due, in the one way, at each endpoint of the account. */
async function settleAll(bench: Bench, end: 'delivered' | 'retrying' | 'dead'): Promise<void> {
  const leases = await bench.claim();
  const settle = { delivered: deliveredAt, dead: deadAt, retrying: null }[end];
  await bench.settle(
    ...leases.map((lease) =>
      settle === null ? retryingAt(lease, bench.now(), bench.now() + HOUR_MS) : settle(lease, bench.now()),
    ),
  );
}

function overview(bench: Bench, username: string | null, limit = LIMIT) {
  return bench.store.overview(username, bench.now() - DAY_MS, limit);
}

export function overviewTests(test: StoreTest): void {
  describe('the overview', () => {
    test('of an account without anything is empty, and so of an unknown one', async (bench) => {
      const nothing = {
        pending: 0,
        isExact: true,
        oldestDueMs: 0,
        endpoints: { enabled: 0, disabled: 0 },
        troubled: [],
      };
      assert.deepEqual(await overview(bench, await bench.account()), nothing);
      assert.deepEqual(await overview(bench, 'nobody'), nothing);
    });

    test('counts what waits, and says how long the oldest due delivery has waited', async (bench) => {
      const { username } = await bench.subscriber();
      await bench.publishMany(username, 3);
      await settleAll(bench, 'retrying');
      await bench.publish(username);
      await bench.advance(5 * MINUTE_MS);
      const { pending, isExact, oldestDueMs } = await overview(bench, username);
      assert.equal(pending, 4);
      assert.equal(isExact, true);
      assert.ok(
        oldestDueMs >= 5 * MINUTE_MS && oldestDueMs < 5 * MINUTE_MS + DRIFT_MS,
        `the oldest has waited for ${oldestDueMs} ms`,
      );
    });

    test('what is due later, leased, or parked with its account doesn’t wait too long', async (bench) => {
      const { username } = await bench.subscriber();
      await bench.publish(username);
      await settleAll(bench, 'retrying');
      await bench.publish(username);
      const [lease] = await bench.claim();
      assert.ok(lease !== undefined);
      await bench.advance(MINUTE_MS / 2);
      assert.equal((await overview(bench, username)).oldestDueMs, 0);

      const parked = await bench.subscriber();
      await bench.publish(parked.username);
      await bench.store.updateAccount(parked.username, { status: 'suspended' });
      await bench.advance(MINUTE_MS);
      const { pending, oldestDueMs } = await overview(bench, parked.username);
      assert.deepEqual([pending, oldestDueMs], [1, 0]);
    });

    test('has the endpoints that fail, the worst first, and no others', async (bench) => {
      const username = await bench.account();
      const [well, retries, gaveUp] = [
        await bench.endpoint(username),
        await bench.endpoint(username),
        await bench.endpoint(username),
      ];
      await bench.publish(username);
      const leases = await bench.claim();
      const of = (endpoint: { endpointId: string }) => {
        const lease = leases.find((entry) => entry.endpoint.endpointId === endpoint.endpointId);
        assert.ok(lease !== undefined);
        return lease;
      };
      await bench.settle(
        deliveredAt(of(well), bench.now()),
        retryingAt(of(retries), bench.now(), bench.now() + HOUR_MS),
        deadAt(of(gaveUp), bench.now()),
      );
      const { troubled, endpoints } = await overview(bench, username);
      assert.deepEqual(endpoints, { enabled: 3, disabled: 0 });
      const common = { username, status: 'enabled', disabledReason: null, delivered: 0 };
      assert.deepEqual(troubled, [
        { ...common, endpointId: gaveUp.endpointId, url: gaveUp.url, failedAttempts: 1, dead: 1 },
        { ...common, endpointId: retries.endpointId, url: retries.url, failedAttempts: 1, dead: 0 },
      ]);
      assert.deepEqual((await overview(bench, username, 1)).troubled, troubled.slice(0, 1));
    });

    test('an endpoint that the service disabled comes first, one that its owner disabled not at all', async (bench) => {
      const username = await bench.account();
      const failing = await bench.endpoint(username);
      const gone = await bench.endpoint(username);
      const paused = await bench.endpoint(username);
      await bench.publish(username);
      const leases = await bench.claim();
      await bench.settle(
        ...leases.map((lease) => ({
          ...deadAt(lease, bench.now()),
          ...(lease.endpoint.endpointId === gone.endpointId ? { disableEndpoint: 'it is gone' } : {}),
        })),
      );
      await bench.store.updateEndpoint(username, paused.endpointId, { status: 'disabled' });
      const { troubled, endpoints } = await overview(bench, username);
      assert.deepEqual(endpoints, { enabled: 1, disabled: 2 });
      assert.deepEqual(
        troubled.map(({ endpointId, status, disabledReason }) => [endpointId, status, disabledReason]),
        [
          [gone.endpointId, 'disabled', 'it is gone'],
          [failing.endpointId, 'enabled', null],
        ],
      );
    });

    test('an endpoint that delivers again is no trouble any more, unless it gave something up that nobody had sent again', async (bench) => {
      const { username } = await bench.subscriber();
      const troubled = async () => (await overview(bench, username)).troubled.length;
      await bench.publish(username);
      await settleAll(bench, 'retrying');
      await bench.advance(2 * MINUTE_MS);
      assert.equal(await troubled(), 1);
      await bench.publish(username);
      await settleAll(bench, 'delivered');
      assert.equal(await troubled(), 0);
      await bench.advance(2 * MINUTE_MS);
      await bench.publish(username);
      const [dead] = await bench.claim();
      assert.ok(dead !== undefined);
      await bench.settle(deadAt(dead, bench.now()));
      await bench.advance(2 * MINUTE_MS);
      await bench.publish(username);
      await settleAll(bench, 'delivered');
      assert.equal(await troubled(), 1);
      await bench.store.retryDelivery(username, dead.deliveryId);
      await settleAll(bench, 'delivered');
      assert.equal(await troubled(), 0);
    });

    test('an account sees its own, an operator all but what was deleted', async (bench) => {
      const one = await bench.subscriber();
      const two = await bench.subscriber();
      await bench.publish(one.username);
      await bench.publishMany(two.username, 2);
      await settleAll(bench, 'retrying');
      assert.equal((await overview(bench, one.username)).pending, 1);
      assert.deepEqual(
        (await overview(bench, one.username)).troubled.map(({ username }) => username),
        [one.username],
      );
      const all = await overview(bench, null, 1000);
      assert.equal(all.pending, 3);
      const names = all.troubled.map(({ username }) => username);
      assert.ok(names.includes(one.username) && names.includes(two.username));

      await bench.store.deleteAccount(one.username);
      await bench.store.deleteEndpoint(two.username, two.endpoint.endpointId);
      assert.deepEqual((await overview(bench, null, 1000)).troubled, []);
    });

    test('what failed before the asked time is no trouble', async (bench) => {
      const { username } = await bench.subscriber();
      await bench.publish(username);
      await settleAll(bench, 'dead');
      await bench.advance(2 * DAY_MS);
      assert.deepEqual((await overview(bench, username)).troubled, []);
    });
  });
}
