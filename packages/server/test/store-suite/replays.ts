import assert from 'node:assert/strict';
import { describe } from 'node:test';
import type { Replay, ReplayKind } from '../../src/model.ts';
import { type Lease, MAX_COUNTED_EVENTS } from '../../src/store/store.ts';
import {
  AVATAR,
  deadAt,
  deliveredAt,
  HOUR_MS,
  MINUTE_MS,
  newEndpoint,
  SCRIPT,
  SECOND_MS,
  VIDEO,
} from '../support/store-fixtures.ts';
import { assertAbout, assertRefused, assertSameMembers, type Bench, type StoreTest } from './bench.ts';

/** No lane is ever that full. */
const ANY_BACKLOG = 1_000_000;

interface Past {
  username: string;
  endpointId: string;
  /** Ids of the events, by what became of them at the endpoint. */
  delivered: string;
  dead: string;
  cancelled: string;
  skipped: string;
  beforeSubscribing: string;
  pending: string;
  /** Never subscribed to. */
  foreign: string;
  /** After all of them, unix ms. */
  until: number;
}

/** An endpoint with every kind of past event, a minute apart, whose queue holds the one in `pending` alone. */
async function past(bench: Bench): Promise<Past> {
  const username = await bench.account();
  const foreign = (await bench.publish(username, { event: AVATAR })).eventId;
  const beforeSubscribing = (await bench.publish(username, { event: SCRIPT })).eventId;
  await bench.advance(MINUTE_MS);
  const { endpointId } = await bench.endpoint(username, { events: [VIDEO] });

  const delivered = (await bench.publish(username)).eventId;
  await bench.settleOne(deliveredAt(await bench.claimOne(), bench.now()));
  await bench.advance(MINUTE_MS);
  const dead = (await bench.publish(username)).eventId;
  await bench.settleOne(deadAt(await bench.claimOne(), bench.now()));
  await bench.advance(MINUTE_MS);
  const cancelled = (await bench.publish(username)).eventId;
  await bench.store.updateEndpoint(username, endpointId, { status: 'disabled' });
  await bench.advance(MINUTE_MS);
  const skipped = (await bench.publish(username)).eventId;
  await bench.store.updateEndpoint(username, endpointId, { status: 'enabled', events: [VIDEO, SCRIPT] });
  await bench.advance(MINUTE_MS);
  const pending = (await bench.publish(username)).eventId;
  await bench.advance(MINUTE_MS);
  return {
    username,
    endpointId,
    delivered,
    dead,
    cancelled,
    skipped,
    beforeSubscribing,
    pending,
    foreign,
    until: bench.now(),
  };
}

async function start(
  bench: Bench,
  { username, endpointId }: { username: string; endpointId: string },
  kind: ReplayKind,
  since = 0,
  until = bench.now() + MINUTE_MS,
): Promise<Replay> {
  const replay = await bench.store.createReplay({ username, endpointId, kind, since, until });
  assert.ok(replay, 'the endpoint is there');
  return replay;
}

async function finish(bench: Bench, limit = 100): Promise<number> {
  let made = 0;
  for (let calls = 0; calls < 1_000; calls++) {
    const step = await bench.store.advanceReplays(limit, ANY_BACKLOG);
    made += step.made;
    if (!step.running) return made;
  }
  throw new Error('the replay runs for ever');
}

function eventIds(leases: readonly Lease[]): string[] {
  return leases.map((lease) => lease.event.eventId);
}

