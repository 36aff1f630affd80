import assert from 'node:assert/strict';
import { test } from 'node:test';
import { RecentIds } from '../src/delivery/recent-ids.ts';

test('an id that was added is there once', () => {
  const ids = new RecentIds(10);
  ids.add('a');
  assert.equal(ids.take('b'), false);
  assert.equal(ids.take('a'), true);
  assert.equal(ids.take('a'), false);
});

test('ids are bounded: the oldest makes room', () => {
  const ids = new RecentIds(2);
  for (const id of ['a', 'b', 'c']) ids.add(id);
  assert.equal(ids.size, 2);
  assert.deepEqual(
    ['a', 'b', 'c'].map((id) => ids.take(id)),
    [false, true, true],
  );
});
