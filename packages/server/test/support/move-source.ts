import { copyFile } from 'node:fs/promises';
import { openSqliteStore } from '../../src/store/sqlite/index.ts';
import type { Lease, Settlement, Store } from '../../src/store/store.ts';
import { ManualClock } from './manual-clock.ts';
import {
  attemptOf,
  AVATAR,
  DAY_MS,
  deadAt,
  deliveredAt,
  failedAttemptOf,
  HOUR_MS,
  listAll,
  MINUTE_MS,
  newEndpoint,
  newEvent,
  newEventType,
  newKey,
  retryingAt,
  SCRIPT,
  SECOND_MS,
  VIDEO,
  WIDE_OFFER,
} from './store-fixtures.ts';

/** Text that engines like to get wrong: quotes, control characters, both kinds of surrogate pairs' neighbours. */
const ODD =
  'naïve "quoted" \\ back\u0001\u007f\u2028\u2029 \u{1f680}\u{10ffff}\ufeff\ufffd \u05e9\u05dc \u0627';
const WITH_NUL = `before\0after ${ODD}`;

export interface SourceNames {
  accounts: { busy: string; suspended: string; deleted: string; quiet: string };
  /** Of `busy`. */
  endpoints: Record<'main' | 'second' | 'gone' | 'refusing' | 'paused' | 'limited', string>;
  replays: Record<'done' | 'cancelled' | 'failed' | 'missing' | 'all' | 'untouched', string>;
  /** Hashes of keys. */
  keys: string[];
  /** Ids of published events, to publish again. */
  repeated: string;
}

/**
 * Fills an SQLite file with every kind of record there is, over five days that end a minute before now, and leaves it as
 * a killed process does: with leases, and with commits that are only in its log.
 *
 * @param workPath - where the service of before had its file
 */
export async function makeSource(workPath: string, path: string): Promise<SourceNames> {
  const clock = new ManualClock({ startMs: Date.now() - 5 * DAY_MS - MINUTE_MS });
  const end = clock.now() + 5 * DAY_MS;
  const store = await openSqliteStore({ path: workPath, clock });
  try {
    const names = await new Filling(store, clock, end).run();
    await copyFile(workPath, path);
    await copyFile(`${workPath}-wal`, `${path}-wal`);
    return names;
  } finally {
    await store.close();
  }
}

class Filling {
  readonly #store: Store;
  readonly #clock: ManualClock;
  readonly #end: number;

  constructor(store: Store, clock: ManualClock, end: number) {
    this.#store = store;
    this.#clock = clock;
    this.#end = end;
  }

