import assert from 'node:assert/strict';
import { describe } from 'node:test';
import { OPERATIONAL_TYPES } from '../../src/catalogue/index.ts';
import { compileSchema } from '../../src/catalogue/schema.ts';
import type { EndpointHealth } from '../../src/model.ts';
import type { CircuitPolicy, Lease, Settlement } from '../../src/store/store.ts';
import {
  DAY_MS,
  deadAt,
  deliveredAt,
  HOUR_MS,
  MINUTE_MS,
  newEvent,
  retryingAt,
  SCRIPT,
  SECOND_MS,
  VIDEO,
  WIDE_OFFER,
} from '../support/store-fixtures.ts';
import { assertAbout, assertSameMembers, type Bench, type StoreTest } from './bench.ts';

/** Longer than the clock of an engine may run on by itself in a test. */
const PAUSES_MS = [MINUTE_MS, 5 * MINUTE_MS, 30 * MINUTE_MS];

const POLICY: CircuitPolicy = {
  probeAfter: 3,
  pausesMs: PAUSES_MS,
  disableAfterMs: 5 * DAY_MS,
  disableReason: 'nothing succeeded for 5 days',
  operationsUsername: null,
};

/** A failure of the endpoint's own, which comes again in ten seconds unless told otherwise. */
function failed(bench: Bench, lease: Lease, dueInMs = 10 * SECOND_MS): Settlement {
  return { ...retryingAt(lease, bench.now(), bench.now() + dueInMs), endpointFailed: true };
}

async function settle(bench: Bench, settlements: Settlement[], policy: Partial<CircuitPolicy> = {}) {
  const { results, turns } = await bench.store.settle(settlements, null, { ...POLICY, ...policy });
  return { statuses: results.map((result) => (result.outcome === 'stale' ? 'stale' : result.status)), turns };
}

async function health(bench: Bench, username: string): Promise<EndpointHealth> {
  const [first, ...others] = await bench.store.listEndpointHealth(username);
  assert.ok(first !== undefined && others.length === 0, 'one endpoint');
  return first;
}

/** An account whose endpoint is probed from now on, with `waiting` due deliveries beside those that failed. */
async function probed(bench: Bench, waiting = 2, policy: Partial<CircuitPolicy> = {}) {
  const { username, endpoint } = await bench.subscriber();
  await bench.publishMany(username, POLICY.probeAfter);
  const leases = await bench.claim();
  const { turns } = await settle(
    bench,
    leases.map((lease) => failed(bench, lease)),
    policy,
  );
  const { endpointId } = endpoint;
  assert.deepEqual(turns, [{ username, endpointId, to: 'probing', reason: null }]);
  const ids = await bench.publishMany(username, waiting);
  return { username, endpointId, ids };
}

async function lastEvent(bench: Bench, username: string, event: string): Promise<Record<string, unknown>> {
  const [summary] = await bench.events(username, { event });
  assert.ok(summary, `${event} was stored for ${username}`);
  const { body } = await bench.event(username, summary.eventId);
  const { data, ...envelope } = JSON.parse(body) as { data: Record<string, unknown> };
  assert.deepEqual(envelope, {
    event_id: summary.eventId,
    event,
    timestamp: summary.timestamp,
  });
  const type = OPERATIONAL_TYPES.find(({ name }) => name === event);
  assert.equal(compileSchema(type?.schema ?? {})(data, 'data'), null, 'it is what the catalogue says');
  assert.equal(
    JSON.stringify(JSON.parse(body)),
    body,
    'no white space, and the same when it is written again',
  );
  return data;
}