export function replayTests(test: StoreTest): void {
  describe('replays', () => {
    test('what a replay would match is counted as it would be started, and nothing is', async (bench) => {
      const found = await past(bench);
      const { username, endpointId } = found;
      const range = { since: 0, until: bench.now() + MINUTE_MS };
      for (const kind of ['failed', 'missing', 'all'] as const) {
        const counted = await bench.store.countReplay({ username, endpointId, kind, ...range });
        const replay = await bench.store.createReplay({ username, endpointId, kind, ...range });
        assert.deepEqual(counted, { matched: replay?.matched, isExact: true }, kind);
        assert.ok((counted?.matched ?? 0) > 0, kind);
        await bench.store.cancelReplay(username, replay?.replayId as string);
      }
      const listed = await bench.store.listReplays(username, null, { limit: 10, cursor: null });
      assert.equal(listed.items.length, 3, 'those that were started');
      const asked = { username, endpointId: 'wh_none', kind: 'all', ...range } as const;
      assert.equal(await bench.store.countReplay(asked), null);
      assert.equal(await bench.store.countReplay({ ...asked, username: 'nobody', endpointId }), null);
      await bench.store.updateEndpoint(username, endpointId, { status: 'disabled' });
      await assertRefused('invalid_parameter', bench.store.countReplay({ ...asked, endpointId }));
    });

    test('of a long range the first events are counted, and it says that there may be more', async (bench) => {
      const { username, endpoint } = await bench.subscriber();
      const { endpointId } = endpoint;
      for (let left = MAX_COUNTED_EVENTS; left > 0; left -= 1_000) await bench.publishMany(username, 1_000);
      const asked = {
        username,
        endpointId,
        kind: 'missing',
        since: 0,
        until: bench.now() + MINUTE_MS,
      } as const;
      assert.deepEqual(await bench.store.countReplay(asked), { matched: 0, isExact: false });
      assert.deepEqual(await bench.store.countReplay({ ...asked, kind: 'failed' }), {
        matched: 0,
        isExact: true,
      });
      await bench.advance(SECOND_MS);
      const later = await bench.publishMany(username, 1);
      assert.equal(later.length, 1);
      const ofNow = { ...asked, kind: 'all', since: bench.now(), until: bench.now() + MINUTE_MS } as const;
      assert.deepEqual(
        await bench.store.countReplay(ofNow),
        { matched: 0, isExact: true },
        'it waits already',
      );
    });

    test('replays are listed newest first, by endpoint, page by page, and only the account’s own', async (bench) => {
      const username = await bench.account();
      const one = await bench.endpoint(username);
      const other = await bench.endpoint(username);
      const made: Replay[] = [];
      for (const { endpointId } of [one, other, one]) {
        const request = { username, endpointId, kind: 'all', since: 0, until: bench.now() } as const;
        made.unshift((await bench.store.createReplay(request)) as Replay);
        await bench.advance(MINUTE_MS);
      }
      const first = await bench.store.listReplays(username, null, { limit: 2, cursor: null });
      assert.deepEqual(first.items, made.slice(0, 2));
      const rest = await bench.store.listReplays(username, null, { limit: 2, cursor: first.nextCursor });
      assert.deepEqual(rest, { items: made.slice(2), nextCursor: null });
      const ofOne = await bench.store.listReplays(username, one.endpointId, { limit: 10, cursor: null });
      assert.deepEqual(ofOne.items, [made[0], made[2]]);
      const stranger = await bench.account();
      assert.deepEqual(await bench.store.listReplays(stranger, null, { limit: 10, cursor: null }), {
        items: [],
        nextCursor: null,
      });
    });

    const matches: Record<ReplayKind, (events: Past) => string[]> = {
      failed: ({ dead, cancelled }) => [dead, cancelled],
      missing: ({ skipped, beforeSubscribing }) => [skipped, beforeSubscribing],
      all: ({ delivered, dead, cancelled, skipped, beforeSubscribing }) => [
        delivered,
        dead,
        cancelled,
        skipped,
        beforeSubscribing,
      ],
    };

    for (const kind of ['failed', 'missing', 'all'] as const) {
      test(`a replay of ${kind} events makes exactly those due, by hand and with a new schedule`, async (bench) => {
        const events = await past(bench);
        const waiting = await bench.claimOne();
        const expected = matches[kind](events);
        const replay = await start(bench, events, kind);
        assert.match(replay.replayId, /^rpl_/);
        assertAbout(replay.createdAt, bench.now(), 'createdAt');
        assert.deepEqual(replay, {
          replayId: replay.replayId,
          username: events.username,
          endpointId: events.endpointId,
          kind,
          status: 'running',
          matched: expected.length,
          done: 0,
          createdAt: replay.createdAt,
        });
        assert.deepEqual(await bench.store.getReplay(events.username, replay.replayId), replay);

        assert.equal(await finish(bench), expected.length);
        assert.deepEqual(await bench.store.getReplay(events.username, replay.replayId), {
          ...replay,
          status: 'done',
          done: expected.length,
        });

        const leases = await bench.claim();
        assertSameMembers(eventIds(leases), expected, 'replayed events');
        for (const lease of leases) {
          assert.equal(lease.manual, true);
          assert.equal(lease.failures, 0);
          assert.equal(lease.endpoint.endpointId, events.endpointId);
          const event = await bench.event(events.username, lease.event.eventId);
          assert.equal(lease.event.body, event.body, 'the same bytes');
          const target = event.targets.find(({ deliveryId }) => deliveryId === lease.deliveryId);
          assert.equal(target?.status, 'pending');
          assert.deepEqual(event.deliveries, { pending: 1, delivered: 0, dead: 0, cancelled: 0 });
        }
        await bench.settle(...[...leases, waiting].map((lease) => deliveredAt(lease, bench.now())));
        for (const { status } of await bench.deliveries(events.username, { status: 'pending' })) {
          assert.fail(`a delivery is still ${status}`);
        }
      });
    }

    test('a delivery that is revived keeps its id and its attempts', async (bench) => {
      const events = await past(bench);
      await bench.claimOne();
      const before = (await bench.event(events.username, events.dead)).targets[0];
      await start(bench, events, 'failed');
      await finish(bench);
      const leases = await bench.claim();
      const lease = leases.find(({ event }) => event.eventId === events.dead);
      assert.equal(lease?.deliveryId, before?.deliveryId);
      assert.equal(lease?.attempts, 1);
    });

    test('an event that was missing gets a delivery, which is listed and counted', async (bench) => {
      const events = await past(bench);
      await start(bench, events, 'missing');
      await finish(bench);
      for (const eventId of [events.skipped, events.beforeSubscribing]) {
        const [delivery, ...others] = await bench.deliveries(events.username, { eventId });
        assert.deepEqual(others, []);
        assert.equal(delivery?.endpointId, events.endpointId);
        assert.equal(delivery?.status, 'pending');
        const event = await bench.event(events.username, eventId);
        assert.deepEqual(
          event.targets.map(({ deliveryId, status }) => ({ deliveryId, status })),
          [{ deliveryId: delivery?.deliveryId, status: 'pending' }],
          'one target: the skip is made good',
        );
      }
    });

    test('the range takes events from `since` on and those before `until`', async (bench) => {
      const events = await past(bench);
      const at = async (eventId: string) => (await bench.event(events.username, eventId)).createdAt;
      const first = await at(events.delivered);
      const last = await at(events.cancelled);
      assert.equal((await start(bench, events, 'all', first, last)).matched, 2, 'delivered and dead');
      assert.equal((await start(bench, events, 'all', first + 1, last + 1)).matched, 2, 'dead and cancelled');
      assert.equal((await start(bench, events, 'missing', events.until, events.until + 1)).matched, 0);
    });

    test('a replay in a range leaves what lies outside alone', async (bench) => {
      const events = await past(bench);
      await bench.claimOne();
      const from = (await bench.event(events.username, events.cancelled)).createdAt;
      await start(bench, events, 'all', from, events.until);
      await finish(bench);
      assertSameMembers(eventIds(await bench.claim()), [events.cancelled, events.skipped], 'replayed');
    });

    test('other endpoints of the account are left alone', async (bench) => {
      const { username, endpoint } = await bench.subscriber();
      const other = await bench.endpoint(username);
      await bench.publish(username);
      await bench.settle(...(await bench.claim()).map((lease) => deadAt(lease, bench.now())));
      await start(bench, { username, endpointId: endpoint.endpointId }, 'all');
      await finish(bench);
      assert.equal((await bench.claimOne()).endpoint.endpointId, endpoint.endpointId);
      const [untouched] = await bench.deliveries(username, { endpointId: other.endpointId });
      assert.equal(untouched?.status, 'dead');
    });

    test('a replay moves on by the limit and says how far it is', async (bench) => {
      const { username, endpoint } = await bench.subscriber();
      await bench.publishMany(username, 10);
      await bench.settle(...(await bench.claim()).map((lease) => deadAt(lease, bench.now())));
      const { replayId, matched } = await start(
        bench,
        { username, endpointId: endpoint.endpointId },
        'failed',
      );
      assert.equal(matched, 10);
      const first = await bench.store.advanceReplays(4, ANY_BACKLOG);
      assert.deepEqual(first, { made: 4, running: true });
      assert.equal((await bench.store.getReplay(username, replayId))?.done, 4);
      assert.equal((await bench.store.queueDepth()).due, 4);
      assert.equal((await bench.store.advanceReplays(4, ANY_BACKLOG)).made, 4);
      assert.equal(await finish(bench, 4), 2);
      const replay = await bench.store.getReplay(username, replayId);
      assert.equal(replay?.status, 'done');
      assert.equal(replay?.done, 10);
      assert.deepEqual(await bench.store.advanceReplays(4, ANY_BACKLOG), { made: 0, running: false });
      assert.equal((await bench.deliveries(username)).length, 10, 'none twice');
    });

    test('each running replay moves on by the limit of its own', async (bench) => {
      const username = await bench.account();
      const endpoints = [await bench.endpoint(username), await bench.endpoint(username)];
      await bench.publishMany(username, 5);
      await bench.settle(...(await bench.claim()).map((lease) => deadAt(lease, bench.now())));
      for (const { endpointId } of endpoints) await start(bench, { username, endpointId }, 'failed');
      assert.equal((await bench.store.advanceReplays(3, ANY_BACKLOG)).made, 6);
      assert.equal(await finish(bench, 3), 4);
    });

    test('a replay waits while its lane has too much due already', async (bench) => {
      const { username, endpoint } = await bench.subscriber();
      await bench.publishMany(username, 20);
      await bench.settle(...(await bench.claim()).map((lease) => deadAt(lease, bench.now())));
      await bench.publishMany(username, 5);
      const { replayId } = await start(bench, { username, endpointId: endpoint.endpointId }, 'failed');
      assert.deepEqual(await bench.store.advanceReplays(10, 5), { made: 0, running: true });
      assert.equal((await bench.store.getReplay(username, replayId))?.status, 'running');
      await bench.settle(...(await bench.claim()).map((lease) => deliveredAt(lease, bench.now())));
      const { made, running } = await bench.store.advanceReplays(10, 5);
      assert.ok(made > 0 && made <= 10, `made ${made}`);
      assert.equal(running, true);
    });

    test('a full lane holds up no other replay', async (bench) => {
      const full = await bench.subscriber();
      const free = await bench.subscriber();
      for (const { username } of [full, free]) await bench.publishMany(username, 3);
      await bench.settle(...(await bench.claim()).map((lease) => deadAt(lease, bench.now())));
      await bench.publishMany(full.username, 5);
      for (const { username, endpoint } of [full, free]) {
        await start(bench, { username, endpointId: endpoint.endpointId }, 'failed');
      }
      assert.deepEqual(await bench.store.advanceReplays(10, 5), { made: 3, running: true });
      assert.equal((await bench.deliveries(free.username, { status: 'pending' })).length, 3);
    });

    test('a cancelled replay makes nothing due any more and keeps what it made', async (bench) => {
      const { username, endpoint } = await bench.subscriber();
      await bench.publishMany(username, 6);
      await bench.settle(...(await bench.claim()).map((lease) => deadAt(lease, bench.now())));
      const { replayId } = await start(bench, { username, endpointId: endpoint.endpointId }, 'failed');
      await bench.store.advanceReplays(2, ANY_BACKLOG);
      const cancelled = await bench.store.cancelReplay(username, replayId);
      assert.equal(cancelled?.status, 'cancelled');
      assert.equal(cancelled?.done, 2);
      assert.equal(cancelled?.matched, 6);
      assert.deepEqual(await bench.store.advanceReplays(2, ANY_BACKLOG), { made: 0, running: false });
      assert.deepEqual(await bench.store.getReplay(username, replayId), cancelled);
      assert.equal((await bench.claim()).length, 2);
    });

    test('a replay that is done stays done when it is cancelled', async (bench) => {
      const events = await past(bench);
      const { replayId } = await start(bench, events, 'failed');
      await finish(bench);
      assert.equal((await bench.store.cancelReplay(events.username, replayId))?.status, 'done');
    });

    test('a replay that matches nothing is done soon', async (bench) => {
      const { username, endpoint } = await bench.subscriber();
      const { replayId, matched } = await start(bench, { username, endpointId: endpoint.endpointId }, 'all');
      assert.equal(matched, 0);
      assert.equal(await finish(bench), 0);
      assert.equal((await bench.store.getReplay(username, replayId))?.status, 'done');
    });

    test('events after its creation don’t join a replay', async (bench) => {
      const { username, endpoint } = await bench.subscriber({ status: 'disabled' });
      const { endpointId } = endpoint;
      const missed = (await bench.publish(username)).eventId;
      await bench.store.updateEndpoint(username, endpointId, { status: 'enabled' });
      await bench.advance(MINUTE_MS);
      await start(bench, { username, endpointId }, 'missing', 0, bench.now());
      await bench.advance(MINUTE_MS);
      const later = (await bench.publish(username)).eventId;
      await finish(bench);
      const leases = await bench.claim();
      assertSameMembers(eventIds(leases), [missed, later], 'each once');
      assert.equal(leases.find((lease) => lease.event.eventId === later)?.manual, false);
    });

    test('a delivery that was revived by hand meanwhile is not made due twice', async (bench) => {
      const { username, endpoint } = await bench.subscriber();
      const ids = await bench.publishMany(username, 3);
      await bench.settle(...(await bench.claim()).map((lease) => deadAt(lease, bench.now())));
      const { replayId } = await start(bench, { username, endpointId: endpoint.endpointId }, 'failed');
      await bench.store.retryDelivery(username, ids[1] as string);
      const held = await bench.claimOne();
      await finish(bench);
      assert.equal((await bench.store.getReplay(username, replayId))?.status, 'done');
      assert.equal((await bench.claim()).length, 2);
      assert.equal(await bench.settleOne(deliveredAt(held, bench.now())), 'delivered');
    });

    test('two replays of the same events make each due once at a time', async (bench) => {
      const events = await past(bench);
      await bench.claimOne();
      await start(bench, events, 'all');
      await start(bench, events, 'all');
      await start(bench, events, 'missing');
      await finish(bench);
      assertSameMembers(eventIds(await bench.claim()), matches.all(events), 'each once');
      assert.equal((await bench.deliveries(events.username)).length, 6);
    });

    test('several nodes that move one replay on at once make each delivery due once', async (bench) => {
      const { username, endpoint } = await bench.subscriber({ status: 'disabled' });
      const { endpointId } = endpoint;
      await bench.publishMany(username, 40);
      await bench.store.updateEndpoint(username, endpointId, { status: 'enabled' });
      const { replayId } = await start(bench, { username, endpointId }, 'missing');
      const steps = await Promise.all(
        Array.from({ length: 4 }, () => bench.store.advanceReplays(7, ANY_BACKLOG)),
      );
      const made = steps.reduce((sum, step) => sum + step.made, 0) + (await finish(bench, 7));
      assert.equal(made, 40);
      assert.equal((await bench.store.getReplay(username, replayId))?.done, 40);
      assert.equal((await bench.deliveries(username)).length, 40);
      assert.equal((await bench.claim()).length, 40);
    });

    test('a replay for an unknown endpoint, account or replay is null', async (bench) => {
      const { username, endpoint } = await bench.subscriber();
      const range = { kind: 'all', since: 0, until: bench.now() } as const;
      assert.equal(await bench.store.createReplay({ username, endpointId: 'wh_unknown', ...range }), null);
      assert.equal(
        await bench.store.createReplay({ username: 'nobody', endpointId: endpoint.endpointId, ...range }),
        null,
      );
      await bench.store.deleteEndpoint(username, endpoint.endpointId);
      assert.equal(
        await bench.store.createReplay({ username, endpointId: endpoint.endpointId, ...range }),
        null,
      );
      assert.equal(await bench.store.getReplay(username, 'rpl_unknown'), null);
      assert.equal(await bench.store.cancelReplay(username, 'rpl_unknown'), null);
    });

    test('a replay for a disabled endpoint is refused', async (bench) => {
      const { username, endpoint } = await bench.subscriber({ status: 'disabled' });
      const refusal = await assertRefused(
        'invalid_parameter',
        start(bench, { username, endpointId: endpoint.endpointId }, 'all'),
      );
      assert.match(refusal.message, /disabled/);
    });

    for (const ending of ['disabled', 'deleted'] as const) {
      test(`a replay makes nothing due for an endpoint that was ${ending} meanwhile, and nothing for ever`, async (bench) => {
        const events = await past(bench);
        await bench.settle(deliveredAt(await bench.claimOne(), bench.now()));
        await start(bench, events, 'all');
        const { username, endpointId } = events;
        if (ending === 'disabled')
          await bench.store.updateEndpoint(username, endpointId, { status: 'disabled' });
        else await bench.store.deleteEndpoint(username, endpointId);
        if (ending === 'deleted') assert.equal(await finish(bench), 0);
        else assert.equal((await bench.store.advanceReplays(100, ANY_BACKLOG)).made, 0);
        assert.deepEqual(await bench.deliveries(username, { status: 'pending' }), []);
        assert.deepEqual(await bench.claim(), []);
      });
    }

    test('a replay of a deleted account ends', async (bench) => {
      const events = await past(bench);
      await start(bench, events, 'all');
      await bench.store.deleteAccount(events.username);
      assert.equal(await finish(bench), 0);
      await bench.purgeAll(bench.now());
      assert.deepEqual(await bench.store.advanceReplays(10, ANY_BACKLOG), { made: 0, running: false });
    });

    test('what is replayed can be replayed again when it failed again', async (bench) => {
      const { username, endpoint } = await bench.subscriber();
      const target = { username, endpointId: endpoint.endpointId };
      await bench.publish(username);
      for (let round = 0; round < 3; round++) {
        await bench.settleOne(deadAt(await bench.claimOne(), bench.now()));
        await bench.advance(HOUR_MS);
        assert.equal((await start(bench, target, 'failed')).matched, 1);
        assert.equal(await finish(bench), 1);
      }
      assert.equal((await bench.claimOne()).attempts, 3);
    });

    test('a long replay by small steps reaches everything once', async (bench) => {
      const { username, endpoint } = await bench.subscriber({ status: 'disabled' });
      const { endpointId } = endpoint;
      for (let batch = 0; batch < 3; batch++) await bench.publishMany(username, 100);
      await bench.store.updateEndpoint(username, endpointId, { status: 'enabled' });
      const { matched } = await start(bench, { username, endpointId }, 'missing');
      assert.equal(matched, 300);
      assert.equal(await finish(bench, 33), 300);
      assert.equal((await bench.claim()).length, 300);
      assert.equal((await bench.deliveries(username)).length, 300);
    });

    test('an endpoint added later is reached by a replay of what it missed', async (bench) => {
      const { username } = await bench.subscriber();
      await bench.publishMany(username, 3);
      await bench.publishMany(username, 2, { event: AVATAR });
      await bench.settle(...(await bench.claim()).map((lease) => deliveredAt(lease, bench.now())));
      const added = await bench.store.addEndpoint(newEndpoint(username, { events: [VIDEO] }), 20);
      assert.equal((await start(bench, { username, endpointId: added.endpointId }, 'missing')).matched, 3);
      await finish(bench);
      const leases = await bench.claim();
      assert.equal(leases.length, 3);
      for (const lease of leases) assert.equal(lease.endpoint.endpointId, added.endpointId);
    });
  });
}