  async run(): Promise<SourceNames> {
    const store = this.#store;
    const clock = this.#clock;
    await store.announceEncryptionKeys(['a1b2c3d4'], 'a1b2c3d4');
    const keys = await this.#operatorKeys();
    await this.#eventTypes();

    const accounts = { busy: 'busy', suspended: 'asleep', deleted: 'deleted', quiet: 'Quiet_1' };
    await store.createAccount({ username: 'busy', metadata: { plan: ODD, deep: { list: [1, 2.5, null] } } });
    for (const username of ['asleep', 'deleted', 'Quiet_1']) {
      clock.advance(SECOND_MS);
      await store.createAccount({ username, metadata: null });
    }
    const operator = {
      kind: 'key',
      keyId: 'key_op',
      username: null,
      via: 'PATCH /v2/account/:username',
    } as const;
    await store
      .as({ ...operator, requestId: 'req_1', remoteAddress: '2001:db8::1', through: 'dashboard' })
      .updateAccount('busy', { metadata: { plan: WITH_NUL, odd: ODD, deep: { list: [1, 2.5, null] } } });
    keys.push(await this.#key('busy', { name: WITH_NUL }));
    keys.push(await this.#key('asleep', {}));
    const expiresAt = clock.now() + DAY_MS;
    for (const n of [1, 2]) {
      await store.createPortalLink({ linkId: `plk_${n}`, username: 'busy', hash: `link${n}`, expiresAt });
    }
    await store.usePortalLink('link1', { hash: 'session1', expiresAt });
    await store.openSession({ hash: 'session2', keyHash: 'key', expiresAt });
    keys.push(await this.#key('deleted', {}));

    const add = async (username: string, changes: Parameters<typeof newEndpoint>[1] = {}) => {
      clock.advance(SECOND_MS);
      return (await store.addEndpoint(newEndpoint(username, changes), 100)).endpointId;
    };
    const endpoints = {
      main: await add('busy', {
        description: WITH_NUL,
        metadata: { note: ODD },
        headers: 'sealed',
        timeoutMs: 2500,
      }),
      second: await add('busy', { events: [VIDEO] }),
      gone: await add('busy', { events: [SCRIPT] }),
      refusing: await add('busy', { events: [VIDEO] }),
      paused: await add('busy', { events: [VIDEO], status: 'disabled' }),
      limited: await add('busy', { events: [AVATAR], rateLimitPerSecond: 2.5 }),
    };
    const asleep = await add('asleep');
    await add('deleted');
    await store.rotateSecret('busy', endpoints.main, 'new sealed secret', this.#end + 30 * DAY_MS);
    await store.rotateSecret('busy', endpoints.second, 'another sealed secret', null);

    await this.#ailing();

    // Day after day of history.
    for (let day = 0; day < 4; day++) {
      await this.#publish('busy', 40, VIDEO, (i) => ({ data: { n: i, day, text: ODD } }));
      await this.#publish('busy', 15, SCRIPT);
      await this.#publish('deleted', 3, VIDEO);
      await this.#settleAll((lease, i) => this.#usualEnd(lease, i));
      clock.advance(20 * MINUTE_MS);
      await this.#settleAll((lease, i) => (i % 4 === 0 ? this.#dead(lease) : this.#delivered(lease, i)));
      if (day === 1) {
        await this.#refuse(endpoints.refusing);
        await this.#publish('busy', 2, SCRIPT);
        await store.deleteEndpoint('busy', endpoints.gone);
        await this.#publish('busy', 2, AVATAR);
        await store.updateEndpoint('busy', endpoints.limited, { events: [VIDEO] });
        await store.updateEndpoint('busy', endpoints.limited, { events: [AVATAR] });
      }
      clock.advance(DAY_MS - 40 * MINUTE_MS);
    }
    clock.advance(this.#end - clock.now() - 3 * HOUR_MS);
    // Statistics of before a day become those of hours.
    for (let more = true; more; ) ({ more } = await store.purge(clock.now() - 30 * DAY_MS, 10_000));

    const replays = await this.#endedReplays(endpoints);
    await this.#publish('Quiet_1', 2, VIDEO);
    await this.#publish('busy', 3, AVATAR);
    await this.#settleAll((lease, i) => this.#delivered(lease, i));

    // What is pending at the end.
    await store.publish(
      [newEvent('busy', { data: { only: 'me' }, onlyEndpointId: endpoints.second, event: AVATAR })],
      null,
    );
    await this.#failTestEvent('busy', endpoints.limited);
    await store.publish([newEvent('busy', { eventId: 'evt_repeated', data: { b: 2, a: 1 } })], null);
    await store.publish(
      [
        newEvent('busy', {
          fingerprint: null,
          body: '{"event_id":"x","data":{"nul":"\\u0000","big":12345678901234567890}}',
        }),
      ],
      null,
    );
    await store.publish([newEvent('busy', { data: { large: 'x'.repeat(300_000) } })], null);
    await this.#publish('asleep', 5, VIDEO);
    await store.updateAccount('asleep', { status: 'suspended' });
    await this.#retryOne('busy');
    await this.#retryOneLater('busy', endpoints.main);
    // Leases of the process that was killed: some run on, some have run out.
    await store.claim({ limit: 2, laneLimit: 2, leaseMs: HOUR_MS });
    await store.claim({ limit: 2, laneLimit: 3, leaseMs: SECOND_MS });
    clock.advance(2 * SECOND_MS);
    await store.touchKeys([{ keyId: (await store.listKeys('busy'))[0]?.keyId ?? '', at: clock.now() }]);
    await store.deleteAccount('deleted');
    const running = await this.#runningReplays(endpoints);
    await store.updateEndpoint('asleep', asleep, { description: 'sleeps' });
    clock.advance(Math.max(0, this.#end - clock.now()));
    return { accounts, endpoints, replays: { ...replays, ...running }, keys, repeated: 'evt_repeated' };
  }

  async #key(username: string | null, changes: Parameters<typeof newKey>[1]): Promise<string> {
    const key = newKey(username, changes);
    await this.#store.createKey(key);
    this.#clock.advance(1);
    return key.hash;
  }

  /** An account whose endpoint is probed. */
  async #ailing(): Promise<void> {
    const username = 'ailing';
    await this.#store.createAccount({ username, metadata: null });
    await this.#store.addEndpoint(newEndpoint(username), 100);
    const { leases } = await this.#store.publish([newEvent(username)], WIDE_OFFER);
    const failed = leases.map(
      (lease): Settlement => ({
        ...deadAt(lease, this.#clock.now(), undefined, { error: WITH_NUL }),
        endpointFailed: true,
      }),
    );
    await this.#store.settle(failed, null, {
      probeAfter: 1,
      pausesMs: [30 * DAY_MS],
      disableAfterMs: null,
      disableReason: '',
      operationsUsername: null,
    });
  }

  async #operatorKeys(): Promise<string[]> {
    const hashes = [
      await this.#key(null, {}),
      await this.#key(null, { scopes: ['publish'], expiresAt: this.#end - HOUR_MS }),
      await this.#key(null, { name: 'revoked' }),
    ];
    const revoked = (await this.#store.listKeys(null)).find(({ name }) => name === 'revoked');
    await this.#store.revokeKey(revoked?.keyId ?? '', null);
    return hashes;
  }

  async #eventTypes(): Promise<void> {
    await this.#store.putEventType(newEventType('order.paid', { description: WITH_NUL, category: ODD }));
    await this.#store.putEventType(newEventType('order.gone'));
    await this.#store.putEventType(newEventType('order.old', { deprecated: true, example: null }));
    await this.#store.putEventType(newEventType('create_avatar_failed', { builtIn: true, deprecated: true }));
    await this.#store.deleteEventType('order.gone');
  }

  async #publish(
    username: string,
    count: number,
    event: string,
    changes: (i: number) => Parameters<typeof newEvent>[1] = () => ({}),
  ): Promise<void> {
    for (let i = 0; i < count; i++) {
      this.#clock.advance(250);
      await this.#store.publish([newEvent(username, { event, ...changes(i) })], null);
    }
  }

  async #settleAll(settle: (lease: Lease, i: number) => Settlement): Promise<void> {
    const { leases } = await this.#store.claim(WIDE_OFFER);
    this.#clock.advance(300);
    await this.#store.settle(leases.map(settle), null);
  }

  #delivered(lease: Lease, i: number): Settlement {
    const bodies = ['ok', '', ODD, WITH_NUL, null, '\0'.repeat(3), 'long '.repeat(2_000)];
    return deliveredAt(lease, this.#clock.now(), {
      durationMs: 10.25 + i / 7,
      responseBody: bodies[i % bodies.length] as string | null,
      responseTruncated: i % 5 === 0,
    });
  }

  #dead(lease: Lease): Settlement {
    return deadAt(lease, this.#clock.now(), `gave up ${ODD}`, {
      error: `odd ${ODD}`,
      httpStatus: null,
      responseHeaders: null,
      responseBody: null,
      outcome: 'connect_error',
    });
  }

  /** Most are delivered, some come again soon, one in ten dies. */
  #usualEnd(lease: Lease, i: number): Settlement {
    if (i % 10 === 3) return this.#dead(lease);
    if (i % 5 === 1)
      return retryingAt(lease, this.#clock.now(), this.#clock.now() + 5 * MINUTE_MS, { durationMs: 0.1 + i });
    return this.#delivered(lease, i);
  }

  /** The receiver answers 410: its endpoint is disabled, and what waits for it is cancelled. */
  async #refuse(endpointId: string): Promise<void> {
    await this.#publish('busy', 3, VIDEO);
    const { leases } = await this.#store.claim({ ...WIDE_OFFER, laneLimit: 1 });
    const now = this.#clock.now();
    const reason = 'endpoint answered 410 Gone';
    await this.#store.settle(
      leases.map((lease) =>
        lease.endpoint.endpointId === endpointId
          ? { ...deadAt(lease, now, reason), disableEndpoint: reason }
          : deliveredAt(lease, now),
      ),
      null,
    );
  }

  async #endedReplays({ main, second }: { main: string; second: string }) {
    const since = this.#end - 10 * DAY_MS;
    const create = async (endpointId: string, kind: 'failed' | 'missing' | 'all') => {
      const replay = await this.#store.createReplay({
        username: 'busy',
        endpointId,
        kind,
        since,
        until: this.#end,
      });
      return replay?.replayId ?? '';
    };
    const done = await create(second, 'failed');
    for (let running = true; running; ) ({ running } = await this.#store.advanceReplays(1000, 1000));
    const cancelled = await create(main, 'failed');
    await this.#store.advanceReplays(2, 1000);
    await this.#store.cancelReplay('busy', cancelled);
    await this.#settleAll((lease) => ({
      ...this.#delivered(lease, 0),
      attempt: attemptOf(lease, this.#clock.now(), { manual: true }),
    }));
    return { done, cancelled };
  }

  /** One of each kind in the middle of its walk, and one at its beginning. */
  async #runningReplays({ main, second, limited }: Record<'main' | 'second' | 'limited', string>) {
    const since = this.#end - 10 * DAY_MS;
    const create = async (endpointId: string, kind: 'failed' | 'missing' | 'all') => {
      this.#clock.advance(1);
      const replay = await this.#store.createReplay({
        username: 'busy',
        endpointId,
        kind,
        since,
        until: this.#end,
      });
      return replay?.replayId ?? '';
    };
    // Subscribed only now, so all of the type are missing there.
    await this.#store.updateEndpoint('busy', limited, { events: [AVATAR, SCRIPT] });
    const failed = await create(main, 'failed');
    const missing = await create(limited, 'missing');
    const all = await create(second, 'all');
    await this.#store.advanceReplays(7, 100_000);
    await this.#store.advanceReplays(6, 100_000);
    const untouched = await create(main, 'all');
    return { failed, missing, all, untouched };
  }

  /** A test event of a type that its endpoint doesn't take waits for its retry. */
  async #failTestEvent(username: string, endpointId: string): Promise<void> {
    await this.#store.publish([newEvent(username, { event: VIDEO, onlyEndpointId: endpointId })], null);
    const { leases } = await this.#store.claim(WIDE_OFFER);
    const now = this.#clock.now();
    const mine = leases.filter((lease) => lease.endpoint.endpointId === endpointId);
    await this.#store.settle(
      mine.map((lease) => retryingAt(lease, now, now + SECOND_MS)),
      null,
    );
    await this.#store.release(leases.filter((lease) => !mine.includes(lease)));
  }

  async #retryOne(username: string): Promise<void> {
    const dead = await listAll((page) => this.#store.listDeliveries(username, { status: 'dead' }, page));
    for (const { deliveryId, endpointId } of dead) {
      const endpoint = await this.#store.getEndpoint(username, endpointId);
      if (endpoint?.status !== 'enabled') continue;
      await this.#store.retryDelivery(username, deliveryId);
      return;
    }
    throw new Error('nothing to retry');
  }

  /** One that failed twice and waits for tomorrow. */
  async #retryOneLater(username: string, endpointId: string): Promise<void> {
    await this.#store.publish([newEvent(username, { event: SCRIPT, data: { later: true } })], null);
    for (const waitMs of [0, DAY_MS]) {
      const { leases } = await this.#store.claim({ ...WIDE_OFFER, limit: 1000 });
      const mine = leases.filter(
        (lease) => lease.endpoint.endpointId === endpointId && lease.event.event === SCRIPT,
      );
      const now = this.#clock.now();
      await this.#store.settle(
        mine.map((lease) => ({
          ...retryingAt(lease, now, now + waitMs),
          attempt: failedAttemptOf(lease, now, { error: 'timed out', outcome: 'timeout', httpStatus: null }),
        })),
        null,
      );
      await this.#store.release(leases.filter((lease) => !mine.includes(lease)));
    }
  }
}
