/**
 * What an event and a delivery may cost, counted instead of timed, so that it holds on a busy machine: see
 * docs/benchmarks.md, "What a change may cost". Raise a limit only together with the reason for it.
 */
import assert from 'node:assert/strict';
import { describe, it, type TestContext } from 'node:test';
import { createEncryptionKey } from '../../src/secrets.ts';
import { PostgresCluster } from '../support/postgres-cluster.ts';
import { createDatabase } from '../support/postgres.ts';
import { CountedService, EVENTS_A_WAVE } from './counted-service.ts';

/** Until every statement is prepared, every connection open and the code compiled. */
const WARM_UP_WAVES = 6;
const WAVES = 20;
const EVENTS = WAVES * EVENTS_A_WAVE;

type Counts = Record<string, number>;

/** Most of what a stage may take of something for 1,000 events. */
interface Limit {
  stage: 'publish' | 'deliver' | 'both';
  of: string;
  most: number;
  /** What the service does by the clock, each second, however much there is to do. */
  aSecond?: number;
  /** Where to look when it is more. */
  look: string;
}

const COMMITS = {
  look: 'what shares a commit: Publisher (publish.ts), #flush (delivery/dispatcher.ts)',
};
const BYTES_LOOK = 'rows and indexes: store/*/migrations, and what publish and settle write';
const LOG: Limit = {
  stage: 'both',
  of: 'logBytes',
  most: 650_000,
  look: 'the two lines of an event: noteAnswer (api/), logAttempt (service.ts)',
};
const HEAP_LOOK = 'an allocation profile (node --heap-prof): closures, copies, texts made twice';

const SQLITE_LIMITS: readonly Limit[] = [
  { stage: 'publish', of: 'commits', most: 60, aSecond: 2, ...COMMITS },
  { stage: 'deliver', of: 'commits', most: 60, aSecond: 2, ...COMMITS },
  { stage: 'publish', of: 'statements', most: 3_100, aSecond: 20, look: 'store/sqlite/publish.ts' },
  {
    stage: 'deliver',
    of: 'statements',
    most: 5_300,
    aSecond: 20,
    look: 'settle in store/sqlite/queue.ts, moves',
  },
  {
    stage: 'both',
    of: 'messages',
    most: 240,
    aSecond: 4,
    look: 'calls of the store: one a batch, one answer',
  },
  { stage: 'publish', of: 'writtenBytes', most: 5_000_000, aSecond: 40_000, look: BYTES_LOOK },
  { stage: 'deliver', of: 'writtenBytes', most: 6_900_000, aSecond: 40_000, look: BYTES_LOOK },
  { stage: 'both', of: 'heapBytes', most: 62_000_000, look: HEAP_LOOK },
  LOG,
];

const POSTGRES_LIMITS: readonly Limit[] = [
  { stage: 'publish', of: 'statements', most: 200, aSecond: 8, ...COMMITS },
  { stage: 'deliver', of: 'statements', most: 120, aSecond: 8, ...COMMITS },
  {
    stage: 'both',
    of: 'nestedStatements',
    most: 1_100,
    aSecond: 12,
    look: 'the functions of store/postgres/migrations',
  },
  { stage: 'publish', of: 'walBytes', most: 2_600_000, aSecond: 2_000, look: BYTES_LOOK },
  { stage: 'deliver', of: 'walBytes', most: 1_850_000, aSecond: 2_000, look: BYTES_LOOK },
  { stage: 'both', of: 'heapBytes', most: 75_000_000, look: HEAP_LOOK },
  LOG,
];

