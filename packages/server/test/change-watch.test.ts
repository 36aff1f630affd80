import assert from 'node:assert/strict';
import { beforeEach, describe, it } from 'node:test';
import { ChangeWatch } from '../src/change-watch.ts';
import { PosthornError, unavailable } from '../src/errors.ts';
import type { Changes } from '../src/store/store.ts';
import { ManualClock } from './support/manual-clock.ts';

let clock: ManualClock;
let changes: Changes[];
let failure: Error | null;
let looks: number;
let endpoints: string[];
let catalogueReads: number;
let catalogueFailure: Error | null;
let errors: unknown[];
let watch: ChangeWatch;

beforeEach(() => {
  clock = new ManualClock();
  changes = [];
  failure = null;
  looks = 0;
  endpoints = [];
  catalogueReads = 0;
  catalogueFailure = null;
  errors = [];
  watch = new ChangeWatch({
    store: {
      takeChanges: async () => {
        looks += 1;
        if (failure !== null) throw failure;
        return changes.shift() ?? { catalogue: false, endpointIds: [] };
      },
    },
    clock,
    onEndpoint: (endpointId) => endpoints.push(endpointId),
    onCatalogue: async () => {
      catalogueReads += 1;
      if (catalogueFailure !== null) throw catalogueFailure;
    },
    onError: (_message, error) => errors.push(error),
  });
});

async function pass(ms: number): Promise<void> {
  clock.advance(ms);
  await new Promise((resolve) => setImmediate(resolve));
}

describe('the look at what other nodes changed', () => {
  it('is made every second, and tells each part of it', async () => {
    changes = [{ catalogue: true, endpointIds: ['wh_of_before'] }];
    await watch.start();
    assert.deepEqual([endpoints, catalogueReads], [[], 0], 'what was before is read anew anyway');
    changes = [
      { catalogue: false, endpointIds: ['wh_1', 'wh_2'] },
      { catalogue: true, endpointIds: [] },
    ];
    await pass(1_000);
    assert.deepEqual([endpoints, catalogueReads], [['wh_1', 'wh_2'], 0]);
    await pass(1_000);
    assert.equal(catalogueReads, 1);
    await pass(1_000);
    assert.deepEqual([looks, endpoints.length, catalogueReads], [4, 2, 1]);
  });

  it('goes on when the store is away, without a word, and when there is a defect, with one', async () => {
    await watch.start();
    failure = unavailable('the database is away');
    await pass(1_000);
    assert.deepEqual(errors, []);
    failure = new PosthornError('internal', 'a defect');
    await pass(1_000);
    assert.deepEqual(errors, [failure]);
    failure = null;
    changes = [{ catalogue: false, endpointIds: ['wh_1'] }];
    await pass(1_000);
    assert.deepEqual(endpoints, ['wh_1']);
  });

  it('reads the catalogue again until it was read', async () => {
    await watch.start();
    changes = [{ catalogue: true, endpointIds: [] }];
    catalogueFailure = unavailable('the database is away');
    await pass(1_000);
    await pass(1_000);
    catalogueFailure = null;
    await pass(1_000);
    assert.equal(catalogueReads, 3);
    await pass(1_000);
    assert.equal(catalogueReads, 3);
  });

  it('begins with an error when the store has one, and ends when it is stopped', async () => {
    failure = unavailable('the database is away');
    await assert.rejects(watch.start(), failure);
    failure = null;
    await watch.start();
    await watch.stop();
    assert.equal(clock.timerCount, 0);
    await pass(5_000);
    assert.equal(looks, 2);
  });
});