export function circuitTests(test: StoreTest): void {
  describe('endpoints that fail', () => {
    test('are counted over their deliveries, and healthy again after one success', async (bench) => {
      const { username, endpoint } = await bench.subscriber();
      const { endpointId } = endpoint;
      assert.equal((await health(bench, username)).state, 'healthy');
      await bench.publishMany(username, 3);
      const [first, second, third] = (await bench.claim()) as [Lease, Lease, Lease];
      await settle(bench, [failed(bench, first)]);
      const { turns } = await settle(bench, [failed(bench, second)]);
      assert.deepEqual(turns, []);
      const { failingSince, ...failing } = await health(bench, username);
      assertAbout(failingSince, bench.now(), 'failingSince');
      assert.deepEqual(failing, {
        endpointId,
        state: 'failing',
        consecutiveFailures: 2,
        nextProbeAt: null,
        lastSuccessAt: null,
        lastFailure: {
          at: bench.now(),
          outcome: 'http_error',
          httpStatus: 500,
          error: 'the receiver answered 500',
        },
        disabledReason: null,
        disabledAt: null,
        missed: null,
      });
      assert.deepEqual(await bench.store.countEndpointStates(), { failing: 1, probing: 0, disabled: 0 });
      assert.deepEqual((await settle(bench, [deliveredAt(third, bench.now())])).turns, []);
      const { lastSuccessAt, ...healthy } = await health(bench, username);
      assertAbout(lastSuccessAt, bench.now(), 'lastSuccessAt');
      assert.equal(healthy.state, 'healthy');
      assert.equal(healthy.failingSince, null);
      assert.equal(healthy.consecutiveFailures, 0);
      assert.equal(healthy.lastFailure, null);
      assert.deepEqual(await bench.store.countEndpointStates(), { failing: 0, probing: 0, disabled: 0 });
    });

    test('a failure that is not the endpoint’s doing, and one without a policy, counts nothing', async (bench) => {
      const { username } = await bench.subscriber();
      await bench.publishMany(username, 4);
      const leases = await bench.claim();
      await settle(
        bench,
        leases.slice(0, 3).map((lease) => retryingAt(lease, bench.now(), bench.now())),
      );
      await bench.settle(failed(bench, leases[3] as Lease));
      assert.equal((await health(bench, username)).state, 'healthy');
    });

    test('in one batch the order of the attempts decides', async (bench) => {
      const { username } = await bench.subscriber();
      await bench.publishMany(username, 5);
      const [a, b, c, d, e] = (await bench.claim()) as [Lease, Lease, Lease, Lease, Lease];
      const { turns } = await settle(bench, [
        failed(bench, a),
        failed(bench, b),
        deliveredAt(c, bench.now()),
        failed(bench, d),
        failed(bench, e),
      ]);
      assert.deepEqual(turns, []);
      const { state, consecutiveFailures } = await health(bench, username);
      assert.deepEqual({ state, consecutiveFailures }, { state: 'failing', consecutiveFailures: 2 });
    });

    test('a stale settlement says nothing of its endpoint', async (bench) => {
      const { username } = await bench.subscriber();
      await bench.publish(username);
      const lease = await bench.claimOne();
      const { statuses } = await settle(bench, [{ ...failed(bench, lease), token: 'other' }]);
      assert.deepEqual(statuses, ['stale']);
      assert.equal((await health(bench, username)).state, 'healthy');
    });
  });

  describe('a lane that is probed', () => {
    test('gives nothing before the probe is due, then one, and spends no attempt of what waits', async (bench) => {
      const { username, ids } = await probed(bench);
      const { nextProbeAt, state, consecutiveFailures } = await health(bench, username);
      assert.deepEqual({ state, consecutiveFailures }, { state: 'probing', consecutiveFailures: 3 });
      assertAbout(nextProbeAt, bench.now() + MINUTE_MS, 'nextProbeAt');
      assert.deepEqual(await bench.store.countEndpointStates(), { failing: 0, probing: 1, disabled: 0 });
      await bench.advance(30 * SECOND_MS);
      const early = await bench.store.claim(WIDE_OFFER);
      assert.deepEqual(early.leases, [], 'all five are due, none goes');
      assert.equal(early.nextDueAt, nextProbeAt, 'who claims knows when to come again');
      for (const { attempts, nextAttemptAt } of await bench.deliveries(username, { status: 'pending' })) {
        assert.ok(attempts <= 1);
        assert.equal(nextAttemptAt, nextProbeAt, 'the next attempt is told as it will be');
      }
      assert.deepEqual(
        await bench.store.queueDepth(),
        { scheduled: 5, due: 0, leased: 0, oldestDueMs: 0 },
        'what waits for the probe is late for nobody',
      );
      assert.equal((await bench.store.overview(username, 0, 10)).oldestDueMs, 0);
      await bench.advance(31 * SECOND_MS);
      await bench.claimOne();
      assert.deepEqual(await bench.claim(), [], 'one at a time');
      for (const id of ids) assert.equal((await bench.delivery(username, id)).attempts, 0);
    });

    test('pauses longer after each failed probe, up to the last pause', async (bench) => {
      const { username } = await probed(bench, 6);
      for (const pauseMs of [...PAUSES_MS.slice(1), PAUSES_MS.at(-1) as number]) {
        const { nextProbeAt } = await health(bench, username);
        assert.ok(nextProbeAt !== null);
        await bench.advance(nextProbeAt - bench.now() + SECOND_MS);
        const probe = await bench.claimOne();
        assert.deepEqual((await settle(bench, [failed(bench, probe)])).turns, []);
        assertAbout(
          (await health(bench, username)).nextProbeAt,
          bench.now() + pauseMs,
          `after ${pauseMs} ms`,
        );
      }
    });

    test('a failure of what was under way already lengthens no pause', async (bench) => {
      const { username } = await bench.subscriber();
      await bench.publishMany(username, 5);
      const leases = await bench.claim();
      await settle(
        bench,
        leases.slice(0, 3).map((lease) => failed(bench, lease)),
      );
      const { nextProbeAt } = await health(bench, username);
      await settle(
        bench,
        leases.slice(3).map((lease) => failed(bench, lease)),
      );
      const late = await health(bench, username);
      assert.equal(late.consecutiveFailures, 5);
      assert.equal(late.nextProbeAt, nextProbeAt);
    });

    test('opens fully at the first success', async (bench) => {
      const { username, endpointId, ids } = await probed(bench, 4);
      await bench.advance(61 * SECOND_MS);
      const probe = await bench.claimOne();
      const { leases, turns } = await bench.store.settle(
        [deliveredAt(probe, bench.now())],
        WIDE_OFFER,
        POLICY,
      );
      assert.deepEqual(turns, [{ username, endpointId, to: 'open', reason: null }]);
      assert.equal(leases.length, 6, 'everything that waited goes with the same call');
      const given = leases.map(({ deliveryId }) => deliveryId);
      for (const id of ids) assert.ok(id === probe.deliveryId || given.includes(id));
      assert.equal((await health(bench, username)).state, 'healthy');
    });

    test('what is published goes neither with its publish nor after it, unless the probe is due', async (bench) => {
      const { username } = await probed(bench, 0);
      const published = await bench.store.publish([newEvent(username), newEvent(username)], WIDE_OFFER);
      assert.deepEqual(published.leases, []);
      const { nextProbeAt } = await health(bench, username);
      assert.ok(published.nextDueAt !== null && nextProbeAt !== null);
      assert.ok(published.nextDueAt <= nextProbeAt);
      assert.deepEqual(await bench.claim(), []);
      await bench.advance(61 * SECOND_MS);
      await bench.store.publish([newEvent(username)], WIDE_OFFER);
      await bench.claimOne();
    });

    test('a probe whose lease runs out is made again, still one at a time', async (bench) => {
      await probed(bench, 3);
      await bench.advance(61 * SECOND_MS);
      const lost = await bench.claimOne({ leaseMs: 30 * SECOND_MS });
      await bench.advance(45 * SECOND_MS);
      const again = await bench.claimOne();
      assert.notEqual(again.token, lost.token);
      assert.deepEqual(await bench.claim(), []);
    });

    test('stays so after a crash', async (bench) => {
      const { username } = await probed(bench, 3);
      await bench.advance(61 * SECOND_MS);
      await bench.claimOne();
      await bench.reopen();
      await bench.store.recover();
      const { state, consecutiveFailures } = await health(bench, username);
      assert.deepEqual({ state, consecutiveFailures }, { state: 'probing', consecutiveFailures: 3 });
      // Where others may still be alive their leases run out by themselves.
      await bench.advance(2 * MINUTE_MS);
      await bench.claimOne();
      assert.deepEqual(await bench.claim(), []);
    });

    test('what a person retries goes at once and passes what waits', async (bench) => {
      const { username, ids } = await probed(bench, 3);
      const asked = ids[2] as string;
      await bench.store.retryDelivery(username, asked);
      const due = await bench.delivery(username, asked);
      assertAbout(due.nextAttemptAt, bench.now(), 'nextAttemptAt');
      const lease = await bench.claimOne();
      assert.equal(lease.deliveryId, asked);
      assert.equal(lease.manual, true);
      const { nextProbeAt } = await health(bench, username);
      await settle(bench, [failed(bench, lease)]);
      assert.equal((await health(bench, username)).nextProbeAt, nextProbeAt, 'it was no probe');
      assert.deepEqual(await bench.claim(), []);
      await bench.store.retryDelivery(username, asked);
      const { leases } = await bench.store.settle(
        [deliveredAt(await bench.claimOne(), bench.now())],
        WIDE_OFFER,
        POLICY,
      );
      assert.ok(leases.length >= 2, 'its success opens the lane');
    });

    test('of many that are retried none is forgotten', async (bench) => {
      const { username, ids } = await probed(bench, 6);
      for (const id of ids) await bench.store.retryDelivery(username, id);
      const seen: string[] = [];
      for (let claims = 0; claims < 12 && seen.length < ids.length; claims++) {
        const { leases, nextDueAt } = await bench.store.claim({ ...WIDE_OFFER, laneLimit: 2 });
        assert.ok(leases.length <= 2);
        seen.push(...leases.map(({ deliveryId }) => deliveryId));
        assert.ok(nextDueAt !== null && nextDueAt <= bench.now() + MINUTE_MS, 'somebody looks again');
        await settle(
          bench,
          leases.map((lease) => failed(bench, lease, HOUR_MS)),
        );
      }
      assertSameMembers(seen, ids, 'all were attempted');
    });

    test('a test event goes with its publish', async (bench) => {
      const { username, endpointId } = await probed(bench, 3);
      const { leases } = await bench.store.publish(
        [newEvent(username), newEvent(username, { onlyEndpointId: endpointId })],
        WIDE_OFFER,
      );
      assert.deepEqual(
        leases.map(({ manual }) => manual),
        [true],
      );
    });

    test('a replay moves on by one, and waits for its lane to open', async (bench) => {
      const { username, endpoint } = await bench.subscriber();
      await bench.publishMany(username, 6);
      const dead = await bench.claim();
      await settle(
        bench,
        dead.map((lease) => ({ ...deadAt(lease, bench.now()), endpointFailed: true })),
      );
      const replay = await bench.store.createReplay({
        username,
        endpointId: endpoint.endpointId,
        kind: 'failed',
        since: bench.now() - HOUR_MS,
        until: bench.now() + HOUR_MS,
      });
      assert.equal(replay?.matched, 6);
      assert.equal((await bench.store.advanceReplays(100, 20)).made, 1);
      assert.equal((await bench.store.advanceReplays(100, 20)).made, 0, 'it waits');
      const first = await bench.claimOne();
      await settle(bench, [failed(bench, first, 0)]);
      assert.equal((await bench.store.advanceReplays(100, 20)).made, 0, 'what failed waits for the probe');
      await bench.advance(61 * SECOND_MS);
      await settle(bench, [deliveredAt(await bench.claimOne(), bench.now())]);
      assert.equal((await bench.store.advanceReplays(100, 20)).made, 5);
      assert.equal((await bench.claim()).length, 5);
    });

    test('another URL begins anew; what was due goes at once', async (bench) => {
      const { username, endpointId } = await probed(bench, 2);
      await bench.store.updateEndpoint(username, endpointId, { description: 'still the same' });
      assert.equal((await health(bench, username)).state, 'probing');
      await bench.store.updateEndpoint(username, endpointId, { url: 'https://mended.example/' });
      const { state, consecutiveFailures } = await health(bench, username);
      assert.deepEqual({ state, consecutiveFailures }, { state: 'healthy', consecutiveFailures: 0 });
      assert.ok((await bench.claim()).length >= 2);
    });

    test('delays no other lane', async (bench) => {
      const { username } = await probed(bench, 5);
      const other = await bench.subscriber();
      await bench.publishMany(other.username, 3);
      const leases = await bench.claim();
      assert.equal(leases.length, 3);
      assert.ok(leases.every((lease) => lease.username === other.username && lease.username !== username));
    });
  });

  describe('an endpoint that is given up', () => {
    test('fails for five days: it is disabled with its reason, and what waits is cancelled', async (bench) => {
      const { username, endpointId, ids } = await probed(bench, 2);
      await bench.advance(5 * DAY_MS - MINUTE_MS);
      const almost = await bench.claimOne();
      assert.deepEqual((await settle(bench, [failed(bench, almost)])).turns, []);
      await bench.advance(HOUR_MS);
      const last = await bench.claimOne();
      const { statuses, turns } = await settle(bench, [failed(bench, last)]);
      const reason = 'nothing succeeded for 5 days; last: the receiver answered 500';
      assert.deepEqual(turns, [{ username, endpointId, to: 'disabled', reason }]);
      assert.deepEqual(statuses, ['cancelled'], 'the last one, too');
      const endpoint = await bench.store.getEndpoint(username, endpointId);
      assert.equal(endpoint?.status, 'disabled');
      assert.equal(endpoint?.disabledReason, reason);
      const gone = await health(bench, username);
      assert.equal(gone.state, 'disabled');
      assert.equal(gone.disabledReason, reason);
      assert.equal(gone.nextProbeAt, null);
      assertAbout(gone.disabledAt, bench.now(), 'disabledAt');
      assert.deepEqual(await bench.store.countEndpointStates(), { failing: 0, probing: 0, disabled: 1 });
      for (const id of ids) {
        const { status, statusReason } = await bench.delivery(username, id);
        assert.deepEqual(
          { status, statusReason },
          { status: 'cancelled', statusReason: 'endpoint disabled' },
        );
      }
    });

    test('never, where it is off', async (bench) => {
      const { username } = await probed(bench, 2, { disableAfterMs: null });
      await bench.advance(60 * DAY_MS);
      const { turns } = await settle(bench, [failed(bench, await bench.claimOne())], {
        disableAfterMs: null,
      });
      assert.deepEqual(turns, []);
      assert.equal((await health(bench, username)).state, 'probing');
    });

    test('answers 410: disabled at once, with what it missed since that delivery', async (bench) => {
      const { username, endpoint } = await bench.subscriber();
      const { endpointId } = endpoint;
      const publishedAt = bench.now();
      await bench.publish(username);
      await bench.advance(MINUTE_MS);
      const reason = 'endpoint answered 410 Gone';
      const { turns } = await settle(bench, [
        {
          ...deadAt(await bench.claimOne(), bench.now(), reason),
          disableEndpoint: reason,
          endpointFailed: true,
        },
      ]);
      assert.deepEqual(turns, [{ username, endpointId, to: 'disabled', reason }]);
      const { missed, disabledReason } = await health(bench, username);
      assert.equal(disabledReason, reason);
      assert.ok(missed !== null);
      assertAbout(missed.since, publishedAt, 'missed.since');
      assert.equal(missed.until, null);
    });

    test('starts fresh when it is enabled, and says what to replay until that is done', async (bench) => {
      const { username, endpointId } = await probed(bench, 2);
      const failedFrom = (await health(bench, username)).failingSince as number;
      await bench.store.updateEndpoint(username, endpointId, { status: 'disabled' });
      await bench.publishMany(username, 4); // nobody gets them
      await bench.advance(HOUR_MS);
      await bench.store.updateEndpoint(username, endpointId, { status: 'enabled' });
      const fresh = await health(bench, username);
      assert.equal(fresh.state, 'healthy');
      assert.equal(fresh.consecutiveFailures, 0);
      assert.equal(fresh.disabledAt, null);
      const { missed } = fresh;
      assert.ok(missed?.until, 'told with its end');
      assert.ok(missed.since <= failedFrom, 'from before the first failure on');
      assertAbout(missed.until, bench.now(), 'missed.until');
      const range = { username, endpointId, since: missed.since, until: missed.until };
      const failedOnes = await bench.store.createReplay({ ...range, kind: 'failed' });
      assert.equal(failedOnes?.matched, 5, 'what was cancelled');
      assert.notEqual((await health(bench, username)).missed, null, 'what never was sent is still missing');
      const missing = await bench.store.createReplay({ ...range, kind: 'missing' });
      assert.equal(missing?.matched, 4);
      assert.equal((await health(bench, username)).missed, null);
    });

    test('takes no failure of before its disabling along', async (bench) => {
      const { username, endpoint } = await bench.subscriber();
      await bench.publishMany(username, 2);
      const [first, second] = (await bench.claim()) as [Lease, Lease];
      await settle(bench, [failed(bench, first)]);
      await bench.store.updateEndpoint(username, endpoint.endpointId, { status: 'disabled' });
      await settle(bench, [failed(bench, second)]);
      await bench.store.updateEndpoint(username, endpoint.endpointId, { status: 'enabled' });
      assert.equal((await health(bench, username)).consecutiveFailures, 0);
    });
  });

  describe('operational events', () => {
    const EVENTS = ['endpoint.failing', 'endpoint.recovered', 'endpoint.disabled', 'delivery.dead'];

    test('tell the other endpoints of the account, once for each turn', async (bench) => {
      const { username, endpoint } = await bench.subscriber({ events: [VIDEO, ...EVENTS] });
      const { endpointId } = endpoint;
      const ears = await bench.endpoint(username, { events: EVENTS });
      await bench.publishMany(username, 4);
      const leases = await bench.claim();
      await settle(
        bench,
        leases.slice(0, 3).map((lease) => failed(bench, lease, HOUR_MS)),
      );
      const [own] = await bench.store.listEndpointHealth(username);
      const subject = { username, endpoint_id: endpointId, url: endpoint.url };
      const seconds = (ms: number | null | undefined) => Math.floor((ms ?? Number.NaN) / 1000);
      assert.deepEqual(await lastEvent(bench, username, 'endpoint.failing'), {
        ...subject,
        failing_since: seconds(own?.failingSince),
        consecutive_failures: 3,
        next_probe_at: seconds(own?.nextProbeAt),
        last_failure: {
          at: seconds(bench.now()),
          outcome: 'http_error',
          http_status: 500,
          error: 'the receiver answered 500',
        },
      });
      const told = await bench.claimOne();
      assert.equal(told.endpoint.endpointId, ears.endpointId, 'it is not told of itself');
      assert.equal(told.event.event, 'endpoint.failing');
      assert.equal(told.manual, false);
      await settle(bench, [deliveredAt(told, bench.now()), failed(bench, leases[3] as Lease, HOUR_MS)]);
      assert.equal((await bench.events(username, { event: 'endpoint.failing' })).length, 1);

      await bench.advance(2 * HOUR_MS);
      const probe = await bench.claimOne();
      await settle(bench, [deliveredAt(probe, bench.now())]);
      const recovered = await lastEvent(bench, username, 'endpoint.recovered');
      assertAbout(Number(recovered.recovered_at) * 1000 + 999, bench.now(), 'recovered_at');
      assert.deepEqual(recovered, {
        ...subject,
        failing_since: seconds(own?.failingSince),
        recovered_at: recovered.recovered_at,
        consecutive_failures: 4,
      });

      const reason = 'endpoint answered 410 Gone';
      const claimed = await bench.claim();
      const gone = claimed.find((lease) => lease.endpoint.endpointId === endpointId) as Lease;
      const heard = claimed.filter((lease) => lease.endpoint.endpointId === ears.endpointId);
      assert.deepEqual(
        heard.map(({ event }) => event.event),
        ['endpoint.recovered'],
      );
      await settle(bench, [
        { ...deadAt(gone, bench.now(), reason), disableEndpoint: reason, endpointFailed: true },
      ]);
      const disabled = await lastEvent(bench, username, 'endpoint.disabled');
      assert.equal(disabled.reason, reason);
      assert.equal(disabled.endpoint_id, endpointId);
      assert.ok(Number(disabled.missed_since) <= Number(disabled.disabled_at));
    });

    test('tell of each delivery that is dead, but of none of their own', async (bench) => {
      const { username, endpoint } = await bench.subscriber({ events: [VIDEO, 'delivery.dead'] });
      const { eventId } = await bench.publish(username);
      const lease = await bench.claimOne();
      await settle(bench, [{ ...deadAt(lease, bench.now(), 'all 9 retries failed'), endpointFailed: true }]);
      const { created_at: createdAt, ...dead } = await lastEvent(bench, username, 'delivery.dead');
      assertAbout(Number(createdAt) * 1000 + 999, bench.now(), 'created_at');
      assert.deepEqual(dead, {
        username,
        endpoint_id: endpoint.endpointId,
        delivery_id: lease.deliveryId,
        event_id: eventId,
        event: VIDEO,
        attempts: 1,
        reason: 'all 9 retries failed',
      });
      const told = await bench.claimOne();
      assert.equal(told.event.event, 'delivery.dead');
      await settle(bench, [{ ...deadAt(told, bench.now()), endpointFailed: true }]);
      assert.equal((await bench.events(username, { event: 'delivery.dead' })).length, 1);
      assert.deepEqual(await bench.claim(), []);
    });

    test('tell the operations account of every account, in events of its own', async (bench) => {
      const operations = await bench.account();
      await bench.endpoint(operations, { events: EVENTS });
      const { username, endpointId } = await probed(bench, 0, { operationsUsername: operations });
      assert.deepEqual(
        await bench.events(username, { event: 'endpoint.failing' }),
        [],
        'it subscribes to none',
      );
      const told = await lastEvent(bench, operations, 'endpoint.failing');
      assert.equal(told.username, username);
      assert.equal(told.endpoint_id, endpointId);
      assert.equal((await bench.claimOne()).username, operations);
    });

    test('write nothing where nobody subscribes, and say who was disabled where somebody does', async (bench) => {
      const { username } = await probed(bench, 0);
      assert.deepEqual(await bench.events(username, { event: 'endpoint.failing' }), []);
      const other = await bench.subscriber();
      await bench.endpoint(other.username, { events: EVENTS, status: 'disabled' });
      await bench.publishMany(other.username, 3);
      await settle(
        bench,
        (await bench.claim()).map((lease) => failed(bench, lease)),
      );
      const [event] = await bench.events(other.username, { event: 'endpoint.failing' });
      assert.equal(event?.note, '1 endpoint disabled');
    });

    test('of one that comes and goes are at most two in ten minutes, and none is owed in the end', async (bench) => {
      const { username } = await bench.subscriber({ events: [VIDEO] });
      await bench.endpoint(username, { events: EVENTS });
      const turn = async (ends: 'well' | 'badly') => {
        await bench.publish(username, { event: VIDEO });
        const lease = (await bench.claim()).find(({ event }) => event.event === VIDEO) as Lease;
        const settlement = ends === 'well' ? deliveredAt(lease, bench.now()) : failed(bench, lease, DAY_MS);
        await settle(bench, [settlement], { probeAfter: 1, pausesMs: [0] });
      };
      const count = async (event: string) => (await bench.events(username, { event })).length;
      for (let turns = 0; turns < 5; turns++) {
        await turn('badly');
        await turn('well');
      }
      assert.deepEqual([await count('endpoint.failing'), await count('endpoint.recovered')], [1, 1]);
      await turn('badly');
      assert.equal(await count('endpoint.failing'), 1);
      await bench.advance(11 * MINUTE_MS);
      await turn('badly');
      assert.equal(await count('endpoint.failing'), 2, 'that it stayed so is told when it may be');
    });
  });

  describe('many at once', () => {
    test('each endpoint of a batch is judged by its own', async (bench) => {
      const bad = await bench.subscriber();
      const good = await bench.subscriber();
      await bench.publishMany(bad.username, 3);
      await bench.publishMany(good.username, 3, { event: SCRIPT });
      const leases = await bench.claim();
      assert.equal(leases.length, 6);
      const { turns } = await settle(
        bench,
        leases.map((lease) =>
          lease.username === bad.username ? failed(bench, lease) : deliveredAt(lease, bench.now()),
        ),
      );
      assert.deepEqual(
        turns?.map(({ endpointId, to }) => [endpointId, to]),
        [[bad.endpoint.endpointId, 'probing']],
      );
      assert.equal((await health(bench, good.username)).state, 'healthy');
    });
  });
}