/** Runs the load and tells what each stage took, and for how many seconds. */
async function measure(
  service: CountedService,
  countsOfDatabase: () => Promise<Counts>,
): Promise<Record<Limit['stage'], { seconds: number; counts: Counts }>> {
  for (let wave = 0; wave < WARM_UP_WAVES; wave += 1) {
    await service.publishWave();
    await service.deliverWave();
  }
  const all = async (): Promise<Counts> => ({
    seconds: performance.now() / 1000,
    ...(await service.counts()),
    ...(await countsOfDatabase()),
  });
  const sums = { publish: {} as Counts, deliver: {} as Counts, both: {} as Counts };
  let before = await all();
  let told = 0;
  const add = async (stage: 'publish' | 'deliver'): Promise<void> => {
    const now = await all();
    // V8 collects a process that has had little to do for long: then nothing can be told of this wave.
    const isTold = now.collections === before.collections;
    for (const sum of [sums[stage], sums.both]) {
      for (const [of, value] of Object.entries(now)) {
        if (of !== 'heapBytes' || isTold) sum[of] = (sum[of] ?? 0) + value - (before[of] ?? 0);
      }
    }
    if (isTold) told += 1;
    before = now;
  };
  for (let wave = 0; wave < WAVES; wave += 1) {
    await service.publishWave();
    await add('publish');
    await service.deliverWave();
    await add('deliver');
  }
  assert.ok(told > WAVES, `allocations could be told of ${told} of ${2 * WAVES} parts of waves`);
  sums.both.heapBytes = ((sums.both.heapBytes ?? Number.NaN) / told) * 2 * WAVES;
  const withSeconds = ({ seconds = 0, ...counts }: Counts) => ({ seconds, counts });
  return {
    publish: withSeconds(sums.publish),
    deliver: withSeconds(sums.deliver),
    both: withSeconds(sums.both),
  };
}

function assertWithin(
  t: TestContext,
  limits: readonly Limit[],
  measured: Awaited<ReturnType<typeof measure>>,
): void {
  const over: string[] = [];
  for (const { stage, of, most, aSecond = 0, look } of limits) {
    const { seconds, counts } = measured[stage];
    const a1000 = ((counts[of] ?? Number.NaN) / EVENTS) * 1_000;
    const limit = most + ((aSecond * seconds) / EVENTS) * 1_000;
    const said = `${stage}: ${Math.round(a1000)} ${of} for 1,000 events, at most ${Math.round(limit)}`;
    t.diagnostic(said);
    if (!(a1000 <= limit)) over.push(`${said}. Look at ${look}`);
  }
  assert.deepEqual(over, [], 'an event costs more than it may');
}

describe('accepting and delivering 1,000 events, 50 at a time,', {
  skip: process.platform !== 'linux',
}, () => {
  it('costs no more than it may on SQLite', async (t) => {
    const service = await CountedService.start({ POSTHORN_DATABASE_URL: 'sqlite:./posthorn.db' });
    t.after(() => service.end());
    assertWithin(t, SQLITE_LIMITS, await measure(service, async () => ({})));
  });

  it('costs no more than it may on PostgreSQL', async (t) => {
    const cluster = await PostgresCluster.start({
      settings: {
        shared_preload_libraries: 'pg_stat_statements',
        'pg_stat_statements.track': 'all',
        // What comes by the clock or at the first touch of a page after it would be counted for what runs just then.
        autovacuum: 'off',
        checkpoint_timeout: '1h',
        full_page_writes: 'off',
      },
    });
    t.after(() => cluster.remove());
    const [database, observer] = [await createDatabase({ cluster }), await createDatabase({ cluster })];
    await observer.query('CREATE EXTENSION pg_stat_statements');
    const service = await CountedService.start({
      POSTHORN_DATABASE_URL: database.url,
      POSTHORN_ENCRYPTION_KEY: createEncryptionKey(),
    });
    t.after(() => service.end());
    const counts = async (): Promise<Counts> => {
      const [row] = await observer.query<Counts>(
        `SELECT coalesce(sum(calls) FILTER (WHERE toplevel), 0)::float8 AS statements,
           coalesce(sum(calls) FILTER (WHERE NOT toplevel), 0)::float8 AS "nestedStatements",
           pg_wal_lsn_diff(pg_current_wal_insert_lsn(), '0/0')::float8 AS "walBytes"
         FROM pg_stat_statements WHERE dbid = (SELECT oid FROM pg_database WHERE datname = $1)`,
        [database.name],
      );
      return row ?? {};
    };
    assertWithin(t, POSTGRES_LIMITS, await measure(service, counts));
    await observer.drop();
  });
});
