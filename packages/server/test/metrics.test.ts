import assert from 'node:assert/strict';
import { describe, it } from 'node:test';
import { idFactory, idTimeMs } from '../src/clock.ts';
import { Registry } from '../src/metrics.ts';

describe('the metrics text', () => {
  it('has help, type and one line a series', () => {
    const registry = new Registry();
    const attempts = registry.counters('a_total', 'Attempts.');
    attempts.with({ outcome: 'success' }).inc();
    attempts.with({ outcome: 'timeout' }).inc(2);
    attempts.with({ outcome: 'success' }).inc();
    registry.gauges('b_bytes', 'Bytes.').with({}).set(1.5);
    assert.equal(
      registry.render(),
      [
        '# HELP a_total Attempts.',
        '# TYPE a_total counter',
        'a_total{outcome="success"} 2',
        'a_total{outcome="timeout"} 2',
        '# HELP b_bytes Bytes.',
        '# TYPE b_bytes gauge',
        'b_bytes 1.5',
        '',
      ].join('\n'),
    );
  });

  it('counts a value in its bucket and in all larger ones, a bound being part of its bucket', () => {
    const registry = new Registry();
    const duration = registry.histograms('d_seconds', 'Durations.', [0.1, 1]).with({ route: '/x' });
    for (const value of [0.1, 0.25, 4]) duration.observe(value);
    assert.deepEqual(registry.render().trim().split('\n').slice(2), [
      'd_seconds_bucket{route="/x",le="0.1"} 1',
      'd_seconds_bucket{route="/x",le="1"} 2',
      'd_seconds_bucket{route="/x",le="+Inf"} 3',
      'd_seconds_sum{route="/x"} 4.35',
      'd_seconds_count{route="/x"} 3',
    ]);
  });

  it('lets no label value break out of its line', () => {
    const registry = new Registry();
    registry.gauges('g', 'G.').with({ what: 'a"b\\c\nd' }).set(Number.NaN);
    assert.match(registry.render(), /^g\{what="a\\"b\\\\c\\nd"\} NaN$/m);
  });

  it('tells nothing of series that were taken away', () => {
    const registry = new Registry();
    const family = registry.gauges('g', 'G.');
    family.with({ state: 'due' }).set(3);
    family.clear();
    assert.equal(registry.render(), '# HELP g G.\n# TYPE g gauge\n');
  });

  it('takes no name twice, and no counter whose name hides what it is', () => {
    const registry = new Registry();
    registry.gauges('g', 'G.');
    assert.throws(() => registry.gauges('g', 'G.'), /g is there already/);
    assert.throws(() => registry.counters('attempts', 'A.'), /attempts must end in _total/);
  });
});

describe('an id', () => {
  it('tells when it was made', () => {
    const makeId = idFactory();
    for (const ms of [1_763_897_576_311, 1_763_897_576_312]) {
      assert.equal(idTimeMs(makeId('dlv', ms)), ms);
    }
  });
});
