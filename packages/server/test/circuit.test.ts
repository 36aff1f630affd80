/** When endpoints are probed, told of and given up: the pure decisions, and what the dispatcher makes of them. */
import assert from 'node:assert/strict';
import { describe, it } from 'node:test';
import fc from 'fast-check';
import { loadConfig } from '../src/config.ts';
import { jittered } from '../src/delivery/circuit.ts';
import { type FailingEndpoint, judge, TELL_EVERY_MS } from '../src/store/circuit.ts';
import type { CircuitPolicy, EndpointTurn } from '../src/store/store.ts';
import { Bench, settled } from './support/dispatching.ts';
import { DAY_MS } from './support/store-fixtures.ts';

const POLICY: CircuitPolicy = {
  probeAfter: 10,
  pausesMs: loadConfig({ env: {} }).probePausesMs,
  disableAfterMs: 5 * DAY_MS,
  disableReason: 'nothing succeeded for 5 days',
  operationsUsername: null,
};
const NOW = 1_750_000_000_000;
const LAST = { at: NOW, outcome: 'http_error', httpStatus: 500, error: 'answered 500' } as const;

const aPolicy = fc.record({
  probeAfter: fc.integer({ min: 1, max: 20 }),
  pausesMs: fc
    .array(fc.integer({ min: 1_000, max: 86_400_000 }), { minLength: 1, maxLength: 10 })
    .map((pauses) => pauses.toSorted((a, b) => a - b)),
});
/** What ends, after how long. */
const aHistory = fc.array(
  fc.record({ ok: fc.boolean(), failures: fc.integer({ min: 1, max: 30 }), afterMs: fc.nat(2 * DAY_MS) }),
  { maxLength: 40 },
);

describe('the pauses between probes', () => {
  it('never shrink while it fails, end at the last one, and are over at the first success', () => {
    fc.assert(
      fc.property(aPolicy, aHistory, (changes, history) => {
        const policy = { ...POLICY, ...changes, disableAfterMs: null };
        let row = null as FailingEndpoint | null;
        let now = NOW;
        let failures = 0;
        let before = 0;
        for (const { ok, failures: more, afterMs } of history) {
          now += afterMs;
          const probeAt: number | null = row?.probeAt ?? null;
          const attempted = ok
            ? { succeeded: true, failures: 0, last: null, oldest: null }
            : { succeeded: false, failures: more, last: LAST, oldest: now };
          const judgement = judge(row, attempted, policy, now);
          row = judgement.row;
          failures = ok ? 0 : failures + more;
          assert.equal(row?.failures ?? 0, failures);
          assert.equal(row?.probeAt != null, failures >= policy.probeAfter, 'probed from so many on');
          if (row?.probeAt == null) {
            assert.equal(judgement.lane, probeAt === null ? null : 'open');
            before = 0;
            continue;
          }
          const pauseMs = row.probeAt - now;
          if (probeAt !== null && now < probeAt) {
            assert.equal(row.probeAt, probeAt, 'what failed before the probe moves nothing');
            continue;
          }
          assert.ok(policy.pausesMs.includes(pauseMs));
          assert.ok(pauseMs >= before, `${pauseMs} ms after ${before} ms`);
          assert.equal(judgement.lane, probeAt === null ? 'probing' : null);
          before = pauseMs;
        }
      }),
    );
  });

  it('stray by the jitter and no further', () => {
    fc.assert(
      fc.property(aPolicy, fc.double({ min: 0, max: 0.999, noNaN: true }), (changes, random) => {
        const { pausesMs, ...rest } = jittered({ ...POLICY, ...changes }, 0.1, random);
        assert.deepEqual({ ...rest, pausesMs: changes.pausesMs }, { ...POLICY, ...changes });
        for (const [i, pauseMs] of pausesMs.entries()) {
          const given = changes.pausesMs[i] as number;
          assert.ok(Math.abs(pauseMs - given) <= given * 0.1 + 1, `${pauseMs} ms of ${given} ms`);
          assert.ok(pauseMs >= (pausesMs[i - 1] ?? 0));
        }
      }),
    );
  });

  it('are at most five minutes by default', () => {
    assert.equal(Math.max(...POLICY.pausesMs), 300_000);
  });
});

