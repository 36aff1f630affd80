import assert from 'node:assert/strict';
import { beforeEach, describe, it } from 'node:test';
import { Janitor, type JanitorOptions } from '../src/delivery/janitor.ts';
import { ManualClock } from './support/manual-clock.ts';

const DAY_MS = 86_400_000;

let clock: ManualClock;
let purges: { before: number; limit: number }[];
let advances: { limit: number; laneBacklog: number }[];
let cuts: { maxBytes: number; gone: number | null }[];
let cut: (gone: number | null) => number | null;
let more: boolean;
let replay: { made: number; running: boolean };
let failure: Error | null;
let dueCalls: number;
let jumps: number[];
let errors: unknown[];
let janitor: Janitor;

beforeEach(() => {
  clock = new ManualClock();
  purges = [];
  advances = [];
  cuts = [];
  cut = () => null;
  more = false;
  replay = { made: 0, running: false };
  failure = null;
  dueCalls = 0;
  jumps = [];
  errors = [];
  janitor = newJanitor();
});

function newJanitor(changes: Partial<JanitorOptions> = {}): Janitor {
  return new Janitor({
    store: {
      purge: async (before, limit) => {
        purges.push({ before, limit });
        if (failure !== null) throw failure;
        return { deleted: 0, more };
      },
      historyCut: async (maxBytes, gone) => {
        cuts.push({ maxBytes, gone });
        return cut(gone);
      },
      advanceReplays: async (limit, laneBacklog) => {
        advances.push({ limit, laneBacklog });
        return replay;
      },
    },
    clock,
    retentionMs: 30 * DAY_MS,
    laneLimit: 10,
    onDue: () => {
      dueCalls += 1;
    },
    onClockJump: (jumpMs) => jumps.push(jumpMs),
    onError: (_message, error) => errors.push(error),
    ...changes,
  });
}

/** Lets every promise that can settle do so. */
const settled = () => new Promise((resolve) => setImmediate(resolve));

async function pass(ms: number): Promise<void> {
  clock.advance(ms);
  await settled();
}

describe('purging', () => {
  it('deletes what is older than the retention, once a minute', async () => {
    janitor.start();
    await settled();
    assert.deepEqual(purges, [{ before: clock.now() - 30 * DAY_MS, limit: 500 }]);
    await pass(59_000);
    assert.equal(purges.length, 1);
    await pass(1_000);
    assert.equal(purges.length, 2);
  });

  it('goes in steps of the size and with the pause that it is told', async () => {
    more = true;
    janitor = newJanitor({ purgeRows: 100, purgePauseMs: 20 });
    janitor.start();
    await settled();
    await pass(19);
    assert.deepEqual(
      purges.map(({ limit }) => limit),
      [100],
    );
    await pass(1);
    assert.equal(purges.length, 2);
    more = false;
    await pass(20);
    await pass(59_000);
    assert.equal(purges.length, 3, 'nothing is left: once a minute again');
  });

  it('asks for no cut where the history may be of any size', async () => {
    janitor.start();
    await settled();
    assert.deepEqual(cuts, []);
  });

  it('goes further, step by step and soon, while the history is too large', async () => {
    const first = clock.now() - 20 * DAY_MS;
    cut = (gone) => (gone === null ? first : gone < first + 2 * DAY_MS ? gone + DAY_MS : null);
    more = true;
    janitor = newJanitor({ maxHistoryBytes: 1_000 });
    janitor.start();
    await settled();
    await pass(100);
    assert.deepEqual(cuts, [{ maxBytes: 1_000, gone: null }], 'a cut is gone through before the next');
    more = false;
    for (let step = 0; step < 4; step += 1) await pass(100);
    assert.deepEqual(
      purges.map(({ before }) => before),
      [first, first, first, first + DAY_MS, first + 2 * DAY_MS, clock.now() - 30 * DAY_MS],
    );
    await pass(59_000);
    assert.equal(purges.length, 6, 'small enough: once a minute again');
  });

  it('rests where nothing more may go, however large it is', async () => {
    cut = () => clock.now() - 3_600_000;
    janitor = newJanitor({ maxHistoryBytes: 1_000 });
    janitor.start();
    await settled();
    await pass(100);
    assert.equal(purges.length, 2);
    await pass(59_000);
    assert.equal(purges.length, 2);
  });

  it('goes on soon while there is more', async () => {
    more = true;
    janitor.start();
    await settled();
    await pass(1_000);
    assert.equal(purges.length, 2);
  });

  it('tells of a failure and tries again', async () => {
    failure = new Error('disk');
    janitor.start();
    await settled();
    assert.deepEqual(errors, [failure]);
    await pass(5_000);
    assert.equal(purges.length, 2);
  });
});

describe('replays', () => {
  it('move on every 200 ms while one runs, up to twice the lane limit, and wake the dispatcher', async () => {
    replay = { made: 20, running: true };
    janitor.start();
    await settled();
    assert.deepEqual(advances, [{ limit: 100, laneBacklog: 20 }]);
    assert.equal(dueCalls, 1);
    await pass(200);
    assert.equal(advances.length, 2);
    replay = { made: 0, running: false };
    await pass(200);
    await pass(60_000);
    assert.equal(advances.length, 3);
  });

  it('begin when they are woken', async () => {
    janitor.start();
    await settled();
    janitor.wakeReplays();
    await settled();
    assert.equal(advances.length, 2);
  });
});

describe('a jump of the machine’s clock', () => {
  for (const jumpMs of [60_000, -60_000]) {
    it(`of ${jumpMs} ms is told once, and due times are looked at again`, async () => {
      janitor.start();
      await settled();
      clock.jump(jumpMs);
      await pass(10_000);
      await pass(10_000);
      assert.deepEqual(jumps, [jumpMs]);
      assert.equal(dueCalls, 1);
    });
  }

  it('of less than 5 s is the daily work of time servers', async () => {
    janitor.start();
    await settled();
    clock.jump(4_000);
    await pass(10_000);
    assert.deepEqual(jumps, []);
  });
});

describe('beside other nodes', () => {
  it('history goes in whole steps of the calendar', async () => {
    newJanitor({ purgeStepMs: DAY_MS }).start();
    await settled();
    const [purge] = purges;
    assert.equal((purge?.before ?? 1) % DAY_MS, 0);
    const kept = clock.now() - (purge?.before ?? 0);
    assert.ok(kept >= 30 * DAY_MS && kept < 31 * DAY_MS, `${kept} ms are kept`);
  });

  it('replays that others have begun are looked for', async () => {
    newJanitor({ replayPollMs: 1_000 }).start();
    await settled();
    await pass(1_000);
    assert.equal(advances.length, 2);
    replay = { made: 100, running: true };
    await pass(1_000);
    await pass(200);
    assert.deepEqual([advances.length, dueCalls], [4, 2]);
  });
});

it('does nothing after its stop', async () => {
  janitor.start();
  await settled();
  await janitor.stop();
  assert.equal(clock.timerCount, 0);
  janitor.wakeReplays();
  await settled();
  assert.deepEqual([purges.length, advances.length], [1, 1]);
});
