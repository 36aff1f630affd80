import assert from 'node:assert/strict';
import { describe, it } from 'node:test';
import { traceContextOf, traceIdOf, traceparentOf, tracestateOf } from '../src/trace-context.ts';

const TRACE_ID = '4bf92f3577b34da6a3ce929d0e0e4736';
const PARENT = `00-${TRACE_ID}-00f067aa0ba902b7-01`;

describe('the trace context of a request', () => {
  it('is its traceparent, with tracestate where there is one', () => {
    assert.equal(traceContextOf(PARENT, undefined), PARENT);
    const kept = traceContextOf(PARENT, 'rojo=00f067aa0ba902b7,congo=t61rcWkgMzE');
    assert.ok(kept !== null);
    assert.equal(traceparentOf(kept), PARENT);
    assert.equal(tracestateOf(kept), 'rojo=00f067aa0ba902b7,congo=t61rcWkgMzE');
    assert.equal(traceIdOf(kept), TRACE_ID);
    assert.equal(tracestateOf(PARENT), null);
    assert.equal(traceIdOf(null), null);
  });

  it('is read from a later version as far as version 00 goes', () => {
    assert.equal(traceContextOf(`cc-${PARENT.slice(3)}-what-comes-then`, undefined), PARENT);
    assert.equal(traceContextOf(`cc-${PARENT.slice(3)}`, undefined), PARENT);
  });

  const wrong: [what: string, header: string | string[] | undefined][] = [
    ['nothing', undefined],
    ['an empty header', ''],
    ['two headers', [PARENT, PARENT]],
    ['two headers that Node has joined', `${PARENT}, ${PARENT}`],
    ['a version that is none', `ff-${PARENT.slice(3)}`],
    ['more than version 00 has', `${PARENT}-01`],
    ['a trace of zeros', PARENT.replace(TRACE_ID, '0'.repeat(32))],
    ['a span of zeros', PARENT.replace('00f067aa0ba902b7', '0'.repeat(16))],
    ['capital letters', PARENT.toUpperCase()],
    ['a shorter trace', PARENT.replace(TRACE_ID, TRACE_ID.slice(1))],
    ['a line break', `${PARENT}\n`],
    ['a megabyte', `cc-${PARENT.slice(3)}`.padEnd(1_000_000, 'x')],
  ];
  for (const [what, header] of wrong) {
    it(`is none for ${what}`, () => assert.equal(traceContextOf(header, 'a=b'), null));
  }

  it('goes without a tracestate that is too long or holds more than printable characters', () => {
    for (const state of ['x'.repeat(513), 'a=ü', 'a=\u0000', '']) {
      assert.equal(traceContextOf(PARENT, state), PARENT);
    }
  });
});
