import assert from 'node:assert/strict';
import { describe } from 'node:test';
import type { Lease } from '../../src/store/store.ts';
import {
  deadAt,
  deliveredAt,
  failedAttemptOf,
  HOUR_MS,
  MINUTE_MS,
  retryingAt,
} from '../support/store-fixtures.ts';
import { assertAbout, assertRefused, type Bench, type StoreTest } from './bench.ts';

export function retryingTests(test: StoreTest): void {
  describe('retrying by hand', () => {
    /** A delivery with one failed attempt whose retry waits for an hour. */
    async function waiting(
      bench: Bench,
    ): Promise<{ username: string; deliveryId: string; endpointId: string }> {
      const { username, endpoint } = await bench.subscriber();
      await bench.publish(username);
      const lease = await bench.claimOne();
      await bench.settleOne(retryingAt(lease, bench.now(), bench.now() + HOUR_MS));
      return { username, deliveryId: lease.deliveryId, endpointId: endpoint.endpointId };
    }

    test('one that waits for its retry is due now; its schedule goes on', async (bench) => {
      const { username, deliveryId } = await waiting(bench);
      const retried = await bench.store.retryDelivery(username, deliveryId);
      assert.equal(retried?.deliveryId, deliveryId);
      assert.equal(retried?.status, 'pending');
      assert.equal(retried?.attempts, 1);
      assertAbout(retried?.nextAttemptAt ?? null, bench.now(), 'nextAttemptAt');
      const lease = await bench.claimOne();
      assert.equal(lease.manual, true);
      assert.equal(lease.attempts, 1);
      assert.equal(lease.failures, 1);
    });

    test('the attempt after a manual one is automatic again', async (bench) => {
      const { username, deliveryId } = await waiting(bench);
      await bench.store.retryDelivery(username, deliveryId);
      await bench.settleOne(retryingAt(await bench.claimOne(), bench.now(), bench.now() + MINUTE_MS));
      await bench.advance(MINUTE_MS);
      const lease = await bench.claimOne();
      assert.equal(lease.manual, false);
      assert.equal(lease.attempts, 2);
      assert.equal(lease.failures, 2);
    });

    const finishes: Record<string, (bench: Bench, lease: Lease) => Promise<unknown>> = {
      delivered: (bench, lease) => bench.settleOne(deliveredAt(lease, bench.now())),
      dead: (bench, lease) => bench.settleOne(deadAt(lease, bench.now())),
      cancelled: async (bench, lease) => {
        const { endpointId } = lease.endpoint;
        await bench.store.updateEndpoint(lease.username, endpointId, { status: 'disabled' });
        await bench.settleOne(retryingAt(lease, bench.now(), bench.now()));
        await bench.store.updateEndpoint(lease.username, endpointId, { status: 'enabled' });
      },
    };

    for (const [status, finish] of Object.entries(finishes)) {
      test(`a ${status} one is pending again and its schedule begins anew`, async (bench) => {
        const { username, deliveryId } = await waiting(bench);
        await bench.advance(HOUR_MS);
        await finish(bench, await bench.claimOne());
        const finished = await bench.delivery(username, deliveryId);
        assert.equal(finished.status, status);
        assert.equal(finished.attempts, 2);

        await bench.advance(MINUTE_MS);
        const retried = await bench.store.retryDelivery(username, deliveryId);
        assertAbout(retried?.nextAttemptAt ?? null, bench.now(), 'nextAttemptAt');
        const { url: _url, body: _body, attemptLog: _attemptLog, ...row } = finished;
        assert.deepEqual(retried, {
          ...row,
          status: 'pending',
          statusReason: null,
          nextAttemptAt: retried?.nextAttemptAt,
          completedAt: null,
        });
        assert.deepEqual((await bench.event(username, finished.eventId)).deliveries, {
          pending: 1,
          delivered: 0,
          dead: 0,
          cancelled: 0,
        });

        const lease = await bench.claimOne();
        assert.equal(lease.deliveryId, deliveryId);
        assert.equal(lease.manual, true);
        assert.equal(lease.attempts, 2);
        assert.equal(lease.failures, 0);
        assert.equal(lease.event.body, finished.body, 'the same bytes');
        await bench.settleOne(deliveredAt(lease, bench.now()));
        const log = (await bench.delivery(username, deliveryId)).attemptLog;
        assert.deepEqual(
          log.map((attempt) => attempt.number),
          [1, 2, 3],
          'the attempts of both lives',
        );
        assert.equal((await bench.deliveries(username)).length, 1, 'it is listed once');
      });
    }

    test('one that is due already and was never attempted becomes manual', async (bench) => {
      const { username } = await bench.subscriber();
      const { deliveryIds } = await bench.publish(username);
      await bench.store.retryDelivery(username, deliveryIds[0] as string);
      const lease = await bench.claimOne();
      assert.equal(lease.manual, true);
      assert.equal(lease.failures, 0);
    });

    test('one in flight stays as it is', async (bench) => {
      const { username, deliveryId } = await waiting(bench);
      await bench.advance(HOUR_MS);
      const lease = await bench.claimOne();
      const retried = await bench.store.retryDelivery(username, deliveryId);
      assert.equal(retried?.status, 'pending');
      assert.equal(retried?.attempts, 1);
      assert.deepEqual(await bench.claim(), [], 'no second lease');
      assert.equal(
        await bench.settleOne(retryingAt(lease, bench.now(), bench.now() + MINUTE_MS)),
        'pending',
        'the token still holds',
      );
      await bench.advance(MINUTE_MS);
      assert.equal((await bench.claimOne()).manual, false);
    });

    test('several retries of one delivery make it due once', async (bench) => {
      const { username, deliveryId } = await waiting(bench);
      await bench.advance(HOUR_MS);
      await bench.settleOne(deadAt(await bench.claimOne(), bench.now()));
      const answers = await Promise.all(
        Array.from({ length: 10 }, () => bench.store.retryDelivery(username, deliveryId)),
      );
      for (const answer of answers) assert.equal(answer?.status, 'pending');
      await bench.claimOne();
      assert.equal((await bench.deliveries(username)).length, 1);
    });

    test('an unknown delivery is null', async (bench) => {
      const username = await bench.account();
      assert.equal(await bench.store.retryDelivery(username, 'dlv_unknown'), null);
      assert.equal(await bench.store.retryDelivery('nobody', 'dlv_unknown'), null);
    });

    test('a delivery of a suspended account is made due and waits', async (bench) => {
      const { username, deliveryId } = await waiting(bench);
      await bench.store.updateAccount(username, { status: 'suspended' });
      assert.equal((await bench.store.retryDelivery(username, deliveryId))?.status, 'pending');
      assert.deepEqual(await bench.claim(), []);
      await bench.store.updateAccount(username, { status: 'active' });
      assert.equal((await bench.claimOne()).manual, true);
    });

    for (const ending of ['disabled', 'deleted'] as const) {
      test(`a delivery of a ${ending} endpoint is refused and stays as it is`, async (bench) => {
        const { username, deliveryId, endpointId } = await waiting(bench);
        if (ending === 'disabled') {
          await bench.store.updateEndpoint(username, endpointId, { status: 'disabled' });
        } else {
          await bench.store.deleteEndpoint(username, endpointId);
        }
        const before = await bench.delivery(username, deliveryId);
        const refusal = await assertRefused(
          'invalid_parameter',
          bench.store.retryDelivery(username, deliveryId),
        );
        assert.match(refusal.message, new RegExp(ending));
        assert.deepEqual(await bench.delivery(username, deliveryId), before);
      });
    }

    test('a settlement’s attempt number and outcome are kept for a manual attempt too', async (bench) => {
      const { username, deliveryId } = await waiting(bench);
      await bench.store.retryDelivery(username, deliveryId);
      const lease = await bench.claimOne();
      const attempt = failedAttemptOf(lease, bench.now());
      await bench.settle({ ...deadAt(lease, bench.now()), attempt });
      const log = (await bench.delivery(username, deliveryId)).attemptLog;
      assert.deepEqual(log[1], attempt);
      assert.equal(log[1]?.manual, true);
    });
  });
}
