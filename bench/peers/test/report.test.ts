import assert from 'node:assert/strict';
import { suite, test } from 'node:test';
import { latenciesMs, median, percentile, rateBetween } from '../figures.ts';
import { parseOptions } from '../options.ts';
import { parseStat } from '../processes.ts';
import { writeReport } from '../report.ts';
import { merge, type Results, type SystemResult } from '../results.ts';
import { hasTimeFor } from '../runner.ts';
import type { System } from '../system.ts';
import { copyStatement } from '../systems/posthorn-fill.ts';
import { besideSameWork, judge } from '../targets.ts';

function result(
  name: string,
  family: System['family'],
  samples: Record<string, number[]>,
  durability: System['durability'] = 'durable',
): SystemResult {
  return { name, family, durability, settings: { a: 'b' }, samples, missing: {} };
}

function results(systems: SystemResult[]): Results {
  const machine = { cores: 2, cpu: 'a cpu', memoryGiB: 4, node: '24.0.0', kernel: '6.1' };
  return {
    format: 1,
    form: 'short',
    startedAt: '2026-11-24T00:00:00.000Z',
    machine,
    postgresSettings: {},
    systems,
  };
}

const SYSTEMS = [
  result('posthorn-sqlite', 'posthorn-sqlite', {
    ingest_1: [9000, 8000, 10_000],
    drain: [9000],
    drain_cpu: [0.2],
  }),
  result('posthorn-postgres', 'posthorn-postgres', { ingest_1: [4800], drain: [5000] }),
  result('bullmq-always', 'other-peer', { ingest_1: [3000], drain: [4000], drain_cpu: [0.5] }),
  result(
    'bullmq-everysec',
    'other-peer',
    { ingest_1: [9000], drain: [5000], drain_cpu: [0.3] },
    'every second',
  ),
  result('pg-boss', 'postgres-peer', { ingest_1: [1200], drain: [3500] }),
  result('bare-undici', 'bound', { drain: [12_000] }, 'none'),
];

suite('targets', () => {
  const judged = judge(SYSTEMS);
  const of = (title: string, system: string) =>
    judged.find((judgement) => judgement.title.startsWith(title) && judgement.system === system);

  test('ingest is held against durable peers, and on PostgreSQL against those on PostgreSQL', () => {
    assert.equal(of('ingest × 1', 'posthorn-sqlite')?.value, 3);
    assert.equal(of('ingest × 1', 'posthorn-sqlite')?.isMet, true);
    assert.equal(of('ingest × 1', 'posthorn-postgres')?.value, 4);
  });

  test('drain is held against the bare loop and against the best peer, durable or not', () => {
    assert.equal(of('drain, against the bare', 'posthorn-sqlite')?.value, 0.75);
    assert.equal(of('drain, against the best', 'posthorn-sqlite')?.value, 1.8);
    assert.equal(of('drain, against the best', 'posthorn-sqlite')?.isMet, false);
  });

  test('what costs most is held against the cheapest', () => {
    assert.equal(of('CPU per 1,000 deliveries (drain)', 'posthorn-sqlite')?.isMet, false);
  });

  test('what was not measured is neither met nor missed', () => {
    assert.equal(of('isolation', 'posthorn-sqlite')?.isMet, null);
  });
});

suite('report', () => {
  test('shows medians, what is missing, verdicts and settings', () => {
    const lost = result('pg-boss', 'postgres-peer', {});
    lost.missing['*'] = 'there is no server';
    const text = writeReport(results([...SYSTEMS.slice(0, 4), lost, ...SYSTEMS.slice(5)]));
    assert.match(text, /\| ingest × 1 \(events\/s\) \| 9,000 \| 4,800 \| 3,000 \| 9,000 \| – \| – \|/);
    assert.match(text, /pg-boss: not measured: there is no server/);
    assert.match(text, /drain, against the bare loop \| posthorn-sqlite \| 0\.75 \| ≥ 0\.7 \| met \|/);
    assert.match(text, /\*\*missed\*\*/);
    assert.match(text, /\*\*bullmq-everysec\*\* \(every second\): a: b/);
  });

  test('an earlier run’s samples count beside this one’s, of the same form only', () => {
    const now = results([result('pg-boss', 'postgres-peer', { drain: [3] })]);
    merge(
      now,
      results([result('pg-boss', 'postgres-peer', { drain: [1, 2], both: [7] }), ...SYSTEMS.slice(0, 1)]),
    );
    assert.deepEqual(now.systems[0]?.samples, { drain: [1, 2, 3], both: [7] });
    assert.equal(now.systems[1]?.name, 'posthorn-sqlite');
    assert.throws(() => merge(now, { ...now, form: 'long' }), /of the short form can be added/);
  });
});

