import assert from 'node:assert/strict';
import { test } from 'node:test';
import fc from 'fast-check';
import { IdleConnections } from '../src/delivery/idle-connections.ts';

const connection = (origin: string): { origin: string } => ({ origin });

test('the connection that was used last is taken first', () => {
  const idle = new IdleConnections<{ origin: string }>(10);
  const [first, second, other] = [connection('a'), connection('a'), connection('b')];
  for (const one of [first, second, other]) idle.put(one);
  assert.equal(idle.take('a'), second);
  assert.equal(idle.take('a'), first);
  assert.equal(idle.take('a'), undefined);
  assert.equal(idle.take('b'), other);
  assert.equal(idle.size, 0);
});

test('the one unused for longest makes room, whatever its origin', () => {
  const idle = new IdleConnections<{ origin: string }>(2);
  const [oldest, second, third] = [connection('a'), connection('b'), connection('c')];
  assert.equal(idle.put(oldest), undefined);
  assert.equal(idle.put(second), undefined);
  assert.equal(idle.put(third), oldest);
  assert.equal(idle.take('a'), undefined);
  assert.equal(idle.size, 2);
});

test('with room for none, each is given back at once', () => {
  const idle = new IdleConnections<{ origin: string }>(0);
  const one = connection('a');
  assert.equal(idle.put(one), one);
  assert.equal(idle.size, 0);
});

test('whatever the order of operations, it holds exactly what was put and not taken, removed or evicted', () => {
  const origin = fc.constantFrom('a', 'b', 'c');
  const operation = fc.oneof(
    fc.record({ kind: fc.constant('put' as const), origin }),
    fc.record({ kind: fc.constant('take' as const), origin }),
    fc.record({ kind: fc.constant('remove' as const), nth: fc.nat(5) }),
  );
  fc.assert(
    fc.property(fc.array(operation, { maxLength: 60 }), fc.integer({ min: 1, max: 5 }), (operations, max) => {
      const idle = new IdleConnections<{ origin: string }>(max);
      /** Oldest first. */
      const model: { origin: string }[] = [];
      for (const step of operations) {
        if (step.kind === 'put') {
          const one = connection(step.origin);
          model.push(one);
          assert.equal(idle.put(one), model.length > max ? model.shift() : undefined);
        } else if (step.kind === 'take') {
          const at = model.findLastIndex((one) => one.origin === step.origin);
          assert.equal(idle.take(step.origin), at < 0 ? undefined : model.splice(at, 1)[0]);
        } else {
          const [one] = model.splice(step.nth, 1);
          assert.equal(idle.remove(one ?? connection('a')), one !== undefined);
        }
        assert.equal(idle.size, model.length);
      }
      assert.deepEqual(idle.clear(), model);
      assert.equal(idle.size, 0);
    }),
  );
});