describe('what is told of an endpoint', () => {
  it('is at most one failing and one recovered in ten minutes, in turns, and never a recovered that nobody missed', () => {
    fc.assert(
      fc.property(aHistory, fc.integer({ min: 1, max: 3 }), (history, probeAfter) => {
        let row = null as FailingEndpoint | null;
        let now = NOW;
        let isTold = false;
        let toldAt = Number.NEGATIVE_INFINITY;
        for (const { ok, failures, afterMs } of history) {
          now += afterMs % TELL_EVERY_MS;
          const attempted = ok
            ? { succeeded: true, failures: 0, last: null, oldest: null }
            : { succeeded: false, failures, last: LAST, oldest: now };
          const { row: after, tell } = judge(row, attempted, { ...POLICY, probeAfter }, now);
          if (tell.recovered !== null) {
            assert.ok(isTold, 'somebody knows that it failed');
            isTold = false;
          }
          if (tell.failing) {
            assert.ok(!isTold && now - toldAt >= TELL_EVERY_MS, `told again after ${now - toldAt} ms`);
            isTold = true;
            toldAt = now;
          }
          row = after;
        }
      }),
    );
  });
});

describe('a dispatcher', () => {
  const started = (...options: ConstructorParameters<typeof Bench>) => {
    const bench = new Bench(...options);
    bench.dispatcher.start();
    return bench;
  };

  it('gives back what it holds and has not begun of an endpoint that is probed from now on', async () => {
    const turns: EndpointTurn[] = [];
    const bench = started({ circuit: POLICY }, { onEndpointTurn: (turn) => turns.push(turn) });
    const turn = { username: 'alice', endpointId: 'wh_1', to: 'probing', reason: null } as const;
    bench.settle = (batch) =>
      Promise.resolve({
        results: batch.map(() => ({ outcome: 'settled', status: 'pending' })),
        leases: [],
        nextDueAt: null,
        turns: [turn],
      });
    const leases = Array.from({ length: 4 }, () => bench.lease('wh_1'));
    const other = bench.lease('wh_2');
    bench.accept(...leases, other);
    assert.deepEqual(bench.running, ['wh_1', 'wh_2', 'wh_1'], 'two of the lane run, two are held');
    await bench.answerNext(500);
    assert.deepEqual(
      bench.released.map(({ deliveryId }) => deliveryId),
      leases.slice(3).map(({ deliveryId }) => deliveryId),
      'none of them is attempted',
    );
    assert.deepEqual(turns, [turn]);
    assert.ok(bench.running.includes('wh_2'), 'others go on');
  });

  it('keeps what it holds of one whose lane opens', async () => {
    const bench = started({ circuit: POLICY });
    bench.settle = (batch) =>
      Promise.resolve({
        results: batch.map(() => ({ outcome: 'settled', status: 'delivered' })),
        leases: [],
        nextDueAt: null,
        turns: [{ username: 'alice', endpointId: 'wh_1', to: 'open', reason: null }],
      });
    bench.accept(...Array.from({ length: 4 }, () => bench.lease('wh_1')));
    await bench.answerNext(200);
    assert.deepEqual(bench.released, []);
  });

  it('blames an endpoint for what its receiver may have failed at, and for nothing of ours', async () => {
    const blamed = async (outcome: 'timeout' | 'blocked_address' | 'stale_connection' | 'proxy_error') => {
      const bench = started({ circuit: POLICY });
      bench.accept(bench.lease('wh_1'));
      bench.requests.shift()?.resolve({
        outcome,
        httpStatus: null,
        error: 'failed',
        responseHeaders: null,
        responseBody: null,
        responseTruncated: false,
        durationMs: 1,
        retryAfter: null,
      });
      await settled();
      return bench.batches[0]?.[0]?.endpointFailed === true;
    };
    assert.deepEqual(await Promise.all([blamed('timeout'), blamed('blocked_address')]), [true, true]);
    assert.deepEqual(await Promise.all([blamed('stale_connection'), blamed('proxy_error')]), [false, false]);
    const bench = started(
      { circuit: POLICY },
      {
        open: {
          secret: () => {
            throw new Error('sealed with another key');
          },
          headers: () => ({}),
        },
      },
    );
    bench.accept(bench.lease('wh_1'));
    await settled();
    assert.equal(bench.batches[0]?.[0]?.attempt.outcome, 'protocol_error');
    assert.equal(bench.batches[0]?.[0]?.endpointFailed, undefined, 'we could not open its secret');
  });

  it('an attempt that a stop gave up says nothing of its endpoint', async () => {
    const bench = started({ circuit: POLICY });
    bench.accept(bench.lease('wh_1'));
    const stopping = bench.dispatcher.stop(1_000);
    await bench.advance(1_000);
    await bench.advance(5_000);
    await stopping;
    assert.deepEqual(bench.batches, []);
    assert.equal(bench.released.length, 1);
  });
});
