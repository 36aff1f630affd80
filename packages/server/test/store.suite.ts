/**
 * What every store engine must do: the contract of `src/store/store.ts`, sentence by sentence. An engine binds the
 * suite and passes it unchanged. Nothing here assumes how an engine keeps its data, that it is alone, or more of an id
 * than its prefix; what holds for one engine only stands in that engine's own test file.
 *
 * To bind an engine, write `store.<engine>.test.ts` with two small objects (`store-suite/engine.ts` says what each
 * part must do) and hand the first to {@link storeSuite}:
 *
 * - a `StoreEngine`: its name, whether several stores may have one database open at once (`severalNodes`: the tests of
 *   nodes run only then), and `createDatabase()`, which makes an empty database with its schema;
 * - a `TestDatabase`: `open()` a store on the data, also one more beside others, and again after a crash; `crash()` a
 *   store as `kill -9` would; `now()` and `advance()`, the clock by which the engine judges leases and due times, the
 *   database's own where it has one; `clear()`, which empties it between two tests under an open store; `remove()`.
 *
 * Each test has a database without records to itself, but not a new one: opening costs more than most tests do. The
 * clock is never set back, and the suite moves time by it alone: an engine whose clock also runs by itself passes as
 * long as a test takes less than `DRIFT_MS`.
 *
 * @example
 * storeSuite({
 *   name: 'SQLite',
 *   severalNodes: false,
 *   createDatabase: async () => new SqliteTestDatabase(await tempDir()),
 * });
 */
import { after, describe } from 'node:test';
import { accountTests } from './store-suite/accounts.ts';
import { auditTests } from './store-suite/audit.ts';
import { BenchPool, storeTest } from './store-suite/bench.ts';
import { catalogueTests } from './store-suite/catalogue.ts';
import { circuitTests } from './store-suite/circuits.ts';
import { claimingTests } from './store-suite/claiming.ts';
import { durabilityTests } from './store-suite/durability.ts';
import { encryptionKeyTests, sharedEncryptionKeyTests } from './store-suite/encryption-keys.ts';
import { endpointTests } from './store-suite/endpoints.ts';
import type { StoreEngine } from './store-suite/engine.ts';
import { lifecycleTests } from './store-suite/lifecycle.ts';
import { lookingTests } from './store-suite/looking.ts';
import { nodeTests } from './store-suite/nodes.ts';
import { overviewTests } from './store-suite/overview.ts';
import { publishTests } from './store-suite/publish.ts';
import { purgeTests } from './store-suite/purge.ts';
import { queueModelTests } from './store-suite/queue-model.ts';
import { replayTests } from './store-suite/replays.ts';
import { retryingTests } from './store-suite/retrying.ts';
import { settlingTests } from './store-suite/settling.ts';
import { sessionTests } from './store-suite/sessions.ts';
import { changeTests, sharingTests } from './store-suite/sharing.ts';
import { statsTests } from './store-suite/stats.ts';

export type { StoreEngine, TestDatabase } from './store-suite/engine.ts';

/** Declares the suite for one engine, as `describe` and `it` of `node:test`. */
export function storeSuite(engine: StoreEngine): void {
  describe(`store: ${engine.name}`, () => {
    const pool = new BenchPool(engine);
    after(() => pool.dispose());
    const test = storeTest(pool);
    lifecycleTests(test, pool);
    accountTests(test);
    sessionTests(test);
    catalogueTests(test);
    endpointTests(test);
    publishTests(test);
    claimingTests(test);
    settlingTests(test);
    retryingTests(test);
    circuitTests(test);
    replayTests(test);
    lookingTests(test);
    statsTests(test);
    overviewTests(test);
    purgeTests(test);
    durabilityTests(test);
    sharingTests(test);
    auditTests(test);
    encryptionKeyTests(test);
    if (engine.severalNodes) {
      sharedEncryptionKeyTests(test);
      nodeTests(test);
      changeTests(test);
    }
    queueModelTests(pool);
  });
}
