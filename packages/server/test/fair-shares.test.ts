import assert from 'node:assert/strict';
import { describe, it } from 'node:test';
import fc from 'fast-check';
import { FairShares } from '../src/fair-shares.ts';

/** Takes one by one until that is refused; answers how many it got. */
function fill(shares: FairShares, owner: string): number {
  let got = 0;
  for (; shares.refusal(owner, 1) === null; got += 1) shares.take(owner, 1);
  return got;
}

describe('fair shares', () => {
  it('leave one owner four fifths, and a fifth for others', () => {
    const shares = new FairShares(1_000);
    assert.equal(fill(shares, 'flood'), 800);
    assert.equal(shares.refusal('flood', 1), 'share');
    assert.equal(shares.refusal('other', 1), null);
  });

  it('take nothing from who holds nothing, as long as there is any', () => {
    const shares = new FairShares(10);
    shares.take('a', 9);
    assert.equal(shares.refusal('b', 1), null);
    assert.equal(shares.refusal('b', 2), 'full');
  });

  it('become equal while what was taken is used up, however unequal they began', () => {
    const shares = new FairShares(1_000);
    const owners = ['a', 'b', 'c', 'd'];
    const held = owners.map((owner) => fill(shares, owner));
    assert.deepEqual(held, [800, 160, 32, 7], 'who comes first has most');
    for (let round = 0; round < 200; round += 1) {
      for (const [n, owner] of owners.entries()) {
        const used = Math.ceil((held[n] as number) / 10);
        shares.give(owner, used);
        held[n] = (held[n] as number) - used;
      }
      for (let more = true; more; ) {
        more = false;
        for (const [n, owner] of owners.entries()) {
          if (shares.refusal(owner, 1) !== null) continue;
          shares.take(owner, 1);
          held[n] = (held[n] as number) + 1;
          more = true;
        }
      }
    }
    assert.ok(Math.max(...held) - Math.min(...held) <= 10, `they hold ${held.join(', ')}`);
    assert.equal(shares.refusal('newcomer', 1), null);
  });

  it('property: what is given back is whole again', () => {
    fc.assert(
      fc.property(fc.array(fc.tuple(fc.constantFrom('a', 'b', 'c'), fc.nat(20))), (moves) => {
        const shares = new FairShares(100);
        const taken = moves.filter(([owner, amount]) => {
          const isFree = shares.refusal(owner, amount) === null;
          if (isFree) shares.take(owner, amount);
          return isFree;
        });
        for (const [owner, amount] of taken) shares.give(owner, amount);
        assert.deepEqual([shares.taken, shares.owners], [0, 0]);
      }),
    );
  });
});
