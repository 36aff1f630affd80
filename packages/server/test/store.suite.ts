/**
 * What every store engine must do: the contract of `src/store/store.ts`, sentence by sentence. An engine binds the
 * suite with a harness of its own and passes it unchanged. Nothing here assumes how an engine keeps its data, that it
 * is alone, or more of an id than its prefix.
 *
 * @example
 * storeSuite('SQLite', { open: async () => new SqliteTestStore(await tempDir()) });
 */
import { describe } from 'node:test';
import { accountTests } from './store-suite/accounts.ts';
import { type StoreHarness, storeTest } from './store-suite/bench.ts';
import { catalogueTests } from './store-suite/catalogue.ts';
import { claimingTests } from './store-suite/claiming.ts';
import { durabilityTests } from './store-suite/durability.ts';
import { endpointTests } from './store-suite/endpoints.ts';
import { lifecycleTests } from './store-suite/lifecycle.ts';
import { lookingTests } from './store-suite/looking.ts';
import { publishTests } from './store-suite/publish.ts';
import { purgeTests } from './store-suite/purge.ts';
import { queueModelTests } from './store-suite/queue-model.ts';
import { replayTests } from './store-suite/replays.ts';
import { retryingTests } from './store-suite/retrying.ts';
import { settlingTests } from './store-suite/settling.ts';
import { statsTests } from './store-suite/stats.ts';

export type { StoreHarness, TestStore } from './store-suite/bench.ts';

/** Declares the suite for one engine, `name`, as `describe` and `it` of `node:test`. */
export function storeSuite(name: string, harness: StoreHarness): void {
  describe(`store: ${name}`, () => {
    const test = storeTest(harness);
    lifecycleTests(test);
    accountTests(test);
    catalogueTests(test);
    endpointTests(test);
    publishTests(test);
    claimingTests(test);
    settlingTests(test);
    retryingTests(test);
    replayTests(test);
    lookingTests(test);
    statsTests(test);
    purgeTests(test);
    durabilityTests(test);
    queueModelTests(harness);
  });
}
