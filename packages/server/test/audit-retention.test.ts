import assert from 'node:assert/strict';
import { describe, it } from 'node:test';
import { setImmediate as nextTurn } from 'node:timers/promises';
import { AuditRetention } from '../src/audit-retention.ts';
import { unavailable } from '../src/errors.ts';
import { ManualClock } from './support/manual-clock.ts';
import { DAY_MS, HOUR_MS } from './support/store-fixtures.ts';

/** Answers each purge with the next number, then with none; an error rejects. */
function retentionOf(answers: (number | Error)[]) {
  const clock = new ManualClock();
  const purges: { beforeAgo: number; limit: number }[] = [];
  const errors: string[] = [];
  const retention = new AuditRetention({
    store: {
      async purgeAudit(before, limit) {
        purges.push({ beforeAgo: clock.now() - before, limit });
        const answer = answers.shift() ?? 0;
        if (answer instanceof Error) throw answer;
        return answer;
      },
    },
    clock,
    retentionMs: 400 * DAY_MS,
    onError: (message) => errors.push(message),
  });
  return { retention, clock, purges, errors };
}

describe('the retention of the audit log', () => {
  it('deletes what is older, at the start and every hour', async () => {
    const { retention, clock, purges } = retentionOf([]);
    retention.start();
    await nextTurn();
    assert.deepEqual(purges, [{ beforeAgo: 400 * DAY_MS, limit: 500 }]);
    clock.advance(HOUR_MS - 1);
    await nextTurn();
    assert.equal(purges.length, 1);
    clock.advance(1);
    await nextTurn();
    assert.equal(purges.length, 2);
    await retention.stop();
  });

  it('goes on at once, with a pause, while there is more', async () => {
    const { retention, clock, purges } = retentionOf([500, 500, 3]);
    retention.start();
    for (const expected of [1, 2, 3]) {
      await nextTurn();
      assert.equal(purges.length, expected);
      clock.advance(100);
    }
    await nextTurn();
    assert.equal(purges.length, 3, 'and then waits for the next hour');
    await retention.stop();
  });

  it('tells of a failure and tries again', async () => {
    const { retention, clock, purges, errors } = retentionOf([unavailable('the database is away')]);
    retention.start();
    await nextTurn();
    assert.equal(errors.length, 1);
    clock.advance(HOUR_MS);
    await nextTurn();
    assert.equal(purges.length, 2);
    await retention.stop();
  });

  it('ends when it is stopped', async () => {
    const { retention, clock, purges } = retentionOf([500]);
    retention.start();
    await retention.stop();
    clock.advance(2 * HOUR_MS);
    await nextTurn();
    assert.equal(purges.length, 1);
  });
});