suite('figures', () => {
  test('a rate is that of the part of the arrivals that counts', () => {
    const slowStart = Float64Array.from([0, 5000, 5010, 5020, 5030, 5040, 5050, 5060, 5070, 5080, 9000]);
    assert.equal(rateBetween(slowStart, 0.1, 0.9), 100);
    assert.ok(Number.isNaN(rateBetween(new Float64Array(0), 0.1, 0.9)));
  });

  test('latency counts from the answer; what overtook it took nothing, what never came isn’t counted', () => {
    const answeredAt = Float64Array.from([100, 200, Number.NaN, 300]);
    const arrivedAt = Float64Array.from([0, 0, 150, 90, 210, 0, 5, 5, 310, 320]);
    assert.deepEqual([...latenciesMs(answeredAt, arrivedAt, 2, 1, 0)], [0, 10, 10, 20, 50]);
    assert.deepEqual([...latenciesMs(answeredAt, arrivedAt, 2, 1, 3)], [10, 20]);
  });

  test('percentiles and medians of few values', () => {
    assert.equal(percentile(Float64Array.from([1, 2, 3, 4]), 0.99), 4);
    assert.equal(median([3, 1, 2]), 2);
    assert.equal(median([4, 1]), 2.5);
    assert.ok(Number.isNaN(median([])));
  });

  test('a process’s name may look like the fields behind it', () => {
    const line = '7 (a) S 1 (b) S 42 7 7 0 -1 4194560 100 0 0 0 11 12 13 14 20 0 1 0 5';
    assert.deepEqual(parseStat(line), { parent: 42, ticks: 50 });
  });
});

suite('options', () => {
  test('the short form takes the key measures of all systems', () => {
    const { form, measures, systems, rounds } = parseOptions([]);
    assert.deepEqual([form, measures, systems.length, rounds], ['short', ['drain', 'both'], 8, null]);
  });

  test('an unknown name is answered with those that there are', () => {
    assert.throws(
      () => parseOptions(['--systems', 'bull']),
      /choose, separated by commas, out of posthorn-sqlite/,
    );
    assert.throws(() => parseOptions(['--rounds', '0']), /whole number/);
    assert.throws(() => parseOptions(['--sistems', 'x']));
  });

  test('the short form begins no round that would end too late', () => {
    const short = { rounds: null, form: 'short' as const };
    assert.equal(hasTimeFor(0, short, 0), true);
    assert.equal(hasTimeFor(1, short, 80_000), true);
    assert.equal(hasTimeFor(1, short, 90_000), false);
    assert.equal(hasTimeFor(3, short, 3000), false);
    assert.equal(hasTimeFor(2, { rounds: null, form: 'long' }, 1e9), true);
    assert.equal(hasTimeFor(3, { rounds: 5, form: 'short' }, 1e9), true);
  });
});

suite('the peer that does the same work', () => {
  const peer = result('bullmq-always-same-work', 'same-work', { drain: [2000], drain_cpu: [0.8] });

  test('is shown beside Posthorn, and counts for no target', () => {
    const systems = [...SYSTEMS, peer];
    assert.deepEqual(judge(systems), judge(SYSTEMS));
    const ratios = besideSameWork(systems).map(({ title, system, ratio }) => [title, system, ratio]);
    assert.deepEqual(ratios, [
      ['drain', 'posthorn-sqlite', 4.5],
      ['drain', 'posthorn-postgres', 2.5],
      ['CPU per 1,000 deliveries, drain', 'posthorn-sqlite', 0.25],
    ]);
    assert.match(writeReport(results(systems)), /\| drain \| posthorn-sqlite \| 4\.50 \|/);
  });

  test('has no table without it', () => {
    assert.deepEqual(besideSameWork(SYSTEMS), []);
    assert.doesNotMatch(writeReport(results(SYSTEMS)), /same work/);
  });
});

suite('filling', () => {
  test('a copied row has an owner and ids of its own, in its body too', () => {
    const table = { name: 'event', columns: ['seq', 'username', 'event_id', 'body', 'created_at'] };
    const statement = copyStatement(table, 'seed', { username: 'u', endpointId: 'wh_1' }, 3);
    assert.equal(
      statement,
      `INSERT INTO event (seq, username, event_id, body, created_at) SELECT seq - 3 * 1000000, 'u', event_id || '-3', ` +
        `replace(body, '"event_id":"' || event_id || '"', '"event_id":"' || event_id || '-3"'), created_at ` +
        `FROM event WHERE username = 'seed' AND seq > 0`,
    );
  });
});
